"""The replica's own decisions: what follows from a batch, in which order, and what is refused."""

from __future__ import annotations

import pytest

from tests.suites.making import ALICE, BOB, World, some_id
from tests.suites.pairs import Net, Peer
from walytis_core.block import Draft
from walytis_core.cid import RAW_PREFIX, Cid
from walytis_core.errors import NotAllowedError, Reason
from walytis_core.events import (
    Append,
    Arrived,
    Came,
    Corrupt,
    Fetch,
    Fetched,
    Forked,
    Heal,
    Met,
    Notify,
    PeerSeen,
    Received,
    Reject,
    Revised,
    Send,
    SetTimer,
    Settle,
    Store,
    TimerFired,
)
from walytis_core.limits import Limits
from walytis_core.messages import Blocks, Credit, SideLacking, SidePart, SideWant, Want, Why
from walytis_core.screening import Screened

WORLD = World()


def peer() -> Peer:
    return Net(WORLD, "a")["a"]


def came(one: Peer, *blocks: object, why: Why = Why.NEWS, gossip: bool = False) -> list[object]:
    screened = Screened(tuple(blocks))  # type: ignore[arg-type]
    return list(one.replica.handle(Came("x", why, screened, gossip), one.store, 0.0))


def kinds(effects: object) -> list[type]:
    return [type(effect) for effect in effects]  # type: ignore[attr-defined]


def test_store_then_publish_then_notify():
    """C22: the commit comes before all that says something of it, and followers are told last."""
    one = peer()
    one.replica.sync.gossips = True
    one.replica.handle(PeerSeen("x"), one.store, 0.0)
    one.replica.sync.links["x"].is_live = True
    effects = one.replica.handle(Append([Draft(b"1"), Draft(b"2")], ALICE, 0), one.store, 0.0)
    order = [kind for kind in kinds(effects) if kind is not SetTimer]
    assert order[0] is Store
    assert order[-1] is Notify
    taken = came(peer(), WORLD.block(ALICE))
    assert kinds(taken).index(Store) < kinds(taken).index(Notify)


def test_an_append_that_is_not_allowed():
    """C09: a listed-writers policy refuses other authors before anything is stored."""
    one = Net(World([BOB]), "a")["a"]
    with pytest.raises(NotAllowedError):
        one.append(ALICE, b"x")
    assert one.store.count == 0


def test_a_fork_and_what_needs_it_in_one_batch():
    """C11: the proof is stored, then the block that needs the second branch; it comes to an end."""
    one = peer()
    first, second = WORLD.block(ALICE, payload=b"1"), WORLD.block(ALICE, payload=b"2")
    needs = WORLD.block(BOB, None, [second])
    one.handle(Came("x", Why.NEWS, Screened((first, second, needs))))
    assert one.ids == {second.id, needs.id}
    assert one.changed(Forked) == [Forked(ALICE.key, 0)]
    assert one.changed(Revised) == [Revised((first.id,))]
    assert [block for change in one.changed(Arrived) for block in change.blocks] == [first, second, needs]


def test_refused_bytes_are_counted():
    """C07: what screening refused is rejected with its reason and id, and gives its credit back."""
    one = peer()
    screened = Screened((), ((some_id(1), Reason.BAD_SIGNATURE), (some_id(2), Reason.NEWER_VERSION)))
    one.replica.handle(PeerSeen("x"), one.store, 0.0)
    effects = one.replica.handle(Came("x", Why.NEWS, screened, frames=2), one.store, 0.0)
    assert [effect for effect in effects if isinstance(effect, Reject)] == [
        Reject(Reason.BAD_SIGNATURE, "x", some_id(1)), Reject(Reason.NEWER_VERSION, "x", some_id(2)),
    ]  # fmt: skip
    assert Send("x", Credit(2)) in effects


def test_gossip_takes_no_credit():
    """C36: credit belongs to streams."""
    one = peer()
    one.replica.handle(PeerSeen("x"), one.store, 0.0)
    credits = []
    for gossip in (True, False, True, True, False):
        effects = came(one, WORLD.block(ALICE), gossip=gossip)
        credits.append([effect.message for effect in effects if isinstance(effect, Send)])
    assert credits == [[], [Credit(1)], [], [], [Credit(1)]]


