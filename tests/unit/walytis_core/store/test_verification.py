"""What the check finds and mends, and what becomes of a damaged block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.suites.dags import Dag
from tests.suites.store_suite import LOTS, assert_invariants, observe, pages
from walytis_core.block import Block
from walytis_core.errors import StorageError
from walytis_core.store import schema
from walytis_core.store.port import Commit, Query
from walytis_core.store.sqlite import SqliteChain, SqliteStore


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def dag() -> Dag:
    return Dag(3)


@pytest.fixture
def store(directory: Path, dag: Dag) -> Iterator[SqliteStore]:
    with closing(SqliteStore.open(directory)) as store:
        store.create_chain(dag.genesis, "test").commit(dag.step(300, 0))
        yield store


@pytest.fixture
def chain(store: SqliteStore, dag: Dag) -> SqliteChain:
    return store.chain(dag.genesis.id)


def flip_a_bit_in_the_file(store: SqliteStore, directory: Path, block: Block, at: int) -> SqliteStore:
    """Closes the store, and flips a bit of the block's bytes where they stand in the file."""
    store.close()
    file = directory / schema.FILE_NAME
    content = bytearray(file.read_bytes())
    assert content.count(block.encoded) == 1
    content[content.index(block.encoded) + at % len(block.encoded)] ^= 0x10
    file.write_bytes(content)
    return SqliteStore.open(directory)


@pytest.mark.parametrize("at", [0, 3, 60, -100, -1])
def test_a_flipped_bit_is_found_and_healed(store: SqliteStore, directory: Path, dag: Dag, at: int) -> None:
    """C24: found by `verify`, set aside, put back; the block keeps its number all the while."""
    before = observe(store.chain(dag.genesis.id), dag)
    block = list(dag.blocks.values())[150]
    with closing(flip_a_bit_in_the_file(store, directory, block, at)) as again:
        chain = again.chain(dag.genesis.id)
        report = chain.verify()
        assert (report.checked, report.corrupt, report.problems) == (301, (block.id,), ())
        assert chain.corrupt() == [block.id]
        assert block.id not in {row.id for row in pages(chain)}
        assert chain.encoded([block.id]) == {}
        assert chain.known([block.id]) == {block.id}
        assert chain.verify().corrupt == (block.id,), "still, until it is healed"
        chain.heal(block.id, block.encoded)
        assert chain.corrupt() == []
        assert observe(chain, dag) == before
        assert chain.verify().corrupt == ()


def test_a_reader_never_sees_damaged_bytes(store: SqliteStore, directory: Path, dag: Dag) -> None:
    """C24: whoever meets them first sets them aside."""
    block = list(dag.blocks.values())[150]
    reads = (
        lambda chain: chain.encoded([block.id]),
        lambda chain: chain.scan(chain.metas([block.id])[block.id].number - 1, 1, 1),
        lambda chain: chain.query(Query(), newest_first=True, limit=LOTS),
        lambda chain: chain.canonical(None, LOTS),
    )
    for read in reads:
        store = flip_a_bit_in_the_file(store, directory, block, 200)
        chain = store.chain(dag.genesis.id)
        assert block.encoded not in str(read(chain)).encode()
        assert chain.corrupt() == [block.id]
        chain.heal(block.id, block.encoded)
        assert chain.corrupt() == []
    store.close()


def test_a_page_of_damaged_blocks_is_not_the_end(store: SqliteStore, chain: SqliteChain, dag: Dag) -> None:
    """C24: a peer that reads on gets the rest."""
    with store._database.write() as connection:
        connection.execute("UPDATE blocks SET encoded = x'00' WHERE number BETWEEN 10 AND 99")
    assert [row.number for row in chain.scan(9, 3, LOTS)] == [100, 101, 102]
    assert len(chain.corrupt()) == 90


