"""The bytes below our muxer: Noise messages straight from and to the socket.

Between its Noise and the socket py-libp2p has four layers; they read each message in two system calls, and each layer's
lock costs a turn of the loop: two thirds of the processor time of a small message. Here one system call takes in
whatever has arrived. Invariants: what is held is less than one Noise message and one read; a message that does not open
ends the connection, for the muxer takes any error for that. The file reaches into py-libp2p 0.8.1 (`host.py` checks), and
knows no frames.
"""

from __future__ import annotations

from typing import Final, Protocol, cast

import trio
from libp2p.abc import ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.security.noise.io import NoiseTransportReadWriter
from libp2p.security.secure_session import SecureSession
from multiaddr import Multiaddr

__all__ = ["Connection", "Wire"]

READ_BYTES: Final = 64 * 1024
_LENGTH_BYTES: Final = 2  # before each Noise message
_MOST_PLAIN: Final = 65535 - 16  # a Noise message holds its authenticator too


class Connection(Protocol):
    """What a muxer needs of a secured connection."""

    @property
    def is_initiator(self) -> bool:
        """Whether we opened it."""
        ...

    async def read(self) -> bytes:
        """Gives what has arrived, at least a byte; raises at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Sends all of `data`."""
        ...

    async def close(self) -> None:
        """Closes it."""
        ...

    def get_remote_address(self) -> tuple[str, int] | None:
        """The peer's IP address and port."""
        ...

    def get_transport_addresses(self) -> list[Multiaddr]:
        """The peer's address."""
        ...

    def get_connection_type(self) -> ConnectionType:
        """Direct or relayed."""
        ...


class Wire:
    """A secured connection, by what a muxer needs of it.

    Args:
        conn: The connection, made by py-libp2p's Noise over its TCP. From now on only the wire reads and writes it.
    """

    def __init__(self, conn: ISecureConn) -> None:
        self._conn = conn
        session = cast(SecureSession, conn)
        noise = cast(NoiseTransportReadWriter, session.conn)
        raw = cast(RawConnection, noise.read_writer.read_write_closer)
        self._socket = cast(TrioTCPStream, raw.stream).stream
        self._noise = noise.noise_state
        self._opened = session._drain(None)  # what came with the last words of the negotiation
        self._sealed = bytearray()

    @property
    def is_initiator(self) -> bool:
        """Whether we opened the connection."""
        return bool(self._conn.is_initiator)

    async def read(self) -> bytes:
        """Gives what has arrived, at least a byte; raises when the connection has ended or broken."""
        opened, self._opened = self._opened, b""
        while not opened:
            data = await self._socket.receive_some(READ_BYTES)
            if not data:
                raise trio.EndOfChannel
            self._sealed += data
            opened = self._open()
        return opened

    def _open(self) -> bytes:
        sealed, at, opened = self._sealed, 0, []
        while len(sealed) - at >= _LENGTH_BYTES:
            start = at + _LENGTH_BYTES
            end = start + int.from_bytes(sealed[at:start], "big")
            if end > len(sealed):
                break
            opened.append(self._noise.decrypt(bytes(sealed[start:end])))
            at = end
        del sealed[:at]
        return b"".join(opened)

    async def write(self, data: bytes) -> None:
        """Sends all of `data`; one task at a time."""
        sealed = [self._noise.encrypt(data[at : at + _MOST_PLAIN]) for at in range(0, len(data), _MOST_PLAIN)]
        await self._socket.send_all(b"".join(len(one).to_bytes(_LENGTH_BYTES, "big") + one for one in sealed))

    async def close(self) -> None:
        """Closes the connection."""
        await self._conn.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        """The peer's IP address and port."""
        return self._conn.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        """The peer's address."""
        return self._conn.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        """Direct or relayed."""
        return self._conn.get_connection_type()
