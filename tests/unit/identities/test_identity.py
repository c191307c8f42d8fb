"""An identity with real devices: signing, opening, adding, removing, renewing, on nodes that reach each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from identities.acts import ADDED, ASKED, JOINED, LEFT, NOTED, REKEYED, REMOVED, RENEWED, SeatId
from identities.bundles import Handed
from identities.dids import chain_of
from identities.epoch_keys import epoch_keys
from identities.epochs import Epoch
from identities.identity import Identity
from identities.payloads import ASKING, Asking, removed
from identities.records import sign_record
from identities.renewal import RenewalPolicy
from identities.suites import COMPOSITE, ED25519
from tests.suites.identity_makers import Forger, Wraps, is_genuine, is_void, some_device
from tests.suites.identity_nodes import (
    Town,
    all_have_opened,
    assert_is_fold,
    assert_same_state,
    epoch_of,
    seat_of,
    state_of,
    town,
    until_agreed,
    until_seated,
)
from tests.suites.nodes import until
from walytis_core import (
    BlockId,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    Reason,
    RemoteError,
    UnavailableError,
)

DAY_S = 86_400.0


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


@pytest.fixture
def alice(here: Town) -> Identity:
    """An identity with one device, a laptop."""
    return here.house("laptop").identities.create("alice", suite=ED25519)[0]


@pytest.fixture
def phone(here: Town, alice: Identity) -> Identity:
    """The same identity, on a second device."""
    joined = here.join(alice, "phone")
    until_seated(alice, "phone")
    until_agreed(alice, joined)
    return joined


def refusal(call: object, *arguments: object, **options: object) -> Reason:
    """The reason for which something of a peer's is refused."""
    with pytest.raises(RemoteError) as caught:
        call(*arguments, **options)  # type: ignore[operator]
    return caught.value.reason


@contextmanager
def apart(*identities: Identity) -> Iterator[None]:
    """Nothing that one of these devices writes reaches another meanwhile."""
    with ExitStack() as held:
        for one in identities:  # first the locks that their own work takes first
            held.enter_context(one._held.home.lock)
        for one in identities:
            held.enter_context(one.chain.engine.exclusive())
        yield


def known_epochs(identity: Identity) -> list[Epoch]:
    """The epochs that a device has the keys of."""
    return [one for one in identity.folded.epochs.all.values() if identity._held.actor.keyring.has_epoch(one.sign_id)]


# --- who it is -------------------------------------------------------------------------------------------------------


def test_the_did_is_the_chain(alice: Identity) -> None:
    """I01: a DID is the chain id after `did:walytis:`; other methods are refused."""
    assert alice.did == f"did:walytis:{alice.chain.id}"
    assert chain_of(alice.did) == alice.chain.id
    for wrong in (f"did:key:{alice.chain.id}", f"did:web:{alice.chain.id}", str(alice.chain.id), f"{alice.did}/x"):
        with pytest.raises(InvalidInputError):
            chain_of(wrong)


def test_what_it_says_of_itself(here: Town, alice: Identity, phone: Identity) -> None:
    """I12 and I29: document, seats and epoch are those of a fold of all blocks, at each moment; DID Core by its own tests."""
    for _ in range(3):
        before = alice.document()
        alice.renew()
        assert alice.document() != before
        assert_is_fold(alice)
    until_agreed(alice, phone)
    assert phone.document() == alice.document()
    alice.remove([seat_of(alice, "phone")])
    assert_is_fold(alice)
    until(lambda: not phone.status().is_seated)
    assert_is_fold(phone)


# --- signing and opening ---------------------------------------------------------------------------------------------


def test_only_its_own_keys_speak_for_it(here: Town, alice: Identity) -> None:
    """I04: no other key is looked at, whoever it belongs to and wherever it stands."""
    mallory = here.house("elsewhere").identities.create("alice", suite=ED25519)[0]
    record = mallory.sign(b"it is me")
    assert refusal(alice.verify, b"it is me", record) is Reason.WRONG_IDENTITY
    renamed = record.replace(bytes(mallory.chain.id), bytes(alice.chain.id))
    assert refusal(alice.verify, b"it is me", renamed) is Reason.UNKNOWN_KEY
    own_key = renamed.replace(mallory.epoch.sign_id, alice.epoch.sign_id)
    assert refusal(alice.verify, b"it is me", own_key) is Reason.BAD_SIGNATURE
    device = Forger.of(alice).device.sign  # a device's key is none of the identity's
    by_device = sign_record(device, alice.chain.id, "app", b"it is me")
    assert refusal(alice.verify, b"it is me", by_device) is Reason.UNKNOWN_KEY


