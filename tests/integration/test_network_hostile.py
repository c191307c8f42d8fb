"""A peer whose every layer is hostile: nothing that it sends leaves the embedded transport but as `UnavailableError`."""

from __future__ import annotations

import random
import struct
from contextlib import suppress

import pytest
import trio
from libp2p.abc import INetStream
from libp2p.bitswap.pb.bitswap_pb2 import Message
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_delim, encode_varint_prefixed
from multiaddr import Multiaddr

from tests.integration.test_network_libp2p import inside, run, works
from tests.suites.networks import ALICE, BOB, CAROL, CHANNEL, PROTOCOL, echo, until
from walytis_core.cid import Cid
from walytis_core.errors import UnavailableError
from walytis_core.network.libp2p import Libp2pNetwork
from walytis_core.network.libp2p.bitswap import PROTOCOLS as BITSWAP

pytestmark = pytest.mark.libp2p

ROUNDS = 15
MULTISTREAM = encode_delim(b"/multistream/1.0.0")
SPOKEN = [PROTOCOL, "/ipfs/id/1.0.0", "/meshsub/1.1.0", "/meshsub/1.0.0", "/ipfs/ping/1.0.0", *BITSWAP]
BAD_ADDRESSES = [
    b"\xff\xff\xff\xff",
    b"\x04\x7f\x00",
    bytes.fromhex("a503") + b"\x05abc",
    b"\x36\x02\xff\xfe\x06\x00\x01",
    Multiaddr("/ip4/127.0.0.1/tcp/1").to_bytes() + b"\xa5\x03\x02\xff\xff",
    b"",
]


class Garbler:
    """Makes garbage: random, or near to what is right."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def bent(self, data: bytes) -> bytes:
        """With some bytes changed, or cut short."""
        bent = bytearray(data)
        for _ in range(self.random.randrange(4)):
            if bent:
                bent[self.random.randrange(len(bent))] = self.random.randrange(256)
        return bytes(bent[: self.random.randrange(len(bent) + 1)] if self.random.random() < 0.3 else bent)

    def noise(self) -> bytes:
        return self.random.randbytes(self.random.choice([0, 1, 7, 60, 3000]))

    def negotiation(self) -> bytes:
        name = self.random.choice(SPOKEN).encode()
        return self.random.choice(
            [
                self.noise(),
                encode_delim(b"\xff\xfe\xfd"),
                MULTISTREAM + encode_delim(b"\xff\xfe"),
                MULTISTREAM + encode_delim(b"") * 3,
                MULTISTREAM + encode_delim(b"na") + encode_delim(b"ls"),
                b"\xff" * 20,
                MULTISTREAM + b"\x01x",
                MULTISTREAM + encode_delim(name) + self.message(),
                self.bent(MULTISTREAM + encode_delim(name)),
            ]
        )

    def message(self) -> bytes:
        made = self.random.choice([self.identity, self.rpc, self.exchange, self.noise])()
        return self.random.choice([encode_varint_prefixed(made), made, encode_varint_prefixed(self.bent(made))])

    def identity(self) -> bytes:
        return Identify(
            protocol_version="x",
            agent_version="y",
            public_key=self.noise(),
            listen_addrs=[*BAD_ADDRESSES, self.noise()],
            observed_addr=self.random.choice(BAD_ADDRESSES),
            protocols=[CHANNEL, "", "\u0000", "x" * 500],
            signedPeerRecord=self.noise(),
        ).SerializeToString()

    def rpc(self) -> bytes:
        noise, topic = self.noise()[:100], self.random.choice([CHANNEL, "", "\u0000"])
        control = rpc_pb2.ControlMessage(
            graft=[rpc_pb2.ControlGraft(topicID=topic)] * self.random.randrange(3),
            prune=[rpc_pb2.ControlPrune(topicID=topic, backoff=self.random.choice([0, 2**63, 2**64 - 1]))],
            ihave=[rpc_pb2.ControlIHave(topicID=topic, messageIDs=[noise])],
            iwant=[rpc_pb2.ControlIWant(messageIDs=[noise])],
            idontwant=[rpc_pb2.ControlIDontWant(messageIDs=[noise])],
        )
        return rpc_pb2.RPC(
            subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=self.random.random() < 0.5, topicid=topic)] * 3,
            publish=[
                rpc_pb2.Message(topicIDs=[topic], data=noise, from_id=noise, seqno=noise, signature=noise, key=noise)
            ],
            control=control,
            senderRecord=noise,
        ).SerializeToString()

    def exchange(self) -> bytes:
        noise, cid = self.noise()[:100], self.random.choice([Cid.of(b""), self.noise()])
        entry = Message.Wantlist.Entry(block=cid, sendDontHave=True, cancel=self.random.random() < 0.2)
        return Message(
            wantlist=Message.Wantlist(entries=[entry] * self.random.randrange(50), full=self.random.random() < 0.2),
            payload=[Message.Block(prefix=self.random.choice([cid[:4], noise]), data=noise)] * self.random.randrange(9),
            blockPresences=[Message.BlockPresence(cid=cid, type=Message.Have)] * self.random.randrange(3),
        ).SerializeToString()

    def frame(self) -> bytes:
        data = self.noise()
        kind, flags = self.random.randrange(5), self.random.randrange(16)
        length = self.random.choice([len(data), 0, 1 << 31])
        return struct.pack("!BBHII", 0, kind, flags, self.random.randrange(12), length) + data


class Hostile:
    """A peer that garbles on every stream, whoever opened it, and below them."""

    def __init__(self, seed: int) -> None:
        self.garbler = Garbler(seed)
        self.network = Libp2pNetwork()

    async def attack(self, victim: Libp2pNetwork) -> None:
        """One connection, for a moment, from which all kinds of garbage come."""
        async with self.network.running(CAROL), trio.open_nursery() as nursery:
            host = inside(self.network)._host
            host.get_network().set_stream_handler(self.answer)
            with suppress(UnavailableError):
                await self.network.connect(victim.addresses())
            for act in (self.subscribe, self.open_streams, self.write_frames):
                nursery.start_soon(act, victim.peer_id)
            await trio.sleep(0.3)  # what it does meanwhile is the test; nothing is waited for
            nursery.cancel_scope.cancel()

    async def answer(self, stream: INetStream) -> None:
        with suppress(Exception):
            await stream.write(self.garbler.negotiation())
            await trio.sleep(self.garbler.random.random() * 0.1)
            await (stream.close() if self.garbler.random.random() < 0.5 else stream.reset())

    async def subscribe(self, victim: str) -> None:
        with suppress(Exception):
            await self.network.subscribe(CHANNEL)

    async def open_streams(self, victim: str) -> None:
        while True:
            with suppress(Exception):
                connection = inside(self.network)._swarm.get_connections()[0]
                stream = await connection.new_stream()
                await stream.write(self.garbler.negotiation())
            await trio.sleep(0.01)

    async def write_frames(self, victim: str) -> None:
        await trio.sleep(0.15)
        with suppress(Exception):
            (connection,) = inside(self.network)._swarm.get_connections()
            for _ in range(30):
                await connection.muxed_conn.send(self.garbler.frame())  # type: ignore[attr-defined]  # below


async def use(network: Libp2pNetwork) -> None:
    """Uses the port as a node does, on whoever is connected: it fails with `UnavailableError`, or not at all."""
    while True:
        for peer in network.connected():
            assert all(address.isprintable() for address in network.known_addresses(peer))
            network.on_channel(CHANNEL)
            with suppress(UnavailableError), trio.move_on_after(0.2):
                stream = await network.open_stream(peer, PROTOCOL)
                await stream.send(b"hello")
                await stream.receive(100)
                await stream.close()
        with suppress(UnavailableError), trio.move_on_after(0.2):
            await network.fetch(Cid.of(b""))
        with suppress(UnavailableError):
            await network.publish(CHANNEL, b"hello")
        await trio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_hostile_leaves_the_adapter(seed: int) -> None:
    """C36: a peer that answers and sends garbage at every layer ends neither the network nor its users' tasks."""

    async def test() -> None:
        alice, bob, hostile = Libp2pNetwork(), Libp2pNetwork(), Hostile(seed)
        bob.serve(PROTOCOL, echo)
        async with alice.running(ALICE), bob.running(BOB):
            await bob.subscribe(CHANNEL)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(use, bob)
                for _ in range(ROUNDS):
                    await hostile.attack(bob)
                nursery.cancel_scope.cancel()
            await works(alice, bob)

    run(test)


