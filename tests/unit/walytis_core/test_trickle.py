"""The Trickle timer against the rules of RFC 6206, section 4.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walytis_core.limits import Limits
from walytis_core.trickle import Trickle

randoms = st.floats(0, 1, exclude_max=True)


@given(st.lists(randoms, min_size=1, max_size=30))
def test_intervals_double(draws: list[float]):
    """C35: rules 2 and 5: t lies in the second half of the interval, and each interval is twice the last, up to the greatest."""
    timer = Trickle()
    length = Limits.trickle_min_s
    for draw in draws:
        fire_s = timer.begin(draw)
        assert length / 2 <= fire_s <= length  # below it but for rounding
        timer.fire()
        assert fire_s + timer.end() == pytest.approx(length)
        length = min(2 * length, Limits.trickle_max_s)
    assert timer.interval_s == length <= Limits.trickle_max_s


@pytest.mark.parametrize(("heard", "sends"), [(0, True), (1, True), (2, False), (3, False), (99, False)])
def test_suppression(heard: int, sends: bool):
    """C35: rules 3 and 4: k consistent messages suppress our own."""
    timer = Trickle()
    timer.begin(0.5)
    for _ in range(heard):
        timer.hear()
    assert timer.fire() is sends


def test_the_counter_starts_anew():
    """C35: rule 2: what was heard counts for its interval only."""
    timer = Trickle()
    timer.begin(0.5)
    timer.hear()
    timer.hear()
    assert not timer.fire()
    timer.end()
    timer.begin(0.5)
    assert timer.fire()


def test_one_in_eight_is_never_suppressed():
    """C35: a peer that echoes every digest keeps nobody silent for ever."""
    timer = Trickle()
    sent = []
    for _ in range(32):
        timer.begin(0.0)
        for _ in range(9):
            timer.hear()
        sent.append(timer.fire())
        timer.end()
    assert [at for at, sends in enumerate(sent, 1) if sends] == [8, 16, 24, 32]


def test_reset():
    """C35: rule 6: a change of our own set starts over with the least interval, unless it is that already."""
    timer = Trickle()
    assert not timer.reset()
    timer.begin(0.0)
    assert not timer.reset()
    for _ in range(5):
        timer.end()
        timer.begin(0.0)
    assert timer.interval_s == 32 * Limits.trickle_min_s
    assert timer.reset()
    assert timer.interval_s == Limits.trickle_min_s
    assert not timer.reset()
    assert timer.begin(0.0) == Limits.trickle_min_s / 2


def test_hearing_never_resets():
    """C35: what a peer says does not make us talk more."""
    timer = Trickle()
    for _ in range(20):
        timer.begin(0.9)
        timer.hear()
        timer.fire()
        timer.end()
    assert timer.interval_s == Limits.trickle_max_s
