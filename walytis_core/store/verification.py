"""The check of everything a chain's tables say, against the signed bytes of its members.

A block that is well signed proves itself, so of two things that disagree the bytes are right when they verify: rows and
indexes are then written anew from them, and the disagreement is reported. Bytes that do not verify are set aside as
corrupt, to be fetched again under their id.

Invariants: goes page by page, so that commits go on in between; what was committed after the start may or may not be
looked at. It judges signatures and places, never rights: those are for the rules.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from walytis_core.block import Block, decode, is_genuine
from walytis_core.cid import BlockId
from walytis_core.errors import RemoteError
from walytis_core.store.database import Record
from walytis_core.store.held import Shared, stored_metas, to_id
from walytis_core.store.port import Meta, Progress, VerifyReport

_PAGE: Final = 256
_MEMBERS: Final = """
    SELECT b.number, b.id, a.author, b.seq, b.height, b.time, coalesce(t.type, ''), b.unfolded, b.corrupt,
        b.encoded
    FROM blocks b INDEXED BY blocks_by_chain LEFT JOIN authors a ON a.key = b.author LEFT JOIN types t ON t.key = b.type
    WHERE b.chain = ? AND b.number > ? ORDER BY b.number LIMIT ?
"""
_NOT_INDEXED: Final = """
    SELECT b.number FROM blocks b INDEXED BY blocks_by_chain WHERE b.chain = ? AND b.number BETWEEN ? AND ? AND NOT (
        EXISTS (SELECT 1 FROM blocks x INDEXED BY blocks_by_id
            WHERE x.chain = b.chain AND x.id = b.id AND x.number = b.number)
        AND EXISTS (SELECT 1 FROM blocks x INDEXED BY blocks_by_author
            WHERE x.author = b.author AND x.number = b.number)
        AND EXISTS (SELECT 1 FROM blocks x INDEXED BY blocks_by_seq
            WHERE x.author = b.author AND x.seq = b.seq AND x.number = b.number)
        AND EXISTS (SELECT 1 FROM blocks x INDEXED BY blocks_by_height
            WHERE x.chain = b.chain AND x.height = b.height AND x.start = b.start AND x.number = b.number)
        AND (b.type IS NULL OR EXISTS (SELECT 1 FROM blocks x INDEXED BY blocks_by_type
            WHERE x.type = b.type AND x.number = b.number)))
"""
_REWRITE: Final = """
    UPDATE blocks SET id = ?, author = ?, seq = ?, height = ?, time = ?, type = ?, corrupt = 0 WHERE number = ?
"""


class Chain(Protocol):
    """What the check needs of a chain."""

    @property
    def id(self) -> BlockId:
        """The chain's id."""
        ...

    @property
    def count(self) -> int:
        """How many folded blocks there are, without the genesis."""
        ...

    def unfolded(self) -> set[BlockId]:
        """The members outside the folded set."""
        ...


class Member(NamedTuple):
    """A block whose bytes verify, and where it stands."""

    number: int
    unfolded: bool
    block: Block


