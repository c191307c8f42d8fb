"""What hostile peers cost, and that they hold nobody up."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from walytis_core.block import Place, create, draft
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
from walytis_core.events import Change, Forked
from walytis_core.limits import Limits
from walytis_core.messages import Announce, Blocks, Digest, Done, Probe, Pull, Want, Why
from walytis_core.signer import Signer
from walytis_core.simulation import KINDS, Forger, Hostile, Simulation, Weather
from walytis_core.simulation.traffic import Envelope


def network(peers: int, seed: int = 1, **options) -> Simulation:
    return Simulation(peers, seed=seed, weather=Weather(seed, latency_s=0.005), **options)


def forks(forger: Forger, count: int, depth: int) -> list[bytes]:
    """`depth` blocks of one author, then other blocks at its places from the top down, all different."""
    signer = forger.signers[0]
    line = [forger.good(signer, ()) for _ in range(depth)]
    blocks = [block.encoded for block in line]
    for number in range(count):
        at = depth - 1 - number % depth
        prev = line[at - 1].id if at else forger.genesis.id
        place = Place(forger.genesis.id, at, prev, (), at + 1)
        blocks.append(create(signer, place, draft(b"fork %d" % number), 0).encoded)
    return blocks


@pytest.mark.parametrize("depth", [1, 20])
@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_an_author_of_many_forks(depth, count):
    """C11: proven, reported once per lower fork, frozen; bounded blocks and bytes held; and sync goes on."""
    reported: Counter[str] = Counter()

    def on_change(name: str, change: Change) -> None:
        reported[name] += isinstance(change, Forked)

    sim = network(3, on_change=on_change)
    forker = sim.add_hostile("silent")
    blocks = forks(forker.forger, count, depth)
    sim.run(1)
    for start in range(0, len(blocks), 100):
        forker.tell(Blocks(Why.NEWS, tuple(blocks[start : start + 100])))
        sim.run(0.05)
        sim.append(start // 100 % 3, b"%d" % start)
    assert sim.run_until_converged() < 2
    sim.check_invariants(at_rest=True)
    for peer in sim.peers.values():
        assert len(peer.store.scan(0, 1 << 30, 1 << 40)) <= 1 + len(blocks) / 100 + depth + 1
        assert len(peer.replica.members.parking) <= Limits.parked_blocks_per_peer * 3
        assert bool(reported[peer.name]) == bool(peer.store.proofs())
        assert reported[peer.name] <= depth
    assert reported.total() >= 1
    forwarded = sum(sim.traffic.stream_bytes[one, other] for one in sim.peers for other in sim.peers)
    assert forwarded < 1_000_000
    sim.run(200)
    assert all(not peer.replica.members.parking for peer in sim.peers.values())


@pytest.mark.parametrize("authors", [150])
def test_many_authors_fork_between_two_peers(authors):
    """C10, C11: each of two peers holds another branch of many authors; all forks are found over one stream."""
    sim = network(2)
    sim.partition([0], [1])
    for number in range(authors):
        signer = sim.signer(f"forker {number}")
        for peer in (0, 1):
            sim.peer(peer).append([draft(b"branch %d" % peer)] * 3, signer, 0)
    sim.heal()
    sim.run_until_converged(10)
    assert len(sim.peer(0).replica.members.frozen) == len(sim.peer(1).replica.members.frozen) == authors
    sim.check_invariants(at_rest=True)


def grow(sim: Simulation, peer: int, signer: Signer, count: int, payload: bytes = b"") -> None:
    """A peer takes blocks by an author, as if they were its own."""
    for start in range(0, count, 250):
        sim.peer(peer).append([draft(payload)] * min(250, count - start), signer, 0)


def long_branch(after: int, count: int = 5000) -> Simulation:
    """One of three peers has a long branch; the others know of the fork."""
    sim = network(3)
    forker = sim.signer("forker")
    grow(sim, 0, forker, 5)
    sim.run_until_converged()
    sim.partition([0], [1, 2])
    grow(sim, 0, forker, count)
    sim.append(0, b"built on it")
    grow(sim, 0, sim.peer(0).signer, after)
    grow(sim, 1, forker, 1, b"the other")
    return sim


def large_branch() -> Simulation:
    """A branch of few blocks, with more bytes than the parking holds."""
    sim = network(2)
    sim.partition([0], [1])
    for _ in range(20):
        grow(sim, 0, sim.signer("forker"), 20, bytes(30_000))
    sim.append(0, b"built on it")
    grow(sim, 1, sim.signer("forker"), 1, b"the other")
    return sim


def branches_that_lean_on_each_other() -> Simulation:
    """The branches of two forkers, each block naming the other's."""
    sim = network(2)
    sim.partition([0], [1])
    for number in range(200):
        grow(sim, 0, sim.signer(f"forker {number % 2}"), 30)
    sim.append(0, b"built on them")
    for number in range(2):
        grow(sim, 1, sim.signer(f"forker {number}"), 1, b"another")
    return sim


