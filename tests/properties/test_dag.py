"""The maths of the DAG on random ones, against definitions written out."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from walytis_core.dag import (
    ancestors,
    canonical,
    children,
    common_ancestors,
    heads,
    latest_common_ancestors,
    topological,
)

Dag = dict[bytes, list[bytes]]


@st.composite
def dags(draw: st.DrawFn) -> Dag:
    """A DAG of up to 12, given in any order."""
    count = draw(st.integers(0, 12))
    names = draw(st.permutations([bytes([65 + n]) for n in range(count)]))
    named = {
        name: draw(st.lists(st.sampled_from(names[:at]), max_size=3)) if at else [] for at, name in enumerate(names)
    }
    return {name: named[name] for name in draw(st.permutations(names))}


def reaches(named: Dag, start: bytes, end: bytes) -> bool:
    """Whether a path of at least one step leads from one to the other."""
    return any(parent == end or reaches(named, parent, end) for parent in named[start])


@given(dags())
def test_ancestors_and_heads(named: Dag):
    """C13: ancestors, children and heads against a naive model."""
    for id in named:
        assert ancestors(named, [id]) == {other for other in named if reaches(named, id, other)}
        assert children(named)[id] == {other for other in named if id in named[other]}
    assert heads(named) == {id for id in named if not any(reaches(named, other, id) for other in named)}


@given(dags())
def test_common_ancestors(named: Dag):
    """C13: common ancestors and the latest of them against a naive model."""

    def is_below(one: bytes, id: bytes) -> bool:
        return one == id or reaches(named, id, one)

    for first, second in product(named, repeat=2):
        common = {one for one in named if is_below(one, first) and is_below(one, second)}
        assert common_ancestors(named, first, second) == common
        latest = {one for one in common if not any(reaches(named, other, one) for other in common)}
        assert latest_common_ancestors(named, first, second) == latest


class Spot(NamedTuple):
    height: int
    id: bytes


@given(dags())
def test_orders(named: Dag):
    """C12, C13: both orders respect causality and do not depend on how the DAG is given."""
    order = topological(named)
    assert sorted(order) == sorted(named)
    assert order == topological({id: named[id] for id in sorted(named)})
    heights: dict[bytes, int] = {}
    for id in order:
        heights[id] = 1 + max((heights[parent] for parent in named[id]), default=-1)
    spots = canonical(Spot(heights[id], id) for id in named)
    for places in ({id: at for at, id in enumerate(order)}, {spot.id: at for at, spot in enumerate(spots)}):
        assert all(places[parent] < places[id] for id, parents in named.items() for parent in parents)
