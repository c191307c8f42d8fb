"""Long content between nodes: on demand, in advance, resumed, and never a wrong byte."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from tests.suites.nodes import WITHIN_S, assert_sound, join, until, until_same
from walytis_core import Block, Chain, Cid, Ed25519Signer, InvalidInputError, Limits, Node, UnavailableError
from walytis_core.block import Content, Place, create, draft
from walytis_core.cid import DAG_PB_PREFIX, RAW_PREFIX
from walytis_core.events import Came
from walytis_core.messages import Why
from walytis_core.network import MemoryHub
from walytis_core.screening import screen

LEAF = Limits.leaf_bytes


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


def arrived(copy: Chain, block: Block) -> Block:
    """The block, once the copy holds it."""
    until(lambda: block.id in copy)
    return copy.block(block.id)


@pytest.mark.parametrize(
    "size", [Limits.max_payload_bytes + 1, LEAF, LEAF + 1, 3 * LEAF - 1, 200 * LEAF // 50, 12 << 20]
)
def test_fetched_on_demand(other: Node, chain: Chain, size: int) -> None:
    """C50: the block comes first, its content when it is asked for; reading before that says what to do."""
    copy = join(other, chain)
    payload = random.Random(size).randbytes(size)
    block = chain.append(payload)
    held = arrived(copy, block)
    assert held.content == block.content
    assert not copy.has_content(held)
    with pytest.raises(UnavailableError) as caught:
        _ = held.payload
    assert "fetch" in caught.value.hint or "fetch" in str(caught.value)
    pending = copy.fetch(held)
    assert pending.result(WITHIN_S).payload == payload
    assert copy.has_content(held)
    assert copy.block(block.id).payload == held.payload == payload
    done = pending.progress()
    assert done.held == done.known > 0
    assert copy.fetch(held).result(WITHIN_S).payload == payload


def test_inline_content_needs_no_fetch(other: Node, chain: Chain) -> None:
    """C50: up to the inline limit the payload is in the block."""
    copy = join(other, chain)
    block = arrived(copy, chain.append(bytes(Limits.max_payload_bytes)))
    assert block.content is None
    assert copy.has_content(block)
    assert copy.fetch(block).result(WITHIN_S) == block
    copy.drop_content(block)
    assert block.payload == bytes(Limits.max_payload_bytes)


def test_fetched_in_advance_by_a_handler(other: Node, chain: Chain) -> None:
    """C50: a follower may fetch what it is told of, before anyone reads it."""
    copy = join(other, chain)
    got: list[bytes] = []
    copy.follow(lambda event: got.append(copy.fetch(event.block).result(WITHIN_S).payload), name="inbox")  # type: ignore[union-attr]
    sent = [random.Random(number).randbytes(60_000) for number in range(5)]
    for payload in sent:
        chain.append(payload)
    until(lambda: len(got) == 5)
    assert got == sent


def test_dropping(other: Node, chain: Chain) -> None:
    """C50: dropping leaves the block valid and says so; it can be fetched back."""
    copy = join(other, chain)
    payload = random.Random(1).randbytes(700_000)
    block = chain.append(payload)
    held = copy.fetch(arrived(copy, block)).result(WITHIN_S)
    chain.drop_content(block)
    assert not chain.has_content(block)
    assert block in list(chain.blocks())
    with pytest.raises(UnavailableError):
        _ = chain.block(block.id).payload
    with pytest.raises(UnavailableError):
        chain.block(block.id).open().read()
    assert_sound(chain)
    chain.drop_content(block)
    assert chain.fetch(block).result(WITHIN_S).payload == payload
    chain.drop_content(block)
    copy.drop_content(held)
    with pytest.raises(UnavailableError):
        chain.fetch(block).result(WITHIN_S)
    assert chain.append(payload).payload == payload
    assert chain.has_content(block)


def test_dropping_one_of_two_with_the_same_content(chain: Chain) -> None:
    """C50: content that an unrelated refused append named is not lost with it."""
    payload = random.Random(2).randbytes(500_000)
    block = chain.append(payload)
    with pytest.raises(InvalidInputError):
        chain.append_many([payload, "text"])  # type: ignore[list-item]
    assert chain.has_content(block)
    assert block.payload == payload


LEAF_OF_ABC = Cid.of(b"abc", RAW_PREFIX)
NO_NODE = b"no node at all"


@pytest.mark.parametrize(
    "form",
    [
        Content(LEAF_OF_ABC, 10**9),
        Content(Cid.of(b"zz", DAG_PB_PREFIX), 5),
        Content(Cid.of(NO_NODE, DAG_PB_PREFIX), 600_000),
    ],
    ids=["a leaf too long", "a node too short", "a node of no form"],
)
def test_content_that_cannot_exist(chain: Chain, form: Content) -> None:
    """C50: whatever its author says of it, a reader is told that it is not to be had, at once, and others are dropped."""
    good = chain.append(random.Random(5).randbytes(300_000))
    chain.tables.put_side(Cid.of(NO_NODE, DAG_PB_PREFIX), NO_NODE)
    place = Place(chain.id, 0, chain.id, (good.id,), good.height + 1)
    written = create(Ed25519Signer(bytes(32)), place, draft(b"")._replace(body=form), 0)
    chain.engine.handle(Came("peer", Why.PULLED, screen([written.encoded], chain.engine.known)))
    block = chain.block(written.id)
    assert not chain.has_content(block)
    for read in (lambda: block.payload, lambda: block.open().read(), lambda: chain.fetch(block).result(WITHIN_S)):
        with pytest.raises(UnavailableError, match="cannot exist") as caught:
            read()
        assert "author" in caught.value.hint
    chain.drop_content(block, good, block)
    assert not chain.has_content(good)
    assert not chain.has_content(block)
    assert_sound(chain)


def test_nobody_has_it(node: Node, chain: Chain) -> None:
    """C50: with nobody online a fetch fails at once, with a hint, and can be tried again."""
    block = chain.append(random.Random(3).randbytes(300_000))
    chain.drop_content(block)
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            chain.fetch(block).result(WITHIN_S)
        assert caught.value.hint
    assert len(chain) == 1


def test_resumed_after_a_cut(node: Node, other: Node, chain: Chain, hub: MemoryHub) -> None:
    """C50: what is held is not fetched again: with its holder gone half way, the rest comes from another."""
    payload = random.Random(4).randbytes(80 * LEAF)
    copy = join(other, chain)
    block = chain.append(payload)
    held = arrived(copy, block)
    given: list[int] = []
    is_cut = threading.Event()
    give = chain.tables.side

    def counting(cid: Cid) -> bytes | None:
        given.append(1)
        if len(given) == 60:  # nothing more until the link is cut, so that it breaks off half way
            assert is_cut.wait(WITHIN_S)
        return give(cid)

    chain.tables.side = counting  # type: ignore[method-assign]
    pending = copy.fetch(held)

    def pieces() -> int:
        rows = copy.tables._shared.database.read("SELECT count(*) FROM side")  # type: ignore[attr-defined]
        return int(rows[0][0])

    until(lambda: pieces() >= 10)
    hub.split([node.peer_id], [other.peer_id])
    is_cut.set()
    with pytest.raises(UnavailableError):
        pending.result(WITHIN_S)
    kept = pieces()
    assert kept < 81
    assert not copy.has_content(held)
    until(lambda: not copy.peers())
    given.clear()
    hub.heal()
    until(copy.peers)
    resumed = copy.fetch(held)
    assert resumed.result(WITHIN_S).payload == payload
    assert len(given) <= 2 * (81 - kept) + 20, "pieces that were held came again"
    assert resumed.progress().held == resumed.progress().known


def test_two_fetches_at_once(other: Node, chain: Chain) -> None:
    """C50: of one content, and of others, beside each other."""
    copy = join(other, chain)
    payloads = [random.Random(number).randbytes(20 * LEAF) for number in range(3)]
    blocks = [arrived(copy, chain.append(payload)) for payload in payloads]
    pendings = [copy.fetch(block) for block in (*blocks, *blocks)]
    for pending, payload in zip(pendings, payloads * 2, strict=True):
        assert pending.result(WITHIN_S).payload == payload


def test_cancelling_a_fetch(other: Node, chain: Chain) -> None:
    """C50: and fetching again afterwards."""
    copy = join(other, chain)
    payload = random.Random(5).randbytes(60 * LEAF)
    block = arrived(copy, chain.append(payload))
    pending = copy.fetch(block)
    pending.cancel()
    assert copy.fetch(block).result(WITHIN_S).payload == payload


def test_content_survives_its_author(hub: MemoryHub, node: Node, other: Node) -> None:
    """C50: whoever fetched it serves it on."""
    payload = random.Random(6).randbytes(5 * LEAF)
    with Node.in_memory(hub) as author:
        first = author.create_chain("notes", readers="everyone")
        copy = join(node, first)
        block = first.append(payload)
        copy.fetch(arrived(copy, block)).result(WITHIN_S)
    further = join(other, copy)
    until_same(copy, further)
    assert further.fetch(arrived(further, block)).result(WITHIN_S).payload == payload


def test_reading_in_parts(chain: Chain) -> None:
    """C50: `open()` streams, seeks, and holds a leaf at a time."""
    payload = random.Random(7).randbytes(10 * LEAF + 123)
    block = chain.append(payload)
    with block.open() as stream:
        for at in (0, LEAF - 1, LEAF, 5 * LEAF + 7, len(payload) - 1, len(payload)):
            stream.seek(at)
            assert stream.read(LEAF + 3) == payload[at : at + LEAF + 3]
    with block.open() as stream:
        assert b"".join(iter(partial(stream.read, 100_000), b"")) == payload
