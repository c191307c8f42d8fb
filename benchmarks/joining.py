"""How fast a chain is joined over the embedded network: the inviter here, the joiner in a process of its own.

The clock runs from the moment the joiner has its sync stream, before the first frame on it, until the join's result is
there, after the last commit. Dial and admission, before that, are told apart.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import ceilings
from benchmarks.material import CHAIN_NAME, fill
from benchmarks.peers import EMBEDDED, Child, child, forget_peak, memory_mb, network_on, peak_mb
from benchmarks.table import ROUNDS, Bench, Row, beside, shown, under
from walytis_core import Node
from walytis_core.network.port import Network, Stream, StreamHandler
from walytis_core.session import SYNC_PROTOCOL

_CEILING: Final = "two processes over raw TCP, every block checked and stored"


class Joined(NamedTuple):
    """What a joiner saw. Memory in MB, times in seconds."""

    blocks: int
    before_sync_s: float
    sync_s: float
    memory_before: float
    memory_after: float
    memory_peak: float


class Watch:
    """Notes when a network has its first sync stream; put on it before a node has it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.first_sync: float | None = None
        self._open_stream, self._serve = network.open_stream, network.serve
        vars(network).update(open_stream=self._opened, serve=self._served)

    def _note(self, protocol: str) -> None:
        if protocol == SYNC_PROTOCOL:
            self.first_sync = self.first_sync or time.perf_counter()

    async def _opened(self, peer: str, protocol: str) -> Stream:
        stream = await self._open_stream(peer, protocol)
        self._note(protocol)
        return stream

    def _served(self, protocol: str, handler: StreamHandler) -> None:
        async def noted(stream: Stream) -> None:
            self._note(protocol)
            await handler(stream)

        self._serve(protocol, noted)


def join(bench: Bench) -> Iterable[Row]:
    """Joins of a short chain and of a long one, each in turns with its ceiling; the joiner's memory."""
    short, long = bench.count(10_000, 300), bench.count(100_000, 900)
    rounds = bench.count(ROUNDS, 1)
    few, lower = _joins(bench, short, rounds)
    many, upper = _joins(bench, long, bench.count(2, 1))
    ceiling = max(lower, upper)
    fastest = {count: min(joins, key=lambda one: one.sync_s) for count, joins in ((short, few), (long, many))}
    for count, joined in fastest.items():
        rate = joined.blocks / joined.sync_s
        yield beside(f"join over the embedded network, {count:,} blocks", rate, _CEILING, ceiling, 0.6)
        yield shown("  dial and admission before that", 1000 * joined.before_sync_s, "ms")
    per_block = [joined.sync_s / joined.blocks for joined in fastest.values()]
    yield under("  time per block of the long join beside the short one", per_block[1] / per_block[0], "x", 1.3)
    grown = max(joined.memory_peak - joined.memory_before for joined in many)
    yield under(f"memory growth at the peak of a join of {long:,}", grown, "MB", 30)
    left = max(joined.memory_after - joined.memory_before for joined in many)
    yield shown("  what of it is left after the join", left, "MB")


def _ceiling(bench: Bench, count: int) -> float:
    with tempfile.TemporaryDirectory(dir=bench.directory) as fresh:
        return ceilings.CEILINGS[_CEILING].function(Path(fresh), count)


def _joins(bench: Bench, count: int, rounds: int) -> tuple[list[Joined], float]:
    """Joins, each after a run of the ceiling; and the best of these."""
    folder = bench.folder(f"inviter-{count}")
    fill(folder, count, 3)
    with Node.open(folder) as node:
        invitation = str(node.chain(CHAIN_NAME).invite(uses=None))
        joins, ceiling = [], 0.0
        for turn in range(rounds):
            ceiling = max(ceiling, _ceiling(bench, bench.count(20_000, 300)))
            joins.append(_join_once(bench.folder(f"joiner-{count}-{turn}"), invitation, count))
        return joins, ceiling


def _join_once(folder: Path, invitation: str, count: int) -> Joined:
    return join_once(folder, invitation, count, EMBEDDED)


def join_once(folder: Path, invitation: str, count: int, rpc: str) -> Joined:
    """One join in a process of its own, on the daemon behind an RPC address or embedded."""
    with child(joiner, str(folder), invitation, rpc) as other:
        joined: Joined = other.hear()
    assert joined.blocks == count, f"{joined.blocks} of {count} blocks arrived"
    return joined


def joiner(inviter: Child, folder: str, invitation: str, rpc: str) -> None:
    """The joining process."""
    watch = Watch(network_on(rpc))
    with Node.open(folder, network=watch.network) as node:
        node.addresses()  # the network is up
        before = memory_mb()
        forget_peak()
        asked = time.perf_counter()
        chain = node.join(invitation).result(timeout=150)
        joined = time.perf_counter()
        assert watch.first_sync is not None
        peak = peak_mb()
        times = watch.first_sync - asked, joined - watch.first_sync
        inviter.tell(Joined(len(chain), *times, before, memory_mb(), peak))
