"""Objects that are edited: what an edit costs beside a plain append, and what their fold costs to make, keep and read.

A version is the block of all figures here: 100 bytes and one topic. Whoever made an object edits it, by the rule that holds
where none is named. Chains are written without being folded; a child of its own then opens them, folds and reads.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import sample
from typing import Any, Final

from benchmarks import ceilings
from benchmarks.live import quantile
from benchmarks.material import CHAIN_NAME, PAYLOAD_BYTES, TOPIC, Maker, write
from benchmarks.peers import Child, child, forget_peak, memory_mb, peak_mb
from benchmarks.table import ROUNDS, Bench, Row, shown, under
from mutability import ANYONE, Mutable
from mutability.payloads import CREATED, EDITED, Change, encode
from mutability.state import State, layer_of, step
from walytis_core import Block, BlockId, Node
from walytis_core.block import Draft, Place, create, draft
from walytis_core.events import Came
from walytis_core.messages import Why
from walytis_core.network.memory import MemoryHub, MemoryNetwork
from walytis_core.screening import screen
from walytis_core.signer import Ed25519Signer

_OBJECTS: Final = 100
_APPENDS_PER_S: Final = 2_450  # what such a machine has shown: far below it, only the disk is measured
_OPENINGS: Final = 5


def edit(bench: Bench) -> Iterable[Row]:
    """`Mutable.edit` beside `Chain.append`, on two nodes that take turns: a hundred of each at a time."""
    turns = bench.count(15, 1)
    editing = appending = 0.0
    with _node(bench.folder("plain")) as plain_node, _node(bench.folder("objects")) as node:
        plain, notes = plain_node.create_chain(CHAIN_NAME), Mutable(node.create_chain(CHAIN_NAME))
        ids = [notes.create(_payload(), topics=[TOPIC]).object for _ in range(_OBJECTS)]
        for _ in range(bench.count(ROUNDS, 1)):
            append_s = edit_s = 0.0
            for _ in range(turns):
                append_s += _timed(lambda: [plain.append(_payload(), topics=[TOPIC]) for _ in ids])
                edit_s += _timed(lambda: [notes.edit(id, _payload()) for id in ids])
            appending = max(appending, turns * _OBJECTS / append_s)
            editing = max(editing, turns * _OBJECTS / edit_s)
    ratio, is_void = editing / appending, appending < ceilings.VOID_BELOW * _APPENDS_PER_S
    yield Row(
        measure=f"edit, durable each, {_OBJECTS} objects in turn",
        value=editing,
        unit="blocks/s",
        ceiling=appending,
        ratio=ratio,
        target=">= 0.8 of plain appends in turn with it",
        met=None if is_void else ratio >= 0.8,
    )


def fold(bench: Bench) -> Iterable[Row]:
    """Folding chains of four shapes from nothing; memory, opening and reading where objects are many; late blocks."""
    versions = bench.count(100_000, 300)
    for objects in (versions, versions // 10, versions // 100, 1):
        folder = bench.folder(f"objects-{objects}")
        ids = fill(folder, objects, versions // objects)
        with child(folding, str(folder)) as other:
            fold_s, peak, left = other.hear()
        each = versions // objects
        shape = f"{objects:,} object{'s' if objects > 1 else ''} of {each:,} version{'s' if each > 1 else ''}"
        yield under(f"fold from nothing: {shape}", fold_s, "s", 5)
        if objects == versions:
            yield under("  memory growth at its peak", peak, "MB", 30)
            yield shown("  what of it is left", left, "MB")
        with child(reader, str(folder), sample(ids, min(bench.count(2000, 50), objects))) as other:
            opening_ms, times = other.hear()
        yield shown("  opening it again, the fold as it was saved", opening_ms, "ms")
        if objects == versions:
            yield under("  current version of one of them, at random, p50", quantile(times, 0.5), "ms", 1)
            yield under("    p99", quantile(times, 0.99), "ms", 1)
        elif objects == versions // 100:
            yield from _late(bench, folder, ids)


def fill(folder: Path, objects: int, each: int) -> list[BlockId]:
    """Writes a chain of so many objects, each of so many versions, without folding it; gives the objects' ids."""
    maker = Maker(1)
    newest: dict[BlockId, BlockId] = {}
    write(folder, maker, versions(maker, newest, objects, each))
    return [*newest]


