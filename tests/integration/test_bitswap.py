"""Blocks by CID over real sockets: with real Kubo daemons, both ways, and between embedded nodes."""

from __future__ import annotations

import io
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import cbor2
import httpx
import pytest
import trio
import trio.testing
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol

from tests.integration.test_network_libp2p import inside, run
from tests.suites.kubo_daemon import Daemon
from tests.suites.networks import ALICE, BOB, CAROL, blocks_of, until
from walytis_core import content
from walytis_core.cid import DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX, Cid
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.libp2p import Libp2pNetwork, bitswap, bitswap_line
from walytis_core.network.libp2p.bitswap import PROTOCOLS
from walytis_core.network.port import Stream

pytestmark = pytest.mark.libp2p

KINDS = {"raw": RAW_PREFIX, "dag-cbor": DAG_CBOR_PREFIX, "dag-pb": DAG_PB_PREFIX}
FILE_BYTES = 3_000_000
MANY = 1000
AT_ONCE_S = 1.5
"""Below all waits of a fetch."""


class Embedded:
    """A running embedded node that gives blocks, and counts how often it is asked for each."""

    def __init__(self) -> None:
        self.blocks: dict[Cid, bytes] = {}
        self.given: list[Cid] = []
        self.network = Libp2pNetwork()
        self.network.offer(self._give)

    async def _give(self, cid: Cid) -> bytes | None:
        self.given.append(cid)
        return self.blocks.get(cid)

    def put(self, data: bytes, prefix: bytes = RAW_PREFIX) -> Cid:
        cid = Cid.of(data, prefix)
        self.blocks[cid] = data
        return cid

    def put_links(self, links: Sequence[Cid]) -> Cid:
        """A DAG-CBOR list of links."""
        return self.put(cbor2.dumps([cbor2.CBORTag(42, b"\0" + cid) for cid in links]), DAG_CBOR_PREFIX)


@asynccontextmanager
async def embedded(seed: bytes = ALICE) -> AsyncIterator[Embedded]:
    node = Embedded()
    async with node.network.running(seed):
        yield node


async def on_daemon(call: Callable[..., Any], *arguments: object, **options: object) -> Any:
    """Runs a command of a daemon in a thread: the embedded node has to answer meanwhile."""
    return await trio.to_thread.run_sync(partial(call, *arguments, **options))


async def put_on(daemon: Daemon, data: bytes, codec: str = "raw") -> Cid:
    put = partial(daemon.ipfs, data=data)
    return Cid.parse(await on_daemon(put, "block", "put", f"--cid-codec={codec}", "--allow-big-block"))


def nothing_left(network: Libp2pNetwork) -> bool:
    """Whether the exchange keeps nothing about peers and fetches that are gone."""
    exchange = inside(network).bitswap
    return not exchange._fetches and not exchange._lines


# --- real daemons ---


@pytest.mark.parametrize("dials", ["daemon", "embedded"])
def test_a_daemon_fetches_blocks(kubo: Callable[..., Daemon], dials: str) -> None:
    """C44: of each kind and size, over a connection that either of them made."""

    async def test() -> None:
        daemon = kubo(pubsub=False, streams=False)
        async with embedded() as node:
            if dials == "daemon":
                await on_daemon(daemon.connect, node.network.addresses())
            else:
                await node.network.connect(daemon.addresses)
            node.blocks = blocks_of([(kind, size) for kind in KINDS.values() for size in (1, 600, Limits.leaf_bytes)])
            for cid, data in node.blocks.items():
                assert await on_daemon(daemon.ipfs_bytes, "block", "get", str(cid)) == data

    run(test)


def test_a_daemon_fetches_a_file(kubo: Callable[..., Daemon]) -> None:
    """C44: long content, by `ipfs cat`."""

    async def test() -> None:
        daemon = kubo()
        async with embedded() as node:
            await on_daemon(daemon.connect, node.network.addresses())
            data = os.urandom(FILE_BYTES)
            built = content.build(io.BytesIO(data), node.blocks.__setitem__)
            assert await on_daemon(daemon.ipfs_bytes, "cat", str(built.link)) == data

    run(test)


def test_a_daemon_fetches_many_blocks(kubo: Callable[..., Daemon]) -> None:
    """C44: a thousand blocks below one; it asks for each about once, and keeps them."""

    async def test() -> None:
        daemon = kubo()
        async with embedded() as node:
            await on_daemon(daemon.connect, node.network.addresses())
            leaves = [node.put(os.urandom(300)) for _ in range(MANY)]
            found = await on_daemon(daemon.ipfs, "refs", "-r", "--unique", str(node.put_links(leaves)))
            assert set(found.split()) == set(map(str, leaves))
            assert len(node.given) < 2 * MANY
            node.blocks.clear()
            one = os.urandom(300)
            node.put(one)
            assert await on_daemon(daemon.ipfs_bytes, "block", "get", str(Cid.of(one, RAW_PREFIX))) == one

    run(test)


