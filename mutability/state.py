"""The rule of a chain, the verdict on one change, and the fold: which version of an object is the current one.

A verdict depends on what is changed by whom, and on the verdicts on the versions that the block names: a function of
the causal past, and final. That the object is in that past follows, down to the block that created it. Each object is a
part of its own (`Layer.key`), and a late block costs one step there. Invariants: heads are the obeyed versions that none
replaces; the current one is the last of them in canonical order; a step costs what its block names. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from mutability.payloads import CREATED, DELETED, EDITED, PREFIX, RESTORED, Change, decode
from walytis_core import cbor
from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import InvalidInputError, RemoteError
from walytis_core.layer import Layer
from walytis_core.past import Past
from walytis_core.policy import Policy
from walytis_core.standing import Obeyed, Standing, Void, Wait

State: TypeAlias = dict[str, str]
"""Of heads, by ids in hex: height, space, media type; of deletions the height. "" if a version had content beside it."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Who may create, edit, delete and restore the objects of a chain.

    `AUTHOR`: whoever created an object; `ANYONE`: whoever may write; or a function, asked about what is else in order:

    >>> def keep(change, author, past):
    ...     return Void("nothing is deleted here") if change.kind == DELETED else Obeyed()
    >>> rule = Rule("keep/1", keep)

    Args:
        name: Tells rules apart: with another one all is judged anew.
        judge: Says `Obeyed()`, `Void(reason)` or `Wait(chain, heads)`: a pure function of a change, the multikey of its
            author and its causal past (docs/guides/layers.md).
    """

    name: str
    judge: Callable[[Change, bytes, Past], Standing]

    @property
    def data(self) -> bytes:
        """Names the rule in a genesis, so that all who join the chain have the same: `create_chain(..., data=)`."""
        return cbor.encode({PREFIX: self.name})


def _only_its_author(change: Change, author: bytes, past: Past) -> Standing:
    if change.object is None or past.header(change.replaces[0]).author == author:  # theirs is its author's
        return Obeyed()
    return Void("only its author may change this object")


AUTHOR: Final = Rule("author", _only_its_author)
ANYONE: Final = Rule("anyone", lambda _change, _author, _past: Obeyed())


def rule_of(policy: Policy, asked: Rule | None) -> Rule:
    """The rule that a genesis names; else the one asked for, or `AUTHOR`. Raises `InvalidInputError` if they differ."""
    name = policy.named(PREFIX)
    rule = asked or next((known for known in (AUTHOR, ANYONE) if name in (None, known.name)), None)
    if rule is None or name not in (None, rule.name):
        raise InvalidInputError(f"the rule of this chain's objects is {name!r}", hint="Give it: Mutable(chain, rule).")
    return rule


def verdict(rule: Rule, change: Change, author: bytes, named: Collection[BlockId], past: Past) -> Standing:
    """What is to be made of a change; `named` is what its block names, and `past` what its author had seen."""
    if not set(change.named) <= set(named):
        return Void("it builds on a version that is not among its parents")
    for standing in map(past.standing, change.named):
        if isinstance(standing, Void):
            return Void("it builds on what is void, or no version of this object")
        if isinstance(standing, Wait):
            return standing
    if change.kind == EDITED and all(past.header(id).type == DELETED for id in change.replaces):
        return Void("it edits what is deleted")
    if change.kind == RESTORED and past.header(change.named[-1]).type not in (CREATED, EDITED):
        return Void("it restores what has no content")
    return rule.judge(change, author, past)


class Head(NamedTuple):
    """A version that nothing replaces. They sort in canonical order. One that restores another tells no media type."""

    height: int
    id: BlockId
    is_deleted: bool
    media_type: str
    is_droppable: bool


def layer_of(rule: Rule) -> Layer:
    """The layer of a chain whose objects are changed by this rule."""

    def check(block: Block, past: Past) -> Standing:
        return verdict(rule, decode(block), block.author, block.ancestors_named, past)

    return Layer(
        PREFIX, check, step, lambda state: (state, {}), key=key_of, initial={}, version=f"2 {rule.name}",
        long_content=True, commutes=True,
    )  # fmt: skip


def key_of(block: Block) -> bytes | None:
    """The object that a block touches; None when it does not say so properly."""
    try:
        return bytes(decode(block).object or block.id)
    except RemoteError:
        return None


def step(state: State, block: Block) -> State:
    """Adds an obeyed version; changes the state it is given."""
    change = decode(block)
    for id in change.replaces:
        state.pop(id.hex(), None)
    media_type = change.detail if change.kind in (CREATED, EDITED) else ""
    state[block.id.hex()] = str(block.height) if change.kind == DELETED else f"{block.height} {media_type}"
    state.update({} if block.content is None else {"": ""})
    return state


def heads_of(state: State) -> list[Head]:
    """The heads, the current version first."""
    rows = ((id, *said.partition(" ")) for id, said in state.items() if id)
    found = (Head(int(at), BlockId(bytes.fromhex(id)), not gap, type, "" in state) for id, at, gap, type in rows)
    return sorted(found, reverse=True)
