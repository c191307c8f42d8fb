"""What is read of one chain in SQLite: `port.Held`, and the pages of `port.ChainStore`.

Invariants:

- Every read of many things is one query on an index that is named in it; nothing walks the chain but what says so.
- Bytes whose hash is not their id never leave the store: the block is set aside as corrupt and left out of the page.
- Metas of recent blocks come from memory: nearly every new block names recent ones. Commits alone fill it, since what
  a reader has read may be old by the time it would write it down.

It knows no rules, and does not decode blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from walytis_core.cid import CID_BYTES, DAG_CBOR_PREFIX, BlockId
from walytis_core.store.database import Database, Record
from walytis_core.store.names import Names
from walytis_core.store.port import Meta, Position, Proof, Query, Row
from walytis_core.store.queries import GREATEST, Bounds, choose, page

_PREFIX: Final = len(DAG_CBOR_PREFIX)
_IDS_PER_QUERY: Final = 256
_RECENT: Final = 8192
_TIPS_PER_PAGE: Final = 1024
_ID_START: Final = 8
_METAS: Final = """
    SELECT b.id, b.number, a.author, b.seq, b.height, coalesce(t.type, ''), b.unfolded
    FROM blocks b INDEXED BY blocks_by_id CROSS JOIN authors a ON a.key = b.author LEFT JOIN types t ON t.key = b.type
    WHERE b.chain = ? AND b.id IN ({})
"""
_ROWS: Final = """
    SELECT b.number, b.id, a.author, b.seq, b.unfolded, b.encoded
    FROM blocks b INDEXED BY {} CROSS JOIN authors a ON a.key = b.author
"""
_SCAN: Final = (
    _ROWS.format("blocks_by_chain") + "WHERE b.chain = ? AND b.number > ? AND b.corrupt = 0 ORDER BY b.number LIMIT ?"
)
_CANONICAL: Final = (
    _ROWS.format("blocks_by_height")
    + """
    WHERE b.chain = ? AND (b.height, b.start) >= (?, ?) AND (b.height, b.start) <= (?, ?)
        AND (b.height, b.id) > (?, ?) AND (b.height, b.id) < (?, ?) AND b.unfolded = 0 AND b.corrupt = 0
    ORDER BY b.height, b.start, b.id LIMIT ?
"""
)
_TIPS: Final = """
    SELECT a.author, b.seq, b.id FROM authors a CROSS JOIN blocks b ON b.number = (
        SELECT number FROM blocks INDEXED BY blocks_by_seq WHERE author = a.key ORDER BY seq DESC LIMIT 1)
    WHERE a.chain = ? AND a.author > ? ORDER BY a.author LIMIT ?
"""
_NO_CHILD: Final = """
    b.unfolded = 0 AND b.number > ? AND NOT EXISTS (
        SELECT 1 FROM edges e CROSS JOIN blocks c ON c.number = e.child WHERE e.parent = b.number AND c.unfolded = 0)
"""
_HEADS: Final = """
    SELECT b.number, b.id FROM authors a CROSS JOIN blocks b ON b.number = (
        SELECT number FROM blocks INDEXED BY blocks_by_seq WHERE author = a.key ORDER BY seq DESC LIMIT 1)
    WHERE a.chain = ? AND
""" + _NO_CHILD  # fmt: skip  # noqa: S608 - constants
_FROZEN_HEADS: Final = """
    SELECT b.number, b.id FROM authors a CROSS JOIN blocks b INDEXED BY blocks_by_seq ON b.author = a.key
    WHERE a.chain = ? AND a.author = ? AND b.seq >= ? AND
""" + _NO_CHILD  # fmt: skip  # noqa: S608 - constants


class Recent:
    """The metas of the blocks committed last, of all chains of a store, in bounded memory."""

    def __init__(self) -> None:
        self._entries: dict[bytes, tuple[int, Meta]] = {}
        self.get = self._entries.get

    def add(self, chain: int, metas: Mapping[BlockId, Meta]) -> None:
        """Takes what a commit has written or changed."""
        for id, meta in metas.items():
            self._entries[id] = (chain, meta)
        if len(self._entries) > _RECENT:
            for oldest in list(islice(self._entries, len(self._entries) - _RECENT)):
                del self._entries[oldest]


@dataclass(slots=True)
class Shared:
    """What all chains of one store have in common; changed under the database's lock."""

    database: Database
    last: int
    recent: Recent = field(default_factory=Recent)
    names: Names = field(default_factory=Names)

    def __post_init__(self) -> None:
        self.database.on_rollback = self.names.forget


