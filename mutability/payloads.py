"""What a version of an object says: what it does, to which object, and which versions it replaces; and how it is written.

Layout: docs/spec/objects.md. The content of a version is the payload of its block, untouched, short or long; what is
said about it stands in the block's `ext`, so that it is there before long content is, and after that is dropped.
Invariant: there is one way to write each change, and nothing else is read. This file knows neither chains nor rules.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

from walytis_core import Block, BlockId, Limits, Reason, RemoteError, cbor
from walytis_core.cid import CID_BYTES, DAG_CBOR_PREFIX

PREFIX: Final = "mutability/"
CREATED, EDITED, DELETED, RESTORED = (PREFIX + kind for kind in ("created", "edited", "deleted", "restored"))
EXT: Final = "mutability"
MAX_REPLACED: Final = 24  # ids of 36 bytes: with an object's id and a media type they fill the 1 KiB of `ext`
MAX_MEDIA_TYPE: Final = 100  # characters: the longest that are registered have some 80
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][\w!#$&^.+-]*/[A-Za-z0-9][\w!#$&^.+-]*(;[ -~]*)?", re.ASCII)  # RFC 6838


class Change(NamedTuple):
    """What a version says.

    Attributes:
        kind: `CREATED`, `EDITED`, `DELETED` or `RESTORED`: the type of its block.
        detail: The media type of its content, when it creates or edits; whether contents were dropped, when it
            deletes; the version whose content is the object's again, when it restores.
        object: The object's id; None when it creates one, whose id is then the block's.
        replaces: The versions in whose place it comes: 1 to 24, sorted; none when it creates.
    """

    kind: str
    detail: str | bool | BlockId
    object: BlockId | None = None
    replaces: tuple[BlockId, ...] = ()

    @property
    def named(self) -> tuple[BlockId, ...]:
        """The versions that its block must name as `prev` or parents."""
        return (*self.replaces, cast(BlockId, self.detail)) if self.kind == RESTORED else self.replaces


def is_media_type(text: object) -> bool:
    """Whether this is a media type (RFC 6838) of at most 100 characters."""
    return isinstance(text, str) and len(text) <= MAX_MEDIA_TYPE and _MEDIA_TYPE.fullmatch(text) is not None


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
        raise _bad("a deletion or a restoration has no content")
    return _read(block.type, block.ext.get(EXT, b""))


@lru_cache(maxsize=512)  # it is pure, and asked several times for each block
def _read(kind: str, data: bytes) -> Change:
    match cast(Any, cbor.decode(data, max_bytes=Limits.max_ext_bytes, max_depth=2)):
        case [None, [], detail] if kind == CREATED and is_media_type(detail):
            return Change(kind, detail)
        case [object, [*ids], detail] if 0 < len(ids) <= MAX_REPLACED and _fits(kind, detail):
            replaces = tuple(map(_id, ids))
            if ids == sorted(set(ids)):
                return Change(kind, _id(detail) if kind == RESTORED else detail, _id(object), replaces)
    raise _bad("it is not said as the versions of an object are")


def _fits(kind: str, detail: object) -> bool:
    return kind == RESTORED or (is_media_type(detail) if kind == EDITED else kind == DELETED and type(detail) is bool)


def _id(value: object) -> BlockId:
    if type(value) is not bytes or len(value) != CID_BYTES or not value.startswith(DAG_CBOR_PREFIX):
        raise _bad("that is no block id")
    return BlockId(value)


def _bad(message: str) -> RemoteError:
    return RemoteError(Reason.BAD_PAYLOAD, message)
