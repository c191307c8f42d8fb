"""The embedded transport on real sockets of the loopback."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest
import trio
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr

from tests.suites.network_suite import GivingSuite, NetworkSuite
from tests.suites.networks import ALICE, AT_ONCE_S, BOB, BOUND_S, CAROL, CHANNEL, NOTICED_S, PROTOCOL, echo, hear, until
from walytis_core.errors import InvalidInputError, UnavailableError
from walytis_core.network import Gossip, Network, Stream
from walytis_core.network.libp2p import Libp2pNetwork, gossip
from walytis_core.network.libp2p.gossip import TOPICS_PER_PEER
from walytis_core.network.libp2p.running import RunningHost

pytestmark = pytest.mark.libp2p


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestLibp2pNetwork(NetworkSuite, GivingSuite):
    @pytest.fixture(autouse=True)
    def _ports(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ports: dict[bytes, int] = {}
        monkeypatch.setattr(gossip, "PUBLISH_WAIT_S", 30.0)  # a machine that is held up is no peer that does not read

    def make(self, seed: bytes) -> Network:
        """A network for the same seed takes the port of the one before."""
        port = self.ports.setdefault(seed, free_port())
        return Libp2pNetwork(listen=[f"/ip4/127.0.0.1/tcp/{port}"])


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(BOUND_S):
            await test()

    trio.run(bounded)


def inside(network: Libp2pNetwork) -> RunningHost:
    assert network._run is not None
    return network._run


async def works(alice: Libp2pNetwork, bob: Libp2pNetwork) -> None:
    """Alice and Bob are served as ever."""
    inbox = await bob.subscribe(CHANNEL)
    bob.serve(PROTOCOL, echo)
    await alice.connect(bob.addresses())
    stream = await alice.open_stream(bob.peer_id, PROTOCOL)
    await stream.send(b"hello")
    assert await stream.receive(9) == b"hello"
    await until(lambda: bob.peer_id in alice.on_channel(CHANNEL))
    await alice.publish(CHANNEL, b"hello")
    await hear(inbox, Gossip(alice.peer_id, b"hello"))


def of_pubsub(rpc: rpc_pb2.RPC | None = None) -> bytes:
    return encode_varint_prefixed((rpc or rpc_pb2.RPC()).SerializeToString())


def publishing(**fields: bytes) -> bytes:
    return of_pubsub(rpc_pb2.RPC(publish=[rpc_pb2.Message(topicIDs=[CHANNEL], **fields)]))


def subscribing(*topics: str) -> bytes:
    return of_pubsub(rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=name) for name in topics]))


GARBAGE = {
    "not protobuf": encode_varint_prefixed(b"\xff" * 50),
    "too long": b"\xff\xff\xff\xff\x7f",
    "no key": publishing(data=b"x", from_id=b"\x12\x20" + bytes(32), signature=b"x", key=b"garbage"),
    "no publisher": publishing(data=b"x", signature=b"x"),
    "unsigned": publishing(data=b"x", from_id=b"x", seqno=b"1"),
    "too large": publishing(data=bytes(200_000), from_id=b"x", seqno=b"1", signature=b"x"),
    "many topics": subscribing(*(f"/t/{number}" for number in range(5000))),
    "long topic": subscribing("t" * 100_000),
    "bad record": of_pubsub(rpc_pb2.RPC(senderRecord=b"garbage")),
    "control": of_pubsub(
        rpc_pb2.RPC(
            control=rpc_pb2.ControlMessage(
                graft=[rpc_pb2.ControlGraft(topicID=f"/t/{number}") for number in range(3000)],
                prune=[rpc_pb2.ControlPrune(topicID="/t", backoff=2**62, peers=[rpc_pb2.PeerInfo(peerID=b"garbage")])],
                ihave=[rpc_pb2.ControlIHave(topicID=CHANNEL, messageIDs=[b"x" * 100] * 1000)],
                iwant=[rpc_pb2.ControlIWant(messageIDs=[b"x" * 100] * 1000)],
            )
        )
    ),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_gossip_garbage_harms_nobody(garbage: bytes) -> None:
    """C36: a stranger's garbage on the pubsub stream ends at most that stream; others are served, nothing grows."""

    async def test() -> None:
        alice, bob, stranger = Libp2pNetwork(), Libp2pNetwork(), Libp2pNetwork()
        async with alice.running(ALICE), bob.running(BOB), stranger.running(CAROL):
            inbox = await bob.subscribe(CHANNEL)
            await stranger.connect(bob.addresses())
            for _ in range(3):
                with suppress(UnavailableError):  # its own pubsub opens a stream as well, which takes this one's place
                    raw = await inside(stranger).open_stream(bob.peer_id, "/meshsub/1.1.0")
                    await raw.send(garbage)
                    await raw.send(of_pubsub())
            await works(alice, bob)
            pubsub = inside(bob).gossip
            assert len(pubsub.peer_topics) <= TOPICS_PER_PEER + 1
            assert all(len(topic) <= 200 for topic in pubsub.peer_topics)
            assert set(pubsub.router.back_off) <= {CHANNEL}
            assert all(
                inbox.receive_nowait().peer == alice.peer_id for _ in range(inbox.statistics().current_buffer_used)
            )

    run(test)


