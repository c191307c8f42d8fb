"""A store in memory: the model of the port, for the simulator and for tests.

It says what the port means in the plainest way, so it is slow where SQLite has an index that only large chains need:
`heads` and `query` walk the chain. Invariants: those of `port.py`; one thread at a time; nothing survives the process,
and `close` keeps everything, so that a simulated node which restarts finds its store again. It knows no rules.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain as concat
from itertools import takewhile

from walytis_core.block import Block
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import LocalError, NotFoundError, StorageError
from walytis_core.store.port import Commit, Meta, Position, Progress, Proof, Query, Row, VerifyReport


class _Numbers:
    """The counter of a store: numbers are given once, whatever is deleted."""

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        self.last += 1
        return self.last


class MemoryHeld:
    """One chain's members, and what the rules read of them. See `port.Held`."""

    def __init__(self, numbers: _Numbers) -> None:
        self._numbers = numbers
        self._blocks: dict[bytes, Block] = {}
        self._metas: dict[bytes, Meta] = {}
        self._by_number: list[tuple[int, BlockId]] = []
        self._by_place: list[tuple[int, BlockId]] = []
        self._unplaced: list[Block] = []
        self._by_author: dict[bytes, dict[int, list[BlockId]]] = {}
        self._tops: dict[bytes, int] = {}
        self._children: dict[bytes, list[BlockId]] = {}
        self._proofs: dict[bytes, Proof] = {}
        self._unfolded: set[BlockId] = set()
        self._count = -1  # the genesis is not counted

    @property
    def last(self) -> int:
        """The number of the newest member; 0 when there is none."""
        return self._by_number[-1][0] if self._by_number else 0

    @property
    def count(self) -> int:
        """How many folded blocks there are, without the genesis."""
        return max(self._count, 0)

    def known(self, ids: Collection[bytes]) -> set[bytes]:
        """Those of `ids` that are members."""
        return {id for id in ids if id in self._metas}

    def metas(self, ids: Collection[bytes]) -> dict[bytes, Meta]:
        """The `Meta` of those of `ids` that are members."""
        return {id: self._metas[id] for id in ids if id in self._metas}

    def encoded(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """The bytes of those of `ids` that are members."""
        return {id: self._blocks[id].encoded for id in ids if id in self._blocks}

    def at(self, author: bytes, seq: int) -> list[BlockId]:
        """The members by `author` with this seq."""
        return self._in_order(self._by_author.get(author, {}).get(seq, ()))

    def above(self, author: bytes, seq: int, below: int | None = None) -> list[BlockId]:
        """The members by `author` with `seq <= their seq < below`, by number."""
        by_seq = self._by_author.get(author, {})
        chosen = (ids for at, ids in by_seq.items() if at >= seq and (below is None or at < below))
        return self._in_order(concat.from_iterable(chosen))

    def next_number(self, author: bytes, seq: int) -> int | None:
        """The smallest number among the author's members with a seq greater than `seq`."""
        return min((self._metas[id].number for id in self.above(author, seq + 1)), default=None)

    def scan(self, after: int, max_blocks: int, max_bytes: int) -> list[Row]:
        """Members with number > `after`, by number, up to the limits but at least one if any."""
        rows: list[Row] = []
        size = 0
        start = bisect_left(self._by_number, (after + 1, b""))
        for _, id in self._by_number[start : start + max(max_blocks, 1)]:
            size += len(self._blocks[id].encoded)
            if rows and size > max_bytes:
                break
            rows.append(self._row(id))
        return rows

    def children(self, id: bytes) -> list[BlockId]:
        """The members that name this one as parent or prev, by number."""
        return self._in_order(self._named_by(id))

    def tips(self) -> Iterator[tuple[bytes, int, BlockId]]:
        """For each author with members: the greatest seq and one member's id at it."""
        for author, seq in self._tops.items():
            yield author, seq, self.at(author, seq)[0]

    def heads(self) -> list[BlockId]:
        """Folded members, without the genesis, that no folded member names; by number."""
        return [id for _, id in self._by_number[1:] if self._is_head(id)]

    def proofs(self) -> dict[bytes, Proof]:
        """The proof kept for each frozen author."""
        return dict(self._proofs)

    def unfolded(self) -> set[BlockId]:
        """The members outside the folded set."""
        return set(self._unfolded)

    def _is_head(self, id: BlockId) -> bool:
        return self._metas[id].folded and not any(self._metas[child].folded for child in self._named_by(id))

    def _named_by(self, id: bytes) -> Sequence[BlockId]:
        self._place()
        return self._children.get(id, ())

    def _place(self) -> None:
        """Enters new members into the two indexes that are seldom read: a hundred simulated peers hold each block."""
        for block in self._unplaced:
            self._by_place.append((block.height, block.id))
            for parent in block.ancestors_named:
                self._children.setdefault(parent, []).append(block.id)
        if self._unplaced:
            self._by_place.sort()
            self._unplaced.clear()

    def _in_order(self, ids: Iterable[BlockId]) -> list[BlockId]:
        found = list(ids)
        if len(found) > 1:
            found.sort(key=lambda id: self._metas[id].number)
        return found

    def _row(self, id: bytes) -> Row:
        block, meta = self._blocks[id], self._metas[id]
        return Row(meta.number, block.id, block.author, block.seq, meta.folded, block.encoded)

    # --- writing ---

    def _insert(self, block: Block) -> int:
        id, author, seq = block.id, block.author, block.seq
        number = self._numbers.next()
        self._blocks[id] = block
        self._metas[id] = Meta(number, author, seq, block.height, block.type, folded=True)
        self._by_number.append((number, id))
        self._unplaced.append(block)
        by_seq = self._by_author.get(author)
        if by_seq is None:
            by_seq = self._by_author[author] = {}
        by_seq.setdefault(seq, []).append(id)
        if seq >= self._tops.get(author, 0):
            self._tops[author] = seq
        self._count += 1
        return number

    def _unfold(self, id: BlockId) -> None:
        meta = self._metas[id]
        if meta.folded:
            self._metas[id] = meta._replace(folded=False)
            self._unfolded.add(id)
            self._count -= 1

    def _refold(self, id: BlockId) -> int:
        meta = self._metas[id]
        number = self._numbers.next()
        del self._by_number[bisect_left(self._by_number, (meta.number, b""))]
        self._by_number.append((number, id))
        self._metas[id] = meta._replace(number=number, folded=True)
        self._unfolded.remove(id)
        self._count += 1
        return number


class MemoryChain(MemoryHeld):
    """One chain in memory. See `port.ChainStore`."""

    def __init__(self, genesis: Block, numbers: _Numbers) -> None:
        super().__init__(numbers)
        self._cursors: dict[str, int] = {}
        self._rejected: dict[str, dict[int, str]] = {}
        self._side: dict[bytes, bytes] = {}
        self._labels: dict[bytes, str] = {}
        self._values: dict[str, bytes] = {}
        self._id = genesis.id
        self._insert(genesis)

    @property
    def id(self) -> BlockId:
        """The chain's id: its genesis block's."""
        return self._id

    def commit(self, commit: Commit) -> dict[BlockId, int]:
        """Applies a commit; the numbers of the new and refolded members."""
        self._check(commit)
        for id in commit.unfold:
            if id in self._metas:
                self._unfold(id)
        numbers = {id: self._refold(id) for id in commit.refold if id in self._unfolded}
        for block in commit.blocks:
            numbers[block.id] = self._insert(block)
            if block.id in commit.unfold:
                self._unfold(block.id)
        for proof in commit.proofs:
            kept = self._proofs.get(proof.author)
            if kept is None or proof.seq < kept.seq:
                self._proofs[proof.author] = proof
        return numbers

    def _check(self, commit: Commit) -> None:
        """Refuses what would break the invariants, before anything is changed."""
        new: set[bytes] = set()
        members = self._metas
        for block in commit.blocks:
            if block.id in new or block.id in members:
                raise LocalError(f"block {block.id.short} is a member already")
            for parent in block.ancestors_named:
                if parent not in members and parent not in new:
                    raise LocalError(f"block {block.id.short} has a parent that is not a member")
            new.add(block.id)
        for id in concat(commit.unfold, commit.refold):
            if id not in new and id not in members:
                raise LocalError(f"block {id.short} is not a member")

    def query(self, query: Query, newest_first: bool, limit: int) -> list[Row]:
        """Up to `limit` folded blocks, by number or by falling number."""
        entries = self._by_number[:0:-1] if newest_first else self._by_number[1:]
        rows: list[Row] = []
        for number, id in entries:
            if len(rows) >= limit:
                break
            if self._metas[id].folded and _matches(query, number, self._blocks[id]):
                rows.append(self._row(id))
        return rows

    def canonical(self, after: Position | None, limit: int, before: Position | None = None) -> list[Row]:
        """Up to `limit` folded blocks in canonical order, after a position, before another."""
        self._place()
        start = 1 if after is None else max(1, bisect_right(self._by_place, after))
        places = (self._by_place[i] for i in range(start, len(self._by_place)))
        rows: list[Row] = []
        for place in takewhile(lambda place: before is None or place < before, places):
            if len(rows) >= limit:
                break
            if self._metas[place[1]].folded:
                rows.append(self._row(place[1]))
        return rows

    def cursor(self, name: str) -> int | None:
        """The cursor of a named consumer."""
        return self._cursors.get(name)

    def set_cursor(self, name: str, number: int | None) -> None:
        """Moves a cursor, and never back; None removes it."""
        if number is None:
            self._cursors.pop(name, None)
        else:
            self._cursors[name] = max(number, self._cursors.get(name, 0))

    def set_aside(self, name: str, number: int, reason: str) -> None:
        """Records that a consumer rejected a block on purpose."""
        self._rejected.setdefault(name, {})[number] = reason

    def rejected(self, name: str) -> dict[int, str]:
        """What a consumer has set aside, by number."""
        return dict(self._rejected.get(name, {}))

    def put_side(self, cid: Cid, data: bytes, readers: str = "") -> None:
        """Keeps bytes under their CID, and the label that they have."""
        self._side[cid] = data
        self._labels[cid] = readers or self._labels.get(cid, "")

    def side(self, cid: Cid) -> bytes | None:
        """Bytes of the side store, or None."""
        return self._side.get(cid)

    def unlabelled_side(self, cid: Cid) -> bytes | None:
        """Bytes of the side store whose owner layer named no readers, or None."""
        return None if self._labels.get(cid) else self._side.get(cid)

    def side_label(self, cid: Cid) -> str | None:
        """The label of bytes in the side store, or None."""
        return self._labels.get(cid)

    def has_side(self, cids: Sequence[Cid]) -> set[Cid]:
        """Those of `cids` that are held."""
        return {cid for cid in cids if cid in self._side}

    def drop_side(self, cids: Sequence[Cid], *, labelled: bool = False) -> None:
        """Forgets bytes of the side store."""
        for cid in cids:
            if labelled or not self._labels.get(cid):
                self._side.pop(cid, None)
                self._labels.pop(cid, None)

    def get(self, key: str) -> bytes | None:
        """A small value, or None."""
        return self._values.get(key)

    def put(self, key: str, value: bytes | None) -> None:
        """Writes a small value; None removes it."""
        _put(self._values, key, value)

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        """Those of the small values that there are."""
        return {key: self._values[key] for key in keys if key in self._values}

    def put_many(self, values: Mapping[str, bytes | None]) -> None:
        """Writes small values together; None removes one."""
        for key, value in values.items():
            _put(self._values, key, value)

    def items(self, prefix: str) -> dict[str, bytes]:
        """All small values whose key starts with `prefix`, by key."""
        return {key: self._values[key] for key in sorted(self._values) if key.startswith(prefix)}

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Counts the members: memory has no bytes that could rot."""
        if progress is not None:
            progress(len(self._metas), len(self._metas))
        return VerifyReport(checked=len(self._metas))

    def corrupt(self) -> list[BlockId]:
        """Nothing: memory has no bytes that could rot."""
        return []

    def heal(self, id: BlockId, encoded: bytes) -> None:
        """Does nothing: no bytes were set aside."""


def _matches(query: Query, number: int, block: Block) -> bool:
    ranges = (
        (query.since is None or number > query.since)
        and (query.until is None or number <= query.until)
        and (query.after_ms is None or block.time_ms >= query.after_ms)
        and (query.before_ms is None or block.time_ms < query.before_ms)
    )
    return ranges and (
        (query.topic is None or query.topic in block.topics)
        and (
            query.type is None
            or query.type == block.type
            or (query.is_type_prefix and block.type.startswith(query.type))
        )
        and (query.author is None or query.author == block.author)
    )


def _put(values: dict[str, bytes], key: str, value: bytes | None) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value


class MemoryStore:
    """A node's store in memory. See `port.Store`."""

    def __init__(self) -> None:
        self._numbers = _Numbers()
        self._chains: dict[BlockId, MemoryChain] = {}
        self._names: dict[BlockId, str] = {}
        self._values: dict[str, bytes] = {}

    @property
    def refusal(self) -> StorageError | None:
        """None: memory takes all."""
        return None

    @property
    def device_changed(self) -> bool:
        """False: memory is not copied."""
        return False

    def acknowledge_device(self) -> None:
        """Does nothing: memory is not copied."""

    def create_chain(self, genesis: Block, name: str, values: Mapping[str, bytes] | None = None) -> MemoryChain:
        """Adds a chain with its genesis and first small values. Raises `LocalError` when it is there already."""
        if genesis.id in self._chains:
            raise LocalError(f"chain {genesis.id} is here already")
        chain = self._chains[genesis.id] = MemoryChain(genesis, self._numbers)
        self._names[genesis.id] = name
        for key, value in (values or {}).items():
            chain.put(key, value)
        return chain

    def chains(self) -> dict[BlockId, str]:
        """The chains and their local names."""
        return dict(self._names)

    def chain(self, id: BlockId) -> MemoryChain:
        """One chain. Raises `NotFoundError`."""
        if id not in self._chains:
            raise NotFoundError(f"there is no chain {id} here")
        return self._chains[id]

    def holding(self, cid: Cid) -> list[BlockId]:
        """The chains that hold this as a member or in their side store."""
        return [id for id, chain in self._chains.items() if chain.known([cid]) or chain.has_side([cid])]

    def rename(self, id: BlockId, name: str) -> None:
        """Changes a chain's local name. Raises `NotFoundError`."""
        self.chain(id)
        self._names[id] = name

    def delete_chain(self, id: BlockId) -> None:
        """Removes all of a chain's data. Raises `NotFoundError`."""
        self.hide_chain(id)

    def hide_chain(self, id: BlockId) -> None:
        """Takes a chain out of sight. Raises `NotFoundError`."""
        self.chain(id)
        del self._chains[id], self._names[id]

    def purge(self) -> None:
        """Does nothing: what is hidden is gone."""

    def get(self, key: str) -> bytes | None:
        """A small value of the node, or None."""
        return self._values.get(key)

    def put(self, key: str, value: bytes | None) -> None:
        """Writes a small value; None removes it."""
        _put(self._values, key, value)

    def items(self, prefix: str) -> Iterable[tuple[str, bytes]]:
        """All small values of the node whose key starts with `prefix`, by key."""
        return [(key, self._values[key]) for key in sorted(self._values) if key.startswith(prefix)]

    def close(self) -> None:
        """Keeps everything: a node that restarts in the simulator opens the same object again."""
