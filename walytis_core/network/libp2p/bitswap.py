"""Bitswap: gives blocks to whoever asks for them by CID, and fetches them; `docs/adr/0013-own-bitswap.md` says why our own.

Decides whom a fetch asks, and when it gives up. Invariants: what a fetch gives has the hash that was asked for; fetches of
one CID are one; each ends within `Limits.fetch_wait_s`, and at once when nobody is left who could have the block; wants are
taken back at its end; what was not asked for is dropped. What goes to one peer is in `bitswap_line.py`, the messages in
`bitswap_wire.py`. It is written on streams of the network port, and knows no chains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from walytis_core.cid import PREFIXES, Cid, is_ours
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.libp2p.bitswap_line import Line
from walytis_core.network.libp2p.bitswap_wire import MESSAGE_BYTES, Message, read
from walytis_core.network.libp2p.stream import Prefixed
from walytis_core.network.port import Give, PeerId, Stream

__all__ = ["PROTOCOLS", "Bitswap"]

PROTOCOLS: Final = ("/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0")
FETCHES: Final = 256  # at a time; more wait
GIVES: Final = 16  # blocks looked up at a time, for all peers
BLOCK_WAIT_S: Final = 2.0  # for one peer's block; then the next is asked too
OPEN_WAIT_S: Final = 5.0
READ_BYTES: Final = 64 * 1024


class _Fetch:
    """One fetch under way."""

    def __init__(self, cid: Cid) -> None:
        self.cid = cid
        self.data: bytes | None = None
        self.refused: set[PeerId] = set()
        self.ended = trio.Event()
        self.told: dict[PeerId, Line] = {}  # who knows that we want it
        self._waiting: set[PeerId] = set()  # of these, who has not answered
        self._probed: set[PeerId] = set()  # and was only asked whether it has it
        self._holders: deque[Line] = deque()  # who is asked for the block itself
        self._giving: PeerId | None = None  # who is waited for with it
        self._changed = trio.Event()

    async def run(self, lines: Sequence[Line], *, probe: bool) -> None:
        """Asks until the block is there or nobody is left; with `probe` everybody is first asked who has it."""
        if probe:
            for line in lines:
                self._probed.add(line.peer)
                self._ask(line, block=False)
        else:
            self._holders.extend(lines)
        while self.data is None:
            if self._giving is None and self._holders:
                line = self._holders.popleft()
                self._giving = line.peer
                self._ask(line, block=True)
                continue
            if not self._waiting:
                return
            self._changed = trio.Event()
            with trio.move_on_after(BLOCK_WAIT_S if self._giving is not None else Limits.fetch_wait_s) as waiting:
                await self._changed.wait()
            if waiting.cancelled_caught:
                self._giving = None

    def _ask(self, line: Line, *, block: bool) -> None:
        self.told[line.peer] = line
        self._waiting.add(line.peer)
        line.ask(self.cid, block=block)

    def has(self, line: Line) -> None:
        """A peer says that it has the block."""
        if line.peer in self._probed:  # once, however often it says so
            self._probed.discard(line.peer)
            self._waiting.discard(line.peer)
            self._holders.append(line)
            self._changed.set()

    def refuses(self, peer: PeerId) -> None:
        """A peer does not have it, or is gone."""
        self.refused.add(peer)
        self._waiting.discard(peer)
        if self._giving == peer:
            self._giving = None
        self._changed.set()

    def came(self, peer: PeerId, data: bytes) -> None:
        """The block is there."""
        self.data = data
        self.told.pop(peer, None)
        self._changed.set()


class Bitswap:
    """The exchange of blocks of one run of a host.

    Args:
        give: Gives our blocks; None: there are none.
        dial: Opens a stream to a connected peer for the first of these protocols that it speaks.
        connected: The peers that are connected now.
        is_connected: Whether there is a connection to a peer; at once, where `connected` may come to it later.
    """

    nursery: trio.Nursery  # set by whoever runs it, before anything else

    def __init__(
        self,
        give: Give | None,
        *,
        dial: Callable[[PeerId, Sequence[str]], Awaitable[Stream]],
        connected: Callable[[], Sequence[PeerId]],
        is_connected: Callable[[PeerId], bool],
    ) -> None:
        self.give = give
        self.giving = trio.CapacityLimiter(GIVES)
        self._dial = dial
        self._connected = connected
        self._is_connected = is_connected
        self._lines: dict[PeerId, Line] = {}
        self._fetches: dict[Cid, _Fetch] = {}
        self._turns = trio.CapacityLimiter(FETCHES)

    # --- fetching ---

    async def fetch(self, cid: Cid, peers: Sequence[PeerId]) -> bytes:
        """Fetches a block from these peers, or from any connected one.

        Raises:
            UnavailableError: None of them gives it in time.
        """
        data = None
        if is_ours(cid):
            with trio.move_on_after(Limits.fetch_wait_s):
                data = await self._fetch(cid, peers)
        await trio.lowlevel.checkpoint_if_cancelled()
        if data is None:
            raise UnavailableError("No peer that is connected gives this block.")
        return data

    async def _fetch(self, cid: Cid, peers: Sequence[PeerId]) -> bytes | None:
        refused: set[PeerId] = set()
        while fetch := self._fetches.get(cid):
            await fetch.ended.wait()
            if fetch.data is not None:
                return fetch.data
            refused |= fetch.refused
        fetch = self._fetches[cid] = _Fetch(cid)
        try:
            async with self._turns:
                lines = [self._line(peer) for peer in peers or self._connected() if peer not in refused]
                await fetch.run([line for line in lines if line is not None], probe=not peers)
        finally:
            del self._fetches[cid]
            fetch.ended.set()
            for line in fetch.told.values():
                line.cancel(cid)
        return fetch.data

    def refused(self, peer: PeerId, cid: Cid) -> None:
        """A peer does not give this."""
        if fetch := self._fetches.get(cid):
            fetch.refuses(peer)

    # --- peers ---

    async def handle(self, stream: Stream) -> None:
        """Reads what a peer says on a stream that it opened; ends with it, or with the first thing that is no message."""
        line = self._line(stream.peer)
        if line is None:
            return
        messages = Prefixed(_reader(stream), MESSAGE_BYTES)
        while True:
            await messages.begun()  # a stream that is kept for later keeps no other from being read
            async with line.reading:
                try:
                    message = read(await messages.next())
                except ValueError as error:
                    raise UnavailableError("The peer does not speak bitswap.") from error
                self._take(line, message)
                await line.wanted(message.wants, full=message.full)

    def peer_gone(self, peer: PeerId) -> None:
        """A peer is not connected any more: nothing is kept about it."""
        if line := self._lines.pop(peer, None):
            line.gone()

    async def open(self, peer: PeerId) -> Stream:
        """Opens a stream to a peer; raises `UnavailableError` when it does not speak bitswap."""
        with trio.move_on_after(OPEN_WAIT_S):
            return await self._dial(peer, PROTOCOLS)
        raise UnavailableError("The peer does not answer.")

    def _line(self, peer: PeerId) -> Line | None:
        if peer not in self._lines and self._is_connected(peer):
            self._lines[peer] = Line(peer, self)
        return self._lines.get(peer)

    def _take(self, line: Line, message: Message) -> None:
        """Takes in what a peer has and lacks, as far as it was asked."""
        for prefix, data in message.blocks:
            self._came(line, prefix, data)
        for cid in message.has:
            if cid in line.asked and (fetch := self._fetches.get(Cid(cid))):
                fetch.has(line)
        for cid in message.lacks:
            if cid in line.asked:
                line.asked.discard(Cid(cid))
                self.refused(line.peer, Cid(cid))

    def _came(self, line: Line, prefix: bytes, data: bytes) -> None:
        if not line.asked or prefix not in PREFIXES:  # nothing is hashed for a peer that was not asked
            return
        cid = Cid.of(data, prefix)
        fetch = self._fetches.get(cid)
        if fetch is None or cid not in line.asked:
            line.garbage()
            return
        line.gave(cid)
        fetch.came(line.peer, data)


def _reader(stream: Stream) -> Callable[[], Awaitable[bytes]]:
    async def more() -> bytes:
        data = await stream.receive(READ_BYTES)
        if not data:
            raise UnavailableError("The stream has ended.")
        return data

    return more
