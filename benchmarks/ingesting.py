"""How fast foreign blocks are taken in, from bytes to durable: screened on two threads, handled by the chain's engine.

The same two steps, in the same arrangement, as `walytis_core.session` takes with each frame of blocks; only the stream is
left out. Blocks are made before the clock runs.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import random
from typing import Final

from benchmarks.material import CHAIN_NAME, Maker
from benchmarks.table import Bench, Row, at_least, rates, shown
from walytis_core.engine import Engine, NetworkEffect
from walytis_core.errors import Reason
from walytis_core.events import Came
from walytis_core.limits import Limits
from walytis_core.messages import Why
from walytis_core.parking import Budget
from walytis_core.policy import read_genesis
from walytis_core.screening import Screened, screen
from walytis_core.store.sqlite import SqliteStore

_PARTS: Final = 5


class _Nowhere:
    """The outlet of an engine without a network."""

    def perform(self, effects: Sequence[NetworkEffect]) -> None:
        """Tells nobody."""

    def reset(self) -> None:
        """There is no stream to close."""

    def fault(self, reason: Reason, peer: str) -> None:
        """Blocks that are refused would make the figure worthless."""
        raise AssertionError(f"refused: {reason}")


def few_and_many_authors(bench: Bench) -> Iterable[Row]:
    """Ingest of a chain by 3 authors, and of one by 100."""
    count = bench.count(20_000, 600)
    measures = {}
    for authors in (3, 100):
        maker = Maker(authors)
        batches = list(maker.batches(count))
        measures[f"ingest of foreign blocks, {authors} authors"] = partial(_ingest_afresh, maker, batches)
    return rates(bench, "check every signature and store, 2 threads", 0.65, measures)


def along_a_long_chain(bench: Bench) -> Iterable[Row]:
    """The rate at the end of a long chain beside that at its start; each the median of five parts."""
    part = bench.count(10_000, 300)
    chain_parts = 6 * _PARTS
    maker = Maker(3)
    store = SqliteStore.open(bench.folder("long"))
    try:
        engine = _engine(store, maker)
        speeds = [_ingest(engine, list(maker.batches(part))) for _ in range(chain_parts)]
    finally:
        store.close()
    first, last = statistics.median(speeds[:_PARTS]), statistics.median(speeds[-_PARTS:])
    total, half = chain_parts * part, _PARTS * part
    yield shown(f"ingest rate of the first {half:,} of {total:,} blocks", first, "blocks/s")
    yield shown(f"ingest rate of the last {half:,}", last, "blocks/s")
    yield at_least("  the last as a share of the first", last / first, "of it", 0.7)


def _ingest_afresh(maker: Maker, batches: Sequence[Sequence[bytes]], folder: Path) -> float:
    store = SqliteStore.open(folder)
    try:
        return _ingest(_engine(store, maker), batches)
    finally:
        store.close()


def _engine(store: SqliteStore, maker: Maker) -> Engine:
    chain = store.create_chain(maker.genesis, CHAIN_NAME)
    return Engine(read_genesis(maker.genesis), chain, _Nowhere(), random, Budget())


def _ingest(engine: Engine, batches: Sequence[Sequence[bytes]]) -> float:
    before, count = engine.store.count, sum(map(len, batches))
    under_way: deque[Future[Screened]] = deque()
    with ThreadPoolExecutor(2) as pool:
        started = time.perf_counter()
        for batch in batches:
            under_way.append(pool.submit(screen, batch, engine.known))
            if len(under_way) == Limits.credit_frames:
                engine.handle(Came("peer", Why.PULLED, under_way.popleft().result()))
        while under_way:
            engine.handle(Came("peer", Why.PULLED, under_way.popleft().result()))
        elapsed = time.perf_counter() - started
    assert engine.store.count == before + count
    return count / elapsed
