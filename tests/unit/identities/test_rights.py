"""Rights of nested identities, by hand: who may act how deep, cycles, cuts, and what anchors that lie come to."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

import pytest

from identities.acts import (
    ADDED,
    CUT,
    LEFT,
    NOTED,
    REKEYED,
    REMOVED,
    RENEWED,
    LaterCut,
    Nested,
    Removal,
    Renewal,
    SeatId,
)
from identities.authority import AFTER_END, CUT_OFF, NO_SEAT, WRONG_KEY
from identities.rights import MET_AGAIN, NOT_ANCHORED, UNKNOWN_IDENTITY, Folded
from tests.suites.nested_worlds import Log, device, folded

ALICE, PHONE, THIEF, BOB = (device(name) for name in ("alice", "phone", "thief", "bob"))


class Three:
    """A person with two devices, in a group, in a group of groups; all of it anchored."""

    def __init__(self) -> None:
        self.person = Log("person", ALICE)
        self.phone = self.person.put(ADDED, PHONE, (1,), ALICE.block_key)
        self.group = Log("group", Nested(self.person.id))
        self.tell_group()
        self.hyper = Log("hyper", Nested(self.group.id))
        self.tell_hyper()

    def tell_group(self) -> bytes:
        return self.group.anchor(1, self.person.heads())

    def tell_hyper(self) -> bytes:
        return self.hyper.anchor(1, self.group.heads())

    def remove_phone(self, **elsewhere: list[bytes]) -> bytes:
        tags = {"group": self.group.tag, "hyper": self.hyper.tag}
        cuts = {tags[name]: tuple(heads) for name, heads in elsewhere.items()}
        body = Removal((self.phone,), self.person.heads(), cuts)
        return self.person.put(REMOVED, body, (1,), ALICE.block_key)

    def in_group(self, kind: str = NOTED, body: object = None, seen: list[bytes] | None = None) -> bytes:
        return self.group.put(kind, body, (1, self.phone), PHONE.block_key, seen)

    def in_hyper(self, kind: str = NOTED, seen: list[bytes] | None = None) -> bytes:
        return self.hyper.put(kind, None, (1, 1, self.phone), PHONE.block_key, seen)

    @property
    def as_group(self) -> Folded:
        return folded(self.group, self.person)

    @property
    def as_hyper(self) -> Folded:
        return folded(self.hyper, self.group, self.person)


def why(found: Folded, id: bytes) -> str | None:
    return found.authority.void.get(id)


def test_a_device_acts_at_every_depth() -> None:
    """I21: what is anchored below is known above; each seat on the path must be what it says, and the key the device's."""
    world = Three()
    good = world.in_group(), world.in_hyper()
    other = world.hyper.put(NOTED, None, (1, 1, 1), PHONE.block_key)
    missing = world.hyper.put(NOTED, None, (1, 1, other), PHONE.block_key)
    short = world.hyper.put(NOTED, None, (1, 1), PHONE.block_key)
    long = world.hyper.put(NOTED, None, (1, 1, 1, 1), ALICE.block_key)
    assert why(world.as_group, good[0]) is None
    assert why(world.as_hyper, good[1]) is None
    assert [why(world.as_hyper, id) for id in (other, missing, short, long)] == [
        WRONG_KEY,
        NO_SEAT,
        WRONG_KEY,
        WRONG_KEY,
    ]
    assert world.as_hyper.node_keys() == {ALICE.node_key, PHONE.node_key}


def test_what_the_act_had_not_anchored() -> None:
    """I34: an act knows of seats by the anchors in its own past alone."""
    world = Three()
    tablet = device("tablet")
    seat = world.person.put(ADDED, tablet, (1,), ALICE.block_key)
    before = world.group.put(NOTED, None, (1, seat), tablet.block_key)
    blind = world.group.put(NOTED, None, (1, seat), tablet.block_key, [])
    world.tell_group()
    after = world.group.put(NOTED, None, (1, seat), tablet.block_key)
    assert [why(world.as_group, id) for id in (before, blind, after)] == [NOT_ANCHORED, UNKNOWN_IDENTITY, None]


@pytest.mark.parametrize("is_deep", [False, True])
def test_a_removed_device(is_deep: bool) -> None:
    """I34: it writes with old parents and old anchors, or lets puppets: only what the cut has counts, at any depth."""
    world = Three()
    early = world.in_hyper() if is_deep else world.in_group()
    old = list((world.hyper if is_deep else world.group).heads())
    world.remove_phone(group=[] if is_deep else [early], hyper=[early] if is_deep else [])
    world.tell_group()
    world.tell_hyper()
    late = world.in_hyper(seen=old) if is_deep else world.in_group(seen=old)
    on_it = world.in_hyper(seen=[late]) if is_deep else world.in_group(seen=[late])
    knowing = world.in_hyper() if is_deep else world.in_group()
    found = world.as_hyper if is_deep else world.as_group
    assert [why(found, id) for id in (early, late, on_it, knowing)] == [None, CUT_OFF, CUT_OFF, CUT_OFF]


