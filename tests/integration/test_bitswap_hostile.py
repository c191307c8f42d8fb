"""Peers that misuse bitswap: what they ask for is bounded, what they send harms nobody, and others are served meanwhile."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import pytest
import trio
from libp2p.bitswap.pb.bitswap_pb2 import Message
from libp2p.utils import encode_varint_prefixed

from tests.integration.test_bitswap import AT_ONCE_S, Embedded, embedded, nothing_left
from tests.integration.test_network_libp2p import inside, run
from tests.suites.networks import ALICE, BOB, CAROL, read_all, until
from walytis_core.cid import RAW_PREFIX, Cid
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.libp2p import Libp2pNetwork, bitswap_line, bitswap_wire
from walytis_core.network.libp2p.bitswap import PROTOCOLS, Bitswap
from walytis_core.network.libp2p.bitswap_line import GARBAGE, WANTS, Line
from walytis_core.network.libp2p.bitswap_wire import ENTRIES, MESSAGE_BYTES, NAME_BYTES
from walytis_core.network.port import Stream

pytestmark = pytest.mark.libp2p


def sent(message: Message) -> bytes:
    return encode_varint_prefixed(message.SerializeToString())


def wanting(cids: Sequence[bytes], *, block: bool = True, cancel: bool = False, say_no: bool = True) -> bytes:
    kind = Message.Wantlist.Block if block else Message.Wantlist.Have
    entries = [Message.Wantlist.Entry(block=cid, wantType=kind, cancel=cancel, sendDontHave=say_no) for cid in cids]
    return sent(Message(wantlist=Message.Wantlist(entries=entries)))


def giving(*datas: bytes) -> bytes:
    return sent(Message(payload=[Message.Block(prefix=RAW_PREFIX, data=data) for data in datas]))


def absent(count: int, start: int = 0) -> list[Cid]:
    return [Cid.of(b"absent %d" % number) for number in range(start, start + count)]


class Scene(NamedTuple):
    """Bob, whom a stranger annoys while Alice wants something of him."""

    bob: Embedded
    alice: Embedded
    stranger: Libp2pNetwork

    @property
    def exchange(self) -> Bitswap:
        return inside(self.bob.network).bitswap

    @property
    def line(self) -> Line:
        """What Bob has with the stranger."""
        return self.exchange._lines[self.stranger.peer_id]

    async def open(self) -> Stream:
        return await self.stranger.open_stream(self.bob.network.peer_id, PROTOCOLS[0])

    async def is_served(self) -> None:
        """Alice gets a block at once, and Bob gets one of hers."""
        ours, theirs = self.alice.put(os.urandom(5000)), self.bob.put(os.urandom(5000))
        with trio.fail_after(AT_ONCE_S):
            assert await self.alice.network.fetch(theirs) == self.bob.blocks[theirs]
            assert await self.bob.network.fetch(ours, [self.alice.network.peer_id]) == self.alice.blocks[ours]


@asynccontextmanager
async def scene(answer: Callable[[Stream], object] | None = None) -> AsyncIterator[Scene]:
    """All connected; the stranger hears Bob out with `answer`, or ignores what he says."""

    async def ignore(stream: Stream) -> None:
        await read_all(stream)

    async with embedded(BOB) as bob, embedded(ALICE) as alice:
        stranger = Libp2pNetwork()
        async with stranger.running(CAROL):
            for protocol in PROTOCOLS:
                inside(stranger).serve(protocol, answer or ignore)  # type: ignore[arg-type] # as tests write it
            for network in (stranger, alice.network):
                await network.connect(bob.network.addresses())
            now = Scene(bob, alice, stranger)
            yield now
            await now.is_served()
            await stranger.disconnect(bob.network.peer_id)
            await alice.network.disconnect(bob.network.peer_id)
            await until(lambda: nothing_left(bob.network))


@pytest.mark.parametrize("say_no", [True, False])
def test_wants_of_what_is_absent_are_slowed_down(say_no: bool) -> None:
    """C36: 10 000 in a message, again and again: little is looked up, little is kept, and others are served."""

    async def test() -> None:
        async with scene() as now:
            most = int(bitswap_line.BURST_S / bitswap_line.MISS_S)
            for turn in range(3):
                stream = await now.open()
                await stream.send(wanting(absent(10_000, turn * 10_000), say_no=say_no))
            await until(lambda: len(now.bob.given) >= most)
            await now.is_served()
            assert len(now.bob.given) < 4 * most
            assert len(now.line._wants) <= WANTS

    run(test)


def test_one_message_asks_for_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: what exceeds that is passed over; the same want twice is one."""
    monkeypatch.setattr(bitswap_line, "MISS_S", 0.0)

    async def test() -> None:
        async with scene() as now:
            stream = await now.open()
            cids = absent(10_000)
            await stream.send(wanting(cids))
            await until(lambda: len(now.bob.given) == ENTRIES)
            await stream.send(wanting([cids[-1]] * 500))
            await until(lambda: cids[-1] in now.bob.given)
            await until(lambda: not now.line._wants)
            assert len(now.bob.given) < ENTRIES + 20

    run(test)


