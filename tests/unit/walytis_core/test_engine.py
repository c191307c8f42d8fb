"""The engine: effects in their one order, one event at a time, and a replica that never runs ahead of its store."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from tests.suites.making import ALICE, BOB, World
from walytis_core.block import Block, Draft
from walytis_core.cid import BlockId
from walytis_core.engine import Engine
from walytis_core.errors import ClosedError, NotAllowedError, NotFoundError, Reason, StorageError, UnavailableError
from walytis_core.events import Arrived, Came, Change, Forked, Revised, Send, SetTimer
from walytis_core.messages import Why
from walytis_core.parking import Budget
from walytis_core.screening import Screened
from walytis_core.signer import Signer
from walytis_core.store.memory import MemoryChain, _Numbers
from walytis_core.store.port import Commit

WORLD = World()


class Outlet:
    """Notes what goes to the network, in one log with commits and changes."""

    def __init__(self, log: list[object]) -> None:
        self.log = log
        self.faults: list[Reason] = []
        self.resets = 0

    def perform(self, effects: Sequence[object]) -> None:
        self.log.extend(effects)

    def reset(self) -> None:
        self.resets += 1

    def fault(self, reason: Reason, peer: str) -> None:
        self.faults.append(reason)


class Writer:
    """An author that is sure of itself, or not."""

    start: BlockId | None = None

    def __init__(self, signer: Signer = ALICE, *, sure: bool = True) -> None:
        self.signer = signer
        self.sure = sure

    def require_sure(self) -> None:
        if not self.sure:
            raise UnavailableError("not yet")


class FullDisk(MemoryChain):
    """A store that refuses commits when told to."""

    full = False

    def __init__(self, first: Block, log: list[object]) -> None:
        super().__init__(first, _Numbers())
        self.log = log

    def commit(self, commit: Commit) -> dict[BlockId, int]:
        if self.full:
            raise StorageError("the disk is full")
        self.log.append(commit)
        return super().commit(commit)


class Bench:
    """An engine with all that it does in one log."""

    def __init__(self, world: World = WORLD) -> None:
        self.log: list[object] = []
        self.store = FullDisk(world.first, self.log)
        self.outlet = Outlet(self.log)
        self.engine = Engine(world.genesis, self.store, self.outlet, lambda: 0.5, Budget())
        self.engine.begin()
        self.engine.listen(self.log.append)
        self.log.clear()

    def came(self, *blocks: Block) -> None:
        self.engine.handle(Came("x", Why.NEWS, Screened(blocks)))

    def kinds(self) -> list[type]:
        return [type(entry) for entry in self.log]

    def changes(self, kind: type[Change]) -> list[Change]:
        return [entry for entry in self.log if isinstance(entry, kind)]


def test_store_then_publish_then_notify():
    """C22: the commit is first, what peers are told next, followers last."""
    bench = Bench()
    (block,) = bench.engine.append([Draft(b"x")], Writer())
    order = bench.kinds()
    assert order[0] is Commit
    assert order[-1] is Arrived
    assert bench.engine.block(block.id) == block


def test_a_full_disk():
    """C25: an append is refused, nothing of it is kept or told, and the next one works when there is space."""
    bench = Bench()
    first = bench.engine.append([Draft(b"1")], Writer())[0]
    bench.log.clear()
    bench.store.full = True
    with pytest.raises(StorageError):
        bench.engine.append([Draft(b"2")], Writer())
    with pytest.raises(StorageError):
        bench.came(WORLD.block(BOB))
    assert not any(isinstance(entry, (Commit, Arrived, Send)) for entry in bench.log)
    assert bench.outlet.resets == 2
    assert any(isinstance(entry, SetTimer) for entry in bench.log)
    assert list(bench.engine.replica.members.heads) == [first.id]
    bench.store.full = False
    second = bench.engine.append([Draft(b"2")], Writer())[0]
    assert (second.seq, second.prev) == (1, first.id)


def test_refused_appends_change_nothing():
    """C04, C09: an author who may not write, or not yet, and then one who may."""
    bench = Bench(World([ALICE]))
    with pytest.raises(NotAllowedError):
        bench.engine.append([Draft(b"x")], Writer(BOB))
    with pytest.raises(UnavailableError):
        bench.engine.append([Draft(b"x")], Writer(sure=False))
    assert bench.log == []
    assert bench.engine.append([Draft(b"x")], Writer())[0].seq == 0


def test_what_is_refused_is_counted():
    """C07: by reason, and the outlet is told."""
    bench = Bench()
    bench.came(WORLD.block(ALICE, height=7), WORLD.block(BOB, seq=4))
    assert bench.engine.refused == {Reason.WRONG_HEIGHT: 1, Reason.WRONG_SEQ: 1}
    assert bench.outlet.faults == [Reason.WRONG_HEIGHT, Reason.WRONG_SEQ]


def test_a_fork_is_settled_before_the_next_event():
    """C11: after the call, the proof is stored and the author is frozen."""
    bench = Bench()
    one, other = WORLD.block(ALICE, payload=b"1"), WORLD.block(ALICE, payload=b"2")
    bench.came(one, other, WORLD.block(BOB, None, [other]))
    assert not bench.engine.replica.is_unsettled
    assert bench.changes(Forked) == [Forked(ALICE.key, 0)]
    assert bench.changes(Revised) == [Revised((one.id,))]
    assert set(bench.store.proofs()) == {ALICE.key}


def test_threads_append_together():
    """C48: appends from many threads are chained one after another, each told its own blocks."""
    bench = Bench()
    author = Writer()
    made: dict[int, Sequence[Block]] = {}

    def work(number: int) -> None:
        for part in range(10):
            made[number * 10 + part] = bench.engine.append([Draft(b"%d" % (number * 10 + part))], author)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {number: blocks[0].payload for number, blocks in made.items()} == {n: b"%d" % n for n in range(80)}
    assert sorted(blocks[0].seq for blocks in made.values()) == list(range(80))


def test_closed():
    """C46: after close nothing is taken, and parked blocks give their budget back."""
    bench = Bench()
    bench.came(WORLD.chain(ALICE, 2)[1])
    budget = bench.engine.replica.members.parking.budget
    assert budget.left_bytes < Budget().left_bytes
    bench.engine.close()
    bench.engine.close()
    assert budget.left_bytes == Budget().left_bytes
    bench.came(WORLD.block(BOB))
    assert bench.store.count == 0
    with pytest.raises(ClosedError):
        bench.engine.append([Draft(b"x")], Writer())


def test_unknown_ids():
    """C21: an id that is not held raises, and the engine stays usable."""
    bench = Bench()
    block = WORLD.block(ALICE)
    with pytest.raises(NotFoundError):
        bench.engine.block(block.id)
    bench.came(block)
    assert bench.engine.block(block.id) == block


def test_listeners_can_stop():
    bench = Bench()
    heard: list[Change] = []
    stop = bench.engine.listen(heard.append)
    bench.came(WORLD.block(ALICE))
    stop()
    stop()
    bench.came(WORLD.block(BOB))
    assert len(heard) == 1
