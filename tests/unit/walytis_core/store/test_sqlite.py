"""The store in SQLite keeps the contract, and what is its own: files, numbers, copies, plans, threads."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.suites.dags import Dag
from tests.suites.store_suite import LOTS, StoreSuite, observe, pages, queries
from walytis_core.cid import RAW_PREFIX, BlockId, Cid
from walytis_core.errors import ClosedError, NotFoundError, StorageError
from walytis_core.limits import Limits
from walytis_core.store import purge, schema
from walytis_core.store.memory import MemoryStore
from walytis_core.store.port import Commit, Position, Query, Store
from walytis_core.store.sqlite import SqliteStore


class TestSqliteStore(StoreSuite):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "store"

    def make(self, directory: Path) -> Store:
        return SqliteStore.open(self.directory)

    def reopen(self, store: Store) -> Store:
        store.close()
        return SqliteStore.open(self.directory)


class TestSqliteStoreInMemory(StoreSuite):
    def make(self, directory: Path) -> Store:
        return SqliteStore.open_memory()

    def reopen(self, store: Store) -> Store:
        return store


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(directory: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore.open(directory)) as store:
        yield store


@pytest.mark.parametrize("seed", range(8))
def test_it_does_as_the_model_does(directory: Path, seed: int) -> None:
    """C14, C20: over random chains with forks, openings and deletions, every answer equals the model's."""
    dag = Dag(seed, authors=2 + seed % 3)
    model, store = MemoryStore(), SqliteStore.open(directory)
    for kept in (model, store):
        kept.create_chain(dag.genesis, "test")
    for step in range(10):
        if dag.random.random() < 0.2:
            store.close()
            store = SqliteStore.open(directory)
        commit = dag.step(dag.random.randrange(1, 8), fork_chance=0.1 * (step > 2))
        mine, other = (kept.chain(dag.genesis.id) for kept in (store, model))
        assert mine.commit(commit) == other.commit(commit)
        assert observe(mine, dag) == observe(other, dag)
    assert not store.chain(dag.genesis.id).verify().problems
    store.close()


# --- files ---


def files_of(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_only_this_user_can_read_the_directory(store: SqliteStore, directory: Path) -> None:
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / schema.FILE_NAME).stat().st_mode) == 0o600


def test_closing_leaves_one_database_file(store: SqliteStore, directory: Path) -> None:
    dag = Dag(1)
    store.create_chain(dag.genesis, "test").commit(dag.step(20, 0))
    store.close()
    assert files_of(directory) == ["lock", schema.FILE_NAME]


def test_after_close_everything_says_so(store: SqliteStore) -> None:
    chain = store.create_chain(Dag(1).genesis, "test")
    store.close()
    for use in (chain.heads, lambda: chain.put("key", b""), lambda: chain.commit(Commit()), store.chains):
        with pytest.raises(ClosedError):
            use()


def test_what_creation_left_behind_is_no_matter(directory: Path) -> None:
    """C22: a process that died while it made the file."""
    directory.mkdir()
    (directory / (schema.FILE_NAME + ".new")).write_bytes(b"half a file")
    with closing(SqliteStore.open(directory)) as store:
        assert store.chains() == {}


@pytest.mark.parametrize("version", [2, 77])
def test_a_newer_format_is_left_untouched(directory: Path, version: int) -> None:
    """C29: refused with a clear error."""
    SqliteStore.open(directory).close()
    file = directory / schema.FILE_NAME
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version={version}")
    before = file.read_bytes(), files_of(directory), file.stat().st_mtime_ns
    with pytest.raises(StorageError, match=f"has format {version}") as caught:
        SqliteStore.open(directory)
    assert "Update" in caught.value.hint
    assert (file.read_bytes(), files_of(directory), file.stat().st_mtime_ns) == before


def test_a_newer_format_in_the_log_is_left_untouched(directory: Path, tmp_path: Path) -> None:
    """C29: the process that raised the version died before its log was merged."""
    SqliteStore.open(directory).close()
    file, crashed = directory / schema.FILE_NAME, tmp_path / "crashed"
    crashed.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version=2")
        for name in (schema.FILE_NAME, schema.FILE_NAME + "-wal"):
            shutil.copy(directory / name, crashed)
    before = {path.name: path.read_bytes() for path in crashed.iterdir()}
    with pytest.raises(StorageError, match="has format 2"):
        SqliteStore.open(crashed)
    assert {name: (crashed / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 10, None])
def test_another_programs_file_is_left_untouched(directory: Path, content: bytes | None) -> None:
    """C29: so is a file that is not ours."""
    directory.mkdir()
    file = directory / schema.FILE_NAME
    if content is None:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE theirs (x)")
    else:
        file.write_bytes(content)
    before = file.read_bytes()
    with pytest.raises(StorageError, match="not a walytis store"):
        SqliteStore.open(directory)
    assert file.read_bytes() == before


