"""The identities of nodes: made, joined by codes, resolved by cards, told to other devices, taken up again after a restart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from identities import Identities
from identities.acts import ASKED, RENEWED
from identities.contacts import ContactCard
from identities.holders import CouncilKeys, PublicKey
from identities.identity import Identity
from identities.keyring import Keyring
from identities.notes import CONTACT
from identities.part import Part
from identities.payloads import ASKING, Asking, decode, read_renewal
from identities.suites import ED25519
from tests.suites.identity_makers import Forger, Wraps, is_void, some_device
from tests.suites.identity_nodes import (
    House,
    Town,
    all_have_keys,
    assert_is_fold,
    assert_same_state,
    epoch_of,
    seat_of,
    state_of,
    town,
    until_agreed,
    until_seated,
)
from tests.suites.nodes import WITHIN_S, until
from walytis_core import (
    Cid,
    ClosedError,
    InvalidInputError,
    Invitation,
    JoinError,
    Node,
    NotAllowedError,
    NotFoundError,
)


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Town]:
    """Devices whose things are on disk."""
    with town(tmp_path) as made:
        yield made


def holds(house: House, did: str) -> bool:
    """Whether a device acts for an identity and has the keys of its epoch."""
    return any(one.did == did and one.status().has_keys for one in house.identities.all())


# --- making ----------------------------------------------------------------------------------------------------------


def test_a_new_identity(here: Town) -> None:
    """I16: one controller, who made it; it is there under its name and its DID."""
    house = here.house("laptop")
    alice, code = house.identities.create("alice")
    assert [(info.kind, info.state) for info in alice.seats()] == [("recovery", "live"), ("device", "live")]
    assert alice._held.node_keys() == {house.node.key}
    assert alice.seat is not None
    assert alice.seat.id == 1
    assert alice.epoch.number == 0
    assert house.identities.get("alice") is house.identities.get(alice.did) is alice
    assert house.identities.all() == [alice]
    assert str(code) not in repr(code)
    with pytest.raises(NotFoundError):
        house.identities.get("bob")
    with pytest.raises(NotFoundError):
        house.identities.known("did:walytis:bafyreifo5owuu6lpzqxblxcmmbq3ixwzwnz7e2w7y6mmu7jnrtcydatrry")
    house.node.create_chain("notes")
    with pytest.raises(NotFoundError):
        house.identities.get("notes")


def test_a_name_that_is_taken(there: Town) -> None:
    """I16: nothing is left of an identity that was not made."""
    house = there.house("laptop")
    house.identities.create("alice")
    for name in ("alice", ""):
        with pytest.raises(InvalidInputError):
            house.identities.create(name)
    assert not list((there.directory("laptop") / "keys").glob("identity-new-*"))
    assert len(house.identities.all()) == 1


def test_a_council_above_the_founder(here: Town) -> None:
    """I16 and I32: an identity under a council can be used at once."""
    keys = [some_device(number).sign for number in range(3)]
    council = CouncilKeys(2, tuple(PublicKey(key.suite, key.public) for key in keys))
    alice, _ = here.house("laptop").identities.create("alice", councils=[council], suite=ED25519)
    assert [info.kind for info in alice.seats()] == ["recovery", "council", "device"]
    assert alice.verify(b"x", alice.sign(b"x")).epoch == 0
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    assert phone.open(alice.seal(b"x")) == b"x"


# --- restarting ------------------------------------------------------------------------------------------------------


def test_after_a_restart(there: Town) -> None:
    """I16: DID, controllers, epochs, keys, notes and open invitations are what they were."""
    house = there.house("laptop")
    alice, _ = house.identities.create("alice", suite=ED25519)
    phone = there.join(alice, "phone")
    until_seated(alice, "phone")
    until_agreed(alice, phone)
    alice.note("app", b"remember")
    sealed, record, invitation = alice.seal(b"x"), alice.sign(b"x"), alice.invite()
    before = (alice.did, alice.seats(), alice.epoch, alice.notes(), alice.document())
    house.close()
    house.open()
    alice = house.get("alice")
    assert (alice.did, alice.seats(), alice.epoch, alice.notes(), alice.document()) == before
    assert alice.open(sealed) == b"x"
    assert alice.verify(b"x", record).is_current
    assert_is_fold(alice)
    tablet = there.house("tablet").identities.join(str(invitation)).result(WITHIN_S)
    until_agreed(alice, tablet)
    alice.renew()


@pytest.mark.slow
def test_a_restart_between_joining_and_asking(there: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """I17: a device that was switched off before it could ask for a seat asks when it is on again."""
    alice, _ = there.house("laptop").identities.create("alice", suite=ED25519)
    phone = there.house("phone")
    with monkeypatch.context() as crash:
        crash.setattr(Part, "ask", lambda *_: None)
        _pending = phone.identities.join(str(alice.invite()))
        until(phone.identities.all)
        phone.close()
    phone.open()
    until(lambda: holds(phone, alice.did), 5.0)


@pytest.mark.parametrize("names", [("alice", "zoo"), ("zoe", "club")])
def test_a_group_after_a_restart(there: Town, names: tuple[str, str]) -> None:
    """I16 and I22: a person and a group, whichever is opened first, go on with one set of keys."""
    house = there.house("laptop")
    person, _ = house.identities.create(names[0], suite=ED25519)
    group, _ = house.identities.create(names[1], controller=person, suite=ED25519)
    until(lambda: all_have_keys(group))
    sealed = group.seal(b"before")
    house.close()
    house.open()
    person, group = house.get(names[0]), house.get(names[1])
    person.renew()
    group.renew()
    person.renew()
    group.renew()
    until(lambda: all_have_keys(group))
    assert group.open(sealed) == b"before"
    assert group.verify(b"x", group.sign(b"x")).is_current


# --- joining ---------------------------------------------------------------------------------------------------------


def test_joining(here: Town) -> None:
    """I17: by a code, within 5 s: seen by all, with the keys."""
    alice, _ = here.house("laptop").identities.create("alice")
    phone = here.house("phone").identities.join(str(alice.invite()), device_name="phone").result(5.0)
    tablet = here.house("tablet").identities.join(str(phone.invite()), device_name="tablet").result(5.0)
    until_seated(alice, "tablet")
    until_agreed(alice, phone, tablet)
    assert_same_state(alice, phone, tablet)
    assert [(info.name, info.state) for info in alice.seats()[1:]] == [
        ("", "live"),
        ("phone", "live"),
        ("tablet", "live"),
    ]
    assert alice._held.node_keys() == {house.node.key for house in here.houses.values()}
    for one in (alice, phone, tablet):
        assert one.open(phone.seal(b"x")) == b"x"
        assert alice.verify(b"x", one.sign(b"x")).is_current


def test_codes_that_open_nothing(here: Town) -> None:
    """I18: expired, used, revoked and invented codes make nobody a controller, and leave nothing behind."""
    house = here.house("laptop")
    alice, _ = house.identities.create("alice", suite=ED25519)
    used = alice.invite()
    here.house("phone").identities.join(str(used)).result(WITHIN_S)
    until(lambda: len(alice._held.node_keys()) == 2)
    revoked = alice.invite()
    alice.chain.revoke(revoked)
    fresh = alice.invite()
    invented = Invitation(
        chain_id=fresh.chain_id, issuer=fresh.issuer, addresses=fresh.addresses, name="alice", seed=bytes(16)
    )
    thief = here.house("thief").identities
    for code in (used, revoked, invented):
        with pytest.raises(JoinError):
            thief.join(str(code)).result(WITHIN_S)
        assert not thief.all()
        assert thief._home.node.keys.get(Keyring.name_for(alice.chain.id)) is None
    with pytest.raises(InvalidInputError):
        alice.invite(expires=timedelta(seconds=-1))
    assert len(alice._held.node_keys()) == 2


def test_without_the_secret_of_a_code(here: Town) -> None:
    """I18: who reads the chain, as everyone may, has no seat, cannot ask for one, and is given no wrap."""
    house = here.house("laptop")
    alice, _ = house.identities.create("alice", suite=ED25519)
    known = here.outsider(alice, "eve", house)
    alice.renew()
    until(lambda: epoch_of(known) == epoch_of(alice))
    assert not isinstance(known, Identity)
    with pytest.raises(NotAllowedError):
        known.chain.append(b"x")
    device = some_device(1)
    forger = Forger(alice.chain, device)
    block = forger.block("identities/asked", b"\x80")
    forger.put(block)
    assert block.id not in alice.chain
    (_, _, cid), *_ = _wraps(alice)
    wanted = known.chain.fetch_kept(Cid(cid))
    until(lambda: house.node.stats.refused.get("not a member") or not wanted.done(), 2.0)
    assert not wanted.done()
    wanted.cancel()


def _wraps(identity: Identity) -> list[tuple[object, bytes, bytes]]:
    current = epoch_of(identity)
    assert current is not None
    return list(read_renewal(decode(identity._held.log.block(current)).body).wraps)


def test_a_code_is_for_one_device(here: Town) -> None:
    """I18: a device that came by a code cannot bring others by it, with whatever keys."""
    house = here.house("laptop")
    alice, _ = house.identities.create("alice", suite=ED25519)
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    insider = Forger.of(phone, alice.chain)
    for number, node_key in ((1, insider.device.node_key), (2, house.node.key), (3, bytes(32))):
        puppet = some_device(number, node_key=node_key)
        insider.admit(puppet.block.key)
        bare = Asking(puppet.public, "puppet", b"")
        asking = bare._replace(proof=puppet.sign.sign(ASKING, bare.proven(alice.chain.id)))
        asked = Forger(alice.chain, puppet).state(ASKED, asking.wire)
        assert not is_void(alice, asked)
    house.wake()
    alice.renew()
    until_agreed(alice, phone)
    assert state_of(alice, "puppet") == ""


def test_an_asking_with_other_keys(here: Town) -> None:
    """I18: what asks for a seat proves that it holds the keys that it shows."""
    alice, _ = here.house("laptop").identities.create("alice", suite=ED25519)
    insider = Forger.of(alice)
    victim, thief = some_device(1), some_device(2)
    for device in (victim, thief):
        insider.admit(device.block.key)
    bare = Asking(victim.public, "victim", b"")
    right = victim.sign.sign(ASKING, bare.proven(alice.chain.id))
    elsewhere = victim.sign.sign(ASKING, bare.proven(bytes(36)))
    renamed = bare._replace(name="other", proof=right)
    mixed = Asking(victim.public._replace(block_key=thief.block.key), "mixed", right)
    for writer, asking in (
        (thief, bare._replace(proof=right)),
        (victim, bare._replace(proof=b"")),
        (victim, bare._replace(proof=elsewhere)),
        (victim, renamed),
        (thief, mixed),
    ):
        assert is_void(alice, Forger(alice.chain, writer).state(ASKED, asking.wire, []))
    assert not alice.folded.authority.seats.keys() - {0, 1}


# --- others ----------------------------------------------------------------------------------------------------------


def test_a_contact_card(here: Town) -> None:
    """I05: an outsider follows the chain itself, from a card that names more than the DID; what is replayed changes nothing."""
    house = here.house("laptop")
    alice, _ = house.identities.create("alice", suite=ED25519)
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    bob = here.outsider(alice, "bob", house)
    until(lambda: epoch_of(bob) == epoch_of(alice))
    assert bob.did == alice.did
    assert bob.verify(b"x", alice.sign(b"x")).is_current
    assert phone.open(bob.seal(b"to alice")) == b"to alice"
    assert_same_state(bob, alice)
    assert_is_fold(bob)
    with pytest.raises(InvalidInputError):
        _pending = here.house("bob").identities.resolve(alice.did)
    bare = ContactCard(chain_id=alice.chain.id, heads=(alice.chain.id,), epoch=0)
    assert here.house("bob").identities.resolve(bare).result(WITHIN_S) is bob
    with pytest.raises(NotFoundError):
        _pending = here.house("carol").identities.resolve(bare)


def test_a_fork_by_a_removed_device(here: Town) -> None:
    """I05 and I13: shown what a removed device writes with old control keys, an outsider is not taken back."""
    house = here.house("laptop")
    alice, _ = house.identities.create("alice", suite=ED25519)
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    thief, wraps = Forger.of(phone, alice.chain), Wraps(phone, number=1 << 31)
    bob = here.outsider(alice, "bob", house)
    alice.remove([seat_of(alice, "phone")])
    until(lambda: epoch_of(bob) == epoch_of(alice))
    bob.verify(b"x", alice.sign(b"x"))
    body = wraps.body([wraps.to(seat) for seat in wraps.seats if seat != 1])
    late = thief.say(RENEWED, body, seat_of(alice, "phone"), [wraps.newest])
    until(lambda: late in bob.folded.pasts.place)
    assert is_void(bob, late)
    assert epoch_of(bob) == epoch_of(alice)
    number = bob.epoch.number
    alice.renew()
    until(lambda: epoch_of(bob) == epoch_of(alice))
    assert bob.epoch.number > number
    assert bob.verify(b"x", alice.sign(b"x")).is_current


def test_an_identity_for_those_who_were_invited(here: Town) -> None:
    """I18: its chain is read by its devices alone; a contact card opens nothing."""
    house = here.house("laptop")
    alice, _ = house.identities.create("alice", is_public=False, suite=ED25519)
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    alice.renew()
    until_agreed(alice, phone)
    assert phone.open(alice.seal(b"x")) == b"x"
    card = alice.contact(house.node.addresses(), house.node.key)
    with pytest.raises(JoinError):
        here.house("eve").identities.resolve(card).result(WITHIN_S)
    assert not here.house("eve").node.chains()
    alice.remove([seat_of(alice, "phone")])
    until(lambda: state_of(phone, "phone") == "removed")
    assert alice.status().has_keys


# --- what one device makes -------------------------------------------------------------------------------------------


def test_other_devices_get_groups_and_contacts(here: Town) -> None:
    """I22: what one device makes is on another one with its keys, soon."""
    laptop = here.house("laptop")
    alice, _ = laptop.identities.create("alice", suite=ED25519)
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    club, _ = laptop.identities.create("club", controller=alice, suite=ED25519)
    alice.note(CONTACT, b"bob")
    until(lambda: holds(here.house("phone"), club.did))
    theirs = here.house("phone").get(club.did)
    until_agreed(club, theirs)
    assert theirs.open(club.seal(b"x")) == b"x"
    assert club.verify(b"x", theirs.sign(b"x")).is_current
    until(lambda: (CONTACT, b"bob") in phone.notes())
    theirs.renew()
    until_agreed(club, theirs)


def test_a_device_that_was_off_gets_groups(there: Town) -> None:
    """I22: also when it was off, and its identity has renewed since."""
    laptop = there.house("laptop")
    alice, _ = laptop.identities.create("alice", suite=ED25519)
    phone = there.join(alice, "phone")
    until_seated(alice, "phone")
    until_agreed(alice, phone)
    there.house("phone").close()
    alice.renew()
    club, _ = laptop.identities.create("club", controller=alice, suite=ED25519)
    alice.note(CONTACT, b"bob")
    alice.renew()
    until(lambda: all_have_keys(club))
    club.renew()
    sealed = club.seal(b"x")
    there.house("phone").open()
    until(lambda: holds(there.house("phone"), club.did))
    theirs = there.house("phone").get(club.did)
    until_agreed(club, theirs)
    assert theirs.open(sealed) == b"x"
    assert (CONTACT, b"bob") in there.house("phone").get("alice").notes()


def test_a_later_device_gets_groups(here: Town) -> None:
    """I22: a device that is added later gets what was there before: groups, contacts, and their current keys."""
    laptop = here.house("laptop")
    alice, _ = laptop.identities.create("alice", suite=ED25519)
    club, _ = laptop.identities.create("club", controller=alice, suite=ED25519)
    alice.note(CONTACT, b"bob")
    until(lambda: all_have_keys(club))
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    until(lambda: holds(here.house("phone"), club.did), 5.0)
    until(lambda: (CONTACT, b"bob") in phone.notes(), 5.0)


def test_a_device_with_new_keys_in_its_groups(here: Town) -> None:
    """I11 and I22: a device that renewed its own keys goes on in the groups of its identity."""
    alice, _ = here.house("laptop").identities.create("alice", suite=ED25519)
    club, _ = here.house("laptop").identities.create("club", controller=alice, suite=ED25519)
    until(lambda: all_have_keys(club))
    alice.rekey()
    until(lambda: club._held.log.writer == alice._held.device_signer.key, 5.0)

    def renewed() -> bool:
        try:
            club.renew()
        except NotAllowedError:  # it is not anchored yet
            return False
        return True

    until(renewed, 5.0)
    assert club.open(club.seal(b"x")) == b"x"


def test_closing(here: Town) -> None:
    """I16: no thread is left, who waits for a join is told, and closing twice is fine."""
    laptop, phone = here.house("laptop"), here.house("phone")
    alice, _ = laptop.identities.create("alice", suite=ED25519)
    with laptop.identities._home.lock:  # it lets nobody in
        pending = phone.identities.join(str(alice.invite()))
        until(phone.identities.all)
        thread = phone.identities._home.rounds._thread
        phone.close()
    with pytest.raises(ClosedError):
        pending.result(WITHIN_S)
    phone.identities.close()
    assert thread not in threading.enumerate()


def test_keys_that_cannot_be_read(here: Town) -> None:
    """I16: damaged keys of one identity are shown, and the others work."""
    laptop = here.house("laptop")
    alice, _ = laptop.identities.create("alice", suite=ED25519)
    laptop.identities.create("bob", suite=ED25519)
    with Node.in_memory() as node:
        node.keys.put(Keyring.name_for(alice.chain.id), b"\xff")
        node.adopt(alice.chain.genesis, name="alice")
        with Identities(node) as identities:
            assert list(identities.damaged()) == ["alice"]
            carol, _ = identities.create("carol", suite=ED25519)
            assert identities.all() == [carol]


def test_an_invitation_to_the_chain_gives_no_seat(here: Town) -> None:
    """I18: only what `Identity.invite` gave lets a device in, and that for an hour."""
    laptop, phone = here.house("laptop"), here.house("phone")
    alice, _ = laptop.identities.create("alice", suite=ED25519)
    pending = phone.identities.join(str(alice.chain.invite()))
    until(lambda: any(act.kind == ASKED for act in alice.folded.pasts.acts))
    code = alice.invite()
    assert code.expires is not None
    assert code.expires <= laptop.clock() + 3700
    assert laptop.identities.failure is None
    assert [info.kind for info in alice.seats()] == ["recovery", "device"]
    assert not pending.done()
    with pytest.raises(NotFoundError):
        alice._held.hand(7, [])
    with pytest.raises(InvalidInputError):
        alice.remove([])
