"""Layers whose step looks back: it is told what every node is told, and what it cannot be told waits."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from tests.suites.dags import Dag
from tests.suites.folding import PLAIN, PREFIX, assert_invariants, small_limits
from walytis_core.block import Block, Place, create, draft
from walytis_core.cid import BlockId
from walytis_core.dag import ancestors, canonical, topological
from walytis_core.errors import StorageError
from walytis_core.layer import Layer
from walytis_core.past import Past
from walytis_core.standing import OBEYED, Obeyed, Standing, Void, Wait
from walytis_core.store.memory import MemoryChain, MemoryStore
from walytis_core.store.port import Commit, Query, Row
from walytis_core.view import View

SPOILING = b"spoiling"


class Damaged(MemoryChain):
    """A chain that has set the bytes of some blocks aside, or whose disk refuses."""

    def __init__(self, genesis: Block) -> None:
        super().__init__(genesis, MemoryStore()._numbers)
        self.lost: set[bytes] = set()
        self.is_refusing = False

    def encoded(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        if self.is_refusing:
            raise StorageError("the disk refuses")
        return {id: data for id, data in super().encoded(ids).items() if id not in self.lost}

    def query(self, query: Query, newest_first: bool, limit: int) -> list[Row]:
        rows = super().query(query, newest_first, 1 << 30)
        return [row for row in rows if row.id not in self.lost][:limit]


def looking(steps: Counter[BlockId], *, commutes: bool = False) -> Layer:
    """Keeps what each block has seen; a payload names the head of another chain, or a reason to fail."""

    def check(block: Block, past: Past) -> Standing:
        return OBEYED

    def step(state: Any, block: Block, past: Past) -> Any:
        steps[block.id] += 1
        state["spoilt"] = True
        seen = sorted(bytes(one.id) for one in past.blocks(PREFIX))
        if block.payload == SPOILING and len(seen) % 2:
            raise KeyError(block.id)
        if len(block.payload) == 72:
            elsewhere = past.of(BlockId(block.payload[:36]), (BlockId(block.payload[36:]),))
            assert elsewhere is not None
            seen += [bytes(one.id) for one in elsewhere]
        judged = [past.standing(id) == OBEYED for id in block.ancestors_named]
        del state["spoilt"]
        return {**state, block.id.hex(): [seen, judged]}

    return Layer(PREFIX, check, step, lambda state: (state, {}), initial={}, looks_back=True, commutes=commutes)


def by_definition(blocks: dict[BlockId, Block]) -> dict[str, Any]:
    """What the layer's state must be."""
    named = {id: block.ancestors_named for id, block in blocks.items()}
    state: dict[str, Any] = {}
    for block in blocks.values():
        seen = sorted(
            bytes(id) for id in ancestors(named, (block.id,)) - {block.id} if blocks[id].type.startswith(PREFIX)
        )
        if block.type.startswith(PREFIX) and not (block.payload == SPOILING and len(seen) % 2):
            state[block.id.hex()] = [seen, [blocks[id].type.startswith(PREFIX) for id in block.ancestors_named]]
    return state


class World:
    """A chain in a view of the layer, and another chain that it may look at."""

    def __init__(self, dag: Dag, *, commutes: bool = False) -> None:
        self.steps: Counter[BlockId] = Counter()
        self.layer = looking(self.steps, commutes=commutes)
        self.dag = dag
        self.other_dag = Dag(99)
        self.there = self.other_dag.line(3, 0)
        self.other = Damaged(self.other_dag.genesis)
        self.others: dict[BlockId, MemoryChain] = {self.other.id: self.other}
        self.store = Damaged(dag.genesis)
        self.open()

    def open(self) -> None:
        self.view = View(self.layer, self.store, self.others.get)
        self.view.arrived()

    def reopen(self) -> None:
        self.view.save()
        self.open()

    def take(self, *blocks: Block) -> tuple[BlockId, ...]:
        self.store.commit(Commit(blocks=blocks))
        return self.view.arrived(blocks)

    def elsewhere(self, *blocks: Block) -> tuple[BlockId, ...]:
        self.other.commit(Commit(blocks=blocks))
        return self.view.resolved(self.other.id)

    def late(self, author: int, payload: bytes = PLAIN) -> Block:
        genesis = self.dag.genesis.id
        return create(self.dag.signers[author], Place(genesis, 0, genesis, (), 1), draft(payload, type=PREFIX + "a"), 0)

    @property
    def folded(self) -> set[str]:
        assert_invariants(self.view)
        assert "spoilt" not in self.view.state
        return set(self.view.state)


