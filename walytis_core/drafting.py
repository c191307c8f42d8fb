"""From what a user appends to drafts of blocks: short payloads go into them, longer ones into the store beside.

Invariant: content that only one call brought goes again when that call fails.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import BinaryIO

from walytis_core import content
from walytis_core.block import Draft, draft
from walytis_core.cid import Cid
from walytis_core.errors import InvalidInputError, WalytisError
from walytis_core.limits import Limits
from walytis_core.store.port import ChainStore


class Drafting:
    """The drafts of one call.

    Args:
        tables: The chain's tables.
        topics, type, ext: Of each block.

    Raises:
        InvalidInputError: Something is outside its limits.
    """

    def __init__(
        self, tables: ChainStore, *, topics: Collection[str], type: str, ext: Mapping[str, bytes] | None
    ) -> None:
        self._tables = tables
        self._template = draft(b"", topics=topics, type=type, ext=ext)
        self._fresh: list[Cid] = []
        if type.startswith("core/"):
            raise InvalidInputError("types that start with core/ are the library's own")

    def draft(self, payload: bytes | BinaryIO) -> Draft:
        """A draft with this payload."""
        if isinstance(payload, (bytearray, memoryview)):
            payload = bytes(payload)
        if isinstance(payload, bytes):
            if len(payload) <= Limits.max_payload_bytes:
                return self._template._replace(body=payload)
            payload = io.BytesIO(payload)
        if not hasattr(payload, "read"):
            raise InvalidInputError("a payload is bytes, or a binary stream", hint="Encode text first: text.encode().")
        start = payload.read(Limits.max_payload_bytes + 1)
        if not isinstance(start, bytes):
            raise InvalidInputError("the stream gives text", hint="Open the file with mode 'rb'.")
        if len(start) <= Limits.max_payload_bytes:
            return self._template._replace(body=start)
        return self._template._replace(body=content.build(io.BufferedReader(_Rejoined(start, payload)), self._put))

    def undo(self) -> None:
        """Forgets the content that only these drafts brought."""
        with suppress(WalytisError):
            self._tables.drop_side(self._fresh)

    def _put(self, cid: Cid, data: bytes) -> None:
        if not self._tables.has_side([cid]):
            self._fresh.append(cid)
        self._tables.put_side(cid, data)


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = start
        self._rest = rest

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is of Python 3.12
        """Fills a buffer, with what was read before first."""
        data = self._start[: len(buffer)] or self._rest.read(len(buffer))
        self._start = self._start[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)
