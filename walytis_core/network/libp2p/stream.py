"""A stream of the network port over one of py-libp2p, and messages out of one; maps what can go wrong to `UnavailableError`.

Reads and writes go straight to our muxer: py-libp2p's layer above it takes a lock, and a turn of the loop, for each call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import trio
from libp2p.abc import IMuxedStream, INetStream
from libp2p.network.stream.net_stream import NetStream
from libp2p.stream_muxer.exceptions import MuxedStreamEOF

from walytis_core.errors import UnavailableError
from walytis_core.network.libp2p._foreign import foreign_errors
from walytis_core.network.port import PeerId

__all__ = ["Libp2pStream", "Prefixed", "muxed"]

CLOSE_WAIT_S = 1.0
_MOST_PREFIX = 5  # bytes of a length


def muxed(stream: INetStream) -> IMuxedStream:
    """The stream of our muxer below one of py-libp2p."""
    return cast(NetStream, stream).muxed_stream


class Libp2pStream:
    """One stream to one peer."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream
        self._muxed = muxed(stream)
        self._peer = str(stream.muxed_conn.peer_id)
        self._is_closed = False

    @property
    def peer(self) -> PeerId:
        """The peer at the other end."""
        return self._peer

    async def send(self, data: bytes) -> None:
        """Sends all of `data`; waits while the other end does not read."""
        with foreign_errors("The stream is closed or its peer is gone."):
            await self._muxed.write(data)

    async def receive(self, max_bytes: int) -> bytes:
        """Gives 1 to `max_bytes` bytes, or nothing at the end."""
        if self._is_closed:
            raise UnavailableError("The stream is closed.")
        with foreign_errors("The stream broke or its peer is gone."):
            try:
                return await self._muxed.read(max_bytes)
            except MuxedStreamEOF:
                if self._is_closed:
                    raise UnavailableError("The stream is closed.") from None
                return b""

    async def close(self) -> None:
        """Closes both directions at once."""
        if self._is_closed:
            return
        self._is_closed = True
        deadline = trio.current_time() + CLOSE_WAIT_S
        with trio.CancelScope(shield=True, deadline=deadline):
            try:
                await self._stream.close()
            except Exception:  # noqa: BLE001 - `close` never raises: what does not end in order is broken off
                with suppress(Exception):
                    await self._stream.reset()


class Prefixed:
    """Messages with their length before them, as gossipsub and bitswap write them; read as they come, not byte by byte.

    Args:
        read: Gives what has come of a stream; raises at its end.
        max_bytes: The longest message that is taken.
    """

    def __init__(self, read: Callable[[], Awaitable[bytes]], max_bytes: int) -> None:
        self._read = read
        self._max_bytes = max_bytes
        self._waiting = bytearray()

    async def begun(self) -> None:
        """Waits until the next message has begun to come."""
        if not self._waiting:
            self._waiting += await self._read()

    async def next(self) -> bytes:
        """The next message; raises what reading raises at the end, and `ValueError` when it is too long."""
        has_waited = False
        while True:
            start, size = self._head()
            if start and len(self._waiting) >= start + size:
                message = bytes(self._waiting[start : start + size])
                del self._waiting[: start + size]
                if not has_waited:  # many that came at once do not keep the loop from others
                    await trio.lowlevel.checkpoint()
                return message
            self._waiting += await self._read()
            has_waited = True

    def _head(self) -> tuple[int, int]:
        """Where the first message starts and how long it is; zeros when that has not come yet."""
        size = 0
        for at, byte in enumerate(self._waiting[:_MOST_PREFIX]):
            size |= (byte & 0x7F) << 7 * at
            if byte < 0x80:  # the last byte of the length
                if size > self._max_bytes:
                    raise ValueError("a message is too long")
                return at + 1, size
        if len(self._waiting) >= _MOST_PREFIX:
            raise ValueError("not a length")
        return 0, 0
