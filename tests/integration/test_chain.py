"""Chains on real files: what goes in comes out, also after a restart, and by many threads at once."""

from __future__ import annotations

import io
import os
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
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
from walytis_core import (
    Arrived,
    Block,
    BlockId,
    Chain,
    ClosedError,
    Ed25519Signer,
    Feed,
    InUseError,
    InvalidInputError,
    Layer,
    Limits,
    Node,
    NotAllowedError,
    NotFoundError,
    Obeyed,
    Past,
    Standing,
    StorageError,
    UnavailableError,
    Void,
    Wait,
)
from walytis_core.network import MemoryHub, MemoryNetwork
from walytis_core.view import View


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


# --- for layers ------------------------------------------------------------------------------------------------------


def counting(prefix: str = "count/", version: int = 1) -> Layer:
    """Counts its blocks."""
    return Layer(
        prefix,
        lambda _block, _past: Obeyed(),
        lambda state, _block: state + 1,
        lambda state: (state, {}),
        initial=0,
        version=version,
    )


def test_a_layer_that_is_used_later(tmp_path: Path, hub: MemoryHub) -> None:
    """C52: what is stored already is judged at once, what comes is judged as it comes, and a restart changes nothing."""
    with open_node(tmp_path / "node", hub) as node:
        chain = node.create_chain("notes")
        chain.append_many([b"x"] * 5, type="count/x")
        with pytest.raises(NotFoundError):
            chain.view("count/")
        view = chain.use(counting())
        assert view.value == chain.view("count/").value == 5
        chain.append(b"x", type="count/y")
        chain.append(b"x", type="other/y")
        assert view.value == chain.use(counting()).value == 6
        with pytest.raises(InUseError):
            chain.use(counting(version=2))
        assert chain.use(counting("other/")).value == 1
    with open_node(tmp_path / "node", hub) as node:
        chain = node.chain("notes")
        assert chain.use(counting(version=2)).value == 6
    with pytest.raises(ClosedError):
        chain.use(counting())


