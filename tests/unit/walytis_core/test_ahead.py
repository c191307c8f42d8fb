"""What waits for a branch above a fork, between two replicas: the pull that brings the branch, from where it is to begin."""

from __future__ import annotations

import pytest

from tests.suites.making import ALICE, BOB, World
from tests.suites.pairs import Net, Peer
from walytis_core.block import Block
from walytis_core.forks import proof_of
from walytis_core.frontier import Entry
from walytis_core.limits import Limits
from walytis_core.messages import Blocks, ForkProof, Message, Pull, Want, Why

FORK = 5
PARKED = 8


def with_a_branch(world: World, peer: Peer) -> tuple[list[Block], ForkProof, Block]:
    """Alice's blocks with a long branch above her fork, the proof, and a block that needs the branch; a peer holds it all."""
    alice = world.chain(ALICE, FORK + 5 * PARKED)
    needs = world.block(BOB, None, [alice[-1]])
    peer.hold([*alice, needs])
    proof = proof_of(alice[FORK], world.block(ALICE, alice[FORK - 1], payload=b"other"))
    peer.receive("elsewhere", ForkProof(proof.first, proof.second), gossip=True)
    return alice, ForkProof(proof.first, proof.second), needs


def meet(net: Net, frames: int) -> tuple[Entry | None, list[bytes]]:
    """A stream from the joiner to the other, cut after so many frames: what it says of Alice, and the ids it asks for."""
    full, joiner = net["full"], net["joiner"]
    full.sent.clear()
    joiner.sent.clear()
    net.filter = lambda _source, _target, message: not isinstance(message, Blocks) or len(full.said(Blocks)) <= frames
    net.connect("full", "joiner")
    net.deliver()
    net.cut("full", "joiner")
    (pull,) = joiner.said(Pull)
    return dict(pull.entries).get(ALICE.key), [id for want in joiner.said(Want) for id in want.ids]


def test_what_is_below_a_fork_comes_first(monkeypatch: pytest.MonkeyPatch):
    """C10, C30: after a cut join a pull brings what is lacking below a fork, and the next one the branch above it."""
    monkeypatch.setattr(Limits, "parked_blocks_per_peer", PARKED)
    monkeypatch.setattr(Limits, "max_blocks_per_frame", 3)
    world = World()
    net = Net(world, "full", "joiner")
    alice, proof, needs = with_a_branch(world, net["full"])
    members = net["joiner"].replica.members

    assert meet(net, 1) == (None, [])
    assert net["joiner"].ids == {block.id for block in alice[:3]}
    told: tuple[Message, ...] = (proof, Blocks(Why.NEWS, (needs.encoded,)), Blocks(Why.NEWS, (alice[-1].encoded,)))
    for message in told:
        net["joiner"].receive("elsewhere", message, gossip=True)
    assert members.awaited() == {}  # an answer to it would begin above what is lacking

    assert meet(net, 1) == (Entry(2, alice[2].id, FORK), [])
    assert net["joiner"].ids == {block.id for block in alice[:FORK]}
    above = Entry(alice[-1].seq, alice[-1].id, FORK)
    assert members.awaited() == {ALICE.key: above}

    assert meet(net, 1000) == (above, [])
    net.agree()
    assert needs.id in net["joiner"].ids
