"""A stream of the network port over one of py-libp2p; maps what can go wrong to `UnavailableError`."""

from __future__ import annotations

from contextlib import suppress

import trio
from libp2p.abc import INetStream
from libp2p.network.stream.exceptions import StreamEOF

from walytis_core.errors import UnavailableError
from walytis_core.network.libp2p._foreign import foreign_errors
from walytis_core.network.port import PeerId

__all__ = ["Libp2pStream"]

CLOSE_WAIT_S = 1.0


class Libp2pStream:
    """One stream to one peer."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream
        self._peer = str(stream.muxed_conn.peer_id)
        self._is_closed = False

    @property
    def peer(self) -> PeerId:
        """The peer at the other end."""
        return self._peer

    async def send(self, data: bytes) -> None:
        """Sends all of `data`; waits while the other end does not read."""
        with foreign_errors("The stream is closed or its peer is gone."):
            await self._stream.write(data)

    async def receive(self, max_bytes: int) -> bytes:
        """Gives 1 to `max_bytes` bytes, or nothing at the end."""
        if self._is_closed:
            raise UnavailableError("The stream is closed.")
        with foreign_errors("The stream broke or its peer is gone."):
            try:
                return await self._stream.read(max_bytes)
            except StreamEOF:
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
