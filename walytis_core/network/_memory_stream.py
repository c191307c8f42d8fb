"""A stream between two `MemoryNetwork`s: bytes in order, with credit for a bounded number of them.

Invariants: at most `WINDOW_BYTES` are under way or unread; what was sent before the end arrives before the end. A
stream touches only its own node's loop; what concerns the other end leaves through `emit`. It knows no hub.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import trio

from walytis_core.errors import UnavailableError
from walytis_core.network.port import PeerId

__all__ = ["WINDOW_BYTES", "Credit", "Data", "End", "MemoryStream", "StreamKey"]

WINDOW_BYTES = 256 * 1024  # as the muxer of the real transport
CHUNK_BYTES = 64 * 1024

StreamKey = tuple[PeerId, int]
"""Who opened a stream, and a number."""


class Data(NamedTuple):
    """Bytes of a stream."""

    key: StreamKey
    data: bytes


class Credit(NamedTuple):
    """The other end has read so many bytes."""

    key: StreamKey
    size: int


class End(NamedTuple):
    """The other end has closed the stream."""

    key: StreamKey


class MemoryStream:
    """One end of a stream."""

    def __init__(self, key: StreamKey, peer: PeerId, emit: Callable[[Data | Credit | End], None]) -> None:
        self.key = key
        self._peer = peer
        self._emit = emit
        self._buffer = bytearray()
        self._credit = WINDOW_BYTES
        self._ended = False  # the other end has closed
        self._closed = False  # this end has closed, or the peer is gone
        self._changed = trio.Event()
        self._sending = trio.Lock()

    @property
    def peer(self) -> PeerId:
        """The peer at the other end."""
        return self._peer

    async def send(self, data: bytes) -> None:
        """Sends all of `data`; waits while the other end does not read."""
        async with self._sending:
            sent = 0
            while sent < len(data):
                if self._closed or self._ended:
                    raise UnavailableError("The stream is closed.")
                size = min(self._credit, CHUNK_BYTES, len(data) - sent)
                if size == 0:
                    await self._changed.wait()
                    continue
                self._credit -= size
                self._emit(Data(self.key, bytes(data[sent : sent + size])))
                sent += size
        await trio.lowlevel.checkpoint()

    async def receive(self, max_bytes: int) -> bytes:
        """Gives 1 to `max_bytes` bytes, or nothing at the end."""
        while not self._buffer:
            if self._closed:
                raise UnavailableError("The stream is closed or its peer is gone.")
            if self._ended:
                return b""
            await self._changed.wait()
        await trio.lowlevel.checkpoint()
        data = bytes(self._buffer[:max_bytes])
        del self._buffer[:max_bytes]
        self._emit(Credit(self.key, len(data)))
        return data

    async def close(self) -> None:
        """Closes both directions at once."""
        if not self._closed:
            self._buffer.clear()
            self.lose()
            self._emit(End(self.key))
        await trio.lowlevel.cancel_shielded_checkpoint()

    def take(self, event: Data | Credit | End) -> None:
        """Takes in what the other end sent."""
        match event:
            case Data(data=data) if not self._closed:
                self._buffer += data
            case Credit(size=size):
                self._credit += size
            case End():
                self._ended = True
        self._wake()

    def lose(self) -> None:
        """The peer is gone: what is buffered can still be read, everything else fails."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
