"""Who wrote a block on a chain of the members, and that a device which has no seat any more writes none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from identities.authorship import path_of
from identities.identity import Identity
from identities.suites import ED25519
from tests.suites.identity_makers import fresh_signer, inject, raw, some_device
from tests.suites.identity_nodes import Town, seat_of, town, until_agreed, until_seated
from tests.suites.nodes import until
from walytis_core import Block, Chain, NotAllowedError, NotFoundError, Signer, UnavailableError


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


@pytest.fixture
def alice(here: Town) -> Identity:
    return here.house("laptop").identities.create("alice", suite=ED25519)[0]


def on_phone(phone: Identity, like: Chain) -> Chain:
    """The copy of a chain of the members that a device holds, once it may write there."""
    until(lambda: any(one.id == like.id for one in phone.chains()), what="the chain is held")
    return next(one for one in phone.chains() if one.id == like.id)


def write(chain: Chain, text: bytes) -> Block:
    """A block, as soon as a sync has shown that the device's key has written nothing more."""
    made = list[Block]()

    def written() -> bool:
        with suppress(UnavailableError):
            made.append(chain.append(text))
        return bool(made)

    until(written, what="the device may write")
    return made[0]


def test_devices_are_told_apart(here: Town, alice: Identity) -> None:
    """A device is named as it named itself, and by its seat; a stranger, and a block that is not held, are nobody's."""
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    chain = alice.create_chain("diary")
    mine = chain.append(b"by the laptop")
    theirs = on_phone(phone, chain)
    until(lambda: mine.id in theirs)
    also = write(theirs, b"by the phone")
    until(lambda: also.id in chain)
    author = alice.author(chain, mine.id)
    assert author is not None
    assert alice.seat is not None
    assert author == (alice.seat.name, alice.seat.id, None, "live", True)
    found = alice.author(chain, str(also.id))
    assert found == ("phone", seat_of(alice, "phone"), None, "live", True)
    assert found == phone.author(theirs, also.id)
    theirs.write_with(fresh_signer(1), fresh=True)
    assert phone.author(theirs, theirs.append(b"by nobody").id) is None
    with pytest.raises(NotFoundError):
        alice.author(alice.chain, mine.id)


def test_a_member_is_named_by_its_identity(here: Town, alice: Identity) -> None:
    """What a device of a member wrote is the member's: with its DID, and what it is called here."""
    house = here.house("laptop").identities
    club = house.create("club", controller=alice, suite=ED25519)[0]
    chain = club.create_chain("talk")
    author = club.author(chain, chain.append(b"hello").id)
    assert author is not None
    assert (author.name, author.did, author.state, author.counts) == ("alice", alice.did, "live", True)
    assert author.seat == 1
    house._home.node.rename(alice.chain, "me")
    again = club.author(chain, next(chain.blocks(newest_first=True)).id)
    assert again is not None
    assert again.name == "me"


def test_what_comes_after_a_removal_does_not_count(here: Town, alice: Identity) -> None:
    """I20: what a removed device wrote before counts on; what it writes after that, dated back or not, does not."""
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    chain = alice.create_chain("diary")
    theirs = on_phone(phone, chain)
    before = write(theirs, b"before")
    until(lambda: before.id in chain)
    seat = seat_of(alice, "phone")
    key: Signer = phone._held.device_signer
    alice.remove([seat])
    until(lambda: phone.seat is None, what="it has heard of that")
    theirs.write_with(key)  # who stole it asks nobody
    late = write(theirs, b"late")
    inject(chain, raw(late))
    for block, counts in ((before, True), (late, False)):
        author = alice.author(chain, block.id)
        assert author == ("phone", seat, None, "removed", counts)


def test_a_removed_device_is_refused(here: Town, alice: Identity) -> None:
    """I20: it writes no block that nobody takes: refused at once, also after a restart; what it has it can still read."""
    house = here.house("phone")
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    chain = alice.create_chain("diary")
    theirs = on_phone(phone, chain)
    write(theirs, b"before")
    alice.remove([seat_of(alice, "phone")])
    until(lambda: phone.seat is None, what="it has heard of that")
    count = len(theirs)
    with pytest.raises(NotAllowedError):
        theirs.append(b"late")
    with pytest.raises(NotAllowedError):
        theirs.append_many([b"late", b"later"])
    assert theirs.status().writable == "this device has no seat in the identity"
    assert chain.status().writable is None
    assert len(theirs) == count
    assert [block.payload for block in theirs.blocks()] == [b"before"]
    with pytest.raises(NotAllowedError):
        phone.create_chain("another")
    assert [one.name for one in house.node.chains() if one.name == "another"] == []


def test_writing_goes_on_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """I22: once the identities are open, the chains of the members can be written; without them their key is not there."""
    with town(tmp_path_factory.mktemp("town")) as made:
        house = made.house("laptop")
        alice = house.identities.create("alice", suite=ED25519)[0]
        alice.create_chain("diary").append(b"one")
        house.close()
        house.open()
        house.node.chain("diary").append(b"two")
        phone = made.join(house.get("alice"), "phone")
        alice = house.get("alice")
        until_seated(alice, "phone")
        theirs = on_phone(phone, house.node.chain("diary"))
        until(lambda: len(theirs) == 2)
        alice.remove([seat_of(alice, "phone")])
        until(lambda: phone.seat is None, what="it has heard of that")
        other = made.house("phone")
        other.close()
        other.open()
        with pytest.raises(NotAllowedError):
            other.node.chain(theirs.id).append(b"late")


def test_a_key_with_several_seats(alice: Identity) -> None:
    """A key that has a live seat speaks by that, of the highest rank; one that has none any more by the last it had."""
    device = some_device(7)
    key, seats = device.block.key, list[bytes]()
    for _ in range(3):
        alice.add(device.public)
        newest = alice.seats()[-1].id
        assert isinstance(newest, bytes)
        seats.append(newest)
    for gone, spoken in ((2, 0), (0, 1), (1, 2)):
        alice.remove([seats[gone]])
        assert path_of(alice.folded, key) == (seats[spoken],)
    assert path_of(alice.folded, fresh_signer(2).key) is None
