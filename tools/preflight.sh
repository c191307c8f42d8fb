#!/bin/sh
# Checks for what pip cannot bring, and prints the Python to use.
#
# Looks for Python 3.11 to 3.13 with headers and venv, a C compiler, and the GMP headers (py-libp2p needs fastecdsa,
# which has no wheels). PYTHON=/path/to/python overrides the search; CC, CPPFLAGS, CFLAGS and LDFLAGS are honoured.
# The interpreter's path goes to standard output, what is missing to standard error; exit 1 when anything is.

set -u

works() { # runs it: a pyenv shim may exist without a Python behind it
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

lacks() { # what this Python lacks, one word each
    "$1" - <<'PY' 2>/dev/null || echo venv
import importlib.util, os, sysconfig

def absent(*names: str) -> bool:
    return any(importlib.util.find_spec(name) is None for name in names)

missing = [
    "venv" if absent("venv", "ensurepip") else "",
    "headers" if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")) else "",
    "sqlite3" if absent("_sqlite3") else "",
    "ssl" if absent("_ssl") else "",
]
print(" ".join(filter(None, missing)))
PY
}

builds() { # compiles and links the C program on standard input with the flags given
    # shellcheck disable=SC2086 # flags are words
    ${CC:-cc} ${CPPFLAGS:-} ${CFLAGS:-} -x c - -o "$scratch/a.out" ${LDFLAGS:-} "$@" >/dev/null 2>&1
}

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

add() {
    missing="$missing${missing:+
}  - $1"
}

python="" lack="" missing=""
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    works "$candidate" || continue
    found=$(lacks "$candidate")
    if [ -z "$python" ] || [ -z "$found" ]; then
        python=$candidate lack=$found
    fi
    [ -n "$found" ] || break
done

if [ -z "$python" ]; then
    add "Python 3.11, 3.12 or 3.13 (looked for: ${PYTHON:-python3 python3.13 python3.12 python3.11})"
else
    for word in $lack; do
        add "$word of $("$python" -c 'import sys; print(sys.executable)')"
    done
fi
if ! echo 'int main(void) { return 0; }' | builds; then
    add "a C compiler (looked for: ${CC:-cc})"
elif ! printf '#include <gmp.h>\nint main(void) { mpz_t n; mpz_init(n); return 0; }\n' | builds -lgmp; then
    add "the GMP library with its headers (gmp.h)"
fi

if [ -n "$missing" ]; then
    cat >&2 <<TEXT
Missing, and not to be had from pip:
$missing

Install it with:
  Debian, Ubuntu   sudo apt-get install python3 python3-dev python3-venv gcc libc6-dev libgmp-dev make
  Fedora           sudo dnf install python3.13 python3.13-devel gcc gmp-devel make
  macOS            xcode-select --install; brew install python@3.13 gmp
                   export CFLAGS="-I\$(brew --prefix)/include" LDFLAGS="-L\$(brew --prefix)/lib"

Another Python can be named: make PYTHON=/path/to/python3.12 demo
TEXT
    exit 1
fi
"$python" -c 'import sys; print(sys.executable)'
