"""What an upper layer is: a prefix, `check`, `step`, `finish`; and which layer a block belongs to.

A layer is payload types under one prefix, a judgement of each block in its own causal past, and a fold of what passed
(DESIGN, rule 2). All of it is pure: given the same folded set, every node comes to the same state, whatever arrived
first. This file runs nothing; `view.py` does. How to write one: docs/guides/layers.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from walytis_core.block import Block
from walytis_core.cbor import Value, encode
from walytis_core.cid import BlockId
from walytis_core.errors import InvalidInputError
from walytis_core.past import Past
from walytis_core.standing import Standing

_CORE_PREFIX: Final = "core/"

Key: TypeAlias = str | bytes | None
"""Names a part of a layer's state."""

Check: TypeAlias = Callable[[Block, Past], Standing]
Step: TypeAlias = Callable[[Any, Block], Any] | Callable[[Any, Block, Past], Any]
Finish: TypeAlias = Callable[[Any], tuple[Any, Mapping[BlockId, str]]]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A layer on the core: hand it to `Node.open(..., layers=[...])`.

    `check`, `step`, `finish`, `key` and `removed` are pure functions, and should raise nothing for whatever bytes a
    block holds, but for a `RemoteError` in `check` (a payload that `cbor.decode` refuses), which makes the block void.
    Anything else they raise is a bug of the layer that a stranger can call up: it is logged, and never ends the node.
    The block on which `check`, `key` or `step` failed is void, with the reason "the layer failed on it: " and the
    exception's type; after `step`, the state goes on as if the block were not there. When `finish` or `removed` fails,
    nobody is voided or removed by it; `value` raises `LocalError` while `finish` fails. States are DAG-CBOR data (`cbor.Value`) made of lists, not tuples: they come
    back from the disk as such. `step` returns a new state, or changes the one it was given.

    Args:
        prefix: The start of the `type` of all its blocks, up to and with the one slash: ``"identities/"``.
        check: Judges a block by itself and its causal past, and nothing else.
        step: Adds an obeyed block to the state; called in canonical order, unless the layer `commutes`. Where it
            `looks_back`, it is given the block's past as well.
        finish: Makes the value that users read from a state, and may void more blocks: the reason by block id.
        key: Says which part of the state a block touches, so that a late block folds only that part again. Each
            part has its own state, from `initial` on, and its own value; None names a part as well.
        removed: Reads from the value the author keys whose heads own blocks must not name. Not together with `key`.
        initial: The state before the first block.
        version: Change it when `check`, `step`, `key` or the form of states change: the view is then made anew.
        long_content: Whether blocks with content above the inline limit are judged by `check`, which cannot read
            their payload; they are void otherwise.
        commutes: Whether `step` gives the same state, and fails on the same blocks, in whatever order blocks come, as
            long as what a block builds on, and `check` has read, comes before it. A late block then costs one step.
        looks_back: Whether `step` is called as `step(state, block, past)`, with the past that `check` was given. It
            says there what it says on every node: `past.of` is never None and `past.standing` never `Wait`. A block
            whose `step` asks for what is not held here, or is damaged, waits for it and is not in the state until then.

    Raises:
        InvalidInputError: The prefix is not one, or the arguments do not go together.

    A poll, in which the last vote of each author counts:

    >>> from walytis_core.standing import Obeyed, Void
    >>> def check(block, past):
    ...     return Obeyed() if block.payload in (b"yes", b"no") else Void("neither yes nor no")
    >>> def step(votes, block):
    ...     return {**votes, block.author.hex(): block.payload == b"yes"}
    >>> def finish(votes):
    ...     return sum(votes.values()), {}
    >>> poll = Layer("poll/", check, step, finish, initial={})

    and its value on a chain:

    >>> from walytis_core.block import Place, create, draft
    >>> from walytis_core.policy import Policy, create_genesis
    >>> from walytis_core.signer import Ed25519Signer
    >>> from walytis_core.store.memory import MemoryStore
    >>> from walytis_core.store.port import Commit
    >>> from walytis_core.view import View
    >>> author = Ed25519Signer(bytes(32))
    >>> genesis = create_genesis(author, Policy(None, "everyone"), bytes(16), 0)
    >>> chain = MemoryStore().create_chain(genesis, "poll")
    >>> view = View(poll, chain)
    >>> vote = create(author, Place(genesis.id, 1, genesis.id, (), 1), draft(b"yes", type="poll/vote"), 0)
    >>> numbers = chain.commit(Commit(blocks=[vote]))
    >>> view.arrived([vote])
    ()
    >>> view.value, view.standing(vote.id)
    (1, Obeyed())
    """

    prefix: str
    check: Check
    step: Step
    finish: Finish
    key: Callable[[Block], Key] | None = None
    removed: Callable[[Any], frozenset[bytes]] | None = None
    initial: Value = None
    version: int | str = 1
    long_content: bool = False
    commutes: bool = False
    looks_back: bool = False

    def __post_init__(self) -> None:
        if self.prefix.find("/") != len(self.prefix) - 1 or len(self.prefix) < 2:
            raise InvalidInputError(f"the prefix of a layer ends with its only slash: {self.prefix!r}")
        if self.prefix == _CORE_PREFIX:
            raise InvalidInputError(f"block types that start with {_CORE_PREFIX} are the core's own")
        if self.key is not None and self.removed is not None:
            raise InvalidInputError("a layer that gives `key` has no one value that `removed` could read")
        encode(self.initial)

    def owns(self, type: str) -> bool:
        """Whether blocks of this type are the layer's."""
        return type.startswith(self.prefix)

    def key_of(self, block: Block) -> Key:
        """The part of the state that a block touches."""
        return None if self.key is None else self.key(block)


def by_prefix(layers: Iterable[Layer]) -> dict[str, Layer]:
    """Layers by their prefix.

    Raises:
        InvalidInputError: Two have the same one.
    """
    found: dict[str, Layer] = {}
    for layer in layers:
        if layer.prefix in found:
            raise InvalidInputError(f"two layers with the prefix {layer.prefix!r}")
        found[layer.prefix] = layer
    return found


def prefix_of(type: str) -> str:
    """The prefix that a layer must have for blocks of this type to be its own; empty when no layer can."""
    head, slash, _ = type.partition("/")
    return head + slash if slash else ""
