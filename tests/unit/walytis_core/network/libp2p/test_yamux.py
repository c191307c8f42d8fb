"""The muxer over a pair of streams in memory, in virtual time."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import trio
import trio.testing
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
from walytis_core.network.libp2p.yamux import PING_EVERY_S, PONG_WAIT_S, WINDOW_BYTES, Muxer


class Conn:
    """What of a secured connection the muxer uses."""

    def __init__(self, stream: trio.abc.Stream, *, is_initiator: bool) -> None:
        self.is_initiator = is_initiator
        self._stream = stream

    async def read(self) -> bytes:
        data = bytes(await self._stream.receive_some(65536))
        if not data:
            raise trio.EndOfChannel
        return data

    async def write(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def close(self) -> None:
        await self._stream.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None

    def get_transport_addresses(self) -> list[Multiaddr]:
        return []

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.UNKNOWN


def frame(kind: int, flags: int, stream: int, length: int, data: bytes = b"") -> bytes:
    return struct.pack("!BBHII", 0, kind, flags, stream, length) + data


def run(test: Callable[[trio.Nursery], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(1000):
            async with trio.open_nursery() as nursery:
                await test(nursery)
                nursery.cancel_scope.cancel()

    trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))


async def start(nursery: trio.Nursery, stream: trio.abc.Stream, *, is_initiator: bool) -> Muxer:
    muxer = Muxer(Conn(stream, is_initiator=is_initiator), ID(b"peer"))
    nursery.start_soon(muxer.start)
    await muxer.event_started.wait()
    return muxer


async def pair(nursery: trio.Nursery) -> tuple[Muxer, Muxer]:
    left, right = trio.testing.memory_stream_pair()
    return await start(nursery, left, is_initiator=True), await start(nursery, right, is_initiator=False)


async def raw(nursery: trio.Nursery) -> tuple[Muxer, trio.abc.Stream]:
    left, right = trio.testing.memory_stream_pair()
    return await start(nursery, left, is_initiator=False), right


def test_the_window_holds_the_sender_up_for_as_long_as_it_takes() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alice, bob = await pair(nursery)
        ours = await alice.open_stream()
        theirs = await bob.accept_stream()
        sent = bytes(range(256)) * 4096 * 2
        nursery.start_soon(ours.write, sent)
        await trio.sleep(600)  # virtual: longer than any time-out, keep-alive goes on
        assert len(theirs._received) == WINDOW_BYTES
        received = b""
        while len(received) < len(sent):
            received += await theirs.read(100_000)
            assert len(theirs._received) <= WINDOW_BYTES
        assert received == sent
        assert not alice.is_closed

    run(test)


def test_a_cancelled_write_leaves_whole_frames() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alice, bob = await pair(nursery)
        stuck, other = await alice.open_stream(), await alice.open_stream()
        await bob.accept_stream()
        theirs = await bob.accept_stream()
        with trio.move_on_after(1):
            await stuck.write(bytes(10 << 20))
        await other.write(b"hello")
        assert await theirs.read() == b"hello"

    run(test)


def test_writes_of_two_tasks_do_not_mix() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alice, bob = await pair(nursery)
        ours = await alice.open_stream()
        theirs = await bob.accept_stream()
        for letter in b"ab":
            nursery.start_soon(ours.write, bytes([letter]) * 300_000)
        received = b""
        while len(received) < 600_000:
            received += await theirs.read()
        assert received in (b"a" * 300_000 + b"b" * 300_000, b"b" * 300_000 + b"a" * 300_000)

    run(test)


def test_ends_and_resets() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alice, bob = await pair(nursery)
        ours = await alice.open_stream()
        theirs = await bob.accept_stream()
        await ours.write(b"last words")
        await ours.close_write()
        await trio.testing.wait_all_tasks_blocked()
        assert await theirs.read(4) == b"last"
        assert await theirs.read() == b" words"
        with pytest.raises(MuxedStreamEOF):
            await theirs.read()
        with pytest.raises(MuxedStreamClosed):
            await ours.write(b"x")
        await theirs.write(b"answer")
        assert await ours.read() == b"answer"
        await ours.close()
        await theirs.write(b"nobody reads this")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(MuxedStreamReset):
            await theirs.write(b"x")
        assert not alice._streams
        assert not bob._streams

    run(test)


def test_a_peer_that_is_silent_is_gone() -> None:
    async def test(nursery: trio.Nursery) -> None:
        muxer, other = await raw(nursery)
        with trio.fail_after(PING_EVERY_S + PONG_WAIT_S + 1):
            await muxer.event_closed.wait()
        with pytest.raises(MuxedConnUnavailable):
            await muxer.accept_stream()
        with pytest.raises(MuxedConnUnavailable):
            await muxer.open_stream()
        assert await other.receive_some() == frame(2, 1, 0, 1)

    run(test)


def test_a_peer_that_answers_stays() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alice, bob = await pair(nursery)
        await trio.sleep(500)
        alice.doubt()
        await trio.sleep(100)
        assert not alice.is_closed
        assert not bob.is_closed

    run(test)


def test_streams_of_the_peer_are_limited() -> None:
    """C36"""

    async def test(nursery: trio.Nursery) -> None:
        muxer, other = await raw(nursery)
        count = Limits.max_streams_per_peer
        await other.send_all(b"".join(frame(1, 1, 1 + 2 * number, 0) for number in range(count + 10)))
        await trio.testing.wait_all_tasks_blocked()
        answers = bytes(await other.receive_some())
        flags = [struct.unpack("!BBHII", answers[at : at + 12])[2] for at in range(0, len(answers), 12)]
        assert flags == [2] * count + [8] * 10
        assert len(muxer._streams) == count

    run(test)


HOSTILE = {
    "another version": b"\x01" + bytes(11),
    "another kind": frame(4, 0, 1, 0),
    "a huge frame": frame(0, 1, 1, WINDOW_BYTES + 1),
    "a number that is ours": frame(1, 1, 2, 0),
    "a number in use": frame(1, 1, 1, 0) * 2,
    "above the window": frame(1, 1, 1, 0) + frame(0, 0, 1, WINDOW_BYTES, bytes(WINDOW_BYTES)) + frame(0, 0, 1, 1, b"x"),
    "cut off": frame(0, 1, 1, 100, b"x"),
}


@pytest.mark.parametrize("sent", HOSTILE.values(), ids=HOSTILE)
def test_who_breaks_the_protocol_is_disconnected(sent: bytes) -> None:
    """C36"""

    async def test(nursery: trio.Nursery) -> None:
        muxer, other = await raw(nursery)
        await other.send_all(sent)
        await cast(trio.abc.HalfCloseableStream, other).send_eof()
        with trio.fail_after(1):
            await muxer.event_closed.wait()

    run(test)


def test_a_peer_that_asks_and_does_not_read_is_disconnected() -> None:
    """C36: what waits for it is bounded."""

    async def test(nursery: trio.Nursery) -> None:
        left, right = trio.testing.lockstep_stream_pair()
        muxer = await start(nursery, left, is_initiator=False)
        with pytest.raises((trio.BrokenResourceError, trio.TooSlowError)):
            with trio.fail_after(5):
                await right.send_all(frame(2, 1, 0, 7) * 1_000_000)
        assert muxer.is_closed
        assert len(muxer._controls) <= 1024

    run(test)
