"""Manners: what counts how much, and who is kept out."""

from __future__ import annotations

import pytest

from walytis_core.errors import Reason
from walytis_core.manners import FAULTS_ALLOWED, KEEP_OUT_S, Manners


def faults_until_dropped(reason: Reason) -> int | None:
    manners = Manners()
    return next((n for n in range(1, 100 * FAULTS_ALLOWED) if manners.fault(reason, "p", 0.0)), None)


def test_faults_add_up():
    """C36: so many faults and a peer is kept out, for a while."""
    manners = Manners()
    assert [manners.fault(Reason.BAD_SIGNATURE, "p", 0.0) for _ in range(FAULTS_ALLOWED)].count(True) == 1
    assert manners.is_kept_out("p", KEEP_OUT_S - 1)
    assert not manners.is_kept_out("p", KEEP_OUT_S + 1)
    assert not manners.is_kept_out("q", 0.0)


@pytest.mark.parametrize("reason", [Reason.BAD_ANCESTOR, Reason.UNASKED])
def test_light_faults_weigh_little_and_not_nothing(reason: Reason):
    """C36: what honest peers do now and then is no licence to do it without end."""
    assert faults_until_dropped(reason) == 20 * FAULTS_ALLOWED


@pytest.mark.parametrize("reason", [Reason.NEWER_VERSION, Reason.FROZEN, Reason.NO_ROOM])
def test_what_is_nobodys_fault(reason: Reason):
    """C36: what honest peers do without end is counted, and never punished."""
    assert faults_until_dropped(reason) is None
