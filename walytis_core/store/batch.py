"""One commit while it is written: numbers, rows, labels and edges.

Invariants: a parent's number is lower than its folded children's, so a refolded member takes a fresh number, before the
blocks that need it; every table that holds the old number is changed with it. Nothing in memory but `Names` is touched:
the caller takes `metas`, `count` and `last` over once the transaction is durable. It knows no rules.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from walytis_core.block import Block, decode
from walytis_core.cid import BlockId
from walytis_core.errors import LocalError, RemoteError
from walytis_core.store.database import Record
from walytis_core.store.held import Shared, stored_metas
from walytis_core.store.port import Commit, Meta

_ROWS_AT_ONCE: Final = 64
"""Rows of one statement: SQLite lets go of the interpreter's lock once for each, so that threads which verify signatures
are woken, and in the way, that much less often; and it costs a fifth less."""


class _Insert:
    """A statement that adds rows."""

    def __init__(self, into: str, columns: int) -> None:
        row = f"({', '.join('?' * columns)})"
        self.one = f"INSERT INTO {into} VALUES {row}"  # noqa: S608 - constants of this file
        self.many = f"INSERT INTO {into} VALUES {', '.join([row] * _ROWS_AT_ONCE)}"  # noqa: S608 - the same


_BLOCK: Final = _Insert("blocks (number, chain, id, author, seq, height, time, type, encoded)", 9)
_LABEL: Final = _Insert("labels (topic, number)", 2)
_EDGE: Final = _Insert("edges (parent, child)", 2)
_PROOF: Final = """
    INSERT INTO proofs (chain, author, seq, first, second) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (chain, author) DO UPDATE SET seq = excluded.seq, first = excluded.first, second = excluded.second
    WHERE excluded.seq < seq
