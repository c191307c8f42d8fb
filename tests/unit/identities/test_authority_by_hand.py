"""Who may do what: short histories written by hand, each with the outcome that the rules promise. Random ones: tests/properties."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable

import pytest

from identities.acts import (
    ADDED,
    JOINED,
    LEFT,
    NOTED,
    RECOVERED,
    REKEYED,
    REMOVED,
    RENEWED,
    Act,
    Council,
    Device,
    GenesisSeats,
    Holder,
    Nested,
    Recovery,
    Removal,
    Renewal,
    SeatId,
)
from identities.authority import Authority, decide
from identities.epochs import Epochs

CHAIN = b"chain"
RECOVERY, FOUNDER, SECOND = 0, 1, 2


def device(name: str) -> Device:
    made = hashlib.shake_256(name.encode()).digest(96)
    return Device(made[:34], made[34:66], made[66:82], made[82:96] + b"xw")


class Story:
    """A history: each act on top of all before it, unless told otherwise."""

    def __init__(self, *holders: Holder) -> None:
        listed = (Recovery(b"recovery"), *(holders or (device("founder"),)))
        self.genesis = GenesisSeats(CHAIN, listed, b"sign", b"seal")
        self.acts: dict[bytes, Act] = {}
        self.holders: dict[SeatId, Holder] = dict(enumerate(listed))

    def act(
        self,
        seat: SeatId,
        kind: str,
        body: object = None,
        *,
        on: Iterable[bytes] | None = None,
        author: bytes | None = None,
    ) -> bytes:
        seen = self.heads() if on is None else tuple(sorted(on))
        height = 1 + max((self.acts[id].height for id in seen), default=0)
        id = hashlib.sha256(f"{len(self.acts)} {kind}".encode()).digest()
        holder = self.holders[seat]
        key = holder.block_key if isinstance(holder, Device | Recovery) else b"admitted"
        self.acts[id] = Act(id, height, author or key, kind, (seat,), seen, body)
        if kind in (ADDED, REKEYED):
            assert isinstance(body, Device | Nested | Council)
            self.holders[id] = body
        return id

    def heads(self) -> tuple[bytes, ...]:
        named = {id for act in self.acts.values() for id in act.seen}
        return tuple(sorted(self.acts.keys() - named))

    def add(self, by: SeatId, holder: Holder | str, *, on: Iterable[bytes] | None = None) -> bytes:
        return self.act(by, ADDED, device(holder) if isinstance(holder, str) else holder, on=on)

    def remove(
        self, by: SeatId, *seats: SeatId, cut: Iterable[bytes] | None = None, on: Iterable[bytes] | None = None
    ) -> bytes:
        seen = self.heads() if on is None else tuple(sorted(on))
        return self.act(by, REMOVED, Removal(seats, seen if cut is None else tuple(sorted(cut))), on=seen)

    def renew(
        self, by: SeatId, number: int, *, on: Iterable[bytes] | None = None, wraps: dict[SeatId, bytes] | None = None,
        fresh: bytes | None = None,
    ) -> bytes:  # fmt: skip
        seen = self.heads() if on is None else tuple(sorted(on))
        if wraps is None:
            authority = self.decided()
            wraps = Epochs(self.genesis, authority).keys_now(authority.pasts.closure(seen))
        return self.act(by, RENEWED, Renewal(number, CHAIN, b"sign", b"seal", wraps, fresh), on=seen)

    def decided(self) -> Authority:
        """What it comes to, the same in both directions."""
        authority = decide(self.genesis, self.acts.values())
        backwards = decide(self.genesis, reversed(self.acts.values()))
        assert backwards.void == authority.void
        assert list(backwards.seats) == list(authority.seats)
        return authority

    @property
    def live(self) -> set[SeatId]:
        return {seat.id for seat in self.decided().live}

    @property
    def void(self) -> set[bytes]:
        return set(self.decided().void)

    @property
    def epochs(self) -> Epochs:
        return Epochs(self.genesis, self.decided())

    @property
    def current(self) -> bytes | None:
        current = self.epochs.current
        return None if current is None else current.id


# --- removal and rank -------------------------------------------------------------------------------------------------


def test_everybody_evicted_and_puppets_added_one_low_cut_restores_all():
    """I32: the founder's device is stolen; one removal by the recovery key brings back just what it was said to."""
    story = Story()
    phone, laptop = story.add(FOUNDER, "phone"), story.add(FOUNDER, "laptop")
    for seat in (phone, laptop):
        story.act(seat, JOINED)
    good = story.heads()
    evicting = story.remove(FOUNDER, phone, laptop)
    written = story.act(phone, NOTED)
    added = story.add(laptop, "tablet")
    puppets = [story.add(FOUNDER, f"puppet {n}") for n in range(3)]
    harm = [story.act(seat, JOINED) for seat in puppets] + [story.renew(FOUNDER, 1)]
    assert story.live == {RECOVERY, FOUNDER, *puppets}
    void_before = story.void
    assert void_before == {written, added}
    rescue = story.remove(RECOVERY, FOUNDER, cut=good)
    assert story.live == {RECOVERY, phone, laptop, added}
    assert story.void == {evicting, *puppets, *harm}
    assert void_before - story.void == {written, added}  # what a client lists before it signs
    renewed = story.renew(phone, 2)
    assert story.current == renewed
    puppet_writes = story.act(puppets[0], NOTED)
    assert puppet_writes in story.void
    assert rescue not in story.void


