"""What a block's author had seen: the block's ancestors, and nothing else, as `Layer.check` reads them.

Invariant: nothing here depends on what else is held, so that every node answers alike. The walk goes back from the
block, by falling height, and stops as soon as the question is answered; what it found is kept as long as the `Past`.
Memory grows with what is asked, at most with the ancestors' ids, never with their payloads. It knows no layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import islice
from struct import Struct
from typing import Final, NamedTuple

from walytis_core.block import Block, decode
from walytis_core.cid import CID_BYTES, BlockId
from walytis_core.errors import NotFoundError
from walytis_core.standing import Standing, Void, Wait
from walytis_core.store.port import ChainStore, Meta, Position

_BATCH: Final = 64  # blocks read at once on the way back
_UNRELATED: Final = Void("it is no earlier block that touches the same")
_REMEMBERED: Final = 16_384  # headers, of some 300 bytes each, at least; at most twice as many
_READ: Final = 512  # of them as objects
_FIXED: Final = Struct(">QQBB")
_FIXED_BYTES: Final = _FIXED.size
_unpack: Final = _FIXED.unpack_from
_new_id: Final = bytes.__new__  # as in `block.py`: a walk reads thousands
_new_tuple: Final = tuple.__new__

Others = Callable[[BlockId], ChainStore | None]
"""Gives another chain of this node; None when it holds no such chain."""


def holds(held: ChainStore | None, heads: Collection[BlockId]) -> bool:
    """Whether a chain is held here with these blocks; with a block, all its ancestors are."""
    return held is not None and len(held.known(heads)) == len(set(heads))


Judged = Callable[[Position], Standing | None]
"""Gives what a layer's `check` made of the member at a place; None when it is not of the part that is being checked."""


class UnknownError(Exception):
    """What was asked cannot be told here yet: the block waits. Never leaves the view.

    Attributes:
        wait: What for.
    """

    def __init__(self, wait: Wait) -> None:
        super().__init__("what was asked cannot be told here yet")
        self.wait = wait


class DamagedError(UnknownError):
    """The bytes of a member are lost here and wanted again."""

    def __init__(self, chain: BlockId, id: BlockId) -> None:
        super().__init__(Wait(chain, (id,)))


class Header(NamedTuple):
    """What stands at the head of a block, as far as the walk needs it. `named` is `prev`, if any, and the parents."""

    height: int
    author: bytes
    seq: int
    type: str
    named: tuple[BlockId, ...]


def _write(block: Block) -> bytes:
    """The header of a block as bytes: thousands of them take half the memory, and are nothing for garbage collection."""
    author, type = block.author, block.type.encode()
    fixed = _FIXED.pack(block.height, block.seq, len(author), len(type))
    return b"".join((fixed, author, type, *block.ancestors_named))


def _read(data: bytes) -> Header:
    height, seq, author_bytes, type_bytes = _unpack(data)
    start = _FIXED_BYTES + author_bytes
    end = start + type_bytes
    named = tuple([_new_id(BlockId, data[at : at + CID_BYTES]) for at in range(end, len(data), CID_BYTES)])
    return _new_tuple(Header, (height, data[_FIXED_BYTES:start], seq, data[start:end].decode(), named))


_read_again: Final = lru_cache(maxsize=_READ)(_read)


class Headers:
    """Headers of a chain's members, the ones read last in memory.

    Args:
        held: The chain.
    """

    def __init__(self, held: ChainStore) -> None:
        self.held = held
        self._used: dict[bytes, bytes] = {}
        self._older: dict[bytes, bytes] = {}
        self._expected: Sequence[Block] = ()

    def expect(self, blocks: Sequence[Block]) -> None:
        """A few hundred members are about to be checked: what they name is read at once, if any of it is asked for."""
        self._expected = blocks
        for block in blocks:
            self.note(block)

    def note(self, block: Block) -> bytes:
        """Remembers the header of a member that has just been read, and gives it: the next blocks will name it."""
        if len(self._used) >= _REMEMBERED:
            self._used, self._older = {}, self._used
        header = self._used[bytes(block.id)] = _write(block)
        return header

    def of(self, ids: Collection[BlockId]) -> dict[BlockId, Header]:
        """The headers of some members, a few hundred at most. Raises `DamagedError`."""
        found = {id: self._recall(id) for id in ids}
        missing = [id for id, header in found.items() if header is None]
        if missing:
            expected, self._expected = self._expected, ()
            named = {id for block in expected for id in block.ancestors_named if self._recall(id) is None}
            for id, encoded in self.held.encoded([*named.union(missing)]).items():
                found[BlockId(id)] = self.note(decode(encoded, BlockId(id)))
        headers: dict[BlockId, Header] = {}
        for id in ids:
            header = found[id]
            if header is None:
                raise DamagedError(self.held.id, id)
            headers[id] = _read(header)
        return headers

    def one(self, id: BlockId) -> Header:
        """The header of a member. Raises `DamagedError`."""
        header = self._recall(id)
        return self.of((id,))[id] if header is None else _read_again(header)

    def _recall(self, id: BlockId) -> bytes | None:
        return self._used.get(id) or self._older.get(id)


