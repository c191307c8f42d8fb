"""Blocks of public chains by CID: who gets which, and where a node looks when a chain's peers have nothing."""

from __future__ import annotations

import io
import os
from pathlib import Path
from random import Random
from typing import Self

import pytest
import trio

from tests.suites.nodes import join, open_node, until
from walytis_core import Chain, Node
from walytis_core.cid import RAW_PREFIX, Cid
from walytis_core.errors import StorageError, UnavailableError
from walytis_core.network import MemoryHub, MemoryNetwork

SEED = bytes(range(32))
LONG = Random(1).randbytes(1_000_000)


def fetched(hub: MemoryHub, node: Node, cid: Cid) -> bytes | None:
    """What a stranger who is connected to a node gets for a CID."""

    async def ask() -> bytes | None:
        network = MemoryNetwork(hub)
        async with network.running(SEED):
            await network.connect(node.addresses())
            try:
                return await network.fetch(cid)
            except UnavailableError:
                return None

    return trio.run(ask)


@pytest.mark.parametrize("readers", ["everyone", "secret"])
def test_a_stranger_gets_blocks_and_content_of_public_chains_alone(readers: str) -> None:
    """C42, C44, C50"""
    hub = MemoryHub()
    with Node.in_memory(hub) as node:
        chain = node.create_chain("notes", readers=readers)
        block = chain.append(io.BytesIO(LONG))
        assert block.content is not None
        root = chain.tables.side(block.content.link)
        assert root is not None
        wanted = {
            chain.id: chain.tables.encoded([chain.id])[chain.id],
            block.id: block.encoded,
            block.content.link: root,
        }
        for cid, data in wanted.items():
            assert fetched(hub, node, Cid(cid)) == (data if readers == "everyone" else None)
        assert fetched(hub, node, Cid.of(b"of no chain", RAW_PREFIX)) is None


def test_the_same_content_on_a_secret_chain_gives_nothing_away() -> None:
    """C42: what is on a secret chain alone is not given; what a public chain holds, too, is."""
    hub = MemoryHub()
    with Node.in_memory(hub) as node:
        secret, public = node.create_chain("secret"), node.create_chain("public", readers="everyone")
        link = content_link(secret, LONG)
        assert fetched(hub, node, link) is None
        assert content_link(public, LONG) == link
        assert fetched(hub, node, link) is not None
        node.delete_chain(public)
        assert fetched(hub, node, link) is None


def test_what_a_layer_put_aside_for_certain_readers_is_not_given() -> None:
    """C42: the side store of a public chain holds things that are not for everyone."""
    hub = MemoryHub()
    with Node.in_memory(hub) as node:
        chain = node.create_chain("public", readers="everyone")
        cid = Cid.of(b"a wrapped key", RAW_PREFIX)
        chain.tables.put_side(cid, b"a wrapped key", readers="devices")
        assert fetched(hub, node, cid) is None
        chain.tables.put_side(cid, b"a wrapped key")
        assert fetched(hub, node, cid) is None, "whoever puts the same bytes takes the label off"
        chain.tables.drop_side([cid], labelled=True)
        chain.tables.put_side(cid, b"a wrapped key")
        assert fetched(hub, node, cid) == b"a wrapped key"


def test_spoilt_content_is_not_given() -> None:
    """C44: bytes that do not match their CID stay here."""
    hub = MemoryHub()
    with Node.in_memory(hub) as node:
        chain = node.create_chain("public", readers="everyone")
        cid = Cid.of(b"whole", RAW_PREFIX)
        chain.tables.put_side(cid, b"spoilt")
        exchange = node._home.exchange
        assert node._life.loop.call(lambda: exchange.give(cid)) is None
        chain.tables.put_side(cid, b"whole")
        assert node._life.loop.call(lambda: exchange.give(cid)) == b"whole"


def test_a_disk_that_fails_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """C25, C36: who asks for a block gets none, and the node goes on."""
    hub = MemoryHub()
    with Node.in_memory(hub) as node:
        chain = node.create_chain("public", readers="everyone")
        block = chain.append(b"x")

        def fails(_cid: Cid) -> list[Cid]:
            raise StorageError("the disk image is malformed")

        with monkeypatch.context() as patched:
            patched.setattr(node._store, "holding", fails)
            assert fetched(hub, node, block.id) is None
        assert fetched(hub, node, block.id) == block.encoded


def content_link(chain: Chain, data: bytes) -> Cid:
    block = chain.append(io.BytesIO(data))
    assert block.content is not None
    return Cid(block.content.link)


