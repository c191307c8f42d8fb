"""What a single peer, the app or the disk leads to, in the loop, ends there: the node goes on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from tests.suites.hostile import JOIN, Stranger, is_served, keys_of
from tests.suites.nodes import WITHIN_S, Circle, Crew, assert_sound, join, until, until_same
from walytis_core import Chain, Layer, Node, Reason, StorageError, UnavailableError, WalytisError, reception, session
from walytis_core.block import Block
from walytis_core.chain_service import ChainService
from walytis_core.engine import Engine
from walytis_core.events import Input, PeerSeen, Revised
from walytis_core.known_peers import KnownPeers
from walytis_core.limits import Limits
from walytis_core.messages import Credit, Message, Peers, Want, encode
from walytis_core.network import MemoryHub, MemoryNetwork
from walytis_core.past import Past
from walytis_core.seals import GOSSIP_NONCE_BYTES
from walytis_core.standing import OBEYED, Standing
from walytis_core.view import View

READERS = "did:walytis:bafyreidjlj53zfh3bfsoauf5y36oqxmwhav474holttadpt7ika72fmvty"


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def node(hub: MemoryHub) -> Iterator[Node]:
    with Node.in_memory(hub) as node:
        node.addresses()
        yield node


@pytest.fixture
def stranger(hub: MemoryHub) -> Iterator[Stranger]:
    with Stranger(MemoryNetwork(hub)) as stranger:
        yield stranger


def assert_goes_on(node: Node, hub: MemoryHub, chain: Chain) -> None:
    """Asserts that the node runs, and serves an honest peer."""
    with Node.in_memory(hub) as honest:
        copy = join(honest, chain)
        mine, theirs = chain.append(b"mine"), copy.append(b"theirs")
        until(lambda: mine.id in copy and theirs.id in chain)
        assert_sound(chain)
    assert node.stats.network == "up"


def service_of(node: Node, chain: Chain) -> ChainService:
    """The chain on the network, once it is there."""
    until(lambda: is_served(node, chain.id))
    return node._service.chains[chain.id]


@pytest.mark.parametrize("message", [Credit(1), Want(()), Peers(())], ids=lambda one: type(one).__name__)
def test_gossip_of_a_kind_that_does_not_belong_there(
    hub: MemoryHub, node: Node, stranger: Stranger, message: Message
) -> None:
    """C36: it is refused and counted; the node goes on."""
    chain = node.create_chain("open", readers="everyone")
    keys = keys_of(node, chain)

    async def publish() -> None:
        await stranger.connect(node)
        await stranger.network.subscribe(keys.channel)
        while not stranger.network.on_channel(keys.channel):
            await trio.lowlevel.checkpoint()
        sealed = keys.gossip.seal(encode(message), os.urandom(GOSSIP_NONCE_BYTES))
        await stranger.network.publish(keys.channel, sealed)

    stranger.run(publish)
    until(lambda: node.stats.refused.get(Reason.UNASKED.value) == 1)
    assert chain.status().refused[Reason.UNASKED.value] == 1
    assert_goes_on(node, hub, chain)


def broken_for(peer: str, handle: Callable[[Engine, Input], None]) -> Callable[[Engine, Input], None]:
    """An engine with a bug that one peer finds."""

    def broken(engine: Engine, event: Input) -> None:
        if isinstance(event, PeerSeen) and event.peer == peer:
            raise RuntimeError("a bug in the engine")
        handle(engine, event)

    return broken


def test_a_bug_that_a_peer_finds_in_a_session(
    hub: MemoryHub, node: Node, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """C36: the stream is closed, the fault counted and logged, and others are served."""
    chain = node.create_chain("open", readers="everyone")
    monkeypatch.setattr(Engine, "handle", broken_for(stranger.network.peer_id, Engine.handle))

    async def knock() -> None:
        wire = await stranger.open(node, keys_of(node, chain))
        await wire.until_closed()

    stranger.run(knock)
    until(lambda: node.stats.refused.get(Reason.BROKE_US.value))
    until(lambda: not chain.peers())
    assert any("RuntimeError" in record.getMessage() for record in caplog.records)
    assert_goes_on(node, hub, chain)


@pytest.mark.parametrize("where", ["join", "sync"])
def test_a_bug_that_a_peer_finds_in_an_opening(
    hub: MemoryHub, node: Node, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """C36: the same before there is a session."""
    chain = node.create_chain("open", readers="everyone")

    async def bug(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("a bug in an opening")

    async def knock() -> None:
        stream = await stranger.stream(node, JOIN if where == "join" else session.SYNC_PROTOCOL)
        assert await stream.receive(1) == b""

    with monkeypatch.context() as patch:
        patch.setattr(reception, "answer_join", bug)
        patch.setattr("walytis_core.service.open_as_responder", bug)
        stranger.run(knock)
        until(lambda: node.stats.refused.get(Reason.BROKE_US.value) == 1)
    assert_goes_on(node, hub, chain)


@pytest.mark.slow
def test_a_bug_in_dialling_one_peer(hub: MemoryHub, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """C37: a redial that fails in a way nobody thought of is tried again later, like any other."""
    chain = node.create_chain("open", readers="everyone")
    dialled = threading.Event()

    async def bug(*_: object) -> None:
        dialled.set()
        await trio.lowlevel.checkpoint()
        raise RuntimeError("a bug in connect")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryNetwork, "connect", bug)
        service = service_of(node, chain)
        node._life.loop.post(lambda: service.known.learn("bob", ["/memory/bob/p2p/bob"]))
        assert dialled.wait(WITHIN_S)
    until(lambda: not any(known.dialling for known in service.known.book._peers.values()))
    assert_goes_on(node, hub, chain)


def test_members_that_raises_lets_nobody_in(tmp_path: Path, hub: MemoryHub) -> None:
    """C42: an app that cannot say who is a member admits nobody, and its node goes on."""

    def members(_did: str, _key: bytes) -> bool:
        raise KeyError("a bug of the app")

    with Node.open(tmp_path, network=MemoryNetwork(hub), members=Circle(READERS, members)) as node:
        node.addresses()
        chain = node.create_chain("closed", readers=READERS)
        with Stranger(MemoryNetwork(hub)) as stranger, pytest.raises(UnavailableError):
            stranger.run(stranger.open, node, keys_of(node, chain))
        until(lambda: node.stats.refused.get(Reason.BAD_PROOF.value))
        assert_goes_on(node, hub, node.create_chain("open", readers="everyone"))


def test_members_that_takes_its_time_holds_up_nobody_else(
    tmp_path: Path, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C42: while the app looks up who is a member, the node's loop and its other chains go on."""
    monkeypatch.setattr(Limits, "handshake_timeout_s", 100.0)  # what is done meanwhile takes as long as it takes
    asked, answer = threading.Semaphore(0), threading.Event()

    def members(did: str, _key: bytes) -> bool:
        asked.release()
        answer.wait(60)
        return did == READERS

    try:
        with Node.open(tmp_path, network=MemoryNetwork(hub), members=Circle(READERS, members)) as node:
            node.addresses()
            closed, opened = node.create_chain("closed", readers=READERS), node.create_chain("open", readers="everyone")
            with Stranger(MemoryNetwork(hub)) as stranger:

                async def meet() -> None:
                    async with trio.open_nursery() as nursery:
                        for _ in range(6):  # more than are asked of at once
                            nursery.start_soon(stranger.open, node, keys_of(node, closed))
                        await trio.to_thread.run_sync(lambda: asked.acquire(timeout=WITHIN_S))
                        await trio.to_thread.run_sync(assert_goes_on, node, hub, opened)
                        assert not closed.peers()
                        answer.set()

                stranger.run(meet)
                until(closed.peers)
    finally:
        answer.set()


