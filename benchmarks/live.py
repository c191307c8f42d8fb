"""How soon and how fast new blocks reach a connected node: the writer here, the reader in a process of its own.

A block has arrived when the reader's feed gives it to the app. Its payload carries the instant just before `append` was
called, on a clock that both processes share.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.material import CHAIN_NAME, PAYLOAD_BYTES, TOPIC
from benchmarks.peers import EMBEDDED, Child, child, network_on
from benchmarks.table import Bench, Row, at_least, shown, under
from walytis_core import Chain, Node
from walytis_core.feed import Arrived, Feed
from walytis_core.limits import Limits

_EVERY_S: Final = 1 / 40
_SETTLE_S: Final = 2.0
_LINE_UP_S: Final = 60.0
_GOSSIP_ONLY: Final = 0


def latency(bench: Bench) -> Iterable[Row]:
    """At 40 blocks/s over an open stream."""
    with _pair(bench, "stream", Limits.neighbours) as (chain, reader):
        times = _latencies(chain, reader, bench.count(600, 20))
    yield under("block latency between two connected nodes, 40 blocks/s, p50", quantile(times, 0.5), "ms", 4)
    yield under("  p99", quantile(times, 0.99), "ms", 12)


def latency_of_gossip(bench: Bench) -> Iterable[Row]:
    """The same, where no stream is open and only the channel carries blocks."""
    with _pair(bench, "gossip", _GOSSIP_ONLY) as (chain, reader):
        streams: list[int] = []
        times = _latencies(chain, reader, bench.count(600, 20), look=lambda: streams.append(len(chain.peers())))
    yield under("the same with gossip only, p50", quantile(times, 0.5), "ms", 7, unless=max(streams) > 0)
    yield shown("  p99", quantile(times, 0.99), "ms")
    yield shown("  open all the same, at some time", max(streams), "streams")


def rates(bench: Bench) -> Iterable[Row]:
    """As fast as the writer can, until the reader has the last."""
    with _pair(bench, "rates", Limits.neighbours) as (chain, reader):
        bursts = bench.count(400, 5)

        def burst() -> None:
            chain.append_many([os.urandom(PAYLOAD_BYTES) for _ in range(100)], topics=[TOPIC])

        def one() -> None:
            chain.append(os.urandom(PAYLOAD_BYTES), topics=[TOPIC])

        rate, lost = _sustained(reader, burst, bursts, 100 * bursts)
        yield at_least("sustained live blocks, bursts of 100", rate, "blocks/s", 5000, unless=lost > 0)
        yield shown("  lost", lost, "blocks")
        singles = bench.count(8000, 50)
        rate, lost = _sustained(reader, one, singles, singles)
        yield at_least("sustained live blocks, one by one", rate, "blocks/s", 1500, unless=lost > 0)
        yield shown("  lost", lost, "blocks")


def _sustained(reader: Child, append: Callable[[], None], calls: int, blocks: int) -> tuple[float, int]:
    reader.tell(blocks)
    reader.hear()
    started = time.monotonic_ns()
    for _ in range(calls):
        append()
    arrived, last, _ = reader.hear()
    return arrived / ((last - started) / 1e9), blocks - arrived


def _latencies(chain: Chain, reader: Child, count: int, look: Callable[[], None] = lambda: None) -> list[float]:
    """Milliseconds from the call of `append` to the reader's app, sorted; `look` is called between the blocks."""
    reader.tell(count)
    reader.hear()
    due = time.monotonic()
    for _ in range(count):
        due += _EVERY_S
        look()
        time.sleep(max(0.0, due - time.monotonic()))
        stamp = time.monotonic_ns().to_bytes(8, "big")
        chain.append(stamp + os.urandom(PAYLOAD_BYTES - len(stamp)), topics=[TOPIC])
    arrived, _, times = reader.hear()
    look()
    assert arrived == count, f"{arrived} of {count} blocks arrived"
    return sorted(times)


