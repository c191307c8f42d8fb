"""The network side of a node: one service for the node, one `ChainService` for each chain. All of it runs in the loop.

It keeps up to `neighbours` sync streams for each chain, redials known peers, carries gossip, runs the timers that
replicas set, and answers who asks to sync or to join. What is decided elsewhere (replica, address book, handshakes) is
only performed here. Invariants: no task outlives the service; a peer that sends rubbish is dropped and kept out for
a while; chains share no list of peers.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final

import trio

from walytis_core import cbor, messages
from walytis_core.addresses import AddressBook
from walytis_core.engine import Engine, NetworkEffect
from walytis_core.errors import NotFoundError, Reason, RemoteError, StorageError, UnavailableError
from walytis_core.events import Came, Contact, Publish, Received, Send, SetTimer, TimerFired
from walytis_core.handshake import ENTROPY_BYTES, Candidate, Ends, Initiator, Responder
from walytis_core.limits import Limits
from walytis_core.messages import Blocks, Digest, ForkProof, Message
from walytis_core.network.port import Gossip, Network, Stream
from walytis_core.screening import screen
from walytis_core.seals import GOSSIP_NONCE_BYTES, ChainKeys
from walytis_core.session import SYNC_PROTOCOL, Frames, SyncSession, open_as_initiator, open_as_responder
from walytis_core.signer import Signer
from walytis_core.workers import Workers

_jitter: Final = Random().random  # noqa: S311 - spreads load; nothing secret hangs on it
_TICK_S: Final = 1.0
_SOON_S: Final = (0.02, 0.1, 0.4)
"""After a peer connects: when it is looked at, as its subscriptions come in."""
_RETRY_S: Final = 5.0
"""A peer that would not open a stream is left alone for so long."""
_AT_ONCE_S: Final = 2.0
"""Two streams opened within this time are taken to have crossed."""
_SPARE_S: Final = 3.0
"""A stream beyond the usual number is kept at least so long."""
_FAULTS_ALLOWED: Final = 50
_FAULTY_PEERS: Final = 1024
"""Peers whose faults are counted; those with the fewest are forgotten."""
_KEEP_OUT_S: Final = 60.0
_BOOK_KEY: Final = "peers"


class ChainService:
    """One chain on the network.

    Args:
        service: The node's service.
        engine: The chain.
        keys: The chain's keys.
        admits: Whether a peer with this node key may read; always, where the chain key is the only right to read.
    """

    def __init__(self, service: Service, engine: Engine, keys: ChainKeys, admits: Callable[[bytes], bool]) -> None:
        self.engine = engine
        self.keys = keys
        self.candidate = Candidate(keys, admits)
        self.sessions: dict[str, SyncSession] = {}
        self.last_contact: dict[str, float] = {}
        self.is_running = False
        self.workers = service.workers.lane()
        self._service = service
        self._book = AddressBook.from_data(_read_book(engine))
        self._timers: dict[str, float] = {}
        self._outgoing: list[Message] = []
        self._has_outgoing = trio.Event()
        self._opening: set[str] = set()
        self._left_alone: dict[str, float] = {}
        self._scope = trio.CancelScope()

    # --- the engine's outlet -----------------------------------------------------------------------------------

    def perform(self, effects: Sequence[NetworkEffect]) -> None:
        """Performs effects; in the loop."""
        for effect in effects:
            match effect:
                case Send(peer, message):
                    if session := self.sessions.get(peer):
                        session.send(message)
                case Publish(message):
                    self._outgoing.append(message)
                    self._has_outgoing.set()
                case SetTimer(name, delay_s):
                    self._timers[name] = trio.current_time() + delay_s
                    self._service.timers.add(self._timers[name], self, name)
                case Contact(peer):
                    self.contact(peer)

    def reset(self) -> None:
        """Closes all streams: the replica forgot them."""
        for session in self.sessions.values():
            session.close()

    # --- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs the chain's tasks until `close()`."""
        network = self._service.network
        with self._scope:
            gossip = await network.subscribe(self.keys.channel)
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    self.is_running = True
                    nursery.start_soon(self._listen, gossip)
                    nursery.start_soon(self._talk)
                    await self._in_thread(self.engine.begin)
                    self.tick()
                    await trio.sleep_forever()
            finally:
                self.is_running = False
                self.reset()  # those that peers opened run in tasks of the network
                self._write_book()
        if self._scope.cancelled_caught:
            await network.unsubscribe(self.keys.channel)

    def close(self) -> None:
        """Ends the chain's tasks soon."""
        self._scope.cancel()

    def fire(self, name: str, due: float) -> None:
        """A timer is due; in the loop."""
        if self.is_running and self._timers.get(name) == due:
            del self._timers[name]
            self._nursery.start_soon(self._handle, TimerFired(name))

    async def _handle(self, event: TimerFired | Received) -> None:
        await self._in_thread(partial(self.engine.handle, event))

    async def _in_thread(self, function: Callable[[], None]) -> None:
        try:
            await self.workers.run(function)
            self._service.disk_error = None
        except StorageError as error:  # the engine started anew; what was lost comes again
            self._service.disk_error = error

    # --- peers ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Looks after neighbours and redials; called every second and after connections changed."""
        if not self.is_running:
            return
        network = self._service.network
        present = set(network.on_channel(self.keys.channel))
        known = {peer for peer in network.connected() if peer in self._book}
        room = self._service.neighbours - len(self.sessions) - len(self._opening)
        for peer in sorted((present | known) - self.sessions.keys(), key=lambda _: _jitter()):
            if room > 0 and self._open(peer):
                room -= 1
        self.engine.replica.sync.gossips = bool(present - self.sessions.keys())
        self._close_spare()
        for peer, addresses in self._book.due(time.time()):
            self._nursery.start_soon(self._dial, peer, addresses)

    def _close_spare(self) -> None:
        """Closes idle streams that were opened beyond the usual number, for one sync."""
        spare = len(self.sessions) - self._service.neighbours
        own = self._service.network.peer_id
        links = self.engine.replica.sync.links
        for peer, session in list(self.sessions.items()):
            idle = session.initiator == own and session.opened_at < trio.current_time() - _SPARE_S
            link = links.get(peer)
            if (
                spare > 0
                and idle
                and link is not None
                and link.is_live
                and self.engine.replica.sync.turns.pulling is None
            ):
                session.close()
                spare -= 1

    def moved(self, peer: str, is_there: bool) -> None:
        """A peer connected or is gone."""
        if peer not in self._book:
            return
        if is_there:
            self._book.connected(peer, None, time.time())
        else:
            self._book.disconnected(peer, time.time(), jitter=_jitter())

    def contact(self, peer: str) -> None:
        """Opens a stream to a peer beyond the usual number, where it holds something else than we do."""
        if self.is_running and len(self.sessions) < 2 * self._service.neighbours + 2:
            self._open(peer)

    def learn(self, peer: str, addresses: Sequence[str]) -> None:
        """Addresses of a peer of this chain are known."""
        self._book.learn(peer, addresses, time.time())

    def _open(self, peer: str) -> bool:
        if peer in self.sessions or peer in self._opening or self._service.is_kept_out(peer):
            return False
        if self._left_alone.get(peer, 0.0) > trio.current_time() or peer not in self._service.network.connected():
            return False
        self._opening.add(peer)
        self._nursery.start_soon(self._initiate, peer)
        return True

    async def _initiate(self, peer: str) -> None:
        service = self._service
        try:
            stream = await service.network.open_stream(peer, SYNC_PROTOCOL)
            frames = Frames(stream)
            ends = Ends(service.network.peer_id, peer)
            machine = Initiator(service.node, self.keys, ends, os.urandom(ENTROPY_BYTES), self.candidate.admits)
            try:
                session = await open_as_initiator(frames, machine)
            except BaseException:
                await stream.close()
                raise
        except (UnavailableError, RemoteError):
            self._left_alone[peer] = trio.current_time() + _RETRY_S
            return
        finally:
            self._opening.discard(peer)
        await self.attach(SyncSession(self.engine, frames, session, ends.initiator, self.workers, service.screeners))

    async def attach(self, session: SyncSession) -> None:
        """Runs an open session, unless there is a better one with the same peer.

        Where both ends opened a stream at once, the one opened by the smaller peer id stays, at both ends. Else the
        new one stays: a peer that opens another has lost the old one.
        """
        peer = session.peer
        other = self.sessions.get(peer)
        if other is not None and not other.ended.is_set():
            at_once = other.opened_at > trio.current_time() - _AT_ONCE_S
            if at_once and other.initiator < session.initiator:
                session.refuse()
                await session.run()
                return
            other.close()
            await other.ended.wait()
        if not self.is_running or (peer in self.sessions and self.sessions[peer] is not other):
            session.refuse()
            await session.run()
            return
        self.sessions[peer] = session
        self._book.connected(peer, None, time.time())
        self.learn(peer, self._service.network.known_addresses(peer))
        try:
            fault = await session.run()
        finally:
            self.last_contact[peer] = time.time()
            if self.sessions.get(peer) is session:
                del self.sessions[peer]
        self._service.disk_error = session.disk_error or self._service.disk_error
        if fault is not None:
            self.engine.refused[fault.reason] += 1
            self._service.fault(fault.reason, peer)

    async def _dial(self, peer: str, addresses: Sequence[str]) -> None:
        began = time.time()
        try:
            await self._service.network.connect(addresses)
        except UnavailableError:
            self._book.failed(peer, time.time(), jitter=_jitter())
            return
        self._book.connected(peer, addresses[0], time.time(), round_trip_s=time.time() - began)
        self._write_book()
        self._open(peer)

    def _write_book(self) -> None:
        try:
            self.engine.store.put(_BOOK_KEY, cbor.encode(self._book.to_data()))  # type: ignore[arg-type]
        except (StorageError, NotFoundError):
            return  # the book is a convenience, and the chain may just have been deleted

    # --- the channel ---------------------------------------------------------------------------------------------

    async def _listen(self, gossip: trio.MemoryReceiveChannel[Gossip]) -> None:
        async for peer, data in gossip:
            if self._service.is_kept_out(peer):
                continue
            try:
                message = messages.decode(self.keys.gossip.open(data))
            except RemoteError as error:
                self.engine.refused[error.reason] += 1
                self._service.fault(error.reason, peer)
                continue
            if message is not None:
                await self._in_thread(partial(self._heard, peer, message))

    def _heard(self, peer: str, message: Message) -> None:
        match message:
            case Blocks(why, blocks):
                self.engine.handle(Came(peer, why, screen(blocks, self.engine.known), gossip=True))
            case Digest() | ForkProof():
                self.engine.handle(Received(peer, message, gossip=True))
            case _:
                self._service.fault(Reason.UNASKED, peer)

    async def _talk(self) -> None:
        while True:
            await self._has_outgoing.wait()
            self._has_outgoing = trio.Event()
            outgoing, self._outgoing = self._outgoing, []
            for message in _coalesced(outgoing):
                sealed = self.keys.gossip.seal(messages.encode(message), os.urandom(GOSSIP_NONCE_BYTES))
                try:
                    await self._service.network.publish(self.keys.channel, sealed)
                except UnavailableError:
                    continue  # a hint that nobody hears is repaired by sync


