"""How long a simulated network takes in real time: a measure of the deciding code, of its messages, and of nothing else."""

from __future__ import annotations

import gc
import time
from typing import NamedTuple

from walytis_core.network.weather import Weather
from walytis_core.simulation.simulation import Simulation

_WRITING_S = 10.0


class Measured(NamedTuple):
    """What a run came to.

    Attributes:
        real_s: Real time of the whole run.
        virtual_s: Virtual time from the last append until all held the same.
        blocks: Blocks that each peer holds.
        messages: Messages sent over streams and to the channel.
        sent_bytes: Their bytes; a published message counts once.
    """

    real_s: float
    virtual_s: float
    blocks: int
    messages: int
    sent_bytes: int


def benchmark(peers: int = 100, blocks: int = 20, loss: float = 0.2, seed: int = 1) -> Measured:
    """Has peers append in ten virtual seconds over a channel that loses messages, and waits until all hold the same.

    Messages are written as bytes, counted, and read again; blocks are read from their bytes, each once.

    Raises:
        InvariantError: They do not converge within a virtual minute.
    """
    weather = Weather(seed, latency_s=0.01, jitter_s=0.03, loss=loss)
    was_collecting = gc.isenabled()
    gc.disable()  # nothing here makes cycles, and walking a hundred stores for them takes a fifth of the time
    try:
        return _measure(peers, blocks, seed, weather)
    finally:
        if was_collecting:
            gc.enable()


def _measure(peers: int, blocks: int, seed: int, weather: Weather) -> Measured:
    start_s = time.perf_counter()
    sim = Simulation(peers, seed=seed, weather=weather)
    for peer in range(peers):
        for number in range(blocks):
            sim.at(sim.random.random() * _WRITING_S, sim.append, peer, b"block %d" % number)
    sim.run(_WRITING_S)
    virtual_s = sim.run_until_converged(60.0)
    real_s = time.perf_counter() - start_s
    traffic = sim.traffic
    messages = traffic.streams.total() + traffic.channel.total()
    return Measured(real_s, virtual_s, sim.peer(0).store.count, messages, traffic.total_bytes)