def test_odd_names_are_never_looked_up() -> None:
    """C36: of another version, hash or codec, too long or empty; it is said that they are not here."""

    async def test() -> None:
        heard: list[bytes] = []

        async def hear(stream: Stream) -> None:
            heard.append(await read_all(stream))

        async with scene(hear) as now:
            sha = Cid.of(b"x")[4:]
            odd = [b"", b"x", b"\x12\x20" + sha, b"\x01\x51\x12\x20" + sha, b"\x01\x55\x00\x03abc", bytes(100_000)]
            stream = await now.open()
            await stream.send(wanting(odd))
            await stream.send(wanting(odd, block=False))
            here = now.bob.put(b"here")
            await stream.send(wanting([here], block=False))
            await until(lambda: here in now.bob.given)
            assert now.bob.given == [here]

    run(test)


def heard_of(data: bytes) -> list[Message]:
    """The messages in what a stream brought, as far as they are whole."""
    found, at = [], 0
    while at < len(data):
        size = shift = 0
        while at < len(data):
            byte, at = data[at], at + 1
            size, shift = size | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        found += [Message.FromString(data[at : at + size])] if at + size <= len(data) else []
        at += size
    return found


class Heard:
    """A stranger that hears Bob out."""

    def __init__(self) -> None:
        self._data: list[bytearray] = []

    async def __call__(self, stream: Stream) -> None:
        self._data.append(bytearray())
        while data := await stream.receive(65536):
            self._data[-1] += data

    @property
    def messages(self) -> list[Message]:
        return [message for data in self._data for message in heard_of(bytes(data))]

    @property
    def wants(self) -> list[tuple[bytes, bool]]:
        """What Bob wanted, and whether he took it back."""
        return [(one.block, one.cancel) for message in self.messages for one in message.wantlist.entries]

    def said(self, kind: int) -> set[bytes]:
        """The CIDs of which Bob said that."""
        return {one.cid for message in self.messages for one in message.blockPresences if one.type == kind}

    @property
    def blocks(self) -> list[bytes]:
        return [block.data for message in self.messages for block in message.payload]


def test_it_is_said_what_is_there_and_what_is_not() -> None:
    """C44: to whoever asks to hear of it; odd names are not here, and small blocks come at once."""

    async def test() -> None:
        heard = Heard()
        async with scene(heard) as now:
            large, small = now.bob.put(os.urandom(5000)), now.bob.put(b"small")
            told, untold = [*absent(3), b"odd"], absent(3, 100)
            stream = await now.open()
            await stream.send(wanting(untold, say_no=False) + wanting(told) + wanting([large, small], block=False))
            await until(lambda: bool(heard.blocks))
            assert heard.said(Message.DontHave) == set(told)
            assert heard.said(Message.Have) == {large}
            assert heard.blocks == [b"small"]

    run(test)


@pytest.mark.slow
@pytest.mark.parametrize("is_named", [True, False])
def test_wants_are_taken_back(is_named: bool) -> None:
    """C44: when a fetch is given up, or another peer gave the block."""

    async def test() -> None:
        heard = Heard()
        async with scene(heard) as now:
            given_up, given = Cid.of(b"given up"), now.alice.put(os.urandom(5000))
            peers = [now.stranger.peer_id]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(now.bob.network.fetch, given_up, peers if is_named else [])
                await until(lambda: (given_up, False) in heard.wants)
                nursery.cancel_scope.cancel()
            await now.bob.network.fetch(given, [*peers, now.alice.network.peer_id] if is_named else [])
            last = Cid.of(b"last")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(now.bob.network.fetch, last, peers)
                await until(lambda: (last, False) in heard.wants)  # all that was to be said before has been
                nursery.cancel_scope.cancel()
            assert [one for one in heard.wants if one[1]][:2] == [(given_up, True), (given, True)]

    run(test)


