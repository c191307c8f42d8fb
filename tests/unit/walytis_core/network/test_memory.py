from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Self

import pytest
import trio
import trio.testing

from tests.suites.network_suite import GivingSuite, NetworkSuite
from tests.suites.networks import ALICE, BOB, CAROL, CHANNEL, PROTOCOL, blocks_of, echo, read_all, until
from walytis_core.cid import RAW_PREFIX, Cid
from walytis_core.errors import InvalidInputError, UnavailableError
from walytis_core.limits import Limits
from walytis_core.network import Gossip, MemoryHub, MemoryNetwork, Network, Stream, Weather, memory


class TestMemoryNetwork(NetworkSuite, GivingSuite):
    @pytest.fixture(autouse=True)
    def _hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hub = MemoryHub()
        monkeypatch.setattr(memory, "PUBLISH_WAIT_S", 30.0)  # a machine that is held up is no peer that does not read

    def make(self, seed: bytes) -> Network:
        return MemoryNetwork(self.hub)

    def cut(self, network: Network) -> None:
        self.hub.cut(network.peer_id)


class Background:
    """A node in a thread and loop of its own: it echoes streams, answers one message, and stops when told."""

    def __init__(self, hub: MemoryHub) -> None:
        self.there, self.leave = threading.Event(), threading.Event()
        self.where: list[str] = []
        self.heard: list[Gossip] = []
        self._hub = hub
        self._thread = threading.Thread(target=trio.run, args=(self._live,))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.there.wait(30)
        return self

    def __exit__(self, *error: object) -> None:
        self.leave.set()
        self._thread.join(30)

    async def _live(self) -> None:
        network = MemoryNetwork(self._hub)
        async with network.running(BOB):
            network.serve(PROTOCOL, echo)
            inbox = await network.subscribe(CHANNEL)
            self.where.extend(network.addresses())
            self.there.set()
            with trio.move_on_after(50):
                self.heard.append(await inbox.receive())
                await network.publish(CHANNEL, b"heard")
                await trio.to_thread.run_sync(self.leave.wait)


def test_nodes_in_their_own_threads() -> None:
    """C43: each node in a thread and loop of its own; streams with back-pressure, gossip, stopping."""
    hub = MemoryHub()

    async def alice(bob: Background) -> None:
        network = MemoryNetwork(hub)
        with trio.fail_after(50):
            async with network.running(ALICE):
                events, inbox = network.watch(), await network.subscribe(CHANNEL)
                peer, _ = await network.connect(bob.where)
                assert await events.receive() == (peer, True)
                stream = await network.open_stream(peer, PROTOCOL)
                received = 0
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send, bytes(4 << 20))
                    while received < 4 << 20:
                        received += len(await stream.receive(1 << 20))
                await until(lambda: bool(network.on_channel(CHANNEL)))
                await network.publish(CHANNEL, b"hello")
                assert await inbox.receive() == Gossip(peer, b"heard")
                bob.leave.set()
                assert await events.receive() == (peer, False)

    with Background(hub) as bob:
        trio.run(alice, bob)
    assert [message.data for message in bob.heard] == [b"hello"]


def virtually(test: Callable[[], Awaitable[None]]) -> float:
    """Runs a test in virtual time; gives how long it took there."""
    took = 0.0

    async def timed() -> None:
        nonlocal took
        start = trio.current_time()
        with trio.fail_after(3600):
            await test()
        took = trio.current_time() - start

    trio.run(timed, clock=trio.testing.MockClock(autojump_threshold=0))
    return took


def test_latency_in_virtual_time() -> None:
    """Streams and gossip feel the weather's latency; streams keep their order whatever the jitter."""
    hub = MemoryHub(Weather(3, latency_s=10.0, jitter_s=5.0))
    sent = b"".join(number.to_bytes(2, "big") for number in range(500))
    got: list[bytes] = []

    async def collect(stream: Stream) -> None:
        got.append(await read_all(stream))

    async def test() -> None:
        alice, bob = MemoryNetwork(hub), MemoryNetwork(hub)
        async with alice.running(ALICE), bob.running(BOB):
            bob.serve(PROTOCOL, collect)
            inbox = await bob.subscribe(CHANNEL)
            await alice.connect(bob.addresses())
            stream = await alice.open_stream(bob.peer_id, PROTOCOL)
            for number in range(500):
                await stream.send(number.to_bytes(2, "big"))
            await stream.close()
            await until(lambda: bool(got and alice.on_channel(CHANNEL)), 100)
            start = trio.current_time()
            await alice.publish(CHANNEL, b"hello")
            await inbox.receive()
            assert 10 <= trio.current_time() - start <= 15

    assert 30 < virtually(test) < 100
    assert got == [sent]


