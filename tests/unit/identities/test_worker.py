"""What devices do by themselves: open, complain, heal, renew in turn, and come back after a long time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from identities.acts import ADDED, GRANTED, RENEWED, UNOPENED
from identities.identity import Identity
from identities.payloads import PREFIX, decode, encode, read_renewal
from identities.renewal import RenewalPolicy
from identities.suites import ED25519
from identities.worker import PATIENCE_S
from tests.suites.identity_makers import NOWHERE, Forger, Wraps, is_void, some_device
from tests.suites.identity_nodes import (
    Clock,
    Town,
    all_have_keys,
    assert_is_fold,
    assert_same_state,
    epoch_of,
    seat_of,
    town,
    until_agreed,
    until_seated,
)
from tests.suites.nodes import WITHIN_S, until

DAY_S = 86_400.0


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Town]:
    with town(tmp_path) as made:
        yield made


def three(town: Town) -> tuple[Identity, Identity, Identity]:
    """An identity on a laptop, a phone and a tablet."""
    alice = town.house("laptop").identities.create("alice", suite=ED25519)[0]
    phone = town.join(alice, "phone")
    tablet = town.join(alice, "tablet")
    until_seated(alice, "phone")
    until_seated(alice, "tablet")
    until_agreed(alice, phone, tablet)
    return alice, phone, tablet


def idle(now_s: float) -> float:
    """What a device does that does nothing by itself."""
    del now_s
    return float("inf")


def complaints(identity: Identity) -> list[tuple[object, bytes]]:
    """Who said of which epoch that it could not be opened."""
    return [(act.path[0], act.body) for act in identity.folded.authority.counted(UNOPENED)]


# --- coming back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("renewals", [1, pytest.param(10, marks=pytest.mark.slow)], ids=["one renewal", "ten renewals"])
def test_who_was_away_comes_back(there: Town, renewals: int) -> None:
    """I10: it opens everything from whoever is there, with no new code, though the others renewed their own keys too."""
    alice, phone, tablet = three(there)
    there.house("phone").close()
    sealed = []
    for number in range(renewals):
        one = (alice, tablet)[number % 2]
        one.renew()
        one.rekey()
        sealed.append(one.seal(b"%d" % number))
        until_agreed(alice, tablet)
    assert all_have_keys(alice, tablet)
    seats = set(alice.folded.authority.seats)
    until(lambda: wraps_held(there.house("tablet").get("alice")), what="the tablet holds the wraps of all")
    there.house("laptop").close()  # who made half of the epochs is away
    there.house("phone").open()
    there.house("phone").node.connect(there.house("tablet").node.addresses()).result(WITHIN_S)
    phone = there.house("phone").get("alice")
    until_agreed(phone, tablet)
    until(lambda: not lacking(phone), what="every epoch was opened")
    assert [phone.open(one) for one in sealed] == [b"%d" % number for number in range(renewals)]
    assert set(phone.folded.authority.seats) == seats
    assert not complaints(phone)
    phone.renew()
    until_agreed(phone, tablet)
    assert_same_state(phone, tablet)


def lacking(identity: Identity) -> list[int]:
    """The epochs since it joined that a device has no keys of."""
    epochs = identity.folded.epochs.all.values()
    seat = identity.seat
    assert seat is not None
    held = identity._held.actor.keyring
    return [one.number for one in epochs if seat.id in one.wraps and not held.has_epoch(one.sign_id)]


def wraps_held(identity: Identity) -> bool:
    """Whether a device holds the wraps of the current epoch, for all of its seats."""
    current = epoch_of(identity)
    if current is None:
        return False
    body = read_renewal(decode(identity._held.log.block(current)).body)
    return all(identity._held.log.kept(cid) is not None for _, _, cid in body.wraps)


def test_two_come_back_together(there: Town) -> None:
    """I10: two that were away at different times find each other's keys; one current epoch remains."""
    alice, _, tablet = three(there)
    there.house("phone").close()
    alice.renew()
    until_agreed(alice, tablet)
    there.house("tablet").close()
    alice.renew()
    alice.rekey()
    there.house("tablet").open()
    there.house("phone").open()
    again = [there.house(name).get("alice") for name in ("phone", "tablet")]
    until_agreed(alice, *again)
    for one in again:
        until(lambda one=one: not lacking(one))  # type: ignore[misc]


def test_a_device_that_acknowledges_nothing(here: Town) -> None:
    """I10 and I33: one that never writes a word holds nobody up: the others renew, and all of it opens for it."""
    alice, phone, tablet = three(here)
    phone._held.worker.run = idle  # type: ignore[method-assign]
    for _ in range(3):
        alice.renew()
        until_agreed(alice, tablet)
    assert alice.epoch.number == tablet.epoch.number
    assert [info.name for info in alice.status().behind].count("phone") == 1
    del phone._held.worker.run
    here.house("phone").wake()
    until_agreed(alice, phone, tablet)
    until(lambda: not lacking(phone))


# --- renewers that cheat ---------------------------------------------------------------------------------------------


def garbage(wraps: Wraps, seat: bytes) -> tuple[object, bytes, bytes]:
    return wraps.to(seat, data=bytes(1200))


