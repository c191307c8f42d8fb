from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.conformance import ROOT

SCRIPT = ROOT / "tools" / "preflight.sh"


def preflight(**changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(SCRIPT)], env={**os.environ, **changes}, capture_output=True, text=True, check=False
    )


def executable(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def test_it_prints_the_interpreter_to_use():
    done = preflight(PYTHON=sys.executable)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, sys.executable, "")


def test_an_interpreter_that_exists_but_does_not_run_is_not_taken(tmp_path):
    broken = executable(tmp_path / "python3.12", "#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    assert preflight(PYTHON=str(broken)).returncode == 1
    done = preflight(PYTHON=f"{broken} {sys.executable}")
    assert (done.returncode, done.stdout.strip()) == (0, sys.executable)


def test_an_interpreter_without_headers_is_passed_over_or_named(tmp_path):
    bare = executable(
        tmp_path / "python3",
        f'#!/bin/sh\n[ "$1" = - ] && {{ echo headers; exit; }}\nexec {sys.executable} "$@"\n',
    )
    assert preflight(PYTHON=f"{bare} {sys.executable}").stdout.strip() == sys.executable
    done = preflight(PYTHON=str(bare))
    assert done.returncode == 1
    assert "headers of" in done.stderr


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"PYTHON": "no-such-python"}, "Python 3.11, 3.12 or 3.13"),
        ({"CC": "no-such-compiler"}, "a C compiler"),
    ],
)
def test_what_is_missing_is_named_with_the_line_that_installs_it(changes, missing):
    done = preflight(**{"PYTHON": sys.executable, **changes})
    assert done.returncode == 1
    assert done.stdout == ""
    assert missing in done.stderr
    for command in ("apt-get install", "dnf install", "brew install"):
        assert command in done.stderr


def test_missing_gmp_headers_are_named(tmp_path):
    compiler = executable(tmp_path / "cc", "#!/bin/sh\n! grep -q gmp.h\n")  # compiles everything but GMP
    done = preflight(PYTHON=sys.executable, CC=str(compiler))
    assert done.returncode == 1
    assert "GMP" in done.stderr
    assert "a C compiler" not in done.stderr