FRAMES = {
    "not a frame": b"\xff" * 200,
    "more than the window": struct.pack("!BBHII", 0, 0, 0, 1, 1 << 30),
    "a stream that is ours": struct.pack("!BBHII", 0, 1, 1, 2, 0),
    "stream 0": struct.pack("!BBHII", 0, 1, 1, 0, 0),
    "many streams": b"".join(struct.pack("!BBHII", 0, 1, 1, 1001 + 2 * n, 0) for n in range(5000)),
    "many pings": b"".join(struct.pack("!BBHII", 0, 2, 1, 0, n) for n in range(5000)),
    "data for nobody": b"".join(struct.pack("!BBHII", 0, 0, 0, 999, 1) + b"x" for n in range(3000)),
    "goodbye": struct.pack("!BBHII", 0, 3, 0, 0, 0),
}


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_muxer_garbage_harms_nobody(frames: bytes) -> None:
    """C36: frames that break the protocol end the stranger's connection, or nothing; others are served."""

    async def test() -> None:
        alice, bob, stranger = Libp2pNetwork(), Libp2pNetwork(), Libp2pNetwork()
        async with alice.running(ALICE), bob.running(BOB), stranger.running(CAROL):
            await stranger.connect(bob.addresses())
            (connection,) = inside(stranger)._swarm.get_connections()
            await connection.muxed_conn.send(frames)  # type: ignore[attr-defined]  # below what is offered
            await works(alice, bob)

    run(test)


def test_a_window_is_enforced() -> None:
    """C36: a peer that sends more than it may, to a handler that does not read, is disconnected."""

    async def pause(stream: Stream) -> None:
        await trio.sleep_forever()

    async def test() -> None:
        bob, stranger = Libp2pNetwork(), Libp2pNetwork()
        async with bob.running(BOB), stranger.running(CAROL):
            bob.serve(PROTOCOL, pause)
            events = bob.watch()
            await stranger.connect(bob.addresses())
            raw = await stranger.open_stream(bob.peer_id, PROTOCOL)
            raw._stream.muxed_stream._window = 1 << 30  # type: ignore[attr-defined]  # it takes what it was not given
            assert await events.receive() == (stranger.peer_id, True)
            with pytest.raises(UnavailableError):
                await raw.send(bytes(4 << 20))
            assert await events.receive() == (stranger.peer_id, False)

    run(test)


def test_garbage_before_the_handshake() -> None:
    """C36: who connects and says nothing, or nonsense, takes a place for a bounded time; others are served."""

    async def test() -> None:
        alice, bob = Libp2pNetwork(), Libp2pNetwork()
        async with alice.running(ALICE), bob.running(BOB):
            port = int(bob.addresses()[0].split("/")[4])
            silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(10)]
            for _ in range(10):
                async with await trio.open_tcp_stream("127.0.0.1", port) as raw:
                    with suppress(trio.BrokenResourceError):
                        await raw.send_all(b"\xff" * 1000)
            await works(alice, bob)
            for raw in silent:
                await raw.aclose()

    run(test)


def test_places_are_given_back() -> None:
    """C36: a node accepts connections all its life, not only the first hundred."""

    async def test() -> None:
        alice, bob = Libp2pNetwork(), Libp2pNetwork()
        async with alice.running(ALICE), bob.running(BOB):
            limiter = inside(bob)._swarm._inbound_limiter
            for _ in range(3):
                await alice.connect(bob.addresses())
                assert limiter.borrowed_tokens == 1
                await alice.disconnect(bob.peer_id)
                await until(lambda: limiter.borrowed_tokens == 0)

    run(test)