def another_secret(wraps: Wraps, seat: bytes) -> tuple[object, bytes, bytes]:
    return wraps.to(seat, secret=b"another" + bytes(25))


def of_another_seat(wraps: Wraps, seat: bytes) -> tuple[object, bytes, bytes]:
    return (seat, wraps.seats[seat], wraps.to(1)[2])


def empty_secret(wraps: Wraps, seat: bytes) -> tuple[object, bytes, bytes]:
    return wraps.to(seat, data=b"\x00")


@pytest.mark.parametrize("cheat", [garbage, another_secret, of_another_seat, empty_secret])
def test_a_wrap_that_does_not_open(here: Town, cheat: Callable[[Wraps, bytes], tuple[object, bytes, bytes]]) -> None:
    """I38: seen at once, said once, and healed by another's renewal, of which everybody has the keys."""
    alice, phone, tablet = three(here)
    seat = seat_of(alice, "phone")
    wraps = Wraps(tablet)
    with tablet._held.home.lock:
        made = [cheat(wraps, seat) if one == seat else wraps.to(one) for one in wraps.seats]
        bad = wraps.write(made)  # type: ignore[arg-type]
    until(lambda: epoch_of(alice) not in (None, bad) and bad in alice.folded.epochs.all)
    until_agreed(alice, phone, tablet)
    assert complaints(alice) == [(seat, bad)]
    assert alice.epoch.number == wraps.number + 1
    maker = alice.epoch.renewal
    assert maker is not None
    assert maker.path[0] != seat_of(alice, "tablet")
    assert phone.open(tablet.seal(b"x")) == b"x"
    for one in (alice, phone, tablet):
        assert_is_fold(one)
    assert_same_state(alice, phone, tablet)


def test_wraps_that_nobody_serves(here: Town) -> None:
    """I38: patience ends; it is said once, and another renews."""
    alice, phone, tablet = three(here)
    wraps = Wraps(tablet)
    with tablet._held.home.lock:
        bad = wraps.write([wraps.to(seat, lost=seat != seat_of(alice, "tablet")) for seat in wraps.seats])
    until(lambda: epoch_of(alice) == epoch_of(phone) == bad)
    here.house("laptop").wake()
    here.house("phone").wake()
    assert not complaints(alice)
    until(lambda: phone._held.worker._wanted_since and alice._held.worker._wanted_since)
    here.house("phone").jump(PATIENCE_S + 1)
    until(lambda: epoch_of(alice) not in (None, bad))
    until_agreed(alice, phone, tablet)
    assert complaints(alice) == [(seat_of(alice, "phone"), bad)]
    assert all_have_keys(alice, phone, tablet)


@pytest.mark.slow
def test_who_always_complains_is_not_heard(here: Town) -> None:
    """I38: a device that says of each epoch that it cannot open it does not keep the others renewing for ever."""
    alice, phone, tablet = three(here)
    seat, forger = seat_of(alice, "phone"), Forger.of(phone)
    phone._held.worker.run = idle  # type: ignore[method-assign]
    start = alice.epoch.number
    for _ in range(8):
        current = epoch_of(phone)
        assert current is not None
        before = len(complaints(alice))
        forger.say(UNOPENED, current, seat, phone._held.actor.heads(phone.folded))
        until(lambda before=before: len(complaints(alice)) > before)  # type: ignore[misc]
        here.houses["laptop"].clock.offset_s += 5
        try:
            until(lambda current=current: epoch_of(alice) not in (None, current), 2.5)  # type: ignore[misc]
        except AssertionError:
            break
        until(lambda: epoch_of(phone) == epoch_of(alice) == epoch_of(tablet))
    assert alice.epoch.number - start <= 5
    assert all_have_keys(alice, tablet)


# --- hostile blocks --------------------------------------------------------------------------------------------------


CIDS = {"of a block": b"\x01\x71\x12\x20" + bytes(32), "of nothing": bytes(36), "of nobody's": NOWHERE}


@pytest.mark.slow
@pytest.mark.parametrize("cid", CIDS.values(), ids=CIDS)
@pytest.mark.parametrize("by", ["a live device", "a removed one"])
def test_names_of_what_is_no_object(here: Town, cid: bytes, by: str) -> None:
    """I38 and I20: whatever a renewal or a grant names, nobody's work ends by it, and the next renewal heals."""
    alice, phone, tablet = three(here)
    seat, forger, wraps = seat_of(alice, "phone"), Forger.of(phone, alice.chain), Wraps(phone)
    made = [(one, key, cid) for one, key in wraps.seats.items()]
    phone._held.worker.run = idle  # type: ignore[method-assign]
    if by == "a removed one":
        alice.remove([seat])
    forger.say(RENEWED, wraps.body(made), seat, [wraps.newest])
    forger.say(GRANTED, [1, cid], seat)
    here.house("laptop").wake()
    number = alice.epoch.number
    alice.renew()
    until(lambda: alice.epoch.number > number and epoch_of(alice) == epoch_of(tablet))
    until(lambda: all_have_keys(alice, tablet))


