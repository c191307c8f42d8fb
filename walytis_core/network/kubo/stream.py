"""A stream of the network port over a connection to the daemon, which carries it on to the peer.

Invariants: no foreign exception leaves; after `lose` what has come is still read, and then the loss is said: the daemon ends
the connection in order even where the peer broke off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import trio

from walytis_core.errors import UnavailableError
from walytis_core.network.port import PeerId

__all__ = ["KuboStream"]

_DRAINED_BYTES: Final = 1 << 20  # of what came and is not read


class KuboStream:
    """One stream to one peer.

    Args:
        socket: The connection to the daemon.
        peer: The peer behind it.
        ahead: What was read already.
        on_close: Called once, when it is closed.
    """

    def __init__(
        self, socket: trio.SocketStream, peer: PeerId, ahead: bytes, on_close: Callable[[KuboStream], None]
    ) -> None:
        self._socket = socket
        self._peer = peer
        self._ahead = ahead
        self._on_close = on_close
        self._is_closed = False
        self._is_lost = False

    @property
    def peer(self) -> PeerId:
        """The peer at the other end."""
        return self._peer

    async def send(self, data: bytes) -> None:
        """Sends all of `data`; waits while the other end does not read."""
        if self._is_lost:
            raise UnavailableError("The stream is closed or its peer is gone.")
        try:
            await self._socket.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise UnavailableError("The stream is closed or its peer is gone.") from error

    async def receive(self, max_bytes: int) -> bytes:
        """Gives 1 to `max_bytes` bytes, or nothing at the end."""
        if self._is_closed:
            raise UnavailableError("The stream is closed.")
        if self._ahead:
            await trio.lowlevel.checkpoint()
            data, self._ahead = self._ahead[:max_bytes], self._ahead[max_bytes:]
            return data
        try:
            data = bytes(await self._socket.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise UnavailableError("The stream broke or its peer is gone.") from error
        if not data and self._is_lost:
            raise UnavailableError("The peer is gone.")
        return data

    def lose(self) -> None:
        """The peer is not connected any more."""
        self._is_lost = True

    def break_off(self) -> None:
        """Ends it at once: nobody will."""
        self._is_lost = True
        self._socket.socket.close()

    async def close(self) -> None:
        """Closes both directions at once; what was sent is still delivered."""
        if not self._is_closed:
            self._is_closed = True
            self._end_in_order()
            self._socket.socket.close()
            self._on_close(self)
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()

    def _end_in_order(self) -> None:
        # a socket that closes with unread bytes breaks off, and takes with it what was sent and is still under way
        socket = self._socket.socket
        if socket.fileno() < 0:
            return
        try:
            socket.shutdown(trio.socket.SHUT_WR)
            drained = 0
            while drained < _DRAINED_BYTES and (data := os.read(socket.fileno(), 65536)):
                drained += len(data)
        except OSError:  # nothing more is there, or it is broken already
            return
