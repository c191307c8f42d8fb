"""What the other tests of authority, epochs, rights and renewal let pass when a rule was dropped or weakened: one test each."""

from __future__ import annotations

import itertools
from math import inf

import pytest

from identities.acts import (
    ADDED,
    CUT,
    LEFT,
    MAX_JUMP,
    NOTED,
    RECOVERED,
    REKEYED,
    REMOVED,
    RENEWED,
    UNOPENED,
    Act,
    Council,
    LaterCut,
    Nested,
    Recovery,
    Removal,
    Renewal,
)
from identities.authority import NO_SEAT, WRONG_KEY, Seat, decide
from identities.epoch_keys import epoch_keys
from identities.epochs import Epoch
from identities.keyring import DeviceSecrets, Keyring
from identities.renewal import RenewalPolicy, Renewing, Situation
from identities.rights import MET_AGAIN
from tests.suites.identity_makers import some_device
from tests.suites.nested_worlds import Log, folded
from tests.suites.nested_worlds import device as some
from tests.unit.identities.test_authority_by_hand import CHAIN, FOUNDER, RECOVERY, Story, device
from tests.unit.identities.test_rights import ALICE, PHONE, Three, why
from walytis_core.keys import MemoryKeys

# --- authority -------------------------------------------------------------------------------------------------------


def test_a_cut_reaches_no_further_than_its_removal() -> None:
    """I20: what who removed had not seen is cut off, though the removal names it."""
    story = Story()
    phone = story.add(FOUNDER, "phone")
    start = story.heads()
    late = story.act(phone, NOTED, on=start)
    story.remove(FOUNDER, phone, cut=[late], on=start)
    assert story.void == {late}


def test_the_next_recovery_key_acts_after_it_was_named() -> None:
    """I14: not beside that, nor before."""
    story = Story()
    start = [story.act(FOUNDER, NOTED)]
    used = story.act(RECOVERY, RECOVERED, (b"hash", b"next"), on=start)
    beside = story.act(FOUNDER, NOTED, on=[story.act(FOUNDER, NOTED, on=start)])
    early = story.act(RECOVERY, NOTED, author=b"next", on=[beside])
    right = story.act(RECOVERY, NOTED, author=b"next", on=[used])
    assert story.void == {early}
    assert right in story.acts


def test_a_device_has_nobody_behind_it() -> None:
    """I14: a path that goes on behind a device's own seat is none."""
    story = Story()
    noted = story.act(FOUNDER, NOTED)
    story.acts[noted] = story.acts[noted]._replace(path=(FOUNDER, 1))
    assert story.decided().void == {noted: WRONG_KEY}


def test_what_needs_a_right_has_a_seat() -> None:
    """I14: facts alone have none."""
    story = Story()
    act = Act(b"id", 1, b"somebody", NOTED, (), ())
    assert decide(story.genesis, [act]).void == {b"id": NO_SEAT}


def test_epochs_are_wrapped_to_devices_and_identities() -> None:
    """I36: councils and the recovery key have no key to wrap to, and no turn to renew."""
    for holder, is_wrapped in (
        (device("x"), True),
        (Nested(b"c"), True),
        (Council(1, 1), False),
        (Recovery(b"k"), False),
    ):
        assert Seat(1, holder, ()).is_wrapped_to is is_wrapped
    assert not Seat(1, device("x"), (), removals=[Act(b"", 1, b"", REMOVED, (0,), ())]).is_wrapped_to


# --- epochs ----------------------------------------------------------------------------------------------------------


def test_which_changes_end_the_epoch_before() -> None:
    """I08, I20: a removal and a leaving that the older one did not know, and no others."""
    story = Story()
    phone, tablet = story.add(FOUNDER, "phone"), story.add(FOUNDER, "tablet")
    ids = [story.renew(FOUNDER, 1)]
    story.add(FOUNDER, "laptop")
    ids.append(story.renew(FOUNDER, 2))
    story.remove(FOUNDER, phone)
    ids.append(story.renew(FOUNDER, 3))
    story.act(tablet, LEFT)
    ids += [story.renew(FOUNDER, 4), story.renew(FOUNDER, 5)]
    epochs = story.epochs
    found = [epochs.all[id] for id in ids]
    follows = [epochs.follows_removal(newer, older) for older, newer in itertools.pairwise(found)]
    assert follows == [False, True, True, False]
    assert epochs.follows_removal(found[-1], found[0])
    assert not epochs.follows_removal(found[0], found[-1])


def test_what_an_epoch_lacks() -> None:
    """I36: each change of the members, a key renewal too; and whether somebody who is gone still has its keys."""
    story = Story()
    phone = story.add(FOUNDER, "phone")
    renewed = story.renew(FOUNDER, 1)

    def now() -> Epoch:
        return story.epochs.all[renewed]

    assert story.epochs.lacking(now()) == ()
    added = story.add(FOUNDER, "tablet")
    rekeyed = story.act(phone, REKEYED, device("new phone"))
    assert story.epochs.lacking(now()) == (added, rekeyed)
    assert not story.epochs.lacks_removal(now())
    left = story.act(rekeyed, LEFT)
    assert story.epochs.lacking(now()) == (added, rekeyed, left)
    assert story.epochs.lacks_removal(now())