UNKNOWN = {
    "a kind": ("surprise", [1, 2, 3]),
    "a suite": (ADDED, [1, some_device(1).block.key, bytes(32), 9, bytes(32), some_device(1).public.seal.public]),
    "a holder": (ADDED, [9, b"x"]),
    "a body": (ADDED, {"x": 1}),
}


@pytest.mark.parametrize("unknown", UNKNOWN.values(), ids=UNKNOWN)
def test_what_a_newer_version_says(here: Town, unknown: tuple[str, object]) -> None:
    """I26 and I14: what is not understood here is void here, and the identity stays usable for all, its author too."""
    alice, phone, tablet = three(here)
    kind, body = unknown
    seat, forger = seat_of(alice, "phone"), Forger.of(phone, alice.chain)
    event = forger.event(kind, body, seat, alice._held.actor.heads(alice.folded))
    late = forger.put(forger.block(PREFIX + kind, encode(event), event.seen))
    assert is_void(alice, late.id)
    alice.renew()
    until(lambda: epoch_of(alice) == epoch_of(tablet) and tablet.status().has_keys)
    assert alice.verify(b"x", tablet.sign(b"x")).is_current
    alice.remove([seat])
    assert alice.status().has_keys


@pytest.mark.slow
def test_many_heads(here: Town) -> None:
    """I14 and I33: somebody has seventy keys write beside each other: honest events still name what they need."""
    alice, phone, tablet = three(here)
    forger = Forger.of(phone, alice.chain)
    with phone._held.home.lock:
        puppets = [some_device(number) for number in range(1, 71)]
        for puppet in puppets:
            forger.admit(puppet.block.key)
        for puppet in puppets:
            Forger(alice.chain, puppet).state("asked", [puppet.public.wire, "x", b""])
    alice.renew()
    alice.remove([seat_of(alice, "phone")])
    until(lambda: epoch_of(alice) == epoch_of(tablet))
    until(lambda: all_have_keys(alice, tablet))


# --- by the clock ----------------------------------------------------------------------------------------------------


def test_renewal_by_age(here: Town) -> None:
    """I09: one device renews at the age; when it is off, another takes over."""
    policy = RenewalPolicy(age_s=30 * DAY_S, takeover_s=DAY_S, jitter=0.0)
    alice = here.house("laptop", policy).identities.create("alice", suite=ED25519)[0]
    phone = here.join(alice, "phone", policy)
    until_seated(alice, "phone")
    until_agreed(alice, phone)
    houses = [here.house("laptop"), here.house("phone")]
    for _ in range(3):
        number = alice.epoch.number
        for house in houses:
            house.jump(29.5 * DAY_S)
        assert alice.epoch.number == number
        for house in houses:
            house.jump(0.6 * DAY_S)
        until(lambda number=number: (alice.status().epoch or 0) == number + 1)  # type: ignore[misc]
        until_agreed(alice, phone)
    number = alice.epoch.number
    here.house("phone").close()
    here.house("laptop").jump(31.5 * DAY_S)  # whoever leads: after a day the other one does it
    until(lambda: alice.epoch.number > number)


@pytest.mark.parametrize("years", [-40, 40])
def test_a_clock_that_is_off_by_years(here: Town, years: int) -> None:
    """I09 and I36: a device whose clock is decades off joins, renews, opens, and makes no storm of renewals."""
    policy = RenewalPolicy(age_s=30 * DAY_S, jitter=0.0)
    alice = here.house("laptop", policy).identities.create("alice", suite=ED25519)[0]
    house = here.house("phone", policy, Clock(years * 365 * DAY_S))
    phone = house.identities.join(str(alice.invite()), device_name="phone").result(WITHIN_S)
    until_seated(alice, "phone")
    until_agreed(alice, phone)
    number = alice.epoch.number
    phone.renew()
    until_agreed(alice, phone)
    here.house("laptop").wake()
    house.wake()
    assert alice.epoch.number == number + 1
    house.jump(-years * 365 * DAY_S)  # it is set right
    until(lambda: house.identities._home.rounds._is_due() is False)
    assert phone.sign(b"x")
    alice.remove([seat_of(alice, "phone")])
    assert alice.status().has_keys


@pytest.mark.slow
def test_a_device_without_keys_is_quiet(here: Town) -> None:
    """I36: one that would renew and cannot does not spin."""
    alice, phone, tablet = three(here)
    runs = []
    run = phone._held.worker.run

    def counted(now_s: float) -> float:
        runs.append(now_s)
        return run(now_s)

    with alice._held.home.lock, tablet._held.home.lock:  # they do not renew
        with phone._held.home.lock:
            phone._held.actor.keyring._epochs.clear()
            phone._held.actor.keyring.add_epochs = lambda *_keys: None  # type: ignore[method-assign]
            phone._held.worker.run = counted  # type: ignore[method-assign]
        alice._held.log.admit(some_device(1).block.key)
        alice._held.actor.act(ADDED, some_device(1).public.wire)
        until(lambda: epoch_of(phone) is None)
        until(lambda: runs and runs[-1] - runs[0] > 2.0)
        assert len(runs) < 30
    phone._held.actor.keyring.__dict__.pop("add_epochs")
