"""Noise messages from and to a socket, and messages with their length before them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest
import trio
import trio.testing
from libp2p.abc import ISecureConn
from libp2p.stream_muxer.exceptions import MuxedStreamEOF
from libp2p.utils import encode_varint_prefixed
from noise.connection import NoiseConnection  # type: ignore[import-untyped]
from noise.exceptions import NoiseInvalidMessage  # type: ignore[import-untyped]

from walytis_core.network.libp2p.stream import Prefixed
from walytis_core.network.libp2p.wire import Wire

BOUND_S = 10


def noise_pair() -> tuple[NoiseConnection, NoiseConnection]:
    one, other = (NoiseConnection.from_name(b"Noise_NN_25519_ChaChaPoly_SHA256") for _ in range(2))
    one.set_as_initiator()
    other.set_as_responder()
    one.start_handshake()
    other.start_handshake()
    other.read_message(bytes(one.write_message()))
    one.read_message(bytes(other.write_message()))
    return one, other


def wire(stream: trio.SocketStream, noise: NoiseConnection, early: bytes = b"") -> Wire:
    """A wire, as deep below py-libp2p's layers as it reaches."""
    raw = SimpleNamespace(stream=SimpleNamespace(stream=stream))
    transport = SimpleNamespace(noise_state=noise, read_writer=SimpleNamespace(read_write_closer=raw))
    return Wire(cast(ISecureConn, SimpleNamespace(conn=transport, _drain=lambda _n: early)))


def run(test: Callable[[trio.SocketStream, trio.SocketStream], Awaitable[None]]) -> None:
    async def bounded() -> None:
        ours, theirs = (trio.SocketStream(end) for end in trio.socket.socketpair())
        with trio.fail_after(BOUND_S):
            async with ours, theirs:
                await test(ours, theirs)

    trio.run(bounded)


async def read(wire: Wire, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await wire.read()
        assert more
        data += more
    return data


@pytest.mark.parametrize("size", [1, 65_519, 65_520, 300_000])
def test_what_is_written_is_read(size: int) -> None:
    async def test(ours: trio.SocketStream, theirs: trio.SocketStream) -> None:
        one, other = noise_pair()
        sender, receiver = wire(ours, one), wire(theirs, other)
        data = Random(size).randbytes(size)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.write, data)
            assert await read(receiver, size) == data

    run(test)


def test_messages_may_come_in_any_pieces() -> None:
    async def test(ours: trio.SocketStream, theirs: trio.SocketStream) -> None:
        one, other = noise_pair()
        receiver, said = wire(theirs, other, b"early "), [b"words ", b"", b"in ", b"order"]
        sealed = b"".join(len(text).to_bytes(2, "big") + text for text in map(one.encrypt, said))
        assert await receiver.read() == b"early "
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip, ours, sealed)
            assert await read(receiver, 14) == b"words in order"
        await ours.send_eof()
        with pytest.raises(trio.EndOfChannel):
            await receiver.read()

    async def drip(stream: trio.SocketStream, data: bytes) -> None:
        for at in range(len(data)):
            await stream.send_all(data[at : at + 1])
            await trio.testing.wait_all_tasks_blocked()

    run(test)


@pytest.mark.parametrize("garbage", [b"\0\0", b"\0\x05short", b"\0\x20" + bytes(32)])
def test_what_does_not_open_ends_the_connection(garbage: bytes) -> None:
    """C36: bytes that were not sealed by the peer are an error, whatever they are."""

    async def test(ours: trio.SocketStream, theirs: trio.SocketStream) -> None:
        await ours.send_all(garbage)
        with pytest.raises(NoiseInvalidMessage):
            await wire(theirs, noise_pair()[1]).read()

    run(test)


def prefixed(data: bytes, step: int, max_bytes: int) -> Prefixed:
    chunks = [data[at : at + step] for at in range(0, len(data), step)]

    async def read() -> bytes:
        await trio.lowlevel.checkpoint()
        if not chunks:
            raise MuxedStreamEOF
        return chunks.pop(0)

    return Prefixed(read, max_bytes)


@pytest.mark.parametrize("step", [1, 2, 3, 200, 100_000])
def test_prefixed_messages_come_whole_and_in_order(step: int) -> None:
    messages = [Random(size).randbytes(size) for size in (0, 1, 127, 128, 16_384, 3)]
    source = prefixed(b"".join(map(encode_varint_prefixed, messages)), step, 16_384)

    async def test() -> None:
        assert [await source.next() for _ in messages] == messages
        with pytest.raises(MuxedStreamEOF):
            await source.next()

    trio.run(test)


@pytest.mark.parametrize("data", [encode_varint_prefixed(bytes(101)), b"\xff" * 20, b"\x80\x80\x80\x80\x80\x01"])
def test_a_length_is_bounded(data: bytes) -> None:
    """C36: what is too long, or no length, is refused before it is waited for."""

    async def test() -> None:
        with pytest.raises(ValueError, match=r"too long|not a length"):
            await prefixed(data[:8], 1, 100).next()

    trio.run(test)
