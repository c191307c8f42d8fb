"""A link: order, credit, and what the peer is known to hold."""

from __future__ import annotations

import pytest

from tests.suites.making import ALICE, BOB, FOUNDER, World, some_id
from walytis_core.block import Block
from walytis_core.cid import RAW_PREFIX, Cid
from walytis_core.errors import Reason, RemoteError
from walytis_core.frontier import Entry, Frontier
from walytis_core.limits import Limits
from walytis_core.link import Link, portions
from walytis_core.messages import Blocks, Pull, SideLacking, SidePart, Why
from walytis_core.store.memory import MemoryChain
from walytis_core.store.port import Commit

WORLD = World()


def store_of(*blocks: Block) -> MemoryChain:
    store = WORLD.store()
    store.commit(Commit(blocks=blocks))
    return store


def frontier_of(store: MemoryChain) -> Frontier:
    frontier = Frontier()
    for author, seq, id in store.tips():
        frontier.put(author, Entry(seq, id))
    return frontier


def pump(link: Link, store: MemoryChain) -> list[object]:
    messages, _ = link.pump(store, {}, Why.NEWS)
    return list(messages)


def test_an_answer_starts_at_the_first_block_that_lacks():
    """C32: the cursor skips what the peer holds; only what it lacks is sent, in order of insertion."""
    mine, theirs = WORLD.chain(ALICE, 5), WORLD.chain(BOB, 5)
    store = store_of(*mine, *theirs)
    link = Link("x")
    known = {FOUNDER.key: Entry(0, WORLD.first.id), ALICE.key: Entry(4, mine[4].id), BOB.key: Entry(1, theirs[1].id)}
    link.answer(known, None, frontier_of(store), store)
    assert link.cursor == store.metas([theirs[2].id])[theirs[2].id].number - 1
    assert pump(link, store) == [Blocks(Why.PULLED, tuple(block.encoded for block in theirs[2:]))]
    assert link.is_live
    assert link.is_done()
    assert not link.is_done()


def test_an_answer_goes_back_to_a_fork():
    """C10: who awaits a branch above a fork is sent it from the fork on, whether the sender knows of the fork or not."""
    mine, theirs = WORLD.chain(ALICE, 5), WORLD.chain(BOB, 3)
    store = store_of(*mine, *theirs)
    for frozen in ({}, {ALICE.key: 2}):
        link = Link("x")
        known = {FOUNDER.key: Entry(0, WORLD.first.id), BOB.key: Entry(2, theirs[2].id)}
        known[ALICE.key] = Entry(4, mine[4].id, 2)
        own = frontier_of(store)
        if frozen:
            own.put(ALICE.key, Entry(1, mine[1].id, 2))
        link.answer(known, None, own, store)
        messages, _ = link.pump(store, frozen, Why.NEWS)
        assert messages == [Blocks(Why.PULLED, tuple(block.encoded for block in mine[2:]))]


def test_a_live_link_is_pushed_to():
    """C30: what the peer is not known to hold, once; nothing before the link is live."""
    first, second = WORLD.chain(ALICE, 2)
    store = store_of()
    link = Link("x")
    assert link.push([first], Why.NEWS, store, 0.0) == []
    link.go_live(frontier_of(store))
    assert link.push([first], Why.NEWS, store, 0.0) == [Blocks(Why.NEWS, (first.encoded,))]
    assert link.push([first, second], Why.NEWS, store, 0.0) == [Blocks(Why.NEWS, (second.encoded,))]
    link.has(BOB.key, 7)
    link.has(BOB.key, 3)
    assert link.theirs[BOB.key] == 7


def test_equal_digests_while_answering_change_nothing():
    """C32: an answer under way goes to its end, and ends with `Done`."""
    store = store_of(*WORLD.chain(ALICE, 2))
    link = Link("x")
    link.answer({}, None, frontier_of(store), store)
    link.go_live(frontier_of(store))
    assert not link.is_live


def test_candidates_are_always_sent():
    """C11: `theirs` says nothing of what lies at or above a fork."""
    blocks = WORLD.chain(ALICE, 3)
    store = store_of(*blocks)
    link = Link("x")
    link.answer(
        {FOUNDER.key: Entry(0, WORLD.first.id), ALICE.key: Entry(2, blocks[2].id)}, None, frontier_of(store), store
    )
    link.cursor = 0
    messages, _ = link.pump(store, {ALICE.key: 1}, Why.NEWS)
    assert messages == [Blocks(Why.PULLED, (blocks[1].encoded, blocks[2].encoded))]


def test_unfolded_blocks_are_not_streamed():
    """C11: what is outside the folded set is sent when it is asked for only."""
    first, second = WORLD.chain(ALICE, 2)
    store = store_of(first, second)
    store.commit(Commit(unfold=[second.id]))
    link = Link("x")
    link.answer({FOUNDER.key: Entry(0, WORLD.first.id)}, None, frontier_of(store), store)
    assert pump(link, store) == [Blocks(Why.PULLED, (first.encoded,))]
    link.asked.append(second.id)
    assert pump(link, store) == [Blocks(Why.ASKED, (second.encoded,))]


