"""A hundred peers in one process, in virtual time, on a network that loses a fifth of what is gossiped."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.table import Bench, Row, shown, under
from walytis_core.simulation.benchmark import benchmark


def network(bench: Bench) -> Iterable[Row]:
    """Until all hold the same, in seconds of real time."""
    peers, blocks = bench.count(100, 6), bench.count(20, 3)
    measured = benchmark(peers, blocks, loss=0.2)
    assert measured.blocks == peers * blocks, f"{measured.blocks} of {peers * blocks} blocks are held"
    yield under(f"simulated network: {peers} peers, {blocks} blocks each, 20 % loss", measured.real_s, "s", 20)
    yield shown("  messages sent", measured.messages, "messages")