def test_a_daemon_hears_what_is_absent(kubo: Callable[..., Daemon]) -> None:
    """C44: it does not wait for a block that is not there, and gets it when it asks once it is."""

    async def test() -> None:
        daemon = kubo()
        async with embedded() as node:
            await on_daemon(daemon.connect, node.network.addresses())
            lacking = Cid.of(b"not yet", RAW_PREFIX)
            with pytest.raises(AssertionError):
                await on_daemon(daemon.ipfs, "block", "get", "--timeout=1s", str(lacking))
            node.put(b"not yet")
            assert await on_daemon(daemon.ipfs_bytes, "block", "get", str(lacking)) == b"not yet"

    run(test)


def test_blocks_are_fetched_from_a_daemon(kubo: Callable[..., Daemon], monkeypatch: pytest.MonkeyPatch) -> None:
    """C43: put by `ipfs block put` and `ipfs add`; one that is too large is not taken."""
    monkeypatch.setattr(Limits, "fetch_wait_s", 3.0)

    async def test() -> None:
        daemon = kubo()
        async with embedded() as node:
            await node.network.connect(daemon.addresses)
            for codec, kind in KINDS.items():
                data = os.urandom(600)
                cid = await put_on(daemon, data, codec)
                assert cid == Cid.of(data, kind)
                assert await node.network.fetch(cid) == data
                assert await node.network.fetch(cid, [daemon.peer_id]) == data
            add = partial(daemon.ipfs, data=os.urandom(FILE_BYTES))
            root = await on_daemon(add, "add", "--quiet", "--cid-version=1", "--chunker=size-262144")
            links = (await on_daemon(daemon.ipfs, "refs", "-r", root)).split()
            assert len(links) == -(-FILE_BYTES // Limits.leaf_bytes)
            for text in [root, *links]:
                assert await node.network.fetch(Cid.parse(text))
            large = await put_on(daemon, bytes(1 << 20))
            with pytest.raises(UnavailableError):
                await node.network.fetch(large)
            assert await node.network.fetch(Cid.parse(links[0]))

    run(test)


def test_many_blocks_are_fetched_from_a_daemon(kubo: Callable[..., Daemon]) -> None:
    """C43: at the same time, while the daemon fetches from us."""

    async def test() -> None:
        daemon = kubo()
        async with embedded() as node, httpx.AsyncClient(base_url=daemon.api_url) as client:
            await node.network.connect(daemon.addresses)
            wanted = [os.urandom(400) for _ in range(200)]
            for data in wanted:
                answer = await client.post("/api/v0/block/put?cid-codec=raw", files={"file": data})
                assert Cid.parse(json.loads(answer.text)["Key"]) == Cid.of(data, RAW_PREFIX)

            async def fetch(data: bytes) -> None:
                assert await node.network.fetch(Cid.of(data, RAW_PREFIX)) == data

            root = node.put_links([node.put(os.urandom(300)) for _ in range(200)])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(on_daemon, daemon.ipfs, "refs", "-r", str(root))
                for data in wanted:
                    nursery.start_soon(fetch, data)
            assert not inside(node.network).bitswap._fetches

    run(test)


def test_a_daemon_that_restarts(kubo: Callable[..., Daemon]) -> None:
    """C37: blocks go both ways again, and a fetch from one that is gone ends at once."""

    async def test() -> None:
        daemon = kubo()
        async with embedded() as node:
            mine, theirs = node.put(b"mine"), await put_on(daemon, b"theirs")
            for _ in range(2):
                await node.network.connect(daemon.addresses)
                assert await node.network.fetch(theirs) == b"theirs"
                assert await on_daemon(daemon.ipfs_bytes, "block", "get", str(mine)) == b"mine"
                await on_daemon(daemon.ipfs, "block", "rm", str(mine))
                await on_daemon(daemon.stop)
                await until(lambda: not node.network.connected())
                await until(lambda: nothing_left(node.network))
                with trio.fail_after(AT_ONCE_S), pytest.raises(UnavailableError):
                    await node.network.fetch(theirs)
                await on_daemon(daemon.start)

    run(test)


# --- embedded nodes ---


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Embedded, Embedded]]:
    """Alice and Bob, connected."""
    async with embedded() as alice, embedded(BOB) as bob:
        await alice.network.connect(bob.network.addresses())
        yield alice, bob


def test_fetches_of_one_block_are_one() -> None:
    """C36: however many ask for it here, the peer is asked once."""

    async def test() -> None:
        async with pair() as (alice, bob):
            cid = bob.put(os.urandom(5000))
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(alice.network.fetch, cid, [bob.network.peer_id])
            assert bob.given == [cid]
            absent = Cid.of(b"absent")

            async def lacks() -> None:
                with pytest.raises(UnavailableError):
                    await alice.network.fetch(absent)

            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(lacks)
            assert bob.given == [cid, absent]

    run(test)