def branches_on_both_sides() -> Simulation:
    """Each side has a long branch, and built on it."""
    sim = network(2)
    sim.partition([0], [1])
    for peer in (0, 1):
        grow(sim, peer, sim.signer("forker"), 5000, b"%d" % peer)
        sim.append(peer, b"built on it")
    return sim


@pytest.mark.slow
@pytest.mark.parametrize("make", [
    large_branch, branches_that_lean_on_each_other, partial(long_branch, 0),
    pytest.param(branches_on_both_sides, marks=pytest.mark.slow),
    pytest.param(partial(long_branch, 5000), marks=pytest.mark.slow),
])  # fmt: skip
def test_a_long_branch_that_somebody_built_on(make):
    """C10, C11: peers that know of a fork take a branch of any length once an honest block names it, and blame nobody."""
    sim = make()
    sim.heal()
    assert sim.run_until_converged(60) < 5
    sim.check_invariants(at_rest=True)
    for peer in sim.peers.values():
        reasons = {reason for reason, _ in peer.refused}
        assert reasons <= {Reason.FROZEN, Reason.NO_ROOM}
        assert len(peer.replica.members.unfolded) <= 2


@pytest.mark.parametrize("effects", [0, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 2, 3))])
def test_a_crash_while_a_long_branch_is_taken(effects, monkeypatch):
    """C10, C22: what was taken ahead is there after a crash, outside the folded set, and folded in the end."""
    monkeypatch.setattr(Limits, "parked_blocks_per_peer", 300)
    sim = long_branch(0, 1000)
    sim.heal()
    sim.run_until(lambda: len(sim.peer(1).replica.members.unfolded) > 200, every_s=0.01)
    sim.crash(1, after_effects=effects)
    sim.run(1)
    sim.restart(1)
    assert len(sim.peer(1).store.unfolded()) > 200
    sim.check_invariants()
    assert sim.run_until_converged(60) < 10
    sim.check_invariants(at_rest=True)


def test_a_branch_that_never_comes():
    """C11, C36: while a block waits for a branch that is withheld, forks of its author cost no more than that branch would."""
    sim = network(2)
    hostile = sim.add_hostile("silent")
    forger, rng = hostile.forger, sim.peer(0).signer
    signer, root = forger.signers[0], forger.genesis.id
    branch = [forger.good(signer, ()) for _ in range(100)]
    blocks = forks(forger, 2000, 50)
    needs = create(rng, Place(root, 0, root, (branch[-1].id,), 101), draft(b"needs"), 0)
    sim.run(1)
    for encoded in (blocks[0], blocks[-1], needs.encoded, branch[-1].encoded):
        hostile.tell(Blocks(Why.NEWS, (encoded,)))
        sim.run(0.2)
    for start in range(0, len(blocks), 200):
        hostile.tell(Blocks(Why.NEWS, tuple(blocks[start : start + 200])))
        sim.run(0.2)
    sim.append(1, b"goes on")
    sim.run_until_converged()
    sim.check_invariants(at_rest=True)
    for peer in sim.peers.values():
        assert len(peer.store.scan(0, 1 << 30, 1 << 40)) <= 2 + 100


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("seed", [1, 2])
def test_one_of_each_kind_keeps_nobody_from_healing(kind, seed):
    """C35, C36: two hostile peers of a kind on every stream they can get; partitioned peers heal all the same."""
    sim = network(4, seed)
    for _ in range(2):
        sim.add_hostile(kind)
    sim.run(5)
    sim.partition(["peer0", "peer1", "hostile0"], ["peer2", "peer3", "hostile1"])
    for number in range(8):
        sim.append(number % 4, b"%d" % number)
    sim.run(5)
    sim.heal()
    sim.remove_hostile(writers_only=True)
    assert sim.run_until_converged(30) < 15
    sim.check_invariants(at_rest=True)