@pytest.mark.parametrize("field", ["message", "context"])
def test_what_is_signed_is_bound(alice: Identity, field: str) -> None:
    """I04: to its message and its use."""
    record = alice.sign(b"pay 10", context="payments")
    assert alice.verify(b"pay 10", record, context="payments").epoch == alice.epoch.number
    message, context = (b"pay 99", "payments") if field == "message" else (b"pay 10", "notes")
    assert refusal(alice.verify, message, record, context=context) is Reason.BAD_SIGNATURE


def test_a_renewal_keeps_what_was(here: Town, alice: Identity, phone: Identity) -> None:
    """I06: what was sealed before opens after; what was signed before verifies as of its time, and not as of now."""
    sealed, record, then = alice.seal(b"before"), alice.sign(b"before"), alice.epoch
    alice.renew()
    until_agreed(alice, phone)
    for one in (alice, phone):
        assert one.open(sealed) == b"before"
        assert one.verify(b"before", record, at=then.id).epoch == then.number
        assert not one.verify(b"before", record, at=then.id).is_current
        assert refusal(one.verify, b"before", record, at=one.epoch.id) is Reason.UNKNOWN_KEY
        assert refusal(one.verify, b"before", record, at=bytes(36)) is Reason.UNKNOWN_KEY


def test_overlap(here: Town) -> None:
    """I08: the epoch before is good within the window of the local clock, and not after it."""
    policy = RenewalPolicy(age_s=None, overlap_s=600.0)
    house = here.house("laptop", policy)
    alice = house.identities.create("alice", suite=ED25519)[0]
    known = here.outsider(alice, "bob", house)
    records = [alice.sign(b"x")]
    known._held.work(0.0)
    alice.renew()
    until(lambda: known.folded.epochs.current is not None and known.epoch.number == 1)
    for one, home in ((alice, house), (known, here.house("bob"))):
        home.wake()
        assert one.verify(b"x", records[0]).epoch == 0
        home.jump(601.0)
        assert refusal(one.verify, b"x", records[0]) is Reason.UNKNOWN_KEY
        assert one.verify(b"x", alice.sign(b"x")).is_current


def test_no_overlap_after_a_removal(here: Town, alice: Identity, phone: Identity) -> None:
    """I08 and I20: what the removed device still signs with the epoch before is refused at once."""
    known = here.outsider(alice, "bob", here.house("laptop"))
    known._held.work(0.0)
    late = phone.sign(b"x")
    alice.remove([seat_of(alice, "phone")])
    assert refusal(alice.verify, b"x", late) is Reason.UNKNOWN_KEY
    until(lambda: epoch_of(known) == epoch_of(alice))
    assert refusal(known.verify, b"x", late) is Reason.UNKNOWN_KEY


def test_a_record_on_chain(here: Town, alice: Identity) -> None:
    """I33: a signed record for 20 bytes costs at most 1 kB on a chain; keys are named by their hashes."""
    chain = here.house("laptop").node.create_chain("notes")
    message = bytes(20)
    record = alice.sign(message)
    block = chain.append(message + record)
    assert len(block.encoded) <= 1000
    control = alice._held.control(alice.epoch)
    assert control.sign.public not in record
    assert control.sign.id in record


def test_migration_to_other_suites(here: Town, alice: Identity, phone: Identity) -> None:
    """I26: a living identity goes to hybrid keys and back: old things open, old signatures are valid."""
    kept = []
    for suite in (COMPOSITE, ED25519, COMPOSITE):
        kept.append((alice.seal(b"kept"), alice.sign(b"kept"), alice.epoch))
        epoch = alice.renew(suite=suite)
        assert alice._held.control(epoch).sign.suite == suite
        until_agreed(alice, phone)
        phone.renew()  # whoever is next goes on with the suite
        assert phone._held.control(phone.epoch).sign.suite == suite
        until_agreed(alice, phone)
    alice.rekey(suite=ED25519)
    until_agreed(alice, phone)
    for one in (alice, phone):
        for sealed, record, then in kept:
            assert one.open(sealed) == b"kept"
            assert one.verify(b"kept", record, at=then.id)


# --- renewing --------------------------------------------------------------------------------------------------------


