"""Chains on real files: what goes in comes out, also after a restart, and by many threads at once."""

from __future__ import annotations

import io
import os
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.suites.nodes import (
    WITHIN_S,
    Crew,
    assert_causal,
    assert_sound,
    ids,
    join,
    open_node,
    payloads,
    until,
    until_same,
)
from walytis_core import Arrived, Block, BlockId, Chain, Ed25519Signer, Feed, Limits, Node, NotFoundError
from walytis_core.network import MemoryHub


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def node(tmp_path: Path, hub: MemoryHub) -> Iterator[Node]:
    with open_node(tmp_path / "node", hub) as node:
        yield node


@pytest.fixture
def chain(node: Node) -> Chain:
    return node.create_chain("notes")


def test_a_new_chain_is_its_genesis(node: Node) -> None:
    """C01: the id is the CID of the one genesis block, which no follower, list or count shows."""
    chain = node.create_chain("notes", data=b"app")
    rows = chain.tables.scan(0, 10, 1 << 20)
    assert [row.id for row in rows] == [chain.id]
    assert BlockId.of(rows[0].encoded) == chain.id
    assert str(chain.id).startswith("bafyrei")
    assert (len(chain), chain.heads, list(chain.blocks())) == (0, (), [])
    called: list[object] = []
    chain.follow(called.append, name="callback")
    with chain.follow(name="iterated") as feed:
        assert feed.next(timeout=0) is None
        chain.append(b"first")
        event = feed.next(timeout=WITHIN_S)
        assert isinstance(event, Arrived)
        assert event.block.payload == b"first"
    until(lambda: called)
    assert [event.block.payload for event in called if isinstance(event, Arrived)] == [b"first"]


def awkward_payloads(chain: Chain, block: Block) -> list[bytes]:
    """C05: byte runs that mean something to parsers."""
    return [
        b"",
        b"\x00",
        bytes(1000),
        b"\xff" * 1000,
        bytes(range(256)),
        block.encoded,
        bytes(chain.id),
        b"\xd8\x2a\x58\x25\x00" + chain.id,
        b"\x80",
        b"\xa1\x61a\x01",
        b"\x82\x8c\x01",
        b"--\r\n\r\n;,|\t\x1e\x1f\x00",
        b"'; DROP TABLE blocks; --",
        str(chain.id).encode(),
        "é日本\u202e\U0001f600".encode(),
        os.urandom(Limits.max_payload_bytes),
        os.urandom(Limits.max_payload_bytes + 1),
    ]


def test_any_bytes_round_trip(tmp_path: Path, hub: MemoryHub) -> None:
    """C05: payloads made of any byte runs come back byte for byte, here, at a peer and after a restart."""
    with open_node(tmp_path / "a", hub) as node, open_node(tmp_path / "b", hub) as other:
        chain = node.create_chain("notes")
        copy = join(other, chain)
        sent = awkward_payloads(chain, chain.append(b"0"))
        for payload in sent:
            chain.append(payload)
        until_same(chain, copy, count=len(sent) + 1)
        for block in copy.blocks():
            copy.fetch(block).result(WITHIN_S)
        assert payloads(copy)[1:] == payloads(chain)[1:] == sent
    with open_node(tmp_path / "b", hub) as other:
        assert payloads(other.chain("notes"))[1:] == sent


def test_types_and_topics_round_trip(chain: Chain) -> None:
    """C02: any Unicode, 0 to 16 topics, up to 256 bytes each."""
    shapes = [
        (),
        ("a",),
        tuple(f"{index:x}" for index in range(16)),
        ("é" * 128, "日本語", "\U0001f600", " ", "\t", "\x00", "a\x00b", "\u202e", "e\u0301", "é"),
        ("x" * 256,),
    ]
    for topics in shapes:
        block = chain.append(b"p", topics=topics, type="".join(topics)[:40])
        assert chain.block(block.id) == block
        assert block.topics == topics
        for topic in topics:
            assert block in list(chain.blocks(topic=topic))
    chain.append(b"p", type="x" * 128)


