"""Random scenarios from seeds: faults and hostile peers, and a naive second opinion about everything held afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from walytis_core.simulation import Scenario, play

QUICK = range(1000, 1020)
MANY = range(2000, 2200)
LINES = Path(__file__).with_name("regressions.txt").read_text(encoding="utf-8").splitlines()
REGRESSIONS = [int(line) for line in LINES if line and not line.startswith("#")]


@pytest.mark.parametrize("seed", [*QUICK, *REGRESSIONS])
def test_a_network_agrees_whatever_befell_it(seed):
    """C10, C12, C14, C15, C30: loss, partitions, crashes, cuts, skewed clocks and hostile peers; one set in the end."""
    play(Scenario.of(seed))


@pytest.mark.slow
@pytest.mark.parametrize("first", MANY[::10])
def test_two_hundred_more(first):
    """C10, C12, C14, C15, C30: as above; ten seeds each."""
    for seed in range(first, first + 10):
        play(Scenario.of(seed))
