"""How fast a chain is joined over the embedded network: the inviter here, the joiner in a process of its own.

The clock runs from the moment the joiner has its sync stream, before the first frame on it, until the join's result is
there, after the last commit. Dial and admission, before that, are told apart.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import ceilings
from benchmarks.material import CHAIN_NAME, fill
from benchmarks.peers import Child, child, forget_peak, memory_mb, peak_mb
from benchmarks.table import ROUNDS, Bench, Row, beside, shown, under
from walytis_core import Node
from walytis_core.network.libp2p import Libp2pNetwork
from walytis_core.network.port import Stream, StreamHandler
from walytis_core.session import SYNC_PROTOCOL

_CEILING: Final = "two processes over raw TCP, every block checked and stored"
LOOPBACK: Final = ("/ip4/127.0.0.1/tcp/0",)


class Joined(NamedTuple):
    """What a joiner saw. Memory in MB, times in seconds."""

    blocks: int
    before_sync_s: float
    sync_s: float
    memory_before: float
    memory_after: float
    memory_peak: float


class _Watched(Libp2pNetwork):
    """The embedded network; notes when the first sync stream is there."""

    def __init__(self, listen: Sequence[str]) -> None:
        super().__init__(listen=listen)
        self.first_sync: float | None = None

    async def open_stream(self, peer: str, protocol: str) -> Stream:
        stream = await super().open_stream(peer, protocol)
        if protocol == SYNC_PROTOCOL:
            self.first_sync = self.first_sync or time.perf_counter()
        return stream

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        async def noted(stream: Stream) -> None:
            if protocol == SYNC_PROTOCOL:
                self.first_sync = self.first_sync or time.perf_counter()
            await handler(stream)

        super().serve(protocol, noted)


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
    with child(joiner, str(folder), invitation) as other:
        joined: Joined = other.hear()
    assert joined.blocks == count, f"{joined.blocks} of {count} blocks arrived"
    return joined


def joiner(inviter: Child, folder: str, invitation: str) -> None:
    """The joining process."""
    network = _Watched(LOOPBACK)
    with Node.open(folder, network=network) as node:
        node.addresses()  # the network is up
        before = memory_mb()
        forget_peak()
        asked = time.perf_counter()
        chain = node.join(invitation).result(timeout=150)
        joined = time.perf_counter()
        assert network.first_sync is not None
        peak = peak_mb()
        times = network.first_sync - asked, joined - network.first_sync
        inviter.tell(Joined(len(chain), *times, before, memory_mb(), peak))
