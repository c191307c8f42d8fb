"""The parking lot: who waits for what, and budgets that always add up."""

from __future__ import annotations

import random
import threading
from contextlib import suppress

from tests.suites.making import ALICE, BOB, World, some_id
from walytis_core.errors import Reason
from walytis_core.limits import Limits
from walytis_core.parking import Budget, Parking

WORLD = World()


def test_waiting_and_arriving():
    """C31: a block comes out when the last thing that it lacks arrives."""
    parking = Parking()
    block = WORLD.block(ALICE)
    assert parking.park(block, {some_id(1), some_id(2)}, "p") is None
    assert block.id in parking
    assert set(parking.lacking()) == {some_id(1), some_id(2)}
    assert parking.senders(some_id(1)) == {"p"}
    assert parking.arrived(some_id(1)) == []
    assert set(parking.lacking()) == {some_id(2)}
    (out,) = parking.arrived(some_id(2))
    assert (out.block, out.peer) == (block, "p")
    assert (len(parking), set(parking.lacking())) == (0, set())


def test_who_waits_goes_before_who_is_idle(monkeypatch):
    """C36: idle blocks make room for waiting ones of the same peer, the oldest first; not for each other, nor for another peer's."""
    monkeypatch.setattr(Limits, "parked_blocks_per_peer", 3)
    idle, (waiting, another) = WORLD.chain(ALICE, 4), WORLD.chain(BOB, 2)
    parking = Parking()
    assert [parking.park(block, (), "p") for block in idle] == [None, None, None, Reason.OVER_BUDGET]
    assert parking.park(another, {some_id(1)}, "q") is None
    assert parking.park(waiting, {some_id(1)}, "p") is None
    assert set(parking.parked) == {another.id, waiting.id, idle[1].id, idle[2].id}
    parking.clear()
    assert parking.budget.left_bytes == Limits.parked_bytes_per_node


def test_what_is_parked_itself_is_not_needed():
    """C31: only the lowest missing blocks are asked for."""
    first, second, third = WORLD.chain(ALICE, 3)
    parking = Parking()
    parking.park(third, {second.id}, "p")
    assert set(parking.lacking()) == {second.id}
    parking.park(second, {first.id}, "q")
    assert set(parking.lacking()) == {first.id}
    assert parking.is_waited_for(second.id)
    assert parking.senders(second.id) == {"p"}


def test_refused_takes_all_above():
    """C10: everything that waits for a refused block goes, directly or not, and nothing else."""
    first, second, third = WORLD.chain(ALICE, 3)
    other = WORLD.block(BOB)
    parking = Parking()
    parking.park(third, {second.id}, "p")
    parking.park(second, {first.id}, "p")
    parking.park(other, {some_id(1)}, "p")
    assert [gone.block for gone in parking.drop_waiting_for(first.id)] == [second, third]
    assert set(parking.parked) == {other.id}


def test_idle_blocks():
    """C11: a block that lacks nothing stands until it is taken or swept."""
    parking = Parking()
    block = WORLD.block(ALICE)
    parking.park(block, (), "p")
    assert parking.of_author(ALICE.key) == [block.id]
    assert parking.of_author(BOB.key) == []
    assert set(parking.lacking()) == set()
    taken = parking.take(block.id)
    assert taken is not None
    assert taken.block == block
    assert parking.take(block.id) is None


def test_places():
    """C11: a block is found by its author's place, as long as it stands there."""
    parking = Parking()
    one, other = WORLD.block(ALICE, payload=b"1"), WORLD.block(ALICE, payload=b"2")
    parking.park(one, {some_id(1)}, "p")
    parking.park(other, {some_id(1)}, "p")
    assert parking.at(ALICE.key, 0) == one
    assert parking.at(ALICE.key, 1) is parking.at(BOB.key, 0) is None
    parking.take(other.id)
    assert parking.at(ALICE.key, 0) == one
    parking.take(one.id)
    assert parking.at(ALICE.key, 0) is None


