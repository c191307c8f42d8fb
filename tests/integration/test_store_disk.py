"""A disk that is full, fails or may not be written."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.suites.dags import Dag
from tests.suites.store_suite import observe
from walytis_core.cid import RAW_PREFIX, Cid
from walytis_core.errors import StorageError
from walytis_core.store import schema
from walytis_core.store.port import ChainStore, Commit
from walytis_core.store.sqlite import SqliteStore


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


def commit_until_refused(chain: ChainStore, dag: Dag) -> tuple[StorageError, Commit]:
    """Commits until the disk refuses; the error, and what was refused."""
    for _ in range(10_000):
        commit = dag.step(5, 0)
        try:
            chain.commit(commit)
        except StorageError as error:
            return error, commit
        assert chain.known([block.id for block in commit.blocks])
    raise AssertionError("the disk took everything")


def forget(dag: Dag, commit: Commit) -> None:
    """Takes what was refused out of the model."""
    for block in commit.blocks:
        del dag.blocks[block.id]


def assert_it_recovers(store: SqliteStore, dag: Dag, refused: Commit) -> None:
    """Everything acknowledged is there, and what was refused can now be written."""
    chain = store.chain(dag.genesis.id)
    forget(dag, refused)
    assert chain.known(list(dag.blocks)) == set(dag.blocks)
    assert not chain.known([block.id for block in refused.blocks])
    assert not chain.verify().problems
    dag.blocks.update((block.id, block) for block in refused.blocks)
    numbers = chain.commit(refused)
    assert list(numbers) == [block.id for block in refused.blocks]
    chain.commit(dag.step(20, 0))
    assert chain.count == len(dag.blocks) - 1


def test_a_full_database_refuses_and_recovers(directory: Path) -> None:
    """C25: `StorageError`, nothing acknowledged is lost, and it goes on when there is space again."""
    dag = Dag(5)
    dag.extra_parents = 0.0
    with closing(SqliteStore.open(directory)) as store:
        chain = store.create_chain(dag.genesis, "test")
        with store._database.write() as connection:
            connection.execute("PRAGMA max_page_count = 60")
        error, refused = commit_until_refused(chain, dag)
        assert "full" in str(error)
        assert "space" in error.hint
        forget(dag, refused)
        before = observe(chain, dag)
        dag.blocks.update((block.id, block) for block in refused.blocks)
        for write in (lambda: chain.put("key", bytes(100_000)), lambda: chain.commit(refused)):
            with pytest.raises(StorageError):
                write()
        assert observe(chain, dag)["last"] == before["last"]
        with store._database.write() as connection:
            connection.execute("PRAGMA max_page_count = 1000000")
        assert_it_recovers(store, dag, refused)
    with closing(SqliteStore.open(directory)) as store:
        assert store.chain(dag.genesis.id).known(list(dag.blocks)) == set(dag.blocks)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Makes writes beyond a size fail half-way, as a failing disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fails_half_way_refuses_and_recovers(directory: Path) -> None:
    """C25: a write that was cut short leaves nothing behind."""
    dag = Dag(6)
    dag.extra_parents = 0.0
    with closing(SqliteStore.open(directory)) as store:
        chain = store.create_chain(dag.genesis, "test")
        with file_size_limit((directory / (schema.FILE_NAME + "-wal")).stat().st_size + 300_000):
            error, refused = commit_until_refused(chain, dag)
        assert error.__cause__ is not None
        assert_it_recovers(store, dag, refused)
    with closing(SqliteStore.open(directory)) as store:
        assert store.chain(dag.genesis.id).count == len(dag.blocks) - 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "walytis-test", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs rights that this process does not have")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_refuses_and_recovers(small_disk: Path) -> None:
    """C25: a real one, filled by us and by somebody else."""
    dag = Dag(7)
    dag.extra_parents = 0.0
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    with closing(SqliteStore.open(small_disk)) as store:
        chain = store.create_chain(dag.genesis, "test")
        error, refused = commit_until_refused(chain, dag)
        assert "full" in str(error)
        with pytest.raises(StorageError):
            chain.put_side(Cid.of(b"leaf", RAW_PREFIX), bytes(1 << 20))
        ballast.unlink()
        assert_it_recovers(store, dag, refused)
    with closing(SqliteStore.open(small_disk)) as store:
        assert store.chain(dag.genesis.id).count == len(dag.blocks) - 1


def test_a_disk_full_before_the_store_is_made(small_disk: Path) -> None:
    """C25: nothing is left half made."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes((1 << 20) - 8192))
    with pytest.raises(StorageError):
        SqliteStore.open(small_disk)
    ballast.unlink()
    SqliteStore.open(small_disk).close()


def test_a_read_only_disk_refuses_and_recovers(small_disk: Path) -> None:
    """C25: whether it was read-only before or is from now on."""
    dag = Dag(8)
    SqliteStore.open(small_disk).close()
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    with pytest.raises(StorageError, match="cannot write in"):
        SqliteStore.open(small_disk)
    subprocess.run([*remount[:2], "remount,rw", str(small_disk)], check=True)
    with closing(SqliteStore.open(small_disk)) as store:
        store.create_chain(dag.genesis, "test").commit(dag.step(5, 0))


def test_a_directory_of_others_refuses(tmp_path: Path) -> None:
    """C25: permissions; root has them all, so this tests the rest."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError):
        SqliteStore.open(tmp_path / "store")
    tmp_path.chmod(0o700)
    SqliteStore.open(tmp_path / "store").close()


@pytest.mark.parametrize("in_the_way", ["store", "store/lock", "store/walytis.db"])
def test_something_else_in_the_way(tmp_path: Path, in_the_way: str) -> None:
    """C25: a file where the directory should be, a directory where a file should be."""
    path = tmp_path / in_the_way
    if in_the_way == "store":
        path.write_bytes(b"a file")
    else:
        path.mkdir(parents=True)
    with pytest.raises(StorageError) as caught:
        SqliteStore.open(tmp_path / "store")
    assert caught.value.hint
    path.unlink() if path.is_file() else path.rmdir()
    SqliteStore.open(tmp_path / "store").close()