def test_a_damaged_member_can_leave_and_come_back(store: SqliteStore, chain: SqliteChain, dag: Dag) -> None:
    """C24: its topics and edges take the new number without its bytes."""
    block = dag.grow(topics=["a", "b"])
    chain.commit(Commit(blocks=[block]))
    with store._database.write() as connection:
        connection.execute("UPDATE blocks SET encoded = x'00' WHERE number = ?", (chain.last,))
    chain.commit(Commit(unfold=[block.id]))
    chain.commit(Commit(refold=[block.id]))
    chain.heal(block.id, block.encoded)
    assert_invariants(chain)
    assert chain.query(Query(topic="b"), newest_first=True, limit=1)[0].id == block.id
    assert not chain.verify().problems


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE blocks SET id = randomblob(32) WHERE number = 77",
        "UPDATE blocks SET author = author % 3 + 1 WHERE number = 77",
        "UPDATE blocks SET author = 999 WHERE number = 77",
        "UPDATE blocks SET seq = seq + 1, height = 5 WHERE number = 77",
        "UPDATE blocks SET time = 0, type = NULL WHERE number BETWEEN 70 AND 79",
        "DELETE FROM edges WHERE child = 77",
        "DELETE FROM labels WHERE number BETWEEN 70 AND 79",
    ],
)
def test_rows_are_written_anew_from_signed_bytes(store: SqliteStore, chain: SqliteChain, dag: Dag, damage: str) -> None:
    """C24: damage beside the bytes is reported and mended, for the bytes prove themselves."""
    store._shared.recent._entries.clear()
    before = observe(chain, dag)
    with store._database.write() as connection:
        connection.execute(damage)
    assert observe(chain, dag) != before
    report = chain.verify()
    assert report.problems
    assert not report.corrupt
    assert observe(chain, dag) == before
    assert not chain.verify().problems


def test_what_was_set_aside_without_cause_comes_back(store: SqliteStore, chain: SqliteChain, dag: Dag) -> None:
    """C24: bytes that verify need not be fetched."""
    with store._database.write() as connection:
        connection.execute("UPDATE blocks SET corrupt = 1 WHERE number = 77")
    assert chain.corrupt()
    assert not chain.verify().corrupt
    assert chain.corrupt() == []


def test_indexes_are_made_anew(store: SqliteStore, chain: SqliteChain, dag: Dag) -> None:
    """C24: an index that has lost entries."""
    before = observe(chain, dag)
    with store._database.write() as connection:
        connection.execute("PRAGMA writable_schema = 1")
        # an index that says it is partial has no entry of what is inserted from now on
        sql = "UPDATE sqlite_master SET sql = sql || ' WHERE number < 0' WHERE name = 'blocks_by_seq'"
        connection.execute(sql)
        connection.execute("PRAGMA schema_version = 1000")
    with store._database.write() as connection:
        connection.execute("REINDEX blocks_by_seq")
        sql = "UPDATE sqlite_master SET sql = replace(sql, ' WHERE number < 0', '') WHERE name = 'blocks_by_seq'"
        connection.execute(sql)
        connection.execute("PRAGMA schema_version = 1001")
        connection.execute("PRAGMA writable_schema = 0")
    assert observe(chain, dag) != before
    assert chain.verify().problems
    assert observe(chain, dag) == before
    assert not chain.verify().problems


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE chains SET count = count + 1", "count"),
        ("UPDATE blocks SET unfolded = 1 WHERE number = 77", "in front of it"),
        ("DELETE FROM blocks WHERE number = 77", "is missing"),
    ],
)
def test_what_bytes_cannot_mend_is_reported(
    store: SqliteStore, directory: Path, dag: Dag, damage: str, problem: str
) -> None:
    """C24: the report says what is wrong."""
    with store._database.write() as connection:
        connection.execute(damage)
    store.close()
    with closing(SqliteStore.open(directory)) as again:
        assert any(problem in found for found in again.chain(dag.genesis.id).verify().problems)


def test_a_forged_block_is_corrupt(store: SqliteStore, chain: SqliteChain, dag: Dag) -> None:
    """C24: bytes under their right id, but not signed, or of another chain."""
    genuine, other = dag.grow(), Dag(4).grow()
    encoded = genuine.encoded[:-1] + bytes([genuine.encoded[-1] ^ 1])
    chain.commit(Commit(blocks=[genuine]))
    with store._database.write() as connection:
        for forged in (encoded, other.encoded):
            connection.execute("UPDATE blocks SET encoded = ? WHERE number = ?", (forged, chain.last))
    assert chain.verify().corrupt == (genuine.id,)


def test_a_malformed_file_is_a_storage_error(store: SqliteStore, directory: Path, dag: Dag) -> None:
    """C24: damage below the rows, where SQLite itself gives up."""
    store.close()
    file = directory / schema.FILE_NAME
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(StorageError) as caught, closing(SqliteStore.open(directory)) as again:
        again.chain(dag.genesis.id).verify()
    assert "damaged" in str(caught.value)
    assert caught.value.hint
    (directory / schema.FILE_NAME).write_bytes(bytes(content[:50]))
    with pytest.raises(StorageError):
        SqliteStore.open(directory)
