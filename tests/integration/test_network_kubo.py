"""The transport over real Kubo daemons of the loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.suites.kubo_daemon import MISSING, Daemon, binary
from tests.suites.network_suite import NetworkSuite
from tests.suites.networks import ALICE, BOB, BOUND_S, CHANNEL, PROTOCOL, blocks_of, echo, hear, on_channel, until
from walytis_core.cid import DAG_CBOR_PREFIX, RAW_PREFIX
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network import Gossip, Network, Stream
from walytis_core.network.kubo import KuboNetwork
from walytis_core.network.kubo.mounting import listeners
from walytis_core.network.libp2p import Libp2pNetwork

pytestmark = [pytest.mark.kubo, pytest.mark.libp2p]


class DaemonNetwork(KuboNetwork):
    """A node and its daemon, which stop together: a daemon that stays is a peer that stays.

    Args:
        daemon: The daemon, not started.
        others: All such networks of a test.
    """

    def __init__(self, daemon: Daemon, others: list[DaemonNetwork]) -> None:
        super().__init__(daemon.api_url)
        self.daemon = daemon
        self.others = others
        others.append(self)

    @asynccontextmanager
    async def running(self, seed: bytes) -> AsyncIterator[None]:
        self.daemon.start()
        try:
            async with super().running(seed):
                yield
        finally:
            self.daemon.stop()

    async def open_stream(self, peer: str, protocol: str) -> Stream:
        """The daemon hears of a protocol that is served while running soon after, and a test opens a stream at once."""
        for other in self.others:
            await other.settle()
        return await super().open_stream(peer, protocol)

    async def settle(self) -> None:
        """Waits until the daemon knows all that is served."""
        while self._run and self.daemon.is_running:
            served = {protocol for protocol, _ in await listeners(self._run.rpc)}
            if served >= self._handlers.keys():
                return


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bytes, Daemon]]:
    """The daemons of the module, by the seeds of their nodes: each is started again and again."""
    if binary() is None:
        pytest.skip(MISSING)
    daemons: dict[bytes, Daemon] = {}
    yield daemons
    for daemon in daemons.values():
        daemon.stop()


class TestKuboNetwork(NetworkSuite):
    """Without `GivingSuite`: the daemon gives the copies that were put there, and asks nobody."""

    heard_of_500 = 400  # a daemon's queues have 32 places, and on a busy machine it drops what finds none
    is_in_order = False  # a daemon judges what it hears with a worker for each core, and gives it on as they end

    @pytest.fixture(autouse=True)
    def _daemons(
        self,
        repositories: dict[bytes, Daemon],
        tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[None]:
        monkeypatch.setattr(Limits, "fetch_wait_s", 3.0)
        self.repositories = repositories
        self.folders = tmp_path_factory
        self.networks: list[DaemonNetwork] = []
        yield
        for daemon in repositories.values():
            daemon.stop()

    def make(self, seed: bytes) -> Network:
        """A network on the daemon of this seed: the peer id is the daemon's."""
        if seed not in self.repositories:
            self.repositories[seed] = Daemon(Path(self.folders.mktemp("kubo")))
        return DaemonNetwork(self.repositories[seed], self.networks)

    def cut(self, network: Network) -> None:
        assert isinstance(network, DaemonNetwork)
        network.daemon.kill()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(BOUND_S):
            await test()

    trio.run(bounded)


Kubo = Callable[..., Daemon]


async def greets(network: Network, peer: Network) -> None:
    """A stream from one to the other carries bytes there and back."""
    stream = await network.open_stream(peer.peer_id, PROTOCOL)
    await stream.send(b"hello")
    assert await stream.receive(5) == b"hello"
    await stream.close()


async def connected(network: Network, peer: Network) -> None:
    """Connects two networks, and waits until each sees the other, on the channel too."""
    await network.connect(peer.addresses())
    await until(lambda: network.peer_id in peer.connected())
    await on_channel(network, peer)
    await on_channel(peer, network)


async def knows_addresses(network: Network, peer: Network) -> None:
    """Waits until a network knows where a peer listens."""
    await until(lambda: set(peer.addresses()) <= set(network.known_addresses(peer.peer_id)))


