"""Secrets in files: whole or not there, and never readable by others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from walytis_core.errors import StorageError
from walytis_core.keys import FileKeys, Keys, MemoryKeys


@pytest.fixture(params=["files", "memory"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Keys:
    return FileKeys(tmp_path / "keys") if request.param == "files" else MemoryKeys()


def test_secrets_are_kept(keys: Keys):
    """C22: what was put is there, the newest of a name; what was deleted is not."""
    assert keys.get("node") is None
    keys.put("node", b"one")
    keys.put("node", b"two")
    keys.put("other", b"three")
    assert (keys.get("node"), keys.get("other")) == (b"two", b"three")
    keys.delete("node")
    keys.delete("node")
    assert (keys.get("node"), keys.get("other")) == (None, b"three")


def test_modes(tmp_path: Path):
    """C42: owner only, whatever the umask; nothing is left beside."""
    before = os.umask(0)
    try:
        keys = FileKeys(tmp_path / "a" / "keys")
        keys.put("node", b"secret")
    finally:
        os.umask(before)
    directory = tmp_path / "a" / "keys"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()] == [0o600]
    assert FileKeys(directory).get("node") == b"secret"


def test_a_torn_write_is_not_seen(tmp_path: Path):
    """C22: a file that was being written at a crash is not the secret, and does not stand in the way."""
    keys = FileKeys(tmp_path)
    keys.put("node", b"good")
    (tmp_path / ".node.new").write_bytes(b"to")
    assert keys.get("node") == b"good"
    keys.put("node", b"better")
    assert keys.get("node") == b"better"


def test_what_the_disk_refuses(tmp_path: Path):
    """C25: a typed error for each operation."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        FileKeys(tmp_path / "file" / "keys")
    keys = FileKeys(tmp_path / "keys")
    (tmp_path / "keys" / "node").mkdir()
    for call in (lambda: keys.get("node"), lambda: keys.put("node", b"x"), lambda: keys.delete("node")):
        with pytest.raises(StorageError):
            call()
