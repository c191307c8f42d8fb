"""What may be forgotten: short histories by hand. Years of them: tests/simulations/test_identity_years.py."""

from __future__ import annotations

from identities.acts import ADDED, CONFIRMED, JOINED, NOTED, REKEYED, REMOVED, RENEWED, Nested, Removal, Renewal, SeatId
from identities.retention import confirmed, is_lost, missing_wraps, needed_seals, needless_wraps
from identities.rights import Folded, World
from tests.unit.identities.test_authority_by_hand import CHAIN, FOUNDER, RECOVERY, Story, device


def folded(story: Story) -> Folded:
    return Folded(World({CHAIN: story.genesis}), CHAIN, list(story.acts.values()))


def renew(story: Story, seat: SeatId, fresh: bytes | None = None, **keys: bytes) -> bytes:
    wraps = {seat: b"key", **{story_seat(story, name): key for name, key in keys.items()}}
    return story.act(seat, RENEWED, Renewal(1, CHAIN, b"sign", b"seal", wraps, fresh))


def story_seat(story: Story, name: str) -> SeatId:
    return next(id for id, holder in story.holders.items() if holder == device(name))


def two() -> tuple[Story, bytes]:
    """A founder and a phone."""
    story = Story()
    return story, story.act(FOUNDER, ADDED, device("phone"))


def test_the_wraps_of_a_renewal_are_needed_until_every_live_device_has_confirmed():
    """I10: an event above a renewal does not say that it was opened; `confirmed` does."""
    story, phone = two()
    made = renew(story, FOUNDER, phone=b"phone key")
    for seat, kind in ((phone, JOINED), (phone, NOTED), (FOUNDER, CONFIRMED)):
        story.act(seat, kind)
        assert not needless_wraps(folded(story))
    assert [(act.id, seats) for act, seats in missing_wraps(folded(story))] == [(made, frozenset({phone}))]
    story.act(phone, CONFIRMED)
    assert [act.id for act in needless_wraps(folded(story))] == [made]
    assert not missing_wraps(folded(story))


def test_what_is_not_in_its_past_is_not_confirmed():
    story, phone = two()
    before = story.heads()
    made = renew(story, FOUNDER, phone=b"phone key")
    story.act(FOUNDER, CONFIRMED)
    story.act(phone, CONFIRMED, on=before)
    assert not needless_wraps(folded(story))
    assert [act.id for act, _ in missing_wraps(folded(story))] == [made]


def test_a_device_that_came_later_has_to_confirm_too():
    story, phone = two()
    renew(story, FOUNDER, phone=b"phone key")
    story.act(FOUNDER, CONFIRMED)
    story.act(phone, CONFIRMED)
    tablet = story.act(FOUNDER, ADDED, device("tablet"))
    assert not confirmed(folded(story))
    story.act(tablet, CONFIRMED)
    assert needless_wraps(folded(story))


def test_nobody_waits_for_who_was_removed():
    story, phone = two()
    made = renew(story, FOUNDER, phone=b"phone key")
    story.act(FOUNDER, REMOVED, Removal((phone,), story.heads()))
    story.act(FOUNDER, CONFIRMED)
    assert [act.id for act in needless_wraps(folded(story))] == [made]


def test_the_wraps_of_a_seat_whose_key_was_renewed_are_held_for_the_new_one():
    """I10, I11: the device opens them with its older keys."""
    story, phone = two()
    made = renew(story, FOUNDER, phone=b"phone key")
    fresh = story.act(phone, REKEYED, device("phone, renewed"))
    story.act(FOUNDER, CONFIRMED)
    assert (made, frozenset({phone})) in [(act.id, seats) for act, seats in missing_wraps(folded(story))]
    story.act(fresh, CONFIRMED)
    assert [act.id for act in needless_wraps(folded(story))] == [made]


def test_where_an_identity_is_a_member_nothing_is_forgotten():
    story = Story()
    renew(story, FOUNDER)
    story.act(FOUNDER, CONFIRMED)
    assert needless_wraps(folded(story))
    story.act(FOUNDER, ADDED, Nested(b"group"))
    story.act(FOUNDER, CONFIRMED)
    assert not needless_wraps(folded(story))


def test_an_older_key_goes_when_a_newer_one_is_confirmed():
    story, phone = two()
    author, seals = device("founder").block_key, [b"first", b"second", b"third"]
    renew(story, FOUNDER, b"first")
    renew(story, FOUNDER, b"second")
    story.act(FOUNDER, CONFIRMED)
    assert needed_seals(folded(story), author, seals, ()) == set(seals)
    story.act(phone, CONFIRMED)
    renew(story, FOUNDER, b"third")
    assert needed_seals(folded(story), author, seals, ()) == {b"second", b"third"}
    assert needed_seals(folded(story), author, seals, {b"first"}) == set(seals)


def test_a_key_that_was_made_and_never_told_of_stays_until_a_later_one_is_confirmed():
    """I10: a chain that was restored from a copy may lack the event that told of it."""
    story = Story()
    author = device("founder").block_key
    renew(story, FOUNDER, b"first")
    story.act(FOUNDER, CONFIRMED)
    assert needed_seals(folded(story), author, [b"first", b"untold"], ()) == {b"first", b"untold"}
    renew(story, FOUNDER, b"second")
    story.act(FOUNDER, CONFIRMED)
    assert needed_seals(folded(story), author, [b"first", b"untold", b"second"], ()) == {b"second"}


def test_a_renewal_is_lost_when_who_made_it_was_removed_and_not_when_it_renewed_its_key():
    story, phone = two()
    made = renew(story, phone)
    act = story.acts[made]
    fresh = story.act(phone, REKEYED, device("phone, renewed"))
    assert not is_lost(folded(story), act)
    story.act(FOUNDER, REMOVED, Removal((fresh,), story.heads()))
    assert is_lost(folded(story), act)


def test_what_the_recovery_key_renewed_is_lost_with_the_device_that_it_seated():
    story = Story()
    tablet = story.act(RECOVERY, ADDED, device("tablet"))
    act = story.acts[renew(story, RECOVERY)]
    assert not is_lost(folded(story), act)
    story.act(RECOVERY, REMOVED, Removal((tablet,), story.heads()))
    assert is_lost(folded(story), act)
