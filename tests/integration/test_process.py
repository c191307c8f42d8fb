"""What a node leaves behind: nothing; and what happens when its loop dies: it says so."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.suites.hostile import Stranger, keys_of
from tests.suites.nodes import WITHIN_S, Crew, join, open_node, payloads, until, until_same
from walytis_core import Chain, ClosedError, Node, WalytisError
from walytis_core.network import MemoryHub, MemoryNetwork


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


class Footprint:
    """What this process holds: threads, sockets, open files, and files in a directory."""

    def __init__(self, directory: Path) -> None:
        gc.collect()
        process = psutil.Process()
        self.threads = {thread.ident for thread in threading.enumerate()}
        self.names = sorted(thread.name for thread in threading.enumerate())
        self.sockets = {(one.fd, one.laddr, one.raddr) for one in process.net_connections("all")}
        self.files = {one.path for one in process.open_files() if str(directory) in one.path}
        self.fds = process.num_fds()


def assert_nothing_left(before: Footprint, directory: Path) -> None:
    """Asserts that within 5 s nothing is left that was not there before."""

    def gone() -> bool:
        now = Footprint(directory)
        return (
            now.threads <= before.threads and now.sockets <= before.sockets and now.fds <= before.fds and not now.files
        )

    try:
        until(gone, 5)
    except AssertionError:
        now = Footprint(directory)
        left = (now.names, now.sockets - before.sockets, now.files, now.fds - before.fds)
        raise AssertionError(f"left behind: {left}") from None
    strays = [
        path.name for path in directory.rglob("*") if path.name.endswith((".new", ".tmp", "-wal", "-shm", "-journal"))
    ]
    assert not strays


def work(node: Node, other: Node) -> None:
    """A bit of everything."""
    chain = node.create_chain("notes")
    copy = join(other, chain)
    for one in (chain, copy):
        one.follow(lambda _event: None, name="inbox")
        one.append(b"1")
    block = chain.append(bytes(100_000))
    until_same(chain, copy, count=3)
    copy.fetch(copy.block(block.id)).result(WITHIN_S)
    copy.verify()


def test_closing_leaves_nothing(tmp_path: Path, hub: MemoryHub) -> None:
    """C46: no thread, socket, task or temporary file within 5 s; closing twice is fine (memory network, real files)."""
    before = Footprint(tmp_path)
    with open_node(tmp_path / "a", hub) as node, open_node(tmp_path / "b", hub) as other:
        work(node, other)
    node.close()
    assert_nothing_left(before, tmp_path)


@pytest.mark.libp2p
def test_closing_leaves_nothing_of_libp2p(tmp_path: Path) -> None:
    """C46: the same over real sockets."""
    with Node.open(tmp_path / "warm") as node:  # what the imports themselves start is not the node's
        node.addresses()
    before = Footprint(tmp_path)
    with Node.open(tmp_path / "a") as node, Node.open(tmp_path / "b") as other:
        work(node, other)
    node.close()
    assert_nothing_left(before, tmp_path)


@pytest.mark.libp2p
@pytest.mark.slow
def test_opening_and_closing_at_any_moment(tmp_path: Path) -> None:
    """C46: closed before the network is up, while it dials, while it joins."""
    never = threading.Event()
    with Node.open(tmp_path / "a") as issuer:
        chain = issuer.create_chain("notes", readers="everyone")
        chain.append(b"1")
        uri = str(chain.invite())
        workers = issuer._service.shared.workers._pool._threads  # the issuer lives on, and makes them as it needs them

        def threads(footprint: Footprint) -> int:
            return len(footprint.names) - len(workers)

        before, least = Footprint(tmp_path / "b"), threads(Footprint(tmp_path / "b"))
        slow: list[tuple[int, list[str]]] = []
        for number in range(12):
            node = Node.open(tmp_path / "b" / str(number))
            pending = node.join(uri)
            never.wait(number * 0.02)
            node.close()
            if node._life.loop._thread.is_alive():
                slow.append((number, Footprint(tmp_path / "b").names))
            with suppress(ClosedError):
                pending.result(5)
        until(lambda: not chain.peers())

        def gone() -> bool:
            now = Footprint(tmp_path / "b")
            return threads(now) <= least and not now.files

        assert not slow, "the loop outlived close()"
        now = Footprint(tmp_path / "b")
        until(gone, 5, f"{now.names} and {now.files}")
        # the issuer, which lives on, gives up connections that died in the middle of their opening
        until(lambda: psutil.Process().num_fds() <= before.fds + 1, 40, "the issuer's sockets are closed")


def test_closing_twice_from_two_threads(hub: MemoryHub) -> None:
    """C46: closing at once from many threads is fine; all of them find it closed."""
    node = Node.in_memory(hub)
    node.create_chain("notes").append(b"1")
    threads = [threading.Thread(target=node.close) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
        assert not thread.is_alive()
    with pytest.raises(ClosedError):
        node.chains()


def test_closing_within_a_callback(hub: MemoryHub) -> None:
    """C46: a handler may close its node."""
    node = Node.in_memory(hub)
    chain = node.create_chain("notes")
    done = threading.Event()

    def handler(_event: object) -> None:
        node.close()
        done.set()

    chain.follow(handler, name="inbox")
    chain.append(b"1")
    assert done.wait(WITHIN_S)
    with pytest.raises(ClosedError):
        chain.append(b"2")


def write(target: Chain, ends: list[str]) -> None:
    try:
        while True:
            target.append(b"x" * 300)
    except ClosedError:
        ends.append("writer")


def listen(target: Chain, ends: list[str]) -> None:
    for _ in target.follow(name="loop"):
        pass
    ends.append("feed")


def listen_async(target: Chain, ends: list[str]) -> None:
    async def main() -> None:
        async for _ in target.follow():
            pass

    asyncio.run(main())
    ends.append("asyncio")


@pytest.mark.slow
def test_closing_while_everything_runs(tmp_path: Path, hub: MemoryHub) -> None:
    """C46: writers, followers, asyncio feeds, joins and fetches are under way: all end, with `ClosedError` or in order."""
    before = Footprint(tmp_path)
    node, other = open_node(tmp_path / "a", hub), open_node(tmp_path / "b", hub)
    chain = node.create_chain("notes")
    copy = join(other, chain)
    with open_node(tmp_path / "c", hub) as third:
        lonely = str(third.create_chain("lonely").invite())
    waiting = other.join(lonely)
    long = chain.append(bytes(3 << 20))
    until(lambda: long.id in copy)
    crew, ends = Crew(), list[str]()
    copy.follow(lambda _event: None, name="callback")
    for target in (chain, copy):
        for function in (write, listen, listen_async):
            crew.start(function, target, ends)
    until(lambda: len(copy) > 100)
    fetching = copy.fetch(copy.block(long.id))
    other.close()
    node.close()
    crew.join()
    assert sorted(ends) == ["asyncio"] * 2 + ["feed"] * 2 + ["writer"] * 2
    with pytest.raises(ClosedError):
        waiting.result(WITHIN_S)
    with suppress(ClosedError):
        fetching.result(WITHIN_S)
    assert_nothing_left(before, tmp_path)
    with open_node(tmp_path / "a", hub) as node, open_node(tmp_path / "b", hub) as other:
        until_same(node.chain("notes"), other.chain("notes"), within_s=20)


class Breaking(MemoryNetwork):
    """A transport with a bug."""

    def __init__(self, hub: MemoryHub, where: str) -> None:
        super().__init__(hub)
        self.where = where

    @asynccontextmanager
    async def running(self, seed: bytes) -> AsyncIterator[None]:
        if self.where == "running":
            raise RuntimeError("a bug in running")
        async with super().running(seed):
            yield

    async def publish(self, channel: str, data: bytes) -> None:
        if self.where == "publish":
            raise RuntimeError("a bug in publish")
        await super().publish(channel, data)

    async def subscribe(self, channel: str):
        if self.where == "subscribe":
            raise RuntimeError("a bug in subscribe")
        return await super().subscribe(channel)


async def hear(hearer: Stranger, node: Node, chain: Chain) -> None:
    """Connects, and listens on the chain's channel."""
    await hearer.network.subscribe(keys_of(node, chain).channel)
    await hearer.connect(node)


