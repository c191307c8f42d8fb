"""The command starts quickly: what is not needed is not loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tools.conformance import ROOT

HEAVY = ("libp2p", "textual", "segno", "trio", "walytis_core", "identities", "mutability")
PROBE = """
import sys
from frontends.cli import main
try:
    main()
except SystemExit:
    pass
loaded = [name for name in {heavy!r} if name in sys.modules]
sys.stderr.write("loaded " + " ".join(loaded))
"""


def loaded_by(tmp_path, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=HEAVY), *arguments],
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "WALYTIS_DATA_DIR": str(tmp_path / "data"), "PATH": ""},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    return set(done.stderr.rpartition("loaded ")[2].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["object", "list", "--help"],
        ["id", "add-device", "--help"],
        ["id", "list"],
        ["keys", "--help"],
        ["list"],
        ["object", "list", "notes"],
        ["nonsense"],
        ["run", "--kubo", "http://a:b@c"],
    ],
)
def test_help_and_mistakes_load_nothing_heavy(tmp_path, arguments):
    """C47: the command's import does nothing, either."""
    assert loaded_by(tmp_path, *arguments) == set()


@pytest.mark.slow
def test_commands_on_the_disk_load_no_network(tmp_path):
    assert loaded_by(tmp_path, "create", "notes") == {"trio", "walytis_core"}
    for arguments in (["list"], ["append", "notes", "hello"], ["log", "notes"], ["status"], ["graph", "notes"]):
        assert loaded_by(tmp_path, *arguments) == {"trio", "walytis_core"}
    for arguments in (["object", "create", "notes", "milk"], ["object", "list", "notes"]):
        assert loaded_by(tmp_path, *arguments) == {"trio", "walytis_core", "mutability"}