def test_the_same_seed_gives_the_same_run() -> None:
    def run(seed: int) -> list[bytes]:
        heard: list[bytes] = []

        async def test() -> None:
            hub = MemoryHub(Weather(seed, latency_s=0.01, jitter_s=0.05, loss=0.2, duplicate=0.2))
            alice, bob = MemoryNetwork(hub), MemoryNetwork(hub)
            async with alice.running(ALICE), bob.running(BOB):
                inbox = await bob.subscribe(CHANNEL)
                await alice.connect(bob.addresses())
                await until(lambda: bool(alice.on_channel(CHANNEL)))
                for number in range(50):
                    await alice.publish(CHANNEL, bytes([number]))
                await trio.sleep(1)
                heard.extend(inbox.receive_nowait().data for _ in range(inbox.statistics().current_buffer_used))

        virtually(test)
        return heard

    assert run(1) == run(1) != run(2)
    assert 20 < len(run(1)) < 50  # some lost, none twice
    assert run(1) != sorted(run(1))


def test_a_partition_breaks_links_and_heals() -> None:
    hub = MemoryHub()

    async def test() -> None:
        alice, bob, carol = (MemoryNetwork(hub) for _ in range(3))
        async with alice.running(ALICE), bob.running(BOB), carol.running(CAROL):
            await alice.connect(bob.addresses())
            await carol.connect(bob.addresses())
            await until(lambda: len(bob.connected()) == 2)
            hub.split([alice.peer_id], [bob.peer_id, carol.peer_id])
            await until(lambda: not alice.connected())
            await until(lambda: list(bob.connected()) == [carol.peer_id])
            with pytest.raises(UnavailableError):
                await alice.connect(bob.addresses())
            hub.heal()
            await alice.connect(bob.addresses())

    virtually(test)


def test_a_fetch_in_virtual_time() -> None:
    """C43: it feels the latency, is ended by a partition, and waits for a peer that looks for ever as long as it may."""
    hub = MemoryHub(Weather(3, latency_s=1.0, loss=0.5))
    blocks = blocks_of([(RAW_PREFIX, 300)])
    (there,) = blocks

    async def give(cid: Cid) -> bytes | None:
        if cid != there:
            await trio.sleep_forever()
        return blocks[cid]

    async def test() -> None:
        alice, bob = MemoryNetwork(hub), MemoryNetwork(hub)
        bob.offer(give)
        async with alice.running(ALICE), bob.running(BOB):
            await alice.connect(bob.addresses())
            start = trio.current_time()
            assert await alice.fetch(there) == blocks[there]
            assert trio.current_time() == start + 2
            with pytest.raises(UnavailableError):
                await alice.fetch(Cid.of(b"slow"))
            assert trio.current_time() == start + 2 + Limits.fetch_wait_s
            async with trio.open_nursery() as nursery:
                nursery.start_soon(refused, alice)
                await trio.sleep(3)
                hub.split([alice.peer_id])
            assert trio.current_time() < start + 6 + Limits.fetch_wait_s
            hub.heal()
            await alice.connect(bob.addresses())
            assert await alice.fetch(there) == blocks[there]

    async def refused(network: MemoryNetwork) -> None:
        with pytest.raises(UnavailableError):
            await network.fetch(Cid.of(b"slow"))

    virtually(test)


def test_one_key_runs_once() -> None:
    hub = MemoryHub()

    async def test() -> None:
        alice, again = MemoryNetwork(hub), MemoryNetwork(hub)
        async with alice.running(ALICE):
            with pytest.raises(UnavailableError):
                await again.running(ALICE).__aenter__()
            with pytest.raises(InvalidInputError):
                await alice.running(BOB).__aenter__()

    virtually(test)