@pytest.mark.parametrize("is_reversed", [False, True])
def test_mutual_removal_has_one_outcome(is_reversed):
    """I32: of two that remove each other, unseen, the higher one stays; everywhere, whichever came first."""
    story = Story(device("founder"), device("second"))
    start = story.act(FOUNDER, NOTED)
    pairs = [(FOUNDER, SECOND), (SECOND, FOUNDER)]
    removals = {by: story.remove(by, other, on=[start]) for by, other in (reversed(pairs) if is_reversed else pairs)}
    assert story.live == {RECOVERY, FOUNDER}
    assert story.void == {removals[SECOND]}


def test_a_junior_cannot_touch_a_senior():
    """I32: neither by removals, nor by low cuts, nor through puppets, nor by being there earlier than others."""
    story = Story()
    phone = story.add(FOUNDER, "phone")
    laptop = story.add(FOUNDER, "laptop")
    kept = story.act(phone, NOTED)
    before = story.live
    for cut in (None, ()):
        story.remove(laptop, RECOVERY, FOUNDER, phone, cut=cut)
    puppet = story.add(laptop, "puppet")
    story.remove(puppet, RECOVERY, FOUNDER, phone, laptop)
    assert story.live == before | {puppet}
    assert not story.void
    assert kept in story.acts


def test_no_seat_removes_itself():
    """I32: strictly higher: a removal of one's own seat counts, and does nothing."""
    story = Story()
    story.remove(FOUNDER, FOUNDER)
    assert story.live == {RECOVERY, FOUNDER}
    assert not story.void


def test_a_council_above_the_founder_removes_it():
    """I32: and the founder cannot remove the council."""
    story = Story(Council(2, 3), device("founder"))
    council, founder = 1, 2
    phone = story.add(founder, "phone")
    start = story.heads()
    story.remove(founder, council, on=start)
    assert story.live == {RECOVERY, council, founder, phone}
    story.remove(council, founder, on=start)
    assert story.live == {RECOVERY, council, phone}


def test_who_was_removed_writes_the_councils_act_again():
    """I20: its signatures are bound to no block; the seat of the copy is removed with the first one, and another is not."""
    story = Story(Council(2, 3), device("founder"))
    council, founder = 1, 2
    start = [story.act(founder, JOINED)]
    phone = story.add(council, "phone", on=start)
    tablet = story.add(council, "tablet", on=start)
    removal = story.remove(founder, phone)
    copy = story.act(council, ADDED, device("phone"), on=start, author=b"phone")
    late = story.act(copy, NOTED, on=[copy, removal])
    assert story.live == {RECOVERY, council, founder, tablet}
    assert story.void == {late}


