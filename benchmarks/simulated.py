"""A hundred peers in one process, in virtual time, on a network that loses a fifth of what is gossiped."""

from __future__ import annotations

import time
from collections.abc import Iterable

from benchmarks.table import Bench, Row, shown, under
from walytis_core.network.weather import Weather
from walytis_core.simulation import Simulation


def network(bench: Bench) -> Iterable[Row]:
    """Until all hold the same, in seconds of real time; the invariants hold at the end."""
    peers, blocks, seed = bench.count(100, 6), bench.count(20, 3), 1
    started = time.perf_counter()
    sim = Simulation(peers=peers, seed=seed, weather=Weather(seed, latency_s=0.01, loss=0.2), links=4)
    for number in range(blocks):
        for peer in range(peers):
            sim.at(10 * (number + peer / peers) / blocks, sim.append_if_up, peer, b"%d" % number)
    sim.run(10)
    sim.run_until_converged(120)
    elapsed = time.perf_counter() - started
    held = len(sim.folded(0))
    assert held == peers * blocks, f"{held} of {peers * blocks} blocks are held"
    yield under(f"simulated network: {peers} peers, {blocks} blocks each, 20 % loss", elapsed, "s", 20)
    yield shown("  converged at, in virtual time", sim.now_s, "s")
