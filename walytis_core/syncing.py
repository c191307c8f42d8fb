"""Sync: who is told what, and whom we ask (docs/spec/sync.md).

When a stream opens, both sides say the digest of their frontier. Where the digests differ, each side *pulls*: it sends its
frontier, and the other streams what lies above it in its own order of insertion, then `Done`; from then on the
stream is live. A replica pulls from one peer at a time, so that nothing is sent twice. The channel carries new
blocks to those without a stream, and digests on a Trickle timer; a digest that differs leads to a pull. Branches of one
author are located by probes of ids (`branches.py`), and what is missing is asked for (`missing.py`). All of it is a hint but the blocks: what a peer says about itself costs us at
most a bounded, ever rarer, fruitless pull. Pure: time and randomness come in; effects go out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from walytis_core import branches
from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
from walytis_core.events import Contact, Effect, Met, Notify, Progress, Publish, Reject, Send, SetTimer, Synced
from walytis_core.frontier import Entry
from walytis_core.limits import Limits
from walytis_core.link import Link, portions
from walytis_core.members import Members
from walytis_core.messages import (
    Announce,
    Blocks,
    Buckets,
    Differ,
    Digest,
    Done,
    ForkProof,
    Probe,
    Pull,
    Why,
    split_ids,
)
from walytis_core.missing import Missing
from walytis_core.store.port import ChainStore
from walytis_core.trickle import Trickle
from walytis_core.turns import Suspect, Turns


@dataclass(slots=True)
class Sync:
    """The links of one replica and the pull under way.

    Attributes:
        gossips: Whether there are peers on the channel beyond those with a link.
        missing: What is asked for, block by block.
        lets: The node keys that may have content with a label; nobody may have content with another one.
    """

    members: Members
    random: Callable[[], float]
    gossips: bool = True
    links: dict[str, Link] = field(default_factory=dict)
    turns: Turns = field(default_factory=Turns)
    missing: Missing = field(init=False)
    lets: dict[str, frozenset[bytes]] = field(default_factory=dict)
    _has_pulled: bool = False
    _trickle: Trickle = field(default_factory=Trickle)

    def __post_init__(self) -> None:
        self.missing = Missing(self.members, self.random, self.links, self.turns)

    # --- links ---------------------------------------------------------------------------------------------------

    def begin(self) -> list[Effect]:
        """What a replica does when it starts."""
        return [SetTimer("trickle", self._trickle.begin(self.random()))]

    def seen(self, peer: str, node_key: bytes, held: ChainStore) -> list[Effect]:
        """A stream to a peer is open."""
        self.links[peer] = Link(peer, may_have=partial(self._may_have, node_key))
        return [Send(peer, self._digest(held)), Notify(Met(peer))]

    def _may_have(self, node_key: bytes, label: str) -> bool:
        return not label or node_key in self.lets.get(label, ())

    def lost(self, peer: str, held: ChainStore, now_s: float) -> list[Effect]:
        """A stream is gone; a pull over it goes to another peer."""
        link = self.links.pop(peer, None)
        untold = () if link is None else link.untold(self._own_news)
        self.gossips = True  # it may be on the channel still; whether anybody is, the next tick tells
        effects: list[Effect] = [Publish(Blocks(Why.NEWS, blocks)) for blocks in untold]
        return [*effects, *(self._pull_next(held, now_s) if self.turns.forget(peer) else [])]

    def confirmed(self, link: Link, frames: int, held: ChainStore, now_s: float) -> list[Effect]:
        """A peer has stored frames: it is sent what waited for that."""
        link.confirmed(frames, now_s)
        waited = link.push((), self._own_news, held, now_s) if link.waiting else []
        return [*(Send(link.peer, message) for message in waited), *self.pump(link.peer, held)]

    @property
    def _own_news(self) -> Why:
        """Why own blocks are sent over a link: whether the channel is told of them as well."""
        return Why.NEWS if self.gossips else Why.NEWS_HERE

    def pump(self, peer: str, held: ChainStore) -> list[Effect]:
        """Sends what is due to a peer, as far as its credit goes."""
        link = self.links.get(peer)
        if link is None:
            return []
        messages, again = link.pump(held, self.members.frozen, self._own_news)
        effects: list[Effect] = [Send(peer, message) for message in messages]
        if link.denied:
            effects.extend([Reject(Reason.NOT_A_MEMBER, peer)] * link.denied)
            link.denied = 0
        if link.is_done():
            effects.append(Send(peer, Done(self.members.frontier.digest(), held.count)))
        if again:
            effects.append(SetTimer(f"pump {peer}", 0.0))
        return effects

    # --- digests and pulls ---------------------------------------------------------------------------------------

    def digest(self, peer: str, message: Digest, gossip: bool, held: ChainStore, now_s: float) -> list[Effect]:
        """A peer said its digest."""
        own = self.members.frontier.digest()
        equal = message.digest == own
        if gossip:
            if equal:
                self._trickle.hear()
                self.turns.suspects.pop(peer, None)
                return []
            return self._suspect(peer, message, own, held, now_s)
        link = self.links.get(peer)
        if link is None:
            return []
        is_first = link.digest is None
        link.digest, link.count = message
        if equal:
            link.go_live(self.members.frontier)
            return [Notify(Synced(peer, equal=True))]
        if is_first:
            return self.want_pull(peer, held, now_s)
        return self._suspect(peer, message, own, held, now_s)

    def _suspect(self, peer: str, message: Digest, own: bytes, held: ChainStore, now_s: float) -> list[Effect]:
        suspect = Suspect(message.digest, own, message.held, held.count, now_s + Limits.check_delay_s)
        return self._check_soon() if self.turns.suspect(peer, suspect) else []

    def _check_soon(self) -> list[Effect]:
        """Gives what is under way a moment to make the digests equal."""
        return [SetTimer("check", Limits.check_delay_s * (1 + self.random()))]

    def check(self, held: ChainStore, now_s: float) -> list[Effect]:
        """Looks again at the peers whose digest differed: pulls from one of them, and later from the others where it did not help."""
        if self.turns.pulling is not None:
            return self._check_soon()
        peer = self.turns.choose(self.members.frontier.digest(), held.count, self.random(), now_s)
        again = self._check_soon() if self.turns.suspects else []
        if peer is None:
            return again
        return [*(self.want_pull(peer, held, now_s) if peer in self.links else [Contact(peer)]), *again]

    def want_pull(self, peer: str, held: ChainStore, now_s: float) -> list[Effect]:
        """Pulls from a peer, now or when its turn comes."""
        turns = self.turns
        if peer not in self.links or turns.is_pulling(peer):
            return []
        if turns.pulling is not None or turns.wait_s(peer, now_s):
            turns.due[peer] = None
            return [] if turns.pulling is not None else self._due_later(now_s)
        turns.begin(peer)
        self.links[peer].pulls += 1
        look = SetTimer("pull", Limits.pull_turn_s)
        frontier = self.members.frontier
        if len(frontier) > Limits.bucket_above_authors:
            return [Send(peer, Buckets(tuple(frontier.bucket_hashes()))), look]
        return [*self._send_pull(peer, None), look]

    def _due_later(self, now_s: float) -> list[Effect]:
        wait_s = self.turns.next_wait_s(now_s)
        return [] if wait_s is None else [SetTimer("due", wait_s)]

    def _send_pull(self, peer: str, buckets: tuple[int, ...] | None) -> list[Effect]:
        entries = self.members.frontier.entries(None if buckets is None else set(buckets))
        self.members.begin_pull(peer)
        awaited = self.members.awaited()
        if awaited:
            entries = sorted({**dict(entries), **awaited}.items())
        size = Limits.max_entries_per_message
        parts = [tuple(entries[at : at + size]) for at in range(0, len(entries), size)] or [()]
        return [Send(peer, Pull(buckets, part, part is parts[-1])) for part in parts]

    def differ(self, peer: str, message: Differ) -> list[Effect]:
        """A peer said which buckets differ."""
        if not self.turns.is_pulling(peer):
            return self._unasked(peer)
        return self._send_pull(peer, message.buckets)

    def is_asked(self, peer: str) -> bool:
        """Whether a peer has pulls of ours to answer."""
        return peer in self.links and self.links[peer].pulls > 0

    def _unasked(self, peer: str) -> list[Effect]:
        """An answer that nobody waits for: to a pull whose turn was passed on, or to none."""
        link = self.links.get(peer)
        if link is not None and link.pulls:
            link.pulls -= 1
            return []
        return [Reject(Reason.UNASKED, peer)]

    def buckets(self, peer: str, message: Buckets) -> list[Effect]:
        """A peer asks which buckets differ."""
        return [Send(peer, Differ(tuple(sorted(self.members.frontier.differing(message.hashes)))))]

    def pull(self, peer: str, message: Pull, held: ChainStore, now_s: float) -> list[Effect]:
        """A peer pulls: it is sent what it lacks, and shows what we lack; now, or when its next answer is due."""
        link = self.links.get(peer)
        if link is not None and link.pulled is not None:
            return [Reject(Reason.OVER_BUDGET, peer)]
        theirs = link.add_part(message) if link else None
        if link is None or theirs is None:
            return []
        link.pulled = theirs, message.buckets
        if now_s >= link.answer_from_s:
            return self.answer(peer, held, now_s)
        return [SetTimer(f"answer {peer}", link.answer_from_s - now_s)]

    def answer(self, peer: str, held: ChainStore, now_s: float) -> list[Effect]:
        """Answers the last pull of a peer. Not at any rate: it costs us more than the peer."""
        link = self.links.get(peer)
        if link is None or link.pulled is None:
            return []
        (theirs, buckets), link.pulled = link.pulled, None
        looked_up = link.answer(theirs, buckets, self.members.frontier, held)
        cost_s = Limits.pull_interval_per_author_s * (looked_up + len(theirs))
        link.answer_from_s = now_s + min(Limits.pull_interval_s + cost_s, Limits.pull_interval_max_s)
        effects = branches.compare(self.members, link, theirs, held)
        effects.extend(self.pump(peer, held))
        ahead = any(self._could_lack(author, entry) for author, entry in theirs.items())
        return [*effects, *self.want_pull(peer, held, now_s)] if ahead else effects

    def _could_lack(self, author: bytes, entry: Entry) -> bool:
        """Whether a peer's entry shows blocks, or a fork, that we do not know of."""
        own = self.members.frontier.get(author)
        if own == entry:
            return False
        fork = self.members.frozen.get(author)
        if own is None:
            return fork is None or entry.seq < fork
        is_higher = entry.seq > own.seq and (fork is None or entry.seq < fork)
        return is_higher or (entry.fork is not None and (fork is None or entry.fork < fork))

    def done(self, peer: str, message: Done, held: ChainStore, now_s: float) -> list[Effect]:
        """A peer has sent all it had."""
        link = self.links.get(peer)
        if link is None or self.turns.pulling is None or not self.turns.is_pulling(peer):
            return self._unasked(peer)
        link.pulls = 0
        link.digest, link.count = message
        equal = message.digest == self.members.frontier.digest()
        self._has_pulled = self._has_pulled or self.turns.pulling.taken > 0
        self.turns.end(now_s, equal=equal)
        return [Notify(Synced(peer, equal)), *self.missing.ask(), *self._pull_next(held, now_s)]

    def look(self, held: ChainStore, now_s: float) -> list[Effect]:
        """The pull under way is looked at: when it is too slow its turn passes on, and it is due again later."""
        pulling = self.turns.pulling
        if pulling is None:
            return []
        if not self.turns.is_slow(now_s):
            return [*self.missing.ask(), SetTimer("pull", Limits.pull_turn_s)]
        self._has_pulled = self._has_pulled or pulling.taken > 0
        self.turns.end(now_s, equal=False)
        if pulling.peer in self.links:
            self.turns.due[pulling.peer] = None
        return [*self.missing.ask(), *self._pull_next(held, now_s)]

    def _pull_next(self, held: ChainStore, now_s: float) -> list[Effect]:
        """Gives the next peer in turn its pull, where it is still due."""
        own = self.members.frontier.digest()
        for peer in [peer for peer in self.turns.due if peer not in self.links or self.links[peer].digest == own]:
            del self.turns.due[peer]
            if peer in self.links:
                self.links[peer].go_live(self.members.frontier)
        following = self.turns.next(now_s)
        return self._due_later(now_s) if following is None else self.want_pull(following, held, now_s)

    def due(self, held: ChainStore, now_s: float) -> list[Effect]:
        """A peer's hold-off is over."""
        return self._pull_next(held, now_s) if self.turns.pulling is None else []

    # --- news ----------------------------------------------------------------------------------------------------

    def spread(
        self, blocks: Sequence[Block], held: ChainStore, source: str | None, why: Why, gossip: bool, now_s: float
    ) -> list[Effect]:
        """Tells others about blocks that were just taken and are about to be committed.

        Args:
            source: The peer they came from; None for own ones.
            why: Why that peer sent them.
            gossip: Whether they came over the channel.
        """
        effects: list[Effect] = []
        if source is None:
            for link in self.links.values():
                effects.extend(Send(link.peer, message) for message in link.push(blocks, self._own_news, held, now_s))
        else:
            blocks = self._news(blocks, why, gossip)
            effects.extend(self._announce(blocks, source))
        if self.gossips and not gossip:
            effects.extend(Publish(Blocks(Why.NEWS, run)) for run in portions([block.encoded for block in blocks]))
        if self._trickle.reset():
            effects.append(SetTimer("trickle", self._trickle.begin(self.random())))
        return effects

    def _news(self, blocks: Sequence[Block], why: Why, gossip: bool) -> Sequence[Block]:
        """Those that others may not have been told of. What a parked block lacked, or a pull brought, is old: digests tell."""
        if gossip or why is Why.PULLED:
            return ()
        if why is Why.ASKED:
            return [block for block in blocks if self.missing.asking.is_announced(block.id)]
        return blocks if why is Why.NEWS_HERE or not self.gossips else ()

    def _announce(self, blocks: Sequence[Block], source: str) -> list[Effect]:
        effects: list[Effect] = []
        for link in self.links.values() if blocks else ():
            if link.peer == source:
                continue
            ids = [block.id for block in blocks if block.seq > link.theirs.get(block.author, -1)]
            effects.extend(Send(link.peer, Announce(portion)) for portion in split_ids(ids))
        return effects

    def came(
        self, peer: str, why: Why, blocks: Sequence[Block], taken: int, parked: int, held: ChainStore, now_s: float
    ) -> list[Effect]:
        """Blocks came from a peer: notes what it holds, and asks for what is missing."""
        link = self.links.get(peer)
        for block in blocks:
            self.missing.asking.came(block.id)
            if link is not None and block.author in self.members.frontier:  # else a peer could fill memory with authors
                link.has(block.author, block.seq)
        if self.turns.pulling is not None and self.turns.is_pulling(peer) and why is Why.PULLED:
            self.turns.pulling.taken += taken
            return [Notify(Progress(peer, held.count + taken, link.count if link else 0))] if taken else []
        more = self.missing.go_on()
        if not parked:
            return more
        return [*more, *(self.want_pull(peer, held, now_s) if why is Why.ASKED else self.missing.ask_soon())]

    def learnt(self, peer: str) -> None:
        """A peer showed us a fork: no blocks, but its pull is not fruitless."""
        if self.turns.pulling is not None and self.turns.is_pulling(peer):
            self.turns.pulling.taken += 1

    def wanted(self, peer: str, ids: Sequence[BlockId], held: ChainStore) -> list[Effect]:
        """A peer asks for blocks."""
        link = self.links.get(peer)
        if link is None:
            return []
        if len(link.asked) + len(ids) > Limits.parked_blocks_per_peer:
            return [Reject(Reason.OVER_BUDGET, peer)]
        link.asked.extend(ids)
        return self.pump(peer, held)

    # --- forks ---------------------------------------------------------------------------------------------------

    def probed(self, peer: str, message: Probe, held: ChainStore) -> list[Effect]:
        """A peer asks where two branches of one author part."""
        link = self.links.get(peer)
        if link is None:
            return []
        effects, shown = branches.locate(link, message, held)
        return effects if shown is None else [*effects, *self.wanted(peer, (shown,), held)]

    def tell_proof(self, proof: ForkProof, *, is_known: bool) -> list[Effect]:
        """Tells every peer with a link about a fork; the channel where it fits, unless it knows."""
        effects: list[Effect] = [Send(peer, proof) for peer in self.links]
        if self.gossips and not is_known and len(proof.first) + len(proof.second) < Limits.max_gossip_bytes // 2:
            effects.append(Publish(proof))
        if self._trickle.reset():
            effects.append(SetTimer("trickle", self._trickle.begin(self.random())))
        return effects

    # --- the quiet channel ---------------------------------------------------------------------------------------

    def trickle(self, held: ChainStore) -> list[Effect]:
        """The Trickle timer is due: the instant to send, or the end of the interval."""
        fires = self._trickle.fire()
        effects: list[Effect] = [Publish(self._digest(held))] if fires and self.gossips else []
        if not self.gossips or (self._has_pulled and not fires):  # links are not told what a pull brought
            effects.extend(Send(peer, self._digest(held)) for peer in self.links)
        self._has_pulled = False
        return [*effects, SetTimer("interval", self._trickle.end())]

    def interval(self) -> list[Effect]:
        """A Trickle interval is over: the next begins."""
        again = self.missing.repair() if self.missing.damaged else []
        return [*again, SetTimer("trickle", self._trickle.begin(self.random()))]

    def _digest(self, held: ChainStore) -> Digest:
        return Digest(self.members.frontier.digest(), held.count)
