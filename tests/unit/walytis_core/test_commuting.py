"""Layers that commute: a late block is stepped on top of the state, which is still the fold in canonical order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from mutability.state import ANYONE, layer_of
from tests.suites.dags import Dag
from tests.suites.folding import assert_invariants, small_limits
from tests.suites.naive_objects import ObjectDag
from walytis_core import fold
from walytis_core.block import Block, Place, create, draft
from walytis_core.cid import BlockId
from walytis_core.dag import canonical, topological
from walytis_core.layer import Layer
from walytis_core.past import Past
from walytis_core.standing import Obeyed, Standing, Void, Wait
from walytis_core.store.memory import MemoryChain, MemoryStore
from walytis_core.store.port import Commit
from walytis_core.view import View

BROKEN, VOID, PLAIN = b"broken", b"void", b"plain"
PREFIX = "count/"


def counting(steps: Counter[BlockId]) -> Layer:
    """A set of blocks and how many there are of each author; `step` fails on some, when it has changed the state."""

    def check(block: Block, past: Past) -> Standing:
        return Void("void") if block.payload == VOID else Obeyed()

    def step(state: Any, block: Block) -> Any:
        steps[block.id] += 1
        ids, counts = state
        ids[block.id.hex()] = block.height
        if block.payload == BROKEN:
            raise KeyError(block.payload)
        author = block.author.hex()
        return [ids, {**counts, author: counts.get(author, 0) + 1}]

    return Layer(PREFIX, check, step, lambda state: (state, {}), initial=[{}, {}], commutes=True)


class World:
    """Blocks that arrive in some order with parents first, leave the folded set and come back; and a view of them."""

    def __init__(self, dag: Dag, layer: Layer, rng: random.Random) -> None:
        self.dag, self.layer, self.random = dag, layer, rng
        self.store = MemoryStore().create_chain(dag.genesis, "commuting")
        self.view = View(layer, self.store)
        self.out: set[BlockId] = set()
        self.taken = {dag.genesis.id}
        self.left = self.shuffled()

    def shuffled(self) -> list[Block]:
        """All blocks in a random order, parents first."""
        named = {id: block.ancestors_named for id, block in self.dag.blocks.items()}
        rank = {id: self.random.random() for id in named}
        for id in topological(named):
            rank[id] = max([rank[id], *(rank[parent] + 1e-9 for parent in named[id])])
        return [self.dag.blocks[id] for id in sorted(rank, key=lambda id: rank[id]) if id != self.dag.genesis.id]

    def grow(self, count: int) -> None:
        """Some arrive. What left the folded set comes back where they build on it."""
        blocks, self.left = self.left[:count], self.left[count:]
        back = self.closed({id for block in blocks for id in block.ancestors_named}, self.parents) & self.out
        self.change(blocks, refold=back)

    def turn(self, id: BlockId) -> None:
        """A block leaves with all that builds on it, or comes back with all that it builds on."""
        if id in self.out:
            self.change((), refold=self.closed({id}, self.parents) & self.out)
        else:
            self.change((), unfold=self.closed({id}, self.store.children) - self.out)

    def parents(self, id: BlockId) -> Collection[BlockId]:
        return self.dag.blocks[id].ancestors_named

    def closed(self, ids: set[BlockId], more: Callable[[BlockId], Collection[BlockId]]) -> set[BlockId]:
        found, todo = set(ids), list(ids)
        while todo:
            new = set(more(todo.pop())) - found
            found |= new
            todo += new
        return found

    def change(
        self, blocks: Collection[Block], unfold: Collection[BlockId] = (), refold: Collection[BlockId] = ()
    ) -> None:
        """As an engine does: commit, then tell."""
        back = [block.id for block in canonical(self.dag.blocks[id] for id in refold)]
        gone = [block.id for block in canonical(self.dag.blocks[id] for id in unfold)][::-1]
        self.store.commit(Commit(blocks=tuple(blocks), unfold=gone, refold=back))
        self.taken |= {block.id for block in blocks}
        self.out = self.out.difference(back).union(gone)
        self.view.arrived(tuple(blocks))
        if back or gone:
            self.view.revised([*back, *gone])

    def reopen(self, *, saved: bool) -> None:
        if saved:
            self.view.save()
        self.view = View(self.layer, self.store)
        self.view.arrived()

    def check(self) -> None:
        """A view that folds it all anew, in canonical order, says the same."""
        fresh = MemoryStore().create_chain(self.dag.genesis, "in order")
        blocks = canonical(self.dag.blocks[id] for id in self.taken - {self.dag.genesis.id})
        fresh.commit(Commit(blocks=blocks, unfold=tuple(self.out)))
        plain = View(replace(self.layer, commutes=False), fresh)
        plain.arrived()
        for key in {self.layer.key_of(block) for block in blocks if self.layer.owns(block.type)}:
            assert self.view.state_of(key) == plain.state_of(key)
        assert {id: self.view.standing(id) for id in self.taken} == {id: plain.standing(id) for id in self.taken}
        assert_invariants(self.view)
        assert not any(one._late for one in self.view._folds._changed.values())

    def play(self) -> None:
        """All of it arrives, in batches; meanwhile blocks leave and come back, and the view is opened again."""
        while self.left:
            self.grow(self.random.choice((1, 1, 2, 5, 20)))
            if self.random.random() < 0.3:
                self.turn(self.random.choice(sorted(self.taken - {self.dag.genesis.id})))
            if self.random.random() < 0.3:
                self.reopen(saved=self.random.random() < 0.6)
            self.check()


def counting_dag(seed: int, size: int) -> Dag:
    dag = Dag(seed, authors=4)
    for _ in range(size):
        payload = dag.random.choice((PLAIN, PLAIN, PLAIN, PLAIN, BROKEN, VOID))
        dag.grow(payload=payload, type=dag.random.choice((PREFIX + "a", PREFIX + "a", "")))
    return dag


@pytest.mark.parametrize("late", [2, 1024])
@pytest.mark.parametrize("seed", range(20))
def test_a_set_that_commutes(seed, late):
    """C52: any arrival, removals and restarts, with steps that fail: the fold in canonical order."""
    with small_limits(), patch.object(fold, "_LATE", late):
        World(counting_dag(seed, 50), counting(Counter()), random.Random(seed)).play()


@pytest.mark.parametrize("seed", range(20))
def test_objects_commute(seed):
    """C52, M10: the same with the layer of objects."""
    dag = ObjectDag(seed, authors=4, apart=0.9)
    for _ in range(50):
        dag.write()
    with small_limits():
        World(dag, layer_of(ANYONE), random.Random(seed)).play()


class Line:
    """A long line of blocks, and late ones beside it, in a view that counts steps."""

    def __init__(self, *, commutes: bool = True) -> None:
        self.steps: Counter[BlockId] = Counter()
        self.layer = replace(counting(self.steps), commutes=commutes)
        self.dag = Dag(1)
        self.line = self.dag.line(300, 0, payload=PLAIN, type=PREFIX + "a")
        self.store = Damaged(self.dag.genesis, MemoryStore()._numbers)
        self.view = View(self.layer, self.store)
        self.take(*self.line)
        self.steps.clear()

    def take(self, *blocks: Block) -> tuple[BlockId, ...]:
        self.store.commit(Commit(blocks=blocks))
        return self.view.arrived(blocks)

    def late(self, author: int, payload: bytes = PLAIN) -> Block:
        genesis = self.dag.genesis.id
        place = Place(genesis, 0, genesis, (), 1)
        return create(self.dag.signers[author], place, draft(payload, type=PREFIX + "a"), 0)

    @property
    def fold(self) -> fold.Fold:
        return self.view._folds.get(None)


class Damaged(MemoryChain):
    """A chain that may have set the bytes of some blocks aside."""

    lost: frozenset[bytes] = frozenset()

    def encoded(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        return {id: data for id, data in super().encoded(ids).items() if id not in self.lost}


def test_a_late_block_costs_one_step():
    """C52: and the snapshots that lack it; with the next block of the line, two."""
    line = Line()
    assert line.fold._snapshots
    late = line.late(1)
    assert line.take(late) == ()
    assert line.steps == {late.id: 1}
    assert not line.fold._snapshots
    other, last = line.late(2), line.dag.line(1, 0, payload=PLAIN, type=PREFIX + "a")[0]
    line.take(other, last)
    assert line.steps == {late.id: 1, other.id: 1, last.id: 1}
    assert set(line.view.state[0]) == {block.id.hex() for block in (*line.line, late, other, last)}
    assert_invariants(line.view)


def test_a_layer_that_does_not_say_so_is_folded_again():
    """C52: the default."""
    line = Line(commutes=False)
    line.take(line.late(1))
    assert len(line.steps) == 301


def test_a_removal_goes_back_below_all_that_is_late():
    """C52: what leaves together with what comes late is folded without the one and with the other."""
    line = Line()
    late, gone = line.late(1), line.line[-1]
    line.store.commit(Commit(blocks=[late], unfold=[gone.id]))
    line.view.revised([gone.id])
    assert set(line.view.state[0]) == {block.id.hex() for block in (*line.line[:-1], late)}
    assert_invariants(line.view)


def test_a_late_block_that_fails_leaves_no_trace():
    """C52: `step` had changed the state when it failed: it is made again."""
    line = Line()
    before, late = line.view.state, line.late(1, BROKEN)
    expected = [dict(one) for one in before]
    line.take(late)
    assert line.view.state == expected
    assert line.view.standing(late.id) == Void("the layer failed on it: KeyError")
    assert_invariants(line.view)


def test_a_late_block_whose_bytes_are_lost():
    """C52: waits for its bytes, and is in the state when they are healed."""
    line = Line()
    late = line.late(1)
    line.store.commit(Commit(blocks=[late]))
    line.store.lost = frozenset([late.id])
    with patch.object(line.view._folds, "note"):  # as when so many come that they are read again
        line.view.arrived([late])
    assert line.view.standing(late.id) == Wait(line.store.id, (late.id,))
    assert late.id.hex() not in line.view.state[0]
    assert_invariants(line.view)
    line.store.lost = frozenset()
    line.view.revised([late.id])
    assert set(line.view.state[0]) == {block.id.hex() for block in (*line.line, late)}
    assert_invariants(line.view)
