"""What a CAR file holds: one chain, indexed and judged as a whole, before any of it is taken (docs/spec/car.md).

Filled section by section, in whatever order the file has them; then `settle` says whether it is one chain, whole. Invariants, of
a bundle that is settled: all blocks are of one chain and its genesis is among them; each was found genuine by the caller; each
is *lawful* (it names lawful blocks of the file alone, and `rules.judge` lets it in) or stands, with another block of the file, at
one place of an author and so proves a fork; roots are lawful blocks, and each lawful block is below a root, or above a fork;
each piece of content is part of what a lawful block links to. What was checked is what is read later: bytes are hashed again
each time. Memory: about 200 bytes for each block (its id, its place, what it names), and for each piece of content; no bytes of either.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO, Final, NamedTuple

from walytis_core import content
from walytis_core.block import Block, Content, decode
from walytis_core.car import Section, wrong
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import RemoteError
from walytis_core.forks import proof_of
from walytis_core.policy import ADMIT, Genesis, read_admit, read_genesis
from walytis_core.rules import judge
from walytis_core.store.port import Meta, Proof

_LAWFUL, _NAMED, _ADMITS, _HAS_CONTENT = 1, 2, 4, 8
_EVERY: Final = 256
"""Blocks between two reports of progress."""
_OTHER_FILE: Final = (
    "Export the chain again where it is held: `walytis export`, or `ipfs dag export` of one of its heads."
)

Tell = Callable[[int, int], None]
"""Told how many of how many are done."""


class Place(NamedTuple):
    """Where in the file the bytes of a section are."""

    offset: int
    size: int


class Bundle:
    """The chain of one CAR file.

    Args:
        stream: The file; read at the places where sections were found.
        roots: What its header names.
    """

    def __init__(self, stream: BinaryIO, roots: Sequence[Cid]) -> None:
        self._stream = stream
        self._roots = roots
        self._genesis: Genesis | None = None
        self._chain: BlockId | None = None
        self._numbers: dict[Cid, int] = {}  # of blocks, by id; also of those that are only named
        self._ids: list[Cid] = []
        self._offsets, self._sizes = array("Q"), array("I")
        self._authors, self._seqs, self._heights = array("I"), array("Q"), array("Q")
        self._flags = bytearray()
        self._first_named, self._count_named, self._named = array("Q"), bytearray(), array("I")
        self._author_numbers: dict[bytes, int] = {}
        self._author_keys: list[bytes] = []
        self._pieces: dict[Cid, Place] = {}
        self._needed: set[Cid] = set()
        self._looked_at: set[content.Piece] = set()
        self._forks: dict[int, dict[int, list[int]]] = {}
        self._has_unreadable = False
        self.order = array("I")
        """The lawful blocks by number, parents first, the genesis first of all; once settled."""

    @property
    def genesis(self) -> Genesis:
        """The chain's first block. Raises `InvalidInputError` when it is not in the file."""
        if self._genesis is None:
            raise wrong("the genesis of its chain is not in it", 0, _OTHER_FILE)
        return self._genesis

    # --- filling -------------------------------------------------------------------------------------------------

    def add_block(self, block: Block, offset: int) -> None:
        """Takes a genuine block that was found at an offset.

        Raises:
            InvalidInputError: It is of another chain than the first, or a genesis that is none.
        """
        if self._chain is None:
            self._chain = block.chain_id
        if block.chain_id != self._chain:
            raise wrong("a block is of another chain than the first one", offset, _OTHER_FILE)
        if block.chain is None:
            try:
                self._genesis = read_genesis(block)
            except RemoteError as error:
                raise wrong(f"its first block is no genesis ({error.reason.value})", offset) from error
        number = self._number(block.id)
        if self._sizes[number]:
            return  # the file has it twice
        self._offsets[number], self._sizes[number] = offset, len(block.encoded)
        self._authors[number] = self._author_numbers.setdefault(block.author, len(self._author_keys))
        if self._authors[number] == len(self._author_keys):
            self._author_keys.append(block.author)
        self._seqs[number], self._heights[number] = block.seq, block.height
        self._flags[number] = _ADMITS * (block.type == ADMIT) | _HAS_CONTENT * (block.content is not None)
        self._first_named[number], self._count_named[number] = len(self._named), len(block.ancestors_named)
        self._named.extend(map(self._number, block.ancestors_named))

    def add_piece(self, section: Section) -> None:
        """Takes a piece of content, whose hash was checked."""
        self._pieces.setdefault(section.cid, Place(section.offset, len(section.data)))

    def _number(self, id: BlockId) -> int:
        number = self._numbers.setdefault(id, len(self._ids))
        if number == len(self._ids):
            self._ids.append(id)
            for column in (self._offsets, self._sizes, self._authors, self._seqs, self._heights, self._first_named):
                column.append(0)
            self._flags.append(0)
            self._count_named.append(0)
        return number

    # --- judging -------------------------------------------------------------------------------------------------

    def settle(self, tell: Tell) -> None:
        """Judges the whole.

        Raises:
            InvalidInputError: It is not one chain, whole; says what is wrong, and where.
        """
        genesis = self.genesis
        unlawful: dict[int, str] = {}
        for done, number in enumerate(self._parents_first()):
            if done % _EVERY == 0:
                tell(done, len(self._ids))
            problem = self._judge(number, genesis)
            if problem is None:
                self.order.append(number)
            else:
                unlawful[number] = problem
        self._find_forks(unlawful)
        for number, problem in unlawful.items():
            if not self._proves_a_fork(number):
                raise wrong(f"block {self._ids[number].short} {problem}", self._offsets[number], _OTHER_FILE)
        self._check_roots()
        self._check_pieces()

    def _judge(self, number: int, genesis: Genesis) -> str | None:
        """Why a block whose parents were judged is not lawful; notes what it names, and its content, if it is."""
        named = self._named_by(number)
        if any(not self._flags[one] & _LAWFUL for one in named):
            lacks = next(one for one in named if not self._flags[one] & _LAWFUL)
            return f"names {self._ids[lacks].short}, which {'may not be' if self._sizes[lacks] else 'is not'} in it"
        block = self.read(number)
        if block.id != genesis.id:
            metas: dict[bytes, Meta] = {self._ids[one]: self._meta(one) for one in named}
            reason = judge(block, genesis, metas, self._admitted)
            if reason is not None:
                return f"may not be in it ({reason.value})"
        self._flags[number] |= _LAWFUL
        for one in named:
            self._flags[one] |= _NAMED
        if block.content is not None:
            self._look_at(block.content)
        return None

    def _meta(self, number: int) -> Meta:
        type_ = ADMIT if self._flags[number] & _ADMITS else ""
        author = self._author_keys[self._authors[number]]
        return Meta(0, author, self._seqs[number], self._heights[number], type_, folded=True)

    def _admitted(self, id: BlockId) -> frozenset[bytes]:
        return read_admit(self.read(self._numbers[id]))

    def _named_by(self, number: int) -> array[int]:
        first = self._first_named[number]
        return self._named[first : first + self._count_named[number]]

    def _parents_first(self) -> Iterator[int]:
        """The blocks of the file, each after those that it names; in the order of the file where that is one."""
        seen = bytearray(len(self._ids))  # 1: what it names comes first; 2: done
        for first in range(len(self._ids)):
            stack = [first]
            while stack:
                number = stack[-1]
                before = [one for one in self._named_by(number) if not seen[one]] if not seen[number] else ()
                seen[number] = max(seen[number], 1)
                stack.extend(before)
                if before:
                    continue
                stack.pop()
                if seen[number] == 1 and self._sizes[number]:
                    yield number
                seen[number] = 2

    def _check_roots(self) -> None:
        roots = {self._numbers.get(root, -1): root for root in self._roots}
        for number, root in roots.items():
            if number < 0 or not self._flags[number] & _LAWFUL:
                raise wrong(f"its root {root.short} is no block in it", 0, _OTHER_FILE)
        for number in self.order:
            if not self._flags[number] & _NAMED and number not in roots and not self._is_above_a_fork(number):
                what = f"block {self._ids[number].short} is named by no other, and is no root of the file"
                raise wrong(what, self._offsets[number], _OTHER_FILE)

    # --- forks ---------------------------------------------------------------------------------------------------

    def _find_forks(self, unlawful: Collection[int]) -> None:
        """Finds the places at which an author has several blocks.

        Where all are lawful there is one for each seq up to the highest, or a fork: only other authors are looked at closely.
        """
        counts, tops = [0] * len(self._author_keys), [0] * len(self._author_keys)
        for number in self.order:
            author = self._authors[number]
            counts[author] += 1
            tops[author] = max(tops[author], self._seqs[number])
        several = {self._authors[number] for number in unlawful}
        several.update(author for author, count in enumerate(counts) if count > tops[author] + 1)
        founder = self._author_numbers[self.genesis.author]
        places: defaultdict[int, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number, (author, seq) in enumerate(zip(self._authors, self._seqs, strict=True) if several else ()):
            if author in several and self._sizes[number] and (seq or author != founder):  # nothing unseats the genesis
                places[author][seq].append(number)
        for author, at in places.items():
            forks = {seq: numbers for seq, numbers in at.items() if len(numbers) > 1}
            if forks:
                self._forks[author] = forks

    def _proves_a_fork(self, number: int) -> bool:
        return self._seqs[number] in self._forks.get(self._authors[number], ())

    def _is_above_a_fork(self, number: int) -> bool:
        forks = self._forks.get(self._authors[number])
        return forks is not None and self._seqs[number] >= min(forks)

    def proofs(self) -> Iterator[Proof]:
        """For each author that forked, the proof of it that the file holds: of its lowest fork."""
        for forks in self._forks.values():
            one, other, *_ = forks[min(forks)]
            yield proof_of(self.read(one), self.read(other))

    # --- content -------------------------------------------------------------------------------------------------

    def _look_at(self, wanted: Content) -> None:
        """Notes the pieces of a file that are here, and fit in their place."""
        try:
            for piece in content.distinct(wanted, self._piece, self._looked_at):
                place = self._pieces.get(piece.cid)
                if place is not None and (piece.level or place.size == piece.size):
                    self._needed.add(piece.cid)
                self._has_unreadable |= place is not None and not piece.level and place.size != piece.size
        except RemoteError:  # its author gave it a form that cannot be read; what was put below it is of no use
            self._has_unreadable = True

    def _piece(self, cid: Cid) -> bytes | None:
        place = self._pieces.get(cid)
        return None if place is None else self._read(place, cid)

    def _check_pieces(self) -> None:
        for cid, place in self._pieces.items():
            if cid not in self._needed and not self._has_unreadable:
                raise wrong(f"{cid.short} is no part of the content of a block in it", place.offset, _OTHER_FILE)
        self._looked_at.clear()

    def pieces_of(self, block: Block) -> Iterator[tuple[Cid, bytes]]:
        """The pieces of a lawful block's long content that are in the file; each once, whichever blocks are asked for."""
        if block.content is None:
            return
        with suppress(RemoteError):  # it cannot be read, whoever has it
            for piece in content.distinct(block.content, self._piece, self._looked_at):
                data = self._piece(piece.cid)
                if data is not None:
                    content.check(piece, data)
                    yield piece.cid, data

    # --- reading again -------------------------------------------------------------------------------------------

    def __contains__(self, id: BlockId) -> bool:
        number = self._numbers.get(id)
        return number is not None and self._sizes[number] > 0

    def id_of(self, number: int) -> BlockId:
        """The id of a block."""
        return self._ids[number]

    def size_of(self, number: int) -> int:
        """How many bytes a block has."""
        return self._sizes[number]

    def has_content(self, number: int) -> bool:
        """Whether a block has long content."""
        return bool(self._flags[number] & _HAS_CONTENT)

    def read(self, number: int) -> Block:
        """A block that was found genuine. Raises `InvalidInputError` when the file is not what it was."""
        id = self._ids[number]
        return decode(self._read(Place(self._offsets[number], self._sizes[number]), id), id)

    def _read(self, place: Place, cid: Cid) -> bytes:
        self._stream.seek(place.offset)
        data = self._stream.read(place.size)
        if Cid.of(data, bytes(cid[:4])) != cid:
            raise wrong("its bytes changed while it was read", place.offset, "Leave the file alone, and try again.")
        return data
