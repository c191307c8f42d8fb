"""One run of a py-libp2p host: from listening to the last closed socket.

Decides in what order services start and stop, which addresses are dialled, and what counts as connected. Invariants:
a peer is connected from its first connection to its last; nothing outlives `listening`. Loads py-libp2p.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.custom_types import TProtocol
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError
from libp2p.tools.anyio_service import background_trio_service
from libp2p.tools.anyio_service.exceptions import LifecycleError
from multiaddr import Multiaddr

from walytis_core.errors import InvalidInputError, UnavailableError
from walytis_core.network.libp2p._foreign import foreign_errors, parse_peer
from walytis_core.network.libp2p.bitswap import PROTOCOLS as BITSWAP
from walytis_core.network.libp2p.bitswap import Bitswap
from walytis_core.network.libp2p.gossip import build_gossip
from walytis_core.network.libp2p.host import build_host, forget_peer, listening_addresses
from walytis_core.network.libp2p.multiaddresses import parse_address, told_by, with_peer
from walytis_core.network.libp2p.stream import Libp2pStream
from walytis_core.network.libp2p.yamux import Muxer
from walytis_core.network.port import Connected, Give, PeerId, Stream, StreamHandler

__all__ = ["RunningHost"]

MAX_DIALLED = 8  # addresses tried in one `connect`
MAX_KNOWN = 16  # addresses of a peer that are passed on
STOP_WAIT_S = 4.0

Tell = Callable[[PeerId, bool], None]


class RunningHost:
    """A host with its gossip and its bitswap.

    Args:
        seed: The seed of the node key.
        deliver: Takes each gossip message as (channel, publisher, data).
        tell: Takes each peer that comes (True) or goes (False).
        give: Gives blocks to whoever asks for them; None: there are none to give.
    """

    def __init__(
        self, seed: bytes, *, deliver: Callable[[str, PeerId, bytes], None], tell: Tell, give: Give | None
    ) -> None:
        self._host = build_host(seed)
        self._swarm = cast(Swarm, self._host.get_network())
        self.gossip = build_gossip(self._host, lambda topic, peer, data: deliver(topic, str(peer), data))
        self.bitswap = Bitswap(give, dial=self._open, connected=self.connected, is_connected=self._is_connected)
        self.peer_id: PeerId = str(self._host.get_id())
        self._tell = tell
        self._dialled: dict[ID, str] = {}
        self._there: set[ID] = set()
        self._stop = trio.Event()
        self._swarm.register_notifee(_Connections(self._came, self._went))

    @asynccontextmanager
    async def listening(self, addresses: Sequence[str]) -> AsyncIterator[None]:
        """Runs the host and its gossip for the length of the block."""
        multiaddresses = [parse_address(address) for address in addresses]
        await _check_ports(multiaddresses)
        async with trio.open_nursery() as self._handling, trio.open_nursery() as services:
            self.bitswap.nursery = self._handling
            for protocol in BITSWAP:
                self.serve(protocol, self.bitswap.handle)
            services.start_soon(self._stop_when_cancelled)
            await services.start(self._run, multiaddresses)
            try:
                yield
            finally:
                self._stop.set()
                self._handling.cancel_scope.cancel()

    async def _stop_when_cancelled(self) -> None:
        # a node that is closed while the host starts: `_run` is shielded, and nobody else would tell it
        try:
            await self._stop.wait()
        finally:
            self._stop.set()

    async def _run(self, addresses: Sequence[Multiaddr], task_status: Any) -> None:
        # shielded, so that sockets and system tasks are closed in order when the node is cancelled
        with trio.CancelScope(shield=True) as scope:
            try:
                async with self._host.run(addresses):
                    if len(self._swarm.listeners) < len(addresses):
                        raise UnavailableError("The node cannot listen: a port is taken or an address is not ours.")
                    self._host.fix_addresses()
                    async with background_trio_service(self.gossip), background_trio_service(self.gossip.router):
                        await self.gossip.wait_until_ready()
                        task_status.started()
                        await self._stop.wait()
                        scope.deadline = trio.current_time() + STOP_WAIT_S
                        await self._close_connections()
                        await self._host.close()
            except* (RuntimeError, LifecycleError) as group:
                _raise_unexpected(group)

    async def _close_connections(self) -> None:
        # at once: py-libp2p takes 0.1 s for each, one after the other
        async with trio.open_nursery() as nursery:
            for connection in self._swarm.get_connections():
                nursery.start_soon(connection.close)

    def addresses(self) -> Sequence[str]:
        """Where this host is reached."""
        return listening_addresses(self._host)

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """Has streams for a protocol handled."""

        async def accept(stream: INetStream) -> None:
            # in our nursery: an error of the node's own handler must end the node, and py-libp2p's would swallow it
            done = trio.Event()
            self._handling.start_soon(self._handle, handler, Libp2pStream(stream), done)
            await done.wait()

        self._host.set_stream_handler(TProtocol(protocol), accept)

    async def _handle(self, handler: StreamHandler, stream: Stream, done: trio.Event) -> None:
        try:
            await handler(stream)
        except UnavailableError:
            pass  # the peer went away
        finally:
            await stream.close()
            done.set()

    async def connect(self, addresses: Sequence[str], wait_s: float) -> Connected:
        """Dials addresses in order; a peer that is connected already is not dialled."""
        await trio.lowlevel.checkpoint()
        last: Exception | None = None
        for address in addresses[:MAX_DIALLED]:
            try:
                target, peer = with_peer(address)
                if peer == self._host.get_id():
                    raise InvalidInputError("This is our own address.")
                if self._swarm.get_connections(peer):
                    return Connected(str(peer), None)
                await self._dial(target, peer, wait_s)
                self._dialled[peer] = address
                return Connected(str(peer), address)
            except (InvalidInputError, UnavailableError) as error:
                last = error
        raise UnavailableError("No peer answers at any of these addresses.") from last

    async def _dial(self, address: Multiaddr, peer: ID, wait_s: float) -> None:
        # one address, directly: `dial_peer` waits 250 ms first, tries two addresses at most, and then refuses the
        # peer for a minute when none answers
        with foreign_errors("Nobody answers there as this peer."), trio.fail_after(wait_s):
            await self._swarm.dial_addr(address, peer)

    async def disconnect(self, peer: PeerId) -> None:
        """Closes the connections to a peer."""
        await trio.lowlevel.checkpoint()
        with suppress(UnavailableError), foreign_errors("The connection is broken."):
            for connection in self._swarm.get_connections(parse_peer(peer)):
                await connection.close()

    def connected(self) -> Sequence[PeerId]:
        """The peers with a connection."""
        return [str(peer) for peer in self._there if self._swarm.get_connections(peer)]

    def _is_connected(self, peer: PeerId) -> bool:
        with suppress(UnavailableError):
            return bool(self._swarm.get_connections(parse_peer(peer)))
        return False

    def known_addresses(self, peer: PeerId) -> Sequence[str]:
        """Where a connected peer listens, as far as known; the address that worked comes first."""
        with suppress(UnavailableError):
            known = parse_peer(peer)
            if self._swarm.get_connections(known):
                found = [self._dialled[known]] if known in self._dialled else []
                return list(dict.fromkeys(found + self._learnt(known)))
        return []

    def _learnt(self, peer: ID) -> list[str]:
        """What a peer says of its addresses, as far as it makes sense."""
        try:
            told = self._host.get_peerstore().addrs(peer)
        except PeerStoreError:
            return []  # it said nothing yet
        texts = (told_by(str(peer), address) for address in told[:MAX_KNOWN])
        return [text for text in texts if text is not None]

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream over a connection that is there."""
        return await self._open(peer, [protocol])

    async def _open(self, peer: PeerId, protocols: Sequence[str]) -> Stream:
        target = parse_peer(peer)
        if not self._swarm.get_connections(target):
            raise UnavailableError("The peer is not connected.")
        with foreign_errors("The peer is gone or does not speak this protocol."):  # `new_stream` resets what failed
            return Libp2pStream(await self._host.new_stream(target, list(map(TProtocol, protocols))))

    def _came(self, peer: ID) -> None:
        for connection in self._swarm.get_connections(peer)[:-1]:
            cast(Muxer, connection.muxed_conn).doubt()  # a peer that came back may have left a dead one
        if peer not in self._there:
            self._there.add(peer)
            self._tell(str(peer), True)

    def _went(self, peer: ID) -> None:
        if self._swarm.get_connections(peer):
            self.gossip.connection_lost(peer)
            return
        self.bitswap.peer_gone(str(peer))
        if peer in self._there:
            self._there.remove(peer)
            self._dialled.pop(peer, None)
            self._tell(str(peer), False)
            forget_peer(self._host, peer)


class _Connections(INotifee):
    """Hears of connections."""

    def __init__(self, came: Callable[[ID], None], went: Callable[[ID], None]) -> None:
        self._on_came = came
        self._on_went = went

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        self._on_came(conn.muxed_conn.peer_id)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        self._on_went(conn.muxed_conn.peer_id)

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None: ...

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None: ...


def _raise_unexpected(group: BaseExceptionGroup[RuntimeError | LifecycleError]) -> None:
    """Stopping many services at once may start a task in a nursery that is closed; everything else is an error."""
    rest = group.split(lambda error: "Nursery is closed" in str(error))[1]
    if rest is not None:
        raise rest


async def _check_ports(addresses: Sequence[Multiaddr]) -> None:
    """Raises when a port is taken: py-libp2p shares ports (SO_REUSEPORT), and would take another node's peers."""
    for address in addresses:
        family = socket.AF_INET6 if "ip6" in address else socket.AF_INET
        host = address.value_for_protocol("ip6" if "ip6" in address else "ip4")
        with trio.socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                await probe.bind((host, int(address.value_for_protocol("tcp"))))
            except OSError as error:
                raise UnavailableError(f"The node cannot listen on {address}.", hint="Choose another port.") from error
