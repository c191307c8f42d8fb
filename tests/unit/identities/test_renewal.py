"""When a device renews: leaders, takeover, waiting for others, clocks that jump."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identities.renewal import DAY_S, WAIT_S, RenewalPolicy, Renewing, Situation, order

SEATS = [bytes([number]) * 36 for number in range(1, 7)]
EPOCH, NEXT = b"\x01" * 36, b"\x02" * 36
YEAR_S = 365 * DAY_S
NOW_S = 60 * YEAR_S
LOW_S, HIGH_S = WAIT_S


def calm(seat: bytes, epoch: bytes | None = EPOCH) -> Situation:
    """Nothing is wrong."""
    return Situation(epoch, epoch or EPOCH, (), mine=False, complaint=False, seat=seat, others=SEATS)


def changed(seat: bytes, *, mine: bool = False, lacks: bytes = b"change") -> Situation:
    """The members have changed."""
    return calm(seat)._replace(epoch=None, lacks=(lacks,), mine=mine)


def machine(policy: RenewalPolicy = RenewalPolicy(), chance: float = 0.5) -> Renewing:  # noqa: B008 - it is immutable
    return Renewing(policy, lambda: chance)


def test_it_is_due_at_its_age() -> None:
    """I09: at the configured age, with jitter, by one leader; each next one in turn takes over when it does not act."""
    policy = RenewalPolicy(age_s=100.0, jitter=0.1, takeover_s=10.0)
    due = {seat: machine(policy).due(calm(seat), NOW_S) for seat in SEATS}
    turn = order(SEATS, EPOCH)
    first = due[turn[0]]
    assert NOW_S + 100.0 <= first <= NOW_S + 110.0
    assert [due[seat] for seat in turn] == pytest.approx(
        [first + 10.0 * place for place in range(len(SEATS))], rel=0, abs=1e-3
    )


def test_it_starts_anew_with_each_epoch() -> None:
    """I09: what counts is when the epoch was first seen here; a restart does not change it."""
    renewing = machine(RenewalPolicy(age_s=100.0, jitter=0.0))
    due = renewing.due(calm(SEATS[0]), NOW_S)
    assert renewing.due(calm(SEATS[0]), NOW_S + 50) == due
    again = Renewing(renewing.policy, lambda: 0.5, dict(renewing.first_seen))
    assert again.due(calm(SEATS[0]), NOW_S + 60) == due
    assert renewing.due(calm(SEATS[0], NEXT), NOW_S + 60) >= NOW_S + 160


def test_the_leader_changes() -> None:
    """I09: which device leads depends on the epoch, and is the same for all who ask."""
    epochs = [bytes([number]) * 36 for number in range(64)]
    assert len({order(SEATS, epoch)[0] for epoch in epochs}) > 3
    assert all(order(SEATS, epoch) == order(SEATS[::-1], epoch) for epoch in epochs)


def test_never_for_age_alone() -> None:
    """I09: a policy may switch it off."""
    assert machine(RenewalPolicy(age_s=None)).due(calm(SEATS[0]), NOW_S) == inf


def test_who_changed_the_members_renews_at_once() -> None:
    """I36: and others wait a random while for it, once, and then take the turn."""
    assert machine().due(changed(SEATS[0], mine=True), NOW_S) <= NOW_S
    for chance in (0.0, 0.5, 1.0):
        renewing = machine(chance=chance)
        due = renewing.due(changed(SEATS[0]), NOW_S)
        assert due == pytest.approx(NOW_S + LOW_S + chance * (HIGH_S - LOW_S), rel=0, abs=1e-3)
        assert renewing.due(changed(SEATS[0]), NOW_S + 0.1) == due
        assert renewing.due(changed(SEATS[0], lacks=b"more"), NOW_S + 0.1) > due


def test_a_complaint() -> None:
    """I38: is answered after the same wait."""
    renewing = machine(RenewalPolicy(age_s=None))
    assert renewing.due(calm(SEATS[0]), NOW_S) == inf
    due = renewing.due(calm(SEATS[0])._replace(complaint=True), NOW_S)
    assert NOW_S + LOW_S <= due <= NOW_S + HIGH_S
    assert renewing.due(calm(SEATS[0]), NOW_S) == inf


@pytest.mark.parametrize("jump_s", [-40 * YEAR_S, -DAY_S, -60.0])
def test_a_clock_that_is_put_back(jump_s: float) -> None:
    """I09 and I36: no renewal waits for the time to come again: a pressing one not for more than its wait, an aged one not for
    more than the age."""
    renewing = machine(RenewalPolicy(age_s=100.0, jitter=0.0, takeover_s=0.0))
    renewing.due(calm(SEATS[0]), NOW_S)
    then = NOW_S + jump_s
    assert renewing.due(calm(SEATS[0]), then) <= then + 100.0
    renewing = machine()
    renewing.due(changed(SEATS[0]), NOW_S)
    assert renewing.due(changed(SEATS[0]), then) <= then + HIGH_S


@pytest.mark.parametrize("jump_s", [DAY_S, 40 * YEAR_S])
def test_a_clock_that_is_put_forward(jump_s: float) -> None:
    """I09: leads to one renewal, and to no more."""
    renewing = machine(RenewalPolicy(age_s=100.0, jitter=0.0, takeover_s=0.0))
    renewing.due(calm(SEATS[0]), NOW_S)
    then = NOW_S + jump_s
    assert renewing.due(calm(SEATS[0]), then) <= then
    assert renewing.due(calm(SEATS[0], NEXT), then) == then + 100.0


@given(st.lists(st.sampled_from(["calm", "changed", "complaint", "mine", "later"]), max_size=30), st.floats(0, 1))
def test_it_never_waits_too_long(steps: list[str], chance: float) -> None:
    """I36: whatever happens on the way, a change of the members is answered within the wait."""
    renewing, now_s = machine(chance=chance), NOW_S
    since: float | None = None
    for step in steps:
        now_s += 0.2
        situation = {
            "calm": calm(SEATS[0]),
            "later": calm(SEATS[0]),
            "changed": changed(SEATS[0]),
            "mine": changed(SEATS[0], mine=True),
            "complaint": calm(SEATS[0])._replace(complaint=True),
        }[step]
        due = renewing.due(situation, now_s)
        if step in ("changed", "mine"):
            since = now_s if since is None else since
            assert due <= since + HIGH_S
        else:
            since = None
