"""What a chain's members add up to does not depend on the order in which their bytes came."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from walytis_core import dag
from walytis_core.block import Block, decode
from walytis_core.events import Arrived, Came, Notify, Revised, Settle, Store
from walytis_core.messages import Why
from walytis_core.policy import EVERYONE, Genesis, Policy, create_genesis, read_genesis
from walytis_core.replica import Replica
from walytis_core.screening import screen
from walytis_core.signer import Ed25519Signer
from walytis_core.simulation import Forger
from walytis_core.simulation.invariants import members_of, naive_folded, naive_frontier
from walytis_core.store.memory import MemoryChain, MemoryStore

FOUNDER = Ed25519Signer(bytes(32))
GENESIS_BLOCK = create_genesis(FOUNDER, Policy(None, EVERYONE), bytes(16), 0)
GENESIS = read_genesis(GENESIS_BLOCK)


class Node:
    """A replica that is fed bytes, without a network."""

    def __init__(self, genesis_block: Block = GENESIS_BLOCK, genesis: Genesis = GENESIS) -> None:
        self.store: MemoryChain = MemoryStore().create_chain(genesis_block, "test")
        self.replica = Replica(genesis, self.store, random.Random(0).random)
        self.arrived: list[Block] = []

    def feed(self, blocks: Iterable[Block]) -> None:
        screened = screen([block.encoded for block in blocks], lambda ids: self.replica.known(ids, self.store))
        effects = self.replica.handle(Came("somebody", Why.NEWS, screened), self.store, 0.0)
        while True:
            for effect in effects:
                if isinstance(effect, Store):
                    self.store.commit(effect.commit)
                if isinstance(effect, Notify) and isinstance(effect.change, Arrived):
                    self.arrived.extend(effect.change.blocks)
                if isinstance(effect, Notify) and isinstance(effect.change, Revised):
                    self.arrived.extend(decode(data) for data in self.store.encoded(effect.change.ids).values())
            if not self.replica.is_unsettled:
                return
            effects = self.replica.handle(Settle(), self.store, 0.0)

    @property
    def folded(self) -> list[bytes]:
        return [row.id for row in self.store.canonical(None, 1 << 40)]


def byzantine_blocks(rng: random.Random, size: int) -> list[Block]:
    """Good blocks, forks at any depth, wrong ones, and children of all of these."""
    forger = Forger(GENESIS, rng)
    blocks: list[Block] = []
    while len(blocks) < size:
        match rng.randrange(10):
            case 0 | 1:
                blocks.append(forger.fork())
            case 2:
                wrong = forger.wrong()
                blocks.extend([wrong, forger.child_of(wrong)])
            case 3 if blocks:
                blocks.append(forger.unsigned(rng.choice(blocks)))
                blocks.append(forger.child_of(blocks[-1]))
            case _:
                blocks.append(forger.good())
    return blocks


def fed(blocks: list[Block], order: random.Random) -> Node:
    node = Node()
    shuffled = order.sample(blocks, len(blocks))
    while shuffled:
        size = order.randint(1, 8)
        node.feed(shuffled[:size])
        del shuffled[:size]
    return node


def check(node: Node) -> None:
    members = members_of(node.store)
    known = node.replica.members
    folded = naive_folded(members, known.frozen)
    named = {id: members[id].ancestors_named for id in folded}
    assert folded == members.keys() - node.store.unfolded()
    assert set(known.heads) == dag.heads(named) - {GENESIS.id}
    assert node.folded == [block.id for block in dag.canonical(members[id] for id in folded) if block.chain]
    assert known.frontier.digest() == naive_frontier(members.values(), known.frozen).digest()


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 32), size=st.integers(2, 30))
def test_any_order_of_arrival_gives_the_same_set(seed, size):
    """C10, C12, C14: Byzantine blocks in any order: the same folded set, heads and canonical order."""
    blocks = byzantine_blocks(random.Random(seed), size)
    first, *others = (fed(blocks, random.Random(seed + number)) for number in range(4))
    check(first)
    for other in others:
        check(other)
        assert other.replica.members.frozen == first.replica.members.frozen
        assert other.folded == first.folded
        assert set(other.replica.members.heads) == set(first.replica.members.heads)
        assert other.replica.members.frontier.digest() == first.replica.members.frontier.digest()


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 32), size=st.integers(2, 30))
def test_parents_arrive_before_children(seed, size):
    """C15: for any order of arrival, followers are told of a parent before its child."""
    node = fed(byzantine_blocks(random.Random(seed), size), random.Random(seed + 1))
    told = {GENESIS.id}
    for block in node.arrived:
        assert told.issuperset(block.ancestors_named)
        told.add(block.id)