def test_a_view_outlives_a_disk_that_refused(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """C25, C52: when the disk fails a view, whoever asks next makes it anew, and who holds it sees that."""
    view = chain.use(counting())

    def refuse(*_: object) -> None:
        raise StorageError("the disk is full")

    def written(lawful: bool) -> int:
        chain.append(b"x", type="count/x", lawful=lawful)
        return int(view.value) - 1

    looks: list[Callable[[], object]] = [
        lambda: view.value,
        lambda: view.state,
        lambda: view.state_of(None),
        lambda: view.value_of(None),
        lambda: view.look(None, lambda value: value),
        lambda: len(view.entries(None)),
        lambda: chain.view("count/").value,
        lambda: chain.use(counting()).value,
        lambda: written(False),
        lambda: written(True),
    ]
    count = 0
    for look in looks:
        with monkeypatch.context() as patch:
            patch.setattr(View, "arrived", refuse)
            block = chain.append(b"x", type="count/x")
            for read in looks[:6]:
                with pytest.raises(StorageError):
                    read()
            with pytest.raises(StorageError):
                chain.standing(block.id)
            with pytest.raises(StorageError):
                chain.append(b"x", type="count/x", lawful=True)
        count += 1
        assert look() == count
        count = len(chain)
    assert view.value == count
    with monkeypatch.context() as patch:
        patch.setattr(View, "resolved", refuse)
        with pytest.raises(StorageError):
            chain.judging.resolved(BlockId.of(b"another chain"))
    chain.judging.resolved(BlockId.of(b"another chain"))
    assert view.value == count


@pytest.mark.parametrize("how", ["closed", "deleted"])
def test_a_view_ends_with_its_chain(how: str, hub: MemoryHub) -> None:
    """C52: it does not go on answering from memory."""
    with Node.in_memory(hub, layers=[counting()]) as node:
        chain = node.create_chain("notes")
        view = chain.view("count/")
        assert view.value == 0
        if how == "deleted":
            node.delete_chain(chain)
        else:
            node.close()
        looks: tuple[Callable[[], object], ...] = (
            lambda: view.value,
            lambda: view.state,
            lambda: view.state_of(None),
            lambda: view.value_of(None),
            lambda: view.look(None, lambda value: value),
            lambda: view.entries(None),
        )
        for look in looks:
            with pytest.raises(ClosedError):
                look()


def test_parents_by_request(chain: Chain) -> None:
    """C06: a block names what its layer wants named, however old, beside the heads; each once, without `prev`."""
    blocks = [chain.append(b"%d" % number) for number in range(5)]
    block = chain.append(b"x", parents=[blocks[0].id, blocks[2].id, blocks[0].id, blocks[4].id])
    assert block.prev == blocks[4].id
    assert block.parents == tuple(sorted([blocks[0].id, blocks[2].id]))
    assert block.height == 6
    many = chain.append_many([b"1", b"2"], parents=[blocks[1].id])
    assert [one.parents for one in many] == [(blocks[1].id,)] * 2
    assert_sound(chain)


def test_parents_that_cannot_be_named(chain: Chain, node: Node) -> None:
    """C06: unknown ones, the genesis, those of another chain, too many: refused, and nothing is written."""
    first = chain.append(b"x")
    other = node.create_chain("other").append(b"x")
    for parents in ([BlockId.of(b"unknown")], [chain.id], [first.id, other.id]):
        with pytest.raises(NotFoundError):
            chain.append(b"y", parents=parents)
    blocks = chain.append_many([b"x"] * 65)
    with pytest.raises(InvalidInputError):
        chain.append(b"y", parents=[block.id for block in blocks])
    widest = chain.append(b"y", parents=[block.id for block in blocks[:64]])
    assert len(widest.parents) == 64
    assert len(chain) == 67
    assert_sound(chain)


def test_short_content_that_can_be_dropped(tmp_path: Path, hub: MemoryHub) -> None:
    """C50: kept beside the block, however short; fetched, dropped and fetched again like long content."""
    with Node.in_memory(hub) as node, Node.in_memory(hub) as other:
        chain = node.create_chain("notes")
        copy = join(other, chain)
        for payload in (b"", b"x", b"y" * Limits.max_payload_bytes):
            block = chain.append(payload, droppable=True)
            assert block.content is not None
            assert block.payload == payload
            until(partial(copy.__contains__, block.id))
            theirs = copy.fetch(copy.block(block.id)).result(WITHIN_S)
            assert theirs.payload == payload
            chain.drop_content(block)
            if payload:
                assert not chain.has_content(block)
            assert chain.fetch(block).result(WITHIN_S).payload == payload
        inline = chain.append(b"inline")
        chain.drop_content(inline)
        assert inline.payload == chain.block(inline.id).payload == b"inline"
        assert_sound(chain)


def test_types_by_their_prefix(chain: Chain) -> None:
    """C20: a type with a slash at its end stands for all that start so, combined with all else, in queries and feeds."""
    types = ["", "a", "a/", "a/x", "a/y", "A/x", "ab/x", "a/x/y", "b/x", "a0x", "a%/x", "a_/x", "é/x", "a/\U0010ffff"]
    with chain.follow(type="a/") as feed:
        blocks = [
            chain.append(b"%d" % number, type=type, topics=["even"][: number % 2])
            for number, type in enumerate(types * 3)
        ]
        expected = [block for block in blocks if block.type.startswith("a/")]
        found = []
        while (event := feed.next(0)) is not None:
            assert isinstance(event, Arrived)
            found.append(event.block)
        assert found == expected
    for prefix in ("a/", "b/", "é/", "a%/", "a_/", "ab/", "no/", "/"):
        model = [block for block in blocks if block.type.startswith(prefix)]
        assert list(chain.blocks(type=prefix)) == model
        assert list(chain.blocks(type=prefix, newest_first=True)) == model[::-1]
        assert list(chain.blocks(type=prefix, topic="even")) == [block for block in model if block.topics]
        assert list(chain.blocks(type=prefix, limit=2, author=chain.author)) == model[:2]
    assert list(chain.blocks(type="a/x")) == [block for block in blocks if block.type == "a/x"]
    assert list(chain.blocks(type="")) == [block for block in blocks if block.type == ""]


def waiting(block: Block, past: Past) -> Standing:
    """Obeys once the chain that the payload names holds the head that it names."""
    chain, head = BlockId(block.payload[:36]), BlockId(block.payload[36:])
    return Wait(chain, (head,)) if past.of(chain, (head,)) is None else Obeyed()


def test_chains_that_wait_for_each_other_when_a_node_opens(tmp_path: Path, hub: MemoryHub) -> None:
    """C52: whatever order they are opened in, nothing waits for what is held."""
    layer = Layer("wait/", waiting, lambda state, _block: state + 1, lambda state: (state, {}), initial=0)
    with open_node(tmp_path, hub) as node:
        chains = [node.create_chain(name) for name in "abc"]
        heads = [chain.append(b"x") for chain in chains]
        waits = {
            (one.name, other.name): one.append(other.id + head.id, type="wait/x").id
            for one in chains
            for other, head in zip(chains, heads, strict=True)
            if one is not other
        }
    with Node.open(tmp_path, network=MemoryNetwork(hub), layers=[layer]) as node:
        for (name, _), id in waits.items():
            assert node.chain(name).standing(id) == Obeyed()
            assert node.chain(name).view("wait/").value == 2


def test_a_chain_that_comes_with_its_blocks(tmp_path: Path, hub: MemoryHub) -> None:
    """C52: what waits for a chain is checked when it is imported, or made anew."""
    layer = Layer("wait/", waiting, lambda state, _block: state + 1, lambda state: (state, {}), initial=0)
    with Node.in_memory(hub) as other:
        public = other.create_chain("public", readers="everyone")
        head = public.append(b"x")
        public.export(tmp_path / "public.car")
    with Node.in_memory(hub, layers=[layer]) as node:
        chain = node.create_chain("notes")
        block = chain.append(public.id + head.id, type="wait/x")
        assert chain.standing(block.id) == Wait(public.id, (head.id,))
        node.import_chain(tmp_path / "public.car")
        until(lambda: chain.standing(block.id) == Obeyed())
        assert chain.view("wait/").value == 1


def test_lawful_blocks(hub: MemoryHub) -> None:
    """C52: what the layer would not obey is refused before it is written, and leaves nothing behind, here or elsewhere."""

    def check(block: Block, past: Past) -> Standing:
        if block.type == "law/wait":
            return Wait(BlockId.of(b"elsewhere"), (BlockId.of(b"head"),))
        if block.type == "law/bug":
            raise ZeroDivisionError
        count = sum(1 for _ in past.blocks("law/"))
        return Obeyed() if count < 3 else Void("three are enough")

    layer = Layer("law/", check, lambda n, _block: n + 1, lambda n: (n, {}), initial=0, long_content=True)
    with Node.in_memory(hub, layers=[layer]) as node, Node.in_memory(hub, layers=[layer]) as other:
        chain = node.create_chain("notes")
        copy = join(other, chain)
        crew = Crew()
        refused: list[int] = []

        def write(number: int) -> None:
            chain.append(b"%d" % number)
            try:
                chain.append(b"%d" % number, type="law/x", lawful=True)
            except NotAllowedError:
                refused.append(number)

        for number in range(8):
            crew.start(write, number)
        crew.join()
        assert len(refused) == 5
        assert chain.view("law/").value == 3
        assert len(chain) == 11
        long = os.urandom(Limits.max_payload_bytes + 1)
        for type, error in (("law/x", NotAllowedError), ("law/wait", UnavailableError), ("law/bug", NotAllowedError)):
            with pytest.raises(error):
                chain.append(long, type=type, lawful=True)
        assert len(chain) == 11
        with Node.in_memory() as alone:  # whatever the refused calls had put beside the chain is gone
            content = alone.create_chain("x").append(long).content
        assert content is not None
        assert not chain.tables.has_side([content.link])
        assert chain.append(b"after", type="other/x", lawful=True).payload == b"after"
        until_same(chain, copy, count=12)
        assert copy.view("law/").value == 3
        assert all(chain.standing(block.id) == Obeyed() for block in chain.blocks())
        for one in (chain, copy):
            assert_sound(one)
            assert not one.equivocations()