def test_content_that_no_peer_of_the_chain_has_comes_from_anyone(tmp_path: Path) -> None:
    """C50: of a public chain; somebody who never heard of the chain has the same file."""
    hub = MemoryHub()
    with open_node(tmp_path / "a", hub) as alice, open_node(tmp_path / "b", hub) as bob, Node.in_memory(hub) as carol:
        chain = alice.create_chain("public", readers="everyone")
        block = chain.append(io.BytesIO(LONG))
        chain.drop_content(block)
        copy = join(bob, chain)
        until(lambda: block.id in copy)
        with pytest.raises(UnavailableError):
            copy.fetch(copy.block(block.id)).result(20)
        content_link(carol.create_chain("other", readers="everyone"), LONG)
        bob.connect(carol.addresses()).result(20)
        assert copy.fetch(copy.block(block.id)).result(20).payload == LONG
        assert copy.has_content(copy.block(block.id))


def test_content_that_the_disk_does_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C25, C50: the fetch fails with the disk's error; the node goes on, and a later fetch works."""
    hub = MemoryHub()
    with open_node(tmp_path / "a", hub) as alice, open_node(tmp_path / "b", hub) as bob, Node.in_memory(hub) as carol:
        chain = alice.create_chain("public", readers="everyone")
        block = chain.append(io.BytesIO(LONG))
        chain.drop_content(block)
        copy = join(bob, chain)
        until(lambda: block.id in copy)
        content_link(carol.create_chain("other", readers="everyone"), LONG)
        bob.connect(carol.addresses()).result(20)

        def full(_cid: Cid, _data: bytes, _readers: str = "") -> None:
            raise StorageError("the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(copy.tables, "put_side", full)
            with pytest.raises(StorageError):
                copy.fetch(copy.block(block.id)).result(20)
        assert copy.fetch(copy.block(block.id)).result(20).payload == LONG


def test_content_of_a_secret_chain_is_asked_of_nobody_else(tmp_path: Path) -> None:
    """C42: not even its CID is told to strangers."""
    hub = MemoryHub()
    with open_node(tmp_path / "a", hub) as alice, open_node(tmp_path / "b", hub) as bob, Node.in_memory(hub) as carol:
        chain = alice.create_chain("secret")
        block = chain.append(io.BytesIO(LONG))
        chain.drop_content(block)
        copy = join(bob, chain)
        until(lambda: block.id in copy)
        content_link(carol.create_chain("other", readers="everyone"), LONG)
        bob.connect(carol.addresses()).result(20)
        with pytest.raises(UnavailableError):
            copy.fetch(copy.block(block.id)).result(20)


def test_a_damaged_block_of_a_public_chain_comes_from_anyone(tmp_path: Path) -> None:
    """C24, C44: nobody of the chain is there, and somebody has the block all the same."""
    hub = MemoryHub()
    with open_node(tmp_path / "a", hub) as alice, open_node(tmp_path / "b", hub) as bob:
        chain = alice.create_chain("public", readers="everyone")
        victim, _after = chain.append_many([b"first", os.urandom(2000)])
        copy = join(bob, chain)
        until(lambda: len(copy) == 2)
    database = tmp_path / "b" / "walytis.db"
    spoilt = bytearray(database.read_bytes())
    at = spoilt.index(victim.encoded) + 100
    spoilt[at] ^= 1
    database.write_bytes(spoilt)
    with open_node(tmp_path / "b", hub) as bob:
        copy = bob.chain(victim.chain_id)
        assert list(copy.verify().corrupt) == [victim.id]
        exchange, loop = bob._home.exchange, bob._life.loop

        async def repair() -> None:
            await exchange.repair_chain(copy)

        loop.call(repair)
        assert copy.status().corrupt == 1  # nobody is there
        with Giving(hub, {victim.id: victim.encoded}) as giving:
            bob.connect(giving.addresses).result(20)
            loop.call(repair)
        assert copy.status().corrupt == 0
        assert copy.block(victim.id).payload == b"first"


class Giving:
    """A stranger that gives blocks by CID, and knows no chain."""

    def __init__(self, hub: MemoryHub, blocks: dict[Cid, bytes]) -> None:
        self._node = Node.in_memory(network=_Network(hub, blocks))

    @property
    def addresses(self) -> list[str]:
        return self._node.addresses()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._node.close()


class _Network(MemoryNetwork):
    def __init__(self, hub: MemoryHub, blocks: dict[Cid, bytes]) -> None:
        super().__init__(hub)

        async def give(cid: Cid) -> bytes | None:
            return blocks.get(cid)

        self._own_give = give

    def offer(self, give: object) -> None:
        super().offer(self._own_give)