def test_renewals_at_once(alice: Identity, phone: Identity) -> None:
    """I07: concurrent renewals come to one current epoch everywhere; what was sealed to the other one opens too."""
    number = alice.epoch.number
    with apart(alice, phone):
        alice.renew()
        phone.renew()
        sealed = [alice.seal(b"1"), phone.seal(b"2")]
    until_agreed(alice, phone)
    until(lambda: all_have_opened(alice, phone, since=number))
    for one in (alice, phone):
        assert [one.open(data) for data in sealed] == [b"1", b"2"]
        assert alice.verify(b"x", one.sign(b"x")).is_current
    assert_same_state(alice, phone)
    number = alice.epoch.number
    phone.renew()
    until_agreed(alice, phone)
    assert alice.epoch.number == number + 1


def test_a_renewal_beside_a_change_of_the_members(here: Town, alice: Identity, phone: Identity) -> None:
    """I07 and I36: two renewals here, one that knows of a new member there: all go on under one that is newer than both."""
    with apart(alice, phone):
        alice.renew()
        alice.renew()
        highest = alice.epoch.number
        phone.add(some_device(1).public)
    until(lambda: set(alice.chain.heads) == set(phone.chain.heads) and (alice.status().epoch or 0) > highest)
    until_agreed(alice, phone)
    for one in (alice, phone):
        assert one.epoch.number > highest
        assert alice.verify(b"x", one.sign(b"x")).is_current


def test_a_renewal_from_an_old_epoch(alice: Identity, phone: Identity) -> None:
    """I07: one that is dated back to an old epoch does not win, nor takes anybody back."""
    wraps = Wraps(phone)
    for _ in range(3):
        alice.renew()
    until_agreed(alice, phone)
    body = wraps.body([wraps.to(seat) for seat in wraps.seats])
    late = Forger.of(phone, alice.chain).say(RENEWED, body, seat_of(alice, "phone"), [wraps.newest])
    assert late in alice.folded.epochs.all
    assert epoch_of(alice) != late
    assert alice.epoch.number == 4


def test_device_keys_renew(here: Town, alice: Identity, phone: Identity) -> None:
    """I11: a new seat directly after the old one; what the old key signed counts as before."""
    by_old = seat_of(alice, "phone")
    phone.note("a", b"by the old key")
    phone.rekey()
    until_agreed(alice, phone)
    order = [info.id for info in alice.seats()]
    states = {info.id: info.state for info in alice.seats()}
    new = order[order.index(by_old) + 1]
    assert states[by_old] == "renewed"
    until(lambda: {info.id: info.state for info in alice.seats()}[new] == "live")
    assert ("a", b"by the old key") in alice.notes()
    phone.note("b", b"by the new key")
    until_agreed(alice, phone)
    assert ("b", b"by the new key") in alice.notes()
    third = here.join(alice, "tablet")
    until_agreed(alice, phone, third)
    assert [info.id for info in alice.seats()].index(seat_of(alice, "tablet")) > order.index(new)
    phone.rekey()
    until_agreed(alice, phone, third)
    assert phone.open(alice.seal(b"x")) == b"x"


def test_an_old_key_says_nothing_more(here: Town, alice: Identity, phone: Identity) -> None:
    """I11 and I14: after its renewal a device's old key is no seat's, wherever it is used."""
    old = Forger.of(phone, alice.chain)
    seat = seat_of(alice, "phone")
    phone.rekey()
    until_agreed(alice, phone)
    late = old.say(ADDED, some_device(3).public.wire, seat, alice._held.actor.heads(alice.folded))
    assert is_void(alice, late)
    assert late not in alice.folded.authority.seats


# --- members ---------------------------------------------------------------------------------------------------------


def test_one_who_joins_cannot_look_back(here: Town, alice: Identity) -> None:
    """I19: what was sealed before opens for nobody who came later, unless it is granted."""
    first = alice.epoch
    sealed = alice.seal(b"before")
    phone = here.join(alice, "phone")
    assert refusal(phone.open, sealed) is Reason.UNKNOWN_KEY
    alice.renew()
    until_agreed(alice, phone)
    assert refusal(phone.open, sealed) is Reason.UNKNOWN_KEY
    alice.grant(seat_of(alice, "phone"), epochs=[first.number])
    until(lambda: phone._held.actor.keyring.has_epoch(first.sign_id))
    assert phone.open(sealed) == b"before"