def quantile(times: list[float], share: float) -> float:
    """The value below which this share of sorted times lies."""
    return statistics.median(times) if share == 0.5 else times[min(int(share * len(times)), len(times) - 1)]


def latency_between(bench: Bench, name: str, ours_on: str, theirs_on: str) -> list[float]:
    """Sorted milliseconds at 40 blocks/s over an open stream, each node embedded or on the daemon of an RPC address."""
    with _pair(bench, name, Limits.neighbours, ours_on, theirs_on) as (chain, reader):
        return _latencies(chain, reader, bench.count(600, 20))


@contextmanager
def _pair(
    bench: Bench, name: str, neighbours: int, ours_on: str = EMBEDDED, theirs_on: str = EMBEDDED
) -> Iterator[tuple[Chain, Child]]:
    """A chain here and its reader, joined, opened anew, and connected.

    Opened anew, because a join leaves its sync stream open, also between nodes that keep none.
    """
    ours, theirs = bench.folder(f"{name}-writer"), bench.folder(f"{name}-reader")
    with Node.open(ours, network=network_on(ours_on)) as node:
        invitation = str(node.create_chain(CHAIN_NAME).invite())
        with child(joiner, str(theirs), invitation, theirs_on) as other:
            other.hear()
    network = network_on(ours_on)
    with (
        Node.open(ours, network=network, neighbours=neighbours) as node,
        child(reader, str(theirs), neighbours, theirs_on) as other,
    ):
        chain = node.chain(CHAIN_NAME)
        _line_up(node, chain, is_gossip_only=neighbours == _GOSSIP_ONLY)
        other.hear()
        _settle(chain, is_gossip_only=neighbours == _GOSSIP_ONLY)
        yield chain, other
        other.tell(0)


def _line_up(node: Node, chain: Chain, *, is_gossip_only: bool) -> None:
    """Waits until the two are connected, by a stream where they keep one."""
    until = time.monotonic() + _LINE_UP_S
    while time.monotonic() < until:
        if node.stats.peers if is_gossip_only else chain.peers():
            return
        time.sleep(0.05)
    raise RuntimeError("the two nodes do not find each other")


def _settle(chain: Chain, *, is_gossip_only: bool) -> None:
    """Lets what the start brought end; also the stream that two nodes open for one sync when they meet, where they keep none."""
    until, quiet_since = time.monotonic() + _LINE_UP_S, time.monotonic()
    while time.monotonic() < min(quiet_since + _SETTLE_S, until):
        time.sleep(0.05)
        if is_gossip_only and chain.peers():
            quiet_since = time.monotonic()


def joiner(writer: Child, folder: str, invitation: str, rpc: str) -> None:
    """A process that joins and goes."""
    with Node.open(folder, network=network_on(rpc)) as node:
        node.join(invitation, name=CHAIN_NAME).result(timeout=60)
        writer.tell("joined")


def reader(writer: Child, folder: str, neighbours: int, rpc: str) -> None:
    """The reading process: for each number it is told, it says when it is ready, and then what came."""
    with Node.open(Path(folder), network=network_on(rpc), neighbours=neighbours) as node:
        chain = node.chain(CHAIN_NAME)
        _line_up(node, chain, is_gossip_only=neighbours == _GOSSIP_ONLY)
        writer.tell("connected")
        with chain.follow() as feed:
            while count := writer.hear():
                writer.tell("ready")
                writer.tell(_read(feed, count))


def _read(feed: Feed, count: int) -> tuple[int, int, list[float]]:
    """How many came, when the last did, and how long each took in milliseconds."""
    times: list[float] = []
    last = time.monotonic_ns()
    while len(times) < count:
        event = feed.next(timeout=_LINE_UP_S)
        if event is None:
            break
        if isinstance(event, Arrived):
            last = time.monotonic_ns()
            times.append((last - int.from_bytes(event.block.payload[:8], "big")) / 1e6)
    return len(times), last, times
