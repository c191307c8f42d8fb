"""What a version of an object says: what it does, to which object, and which versions it replaces; how it is written.

Layout: docs/spec/objects.md. The content of a version is the payload of its block, untouched, short or long; what is
said about it stands in the block's `ext`, so that it is there before long content is, and after that is dropped.
Invariant: there is one way to write each change, and nothing else is read. This file knows neither chains nor rules.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

from walytis_core import cbor
from walytis_core.block import Block
from walytis_core.cid import BlockId, is_block_id
from walytis_core.errors import Reason, RemoteError
from walytis_core.limits import Limits
from walytis_core.media_type import is_media_type

PREFIX: Final = "mutability/"
CREATED, EDITED, DELETED, RESTORED = (PREFIX + kind for kind in ("created", "edited", "deleted", "restored"))
EXT: Final = "mutability"
MAX_REPLACED: Final = 22  # ids of 36 bytes: with an object's id and the longest media type they fill the 1 KiB of `ext`


class Change(NamedTuple):
    """What a version says.

    Attributes:
        kind: The type of its block.
        detail: The media type of its content (`CREATED`, `EDITED`); whether contents were dropped (`DELETED`); the
            version whose content is the object's again (`RESTORED`).
        object: The object's id; None when it creates one, whose id is then the block's.
        replaces: The versions in whose place it comes: 1 to 22, sorted; none when it creates.
    """

    kind: str
    detail: str | bool | BlockId
    object: BlockId | None = None
    replaces: tuple[BlockId, ...] = ()

    @property
    def named(self) -> tuple[BlockId, ...]:
        """The versions that its block must name as `prev` or parents."""
        return (*self.replaces, cast(BlockId, self.detail)) if self.kind == RESTORED else self.replaces


def encode(change: Change) -> dict[str, bytes]:
    """The `ext` of a block that says this.

    >>> encode(Change(CREATED, "text/plain"))["mutability"].hex()
    '83f6806a746578742f706c61696e'
    """
    object, detail = (bytes(part) if isinstance(part, BlockId) else part for part in (change.object, change.detail))
    return {EXT: cbor.encode([object, [bytes(id) for id in change.replaces], detail])}


def decode(block: Block) -> Change:
    """What a block of a type of ours says. Raises `RemoteError` (`BAD_PAYLOAD`) when it does not say it properly."""
    if block.type in (DELETED, RESTORED) and block.body != b"":
        raise RemoteError(Reason.BAD_PAYLOAD, "a deletion or a restoration has no content")
    return _read(block.type, block.ext.get(EXT, b""))


@lru_cache(maxsize=512)  # it is pure, and asked several times for each block
def _read(kind: str, data: bytes) -> Change:
    match value if cbor.pack(value := cast(Any, cbor.unpack(data))) == data else None:
        case [None, [], str(detail)] if kind == CREATED and is_media_type(detail):
            return Change(kind, detail)
        case [object, [*ids], detail] if _are_ids(object, ids):
            if is_media_type(detail) if kind == EDITED else kind == DELETED and type(detail) is bool:
                return Change(kind, detail, BlockId(object), tuple(map(BlockId, ids)))
            if kind == RESTORED and is_block_id(detail):
                return Change(kind, BlockId(detail), BlockId(object), tuple(map(BlockId, ids)))
    cbor.decode(data, max_bytes=Limits.max_ext_bytes, max_depth=2)  # as strict: tells what else is wrong
    raise RemoteError(Reason.BAD_PAYLOAD, "it is not said as the versions of an object are")


def _are_ids(object: Any, ids: list[Any]) -> bool:
    return all(map(is_block_id, [object, *ids])) and 0 < len(ids) <= MAX_REPLACED and ids == sorted(set(ids))