class Past:
    """The causal past of a block: its ancestors, the genesis among them, without the block itself.

    `id in past`, `past.get(id)`, `past.header(id)`, `past.standing(id)`, `past.blocks(prefix)`; `iter(past)` gives all
    of it in canonical order. What the block itself names is found without a walk.

    Args:
        headers: Of the chain.
        start: The newest blocks of the past: all members.
        others: Gives the other chains of this node.
        judged: Gives the verdicts on earlier blocks, for the past of a block that is being checked.
    """

    def __init__(
        self, headers: Headers, start: Iterable[BlockId], others: Others | None = None, judged: Judged | None = None
    ) -> None:
        self._headers = headers
        self._start = tuple(start)
        self._others = others
        self._judged = judged
        self._found: dict[BlockId, Header] = {}
        self._edge: list[tuple[int, BlockId]] = []
        self._newest: dict[bytes, int] = {}

    def __contains__(self, id: object) -> bool:
        if id in self._found or id in self._start:
            return True
        if not isinstance(id, bytes):
            return False
        meta = self._headers.held.metas((id,)).get(id)
        return meta is not None and self._reaches(BlockId(id), meta)

    def __iter__(self) -> Iterator[Block]:
        return self.blocks()

    def get(self, id: BlockId) -> Block:
        """A block of the past.

        Raises:
            NotFoundError: The block is not in the past, whether it is held here or not.
        """
        if id not in self:
            raise NotFoundError(f"block {BlockId(id).short} is not in the causal past")
        return self._block(BlockId(id))

    def header(self, id: BlockId) -> Header:
        """The header of a block of the past: cheaper than `get`.

        Raises:
            NotFoundError: The block is not in the past.
        """
        if id not in self:
            raise NotFoundError(f"block {BlockId(id).short} is not in the causal past")
        return self._headers.one(id)

    def standing(self, id: BlockId) -> Standing:
        """What this layer's `check` made of a block of the past that touches the same part of the state (`Layer.key`).

        `Obeyed` and `Void` are as final as the verdict that is built on them; one that is built on `Wait` waits for the
        same; so does one on a block whose bytes are damaged here, or were, and that has no verdict yet. A block that is
        not in the past, or not of this part, is void here.
        """
        known = self._judged is not None and id in self
        standing = self._judged(Position(self._headers.one(id).height, id)) if known and self._judged else None
        return _UNRELATED if standing is None else standing

    def blocks(self, prefix: str = "", *, newest_first: bool = False) -> Iterator[Block]:
        """The blocks whose type starts with `prefix`, in canonical order or from the newest on.

        From the newest on, the walk goes only as far as it is asked; in canonical order it first goes back to the
        genesis.
        """
        ids = self._newest_first(prefix)
        return map(self._block, ids if newest_first else reversed(list(ids)))

    def of(self, chain: BlockId, heads: Collection[BlockId]) -> Past | None:
        """Blocks of another chain with all their ancestors: the past of who names them.

        Returns:
            None while they are not held here: the check then says `Wait(chain, heads)`.
        """
        held = None if self._others is None else self._others(chain)
        if held is None or not holds(held, heads):
            return None
        return Past(Headers(held), heads, self._others)

    def _block(self, id: BlockId) -> Block:
        encoded = self._headers.held.encoded((id,))
        if id not in encoded:
            raise DamagedError(self._headers.held.id, id)
        return decode(encoded[id], id)

    def _reaches(self, id: BlockId, meta: Meta) -> bool:
        """Whether the walk finds a member. An author's own blocks are a chain: a newer one of it leads to this one."""
        if not self._found:
            self._discover(self._start)
        is_unforked = self._headers.held.at(meta.author, meta.seq) == [id]
        while id not in self._found:
            if is_unforked and self._newest.get(meta.author, -1) >= meta.seq:
                return True
            batch = list(islice(self._above(meta.height), _BATCH))
            if not batch:
                return False
            self._discover({named for parent in batch for named in self._found[parent].named})
        return True

    def _above(self, height: int) -> Iterator[BlockId]:
        """Takes found blocks, not walked on from yet, that are higher than `height`, the highest first."""
        while self._edge and -self._edge[0][0] > height:
            yield heappop(self._edge)[1]

    def _discover(self, ids: Collection[BlockId]) -> None:
        for id, header in self._read([id for id in ids if id not in self._found]).items():
            self._found[id] = header
            self._newest[header.author] = max(header.seq, self._newest.get(header.author, 0))
            heappush(self._edge, (-header.height, id))

    def _read(self, ids: Collection[BlockId]) -> dict[BlockId, Header]:
        return self._headers.of(ids) if ids else {}

    def _newest_first(self, prefix: str) -> Iterator[BlockId]:
        """All ids of the past against the canonical order: whatever is not seen yet is lower than what is."""
        seen = self._read(self._start)
        todo = [(-header.height, _Falling(id)) for id, header in seen.items()]
        heapify(todo)
        while todo:
            id = heappop(todo)[1].id
            header = seen[id]
            if header.type.startswith(prefix):
                yield id
            for named, found in self._read([named for named in header.named if named not in seen]).items():
                seen[named] = found
                heappush(todo, (-found.height, _Falling(named)))


class KnownPast(Past):
    """A past that is asked when the block's verdict stands, as `Layer.step` does.

    Invariant: what it says is the same on every node. Where `Past` would say "not here yet", it raises `UnknownError`.
    """

    def standing(self, id: BlockId) -> Standing:
        """What `check` made of a block of the past; never `Wait`."""
        standing = super().standing(id)
        if isinstance(standing, Wait):
            raise UnknownError(standing)
        return standing

    def of(self, chain: BlockId, heads: Collection[BlockId]) -> Past:
        """Blocks of another chain with all their ancestors; never None."""
        held = None if self._others is None else self._others(chain)
        if held is None or not holds(held, heads):
            raise UnknownError(Wait(chain, tuple(heads)))
        return KnownPast(Headers(held), heads, self._others)


class _Falling:
    """An id that sorts against the order of ids."""

    __slots__ = ("id",)

    def __init__(self, id: BlockId) -> None:
        self.id = id

    def __lt__(self, other: _Falling) -> bool:
        return self.id > other.id