def test_puppets_by_a_fork() -> None:
    """I34: what a removed device added on a fork of its chain, and anchors, has no right, and takes nobody's."""
    world = Three()
    fork = world.person.put(ADDED, THIEF, (world.phone,), PHONE.block_key, [world.phone])
    removal = world.person.put(
        REMOVED, Removal((world.phone,), (world.phone,), {world.group.tag: ()}), (1,), ALICE.block_key, [world.phone]
    )
    old = world.group.heads()
    lie = world.group.anchor(1, [fork], old)
    by_puppet = world.group.put(NOTED, None, (1, fork), THIEF.block_key, [lie])
    honest = world.group.put(NOTED, None, (1, 1), ALICE.block_key, [lie])
    assert [why(world.as_group, id) for id in (by_puppet, honest)] == [None, None]  # nobody knows of the removal yet
    world.group.anchor(1, [removal], old)
    assert [why(world.as_group, id) for id in (by_puppet, honest)] == [NO_SEAT, None]


def test_cuts_are_for_the_chain_that_the_act_is_on() -> None:
    """I34: a cut for the group is used where the group's acts are judged, for whoever looks, and not on other chains."""
    world = Three()
    early = world.in_group()
    world.remove_phone(group=[early])
    world.group.anchor(1, world.person.heads(), [early])
    late = world.in_group(ADDED, THIEF, [early])
    mine = world.in_hyper()  # no cut for that chain
    world.tell_hyper()
    below = world.as_hyper.nested(world.group.id)
    assert below is not None
    assert (
        [why(below, id) for id in (early, late)] == [why(world.as_group, id) for id in (early, late)] == [None, CUT_OFF]
    )
    assert why(world.as_hyper, mine) is None
    assert THIEF.node_key not in world.as_hyper.node_keys()


def test_a_cut_that_is_given_later() -> None:
    """I34: for one removal, or for all before it, on chains that the removal has none for; not where it has one."""
    for named in (True, False):
        world = Three()
        early, other = world.in_group(), world.in_hyper()
        old = [early]
        removal = world.remove_phone(group=[early])
        world.tell_group()
        late, far = world.in_group(seen=old), world.in_hyper(seen=[other])
        cut = LaterCut(removal if named else None, {world.group.tag: (late,), world.hyper.tag: (other,)})
        world.person.put(CUT, cut, (1,), ALICE.block_key)
        world.tell_group()
        world.tell_hyper()
        assert [why(world.as_group, id) for id in (early, late)] == [None, CUT_OFF]
        assert [why(world.as_hyper, id) for id in (other, far)] == [None, CUT_OFF]


def test_leaving_and_renewing_a_key_below() -> None:
    """I34: who left or has another key acts no more, once that is anchored; a copy of the key with an old view is for a removal."""
    for kind, body in ((LEFT, None), (REKEYED, device("phone 2"))):
        world = Three()
        old = list(world.group.heads())
        world.person.put(kind, body, (world.phone,), PHONE.block_key)
        world.tell_group()
        knowing, old_view = world.in_group(), world.in_group(seen=old)
        assert [why(world.as_group, id) for id in (knowing, old_view)] == [AFTER_END, None]


def test_cycles_end_and_add_nothing() -> None:
    """I21: two groups in each other: each has its own members' rights, none by way of itself, and no key or removal runs round."""
    person, friend = Log("a", ALICE), Log("b", BOB)
    one, two = Log("one", Nested(person.id)), Log("two", Nested(friend.id))
    one.anchor(1, [person.id])
    two.anchor(1, [friend.id])
    in_one = one.put(ADDED, Nested(two.id), (1, 1), ALICE.block_key)
    in_two = two.put(ADDED, Nested(one.id), (1, 1), BOB.block_key)
    for _ in range(4):
        one.anchor(in_one, two.heads())
        two.anchor(in_two, one.heads())
    round = one.put(NOTED, None, (in_one, in_two, 1, 1), ALICE.block_key)
    through = one.put(NOTED, None, (in_one, 1, 1), BOB.block_key)
    found = folded(one, two, person, friend)
    assert [why(found, id) for id in (round, through)] == [MET_AGAIN, None]
    assert found.node_keys() == {ALICE.node_key, BOB.node_key}
    assert not found.epochs.lacking(found.epochs.newest)[1:]