def test_a_copied_directory_is_noticed_until_acknowledged(store: SqliteStore, directory: Path, tmp_path: Path) -> None:
    """C27: a directory restored from an old copy is known as one, also after a crash in between."""
    assert not store.device_changed
    store.close()
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    for _ in range(2):
        with closing(SqliteStore.open(copy)) as again:
            assert again.device_changed
    with closing(SqliteStore.open(copy)) as again:
        again.acknowledge_device()
        assert not again.device_changed
    with closing(SqliteStore.open(copy)) as again:
        assert not again.device_changed


# --- deletion ---


def test_a_deletion_cut_short_is_finished_at_the_next_opening(store: SqliteStore, directory: Path) -> None:
    """C27, C22: the chain is gone at once, its rows at the latest then; its pages are used again."""
    dag = Dag(1)
    chain = store.create_chain(dag.genesis, "test")
    chain.commit(dag.step(60, 0.1))
    chain.put_side(Cid.of(b"leaf", RAW_PREFIX), bytes(1 << 20))
    with store._database.write() as connection:
        purge.mark(connection, dag.genesis.id[4:], store._shared.last)
    assert store.chains() == {}
    store.close()
    with closing(SqliteStore.open(directory)) as again, again._database.reader() as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        counts = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
        assert {name for name, count in counts.items() if count} == {"device", "numbers", "sqlite_sequence"}
        assert connection.execute("PRAGMA freelist_count").fetchone()[0] > 256


def test_a_deleted_chain_takes_no_more(store: SqliteStore) -> None:
    """C27: what still holds it cannot write rows of nobody."""
    dag = Dag(1)
    chain = store.create_chain(dag.genesis, "test")
    store.delete_chain(dag.genesis.id)
    block = dag.grow()
    uses = (
        lambda: chain.commit(Commit(blocks=[block])),
        lambda: chain.set_cursor("a", 1),
        lambda: chain.put("a", b"b"),
        lambda: chain.put_side(Cid.of(b""), b""),
    )
    for use in uses:
        with pytest.raises(NotFoundError):
            use()


def test_a_number_is_not_given_twice_across_openings(store: SqliteStore, directory: Path) -> None:
    """C16: a cursor never skips a block, even when the last one was refolded or its chain deleted."""
    dag = Dag(1)
    chain = store.create_chain(dag.genesis, "test")
    first, second = dag.line(2)
    chain.commit(Commit(blocks=[first, second]))
    chain.commit(Commit(unfold=[second.id]))
    assert chain.commit(Commit(refold=[second.id])) == {second.id: 4}
    store.close()
    with closing(SqliteStore.open(directory)) as again:
        again.delete_chain(dag.genesis.id)
    with closing(SqliteStore.open(directory)) as again:
        assert again.create_chain(dag.genesis, "again").last == 5


# --- size and speed ---


def test_a_refusing_disk_is_told_until_it_takes_a_write(store: SqliteStore) -> None:
    """C25: reading and idling do not make a full disk forgotten; a write that succeeds does."""
    assert store.refusal is None
    with store._database.write() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageError, match="full") as refused:
        store.put("big", bytes(100_000))
    assert store.get("big") is None
    assert store.refusal is refused.value
    with store._database.reader() as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    assert store.refusal is refused.value
    store.put("small", b"")
    assert store.refusal is None


def test_the_log_is_lengthened_ahead_of_small_commits(store: SqliteStore, directory: Path, tmp_path: Path) -> None:
    """C23: hundreds of small commits lengthen the log a few times; what is ahead in it is no part of the store (C22)."""
    log = directory / "walytis.db-wal"
    sizes = []
    for number in range(300):
        store.put("small", number.to_bytes(100, "big"))
        sizes.append(log.stat().st_size)
    assert len(set(sizes)) <= 6
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)  # as a process that is killed leaves it
    with closing(SqliteStore.open(copy)) as again:
        assert again.get("small") == (299).to_bytes(100, "big")


def test_the_log_is_not_lengthened_behind_a_long_commit(store: SqliteStore, directory: Path) -> None:
    """C23: what comes in bulk is written once."""
    log = directory / "walytis.db-wal"
    before = log.stat().st_size
    store.put("big", bytes(500_000))
    assert 500_000 < log.stat().st_size - before < 600_000


