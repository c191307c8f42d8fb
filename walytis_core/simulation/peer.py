"""One honest peer: the deciding core, performed in virtual time.

It stands where `engine.py` stands in production, with the same order: store, then peers, then followers. A crash may come
between any two effects; what was committed is all that the next start finds. Invariant: nothing but the store outlives a crash.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from walytis_core.block import Block, Draft
from walytis_core.cid import BlockId
from walytis_core.errors import LocalError, Reason, RemoteError
from walytis_core.events import (
    Append,
    Arrived,
    Came,
    Change,
    Contact,
    Effect,
    Heal,
    Input,
    Notify,
    PeerLost,
    PeerSeen,
    Publish,
    PutSide,
    Received,
    Reject,
    Revised,
    Send,
    SetTimer,
    Settle,
    Store,
    TimerFired,
)
from walytis_core.messages import Blocks
from walytis_core.policy import Genesis
from walytis_core.replica import Replica
from walytis_core.screening import screen_identified
from walytis_core.signer import Signer
from walytis_core.simulation.traffic import Envelope
from walytis_core.simulation.wires import Wires
from walytis_core.store.port import ChainStore

_REDIAL_S = 0.2
_REDIAL_MOST_S = 5.0


class _Crash(Exception):  # noqa: N818 - an event of the simulation, never leaves this file
    """The process ends here."""


def node_key_of(name: str) -> bytes:
    """The node key that a peer is taken to have proven: a function of its name."""
    return hashlib.sha256(name.encode()).digest()


class Peer:
    """An honest peer.

    Attributes:
        store: What survives a crash.
        replica: The machine; made anew at each start.
        refused: How many things of each peer were refused, by reason.
        skew_s: How far its clock is off.
        acknowledged: Own blocks whose append has returned.
    """

    def __init__(
        self, name: str, genesis: Genesis, store: ChainStore, signer: Signer, wires: Wires, rng: random.Random,
        read: Callable[[bytes, BlockId], Block], on_change: Callable[[str, Change], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.store = store
        self.signer = signer
        self.is_up = False
        self.skew_s = 0.0
        self.refused: Counter[tuple[Reason, str]] = Counter()
        self.acknowledged: list[BlockId] = []
        self.told: set[BlockId] = set()
        self.crash_after: int | None = None
        self.wanted: list[str] = []
        self.replica: Replica
        self._genesis = genesis
        self._wires = wires
        self._timeline = wires.timeline
        self._rng = rng
        self._read = read
        self._on_change = on_change
        self._timers: dict[str, float] = {}
        self._wakes: dict[str, float] = {}
        self._life = 0
        self._redial_s = _REDIAL_S

    @property
    def now_s(self) -> float:
        """The present instant; the replica's clock."""
        return self._timeline.now_s

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts from what the store holds."""
        self._life += 1
        self.is_up = True
        self._timers.clear()
        self._wakes.clear()
        self.crash_after = None
        self.replica = Replica(self._genesis, self.store, self._rng.random)
        self.told = {row.id for row in self.store.scan(0, 1 << 30, 1 << 40)}
        self._perform(self.replica.begin())
        self.redial_soon()

    def crash(self) -> None:
        """Ends at once."""
        self.is_up = False
        self._wires.cut_all(self.name)

    def redial_soon(self) -> None:
        """Looks for the peers it wants a stream to, a moment from now."""
        self._redial_s = _REDIAL_S
        self._redial_later(self._life)

    def _redial_later(self, life: int) -> None:
        self._wires.timeline.after(self._redial_s * (0.5 + self._rng.random()), self._redial, life)

    def _redial(self, life: int) -> None:
        if life != self._life or not self.is_up:
            return
        found = [self._wires.dial(self.name, other) for other in self.wanted]
        if not all(found):
            self._redial_s = min(2 * self._redial_s, _REDIAL_MOST_S)
            self._redial_later(life)

    # --- what happens to it --------------------------------------------------------------------------------------

    def append(
        self, drafts: Sequence[Draft], signer: Signer, time_ms: int, start: BlockId | None = None,
        check: Callable[[Block], None] | None = None,
    ) -> list[Block]:  # fmt: skip
        """Appends; returns once the blocks are stored. Raises what `Replica.handle` raises."""
        effects = self.replica.handle(Append(drafts, signer, time_ms, start, check), self.store, self.now_s)
        blocks = [block for effect in effects if isinstance(effect, Store) for block in effect.commit.blocks]
        self._perform(effects)
        stored = [block for block in blocks if block.id in self.store.known([block.id])]
        self.acknowledged.extend(block.id for block in stored)
        return stored

    def opened(self, peer: str) -> None:
        """A stream is open."""
        self.feed(PeerSeen(peer, node_key_of(peer)))

    def closed(self, peer: str) -> None:
        """A stream is gone."""
        if peer not in self._wires.neighbours(self.name):
            self.feed(PeerLost(peer))
            if peer in self.wanted:
                self.redial_soon()

    def heard(self, peer: str, envelope: Envelope, gossip: bool) -> None:
        """A message came."""
        try:
            message = envelope.open()
        except RemoteError as error:
            self.refused[error.reason, peer] += 1
            return
        if isinstance(message, Blocks):
            screened = screen_identified(envelope.blocks_by_id(), self._known, self._read)
            self.feed(Came(peer, message.why, screened, gossip))
        elif message is not None:
            self.feed(Received(peer, message, gossip))

    def feed(self, event: Input) -> None:
        """Has the replica handle an event, and performs what it decides."""
        if self.is_up:
            self._perform(self.replica.handle(event, self.store, self._timeline.now_s))

    def _known(self, ids: Collection[bytes]) -> set[bytes]:
        return self.replica.known(ids, self.store)

    def _set_timer(self, name: str, due_s: float) -> None:
        """Sets a timer, anew or again. One that is only put off is looked at when it comes up: most are put off for ever."""
        self._timers[name] = due_s
        wake_s = self._wakes.get(name)
        if wake_s is None or due_s < wake_s:
            self._wakes[name] = due_s
            self._timeline.at(due_s, self._fire, name, due_s, self._life)

    def _fire(self, name: str, wake_s: float, life: int) -> None:
        if life != self._life or self._wakes.get(name) != wake_s:
            return
        del self._wakes[name]
        due_s = self._timers.pop(name)
        if due_s > wake_s:
            self._set_timer(name, due_s)
        else:
            self.feed(TimerFired(name))

    # --- effects -------------------------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[Effect]) -> None:
        try:
            if effects:
                self._perform_all(effects)
            while self.replica.is_unsettled:
                self._perform_all(self.replica.handle(Settle(), self.store, self.now_s))
        except _Crash:
            self.crash()

    def _perform_all(self, effects: Sequence[Effect]) -> None:
        sent: dict[int, Envelope] = {}
        for effect in effects:
            if self.crash_after is not None:
                if self.crash_after <= 0:
                    raise _Crash
                self.crash_after -= 1
            self._perform_one(effect, sent)

    def _perform_one(self, effect: Effect, sent: dict[int, Envelope]) -> None:
        match effect:
            case Send(peer, message):
                envelope = sent.get(id(message)) or sent.setdefault(id(message), self._wires.write(message))
                self._wires.send(self.name, peer, envelope)
            case Store(commit):
                self.store.commit(commit)
            case SetTimer(name, delay_s):
                self._set_timer(name, self._timeline.now_s + delay_s)
            case Notify(change):
                self._notify(change)
            case Publish(message):
                self._wires.publish(self.name, self._wires.write(message))
            case Contact(peer):
                self._wires.dial(self.name, peer, spare=True)
            case Reject(reason, peer):
                self.refused[reason, peer] += 1
            case PutSide(cid, data, readers):
                self.store.put_side(cid, data, readers)
            case Heal(block):
                self.store.heal(block.id, block.encoded)

    def _notify(self, change: Change) -> None:
        if isinstance(change, Arrived):
            for block in change.blocks:
                if not self.told.issuperset(block.ancestors_named):
                    raise LocalError(f"{self.name} told of block {block.id.short} before a parent of it")
                self.told.add(block.id)
        if isinstance(change, Revised):
            self.told.update(change.ids)
        self._on_change(self.name, change)
