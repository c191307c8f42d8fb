"""A Yamux multiplexer for py-libp2p: many streams over one secured connection.

py-libp2p's own muxer does not serve here. It resets a sender whose reader pauses for 5 s; takes what a peer sends
above its window into memory, without bound, and any number of streams; lets concurrent writes to one stream mix, and
a cancelled write break the whole connection. So this one decides, by https://github.com/hashicorp/yamux/blob/master/spec.md:

- a stream holds at most `WINDOW_BYTES` unread, a connection at most `Limits.max_streams_per_peer` streams of the peer;
  a peer that exceeds a window is disconnected;
- whoever writes waits as long as the reader pauses;
- one task writes to the connection, so a cancelled `write` never leaves half a frame, and reading never waits for
  writing (or two full connections would wait for each other for ever);
- a peer that answers no ping for `PONG_WAIT_S` is gone.

It knows nothing of protocols, peers or chains.
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

import trio
from libp2p.abc import IMuxedConn, IMuxedStream
from libp2p.connection_types import ConnectionType
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)
from multiaddr import Multiaddr

from walytis_core.limits import Limits
from walytis_core.network.libp2p.wire import Connection

__all__ = ["PROTOCOL", "WINDOW_BYTES", "Muxer", "MuxerStream"]

PROTOCOL = "/yamux/1.0.0"
WINDOW_BYTES = 256 * 1024  # the protocol's first window; never grown, so that memory is bounded
FRAME_BYTES = 60 * 1024  # a frame and its header fit one Noise message
WAITING_FRAMES = 8  # frames from all streams that wait for the writing task
WAITING_CONTROLS = 1024  # answers that wait for it: a peer that asks more and reads nothing is disconnected
PING_EVERY_S = 30.0
PONG_WAIT_S = 10.0
CLOSE_WAIT_S = 1.0  # for the last frames of a connection that is closed

_log = logging.getLogger(__name__)

_HEADER = struct.Struct("!BBHII")
_DATA, _WINDOW, _PING, _GO_AWAY = range(4)
_SYN, _ACK, _FIN, _RST = 1, 2, 4, 8


class ProtocolError(MuxedConnUnavailable):
    """The peer breaks the protocol, and is disconnected."""


class _Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    length: int  # of the data, or the number the frame carries

    def encode(self, data: bytes = b"") -> bytes:
        return _HEADER.pack(0, self.kind, self.flags, self.stream, self.length) + data


class MuxerStream(IMuxedStream):
    """One stream of a `Muxer`."""

    def __init__(self, muxer: Muxer, number: int) -> None:
        self.muxed_conn = muxer
        self.number = number
        self._muxer = muxer
        self._received = bytearray()
        self._window = WINDOW_BYTES  # what we may send
        self._promised = WINDOW_BYTES  # what the peer may send
        self._sending = trio.Lock()
        self._changed = trio.Event()
        self._ended = False  # the peer has sent its last byte
        self._finished = False  # we have sent ours
        self._broken = False

    async def read(self, n: int | None = None) -> bytes:
        """Gives some bytes, at most `n`; raises `MuxedStreamEOF` at the end and `MuxedStreamReset` when it broke."""
        if self._received:
            await trio.lowlevel.checkpoint()
        while not self._received:
            if self._ended:
                raise MuxedStreamEOF("the stream has ended")
            if self._broken:
                raise MuxedStreamReset("the stream was reset")
            await self._changed.wait()
        size = len(self._received) if n is None or n < 0 else n
        data = bytes(self._received[:size])
        del self._received[:size]
        await self._return_credit()
        return data

    async def _return_credit(self) -> None:
        credit = WINDOW_BYTES - self._promised - len(self._received)
        if credit >= WINDOW_BYTES // 2 and not (self._ended or self._broken):
            self._promised += credit
            self._muxer.answer(_Frame(_WINDOW, 0, self.number, credit))

    async def write(self, data: bytes) -> None:
        """Sends all of `data`; waits as long as the reader pauses."""
        try:
            self._sending.acquire_nowait()  # mostly free: then without a turn of the loop
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            sent = 0
            while sent < len(data):
                if self._broken:
                    raise MuxedStreamReset("the stream was reset")
                if self._finished:
                    raise MuxedStreamClosed("the stream is closed")
                size = min(self._window, FRAME_BYTES, len(data) - sent)
                if size == 0:
                    await self._changed.wait()
                    continue
                self._window -= size
                frame = _Frame(_DATA, 0, self.number, size)
                await self._muxer.send(frame.encode(data[sent : sent + size]))
                sent += size
        finally:
            self._sending.release()

    async def close(self) -> None:
        """Ends both directions: what was written arrives, what the peer still writes is refused."""
        await self.close_write()
        self._ended = True
        self._received.clear()
        self._wake()
        self._muxer.forget(self)

    async def close_write(self) -> None:
        """Ends our direction, after what was written before."""
        if not (self._finished or self._broken):
            self._finished = True
            self._muxer.send_soon(_Frame(_WINDOW, _FIN, self.number, 0))
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def reset(self) -> None:
        """Breaks the stream in both directions."""
        if not self._broken:
            self.broke()
            self._muxer.forget(self)
            self._muxer.answer(_Frame(_WINDOW, _RST, self.number, 0))  # last: it raises when the peer reads nothing
        await trio.lowlevel.cancel_shielded_checkpoint()

    def set_deadline(self, ttl: int) -> None:
        """Not offered: callers bound their waits themselves."""
        raise NotImplementedError

    def get_remote_address(self) -> tuple[str, int] | None:
        """The peer's IP address and port."""
        return self._muxer.get_remote_address()

    async def __aenter__(self) -> MuxerStream:  # noqa: PYI034 - as its interface has it
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.close()

    # --- called by the muxer ---

    def took(self, data: bytes) -> None:
        """Takes in what the peer sent."""
        if len(data) > self._promised:
            raise ProtocolError("the peer sends more than it may")
        self._promised -= len(data)
        self._received += data
        self._wake()

    def may_send(self, more: int) -> None:
        """The peer has read so much."""
        self._window += more
        self._wake()

    def ended(self) -> None:
        """The peer has sent its last byte."""
        self._ended = True
        self._wake()

    def broke(self) -> None:
        """The stream was reset or its connection is gone; what has arrived can still be read."""
        self._broken = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Muxer(IMuxedConn):
    """A connection that carries streams, in the form in which py-libp2p's swarm uses it."""

    def __init__(self, conn: Connection, peer_id: ID) -> None:
        self.peer_id = peer_id
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self._conn = conn
        self._streams: dict[int, MuxerStream] = {}
        self._next = 1 if conn.is_initiator else 2
        self._accept_send, self._accept = trio.open_memory_channel[MuxerStream](Limits.max_streams_per_peer)
        self._frames: deque[bytes] = deque()
        self._controls: deque[bytes] = deque()
        self._work = trio.Event()  # there is something to write
        self._room = trio.Event()  # a frame has been written
        self._pong = trio.Event()
        self._doubt = trio.Event()
        self._scope = trio.CancelScope()

    # --- what the swarm calls ---

    @property
    def is_initiator(self) -> bool:
        """Whether we opened the connection."""
        return bool(self._conn.is_initiator)

    @property
    def is_established(self) -> bool:
        """Whether streams can be opened."""
        return self.event_started.is_set() and not self.is_closed

    @property
    def is_closed(self) -> bool:
        """Whether the connection is gone."""
        return self.event_closed.is_set()

    async def start(self) -> None:
        """Runs the connection until it is closed or breaks."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._keep_alive)
                    self.event_started.set()
                    await self._read()
        except* Exception:  # noqa: BLE001 - whatever a stranger's bytes raise in the layers below ends this connection, no more
            _log.debug("a connection ended", exc_info=True)
        finally:
            self.event_started.set()
            await self.close()

    async def close(self) -> None:
        """Closes the connection and breaks its streams."""
        if not self.is_closed:
            self.event_closed.set()
            for stream in self._streams.values():
                stream.broke()
            self._streams.clear()
            self._accept_send.close()
            self._set_room()
            self._scope.cancel()
        # suppressed, whatever the layers below raise: it is closed, and this runs at the end of a task of the swarm
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_WAIT_S), suppress(Exception):
            await self._conn.close()

    def doubt(self) -> None:
        """Has the peer pinged now, to find out whether it is still there."""
        self._doubt.set()

    async def open_stream(self) -> MuxerStream:
        """Opens a stream; the peer need not have answered yet."""
        if self.is_closed:
            raise MuxedConnUnavailable("the connection is closed")
        stream = self._streams[self._next] = MuxerStream(self, self._next)
        self._next += 2
        await self.send(_Frame(_WINDOW, _SYN, stream.number, 0).encode())
        return stream

    async def accept_stream(self) -> MuxerStream:
        """Waits for the next stream that the peer opens."""
        try:
            return await self._accept.receive()
        except trio.EndOfChannel as error:
            raise MuxedConnUnavailable("the connection is closed") from error

    def get_remote_address(self) -> tuple[str, int] | None:
        """The peer's IP address and port."""
        return self._conn.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        """The peer's address."""
        return self._conn.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        """Direct or relayed."""
        return self._conn.get_connection_type()

    # --- what its streams call ---

    async def send(self, frame: bytes) -> None:
        """Hands a frame to the writing task; waits while there are many, and only then. A cancelled wait sends nothing."""
        while len(self._frames) >= WAITING_FRAMES and not self.is_closed:
            await self._room.wait()
        if self.is_closed:
            raise MuxedStreamReset("the connection is closed")
        self._frames.append(frame)
        self._work.set()

    def send_soon(self, frame: _Frame) -> None:
        """Queues a frame behind those that wait, without waiting; at most one for each stream."""
        self._frames.append(frame.encode())
        self._work.set()

    def answer(self, frame: _Frame) -> None:
        """Queues a control frame before those that wait."""
        if len(self._controls) >= WAITING_CONTROLS:
            raise ProtocolError("the peer asks and does not read")
        self._controls.append(frame.encode())
        self._work.set()

    def forget(self, stream: MuxerStream) -> None:
        """The stream is done with."""
        self._streams.pop(stream.number, None)

    # --- tasks ---

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self._controls or self._frames:
                batch = bytearray()
                while self._controls and len(batch) < FRAME_BYTES:
                    batch += self._controls.popleft()
                while self._frames and len(batch) + len(self._frames[0]) <= FRAME_BYTES + _HEADER.size:
                    batch += self._frames.popleft()
                self._set_room()
                await self._conn.write(bytes(batch))

    async def _keep_alive(self) -> None:
        while True:
            with trio.move_on_after(PING_EVERY_S):
                await self._doubt.wait()
            self._pong, self._doubt = trio.Event(), trio.Event()
            self.answer(_Frame(_PING, _SYN, 0, 1))
            with trio.fail_after(PONG_WAIT_S):
                await self._pong.wait()

    async def _read(self) -> None:
        arrived = bytearray()
        while True:
            arrived += await self._conn.read()
            self._take_whole(arrived)

    def _take_whole(self, arrived: bytearray) -> None:
        """Takes the whole frames out of what has arrived."""
        at = 0
        while len(arrived) - at >= _HEADER.size:
            version, *rest = _HEADER.unpack_from(arrived, at)
            frame = _Frame(*rest)
            if version != 0 or frame.kind > _GO_AWAY or (frame.kind == _DATA and frame.length > WINDOW_BYTES):
                raise ProtocolError("not a Yamux frame")
            start = at + _HEADER.size
            end = start + frame.length if frame.kind == _DATA else start
            if end > len(arrived):
                break
            at = end
            if frame.kind == _PING:
                self._pinged(frame)
            elif frame.kind == _GO_AWAY:
                raise MuxedConnUnavailable("the peer says goodbye")
            else:
                self._take(frame, bytes(arrived[start:end]))
        del arrived[:at]

    def _pinged(self, frame: _Frame) -> None:
        if frame.flags & _SYN:
            self.answer(_Frame(_PING, _ACK, 0, frame.length))
        else:
            self._pong.set()

    def _take(self, frame: _Frame, data: bytes) -> None:
        if frame.flags & _SYN and not self._opened(frame):
            return
        stream = self._streams.get(frame.stream)
        if stream is None:
            if data:  # closed here: the peer must not go on writing
                self.answer(_Frame(_WINDOW, _RST, frame.stream, 0))
            return
        if frame.kind == _DATA:
            stream.took(data)
        else:
            stream.may_send(frame.length)
        if frame.flags & _RST:
            stream.broke()
            self.forget(stream)
        elif frame.flags & _FIN:
            stream.ended()

    def _opened(self, frame: _Frame) -> bool:
        if frame.stream % 2 == self._next % 2 or frame.stream == 0 or frame.stream in self._streams:
            raise ProtocolError("a stream number that is not the peer's to use")
        theirs = sum(number % 2 != self._next % 2 for number in self._streams)
        if theirs >= Limits.max_streams_per_peer or self.is_closed:
            self.answer(_Frame(_WINDOW, _RST, frame.stream, 0))
            return False
        stream = self._streams[frame.stream] = MuxerStream(self, frame.stream)
        try:
            self._accept_send.send_nowait(stream)
        except trio.WouldBlock:  # opened and closed again faster than the swarm takes them
            self.forget(stream)
            self.answer(_Frame(_WINDOW, _RST, frame.stream, 0))
            return False
        self.answer(_Frame(_WINDOW, _ACK, frame.stream, 0))
        return True

    def _set_room(self) -> None:
        self._room.set()
        self._room = trio.Event()