"""


class Batch:
    """One transaction on one chain.

    Args:
        connection: In a transaction.
        shared: The store's names, recent blocks and last number.
        chain: The chain's key.
    """

    def __init__(self, connection: sqlite3.Connection, shared: Shared, chain: int) -> None:
        self._connection = connection
        self._names = shared.names
        self._recent = shared.recent.get
        self._chain = chain
        self.last = shared.last
        self.count = 0
        self.metas: dict[BlockId, Meta] = {}

    def write(self, commit: Commit) -> dict[BlockId, int]:
        """Applies a commit; the numbers of the new and refolded members.

        Raises:
            LocalError: It breaks an invariant of the store.
            sqlite3.Error: The disk refused.
        """
        new = {block.id for block in commit.blocks} if commit.unfold else set()
        self._unfold(id for id in commit.unfold if id not in new)
        numbers = {id: number for id in commit.refold if (number := self._refold(id))}
        self.insert(commit.blocks)
        for block in commit.blocks:
            numbers[block.id] = self.metas[block.id].number
        self._unfold(id for id in commit.unfold if id in new)
        if commit.proofs:
            self._connection.executemany(_PROOF, [(self._chain, *proof) for proof in commit.proofs])
        return numbers

    def insert(self, blocks: Sequence[Block]) -> None:
        """Adds members."""
        parents = self._numbers_of_parents(blocks)
        rows: list[Record] = []
        labels: list[tuple[int, int]] = []
        edges: list[tuple[int, int]] = []
        number, chain, connection, key = self.last, self._chain, self._connection, self._names.key
        for block in blocks:
            number += 1
            id, _, _, author, seq, prev, named, height, time_ms, type, topics = block[:11]
            rows.append((
                number, chain, id[4:], key(connection, "author", chain, author), seq, height, time_ms,
                key(connection, "type", chain, type) if type else None, block.encoded,
            ))  # fmt: skip
            labels.extend([(key(connection, "topic", chain, topic), number) for topic in topics])
            try:
                edges.extend([(parents[parent], number) for parent in (named if prev is None else (prev, *named))])
            except KeyError as error:
                raise LocalError(f"block {id.short} has a parent that is not a member") from error
            parents[id] = number
            self.metas[id] = Meta(number, author, seq, height, type, True)
        self._insert_rows(rows, labels, edges)
        self.last = number
        self.count += len(blocks)

    def _insert_rows(self, rows: list[Record], labels: list[tuple[int, int]], edges: list[tuple[int, int]]) -> None:
        try:
            self._insert_all(_BLOCK, rows)
        except sqlite3.IntegrityError as error:
            raise LocalError("a block of this commit is a member already") from error
        self._insert_all(_LABEL, labels)
        self._insert_all(_EDGE, edges)

    def _insert_all(self, insert: _Insert, rows: Sequence[Record]) -> None:
        whole = len(rows) - len(rows) % _ROWS_AT_ONCE
        for at in range(0, whole, _ROWS_AT_ONCE):
            values = tuple(itertools.chain.from_iterable(rows[at : at + _ROWS_AT_ONCE]))
            self._connection.execute(insert.many, values)
        if whole < len(rows):  # a statement costs a few microseconds even for no row
            self._connection.executemany(insert.one, rows[whole:])

    def _numbers_of_parents(self, blocks: Iterable[Block]) -> dict[bytes, int]:
        """The numbers of the parents that were members before these blocks."""
        numbers: dict[bytes, int] = {}
        others: set[bytes] = set()
        new = {block.id for block in blocks}
        for block in blocks:
            for parent in block.ancestors_named:
                if parent in numbers or parent in new:
                    continue
                meta = self._meta_in_memory(parent)
                if meta is None:
                    others.add(parent)
                else:
                    numbers[parent] = meta.number
        if others:
            stored = stored_metas(self._connection.execute, self._chain, others)
            numbers.update((id, meta.number) for id, meta in stored.items())
        return numbers

    def _meta_in_memory(self, id: bytes) -> Meta | None:
        """What this transaction, or else the last ones, made of a member."""
        if id in self.metas:
            return self.metas[BlockId(id)]
        entry = self._recent(id)
        return entry[1] if entry is not None and entry[0] == self._chain else None

    def _member(self, id: BlockId) -> Meta:
        meta = self._meta_in_memory(id) or stored_metas(self._connection.execute, self._chain, (id,)).get(id)
        if meta is None:
            raise LocalError(f"block {id.short} is not a member")
        return meta

    def _unfold(self, ids: Iterable[BlockId]) -> None:
        for id in ids:
            meta = self._member(id)
            if meta.folded:
                self._connection.execute("UPDATE blocks SET unfolded = 1 WHERE number = ?", (meta.number,))
                self.metas[id] = meta._replace(folded=False)
                self.count -= 1

    def _refold(self, id: BlockId) -> int | None:
        """Takes a member back into the folded set, under a fresh number; None when it is in there."""
        meta = self._member(id)
        if meta.folded:
            return None
        old, new = meta.number, self.last + 1
        (encoded,) = self._connection.execute("SELECT encoded FROM blocks WHERE number = ?", (old,)).fetchone()
        self._connection.execute("UPDATE blocks SET number = ?, unfolded = 0 WHERE number = ?", (new, old))
        self._connection.execute("UPDATE edges SET parent = ? WHERE parent = ?", (new, old))
        try:
            block = decode(encoded, id)
        except RemoteError:  # damaged: what it names is read from the tables, slowly
            self._connection.execute("UPDATE labels SET number = ? WHERE number = ?", (new, old))
            self._connection.execute("UPDATE edges SET child = ? WHERE child = ?", (new, old))
        else:
            self._renumber(block, old, new)
        self.metas[id] = meta._replace(number=new, folded=True)
        self.last = new
        self.count += 1
        return new

    def _renumber(self, block: Block, old: int, new: int) -> None:
        labels: list[Any] = [
            (new, self._names.key(self._connection, "topic", self._chain, t), old) for t in block.topics
        ]
        self._connection.executemany("UPDATE labels SET number = ? WHERE topic = ? AND number = ?", labels)
        edges = [(new, self._member(parent).number, old) for parent in block.ancestors_named]
        self._connection.executemany("UPDATE edges SET child = ? WHERE parent = ? AND child = ?", edges)
