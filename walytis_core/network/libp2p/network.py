"""`Libp2pNetwork`: the network port on py-libp2p, for a node that needs no daemon.

Decides how the port's words map to a host, its gossip and its connections. Invariants: no exception of py-libp2p or
trio's networking leaves it; services are stopped in order even when the node is cancelled; what it keeps about a peer
goes when the peer goes. py-libp2p is loaded only when a network starts (see `__init__.py`). It knows no chains.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import trio

from walytis_core.cid import Cid
from walytis_core.errors import InvalidInputError, UnavailableError
from walytis_core.limits import Limits
from walytis_core.network._addresses import parse
from walytis_core.network._errors import single_error
from walytis_core.network._mailbox import Mailbox
from walytis_core.network.libp2p.ports import is_free, resumed
from walytis_core.network.port import Connected, Give, Gossip, PeerId, Stream, StreamHandler

if TYPE_CHECKING:
    from walytis_core.network.libp2p.running import RunningHost

__all__ = ["Libp2pNetwork"]

INBOX_MESSAGES = 256  # gossip that waits for its reader
EVENTS = 4096  # connection events that wait for their reader


class Libp2pNetwork:
    """The embedded transport.

    Args:
        listen: Multiaddresses to listen on; port 0 takes a free one. Empty: others cannot dial this node.
        dial_wait_s: How long one address may take to answer.
        mdns: Whether to announce this node on the local network, and to dial the libp2p nodes found there. Tells whoever
            is on it the peer id and the private addresses; see `docs/guides/networking.md`.

    Raises:
        InvalidInputError: `listen` is no list of TCP multiaddresses, or holds none that mDNS could announce.

    Example:
        >>> network = Libp2pNetwork(listen=["/ip4/127.0.0.1/tcp/0"])
    """

    def __init__(
        self, *, listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",), dial_wait_s: float = 5.0, mdns: bool = False
    ) -> None:
        self._listen = _to_listen_on(listen)
        if mdns and all(_is_loopback(address) for address in self._listen):
            raise InvalidInputError(
                "mDNS needs an address that others on the network can dial.", hint="Listen on /ip4/0.0.0.0/tcp/4711."
            )
        self._mdns = mdns
        self._before: Sequence[str] = ()
        self._dial_wait_s = dial_wait_s
        self._handlers: dict[str, StreamHandler] = {}
        self._inboxes: dict[str, Mailbox[Gossip]] = {}
        self._watchers: list[Mailbox[tuple[PeerId, bool]]] = []
        self._give: Give | None = None
        self._run: RunningHost | None = None
        self._peer_id: PeerId = ""

    @property
    def peer_id(self) -> PeerId:
        """This node's own peer id; known once started."""
        return self._peer_id

    def addresses(self) -> Sequence[str]:
        """Addresses under which others reach this node, loopback last."""
        return self._run.addresses() if self._run else []

    def resume_at(self, addresses: Sequence[str]) -> None:
        """Says where this node listened the last time: where any port would do, it takes the same again, if it is free."""
        self._before = tuple(addresses)

    @asynccontextmanager
    async def running(self, seed: bytes) -> AsyncIterator[None]:
        """Runs the host for the length of the block.

        Raises:
            UnavailableError: A port is taken, or another version of py-libp2p is installed.
        """
        from walytis_core.network.libp2p.running import RunningHost  # noqa: PLC0415 - loads py-libp2p (see __init__)

        if self._run is not None:
            raise InvalidInputError("This network is running already.")
        run = RunningHost(seed, deliver=self._deliver, tell=self._tell, give=self._give)
        try:
            with single_error():
                async with run.listening(resumed(self._listen, self._before, is_free)):
                    self._run, self._peer_id = run, run.peer_id
                    for protocol, handler in self._handlers.items():
                        run.serve(protocol, handler)
                    async with self._discovering():
                        yield
        finally:
            self._run = None
            self._close_boxes()

    def _discovering(self) -> AbstractAsyncContextManager[None]:
        if not self._mdns:
            return nullcontext()
        from walytis_core.network.libp2p.mdns import discovering  # noqa: PLC0415 - loads zeroconf: 0.1 s

        return discovering(self._peer_id, self.addresses(), self.connected, self.connect)

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """Has `handler` called for each stream a peer opens for `protocol`."""
        self._handlers[protocol] = handler
        if self._run is not None:
            self._run.serve(protocol, handler)

    def offer(self, give: Give) -> None:
        """Has `give` called for each block that a peer asks for."""
        self._give = give

    @property
    def copies(self) -> None:
        """None: `offer` is enough."""

    async def fetch(self, cid: Cid, peers: Sequence[PeerId] = ()) -> bytes:
        """Fetches a block from these peers, or from any connected one that speaks bitswap."""
        return await self._running().bitswap.fetch(cid, peers)

    async def connect(self, addresses: Sequence[str]) -> Connected:
        """Connects to the peer at the first address that answers, each within `dial_wait_s`."""
        return await self._running().connect(addresses, self._dial_wait_s)

    async def disconnect(self, peer: PeerId) -> None:
        """Drops the connections to `peer`."""
        await self._running().disconnect(peer)

    @property
    def failure(self) -> None:
        """None: once it runs, it does so until it is stopped."""

    def connected(self) -> Sequence[PeerId]:
        """The peers that are connected now."""
        return self._run.connected() if self._run else []

    def watch(self) -> trio.MemoryReceiveChannel[tuple[PeerId, bool]]:
        """A channel of connections that come and go, until the network stops."""
        box = Mailbox[tuple[PeerId, bool]](EVENTS)
        self._watchers.append(box)
        return box.receive

    def known_addresses(self, peer: PeerId) -> Sequence[str]:
        """The address at which a connected peer was dialled, and those it says it listens on."""
        return self._run.known_addresses(peer) if self._run else []

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream to a connected peer."""
        return await self._running().open_stream(peer, protocol)

    async def subscribe(self, channel: str) -> trio.MemoryReceiveChannel[Gossip]:
        """Subscribes to a channel; of messages that are not read in time the oldest are dropped."""
        run = self._running()
        if channel not in self._inboxes:
            self._inboxes[channel] = Mailbox(INBOX_MESSAGES)
            await run.gossip.subscribe(channel)
        return self._inboxes[channel].receive

    async def unsubscribe(self, channel: str) -> None:
        """Ends a subscription and closes its receive channel."""
        if inbox := self._inboxes.pop(channel, None):
            inbox.close()
            await self._running().gossip.unsubscribe(channel)

    async def publish(self, channel: str, data: bytes) -> None:
        """Publishes to whoever is on the channel; waits, not for ever, while a peer's queue is full."""
        if len(data) > Limits.max_gossip_bytes:
            raise InvalidInputError(f"A message has at most {Limits.max_gossip_bytes} bytes.")
        await self._running().gossip.publish_when_room(channel, data)

    def on_channel(self, channel: str) -> Sequence[PeerId]:
        """The connected peers that are subscribed to a channel."""
        return [str(peer) for peer in self._run.gossip.subscribers(channel)] if self._run else []

    def _running(self) -> RunningHost:
        if self._run is None:
            raise UnavailableError("The network is not running.")
        return self._run

    def _deliver(self, channel: str, publisher: PeerId, data: bytes) -> None:
        if inbox := self._inboxes.get(channel):
            inbox.put(Gossip(publisher, data))

    def _tell(self, peer: PeerId, there: bool) -> None:
        for watcher in self._watchers:
            watcher.put((peer, there))

    def _close_boxes(self) -> None:
        for inbox in self._inboxes.values():
            inbox.close()
        for watcher in self._watchers:
            watcher.close()
        self._inboxes.clear()
        self._watchers.clear()


def _to_listen_on(addresses: Sequence[str]) -> tuple[str, ...]:
    """The addresses, each looked at now: a node that has started could only say later that nobody reaches it."""
    if isinstance(addresses, str):
        raise InvalidInputError("`listen` takes a list of addresses, not one text.", hint=f"Write [{addresses!r}].")
    for address in addresses:
        parsed = parse(address)
        if parsed is None or parsed.kind not in {"ip4", "ip6"}:
            raise InvalidInputError(
                f"{address!r} is no address to listen on.",
                hint="Write an IP address and a TCP port: /ip4/0.0.0.0/tcp/4711.",
            )
    return tuple(addresses)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.split("/")[2]).is_loopback