def versions(maker: Maker, newest: dict[BlockId, BlockId], objects: int, each: int) -> Iterator[Block]:
    """Makes objects, then edits each of them in its turn; `newest` takes the newest version of each."""
    for _ in range(objects):
        block = maker.next(_said(CREATED))
        newest[block.id] = block.id
        yield block
    for _ in range(each - 1):
        for object, replaced in newest.items():
            block = maker.next(_said(EDITED, object, replaced), (replaced,))
            newest[object] = block.id
            yield block


def _said(kind: str, object: BlockId | None = None, replaced: BlockId | None = None) -> Draft:
    change = Change(kind, "text/plain", object, () if replaced is None else (replaced,))
    return draft(_payload(), topics=[TOPIC], type=kind, ext=encode(change))


def folding(asker: Child, folder: str) -> None:
    """Folds a chain from nothing; says how long it took, and what memory it took and kept."""
    with _node(Path(folder)) as node:
        chain = node.chain(CHAIN_NAME)
        before = memory_mb()
        forget_peak()
        elapsed = _timed(lambda: Mutable(chain))
        peak = peak_mb()
        asker.tell([elapsed, peak - before, memory_mb() - before])


def reader(asker: Child, folder: str, ids: Sequence[BlockId]) -> None:
    """Opens a folded chain a few times, and reads the current versions of objects, each for the first time."""
    openings: list[float] = []
    times: list[float] = []
    while len(openings) < _OPENINGS:
        with _node(Path(folder)) as node:
            chain = node.chain(CHAIN_NAME)
            started = time.perf_counter()
            notes = Mutable(chain)
            openings.append(1000 * (time.perf_counter() - started))
            times = _each(ids, partial(_read, notes))
    asker.tell([statistics.median(openings), times])


def _read(notes: Mutable, id: BlockId) -> None:
    assert len(notes.get(id).content) == PAYLOAD_BYTES


def _late(bench: Bench, folder: Path, ids: Sequence[BlockId]) -> Iterable[Row]:
    late = sample(ids, min(bench.count(500, 2), len(ids)))
    with child(receiver, str(folder), late) as other:
        times, refolded, edits = other.hear()
    yield under("  until a late second version of one of them counts, p50", quantile(times, 0.5), "ms", 100)
    yield under("    steps of the fold for it, at most", max(refolded), "steps", 2)  # not one for each of its versions
    yield shown("  an edit of one of them, durable, p50", quantile(edits, 0.5), "ms")


def receiver(asker: Child, folder: str, ids: Sequence[BlockId]) -> None:
    """Takes a block for each of some objects that comes after all others, and names the object's first version alone."""
    steps = [0]
    layer = layer_of(ANYONE)

    def counted(state: State, block: Block) -> Any:
        steps[-1] += 1
        return step(state, block)

    times = []
    with _node(Path(folder)) as node:
        chain = node.chain(CHAIN_NAME)
        chain.use(replace(layer, step=counted))  # folds all of it: by another rule than it was saved with
        notes = Mutable(chain, ANYONE)
        for id in ids:
            signer, first = Ed25519Signer(os.urandom(32)), chain.block(id)
            place = Place(chain.id, 0, chain.id, (id,), first.height + 1)
            block = create(signer, place, _said(EDITED, id, id), time.time_ns() // 1_000_000)
            steps.append(0)
            started = time.perf_counter()
            chain.engine.handle(Came("peer", Why.PULLED, screen([block.encoded], chain.engine.known)))
            assert [one.id for one in notes.conflicts(id)] == [block.id]
            times.append(1000 * (time.perf_counter() - started))
        refolded = steps[1:]
        edits = _each(ids, lambda id: notes.edit(id, _payload()))
    asker.tell([sorted(times), refolded, edits])


def _node(folder: Path) -> Node:
    return Node.open(folder, network=MemoryNetwork(MemoryHub()))


def _payload() -> bytes:
    return os.urandom(PAYLOAD_BYTES)


def _each(ids: Sequence[BlockId], function: Callable[[BlockId], object]) -> list[float]:
    """How many milliseconds it takes for each object, sorted."""
    return sorted(1000 * _timed(partial(function, id)) for id in ids)


def _timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