def test_a_grant_is_for_one(here: Town, alice: Identity, phone: Identity) -> None:
    """I19: the one it is sealed to, and nobody else; and it adds no keys that no epoch has published."""
    tablet = here.join(alice, "tablet")
    until_agreed(alice, phone, tablet)
    first = alice.folded.epochs.all[bytes(alice.chain.id)]
    alice.grant(seat_of(alice, "phone"))
    until(lambda: phone._held.actor.keyring.has_epoch(first.sign_id))
    until_agreed(alice, phone, tablet)
    assert not tablet._held.actor.keyring.has_epoch(first.sign_id)
    false = Handed(bytes(alice.chain.id), first.sign_id, epoch_keys(bytes(32)))
    phone._held.hand(seat_of(alice, "tablet"), [false])
    phone.grant(seat_of(alice, "tablet"), epochs=[1])
    until(lambda: 1 in {epoch.number for epoch in known_epochs(tablet)})
    assert not tablet._held.actor.keyring.has_epoch(first.sign_id)


def test_removal(here: Town, alice: Identity, phone: Identity) -> None:
    """I20: the renewal comes with it; the removed device opens nothing that comes later, and signs nothing."""
    before = alice.epoch.number
    earlier = alice.seal(b"earlier")
    alice.remove([seat_of(alice, "phone")])
    assert alice.epoch.number == before + 1
    later = alice.seal(b"later")
    until(lambda: not phone.status().is_seated)
    assert phone.open(earlier) == b"earlier"
    assert refusal(phone.open, later) is Reason.UNKNOWN_KEY
    for attempt in (lambda: phone.sign(b"x"), phone.renew, phone.leave, phone.rekey, phone.invite):
        with pytest.raises(NotAllowedError):
            attempt()
    assert state_of(alice, "phone") == "removed"
    assert here.house("phone").node.key not in alice._held.node_keys()


@pytest.mark.parametrize("kind", [ADDED, REMOVED, RENEWED, REKEYED, LEFT, NOTED, JOINED])
def test_what_a_removed_device_dates_back(here: Town, alice: Identity, phone: Identity, kind: str) -> None:
    """I20 and I02: as old as it can pretend to be, it changes nothing; no honest copy of it is affected."""
    tablet = here.join(alice, "tablet")
    until_agreed(alice, phone, tablet)
    seat, wraps = seat_of(alice, "phone"), Wraps(phone)
    alice.remove([seat])
    until_agreed(alice, tablet)
    seats, epoch = alice.seats(), alice.epoch
    body = {
        ADDED: some_device(4).public.wire,
        REMOVED: removed([seat_of(alice, "tablet")], None),
        RENEWED: wraps.body([wraps.to(one) for one in wraps.seats]),
        REKEYED: some_device(5).public.wire,
        NOTED: [epoch.id, b"x"],
    }.get(kind)
    late = Forger.of(phone, alice.chain).say(kind, body, seat, [wraps.newest])
    assert is_genuine(alice, late)
    assert is_void(alice, late)
    assert (alice.seats(), alice.epoch) == (seats, epoch)
    assert_is_fold(alice)
    until_agreed(alice, tablet)
    assert_same_state(alice, tablet)


def test_only_lower_ranks(here: Town, alice: Identity, phone: Identity) -> None:
    """I15 and I32: a junior removes no senior, not even with others in the same breath; nobody removes what is not there."""
    tablet = here.join(alice, "tablet")
    until_agreed(alice, phone, tablet)
    wrongs: list[list[SeatId]] = [[1], [1, seat_of(alice, "tablet")], [seat_of(phone, "phone")]]
    for seats in wrongs:
        with pytest.raises(NotAllowedError):
            phone.remove(seats)
    with pytest.raises(NotFoundError):
        phone.remove([bytes(alice.chain.id)])
    phone.remove([BlockId(seat_of(phone, "tablet"))])
    until_agreed(alice, phone)
    assert [info.state for info in alice.seats()] == ["live", "live", "live", "removed"]


def test_a_junior_by_force(alice: Identity, phone: Identity) -> None:
    """I15 and I32: a removal that names a senior and a junior takes away just the junior."""
    junior = some_device(1)
    phone.add(junior.public)
    until_agreed(alice, phone)
    added = alice.seats()[-1].id
    forger = Forger.of(phone, alice.chain)
    forger.say(REMOVED, removed([1, added], None), seat_of(alice, "phone"), alice._held.actor.heads(alice.folded))
    states = {info.id: info.state for info in alice.seats()}
    assert (states[1], states[added]) == ("live", "removed")


