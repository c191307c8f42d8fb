"""Which events are genuine: each guard of `check`, by an event that is right and others that break just that guard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from identities import checking
from identities.acts import MAX_JUMP
from identities.epoch_keys import epoch_keys
from identities.holders import CouncilKeys, IdentityHolder
from identities.payloads import ASKING, EVENT, PREFIX, Asking, Event, encode, removed
from identities.recovery import RecoveryCode
from identities.suites import ED25519, SigningKey
from tests.suites.identity_blocks import CODE, FOUNDER, Page, public
from tests.suites.identity_makers import some_device
from walytis_core import block as blocks
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
from walytis_core.policy import EVERYONE, Policy, create_genesis, encode_admit

PHONE, THIEF = some_device(2), some_device(3)
ID = bytes.fromhex("01711220") + bytes(32)
NOTE = [ID, b"sealed"]
COUNCIL = [SigningKey.from_seed(ED25519, bytes([60 + n]) * 32) for n in range(3)]
NEXT = RecoveryCode(bytes(range(1, 33)))


@pytest.fixture
def page() -> Page:
    return Page()


# --- what an event builds on -----------------------------------------------------------------------------------------


def test_what_it_builds_on_is_among_its_parents(page: Page) -> None:
    """I37: its signature covers what its block hangs on."""
    first = page.say(FOUNDER, "noted", NOTE)
    added = page.say(FOUNDER, "added", PHONE.public.wire)
    assert page.takes(PHONE, "noted", NOTE, [first, added], seat=added)
    assert not page.takes(PHONE, "noted", NOTE, [first, added], seat=added, named=[added])


def test_nobody_leaves_out_what_they_said(page: Page) -> None:
    """I14, I37: an author's last event is in the past of its next one, whatever it wrote in between."""
    first = page.say(FOUNDER, "noted", NOTE)
    for _ in range(2):
        page.put(page.block(FOUNDER.block, "chat", b"between", [], prefix="app/"))
    assert page.takes(FOUNDER, "noted", NOTE)
    assert not page.takes_event(FOUNDER.block, page.signed("noted", (1,), NOTE, [], FOUNDER.sign))
    again = page.copy()
    block = again.block(FOUNDER.block, "noted", encode(page.signed("noted", (1,), NOTE, [], FOUNDER.sign)), [first])
    assert not again.holds(again.put(block)), "its block hangs on it, and its signature does not say so"


def test_a_walk_to_ones_last_event_is_bounded(page: Page) -> None:
    """I14: whoever wrote a thousand blocks between two events cannot have a thousand read."""
    for _ in range(checking._MAX_BETWEEN + 1):
        page.put(page.block(FOUNDER.block, "chat", b"x", [], prefix="app/"))
    event = page.signed("noted", (1,), NOTE, [], FOUNDER.sign)
    assert page.refusal(FOUNDER.block, event) is Reason.BAD_PAYLOAD


