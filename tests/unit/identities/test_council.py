"""Councils: proposed here, signed elsewhere, written by whoever may write; what members sign is all that counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from identities.acts import ADDED, NOTED, REMOVED
from identities.council import Proposal, propose, propose_adding, propose_removal, write
from identities.holders import CouncilKeys, PublicKey
from identities.identity import Identity
from identities.payloads import EVENT, PREFIX, Event, encode, removed
from identities.suites import COMPOSITE, ED25519, SigningKey
from tests.suites.identity_makers import Forger, is_void, some_device
from tests.suites.identity_nodes import Town, assert_is_fold, assert_same_state, epoch_of, seat_of, town, until_agreed
from tests.suites.nodes import until
from walytis_core import InvalidInputError, NotAllowedError

KEYS = [SigningKey.from_seed(suite, bytes([suite]) * 32) for suite in (ED25519, COMPOSITE)]
KEYS.append(SigningKey.from_seed(ED25519, b"3" * 32))
COUNCIL = CouncilKeys(2, tuple(PublicKey(key.suite, key.public) for key in KEYS))
SEAT = 1
FOUNDER = 2


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


@pytest.fixture
def alice(here: Town) -> Identity:
    """Under a council of two of three."""
    made, _ = here.house("laptop").identities.create("alice", councils=[COUNCIL], suite=ED25519)
    until(lambda: made.status().has_keys)
    return made


def signed(proposal: Proposal, *members: int) -> list[bytes]:
    """What members hand back, each of whom was given the proposal as bytes."""
    return [Proposal.decode(proposal.encoded).sign(KEYS[member], COUNCIL) for member in members]


def test_a_council_removes_the_founder(here: Town, alice: Identity) -> None:
    """I32 and I20: a council ranked above it can, through another device that the founder had evicted; they renew."""
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    evicted = seat_of(alice, "phone")
    good = phone._held.actor.heads(phone.folded)
    alice.remove([evicted])
    until(lambda: not phone.status().is_seated)
    proposal = propose_removal(phone, SEAT, [FOUNDER], cut=good)
    write(phone, proposal, signed(proposal, 0, 1))
    until_agreed(phone)
    assert [seat.id for seat in phone.folded.authority.live] == [0, SEAT, evicted]
    until(lambda: not alice.status().is_seated)
    until(lambda: set(alice.chain.heads) == set(phone.chain.heads))
    assert_same_state(alice, phone)
    assert_is_fold(phone)


def test_a_proposal_stays_good(here: Town, alice: Identity) -> None:
    """I32: members take their time; whoever carries it writes on meanwhile, and afterwards."""
    device = some_device(1)
    proposal = propose_adding(alice, SEAT, device.public)
    hands = signed(proposal, 2, 0)
    alice.renew()
    alice.note("app", b"in between")
    block = write(alice, proposal, hands)
    until(lambda: alice.status().has_keys)
    assert block.id in alice.folded.authority.seats
    alice.note("app", b"after")
    alice.renew()
    assert alice.notes() == [("app", b"in between"), ("app", b"after")]
    second = propose_removal(alice, SEAT, [bytes(block.id)])
    write(alice, second, signed(second, 0, 1, 2))
    until(lambda: alice.status().has_keys)
    assert not alice.folded.authority.seats[bytes(block.id)].is_live
    assert_is_fold(alice)


def test_too_few_signatures(alice: Identity) -> None:
    """I14: fewer than are needed, the same one twice, or of something else: nothing is written."""
    proposal, other = (propose(alice, SEAT, NOTED, [epoch_of(alice), data]) for data in (b"1", b"2"))
    one, two = signed(proposal, 0, 1)
    before = len(alice.chain)
    broken = two[:-1] + bytes([two[-1] ^ 1])
    for hands in ([], [one], [one, one], [one, broken], [one, b""], [one, *signed(other, 1)], signed(other, 0, 1)):
        with pytest.raises(InvalidInputError):
            write(alice, proposal, hands)
    with pytest.raises(NotAllowedError):
        proposal.sign(some_device(1).sign, COUNCIL)
    assert len(alice.chain) == before
    write(alice, proposal, [broken, b"\x80", one, two, one])


@pytest.mark.parametrize(
    "proofs",
    [
        [(0, 0)],
        [(0, 0), (0, 0)],
        [(0, 0), (2, 1)],
        [(0, 1), (1, 0)],
        [(0, 0), (1, 1), (2, 2)],
        [(3, 0), (4, 1)],
        [(-3, 0), (1, 1)],
    ],
    ids=str,
)
def test_by_force(alice: Identity, proofs: Sequence[tuple[int, int]]) -> None:
    """I14 and I03: on the chain it counts with just as many signatures as are needed, each by the member that it names."""
    forger = Forger.of(alice)
    event = Event(REMOVED, (SEAT,), alice._held.actor.heads(alice.folded), removed([FOUNDER], None))
    message = event.signed(alice.chain.id)
    hands = tuple([index, KEYS[key].sign(EVENT, message)] for index, key in proofs)
    payload = encode(event._replace(proofs=hands))
    made = forger.put(forger.block(PREFIX + REMOVED, payload, event.seen))
    assert is_void(alice, made.id)
    assert alice.status().is_seated


def test_what_is_proposed_is_what_counts(here: Town, alice: Identity) -> None:
    """I13 and I14: signatures fit one event of one identity, wherever they are carried; twice changes nothing."""
    other, _ = here.house("phone").identities.create("bob", councils=[COUNCIL], suite=ED25519)
    proposal = propose_adding(alice, SEAT, some_device(1).public)
    hands = signed(proposal, 0, 1)
    with pytest.raises(InvalidInputError):
        write(other, proposal, hands)
    moved = proposal._replace(chain=other.chain.id)
    with pytest.raises((InvalidInputError, NotAllowedError)):
        write(other, moved, hands)
    changed = proposal._replace(event=proposal.event._replace(body=some_device(2).public.wire))
    with pytest.raises(InvalidInputError):
        write(alice, changed, hands)
    write(alice, proposal, hands)
    for data in (b"", proposal.encoded[:-1], proposal.encoded + b"\x00", b"\xa0", bytes(100)):
        with pytest.raises(InvalidInputError):
            Proposal.decode(data)
    assert Proposal.decode(proposal.encoded) == proposal


def test_only_councils(alice: Identity) -> None:
    """I14: nobody proposes for the recovery key or a device, nor what would not count."""
    for seat in (0, FOUNDER, 7, bytes(alice.chain.id)):
        with pytest.raises(NotAllowedError):
            propose(alice, seat, ADDED, some_device(1).public.wire)


def test_a_council_does_not_wash_what_its_carrier_said(here: Town, alice: Identity) -> None:
    """I14: who has left, and carries a council's act, does not come back on top of it."""
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    seat = seat_of(alice, "phone")
    proposal = propose(phone, SEAT, NOTED, [epoch_of(phone), b"x"])
    hands = signed(proposal, 0, 1)
    phone.leave()
    until(lambda: not phone.status().is_seated)
    carried = write(phone, proposal, hands)
    until(lambda: carried.id in alice.chain)
    forger = Forger.of(phone, alice.chain)
    late = forger.say(NOTED, [epoch_of(alice), b"x"], seat, [carried.id], forgetful=True)
    assert is_void(alice, late)
