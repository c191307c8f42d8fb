"""Copies of public chains in a daemon: which blocks, pinned or not, and what becomes of them. The daemon is a dictionary here.

`test_kubo_plain.py` does the same with a real one.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.suites.nodes import join, until
from walytis_core import Block, Chain, Node, content, copying
from walytis_core.block import Content, Draft
from walytis_core.cid import DAG_PB_PREFIX, BlockId, Cid
from walytis_core.errors import UnavailableError, WalytisError
from walytis_core.events import Corrupt
from walytis_core.limits import Limits
from walytis_core.network import MemoryHub, MemoryNetwork
from walytis_core.turns import Pulling

LONG = Random(1).randbytes(1_000_000)


NO_NODE = b"\xff" * 100  # no dag-pb


class Daemon:
    """Keeps copies; may be away."""

    def __init__(self) -> None:
        self.holder = "daemon-1"
        self.blocks: dict[Cid, bytes] = {}
        self.pinned: dict[Cid, str] = {}
        self.is_away = False
        self.puts = 0
        self.asked: set[Cid] = set()
        self.puts_until_away: int | None = None

    def look(self, cids: Sequence[Cid] = ()) -> None:
        self.asked.update(cids)
        if self.is_away:
            raise UnavailableError("away")

    async def put(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        self.look()
        if any(data == NO_NODE for _, data in blocks):
            raise UnavailableError("a block that is none")
        self.puts += len(blocks)
        if self.puts_until_away is not None and self.puts > self.puts_until_away:
            self.is_away = True
            self.look()
        for cid, data in blocks:
            assert Cid.of(data, cid[:4]) == cid
            self.blocks[Cid(cid)] = data

    async def pin(self, cids: Sequence[Cid], label: str) -> None:
        self.look()
        if not self.blocks.keys() >= set(cids):
            raise UnavailableError("it looks for it on the network, and finds nothing")
        self.pinned.update(dict.fromkeys(map(Cid, cids), label))

    async def is_pinned(self, cid: Cid) -> bool:
        self.look()
        return cid in self.pinned

    async def pins(self, label: str, most: int) -> Sequence[Cid]:
        self.look()
        return [cid for cid, name in self.pinned.items() if name == label][
            : min(most, 2)
        ]  # few: it takes several turns

    async def unpin(self, cids: Sequence[Cid], label: str) -> None:
        self.look(cids)
        for cid in cids:
            if self.pinned.get(cid) == label:
                del self.pinned[cid]


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
        assert daemon.pinned.keys() == {chain.id}
        own = copy.append_many([b"own"] * 3)
        until(lambda: daemon.pinned.keys() == {chain.id, *(block.id for block in own)})
        later = chain.append(b"later")
        until(lambda: later.id in daemon.blocks)
        assert later.id not in daemon.pinned


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
        assert daemon.pinned.keys() == {chain.id}
        own = copy.append(io.BytesIO(LONG[::-1]))
        until(lambda: own.id in daemon.pinned)
        assert len(daemon.pinned) == 2 + 5
        copy.drop_content(own)
        until(lambda: daemon.pinned.keys() == {chain.id, own.id})


@pytest.mark.slow
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
        until(lambda: {own.id, after.id} <= daemon.pinned.keys())
        assert daemon.blocks.keys() == all_of(bob, chain.id)


@pytest.mark.slow
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
        until(lambda: len(daemon.pinned) == 3)
        puts = daemon.puts
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        block = node.chain(chain.id).append(b"in another run")
        until(lambda: block.id in daemon.pinned)
        assert daemon.puts == puts + 2  # once more before it is pinned
    other = Daemon()
    other.holder = ""  # not known before the transport is up
    with Node.open(tmp_path, network=Backed(hub, other)) as node:
        other.holder = "daemon-2"
        until(lambda: other.pinned.keys() == daemon.pinned.keys())
        assert dict(node._store.items("copies//")) == {}
    daemon.blocks.clear()
    daemon.pinned.clear()  # the same daemon, its repository made anew
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        until(lambda: daemon.pinned.keys() == other.pinned.keys())


def test_the_pins_of_a_deleted_chain_go(tmp_path: Path) -> None:
    """C27: also when the daemon is away at that moment; other chains keep theirs."""
    hub, daemon = MemoryHub(), Daemon()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        kept, now, later = (node.create_chain(name, readers="everyone") for name in ("kept", "now", "later"))
        for chain in (kept, now, later):
            chain.append_many([b"x"] * 4)
        until(lambda: len(daemon.pinned) == 15)
        node.delete_chain(now)
        until(lambda: len(daemon.pinned) == 10)
        daemon.is_away = True
        node.delete_chain(later)
    daemon.is_away = False
    assert len(daemon.pinned) == 10
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        until(lambda: daemon.pinned.keys() == all_of(node, kept.id))


def test_pins_of_a_chain_that_was_never_copied_whole_go(tmp_path: Path) -> None:
    """C27: a daemon that goes away in the middle of the first copies, and the chain is deleted."""
    hub, daemon = MemoryHub(), Breaking()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        chain = node.create_chain("public", readers="everyone")
        until(lambda: daemon.is_away)
        assert daemon.pinned.keys() == {chain.id}
        node.delete_chain(chain)
    daemon.is_away = False
    with Node.open(tmp_path, network=Backed(hub, daemon)):
        until(lambda: not daemon.pinned)


class Breaking(Daemon):
    """Takes one pin, and is away before it has said so."""

    async def pin(self, cids: Sequence[Cid], label: str) -> None:
        await super().pin(cids, label)
        self.is_away = True
        self.look()


@pytest.mark.slow
def test_a_long_chain_keeps_no_other_waiting(tmp_path: Path) -> None:
    """C38, C44: all blocks are there before the first page of pins is through; `status` says when all is done."""
    hub, daemon = MemoryHub(), Slow()
    with Node.in_memory(hub) as other, Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        long, short = (node.create_chain(name, readers="everyone") for name in ("long", "short"))
        assert other.create_chain("public", readers="everyone").status().copied is None
        assert node.create_chain("secret").status().copied is None
        long.append_many([b"%d" % number for number in range(1000)])
        short.append(b"x")
        until(lambda: daemon.blocks.keys() == all_of(node, long.id) | all_of(node, short.id))
        assert len(daemon.pinned) < 1000
        assert long.status().copied is False
        daemon.may_pin.set()
        until(lambda: daemon.pinned.keys() == daemon.blocks.keys())
        until(lambda: long.status().copied is True and short.status().copied is True)


class Slow(Daemon):
    """Pins nothing beyond a few before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_pin = threading.Event()

    async def pin(self, cids: Sequence[Cid], label: str) -> None:
        if len(self.pinned) > 300 and not self.may_pin.is_set():
            raise UnavailableError("busy")
        await super().pin(cids, label)