def test_admissions_between_two_events(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """I14, I34: a member with many devices makes others admit many keys, and must not end what they say; in bounds."""
    first = page.say(FOUNDER, "noted", NOTE)
    for _ in range(checking._MAX_BETWEEN + 6):
        page.put(page.block(FOUNDER.block, "admit", encode_admit([THIEF.block.key]), [], prefix="core/"))
    again = page.copy()
    assert again.holds(again.say(FOUNDER, "noted", NOTE))
    assert not page.takes_event(FOUNDER.block, page.signed("noted", (1,), NOTE, [], FOUNDER.sign))
    monkeypatch.setattr(checking, "_MAX_WALK", checking._MAX_BETWEEN + 5)
    assert page.refusal(FOUNDER.block, page.signed("noted", (1,), NOTE, [first], FOUNDER.sign)) is Reason.BAD_PAYLOAD


def test_the_block_that_admitted_a_key_is_not_its_own(page: Page) -> None:
    """I37: what a key hangs on was said by somebody else, and need not be known by it."""
    hung_on = blocks.decode(page.blocks[BlockId(page.say(FOUNDER, "noted", NOTE))].encoded)
    asking = asked(page, PHONE)
    payload = encode(Event("asked", (), (), asking))
    place = blocks.Place(page.id, 0, hung_on.id, (), hung_on.height + 1)
    block = blocks.create(PHONE.block, place, blocks.draft(payload, type=PREFIX + "asked"), 0)
    assert page.holds(page.put(block))


def test_what_it_builds_on_is_genuine(page: Page) -> None:
    """I14: an event that is none is in no past, nor is what is no event."""
    false = page.say(THIEF, "noted", NOTE, sign=FOUNDER.sign)
    plain = page.put(page.block(THIEF.block, "chat", b"x", [], prefix="app/"))
    assert not page.holds(false)
    for id in (false, plain):
        assert not page.takes(FOUNDER, "noted", NOTE, [id])


# --- signatures ------------------------------------------------------------------------------------------------------


def test_the_seats_own_keys_sign(page: Page) -> None:
    """I04, I14: block key and signing key are the seat's, as the act that made it says; one signature, and no more."""
    event = page.signed("noted", (1,), NOTE, [], FOUNDER.sign)
    assert page.takes_event(FOUNDER.block, event)
    assert page.refusal(THIEF.block, event) is Reason.BAD_KEY
    by_thief = page.signed("noted", (1,), NOTE, [], THIEF.sign)
    assert page.refusal(FOUNDER.block, by_thief) is Reason.BAD_SIGNATURE
    assert page.refusal(THIEF.block, by_thief) is Reason.BAD_KEY
    twice = page.signed("noted", (1,), NOTE, [], FOUNDER.sign, FOUNDER.sign)
    assert page.refusal(FOUNDER.block, twice) is Reason.BAD_KEY


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "joined", "body": None},
        {"path": (2,)},
        {"body": [ID, b"other"]},
        {"proofs": (bytes(64),)},
        {"proofs": ([b"x"],)},
    ],
    ids=repr,
)
def test_a_signature_covers_the_event(change: dict[str, Any]) -> None:
    """I14: kind, seat, body."""
    page = Page(FOUNDER.public, FOUNDER.public)
    event = page.signed("noted", (1,), NOTE, [], FOUNDER.sign)
    assert page.takes_event(FOUNDER.block, event)
    assert page.refusal(FOUNDER.block, event._replace(**change)) is Reason.BAD_SIGNATURE


def test_a_signature_covers_the_kind(page: Page) -> None:
    """I14: a first word is no leaving."""
    event = page.signed("joined", (1,), None, [], FOUNDER.sign)
    assert page.takes_event(FOUNDER.block, event)
    assert page.refusal(FOUNDER.block, event._replace(kind="left")) is Reason.BAD_SIGNATURE


def test_a_signature_covers_chain_and_past(page: Page) -> None:
    """I13, I14: what was said elsewhere, or on top of something else, was not said here."""
    elsewhere = Page(nonce=7).signed("noted", (1,), NOTE, [], FOUNDER.sign)
    assert page.refusal(FOUNDER.block, elsewhere) is Reason.BAD_SIGNATURE
    first = page.say(FOUNDER, "noted", NOTE)
    bare = page.signed("noted", (1,), NOTE, [], FOUNDER.sign)
    assert page.refusal(FOUNDER.block, bare._replace(seen=(first,))) is Reason.BAD_SIGNATURE


def test_a_made_seat_has_the_keys_it_was_made_with(page: Page) -> None:
    """I04: the holder is read from what made it, which must be an act of that kind, and in the past."""
    added = page.say(FOUNDER, "added", PHONE.public.wire)
    rekeyed = page.say(PHONE, "rekeyed", THIEF.public.wire, [added], seat=added)
    asking = page.state(some_device(5).block, "asked", asked(page, some_device(5)))
    assert page.takes(PHONE, "joined", None, [added], seat=added)
    assert page.takes(THIEF, "joined", None, [rekeyed], seat=rekeyed)
    assert not page.takes(THIEF, "joined", None, [rekeyed], seat=added)
    for seat in (asking, 2, 8):
        assert not page.takes(some_device(5), "joined", None, [asking], seat=seat)
    assert not page.takes(PHONE, "joined", None, [], seat=rekeyed)


def council_event(page: Page, *proofs: Any, signers: Iterable[int] = ()) -> Event:
    event = Event("noted", (1,), (), NOTE)
    made = [[n, COUNCIL[n].sign(EVENT, event.signed(page.id))] for n in signers]
    return event._replace(proofs=(*proofs, *made))


