"""Views: whatever arrives in whatever order, is revised, waits or is cut off by a crash, the state is the plain fold."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.suites.dags import Dag
from tests.suites.folding import (
    BROKEN,
    CUT,
    FRAGILE,
    MALFORMED,
    NEVER,
    PLAIN,
    PREFIX,
    THIRD,
    WAIT,
    Counts,
    assert_invariants,
    expected,
    recorder,
    small_limits,
)
from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.dag import topological
from walytis_core.layer import Key
from walytis_core.standing import Standing, Wait
from walytis_core.store.memory import MemoryChain, MemoryStore
from walytis_core.store.port import Commit
from walytis_core.view import View


class PowerCutError(Exception):
    """The process ends here."""


class CutChain(MemoryChain):
    """A chain whose process ends before a transaction of small values, where told so."""

    writes_left: int | None = None

    def put(self, key: str, value: bytes | None) -> None:
        self.put_many({key: value})

    def put_many(self, values: Mapping[str, bytes | None]) -> None:
        if self.writes_left == 0:
            raise PowerCutError
        if self.writes_left is not None:
            self.writes_left -= 1
        super().put_many(values)


def by_topic(block: Block) -> Key:
    """Text, bytes and None, so that keys which look alike are told apart."""
    return block.topics[0] if block.topics else (b"a" if block.seq % 2 else None)


class World:
    """A chain that grows in some order of arrival, with its view, and another chain that blocks wait for."""

    def __init__(
        self,
        seed: int,
        size: int,
        fork_chance: float,
        key: Callable[[Block], Key] | None,
        *,
        looks_back: bool = False,
    ) -> None:
        self.random = random.Random(seed)
        self.counts = Counts()
        self.layer = recorder(self.counts, key=key, looks_back=looks_back)
        elsewhere = Dag(seed + 1, authors=1)
        self.elsewhere = elsewhere.line(3)
        self.other = MemoryStore().create_chain(elsewhere.genesis, "other")
        self.dag = Dag(seed)
        for _ in range(size):
            kind = self.random.choice(
                (PLAIN, PLAIN, PLAIN, NEVER, THIRD, THIRD, MALFORMED, BROKEN, FRAGILE, FRAGILE, CUT, WAIT)
            )
            if kind == WAIT:
                kind += self.other.id + self.random.choice(self.elsewhere).id
            type = self.random.choice((PREFIX + "a", PREFIX + "b", ""))
            self.dag.grow(fork=self.random.random() < fork_chance, payload=kind, type=type)
        self.store = CutChain(self.dag.genesis, MemoryStore()._numbers)
        self.view = self.open()
        self.taken = {self.dag.genesis.id: self.dag.genesis}
        self.folded = {self.dag.genesis.id}
        self.left = self.shuffled()
        self.told: dict[BlockId, Standing] = {}

    def shuffled(self) -> list[Block]:
        """All blocks in a random order with parents first."""
        rank = {id: self.random.random() for id in self.dag.blocks}
        named = {id: block.ancestors_named for id, block in self.dag.blocks.items()}
        for id in topological(named):
            rank[id] = max([rank[id], *(rank[parent] + 1e-9 for parent in named[id])])
        return [self.dag.blocks[id] for id in sorted(rank, key=lambda id: rank[id]) if id != self.dag.genesis.id]

    def open(self) -> View:
        return View(self.layer, self.store, {self.other.id: self.other}.get)

    def commit(self, count: int) -> tuple[list[Block], list[BlockId]]:
        """Commits the next blocks; what came, and what left the folded set or came back."""
        blocks, self.left = self.left[:count], self.left[count:]
        before = self.folded
        known = Dag(0)
        known.blocks = self.taken = self.taken | {block.id: block for block in blocks}
        self.folded = known.folded()
        new = {block.id for block in blocks}
        unfold = [id for id in self.taken if id not in self.folded and (id in before or id in new)]
        refold = [id for id in self.taken if id in self.folded and id not in before and id not in new]
        self.store.commit(Commit(blocks=blocks, unfold=unfold, refold=refold))
        if unfold or refold:
            event("revised")
        return blocks, [*refold, *unfold]

    def commit_untold(self, *counts: int) -> None:
        for count in counts:
            self.commit(count)

    def grow(self, count: int) -> None:
        """As an engine does: commit, then tell."""
        blocks, revised = self.commit(count)
        changed = [*self.view.arrived(blocks)]
        if revised:
            changed += self.view.revised(revised)
        for id in {*changed, *revised, *(block.id for block in blocks)}:
            self.told[id] = self.view.standing(id)

    def grow_elsewhere(self) -> None:
        if self.elsewhere:
            self.other.commit(Commit(blocks=[self.elsewhere.pop(0)]))
            for id in self.view.resolved(self.other.id):
                self.told[id] = self.view.standing(id)

    def crash(self, writes_left: int, doing: Callable[[], None]) -> None:
        """Does something and ends before the write after so many, or after it; then opens again."""
        self.store.writes_left = writes_left
        try:
            doing()
            self.view.save()
        except PowerCutError:
            event("cut while writing")
        self.store.writes_left = None
        self.view = self.open()
        self.view.arrived()
        self.told = {id: self.view.standing(id) for id in self.taken}

    def check(self) -> None:
        plain = expected(self.layer, self.taken, self.folded, self.other)
        for key, state in plain.states.items():
            assert self.view.state_of(key) == state
            assert self.view.value_of(key) == plain.values[key]
        assert {id: self.view.standing(id) for id in self.taken} == plain.standings
        assert self.told == {id: plain.standings[id] for id in self.told}
        awaited = {standing.chain for standing in plain.standings.values() if isinstance(standing, Wait)}
        assert self.view.awaited >= awaited
        assert_invariants(self.view)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(("grow", "grow", "grow", "elsewhere", "crash", "lose", "reopen")), st.integers(0, 12)),
    min_size=3,
    max_size=14,
)


@pytest.mark.parametrize("key", [None, by_topic], ids=["whole", "by key"])
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 40),
    fork_chance=st.sampled_from((0.0, 0.1, 0.3)),
    looks_back=st.booleans(),
    actions=ACTIONS,
)
def test_incremental_equals_folded_from_nothing(key, seed, size, fork_chance, looks_back, actions):
    """C52: for any order of arrival in any batches, with revisions, waits and crashes, whole and by key."""
    with small_limits():
        world = World(seed, size, fork_chance, key, looks_back=looks_back)
        for action, number in [*actions, ("grow", len(world.left))]:
            match action:
                case "grow":
                    world.grow(number)
                case "elsewhere":
                    world.grow_elsewhere()
                case "crash":
                    world.crash(number, partial(world.grow, number))
                case "lose":  # ends between a commit and what the view is told
                    world.crash(0, partial(world.commit_untold, number, number // 2))
                case "reopen":
                    world.view.save()
                    world.view = world.open()
                    world.view.arrived()
            world.check()


@given(seed=st.integers(0, 2**32), size=st.integers(1, 40), cut=st.integers(0, 60))
@settings(max_examples=60)
def test_a_crash_between_any_two_writes_changes_nothing(seed, size, cut):
    """C52: crash: the state after opening again, and after all that comes then, is the plain fold."""
    with small_limits():
        world = World(seed, size, 0.1, by_topic)
        world.grow(size // 2)
        world.crash(cut, lambda: world.grow(size // 3))
        world.check()
        world.grow(size)
        world.check()


@given(seed=st.integers(0, 2**32), size=st.integers(1, 60))
@settings(max_examples=30)
def test_each_block_is_checked_once(seed, size):
    """C52: whatever is folded again, after any restart, is not checked again, but for waiting blocks."""
    with small_limits():
        world = World(seed, size, 0.0, None)
        while world.left:
            world.grow(world.random.randrange(1, 6))
            world.view.save()
            world.view = world.open()
        checked = [id for id in world.counts.checks if not world.dag.blocks[id].payload.startswith(WAIT)]
        assert len(checked) == len(set(checked))