class Echo(Hostile):
    """Says each side its own digest, on the channel and over streams."""

    def heard(self, peer: str, envelope: Envelope, gossip: bool) -> None:
        match envelope.message_or_none():
            case Digest() as digest:
                self._wires.whisper(self.name, peer, Envelope.of(digest))
                self.tell(digest, peer)
            case Pull():
                self.tell(Done(bytes(32), 0), peer)


class Random(Hostile):
    """Says random digests all the time, and answers every pull with nothing."""

    def act(self) -> None:
        digest = Digest(self.rng.randbytes(32), 10)
        self.publish(digest)
        self.tell(digest)

    def heard(self, peer: str, envelope: Envelope, gossip: bool) -> None:
        if isinstance(envelope.message_or_none(), Pull):
            self.tell(Done(self.rng.randbytes(32), 10), peer)


@pytest.mark.parametrize("liar", [Echo, Random])
def test_lies_about_digests_cost_little(liar):
    """C35: over ten minutes, a liar on every stream costs each peer a bounded number of fruitless pulls."""
    sim = network(4)
    sim.append(0, b"hello")
    sim.add_hostile(liar)
    sim.run_until_converged()
    sim.traffic.log = []
    sim.run(600)
    pulls = Counter((sender, receiver) for sender, receiver, envelope in sim.traffic.log if envelope.kind == "Pull")
    assert all(count <= 14 for count in pulls.values()), pulls  # 1 s, 2 s, 4 s, ...
    sim.peer(1).append([draft(b"more")], sim.peer(1).signer, 0)
    assert sim.run_until_converged() < 2


def test_echoes_do_not_silence_a_quiet_chain():
    """C35: a peer that echoes everybody's digest to them keeps nobody from finding out what is missing."""
    sim = Simulation(2, weather=Weather(1, latency_s=0.005), links=0)
    sim.add_hostile(Echo, "echo")
    sim.run(10)
    sim.partition([0], [1], ["echo"])
    sim.append(0, b"missed")
    sim.weather.heal()
    assert sim.run_until_converged(3600) < 60


@pytest.mark.slow
def test_nonsense_costs_bounded_memory():
    """C36: floods of ids, wants, probes and pulls: what is kept for a peer stays within its budget."""
    sim = network(2)
    for number in range(50):
        sim.append(number % 2, b"%d" % number)
    flooder = sim.add_hostile("silent")
    sim.run(1)
    author = sim.peer(0).signer.key
    for number in range(300):
        ids = tuple(BlockId.of(b"%d %d" % (number, index)) for index in range(1024))
        flooder.tell(Announce(ids))
        flooder.tell(Want(ids))
        flooder.tell(Probe(author, ((0, ids[0]), (5, ids[1]))))
        flooder.tell(Pull(None, (), True))
        sim.run(0.02)
    for peer in sim.peers.values():
        sync = peer.replica.sync
        assert len(sync.missing.asking) <= 2 * Limits.announced_per_peer
        assert all(len(link.asked) <= Limits.parked_blocks_per_peer for link in sync.links.values())
    sim.append(0, b"served")
    assert sim.run_until_converged() < 1
    sim.check_invariants(at_rest=True)


def test_what_is_asked_for_is_asked_for_again():
    """C31, C36: a peer that announces all the time does not put off that others are asked again."""
    sim = network(3, links=None)
    flooder = sim.add_hostile("silent")
    sim.run(1)
    block = sim.append(0, b"parent")
    sim.run(1)
    asked = [0]
    for number in range(20):
        flooder.tell(Announce((BlockId.of(b"%d" % number),)), "peer1")
        sim.run(0.5)
        asked.append(len(sim.peer(1).replica.sync.missing.asking))
    assert max(asked) <= 6
    assert block.id in sim.peer(1).store.known([block.id])


