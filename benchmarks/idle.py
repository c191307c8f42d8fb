"""What a node costs that has nothing to do: 20 quiet chains, a connected peer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

import psutil

from benchmarks.peers import Child, child
from benchmarks.table import Bench, Row, under
from walytis_core import Node

CHAINS: Final = 20


def idle(bench: Bench) -> Iterable[Row]:
    """The share of one processor core that a settled node takes."""
    chains = bench.count(CHAINS, 2)
    with Node.open(bench.folder("quiet")) as node:
        invitations = [str(node.create_chain(f"quiet-{number}").invite()) for number in range(chains)]
        settle_s, watch_s = float(bench.count(20, 1)), float(bench.count(25, 1))
        with child(sleeper, str(bench.folder("sleeper")), invitations, settle_s, watch_s) as other:
            share = other.hear()
    yield under(f"idle CPU of a connected node with {chains} quiet chains", 100 * share, "%", 1)


def sleeper(peer: Child, folder: str, invitations: list[str], settle_s: float, watch_s: float) -> None:
    """Joins, settles, and says how much processor time it took per second."""
    with Node.open(folder) as node:
        for invitation in invitations:
            node.join(invitation).result(timeout=60)
        time.sleep(settle_s)
        process = psutil.Process()
        before, started = process.cpu_times(), time.monotonic()
        time.sleep(watch_s)
        after, elapsed = process.cpu_times(), time.monotonic() - started
        assert all(chain.peers() for chain in node.chains())
        used_s = (after.user - before.user) + (after.system - before.system)
        peer.tell(max(used_s, 0.0) / elapsed)  # the clock of processors has ticks of its own
