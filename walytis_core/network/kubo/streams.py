"""Streams by the daemon's stream mounting: those that peers open to us, and those that we open.

The daemon hands each incoming stream to a port of ours on the loopback, with a line before it that names the peer; for an
outgoing one it gives a port to connect to. Such a port is kept while streams to that peer are opened, and closed when it was
not used for a while. Invariants: streams of one peer are limited, each way; nothing stays in the daemon after `leave`. Any
process of this machine can connect to our port and name any connected peer: a peer id is only an address, and the
handshake of each stream proves the rest. Knows no chains.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.kubo.mounting import check_unused, listeners, way_to
from walytis_core.network.kubo.rpc import Rpc, RpcRefusedError
from walytis_core.network.kubo.stream import KuboStream
from walytis_core.network.port import PeerId, Stream, StreamHandler

__all__ = ["Streams"]

LINE_WAIT_S: Final = 5.0
IDLE_S: Final = 10.0  # a port that leads to a peer is kept so long
_LINE_BYTES: Final = 128
_MOST_UNNAMED: Final = 64  # connections whose first line has not come
_LEAVE_WAIT_S: Final = 2.0

_Way = tuple[PeerId, str]


class Streams:
    """All streams of a node.

    Args:
        rpc: The daemon's RPC.
        is_there: Whether a peer is connected; looks again when it seems not.
        nursery: Where handlers run: what they raise ends the node.
    """

    def __init__(self, rpc: Rpc, is_there: Callable[[PeerId], Awaitable[bool]], nursery: trio.Nursery) -> None:
        self._rpc = rpc
        self._is_there = is_there
        self._nursery = nursery
        self._ports: dict[str, int] = {}
        self._open: dict[KuboStream, bool] = {}  # whether a peer opened it
        self._count: Counter[tuple[PeerId, bool]] = Counter()
        self._ways: dict[_Way, tuple[int, float]] = {}
        self._changing = trio.Lock()
        self._unnamed = OrderedDict[trio.CancelScope, None]()

    # --- those that peers open ---------------------------------------------------------------------------------------

    async def serve(self, protocol: str, handler: StreamHandler) -> None:
        """Has `handler` called for each stream of a protocol; `register` tells the daemon."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._ports[protocol] = listener.socket.getsockname()[1]
        self._nursery.start_soon(
            partial(trio.serve_listeners, partial(self._take, handler), [listener], handler_nursery=self._nursery)
        )

    async def register(self) -> None:
        """Has the daemon hand over all protocols, where it does not yet.

        A port that nobody answers was left by a process that was killed.

        Raises:
            UnavailableError: Another node serves them there.
        """
        async with self._changing:
            held = dict(await listeners(self._rpc))
            for protocol, port in self._ports.items():
                if held.get(protocol) == port:
                    continue
                if protocol in held:
                    await check_unused(held[protocol])
                    await self._rpc.call("p2p/close", options={"protocol": protocol})
                target = f"/ip4/127.0.0.1/tcp/{port}"
                await self._rpc.call("p2p/listen", protocol, target, options={"report-peer-id": "true"})

    async def _take(self, handler: StreamHandler, socket: trio.SocketStream) -> None:
        named = await self._named(socket)
        if named is None or not await self._is_known(named[0]):
            return
        stream = self._track(socket, *named, is_incoming=True)
        try:
            await handler(stream)
        except UnavailableError:
            pass  # the peer went away
        finally:
            await stream.close()

    async def _named(self, socket: trio.SocketStream) -> tuple[PeerId, bytes] | None:
        if (
            len(self._unnamed) >= _MOST_UNNAMED
        ):  # the daemon says at once who it is: who waits longest is not the daemon
            self._unnamed.popitem(last=False)[0].cancel()
        with trio.move_on_after(LINE_WAIT_S) as scope:
            self._unnamed[scope] = None
            try:
                return await _first_line(socket)
            finally:
                self._unnamed.pop(scope, None)
        return None

    async def _is_known(self, peer: PeerId) -> bool:
        with suppress(UnavailableError):
            return await self._is_there(peer) and self._has_room(peer, is_incoming=True)
        return False

    # --- those that we open ------------------------------------------------------------------------------------------

    async def open(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream to a connected peer; where it does not speak the protocol, the stream ends at once."""
        if not self._has_room(peer, is_incoming=False):
            raise UnavailableError("Too many streams to this peer are open.", hint="Close some of them first.")
        way = peer, protocol
        async with self._changing:
            port = self._ways.get(way, (0, 0.0))[0] or await self._forward(way)
            try:
                socket = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:  # the daemon has restarted since
                port = await self._forward(way)
                socket = await _connected(port)
            self._ways[way] = port, trio.current_time()
            return self._track(socket, peer, b"", is_incoming=False)

    async def _forward(self, way: _Way) -> int:
        peer, protocol = way
        self._ways.pop(way, None)
        await self._rpc.call("p2p/forward", protocol, "/ip4/127.0.0.1/tcp/0", f"/p2p/{peer}")
        port = await way_to(self._rpc, peer, protocol)
        if port is None:
            raise UnavailableError("The Kubo daemon gives no way to this peer.")
        return port

    def _has_room(self, peer: PeerId, *, is_incoming: bool) -> bool:
        return self._count[peer, is_incoming] < Limits.max_streams_per_peer

    def _track(self, socket: trio.SocketStream, peer: PeerId, ahead: bytes, *, is_incoming: bool) -> KuboStream:
        stream = KuboStream(socket, peer, ahead, self._forget)
        self._open[stream] = is_incoming
        self._count[peer, is_incoming] += 1
        return stream

    def _forget(self, stream: KuboStream) -> None:
        is_incoming = self._open.pop(stream)
        self._count[stream.peer, is_incoming] -= 1
        if not self._count[stream.peer, is_incoming]:
            del self._count[stream.peer, is_incoming]

    # --- what ends ---------------------------------------------------------------------------------------------------

    def lose(self, peer: PeerId) -> None:
        """A peer is gone."""
        for stream in self._open:
            if stream.peer == peer:
                stream.lose()

    def break_off(self) -> None:
        """The daemon is away: all streams end, and no way leads anywhere."""
        for stream in self._open:
            stream.break_off()
        self._ways.clear()

    async def tidy(self, idle_s: float = IDLE_S) -> None:
        """Closes the ports that were not used for a while."""
        async with self._changing:
            before = trio.current_time() - idle_s
            for way, (port, used) in list(self._ways.items()):
                if used <= before:
                    del self._ways[way]
                    await self._close(f"/ip4/127.0.0.1/tcp/{port}")

    async def leave(self) -> None:
        """Takes all that is ours out of the daemon, if it is there; also when the node is cancelled."""
        deadline = trio.current_time() + _LEAVE_WAIT_S
        with trio.CancelScope(shield=True, deadline=deadline), suppress(UnavailableError):
            await self.tidy(0.0)
            for protocol, port in await listeners(self._rpc):
                if self._ports.get(protocol) == port:
                    await self._rpc.call("p2p/close", options={"protocol": protocol})
        self.break_off()

    async def _close(self, listen_address: str) -> None:
        with suppress(RpcRefusedError):  # it is gone already
            await self._rpc.call("p2p/close", options={"listen-address": listen_address})


async def _connected(port: int) -> trio.SocketStream:
    try:
        return await trio.open_tcp_stream("127.0.0.1", port)
    except OSError as error:
        raise UnavailableError("The Kubo daemon opens no way to this peer.") from error


async def _first_line(socket: trio.SocketStream) -> tuple[PeerId, bytes] | None:
    """Who the daemon says is at the other end, and what came after that; None when it does not say."""
    read = b""
    try:
        while b"\n" not in read and len(read) < _LINE_BYTES:
            data = await socket.receive_some(65536)
            if not data:
                return None
            read += data
    except trio.BrokenResourceError:
        return None
    line, found, rest = read.partition(b"\n")
    if not found or len(line) > _LINE_BYTES or not line.isascii():
        return None
    return line.decode("ascii"), rest