def test_bytes_per_peer():
    """C36: bytes are bounded as well as blocks."""
    parking = Parking()
    size = Limits.parked_bytes_per_peer // (30_000 + 250)
    taken = [
        parking.park(WORLD.block(ALICE, payload=bytes([n % 256, n // 256]) + bytes(30_000)), {some_id(1)}, "p")
        for n in range(size + 5)
    ]
    assert taken.count(None) in range(size - 2, size + 3)
    assert taken[-1] is Reason.OVER_BUDGET
    assert parking.park(WORLD.block(BOB), {some_id(1)}, "q") is None


def test_sweep():
    """C36: forgotten at the third sweep, so after two to three intervals."""
    parking = Parking()
    first, second = WORLD.chain(ALICE, 2)
    parking.park(first, {some_id(1)}, "p")
    assert parking.sweep() == 1
    parking.park(second, {first.id}, "p")
    assert [parking.sweep(), parking.sweep(), parking.sweep()] == [2, 1, 0]
    assert set(parking.lacking()) == set()


def test_budgets_add_up():
    """C36: whatever is done, what is left and what stands here are the whole budget, and no account outlives its blocks."""
    source = random.Random(3)
    budget = Budget(4000)
    parking = Parking(budget)
    blocks = [WORLD.block(ALICE, payload=b"%d" % n) for n in range(40)]
    for _ in range(2000):
        block = source.choice(blocks)
        match source.randrange(6):
            case 0 | 1 if block.id not in parking:
                parking.park(
                    block,
                    set(source.sample([one.id for one in blocks if one != block], source.randrange(3))),
                    source.choice("pqr"),
                )
            case 2:
                parking.arrived(block.id)
            case 3:
                parking.drop_waiting_for(block.id)
            case 4:
                parking.take(block.id)
            case _ if source.random() < 0.1:
                parking.sweep()
        size = sum(len(parked.block.encoded) for parked in parking.parked.values())
        assert size <= 4000 + Limits.parked_bytes_reserved
        assert budget.left_bytes + parking._reserve_bytes + size == 4000 + Limits.parked_bytes_reserved
        assert sum(len(account.ids) for account in parking._accounts.values()) == len(parking)
        assert sum(account.size_bytes for account in parking._accounts.values()) == size
        lacked = {id for parked in parking.parked.values() for id in parked.lacks}
        assert {id for id in lacked if id not in parking} == set(parking.lacking())
        lacks = {name: sum(len(one.lacks) for one in parking.parked.values() if one.peer == name) for name in "pqr"}
        assert lacks == {name: getattr(parking._accounts.get(name), "lacks", 0) for name in "pqr"}
        assert parking._lacks == sum(lacks.values())
    parking.clear()
    assert parking._reserve_bytes == Limits.parked_bytes_reserved
    assert (budget.left_bytes, parking._accounts, parking._waiting_for, parking._places) == (
        4000,
        {},
        {},
        {},
    )


def test_one_chains_crowd_starves_no_other():
    """C36: when the node's budget is used up, each chain still has its reserve."""
    budget = Budget(0)
    parking = Parking(budget)
    assert parking.park(WORLD.block(ALICE, payload=bytes(30_000)), {some_id(1)}, "p") is None
    assert parking._reserve_bytes < Limits.parked_bytes_reserved
    parking.clear()
    assert (budget.left_bytes, parking._reserve_bytes) == (0, Limits.parked_bytes_reserved)


class Hesitant(int):
    """A number from which two threads take at once, if both may."""

    both = threading.Barrier(2)

    def __sub__(self, other: int) -> int:
        with suppress(threading.BrokenBarrierError):
            self.both.wait(0.3)
        return int(self) - other


def test_a_budget_is_shared_by_threads():
    """C36: chains that park at once never draw more than there is, and give back all of it."""
    block = WORLD.block(ALICE, payload=bytes(300))
    size = len(block.encoded)
    budget = Budget(Hesitant(size), threading.Lock())
    lots = [Parking(budget), Parking(budget)]
    threads = [threading.Thread(target=lot.park, args=(block, {some_id(1)}, "p")) for lot in lots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.left_bytes == 0
    assert sorted(lot._reserve_bytes - Limits.parked_bytes_reserved for lot in lots) == [-size, 0]
    for lot in lots:
        lot.clear()
    assert budget.left_bytes == size


def test_who_has_most_makes_room():
    """C36: without room left, the oldest blocks of the largest account go; nobody makes room for who has as much."""
    parking = Parking(Budget(0))
    blocks = [WORLD.block(ALICE, payload=bytes([n]) + bytes(30_000)) for n in range(40)]
    kept = [block for block in blocks if parking.park(block, {some_id(1)}, "loud") is None]
    assert 30 <= len(kept) < 40
    assert parking.park(blocks[-1], {some_id(1)}, "loud") is Reason.NO_ROOM
    assert parking.park(blocks[-1], {some_id(1)}, "quiet") is None
    assert kept[0].id not in parking
    assert kept[1].id in parking
    assert parking.senders(some_id(1)) == {"loud", "quiet"}


def test_what_parked_blocks_lack_is_bounded():
    """C36: a peer's parked blocks lack a bounded number of ids, and all peers' together."""
    parking = Parking()
    lacks = Limits.parked_lacks_per_peer // 8
    fits = [
        parking.park(WORLD.block(ALICE, payload=b"%d %d" % (peer, n)), {some_id(peer * 9999 + n * lacks + k) for k in range(lacks)}, f"p{peer}")
        for peer in range(10)
        for n in range(9)
    ]  # fmt: skip
    assert fits[:9] == [None] * 8 + [Reason.NO_ROOM]
    assert parking._lacks <= Limits.parked_lacks_per_chain
    assert all(account.lacks <= Limits.parked_lacks_per_peer for account in parking._accounts.values())
    assert "p9" in parking._accounts  # who came last found room