def test_cancels_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: what is wanted no more is not looked up."""
    monkeypatch.setattr(bitswap_line, "BURST_S", 0.0)
    monkeypatch.setattr(bitswap_line, "MISS_S", 1.0)

    async def test() -> None:
        async with scene() as now:
            one, other = await now.open(), await now.open()
            cids = absent(WANTS + WANTS // 2)
            await one.send(wanting(cids))  # more than are kept: the rest of this message has to wait
            await until(lambda: bool(now.bob.given) and len(now.line._wants) == WANTS)
            await other.send(wanting(cids[:WANTS], cancel=True))
            await until(lambda: cids[-1] in now.line._wants)
            await other.send(wanting(cids, cancel=True))
            await until(lambda: not now.line._wants)
            assert len(now.bob.given) < 5

    run(test)


@pytest.mark.slow
def test_a_peer_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: it is given what fits its window, then forgotten until it asks again; nobody waits for it."""
    monkeypatch.setattr(bitswap_line, "PIECE_WAIT_S", 1.0)

    async def pause(stream: Stream) -> None:
        await trio.sleep_forever()

    async def test() -> None:
        async with scene(pause) as now:
            cids = [now.bob.put(os.urandom(Limits.leaf_bytes)) for _ in range(40)]
            stream = await now.open()
            await stream.send(wanting(cids))
            await until(lambda: bool(now.bob.given))
            await now.is_served()
            await until(lambda: not now.line._wants and now.line._running is None)
            assert len(set(now.bob.given) & set(cids)) < 10
            assert now.stranger.peer_id in now.bob.network.connected()

    run(test)


GARBAGE_SENT = {
    "no protobuf": encode_varint_prefixed(b"\xff" * 100),
    "no length": b"\xff" * 20,
    "too long": encode_varint_prefixed(bytes(10 << 20)),
    "just too long": encode_varint_prefixed(bytes(MESSAGE_BYTES + 1)),
}


@pytest.mark.parametrize("garbage", GARBAGE_SENT.values(), ids=GARBAGE_SENT)
def test_garbage_ends_the_stream(garbage: bytes) -> None:
    """C36: and nothing else."""

    async def test() -> None:
        async with scene() as now:
            for _ in range(5):
                stream = await now.open()
                with suppress(UnavailableError):
                    await stream.send(garbage)
                with suppress(UnavailableError):
                    assert await stream.receive(1) == b""
            await now.is_served()

    run(test)


DENSE = {
    "empty wants": b"\x0a\x80\x80\x40" + b"\x0a\x00" * (1 << 19),
    "empty blocks": b"\x1a\x00" * (1 << 19),
    "empty presences": b"\x22\x00" * (1 << 19),
    "old blocks": b"\x12\x00" * (1 << 19),
}


@pytest.mark.parametrize("dense", DENSE.values(), ids=DENSE)
def test_a_message_of_a_million_nothings(dense: bytes) -> None:
    """C36: costs little."""

    async def test() -> None:
        async with scene() as now:
            stream = await now.open()
            for _ in range(3):
                await stream.send(encode_varint_prefixed(dense))
            await now.is_served()
            assert len(now.bob.given) < 5

    run(test)


def test_half_messages_on_many_streams() -> None:
    """C36: hold up the streams of that peer alone; with it they are gone."""

    async def test() -> None:
        async with scene() as now:
            streams: list[Stream] = []
            with suppress(UnavailableError):
                while len(streams) < 2 * Limits.max_streams_per_peer:
                    streams.append(await now.open())
                    await streams[-1].send(wanting(absent(1000))[:1000])
            assert len(streams) > bitswap_line.MESSAGES
            await now.is_served()
            assert now.line.reading.borrowed_tokens == bitswap_line.MESSAGES
            assert not now.line._wants

    run(test)