def test_members_that_never_answers_does_not_keep_the_node_open(tmp_path: Path, hub: MemoryHub) -> None:
    """C42, C46: a node closes while the app still looks up who is a member."""
    asked, answer = threading.Event(), threading.Event()

    def members(_did: str, _key: bytes) -> bool:
        asked.set()
        return answer.wait(60)

    try:
        with Stranger(MemoryNetwork(hub)) as stranger:
            with Node.open(tmp_path, network=MemoryNetwork(hub), members=Circle(READERS, members)) as node:
                node.addresses()
                chain = node.create_chain("closed", readers=READERS)
                keys = keys_of(node, chain)
                crew = Crew()

                def knock() -> None:
                    with suppress(UnavailableError):
                        stranger.run(stranger.open, node, keys)

                crew.start(knock)
                assert asked.wait(WITHIN_S)
                began = time.monotonic()
            assert time.monotonic() - began < WITHIN_S  # the app answers after twice that
            crew.join()
    finally:
        answer.set()


def asking(chain: Callable[[], Chain]) -> Layer:
    """A layer that looks at another chain: only chains that ask are told of others."""

    def asks(_block: Block, past: Past) -> Standing:
        past.of(chain().id, ())
        return OBEYED

    return Layer("app/", check=asks, step=lambda s, _b: s, finish=lambda s: (s, {}), initial=0)


