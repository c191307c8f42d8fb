"""Blocks by CID between `MemoryNetwork`s: all peers are asked at once, and the first answer that fits its CID counts.

Invariants: what is handed out has the hash that was asked for and at most `Limits.leaf_bytes`; a fetch ends when every
peer that was asked has answered or is gone. It knows neither links nor chains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio

from walytis_core.cid import Cid, is_ours
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.port import Give, PeerId

__all__ = ["Ask", "Blocks", "Given"]

ASKS_PER_PEER = 1024  # of one peer, answered at a time; above that it hears that there is nothing


class Ask(NamedTuple):
    """Asks a peer for a block."""

    number: int
    cid: Cid


class Given(NamedTuple):
    """Answers that."""

    number: int
    data: bytes | None


class _Asked:
    """One fetch under way: whom it still waits for, and what came."""

    def __init__(self, cid: Cid, peers: Sequence[PeerId]) -> None:
        self.cid = cid
        self.waiting = set(peers)
        self.data: bytes | None = None
        self.done = trio.Event()

    def answered(self, peer: PeerId, data: bytes | None) -> None:
        """Takes one peer's answer; it counts once, and only from a peer that was asked."""
        if peer not in self.waiting:
            return
        self.waiting.discard(peer)
        if data is not None and len(data) <= Limits.leaf_bytes and Cid.of(data, self.cid[:4]) == self.cid:
            self.data = data
        if self.data is not None or not self.waiting:
            self.done.set()


class Blocks:
    """The blocks that one node asks for and gives.

    Args:
        send: Sends an event to a peer; False when it is not connected.
        new_id: Gives a number that no other call gets.
    """

    def __init__(self, send: Callable[[PeerId, object], bool], new_id: Callable[[], int]) -> None:
        self.give: Give | None = None
        self._send = send
        self._new_id = new_id
        self._asked: dict[int, _Asked] = {}
        self._answering: Counter[PeerId] = Counter()

    async def fetch(self, cid: Cid, peers: Sequence[PeerId]) -> bytes:
        """Asks these peers; raises `UnavailableError` when none of them gives the block in time."""
        number, asked = self._new_id(), _Asked(cid, peers if is_ours(cid) else ())
        self._asked[number] = asked
        try:
            for peer in tuple(asked.waiting):
                if not self._send(peer, Ask(number, cid)):
                    asked.answered(peer, None)
            if asked.waiting:
                with trio.move_on_after(Limits.fetch_wait_s):
                    await asked.done.wait()
            else:
                await trio.lowlevel.checkpoint()
        finally:
            del self._asked[number]
        if asked.data is None:
            raise UnavailableError("No peer that is connected gives this block.")
        return asked.data

    async def answer(self, peer: PeerId, ask: Ask) -> None:
        """Answers a peer."""
        data = None
        if self.give is not None and self._answering[peer] < ASKS_PER_PEER:
            self._answering[peer] += 1
            try:
                data = await self.give(ask.cid)
            except UnavailableError:
                pass
            finally:
                self._answering[peer] -= 1
        self._send(peer, Given(ask.number, data))

    def answered(self, peer: PeerId, given: Given) -> None:
        """Takes an answer."""
        if asked := self._asked.get(given.number):
            asked.answered(peer, given.data)

    def peer_gone(self, peer: PeerId) -> None:
        """Nothing more comes from that peer."""
        del self._answering[peer]
        for asked in list(self._asked.values()):
            asked.answered(peer, None)
