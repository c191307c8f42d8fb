"""Streams of an upper layer's own over the node's network, and the loop that they live in.

For layers that speak to peers themselves. All that is async runs in the node's loop. Invariants: whatever a peer leads to
ends the work for that peer, not the node; a peer that is kept out opens nothing, and one peer has so many streams of a
protocol at a time. It knows no chain and no message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from walytis_core.boundary import for_peer
from walytis_core.lifetime import Lifetime
from walytis_core.limits import Limits
from walytis_core.network.port import Stream, StreamHandler
from walytis_core.pending import Pending
from walytis_core.service import Service

T = TypeVar("T")


class Streams:
    """A node's network, as upper layers use it.

    Args:
        life: The time in which the node runs.
        service: The node on the network.
    """

    def __init__(self, life: Lifetime, service: Service) -> None:
        self._life = life
        self._service = service
        self._open: Counter[tuple[str, str]] = Counter()

    @property
    def peer_id(self) -> str:
        """The transport's name for this node; empty until the network is up."""
        return self._service.shared.network.peer_id

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """Has `handler` called, in a task of the loop, for each stream a peer opens; it is closed when that returns.

        What it raises is counted against the peer where it is a `RemoteError`, and never ends the node. From any thread
        but the loop's: it returns once peers can open the protocol, or, before the network is up, will be able to.

        Raises:
            ClosedError: The node has ended.
        """

        async def accept(stream: Stream) -> None:
            key = (protocol, stream.peer)
            if self._service.is_kept_out(stream.peer) or self._open[key] >= Limits.max_streams_per_peer:
                return
            self._open[key] += 1
            try:
                with for_peer(stream.peer, protocol, self._service.fault):
                    await handler(stream)
            finally:
                self._open[key] -= 1
                if not self._open[key]:
                    del self._open[key]

        async def tell() -> None:
            self._service.shared.network.serve(protocol, accept)

        self._life.require_open()
        self._life.loop.call(tell)

    async def open(self, addresses: Sequence[str], protocol: str) -> Stream:
        """Connects to a peer at one of these addresses, if it is not connected, and opens a stream. In the loop.

        Raises:
            UnavailableError: The network does not come up, nobody answers there, or it does not speak `protocol`.
        """
        peer = await self._service.connect(addresses)
        return await self._service.shared.network.open_stream(peer, protocol)

    def attend(self, pending: Pending[T], task: Callable[[], Awaitable[object]]) -> Pending[T]:
        """Runs a task in the loop that resolves a pending; when the node ends before, the pending fails.

        What the task raises ends the node: what it does for a peer stands within `guarded`.

        Raises:
            ClosedError: The node has ended.
        """
        self._life.require_open()
        return self._life.attend(pending, task)

    def post(self, function: Callable[[], None]) -> None:
        """Has a function called in the loop soon, in order; dropped once the node has ended. From any thread."""
        self._life.loop.post(function)

    async def run_in_thread(self, job: Callable[[], T]) -> T:
        """Runs what takes long in one of the node's threads. In the loop."""
        return await self._service.shared.workers.run(job, self._service.shared.screeners)

    def guarded(self, peer: str) -> AbstractContextManager[None]:
        """Stands around what a task does for one peer: faults are counted, our own bugs logged, and the node goes on."""
        return for_peer(peer, "a stream", self._service.fault)
