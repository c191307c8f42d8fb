"""Views: what they cost, what they say changed, and what they do about damage, waits and restarts.

That the state is right, for any order of arrival, is tests/properties/test_views.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.suites.folding import (
    BROKEN,
    CUT,
    FRAGILE,
    MALFORMED,
    NEVER,
    PLAIN,
    PREFIX,
    WAIT,
    Counts,
    assert_invariants,
    expected,
    recorder,
    small_limits,
)
from walytis_core.block import Block, Content, Place, create, draft
from walytis_core.cid import RAW_PREFIX, BlockId, Cid
from walytis_core.errors import LocalError, NotFoundError
from walytis_core.fold import kept
from walytis_core.layer import Layer
from walytis_core.past import Past
from walytis_core.policy import Policy, create_genesis
from walytis_core.signer import Ed25519Signer
from walytis_core.standing import OBEYED, Standing, Void, Wait
from walytis_core.store.memory import MemoryChain, MemoryStore
from walytis_core.store.port import Commit, Query, Row
from walytis_core.store.sqlite import SqliteStore
from walytis_core.view import UNFOLDED, View

SIGNERS = [Ed25519Signer(bytes([n + 1]) * 32) for n in range(3)]
GENESIS = create_genesis(SIGNERS[0], Policy(None, "everyone"), bytes(16), 0)


class PowerCutError(Exception):
    """The process ends here."""


class DamagedChain(MemoryChain):
    """A chain that has set the bytes of some blocks aside, and counts what is read by number and what is written.

    Attributes:
        transactions_left: After so many transactions of small values the process ends; None for never.
    """

    def __init__(self) -> None:
        super().__init__(GENESIS, MemoryStore()._numbers)
        self.lost: set[bytes] = set()
        self.rows = 0
        self.transactions = 0
        self.transactions_left: int | None = None

    def put(self, key: str, value: bytes | None) -> None:
        self.put_many({key: value})

    def put_many(self, values: Mapping[str, bytes | None]) -> None:
        if self.transactions == self.transactions_left:
            raise PowerCutError
        self.transactions += 1
        super().put_many(values)

    def encoded(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        return {id: data for id, data in super().encoded(ids).items() if id not in self.lost}

    def query(self, query: Query, newest_first: bool, limit: int) -> list[Row]:
        rows = super().query(query, newest_first, 1 << 30)
        found = [row for row in rows if row.id not in self.lost][:limit]
        self.rows += len(found)
        return found


class World:
    """A chain with a view of the recorder layer, told what is committed."""

    def __init__(self, store: Any = None, layer: Layer | None = None, **options: Any) -> None:
        self.counts = Counts()
        self.layer = layer or recorder(self.counts, **options)
        self.store = store or DamagedChain()
        self.others: dict[BlockId, MemoryChain] = {}
        self.blocks: dict[BlockId, Block] = {GENESIS.id: GENESIS}
        self.open()

    def open(self) -> None:
        self.view = View(self.layer, self.store, self.others.get)

    def make(
        self, prev: Block = GENESIS, payload: bytes | Content = PLAIN, author: int = 0, *parents: Block, **options: Any
    ) -> Block:
        """A block on top of `prev`, not committed."""
        signer = SIGNERS[author]
        seq = prev.seq + 1 if prev.author == signer.key else 0
        height = 1 + max(block.height for block in (prev, *parents))
        named = tuple(sorted(parent.id for parent in parents))
        options.setdefault("type", PREFIX + "x")
        return create(signer, Place(GENESIS.id, seq, prev.id, named, height), draft(payload, **options), 0)

    def line(self, length: int, prev: Block = GENESIS, author: int = 0, **options: Any) -> list[Block]:
        """Blocks by one author, each on top of the one before, not committed."""
        made: list[Block] = []
        for _ in range(length):
            made.append(self.make(made[-1] if made else prev, PLAIN, author, **options))
        return made

    def take(self, *blocks: Block) -> tuple[BlockId, ...]:
        self.store.commit(Commit(blocks=blocks))
        self.blocks.update((block.id, block) for block in blocks)
        return self.view.arrived(blocks)

    def check(self, *gone: Block) -> None:
        plain = expected(self.layer, self.blocks, set(self.blocks) - {block.id for block in gone})
        for key, state in plain.states.items():
            assert self.view.state_of(key) == state
            assert self.view.value_of(key) == plain.values[key]
        assert {id: self.view.standing(id) for id in self.blocks} == plain.standings
        assert_invariants(self.view)


# --- cost --------------------------------------------------------------------------------------------------------


def test_blocks_in_order_cost_a_step_each():
    """C52: incremental."""
    world = World()
    line = world.line(200)
    for at in range(0, 200, 20):
        world.take(*line[at : at + 20])
    assert world.counts.steps == [block.id for block in line]
    world.check()


@pytest.mark.parametrize("depth", [1, 50, 300, 900])
def test_late_blocks_that_arrive_together_cost_one_refold_from_the_lowest(depth):
    """C52: late blocks that arrive together cost one re-fold."""
    world = World()
    line = world.line(1000)
    world.take(*line)
    late = world.line(30, line[-depth - 30], author=1)
    world.counts.clear()
    world.take(*late)
    world.check()
    assert len(world.counts.steps) <= 4 * (depth + 60) + 128
    assert len(set(world.counts.steps)) == len(world.counts.steps)


def test_blocks_that_are_not_obeyed_cost_no_refold():
    world = World()
    line = world.line(200)
    world.take(*line)
    world.counts.clear()
    world.take(world.make(GENESIS, NEVER, 1))
    assert world.counts.steps == []
    world.check()


def test_a_late_block_folds_only_its_key_again():
    """C52: only their `key` where the layer gives one."""
    world = World(key=lambda block: block.topics[0])
    line: list[Block] = []
    for at in range(300):
        line.append(world.make(line[-1] if line else GENESIS, topics=[f"object {at % 10}"]))
    world.take(*line)
    world.counts.clear()
    late = world.make(GENESIS, PLAIN, 1, topics=["object 3"])
    world.take(late)
    assert set(world.counts.steps) == {late.id, *(block.id for block in line[3::10])}
    assert len(world.counts.steps) == 31
    assert set(world.view.keys()) == {f"object {at}" for at in range(10)}
    world.check()


def test_a_restart_goes_on_from_where_it_was():
    """C52: after a restart nothing is folded, or checked, again."""
    world = World()
    line = world.line(300)
    world.take(*line[:250])
    world.view.save()
    world.open()
    world.store.commit(Commit(blocks=line[250:]))
    world.counts.clear()
    assert world.view.arrived() == ()
    assert world.counts.steps == world.counts.checks == [block.id for block in line[250:]]
    assert [id for id, _ in world.view.state] == [block.id for block in line]


def test_a_restart_finds_snapshots():
    """C52: a late block after a restart does not fold from nothing."""
    world = World()
    line = world.line(1000)
    world.take(*line)
    world.view.save()
    world.open()
    world.counts.clear()
    world.take(world.make(line[-20], PLAIN, 1))
    assert 0 < len(world.counts.steps) < 200
    world.check()


def test_it_saves_by_itself_now_and_then():
    world = World()
    line = world.line(3000)
    for at in range(0, 3000, 100):
        world.take(*line[at : at + 100])
    world.open()
    world.counts.clear()
    world.view.arrived()
    assert len(world.counts.steps) < 1100


def test_what_is_saved_does_not_pile_up():
    """Snapshots are few, and what is no longer used is removed."""
    world = World()
    line = world.line(1500)
    for at in range(0, 1500, 30):
        world.take(*line[at : at + 30])
        world.view.save()
    world.take(*world.line(60, line[700], author=1))
    world.view.save()
    blobs = world.store.items(f"view/{PREFIX}blob/")
    assert len(blobs) <= len(kept(1560)) + 1560 // 256 + 1
    assert sum(map(len, blobs.values())) < 2_000_000


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000, 16_383, 16_384, 100_000, 1_000_000])
def test_snapshots_are_few_and_near(count):
    places = kept(count)
    spacing = 64 * max(1, 2 ** ((count // 16_384).bit_length()))
    assert len(places) <= 2 * count.bit_length()
    assert all(0 < place <= count for place in places)
    for distance in (1, 64, 300, 5000, 60_000):
        if distance * 4 + 2 * spacing < count:
            below = max(place for place in places if place <= count - distance)
            assert count - below <= 4 * distance + 2 * spacing


def test_snapshots_that_are_kept_were_kept_before():
    """Nothing has to be folded again to have them."""
    for count in range(1, 40_000):
        if count % 64 == 0:
            assert kept(count) - {count} <= kept(count - 64)


def by_topic(block: Block) -> str:
    return block.topics[0]


def test_a_save_is_one_transaction():
    """C52: crash: many parts, and the cursor with them."""
    world = World(key=by_topic)
    world.take(*(world.make(GENESIS, b"%d" % n, n % 3, topics=[str(n)]) for n in range(90)))
    assert world.store.transactions == 0
    world.view.save()
    assert world.store.transactions == 1
    world.view.save()
    assert world.store.transactions == 1
    world.open()
    world.view.arrived()
    assert world.store.transactions == 1
    world.check()


def test_memory_does_not_grow_with_the_parts():
    """C52: parts leave memory many at a time, whether they are folded, read or revised."""
    with small_limits():
        world = World(key=by_topic)
        line = [world.make(GENESIS, b"%d" % n, n % 3, topics=[str(n)]) for n in range(200)]
        world.store.commit(Commit(blocks=line))
        world.view.arrived()
        for block in line:
            world.view.state_of(block.topics[0])
        folds = world.view._folds
        assert len(folds._saved) + len(folds._changed) <= 8
        assert world.store.transactions <= 100
        world.store.commit(Commit(unfold=[block.id for block in line]))
        world.view.revised([block.id for block in line])
        assert len(folds._saved) + len(folds._changed) <= 8
        assert all(world.view.state_of(block.topics[0]) == [] for block in line)


def test_blocks_that_are_told_are_not_read_again():
    world = World()
    line = world.line(20)
    world.take(line[0])
    world.store.rows = 0
    for block in line[1:]:
        world.take(block)
    assert world.store.rows == 0
    world.check()


def test_what_was_not_told_is_found_with_what_was():
    """C52: numbers of another chain in between, blocks that nobody told, and some that are told twice."""
    world = World()
    line = world.line(20)
    world.blocks.update((block.id, block) for block in line)
    for committed, told in (
        (line[:5], line[:5]),
        (line[5:8], line[7:8]),
        (line[8:11], line[8:10]),
        (line[11:14], line[13:10:-1]),
        (line[14:16], line[13:16]),
        (line[16:18], [line[15], line[17]]),
        (line[18:], line[18:]),
    ):
        world.store.commit(Commit(blocks=committed))
        world.view.arrived(told)
        assert len(world.view.state) == line.index(committed[-1]) + 1
        if committed[-1] is line[7]:
            world.store._numbers.next()
    world.check()


def test_a_block_that_is_told_and_not_folded_is_not_taken_in():
    """C52: whoever forked may write a member that is outside the folded set from the first."""
    world = World()
    line = world.line(3)
    world.take(*line)
    late = world.make(line[0], PLAIN, 1)
    world.blocks[late.id] = late
    world.store.commit(Commit(blocks=[late], unfold=[late.id]))
    world.view.arrived([late])
    world.check(late)


# --- revisions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(126, 131))
def test_a_snapshot_is_not_used_for_the_block_it_ends_with(at):
    """C52: revision, right at the place of a snapshot."""
    world = World()
    line = world.line(at - 1)
    gone = world.make(line[-1], PLAIN, 1)
    after = world.line(140 - at, line[-1], author=2)
    world.take(*line, gone, *after)
    world.store.commit(Commit(unfold=[gone.id]))
    assert world.view.revised([gone.id]) == ()
    world.check(gone)
    assert world.view.standing(gone.id) == UNFOLDED
    world.store.commit(Commit(refold=[gone.id]))
    world.view.arrived()
    assert world.view.revised([gone.id]) == ()
    world.check()


def test_it_says_whose_standing_changed():
    world = World()
    line = world.line(20)
    assert world.take(*line) == ()
    odd = tuple(block.id for block in line if block.id[-1] % 2)
    cut = world.make(line[-1], CUT, 1)
    assert world.take(cut) == odd
    whole = World()
    assert whole.take(*line, cut) == ()
    assert world.view.standing(odd[0]) == Void("cut")
    world.check()
    world.store.commit(Commit(unfold=[cut.id]))
    assert world.view.revised([cut.id]) == odd
    assert world.view.standing(odd[0]) == OBEYED
    world.check(cut)


def test_a_revision_that_nobody_told_is_found_after_a_restart():
    """C52: a crash between the commit and what the view is told."""
    world = World()
    line = world.line(20)
    fork = world.make(line[4], b"fork")
    world.take(*line, fork)
    world.view.save()
    world.store.commit(Commit(unfold=[fork.id]))
    world.open()
    world.view.arrived()
    world.check(fork)


def test_a_revision_that_was_told_costs_nothing_after_a_restart():
    world = World()
    line = world.line(20)
    world.take(*line)
    world.store.commit(Commit(unfold=[line[-1].id]))
    world.view.revised([line[-1].id])
    world.open()
    world.store.rows = 0
    world.view.arrived()
    assert world.store.rows == 0
    world.check(line[-1])


def test_a_block_that_is_saved_before_the_cursor_and_then_revised_is_found():
    """C52: a crash after a part was saved for want of room, and a commit that nobody told."""
    with small_limits():
        world = World(key=lambda block: block.topics[0])
        line = [world.make(GENESIS, topics=[str(n)]) for n in range(4)]
        world.take(*line)
        world.view.save()
        late = world.make(line[0], PLAIN, 1, topics=["0"])
        world.take(late)
        for block in line[1:]:
            world.view.state_of(block.topics[0])
        world.store.commit(Commit(unfold=[late.id]))
        world.open()
        world.view.arrived()
        world.check(late)


@pytest.mark.parametrize("left", range(12))
def test_a_crash_while_all_blocks_are_looked_at_again(left):
    """C52: the folds then know more than the cursor, and more may leave the folded set before the next opening."""
    with small_limits():
        world = World(key=by_topic)
        line = [world.make(GENESIS, b"%d" % n, n % 3, topics=[str(n % 5)]) for n in range(16)]
        world.take(*line)
        world.view.save()
        world.store.commit(Commit(unfold=[line[9].id]))
        more = world.make(line[0], PLAIN, 0, topics=["more"])
        world.store.commit(Commit(blocks=[more]))
        world.blocks[more.id] = more
        world.open()
        world.store.transactions_left = world.store.transactions + left
        with contextlib.suppress(PowerCutError):
            world.view.arrived()
            world.view.save()
        world.store.transactions_left = None
        world.store.commit(Commit(unfold=[line[12].id]))
        world.open()
        world.view.arrived()
        world.check(line[9], line[12])


@pytest.mark.parametrize("left", range(12))
def test_a_crash_leaves_what_the_saved_head_names(left):
    """C52: segments and snapshots that are used no more go with the next head, and not before."""
    with small_limits():
        world = World()
        line = world.line(12)
        world.take(*line)
        world.view.save()
        world.store.transactions_left = world.store.transactions + left
        late = world.make(line[0], PLAIN, 1)
        with contextlib.suppress(PowerCutError):
            world.take(late)
            world.view.save()
        world.store.transactions_left = None
        world.open()
        world.view.arrived()
        world.take(world.make(late, PLAIN, 2))
        world.check()


def test_removed_authors_are_read_from_the_value():
    plain = recorder()
    layer = Layer(PREFIX, plain.check, plain.step, plain.finish, removed=lambda v: frozenset(v[:1]), initial=[])
    world = World(layer=layer)
    block = world.make()
    world.take(block)
    assert world.view.removed == {block.id}
    assert World().view.removed == frozenset()


# --- a layer with bugs -------------------------------------------------------------------------------------------


def test_a_block_that_the_layer_fails_on_is_void():
    """C52: in `check` and in `step`; the state is as if it were not there, also after a restart and a late block."""
    world = World()
    line = world.line(3)
    world.take(*line)
    broken, fragile = world.make(line[-1], BROKEN), world.make(line[-1], FRAGILE, 1)
    world.take(broken, fragile)
    assert world.view.standing(broken.id) == Void("the layer failed on it: IndexError")
    assert world.view.standing(fragile.id) == Void("the layer failed on it: KeyError")
    world.check()
    world.view.save()
    world.open()
    assert world.view.arrived() == ()
    world.check()
    assert world.take(world.make(GENESIS, PLAIN, 2)) == (fragile.id,)
    assert world.view.standing(fragile.id) == OBEYED
    world.check()


@pytest.mark.slow
def test_many_blocks_that_the_layer_fails_on_cost_two_steps_each():
    """C52: the state goes back to the last of them, not to the last snapshot."""
    world = World()
    blocks = [world.make(GENESIS, PLAIN)]
    while len(blocks) < 1000:
        blocks.append(world.make(blocks[-1], FRAGILE if len(blocks) % 3 else PLAIN))
    world.take(*blocks)
    world.check()
    assert len(world.counts.steps) < 2500


@pytest.mark.parametrize(
    ("check", "key"),
    [
        (lambda _block, _past: None, None),
        (lambda _block, _past: Void(None), None),  # type: ignore[arg-type]
        (lambda _block, _past: Void("\udc80"), None),
        (lambda _block, _past: Wait(None, ()), None),  # type: ignore[arg-type]
        (lambda _block, _past: OBEYED, lambda block: block.payload[99]),
        (lambda _block, _past: OBEYED, lambda _block: ["no", "key"]),
        (lambda _block, _past: OBEYED, lambda _block: "\udc80"),
    ],
)
def test_what_a_layer_must_not_say_makes_the_block_void(check, key):
    """C52: whatever could not be saved and read back."""
    world = World(layer=Layer(PREFIX, check, lambda state, _block: state, lambda state: (state, {}), key=key))
    block = world.make()
    world.take(block)
    for _ in range(2):
        standing = world.view.standing(block.id)
        assert isinstance(standing, Void)
        assert standing.reason.startswith("the layer failed on it: ")
        world.view.save()
        world.open()
        world.view.arrived()


def test_finish_that_fails_is_told_to_who_asks_for_the_value():
    """C52: it voids and removes nobody; when it works again, there is a value."""
    plain = recorder()

    def finish(state: Any) -> Any:
        if len(state) == 2:
            raise ZeroDivisionError
        return state, {}

    def removed(value: Any) -> Any:
        return [][len(value)]

    world = World(layer=Layer(PREFIX, plain.check, plain.step, finish, removed=removed, initial=[]))
    line = world.line(3)
    world.take(*line[:2])
    with pytest.raises(LocalError, match=PREFIX):
        _ = world.view.value
    assert world.view.standing(line[0].id) == OBEYED
    assert world.view.removed == frozenset()
    world.view.save()
    world.open()
    world.take(line[2])
    assert len(world.view.value) == 3
    assert world.view.removed == frozenset()


def test_a_state_that_cannot_be_written_is_made_again(monkeypatch):
    """C52: saving and opening go on; snapshots are left out."""
    monkeypatch.setattr("walytis_core.fold._SPACING", 2)
    layer = Layer(PREFIX, lambda _b, _p: OBEYED, lambda state, _b: (state or 0) + 0.5, lambda s: (s, {}))
    world = World(layer=layer)
    line = world.line(10)
    for half in (line[:5], line[5:]):
        world.take(*half)
        world.view.save()
        world.open()
    world.view.arrived()
    assert world.view.value == 5
    world.take(world.make(GENESIS, PLAIN, 1))
    assert world.view.value == 5.5


# --- waits -------------------------------------------------------------------------------------------------------


def elsewhere() -> tuple[MemoryChain, Block]:
    """Another chain, and a block that it does not hold yet."""
    genesis = create_genesis(SIGNERS[1], Policy(None, "everyone"), bytes(16), 0)
    block = create(SIGNERS[1], Place(genesis.id, 1, genesis.id, (), 1), draft(b""), 0)
    return MemoryStore().create_chain(genesis, "other"), block


@pytest.mark.parametrize("restarts", ["never", "before", "after"])
def test_a_block_waits_until_the_other_chain_holds_the_heads(restarts):
    """C52: what waits is not in the state; when it need not wait any more, it is folded in at its place."""
    other, head = elsewhere()
    world = World()
    world.others[other.id] = other
    first, second = world.make(GENESIS, WAIT + other.id + head.id), world.make(GENESIS, PLAIN, 1)
    child = world.make(first)
    world.take(first, second, child)
    assert world.view.standing(first.id) == Wait(other.id, (head.id,))
    assert world.view.awaited == {other.id}
    assert {id for id, _ in world.view.state} == {second.id, child.id}
    world.view.save()
    if restarts == "before":
        world.open()
        world.view.arrived()
    assert world.view.resolved(other.id) == world.view.resolved(GENESIS.id) == ()
    other.commit(Commit(blocks=[head]))
    if restarts == "after":
        world.open()
    assert world.view.resolved(other.id) == (first.id,)
    assert world.view.standing(first.id) == OBEYED
    assert world.view.awaited == frozenset()
    assert {id for id, _ in world.view.state} == {first.id, second.id, child.id}
    assert world.view.resolved(other.id) == ()
    world.view.save()
    assert world.store.items(f"view/{PREFIX}wait/") == {}


def test_nothing_is_checked_again_for_a_chain_that_nothing_waits_for():
    other, head = elsewhere()
    world = World()
    world.take(world.make(GENESIS, WAIT + other.id + head.id))
    world.counts.clear()
    world.view.resolved(BlockId.of(b"a third chain"))
    assert world.counts.checks == []


@pytest.mark.parametrize("restart", [False, True])
def test_nothing_is_checked_again_before_the_other_chain_holds_what_it_waits_for(restart):
    """C52: blocks of another chain cost those that wait for later ones neither a read nor a check."""
    other, head = elsewhere()
    later = create(SIGNERS[1], Place(other.id, 2, head.id, (), 2), draft(b""), 0)
    world = World()
    world.others[other.id] = other
    first, second = world.make(GENESIS, WAIT + other.id + head.id), world.make(GENESIS, WAIT + other.id + later.id, 1)
    world.take(first, second)
    if restart:
        world.view.save()
        world.open()
        world.view.arrived()
        assert world.view.asks_others
    world.counts.clear()
    assert world.view.resolved(other.id) == ()
    assert world.counts.checks == []
    other.commit(Commit(blocks=[head]))
    assert world.view.resolved(other.id) == (first.id,)
    assert world.counts.checks == [first.id]
    other.commit(Commit(blocks=[later]))
    assert world.view.resolved(other.id) == (second.id,)
    assert world.counts.checks == [first.id, second.id]


# --- bad blocks, damage, versions --------------------------------------------------------------------------------


def test_payloads_that_do_not_parse_and_long_ones_are_void():
    world = World()
    bad = world.make(GENESIS, MALFORMED)
    long = world.make(bad, Content(Cid.of(b"", RAW_PREFIX), 1 << 20))
    world.take(bad, long)
    assert isinstance(world.view.standing(bad.id), Void)
    assert isinstance(world.view.standing(long.id), Void)
    assert world.counts.checks == [bad.id]
    assert world.view.state == []


def test_other_blocks_are_obeyed_and_unknown_ones_not_found():
    world = World()
    block = world.make(GENESIS, NEVER, type="other/x")
    world.take(block)
    assert world.view.standing(block.id) == world.view.standing(GENESIS.id) == OBEYED
    assert world.counts.checks == []
    with pytest.raises(NotFoundError):
        world.view.standing(BlockId.of(b"unknown"))


@pytest.mark.parametrize("restart", [False, True])
def test_a_damaged_block_waits_for_its_bytes(restart):
    """C24, C52: a block whose bytes are lost leaves the state, and comes back when it is healed."""
    world = World()
    line = world.line(30)
    world.take(*line)
    world.store.lost.add(line[20].id)
    world.take(world.make(GENESIS, PLAIN, 1))
    assert world.view.standing(line[20].id) == Wait(GENESIS.id, (line[20].id,))
    assert line[20].id not in {id for id, _ in world.view.state}
    assert len(world.view.state) == 30
    if restart:
        world.view.save()
        world.open()
        world.view.arrived()
    world.store.lost.clear()
    assert world.view.revised([line[20].id]) == ()
    world.check()


@pytest.mark.parametrize("restart", [False, True])
def test_a_block_that_was_damaged_when_it_came_is_taken_in_when_healed(restart):
    world = World()
    line = world.line(30)
    world.store.lost.add(line[20].id)
    world.take(*line)
    assert len(world.view.state) == 29
    world.view.save()
    world.store.lost.clear()
    world.counts.clear()
    if restart:
        world.open()
    world.view.revised([line[20].id])
    assert world.counts.checks == [line[20].id]
    world.check()


def strict(counts: Counts) -> Layer:
    """The recorder, for which a block counts where all that it names does."""
    plain = recorder()

    def check(block: Block, past: Past) -> Standing:
        counts.checks.append(block.id)
        standings = [past.standing(id) for id in block.ancestors_named if id != GENESIS.id]
        return next((standing for standing in standings if standing != OBEYED), OBEYED)

    return Layer(PREFIX, check, plain.step, plain.finish, initial=[])


@pytest.mark.parametrize("restart", [False, True])
def test_what_builds_on_a_block_that_was_healed_unnoticed_waits_for_it(restart):
    """C24, C52: a healed block keeps its number, so its children may be found first: they are not void for good."""
    counts = Counts()
    world = World(layer=strict(counts))
    parent = world.make()
    child, late = world.line(2, parent)
    world.store.lost.add(parent.id)
    beside = world.make(GENESIS, PLAIN, 1)
    world.take(parent, beside)
    world.view.save()
    world.store.lost.clear()
    if restart:  # a program without the layer was told
        world.store.commit(Commit(blocks=[child]))
        world.open()
        world.view.arrived()
    else:
        world.take(child)
        assert world.view.standing(child.id) == Wait(GENESIS.id, (parent.id,))
        assert world.view.revised([parent.id]) == (child.id,)
    world.take(late)
    for _ in range(2):
        assert {id for id, _ in world.view.state} == {parent.id, beside.id, child.id, late.id}
        assert [world.view.standing(one.id) for one in (parent, child, late)] == [OBEYED] * 3
        world.view.save()
        world.open()
        world.view.arrived()


def test_what_builds_on_a_block_that_is_lost_again_waits_for_it():
    """C24, C52: the header may still be known, which is no verdict."""
    counts = Counts()
    world = World(layer=strict(counts))
    parent = world.make()
    child = world.make(parent)
    world.store.lost.add(parent.id)
    world.take(parent)
    world.view._headers.note(parent)
    world.take(child)
    assert world.view.standing(child.id) == Wait(GENESIS.id, (parent.id,))
    world.store.lost.clear()
    assert world.view.revised([parent.id]) == (child.id,)
    assert [id for id, _ in world.view.state] == [parent.id, child.id]


def test_a_fork_that_hides_behind_a_damaged_block_is_found():
    """C52: one block that was never counted, and one that left while nobody looked: the count is as it was."""
    world = World()
    line = world.line(6)
    fork = world.make(line[1], b"fork", 1)
    world.store.lost.add(line[3].id)
    world.take(*line, fork)
    world.view.save()
    world.store.commit(Commit(unfold=[fork.id]))
    world.open()
    world.view.arrived()
    assert world.view._folds.count + 1 == world.store.count
    assert fork.id not in {id for id, _ in world.view.state}
    world.store.lost.clear()
    world.view.revised([line[3].id])
    world.check(fork)
    world.view.save()
    world.open()
    world.store.rows = 0
    world.view.arrived()
    assert world.store.rows == 0


def test_a_new_version_of_the_layer_folds_from_nothing():
    world = World()
    line = world.line(10)
    world.take(*line)
    world.view.save()
    world.layer = recorder(world.counts, version=2)
    world.open()
    world.counts.clear()
    world.view.arrived()
    assert world.counts.steps == [block.id for block in line]
    world.check()


@pytest.mark.parametrize("left", range(5))
def test_a_crash_while_an_old_version_is_removed(left):
    """C52: neither version takes what is left for its own."""
    world = World(key=by_topic)
    world.take(*(world.make(GENESIS, b"%d" % n, n % 3, topics=[str(n)]) for n in range(9)))
    world.view.save()
    old, world.layer = world.layer, recorder(world.counts, key=by_topic, version=2)
    world.store.transactions_left = world.store.transactions + left
    with pytest.raises(PowerCutError):
        world.open()
    world.store.transactions_left = None
    world.layer = old
    world.open()
    world.view.arrived()
    world.check()


def test_it_works_on_sqlite():
    """C52: on the store of a real node."""
    store = SqliteStore.open_memory()
    world = World(store.create_chain(GENESIS, "chain"), key=lambda block: block.topics[0] if block.topics else None)
    line = world.line(100)
    topics = world.line(100, line[10], author=1, topics=["a"])
    world.take(*line)
    world.take(*topics[:50])
    world.view.save()
    world.open()
    world.take(*topics[50:], world.make(line[50], CUT, 2))
    world.check()
    gone = topics[-1]
    world.store.commit(Commit(unfold=[gone.id]))
    world.view.revised([gone.id])
    world.check(gone)
    store.close()