def test_a_file_that_repeats_itself_is_put_once(tmp_path: Path) -> None:
    """C36: a writer's file of gigabytes of one leaf, linked to by many blocks, costs what its distinct pieces cost."""
    hub, daemon = MemoryHub(), Daemon()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        chain = node.create_chain("public", readers="everyone")
        file = content.build(io.BytesIO(bytes(100 * Limits.leaf_bytes)), chain.tables.put_side)
        blocks = [chain.engine.append([Draft(file)], chain.own_author)[0] for _ in range(50)]
        until(lambda: {block.id for block in blocks} <= daemon.pinned.keys())
        assert len(daemon.blocks) == 1 + 50 + 2
        assert daemon.puts <= 2 * (1 + 50 + 2 * 50)  # for each block, before it is pinned, too


def test_dropping_content_of_a_secret_chain_is_no_business_of_the_daemon(tmp_path: Path) -> None:
    """C42: it is not told which content that was, and keeps what others pinned there."""
    hub, daemon = MemoryHub(), Daemon()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        secret, public = node.create_chain("secret"), node.create_chain("public", readers="everyone")
        own = public.append(io.BytesIO(LONG))
        until(lambda: own.id in daemon.pinned)
        before = dict(daemon.pinned)
        hidden = secret.append(io.BytesIO(LONG))
        secret.drop_content(hidden)
        other = secret.append(io.BytesIO(LONG[::-1]))
        secret.drop_content(other)
        last = public.append(b"last")
        until(lambda: last.id in daemon.pinned)
        assert daemon.pinned.items() >= before.items()
        assert not daemon.asked


