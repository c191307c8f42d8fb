"""Byte-level hostile peers against a node over real libp2p: refused, counted, throttled, and others are served."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import trio

from tests.suites.hostile import JOIN, SYNC, Forger, Stranger, Wire, broken, keys_of
from tests.suites.nodes import WITHIN_S, assert_sound, ids, join, payloads, until, until_same
from walytis_core import Block, BlockId, Chain, Cid, Invitation, JoinError, Limits, Node, Reason, UnavailableError, cbor
from walytis_core.block import draft
from walytis_core.errors import RemoteError
from walytis_core.frontier import Entry
from walytis_core.handshake import frame
from walytis_core.joining import ISSUER_ENTROPY_BYTES, Ends, Grant, Issuer, Terms
from walytis_core.messages import (
    Announce,
    Blocks,
    Buckets,
    Credit,
    Digest,
    Done,
    ForkProof,
    Message,
    Probe,
    Pull,
    SideLacking,
    SidePart,
    SideWant,
    Want,
    Why,
)
from walytis_core.seals import SECRET_BYTES, ChainKeys, ChainSecret
from walytis_core.session import Frames

pytestmark = pytest.mark.libp2p

MIB = 1 << 20


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node.open(tmp_path / "victim") as node:
        node.addresses()
        yield node


@pytest.fixture
def chain(node: Node) -> Chain:
    chain = node.create_chain("open", readers="everyone")
    chain.append(b"first")
    return chain


@pytest.fixture
def honest(tmp_path: Path) -> Iterator[Node]:
    with Node.open(tmp_path / "honest") as node:
        yield node


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with Stranger() as stranger:
        yield stranger


def assert_served(chain: Chain, honest: Node) -> None:
    """Asserts that an honest peer still gets everything, both ways."""
    held = [one for one in honest.chains() if one.id == chain.id]
    copy = held[0] if held else join(honest, chain)
    mine, theirs = chain.append(b"to the honest"), copy.append(b"from the honest")
    until(lambda: mine.id in copy and theirs.id in chain, what="honest peers are served")
    assert_sound(chain)


def refused(chain: Chain, reason: Reason) -> int:
    """How often `status()` says that something was refused for a reason."""
    return chain.status().refused.get(reason.value, 0)


class Memory:
    """Asserts that this process does not grow by more than some bytes."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __enter__(self) -> None:
        self.before = psutil.Process().memory_info().rss

    def __exit__(self, *_: object) -> None:
        grown = psutil.Process().memory_info().rss - self.before
        assert grown < self.most, f"grown by {grown // MIB} MiB"


# --- before a session --------------------------------------------------------------------------------------------

GARBAGE: dict[str, bytes] = {
    "zeros": bytes(5000),
    "ones": b"\xff" * 5000,
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5,
    "a length of 2^63": b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100),
    "a length above the limit": (Limits.max_frame_bytes + 1).to_bytes(3, "little") + bytes(100),
    "an empty frame": b"\x00",
    "a length not in its shortest form": b"\x81\x80\x00",
    "random": b"\x20" + random.Random(1).randbytes(20_000),
    "a frame of random bytes": frame(random.Random(2).randbytes(500)),
    "deep nesting": frame(b"\x81" * 120),
    "a bomb": frame(b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff"),
    "an indefinite bomb": frame(b"\x9f" * 100),
    "a hello of an old version": frame(cbor.encode([0, bytes(32), bytes(32)])),
    "a hello with a small-order point": frame(cbor.encode([1, os.urandom(32), bytes(32)])),
    "a big hello": frame(cbor.encode([1, bytes(100_000), bytes(32)])),
}


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [SYNC, JOIN])
def test_garbage_instead_of_a_handshake(
    node: Node, chain: Chain, honest: Node, stranger: Stranger, protocol: str
) -> None:
    """C36: every kind of garbage ends its stream at once and is counted; enough of it, and the peer is kept out."""

    async def throw(data: bytes) -> None:
        stream = await stranger.stream(node, protocol)
        await stream.send(data)
        with trio.fail_after(8):
            try:
                while await stream.receive(65536):
                    pass
            except UnavailableError:
                return

    before = sum(node.stats.refused.values())
    for data in GARBAGE.values():
        stranger.run(throw, data)
    assert sum(node.stats.refused.values()) - before >= len(GARBAGE) - 3

    async def throw_until_kept_out() -> None:
        for _ in range(200):
            counted = sum(node.stats.refused.values())
            with suppress(UnavailableError):
                await throw(GARBAGE["an empty frame"])
            if sum(node.stats.refused.values()) == counted:
                return
        raise AssertionError("never kept out")

    stranger.run(throw_until_kept_out)
    before = sum(node.stats.refused.values())
    for _ in range(10):
        with suppress(UnavailableError):
            stranger.run(throw, GARBAGE["an empty frame"])
    assert sum(node.stats.refused.values()) == before, "a peer that is kept out is still listened to"
    until(lambda: stranger.network.peer_id not in node._network.connected())
    assert_served(chain, honest)


