"""One chain on the network: its sync streams, its channels and its timers. Runs in the node's loop.

It keeps up to `neighbours` streams, redials the peers it knows, and fires the timers that the replica set. What is decided
elsewhere (replica, address book, handshakes) is only performed here. Invariants: no task outlives `run`; there is one stream
with each peer; chains share no list of peers; without a key the chain meets nobody; where members of an identity read it,
a stream ends with the membership of its peer, and with the key under which it was opened.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Final

import trio

from walytis_core.boundary import blame_nobody, for_peer
from walytis_core.channels import Channels
from walytis_core.cid import BlockId
from walytis_core.engine import Engine, NetworkEffect
from walytis_core.errors import ClosedError, NotFoundError, Reason, RemoteError, StorageError, UnavailableError
from walytis_core.events import Contact, Publish, Send, SetTimer, TimerFired
from walytis_core.handshake import ENTROPY_BYTES, Asked, Candidate, Ends, Initiator
from walytis_core.known_peers import KnownPeers
from walytis_core.limits import Limits
from walytis_core.loop import Loop, Tasks
from walytis_core.membership import Circle
from walytis_core.messages import Peers
from walytis_core.seals import ChainKeys
from walytis_core.session import SYNC_PROTOCOL, Frames, SyncSession, open_as_initiator
from walytis_core.shared import Shared
from walytis_core.status import PeerInfo

_jitter: Final = Random().random  # noqa: S311 - spreads load; nothing secret hangs on it
_RETRY_S: Final = 5.0
"""A peer that would not open a stream is left alone for so long."""
_RETRY_MOST_S: Final = 300.0
"""And a member of an identity that has no key of ours twice as long each time, up to this."""
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
        keys: The chain's keys that are good now, the newest first.
        circle: The identity whose members may read, and whose secrets make the keys; None where the chain key is the
            only right to read.
    """

    def __init__(self, shared: Shared, engine: Engine, keys: Sequence[ChainKeys], circle: Circle | None) -> None:
        self.engine = engine
        self.keys = tuple(keys)
        self.circle = circle
        self.sessions: dict[str, SyncSession] = {}
        self._replaced: dict[str, SyncSession] = {}
        self.last_contact: dict[str, float] = {}
        self.is_running = False
        self.workers = shared.workers.lane()
        self.known = KnownPeers(engine.store, self.workers)
        self._shared = shared
        self._channels = Channels(shared, engine, self.workers, self._fault)
        self._tasks = Tasks()
        self._timers: dict[str, float] = {}
        self._opening: set[str] = set()
        self._left_alone: dict[str, float] = {}
        self._refusals: dict[str, int] = {}
        self._has_changed = trio.Event()  # who the members are
        self._changed_at = -math.inf
        self._scope = trio.CancelScope()

    @property
    def known_peers(self) -> int:
        """How many peers of the chain are known, online or not."""
        return self.known.book.count_told()

    def peers(self) -> Sequence[PeerInfo]:
        """The online peers, the most recent contact first."""
        links, sessions = self.engine.replica.sync.links, self.sessions.copy()
        seen = {peer: one for peer, one in sessions.items() if peer in links}  # the others are just being opened
        infos = [
            PeerInfo(peer=one.peer, node_key=one.node_key, last_contact=one.last_contact)
            for one in (self._replaced | seen).values()
        ]
        return sorted(infos, key=lambda info: -info.last_contact)

    def candidates(self) -> Sequence[Candidate]:
        """What a peer that opens a stream may mean."""
        return [Candidate(keys, is_asked=self.circle is not None) for keys in self.keys]

    async def admits(self, asked: Asked) -> bool:
        """Whether a peer may read."""
        return self.circle is not None and await self.circle.admits(asked.node_key)

    # --- the engine's outlet -----------------------------------------------------------------------------------

    def perform(self, effects: Sequence[NetworkEffect]) -> None:
        """Performs effects; in the loop."""
        for effect in effects:
            match effect:
                case Send(peer, message):
                    if session := self.sessions.get(peer):
                        session.send(message)
                case Publish(message):
                    self._channels.say(message)
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
        with self._scope:
            try:
                async with self._tasks.open() as nursery:
                    self._channels.forget()
                    await self._channels.tune(self.keys, nursery)
                    await self.known.restore()
                    self.is_running = True
                    nursery.start_soon(self.known.keep)
                    nursery.start_soon(self._channels.talk)
                    if self.circle is not None:
                        nursery.start_soon(self._follow, self.circle, nursery)
                    await self._in_thread(self.engine.begin)
                    self.tick()
                    await trio.sleep_forever()
            finally:
                self.is_running = False
                self.reset()  # those that peers opened run in tasks of the network
                self.known.close()
        if self._scope.cancelled_caught:
            await self._channels.leave()

    def close(self) -> None:
        """Ends the chain's tasks soon."""
        self._scope.cancel()

    def _fire(self, name: str, due: float) -> None:
        """A timer is due, unless it was set anew; in the loop."""
        if self.is_running and self._timers.get(name) == due:
            del self._timers[name]
            self._tasks.start(self._handle, TimerFired(name))

    async def _handle(self, event: TimerFired) -> None:
        await self._in_thread(partial(self.engine.handle, event))

    async def _in_thread(self, function: Callable[[], None]) -> None:
        try:
            await self.workers.run(function)
        except StorageError:  # the engine started anew; what was lost comes again
            return
        except (ClosedError, NotFoundError):  # the chain was deleted, or the node closed, while it ran
            return

    # --- members of an identity ----------------------------------------------------------------------------------

    def members_changed(self) -> None:
        """Who may read, or the secrets they share, may have changed; in the loop."""
        self._changed_at = trio.current_time()
        self._has_changed.set()

    async def _follow(self, circle: Circle, nursery: trio.Nursery) -> None:
        """Keeps keys and streams as the members of the identity are, from now on."""
        self._has_changed.set()
        while True:
            await self._has_changed.wait()
            self._has_changed = trio.Event()
            fresh = [ChainKeys(self.engine.genesis.id, secret) for secret in await circle.secrets()]
            held = {keys.channel: keys for keys in self.keys}
            self.keys = tuple({keys.channel: held.get(keys.channel, keys) for keys in fresh}.values())
            for session in self.sessions.values():
                if not self._is_good(session):
                    session.close()
            await self._channels.tune(self.keys, nursery)
            for session in tuple(self.sessions.values()):
                await self._review(circle, session)
            self._left_alone.clear()
            self._refusals.clear()
            self.tick()

    def _is_good(self, session: SyncSession) -> bool:
        """Whether a stream was opened under a key that is good now."""
        return any(session.keys.channel == keys.channel for keys in self.keys)

    async def _review(self, circle: Circle, session: SyncSession) -> None:
        """Ends a stream whose peer may not read any more."""
        if not await circle.admits(session.node_key):
            session.close()

    # --- peers ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Looks after neighbours and redials; called every two seconds and after connections changed."""
        if not self.is_running or not self.keys:
            return
        room = self._shared.neighbours - len(self.sessions) - len(self._opening)
        for peer in self._others():
            if room > 0 and self._open(peer):
                room -= 1
        self.engine.replica.sync.gossips = bool(self._channels.hearers() - self.sessions.keys())
        self._close_spare()
        self._introduce()
        self._forget_old()
        for peer, addresses in self.known.due():
            self._tasks.start(self._dial, peer, addresses)

    def _others(self) -> list[str]:
        """The peers of the chain that are connected, but have no stream; in any order."""
        known = set(self._shared.network.connected()).intersection(self.known.book)
        return sorted((self._channels.present() | known) - self.sessions.keys(), key=lambda _: _jitter())

    def meet_another(self) -> None:
        """Opens a stream to some peer more, where those that have one lack what is wanted; in the loop.

        Idle streams that are too many by that are closed soon, so one peer after the other is asked, of however many.
        """
        own = sum(session.initiator == self._shared.network.peer_id for session in self.sessions.values())
        if self.is_running and own < 2 * self._shared.neighbours + 2:
            any(self._open(peer) for peer in self._others())

    def _forget_old(self) -> None:
        now = trio.current_time()
        self._left_alone = {peer: until for peer, until in self._left_alone.items() if until > now}
        self._refusals = {peer: count for peer, count in self._refusals.items() if peer in self.known.book}
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
        if not self.keys or peer in self.sessions or peer in self._opening or self._shared.is_kept_out(peer):
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
        """Opens a stream, with the newest key that the peer has; one with which that does not work is left alone for a while."""
        session: SyncSession | None = None
        try:
            for keys in self.keys:
                with suppress(UnavailableError):  # it may be behind, and have an older one
                    session = await self._opened_with(peer, keys)
                    return session
        except RemoteError:  # a reader of another version of the policy is no wrongdoer
            return None
        finally:
            self._opening.discard(peer)
            if session is None:
                self._leave_alone(peer)
        return None

    def _leave_alone(self, peer: str) -> None:
        delay_s = _RETRY_S
        if self.circle is not None:  # it may lack the key for days, and counts each try against us
            times = self._refusals[peer] = self._refusals.get(peer, 0) + 1
            delay_s = min(_RETRY_S * 2 ** min(times - 1, 10), _RETRY_MOST_S)
        self._left_alone[peer] = trio.current_time() + delay_s

    async def _opened_with(self, peer: str, keys: ChainKeys) -> SyncSession:
        shared, is_open = self._shared, False
        stream = await shared.network.open_stream(peer, SYNC_PROTOCOL)
        frames, ends = Frames(stream), Ends(shared.network.peer_id, peer)
        is_asked = self.circle is not None
        machine = Initiator(shared.node, keys, ends, os.urandom(ENTROPY_BYTES), is_asked=is_asked)
        try:
            session = await open_as_initiator(frames, machine, self.admits)
            is_open = True
        finally:
            if not is_open:
                await stream.close()
        return SyncSession(self.engine, frames, session, ends.initiator, self.workers, shared.screeners)

    async def attach(self, session: SyncSession) -> None:
        """Runs an open session, unless there is a better one with the same peer.

        Where both ends opened a stream at once, the one opened by the smaller peer id stays, at both ends. Else the
        new one stays: a peer that opens another has lost the old one.
        """
        peer, other = session.peer, self.sessions.get(session.peer)
        try:
            await self._attach(peer, session, other)
        finally:
            if other is not None and self._replaced.get(peer) is other:
                del self._replaced[peer]

    async def _attach(self, peer: str, session: SyncSession, other: SyncSession | None) -> None:
        if other is not None and not other.ended.is_set():
            at_once = other.opened_at > trio.current_time() - _AT_ONCE_S
            if at_once and other.initiator < session.initiator:
                session.refuse()
                await session.run()
                return
            self._replaced[peer] = other  # a peer is online from one stream to the next
            other.close()
            await other.ended.wait()
        is_late = peer in self.sessions and self.sessions[peer] is not other
        if not self.is_running or is_late or not self._is_good(session):
            session.refuse()
            await session.run()
            return
        self.sessions[peer] = session
        session.on_peers = partial(self.known.hear, peer, own=self._shared.network.peer_id)
        self._refusals.pop(peer, None)
        if self.circle is not None and self._changed_at > trio.current_time() - Limits.handshake_timeout_s:
            self._tasks.start(self._review, self.circle, session)  # it was asked before that, maybe
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
