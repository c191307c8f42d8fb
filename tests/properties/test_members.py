"""Membership and the folded set do not depend on the order of arrival."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.suites.making import ALICE, BOB, CAROL, FOUNDER, MALLORY, World
from tests.suites.naive_members import Expected, Holder, belongs, expected, listed
from walytis_core.block import Block, Draft, Place, create, decode
from walytis_core.cid import BlockId
from walytis_core.limits import Limits
from walytis_core.policy import ADMIT, encode_admit

AUTHORS = [FOUNDER, ALICE, BOB, CAROL, MALLORY]
OPEN, LISTED, ALONE, FOREIGN = World(), World([FOUNDER, ALICE]), World([ALICE]), World(nonce=bytes(16))
STRANGERS = FOREIGN.chain(ALICE, 3)
BROKEN = [BlockId.of(b"broken %d" % n) for n in range(3)]


class Pool:
    """A random set of genuine blocks of one chain, right and wrong ones, by honest and other authors."""

    def __init__(self, source: random.Random, world: World, count: int, wildness: float) -> None:
        self.source = source
        self.world = world
        self.wildness = wildness
        self.blocks: list[Block] = []
        self.valid = {world.first.id: world.first}
        for _ in range(count):
            block = self.grow()
            self.blocks.append(block)
            if belongs(block, self.valid, world.genesis):
                self.valid[block.id] = block

    def wild(self) -> bool:
        return self.source.random() < self.wildness

    def grow(self) -> Block:
        """One more block, right unless some of its fields went wild."""
        source, world = self.source, self.world
        signer = source.choice(AUTHORS)
        known = list(self.valid.values()) if source.random() < 0.9 else [world.first, *self.blocks]
        own = [block for block in known if block.author == signer.key and block is not world.first]
        starts = [block for block in known if block.type == ADMIT and signer.key in listed(block)]
        prev = own[-1] if own else source.choice(starts or [world.first])
        if self.wild():
            prev = source.choice([*own, *starts, world.first])  # a fork, mostly
        if self.wild() and self.wild():
            prev = source.choice(known)
        parents = source.sample(known, min(len(known), source.choice((0, 0, 1, 1, 2, 3))))
        ids = {parent.id for parent in parents} - {prev.id}
        height = 1 + max(block.height for block in (prev, *parents))
        seq = prev.seq + 1 if prev.author == signer.key else 0
        if self.wild() and self.wild():
            height, seq = self.spoil(ids, height, seq)
        body, type_ = b"%d" % source.randrange(3), ""
        if source.random() < 0.2:
            keys = [one.key for one in source.sample(AUTHORS, source.choice((1, 2, 3)))]
            body, type_ = encode_admit(keys) if not self.wild() else b"\x80", ADMIT
        place = Place(world.first.id, seq, prev.id, tuple(sorted(ids)), height)
        return create(signer, place, Draft(body, type=type_), 0)

    def spoil(self, ids: set[BlockId], height: int, seq: int) -> tuple[int, int]:
        """Breaks a place."""
        match self.source.randrange(4):
            case 0:
                return self.source.choice((height + 1, max(height - 1, 1), 100)), seq
            case 1:
                return height, self.source.choice((seq + 1, max(seq - 1, 0), 7))
            case 2:
                ids.add(self.source.choice(STRANGERS).id)
            case _:
                ids.add(self.source.choice(BROKEN))
        return height, seq


def arrive(source: random.Random, holder: Holder, blocks: list[Block], *, crashes: bool) -> None:
    """Offers blocks in a random order, in random batches, with restarts and crashes in the middle."""
    order = [*blocks, *STRANGERS]
    source.shuffle(order)
    if source.random() < 0.3:
        order.sort(key=lambda block: block.height)
    while order:
        batch = [order.pop() for _ in range(min(len(order), source.choice((1, 1, 2, 5, 30))))]
        broken = source.sample(BROKEN, source.randrange(2))
        if crashes and source.random() < 0.1:
            holder.begin(batch, "peer", broken)
            holder.restart()
            continue
        holder.offer(*batch, peer=source.choice("ab"), broken=broken)
        holder.check()
        if crashes and source.random() < 0.1:
            before = holder.state()
            holder.restart()
            assert holder.state() == before


def settle_down(source: random.Random, holders: list[Holder], blocks: list[Block]) -> None:
    """Has all exchange proofs and offers everything again until nothing changes."""
    before: object = None
    for _ in range(50):
        now = [(holder.folded, dict(holder.members.frontier)) for holder in holders]
        if now == before:
            return
        before = now
        for holder in holders:
            for other in holders:
                holder.prove(other)
            order = [*STRANGERS, *blocks]
            source.shuffle(order)
            holder.offer(*order, broken=BROKEN)
            holder.check()
    raise AssertionError("it does not come to rest")


def agree(wanted: Expected, holder: Holder) -> None:
    """C10, C14: a replica has come to what the specification says."""
    members = holder.members
    assert {author: members.frozen[author] for author in members.frozen if author in members.frontier} == {
        author: seq for author, seq in wanted.forks.items() if author in wanted.frontier
    }
    assert holder.folded == wanted.folded
    assert set(members.heads) == wanted.heads
    assert dict(members.frontier) == wanted.frontier
    assert holder.store.known(wanted.members) >= wanted.folded


def run(source: random.Random, world: World, count: int, wildness: float, *, crashes: bool) -> None:
    blocks = Pool(source, world, count, wildness).blocks
    holders = [Holder(world.genesis, world.store()) for _ in range(3)]
    for holder in holders:
        arrive(source, holder, blocks, crashes=crashes)
    settle_down(source, holders, blocks)
    wanted = expected(world.first, world.genesis, blocks)
    for holder in holders:
        agree(wanted, holder)
    digests = {holder.members.frontier.digest() for holder in holders}
    assert len(digests) == 1
    orders = {tuple(row.id for row in holder.store.canonical(None, 1 << 30)) for holder in holders}
    assert len(orders) == 1


def pull(source: random.Random, holder: Holder, other: Holder) -> None:
    """Offers what another one has folded, in its order, from below, as often as something comes of it.

    When nothing does any more, what is parked is forgotten once: with less room than a batch has blocks, those from further up
    can have taken all of it.
    """
    before: object = None
    is_swept = False
    for _ in range(200):
        now = (
            holder.folded,
            holder.members.unfolded.copy(),
            set(holder.members.parking.parked),
            holder.members.awaited(),
        )
        if now == before and is_swept:
            return
        is_swept = now == before
        for _ in range(3 * is_swept):
            holder.members.parking.sweep()
        before = now
        rows = [row for row in other.store.scan(1, 1 << 30, 1 << 40) if row.folded]
        while rows:
            size = source.choice((1, 2, 5, 30))
            holder.offer(*(decode(row.encoded) for row in rows[:size]), peer="other")
            del rows[:size]
            holder.check()
            if source.random() < 0.02:
                holder.restart()
                before = None
                break  # its streams are cut with it
    raise AssertionError("pulling does not end")


def run_with_little_room(source: random.Random, world: World, count: int, wildness: float) -> None:
    blocks = Pool(source, world, count, wildness).blocks
    full, small = (Holder(world.genesis, world.store()) for _ in range(2))
    full.offer(*blocks, broken=BROKEN)
    settle_down(source, [full], blocks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Limits, "parked_blocks_per_peer", source.choice((1, 2, 4, 8)))
        arrive(source, small, source.sample(blocks, source.randrange(count + 1)), crashes=True)
        for _ in range(3):  # a proof about an author without members here is forgotten by a restart
            small.prove(full)
            pull(source, small, full)
        agree(expected(world.first, world.genesis, blocks), small)
    assert small.members.frontier.digest() == full.members.frontier.digest()


worlds = st.sampled_from([OPEN, LISTED, ALONE])


@settings(max_examples=60)
@given(st.integers(0, 2**32), worlds, st.integers(1, 30), st.sampled_from([0.0, 0.1, 0.25, 0.5]), st.booleans())
def test_any_order(seed: int, world: World, count: int, wildness: float, crashes: bool):
    """C10, C12, C14, C15: any order and split of the same blocks ends in the same folded set, heads, frontier and digests."""
    run(random.Random(seed), world, count, wildness, crashes=crashes)


@settings(max_examples=60)
@given(st.integers(0, 2**32), worlds, st.integers(1, 30), st.sampled_from([0.1, 0.25, 0.5]))
def test_little_room(seed: int, world: World, count: int, wildness: float):
    """C10, C11: the same where branches above a fork are longer than the parking."""
    run_with_little_room(random.Random(seed), world, count, wildness)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("chunk", range(4))
def test_many_orders(chunk: int):
    """C10, C12, C14, C15: the same for 600 more sets, larger ones too."""
    for seed in range(150 * chunk, 150 * (chunk + 1)):
        run_with_little_room(random.Random(f"room {seed}"), OPEN, 60, 0.3)
        source = random.Random(f"members {seed}")
        world = source.choice([OPEN, LISTED, ALONE])
        run(source, world, source.choice((10, 30, 60)), source.choice((0.05, 0.2, 0.4)), crashes=seed % 2 == 0)