def test_the_next_number_passes_by_what_was_written() -> None:
    """I05, I07: what outsiders saw never goes back; and great numbers of whoever was removed are passed by."""
    story = Story()
    phone = story.add(FOUNDER, "phone")
    story.remove(FOUNDER, phone)
    story.renew(FOUNDER, 7)
    assert story.epochs.next_number == 8
    void = story.renew(phone, 40)
    assert void in story.void
    assert story.epochs.next_number == 41
    last = story.renew(phone, 7 + MAX_JUMP)
    assert story.epochs.last_written == (7 + MAX_JUMP, last)
    assert story.epochs.next_number == 8 + MAX_JUMP


def test_complaints_are_of_one_epoch() -> None:
    """I38: that of another one is no reason to renew."""
    story = Story()
    phone = story.add(FOUNDER, "phone")
    first, second = story.renew(FOUNDER, 1), story.renew(FOUNDER, 2)
    said = story.act(phone, UNOPENED, first)
    epochs = story.epochs
    assert [act.id for act in epochs.unopened(epochs.all[first])] == [said]
    assert epochs.unopened(epochs.all[second]) == []
    assert story.current == second
    assert epochs.all[CHAIN].wraps == {FOUNDER: device("founder").seal_id}


# --- rights ----------------------------------------------------------------------------------------------------------


def test_an_identity_in_itself_adds_nothing() -> None:
    """I21: its devices act by their own seats, and by no way round."""
    world = Three()
    itself = world.group.put(ADDED, Nested(world.group.id), (1, 1), ALICE.block_key)
    world.group.anchor(itself, world.group.heads())
    round = world.group.put(NOTED, None, (itself, 1, 1), ALICE.block_key)
    assert why(world.as_group, round) == MET_AGAIN


def test_a_later_cut_is_of_one_removal() -> None:
    """I34: the removal that it names; whoever else was removed is not cut by it."""
    world = Three()
    tablet = some("tablet")
    seat = world.person.put(ADDED, tablet, (1,), ALICE.block_key)
    world.tell_group()
    world.tell_hyper()
    old = world.hyper.heads()
    world.remove_phone()
    other = world.person.put(REMOVED, Removal((seat,), world.person.heads()), (1,), ALICE.block_key)
    world.person.put(CUT, LaterCut(other, {world.hyper.tag: ()}), (1,), ALICE.block_key)
    world.tell_group()
    world.tell_hyper()
    by_phone = world.in_hyper(seen=list(old))
    by_tablet = world.hyper.put(NOTED, None, (1, 1, seat), tablet.block_key, old)
    assert why(world.as_hyper, by_phone) is None
    assert why(world.as_hyper, by_tablet) is not None


def test_a_later_cut_moves_no_earlier_one() -> None:
    """I34: on a chain for which the removal has a cut, that one stays."""
    world = Three()
    kept = world.in_group()
    removal = world.remove_phone(group=[kept])
    world.person.put(CUT, LaterCut(removal, {world.group.tag: ()}), (1,), ALICE.block_key)
    world.tell_group()
    assert why(world.as_group, kept) is None


def test_who_is_a_member() -> None:
    """I20, I35: the live devices of live seats; nobody behind a seat that was removed, at any depth."""
    world = Three()
    assert world.as_hyper.node_keys() == {ALICE.node_key, PHONE.node_key}
    world.remove_phone()
    world.tell_group()
    world.tell_hyper()
    assert world.as_group.node_keys() == world.as_hyper.node_keys() == {ALICE.node_key}
    other = Log("other", some("bob"))
    added = world.group.put(ADDED, Nested(other.id), (1, 1), ALICE.block_key)
    joined = other.put(NOTED, None, (1,), some("bob").block_key)
    world.group.anchor(added, [joined])
    assert folded(world.group, world.person, other).node_keys() == {ALICE.node_key, some("bob").node_key}
    world.group.put(REMOVED, Removal((added,), world.group.heads()), (1, 1), ALICE.block_key)
    assert folded(world.group, world.person, other).node_keys() == {ALICE.node_key}


@pytest.mark.parametrize("kind", [REMOVED, LEFT])
def test_who_is_gone_below_is_news_above(kind: str) -> None:
    """I35: removals and leavings two levels down make the epochs above lack something, once they are anchored."""
    world = Three()
    gone = world.remove_phone() if kind == REMOVED else world.person.put(LEFT, None, (world.phone,), PHONE.block_key)
    epochs = world.as_hyper.epochs
    assert gone not in epochs.lacking(epochs.newest)
    world.tell_group()
    world.tell_hyper()
    for found in (world.as_group, world.as_hyper):
        assert gone in found.epochs.lacking(found.epochs.newest)
        assert not found.epochs.is_usable(found.epochs.newest)