def test_a_council_is_not_the_first_epochs_holder():
    """I07: with a council above the founder the first epoch is the founder's device's all the same."""
    story = Story(Council(2, 3), device("founder"))
    assert story.current == CHAIN


def test_a_removal_of_what_does_not_exist_does_nothing():
    """I15: it changes the seats that it names; there are none."""
    story = Story()
    story.remove(FOUNDER, 7, b"nobody", story.act(FOUNDER, NOTED))
    assert story.live == {RECOVERY, FOUNDER}
    assert not story.void


def test_a_seat_made_before_its_maker_is_none():
    """I32, I37: nobody gets above their own seat by writing, in its name, on top of what was before it."""
    story = Story()
    story.act(FOUNDER, NOTED)
    phone = story.add(FOUNDER, "phone")
    puppet = story.add(phone, "puppet", on=[])
    removal = story.remove(puppet, phone, on=[puppet])
    assert story.acts[puppet].height < story.acts[phone].height
    assert story.void == {puppet, removal}
    assert story.live == {RECOVERY, FOUNDER, phone}


# --- what a removed or forked key does ----------------------------------------------------------------------------------


def test_a_removed_key_writes_on_and_nothing_happens():
    """I20: dated back or not, by itself or by puppets."""
    story = Story()
    phone, laptop = story.add(FOUNDER, "phone"), story.add(FOUNDER, "laptop")
    story.remove(FOUNDER, phone)
    before = story.live
    for on in ([phone], [phone, laptop], None):
        late = story.add(phone, "puppet", on=on)
        story.remove(late, laptop, on=[late, laptop])
        story.remove(phone, laptop, on=[phone, laptop])
    assert story.live == before
    assert len(story.void) == 9


def test_every_cut_counts():
    """I20: two removals with different cuts: what stands outside of one of them is void."""
    story = Story(device("founder"), device("second"))
    phone = story.add(FOUNDER, "phone")
    words = [story.act(phone, NOTED) for _ in range(3)]
    start = story.heads()
    story.remove(FOUNDER, phone, cut=[words[1]], on=start)
    story.remove(SECOND, phone, cut=[words[0]], on=start)
    assert story.void == set(words[1:])


def test_a_copy_of_an_act_voids_nothing_that_others_built_on():
    """I37: the thief's second act beside the first one; the forked seat stays live until it is removed."""
    story = Story()
    phone = story.add(FOUNDER, "phone")
    first = story.add(phone, "laptop")
    copy = story.act(phone, LEFT, on=[phone])
    built = story.act(FOUNDER, NOTED)
    assert not {first, copy, built} & story.void
    assert first in story.live
    story.remove(FOUNDER, phone, cut=[first])
    assert story.void == {copy}
    assert story.live == {RECOVERY, FOUNDER, first}


def test_a_holder_added_again_has_a_new_seat():
    """I37: what it wrote before that seat, or in its earlier life after the removal, is void."""
    story = Story()
    first = story.add(FOUNDER, "phone")
    removed = story.remove(FOUNDER, first)
    second = story.add(FOUNDER, "phone")
    early = story.act(second, NOTED, on=[first, removed])
    old = story.act(first, NOTED)
    new = story.act(second, JOINED)
    assert story.void == {early, old}
    assert story.live == {RECOVERY, FOUNDER, second}
    assert new in story.acts


def test_an_act_by_another_key_than_its_seats_is_void():
    """I14: a seat is not to be had by naming it."""
    story = Story(device("founder"), device("second"))
    stolen = story.act(FOUNDER, REMOVED, Removal((SECOND,), ()), author=device("second").block_key)
    assert story.void == {stolen}
    assert SECOND in story.live


# --- leaving and renewing keys ------------------------------------------------------------------------------------------


def test_leaving_binds_its_holder_alone():
    """I20: a copy of the key acts on beside the leaving; a removal ends that."""
    story = Story()
    phone = story.add(FOUNDER, "phone")
    left = story.act(phone, LEFT)
    beside = story.add(phone, "puppet", on=[phone])
    after = story.act(phone, NOTED, on=[left])
    assert story.live == {RECOVERY, FOUNDER, beside}
    assert story.void == {after}
    story.remove(FOUNDER, phone, cut=[left])
    assert story.live == {RECOVERY, FOUNDER}


