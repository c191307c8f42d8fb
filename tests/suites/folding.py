"""A layer that notices everything, and what it must come to: for tests of views.

`recorder` keeps every block it obeys, in order, so any block missing, doubled or out of order shows in the state. What
a block does stands in its payload: see `check` and `finish`. `expected` says by definition what a view must show.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from walytis_core import entries, fold, folds, view
from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.dag import ancestors, canonical
from walytis_core.errors import NotFoundError, Reason, RemoteError
from walytis_core.layer import Key, Layer
from walytis_core.standing import Failed, Obeyed, Standing, Void, Wait
from walytis_core.store.memory import MemoryChain

PREFIX = "record/"
NEVER, THIRD, MALFORMED, CUT, WAIT = b"never", b"third", b"malformed", b"cut", b"wait"
PLAIN = b"plain"
BROKEN, FRAGILE = b"broken", b"fragile"
"""Payloads on which the layer has a bug: in `check`; in `step`, when the state has an odd length."""


@dataclass
class Counts:
    """How often a layer was asked."""

    checks: list[BlockId] = field(default_factory=list)
    steps: list[BlockId] = field(default_factory=list)

    def clear(self) -> None:
        self.checks.clear()
        self.steps.clear()


def recorder(
    counts: Counts | None = None,
    *,
    key: Callable[[Block], Key] | None = None,
    version: int = 1,
    looks_back: bool = False,
) -> Layer:
    """The layer. `wait` payloads go on with the id of a chain and of a head of it. See `sight` for `looks_back`."""
    counts = counts or Counts()

    def check(block: Block, past: Any) -> Standing:
        counts.checks.append(block.id)
        return judge(block, past)

    def step(state: list[Any], block: Block) -> list[Any]:
        counts.steps.append(block.id)
        if block.payload == FRAGILE and len(state) % 2:
            state.append("spoilt")
            raise KeyError(block.payload)
        return [*state, [bytes(block.id), block.payload]]

    def look_back(state: list[Any], block: Block, past: Any) -> list[Any]:
        *before, row = step(state, block)
        return [*before, [*row, sight(block, past)]]

    layer = Layer(PREFIX, check, step, finish, key=key, initial=[], version=version)
    return replace(layer, step=look_back, looks_back=True) if looks_back else layer


def sight(block: Block, past: Any) -> list[Any]:
    """What a step that looks back keeps: how much the block had seen, and that what it waited for is held."""
    is_held = not block.payload.startswith(WAIT) or past.of(*named_elsewhere(block)) is not None
    return [sum(1 for _ in past.blocks(PREFIX)), is_held]


def named_elsewhere(block: Block) -> tuple[BlockId, tuple[BlockId]]:
    """The chain and the heads that a `wait` payload names."""
    names = block.payload[len(WAIT) :]
    return BlockId(names[:36]), (BlockId(names[36:]),)


def judge(block: Block, past: Any) -> Standing:
    payload = block.payload
    if payload == NEVER:
        return Void("never")
    if payload == MALFORMED:
        raise RemoteError(Reason.BAD_PAYLOAD)
    if payload == BROKEN:
        raise IndexError(payload)
    if payload == THIRD:
        return Void("a third") if sum(1 for _ in past.blocks(PREFIX)) % 3 == 2 else Obeyed()
    if payload.startswith(WAIT):
        chain, heads = named_elsewhere(block)
        return Wait(chain, heads) if past.of(chain, heads) is None else Obeyed()
    return Obeyed()


def finish(state: list[Any]) -> tuple[Any, Mapping[BlockId, str]]:
    """A cut voids every block before it in canonical order whose id is odd."""
    last_cut = max((at for at, row in enumerate(state) if row[1] == CUT), default=0)
    voids = {BlockId(id): "cut" for id, *_ in state[:last_cut] if id[-1] % 2}
    return [id for id, *_ in state if id not in voids], voids


class PlainPast:
    """What `Past` must show, by definition."""

    def __init__(self, blocks: Mapping[BlockId, Block], start: Iterable[BlockId], other: MemoryChain | None) -> None:
        named = {id: block.ancestors_named for id, block in blocks.items()}
        ids = set(start)
        self.ids = ids | ancestors(named, ids)
        self._blocks = blocks
        self._other = other

    def __contains__(self, id: BlockId) -> bool:
        return id in self.ids

    def get(self, id: BlockId) -> Block:
        if id not in self.ids:
            raise NotFoundError("not in the past")
        return self._blocks[id]

    def blocks(self, prefix: str = "", *, newest_first: bool = False) -> Iterator[Block]:
        found = canonical(self._blocks[id] for id in self.ids if self._blocks[id].type.startswith(prefix))
        return iter(found[::-1] if newest_first else found)

    def of(self, chain: BlockId, heads: Collection[BlockId]) -> object | None:
        is_there = self._other is not None and self._other.id == chain and self._other.known(heads) == set(heads)
        return self if is_there else None


@dataclass
class Expected:
    """What a view must show."""

    states: dict[Key, Any]
    values: dict[Key, Any]
    standings: dict[BlockId, Standing]


def expected(
    layer: Layer, blocks: Mapping[BlockId, Block], folded: Collection[BlockId], other: MemoryChain | None = None
) -> Expected:
    """Folds from nothing, by definition."""
    standings: dict[BlockId, Standing] = dict.fromkeys(blocks, view.UNFOLDED)
    parts: dict[Key, list[Block]] = {}
    for block in canonical(blocks[id] for id in folded):
        standings[block.id] = Obeyed()
        if not layer.owns(block.type):
            continue
        try:
            standings[block.id] = judge(block, PlainPast(blocks, block.ancestors_named, other))
        except RemoteError as error:
            standings[block.id] = Void(str(error))
        except IndexError:
            standings[block.id] = Void("the layer failed on it: IndexError")
        parts.setdefault(layer.key_of(block), [])
        if standings[block.id] == Obeyed():
            parts[layer.key_of(block)].append(block)
    result = Expected({}, {}, standings)
    for key, obeyed in parts.items():
        state: list[Any] = []
        for block in obeyed:
            if block.payload == FRAGILE and len(state) % 2:
                standings[block.id] = Void("the layer failed on it: KeyError")
            else:
                state.append([bytes(block.id), block.payload])
                if layer.looks_back:
                    state[-1].append(sight(block, PlainPast(blocks, block.ancestors_named, other)))
        result.states[key] = state
        result.values[key], voids = finish(state)
        standings.update((id, Void(reason)) for id, reason in voids.items())
    return result


def assert_invariants(view: view.View) -> None:
    """What holds for the folds in memory, between calls."""
    folds_of = view._folds
    assert not folds_of._due
    assert not folds_of._saved.keys() & folds_of._changed.keys()
    assert not any(one.is_dirty for one in folds_of._saved.values())
    for one in (*folds_of._saved.values(), *folds_of._changed.values()):
        found = [entry for page in one._entries.after(None) for entry in page]
        places = [entry.place for entry in found]
        obeyed = [entry.place for entry in found if isinstance(entry.standing, Obeyed | Failed)]
        assert places == sorted(set(places))
        assert one._obeyed == one._reached == len(obeyed)
        assert not one.is_due
        assert one.is_waiting or not any(isinstance(entry.standing, Wait) for entry in found)
        for snapshot in one._snapshots:
            assert snapshot.obeyed in fold.kept(len(obeyed))
            assert snapshot.place == obeyed[snapshot.obeyed - 1]


@contextmanager
def small_limits() -> Iterator[None]:
    """Has a few blocks fill segments, snapshots, pages and memory."""
    with ExitStack() as stack:
        for module, name, value in (
            (entries, "_SEGMENT", 3), (entries, "_LOADED", 2), (entries, "_UNSAVED_BYTES", 1), (fold, "_SPACING", 2), (fold, "_MOST_OF_ONE_SPACING", 8),
            (fold, "_PAGE", 2), (folds, "_CHANGED", 2), (folds, "_MOST", 3), (folds, "_UNCHANGED", 2), (folds, "_TOUCHES", 2), (view, "_PAGE", 3), (view, "_SAVE_AFTER", 4),
        ):  # fmt: skip
            stack.enter_context(patch.object(module, name, value))
        yield