@pytest.mark.parametrize("size", [0, 1, 100_000, pytest.param(64 << 20, marks=pytest.mark.slow)])
def test_sizes_round_trip(chain: Chain, size: int) -> None:
    """C04: payloads of 0 B, 1 B, 100 kB and 64 MB, from bytes and from a stream."""
    payload = random.Random(size).randbytes(size)
    block = chain.append(payload)
    assert block.payload == payload == chain.block(block.id).payload
    with block.open() as stream:
        stream.seek(size // 2)
        assert stream.read(10) == payload[size // 2 : size // 2 + 10]
    streamed = chain.append(io.BytesIO(payload))
    assert streamed.content == block.content
    assert chain.has_content(streamed)
    assert_sound(chain)


def test_queries(chain: Chain) -> None:
    """C20: topic, type, author, time and count, combined, newest or oldest first, paged by a cursor."""
    rng = random.Random(20)
    blocks = [
        chain.append(b"%d" % number, topics=rng.sample(["x", "y", "z"], rng.randrange(4)), type=rng.choice(["", "t/1"]))
        for number in range(60)
    ]
    middle = blocks[30].time
    for topic in (None, "x", "y", "no"):
        for type in (None, "", "t/1", "no"):
            for author in (None, chain.author, Ed25519Signer(bytes(32)).key):
                model = [
                    block
                    for block in blocks
                    if topic in (None, *block.topics) and type in (None, block.type) and author in (None, block.author)
                ]
                options = {"topic": topic, "type": type, "author": author}
                assert list(chain.blocks(**options)) == model  # type: ignore[arg-type]
                newest = list(chain.blocks(newest_first=True, limit=7, **options))  # type: ignore[arg-type]
                assert newest == model[::-1][:7]
                later = list(chain.blocks(after=middle, **options))  # type: ignore[arg-type]
                assert later == [block for block in model if block.time >= middle]
                earlier = list(chain.blocks(before=middle, limit=3, **options))  # type: ignore[arg-type]
                assert earlier == [block for block in model if block.time < middle][:3]


def test_pages_by_cursor_are_stable(chain: Chain) -> None:
    """C20: a cursor stays good while blocks come in; nothing twice, nothing skipped."""
    cursors = []
    for number in range(30):
        chain.append(b"%d" % number)
        cursors.append(chain.cursor())
    assert cursors == sorted(set(cursors))
    assert list(chain.blocks(since=chain.cursor())) == []
    seen: list[bytes] = []
    at = 0
    while page := list(chain.blocks(since=at, limit=4)):
        seen += [block.payload for block in page]
        chain.append(b"late") if len(seen) < 10 else None
        at = cursors[int(page[-1].payload)] if page[-1].payload != b"late" else chain.cursor()
    assert seen[:30] == [b"%d" % number for number in range(30)]
    assert seen[30:] == [b"late"] * 2
    assert [block.payload for block in chain.blocks(since=cursors[4], until=cursors[6])] == [b"5", b"6"]


def test_a_list_in_progress_survives_appends(chain: Chain) -> None:
    """C20: reading goes on while others write, in pages, with no transaction open."""
    chain.append_many([b"%d" % number for number in range(600)])
    reading = chain.blocks()
    first = next(reading)
    chain.append(b"late")
    assert [first.payload, *(block.payload for block in reading)] == [b"%d" % number for number in range(600)] + [
        b"late"
    ]
    assert len(list(chain.blocks(since=chain.cursor()))) == 0


def test_time_never_decides(chain: Chain) -> None:
    """C20: times are filters only."""
    chain.append(b"1")
    future = datetime.now(UTC) + timedelta(days=1)
    assert list(chain.blocks(after=future)) == []
    assert len(list(chain.blocks(before=future))) == 1


@pytest.mark.slow
def test_300_large_blocks_survive_a_restart(tmp_path: Path, hub: MemoryHub) -> None:
    """C26: 300 blocks of 100 kB with 16 long topics."""
    rng = random.Random(26)
    sent = {}
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        for number in range(300):
            topics = tuple(f"{number} {index} ".ljust(200, "x") for index in range(16))
            payload = rng.randbytes(100_000)
            sent[chain.append(payload, topics=topics).id] = (payload, topics)
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        assert {block.id: (block.payload, block.topics) for block in chain.blocks()} == sent
        assert len(list(chain.blocks(topic=f"{7} {3} ".ljust(200, "x")))) == 1
        assert_sound(chain)


def test_flat_state(chain: Chain) -> None:
    """C23: what a chain keeps in memory does not follow its length (state only; `make bench` measures)."""
    members = chain.engine.replica.members

    def held() -> int:
        return len(members.heads) + len(members.frontier) + len(members.parking) + len(members.frozen)

    chain.append_many([b"x"] * 200)
    before = held()
    for _ in range(10):
        chain.append_many([b"x"] * 200)
    assert held() == before == 2 or held() == before
    assert len(chain.heads) == 1


# --- threads -----------------------------------------------------------------------------------------------------


def write(name: int, target: Chain) -> None:
    mine = [target.append(b"%d %d" % (name, number)) for number in range(30)]
    assert [block.seq for block in mine] == sorted({block.seq for block in mine})


def listen(feed: Feed, heard: list[Block], total: int) -> None:
    for event in feed:
        assert isinstance(event, Arrived)
        heard.append(event.block)
        event.ack()
        if len(heard) == total:
            return


def look(node: Node, target: Chain, over: threading.Event) -> None:
    while not over.is_set():
        assert target.height >= 0
        count = len(target)  # before the heads: blocks come in between
        assert set(target.heads) or not count
        assert target.status().blocks <= 240
        target.graph(limit=5)
        target.peers()
        assert node.stats.chains == 1


def test_eight_threads_append_and_four_follow(tmp_path: Path, hub: MemoryHub) -> None:
    """C15: parents before children for all; every block once; readers never see half a state."""
    total, over = 8 * 30, threading.Event()
    with open_node(tmp_path / "a", hub) as node, open_node(tmp_path / "b", hub) as other:
        chain = node.create_chain("notes")
        copy = join(other, chain)
        feeds = [chain.follow(name="1"), chain.follow(), copy.follow(name="1"), copy.follow()]
        heard: list[list[Block]] = [[] for _ in feeds]
        writers, others = Crew(), Crew()
        for feed, blocks in zip(feeds, heard, strict=True):
            others.start(listen, feed, blocks, total)
        others.start(look, node, chain, over)
        others.start(look, other, copy, over)
        for name in range(8):
            writers.start(write, name, (chain, copy)[name % 2])
        writers.join()
        over.set()
        others.join()
        until_same(chain, copy, count=total)
        for blocks in heard:
            assert_causal(blocks, chain.id)
            assert {block.id for block in blocks} == ids(chain)
        assert_sound(chain)
        assert_sound(copy)
        assert copy.tables.cursor("1") == copy.cursor()


def test_appending_within_a_follower(chain: Chain) -> None:
    """C48: a handler may append to the chain it follows, and read it."""
    echoes: list[Block] = []

    def echo(event: object) -> None:
        if isinstance(event, Arrived) and event.block.payload.startswith(b"ping"):
            assert event.block.id in set(chain.heads) | {id for named in chain.graph().values() for id in named}
            echoes.append(chain.append(b"pong" + event.block.payload[4:]))

    chain.follow(echo, name="echo")
    for number in range(20):
        chain.append(b"ping %d" % number)
    until(lambda: len(echoes) == 20)
    assert len(chain) == 40
    assert sorted(block.payload for block in echoes) == sorted(b"pong %d" % number for number in range(20))
    assert_sound(chain)


def test_one_threads_error_is_not_anothers(chain: Chain) -> None:
    """C04: appends that fail beside others leave those alone, and nothing waits for ever."""
    done: list[object] = []

    def good() -> None:
        done.extend(chain.append(b"good") for _ in range(50))

    def bad() -> None:
        for _ in range(50):
            try:
                chain.append(b"bad", topics=[""])
            except ValueError as error:
                done.append(error)

    threads = [threading.Thread(target=target) for target in (good, bad, good, bad)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    assert len(done) == 200
    assert payloads(chain) == [b"good"] * 100
    assert_sound(chain)


def test_an_unknown_id_while_writing(chain: Chain) -> None:
    """C21: `NotFoundError`, and the object stays usable."""
    with pytest.raises(NotFoundError):
        chain.block(BlockId.of(b"?"))
    assert chain.append(b"1").id in chain
    assert BlockId.of(b"?") not in chain


def test_two_threads_make_a_chain_of_one_name(node: Node) -> None:
    """Names stay unique, whoever comes at once."""
    results: list[object] = []
    barrier = threading.Barrier(8)

    def make() -> None:
        barrier.wait()
        try:
            results.append(node.create_chain("one"))
        except ValueError as error:
            results.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    assert len(results) == 8
    assert [chain.name for chain in node.chains()] == ["one"]
    assert sum(isinstance(result, Chain) for result in results) == 1


def test_each_append_is_confirmed_by_a_peer(node: Node, hub: MemoryHub, chain: Chain) -> None:
    """C38: one block after another is known to be stored by the peer that is online, and stays so while more follow."""
    with Node.in_memory(hub) as other:
        copy = join(other, chain)
        until(lambda: chain.peers() and copy.peers())
        blocks = []
        for number in range(5):
            blocks.append(chain.append(b"%d" % number))
            until(lambda: all(chain.holders(block) == 1 for block in blocks))
    until(lambda: chain.holders(blocks[0]) == 0)