def test_leaving(here: Town, alice: Identity, phone: Identity) -> None:
    """I14 and I15: it ends one's own seat and no other; whoever stays renews by itself, and the leaver opens nothing more."""
    number = alice.epoch.number
    phone.leave()
    until(lambda: (alice.status().epoch or 0) > number)
    assert state_of(alice, "phone") == "left"
    until(lambda: not phone.status().is_seated)
    until(lambda: epoch_of(phone) == epoch_of(alice))
    assert refusal(phone.open, alice.seal(b"x")) is Reason.UNKNOWN_KEY
    forger = Forger.of(phone, alice.chain)
    late = forger.say(NOTED, [alice.epoch.id, b"x"], seat_of(alice, "phone"), alice._held.actor.heads(alice.folded))
    assert is_void(alice, late)


def test_a_removed_device_comes_again(here: Town, alice: Identity, phone: Identity) -> None:
    """I18 and I20: by no code that it used before; by a new one, as a new seat, and what it had said before stays void."""
    thief = Forger.of(phone, alice.chain)
    seat = seat_of(alice, "phone")
    alice.remove([seat])
    here.houses["phone"].close()
    fresh = some_device(7, node_key=thief.device.node_key)
    thief.admit(fresh.block.key)
    bare = Asking(fresh.public, "back", b"")
    asking = bare._replace(proof=fresh.sign.sign(ASKING, bare.proven(alice.chain.id)))
    asked = Forger(alice.chain, fresh).state(ASKED, asking.wire)
    assert alice.folded.authority.counts(asked)
    here.houses["laptop"].wake()
    alice.renew()
    assert state_of(alice, "back") == ""
    assert len(alice.folded.authority.live) == 2


def test_a_thief_renews_a_device_key(here: Town, alice: Identity, phone: Identity) -> None:
    """I11 and I37: the device's seat ends and the thief's is live, until a senior removes it; then it can do nothing."""
    thief = Forger.of(phone, alice.chain)
    stolen, coming = seat_of(alice, "phone"), some_device(9)
    thief.admit(coming.block.key)
    new = thief.say(REKEYED, coming.public.wire, stolen, alice._held.actor.heads(alice.folded))
    assert state_of(alice, "phone") == "renewed"
    until(lambda: not phone.status().is_seated)
    with pytest.raises(NotAllowedError):
        phone.sign(b"x")
    alice.remove([new])
    assert [seat.id for seat in alice.folded.authority.live] == [0, 1]
    as_thief = Forger(alice.chain, coming)
    late = as_thief.say(ADDED, some_device(10).public.wire, new, [new])
    assert is_void(alice, late)
    epoch = alice.epoch
    assert set(epoch.wraps) == {1}


# --- the sender's rule -----------------------------------------------------------------------------------------------


def test_nothing_is_sent_under_an_epoch_that_misses_a_member(alice: Identity, phone: Identity) -> None:
    """I36: while no epoch is wrapped to just the live seats, nothing is signed, noted or sealed."""
    with alice._held.home.lock, phone._held.home.lock:  # nobody renews
        alice._held.log.admit(some_device(1).block.key)
        alice._held.actor.act(ADDED, some_device(1).public.wire)
        assert alice.folded.epochs.current is None
        for attempt in (
            lambda: alice.sign(b"x"),
            lambda: alice.seal(b"x"),
            lambda: alice.note("a", b"x"),
            alice.document,
        ):
            with pytest.raises(UnavailableError):
                attempt()
    until(lambda: alice.folded.epochs.current is not None)
    assert alice.sign(b"x")


def test_a_list_that_is_not_that_of_the_seats(alice: Identity, phone: Identity) -> None:
    """I36: an epoch that leaves somebody out, or wraps to one too many, is not used; somebody else renews."""
    tablet = some_device(1)
    alice._held.log.admit(tablet.block.key)
    alice.add(tablet.public)
    until_agreed(alice, phone)
    epoch = alice.epoch
    wraps = Wraps(phone)
    left_out = [wraps.to(seat) for seat in wraps.seats if seat != 1]
    forged = Forger.of(phone, alice.chain).say(
        RENEWED, wraps.body(left_out), seat_of(alice, "phone"), alice._held.actor.heads(alice.folded)
    )
    assert forged in alice.folded.epochs.all
    assert alice.folded.epochs.why_unusable(alice.folded.epochs.all[forged]) is not None
    assert epoch_of(alice) != forged
    until(lambda: alice.epoch.number >= epoch.number)