class Verification:
    """One check of one chain.

    Args:
        chain: The chain.
        shared: What its store has in common.
        key: The chain's key.
    """

    def __init__(self, chain: Chain, shared: Shared, key: int) -> None:
        self._chain = chain
        self._database = shared.database
        self._shared = shared
        self._key = key
        self._corrupt: list[BlockId] = []
        self._problems: list[str] = []

    def run(self, progress: Progress | None) -> VerifyReport:
        """Checks every member; see `port.ChainStore.verify`."""
        total = self._chain.count + len(self._chain.unfolded()) + 1
        checked = after = 0
        while records := self._database.read(_MEMBERS, (self._key, after, _PAGE)):
            self._check_page(records)
            after = records[-1][0]
            checked += len(records)
            if progress is not None:
                progress(checked, max(checked, total))
        self._check_count()
        return VerifyReport(checked, tuple(self._corrupt), tuple(self._problems))

    def _check_page(self, records: Sequence[Record]) -> None:
        members: list[Member] = []
        rotten: list[int] = []
        wrong: list[Member] = []
        for record in records:
            number, digest, unfolded, corrupt, encoded = record[0], record[1], *record[7:]
            block = self._genuine(encoded)
            if block is None:
                rotten.append(number)
                self._corrupt.append(to_id(digest))
                continue
            members.append(Member(number, bool(unfolded), block))
            if corrupt or record[1:7] != _columns(block):
                wrong.append(members[-1])
                self._problems.append(f"the row of block {block.id} disagreed with its bytes, and was written anew")
        if rotten:
            with self._database.write() as connection:
                connection.executemany("UPDATE blocks SET corrupt = 1 WHERE number = ?", [(n,) for n in rotten])
        self._check_indexes(records[0][0], records[-1][0], wrong)
        self._check_places(members)
        self._check_labels(members)

    def _genuine(self, encoded: bytes) -> Block | None:
        """The block, when its bytes prove themselves to be one of this chain."""
        try:
            block = decode(encoded)
        except RemoteError:
            return None
        return block if is_genuine(block) and block.chain_id == self._chain.id else None

    def _check_indexes(self, first: int, last: int, wrong: Sequence[Member]) -> None:
        missing = self._database.read(_NOT_INDEXED, (self._key, first, last))
        self._problems += [f"row {number} was not in every index; they were made anew" for (number,) in missing]
        if not missing and not wrong:
            return
        with self._database.write() as connection:
            # first: SQLite refuses to change a row that it does not find in an index
            connection.execute("REINDEX blocks")
            for member in wrong:
                self._rewrite(connection, member)

    def _rewrite(self, connection: sqlite3.Connection, member: Member) -> None:
        block, key = member.block, self._shared.names.key
        author = key(connection, "author", self._key, block.author)
        type = key(connection, "type", self._key, block.type) if block.type else None
        place = (block.seq, block.height, block.time_ms, type, member.number)
        connection.execute(_REWRITE, (_columns(block)[0], author, *place))

    # --- places: what a block says of its parents ---

    def _check_places(self, members: Sequence[Member]) -> None:
        named = {parent for member in members for parent in member.block.ancestors_named}
        metas = stored_metas(self._database.read, self._key, named)
        edges: set[tuple[int, int]] = set()
        for member in members:
            parents = {id: metas[id] for id in member.block.ancestors_named if id in metas}
            if len(parents) < len(member.block.ancestors_named):
                self._problems.append(f"a parent of block {member.block.id} is missing")
                continue
            self._problems += _faults_of_place(member, parents)
            edges.update((parent.number, member.number) for parent in parents.values())
        self._check_edges(edges)

    def _check_edges(self, edges: Iterable[tuple[int, int]]) -> None:
        with self._database.reader() as connection:
            sql = "SELECT 1 FROM edges WHERE parent = ? AND child = ?"
            missing = [edge for edge in edges if connection.execute(sql, edge).fetchone() is None]
        if missing:
            self._problems.append(f"{len(missing)} edges were missing, and were written anew")
            with self._database.write() as connection:
                connection.executemany("INSERT OR IGNORE INTO edges (parent, child) VALUES (?, ?)", missing)

    # --- labels: what it says of its topics ---

    def _check_labels(self, members: Sequence[Member]) -> None:
        sql = """
            SELECT 1 FROM topics t CROSS JOIN labels l ON l.topic = t.key AND l.number = ?
            WHERE t.chain = ? AND t.topic = ?
        """
        wanted = [(member.number, self._key, topic) for member in members for topic in member.block.topics]
        with self._database.reader() as connection:
            missing = [label for label in wanted if connection.execute(sql, label).fetchone() is None]
        if not missing:
            return
        self._problems.append(f"{len(missing)} topics were missing, and were written anew")
        with self._database.write() as connection:
            for number, chain, topic in missing:
                key = self._shared.names.key(connection, "topic", chain, topic)
                connection.execute("INSERT OR IGNORE INTO labels (topic, number) VALUES (?, ?)", (key, number))

    def _check_count(self) -> None:
        with self._database.lock:  # no commit in between
            sql = "SELECT count(*) - 1 FROM blocks INDEXED BY blocks_by_chain WHERE chain = ? AND unfolded = 0"
            found, kept = self._database.read(sql, (self._key,))[0][0], self._chain.count
        if found != kept:
            self._problems.append(f"there are {found} folded blocks, but the count says {kept}")


def _columns(block: Block) -> tuple[bytes, bytes, int, int, int, str]:
    """What a row must say beside the bytes."""
    return hashlib.sha256(block.encoded).digest(), block.author, block.seq, block.height, block.time_ms, block.type


def _faults_of_place(member: Member, parents: Mapping[BlockId, Meta]) -> list[str]:
    """What is wrong with a block's seq, height and number, given its parents."""
    block = member.block
    if block.prev is None:
        return []
    prev = parents[block.prev]
    faults = []
    if block.seq != (prev.seq + 1 if prev.author == block.author else 0):
        faults.append("seq does not follow prev")
    if block.height != 1 + max(parent.height for parent in parents.values()):
        faults.append("height is not one more than its highest parent's")
    if not member.unfolded and any(not parent.folded or parent.number > member.number for parent in parents.values()):
        faults.append("a parent is not in front of it in the folded set")
    return [f"block {block.id}: {fault}" for fault in faults]