def test_many_groups_in_each_other_cost_little() -> None:
    """I21: whoever nests twelve groups in each other, each in all the others, is not answered by work without an end."""
    person = Log("a", ALICE)
    groups = [Log(f"group {n}", Nested(person.id)) for n in range(12)]
    for group in groups:
        group.anchor(1, [person.id])
    seats = {
        (group.name, other.name): group.put(ADDED, Nested(other.id), (1, 1), ALICE.block_key)
        for group in groups
        for other in groups
        if other is not group
    }
    for group in groups:
        for other in groups:
            if other is not group:
                group.anchor(seats[group.name, other.name], other.heads())
    began = time.process_time()
    found = folded(groups[0], *groups[1:], person)
    assert found.node_keys() == {ALICE.node_key}
    assert found.epochs.keys_now()
    assert time.process_time() - began < 20


def test_depth_ends_at_eight() -> None:
    """I21: a chain of nine identities in one another: the ninth is not known."""
    person = Log("a", ALICE)
    logs = [person]
    for n in range(8):
        logs.append(Log(f"group {n}", Nested(logs[-1].id)))
        logs[-1].anchor(1, logs[-2].heads() or [logs[-2].id])
    for depth, counts in ((7, True), (8, False)):
        outer = logs[depth]
        id = outer.put(NOTED, None, (1,) * (depth + 1), ALICE.block_key)
        found = folded(outer, *logs[:depth])
        assert (why(found, id) is None) is counts
        assert found.node_keys() == ({ALICE.node_key} if counts else set())
        del outer.acts[id]


def current(found: Folded) -> bytes | None:
    epoch = found.epochs.current
    return None if epoch is None else epoch.id


def renewal(number: int, log: Log, wraps: Mapping[SeatId, bytes], seal: bytes) -> Renewal:
    return Renewal(number, log.id, b"s%d" % number, seal, wraps)


def test_keys_below_as_they_were_known() -> None:
    """I35: a group is wrapped to the newest key of a person that nobody who was removed has; an ordinary renewal leaves it usable."""
    world = Three()
    person, group = world.person, world.group

    def renew(number: int) -> None:
        keys = folded(person).epochs.keys_now()
        person.put(RENEWED, renewal(number, person, keys, b"key%d" % number), (1,), ALICE.block_key)
        group.anchor(1, person.heads())

    renew(1)
    assert world.as_group.epochs.keys_now() == {1: b"key1"}
    first = group.put(RENEWED, renewal(1, group, {1: b"key1"}, b"g1"), (1, 1), ALICE.block_key)
    assert current(world.as_group) == first
    renew(2)
    assert current(world.as_group) == first, "an ordinary renewal"
    world.remove_phone(group=[], hyper=[])
    group.anchor(1, person.heads())
    assert current(world.as_group) is None
    assert world.as_group.epochs.keys_now() == {}, "the removed device has that key"
    hasty = group.put(RENEWED, renewal(2, group, {}, b"g2"), (1, 1), ALICE.block_key)
    assert current(world.as_group) == hasty
    renew(3)
    assert current(world.as_group) is None, "the person is reachable again"
    last = group.put(RENEWED, renewal(3, group, {1: b"key3"}, b"g3"), (1, 1), ALICE.block_key)
    assert current(world.as_group) == last


def test_what_does_not_count_makes_nobody_renew() -> None:
    """I35: removals in an identity that was never rightly added, or is a member no more, change no epoch."""
    world = Three()
    stranger = Log("stranger", THIEF)
    gone = stranger.put(ADDED, BOB, (1,), THIEF.block_key)
    stranger.put(REMOVED, Removal((gone,), (gone,)), (1,), THIEF.block_key)
    void = world.group.put(ADDED, Nested(stranger.id), (1, 1), THIEF.block_key)
    before = world.as_group.epochs.lacking(world.as_group.epochs.newest)
    world.group.anchor(void, stranger.heads())
    found = folded(world.group, world.person, stranger)
    assert why(found, void) == WRONG_KEY
    assert found.epochs.lacking(found.epochs.newest) == before


def test_an_anchor_for_a_path() -> None:
    """I34: the anchors that an event shows follow from each other, though strangers wrote others that say less."""
    world = Three()
    for _ in range(20):
        world.group.anchor(1, [world.person.id])
        world.hyper.anchor(1, [world.group.id])
    found = world.as_hyper.anchors_for((1, 1, world.phone))
    assert found is not None
    outer, inner = (world.hyper.acts[found[0]], world.group.acts[found[1]])
    assert inner.id in world.group.past(outer.body.heads)
    assert world.phone in world.person.past(inner.body.heads)
    assert world.as_hyper.anchors_for((1, 1, bytes(36))) is None
    assert world.as_hyper.anchors_for((1,)) == []
    best = world.as_hyper.best_anchor(1)
    assert best is not None
    assert best.id == found[0]