def test_a_council_signs_by_as_many_as_it_needs() -> None:
    """I14: so many different members, each by its own key, no more and no fewer; whoever carries it."""
    page = Page(CouncilKeys(2, tuple(map(public, COUNCIL))))
    for signers in ((0, 1), (1, 2), (2, 0)):
        assert page.takes_event(THIEF.block, council_event(page, signers=signers))
    (_, first), (_, second) = council_event(page, signers=(0, 1)).proofs
    for others in ([], [[0, first]], [[1, first]], [[3, second]], [[-2, second]], [[True, second]], [second]):
        refusal = page.refusal(THIEF.block, council_event(page, [0, first], *others))
        assert refusal is Reason.BAD_SIGNATURE, others
    assert page.refusal(THIEF.block, council_event(page, signers=(0, 1, 2))) is Reason.BAD_SIGNATURE
    assert page.refusal(THIEF.block, council_event(page, [0, first], signers=(0, 1))) is Reason.BAD_SIGNATURE


def test_who_carries_a_councils_act_has_not_said_it() -> None:
    """I14: the council signed it before, and had not seen what its carrier did; that carrier's own words still count."""
    page = Page(CouncilKeys(2, tuple(map(public, COUNCIL))), FOUNDER.public)
    said = page.say(FOUNDER, "noted", NOTE, seat=2)
    carried = page.put_event(FOUNDER.block, council_event(page, signers=(0, 1)))
    assert page.holds(carried)
    assert page.takes_event(FOUNDER.block, page.signed("noted", (2,), NOTE, [said], FOUNDER.sign))
    assert not page.takes_event(FOUNDER.block, page.signed("noted", (2,), NOTE, [], FOUNDER.sign))


# --- the recovery key ------------------------------------------------------------------------------------------------


def by_code(
    page: Page, kind: str, body: Any, seen: Iterable[bytes] = (), named: bytes | None = None, code: RecoveryCode = CODE
) -> Event:
    event = Event(kind, (0,), tuple(sorted(seen)), body)
    keys = code.public
    return event._replace(proofs=([named, keys.block_key, *keys.sign, code.sign.sign(EVENT, event.signed(page.id))],))


def test_the_recovery_key_is_the_one_of_the_genesis(page: Page) -> None:
    """I14, I20: its hash is published; it writes with its own block key, and signs."""
    event = by_code(page, "removed", removed([1], None))
    assert page.takes_event(CODE.block, event)
    assert page.refusal(THIEF.block, event) is Reason.BAD_KEY
    assert page.refusal(NEXT.block, by_code(page, "removed", removed([1], None), code=NEXT)) is Reason.BAD_KEY
    *keys, _ = event.proofs[0]
    by_thief = (*keys, THIEF.sign.sign(EVENT, event.signed(page.id)))
    assert page.refusal(CODE.block, event._replace(proofs=(list(by_thief),))) is Reason.BAD_SIGNATURE
    assert page.refusal(CODE.block, event._replace(proofs=(bytes(64),))) is Reason.BAD_SIGNATURE


def test_the_next_recovery_key_is_the_one_that_was_named(page: Page) -> None:
    """I14: by what the key before it said last, and by nothing else."""
    body = removed([1], None)
    used = page.put_event(CODE.block, by_code(page, "recovered", [NEXT.public.hash, NEXT.block.key]))
    noted = page.say(FOUNDER, "noted", [ID, NEXT.public.hash])
    assert page.takes_event(NEXT.block, by_code(page, "removed", body, [used], used, NEXT))
    assert not page.takes_event(NEXT.block, by_code(page, "removed", body, [used], None, NEXT))
    assert not page.takes_event(NEXT.block, by_code(page, "removed", body, [noted], noted, NEXT))
    assert not page.takes_event(NEXT.block, by_code(page, "removed", body, [noted], used, NEXT))


# --- kinds -----------------------------------------------------------------------------------------------------------


def test_each_kind_has_who_may_say_it(page: Page) -> None:
    """I14, I15: only the recovery key recovers, and it does not leave; only a device renews its own key."""
    following = [NEXT.public.hash, NEXT.block.key]
    assert page.takes_event(CODE.block, by_code(page, "recovered", following))
    assert not page.takes(FOUNDER, "recovered", following)
    assert page.takes(FOUNDER, "left")
    assert not page.takes_event(CODE.block, by_code(page, "left", None))
    assert page.takes(FOUNDER, "rekeyed", PHONE.public.wire)
    assert not page.takes_event(CODE.block, by_code(page, "rekeyed", PHONE.public.wire))


def test_the_recovery_key_has_its_own_seat() -> None:
    """I14: it signs for no other, not for one whose holder signs nothing itself either."""
    page = Page(FOUNDER.public, IdentityHolder(Page(nonce=5).encoded))
    for seat in (1, 2):
        event = Event("noted", (seat,), (), NOTE)
        proof = [None, CODE.public.block_key, *CODE.public.sign, CODE.sign.sign(EVENT, event.signed(page.id))]
        assert not page.takes_event(CODE.block, event._replace(proofs=(proof,)))


