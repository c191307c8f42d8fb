"""From what a user appends to drafts of blocks: short payloads go into them, longer ones into the store beside.

Invariants: content that only one call brought goes again when that call fails; a stream ends where it says so, by an
empty read, and never because a read was short.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import BinaryIO, cast

from walytis_core import content
from walytis_core.block import Draft, draft
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import InvalidInputError, NotFoundError, WalytisError
from walytis_core.limits import Limits
from walytis_core.store.port import ChainStore


class Drafting:
    """The drafts of one call.

    Args:
        tables: The chain's tables.
        topics, type, ext: Of each block.
        parents: Blocks that each block names whether they are heads or not.
        droppable: Whether short payloads, too, go into the store beside.

    Raises:
        InvalidInputError: Something is outside its limits.
    """

    def __init__(
        self,
        tables: ChainStore,
        *,
        topics: Collection[str],
        type: str,
        ext: Mapping[str, bytes] | None,
        parents: Collection[BlockId] = (),
        droppable: bool = False,
    ) -> None:
        self._tables = tables
        self._template = draft(b"", topics=topics, type=type, ext=ext)._replace(parents=tuple(parents))
        self._require_parents(parents)
        self._inline_bytes = -1 if droppable else Limits.max_payload_bytes
        self._fresh: list[Cid] = []
        if type.startswith("core/"):
            raise InvalidInputError("types that start with core/ are the library's own")

    def draft(self, payload: bytes | BinaryIO) -> Draft:
        """A draft with this payload."""
        if isinstance(payload, (bytearray, memoryview)):
            payload = bytes(payload)
        if isinstance(payload, bytes):
            if len(payload) <= self._inline_bytes:
                return self._template._replace(body=payload)
            payload = io.BytesIO(payload)
        if not hasattr(payload, "read"):
            raise InvalidInputError("a payload is bytes, or a binary stream", hint="Encode text first: text.encode().")
        stream = _Stream(payload)
        start = stream.read(Limits.max_payload_bytes + 1)
        if len(start) <= self._inline_bytes:
            return self._template._replace(body=start)
        stream.push_back(start)
        return self._template._replace(body=content.build(cast(BinaryIO, stream), self._put))

    def _require_parents(self, parents: Collection[BlockId]) -> None:
        if len(parents) > Limits.max_parents:
            raise InvalidInputError(f"a block names at most {Limits.max_parents} parents")
        metas = self._tables.metas(parents) if parents else {}
        for id in parents:
            if id == self._tables.id or id not in metas or not metas[id].folded:
                raise NotFoundError("a block cannot be named as a parent: this chain holds no such block here")

    def undo(self) -> None:
        """Forgets the content that only these drafts brought."""
        with suppress(WalytisError):
            self._tables.drop_side(self._fresh)

    def _put(self, cid: Cid, data: bytes) -> None:
        if not self._tables.has_side([cid]):
            self._fresh.append(cid)
        self._tables.put_side(cid, data)


class _Stream:
    """A user's stream whose reads are short at its end alone, and which is not read again after that."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._parts: list[bytes] = []
        self._has_ended = False

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or all that are left."""
        parts, self._parts = self._parts, []
        missing = size - sum(map(len, parts))
        while missing > 0 and (part := self._next(missing)):
            parts.append(part)
            missing -= len(part)
        whole = b"".join(parts)
        if missing < 0:
            self.push_back(whole[size:])
        return whole[:size]

    def push_back(self, data: bytes) -> None:
        """Has these bytes read again."""
        self._parts.append(data)

    def _next(self, size: int) -> bytes:
        if self._has_ended:
            return b""
        part = self._stream.read(size)
        if part is None:
            raise InvalidInputError(
                "the stream is non-blocking and has nothing to read now",
                hint="Make it blocking: os.set_blocking(fd, True).",
            )
        if not isinstance(part, bytes):
            raise InvalidInputError("the stream gives text", hint="Open the file with mode 'rb'.")
        self._has_ended = not part
        return part
