"""`KuboNetwork`: the network port on a Kubo daemon, for a node whose blocks any IPFS user can fetch.

Decides how the port's words map to the daemon. The node's peer id is the daemon's, which serves one node at a time. Invariants: no
foreign exception leaves it; a daemon that stops and starts again is survived; nothing of ours stays in a daemon but the
copies that were put there. Nothing is done to protect connections: the daemon's gossip protects those in the mesh of a channel
from its connection manager, and a peer of a chain that is cut off is dialled again by the chain. It knows no chains.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from walytis_core.cid import Cid
from walytis_core.errors import InvalidInputError, UnavailableError
from walytis_core.network._errors import single_error
from walytis_core.network._mailbox import Mailbox
from walytis_core.network.kubo.endpoint import DEFAULT_URL, Endpoint
from walytis_core.network.port import Connected, Copies, Give, Gossip, PeerId, Stream, StreamHandler

if TYPE_CHECKING:
    from walytis_core.network.kubo.running import RunningKubo

__all__ = ["KuboNetwork"]

INBOX_MESSAGES: Final = 256  # gossip that waits for its reader
EVENTS: Final = 4096  # connection events that wait for their reader


class KuboNetwork:
    """A transport over a Kubo daemon on this machine, with pubsub and stream mounting on.

    Args:
        url: The daemon's RPC, as Addresses.API of its config says; may carry `user:password@`.
        token: Opens the RPC where the daemon's API.Authorizations asks for a bearer token.
        dial_wait_s: How long one address may take to answer.

    Raises:
        InvalidInputError: `url` is no URL of an RPC on this machine.

    Example:
        >>> network = KuboNetwork("http://127.0.0.1:5001")
    """

    def __init__(self, url: str = DEFAULT_URL, *, token: str | None = None, dial_wait_s: float = 5.0) -> None:
        self._endpoint = Endpoint.parse(url, token)
        self._dial_wait_s = dial_wait_s
        self._handlers: dict[str, StreamHandler] = {}
        self._inboxes: dict[str, Mailbox[Gossip]] = {}
        self._watchers: list[Mailbox[tuple[PeerId, bool]]] = []
        self._run: RunningKubo | None = None
        self._peer_id: PeerId = ""
        self._copies: Copies | None = None

    @property
    def peer_id(self) -> PeerId:
        """The daemon's peer id; known once started."""
        return self._run.daemon.peer_id if self._run else self._peer_id

    def addresses(self) -> Sequence[str]:
        """The plain TCP addresses of the daemon, loopback last."""
        return self._run.daemon.addresses if self._run else []

    def resume_at(self, addresses: Sequence[str]) -> None:
        """Does nothing: the daemon's config says where it listens."""

    @asynccontextmanager
    async def running(self, seed: bytes) -> AsyncIterator[None]:
        """Runs on the daemon for the length of the block; `seed` is not used, for the daemon has a key of its own.

        Raises:
            UnavailableError: The daemon is away, set up in another way than it must be, or serves another node.
        """
        from walytis_core.network.kubo.running import RunningKubo  # noqa: PLC0415 - loads httpx (see __init__)

        if self._run is not None:
            raise InvalidInputError("This network is running already.")
        run = RunningKubo(self._endpoint, self._deliver, self._tell)
        try:
            with single_error():
                async with run.running(self._handlers):
                    self._run = run
                    yield
        finally:
            self._peer_id = run.daemon.peer_id or self._peer_id
            self._run = None
            self._close_boxes()

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """Has `handler` called for each stream a peer opens for `protocol`, which has to begin with `/x/`."""
        self._handlers[protocol] = handler
        if self._run is not None:
            self._run.serve(protocol, handler)

    def offer(self, give: Give) -> None:
        """Does nothing: others fetch from the daemon, which has `copies`."""

    @property
    def copies(self) -> Copies | None:
        """The daemon's block store."""
        if self._copies is None:
            from walytis_core.network.kubo.blocks import KuboCopies  # noqa: PLC0415 - loads httpx

            self._copies = KuboCopies(lambda: self._running().rpc, lambda: self.peer_id)
        return self._copies

    async def fetch(self, cid: Cid, peers: Sequence[PeerId] = ()) -> bytes:
        """Has the daemon fetch a block, from any peer that it finds."""
        from walytis_core.network.kubo.blocks import fetch  # noqa: PLC0415 - loads httpx

        return await fetch(self._running().rpc, cid)

    async def connect(self, addresses: Sequence[str]) -> Connected:
        """Has the daemon connect to the peer at the first address that answers, each within `dial_wait_s`."""
        run = self._running()
        return await run.peers.connect(addresses, run.daemon.peer_id, self._dial_wait_s)

    async def disconnect(self, peer: PeerId) -> None:
        """Has the daemon drop its connections to `peer`."""
        await self._running().peers.disconnect(peer)

    @property
    def failure(self) -> UnavailableError | None:
        """Why the daemon is of no use for now; None while it is."""
        return self._run.failure if self._run else None

    def connected(self) -> Sequence[PeerId]:
        """The peers of the daemon, those that have nothing to do with this node included."""
        return list(self._run.peers) if self._run else []

    def watch(self) -> trio.MemoryReceiveChannel[tuple[PeerId, bool]]:
        """A channel of connections that come and go, until the network stops."""
        box = Mailbox[tuple[PeerId, bool]](EVENTS)
        self._watchers.append(box)
        return box.receive

    def known_addresses(self, peer: PeerId) -> Sequence[str]:
        """The address at which a connected peer was dialled, and those it says it listens on; the first call may know none."""
        return self._run.peers.addresses(peer) if self._run else []

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream to a connected peer; it ends at once where the peer does not speak `protocol`."""
        return await self._running().open_stream(peer, protocol)

    async def subscribe(self, channel: str) -> trio.MemoryReceiveChannel[Gossip]:
        """Subscribes to a channel, also while the daemon is away; of messages that are not read in time the oldest are dropped."""
        run = self._running()
        if channel not in self._inboxes:
            self._inboxes[channel] = Mailbox(INBOX_MESSAGES)
            await run.channels.subscribe(channel)
        return self._inboxes[channel].receive

    async def unsubscribe(self, channel: str) -> None:
        """Ends a subscription and closes its receive channel."""
        if inbox := self._inboxes.pop(channel, None):
            inbox.close()
            await self._running().channels.unsubscribe(channel)

    async def publish(self, channel: str, data: bytes) -> None:
        """Publishes to whoever is on the channel. Raises `UnavailableError` while the daemon is away."""
        await self._running().channels.publish(channel, data)

    def on_channel(self, channel: str) -> Sequence[PeerId]:
        """The connected peers that are subscribed to a channel; the first call for a channel may know none."""
        return self._run.channels.on_channel(channel) if self._run else []

    def _running(self) -> RunningKubo:
        if self._run is None:
            raise UnavailableError("The network is not running.")
        return self._run

    def _deliver(self, channel: str, message: Gossip) -> None:
        if inbox := self._inboxes.get(channel):
            inbox.put(message)

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