def a_line(length: int) -> tuple[World, list[Block]]:
    dag = Dag(1)
    line = dag.line(length, 0, payload=PLAIN, type=PREFIX + "a")
    return World(dag), line


def hexes(*blocks: Block) -> set[str]:
    return {block.id.hex() for block in blocks}


@pytest.mark.parametrize("commutes", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_any_order_of_arrival_with_damage_and_healing_comes_to_the_same(seed, commutes):
    """C24, C52: while blocks are damaged nothing is folded wrongly or voided; when they are healed, all is as it was."""
    dag = Dag(seed, authors=3)
    for _ in range(40):
        payload = dag.random.choice((PLAIN, PLAIN, SPOILING))
        dag.grow(payload=payload, type=dag.random.choice((PREFIX + "a", PREFIX + "b", "other/x")))
    state = by_definition(dag.blocks)
    dice = random.Random(seed)
    rank = {id: dice.random() for id in dag.blocks}
    named = {id: block.ancestors_named for id, block in dag.blocks.items()}
    for id in topological(named):
        rank[id] = max([rank[id], *(rank[one] + 1e-9 for one in named[id])])
    left = sorted((block for block in dag.blocks.values() if block.prev is not None), key=lambda block: rank[block.id])
    with small_limits():
        world = World(dag, commutes=commutes)
        while left:
            count = dice.choice((1, 2, 5))
            world.take(*left[:count])
            left = left[count:]
            known = [row.id for row in MemoryChain.query(world.store, Query(), False, 1 << 30)]
            if dice.random() < 0.3:
                world.store.lost.add(dice.choice(known))
            if dice.random() < 0.2 and world.store.lost:
                healed = BlockId(dice.choice(sorted(world.store.lost)))
                world.store.lost.remove(healed)
                world.view.revised([healed])
            if dice.random() < 0.3:
                world.reopen()
            assert_invariants(world.view)
            assert all(world.view.state[id] == state[id] for id in world.view.state)
        healed_all = [BlockId(id) for id in sorted(world.store.lost)]
        world.store.lost.clear()
        world.view.revised(healed_all)
        assert world.view.state == state
        for block in canonical(dag.blocks.values()):
            is_failed = block.type.startswith(PREFIX) and block.id.hex() not in state
            expected = Void("the layer failed on it: KeyError") if is_failed else OBEYED
            assert world.view.standing(block.id) == expected
        world.reopen()
        assert world.view.state == state
        assert world.view.awaited == frozenset()


@pytest.mark.parametrize("restart", [False, True])
def test_a_step_that_meets_damage_waits_and_is_not_void_for_good(restart):
    """C24, C52: the block waits for the damaged one, and is folded at its place when that is healed."""
    world, line = a_line(10)
    world.take(*line[:9])
    world.open()
    world.store.lost.add(line[4].id)
    world.take(line[9])
    assert world.view.standing(line[9].id) == Wait(world.store.id, (line[4].id,))
    assert world.folded == hexes(*line[:4])
    if restart:
        world.reopen()
    world.store.lost.clear()
    world.view.revised([line[4].id])
    assert world.folded == hexes(*line)
    assert {world.view.standing(block.id) for block in line} == {OBEYED}
    assert world.view.awaited == frozenset()


@pytest.mark.slow
def test_many_that_wait_for_one_damaged_block_cost_few_steps_each():
    """C24, C52: damage to an old block does not make a fold cost the square of its blocks."""
    world, line = a_line(400)
    world.take(*line)
    world.store.lost.add(line[100].id)
    world.view.save()
    world.open()
    world.steps.clear()
    assert set(world.take(world.late(1))) == {block.id for block in line[100:]}
    assert world.view.standing(line[399].id) == Wait(world.store.id, (line[100].id,))
    assert world.folded == hexes(*line[:100], world.late(1))
    assert sum(world.steps.values()) < 4 * 400


def test_nothing_is_folded_again_while_what_it_waits_for_is_damaged():
    """C52: blocks that come, here or there, do not call up steps that would wait again."""
    world, line = a_line(6)
    world.elsewhere(*world.there)
    one = world.late(1, bytes(world.other.id) + bytes(world.there[1].id))
    world.other.lost.add(world.there[0].id)
    world.take(one)
    assert world.view.standing(one.id) == Wait(world.other.id, (world.there[0].id,))
    assert world.view.awaited == {world.other.id}
    world.steps.clear()
    assert world.view.resolved(world.other.id) == ()
    world.reopen()
    assert world.view.revised([line[0].id]) == world.view.resolved(world.other.id) == ()
    assert world.steps == {}
    world.other.lost.clear()
    assert world.view.resolved(world.other.id) == (one.id,)
    assert world.folded == hexes(one)


@pytest.mark.parametrize("commutes", [False, True])
def test_a_step_that_asks_for_what_is_not_held_waits(commutes):
    """C52: `past.of` in a step is never None: the block waits until the other chain holds it."""
    dag = Dag(1)
    line = dag.line(5, 0, payload=PLAIN, type=PREFIX + "a")
    world = World(dag, commutes=commutes)
    world.take(*line)
    one = world.late(1, bytes(world.other.id) + bytes(world.there[2].id))
    world.take(one)
    assert world.view.standing(one.id) == Wait(world.other.id, (world.there[2].id,))
    assert world.elsewhere(world.there[0]) == ()
    assert world.folded == hexes(*line)
    assert world.elsewhere(*world.there[1:]) == (one.id,)
    assert world.folded == hexes(*line, one)
    seen, _ = world.view.state[one.id.hex()]
    assert seen == [bytes(world.other.id), *(bytes(block.id) for block in world.there)]


def test_a_chain_that_is_gone_changes_no_state():
    """C52: what is folded again while another chain is not here waits for it, and is folded as before when it is back."""
    world, line = a_line(3)
    world.elsewhere(*world.there)
    one = world.late(1, bytes(world.other.id) + bytes(world.there[2].id))
    world.take(one, *line)
    before = world.view.state
    del world.others[world.other.id]
    late = next(late for n in range(99) if (late := world.late(2, bytes((n,)))).id < one.id)
    world.take(late)
    assert world.view.standing(one.id) == Wait(world.other.id, (world.there[2].id,))
    world.others[world.other.id] = world.other
    world.view.resolved(world.other.id)
    assert world.folded == {*before, late.id.hex()}
    assert all(world.view.state[id] == before[id] for id in before)


def test_what_a_step_is_told_of_an_earlier_block_is_never_that_it_waits():
    """C52: the verdict on a block that waits is not known here: whoever asks for it in a step waits for the same."""
    dag = Dag(1)
    world = World(dag)
    first = dag.line(1, 0, payload=bytes(world.other.id) + bytes(world.there[0].id), type=PREFIX + "a")[0]
    second = dag.line(1, 0, payload=PLAIN, type=PREFIX + "a")[0]
    world.take(first, second)
    expected = Wait(world.other.id, (world.there[0].id,))
    assert [world.view.standing(one.id) for one in (first, second)] == [expected, expected]
    assert world.folded == set()
    assert set(world.elsewhere(*world.there)) == {first.id, second.id}
    assert world.view.state[second.id.hex()] == [[bytes(first.id)], [True]]
    assert world.folded == hexes(first, second)


def test_a_disk_that_refuses_voids_nothing():
    """C52: the node's own trouble passes: it is no failure of the layer."""
    world, line = a_line(2)
    world.elsewhere(*world.there)
    one = world.late(1, bytes(world.other.id) + bytes(world.there[2].id))
    world.other.is_refusing = True
    with pytest.raises(StorageError):
        world.take(one, *line)
    world.other.is_refusing = False
    world.open()
    assert world.folded == hexes(one, *line)


def test_a_layer_that_does_not_look_back_is_given_no_past():
    """C52: and an error of the disk that its step makes up is its own bug."""

    def step(*given: Any) -> Any:
        if len(given) != 2:
            raise TypeError
        raise StorageError("made up")

    dag = Dag(1)
    store = Damaged(dag.genesis)
    view = View(Layer(PREFIX, lambda _block, _past: Obeyed(), step, lambda state: (state, {})), store)
    block = dag.line(1, 0, type=PREFIX + "a")[0]
    store.commit(Commit(blocks=[block]))
    view.arrived([block])
    assert view.standing(block.id) == Void("the layer failed on it: StorageError")