def test_blocks_that_were_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: are dropped without being hashed."""
    hashed: list[bytes] = []

    def hash_noted(data: bytes, prefix: bytes) -> None:
        hashed.append(data)

    async def test() -> None:
        async with scene() as now:
            stream, here = await now.open(), now.bob.put(b"here")
            monkeypatch.setattr(Cid, "of", hash_noted)
            await stream.send(giving(*(os.urandom(1000) for _ in range(50))) + wanting([here]))
            await until(lambda: here in now.bob.given)
            assert not hashed
            monkeypatch.undo()

    run(test)


def test_wrong_blocks_in_answer() -> None:
    """C36: a peer that answers with what does not fit is not waited for; the next one is asked."""

    async def test() -> None:
        async def lie(stream: Stream) -> None:
            while await stream.receive(1000):
                reply = await now.open()
                await reply.send(giving(*(os.urandom(1000) for _ in range(GARBAGE))))

        async with scene(lie) as now:
            cid = now.alice.put(os.urandom(5000))
            with trio.fail_after(AT_ONCE_S):
                names = [now.stranger.peer_id, now.alice.network.peer_id]
                assert await now.bob.network.fetch(cid, names) == now.alice.blocks[cid]
                with pytest.raises(UnavailableError):
                    await now.bob.network.fetch(cid, names[:1])

    run(test)


@pytest.mark.slow
def test_a_peer_that_says_again_and_again_that_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: is believed once."""
    monkeypatch.setattr(Limits, "fetch_wait_s", 1.0)

    async def test() -> None:
        cid = Cid.of(b"promised")

        async def promise(stream: Stream) -> None:
            while await stream.receive(1000):
                reply = await now.open()
                presence = Message.BlockPresence(cid=cid, type=Message.Have)
                for _ in range(5):
                    await reply.send(sent(Message(blockPresences=[presence] * 1000)))

        async with scene(promise) as now:
            await now.alice.network.disconnect(now.bob.network.peer_id)
            async with trio.open_nursery() as nursery:

                async def fetch() -> None:
                    with pytest.raises(UnavailableError):
                        await now.bob.network.fetch(cid)

                nursery.start_soon(fetch)
                await until(lambda: cid in now.exchange._fetches)
                fetching = now.exchange._fetches[cid]
                await fetching.ended.wait()
                assert len(fetching._holders) <= 1
            await now.alice.network.connect(now.bob.network.addresses())

    run(test)


def test_claims_of_others_count_for_nothing() -> None:
    """C36: what a peer that was not asked says of a block changes no fetch."""

    async def test() -> None:
        async with scene() as now:
            data = os.urandom(5000)
            cid = Cid.of(data, RAW_PREFIX)
            stream = await now.open()
            presences = [Message.BlockPresence(cid=cid, type=kind) for kind in (Message.Have, Message.DontHave)]
            async with trio.open_nursery() as nursery:
                got: list[bytes] = []

                async def fetch() -> None:
                    with suppress(UnavailableError):
                        got.append(await now.bob.network.fetch(cid, [now.alice.network.peer_id]))

                now.alice.blocks[cid] = data
                nursery.start_soon(fetch)
                for _ in range(20):
                    await stream.send(sent(Message(blockPresences=presences)) + giving(data))
            assert got == [data]
            here = now.bob.put(b"here")
            await stream.send(wanting([here]))
            await until(lambda: here in now.bob.given)  # all that came before was read

    run(test)


def test_the_reader_never_keeps_more_than_it_may() -> None:
    """C36: of one message, each kind."""
    encoded = Message(
        wantlist=Message.Wantlist(entries=[Message.Wantlist.Entry(block=b"x")] * (ENTRIES + 1)),
        payload=[Message.Block(prefix=b"x", data=b"x")] * (ENTRIES + 1),
        blockPresences=[Message.BlockPresence(cid=b"x")] * (ENTRIES + 1),
    ).SerializeToString()
    message = bitswap_wire.read(encoded)
    assert len(message.wants) == len(message.blocks) == len(message.has) == ENTRIES
    assert not message.lacks


@pytest.mark.parametrize("over", [0, 1])
def test_the_reader_passes_over_what_is_too_long(over: int) -> None:
    """C36: names and blocks, by one byte."""
    encoded = Message(
        wantlist=Message.Wantlist(entries=[Message.Wantlist.Entry(block=bytes(NAME_BYTES + over))]),
        payload=[Message.Block(prefix=b"x", data=bytes(Limits.leaf_bytes + over))],
    ).SerializeToString()
    message = bitswap_wire.read(encoded)
    assert len(message.wants) == len(message.blocks) == 1 - over
