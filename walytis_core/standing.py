"""What a layer makes of a block: obeyed, void, or not known yet.

Standing hides, it never drops (DESIGN, rule 3): a void or waiting block is a member like any other. `Obeyed` and `Void`
as `Layer.check` says them are final; `Wait` is not, and neither is what `Layer.finish` adds. This file knows no layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from walytis_core.cbor import Value
from walytis_core.cid import BlockId
from walytis_core.errors import NotAllowedError, StorageError, UnavailableError


@dataclass(frozen=True, slots=True)
class Obeyed:
    """The block counts."""


@dataclass(frozen=True, slots=True)
class Void:
    """The block is kept and never obeyed.

    Attributes:
        reason: One plain phrase, for people; the same on every node.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Failed(Void):
    """`Layer.step` failed on a block that `check` obeys. Inside a fold alone: users see `Void`.

    Not final, since it depends on the state: it is tried again whenever the fold goes back below the block.
    """


@dataclass(frozen=True, slots=True)
class Wait:
    """Whether the block counts depends on blocks of a chain, which are not held here yet.

    Attributes:
        chain: The chain.
        heads: The blocks of it that, with all their ancestors, must be held.
    """

    chain: BlockId
    heads: tuple[BlockId, ...]


Standing: TypeAlias = Obeyed | Void | Wait

OBEYED = Obeyed()


def require_obeyed(standing: Standing) -> None:
    """Tells who wrote, or is about to write, a block.

    Raises:
        NotAllowedError: It is void.
        UnavailableError: It waits.
    """
    match standing:
        case Void(reason):
            raise NotAllowedError(reason, hint="This is what the layer that the block belongs to makes of it.")
        case Wait():
            raise UnavailableError(
                "whether this is allowed depends on blocks that are not held here yet, or are damaged"
            )


def to_value(standing: Standing) -> Value:
    """A standing as data."""
    match standing:
        case Failed(reason):
            return [reason]
        case Void(reason):
            return reason
        case Wait(chain, heads):
            return [bytes(chain), *map(bytes, heads)]
        case _:
            return None


def from_value(value: Value) -> Standing:
    """Reads what `to_value` made."""
    match value:
        case None:
            return OBEYED
        case str():
            return Void(value)
        case [str() as reason]:
            return Failed(reason)
        case [bytes() as chain, *heads]:
            return Wait(BlockId(chain), tuple(BlockId(head) for head in heads if isinstance(head, bytes)))
        case _:
            raise StorageError("a saved view holds a standing that this version does not know")
