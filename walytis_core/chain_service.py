"""One chain on the network: its sync streams, its channel and its timers. Runs in the node's loop.

It keeps up to `neighbours` streams, redials the peers it knows, carries gossip and fires the timers that the replica
set. What is decided elsewhere (replica, address book, handshakes) is only performed here. Invariants: no task outlives
`run`; there is one stream with each peer; chains share no list of peers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Final

import trio

from walytis_core import messages
from walytis_core.boundary import blame_nobody, for_peer
from walytis_core.cid import BlockId
from walytis_core.engine import Engine, NetworkEffect
from walytis_core.errors import ClosedError, NotFoundError, Reason, RemoteError, StorageError, UnavailableError
from walytis_core.events import Came, Contact, Publish, Received, Send, SetTimer, TimerFired
from walytis_core.handshake import ENTROPY_BYTES, Asked, Candidate, Ends, Initiator
from walytis_core.known_peers import KnownPeers
from walytis_core.limits import Limits
from walytis_core.loop import Loop, Tasks
from walytis_core.membership import Ask
from walytis_core.messages import Blocks, Digest, ForkProof, Message, Peers
from walytis_core.network.port import Gossip
from walytis_core.screening import screen
from walytis_core.seals import GOSSIP_NONCE_BYTES, ChainKeys
from walytis_core.session import SYNC_PROTOCOL, Frames, SyncSession, open_as_initiator
from walytis_core.shared import Shared
from walytis_core.status import PeerInfo

_jitter: Final = Random().random  # noqa: S311 - spreads load; nothing secret hangs on it
_RETRY_S: Final = 5.0
"""A peer that would not open a stream is left alone for so long."""
_AT_ONCE_S: Final = 2.0
"""Two streams opened within this time are taken to have crossed."""
_SPARE_S: Final = 3.0
"""A stream beyond the usual number is kept at least so long."""
_INTRODUCE_WITHIN_S: Final = 75.0
"""Within this time one stream tells of no more peers than who is told takes in within a minute."""


class ChainService:
    """One chain on the network.

    Args:
        shared: What the chains of a node have in common.
        engine: The chain.
        keys: The chain's keys.
        ask: Whether a peer may read; None where the chain key is the only right to read.
    """

    def __init__(self, shared: Shared, engine: Engine, keys: ChainKeys, ask: Ask | None) -> None:
        self.engine = engine
        self.keys = keys
        self.candidate = Candidate(keys, is_asked=ask is not None)
        self.sessions: dict[str, SyncSession] = {}
        self.last_contact: dict[str, float] = {}
        self.is_running = False
        self.workers = shared.workers.lane()
        self.known = KnownPeers(engine.store, self.workers)
        self._shared = shared
        self._ask = ask
        self._tasks = Tasks()
        self._timers: dict[str, float] = {}
        self._outgoing: list[Message] = []
        self._has_outgoing = trio.Event()
        self._opening: set[str] = set()
        self._left_alone: dict[str, float] = {}
        self._scope = trio.CancelScope()

    @property
    def known_peers(self) -> int:
        """How many peers of the chain are known, online or not."""
        return self.known.book.count_told()

    def peers(self) -> Sequence[PeerInfo]:
        """The online peers, the most recent contact first."""
        infos = [
            PeerInfo(peer=one.peer, node_key=one.node_key, last_contact=one.last_contact)
            for one in tuple(self.sessions.values())
            if one.peer in self.engine.replica.sync.links  # else it is just being opened
        ]
        return sorted(infos, key=lambda info: -info.last_contact)

    async def admits(self, asked: Asked) -> bool:
        """Whether a peer may read."""
        return self._ask is not None and await self._ask(asked.node_key)

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
                    due = self._timers[name] = trio.current_time() + delay_s
                    self._shared.timers.add(due, partial(self._fire, name, due))
                case Contact(peer):
                    self.contact(peer)

    def reset(self) -> None:
        """Closes all streams: the replica forgot them."""
        for session in self.sessions.values():
            session.close()

    # --- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs the chain's tasks until `close()`."""
        network = self._shared.network
        with self._scope:
            gossip = await network.subscribe(self.keys.channel)
            try:
                async with self._tasks.open() as nursery:
                    await self.known.restore()
                    self.is_running = True
                    nursery.start_soon(self.known.keep)
                    nursery.start_soon(self._listen, gossip)
                    nursery.start_soon(self._talk)
                    await self._in_thread(self.engine.begin)
                    self.tick()
                    await trio.sleep_forever()
            finally:
                self.is_running = False
                self.reset()  # those that peers opened run in tasks of the network
                self.known.close()
        if self._scope.cancelled_caught:
            await network.unsubscribe(self.keys.channel)

    def close(self) -> None:
        """Ends the chain's tasks soon."""
        self._scope.cancel()

    def _fire(self, name: str, due: float) -> None:
        """A timer is due, unless it was set anew; in the loop."""
        if self.is_running and self._timers.get(name) == due:
            del self._timers[name]
            self._tasks.start(self._handle, TimerFired(name))

    async def _handle(self, event: TimerFired | Received) -> None:
        await self._in_thread(partial(self.engine.handle, event))

    async def _in_thread(self, function: Callable[[], None]) -> None:
        try:
            await self.workers.run(function)
        except StorageError:  # the engine started anew; what was lost comes again
            return
        except (ClosedError, NotFoundError):  # the chain was deleted, or the node closed, while it ran
            return

    # --- peers ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Looks after neighbours and redials; called every two seconds and after connections changed."""
        if not self.is_running:
            return
        network = self._shared.network
        present = set(network.on_channel(self.keys.channel))
        known = set(network.connected()).intersection(self.known.book)
        room = self._shared.neighbours - len(self.sessions) - len(self._opening)
        for peer in sorted((present | known) - self.sessions.keys(), key=lambda _: _jitter()):
            if room > 0 and self._open(peer):
                room -= 1
        self.engine.replica.sync.gossips = bool(present - self.sessions.keys())
        self._close_spare()
        self._introduce()
        self._forget_old()
        for peer, addresses in self.known.due():
            self._tasks.start(self._dial, peer, addresses)

    def _forget_old(self) -> None:
        now = trio.current_time()
        self._left_alone = {peer: until for peer, until in self._left_alone.items() if until > now}
        for peer in list(self.last_contact)[: -Limits.idle_peers_remembered]:
            del self.last_contact[peer]

    def _close_spare(self) -> None:
        """Closes idle streams that were opened beyond the usual number, for one sync."""
        spare = len(self.sessions) - self._shared.neighbours
        own = self._shared.network.peer_id
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

    def contact(self, peer: str) -> None:
        """Opens a stream to a peer beyond the usual number, where it holds something else than we do."""
        if self.is_running and len(self.sessions) < 2 * self._shared.neighbours + 2:
            self._open(peer)

    def _open(self, peer: str) -> bool:
        if peer in self.sessions or peer in self._opening or self._shared.is_kept_out(peer):
            return False
        if self._left_alone.get(peer, 0.0) > trio.current_time() or peer not in self._shared.network.connected():
            return False
        if self._tasks.start(self._initiate, peer):
            self._opening.add(peer)
            return True
        return False

    async def _initiate(self, peer: str) -> None:
        with for_peer(peer, "a sync stream", self._fault):
            session = await self._opened(peer)
            if session is not None:
                await self.attach(session)

    async def _opened(self, peer: str) -> SyncSession | None:
        """Opens a stream; a peer with which that does not work is left alone for a while."""
        shared, is_open = self._shared, False
        try:
            stream = await shared.network.open_stream(peer, SYNC_PROTOCOL)
            frames, ends = Frames(stream), Ends(shared.network.peer_id, peer)
            machine = Initiator(
                shared.node, self.keys, ends, os.urandom(ENTROPY_BYTES), is_asked=self.candidate.is_asked
            )
            try:
                session = await open_as_initiator(frames, machine, self.admits)
                is_open = True
            finally:
                if not is_open:
                    await stream.close()
        except (UnavailableError, RemoteError):  # a reader of another version of the policy is no wrongdoer
            return None
        finally:
            self._opening.discard(peer)
            if not is_open:
                self._left_alone[peer] = trio.current_time() + _RETRY_S
        return SyncSession(self.engine, frames, session, ends.initiator, self.workers, shared.screeners)

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
        session.on_peers = partial(self.known.hear, peer, own=self._shared.network.peer_id)
        self.known.came(peer)
        self.known.learn(peer, self._shared.network.known_addresses(peer))
        try:
            fault = await session.run()
        finally:
            self.last_contact.pop(peer, None)  # the newest stands last
            self.last_contact[peer] = time.time()
            if self.sessions.get(peer) is session:
                del self.sessions[peer]
        if fault is not None:
            self._fault(fault.reason, peer)

    def _fault(self, reason: Reason, peer: str) -> None:
        self.engine.refused[reason] += 1
        self._shared.fault(reason, peer)

    def _introduce(self) -> None:
        """Notes where peers listen, and tells each of the chain's other peers, once, as soon as their addresses are known.

        So those who were invited by one node find each other, and go on when it leaves. All of them proved the chain key.
        """
        network, now = self._shared.network, trio.current_time()
        known = {peer: tuple(network.known_addresses(peer)[: Limits.addresses_per_peer]) for peer in self.sessions}
        for peer, addresses in known.items():
            if addresses:  # a transport may have had to ask for them since the session began
                self.known.learn(peer, addresses)
        for peer, session in self.sessions.items():
            fresh = [one for one in known if one != peer and known[one] and one not in session.introduced]
            recent = sum(at > now - _INTRODUCE_WITHIN_S for at in session.introduced.values())
            chosen = fresh[: max(0, Limits.introductions_per_minute - recent)]
            if chosen:
                session.introduced.update(dict.fromkeys(chosen, now))
                session.send(Peers(tuple((one, known[one]) for one in chosen)))

    async def _dial(self, peer: str, addresses: Sequence[str]) -> None:
        began, is_there = time.time(), False
        with for_peer(peer, "dialling", blame_nobody):  # others may have told its addresses
            try:
                answered = await self._shared.network.connect(addresses)
                is_there = True
            finally:
                if not is_there:
                    self.known.failed(peer)
            self.known.dialled(peer, answered.address, began)
            self._open(peer)

    # --- the channel ---------------------------------------------------------------------------------------------

    async def _listen(self, gossip: trio.MemoryReceiveChannel[Gossip]) -> None:
        async for peer, data in gossip:
            if self._shared.is_kept_out(peer):
                continue
            with for_peer(peer, "a message on the channel", self._fault):
                match messages.decode(self.keys.gossip.open(data)):
                    case None:
                        pass
                    case Blocks() | Digest() | ForkProof() as message:
                        await self._in_thread(partial(self._heard, peer, message))
                    case _:
                        raise RemoteError(Reason.UNASKED)

    def _heard(self, peer: str, message: Blocks | Digest | ForkProof) -> None:
        match message:
            case Blocks(why, blocks):
                self.engine.handle(Came(peer, why, screen(blocks, self.engine.known), gossip=True))
            case _:
                self.engine.handle(Received(peer, message, gossip=True))

    async def _talk(self) -> None:
        while True:
            await self._has_outgoing.wait()
            self._has_outgoing = trio.Event()
            outgoing, self._outgoing = self._outgoing, []
            for message in _coalesced(outgoing):
                sealed = self.keys.gossip.seal(messages.encode(message), os.urandom(GOSSIP_NONCE_BYTES))
                try:
                    await self._shared.network.publish(self.keys.channel, sealed)
                except UnavailableError:
                    continue  # a hint that nobody hears is repaired by sync


class LoopOutlet:
    """Takes what an engine decided from the thread it runs in to the chain's service in the loop, in order."""

    def __init__(
        self, loop: Loop, chains: Mapping[bytes, ChainService], fault: Callable[[Reason, str], None], chain_id: BlockId
    ) -> None:
        self._loop = loop
        self._chains = chains
        self._fault = fault
        self._chain_id = chain_id

    def perform(self, effects: Sequence[NetworkEffect]) -> None:
        """Performs effects soon, in order; dropped when the chain is gone."""
        self._loop.post(partial(self._with_chain, lambda chain: chain.perform(effects)))

    def reset(self) -> None:
        """Closes all streams of the chain."""
        self._loop.post(partial(self._with_chain, ChainService.reset))

    def fault(self, reason: Reason, peer: str) -> None:
        """A peer sent something that was refused."""
        self._loop.post(partial(self._fault, reason, peer))

    def _with_chain(self, function: Callable[[ChainService], None]) -> None:
        chain = self._chains.get(self._chain_id)
        if chain is not None:
            function(chain)


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
