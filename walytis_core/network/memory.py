"""`MemoryNetwork`: the network port over shared memory, for tests, examples and the simulator.

Decides what the events between nodes mean: links, channels, streams and gossip, which is relayed from peer to peer as
the real one is. Invariants: the state of a node is touched only in its own trio loop; everything that waits for
another node is bounded. It has no clock but trio's, so it works under `trio.testing.MockClock`; delays and losses are
the hub's `Weather`. It knows nothing of chains.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from walytis_core.cid import Cid
from walytis_core.errors import InvalidInputError, UnavailableError
from walytis_core.limits import Limits
from walytis_core.network._errors import single_error
from walytis_core.network._mailbox import Mailbox
from walytis_core.network._memory_blocks import Ask, Blocks, Given
from walytis_core.network._memory_hub import MemoryHub, Port
from walytis_core.network._memory_stream import Credit, Data, End, MemoryStream, StreamKey
from walytis_core.network._peer_id import peer_id_of
from walytis_core.network.port import Connected, Give, Gossip, PeerId, Stream, StreamHandler

__all__ = ["MemoryHub", "MemoryNetwork"]

INBOX_MESSAGES = 256  # gossip that waits for its reader
IN_FLIGHT_MESSAGES = 64  # gossip under way to one peer; more waits in `publish`
PUBLISH_WAIT_S = 1.0  # a peer that takes nothing for so long loses the message
SEEN_MESSAGES = 8192  # ids remembered so that nothing is relayed twice
EVENTS = 4096  # connection events that wait for their reader


class _Link(NamedTuple):
    up: bool


class _Channels(NamedTuple):
    joined: frozenset[str]
    left: frozenset[str]


class _Open(NamedTuple):
    key: StreamKey
    protocol: str


class _Answer(NamedTuple):
    key: StreamKey
    accepted: bool


class _Message(NamedTuple):
    number: int
    channel: str
    gossip: Gossip


class _Taken(NamedTuple):
    """One message has left the link; there is room for another."""


class MemoryNetwork:
    """A node's end of a `MemoryHub`.

    Args:
        hub: The medium it is attached to.

    Example:
        >>> network = MemoryNetwork(MemoryHub())
    """

    def __init__(self, hub: MemoryHub) -> None:
        self._hub = hub
        self._handlers: dict[str, StreamHandler] = {}
        self._watchers: list[Mailbox[tuple[PeerId, bool]]] = []
        self._blocks = Blocks(self._send, hub.new_id)
        self._port: Port | None = None
        self._peer_id: PeerId = ""
        self._reset()

    def _reset(self) -> None:
        self._peers: dict[PeerId, set[str]] = {}  # connected peers and the channels they are on
        self._inboxes: dict[str, Mailbox[Gossip]] = {}
        self._streams: dict[StreamKey, MemoryStream] = {}
        self._answers: dict[StreamKey, tuple[trio.Event, list[bool]]] = {}
        self._in_flight: dict[PeerId, int] = defaultdict(int)
        self._room = trio.Event()
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._pending: list[tuple[float, int, PeerId, object]] = []
        self._lane_due: dict[PeerId, float] = {}
        self._arrived = trio.Event()

    # --- the port ---

    @property
    def peer_id(self) -> PeerId:
        """This node's own peer id; known once started."""
        return self._peer_id

    def addresses(self) -> Sequence[str]:
        """The one address of this node."""
        return [_address(self._peer_id)] if self._port else []

    def resume_at(self, addresses: Sequence[str]) -> None:
        """Changes nothing: the address follows from the node key."""

    @asynccontextmanager
    async def running(self, seed: bytes) -> AsyncIterator[None]:
        """Attaches the node to the hub for the length of the block."""
        if self._port is not None:
            raise InvalidInputError("This network is running already.")
        self._reset()
        port = Port(peer_id_of(seed), self._arrive, _Link)
        if not self._hub.enter(port):
            raise UnavailableError("Another node with this key is running.", hint="Stop the other one first.")
        self._port, self._peer_id = port, port.peer
        try:
            with single_error():
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._deliver_when_due)
                    try:
                        yield
                    finally:
                        port.is_open = False  # what comes while its tasks end finds nobody
                    nursery.cancel_scope.cancel()
        finally:
            self._hub.leave(port)
            self._port = None
            self._stop()

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """Has `handler` called for each stream a peer opens for `protocol`."""
        self._handlers[protocol] = handler

    def offer(self, give: Give) -> None:
        """Has `give` called for each block that a peer asks for."""
        self._blocks.give = give

    @property
    def copies(self) -> None:
        """None: `offer` is enough."""

    async def fetch(self, cid: Cid, peers: Sequence[PeerId] = ()) -> bytes:
        """Fetches a block from these peers, or from any connected one."""
        self._check_running()
        return await self._blocks.fetch(cid, peers or self.connected())

    async def connect(self, addresses: Sequence[str]) -> Connected:
        """Connects to the first peer that is there."""
        self._check_running()
        await trio.lowlevel.checkpoint()
        for address in addresses:
            peer = _peer_of(address)
            if peer in self._peers:
                return Connected(peer, None)
            if peer and self._hub.link(self._peer_id, peer, trio.current_time()):
                self._peer_up(peer)
                return Connected(peer, address)
        raise UnavailableError("No peer answers at any of these addresses.")

    async def disconnect(self, peer: PeerId) -> None:
        """Drops the connection to `peer`."""
        await trio.lowlevel.checkpoint()
        self._hub.unlink(self._peer_id, peer)
        self._peer_down(peer)

    @property
    def failure(self) -> None:
        """None: shared memory does not fail."""

    def connected(self) -> Sequence[PeerId]:
        """The peers that are connected now."""
        return list(self._peers)

    def watch(self) -> trio.MemoryReceiveChannel[tuple[PeerId, bool]]:
        """A channel of connections that come and go, until the network stops."""
        box = Mailbox[tuple[PeerId, bool]](EVENTS)
        self._watchers.append(box)
        return box.receive

    def known_addresses(self, peer: PeerId) -> Sequence[str]:
        """The address of a connected peer."""
        return [_address(peer)] if peer in self._peers else []

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream to a connected peer."""
        self._check_running()
        key = (self._peer_id, self._hub.new_id())
        stream = self._new_stream(key, peer)
        answered, accepted = self._answers[key] = trio.Event(), []
        try:
            if peer in self._peers and self._send(peer, _Open(key, protocol)):
                await answered.wait()
            if not accepted:
                raise UnavailableError("The peer is not connected or does not speak this protocol.")
        except BaseException:
            await stream.close()
            raise
        finally:
            del self._answers[key]
        return stream

    async def subscribe(self, channel: str) -> trio.MemoryReceiveChannel[Gossip]:
        """Subscribes to a channel."""
        self._check_running()
        await trio.lowlevel.checkpoint()
        if channel not in self._inboxes:
            self._inboxes[channel] = Mailbox(INBOX_MESSAGES)
            self._announce(_Channels(frozenset((channel,)), frozenset()))
        return self._inboxes[channel].receive

    async def unsubscribe(self, channel: str) -> None:
        """Ends a subscription."""
        await trio.lowlevel.checkpoint()
        if inbox := self._inboxes.pop(channel, None):
            inbox.close()
            self._announce(_Channels(frozenset(), frozenset((channel,))))

    async def publish(self, channel: str, data: bytes) -> None:
        """Publishes to whoever is on the channel; waits, not for ever, while a peer's queue is full."""
        self._check_running()
        if len(data) > Limits.max_gossip_bytes:
            raise InvalidInputError(f"A message has at most {Limits.max_gossip_bytes} bytes.")
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(PUBLISH_WAIT_S):
            while any(self._in_flight[peer] >= IN_FLIGHT_MESSAGES for peer in self.on_channel(channel)):
                await self._room.wait()
        message = _Message(self._hub.new_id(), channel, Gossip(self._peer_id, data))
        self._is_new(message.number)
        self._relay(message, but=())

    def on_channel(self, channel: str) -> Sequence[PeerId]:
        """The connected peers that are subscribed to a channel."""
        return [peer for peer, channels in self._peers.items() if channel in channels]

    # --- events from other nodes ---

    def _arrive(self, sender: PeerId, event: object, delay_s: float, reliable: bool) -> None:
        now = trio.current_time()
        due = now + delay_s
        if reliable:
            due = self._lane_due[sender] = max(due, self._lane_due.get(sender, due))
        if due <= now and not self._pending:
            self._handle(sender, event)
        else:
            heapq.heappush(self._pending, (due, self._hub.new_id(), sender, event))
            self._arrived.set()

    async def _deliver_when_due(self) -> None:
        while True:
            with trio.move_on_at(self._pending[0][0] if self._pending else float("inf")):
                await self._arrived.wait()
            self._arrived = trio.Event()
            while self._pending and self._pending[0][0] <= trio.current_time():
                _, _, sender, event = heapq.heappop(self._pending)
                self._handle(sender, event)

    def _handle(self, sender: PeerId, event: object) -> None:
        match event:
            case _Link(up):
                self._linked(sender, up)
            case _ if sender not in self._peers:
                pass  # it was on its way when the link broke
            case Data() | Credit() | End():
                self._to_stream(event)
            case _Message():
                self._gossiped(sender, event)
            case _Taken():
                self._in_flight[sender] = max(0, self._in_flight[sender] - 1)
                self._make_room()
            case _Channels(joined, left):
                self._peers[sender] = (self._peers[sender] | joined) - left
            case _Open() | _Answer():
                self._opening(sender, event)
            case Ask() | Given():
                self._to_blocks(sender, event)

    def _linked(self, peer: PeerId, up: bool) -> None:
        if not up:
            self._peer_down(peer)
        if self._hub.is_linked(self._peer_id, peer):  # a link that broke may have been made anew meanwhile
            self._peer_up(peer)

    def _peer_up(self, peer: PeerId) -> None:
        if peer not in self._peers:
            self._peers[peer] = set()
            self._send(peer, _Channels(frozenset(self._inboxes), frozenset()))
            self._tell(peer, there=True)

    def _peer_down(self, peer: PeerId) -> None:
        if self._peers.pop(peer, None) is None:
            return
        self._in_flight.pop(peer, None)
        self._blocks.peer_gone(peer)
        self._make_room()
        for stream in [stream for stream in self._streams.values() if stream.peer == peer]:
            self._forget(stream)
        self._tell(peer, there=False)

    def _tell(self, peer: PeerId, *, there: bool) -> None:
        for watcher in self._watchers:
            watcher.put((peer, there))

    # --- streams ---

    def _new_stream(self, key: StreamKey, peer: PeerId) -> MemoryStream:
        def emit(event: Data | Credit | End) -> None:
            self._send(peer, event)
            if isinstance(event, End):
                self._streams.pop(key, None)

        stream = self._streams[key] = MemoryStream(key, peer, emit)
        return stream

    def _opening(self, peer: PeerId, event: _Open | _Answer) -> None:
        if isinstance(event, _Open):
            self._opened(peer, event.key, event.protocol)
        elif event.key in self._answers:
            answered, answer = self._answers[event.key]
            answer += [True] if event.accepted else []
            answered.set()

    def _opened(self, peer: PeerId, key: StreamKey, protocol: str) -> None:
        handler = self._handlers.get(protocol)
        from_peer = sum(opener == peer for opener, _ in self._streams)
        accepted = handler is not None and from_peer < Limits.max_streams_per_peer and key not in self._streams
        self._send(peer, _Answer(key, accepted))
        if accepted and handler is not None:
            self._nursery.start_soon(self._run_handler, handler, self._new_stream(key, peer))

    async def _run_handler(self, handler: StreamHandler, stream: MemoryStream) -> None:
        try:
            await handler(stream)
        except UnavailableError:
            pass  # the peer went away; any other error is the node's own and ends it
        finally:
            await stream.close()

    def _to_stream(self, event: Data | Credit | End) -> None:
        stream = self._streams.get(event.key)
        if stream is not None:
            stream.take(event)
        elif isinstance(event, Data):
            self._send(event.key[0], End(event.key))  # closed here: the sender must not wait for ever

    def _forget(self, stream: MemoryStream) -> None:
        stream.lose()
        self._streams.pop(stream.key, None)
        if stream.key in self._answers:
            self._answers[stream.key][0].set()

    def _to_blocks(self, peer: PeerId, event: Ask | Given) -> None:
        if isinstance(event, Ask):
            self._nursery.start_soon(self._blocks.answer, peer, event)
        else:
            self._blocks.answered(peer, event)

    # --- gossip ---

    def _announce(self, channels: _Channels) -> None:
        for peer in self._peers:
            self._send(peer, channels)

    def _gossiped(self, sender: PeerId, message: _Message) -> None:
        self._send(sender, _Taken())
        inbox = self._inboxes.get(message.channel)
        if inbox is not None and message.gossip.peer != self._peer_id and self._is_new(message.number):
            inbox.put(message.gossip)
            self._relay(message, but=(sender, message.gossip.peer))

    def _relay(self, message: _Message, but: Sequence[PeerId]) -> None:
        for peer in self.on_channel(message.channel):
            if peer not in but and self._in_flight[peer] < IN_FLIGHT_MESSAGES:
                now = trio.current_time()
                self._in_flight[peer] += self._hub.send(self._peer_id, peer, message, now, reliable=False)

    def _is_new(self, number: int) -> bool:
        new = number not in self._seen
        self._seen[number] = None
        if len(self._seen) > SEEN_MESSAGES:
            self._seen.popitem(last=False)
        return new

    # --- small things ---

    def _send(self, peer: PeerId, event: object) -> bool:
        return self._hub.send(self._peer_id, peer, event, trio.current_time()) > 0

    def _make_room(self) -> None:
        self._room.set()
        self._room = trio.Event()

    def _check_running(self) -> None:
        if self._port is None:
            raise UnavailableError("The network is not running.")

    def _stop(self) -> None:
        for stream in list(self._streams.values()):
            self._forget(stream)
        for peer in self._peers:
            self._blocks.peer_gone(peer)
        for inbox in self._inboxes.values():
            inbox.close()
        for watcher in self._watchers:
            watcher.close()
        self._watchers.clear()
        self._reset()


def _address(peer: PeerId) -> str:
    return f"/memory/{peer}/p2p/{peer}"


def _peer_of(address: str) -> PeerId:
    peer = address.rpartition("/p2p/")[2]
    return peer if address == _address(peer) else ""