def test_parked_blocks_are_swept():
    """C36: the sweep goes on as long as something is parked, and no longer."""
    one = peer()
    orphan = WORLD.chain(ALICE, 2)[1]
    assert SetTimer("sweep", Limits.sweep_s) in came(one, orphan)
    left = [one.replica.handle(TimerFired("sweep"), one.store, 0.0) for _ in range(3)]
    assert left == [[SetTimer("sweep", Limits.sweep_s)]] * 2 + [[]]


def test_corrupt_blocks_are_fetched_again():
    """C24: a block that was set aside is wanted of a peer, taken though it is known, and put back."""
    one = peer()
    block = WORLD.block(ALICE)
    one.hold([block])
    one.handle(Corrupt([block.id]))
    assert one.replica.known([block.id], one.store) == set()
    one.handle(PeerSeen("x"))
    assert one.said(Want, "x") == [Want((block.id,))]
    effects = came(one, block, why=Why.ASKED)
    assert effects[0] == Heal(block)
    assert Store not in kinds(effects)
    assert one.replica.known([block.id], one.store) == {block.id}
    assert came(one, block)[0] != Heal(block)


def test_shunned_heads():
    """C06: heads of authors that a layer calls removed are not named."""
    one = peer()
    theirs, other = WORLD.block(BOB), WORLD.block(ALICE)
    one.hold([theirs, other])
    one.replica.shunned = frozenset([BOB.key])
    one.append(ALICE, b"x")
    assert one.changed(Arrived)[0].blocks[0].parents == ()
    assert theirs.id in one.replica.members.heads


def test_content_goes_both_ways():
    """C50: what is wanted is asked of a peer, comes in parts, is checked and kept; what nobody has is said."""
    net = Net(WORLD, "a", "b")
    net.connect("a", "b")
    net.deliver()
    data = bytes(range(256)) * 1024
    cid, lost = Cid.of(data, RAW_PREFIX), Cid.of(b"lost", RAW_PREFIX)
    net["b"].store.put_side(cid, data)
    net["a"].handle(Fetch((cid, lost)))
    net.deliver()
    assert net["a"].store.side(cid) == data
    assert len(net["b"].said(SidePart)) == 2
    assert net["b"].said(SideLacking) == [SideLacking((lost,))]
    assert net["a"].changed(Fetched) == [Fetched((cid,)), Fetched((lost,), missing=True)]


def test_content_for_those_who_proved_a_key():
    """C42: what has a label goes to the node keys that were named for it; others hear that it is not held, and are counted."""
    one = peer()
    for name in ("x", "y"):
        one.handle(PeerSeen(name, name.encode() * 32))
    cid = Cid.of(b"wrapped", RAW_PREFIX)
    one.store.put_side(cid, b"wrapped", readers="members")
    one.receive("x", SideWant((cid,)))
    one.replica.sync.lets = {"members": frozenset({b"y" * 32}), "others": frozenset({b"x" * 32})}
    one.receive("x", SideWant((cid,)))
    assert (one.said(SidePart), one.said(SideLacking)) == ([], [SideLacking((cid,))] * 2)
    assert one.rejected == {Reason.NOT_A_MEMBER: 2}
    one.receive("y", SideWant((cid,)))
    assert one.said(SidePart) == [SidePart(cid, 0, 7, b"wrapped")]
    assert one.changed(Met) == [Met("x"), Met("y")]


def test_wants_of_content_are_bounded():
    """C36: a peer that wants more pieces than fit is refused."""
    one = peer()
    one.handle(PeerSeen("x"))
    cid = Cid.of(bytes(100), RAW_PREFIX)
    one.store.put_side(cid, bytes(100))
    for _ in range(2):
        one.receive("x", SideWant((cid,) * 1000))
    assert one.rejected == {Reason.OVER_BUDGET: 1}
    assert len(one.said(SidePart)) == Limits.credit_frames


def test_unknown_messages_are_refused():
    """C36: blocks reach the replica screened, never as a message."""
    one = peer()
    effects = one.replica.handle(Received("x", Blocks(Why.NEWS, ())), one.store, 0.0)
    assert effects == [Reject(Reason.UNASKED, "x")]


def test_nothing_is_due_without_a_fork():
    """C11: `Settle` with nothing to settle stores nothing."""
    one = peer()
    assert not one.replica.is_unsettled
    assert one.replica.handle(Settle(), one.store, 0.0) == []
