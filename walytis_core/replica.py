"""The replica: one chain on one node, as a pure state machine.

`handle(event, held, now_s) -> effects`. It decides; `engine.py` performs, in the order given: store, then tell peers, then
tell followers. `held` shows what is committed, so a block is seen there only in the event after its `Store`. If a `Store`
fails, the machine is thrown away and made anew from the store: it keeps nothing that cannot be read back but hints.
What belongs to the chain is decided in `members.py`, who is told what in `syncing.py`, content in `fetching.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from walytis_core.cid import BlockId, Cid
from walytis_core.errors import Reason, RemoteError
from walytis_core.events import (
    Append,
    Arrived,
    Came,
    Corrupt,
    Effect,
    Fetch,
    Forked,
    Heal,
    Input,
    Notify,
    PeerLost,
    PeerSeen,
    Received,
    Reject,
    Revised,
    Send,
    SetTimer,
    Settle,
    Store,
    TimerFired,
)
from walytis_core.fetching import Fetching
from walytis_core.forks import read_proof
from walytis_core.intake import Outcome
from walytis_core.limits import Limits
from walytis_core.link import Link
from walytis_core.members import Members
from walytis_core.messages import (
    Announce,
    Buckets,
    Credit,
    Differ,
    Digest,
    Done,
    ForkProof,
    Probe,
    Pull,
    SideLacking,
    SidePart,
    SideWant,
    Want,
    Why,
)
from walytis_core.parking import Budget
from walytis_core.policy import Genesis
from walytis_core.store.port import ChainStore
from walytis_core.syncing import Sync

Answer = Callable[[Any, ChainStore, float], list[Effect]]
"""Answers a `Received` of one kind of message."""


class Replica:
    """One chain's machine.

    Args:
        genesis: The chain's first block.
        held: The chain's committed members; the genesis is one.
        random: Gives numbers in [0, 1).
        budget: Parking space, shared by the chains of a node.
    """

    def __init__(
        self, genesis: Genesis, held: ChainStore, random: Callable[[], float], budget: Budget | None = None
    ) -> None:
        self.genesis = genesis
        self.members = Members(genesis, held, budget)
        self.sync = Sync(self.members, random)
        self.shunned: frozenset[bytes] = frozenset()
        """Authors that a layer calls removed: their heads are not named by own blocks."""
        self._heard: dict[bytes, int] = {}  # forks that the channel has just told us of
        self._fetching = Fetching()
        self._answers = self._table()
        self._corrupt = self.sync.missing.damaged
        self._corrupt.update(held.corrupt())

    def begin(self) -> list[Effect]:
        """What is to be done when the replica starts."""
        return self.sync.begin()

    def known(self, ids: Collection[bytes], held: ChainStore) -> set[bytes]:
        """Those of `ids` that screening may skip: held with their bytes."""
        return held.known(ids) - self._corrupt if self._corrupt else held.known(ids)

    @property
    def is_unsettled(self) -> bool:
        """Whether `Settle` is due, once the effects given so far are performed."""
        return bool(self.members.is_unsettled or self.members.requeued)

    def handle(self, event: Input, held: ChainStore, now_s: float) -> list[Effect]:
        """Decides what an event leads to.

        Args:
            event: What happened.
            held: The committed members.
            now_s: A clock that never goes back, in seconds.

        Raises:
            NotAllowedError: For `Append`: the key may not write.
        """
        match event:
            case Came():
                return self._came(event, held, now_s)
            case Append():
                return self._append(event, held, now_s)
            case Received(peer):
                try:
                    return self._received(event, held, now_s)
                except RemoteError as error:
                    return [Reject(error.reason, peer)]
            case TimerFired(name):
                return self._fired(name, held, now_s)
            case Settle():
                return self._settle(held)
            case PeerSeen(peer, node_key):
                return [*self.sync.seen(peer, node_key, held), *(self.sync.missing.repair() if self._corrupt else [])]
            case PeerLost(peer):
                return [*self.sync.lost(peer, held, now_s), *self._fetching.lost(peer, self._peers())]
            case _:
                return self._wanted(event)

    # --- blocks --------------------------------------------------------------------------------------------------

    def _append(self, event: Append, held: ChainStore, now_s: float) -> list[Effect]:
        shunned = [id for id in self.members.heads if self._is_shunned(id, held)] if self.shunned else ()
        outcome = self.members.append(
            event.drafts, event.signer, event.time_ms, held, event.start, shunned, event.check
        )
        return [
            Store(outcome.commit),
            *self.sync.spread(outcome.taken, held, None, Why.NEWS, gossip=False, now_s=now_s),
            Notify(Arrived(tuple(outcome.taken), own=True)),
        ]

    def _is_shunned(self, id: BlockId, held: ChainStore) -> bool:
        return held.metas((id,))[id].author in self.shunned

    def _came(self, event: Came, held: ChainStore, now_s: float) -> list[Effect]:
        screened, peer = event.screened, event.peer
        healed = [Heal(block) for block in screened.blocks if block.id in self._corrupt] if self._corrupt else []
        for effect in healed:
            self._corrupt.discard(effect.block.id)
            self.members.healed(effect.block.id)
        outcome = self.members.ingest([(block, peer) for block in screened.blocks], held)
        for id, reason in screened.refused:
            self.members.refuse(id, reason, peer, outcome)
        if event.why is Why.PULLED and self.sync.is_asked(peer):  # it answers, and cannot know what there is room for
            outcome.rejected = [
                (id, Reason.NO_ROOM if reason is Reason.OVER_BUDGET else reason, sender)
                for id, reason, sender in outcome.rejected
            ]
        effects: list[Effect] = [*healed, *self._stored(outcome)]
        if healed:
            effects.append(Notify(Revised(tuple(effect.block.id for effect in healed))))
        if not event.gossip:
            effects.append(Send(peer, Credit(event.frames)))
        if outcome.folded:
            effects.extend(self.sync.spread(outcome.folded, held, peer, event.why, event.gossip, now_s))
        effects.extend(
            self.sync.came(peer, event.why, screened.blocks, len(outcome.taken), outcome.parked, held, now_s)
        )
        return [*effects, *self._sweep_later(outcome.parked)]

    def _stored(self, outcome: Outcome) -> list[Effect]:
        """The effects of a batch: store it, say what was refused, tell followers."""
        effects: list[Effect] = [Reject(reason, peer, id) for id, reason, peer in outcome.rejected]
        if outcome.taken:
            effects.append(Store(outcome.commit))
        if outcome.refold:  # parents of what arrives may be among them
            effects.append(Notify(Revised(tuple(outcome.refold))))
        if outcome.folded:
            effects.append(Notify(Arrived(tuple(outcome.folded))))
        return effects

    def _settle(self, held: ChainStore) -> list[Effect]:
        if not self.members.is_unsettled:  # what was requeued waits until the proofs are stored
            requeued, self.members.requeued = self.members.requeued, []
            outcome = self.members.ingest(requeued, held)
            return [*self._stored(outcome), *self._sweep_later(outcome.parked)]
        commit = self.members.settle(held)
        effects: list[Effect] = [Store(commit)]
        for proof in commit.proofs:
            effects.append(Notify(Forked(proof.author, proof.seq)))
            is_known = self._heard.get(proof.author) == proof.seq
            effects.extend(self.sync.tell_proof(ForkProof(proof.first, proof.second), is_known=is_known))
        self._heard.clear()
        if commit.unfold:
            effects.append(Notify(Revised(tuple(commit.unfold))))
        return effects

    def _sweep_later(self, parked: int) -> list[Effect]:
        return [SetTimer("sweep", Limits.sweep_s)] if parked else []

    def _wanted(self, event: Corrupt | Fetch) -> list[Effect]:
        """Something that was not asked for by a peer is wanted from peers."""
        if isinstance(event, Fetch):
            return self._fetching.want(event.cids, self._peers(), event.readers)
        self._corrupt.update(event.ids)
        return self.sync.missing.repair()

    # --- messages and timers -------------------------------------------------------------------------------------

    def _received(self, message: Received, held: ChainStore, now_s: float) -> list[Effect]:
        answer = self._answers.get(type(message.message))
        if answer is None or (message.gossip and not isinstance(message.message, (Digest, ForkProof))):
            return [Reject(Reason.UNASKED, message.peer)]
        return answer(message, held, now_s)

    def _table(self) -> dict[type, Answer]:
        """What answers each kind of message."""
        sync = self.sync
        return {
            Digest: lambda at, held, now: sync.digest(at.peer, at.message, at.gossip, held, now),
            ForkProof: lambda at, _held, _now: self._proven(at.peer, at.message, at.gossip),
            Credit: lambda at, held, now: self._credit(at.peer, at.message.frames, held, now),
            Announce: lambda at, held, _now: sync.missing.announced(at.peer, at.message.ids, held),
            Want: lambda at, held, _now: sync.wanted(at.peer, at.message.ids, held),
            Pull: lambda at, held, now: sync.pull(at.peer, at.message, held, now),
            Done: lambda at, held, now: sync.done(at.peer, at.message, held, now),
            Buckets: lambda at, _held, _now: sync.buckets(at.peer, at.message),
            Differ: lambda at, _held, _now: sync.differ(at.peer, at.message),
            Probe: lambda at, held, _now: sync.probed(at.peer, at.message, held),
            SideWant: lambda at, held, _now: self._side_wanted(at.peer, at.message.cids, held),
            SidePart: lambda at, _held, _now: [
                Send(at.peer, Credit(1)),
                *self._fetching.part(at.peer, at.message, self._peers()),
            ],
            SideLacking: lambda at, _held, _now: self._fetching.lacking(at.peer, at.message.cids, self._peers()),
        }

    def _credit(self, peer: str, frames: int, held: ChainStore, now_s: float) -> list[Effect]:
        link = self._link(peer)
        if link.credit + frames > Limits.credit_frames:
            return [Reject(Reason.OVER_BUDGET, peer)]
        return self.sync.confirmed(link, frames, held, now_s)

    def _side_wanted(self, peer: str, cids: Collection[Cid], held: ChainStore) -> list[Effect]:
        link = self._link(peer)
        if len(link.sides) + len(cids) > Limits.max_ids_per_message:
            return [Reject(Reason.OVER_BUDGET, peer)]
        link.sides.extend((cid, 0) for cid in cids)
        return self.sync.pump(peer, held)

    def _proven(self, peer: str, proof: ForkProof, gossip: bool) -> list[Effect]:
        one, other = read_proof(proof.first, proof.second, self.genesis.id)
        if self.members.add_proof(one, other):
            if gossip:
                self._heard[one.author] = one.seq
            self.sync.learnt(peer)
        return []

    def _link(self, peer: str) -> Link:
        link = self.sync.links.get(peer)
        if link is None:
            raise RemoteError(Reason.UNASKED)
        return link

    def _fired(self, name: str, held: ChainStore, now_s: float) -> list[Effect]:
        match name:
            case "trickle":
                return self.sync.trickle(held)
            case "interval":
                return self.sync.interval()
            case "check":
                return self.sync.check(held, now_s)
            case "pull":
                return self.sync.look(held, now_s)
            case "due":
                return self.sync.due(held, now_s)
            case "want":
                return self.sync.missing.ask_again()
            case "missing":
                return self.sync.missing.ask()
            case "side":
                return self._fetching.patience(self._peers())
            case "sweep":
                left = self.members.parking.sweep()
                return [SetTimer("sweep", Limits.sweep_s)] if left else []
            case _:
                return self._fired_for_peer(name, held, now_s)

    def _fired_for_peer(self, name: str, held: ChainStore, now_s: float) -> list[Effect]:
        what, _, peer = name.partition(" ")
        return self.sync.answer(peer, held, now_s) if what == "answer" else self.sync.pump(peer, held)

    def _peers(self) -> list[str]:
        return sorted(self.sync.links)
