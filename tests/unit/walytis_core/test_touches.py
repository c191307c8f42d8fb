"""What a layer's blocks touch, as they come: keys of its state, for whoever watches parts of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.suites.making import World, signers
from tests.suites.nodes import WITHIN_S, until
from walytis_core import (
    Block,
    Chain,
    ClosedError,
    Layer,
    Node,
    Obeyed,
    Touched,
    Touches,
    Void,
)
from walytis_core.car import write_header, write_section
from walytis_core.errors import InUseError
from walytis_core.events import Came
from walytis_core.messages import Why
from walytis_core.past import Past
from walytis_core.screening import screen
from walytis_core.standing import Standing


def key_of(block: Block) -> bytes | None:
    """The payload; none for some, and a bug for others."""
    if block.payload == b"bug":
        raise KeyError(block.payload)
    return block.payload or None


def check(block: Block, past: Past) -> Standing:
    return Void("void") if block.type == "part/void" else Obeyed()


LAYER = Layer("part/", check, lambda state, _block: state + 1, lambda state: (state, {}), key=key_of, initial=0)


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.in_memory() as node:
        yield node


@pytest.fixture
def chain(node: Node) -> Chain:
    chain = node.create_chain("parts")
    chain.use(LAYER)
    return chain


def touches(chain: Chain, **options) -> Touches:
    return Touches(chain, LAYER, **{"name": None, "via": None, **options})


def drain(feed: Touches) -> list[Touched]:
    found = []
    while (touched := feed.next(0)) is not None:
        found.append(touched)
        touched.ack()
    return found


def test_each_block_that_touches_a_part(chain: Chain) -> None:
    """M10: obeyed and void ones, in the order in which they came; not those of no part, or of no layer."""
    with touches(chain) as feed:
        for payload, type in (
            (b"a", "part/x"),
            (b"", "part/x"),
            (b"b", "part/void"),
            (b"a", "other"),
            (b"bug", "part/x"),
            (b"a", "part/y"),
        ):
            chain.append(payload, type=type)
        found = drain(feed)
        assert [touched.keys for touched in found] == [(b"a",), (b"b",), (b"a",)]
        assert [chain.block(id).payload for touched in found for id in touched.ids] == [b"a", b"b", b"a"]


def test_what_touches_nothing_is_acknowledged(chain: Chain) -> None:
    """M10: a named feed does not meet it again, and skips nothing that it has not given."""
    feed = touches(chain, name="inbox")
    for payload in (b"", b"bug", b"a", b"", b"b", b""):
        chain.append(payload, type="part/x")
    first = feed.next(WITHIN_S)
    assert first is not None
    assert first.keys == (b"a",)
    feed.close()
    with touches(chain, name="inbox") as feed:
        found = drain(feed)
        assert [touched.keys for touched in found] == [(b"a",), (b"b",)]
        assert chain.tables.cursor("inbox") == chain.cursor()
    with touches(chain, name="inbox") as feed:
        assert drain(feed) == []


def test_a_name_has_one_feed(chain: Chain) -> None:
    """M10: as with any feed."""
    with touches(chain, name="inbox"), pytest.raises(InUseError):
        touches(chain, name="inbox")


def test_closing(chain: Chain) -> None:
    """M10: whoever waits comes to an end."""
    feed = touches(chain)
    chain.append(b"a", type="part/x")
    assert next(iter(feed)).keys == (b"a",)
    feed.close()
    assert list(feed) == []
    with pytest.raises(ClosedError):
        feed.next(0)


def test_iterating(chain: Chain) -> None:
    """M10: ``for`` and ``async for`` give the same."""

    async def collect(feed: Touches) -> list[Touched]:
        found = []
        async for touched in feed:
            found.append(touched)
            touched.ack()
            if len(found) == 3:
                break
        return found

    with touches(chain, name="sync") as one, touches(chain, name="async") as other:
        for payload in (b"a", b"", b"b", b"c"):
            chain.append(payload, type="part/x")
        looped = []
        for touched in one:
            looped.append(touched.keys)
            if len(looped) == 3:
                break
        assert [touched.keys for touched in asyncio.run(collect(other))] == looped == [(b"a",), (b"b",), (b"c",)]


def test_a_callback(chain: Chain) -> None:
    """M10: it is called for what touches a part; what it raises is tried again."""
    seen: list[tuple[object, ...]] = []
    failures = iter([True])

    def call(touched: Touched) -> None:
        if next(failures, False):
            raise ValueError("once")
        seen.append(touched.keys)

    feed = touches(chain, callback=call, name="calls")
    for payload in (b"", b"a", b"bug", b"b"):
        chain.append(payload, type="part/x")
    until(lambda: len(seen) == 2)
    assert seen == [(b"a",), (b"b",)]
    until(lambda: chain.tables.cursor("calls") == chain.cursor())
    feed.close()


def test_revisions_touch_parts_too(node: Node, tmp_path) -> None:
    """M10: blocks that leave the folded set, and come back, are told with all parts that they touch."""
    world = World()
    mallory, bob = signers(2, first=50)
    one = world.block(mallory, payload=b"a", type="part/x")
    two = world.block(mallory, one, payload=b"b", type="part/x")
    void = world.block(mallory, two, payload=b"", type="part/x")
    twin = world.block(mallory, payload=b"c", type="part/x", seq=0)
    needs = world.block(bob, parents=[two], payload=b"d", type="part/x")
    (tmp_path / "parts.car").write_bytes(
        write_header([world.first.id]) + write_section(world.first.id, world.first.encoded)
    )
    chain = node.import_chain(tmp_path / "parts.car")
    chain.use(LAYER)

    def take(*blocks: Block) -> None:
        chain.engine.handle(Came("peer", Why.PULLED, screen([block.encoded for block in blocks], chain.engine.known)))

    with touches(chain) as feed:
        take(one, two, void)
        assert [touched.keys for touched in drain(feed)] == [(b"a",), (b"b",)]
        take(twin)
        (gone,) = drain(feed)
        assert set(gone.keys) == {b"a", b"b"}
        assert set(gone.ids) == {one.id, two.id}
        assert chain.view("part/").state_of(b"a") == 0
        take(needs)
        told = drain(feed)
        assert {key for touched in told for key in touched.keys} == {b"a", b"b", b"d"}
        assert chain.view("part/").state_of(b"a") == chain.view("part/").state_of(b"b") == 1
