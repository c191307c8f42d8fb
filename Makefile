# Each target makes .venv and installs what it needs from nothing; a second call is quick.
# The lines that begin with a variable are part of `make help`:
# PYTHON=/path/to/python3.12 chooses the interpreter of a new .venv; JOBS=4 the number of test processes.
# WALYTIS_KUBO=required has tests that need an IPFS daemon fail where there is none; WALYTIS_KUBO_BINARY=/path/to/ipfs chooses it.

VENV := .venv
PY := $(VENV)/bin/python
JOBS ?= 2
PYTEST := $(PY) -m pytest --dist worksteal
JUNIT := build/junit
KUBO := build/kubo/ipfs

.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE # hundreds of processes are started by tests, and each would compile all it imports
.NOTPARALLEL: # one pip at a time
.PHONY: help demo test check lint format bench soak conformance kubo clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
	@sed -n 's/^# \([A-Z_]*=\)/\1/p' $(MAKEFILE_LIST)

demo: $(VENV)/.frontends ## three real peers share a chain, on this machine, in a few seconds
	@$(VENV)/bin/walytis demo

test: $(VENV)/.test ## the whole suite, then the conformance print-out
	@rm -rf $(JUNIT)
	@failed=0; \
	$(PYTEST) -q -n $(JOBS) -m "not serial" --junit-xml=$(JUNIT)/parallel.xml || failed=1; \
	$(PYTEST) -q -n 0 -m serial --junit-xml=$(JUNIT)/serial.xml || failed=1; \
	$(PY) -m tools.conformance --junit $(JUNIT) || failed=1; \
	exit $$failed

check: lint ## the gate, under two minutes: `lint`, then the fast tests
	$(PYTEST) -q -n $(JOBS) -m "not slow"

lint: $(VENV)/.dev ## what needs no test: format, style, types, layers
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.dev ## lays the code out as `check` wants it
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(VENV)/.test ## one table, each figure beside its ceiling; writes benchmarks/latest.json
	$(PY) -m benchmarks

soak: $(VENV)/.test ## a long, bounded simulation with faults and hostile peers
	$(PY) -m benchmarks.soak

conformance: $(VENV)/.test ## each line of tests/conformance.md, its tests and their outcome
	$(PY) -m tools.conformance

kubo: $(KUBO) ## builds an IPFS daemon with Go, for the tests that need a real one; the first time takes minutes

clean: ## takes away .venv and everything built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# .dev holds everything of .test, and .test of .frontends. A changed pyproject.toml installs again.
# --use-pep517: an older pip builds packages without pyproject.toml in a way that it calls deprecated, at length.
HOLDS_frontends := frontends
HOLDS_test := frontends test
HOLDS_dev := frontends test dev

# The preflight is in the recipe: its answer cannot be had before it has run.
$(VENV)/.made: tools/preflight.sh
	@python=$$(PYTHON="$(PYTHON)" sh tools/preflight.sh) && \
	echo "making $(VENV) with $$python" && "$$python" -m venv --clear $(VENV)
	@touch $@

$(VENV)/.frontends $(VENV)/.test $(VENV)/.dev: $(VENV)/.%: $(VENV)/.made pyproject.toml
	@echo "installing walytis-stack[$*] into $(VENV); the first time takes a minute or two"
	@$(PY) -m pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[$*]'
	@touch $(addprefix $(VENV)/.,$(HOLDS_$*))

# The version is the one that tools/kubo/go.mod pins. -buildvcs: a checkout without git is none of Go's business.
$(KUBO): tools/kubo/go.mod tools/kubo/go.sum
	@command -v go >/dev/null || { \
	echo "make kubo builds the IPFS daemon Kubo from source, and there is no Go here. Install Go" \
	"$$(sed -n 's/^go //p' tools/kubo/go.mod) or newer (Fedora: golang, macOS: brew install go, Debian and Ubuntu:" \
	"golang-go where it is new enough, else see go.dev/doc/install). Without it 'make test' skips the tests with Kubo." >&2; exit 1; }
	@echo "building Kubo into $@ with $$(go env GOVERSION); the first time takes two to four minutes"
	@mkdir -p $(@D)
	@go build -C tools/kubo -buildvcs=false -o $(abspath $@.new) github.com/ipfs/kubo/cmd/ipfs
	@wanted=$$(sed -n 's|.*github.com/ipfs/kubo v\([^ ]*\).*|\1|p' tools/kubo/go.mod); built=$$($(abspath $@.new) version --number); \
	if [ "$$built" != "$$wanted" ]; then echo "Kubo $$built was built, and $$wanted is pinned" >&2; exit 1; fi; \
	mv $@.new $@ && echo "Kubo $$built is in $@"
