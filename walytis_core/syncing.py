"""Sync: who is told what, and whom we ask (docs/spec/sync.md).

When a stream opens, both sides say the digest of their frontier. Where the digests differ, each side *pulls*: it sends its
frontier, and the other streams what lies above it in its own order of insertion, then `Done`; from then on the
stream is live. A replica pulls from one peer at a time, so that nothing is sent twice. The channel carries new
blocks to those without a stream, and digests on a Trickle timer; a digest that differs leads to a pull. Branches of one
author are located by probes of ids. All of it is a hint but the blocks: what a peer says about itself costs us at
most a bounded, ever rarer, fruitless pull. Pure: time and randomness come in; effects go out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
from walytis_core.events import Contact, Effect, Notify, Progress, Publish, Reject, Send, SetTimer, Synced
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
    Message,
    Probe,
    Pull,
    Want,
    Why,
    split_ids,
)
from walytis_core.store.port import ChainStore
from walytis_core.trickle import Trickle

_PROBE_PLACES = 32


@dataclass(slots=True)
class _Pulling:
    """The pull under way."""

    peer: str
    taken: int = 0


@dataclass(slots=True)
class Sync:
    """The links of one replica and the pull under way.

    Attributes:
        gossips: Whether there are peers on the channel beyond those with a link.
    """

    members: Members
    random: Callable[[], float]
    gossips: bool = True
    links: dict[str, Link] = field(default_factory=dict)
    pulling: _Pulling | None = None
    _due: dict[str, None] = field(default_factory=dict)
    _suspects: dict[str, bytes] = field(default_factory=dict)
    _asked: dict[BlockId, int] = field(default_factory=dict)
    _is_asking_soon: bool = False
    _has_pulled: bool = False
    _trickle: Trickle = field(default_factory=Trickle)

    # --- links ---------------------------------------------------------------------------------------------------

    def begin(self) -> list[Effect]:
        """What a replica does when it starts."""
        return [SetTimer("trickle", self._trickle.begin(self.random()))]

    def seen(self, peer: str, held: ChainStore) -> list[Effect]:
        """A stream to a peer is open."""
        self.links[peer] = Link(peer)
        return [Send(peer, self._digest(held))]

    def lost(self, peer: str, held: ChainStore, now_s: float) -> list[Effect]:
        """A stream is gone; a pull over it goes to another peer."""
        self.links.pop(peer, None)
        self._due.pop(peer, None)
        if self.pulling is not None and self.pulling.peer == peer:
            self.pulling = None
            return self._pull_next(held, now_s)
        return []

    def pump(self, peer: str, held: ChainStore) -> list[Effect]:
        """Sends what is due to a peer, as far as its credit goes."""
        link = self.links.get(peer)
        if link is None:
            return []
        messages, again = link.pump(held, self.members.frozen)
        effects: list[Effect] = [Send(peer, message) for message in messages]
        if link.is_done():
            effects.append(Send(peer, Done(self.members.frontier.digest(), held.count)))
        if again:
            effects.append(SetTimer(f"pump {peer}", 0.0))
        return effects

    # --- digests and pulls ---------------------------------------------------------------------------------------

    def digest(self, peer: str, message: Digest, gossip: bool, held: ChainStore, now_s: float) -> list[Effect]:
        """A peer said its digest."""
        equal = message.digest == self.members.frontier.digest()
        if gossip:
            if equal:
                self._trickle.hear()
                self._suspects.pop(peer, None)
                return []
            return self._suspect(peer, message.digest)
        link = self.links.get(peer)
        if link is None:
            return []
        link.digest, link.count = message
        if equal:
            link.go_live(self.members.frontier)
            return [Notify(Synced(peer, equal=True))]
        return self.want_pull(peer, held, now_s)

    def _suspect(self, peer: str, digest: bytes) -> list[Effect]:
        """Gives what is under way a moment to make the digests equal."""
        first = not self._suspects
        if len(self._suspects) < Limits.idle_peers_remembered:
            self._suspects[peer] = digest
        return [SetTimer("check", Limits.check_delay_s * (1 + self.random()))] if first else []

    def check(self, held: ChainStore, now_s: float) -> list[Effect]:
        """Looks again at the peers whose digest differed: pulls from one of them; the others speak again where it does not help."""
        own = self.members.frontier.digest()
        suspects = sorted(peer for peer, digest in self._suspects.items() if digest != own)
        if not suspects or self.pulling is not None:
            self._suspects.clear()
            return []
        peer = suspects[int(self.random() * len(suspects))]
        self._suspects.clear()
        return self.want_pull(peer, held, now_s) if peer in self.links else [Contact(peer)]

    def want_pull(self, peer: str, held: ChainStore, now_s: float) -> list[Effect]:
        """Pulls from a peer, now or when its turn comes."""
        link = self.links.get(peer)
        if link is None or (self.pulling is not None and self.pulling.peer == peer):
            return []
        if self.pulling is not None or link.ready_at_s > now_s:
            self._due[peer] = None
            return [] if self.pulling is not None else [SetTimer("due", link.ready_at_s - now_s)]
        self._due.pop(peer, None)
        self.pulling = _Pulling(peer)
        stall = SetTimer("pull", Limits.pull_stall_s)
        frontier = self.members.frontier
        if len(frontier) > Limits.bucket_above_authors:
            return [Send(peer, Buckets(tuple(frontier.bucket_hashes()))), stall]
        return [*self._send_pull(peer, None), stall]

    def _send_pull(self, peer: str, buckets: tuple[int, ...] | None) -> list[Effect]:
        entries = self.members.frontier.entries(None if buckets is None else set(buckets))
        size = Limits.max_entries_per_message
        parts = [tuple(entries[at : at + size]) for at in range(0, len(entries), size)] or [()]
        return [Send(peer, Pull(buckets, part, part is parts[-1])) for part in parts]

    def differ(self, peer: str, message: Differ) -> list[Effect]:
        """A peer said which buckets differ."""
        if self.pulling is None or self.pulling.peer != peer:
            return [Reject(Reason.UNASKED, peer)]
        return self._send_pull(peer, message.buckets)

    def buckets(self, peer: str, message: Buckets) -> list[Effect]:
        """A peer asks which buckets differ."""
        return [Send(peer, Differ(tuple(sorted(self.members.frontier.differing(message.hashes)))))]

    def pull(self, peer: str, message: Pull, held: ChainStore, now_s: float) -> list[Effect]:
        """A peer pulls: it is sent what it lacks, and shows what we lack."""
        link = self.links.get(peer)
        theirs = link.add_part(message) if link else None
        if link is None or theirs is None:
            return []
        own = self.members.frontier
        link.answer(theirs, message.buckets, own, held)
        effects = self._compare_branches(link, theirs, held)
        effects.extend(self.pump(peer, held))
        ahead = any(author not in own or entry.seq > own[author].seq for author, entry in theirs.items())
        ahead = ahead and any(self._could_lack(author, entry) for author, entry in theirs.items())
        return [*effects, *self.want_pull(peer, held, now_s)] if ahead else effects

    def _could_lack(self, author: bytes, entry: Entry) -> bool:
        fork = self.members.frozen.get(author)
        own = self.members.frontier.get(author)
        return (own is None or entry.seq > own.seq) and (fork is None or entry.seq < fork)

    def done(self, peer: str, message: Done, held: ChainStore, now_s: float) -> list[Effect]:
        """A peer has sent all it had."""
        if self.pulling is None or self.pulling.peer != peer:
            return [Reject(Reason.UNASKED, peer)]
        taken = self.pulling.taken
        self.pulling = None
        link = self.links[peer]
        link.digest, link.count = message.digest, message.held
        equal = message.digest == self.members.frontier.digest()
        if equal or taken:
            link.holdoff_s = Limits.holdoff_min_s
        else:
            link.ready_at_s = now_s + link.holdoff_s
            link.holdoff_s = min(2 * link.holdoff_s, Limits.holdoff_max_s)
        effects: list[Effect] = [Notify(Synced(peer, equal))]
        self._has_pulled = self._has_pulled or taken > 0
        return [*effects, *self.ask_missing(), *self._pull_next(held, now_s)]

    def stalled(self, held: ChainStore, now_s: float) -> list[Effect]:
        """The pull under way made no progress for too long."""
        if self.pulling is None:
            return []
        link = self.links.get(self.pulling.peer)
        if link is not None:
            link.ready_at_s = now_s + link.holdoff_s
            link.holdoff_s = min(2 * link.holdoff_s, Limits.holdoff_max_s)
            self._due[link.peer] = None
        self.pulling = None
        return self._pull_next(held, now_s)

    def _pull_next(self, held: ChainStore, now_s: float) -> list[Effect]:
        """Gives the next peer in turn its pull, where it is still due."""
        own = self.members.frontier.digest()
        for peer in list(self._due):
            link = self.links.get(peer)
            if link is None or link.digest == own:
                del self._due[peer]
                if link is not None:
                    link.go_live(self.members.frontier)
            elif link.ready_at_s <= now_s:
                return self.want_pull(peer, held, now_s)
        waits = [self.links[peer].ready_at_s - now_s for peer in self._due]
        return [SetTimer("due", min(waits))] if waits else []

    def due(self, held: ChainStore, now_s: float) -> list[Effect]:
        """A peer's hold-off is over."""
        return self._pull_next(held, now_s) if self.pulling is None else []

    # --- news ----------------------------------------------------------------------------------------------------

    def spread(
        self, blocks: Sequence[Block], held: ChainStore, source: str | None, why: Why, gossip: bool
    ) -> list[Effect]:
        """Tells others about blocks that were just taken and are about to be committed.

        Args:
            source: The peer they came from; None for own ones.
            why: Why that peer sent them.
            gossip: Whether they came over the channel.
        """
        effects: list[Effect] = []
        if source is None:
            pass_on = Why.NEWS if self.gossips else Why.NEWS_HERE
            for link in self.links.values():
                effects.extend(Send(link.peer, message) for message in link.push(blocks, pass_on, held))
        elif not gossip and why in (Why.NEWS_HERE, Why.ASKED):
            effects.extend(self._announce(blocks, source))
        if self.gossips and not gossip and (source is None or why in (Why.NEWS_HERE, Why.ASKED)):
            effects.extend(Publish(Blocks(Why.NEWS, run)) for run in portions([block.encoded for block in blocks]))
        if self._trickle.reset():
            effects.append(SetTimer("trickle", self._trickle.begin(self.random())))
        return effects

    def _announce(self, blocks: Sequence[Block], source: str) -> list[Effect]:
        effects: list[Effect] = []
        for link in self.links.values():
            if link.peer == source:
                continue
            ids = [block.id for block in blocks if block.seq > link.theirs.get(block.author, -1)]
            effects.extend(Send(link.peer, Announce(portion)) for portion in split_ids(ids))
        return effects

    def announced(self, peer: str, ids: Sequence[BlockId], held: ChainStore) -> list[Effect]:
        """A peer named blocks that it has just learnt."""
        known = held.known(ids)
        wanted = [id for id in ids if id not in known and id not in self.members.parking and id not in self._asked]
        return self._want(peer, wanted)

    def came(
        self, peer: str, why: Why, blocks: Sequence[Block], taken: int, parked: int, held: ChainStore, now_s: float
    ) -> list[Effect]:
        """Blocks came from a peer: notes what it holds, and asks for what is missing."""
        link = self.links.get(peer)
        for block in blocks:
            self._asked.pop(block.id, None)
            if link is not None:
                link.has(block.author, block.seq)
        if self.pulling is not None:
            if self.pulling.peer != peer or why is not Why.PULLED:
                return []
            self.pulling.taken += taken
            progress = Progress(peer, held.count + taken, link.count if link else 0)
            return [SetTimer("pull", Limits.pull_stall_s), Notify(progress)]
        if not parked:
            return []
        if why is Why.ASKED:
            return self.want_pull(peer, held, now_s)
        return [] if self._is_asking_soon else self._ask_soon()

    def _ask_soon(self) -> list[Effect]:
        """What is missing is mostly under way: it is asked for a moment later."""
        self._is_asking_soon = True
        return [SetTimer("missing", Limits.ask_delay_s * (1 + self.random()))]

    def ask_missing(self) -> list[Effect]:
        """Asks for blocks that parked ones lack: the peers that sent these, or any."""
        self._is_asking_soon = False
        if self.pulling is not None:
            return []
        effects: list[Effect] = []
        for id in sorted(self.members.parking.needed()):
            if id in self._asked:
                continue
            senders = self.members.parking.senders(id)
            linked = sorted(senders & self.links.keys()) or sorted(self.links)
            if linked:
                effects.extend(self._want(linked[int(self.random() * len(linked))], [id]))
            else:
                effects.extend(Contact(peer) for peer in sorted(senders)[:1])
        return _merge_wants(effects)

    def _want(self, peer: str, ids: Sequence[BlockId]) -> list[Effect]:
        if not ids:
            return []
        for id in ids:
            self._asked.setdefault(id, 1)
        wants: list[Effect] = [Send(peer, Want(portion)) for portion in split_ids(ids)]
        return [*wants, SetTimer("want", 1.0)]

    def ask_again(self) -> list[Effect]:
        """Asks other peers for what was asked for and did not come; gives up after a few times."""
        needed = self.members.parking.needed()
        for id in [id for id, tries in self._asked.items() if id not in needed or tries > 6]:
            del self._asked[id]
            if id in needed:
                self.members.parking.refused(id)
        peers = sorted(self.links)
        effects: list[Effect] = []
        for id in self._asked if peers else ():
            self._asked[id] += 1
            effects.append(Send(peers[int(self.random() * len(peers))], Want((id,))))
        return [*_merge_wants(effects), *([SetTimer("want", 1.0)] if self._asked else [])]

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

    def _compare_branches(self, link: Link, theirs: Mapping[bytes, Entry], held: ChainStore) -> list[Effect]:
        """Sends proofs the peer lacks, and probes where it names a block that is not on our branch."""
        own = self.members.frontier
        effects: list[Effect] = []
        for author, entry in theirs.items():
            fork = self.members.frozen.get(author)
            proof = self.members.proofs.get(author)
            if fork is not None and proof is not None and (entry.fork is None or fork < entry.fork):
                effects.append(Send(link.peer, ForkProof(proof.first, proof.second)))
            ours = own.get(author)
            if ours is None or entry.seq > ours.seq or (entry.seq == ours.seq and entry.id == ours.id):
                continue
            if entry.id not in held.at(author, entry.seq):
                effects.extend(self._probe(link, author, _steps_down(entry.seq), held))
        return effects

    def _probe(self, link: Link, author: bytes, seqs: Sequence[int], held: ChainStore) -> list[Effect]:
        if link.probes_left <= 0:
            return []
        link.probes_left -= 1
        places = [(seq, ids[0]) for seq in seqs if (ids := held.at(author, seq))]
        return [Send(link.peer, Probe(author, tuple(places)))] if places else []

    def probed(self, peer: str, message: Probe, held: ChainStore) -> list[Effect]:
        """A peer asks where two branches of one author part: narrows it down, or shows our block at the fork."""
        link = self.links.get(peer)
        if link is None:
            return []
        same, differs = -1, None
        for seq, id in sorted(message.places):
            ids = held.at(message.author, seq)
            if not ids:
                break
            if id not in ids:
                differs = (seq, ids[0])
                break
            same = seq
        if differs is None:
            return []
        seq, own_id = differs
        if seq - same <= 1:
            link.asked.append(own_id)
            return self.pump(peer, held)
        step = max((seq - same) // _PROBE_PLACES, 1)
        return self._probe(link, message.author, [*range(same + 1, seq, step), seq], held)

    def tell_proof(self, proof: ForkProof) -> list[Effect]:
        """Tells every peer with a link about a fork; the channel where it fits."""
        effects: list[Effect] = [Send(peer, proof) for peer in self.links]
        if self.gossips and len(proof.first) + len(proof.second) < Limits.max_gossip_bytes // 2:
            effects.append(Publish(proof))
        if self._trickle.reset():
            effects.append(SetTimer("trickle", self._trickle.begin(self.random())))
        return effects

    # --- the quiet channel ---------------------------------------------------------------------------------------

    def trickle(self, held: ChainStore) -> list[Effect]:
        """The Trickle timer is due: the instant to send, or the end of the interval."""
        effects: list[Effect] = [SetTimer("interval", self._trickle.end())]
        if self._has_pulled:  # links are told news as they come, but not what a pull brought
            self._has_pulled = False
            effects.extend(Send(peer, self._digest(held)) for peer in self.links)
        return [Publish(self._digest(held)), *effects] if self._trickle.fire() else effects

    def interval(self) -> list[Effect]:
        """A Trickle interval is over: the next begins."""
        return [SetTimer("trickle", self._trickle.begin(self.random()))]

    def _digest(self, held: ChainStore) -> Digest:
        return Digest(self.members.frontier.digest(), held.count)


def _steps_down(seq: int) -> list[int]:
    """seq, seq-1, seq-2, seq-4, ... and 0, rising."""
    steps = {0, seq}
    back = 1
    while back < seq:
        steps.add(seq - back)
        back *= 2
    return sorted(steps)


def _merge_wants(effects: Sequence[Effect]) -> list[Effect]:
    """One want per peer instead of one per id."""
    ids: dict[str, list[BlockId]] = {}
    rest: list[Effect] = []
    for effect in effects:
        match effect:
            case Send(peer, Want(wanted)):
                ids.setdefault(peer, []).extend(wanted)
            case _ if effect not in rest:
                rest.append(effect)
    wants: list[Message] = []
    merged: list[Effect] = []
    for peer, wanted_ids in ids.items():
        wants = [Want(portion) for portion in split_ids(wanted_ids)]
        merged.extend(Send(peer, want) for want in wants)
    return [*merged, *rest]