@pytest.mark.slow
def test_a_killed_process_is_noticed() -> None:
    """C43: kill -9: by the end of its connection, and not by pings that go unanswered."""
    program = (
        "import trio, sys\n"
        "from walytis_core.network.libp2p import Libp2pNetwork\n"
        "async def main():\n"
        "    network = Libp2pNetwork()\n"
        "    async with network.running(bytes([2]) * 32):\n"
        "        print(network.addresses()[0], flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )

    async def test() -> None:
        alice = Libp2pNetwork()
        async with alice.running(ALICE):
            events = alice.watch()
            start = subprocess.Popen  # blocks for a moment only
            with start([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                try:
                    where = (await trio.to_thread.run_sync(process.stdout.readline)).strip()
                    peer = (await alice.connect([where])).peer
                    assert await events.receive() == (peer, True)
                finally:
                    process.kill()
            with trio.fail_after(NOTICED_S):
                assert await events.receive() == (peer, False)

    run(test)


def test_a_peer_that_comes_back_beside_its_dead_connection() -> None:
    """C37: power cut and restart: the old connection is silent, not closed; gossip and streams use the new one."""

    async def test() -> None:
        alice, bob = Libp2pNetwork(), Libp2pNetwork()
        async with alice.running(ALICE):
            inbox = await alice.subscribe(CHANNEL)
            async with bob.running(BOB):
                heard = await bob.subscribe(CHANNEL)
                await bob.connect(alice.addresses())
                await until(lambda: bool(alice.on_channel(CHANNEL)))
                reborn = Libp2pNetwork()
                async with reborn.running(BOB):  # the same key, while the old one still holds its connection
                    heard = await reborn.subscribe(CHANNEL)
                    reborn.serve(PROTOCOL, echo)
                    await reborn.connect(alice.addresses())
                    await until(lambda: len(inside(alice)._swarm.get_connections()) == 2)
                    stream = await alice.open_stream(reborn.peer_id, PROTOCOL)
                    await stream.send(b"hello")
                    assert await stream.receive(9) == b"hello"
                    await until(lambda: bool(reborn.on_channel(CHANNEL)))
                    await reborn.publish(CHANNEL, b"back")
                    await hear(inbox, Gossip(reborn.peer_id, b"back"))
                    with trio.fail_after(AT_ONCE_S):
                        await alice.publish(CHANNEL, b"welcome")
                        await hear(heard, Gossip(alice.peer_id, b"welcome"))

    run(test)


def test_a_port_that_is_taken() -> None:
    """C43: py-libp2p would share it without a word."""

    async def test() -> None:
        bob = Libp2pNetwork()
        async with bob.running(BOB):
            where = bob.addresses()[0].rpartition("/p2p/")[0]
            with pytest.raises(UnavailableError):
                await Libp2pNetwork(listen=[where]).running(ALICE).__aenter__()
        with pytest.raises(InvalidInputError):
            await Libp2pNetwork(listen=["/ip4/127.0.0.1/udp/1"]).running(ALICE).__aenter__()

    run(test)


def test_stock_py_libp2p_understands_us() -> None:
    """C44: streams and gossip with a peer that uses py-libp2p as it comes, its own muxer included."""

    async def test() -> None:
        host = new_host(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")])
        router = GossipSub([TProtocol("/meshsub/1.1.0")], 6, 4, 12, heartbeat_interval=1)
        stock = Pubsub(host, router)

        async def back(stream: INetStream) -> None:
            with suppress(StreamEOF):
                while True:
                    await stream.write(await stream.read(65536))
            await stream.close()

        host.set_stream_handler(TProtocol(PROTOCOL), back)
        alice = Libp2pNetwork()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(alice.running(ALICE))
            await stack.enter_async_context(host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]))
            async with background_trio_service(stock), background_trio_service(router):
                subscription = await stock.subscribe(CHANNEL)
                inbox = await alice.subscribe(CHANNEL)
                peer, _ = await alice.connect([str(address) for address in host.get_addrs()])
                stream = await alice.open_stream(peer, PROTOCOL)
                sent, received = bytes(range(256)) * 8000, bytearray()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send, sent)
                    while len(received) < len(sent):
                        received += await stream.receive(100_000)
                assert received == sent
                await stream.close()
                await until(lambda: peer in alice.on_channel(CHANNEL) and CHANNEL in stock.peer_topics)
                await alice.publish(CHANNEL, b"hello")
                assert (await subscription.get()).data == b"hello"
                await stock.publish(CHANNEL, b"hello too")
                await hear(inbox, Gossip(peer, b"hello too"))
        stock.seen_messages.stop()

    run(test)


def test_importing_it_does_nothing() -> None:
    """C47: no py-libp2p is loaded (it starts processes), no thread, no logging handler, nothing printed."""
    program = (
        "import sys, threading, logging\n"
        "import walytis_core.network.libp2p\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'libp2p']\n"
        "assert threading.active_count() == 1 and not logging.root.handlers\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_running_it_prints_nothing() -> None:
    """C47: py-libp2p's log stays its own, and the root logger as it was."""
    program = (
        "import logging, trio\n"
        "from walytis_core.errors import UnavailableError\n"
        "from walytis_core.network.libp2p import Libp2pNetwork\n"
        "async def main():\n"
        "    a, b = Libp2pNetwork(), Libp2pNetwork()\n"
        "    async with a.running(bytes(32)):\n"
        "        async with b.running(bytes([1]) * 32):\n"
        "            where = b.addresses()\n"
        "            peer, _ = await a.connect(where)\n"
        "            try: await a.open_stream(peer, '/none')\n"
        "            except UnavailableError: pass\n"
        "        try: await a.connect(where)\n"
        "        except UnavailableError: pass\n"
        "    assert not logging.root.handlers\n"
        "trio.run(main)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