def digest_lists(ids: Iterable[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Cuts ids into the lists of `IN (...)`: placeholders and digests. Few lengths, so that few statements are kept."""
    digests = [id[_PREFIX:] for id in ids if id[:_PREFIX] == DAG_CBOR_PREFIX and len(id) == CID_BYTES]
    for start in range(0, len(digests), _IDS_PER_QUERY):
        part = digests[start : start + _IDS_PER_QUERY]
        part += part[-1:] * ((1 << (len(part) - 1).bit_length()) - len(part))
        yield ",".join("?" * len(part)), part


def stored_metas(
    read: Callable[[str, Sequence[object]], Iterable[Record]], chain: int, ids: Iterable[bytes]
) -> dict[bytes, Meta]:
    """The metas of those of `ids` that are in the tables, in one query per few hundred."""
    return {
        to_id(id): Meta(number, author, seq, height, type, not unfolded)
        for marks, digests in digest_lists(ids)
        for id, number, author, seq, height, type, unfolded in read(_METAS.format(marks), (chain, *digests))
    }


def to_id(digest: bytes) -> BlockId:
    """The block id of a stored digest."""
    return BlockId(DAG_CBOR_PREFIX + digest)


class SqliteHeld:
    """One chain's members in SQLite. See `port.Held`."""

    def __init__(self, shared: Shared, key: int, genesis: int, last: int, count: int) -> None:
        self._shared = shared
        self._database = shared.database
        self._recent = shared.recent.get
        self._key = key
        self._genesis = genesis
        self._last = last
        self._count = count

    @property
    def last(self) -> int:
        """The number of the newest member; 0 when there is none."""
        return self._last

    @property
    def count(self) -> int:
        """How many folded blocks there are, without the genesis."""
        return self._count

    def known(self, ids: Collection[bytes]) -> set[bytes]:
        """Those of `ids` that are members."""
        found, others = self._recall(ids)
        known = set(found)
        for marks, digests in digest_lists(others):
            sql = f"SELECT id FROM blocks INDEXED BY blocks_by_id WHERE chain = ? AND id IN ({marks})"  # noqa: S608 - placeholders
            known.update(to_id(id) for (id,) in self._database.read(sql, (self._key, *digests)))
        return known

    def metas(self, ids: Collection[bytes]) -> dict[bytes, Meta]:
        """The `Meta` of those of `ids` that are members."""
        found, others = self._recall(ids)
        if others:
            found.update(stored_metas(self._database.read, self._key, others))
        return found

    def _recall(self, ids: Collection[bytes]) -> tuple[dict[bytes, Meta], list[bytes]]:
        """What memory knows of `ids`, and the ids it does not know."""
        recent, chain = self._recent, self._key
        found: dict[bytes, Meta] = {}
        others: list[bytes] = []
        for id in ids:
            entry = recent(id)
            if entry is not None and entry[0] == chain:
                found[id] = entry[1]
            else:
                others.append(id)
        return found, others

    def encoded(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """The bytes of those of `ids` that are members and not set aside."""
        found: dict[bytes, bytes] = {}
        for marks, digests in digest_lists(ids):
            sql = _ROWS.format("blocks_by_id") + f"WHERE b.chain = ? AND b.id IN ({marks}) AND b.corrupt = 0"
            found.update((row.id, row.encoded) for row in self._rows(sql, (self._key, *digests)))
        return found

    def at(self, author: bytes, seq: int) -> list[BlockId]:
        """The members by `author` with this seq, by number."""
        return self.above(author, seq, seq + 1)

    def above(self, author: bytes, seq: int, below: int | None = None) -> list[BlockId]:
        """The members by `author` with `seq <= their seq < below`, by number."""
        sql = """
            SELECT b.id FROM authors a CROSS JOIN blocks b INDEXED BY blocks_by_seq ON b.author = a.key
            WHERE a.chain = ? AND a.author = ? AND b.seq >= ? AND b.seq < ? ORDER BY b.number
        """
        above = GREATEST if below is None else below
        return [to_id(id) for (id,) in self._database.read(sql, (self._key, author, seq, above))]

    def next_number(self, author: bytes, seq: int) -> int | None:
        """The smallest number among the author's members with a seq greater than `seq`."""
        sql = """
            SELECT min(b.number) FROM authors a CROSS JOIN blocks b INDEXED BY blocks_by_seq ON b.author = a.key
            WHERE a.chain = ? AND a.author = ? AND b.seq > ?
        """
        number: int | None = self._database.read(sql, (self._key, author, seq))[0][0]
        return number

    def scan(self, after: int, max_blocks: int, max_bytes: int) -> list[Row]:
        """Members with number > `after`, by number, up to the limits but at least one if any."""
        return self._rows(_SCAN, (self._key, after, max(max_blocks, 1)), max_bytes)

    def children(self, id: bytes) -> list[BlockId]:
        """The members that name this one as parent or prev, by number."""
        sql = """
            SELECT c.id FROM blocks p INDEXED BY blocks_by_id CROSS JOIN edges e ON e.parent = p.number
            CROSS JOIN blocks c ON c.number = e.child
            WHERE p.chain = ? AND p.id = ? ORDER BY e.child
        """
        return [
            to_id(child)
            for _, (digest,) in digest_lists((id,))
            for (child,) in self._database.read(sql, (self._key, digest))
        ]

    def tips(self) -> Iterator[tuple[bytes, int, BlockId]]:
        """For each author with members: the greatest seq and one member's id at it."""
        after = b""
        while page := self._database.read(_TIPS, (self._key, after, _TIPS_PER_PAGE)):
            yield from ((author, seq, to_id(id)) for author, seq, id in page)
            after = page[-1][0]

    def heads(self) -> list[BlockId]:
        """Folded members, without the genesis, that no folded member names; by number.

        All but its newest block of an author that did not fork has a folded child: the next one. Of an author that
        did, this holds below the block before the fork.
        """
        found = set(self._database.read(_HEADS, (self._key, self._genesis)))
        for proof in self.proofs().values():
            found.update(self._database.read(_FROZEN_HEADS, (self._key, proof.author, proof.seq - 1, self._genesis)))
        return [to_id(id) for _, id in sorted(found)]

    def proofs(self) -> dict[bytes, Proof]:
        """The proof kept for each frozen author."""
        sql = "SELECT author, seq, first, second FROM proofs WHERE chain = ?"
        return {row[0]: Proof(*row) for row in self._database.read(sql, (self._key,))}

    def unfolded(self) -> set[BlockId]:
        """The members outside the folded set."""
        sql = "SELECT id FROM blocks INDEXED BY blocks_unfolded WHERE chain = ? AND unfolded = 1"
        return {to_id(id) for (id,) in self._database.read(sql, (self._key,))}

    # --- pages ---

    def query(self, query: Query, newest_first: bool, limit: int) -> list[Row]:
        """Up to `limit` folded blocks, by number or by falling number."""
        bounds = Bounds.of(query, self._genesis, self._last)
        indexes = choose(query, bounds, self._key, self._database.read)
        if limit <= 0 or indexes is None:
            return []
        return self._rows(*page(query, bounds, indexes, newest_first, limit))

    def canonical(self, after: Position | None, limit: int, before: Position | None = None) -> list[Row]:
        """Up to `limit` folded blocks in canonical order, after a position, before another."""
        start = max((0, b"\xff" * 33), (0, b"") if after is None else _place(after))  # the genesis alone has height 0
        end = (1 << 62, b"") if before is None else _place(before)
        return self._rows(_CANONICAL, (self._key, *_short(start), *_short(end), *start, *end, max(limit, 0)))

    def _rows(self, sql: str, parameters: Sequence[object], max_bytes: int | None = None) -> list[Row]:
        """The rows of a query, without those whose bytes are no longer what their id says: these are set aside."""
        while True:
            rows = self._read_rows(sql, parameters, max_bytes)
            damaged = [row.number for row in rows if hashlib.sha256(row.encoded).digest() != row.id[_PREFIX:]]
            if not damaged:
                return rows
            self._set_corrupt(damaged)

    def _read_rows(self, sql: str, parameters: Sequence[object], max_bytes: int | None) -> list[Row]:
        rows: list[Row] = []
        size = 0
        with self._database.reader() as connection, closing(connection.execute(sql, parameters)) as cursor:
            if max_bytes is None:
                return list(map(_row, cursor.fetchall()))
            for record in cursor:
                size += len(record[5])
                if rows and size > max_bytes:
                    break
                rows.append(_row(record))
        return rows

    def _set_corrupt(self, numbers: Sequence[int]) -> None:
        with self._database.write() as connection:
            connection.executemany("UPDATE blocks SET corrupt = 1 WHERE number = ?", [(number,) for number in numbers])


def _row(record: Record) -> Row:
    number, id, author, seq, unfolded, encoded = record
    return Row(number, BlockId(DAG_CBOR_PREFIX + id), author, seq, not unfolded, encoded)


def _short(place: tuple[int, bytes]) -> tuple[int, bytes]:
    return place[0], place[1][:_ID_START]


def _place(position: Position) -> tuple[int, bytes]:
    """A position as it stands in the index, where an id is its digest alone; any bytes keep their order."""
    height, id = position
    if id[:_PREFIX] == DAG_CBOR_PREFIX:
        return height, id[_PREFIX:]
    return height, b"" if id < DAG_CBOR_PREFIX else b"\xff" * 33