def forwards(daemon: Daemon) -> str:
    """What the daemon still carries for somebody: listeners, forwards and subscriptions."""
    return daemon.ipfs("p2p", "ls") + daemon.ipfs("pubsub", "ls")


def test_an_embedded_node_and_a_daemon(kubo: Kubo) -> None:
    """C43: streams and gossip, both ways, whoever dials."""

    async def test(first: Network, second: Network) -> None:
        first.serve(PROTOCOL, echo)
        second.serve(PROTOCOL, echo)
        async with first.running(ALICE), second.running(BOB):
            inboxes = [await network.subscribe(CHANNEL) for network in (first, second)]
            await connected(first, second)
            for one, other, inbox in ((first, second, inboxes[1]), (second, first, inboxes[0])):
                await greets(one, other)
                await one.publish(CHANNEL, b"hello")
                await hear(inbox, Gossip(one.peer_id, b"hello"))
                await knows_addresses(one, other)

    daemon = kubo()
    run(lambda: test(KuboNetwork(daemon.api_url), Libp2pNetwork()))
    run(lambda: test(Libp2pNetwork(), KuboNetwork(daemon.api_url)))


@pytest.mark.parametrize("end", [Daemon.stop, Daemon.kill])
def test_a_daemon_that_restarts(kubo: Kubo, end: Callable[[Daemon], None]) -> None:
    """C37: everything breaks and is said; then streams and gossip work again, without a new subscription."""
    daemon = kubo()

    async def test() -> None:
        alice, bob = KuboNetwork(daemon.api_url), Libp2pNetwork()
        for network in (alice, bob):
            network.serve(PROTOCOL, echo)
        async with alice.running(ALICE), bob.running(BOB):
            inboxes = [await network.subscribe(CHANNEL) for network in (alice, bob)]
            events, who = alice.watch(), alice.peer_id
            for name in ("first", "later"):
                await connected(alice, bob)
                assert await events.receive() == (bob.peer_id, True)
                stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                await trio.to_thread.run_sync(end, daemon)
                assert await events.receive() == (bob.peer_id, False)
                with pytest.raises(UnavailableError):
                    await stream.send(b"x")
                with pytest.raises(UnavailableError):
                    await alice.open_stream(bob.peer_id, PROTOCOL)
                with pytest.raises(UnavailableError):
                    await alice.publish(CHANNEL, b"x")
                assert not alice.connected()
                assert not alice.on_channel(CHANNEL)
                inboxes.append(await alice.subscribe(name))
                await trio.to_thread.run_sync(daemon.start)
                await until(lambda: not alice._run or alice._run.failure is None)
            await connected(bob, alice)
            assert alice.peer_id == who
            await greets(alice, bob)
            await greets(bob, alice)
            await bob.publish(CHANNEL, b"hello")
            await hear(inboxes[0], Gossip(bob.peer_id, b"hello"))
            await alice.publish(CHANNEL, b"hello")
            await hear(inboxes[1], Gossip(alice.peer_id, b"hello"))
            await until(lambda: alice.peer_id in bob.on_channel("later"))
            await bob.publish("later", b"later")
            await hear(inboxes[-1], Gossip(bob.peer_id, b"later"))

    run(test)


def test_a_daemon_that_restarts_between_two_looks(kubo: Kubo) -> None:
    """C37: nobody saw it away, and yet it serves us again."""
    daemon = kubo()

    async def test() -> None:
        alice, bob = KuboNetwork(daemon.api_url), Libp2pNetwork()
        alice.serve(PROTOCOL, echo)
        async with alice.running(ALICE), bob.running(BOB):
            await alice.connect(bob.addresses())
            daemon.stop()  # in the loop, so that nothing else of it runs meanwhile
            daemon.start()
            await until(lambda: PROTOCOL in daemon.ipfs("p2p", "ls"))
            await bob.connect(alice.addresses())
            await greets(bob, alice)

    run(test)