def test_candidates_with_wrong_heights():
    """C07, C10, C36: parked blocks of a frozen author that lie about their height are no members, and end nobody."""
    sim = network(2)
    hostile = sim.add_hostile("silent")
    forger = hostile.forger
    frozen, other = forger.signers[0], forger.signers[1]
    first, twin = (
        forger.good(frozen, ()),
        create(frozen, Place(forger.genesis.id, 0, forger.genesis.id, (), 1), draft(b"x"), 0),
    )
    deep = create(frozen, Place(forger.genesis.id, 1, first.id, (), 50), draft(b"deep"), 0)
    low = create(frozen, Place(forger.genesis.id, 2, deep.id, (), 2), draft(b"low"), 0)
    needs = create(other, Place(forger.genesis.id, 0, forger.genesis.id, (low.id,), 3), draft(b"needs"), 0)
    sim.run(1)
    for block in (first, twin, deep, low, needs):
        hostile.tell(Blocks(Why.NEWS, (block.encoded,)))
        sim.run(0.5)
    sim.append(0, b"still here")
    sim.run_until_converged()
    sim.check_invariants(at_rest=True)
    assert needs.id not in sim.peer(0).store.known([needs.id])


def test_strangers_to_a_listed_chain_leave_no_proofs():
    """C11, C36: who may not write cannot have forks of made-up keys stored and told to everyone."""
    sim = Simulation(2, weather=Weather(1, latency_s=0.005), writers=[0, 1])
    hostile = sim.add_hostile("silent")
    sim.run(1)
    for signer in (sim.signer(f"stranger {number}") for number in range(50)):
        place = Place(sim.genesis.id, 0, sim.genesis.id, (), 1)
        twins = [create(signer, place, draft(b"%d" % twin), 0).encoded for twin in range(2)]
        hostile.tell(Blocks(Why.NEWS, tuple(twins)))
    sim.run(5)
    assert not sim.peer(0).store.proofs()
    assert sim.traffic.messages("ForkProof") == 0


def test_a_held_off_liar_does_not_put_off_others():
    """C35: the timer of a peer that is held off for long does not replace that of one that is due soon."""
    sim = network(2, links=None)
    liar = sim.add_hostile(Random)
    sim.run(300)
    late = sim.add_peer()
    sim.append(late, b"from the late one")
    sim.append(0, b"for the late one")
    assert sim.run_until_converged() < 2
    assert liar.is_up


def test_a_branch_that_leans_on_another(monkeypatch):
    """C10: an awaited branch names blocks of another forker's, held below its own fork: both come, by pulls alone."""
    monkeypatch.setattr(Limits, "parked_blocks_per_peer", 60)
    sim = Simulation(2, seed=1, weather=Weather(1, latency_s=0.005))
    holder, forker, other = sim.peer(0), sim.signer("forker"), sim.signer("other")
    for signer in (forker, other):
        holder.append([draft(b"before")], signer, 0)
    sim.append(1, b"hello")
    sim.run_until_converged(10)
    sim.partition([0], [1])
    for signer in (other, forker):  # the second branch stands on the first
        for _ in range(10):
            holder.append([draft(b"branch")] * 20, signer, 0)
    sim.append(0, b"built on it")
    for signer in (other, forker):
        sim.peer(1).append([draft(b"fork")], signer, 0)
    sim.heal()
    sim.run_until_converged(60)
    assert len(sim.folded(1)) >= 400


def test_branches_of_one_forker_that_were_built_on(monkeypatch):
    """C10: one peer holds three of them: what it may have taken ahead in one pull is not all that it may ever."""
    monkeypatch.setattr(Limits, "parked_blocks_per_peer", 60)
    sim = Simulation(4, seed=1, weather=Weather(1, latency_s=0.005))
    forker = sim.signer("forker")
    sim.peer(0).append([draft(b"before")], forker, 0)
    sim.append(3, b"hello")
    sim.run_until_converged(10)
    sim.partition([0], [1], [2], [3])
    for one in range(3):
        for _ in range(5):
            sim.peer(one).append([draft(b"branch %d" % one)] * 40, forker, 0)
        sim.append(one, b"built on it")
    sim.crash(3)
    sim.heal()
    sim.run_until_converged(120)
    for one in (1, 2):
        sim.crash(one)
    sim.restart(3)
    sim.run(60)
    assert sim.folded(3) == sim.folded(0)
    assert len(sim.folded(3)) >= 603
