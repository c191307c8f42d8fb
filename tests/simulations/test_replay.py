"""A seed is a run: the same on every machine, in every process."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from walytis_core.simulation import Scenario, Simulation, Weather, play

PROGRAM = """
import sys
from tests.simulations.test_replay import trace
print(trace(int(sys.argv[1])))
"""


def trace(seed: int) -> str:
    """A digest of all that was sent in a scenario, and of what came of it."""
    sim = play(Scenario.of(seed))
    counts = sorted((*key, count) for key, count in (*sim.traffic.streams.items(), *sim.traffic.stream_bytes.items()))
    blocks = [block.id for block in sim.folded(0)]
    return hashlib.sha256(repr((sim.now_s, counts, blocks)).encode()).hexdigest()


@pytest.mark.slow
def test_a_seed_plays_the_same_in_another_process():
    seed = 4
    traces = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(seed)], env={"PYTHONHASHSEED": salt, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, check=True, text=True,
        ).stdout.strip()
        for salt in ("1", "2")
    }  # fmt: skip
    assert traces == {trace(seed)}


@pytest.mark.parametrize("kinds", [(), ("forker", "liar", "garbler")])
def test_a_run_is_the_same_whether_messages_are_read_from_their_bytes_or_handed_over(kinds):
    """C36: what honest peers write is read as it was, so the simulator may spare itself the reading."""
    outcomes = []
    for bytes_read in (True, False):
        weather = Weather(5, latency_s=0.01, jitter_s=0.03, loss=0.2)
        sim = Simulation(5, seed=5, weather=weather, bytes_read=bytes_read)
        for kind in kinds:
            sim.add_hostile(kind)
        for number in range(40):
            sim.at(number / 10, sim.append, number % 5, b"%d" % number)
        sim.run(5)
        sim.remove_hostile()
        sim.run_until_converged()
        outcomes.append((sim.now_s, sim.traffic, [block.id for block in sim.folded(0)]))
    assert outcomes[0] == outcomes[1]


def test_an_app_is_tested_on_it():
    """The use the simulator is there for: a fold of an app is the same at every peer."""
    sim = Simulation(peers=3, seed=7)
    sim.partition([0], [1, 2])
    for number in range(6):
        sim.append(number % 3, b"%d" % number, topics=["count"])
    sim.run(1)
    assert sim.fold(0, lambda total, block: total + int(block.payload), 0) == 0 + 3
    sim.heal()
    sim.run_until_converged()
    assert {sim.fold(peer, lambda total, block: total + int(block.payload), 0) for peer in range(3)} == {15}
    sim.check_invariants(at_rest=True)