def test_a_renewed_key_stands_where_the_old_one_stood():
    """I11: its seat is above those that the old seat was above, though they were added before."""
    story = Story()
    phone, laptop = story.add(FOUNDER, "phone"), story.add(FOUNDER, "laptop")
    new = story.act(phone, REKEYED, device("new phone"))
    ids = list(story.decided().seats)
    assert ids == [RECOVERY, FOUNDER, phone, new, laptop]
    start = story.heads()
    story.remove(laptop, new, on=start)
    story.remove(new, laptop, on=start)
    assert story.live == {RECOVERY, FOUNDER, new}


def test_a_used_recovery_key_is_used_up():
    """I14, I20: it has named the next one; whatever it writes after that is void, also the naming of another."""
    story = Story()
    used = story.act(RECOVERY, RECOVERED, (b"hash", b"next"))
    again = story.act(RECOVERY, RECOVERED, (b"hash", b"thief"), on=[used])
    stolen = story.act(RECOVERY, REMOVED, Removal((FOUNDER,), ()), author=b"thief", on=[again])
    assert story.void == {again, stolen}
    right = story.act(RECOVERY, REMOVED, Removal((FOUNDER,), ()), author=b"next", on=[used])
    assert story.live == {RECOVERY}
    assert right not in story.void


# --- epochs -------------------------------------------------------------------------------------------------------------


def test_current_is_the_greatest_number_then_the_highest_author_then_the_smallest_id():
    """I07: concurrent renewals come to one; I29: whatever the order."""
    story = Story()
    phone = story.add(FOUNDER, "phone")
    start = [story.act(phone, JOINED)]
    low = story.renew(phone, 2, on=start)
    assert story.current == low
    high = [story.renew(FOUNDER, 2, on=start) for _ in range(2)]
    assert story.current == min(high)
    greater = story.renew(phone, 3, on=start)
    assert story.current == greater
    assert len(story.epochs.all) == 5


def test_a_void_or_dated_back_renewal_is_never_current():
    """I07: whatever its number."""
    story = Story()
    phone = story.add(FOUNDER, "phone")
    good = story.renew(FOUNDER, 1)
    assert story.current == good
    removal = story.remove(FOUNDER, phone)
    renewed = story.renew(FOUNDER, 2)
    wraps: dict[SeatId, bytes] = {FOUNDER: device("founder").seal_id}
    story.renew(phone, 90, on=[phone], wraps=wraps)
    story.renew(phone, 91, on=[removal, phone], wraps=wraps)
    story.renew(FOUNDER, 92, on=[phone], wraps=wraps)
    assert story.current == renewed


def test_an_epoch_that_misses_a_member_or_names_another_key_is_not_used():
    """I36: its list is the live seats, with the keys of its own past, and it has seen every change."""
    story = Story()
    phone = story.add(FOUNDER, "phone")
    assert story.current is None  # the first epoch misses the adding
    fresh = story.renew(phone, 1, fresh=b"fresh")
    assert story.current == fresh
    keys: dict[SeatId, bytes] = {FOUNDER: device("founder").seal_id, phone: b"fresh"}
    wrong: list[dict[SeatId, bytes]] = [
        {FOUNDER: keys[FOUNDER]}, keys | {RECOVERY: b"x"}, keys | {b"nobody": b"x"}, keys | {phone: device("phone").seal_id},
    ]  # fmt: skip
    for number, wraps in zip(itertools.count(2), wrong, strict=False):
        story.renew(FOUNDER, number, wraps=wraps)
    assert story.current == fresh
    beside = story.renew(FOUNDER, 9, on=[phone], wraps=keys | {phone: device("phone").seal_id})
    assert story.current == beside  # it had not seen the fresh key
    story.act(phone, LEFT)
    assert story.current is None
    again = story.renew(FOUNDER, 10)
    assert story.current == again