def test_a_complaint_names_a_renewal(page: Page) -> None:
    """I38: or nobody would know what it is about."""
    noted = page.say(FOUNDER, "noted", NOTE)
    renewed = page.say(FOUNDER, "renewed", page.renewal(1, page.id, vouching=page.id))
    assert page.takes(FOUNDER, "unopened", renewed)
    assert not page.takes(FOUNDER, "unopened", noted)
    assert not page.takes(FOUNDER, "unopened", ID)


def test_a_nested_identity_is_one(page: Page) -> None:
    """I21: what gets a seat has an identity's first block."""
    policy = Policy(frozenset((FOUNDER.block.key,)), EVERYONE, b"")
    plain = create_genesis(FOUNDER.block, policy, bytes(16), 0).encoded
    assert page.takes(FOUNDER, "added", IdentityHolder(Page(nonce=3).encoded).wire)
    assert not page.takes(FOUNDER, "added", IdentityHolder(plain).wire)


# --- renewals --------------------------------------------------------------------------------------------------------


def test_a_renewal_is_vouched_for(page: Page) -> None:
    """I05, I14: by the control key of an epoch in its past, over all of it, on this chain; or by the recovery key."""
    first = page.say(FOUNDER, "renewed", page.renewal(1, page.id, vouching=page.id))
    second = epoch_keys((1).to_bytes(32, "big")).signing(ED25519)
    noted = page.say(FOUNDER, "noted", NOTE)
    assert page.takes(FOUNDER, "renewed", page.renewal(2, first, vouching=first, by=second))
    assert page.takes(FOUNDER, "renewed", page.renewal(2, first, vouching=page.id))
    assert page.takes_event(CODE.block, by_code(page, "renewed", page.renewal(2, first, by=CODE.sign), [first]))
    wrong = [
        page.renewal(2, first, vouching=page.id, by=second), page.renewal(2, first, vouching=first),
        page.renewal(2, first, vouching=first, by=THIEF.sign), page.renewal(2, first, vouching=None, by=second),
        page.renewal(2, first, vouching=noted, by=second), page.renewal(2, first, vouching=ID, by=second),
        page.renewal(2, first, vouching=first, by=second, elsewhere=Page(nonce=9).id),
    ]  # fmt: skip
    for number, body in enumerate(wrong):
        assert not page.takes(FOUNDER, "renewed", body), number
    number, *rest = page.renewal(2, first, vouching=first, by=second)
    assert not page.takes(FOUNDER, "renewed", [number + 1, *rest])
    assert not page.takes_event(CODE.block, by_code(page, "renewed", page.renewal(2, first, by=second), [first]))


def test_numbers_go_up_and_not_too_far(page: Page) -> None:
    """I05, I07: above that of the renewal it follows, which is one, and within the jump."""
    first = page.say(FOUNDER, "renewed", page.renewal(5, page.id, vouching=page.id))
    noted = page.say(FOUNDER, "noted", NOTE)
    for number, previous, is_right in (
        (6, first, True), (5 + MAX_JUMP, first, True), (MAX_JUMP, page.id, True), (1, page.id, True),
        (5, first, False), (4, first, False), (6 + MAX_JUMP, first, False), (MAX_JUMP + 1, page.id, False), (6, noted, False),
    ):  # fmt: skip
        assert page.takes(FOUNDER, "renewed", page.renewal(number, previous, vouching=page.id)) is is_right, number


# --- asking ----------------------------------------------------------------------------------------------------------


def asked(page: Page, device: Any, *, name: str = "phone", by: SigningKey | None = None) -> Any:
    bare = Asking(device.public, name, b"")
    return bare._replace(proof=(by or device.sign).sign(ASKING, bare.proven(page.id))).wire


def test_who_asks_holds_the_keys_that_are_shown(page: Page) -> None:
    """I18: both of them."""
    right = asked(page, PHONE)
    assert page.copy().holds_fact(PHONE.block, "asked", right)
    assert not page.copy().holds_fact(THIEF.block, "asked", right)
    assert not page.copy().holds_fact(PHONE.block, "asked", asked(page, PHONE, by=THIEF.sign))
    assert not page.copy().holds_fact(PHONE.block, "asked", asked(Page(nonce=4), PHONE))
    device, _, proof = right
    assert not page.copy().holds_fact(PHONE.block, "asked", [device, "other", proof])
