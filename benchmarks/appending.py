"""How fast own blocks are written: through `Chain.append`, on a node that is alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.material import CHAIN_NAME, PAYLOAD_BYTES, TOPIC
from benchmarks.table import Bench, Row, rates
from walytis_core import Node
from walytis_core.network.memory import MemoryHub, MemoryNetwork


def one_by_one(bench: Bench) -> Iterable[Row]:
    """`append`, durable each."""
    count = bench.count(4000, 100)
    return rates(
        bench,
        "create and store, durable each",
        0.7,
        {"durable append, one by one": lambda folder: _append(folder, count, 1)},
    )


def in_batches(bench: Bench) -> Iterable[Row]:
    """`append_many` of a hundred."""
    count = bench.count(20_000, 300)
    return rates(
        bench,
        "create and store, batches of 100",
        0.65,
        {"append in batches of 100": lambda folder: _append(folder, count, 100)},
    )


def _append(folder: Path, count: int, per_call: int) -> float:
    with Node.open(folder, network=MemoryNetwork(MemoryHub())) as node:
        chain = node.create_chain(CHAIN_NAME)
        started = time.perf_counter()
        for _ in range(0, count, per_call):
            if per_call == 1:
                chain.append(os.urandom(PAYLOAD_BYTES), topics=[TOPIC])
            else:
                chain.append_many([os.urandom(PAYLOAD_BYTES) for _ in range(per_call)], topics=[TOPIC])
        return count / (time.perf_counter() - started)