def test_what_nobody_has_is_said_at_once() -> None:
    """C43: all said so; or nobody who is connected speaks bitswap; the next one that has it is asked at once."""

    async def test() -> None:
        async with pair() as (alice, bob), embedded(CAROL) as carol:
            with trio.fail_after(AT_ONCE_S), pytest.raises(UnavailableError):
                await alice.network.fetch(Cid.of(b"absent"))
            cid = carol.put(b"there")
            await alice.network.connect(carol.network.addresses())
            with trio.fail_after(AT_ONCE_S):
                assert await alice.network.fetch(cid) == b"there"
                assert await alice.network.fetch(cid, [bob.network.peer_id, carol.network.peer_id]) == b"there"
            for node in (bob, carol):
                for protocol in PROTOCOLS:
                    inside(node.network)._host.remove_stream_handler(TProtocol(protocol))
            await until_idle(alice)
            with trio.fail_after(AT_ONCE_S), pytest.raises(UnavailableError):
                await alice.network.fetch(Cid.of(b"absent"))

    run(test)


async def until_idle(node: Embedded) -> None:
    """Closes its streams, and waits until it has noticed."""
    lines = inside(node.network).bitswap._lines.values()
    for line in lines:
        if line._running:
            line._running.cancel()
    await until(lambda: not any(line._running or line._stream for line in lines))


def test_idle_streams_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: and opened anew when there is something to say; a peer that is gone leaves nothing."""
    monkeypatch.setattr(bitswap_line, "IDLE_S", 0.1)

    async def test() -> None:
        async with pair() as (alice, bob):
            tasks = trio.lowlevel.current_statistics().tasks_living
            for number in range(3):
                cid = bob.put(bytes([number]) * 100)
                assert await alice.network.fetch(cid) == bytes([number]) * 100
                for node in (alice, bob):
                    lines = inside(node.network).bitswap._lines
                    await until(lambda lines=lines: not any(one._stream for one in lines.values()))  # type: ignore[misc]
                await until(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks)
            await alice.network.disconnect(bob.network.peer_id)
            await until(lambda: nothing_left(alice.network) and nothing_left(bob.network))

    run(test)


def test_a_stream_that_broke_is_replaced() -> None:
    """C37: a stream kept for reuse that the peer ended meanwhile fails no fetch."""

    async def test() -> None:
        async with pair() as (alice, bob):
            for number in range(3):
                cid = bob.put(bytes([number]) * 100)
                with trio.fail_after(AT_ONCE_S):
                    assert await alice.network.fetch(cid) == bytes([number]) * 100
                for connection in inside(bob.network)._swarm.get_connections():
                    for stream in connection.get_streams():
                        if stream.get_protocol() in PROTOCOLS:
                            await stream.reset()
                await trio.testing.wait_all_tasks_blocked(0.01)

    run(test)


def test_the_next_peer_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """C43: when one has it but does not give it, and when one goes away."""
    monkeypatch.setattr(bitswap, "BLOCK_WAIT_S", 0.2)

    async def silent(stream: Stream) -> None:
        await trio.sleep_forever()

    async def test() -> None:
        async with pair() as (alice, bob), embedded(CAROL) as carol:
            await alice.network.connect(carol.network.addresses())
            names = [bob.network.peer_id, carol.network.peer_id]
            cid = carol.put(os.urandom(5000))
            for protocol in PROTOCOLS:
                inside(bob.network).serve(protocol, silent)
            with trio.fail_after(AT_ONCE_S):
                assert await alice.network.fetch(cid, names) == carol.blocks[cid]
                assert await alice.network.fetch(cid) == carol.blocks[cid]
            monkeypatch.setattr(bitswap, "BLOCK_WAIT_S", 60.0)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.network.fetch, cid, names)
                await until(lambda: bool(inside(alice.network).bitswap._lines[bob.network.peer_id].asked))
                await bob.network.disconnect(alice.network.peer_id)

    run(test)


def test_a_peer_of_version_1_1() -> None:
    """C43: which gives blocks, but cannot say whether it has them."""

    async def test() -> None:
        async with pair() as (alice, bob):
            old = PROTOCOLS[1]
            offered: list[str] = []

            handlers = inside(bob.network)._host.get_mux().handlers
            accept = cast(Callable[[INetStream], Awaitable[None]], handlers[TProtocol(old)])

            async def note(stream: INetStream) -> None:
                offered.append(str(stream.get_protocol()))
                await accept(stream)

            handlers[TProtocol(old)] = note
            inside(bob.network)._host.remove_stream_handler(TProtocol(PROTOCOLS[0]))
            cid = bob.put(b"there")
            assert await alice.network.fetch(cid) == b"there"
            assert offered == [old]

    run(test)
