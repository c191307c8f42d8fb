"""A link: what is under way to one peer over its sync stream.

A link is a cursor over this replica's order of insertion, filtered by what the peer is known to hold. A pull sets the
cursor back to the first block that the peer lacks; when the cursor reaches the end the link is *live*, and new blocks are
pushed as they come. Every frame of blocks or content takes a credit, which the peer gives back once it has stored the
frame: so a slow reader costs no memory, it only leaves the cursor behind. A peer that confirms at once is sent what is new
meanwhile in one frame with its next credit: it could not store it earlier, and a frame and its sync cost more than a block.
Pure; reads members through `Held`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from walytis_core.block import Block
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import Reason, RemoteError
from walytis_core.frontier import Entry, Frontier
from walytis_core.limits import Limits
from walytis_core.messages import Blocks, Message, Pull, SideLacking, SidePart, Why
from walytis_core.portions import portions as in_portions
from walytis_core.store.port import ChainStore, Held, Row

_WAITING_MOST = 16
"""New blocks that wait for the credit of a frame under way; more are worth a frame of their own."""
_SCANS_AT_ONCE = 8
"""Pages of members that one event may read for one peer; the rest waits for the next event."""


def is_for_all(label: str) -> bool:
    """Whether content with this label may be given to any reader of the chain."""
    return not label


@dataclass(slots=True)
class Link:
    """One peer's link.

    Attributes:
        may_have: Whether the peer may have content with a label.
        denied: How often it asked for content that it may not have, since that was last looked at.
        theirs: The greatest `seq` the peer is known to hold, by author.
        pulls: Our pulls that the peer has not answered to the end.
        probes_left: Probes that its last pull may still cost us.
        pulled: A pull of the peer that is to be answered: its entries, and the buckets they speak of.
        answer_from_s: When its next pull may be answered.
        unconfirmed: The frames that no credit has confirmed yet.
        waiting: New blocks that go with the next credit, while frames are unconfirmed.
    """

    peer: str
    credit: int = Limits.credit_frames
    is_live: bool = False
    cursor: int | None = None
    is_answering: bool = False
    theirs: dict[bytes, int] = field(default_factory=dict)
    asked: deque[BlockId] = field(default_factory=deque)
    sides: deque[tuple[Cid, int]] = field(default_factory=deque)
    digest: bytes | None = None
    count: int = 0
    pulls: int = 0
    probes_left: int = 0
    pulled: tuple[dict[bytes, Entry], tuple[int, ...] | None] | None = None
    answer_from_s: float = 0.0
    unconfirmed: deque[Blocks | SidePart] = field(default_factory=deque)
    waiting: list[Block] = field(default_factory=list)
    may_have: Callable[[str], bool] = is_for_all
    denied: int = 0
    _is_quick: bool = False
    _timed: tuple[Blocks | SidePart, float] | None = None
    _waiting_after: int = 0
    _parts: dict[bytes, Entry] = field(default_factory=dict)

    # --- what the peer holds -------------------------------------------------------------------------------------

    def has(self, author: bytes, seq: int) -> None:
        """The peer has shown a block, or was sent one."""
        if seq > self.theirs.get(author, -1):
            self.theirs[author] = seq

    def add_part(self, pull: Pull) -> dict[bytes, Entry] | None:
        """Collects the parts of a pull; gives the peer's entries when it is whole."""
        self._parts.update(pull.entries)
        if len(self._parts) > Limits.max_frontier_authors:
            raise RemoteError(Reason.OVER_BUDGET)
        if not pull.last:
            return None
        whole, self._parts = self._parts, {}
        return whole

    def answer(self, theirs: Mapping[bytes, Entry], scope: Iterable[int] | None, own: Frontier, held: Held) -> int:
        """Sets out to send what lies above the peer's frontier.

        Args:
            theirs: The peer's entries.
            scope: The buckets they speak of; in the others the peer holds what we hold.

        Returns:
            How many authors' blocks were looked up.
        """
        self.theirs = {author: entry.seq for author, entry in theirs.items()}
        if scope is not None:
            self.theirs.update((author, entry.seq) for author, entry in own.outside(set(scope)))
        awaited = {
            author: entry.fork - 1 for author, entry in theirs.items() if entry.is_awaited and entry.fork is not None
        }
        self.theirs.update(awaited)
        lacking = [author for author, entry in own.items() if entry.seq > self.theirs.get(author, -1)]
        lacking.extend(awaited.keys() - lacking)
        numbers = [held.next_number(author, self.theirs.get(author, -1)) for author in lacking]
        if awaited:  # a branch may lean on others' branches: all that is above a fork comes in the order held here
            numbers.extend(held.next_number(author, proof.seq - 1) for author, proof in held.proofs().items())
        self.cursor = min((number for number in numbers if number is not None), default=held.last + 1) - 1
        self.is_live = False
        self.is_answering = True
        self.waiting.clear()  # they lie above the cursor
        return len(lacking)

    def has_stored(self, block: Block) -> bool:
        """Whether the peer has shown a block, or confirmed that it was sent it."""
        if block.seq > self.theirs.get(block.author, -1):
            return False
        return not any(isinstance(frame, Blocks) and block.encoded in frame.blocks for frame in self.unconfirmed)

    def go_live(self, own: Frontier) -> None:
        """The peer holds exactly what we hold: from now on it is sent what is new."""
        if not self.is_answering:
            self.theirs = {author: entry.seq for author, entry in own.items()}
            self.is_live = True

    # --- sending -------------------------------------------------------------------------------------------------

    def push(self, blocks: Sequence[Block], why: Why, held: Held, now_s: float) -> list[Message]:
        """New blocks for a live link, about to be committed, and those that wait; what finds no credit is left to the cursor."""
        if not self.is_live:
            return []
        cursor = self._waiting_after if self.waiting else held.last
        fresh = [block for block in (*self.waiting, *blocks) if block.seq > self.theirs.get(block.author, -1)]
        if self._is_quick and self.unconfirmed and len(fresh) <= _WAITING_MOST:
            self.waiting, self._waiting_after = fresh, cursor
            return []
        self.waiting = []
        result: list[Message] = []
        for portion in portions([block.encoded for block in fresh]):
            if not self.credit:
                self.is_live = False
                self.cursor = cursor
                break
            result.append(self._sent(Blocks(why, portion)))
            self._timed = self._timed or (self.unconfirmed[-1], now_s)
            for block in fresh[: len(portion)]:
                self.has(block.author, block.seq)
            fresh = fresh[len(portion) :]
        return result

    def pump(self, held: ChainStore, frozen: Mapping[bytes, int], news: Why) -> tuple[list[Message], bool]:
        """Whatever is due and finds credit: asked blocks, content, then the cursor.

        Args:
            news: Why blocks are sent that no pull asked for.

        Returns:
            The messages, and whether to be called again soon.
        """
        result: list[Message] = []
        for _ in range(_SCANS_AT_ONCE):
            if not self.credit:
                return result, False
            if self.asked:
                result.extend(self._give_asked(held))
            elif self.sides:
                result.extend(self._give_side(held))
            elif self.cursor is not None and not self.is_live:
                result.extend(self._give_next(held, frozen, news))
            else:
                return result, False
        return result, True

    def _sent(self, frame: Blocks | SidePart) -> Blocks | SidePart:
        self.credit -= 1
        self.unconfirmed.append(frame)
        return frame

    def confirmed(self, frames: int, now_s: float) -> None:
        """The peer has stored so many frames."""
        self.credit += frames
        for _ in range(min(frames, len(self.unconfirmed))):
            frame = self.unconfirmed.popleft()
            if self._timed is not None and self._timed[0] is frame:
                self._is_quick = now_s - self._timed[1] < Limits.quick_credit_s
                self._timed = None

    def untold(self, news: Why) -> Iterator[tuple[bytes, ...]]:
        """New blocks of which nobody was told but this peer, and it has not confirmed them; `news` says of those that wait."""
        for frame in self.unconfirmed:
            if isinstance(frame, Blocks) and frame.why is Why.NEWS_HERE:
                yield frame.blocks
        if news is Why.NEWS_HERE:
            yield from portions([block.encoded for block in self.waiting])

    def _give_asked(self, held: Held) -> list[Message]:
        ids = [self.asked.popleft() for _ in range(min(len(self.asked), Limits.max_blocks_per_frame))]
        found = held.encoded(ids)
        first = next(portions([found[id] for id in ids if id in found]), ())
        self.asked.extendleft(reversed([id for id in ids if id in found][len(first) :]))
        if not first:
            return []
        return [self._sent(Blocks(Why.ASKED, first))]

    def _give_side(self, held: ChainStore) -> list[Message]:
        cid, offset = self.sides.popleft()
        label = held.side_label(cid)
        if label is not None and not self.may_have(label):  # answered as what is not held
            self.denied += 1
            return [SideLacking((cid,))]
        data = held.side(cid)
        if data is None or Cid.of(data, bytes(cid[:4])) != cid:  # what the disk has spoilt is not given on
            return [SideLacking((cid,))]
        part = data[offset : offset + Limits.part_bytes]
        if offset + len(part) < len(data):
            self.sides.appendleft((cid, offset + len(part)))
        return [self._sent(SidePart(cid, offset, len(data), part))]

    def _give_next(self, held: Held, frozen: Mapping[bytes, int], news: Why) -> list[Message]:
        rows = held.scan(self.cursor or 0, Limits.max_blocks_per_frame, Limits.target_frame_bytes)
        if not rows:
            self.is_live = True
            return []
        self.cursor = rows[-1].number
        lacking = [row for row in rows if row.folded and self._lacks(row, frozen)]
        if not lacking:
            return []
        for row in lacking:
            self.has(row.author, row.seq)
        why = Why.PULLED if self.is_answering else news
        return [self._sent(Blocks(why, tuple(row.encoded for row in lacking)))]

    def _lacks(self, row: Row, frozen: Mapping[bytes, int]) -> bool:
        return row.seq > self.theirs.get(row.author, -1) or row.seq >= frozen.get(row.author, row.seq + 1)

    def is_done(self) -> bool:
        """Whether a pull has just been answered whole; said once."""
        if self.is_answering and self.is_live:
            self.is_answering = False
            return True
        return False


def portions(blocks: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Blocks in runs that fit one frame: at most 256, about 96 KiB, at least one."""
    return in_portions(blocks, len, Limits.max_blocks_per_frame, Limits.target_frame_bytes)
