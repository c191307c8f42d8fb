from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tools.conformance import ROOT

GO_MOD = (ROOT / "tools" / "kubo" / "go.mod").read_text(encoding="utf-8")
GO = """#!/bin/sh
case $1 in
build)
    while [ "$1" != -o ]; do shift; done
    printf '#!/bin/sh\\necho %s\\n' "$MAKES" > "$2" && chmod +x "$2" ;;
env) echo go1.99 ;;
esac
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH with what `make kubo` needs, but for Go."""
    found = tmp_path / "bin"
    found.mkdir()
    for name in ("sh", "make", "sed", "mkdir", "mv", "chmod"):
        where = shutil.which(name)
        assert where is not None
        (found / name).symlink_to(where)
    return found


def make_kubo(programs: Path, makes: str = "") -> tuple[subprocess.CompletedProcess[str], Path]:
    ipfs = programs.parent / "built" / "ipfs"
    command = [str(programs / "make"), "kubo", f"KUBO={ipfs}"]
    environment = {"PATH": str(programs), "MAKES": makes}
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False), ipfs


def test_without_go_it_says_what_to_install(programs):
    done, ipfs = make_kubo(programs)
    assert done.returncode
    assert "Install Go" in done.stderr
    assert not ipfs.exists()


def test_with_go_it_builds_once_and_looks_at_the_version(programs):
    (programs / "go").write_text(GO, encoding="utf-8")
    (programs / "go").chmod(0o755)
    done, ipfs = make_kubo(programs, "0.1.2")
    assert done.returncode
    assert "Kubo 0.1.2 was built" in done.stderr
    assert not ipfs.exists()
    pinned = next(line.split()[1] for line in GO_MOD.splitlines() if line.strip().startswith("github.com/ipfs/kubo "))
    done, ipfs = make_kubo(programs, pinned.removeprefix("v"))
    assert (done.returncode, done.stderr) == (0, "")
    assert ipfs.exists()
    done, ipfs = make_kubo(programs, "nothing")
    assert done.returncode == 0
    assert "building" not in done.stdout
