"""From what a user appends to drafts of blocks: short payloads go into them, longer ones into the store beside.

Invariants: a piece of content goes again when the last of the calls that met it before it stood in a block has failed, and
never before: each call meets a piece and keeps it in one step, so a piece that one call brought and another then needs, too,
stays with that one. A stream ends where it says so, by an empty read, and never because a read was short.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import BinaryIO, cast

from walytis_core import content
from walytis_core.block import Draft, draft
from walytis_core.cid import BlockId, Cid, is_block_id
from walytis_core.errors import InvalidInputError, NotFoundError, WalytisError
from walytis_core.limits import Limits
from walytis_core.store.port import ChainStore


class InFlight:
    """The pieces of one chain's content that calls have brought which are not done yet. From any thread.

    Args:
        tables: The chain's tables.
    """

    def __init__(self, tables: ChainStore) -> None:
        self._tables = tables
        self._lock = threading.Lock()
        self._met: dict[Cid, set[Drafting]] = {}  # by whom, of the pieces that were not held before

    def put(self, cid: Cid, data: bytes, by: Drafting) -> None:
        """Keeps a piece, and notes who met it unless it was held before."""
        with self._lock:
            if cid in self._met or not self._tables.has_side([cid]):
                self._met.setdefault(cid, set()).add(by)
            self._tables.put_side(cid, data)

    def done(self, cids: Iterable[Cid]) -> None:
        """These pieces stand in blocks: they stay, whoever else fails."""
        with self._lock:
            for cid in cids:
                self._met.pop(cid, None)

    def failed(self, cids: Iterable[Cid], by: Drafting) -> None:
        """Forgets those of these pieces that nobody else has met."""
        with self._lock:
            lost = [cid for cid in cids if self._met.get(cid) == {by}]
            for cid in cids:
                self._met.get(cid, set()).discard(by)
            for cid in lost:
                del self._met[cid]
            with suppress(WalytisError):
                self._tables.drop_side(lost)


class Drafting:
    """The drafts of one call.

    Args:
        tables: The chain's tables.
        in_flight: The chain's, shared by all calls.
        topics, type, ext: Of each block.
        parents: Blocks that each block names whether they are heads or not.
        droppable: Whether short payloads, too, go into the store beside.

    Raises:
        InvalidInputError: Something is outside its limits.
    """

    def __init__(
        self,
        tables: ChainStore,
        in_flight: InFlight,
        *,
        topics: Collection[str],
        type: str,
        ext: Mapping[str, bytes] | None,
        parents: Iterable[BlockId] = (),
        droppable: bool = False,
    ) -> None:
        self._tables = tables
        self._in_flight = in_flight
        self._template = draft(b"", topics=topics, type=type, ext=ext)._replace(parents=self._parents(parents))
        self._inline_bytes = -1 if droppable else Limits.max_payload_bytes
        self._put_here: set[Cid] = set()
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

    def _parents(self, given: Iterable[BlockId]) -> tuple[BlockId, ...]:
        if not isinstance(given, Iterable):
            raise InvalidInputError("parents are ids of blocks", hint="Give a list of them, which may be empty.")
        parents = tuple(islice(given, Limits.max_parents + 1))
        if len(parents) > Limits.max_parents:
            raise InvalidInputError(f"a block names at most {Limits.max_parents} parents")
        if not all(map(_is_id, parents)):
            raise InvalidInputError("parents are ids of blocks", hint="Give `block.id`, or `BlockId.parse(text)`.")
        metas = self._tables.metas(parents) if parents else {}
        for id in parents:
            if id == self._tables.id or id not in metas or not metas[id].folded:
                raise NotFoundError("a block cannot be named as a parent: this chain holds no such block here")
        return parents

    def keep(self) -> None:
        """The blocks are written, or may yet be: their content stays."""
        self._in_flight.done(self._put_here)

    def undo(self) -> None:
        """No block will be written: forgets the content that only these drafts brought."""
        self._in_flight.failed(self._put_here, self)

    def _put(self, cid: Cid, data: bytes) -> None:
        self._put_here.add(cid)
        self._in_flight.put(cid, data, self)


def _is_id(given: object) -> bool:
    return isinstance(given, bytes) and is_block_id(bytes(given))


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
