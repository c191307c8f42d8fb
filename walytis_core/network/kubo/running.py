"""One run of a node on a daemon: from the first look at it to the last thing of ours that is taken out of it.

Decides when a daemon counts as away and what is done when it is back: everything anew, for it has forgotten us. Invariants: a
daemon that is away means that no peer is connected; nothing of ours stays in it, nor outlives `running`. Loads httpx.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio

from walytis_core.errors import UnavailableError
from walytis_core.network.kubo.endpoint import Endpoint
from walytis_core.network.kubo.gossip import Channels, Hear
from walytis_core.network.kubo.peers import Peers
from walytis_core.network.kubo.preflight import Daemon, identity, require
from walytis_core.network.kubo.rpc import Rpc
from walytis_core.network.kubo.streams import Streams
from walytis_core.network.port import PeerId, Stream, StreamHandler

__all__ = ["RunningKubo"]

LOOK_S: Final = 1.0  # from one look at the connections to the next
_LEAST_S: Final = 0.1  # the same, where hints come all the time
CHECK_LOOKS: Final = 5  # looks after which it is seen whether the daemon still knows us
BACK_OFF_S: Final = (0.2, 2.0)  # from one try to find a daemon that is away to the next


class RunningKubo:
    """A node on a daemon.

    Args:
        endpoint: The daemon's RPC.
        hear: Takes each message of a channel.
        tell: Takes each peer that comes (True) or goes (False).
    """

    def __init__(self, endpoint: Endpoint, hear: Hear, tell: Callable[[PeerId, bool], None]) -> None:
        self.daemon = Daemon("", ())
        self.rpc = Rpc(endpoint)
        self._hear = hear
        self._tell_all = tell
        self.peers = Peers(self.rpc, self._tell)
        self._is_up = False
        self.failure: UnavailableError | None = None
        self._hint = trio.Event()

    @asynccontextmanager
    async def running(self, handlers: Mapping[str, StreamHandler]) -> AsyncIterator[None]:
        """Runs for the length of the block. `handlers` may grow until it has begun; after that there is `serve`."""
        async with self.rpc, trio.open_nursery() as self._nursery:
            self.streams = Streams(self.rpc, self.peers.is_there, self._nursery)
            self.channels = Channels(self.rpc, self.peers, self._hear, self._nursery, self.look_soon)
            await require(self.rpc, tuple(handlers))
            begun = dict(handlers)
            for protocol, handler in begun.items():
                await self.streams.serve(protocol, handler)
            try:
                await self._attach()
                for task in (self._supervise, self.peers.look_up, self.channels.look):
                    self._nursery.start_soon(task)
                for protocol in handlers.keys() - begun.keys():  # asked for meanwhile
                    self.serve(protocol, handlers[protocol])
                yield
            finally:
                self._nursery.cancel_scope.cancel()
                await self.streams.leave()

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """Serves one protocol more, soon."""
        self._nursery.start_soon(self._serve, protocol, handler)

    async def _serve(self, protocol: str, handler: StreamHandler) -> None:
        await self.streams.serve(protocol, handler)
        try:
            await self.streams.register()
        except UnavailableError:
            self.look_soon()  # registers it again, or finds the daemon away

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream to a connected peer."""
        if peer == self.daemon.peer_id or not await self.peers.is_there(peer):
            raise UnavailableError("The peer is not connected.")
        return await self.streams.open(peer, protocol)

    # --- the daemon --------------------------------------------------------------------------------------------------

    def look_soon(self) -> None:
        """Something hints that the daemon or a connection is gone."""
        self._hint.set()

    async def _supervise(self) -> None:
        pause_s = BACK_OFF_S[0]
        while True:
            try:
                if not self._is_up:
                    await require(self.rpc, ())  # it may be back with other settings
                    await self._attach()
                pause_s = BACK_OFF_S[0]
                await self._look_on()
            except UnavailableError as error:
                self.failure = error
                self._away()
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, BACK_OFF_S[1])

    async def _attach(self) -> None:
        """Makes ourselves known to the daemon, which may be a new one."""
        self.daemon = await identity(self.rpc)
        self.channels.own = self.daemon.peer_id
        await self.streams.register()
        await self.peers.look()
        self._is_up, self.failure = True, None
        self.channels.came_up()

    def _away(self) -> None:
        self._is_up = False
        self.channels.went_down()
        self.streams.break_off()
        self.peers.lose_all()

    async def _look_on(self) -> None:
        """Looks at the connections until the daemon is away."""
        looks = 0
        while True:
            is_hinted = await self._wait()
            looks, had_peers = looks + 1, bool(self.peers)
            await self._twice(self.peers.look)
            has_lost_all = had_peers and not self.peers
            if is_hinted or has_lost_all or looks % CHECK_LOOKS == 0:
                await self._twice(partial(self._check, is_hinted=is_hinted))

    async def _wait(self) -> bool:
        """Waits for the next look; tells whether something hinted at one."""
        await trio.sleep(_LEAST_S)
        with trio.move_on_after(LOOK_S - _LEAST_S) as scope:
            await self._hint.wait()
        self._hint = trio.Event()
        return not scope.cancelled_caught

    async def _check(self, *, is_hinted: bool) -> None:
        """Sees whether the daemon still knows us: one that restarted quickly has forgotten, or has other settings."""
        if is_hinted:
            await require(self.rpc, ())
        self.daemon = await identity(self.rpc)
        self.channels.own = self.daemon.peer_id
        await self.streams.register()
        await self.streams.tidy()

    async def _twice(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except UnavailableError:  # a connection that the daemon closed just then is no sign that it is away
            await step()

    def _tell(self, peer: PeerId, there: bool) -> None:
        if there:
            self.channels.news()
        else:
            self.streams.lose(peer)
        self._tell_all(peer, there)
