"""The fold: which versions of an object nothing replaces, and which of them is the current one.

Each object is a part of its own (`Layer.key`), so a late block folds that object alone again, and reading one costs the
same however many there are. Invariants: heads are the obeyed versions that no obeyed version replaces; the current one
is the last of them in canonical order; a step costs what its block names, however many heads there are. Pure.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from mutability.payloads import DELETED, PREFIX, decode
from mutability.rules import Rule, verdict
from walytis_core import Block, BlockId, Layer, Past, RemoteError, Standing

_FORMAT: Final = 1

State: TypeAlias = list[Any]
"""`[heads, count]`: heads by their ids in hex, each `[height, whether it deletes]`; how many versions there are."""


class Head(NamedTuple):
    """A version that nothing replaces. They sort in canonical order."""

    height: int
    id: BlockId
    is_deleted: bool


def layer_of(rule: Rule) -> Layer:
    """The layer of a chain whose objects are changed by this rule."""

    def check(block: Block, past: Past) -> Standing:
        return verdict(rule, decode(block), block.author, block.ancestors_named, past)

    version = f"{_FORMAT} {rule.name}"
    return Layer(PREFIX, check, step, finish, key=key_of, initial=[{}, 0], version=version, long_content=True)


def key_of(block: Block) -> bytes | None:
    """The object that a block touches; None when it does not say so properly."""
    try:
        return bytes(decode(block).object or block.id)
    except RemoteError:
        return None


def step(state: State, block: Block) -> State:
    """Adds an obeyed version; changes the state it is given."""
    heads = state[0]
    for id in decode(block).replaces:
        heads.pop(id.hex(), None)
    heads[block.id.hex()] = [block.height, block.type == DELETED]
    state[1] += 1
    return state


def finish(state: State) -> tuple[State, dict[BlockId, str]]:
    """Nothing is voided by what came later."""
    return state, {}


def heads_of(state: State) -> list[Head]:
    """The heads, the current version first."""
    found = (Head(height, BlockId(bytes.fromhex(id)), deleted) for id, (height, deleted) in state[0].items())
    return sorted(found, reverse=True)


def count_of(state: State) -> int:
    """How many versions there are."""
    count: int = state[1]
    return count
