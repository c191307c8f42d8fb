"""What a long chain costs to keep: opening it, finding in it, its bytes on disk and in memory."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks.material import CHAIN_NAME, PAYLOAD_BYTES, TOPIC, fill
from benchmarks.peers import Child, child, memory_mb
from benchmarks.table import Bench, Row, shown, under
from walytis_core import Node
from walytis_core.network.memory import MemoryHub, MemoryNetwork

_OPENINGS: Final = 5
_QUERIES: Final = 50


def reopen(bench: Bench) -> Iterable[Row]:
    """Opening, newest of a topic, and disk, with few authors and with many."""
    blocks = bench.count(100_000, 600)
    finds: list[float] = []
    for authors, limit_ms in ((3, 10), (bench.count(1000, 50), 50)):
        folder = bench.folder(f"held-{authors}")
        fill(folder, blocks, authors)
        if authors == 3:
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            yield under(f"disk per block, at {blocks:,} blocks, after close", size / blocks, "bytes", 680)
        with child(opener, str(folder)) as other:
            opening_ms, network_ms, find_ms = other.hear()
        finds.append(find_ms)
        yield under(f"reopen {blocks:,} blocks of {authors:,} authors", opening_ms, "ms", limit_ms)
        yield shown("  then, behind it, until the network is up", network_ms, "ms")
    yield under("  newest 10 by topic (the slower of the two)", max(finds), "ms", 1)


def opener(asker: Child, folder: str) -> None:
    """Opens a folder a few times: until its chain can be read and written, then until the network is up."""
    openings, networks, finds = [], [], []
    for _ in range(_OPENINGS):
        started = time.perf_counter()
        with Node.open(folder) as node:
            chain = node.chain(CHAIN_NAME)
            assert next(iter(chain.blocks(newest_first=True, limit=1))).id == chain.heads[0]
            opened = time.perf_counter()
            node.addresses()
            networks.append(time.perf_counter() - opened)
            openings.append(opened - started)
            for _ in range(_QUERIES):
                started = time.perf_counter()
                found = list(chain.blocks(topic=TOPIC, newest_first=True, limit=10))
                finds.append(time.perf_counter() - started)
                assert len(found) == 10
    asker.tell([1000 * statistics.median(times) for times in (openings, networks, finds)])


def memory(bench: Bench) -> Iterable[Row]:
    """What more blocks held add to a node's memory."""
    few, many = bench.count(10_000, 300), bench.count(100_000, 900)
    with child(holder, str(bench.folder("memory")), few, many) as other:
        before, after = other.hear()
    yield under(f"memory growth from {few:,} to {many:,} blocks held", after - before, "MB", 5)
    yield shown("  the whole process then", after, "MB")


def holder(asker: Child, folder: str, few: int, many: int) -> None:
    """Appends up to `few` blocks, then up to `many`; says what it holds in memory at each."""
    with Node.open(Path(folder), network=MemoryNetwork(MemoryHub())) as node:
        chain = node.create_chain(CHAIN_NAME)
        held = []
        for count in (few, many):
            while len(chain) < count:
                chain.append_many([os.urandom(PAYLOAD_BYTES) for _ in range(100)], topics=[TOPIC])
            held.append(memory_mb())
        asker.tell(held)