@pytest.mark.slow
def test_ten_megabytes(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C36: messages of 10 MB are refused at their first bytes, on both protocols and inside a session."""
    keys = keys_of(node, chain)

    async def send(wire: Wire | None, protocol: str) -> None:
        stream = wire.frames.stream if wire else await stranger.stream(node, protocol)
        with trio.move_on_after(3), suppress(UnavailableError):  # it may be left unread for ever
            await stream.send(b"\xff\xff\xff\x7f" + bytes(10 * MIB))

    async def inside() -> None:
        await send(await stranger.open(node, keys), SYNC)

    assert_served(chain, honest)
    with Memory(40 * MIB):  # the stranger lives in this process too
        stranger.run(send, None, SYNC)
        stranger.run(send, None, JOIN)
        stranger.run(inside)
        until(lambda: refused(chain, Reason.BAD_MESSAGE) >= 1)
    assert_served(chain, honest)


@pytest.mark.slow
def test_streams_that_say_nothing(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C36: a thousand streams whose handshake stalls: bounded per peer, and others are served meanwhile."""

    async def open_many(protocol: str) -> int:
        opened = 0
        peer = await stranger.connect(node)
        for _ in range(500):
            with trio.move_on_after(1) as scope:
                try:
                    await stranger.network.open_stream(peer, protocol)
                    opened += 1
                except UnavailableError:
                    return opened
            if scope.cancelled_caught:
                return opened
        return opened

    with Memory(60 * MIB):
        stranger.run(open_many, SYNC)
        stranger.run(open_many, JOIN)
        assert_served(chain, honest)
    assert sum(node._service._streams.values()) <= 2 * Limits.max_streams_per_peer


# --- inside a session --------------------------------------------------------------------------------------------

BAD_MESSAGES: dict[str, bytes] = {
    "not CBOR": b"\xff\x00\x01",
    "a map": b"\xa1\x61a\x01",
    "an empty list": b"\x80",
    "a kind that is text": cbor.encode(["x"]),
    "deep nesting": b"\x81" * 5000,
    "an array bomb": b"\x9b\x00\x00\x00\x7f\xff\xff\xff\xff",
    "a bytes bomb": b"\x82\x01\x5b\x00\x00\x00\x7f\xff\xff\xff\xff",
    "an indefinite list": b"\x9f\x01\xff",
    "10 000 wants": cbor.encode([8, bytes(32 * 10_000 // 2)]),
    "10 000 announces": cbor.encode([7, bytes(32 * 1025)]),
    "a torn id": cbor.encode([8, bytes(33)]),
    "an entry too many": cbor.encode([4, None, [[bytes(32), 1, bytes(32), None]] * 2049, True]),
    "a negative credit": cbor.encode([10, -1]),
    "much credit": cbor.encode([10, 1 << 40]),
    "a digest of 31 bytes": cbor.encode([1, bytes(31), 0]),
    "true for a number": cbor.encode([1, bytes(32), True]),
    "too many blocks": cbor.encode([5, 0, [b""] * 257]),
    "an oversize block": cbor.encode([5, 0, [bytes(Limits.max_block_bytes + 1)]]),
    "a why that is none": cbor.encode([5, 9, []]),
    "a part beyond its piece": cbor.encode([13, bytes(36), 5, 1, b"xxxx"]),
    "a piece of a terabyte": cbor.encode([13, bytes(36), 0, 1 << 40, b"xxxx"]),
    "a field too many": cbor.encode([10, 1, 1]),
    "a field too few": cbor.encode([1]),
    "half a fork": cbor.encode([9, b"x", b"y"]),
}


@pytest.mark.parametrize("data", BAD_MESSAGES.values(), ids=BAD_MESSAGES)
def test_bad_messages(stage: tuple[Node, Chain, Stranger], data: bytes) -> None:
    """C36: each is refused with a reason in `status()`; nothing else happens."""
    node, chain, stranger = stage
    before = sum(chain.status().refused.values())

    async def send() -> None:
        wire = await stranger.open(node, keys_of(node, chain))
        await wire.send_sealed(cbor.encode([99, "an unknown kind is ignored"]), data)  # the bad one may end the stream

    stranger.run(send)
    until(lambda: sum(chain.status().refused.values()) > before)
    assert len(chain) == 1
    assert chain.status().parked == 0


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Chain, Stranger]]:
    """One victim and one stranger for many messages; fewer than get a peer kept out."""
    with Node.open(tmp_path_factory.mktemp("stage")) as node, Stranger() as stranger:
        chain = node.create_chain("open", readers="everyone")
        chain.append(b"first")
        node.addresses()
        yield node, chain, stranger


def test_bad_blocks(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C07, C09, C36, C40: each is refused for its own reason, never indexed, and a good one is taken all the same."""
    good, forger = Forger(chain.id), Forger(chain.id)
    first = good.next()
    long = draft(b"x").__class__(b"x" * 100, ("t",), "t", {})
    bad: list[tuple[bytes, Reason]] = [
        (broken(forger.at(0, chain.id)), Reason.BAD_SIGNATURE),
        (Forger(BlockId.of(b"other")).next().encoded, Reason.WRONG_CHAIN),
        (forger.at(5, chain.id, height=1).encoded, Reason.WRONG_SEQ),
        (forger.at(0, chain.id, height=7).encoded, Reason.WRONG_HEIGHT),
        (forger.at(1, first.id, height=2).encoded, Reason.WRONG_SEQ),
        (b"\x00" * 100, Reason.BAD_ENCODING),
        (b"\x81" * 3000, Reason.BAD_ENCODING),
        (forger.at(0, chain.id, long).encoded + b"\x00", Reason.BAD_ENCODING),
        (forger.at(0, chain.id, draft(b"nonsense", type="core/admit")).encoded, Reason.BAD_PAYLOAD),
        (b"\x82\x8c\x02" + first.encoded[3:], Reason.NEWER_VERSION),
    ]

    async def send() -> None:
        wire = await stranger.open(node, keys_of(node, chain))
        await wire.send(Blocks(Why.NEWS_HERE, (first.encoded,)))
        for data, _ in bad:
            await wire.send(Blocks(Why.NEWS_HERE, (data,)))
        await wire.send(Blocks(Why.NEWS_HERE, (good.next(b"second").encoded,)))
        await wire.receive_of(Credit)

    stranger.run(send)
    until(lambda: len(chain) == 3)
    assert set(payloads(chain)) == {b"first", b"forged", b"second"}
    status = chain.status().refused
    missing = {reason.value for _, reason in bad} - status.keys()
    assert missing <= {Reason.WRONG_SEQ.value, Reason.WRONG_PREV.value}, (missing, status)
    assert sum(status.values()) >= len(bad) - 1
    for data, _ in bad:
        assert BlockId.of(data) not in chain
    assert_served(chain, honest)


@pytest.mark.slow
def test_a_flood_of_orphans(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C36: 20 000 blocks whose parents nobody has: parked within the budget, asked for within bounds, others served."""
    forger = Forger(chain.id)
    copy = join(honest, chain)
    missing = [BlockId.of(os.urandom(8)) for _ in range(50)]

    async def flood() -> None:
        wire = await stranger.open(node, keys_of(node, chain))
        for turn in range(80):
            orphans = tuple(
                forger.at(turn * 250 + number + 1, random.choice(missing), height=9).encoded for number in range(250)
            )
            try:
                await wire.send(Blocks(Why.NEWS_HERE, orphans))
            except UnavailableError:
                return

    with Memory(120 * MIB):
        flooding = threading.Thread(target=lambda: stranger.run(flood))
        flooding.start()
        for number in range(20):
            block = copy.append(b"%d" % number)
            until(partial(chain.__contains__, block.id))
        flooding.join(2 * WITHIN_S)
    assert not flooding.is_alive()
    until(lambda: refused(chain, Reason.OVER_BUDGET) > 0)
    assert chain.status().parked <= Limits.parked_blocks_per_peer
    assert chain.status().missing <= Limits.parked_blocks_per_peer
    assert len(chain) == 21
    assert_served(chain, honest)


@pytest.mark.slow
def test_a_flood_of_forks(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C11: an author of 2 000 forks is proven once and frozen; what is held of it is bounded, and sync goes on."""
    copy = join(honest, chain)
    forger = Forger(chain.id)
    forks = [forger.at(0, chain.id, b"%d" % number).encoded for number in range(2000)]

    async def send() -> None:
        wire = await stranger.open(node, keys_of(node, chain))
        for at in range(0, len(forks), 100):
            try:
                await wire.send(Blocks(Why.NEWS_HERE, tuple(forks[at : at + 100])))
            except UnavailableError:
                return

    stranger.run(send)
    until(lambda: chain.status().forked_authors == 1)
    assert set(chain.equivocations()) == {forger.signer.key}
    until(lambda: copy.status().forked_authors == 1)
    mine, theirs = chain.append(b"goes on"), copy.append(b"there too")
    until(lambda: mine.id in copy and theirs.id in chain)
    until_same(chain, copy)
    assert len(chain) <= 5
    assert chain.tables.scan(0, 10_000, 1 << 24).__len__() < 1000


def test_a_false_proof_freezes_nobody(node: Node, chain: Chain, stranger: Stranger) -> None:
    """C11: a proof that does not hold (one block twice, two authors, two chains, bad signatures) is refused."""
    own = next(chain.blocks())
    one, two, other = Forger(chain.id), Forger(chain.id), Forger(BlockId.of(b"x"))
    a, b = one.at(0, chain.id, b"a"), one.at(0, chain.id, b"b")
    proofs = [
        (own.encoded, own.encoded),
        (a.encoded, two.at(0, chain.id).encoded),
        (a.encoded, broken(b)),
        (other.at(0, other.chain, b"a").encoded, other.at(0, other.chain, b"b").encoded),
        (a.encoded, one.at(1, a.id, height=2).encoded),
    ]

    async def send() -> None:
        for first, second in proofs:
            wire = await stranger.open(node, keys_of(node, chain))
            await wire.send(ForkProof(*sorted((first, second), key=BlockId.of)), Want((own.id,)))
            with suppress(UnavailableError):  # judged by then: the next session ends this one
                await wire.receive_of(Blocks)

    stranger.run(send)
    until(lambda: sum(chain.status().refused.values()) >= len(proofs) - 1)
    assert chain.status().forked_authors == 0
    chain.append(b"still a writer")


@pytest.mark.slow
def test_lies_about_the_digest(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C35, C36: 300 random digests cost a few pulls, ever more rarely; an honest peer's history comes in between."""
    pulls: list[object] = []

    async def lie() -> None:
        wire = await stranger.open(node, keys_of(node, chain))

        async def answer() -> None:
            while True:
                message = await wire.receive()
                if isinstance(message, (Pull, Buckets)):
                    pulls.append(message)
                    await wire.send(Done(os.urandom(32), 1 << 40))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            for _ in range(300):
                await wire.send(Digest(os.urandom(32), 1 << 40))
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    lying = threading.Thread(target=lambda: stranger.run(lie))
    lying.start()
    copy = join(honest, chain)
    theirs = copy.append(b"honest")
    until(lambda: theirs.id in chain)
    lying.join(2 * WITHIN_S)
    assert 1 <= len(pulls) <= 8
    assert_served(chain, honest)


@pytest.mark.slow
def test_lies_about_the_frontier(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C35, C36: thousands of made-up authors, and a pull that is never answered, hold nobody up for long."""
    made_up = [(b"\xed\x01" + os.urandom(32), Entry(1 << 40, BlockId.of(os.urandom(8)), None)) for _ in range(2048)]
    copy = join(honest, chain)
    honest._life.loop.call(lambda: honest._network.disconnect(node.peer_id))
    copy.append_many([b"history"] * 300)

    async def lie() -> None:
        wire = await stranger.open(node, keys_of(node, chain))
        await wire.send(Digest(os.urandom(32), 1 << 40))
        for turn in range(20):
            await wire.send(Pull(None, tuple(made_up), turn == 19))
        await trio.sleep(6)

    with Memory(60 * MIB):
        lying = threading.Thread(target=lambda: stranger.run(lie))
        lying.start()
        until_same(chain, copy, count=301)
        lying.join(2 * WITHIN_S)
    assert_served(chain, honest)


@pytest.mark.slow
def test_a_peer_that_stops_reading(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C36: it asks and asks and takes nothing: what waits for it is bounded, and others are served."""
    chain.append_many([bytes(30_000)] * 60)
    some = tuple(sorted(ids(chain)))[:50]

    async def ask() -> None:
        wire = await stranger.open(node, keys_of(node, chain))
        await wire.send(Pull(None, (), True))
        with trio.move_on_after(6):
            try:
                for _ in range(3000):
                    await wire.send(
                        Buckets((bytes(16),) * 256),
                        Want(some),
                        SideWant((some[0],)),
                        Probe(chain.author, ((0, some[0]),)),
                    )
            except UnavailableError:
                return

    with Memory(80 * MIB):
        asking = threading.Thread(target=lambda: stranger.run(ask))
        asking.start()
        assert_served(chain, honest)
        asking.join(2 * WITHIN_S)
    for service in node._service.chains.values():
        for session in service.sessions.values():
            assert len(session._outbox) <= 2048
    for link in chain.engine.replica.sync.links.values():
        assert len(link.asked) <= Limits.parked_blocks_per_peer
        assert len(link.sides) <= Limits.max_ids_per_message
    assert_served(chain, honest)


@pytest.mark.slow
def test_a_peer_that_never_gives_credit(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C36: it is sent four frames and no more; others are served. Credit that is not due is refused."""
    chain.append_many([bytes(30_000)] * 100)

    async def pull() -> int:
        wire = await stranger.open(node, keys_of(node, chain))
        await wire.send(Pull(None, (), True))
        for _ in range(Limits.credit_frames):
            await wire.receive_of(Blocks)
        frames = Limits.credit_frames
        with trio.move_on_after(1.5):
            while True:
                frames += isinstance(await wire.receive(), Blocks)
        return frames

    assert stranger.run(pull) == Limits.credit_frames
    assert_served(chain, honest)

    async def give() -> None:
        wire = await stranger.open(node, keys_of(node, chain))
        for _ in range(10):
            await wire.send(Credit(Limits.credit_frames))
        await wire.receive()

    stranger.run(give)
    until(lambda: refused(chain, Reason.OVER_BUDGET) >= 1)


@pytest.mark.slow
def test_frontiers_without_end(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C36: a pull whose last part never comes is bounded in memory."""
    entry = Entry(1, BlockId.of(b""), None)

    async def send() -> None:
        wire = await stranger.open(node, keys_of(node, chain))
        for _ in range(100):
            part = tuple((b"\xed\x01" + os.urandom(32), entry) for _ in range(2000))
            try:
                await wire.send(Pull(None, part, False))
            except UnavailableError:
                return

    assert_served(chain, honest)
    with Memory(150 * MIB):
        stranger.run(send)
    assert_served(chain, honest)


# --- content -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("lie", ["wrong bytes", "empty parts", "lacking", "another piece"])
def test_content_from_a_liar(node: Node, chain: Chain, honest: Node, stranger: Stranger, lie: str) -> None:
    """C50: wrong bytes are never kept; another peer is asked."""
    give_content(node, chain, honest, stranger, lie)


@pytest.mark.slow
def test_content_from_a_silent_peer(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C50: a peer that does not answer is given up, and another is asked."""
    give_content(node, chain, honest, stranger, "silence")


def false_parts(lie: str, cid: Cid) -> list[Message]:
    """What a liar gives for a piece."""
    match lie:
        case "wrong bytes":
            return [SidePart(cid, 0, 100, bytes(100))]
        case "empty parts":
            return [SidePart(cid, 0, 100, b"")] * 3
        case "lacking":
            return [SideLacking((cid,))]
        case "another piece":
            return [SidePart(BlockId.of(b"x"), 0, 3, b"xyz"), SideLacking((cid,))]
        case _:
            return []


def give_content(node: Node, chain: Chain, honest: Node, stranger: Stranger, lie: str) -> None:
    copy = join(honest, chain)
    payload = random.Random(50).randbytes(20 * Limits.leaf_bytes + 5)
    block = chain.append(payload)
    until(lambda: block.id in copy)
    asked = threading.Event()

    async def serve() -> None:
        wire = await stranger.open(honest, keys_of(honest, copy))

        async def answer() -> None:
            while True:
                wanted = await wire.receive_of(SideWant)
                asked.set()
                for cid in wanted.cids:
                    await wire.send(*false_parts(lie, cid))

        stranger.nursery.start_soon(guarded(answer))

    honest.addresses()
    stranger.run(serve)
    until(lambda: len(copy.engine.replica.sync.links) == 2, what="both can be asked")
    assert copy.fetch(copy.block(block.id)).result(40).payload == payload
    assert asked.is_set()
    if lie == "wrong bytes":
        assert refused(copy, Reason.BAD_CONTENT) >= 1
    assert_sound(copy)


def guarded(function: Callable[[], object]):
    async def run() -> None:
        try:
            await function()  # type: ignore[misc]
        except (UnavailableError, RemoteError):
            return

    return run


# --- joining -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_lying_issuer(tmp_path: Path, node: Node, chain: Chain, stranger: Stranger) -> None:
    """C40: an issuer that hands over another chain's genesis, a corrupt one, or garbage: `JoinError`, nothing left."""
    other = node.create_chain("other", readers="everyone")
    seed = os.urandom(16)
    genesis = chain.engine.block(chain.id)
    wrong = other.engine.block(other.id)
    damaged = genesis._replace(encoded=broken(genesis))
    invitation = Invitation(
        chain_id=chain.id, issuer=stranger.signer.key[2:], addresses=tuple(stranger.addresses), seed=seed, name="trap"
    )
    grants = [wrong, damaged, None]

    async def answer(stream) -> None:
        frames = Frames(stream)
        ends = Ends(stream.peer, stranger.network.peer_id)
        issuer = Issuer(stranger.signer, ends, os.urandom(ISSUER_ENTROPY_BYTES), lambda _id: Terms(chain.id, seed))
        await frames.send(issuer.challenge)
        issuer.receive(await frames.receive())
        block = grants[0]
        data = os.urandom(300) if block is None else issuer.grant(Grant(block, None, None, "trap", 5))
        await frames.send(data)
        await stream.receive(1)

    stranger.network.serve(JOIN, answer)
    with Node.open(tmp_path / "joiner") as joiner:
        while grants:
            with pytest.raises(JoinError) as caught:
                joiner.join(invitation).result(WITHIN_S)
            assert caught.value.hint
            assert joiner.chains() == []
            assert [path.name for path in (tmp_path / "joiner" / "keys").iterdir()] == ["node"]
            grants.pop(0)
        assert payloads(joiner.join(str(chain.invite())).result(WITHIN_S)) == [b"first"]


@pytest.mark.slow
def test_an_issuer_with_corrupt_blocks(tmp_path: Path, node: Node, chain: Chain, stranger: Stranger) -> None:
    """C40: made-up and corrupt blocks of an issuer are refused and counted; with a good peer the rest comes."""
    keys = keys_of(node, chain)
    forger = Forger(chain.id)
    genesis = chain.engine.block(chain.id)
    invitation = Invitation(chain_id=chain.id, issuer=stranger.signer.key[2:], addresses=tuple(stranger.addresses))

    async def answer(stream) -> None:
        frames = Frames(stream)
        ends = Ends(stream.peer, stranger.network.peer_id)
        issuer = Issuer(stranger.signer, ends, os.urandom(ISSUER_ENTROPY_BYTES), lambda _id: Terms(chain.id, None))
        await frames.send(issuer.challenge)
        issuer.receive(await frames.receive())
        await frames.send(issuer.grant(Grant(genesis, None, None, "trap", 1 << 40)))
        await stream.receive(1)

    async def sync(wire: Wire) -> None:
        await wire.send(Digest(os.urandom(32), 1 << 40))
        while True:
            if isinstance(await wire.receive(), Pull):
                corrupt = tuple(broken(forger.at(0, chain.id, b"%d" % number)) for number in range(5))
                await wire.send(Blocks(Why.PULLED, corrupt), Done(os.urandom(32), 1 << 40))

    stranger.network.serve(JOIN, answer)
    stranger.serve(keys, sync)
    with Node.open(tmp_path / "joiner") as joiner:
        copy = joiner.join(invitation).result(WITHIN_S)
        assert list(copy.blocks()) == []
        until(lambda: refused(copy, Reason.BAD_SIGNATURE) >= 1)
        joiner.connect(node.addresses()).result(WITHIN_S)
        until_same(chain, copy, count=1)
        assert_sound(copy)


# --- C42: what strangers learn -----------------------------------------------------------------------------------


def shape_of_refusal(stranger: Stranger, node: Node, keys: ChainKeys) -> list[int]:
    """The sizes of everything a node says to a stranger that names a chain."""
    from walytis_core.handshake import ENTROPY_BYTES, Initiator
    from walytis_core.handshake import Ends as SyncEnds

    async def ask() -> list[int]:
        peer = await stranger.connect(node)
        frames = Frames(await stranger.network.open_stream(peer, SYNC))
        machine = Initiator(stranger.signer, keys, SyncEnds(stranger.network.peer_id, peer), os.urandom(ENTROPY_BYTES))
        await frames.send(machine.hello)
        heard = [await frames.receive()]
        await frames.send(machine.receive(heard[0]).send)
        heard.append(await frames.receive())
        with pytest.raises(UnavailableError):
            machine.receive(heard[1])
        with trio.move_on_after(2), pytest.raises(UnavailableError):
            await frames.receive()
        return [len(one) for one in heard]

    return stranger.run(ask)


def test_an_unreadable_chain_shows_nothing(node: Node, stranger: Stranger) -> None:
    """C42: a stranger with the chain id and an open connection gets the answer that an unknown chain gets."""
    secret = node.create_chain("secret")
    secret.append(b"secret", topics=["secret"])
    wrong = ChainSecret(0, os.urandom(SECRET_BYTES))
    answers = [
        shape_of_refusal(stranger, node, keys)
        for keys in (
            ChainKeys(secret.id),
            ChainKeys(secret.id, wrong),
            ChainKeys(BlockId.of(b"unknown")),
            ChainKeys(BlockId.of(b"unknown"), wrong),
        )
    ]
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert not secret.peers()
    channels = node._network.on_channel(ChainKeys(secret.id).channel)
    assert list(channels) == []


@pytest.mark.slow
def test_naming_its_blocks_in_another_chain(node: Node, chain: Chain, stranger: Stranger) -> None:
    """C42: ids of a secret chain, named on an open one: wanted, lacking and announced as if they were unknown."""
    secret = node.create_chain("secret")
    block = secret.append(bytes(100_000))
    assert block.content is not None
    named, unknown = block.id, BlockId.of(b"unknown")
    own = next(chain.blocks())
    link = block.content.link

    async def ask() -> list[object]:
        wire = await stranger.open(node, keys_of(node, chain))
        await wire.send(Want((named, secret.id)), SideWant((link,)), Announce((named, unknown)))
        await wire.send(Want((own.id,)))  # answered after the others: until then all is heard
        heard: list[object] = []
        while not (heard and isinstance(heard[-1], Blocks)):
            heard.append(await wire.receive())
        with trio.move_on_after(1.0):
            while True:
                heard.append(await wire.receive())
        return heard

    heard = stranger.run(ask)
    assert [one.blocks for one in heard if isinstance(one, Blocks)] == [(own.encoded,)]
    assert not [one for one in heard if isinstance(one, SidePart)]
    assert SideLacking((link,)) in heard
    wanted = {id for one in heard if isinstance(one, Want) for id in one.ids}
    assert wanted == {named, unknown}


@pytest.mark.slow
def test_an_unknown_invitation_and_an_unknown_chain(node: Node, stranger: Stranger, tmp_path: Path) -> None:
    """C42, C39: a made-up invitation for a chain that is here, and for none, get the same refusal."""
    secret = node.create_chain("secret")
    real = secret.invite()
    with Node.open(tmp_path / "joiner") as joiner:
        texts = set()
        for fake in (replace(real, seed=bytes(16)), replace(real, chain_id=BlockId.of(b"x")), replace(real, seed=None)):
            with pytest.raises(JoinError) as caught:
                joiner.join(fake).result(WITHIN_S)
            texts.add(str(caught.value))
        assert len(texts) == 1
        assert joiner.chains() == []


def test_sealed_frames_are_not_replayed(node: Node, chain: Chain, stranger: Stranger) -> None:
    """C42: a frame sealed for one session, direction or chain opens in no other."""
    second = node.create_chain("second", readers="everyone")

    async def replay() -> None:
        one, again = await stranger.open(node, keys_of(node, chain)), await stranger.open(node, keys_of(node, second))
        sealed = one.session.send.seal(cbor.encode([1, bytes(32), 0]))
        theirs = await one.frames.receive()
        await again.frames.send(sealed)  # another chain and session
        await one.frames.send(theirs)  # another direction
        await again.until_closed()
        await one.until_closed()
        fresh = await stranger.open(node, keys_of(node, chain))
        await fresh.frames.send(sealed)  # another session of the same chain
        await fresh.until_closed()
        fresh = await stranger.open(node, keys_of(node, chain))
        whole = fresh.session.send.seal(cbor.encode([1, bytes(32), 0]))
        await fresh.frames.send(whole, whole)  # the same one twice
        await fresh.until_closed()

    stranger.run(replay)
    until(lambda: refused(second, Reason.BAD_SEAL) == 1 and refused(chain, Reason.BAD_SEAL) == 3)
    assert not chain.status().parked


@pytest.mark.slow
def test_gossip_of_another_chain(node: Node, chain: Chain, honest: Node, stranger: Stranger) -> None:
    """C36, C42: garbage and another chain's sealed gossip on a channel: refused, counted, never taken."""
    second = node.create_chain("second", readers="everyone")
    here, there = keys_of(node, chain), keys_of(node, second)
    foreign = Forger(second.id).next()
    sealed = there.gossip.seal(cbor.encode([5, 1, [foreign.encoded]]), os.urandom(24))

    async def publish() -> None:
        await stranger.connect(node)
        await stranger.network.subscribe(here.channel)
        with trio.fail_after(WITHIN_S):
            while not stranger.network.on_channel(here.channel):  # noqa: ASYNC110 - there is no event for it
                await trio.sleep(0.02)
        for data in (b"garbage", bytes(50_000), sealed, here.gossip.seal(b"\xff", os.urandom(24))):
            for _ in range(5):
                await stranger.network.publish(here.channel, data + b"")
                await trio.sleep(0.05)

    before = len(second)
    stranger.run(publish)
    until(lambda: refused(chain, Reason.BAD_SEAL) >= 2)
    assert foreign.id not in chain
    assert len(second) == before
    assert_served(chain, honest)


def test_blocks_of_another_chain(node: Node, chain: Chain, stranger: Stranger) -> None:
    """C36: good blocks of another chain of the same node are refused here and not smuggled in there."""
    second = node.create_chain("second", writers=[], readers="everyone")
    foreign: Block = Forger(second.id).next()

    async def send() -> None:
        wire = await stranger.open(node, keys_of(node, chain))
        await wire.send(Blocks(Why.NEWS_HERE, (foreign.encoded,)))
        wire = await stranger.open(node, keys_of(node, second))
        await wire.send(Blocks(Why.NEWS_HERE, (foreign.encoded,)))

    stranger.run(send)
    until(lambda: refused(chain, Reason.WRONG_CHAIN) == 1 and refused(second, Reason.NOT_A_WRITER) == 1)
    assert len(second) == 0
    assert len(chain) == 1