def test_content_that_two_chains_share_stays_pinned(tmp_path: Path) -> None:
    """C27, C50: whichever of them is deleted, or drops it; pins that are not ours stay in any case."""
    hub, daemon = MemoryHub(), Daemon()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        one, two = (node.create_chain(name, readers="everyone") for name in ("one", "two"))
        blocks = [chain.append(io.BytesIO(LONG)) for chain in (one, two)]
        until(lambda: len(daemon.pinned) == 4 + 5)
        two.drop_content(blocks[1])
        alone = one.append(io.BytesIO(LONG[::-1]))
        until(lambda: len(daemon.pinned) == 4 + 5 + 1 + 5)
        theirs = next(iter(content_of(alone, one)))
        daemon.pinned[theirs] = "somebody else's"
        node.delete_chain(two)
        until(lambda: len(daemon.pinned) == 2 + 5 + 1 + 5)
        assert set(daemon.pinned.values()) == {f"walytis-{one.id}", "somebody else's"}
        one.drop_content(alone)
        until(lambda: len(daemon.pinned) == 2 + 5 + 1 + 1)
        assert daemon.pinned[theirs] == "somebody else's"


def content_of(block: Block, chain: Chain) -> list[Cid]:
    assert block.content is not None
    return [piece.cid for piece in content.pieces(block.content, chain.tables.side)]


def test_a_repository_that_is_made_anew_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C37: the same daemon, emptied while the node runs and has nothing to copy: it is seen before long."""
    monkeypatch.setattr(copying, "_LOOK_S", 0.2)
    hub, daemon = MemoryHub(), Daemon()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        chain = node.create_chain("public", readers="everyone")
        chain.append(b"x")
        until(lambda: chain.status().copied is True)
        daemon.blocks.clear()
        daemon.pinned.clear()
        until(lambda: daemon.pinned.keys() == all_of(node, chain.id))


def test_what_a_pull_that_is_cut_off_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C33, C44: a chain that is being fetched is copied all the same, after a while."""
    monkeypatch.setattr(copying, "_PATIENCE_S", 0.2)
    hub, daemon = MemoryHub(), Daemon()
    with Node.in_memory(hub) as alice, Node.open(tmp_path, network=Backed(hub, daemon)) as bob:
        chain = alice.create_chain("public", readers="everyone")
        chain.append_many([b"%d" % number for number in range(300)])
        copy = join(bob, chain)
        copy.engine.replica.sync.turns.pulling = Pulling("somebody who is gone")
        later = chain.append_many([b"later"] * 300)
        until(lambda: later[-1].id in daemon.blocks)


def test_what_comes_by_other_ways(tmp_path: Path) -> None:
    """C24, C45, C50: content that a file brought for a block that was held, and a block that was damaged."""
    hub, daemon = MemoryHub(), Daemon()
    with Node.in_memory(hub) as alice, Node.open(tmp_path / "b", network=Backed(hub, daemon)) as bob:
        chain = alice.create_chain("public", readers="everyone")
        block = chain.append(io.BytesIO(LONG))
        chain.export(tmp_path / "public.car")
        copy = join(bob, chain)
        until(lambda: daemon.blocks.keys() == all_of(bob, chain.id))
        bob.import_chain(tmp_path / "public.car")
        until(lambda: daemon.blocks.keys() >= set(content_of(block, copy)))
        del daemon.blocks[block.id]
        copy.engine.handle(Corrupt((block.id,)))
        until(lambda: block.id in daemon.blocks)  # alice gave it again


