from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from frontends.directory import DATABASE, MAX_SOCKET_PATH, private_folder, socket_path
from frontends.failures import FailedError
from walytis_core.store.schema import FILE_NAME


def test_the_socket_is_in_the_directory(tmp_path):
    directory = Path("/home/someone/data")
    assert socket_path(directory) == directory / "run" / "node.sock"


def test_a_long_directory_has_a_short_socket_path(tmp_path):
    """C51: a path above 100 bytes does not fit the kernel's socket address; the socket is elsewhere, one per directory."""
    long, other = (tmp_path / (letter * 120) for letter in "ab")
    assert len(os.fsencode(socket_path(long))) <= MAX_SOCKET_PATH
    assert socket_path(long) != socket_path(other)
    assert socket_path(long) == socket_path(long.parent / "x" / ".." / long.name)


def test_the_sockets_place_does_not_depend_on_the_environment(tmp_path, monkeypatch):
    place = socket_path(tmp_path / ("a" * 120))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert socket_path(tmp_path / ("a" * 120)) == place


def test_a_private_folder_is_closed_to_others(tmp_path):
    folder = tmp_path / "new"
    private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_private_folder_is_no_link_and_no_file(tmp_path, kind):
    target, folder = tmp_path / "elsewhere", tmp_path / "folder"
    target.mkdir()
    if kind == "link":
        folder.symlink_to(target)
    else:
        folder.touch()
    with pytest.raises(FailedError):
        private_folder(folder)


def test_the_database_has_the_librarys_name():
    assert DATABASE == FILE_NAME