def test_asked_blocks_go_first_and_unknown_ones_cost_no_credit():
    """C31: what is asked for is sent before the cursor goes on."""
    blocks = WORLD.chain(ALICE, 3)
    store = store_of(*blocks)
    link = Link("x")
    link.asked.extend([some_id(1), blocks[2].id, some_id(2)])
    link.answer({FOUNDER.key: Entry(0, WORLD.first.id)}, None, frontier_of(store), store)
    assert pump(link, store)[0] == Blocks(Why.ASKED, (blocks[2].encoded,))
    assert link.credit == Limits.credit_frames - 2
    link.asked.append(some_id(3))
    assert pump(link, store) == []
    assert link.credit == Limits.credit_frames - 2


def test_content_in_parts():
    """C50: a piece goes in parts, each for a credit; what is not held is said, for none."""
    store = store_of()
    data = bytes(200_000)
    cid, lost = Cid.of(data, RAW_PREFIX), Cid.of(b"", RAW_PREFIX)
    store.put_side(cid, data)
    link = Link("x")
    link.sides.extend([(cid, 0), (lost, 0)])
    messages = pump(link, store)
    part = Limits.part_bytes
    assert messages == [
        SidePart(cid, 0, 200_000, data[:part]),
        SidePart(cid, part, 200_000, data[part:]),
        SideLacking((lost,)),
    ]
    assert link.credit == Limits.credit_frames - 2


def test_content_for_some_readers():
    """C42: it is given while the peer may have it; if not it is answered as what is not held, and noted, in the middle too."""
    store, data = store_of(), bytes(200_000)
    cid, lost = Cid.of(data, RAW_PREFIX), Cid.of(b"", RAW_PREFIX)
    store.put_side(cid, data, readers="members")
    may_have: set[str] = set()
    link = Link("x", may_have=may_have.__contains__)
    link.sides.extend([(cid, 0), (lost, 0)])
    assert pump(link, store) == [SideLacking((cid,)), SideLacking((lost,))]
    assert (link.denied, link.credit) == (1, Limits.credit_frames)
    may_have.add("members")
    link.credit = 1
    link.sides.append((cid, 0))
    assert pump(link, store) == [SidePart(cid, 0, 200_000, data[: Limits.part_bytes])]
    may_have.clear()
    link.credit = 1
    assert pump(link, store) == [SideLacking((cid,))]
    assert link.denied == 2


def test_one_event_scans_a_bounded_part():
    """C36: a peer that lacks only the newest blocks of a long chain does not hold the replica up: it is called again."""
    blocks = WORLD.chain(ALICE, 256 * 10)
    store = store_of(*blocks)
    link = Link("x")
    link.answer(
        {FOUNDER.key: Entry(0, WORLD.first.id), ALICE.key: Entry(len(blocks) - 2, blocks[-2].id)},
        None,
        frontier_of(store),
        store,
    )
    link.cursor = 0
    sent, again, calls = [], True, 0
    while again:
        messages, again = link.pump(store, {}, Why.NEWS)
        sent.extend(messages)
        calls += 1
    assert calls > 1
    assert sent == [Blocks(Why.PULLED, (blocks[-1].encoded,))]


def test_a_frontier_is_bounded(monkeypatch):
    """C36: parts of a pull that never end are refused."""
    monkeypatch.setattr(Limits, "max_frontier_authors", 10)
    link = Link("x")
    rows = tuple((n.to_bytes(34, "big"), Entry(0, some_id(n))) for n in range(11))
    assert link.add_part(Pull(None, rows[:10], last=False)) is None
    with pytest.raises(RemoteError) as caught:
        link.add_part(Pull(None, rows[10:], last=False))
    assert caught.value.reason is Reason.OVER_BUDGET


def test_portions():
    """C36: runs of blocks that fit a frame: at most 256, about 96 KiB, at least one."""
    assert list(portions([])) == []
    assert [len(run) for run in portions([b"x"] * 600)] == [256, 256, 88]
    assert [len(run) for run in portions([bytes(40_000)] * 5)] == [2, 2, 1]
    assert [len(run) for run in portions([bytes(200_000), b"x"])] == [1, 1]


def test_what_was_sent_is_stored_once_it_is_confirmed():
    """C30: a frame under way confirms nothing of itself, and takes nothing back of those before it."""
    blocks = WORLD.chain(ALICE, 3)
    store = store_of(*blocks)
    link = Link("x", is_live=True)
    link.push(blocks[:1], Why.NEWS_HERE, store, 0.0)
    assert [link.has_stored(block) for block in blocks] == [False, False, False]
    link.confirmed(1, 1.0)
    link.push(blocks[1:2], Why.NEWS_HERE, store, 0.0)
    assert [link.has_stored(block) for block in blocks] == [True, False, False]
    link.confirmed(1, 1.0)
    assert [link.has_stored(block) for block in blocks] == [True, True, False]
    assert link.credit == Limits.credit_frames


