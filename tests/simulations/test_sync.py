"""What sync costs and how fast it is, in virtual time and true bytes."""

from __future__ import annotations

from collections import Counter

import pytest

from walytis_core.block import draft
from walytis_core.messages import Blocks, Why
from walytis_core.simulation import Simulation, Weather

DAY_S = 86_400


def calm(seed: int, peers: int, **options) -> Simulation:
    return Simulation(peers, seed=seed, weather=Weather(seed, latency_s=0.005, jitter_s=0.005), **options)


@pytest.mark.parametrize("seed", range(8))
def test_partitions_of_writers_heal(seed):
    """C30, C31: concurrent writers in partitions; healed within 2 s, and nothing is sent twice in one session."""
    sim = calm(seed, 5)
    for number in range(5):
        sim.append(number, b"before")
    sim.run(3)
    sim.partition([0, 1], [2, 3, 4])
    for number in range(50):
        sim.at(sim.now_s + sim.random.random() * 20, sim.append, number % 5, b"apart %d" % number)
    sim.run(30)
    sim.traffic.log = []
    sim.heal()
    assert sim.run_until_converged() < 2
    sim.check_invariants(at_rest=True)
    for (sender, receiver), ids in sent_blocks(sim).items():
        assert not [id for id, count in ids.items() if count > 1], f"{sender} sent {receiver} a block twice"
    for peer in sim.peers:
        pulled = sum(
            (ids for (_, receiver), ids in sent_blocks(sim, Why.PULLED).items() if receiver == peer), Counter()
        )
        assert not [id for id, count in pulled.items() if count > 1], f"{peer} pulled a block twice"


def sent_blocks(sim: Simulation, *why: Why) -> dict[tuple[str, str], Counter[bytes]]:
    """How often each block went over each stream."""
    sent: dict[tuple[str, str], Counter[bytes]] = {}
    for sender, receiver, envelope in sim.traffic.log or ():
        message = envelope.open()
        if isinstance(message, Blocks) and (not why or message.why in why):
            sent.setdefault((sender, receiver), Counter()).update(message.blocks)
    return sent


@pytest.mark.parametrize("seed", range(5))
def test_a_missing_parent_is_asked_for(seed):
    """C15, C31: a channel that loses half; what is missing is parked, asked for, and told in order within 2 s."""
    sim = Simulation(4, seed=seed, weather=Weather(seed, latency_s=0.005, loss=0.5))
    for number in range(40):
        sim.at(number / 20, sim.append, number % 4, b"%d" % number)
    sim.run(2)
    assert sim.run_until_converged() < 2
    sim.check_invariants(at_rest=True)


@pytest.mark.parametrize("missing", [1, 100, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("authors", [1, 5, pytest.param(100, marks=pytest.mark.slow)])
def test_catching_up_costs_the_difference(missing, authors):
    """C32: a peer was off while n blocks were added; bytes on the wire stay near those of the missing blocks."""
    sim = calm(1, 2)
    signers = [sim.signer(f"author {number}") for number in range(authors)]
    for signer in signers:
        sim.peer(0).append([draft(bytes(100))], signer, 0)
    sim.run_until_converged()
    sim.crash(1)
    sim.run(1)
    per_author = -(-missing // authors)
    added = [
        block
        for signer in signers[: -(-missing // per_author)]
        for block in sim.peer(0).append([draft(bytes(100), topics=["t"])] * per_author, signer, 0)
    ]
    sim.run(1)
    sim.traffic.clear()
    sim.restart(1)
    assert sim.run_until_converged() < 10
    size = sum(len(block.encoded) for block in added)
    assert sim.traffic.total_bytes <= 1.3 * size + 4096 + 200 * authors


@pytest.mark.parametrize("messages", range(0, 40, 3))
def test_a_cut_resumes_where_it_was(messages):
    """C33: the stream is cut after so many messages; nothing that was stored is sent again."""
    sim = calm(2, 2)
    sim.partition([0], [1])
    sim.append_many(0, [draft(bytes(30_000))] * 60)
    sim.heal()
    sim.run_until(lambda: bool(sim.wires.neighbours("peer0")))
    sim.traffic.log = []
    sim.wires.cut_after("peer0", "peer1", messages)
    sim.run_until(lambda: not sim.wires.neighbours("peer0") or sim.is_converged)
    sim.run(0.15)
    stored = {row.encoded for row in sim.peer(1).store.scan(0, 1 << 30, 1 << 40)}
    sim.traffic.log.clear()
    assert sim.run_until_converged() < 2
    again = sent_blocks(sim).get(("peer0", "peer1"), Counter())
    assert not stored & again.keys()
    sim.check_invariants(at_rest=True)


def test_clocks_a_day_off():
    """C34: clocks off by a day either way: all converge, and keep each other's timestamps."""
    sim = calm(3, 3)
    for peer, skew_s in enumerate((-DAY_S, 0, DAY_S)):
        sim.skew(peer, skew_s)
    made = {block.id: block.time_ms for number in range(30) for block in [sim.append(number % 3, b"%d" % number)]}
    sim.run_until_converged()
    for peer in range(3):
        assert {block.id: block.time_ms for block in sim.folded(peer)} == made
    assert max(made.values()) - min(made.values()) >= 2 * DAY_S * 1000


@pytest.mark.parametrize("peers", [2, 10, pytest.param(100, marks=pytest.mark.slow)])
def test_a_late_peer_of_a_quiet_chain(peers):
    """C35: it holds everything within 2 s of virtual time."""
    sim = calm(4, peers)
    for number in range(20):
        sim.append(number % peers, b"%d" % number)
    sim.run_until_converged()
    sim.run(3600)
    sim.add_peer()
    assert sim.run_until_converged() < 2


@pytest.mark.parametrize("peers", [2, 10, pytest.param(100, marks=pytest.mark.slow)])
def test_digests_do_not_grow_with_the_number_of_peers(peers):
    """C35: on a quiet chain, digests per peer and hour, to the channel and over streams."""
    sim = calm(5, peers)
    sim.append(0, b"hello")
    sim.run_until_converged()
    sim.run(3600)
    sim.traffic.clear()
    sim.run(3600)
    assert sim.traffic.messages("Digest") / peers <= 8
    assert sim.traffic.messages("Pull") == 0


@pytest.mark.parametrize("effects", range(12))
def test_a_crash_between_two_effects(effects):
    """C10, C22: whatever was stored is there after the restart, and nothing is inconsistent."""
    sim = calm(6, 3)
    sim.crash(0, after_effects=effects)
    for number in range(6):
        sim.append_if_up(number % 3, b"%d" % number)
    sim.run(1)
    sim.restart(0)
    sim.append(0, b"after")
    sim.run_until_converged()
    sim.check_invariants(at_rest=True)