def test_an_epoch_before_a_removal_below() -> None:
    """I08, I35: the one after it is good alone."""
    world = Three()
    seal = world.person.genesis.seal_id
    renewals = [world.group.put(RENEWED, Renewal(1, world.group.id, b"s1", b"g1", {1: seal}), (1, 1), ALICE.block_key)]
    world.remove_phone()
    world.tell_group()
    renewals.append(
        world.group.put(RENEWED, Renewal(2, world.group.id, b"s2", b"g2", {1: seal}), (1, 1), ALICE.block_key)
    )
    epochs = world.as_group.epochs
    older, newer = (epochs.all[id] for id in renewals)
    assert epochs.follows_removal(newer, older)
    assert not epochs.follows_removal(older, newer)


def test_an_identity_of_which_something_is_known_now() -> None:
    """I35: an epoch from before its first anchor leaves it out, and is used no more."""
    person = Log("person", ALICE)
    joined = person.put(NOTED, None, (1,), ALICE.block_key)
    group = Log("group", PHONE, Nested(person.id))
    renewed = group.put(RENEWED, Renewal(1, group.id, b"s1", b"g1", {1: PHONE.seal_id}), (1,), PHONE.block_key)
    before = folded(group, person).epochs
    assert before.is_usable(before.all[renewed])
    group.anchor(2, [joined])
    after = folded(group, person).epochs
    assert not after.is_usable(after.all[renewed])


# --- when to renew ---------------------------------------------------------------------------------------------------


def test_epochs_end_at_different_times() -> None:
    """I09: the age is stretched by up to its jitter, by the epoch, so that not all identities renew at once."""
    policy = RenewalPolicy(age_s=1000.0, jitter=0.1, takeover_s=0.0)
    due = set()
    for number in range(20):
        epoch = bytes([number]) * 32 + bytes([0, 0, number * 12, 0])
        situation = Situation(epoch, epoch, (), mine=False, complaint=False, seat=b"a", others=[b"a"])
        due.add(Renewing(policy, lambda: 0.0).due(situation, 5000.0))
    assert all(6000.0 <= one <= 6100.0 for one in due)
    assert max(due) - min(due) > 50
    assert len(due) == 20


def test_who_has_no_seat_comes_last() -> None:
    situation = Situation(bytes(36), bytes(36), (), mine=False, complaint=False, seat=b"x", others=[b"a", b"b"])
    policy = RenewalPolicy(age_s=100.0, jitter=0.0, takeover_s=10.0)
    assert Renewing(policy, lambda: 0.0).due(situation, 0.0) == 120.0
    assert Renewing(policy._replace(age_s=None), lambda: 0.0).due(situation, 0.0) == inf


# --- what is kept ----------------------------------------------------------------------------------------------------


def ring() -> tuple[MemoryKeys, Keyring]:
    vault = MemoryKeys()
    made = Keyring(vault, "identity-x", some_device(1))
    made.save()
    return vault, made


def again(vault: MemoryKeys, name: str = "identity-x") -> Keyring:
    found = Keyring.load_as(vault, name)
    assert found is not None
    return found


def test_what_a_keyring_took_is_durable() -> None:
    """I16: epochs and fresh keys are kept before anybody is told of them."""
    vault, made = ring()
    keys = epoch_keys(bytes(32))
    made.add_epochs((b"sign", keys))
    assert again(vault).epoch(b"sign") == keys
    fresh = made.add_seal(bytes(range(32)))
    assert again(vault).seal_key(fresh.id) is not None
    made.rename("identity-y")
    assert again(vault, "identity-y").epoch(b"sign") == keys
    assert vault.get("identity-x") is None
    made.forget()
    assert vault.get("identity-y") is None


def test_the_keys_of_a_renewed_device_still_open() -> None:
    """I10, I11: what was wrapped to the old ones opens; also after a restart."""
    vault, made = ring()
    old, coming = some_device(1), some_device(2)
    made.next_device = coming
    made.retire(old, coming)
    for one in (made, again(vault)):
        assert one.seal_key(old.public.seal.id) is not None
        assert one.seal_key(coming.public.seal.id) is not None
        assert (one.device and one.device.block.key) == coming.block.key
        assert one.next_device is None


def test_keys_that_nobody_needs_are_dropped() -> None:
    """I20: those, and no others, from the memory as from the disk."""
    vault, made = ring()
    kept, gone = made.add_seal(bytes([1]) * 32), made.add_seal(bytes([2]) * 32)
    assert made.drop_seals(frozenset((kept.id,))) == 1
    for one in (made, again(vault)):
        assert one.seal_key(kept.id) is not None
        assert one.seal_key(gone.id) is None
    assert isinstance(made.device, DeviceSecrets)
