"""One process per directory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from walytis_core.errors import InUseError, StorageError
from walytis_core.store.lock import DirectoryLock
from walytis_core.store.sqlite import SqliteStore

_HOLD = """
import sys
from pathlib import Path
from walytis_core.store.lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _HOLD, str(directory)]
    root = Path(__file__).parents[4]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_opener_is_told_at_once(tmp_path: Path) -> None:
    """C28: also when it is the same process."""
    with closing(SqliteStore.open(tmp_path)) as store:
        store.put("key", b"value")
        with pytest.raises(InUseError, match="in use"):
            SqliteStore.open(tmp_path)
        assert store.get("key") == b"value"
    SqliteStore.open(tmp_path).close()


def test_another_process_is_named(tmp_path: Path) -> None:
    """C28: a second process gets `InUseError`, with the number of the first."""
    with held_by_another_process(tmp_path) as process, pytest.raises(InUseError, match=f"process {process.pid}"):
        SqliteStore.open(tmp_path)
    assert not (tmp_path / "walytis.db").exists()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    """C28: however it died."""
    with held_by_another_process(tmp_path) as process:
        process.kill()
        process.wait()
        SqliteStore.open(tmp_path).close()


def test_a_lock_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """C25: the error names the directory."""
    (tmp_path / "lock").mkdir()
    with pytest.raises(StorageError, match="cannot write in"):
        DirectoryLock(tmp_path)


def test_releasing_twice_is_fine(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    lock.release()
    lock.release()
    DirectoryLock(tmp_path).release()