def test_an_anchor_for_a_path_over_branches() -> None:
    """I34: the inner anchor is one that the outer anchor has, though another branch, which is known as well, says more."""
    world = Three()
    person, group, hyper = world.person, world.group, world.hyper
    (known,) = group.heads()
    person.put(ADDED, device("tablet"), (1,), ALICE.block_key)
    beside = group.anchor(1, person.heads(), [])
    for _ in range(5):
        known = group.put(NOTED, None, (1, 1), ALICE.block_key, [known])
    hyper.anchor(1, [beside])
    hyper.anchor(1, [known])
    found = world.as_hyper.anchors_for((1, 1, world.phone))
    assert found is not None
    assert found[1] in group.past(hyper.acts[found[0]].body.heads)


def test_what_is_known_by_another_way() -> None:
    """I34: a person in a group, and in the group of groups itself: a removal that is anchored anywhere holds for both ways."""
    world = Three()
    hyper = Log("hyper 2", Nested(world.group.id), Nested(world.person.id))
    hyper.anchor(1, world.group.heads())
    early = hyper.put(NOTED, None, (1, 1, world.phone), PHONE.block_key)
    in_group = world.in_group()
    hyper.anchor(1, world.group.heads())
    body = Removal((world.phone,), world.person.heads(), {hyper.tag: (early,), world.group.tag: ()})
    world.person.put(REMOVED, body, (1,), ALICE.block_key)
    late = hyper.put(NOTED, None, (1, 1, world.phone), PHONE.block_key)
    hyper.anchor(2, world.person.heads())
    found = folded(hyper, world.group, world.person)
    below = found.nested(world.group.id)
    assert below is not None
    assert [why(found, early), why(found, late), why(below, in_group)] == [None, CUT_OFF, CUT_OFF]


def test_a_view_of_what_was_known_then() -> None:
    """I35: in a view of long ago a cut is what it is, though it names what was not known then."""
    world = Three()
    first = world.in_group(ADDED, BOB)
    second = world.group.put(NOTED, None, (1, world.phone), PHONE.block_key, [first])
    world.remove_phone(group=[second])
    told = world.group.anchor(1, world.person.heads(), [first])
    then = world.hyper.anchor(1, [told])
    world.hyper.anchor(1, world.group.heads())
    found = world.as_hyper
    view = found.view(world.group.id, found.pasts.closure([then]))
    assert view is not None
    assert second not in view.pasts.place
    assert why(view, first) is None


def test_own_removals_do_not_come_back() -> None:
    """I21: in a cycle, what a group itself removed is no news to it when the other has anchored it."""
    person, friend = Log("a", ALICE), Log("b", BOB)
    one, two = Log("one", Nested(person.id)), Log("two", Nested(friend.id))
    one.anchor(1, [person.id])
    two.anchor(1, [friend.id])
    in_one = one.put(ADDED, Nested(two.id), (1, 1), ALICE.block_key)
    in_two = two.put(ADDED, Nested(one.id), (1, 1), BOB.block_key)
    one.anchor(in_one, two.heads())
    gone = one.put(ADDED, THIEF, (1, 1), ALICE.block_key)
    one.put(REMOVED, Removal((gone,), (gone,)), (1, 1), ALICE.block_key)
    keys = folded(one, two, person, friend).epochs.keys_now()
    renewed = one.put(RENEWED, renewal(1, one, dict(keys), b"g1"), (1, 1), ALICE.block_key)
    assert current(folded(one, two, person, friend)) == renewed
    two.anchor(in_two, one.heads())
    one.anchor(in_one, two.heads())
    assert current(folded(one, two, person, friend)) == renewed


def test_any_order() -> None:
    """I30: what is decided of three levels does not depend on what came first."""
    world = Three()
    early = world.in_group()
    world.remove_phone(group=[early], hyper=[])
    world.tell_group()
    late = world.in_group(ADDED, THIEF, [early])
    world.tell_hyper()
    deep = world.in_hyper()
    expected = world.as_hyper
    for seed in range(10):
        found = folded(world.hyper, world.group, world.person, shuffled=random.Random(seed))
        assert found.authority.void == expected.authority.void == {deep: CUT_OFF}
        below = found.nested(world.group.id)
        assert below is not None
        assert below.authority.void == {late: CUT_OFF}
