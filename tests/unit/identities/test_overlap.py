"""Which epochs are taken for what is new: the current one, and for a while the one before, by a clock that the test has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from identities.epochs import Epoch
from identities.identity import Identity
from identities.renewal import RenewalPolicy
from identities.suites import ED25519
from tests.suites.identity_makers import Wraps, some_device
from tests.suites.identity_nodes import House, Town, seat_of, town, until_agreed, until_seated
from tests.suites.nodes import until
from walytis_core import Reason, RemoteError, UnavailableError

OVERLAP_S = 600.0
POLICY = RenewalPolicy(age_s=None, overlap_s=OVERLAP_S)


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


@pytest.fixture
def laptop(here: Town) -> House:
    return here.house("laptop", POLICY)


@pytest.fixture
def alice(laptop: House) -> Identity:
    return laptop.identities.create("alice", suite=ED25519)[0]


def numbers(known: list[Epoch]) -> list[int]:
    return [epoch.number for epoch in known]


def test_the_epoch_before_is_good_for_a_while(alice: Identity, laptop: House) -> None:
    """I08: inside the window and not at its end; only the one before; a clock that is set back prolongs it, and ends nothing."""
    assert numbers(alice._held.accepted()) == [0]
    old = alice.sign(b"hello")
    alice.renew()
    assert numbers(alice._held.accepted()) == [1, 0]
    laptop.clock.offset_s += OVERLAP_S - 60
    assert numbers(alice._held.accepted()) == [1, 0]
    assert alice.verify(b"hello", old).epoch == 0
    laptop.clock.offset_s += 120
    assert numbers(alice._held.accepted()) == [1]
    with pytest.raises(RemoteError) as refused:
        alice.verify(b"hello", old)
    assert refused.value.reason is Reason.UNKNOWN_KEY
    alice.renew()
    alice.renew()
    assert numbers(alice._held.accepted()) == [3, 2]


def test_not_after_a_removal(here: Town, alice: Identity) -> None:
    """I08: an epoch that knows of a removal ends the one before at once; an ordinary one after that has its overlap again."""
    here.join(alice, "phone")
    until_seated(alice, "phone")
    before = alice.epoch.number
    alice.remove([seat_of(alice, "phone")])
    assert numbers(alice._held.accepted()) == [before + 1]
    alice.renew()
    assert numbers(alice._held.accepted()) == [before + 2, before + 1]


def test_what_was_current_here(here: Town, alice: Identity) -> None:
    """I07, I08: the one before is what was current here, not another of its number that never was usable."""
    with here.house("laptop").identities._home.lock:  # its own work waits meanwhile
        first = alice.renew()
        wraps = Wraps(alice, number=first.number + 1)
        never = wraps.write([])  # wrapped to nobody
        assert alice.epoch.id == first.id
        second = alice.renew()
        assert second.number > first.number + 1
        assert [epoch.id for epoch in alice._held.accepted()] == [second.id, first.id]
    assert never in alice.folded.epochs.all


def test_who_looks_for_the_first_time(here: Town, alice: Identity, laptop: House) -> None:
    """I08: whoever did not see the epoch turn takes the current one alone."""
    old = alice.sign(b"hello")
    alice.renew()
    known = here.outsider(alice, "other", laptop)
    until(lambda: known.epoch.number == 1)
    assert numbers(known._held.accepted()) == [1]
    with pytest.raises(RemoteError):
        known.verify(b"hello", old)


def test_between_an_adding_and_the_renewal(here: Town, alice: Identity) -> None:
    """I08: while somebody was added and nobody has renewed yet, what was good is good; after a removal nothing is."""
    actor, device = alice._held.actor, some_device(5)
    with here.house("laptop").identities._home.lock:
        number = alice.epoch.number
        alice._held.log.admit(device.block.key)
        added = actor.act("added", device.public.wire)
        assert numbers(alice._held.accepted()) == [number]
        actor.act("removed", [[bytes(added.id)], None, []])
        with pytest.raises(UnavailableError):
            alice._held.accepted()
    until_agreed(alice)
