"""Rights across two chains in random histories, honest and hostile, against the rules written out plainly."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from identities.acts import ANCHORED
from identities.authority import AFTER_END, CUT_OFF, NO_SEAT
from identities.rights import NOT_ANCHORED
from tests.suites.nested_worlds import NaiveRights, Pair, folded

QUICK = range(60)
MANY = range(1000, 3000)
CHUNK = 500


def judged(seed: int) -> Counter[str]:
    """Asserts all of it for one history; how often each rule decided."""
    pair = Pair(seed, limit=10 + seed % 50)
    naive = NaiveRights(pair.outer, pair.members)
    group = folded(pair.outer, pair.inner)
    assert set(group.authority.void) == naive.model.void()
    assert [seat.id for seat in group.authority.live] == naive.model.live()
    for n in range(2):
        again = folded(pair.outer, pair.inner, shuffled=random.Random(n))
        assert again.authority.void == group.authority.void
        assert [seat.id for seat in again.authority.live] == [seat.id for seat in group.authority.live]
        assert (again.epochs.current and again.epochs.current.id) == (group.epochs.current and group.epochs.current.id)
        assert again.node_keys() == group.node_keys()
    nested = {act.id for act in pair.outer.acts.values() if act.path and act.path[0] in pair.members}
    assert not any(group.authority.void.get(id) for id, act in pair.outer.acts.items() if act.kind == ANCHORED)
    return Counter(group.authority.void.get(id, "counts") for id in nested)


@pytest.mark.parametrize("first", QUICK[::20])
def test_a_person_in_a_group(first: int) -> None:
    """I30, I34: what a plain model says, in any order; with old parents, old anchors, forks and puppets of removed devices."""
    for seed in range(first, first + 20):
        judged(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", MANY[::CHUNK])
def test_two_thousand_more(first: int) -> None:
    """I30, I34: as above, and each rule decides its share."""
    counts = Counter[str]()
    for seed in range(first, first + CHUNK):
        counts += judged(seed)
    assert min(counts[rule] for rule in ("counts", CUT_OFF, NOT_ANCHORED, NO_SEAT, AFTER_END)) >= 100, counts