def quick_link(store: MemoryChain) -> Link:
    """A live link whose peer has confirmed a frame at once."""
    link = Link("x", is_live=True)
    link.push(WORLD.chain(FOUNDER, 1), Why.NEWS, store, 0.0)
    link.confirmed(1, Limits.quick_credit_s / 2)
    return link


def test_what_is_new_meanwhile_goes_with_the_credit_of_a_quick_peer():
    """C30, C36: one frame is under way to it; what is new then goes in one frame, in order, when that is confirmed."""
    blocks = WORLD.chain(ALICE, 5)
    store = store_of(*blocks)
    link = quick_link(store)
    assert link.push(blocks[:1], Why.NEWS, store, 1.0) == [Blocks(Why.NEWS, (blocks[0].encoded,))]
    assert [link.push([block], Why.NEWS, store, 1.0) for block in blocks[1:4]] == [[], [], []]
    assert not any(map(link.has_stored, blocks))
    link.confirmed(1, 1.01)
    sent = link.push((), Why.NEWS, store, 1.01)
    assert sent == [Blocks(Why.NEWS, tuple(block.encoded for block in blocks[1:4]))]
    assert not link.waiting
    assert link.push(blocks[4:], Why.NEWS, store, 1.01) == []
    link.confirmed(1, 2.0)
    assert link.push((), Why.NEWS, store, 2.0) == [Blocks(Why.NEWS, (blocks[4].encoded,))]
    assert [link.has_stored(block) for block in blocks] == [True] * 4 + [False]


@pytest.mark.parametrize("wait_s", [0.0, Limits.quick_credit_s])
def test_a_peer_that_was_slow_waits_for_no_credit(wait_s: float):
    """C30: to a peer far away each new block is sent at once, as far as its credit goes; quick is who confirmed the last time."""
    blocks = WORLD.chain(ALICE, 4)
    store = store_of(*blocks)
    link = quick_link(store)
    link.push(blocks[:1], Why.NEWS, store, 1.0)
    link.confirmed(1, 1.0 + wait_s)
    link.push(blocks[1:2], Why.NEWS, store, 2.0)
    assert len(link.push(blocks[2:3], Why.NEWS, store, 2.0)) == (1 if wait_s else 0)


def test_many_blocks_do_not_wait():
    """C36: what is worth a frame of its own goes at once, and with it, before it, what has waited."""
    blocks = WORLD.chain(ALICE, 30)
    store = store_of(*blocks)
    link = quick_link(store)
    link.push(blocks[:1], Why.NEWS, store, 1.0)
    assert link.push(blocks[1:3], Why.NEWS, store, 1.0) == []
    assert link.push(blocks[3:], Why.NEWS, store, 1.0) == [
        Blocks(Why.NEWS, tuple(block.encoded for block in blocks[1:]))
    ]


def test_what_waits_and_finds_no_credit_is_left_to_the_cursor():
    """C30: it lies above the cursor, and comes from there."""
    blocks = WORLD.chain(ALICE, 40)
    store = store_of()
    link = quick_link(store)
    link.push(blocks[:1], Why.NEWS, store, 1.0)
    store.commit(Commit(blocks=blocks[:1]))
    assert link.push(blocks[1:2], Why.NEWS, store, 1.0) == []
    store.commit(Commit(blocks=blocks[1:2]))
    link.credit = 0
    assert link.push(blocks[2:], Why.NEWS, store, 1.0) == []
    store.commit(Commit(blocks=blocks[2:]))
    assert not link.is_live
    assert not link.waiting
    link.confirmed(1, 2.0)
    assert pump(link, store) == [Blocks(Why.NEWS, tuple(block.encoded for block in blocks[1:]))]


def test_what_nobody_else_was_told_of():
    """C30: sent to this peer alone and not confirmed, or waiting for its credit while nobody else is there."""
    blocks = WORLD.chain(ALICE, 3)
    store = store_of(*blocks)
    link = quick_link(store)
    link.push(blocks[:1], Why.NEWS_HERE, store, 1.0)
    link.push(blocks[1:], Why.NEWS_HERE, store, 1.0)
    assert list(link.untold(Why.NEWS)) == [(blocks[0].encoded,)]
    assert list(link.untold(Why.NEWS_HERE)) == [(blocks[0].encoded,), tuple(block.encoded for block in blocks[1:])]


def test_an_answer_to_a_pull_sends_what_waited():
    """C32: once."""
    blocks = WORLD.chain(ALICE, 2)
    store = store_of(*blocks)
    link = quick_link(store)
    link.push(blocks[:1], Why.NEWS, store, 1.0)
    link.push(blocks[1:], Why.NEWS, store, 1.0)
    link.answer({FOUNDER.key: Entry(0, WORLD.first.id)}, None, frontier_of(store), store)
    assert pump(link, store) == [Blocks(Why.PULLED, tuple(block.encoded for block in blocks))]
    assert link.push((), Why.NEWS, store, 1.0) == []
