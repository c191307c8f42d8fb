"""The causal past: all ancestors of a block, nothing else, and no more work than is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.suites.dags import Dag
from tests.suites.folding import PlainPast
from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import NotFoundError
from walytis_core.past import DamagedError, Headers, KnownPast, Past, UnknownError
from walytis_core.standing import Obeyed, Standing, Void, Wait
from walytis_core.store.memory import MemoryChain, MemoryStore
from walytis_core.store.port import Commit, Position


class CountingChain(MemoryChain):
    """Counts whose bytes are read, and has lost some."""

    def __init__(self, genesis: Block) -> None:
        super().__init__(genesis, MemoryStore()._numbers)
        self.read: list[bytes] = []
        self.lost: set[bytes] = set()

    def encoded(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        self.read.extend(ids)
        return {id: data for id, data in super().encoded(ids).items() if id not in self.lost}


def stored(dag: Dag) -> CountingChain:
    store = CountingChain(dag.genesis)
    store.commit(Commit(blocks=[block for block in dag.blocks.values() if block is not dag.genesis]))
    return store


def past_of(block: Block, store: MemoryChain) -> Past:
    return Past(Headers(store), block.ancestors_named)


@given(seed=st.integers(0, 2**32), size=st.integers(1, 40), fork_chance=st.sampled_from((0.0, 0.3)))
@settings(max_examples=60)
def test_it_shows_the_ancestors_and_nothing_else(seed, size, fork_chance):
    dag = Dag(seed)
    for _ in range(size):
        dag.grow(fork=dag.random.random() < fork_chance)
    store = stored(dag)
    ids = list(dag.blocks)
    for block in dag.random.sample(list(dag.blocks.values()), min(size, 6)):
        plain = PlainPast(dag.blocks, block.ancestors_named, None)
        past = past_of(block, store)
        dag.random.shuffle(ids)
        assert {id for id in ids if id in past} == plain.ids
        assert [*past_of(block, store)] == [*past] == [*plain.blocks()]
        assert [*past.blocks("test/", newest_first=True)] == [*plain.blocks("test/", newest_first=True)]
        assert block.id not in past
        for id in ids:
            if id in plain.ids:
                assert past.get(id).encoded == dag.blocks[id].encoded
            else:
                with pytest.raises(NotFoundError):
                    past.get(id)


def test_what_is_not_held_or_not_an_id_is_not_in_it():
    dag = Dag(1)
    past = past_of(dag.line(3)[-1], stored(dag))
    assert BlockId.of(b"unknown") not in past
    assert "text" not in past


def test_an_old_block_by_an_author_is_found_without_walking_to_it():
    dag = Dag(1, authors=1)
    dag.extra_parents = 0
    first, *_, last = dag.line(300)
    store = stored(dag)
    assert first.id in past_of(last, store)
    assert len(store.read) < 5


def test_a_concurrent_block_is_told_without_walking_below_it():
    dag = Dag(1, authors=2)
    dag.extra_parents = 0
    line = dag.line(300, 0)
    beside = Dag(1, authors=2)
    beside.blocks = {block.id: block for block in (dag.genesis, *line[:290])}
    beside.extra_parents = 0
    other = beside.grow(1)
    dag.blocks[other.id] = other
    store = stored(dag)
    assert other.id not in past_of(line[-1], store)
    assert len(store.read) < 100


def test_the_newest_blocks_come_without_the_rest():
    dag = Dag(1, authors=1)
    dag.extra_parents = 0
    line = dag.line(300)
    store = stored(dag)
    newest = past_of(line[-1], store).blocks(newest_first=True)
    assert [next(newest), next(newest)] == [line[-2], line[-3]]
    assert len(store.read) < 6


def test_another_chain_is_shown_below_heads_that_are_held():
    dag, elsewhere = Dag(1, authors=1), Dag(2, authors=1)
    here, there = dag.line(2), elsewhere.line(3)
    store = stored(dag)
    other = MemoryStore().create_chain(elsewhere.genesis, "other")
    other.commit(Commit(blocks=there[:2]))
    past = Past(Headers(store), here[-1].ancestors_named, {other.id: other}.get)
    shown = past.of(other.id, (there[1].id,))
    assert shown is not None
    assert there[1].id in shown
    assert [*shown.blocks("test/")] == [block for block in there[:2] if block.type]
    assert past.of(other.id, (there[0].id, there[2].id)) is None
    assert past.of(BlockId.of(b"unknown"), ()) is None
    assert past_of(here[-1], store).of(other.id, (there[0].id,)) is None


def test_a_known_past_says_nothing_that_is_not_the_same_everywhere():
    """C52: here and, seen from here, on other chains."""
    dag, other = Dag(1, authors=1), Dag(2, authors=1)
    here, there = dag.line(2), other.line(2)
    held = stored(other)
    past = KnownPast(Headers(stored(dag)), (here[-1].id,), {other.genesis.id: held}.get, lambda _: Wait(held.id, ()))
    elsewhere = past.of(held.id, (there[-1].id,))
    assert set(elsewhere) == {other.genesis, *there}
    for one in (past, elsewhere):
        with pytest.raises(UnknownError) as caught:
            one.of(dag.genesis.id, (here[0].id,))
        assert caught.value.wait == Wait(dag.genesis.id, (here[0].id,))
    with pytest.raises(UnknownError) as caught:
        past.standing(here[0].id)
    assert caught.value.wait == Wait(held.id, ())
    assert isinstance(past.standing(BlockId.of(b"unknown")), Void)


def test_damaged_bytes_are_named_with_their_chain():
    dag = Dag(1, authors=1)
    first, second, third = dag.line(3)
    store = stored(dag)
    store.lost.add(first.id)
    with pytest.raises(DamagedError) as caught:
        list(past_of(third, store))
    assert caught.value.wait == Wait(dag.genesis.id, (first.id,))
    assert past_of(third, store).get(second.id) == second


@given(seed=st.integers(0, 2**32), size=st.integers(1, 40))
@settings(max_examples=30)
def test_headers_are_those_of_the_past(seed, size):
    """C52: what `check` reads of a header is what stands in the block; of what is not in the past, nothing."""
    dag = Dag(seed)
    for _ in range(size):
        dag.grow(fork=dag.random.random() < 0.2)
    store = stored(dag)
    block = dag.random.choice(list(dag.blocks.values()))
    plain, past = PlainPast(dag.blocks, block.ancestors_named, None), past_of(block, store)
    for id, one in dag.blocks.items():
        if id in plain.ids:
            assert past.header(id) == (one.height, one.author, one.seq, one.type, one.ancestors_named)
        else:
            with pytest.raises(NotFoundError):
                past.header(id)


def test_verdicts_on_earlier_blocks():
    """C52: asked of the past alone, and of the part that is being checked; anything else is void here."""
    dag = Dag(1, authors=1)
    first, second, third, fourth = dag.line(4)
    late = dag.grow(fork=True)
    store = stored(dag)
    known: dict[BlockId, Standing] = {
        first.id: Obeyed(),
        second.id: Void("bad"),
        fourth.id: Obeyed(),
        late.id: Obeyed(),
    }
    asked: list[bytes] = []

    def judged(place: Position) -> Standing | None:
        asked.append(place.id)
        assert place.height == dag.blocks[BlockId(place.id)].height
        return known.get(BlockId(place.id))

    past = Past(Headers(store), fourth.ancestors_named, None, judged)
    assert past.standing(first.id) == Obeyed()
    assert past.standing(second.id) == Void("bad")
    for other in (third.id, fourth.id, late.id, BlockId.of(b"unknown")):
        assert isinstance(past.standing(other), Void)
    assert asked == [first.id, second.id, third.id]
    assert isinstance(past_of(fourth, store).standing(first.id), Void)  # a past that is not one of a check
    store.lost.add(first.id)
    with pytest.raises(DamagedError):
        Past(Headers(store), fourth.ancestors_named, None, judged).standing(first.id)