def assert_tells(error: ClosedError, cause: str) -> None:
    """Asserts that an error names the bug that ended the node."""
    assert "RuntimeError" in str(error)
    assert str(error.__cause__) == cause
    assert error.hint


@pytest.mark.parametrize("where", ["publish", "subscribe"])
def test_a_crash_in_the_loop_is_loud(
    tmp_path: Path, hub: MemoryHub, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """C46: the node ends, logs it, and every later call raises `ClosedError` that names the cause."""
    before = Footprint(tmp_path)
    network = Breaking(hub, "")
    node = Node.open(tmp_path / "a", network=network)
    try:
        chain = node.create_chain("notes")
        feed = chain.follow(name="inbox")
        chain.append(b"acknowledged")
        node.addresses()
        with Stranger(MemoryNetwork(hub)) as hearer:  # without one on the channel nothing is published
            hearer.run(hear, hearer, node, chain)
            network.where = where
            with suppress(ClosedError):
                chain.append(b"more")
                node.create_chain("more")
            until(lambda: node._life.crash is not None)
        until(lambda: chain._is_closed)
        calls: list[Callable[[], object]] = [
            node.chains,
            node.addresses,
            lambda: node.create_chain("x"),
            lambda: chain.append(b"2"),
            lambda: list(chain.blocks()),
            lambda: chain.name,
            chain.follow,
            chain.invite,
            chain.verify,
            lambda: node.connect(["/memory/x"]).result(1),
        ]
        for call in calls:
            with pytest.raises(ClosedError) as caught:
                call()
            assert_tells(caught.value, f"a bug in {where}")
        assert len(list(feed)) <= 1  # it ends
        assert any(record.exc_info for record in caplog.records)
        assert node.stats.network not in ("up", "starting")
    finally:
        node.close()
    node.close()
    assert_nothing_left(before, tmp_path)
    with open_node(tmp_path / "a", hub) as node:
        assert b"acknowledged" in payloads(node.chain("notes"))


def test_a_crash_at_the_start_is_loud(tmp_path: Path, hub: MemoryHub) -> None:
    """C46: the same for a loop that dies before anything runs."""
    before = Footprint(tmp_path)
    node = Node.open(tmp_path / "a", network=Breaking(hub, "running"))
    until(lambda: node._life.crash is not None)
    with pytest.raises(ClosedError) as caught:
        node.create_chain("notes")
    assert_tells(caught.value, "a bug in running")
    node.close()
    assert_nothing_left(before, tmp_path)


def test_a_crash_tells_who_waits(hub: MemoryHub) -> None:
    """C46: pending results fail when the loop dies, and nobody waits for ever."""
    with Node.in_memory(hub) as third:
        uri = str(third.create_chain("lonely").invite())
    network = Breaking(hub, "")
    node = Node.in_memory(network=network)
    try:
        pending = node.join(uri)
        until(lambda: "waiting" in pending.progress().state)
        network.where = "subscribe"
        with suppress(ClosedError):
            node.create_chain("more")
        with pytest.raises(ClosedError) as caught:
            pending.result(WITHIN_S)
        assert_tells(caught.value, "a bug in subscribe")
    finally:
        node.close()


def test_nothing_is_printed_or_logged_of_secrets(
    tmp_path: Path, hub: MemoryHub, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """C47: the library prints nothing, and logs no payloads, keys or invitations."""
    caplog.set_level(logging.DEBUG)
    with open_node(tmp_path / "a", hub) as node, open_node(tmp_path / "b", hub) as other:
        chain = node.create_chain("notes")
        chain.append(b"the secret payload")
        uri = str(chain.invite())
        copy = other.join(uri).result(WITHIN_S)
        with suppress(WalytisError):
            _ = other.join("walytis:nonsense")
        until_same(chain, copy, count=1)
    assert capfd.readouterr() == ("", "")
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("walytis"))
    for word in ("the secret payload", uri[8:40]):
        assert word not in ours
