"""All that goes to one peer over bitswap: what we want of it, and the answers to what it wants.

One task and one stream of ours for each peer that there is something to say to: Kubo hears answers only on streams that
we opened. Invariants: what waits is bounded (the peer's wants, then reading it pauses; our own by what is fetched at a
time; no answer waits, it is made when it can be sent); a want is forgotten when it is answered; a peer that does not
read, or wants more than its share, holds up nobody else; what is absent costs the asker most. It knows no chains.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import trio
from libp2p.utils import encode_varint_prefixed

from walytis_core.cid import Cid, is_ours
from walytis_core.errors import UnavailableError
from walytis_core.network.libp2p.bitswap_wire import Draft, Want
from walytis_core.network.port import Give, PeerId, Stream

__all__ = ["Line", "Surroundings"]

WANTS: Final = 1024  # of one peer, not yet answered: as many as Kubo keeps
TARGET_BYTES: Final = 256 * 1024  # a message that has so much is sent: it grows by one block more at most
SMALL_BYTES: Final = 1024  # a block so small is sent in place of the word that it is here, as Kubo does
MESSAGES: Final = 4  # of one peer, read at a time: each may be long
PIECE_BYTES: Final = 64 * 1024
PIECE_WAIT_S: Final = 10.0  # a peer that takes no piece for so long does not read
IDLE_S: Final = 60.0  # a stream that is not used for so long is closed
HIT_S: Final = 0.0002  # the share of this node's time that an answered want is counted with
MISS_S: Final = 0.002  # and one for what is not here
BURST_S: Final = 1.0  # what may be used at once: 5000 blocks, or 500 absent ones
GARBAGE: Final = 16  # blocks that fit nothing, after which a peer is not waited for any more


class Surroundings(Protocol):
    """What a line needs of its node."""

    give: Give | None
    giving: trio.CapacityLimiter
    nursery: trio.Nursery

    async def open(self, peer: PeerId) -> Stream:
        """Opens a stream to a peer; raises `UnavailableError` when it does not speak bitswap."""
        ...

    def refused(self, peer: PeerId, cid: Cid) -> None:
        """A peer does not give this."""
        ...


class Line:
    """What there is with one peer.

    Args:
        peer: The peer.
        node: This node.
    """

    def __init__(self, peer: PeerId, node: Surroundings) -> None:
        self.peer = peer
        self.reading = trio.CapacityLimiter(MESSAGES)
        self.asked: set[Cid] = set()  # of this peer, and not yet answered
        self._node = node
        self._ours: dict[Cid, bool | None] = {}  # to be said: ask for the block, or whether it is there, or no longer
        self._wants: OrderedDict[bytes, Want] = OrderedDict()  # the peer's
        self._room = trio.Event()
        self._work = trio.Event()
        self._stream: Stream | None = None
        self._running: trio.CancelScope | None = None
        self._is_gone = False
        self._used = -float("inf")  # until when the peer has used this node's time
        self._garbage = 0

    # --- what this node says ---

    def ask(self, cid: Cid, *, block: bool) -> None:
        """Asks the peer for a block, or whether it has it; one that is gone refuses."""
        if self._is_gone:
            self._node.refused(self.peer, cid)
            return
        self.asked.add(cid)
        self._ours[cid] = block
        self._wake()

    def cancel(self, cid: Cid) -> None:
        """The block is not wanted any more."""
        self.asked.discard(cid)
        if self._ours.pop(cid, None) is None:  # what was never sent need not be taken back
            self._ours[cid] = None
        self._wake()

    def gave(self, cid: Cid) -> None:
        """The peer gave what it was asked for."""
        self.asked.discard(cid)
        self._garbage = 0

    def garbage(self) -> None:
        """The peer sent a block that fits nothing: now and then it comes late, a liar is not waited for."""
        self._garbage += 1
        if self._garbage >= GARBAGE:
            self._garbage = 0
            self._refuse_all()

    def gone(self) -> None:
        """The peer is not connected any more."""
        self._is_gone = True
        self._drop()
        if self._running is not None:
            self._running.cancel()

    # --- what the peer wants ---

    async def wanted(self, wants: Sequence[Want], *, full: bool) -> None:
        """Takes in what the peer wants; waits while too much of that is not answered."""
        if full:
            self._wants.clear()
            self._make_room()
        for want in wants:
            if want.cancel:
                self._wants.pop(want.cid, None)
                self._make_room()
                continue
            while len(self._wants) >= WANTS:
                await self._room.wait()
            if self._is_gone:
                return
            earlier = self._wants.get(want.cid)
            self._wants[want.cid] = want._replace(block=want.block or (earlier is not None and earlier.block))
            self._wake()

    async def _answer(self, draft: Draft) -> None:
        cid, want = self._wants.popitem(last=False)
        self._make_room()
        data = await self._held(cid)
        self._used = max(self._used, trio.current_time()) + (HIT_S if data is not None else MISS_S)
        if data is not None and (want.block or len(data) <= SMALL_BYTES):
            draft.block(cid, data)
        elif data is not None or want.say_no:
            draft.presence(cid, has=data is not None)

    def _make_room(self) -> None:
        self._room.set()
        self._room = trio.Event()

    async def _held(self, cid: bytes) -> bytes | None:
        if self._node.give is None or not is_ours(cid):
            return None
        async with self._node.giving:
            try:
                return await self._node.give(Cid(cid))
            except UnavailableError:
                return None

    # --- the task ---

    def _wake(self) -> None:
        self._work.set()
        if self._running is None and not self._is_gone:
            self._running = trio.CancelScope()
            self._node.nursery.start_soon(self._run, self._running)

    async def _run(self, scope: trio.CancelScope) -> None:
        with scope:
            try:
                while await self._has_work():
                    draft = Draft()
                    self._say_ours(draft)
                    while self._wants and self._may_answer() and draft.size < TARGET_BYTES and not self._ours:
                        await self._answer(draft)
                    if draft.size:
                        await self._send(encode_varint_prefixed(draft.encode()))
            except UnavailableError:
                self._drop()
        self._running = None  # at once with the decision to end: who has something to say now starts anew
        await self._hang_up()

    async def _has_work(self) -> bool:
        """Waits for something to say; False when there was nothing for long."""
        while not self._ours and not (self._wants and self._may_answer()):
            self._work = trio.Event()
            due = self._used - BURST_S if self._wants else trio.current_time() + IDLE_S
            with trio.move_on_at(due) as waiting:
                await self._work.wait()
            if waiting.cancelled_caught and not self._wants and not self._ours:
                return False
        return True

    def _may_answer(self) -> bool:
        return trio.current_time() >= self._used - BURST_S

    def _say_ours(self, draft: Draft) -> None:
        for cid, block in self._ours.items():
            if block is None:
                draft.cancel(cid)
            else:
                draft.want(cid, block=block)
        self._ours.clear()

    async def _send(self, data: bytes) -> None:
        is_new = self._stream is None
        try:
            await self._write(data)
        except UnavailableError:
            if is_new:
                raise
            await self._hang_up()  # it may have ended since it was used last
            await self._write(data)

    async def _write(self, data: bytes) -> None:
        if self._stream is None:
            self._stream = await self._node.open(self.peer)
        for at in range(0, len(data), PIECE_BYTES):
            await _in_time(self._stream.send, data[at : at + PIECE_BYTES])

    async def _hang_up(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    def _drop(self) -> None:
        """Forgets all that waits: nothing can be said to the peer."""
        self._wants.clear()
        self._ours.clear()
        self._make_room()
        self._refuse_all()

    def _refuse_all(self) -> None:
        refused, self.asked = self.asked, set()
        for cid in refused:
            self._node.refused(self.peer, cid)


async def _in_time(send: Callable[[bytes], Awaitable[None]], piece: bytes) -> None:
    try:
        with trio.fail_after(PIECE_WAIT_S):
            await send(piece)
    except trio.TooSlowError as error:
        raise UnavailableError("The peer does not read.") from error
