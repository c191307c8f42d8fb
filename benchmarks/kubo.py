"""Nodes on a Kubo daemon beside embedded ones, and a plain Kubo that fetches blocks by CID. Nothing where there is no daemon.

The daemon runs here, on loopback, with a fresh repository. What must be reached is a share of what two embedded nodes reach in
the same run, on the same chain.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import httpx

from benchmarks.joining import join_once
from benchmarks.live import latency_between, quantile
from benchmarks.material import CHAIN_NAME, fill
from benchmarks.peers import EMBEDDED, network_on
from benchmarks.table import ROUNDS, Bench, Row, shown, under
from tests.suites.kubo_daemon import MISSING, Daemon, binary
from walytis_core import Node

_AT_ONCE: Final = 8


def beside_embedded(bench: Bench) -> Iterable[Row]:
    """Latency and join between an embedded node and one on a daemon, both ways."""
    if binary() is None:
        print(MISSING, file=sys.stderr)
        return
    for name, ours_is_kubo in (
        ("from an embedded node to one on Kubo", False),
        ("from one on Kubo to an embedded one", True),
    ):
        with _daemon(bench, f"latency-{ours_is_kubo}") as daemon:
            ours, theirs = (daemon.api_url, EMBEDDED) if ours_is_kubo else (EMBEDDED, daemon.api_url)
            times = latency_between(bench, f"kubo-{ours_is_kubo}", ours, theirs)
        yield under(f"block latency {name}, 40 blocks/s, p50", quantile(times, 0.5), "ms", 15)
        yield shown("  p99", quantile(times, 0.99), "ms")
    count = bench.count(10_000, 300)
    embedded = best = 0.0
    rates = dict.fromkeys(
        ("join of an embedded node from one on Kubo", "join of a node on Kubo from an embedded one"), 0.0
    )
    for turn in range(bench.count(ROUNDS, 1)):
        embedded = max(embedded, _join(bench, f"{turn}-embedded", count, EMBEDDED, EMBEDDED))
        for number, name in enumerate(rates):
            with _daemon(bench, f"join-{turn}-{number}") as daemon:
                inviter, joiner = (daemon.api_url, EMBEDDED) if number == 0 else (EMBEDDED, daemon.api_url)
                best = _join(bench, f"{turn}-{number}", count, inviter, joiner)
            rates[name] = max(rates[name], best)
    for name, rate in rates.items():
        ratio = rate / embedded
        target = ">= 0.5 of the same between two embedded nodes"
        measure = f"{name}, {count:,} blocks"
        yield Row(
            measure=measure, value=rate, unit="blocks/s", ceiling=embedded, ratio=ratio, target=target, met=ratio >= 0.5
        )


def blocks_by_cid(bench: Bench) -> Iterable[Row]:
    """A plain Kubo fetches the blocks of a public chain from an embedded node: by known ids, and by walking."""
    if binary() is None:
        return
    count = bench.count(1000, 50)
    folder = bench.folder("public")
    with Node.open(folder, network=network_on(EMBEDDED)) as node:
        chain = node.create_chain(CHAIN_NAME, readers="everyone")
        ids = [str(block.id) for _ in range(count) for block in [chain.append(b"x" * 100)]]
        for name, walks in (
            (f"a plain Kubo fetches {count:,} blocks by CID, {_AT_ONCE} at once", False),
            ("  walking, one after the other", True),
        ):
            with _daemon(bench, f"plain-{walks}") as daemon, httpx.Client(base_url=daemon.api_url, timeout=120) as rpc:
                daemon.connect(node.addresses())

                def get(id: str, rpc: httpx.Client = rpc) -> None:
                    rpc.post("/api/v0/block/get", params={"arg": id}).raise_for_status()

                get(ids[0])  # the two have found each other
                started = time.perf_counter()
                if walks:
                    walked = rpc.post("/api/v0/refs", params={"arg": ids[-1], "recursive": "true", "unique": "true"})
                    assert walked.text.count("Ref") >= count, walked.text[:200]
                else:
                    with ThreadPoolExecutor(_AT_ONCE) as pool:
                        list(pool.map(get, ids))
                yield shown(name, count / (time.perf_counter() - started), "blocks/s")


def _join(bench: Bench, name: str, count: int, inviter_on: str, joiner_on: str) -> float:
    """Blocks a second of one join."""
    folder = bench.folder(f"inviter-{name}")
    fill(folder, count, 3)
    with Node.open(folder, network=network_on(inviter_on)) as node:
        invitation = str(node.chain(CHAIN_NAME).invite(uses=None))
        joined = join_once(bench.folder(f"joiner-{name}"), invitation, count, joiner_on)
    return joined.blocks / joined.sync_s


@contextmanager
def _daemon(bench: Bench, name: str) -> Iterator[Daemon]:
    daemon = Daemon(bench.folder(f"daemon-{name}")).start()
    try:
        yield daemon
    finally:
        daemon.stop()