def test_nothing_stays_in_the_daemon(kubo: Kubo) -> None:
    """C46: neither when the node stops nor when it is cancelled; ways that are not used go while it runs."""
    daemon, other = kubo(), kubo()

    async def test() -> None:
        for is_cancelled in (False, True):
            with trio.CancelScope() as scope:
                alice, bob = KuboNetwork(daemon.api_url), KuboNetwork(other.api_url)
                alice.serve(PROTOCOL, echo)
                bob.serve(PROTOCOL, echo)
                async with alice.running(ALICE), bob.running(BOB):
                    for network in (alice, bob):
                        await network.subscribe(CHANNEL)
                    await connected(alice, bob)
                    stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                    assert f"/p2p/{bob.peer_id}" in daemon.ipfs("p2p", "ls")
                    assert alice._run is not None
                    await alice._run.streams.tidy(0.0)
                    assert f"/p2p/{bob.peer_id}" not in daemon.ipfs("p2p", "ls")
                    await stream.send(b"goes on")
                    assert await stream.receive(99) == b"goes on"
                    await greets(alice, bob)
                    if is_cancelled:
                        scope.cancel()
            await until(lambda: not forwards(daemon) + forwards(other))

    run(test)


def test_copies_are_kept_and_given(kubo: Kubo) -> None:
    """C43: pinned under a label until the label is dropped; what somebody else pinned stays."""
    daemon = kubo()
    kept, loose, other, theirs = ({cid: data} for cid, data in blocks_of([(DAG_CBOR_PREFIX, 300)] * 4).items())

    async def test() -> None:
        network = KuboNetwork(daemon.api_url)
        async with network.running(ALICE):
            copies = network.copies
            assert copies is not None
            assert copies.holder == daemon.peer_id
            for nothing in (copies.put([]), copies.pin([], "ours"), copies.unpin([], "ours")):
                await nothing
            await copies.put([pair for some in (kept, loose, other, theirs) for pair in some.items()])
            assert not daemon.pins() & {str(cid) for some in (kept, loose, other, theirs) for cid in some}
            await copies.pin([*kept, *theirs], "not ours")  # the last label counts
            for _ in range(2):
                await copies.pin([*kept, *theirs], "ours")
            await copies.pin([*other], "not ours")
            daemon.ipfs("pin", "add", str(*theirs))
            await copies.pin([*theirs], "ours")
            pinned = [[await copies.is_pinned(cid) for cid in some] for some in (kept, loose, other, theirs)]
            assert pinned == [[True], [False], [True], [True]]
            daemon.ipfs("repo", "gc")
            assert [daemon.has(*some) for some in (kept, loose, other, theirs)] == [True, False, True, True]
            assert await copies.pins("ours", 2) == [*kept]
            assert await copies.pins("our", 2) == []
            await copies.unpin([*kept, *loose, *other, *theirs], "ours")
            assert daemon.pins() >= {str(*other), str(*theirs)}
            assert not await copies.is_pinned(*kept)
            await copies.unpin([*kept, *loose, *other, *theirs], "not ours")
            assert not await copies.is_pinned(*other)
            assert await copies.is_pinned(*theirs)
            assert network.copies is copies
        with pytest.raises(UnavailableError):
            await copies.put(list(kept.items()))

    run(test)


@pytest.mark.slow
def test_many_copies(kubo: Kubo) -> None:
    """C43: more than fit one request, or one URL."""
    daemon = kubo()
    blocks = blocks_of([(RAW_PREFIX, 100)] * 1100)

    async def test() -> None:
        network = KuboNetwork(daemon.api_url)
        async with network.running(ALICE):
            copies = network.copies
            assert copies is not None
            before = daemon.pins()
            await copies.put(list(blocks.items()))
            await copies.pin(list(blocks), "ours")
            assert daemon.pins() - before == {str(cid) for cid in blocks}
            some = await copies.pins("ours", 1000)
            assert len(some) == 1000
            await copies.unpin(some, "ours")
            assert len(daemon.pins() - before) == 100
            await copies.unpin(await copies.pins("ours", 1000), "ours")
            assert daemon.pins() == before

    run(test)


def test_importing_it_does_nothing() -> None:
    """C47: no httpx is loaded before a network starts, no thread, nothing printed."""
    program = (
        "import sys, threading, logging\n"
        "from walytis_core.network.kubo import KuboNetwork\n"
        "KuboNetwork()\n"
        "assert 'httpx' not in sys.modules\n"
        "assert threading.active_count() == 1 and not logging.root.handlers\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