@pytest.mark.slow
def test_a_chain_that_the_daemon_does_not_take_holds_up_no_other(tmp_path: Path) -> None:
    """C38: the others are put and pinned, and pins of deleted ones go, however long the one fails."""
    hub, daemon = MemoryHub(), Picky()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        bad, good, gone = (node.create_chain(name, readers="everyone") for name in ("bad", "good", "gone"))
        gone.append(b"x")
        until(lambda: len(daemon.pinned) == 4)
        daemon.refused = bad.append(b"bad").id
        block = good.append(b"good")
        node.delete_chain(gone)
        until(lambda: daemon.pinned.keys() == {bad.id, good.id, block.id})
        assert bad.status().copied is False


class Picky(Daemon):
    """Does not take one block."""

    refused: Cid | None = None

    async def put(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        if any(cid == self.refused for cid, _ in blocks):
            raise UnavailableError("not this one")
        await super().put(blocks)


@pytest.mark.slow
def test_what_was_cleared_away_before_it_was_pinned(tmp_path: Path) -> None:
    """C44: `repo gc` between the two: it is put again, for a daemon looks everywhere for what it is to pin and does not hold."""
    hub, daemon = MemoryHub(), Slow()
    with Node.open(tmp_path, network=Backed(hub, daemon)) as node:
        chain = node.create_chain("public", readers="everyone")
        chain.append_many([b"%d" % number for number in range(1000)])
        until(lambda: len(daemon.pinned) > 300)
        until(lambda: daemon.blocks.keys() == all_of(node, chain.id))
        daemon.blocks = {cid: data for cid, data in daemon.blocks.items() if cid in daemon.pinned}
        daemon.may_pin.set()
        until(lambda: daemon.pinned.keys() == all_of(node, chain.id))


def test_content_that_is_fetched_while_the_daemon_goes_away(tmp_path: Path) -> None:
    """C37, C50: also more than is kept in memory, and where the node is closed meanwhile."""
    hub, daemon = MemoryHub(), Daemon()
    with Node.in_memory(hub) as alice:
        chain = alice.create_chain("public", readers="everyone")
        block = chain.append(io.BytesIO(LONG))
        with Node.open(tmp_path, network=Backed(hub, daemon)) as bob:
            copy = join(bob, chain)
            until(lambda: copy.status().copied is True)
            daemon.puts_until_away = daemon.puts + 1
            copy.fetch(copy.block(block.id)).result(20)
            until(lambda: daemon.is_away)
            assert copy.status().copied is False
        daemon.is_away, daemon.puts_until_away = False, None
        with Node.open(tmp_path, network=Backed(hub, daemon)) as bob:
            copy = bob.chain(chain.id)
            until(lambda: copy.status().copied is True)
            assert daemon.blocks.keys() >= set(content_of(block, copy))


def test_more_is_fetched_than_is_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C50: nothing of it is left out."""
    monkeypatch.setattr(copying, "_FETCHED_KEPT", 2)
    hub, daemon = MemoryHub(), Daemon()
    with Node.in_memory(hub) as alice, Node.open(tmp_path, network=Backed(hub, daemon)) as bob:
        chain = alice.create_chain("public", readers="everyone")
        block = chain.append(io.BytesIO(LONG))
        copy = join(bob, chain)
        until(lambda: copy.status().copied is True)
        copy.fetch(copy.block(block.id)).result(20)
        until(lambda: daemon.blocks.keys() >= set(content_of(block, copy)))
        until(lambda: copy.status().copied is True)