def test_other_chains_hear_of_blocks_that_are_healed(hub: MemoryHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """C24, C52: what waits for damaged blocks of another chain is looked at again when they are healed."""
    with Node.in_memory(hub, layers=[asking(lambda: chain)]) as node:
        chain, other = node.create_chain("x"), node.create_chain("y")
        other.append(b"", type="app/")
        told: list[object] = []

        def resolved(_view: View, id: object) -> tuple[object, ...]:
            told.append(id)
            return ()

        monkeypatch.setattr(View, "resolved", resolved)
        chain.judging._engine._notify(Revised((chain.id,)))
        until(lambda: told == [chain.id])


def test_a_disk_that_refuses_another_chains_views(hub: MemoryHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """C25: telling other chains of new blocks may fail; the node goes on."""
    with Node.in_memory(hub, layers=[asking(lambda: chain)]) as node:
        chain, other = node.create_chain("x", readers="everyone"), node.create_chain("y")
        other.append(b"", type="app/")
        node.addresses()

        refused = threading.Event()

        def refuse(_view: View, _chain: object) -> list[object]:
            refused.set()
            raise StorageError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(View, "resolved", refuse)
            chain.append(b"1")
            assert refused.wait(WITHIN_S)
        chain.append(b"2")
        assert_goes_on(node, hub, chain)


def test_a_book_that_cannot_be_read_is_not_written_over(
    hub: MemoryHub, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C25: a disk that refuses while a chain starts costs neither the node nor the addresses that are stored."""
    chain = node.create_chain("open", readers="everyone")
    service = service_of(node, chain)
    until(lambda: service.known.is_read)

    def refuse(*_: object) -> bytes:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(KnownPeers, "_read", refuse)
        second = node.create_chain("second", readers="everyone")
        until(lambda: is_served(node, second.id))
        assert node._life.crash is None
    assert_goes_on(node, hub, chain)
    assert not node._service.chains[second.id].known.is_read


def test_introductions_of_one_peer_are_few(node: Node, stranger: Stranger) -> None:
    """C36: a reader that names made-up peers fills no book; the peers that were met stay first."""
    chain = node.create_chain("open", readers="everyone")

    def made_up(number: int) -> tuple[str, tuple[str, ...]]:
        return f"x{number}", (f"/memory/x{number}/p2p/x{number}",)

    async def lie() -> None:
        for turn in range(3):  # coming again does not help
            wire = await stranger.open(node, keys_of(node, chain))
            for first in range(100 * turn, 100 * turn + 96, 16):
                await wire.send(Peers(tuple(map(made_up, range(first, first + 16)))))
            await wire.send(Want(()))
            await wire.frames.stream.close()

    book = service_of(node, chain).known.book
    stranger.run(lie)
    until(lambda: not chain.peers())
    assert len(book) <= Limits.introductions_per_minute + 1


def test_closing_while_chains_are_made_and_deleted() -> None:
    """C46: work that comes while the node closes is dropped, and the loop ends in order."""
    for _ in range(20):
        node = Node.in_memory()
        node.addresses()
        crew, started = Crew(), threading.Event()

        def make(node: Node = node, started: threading.Event = started) -> None:
            try:
                for number in range(1000):
                    chain = node.create_chain(f"chain {number}")
                    chain.append(b"1")
                    started.set()
                    node.delete_chain(chain)
            except (WalytisError, KeyError):
                return

        for _ in range(2):
            crew.start(make)
        assert started.wait(WITHIN_S)
        node.close()
        crew.join()
        assert node._life.crash is None


def test_a_fault_is_told_from_any_thread(node: Node) -> None:
    """C36: what a worker thread finds is counted in the loop."""
    for _ in range(3):
        node._service.fault(Reason.BAD_SEAL, "bob")
    until(lambda: node.stats.refused.get(Reason.BAD_SEAL.value) == 3)


def test_two_that_meet_still_sync(hub: MemoryHub, node: Node) -> None:
    """C38: the bounds on introductions do not keep those who were invited by one node from meeting."""
    chain = node.create_chain("notes")
    others = [Node.in_memory(hub) for _ in range(4)]
    try:
        copies = [join(other, chain) for other in others]
        until(lambda: all(len(copy.peers()) == 4 for copy in copies), what="all meet")
        copies[0].append(b"1")
        until_same(chain, *copies, count=1)
    finally:
        for other in others:
            other.close()