NO_TEXT = {
    "at once": encode_delim(b"\xff\xfe\xfd"),
    "as the protocol": MULTISTREAM + encode_delim(b"\xff"),
    "no length": b"\xff" * 20,
    "cut short": MULTISTREAM + b"\x05x",
}


@pytest.mark.parametrize("answer", NO_TEXT.values(), ids=NO_TEXT)
def test_an_answer_that_is_no_text(answer: bytes) -> None:
    """C36: a protocol name that is not UTF-8 fails the stream that was asked for, and the peer stays connected."""

    async def garble(stream: INetStream) -> None:
        await stream.write(answer)
        await stream.close()

    async def test() -> None:
        bob, stranger = Libp2pNetwork(), Libp2pNetwork()
        async with bob.running(BOB), stranger.running(CAROL):
            inside(stranger)._swarm.set_stream_handler(garble)
            peer = (await bob.connect(stranger.addresses())).peer
            with pytest.raises(UnavailableError):
                await bob.open_stream(peer, PROTOCOL)
            assert list(bob.connected()) == [peer]

    run(test)


def test_addresses_that_are_none() -> None:
    """C36: of the addresses in an identify answer those that are garbage are dropped, the others are known."""
    good = Multiaddr("/ip4/10.1.2.3/tcp/7")

    async def test() -> None:
        bob, stranger = Libp2pNetwork(), Libp2pNetwork()
        async with bob.running(BOB), stranger.running(CAROL):
            host = inside(stranger)._host
            elsewhere = Multiaddr(f"/ip4/10.1.2.3/tcp/8/p2p/{bob.peer_id}").to_bytes()

            async def identify(stream: INetStream) -> None:
                told = Identify(
                    public_key=host.get_public_key().serialize(),
                    listen_addrs=[*BAD_ADDRESSES, elsewhere, good.to_bytes()],
                )
                await stream.write(encode_varint_prefixed(told.SerializeToString()))
                await stream.close()

            host.set_stream_handler(IDENTIFY, identify)
            await stranger.connect(bob.addresses())
            await until(lambda: bool(bob.connected()) and bool(bob.known_addresses(stranger.peer_id)))
            assert list(bob.known_addresses(stranger.peer_id)) == [f"{good}/p2p/{stranger.peer_id}"]

    run(test)


def test_peers_that_are_none() -> None:
    """C43: text that is no peer id is a peer that is not connected."""

    async def test() -> None:
        bob = Libp2pNetwork()
        async with bob.running(BOB):
            for peer in ("", "0OIl", "\u0000", "\ud800", "x" * 1000):
                with pytest.raises(UnavailableError):
                    await bob.open_stream(peer, PROTOCOL)
                await bob.disconnect(peer)
                assert not bob.known_addresses(peer)

    run(test)
