"""The public API in detail: names, arguments that are refused, and what every error says."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import walytis_core
from tests.suites.nodes import WITHIN_S, assert_sound, ids, join, payloads, until, until_same
from walytis_core import (
    Arrived,
    Block,
    BlockId,
    Chain,
    ClosedError,
    Ed25519Signer,
    InvalidInputError,
    LocalError,
    Node,
    NotAllowedError,
    NotFoundError,
    UnavailableError,
    WalytisError,
)
from walytis_core.network import MemoryHub


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def node(hub: MemoryHub) -> Iterator[Node]:
    with Node.in_memory(hub) as node:
        yield node


@pytest.fixture
def other(hub: MemoryHub) -> Iterator[Node]:
    with Node.in_memory(hub) as node:
        yield node


@pytest.fixture
def chain(node: Node) -> Chain:
    return node.create_chain("notes")


def side_rows(chain: Chain) -> int:
    """How many pieces of content the store holds; from the inside, for "nothing was written"."""
    database = chain.tables._shared.database  # type: ignore[attr-defined]
    return int(database.read("SELECT count(*) FROM side")[0][0])


# --- names -------------------------------------------------------------------------------------------------------


def test_a_taken_name_gets_a_number(node: Node, other: Node) -> None:
    """A joined chain takes the suggested name; a taken one gets -2, then -3. C41: the name is all it suggests."""
    invited = [node.create_chain(name) for name in ("notes", "more")]
    other.create_chain("notes")
    assert join(other, invited[0]).name == "notes-2"
    uri = str(invited[1].invite())
    assert other.join(uri, name="mine").result(WITHIN_S).name == "mine"
    assert sorted(chain.name for chain in other.chains()) == ["mine", "notes", "notes-2"]


def test_a_chosen_name_that_is_taken_is_refused(node: Node, other: Node, chain: Chain) -> None:
    other.create_chain("notes")
    uri = str(chain.invite())
    for name in ("notes", "", "a\nb", "\x00"):
        with pytest.raises(InvalidInputError):
            _ = other.join(uri, name=name)
    assert [one.name for one in other.chains()] == ["notes"]
    other.join(uri, name="free").result(WITHIN_S)


@pytest.mark.parametrize("name", ["", "\x00", "a\nb", "\ud800", "\u202eevil"])
def test_names_that_cannot_be_shown_are_refused(node: Node, name: str) -> None:
    with pytest.raises(InvalidInputError):
        node.create_chain(name)
    assert node.chains() == []


def test_rename(node: Node, chain: Chain) -> None:
    node.create_chain("taken")
    with pytest.raises(InvalidInputError):
        node.rename(chain, "taken")
    with pytest.raises(NotFoundError):
        node.rename("unknown", "x")
    node.rename("notes", "diary")
    assert chain.name == "diary"
    assert node.chain("diary") is chain
    with pytest.raises(NotFoundError):
        node.chain("notes")
    assert node.create_chain("notes").name == "notes"


def test_a_chain_is_found_by_name_and_id(node: Node, chain: Chain) -> None:
    assert node.chain("notes") is node.chain(chain.id) is node.chain(str(chain.id)) is chain
    for unknown in ("", "x", str(BlockId.of(b"x")), BlockId.of(b"x")):
        with pytest.raises(NotFoundError):
            node.chain(unknown)


def test_any_unicode_name_survives(node: Node) -> None:
    for name in ("日本語", "é" * 300, "a/b", "' OR 1=1 --", ".."):
        assert node.chain(node.create_chain(name).name).name == name


# --- creating ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"writers": "everyone"},
        {"writers": "nobody"},
        {"writers": [b"short"]},
        {"writers": [bytes(34)]},
        {"writers": [b"\xed\x01" + bytes(32)]},
        {"writers": ["text"]},
        {"writers": [5]},
        {"readers": "anyone"},
        {"readers": ""},
        {"readers": "did:walytis:nonsense"},
        {"data": bytes(40_000)},
        {"data": "text"},
    ],
    ids=str,
)
def test_a_bad_policy_is_refused_and_nothing_is_written(node: Node, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        node.create_chain("x", **options)
    assert caught.value.hint
    assert node.chains() == []
    assert node.create_chain("x").name == "x"


def test_too_many_writers_are_refused(node: Node) -> None:
    with pytest.raises(InvalidInputError):
        node.create_chain("x", writers=[Ed25519Signer(index.to_bytes(32, "big")).key for index in range(1100)])


def test_the_policy_is_shown(node: Node) -> None:
    listed = Ed25519Signer(bytes(32)).key
    chain = node.create_chain("x", writers=[listed], readers="everyone", data=b"\x00app")
    assert chain.policy.writers == frozenset({listed, chain.author})
    assert (chain.policy.readers, chain.policy.data) == ("everyone", b"\x00app")


def test_a_given_signer_writes(node: Node) -> None:
    signer = Ed25519Signer(bytes(range(32)))
    chain = node.create_chain("x", signer=signer)
    assert chain.author == signer.key == chain.append(b"1").author


# --- appending ---------------------------------------------------------------------------------------------------

BAD_APPENDS: dict[str, Callable[[Chain], object]] = {
    "text payload": lambda chain: chain.append("text"),  # type: ignore[arg-type]
    "no payload": lambda chain: chain.append(None),  # type: ignore[arg-type]
    "number": lambda chain: chain.append(5),  # type: ignore[arg-type]
    "text stream": lambda chain: chain.append(io.StringIO("text")),  # type: ignore[arg-type]
    "one text as topics": lambda chain: chain.append(b"", topics="greeting"),
    "17 topics": lambda chain: chain.append(b"", topics=[str(index) for index in range(17)]),
    "empty topic": lambda chain: chain.append(b"", topics=[""]),
    "topic too long": lambda chain: chain.append(b"", topics=["x" * 257]),
    "topic with a surrogate": lambda chain: chain.append(b"", topics=["\ud800"]),
    "topic twice": lambda chain: chain.append(b"", topics=["a", "a"]),
    "topic of bytes": lambda chain: chain.append(b"", topics=[b"a"]),  # type: ignore[list-item]
    "topics of a number": lambda chain: chain.append(b"", topics=5),  # type: ignore[arg-type]
    "type too long": lambda chain: chain.append(b"", type="x" * 129),
    "type with a surrogate": lambda chain: chain.append(b"", type="\ud800"),
    "type of bytes": lambda chain: chain.append(b"", type=b"x"),  # type: ignore[arg-type]
    "core type": lambda chain: chain.append(b"", type="core/admit"),
    "ext too long": lambda chain: chain.append(b"", ext={"k": bytes(1025)}),
    "ext of text": lambda chain: chain.append(b"", ext={"k": "v"}),  # type: ignore[dict-item]
    "ext key of bytes": lambda chain: chain.append(b"", ext={b"k": b"v"}),  # type: ignore[dict-item]
    "ext key with a surrogate": lambda chain: chain.append(b"", ext={"\ud800": b"v"}),
    "one bad of many": lambda chain: chain.append_many([b"fine", bytes(100_000), "bad"]),  # type: ignore[list-item]
    "long content, bad topics": lambda chain: chain.append(bytes(100_000), topics=[""]),
}


@pytest.mark.parametrize("bad", BAD_APPENDS.values(), ids=BAD_APPENDS)
def test_a_bad_argument_is_refused_and_nothing_is_written(chain: Chain, bad: Callable[[Chain], object]) -> None:
    """C04: a refused append never wedges the chain. C03: refused before anything is written."""
    first = chain.append(b"before")
    with pytest.raises(InvalidInputError) as caught:
        bad(chain)
    assert str(caught.value)
    assert caught.value.hint
    assert side_rows(chain) == 0, "content of a refused append stays"
    assert list(chain.blocks()) == [first]
    after = chain.append(b"after")
    assert (after.seq, after.prev) == (first.seq + 1, first.id)
    assert_sound(chain)


def test_append_many_is_all_or_none(chain: Chain) -> None:
    payloads_in: list[Any] = [b"a", bytearray(b"b"), memoryview(b"c"), io.BytesIO(b"d")]
    blocks = chain.append_many(payloads_in, topics=["t"], type="x/y")
    assert [block.payload for block in blocks] == [b"a", b"b", b"c", b"d"] == payloads(chain)
    assert [block.topics for block in blocks] == [("t",)] * 4
    assert [block.seq for block in blocks] == list(range(blocks[0].seq, blocks[0].seq + 4))
    assert chain.append_many([]) == []

    def breaks() -> Iterator[bytes]:
        yield b"e"
        raise RuntimeError("the app's own")

    with pytest.raises(RuntimeError):
        chain.append_many(breaks())
    assert len(chain) == 4
    chain.append(b"f")


def test_a_stream_that_breaks_leaves_nothing(chain: Chain) -> None:
    """C04: a source that fails in the middle of long content."""

    class Breaks(io.RawIOBase):
        left = 3 << 20

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            if self.left <= 0:
                raise OSError("the app's disk")
            self.left -= len(buffer)
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    with pytest.raises(OSError, match="the app's disk"):
        chain.append(Breaks())  # type: ignore[arg-type]
    assert side_rows(chain) == 0
    assert len(chain) == 0
    chain.append(b"next")


def test_a_signer_that_fails_wedges_nothing(node: Node) -> None:
    """C04: the error of a signer (a key that was unplugged) reaches the caller, and the next append works."""

    class Unplugged(Ed25519Signer):
        is_out = False

        def sign(self, message: bytes) -> bytes:
            if self.is_out:
                raise OSError("unplugged")
            return super().sign(message)

    signer = Unplugged(bytes(32))
    chain = node.create_chain("x", signer=signer)
    chain.append(b"1")
    signer.is_out = True
    with pytest.raises(OSError, match="unplugged"):
        chain.append(b"2")
    signer.is_out = False
    chain.append(b"3")
    assert payloads(chain) == [b"1", b"3"]
    assert_sound(chain)


def test_a_block_shows_its_header(chain: Chain) -> None:
    """C08: the id in base32 is the CID of the encoded bytes."""
    before = datetime.now(UTC) - timedelta(milliseconds=2)
    first = chain.append(b"1")
    block = chain.append(b"\x00\xff", topics=["a", "é"], type="x/y", ext={"k": b"v"})
    assert str(block.id).startswith("bafyrei")
    assert BlockId.parse(str(block.id)) == block.id == BlockId.of(block.encoded)
    assert (block.chain_id, block.author, block.prev, block.parents) == (chain.id, chain.author, first.id, ())
    assert (block.height, block.type, block.topics, dict(block.ext)) == (2, "x/y", ("a", "é"), {"k": b"v"})
    assert before <= block.time <= datetime.now(UTC) + timedelta(milliseconds=2)
    assert block.time.tzinfo is not None
    assert block.open().read() == block.payload == b"\x00\xff"
    with pytest.raises(AttributeError):
        block.payload = b""  # type: ignore[misc]
    assert chain.block(str(block.id)) == chain.block(block.id) == block
    assert len({block, chain.block(block.id)}) == 1


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", [BlockId.of(b"x"), str(BlockId.of(b"x")), b"", b"short", bytes(36)], ids=repr)
def test_an_unknown_id_is_not_found(chain: Chain, unknown: Any) -> None:
    """C21: the object stays usable."""
    chain.append(b"1")
    with pytest.raises(NotFoundError) as caught:
        chain.block(unknown)
    assert caught.value.hint
    assert "KeyError" not in str(caught.value)
    assert unknown not in chain
    assert payloads(chain) == [b"1"]
    chain.append(b"2")


@pytest.mark.parametrize("text", ["", "b", "bafy", "nonsense", "é", "b" * 10_000])
def test_text_that_is_no_id(chain: Chain, text: str) -> None:
    """C21: what cannot be an id is refused as such."""
    with pytest.raises((InvalidInputError, NotFoundError)):
        chain.block(text)
    chain.append(b"usable")


def test_the_genesis_is_in_no_feed_list_or_count(chain: Chain) -> None:
    """C01: the genesis block never reaches a follower."""
    with chain.follow(name="inbox") as feed:
        assert len(chain) == 0
        assert chain.heads == ()
        assert chain.height == 0
        assert list(chain.blocks()) == list(chain.linear()) == []
        assert chain.graph() == {}
        assert chain.id not in chain
        with pytest.raises(NotFoundError):
            chain.block(chain.id)
        assert feed.next(timeout=0) is None
        block = chain.append(b"1")
        event = feed.next(timeout=WITHIN_S)
        assert isinstance(event, Arrived)
        assert event.block == block
        assert feed.next(timeout=0) is None
    assert block.height == 1


def test_graph_and_linear(node: Node, other: Node, chain: Chain) -> None:
    copy = join(other, chain)
    for number in range(5):
        chain.append(b"a%d" % number)
        copy.append(b"b%d" % number)
    until_same(chain, copy, count=10)
    merge = chain.append(b"merge")
    until_same(chain, copy, count=11)
    assert list(chain.linear()) == list(copy.linear())
    assert chain.graph() == copy.graph() or set(chain.graph()) == set(copy.graph())
    assert set(chain.graph()) == ids(chain)
    assert chain.graph()[merge.id][0] == merge.prev
    assert len(chain.graph(limit=3)) == 3
    assert all(chain.id not in named for named in chain.graph().values())
    assert_sound(chain)
    assert_sound(copy)


def test_a_time_without_zone_is_refused(chain: Chain) -> None:
    with pytest.raises(InvalidInputError):
        list(chain.blocks(after=datetime.now()))  # noqa: DTZ005 - the point
    with pytest.raises(InvalidInputError):
        list(chain.blocks(before=datetime.now()))  # noqa: DTZ005 - the point


def test_times_beyond_any_clock(chain: Chain) -> None:
    chain.append(b"1")
    assert len(list(chain.blocks(after=datetime.min.replace(tzinfo=UTC)))) == 1
    assert list(chain.blocks(after=datetime.max.replace(tzinfo=UTC))) == []
    assert list(chain.blocks(limit=0)) == []


# --- closing -----------------------------------------------------------------------------------------------------


def test_a_closed_node_says_so() -> None:
    """C46: every later call raises ClosedError, at the node and at the chain; closing twice is fine."""
    node = Node.in_memory()
    chain = node.create_chain("notes")
    block = chain.append(b"1")
    node.close()
    node.close()
    calls: list[Callable[[], object]] = [
        node.chains,
        node.addresses,
        lambda: node.create_chain("x"),
        lambda: node.chain("notes"),
        lambda: node.delete_chain(chain),
        lambda: node.rename(chain, "x"),
        lambda: node.join("walytis:aaaa"),
        lambda: node.connect("/memory/x"),
        lambda: chain.append(b"2"),
        lambda: chain.block(block.id),
        lambda: list(chain.blocks()),
        lambda: list(chain.linear()),
        chain.graph,
        chain.follow,
        chain.invite,
        chain.verify,
        lambda: chain.reset("x"),
        lambda: chain.fetch(block),
        lambda: chain.name,
    ]
    for number, call in enumerate(calls):
        with pytest.raises(ClosedError) as caught:
            call()
        assert caught.value.hint, number
    assert node.stats.network == "closed"
    assert "Node(" in repr(node)
    repr(chain)


def test_a_deleted_chain_says_so(node: Node, chain: Chain) -> None:
    """C27: its handle is dead, the node is not."""
    chain.append(b"1")
    feed = chain.follow()
    node.delete_chain("notes")
    assert list(feed) == []
    calls: list[Callable[[], object]] = [
        lambda: chain.append(b"2"),
        lambda: node.delete_chain(chain),
        lambda: chain.block(chain.id),
        lambda: list(chain.blocks()),
    ]
    for call in calls:
        with pytest.raises(LocalError) as caught:
            call()
        assert caught.value.hint
    assert "closed" in repr(chain)
    assert node.chains() == []
    node.create_chain("notes").append(b"new")


# --- errors ------------------------------------------------------------------------------------------------------


def all_errors(root: type[WalytisError] = WalytisError) -> Iterator[type[WalytisError]]:
    for error in root.__subclasses__():
        yield error
        yield from all_errors(error)


@pytest.mark.parametrize("error", sorted(set(all_errors()), key=str), ids=lambda error: error.__name__)
def test_every_error_is_public_and_has_a_hint(error: type[WalytisError]) -> None:
    assert error.__name__ in walytis_core.__all__
    assert error.hint
    assert error.hint != WalytisError.hint


def test_pending_says_that_time_is_up(node: Node, other: Node, chain: Chain, hub: MemoryHub) -> None:
    """C39: while the inviter is offline the join waits, and says so."""
    uri = str(chain.invite())
    hub.cut(node.peer_id)
    pending = other.join(uri)
    until(lambda: "waiting" in pending.progress().state)
    with pytest.raises(UnavailableError) as caught:
        pending.result(timeout=0.1)
    assert "online" in str(caught.value)
    assert "waiting" in pending.progress().state
    assert not pending.done()
    assert pending.cancel()
    assert not pending.cancel()
    with pytest.raises(ClosedError):
        pending.result(1)
    assert other.chains() == []


def test_a_listed_chain_refuses_others(node: Node, other: Node) -> None:
    """C09: a listed-writers policy refuses other authors, at the reader's own append too."""
    chain = node.create_chain("x", writers=[])
    reader = other.join(str(chain.invite(write=False))).result(WITHIN_S)
    with pytest.raises(NotAllowedError) as caught:
        reader.append(b"no")
    assert caught.value.hint
    assert "writers" in (reader.status().writable or "")
    assert side_rows(reader) == 0
    with pytest.raises(NotAllowedError):
        reader.append(bytes(300_000))
    assert side_rows(reader) == 0, "content of a refused append stays"
    with pytest.raises(NotAllowedError):
        reader.invite()
    block: Block = chain.append(b"yes")
    until_same(chain, reader, count=1)
    assert reader.block(block.id).payload == b"yes"
