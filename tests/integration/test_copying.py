"""Copies of public chains in a daemon: which blocks, pinned or not, and what becomes of them. The daemon is a dictionary here.

`test_kubo_chain.py` does the same with a real one.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.suites.nodes import join, until
from walytis_core import Node
from walytis_core.block import Content, Draft
from walytis_core.cid import DAG_PB_PREFIX, BlockId, Cid
from walytis_core.errors import UnavailableError, WalytisError
from walytis_core.network import MemoryHub, MemoryNetwork

LONG = Random(1).randbytes(1_000_000)


NO_NODE = b"\xff" * 100  # no dag-pb


class Daemon:
    """Keeps copies; may be away."""

    def __init__(self) -> None:
        self.holder = "daemon-1"
        self.blocks: dict[Cid, bytes] = {}
        self.pins: dict[Cid, str] = {}
        self.is_away = False
        self.puts = 0

    def look(self) -> None:
        if self.is_away:
            raise UnavailableError("away")

    async def put(self, blocks: Sequence[tuple[Cid, bytes]], *, label: str, pin: bool) -> None:
        self.look()
        if any(data == NO_NODE for _, data in blocks):
            raise UnavailableError("a block that is none")
        self.puts += 1
        for cid, data in blocks:
            assert Cid.of(data, cid[:4]) == cid
            self.blocks[Cid(cid)] = data
            if pin:
                self.pins[Cid(cid)] = label

    async def is_pinned(self, cid: Cid) -> bool:
        self.look()
        return cid in self.pins

    async def unpin(self, cids: Sequence[Cid]) -> None:
        self.look()
        for cid in cids:
            self.pins.pop(cid, None)

    async def unpin_all(self, label: str) -> None:
        self.look()
        self.pins = {cid: name for cid, name in self.pins.items() if name != label}


class Backed(MemoryNetwork):
    """A transport whose blocks are served by a daemon."""

    def __init__(self, hub: MemoryHub, daemon: Daemon) -> None:
        super().__init__(hub)
        self.daemon = daemon

    @property
    def copies(self) -> Daemon:  # type: ignore[override]
        return self.daemon


def all_of(node: Node, id: BlockId) -> set[Cid]:
    chain = node.chain(id)
    return {chain.id, *(block.id for block in chain.blocks())}


def test_own_blocks_are_pinned_and_the_others_put(tmp_path: Path) -> None:
    """C44: with the genesis, as they come, whoever wrote them."""
    hub, daemon = MemoryHub(), Daemon()
    with Node.in_memory(hub) as alice, Node.open(tmp_path, network=Backed(hub, daemon)) as bob:
        chain = alice.create_chain("public", readers="everyone")
        chain.append_many([b"%d" % number for number in range(300)])
        copy = join(bob, chain)
        until(lambda: daemon.blocks.keys() == all_of(bob, chain.id))
        assert daemon.pins.keys() == {chain.id}
        own = copy.append_many([b"own"] * 3)
        until(lambda: daemon.pins.keys() == {chain.id, *(block.id for block in own)})
        later = chain.append(b"later")
        until(lambda: later.id in daemon.blocks)
        assert later.id not in daemon.pins


def test_secret_chains_are_never_copied(tmp_path: Path) -> None:
    """C42"""
    hub, daemon = MemoryHub(), Daemon()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        node.create_chain("secret").append(io.BytesIO(LONG))
        public = node.create_chain("public", readers="everyone")
        public.append(b"x")
        until(lambda: len(daemon.blocks) == 2)
        node.chain("secret").append(b"more")
        public.append(b"y")
        until(lambda: len(daemon.blocks) == 3)
        assert daemon.blocks.keys() == all_of(node, public.id)


def test_long_content_goes_with_its_block(tmp_path: Path) -> None:
    """C50: all pieces; content that is fetched later, too; what is dropped here is pinned no longer."""
    hub, daemon = MemoryHub(), Daemon()
    with Node.in_memory(hub) as alice, Node.open(tmp_path, network=Backed(hub, daemon)) as bob:
        chain = alice.create_chain("public", readers="everyone")
        foreign = chain.append(io.BytesIO(LONG))
        copy = join(bob, chain)
        until(lambda: foreign.id in daemon.blocks)
        assert len(daemon.blocks) == 2
        copy.fetch(copy.block(foreign.id)).result(20)
        until(lambda: len(daemon.blocks) == 2 + 5)  # a node and four leaves
        assert daemon.pins.keys() == {chain.id}
        own = copy.append(io.BytesIO(LONG[::-1]))
        until(lambda: own.id in daemon.pins)
        assert len(daemon.pins) == 2 + 5
        copy.drop_content(own)
        until(lambda: daemon.pins.keys() == {chain.id, own.id})


def test_content_that_no_daemon_can_read_is_left_out(tmp_path: Path) -> None:
    """C36: a writer links to bytes that are no node: its block and all others are copied; likewise when they are fetched later."""
    hub, daemon = MemoryHub(), Daemon()
    link = Cid.of(NO_NODE, DAG_PB_PREFIX)
    with Node.in_memory(hub) as mallory, Node.open(tmp_path, network=Backed(hub, daemon)) as bob:
        chain = mallory.create_chain("public", readers="everyone")
        chain.tables.put_side(link, NO_NODE)
        (bad,) = chain.engine.append([Draft(Content(link, 1_000_000))], chain.own_author)
        copy = join(bob, chain)
        copy.append(b"before")
        until(lambda: len(daemon.blocks) == 3)
        with pytest.raises(WalytisError):
            copy.fetch(copy.block(bad.id)).result(20)
        copy.tables.put_side(link, NO_NODE)
        (own,) = copy.engine.append([Draft(Content(link, 1_000_000))], copy.own_author)
        after = copy.append(b"after")
        until(lambda: {own.id, after.id} <= daemon.pins.keys())
        assert daemon.blocks.keys() == all_of(bob, chain.id)


def test_a_daemon_that_was_away_gets_all(tmp_path: Path) -> None:
    """C37: what was written meanwhile; nothing twice where it remembers, all where it is a new one."""
    hub, daemon = MemoryHub(), Daemon()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        chain = node.create_chain("public", readers="everyone")
        chain.append(b"before")
        until(lambda: len(daemon.blocks) == 2)
        daemon.is_away = True
        chain.append(b"meanwhile")
        daemon.is_away = False
        until(lambda: len(daemon.pins) == 3)
        puts = daemon.puts
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        block = node.chain(chain.id).append(b"in another run")
        until(lambda: block.id in daemon.pins)
        assert daemon.puts == puts + 1
    other = Daemon()
    other.holder = ""  # not known before the transport is up
    with Node.open(tmp_path, network=Backed(hub, other)) as node:
        other.holder = "daemon-2"
        until(lambda: other.pins.keys() == daemon.pins.keys())
        assert dict(node._store.items("copies//")) == {}
    daemon.blocks.clear()
    daemon.pins.clear()  # the same daemon, its repository made anew
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        until(lambda: daemon.pins.keys() == other.pins.keys())


def test_the_pins_of_a_deleted_chain_go(tmp_path: Path) -> None:
    """C27: also when the daemon is away at that moment; other chains keep theirs."""
    hub, daemon = MemoryHub(), Daemon()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        kept, now, later = (node.create_chain(name, readers="everyone") for name in ("kept", "now", "later"))
        for chain in (kept, now, later):
            chain.append(b"x")
        until(lambda: len(daemon.pins) == 6)
        node.delete_chain(now)
        until(lambda: len(daemon.pins) == 4)
        daemon.is_away = True
        node.delete_chain(later)
    daemon.is_away = False
    assert len(daemon.pins) == 4
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        until(lambda: daemon.pins.keys() == all_of(node, kept.id))


def test_pins_of_a_chain_that_was_never_copied_whole_go(tmp_path: Path) -> None:
    """C27: a daemon that goes away in the middle of the first copies, and the chain is deleted."""
    hub, daemon = MemoryHub(), Breaking()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        chain = node.create_chain("public", readers="everyone")
        until(lambda: daemon.is_away)
        assert daemon.pins.keys() == {chain.id}
        node.delete_chain(chain)
    daemon.is_away = False
    with Node.open(tmp_path, network=Backed(hub, daemon)):
        until(lambda: not daemon.pins)


class Breaking(Daemon):
    """Takes one put, and is away before it has said so."""

    async def put(self, blocks: Sequence[tuple[Cid, bytes]], *, label: str, pin: bool) -> None:
        await super().put(blocks, label=label, pin=pin)
        self.is_away = True
        self.look()