class _Timers:
    """The timers of all chains, in one heap."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ChainService, str]] = []
        self._count = 0
        self._changed = trio.Event()

    def add(self, due: float, chain: ChainService, name: str) -> None:
        """Has `chain.fire(name, due)` called when it is due."""
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, chain, name))
        if self._heap[0][1] == self._count:
            self._changed.set()

    async def run(self) -> None:
        """Fires timers for ever."""
        while True:
            self._changed = trio.Event()
            with trio.move_on_at(self._heap[0][0] if self._heap else float("inf")):
                await self._changed.wait()
            while self._heap and self._heap[0][0] <= trio.current_time():
                due, _, chain, name = heapq.heappop(self._heap)
                chain.fire(name, due)


class Service:
    """The node on the network.

    Args:
        network: The transport.
        node: Signs with the node key.
        neighbours: Sync streams that each chain keeps open.
        serve_join: Answers one stream of the join protocol.
    """

    def __init__(self, network: Network, node: Signer, neighbours: int) -> None:
        self.network = network
        self.node = node
        self.neighbours = neighbours
        self.workers = Workers()
        self.timers = _Timers()
        self.screeners = trio.CapacityLimiter(2)
        self.chains: dict[bytes, ChainService] = {}
        self.disk_error: StorageError | None = None
        self.failure: str | None = None
        self.is_up = trio.Event()
        self._is_settled = trio.Event()
        self.faults: Counter[Reason] = Counter()
        self._by_peer: Counter[str] = Counter()
        self._kept_out: dict[str, float] = {}
        self._streams: Counter[str] = Counter()

    async def run(self, seed: bytes) -> None:
        """Runs the network and all chains until cancelled."""
        self.network.serve(SYNC_PROTOCOL, self._accept)
        async with self.network.running(seed), trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.timers.run)
            nursery.start_soon(self._watch, self.network.watch())
            nursery.start_soon(self._tick)
            for chain in self.chains.values():
                nursery.start_soon(chain.run)
            self.is_up.set()
            self._is_settled.set()
            await trio.sleep_forever()

    def fail(self, error: UnavailableError) -> None:
        """The network does not come up; whoever waits for it is told."""
        self.failure = str(error)
        self._is_settled.set()

    async def wait_up(self) -> None:
        """Waits until the network is up. Raises `UnavailableError` when it does not come up."""
        await self._is_settled.wait()
        if self.failure is not None:
            raise UnavailableError(self.failure)

    def add(self, chain: ChainService) -> None:
        """A chain is there; in the loop."""
        self.chains[chain.keys.chain_id] = chain
        if self.is_up.is_set():
            self._nursery.start_soon(chain.run)

    def remove(self, chain_id: bytes) -> None:
        """A chain is gone; in the loop."""
        chain = self.chains.pop(chain_id, None)
        if chain is not None:
            chain.close()

    def spawn(self, function: Callable[[], object]) -> None:
        """Runs an async function as a task of the service."""
        self._nursery.start_soon(function)  # type: ignore[arg-type]

    # --- peers that misbehave --------------------------------------------------------------------------------------

    def fault(self, reason: Reason, peer: str) -> None:
        """Counts what a peer did wrong; after too much it is dropped and kept out for a while."""
        self.faults[reason] += 1
        if reason in (Reason.NEWER_VERSION, Reason.FROZEN, Reason.UNASKED, Reason.BAD_ANCESTOR):
            return  # honest peers do this too
        self._by_peer[peer] += 1
        if len(self._by_peer) > _FAULTY_PEERS:  # who publishes on a channel can make keys without end
            self._by_peer = Counter(dict(self._by_peer.most_common(_FAULTY_PEERS // 2)))
        if self._by_peer[peer] >= _FAULTS_ALLOWED and self.is_up.is_set():
            del self._by_peer[peer]
            now = trio.current_time()
            self._kept_out = {one: until for one, until in self._kept_out.items() if until > now}
            self._kept_out[peer] = now + _KEEP_OUT_S
            for chain in self.chains.values():
                if session := chain.sessions.get(peer):
                    session.close()
            self._nursery.start_soon(self._drop, peer)

    def is_kept_out(self, peer: str) -> bool:
        """Whether nothing is taken from a peer now."""
        until = self._kept_out.get(peer)
        if until is not None and until <= trio.current_time():
            del self._kept_out[peer]
            return False
        return until is not None

    async def _drop(self, peer: str) -> None:
        try:
            await self.network.disconnect(peer)
        except UnavailableError:
            return

    # --- tasks -----------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await trio.sleep(_TICK_S)
            self._tick_all()

    def _tick_all(self) -> None:
        for chain in self.chains.values():
            chain.tick()

    async def _watch(self, changes: trio.MemoryReceiveChannel[tuple[str, bool]]) -> None:
        async for peer, is_there in changes:
            for chain in self.chains.values():
                chain.moved(peer, is_there)
            if is_there and self.is_kept_out(peer):
                self._nursery.start_soon(self._drop, peer)
            elif is_there:
                self._nursery.start_soon(self._look_soon)

    async def _look_soon(self) -> None:
        for delay_s in _SOON_S:
            await trio.sleep(delay_s)
            self._tick_all()

    async def _accept(self, stream: Stream) -> None:
        """Answers a peer that opened a sync stream."""
        peer = stream.peer
        if self.is_kept_out(peer) or self._streams[peer] >= Limits.max_streams_per_peer:
            return
        self._streams[peer] += 1
        try:
            frames = Frames(stream)
            ends = Ends(peer, self.network.peer_id)
            candidates = [chain.candidate for chain in self.chains.values()]
            try:
                session = await open_as_responder(
                    frames, Responder(self.node, candidates, ends, os.urandom(ENTROPY_BYTES))
                )
            except RemoteError as error:
                self.fault(error.reason, peer)
                return
            except UnavailableError:
                return
            chain = self.chains.get(session.chain_id)
            if chain is not None and chain.is_running and len(chain.sessions) < Limits.sessions_per_chain:
                opened = SyncSession(chain.engine, frames, session, ends.initiator, chain.workers, self.screeners)
                await chain.attach(opened)
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]


def _coalesced(outgoing: Sequence[Message]) -> list[Message]:
    """Blocks that wait go out together, up to what one message holds."""
    result: list[Message] = []
    size = 0
    for message in outgoing:
        last = result[-1] if result else None
        if isinstance(message, Blocks) and isinstance(last, Blocks) and message.why is last.why:
            more = sum(map(len, message.blocks))
            count = len(last.blocks) + len(message.blocks)
            if size + more <= Limits.target_frame_bytes and count <= Limits.max_blocks_per_frame:
                result[-1] = Blocks(last.why, last.blocks + message.blocks)
                size += more
                continue
        result.append(message)
        size = sum(map(len, message.blocks)) if isinstance(message, Blocks) else 0
    return result


def _read_book(engine: Engine) -> object:
    data = engine.store.get(_BOOK_KEY)
    if data is None:
        return []
    try:
        return cbor.decode(data, max_bytes=1 << 22, max_depth=5)
    except RemoteError:
        return []