def test_large_content_survives(store: SqliteStore, directory: Path) -> None:
    """C26: 300 blocks of 100 kB with 16 long topics survive stop and start, all readable."""
    dag = Dag(1, authors=1)
    dag.extra_parents = 0.0
    chain = store.create_chain(dag.genesis, "test")
    topics = [f"{n:02}" + "t" * (Limits.max_topic_bytes - 2) for n in range(Limits.max_topics)]
    blocks = dag.line(300, payload=os.urandom(30_000), topics=topics)
    for start in range(0, 300, 100):
        chain.commit(Commit(blocks=blocks[start : start + 100]))
    leaves = [block.id + bytes(70_000) for block in blocks]
    for leaf in leaves:
        chain.put_side(Cid.of(leaf, RAW_PREFIX), leaf)
    store.close()
    with closing(SqliteStore.open(directory)) as again:
        chain = again.chain(dag.genesis.id)
        assert [row.encoded for row in pages(chain, 64)][1:] == [block.encoded for block in blocks]
        assert all(chain.side(Cid.of(leaf, RAW_PREFIX)) == leaf for leaf in leaves)
        assert len(chain.query(Query(topic=topics[15]), newest_first=True, limit=LOTS)) == 300


def test_no_read_walks_the_chain(store: SqliteStore) -> None:
    """C23: every query is a search of an index, in its order."""
    dag = Dag(1)
    chain = store.create_chain(dag.genesis, "test")
    chain.commit(dag.step(30, 0.1))
    store._shared.recent._entries.clear()
    statements: set[str] = set()
    with store._database.reader() as connection:
        connection.set_trace_callback(statements.add)
    observe(chain, dag)
    for query in queries(dag):
        chain.query(query, newest_first=True, limit=10)
    with store._database.reader() as connection:
        connection.set_trace_callback(None)
        plans = {sql: connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in statements}
    assert len(plans) > 100
    for sql, plan in plans.items():
        steps = [step for *_, step in plan]
        assert not [step for step in steps if step.startswith("SCAN") and "subquery" not in step], (sql, steps)
        if "LIMIT" in sql:
            sorts = [step for step in steps if "TEMP B-TREE" in step]  # of ids that begin alike only, at one height
            assert sorts in ([], ["USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"] if "b.start" in sql else []), (
                sql,
                steps,
            )


def test_ids_that_begin_alike_keep_the_canonical_order(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """C12: the index of the canonical order holds the start of an id only; pages are cut between such ids all the same."""
    monkeypatch.setattr("walytis_core.store.held._ID_START", 0)
    dag = Dag(3, authors=6)
    chain = store.create_chain(dag.genesis, "test")
    chain.commit(dag.step(60, 0))
    with store._database.write() as connection:
        connection.execute("DROP INDEX blocks_by_height")
        connection.execute("ALTER TABLE blocks DROP COLUMN start")
        connection.execute("ALTER TABLE blocks ADD COLUMN start BLOB GENERATED ALWAYS AS (x'') VIRTUAL")
        connection.execute("CREATE INDEX blocks_by_height ON blocks (chain, height, start)")
    whole = [row.id for row in chain.canonical(None, LOTS)]
    assert whole == sorted(whole, key=lambda id: (dag.blocks[id].height, id))
    assert len(whole) == 60
    paged: list[BlockId] = []
    after: Position | None = None
    while page := chain.canonical(after, 1):
        paged += [row.id for row in page]
        after = Position(dag.blocks[paged[-1]].height, paged[-1])
    assert paged == whole


def test_memory_of_recent_blocks_is_bounded(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("walytis_core.store.held._RECENT", 10)
    dag = Dag(1)
    chain = store.create_chain(dag.genesis, "test")
    chain.commit(dag.step(50, 0))
    assert len(store._shared.recent._entries) == 10
    assert len(chain.metas(list(dag.blocks))) == 51
    chain.commit(dag.step(5, 0))
    assert chain.count == 55


def test_threads_read_while_others_commit(store: SqliteStore) -> None:
    """What a thread has committed, it sees; nobody waits for a reader with a cursor half read."""
    dags = [Dag(seed) for seed in range(3)]
    steps = [[dag.step(5, 0) for _ in range(20)] for dag in dags]
    chains = [store.create_chain(dag.genesis, str(n)) for n, dag in enumerate(dags)]
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for commit in steps[index]:
                numbers = chains[index].commit(commit)
                assert [row.number for row in chains[index].scan(min(numbers.values()) - 1, 5, LOTS)] == list(
                    numbers.values()
                )
                assert len(chains[index - 1].query(Query(), newest_first=True, limit=10)) <= 10
        except BaseException as error:  # noqa: BLE001 - shown by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    with store._database.reader() as connection:
        half_read = connection.execute("SELECT number FROM blocks")
        assert half_read.fetchone()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        half_read.close()
    assert failures == []
    assert [chain.count for chain in chains] == [100] * 3
    assert len({row.number for chain in chains for row in pages(chain)}) == 303
