"""Which events are genuine: on the chain of a real node, written by hand, in any order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from identities.acts import (
    ADDED,
    ANCHORED,
    ASKED,
    CONFIRMED,
    CUT,
    GRANTED,
    JOINED,
    LEFT,
    NOTED,
    OPENED,
    RECOVERED,
    REKEYED,
    REMOVED,
    RENEWED,
    UNOPENED,
    SeatId,
)
from identities.identities import Identities
from identities.identity import Identity
from identities.payloads import EVENT, PREFIX, SUCCESSION, Event, encode, read_renewal, removed
from identities.suites import COMPOSITE, ED25519, SigningKey
from tests.suites.identity_makers import NOWHERE, Forger, Wraps, copy_of, inject, is_genuine, is_void, raw, some_device
from tests.suites.identity_nodes import (
    Town,
    assert_is_fold,
    conclusions,
    epoch_of,
    seat_of,
    state_of,
    town,
    until_agreed,
)
from tests.suites.nodes import until
from walytis_core import Node

OTHER = some_device(40)


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


@pytest.fixture
def alice(here: Town) -> Identity:
    return here.house("laptop").identities.create("alice", suite=ED25519)[0]


def with_phone(here: Town, alice: Identity) -> Identity:
    phone = here.join(alice, "phone")
    until(lambda: state_of(alice, "phone") == "live")
    until_agreed(alice, phone)
    return phone


def bodies(identity: Identity) -> dict[str, Any]:
    """Something of each kind that a seat says."""
    current = epoch_of(identity)
    wraps = Wraps(identity)
    return {
        ADDED: OTHER.public.wire,
        REMOVED: removed([2], None),
        CUT: [current, []],
        LEFT: None,
        REKEYED: OTHER.public.wire,
        JOINED: None,
        RENEWED: wraps.body([wraps.to(seat) for seat in wraps.seats]),
        UNOPENED: current,
        CONFIRMED: None,
        RECOVERED: [bytes(32), OTHER.block.key],
        NOTED: [current, b"x"],
        GRANTED: [1, NOWHERE],
        OPENED: identity.chain.genesis,
    }


KINDS = (ADDED, REMOVED, CUT, LEFT, REKEYED, JOINED, RENEWED, UNOPENED, CONFIRMED, RECOVERED, NOTED, GRANTED, OPENED)


# --- signatures ------------------------------------------------------------------------------------------------------


def nobody(event: Event, forger: Forger, chain: bytes) -> tuple[Any, ...]:
    return (b"",)


def another_key(event: Event, forger: Forger, chain: bytes) -> tuple[Any, ...]:
    return (OTHER.sign.sign(EVENT, event.signed(chain)),)


def another_chain(event: Event, forger: Forger, chain: bytes) -> tuple[Any, ...]:
    return (forger.device.sign.sign(EVENT, event.signed(bytes(36))),)


def another_kind(event: Event, forger: Forger, chain: bytes) -> tuple[Any, ...]:
    return (
        forger.device.sign.sign(EVENT, event._replace(kind="noted" if event.kind != NOTED else ADDED).signed(chain)),
    )


def another_seat(event: Event, forger: Forger, chain: bytes) -> tuple[Any, ...]:
    return (forger.device.sign.sign(EVENT, event._replace(path=(2,)).signed(chain)),)


def another_past(event: Event, forger: Forger, chain: bytes) -> tuple[Any, ...]:
    return (forger.device.sign.sign(EVENT, event._replace(seen=()).signed(chain)),)


def another_use(event: Event, forger: Forger, chain: bytes) -> tuple[Any, ...]:
    return (forger.device.sign.sign("walytis/record/app", event.signed(chain)),)


def twice(event: Event, forger: Forger, chain: bytes) -> tuple[Any, ...]:
    good = forger.device.sign.sign(EVENT, event.signed(chain))
    return (good, good)


def in_a_list(event: Event, forger: Forger, chain: bytes) -> tuple[Any, ...]:
    return ([0, forger.device.sign.sign(EVENT, event.signed(chain))],)


def other_suite(event: Event, forger: Forger, chain: bytes) -> tuple[Any, ...]:
    """The same seed's key of another suite: what signs never says by which."""
    return (SigningKey.from_seed(COMPOSITE, forger.device.sign_seed).sign(EVENT, event.signed(chain)),)


WRONGS = (
    nobody,
    another_key,
    another_chain,
    another_kind,
    another_seat,
    another_past,
    another_use,
    twice,
    in_a_list,
    other_suite,
)


def made_by(forger: Forger, event: Event) -> Any:
    """The block of an event, on top of what its key wrote last; taken by no node yet."""
    return forger.block(PREFIX + event.kind, encode(event), event.seen)


@pytest.mark.parametrize("wrong", WRONGS, ids=lambda wrong: wrong.__name__)
def test_wrong_signatures(alice: Identity, wrong: Callable[[Event, Forger, bytes], tuple[Any, ...]]) -> None:
    """I14 and I03: an event of any kind that its seat did not sign just so is void; what it says does not happen."""
    forger = Forger.of(alice)
    alice.renew()
    with alice._held.home.lock:
        before, said, seen = conclusions(alice), bodies(alice), alice._held.actor.heads(alice.folded)
        for kind in KINDS:
            event = Event(kind, (1,), seen, said[kind])
            block = made_by(forger, event._replace(proofs=wrong(event, forger, alice.chain.id)))
            with copy_of(alice, block) as copy:
                assert is_void(copy, block.id)
                assert not is_genuine(copy, block.id)
                assert conclusions(copy) == before


def test_the_right_signature(alice: Identity) -> None:
    """I14: the same events are genuine once their seat has signed them; all but what the recovery code alone may say."""
    forger = Forger.of(alice)
    alice.renew()
    with alice._held.home.lock:
        seen, said = alice._held.actor.heads(alice.folded), bodies(alice)
        for kind in KINDS:
            block = made_by(forger, forger.event(kind, said[kind], 1, seen))
            with copy_of(alice, block) as copy:
                assert is_genuine(copy, block.id) is (kind != RECOVERED)


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_signature_on_the_wrong_block(here: Town, alice: Identity, kind: str) -> None:
    """I14 and I37: a signed event counts only in a block by its seat's key; nobody else carries it, not another seat either."""
    phone = with_phone(here, alice)
    with alice._held.home.lock, phone._held.home.lock:
        forger, thief = Forger.of(alice), Forger.of(phone, alice.chain)
        event = forger.event(kind, bodies(alice)[kind], 1, thief.last_events())
        before = conclusions(alice)
        made = thief.put(thief.block(PREFIX + kind, encode(event), event.seen))
        assert is_void(alice, made.id)
        assert conclusions(alice) == before


# --- strangers -------------------------------------------------------------------------------------------------------


def test_a_stranger(alice: Identity) -> None:
    """I02: whoever was let in to write, and has no seat, changes nothing by whatever name or date; others are no members."""
    stranger = some_device(1)
    outside = Forger(alice.chain, some_device(2))
    block = outside.block(PREFIX + ADDED, b"\x80")
    outside.put(block)
    assert block.id not in alice.chain
    Forger.of(alice).admit(stranger.block.key)
    before = conclusions(alice)
    for kind, body in bodies(alice).items():
        for seat in (0, 1, 2, bytes(alice.chain.id)):
            forger = Forger(alice.chain, some_device(1))
            made = forger.event(kind, body, seat, ())
            one = forger.put(forger.block(PREFIX + kind, encode(made)))
            assert is_void(alice, one.id)
    assert conclusions(alice) == before


def test_back_dated_in_any_order(here: Town, alice: Identity) -> None:
    """I02, I13, I30 and I37: honest and hostile events come to the same in every order that they arrive in, twice or once."""
    phone = with_phone(here, alice)
    seat = seat_of(alice, "phone")
    forger, wraps = Forger.of(phone, alice.chain), Wraps(phone)
    alice.renew()
    alice.remove([seat])
    forger.say(ADDED, some_device(1).public.wire, seat)
    forger.say(RENEWED, wraps.body([wraps.to(one) for one in wraps.seats]), seat, [wraps.newest])
    forger.say(REMOVED, removed([1], None), seat)
    stranger = Forger(alice.chain, some_device(2))
    forger.admit(stranger.device.block.key)
    stranger.say(REMOVED, removed([1], None), 1)
    stranger.say(ADDED, some_device(3).public.wire, 0)
    alice.renew(suite=COMPOSITE)
    here.house("phone").close()
    blocks = [raw(block) for block in alice.chain.blocks()]
    wanted = conclusions(alice)
    assert state_of(alice, "phone") == "removed"
    for seed in range(6):
        shuffled = [*blocks, *blocks[::3]]
        random.Random(seed).shuffle(shuffled)
        with Node.in_memory() as node:
            chain = node.adopt(alice.chain.genesis, name="copy")
            with Identities(node) as identities:
                for block in shuffled:
                    inject(chain, block)
                copy = identities.known(alice.did)
                assert conclusions(copy) == wanted
                assert_is_fold(copy)
                assert copy.document() == alice.document()


def test_replay(here: Town, alice: Identity) -> None:
    """I13: an event that counted once has no effect a second time, in a new block of its author or of another's."""
    phone = with_phone(here, alice)
    seat = seat_of(alice, "phone")
    alice.renew()
    until_agreed(alice, phone)
    phone.note("app", b"x")
    until_agreed(alice, phone)
    until(lambda: phone.notes() == alice.notes())
    before = conclusions(alice)
    with alice._held.home.lock, phone._held.home.lock:
        for block in [block for block in alice.chain.blocks() if block.type.startswith(PREFIX)]:
            for forger in (Forger.of(alice), Forger.of(phone, alice.chain)):
                again = forger.block(block.type, block.payload, list(block.ancestors_named))
                if block.author != again.author:
                    continue
                forger.put(again)
                assert is_void(alice, again.id)
    after = conclusions(alice)
    assert {key: value for key, value in after.items() if key != "void"} == {
        key: value for key, value in before.items() if key != "void"
    }
    assert seat in alice.folded.authority.seats


# --- the past --------------------------------------------------------------------------------------------------------


def test_nobody_leaves_out_what_they_said(here: Town, alice: Identity) -> None:
    """I37 and I20: an event that does not build on its author's last one is void; after a leaving that could undo it."""
    phone = with_phone(here, alice)
    seat = seat_of(alice, "phone")
    forger = Forger.of(phone, alice.chain)
    phone.leave()
    until(lambda: state_of(alice, "phone") == "left")
    late = forger.say(NOTED, [epoch_of(alice), b"x"], seat, [seat], forgetful=True)
    assert is_void(alice, late)
    assert not is_genuine(alice, late)


def test_what_is_not_there(here: Town, alice: Identity) -> None:
    """I37: what builds on something that is not among its parents, is no event, or is not genuine, is void."""
    alice._held.log.admit(OTHER.block.key)
    alice.add(OTHER.public)
    seat, forger = alice.seats()[-1].id, Forger(alice.chain, OTHER)
    assert isinstance(seat, bytes)
    plain = alice.chain.append(b"no event")
    made = forger.event(JOINED, None, seat, [seat])
    bad = forger.block(PREFIX + JOINED, encode(made._replace(proofs=(b"",))), [seat])
    unnamed = forger.block(PREFIX + JOINED, encode(made))
    no_event = made_by(forger, forger.event(JOINED, None, seat, [seat, plain.id]))
    good = made_by(forger, made)
    for block, is_right in ((unnamed, False), (no_event, False), (good, True)):
        with copy_of(alice, block) as copy:
            assert is_void(copy, block.id) is not is_right
    with copy_of(alice, bad) as copy:
        after = Forger(copy.chain, OTHER)
        for seen in ([seat], [seat, bad.id]):
            block = made_by(after, after.event(JOINED, None, seat, seen))
            inject(copy.chain, block)
            assert is_void(copy, block.id)


def test_an_earlier_life(here: Town, alice: Identity) -> None:
    """I37: who is added again has a new seat; nothing that is dated before it counts for it, nor does the old seat live."""
    alice._held.log.admit(OTHER.block.key)
    forger = Forger(alice.chain, OTHER)
    alice.add(OTHER.public)
    first = alice.seats()[-1].id
    assert isinstance(first, bytes)
    early = forger.say(ADDED, some_device(5).public.wire, first, [first])
    alice.remove([first], cut=[first])
    assert is_void(alice, early)
    alice.add(OTHER.public)
    second = alice.seats()[-1].id
    assert isinstance(second, bytes)
    assert second != first
    dated_back = made_by(forger, forger.event(ADDED, some_device(7).public.wire, second, forger.last_events()))
    with copy_of(alice, dated_back) as copy:
        assert is_void(copy, dated_back.id)
    by_old = forger.say(ADDED, some_device(6).public.wire, first, [second])
    now = forger.say(JOINED, None, second, [second])
    assert is_void(alice, by_old)
    assert not is_void(alice, now)
    states = {info.id: info.state for info in alice.seats()}
    assert (states[first], states[second]) == ("removed", "live")
    assert_is_fold(alice)


def test_equivocation(here: Town, alice: Identity) -> None:
    """I37: a copied key that forks voids nothing that others built on; its seat stays until removed, and writes no more."""
    phone = with_phone(here, alice)
    seat = seat_of(alice, "phone")
    before = set(alice.folded.pasts.place)
    fork = Forger.of(phone, alice.chain)
    with alice._held.home.lock, phone._held.home.lock:
        newest = fork.own()
        assert newest is not None
        for number in (1, 2):
            event = fork.event(NOTED, [epoch_of(alice), b"%d" % number], seat, fork.last_events())
            inject(alice.chain, fork.block(PREFIX + NOTED, encode(event), event.seen, prev=newest))
    assert phone._held.device_signer.key in alice.chain.equivocations()
    assert before <= set(alice.folded.pasts.place)
    assert state_of(alice, "phone") == "live"
    after = fork.say(NOTED, [epoch_of(alice), b"3"], seat)
    assert after not in alice.folded.pasts.place
    alice.remove([seat])
    assert state_of(alice, "phone") == "removed"
    assert alice.status().has_keys
    assert_is_fold(alice)


def test_one_event_changes_one_seat(here: Town, alice: Identity) -> None:
    """I15: each kind of event changes exactly the seats that it names."""
    devices = [some_device(number) for number in range(10, 14)]
    for device in devices:
        alice._held.log.admit(device.block.key)
        alice.add(device.public)
    seats: list[SeatId] = [info.id for info in alice.seats()]

    def states() -> dict[SeatId, str]:
        return {info.id: info.state for info in alice.seats()}

    one, two, three, four = seats[-4:]
    expected = states()
    alice.remove([two])
    assert states() == {**expected, two: "removed"}
    expected = states()
    Forger(alice.chain, devices[0]).say(JOINED, None, one, [bytes(one)] if isinstance(one, bytes) else [])
    assert states() == {**expected, one: "live"}
    expected = states()
    forger = Forger(alice.chain, devices[2])
    forger.say(LEFT, None, three, alice._held.actor.heads(alice.folded))
    assert states() == {**expected, three: "left"}
    expected = states()
    alice.renew()
    alice.note("app", b"x")
    assert states() == expected
    alice.remove([four, one])
    assert states() == {**expected, four: "removed", one: "removed"}


def test_renewals_are_vouched_for(here: Town, alice: Identity) -> None:
    """I05 and I14: a renewal without the succession signature of an earlier epoch, or with a number out of line, is void."""
    forger = Forger.of(alice)
    alice.renew()
    with alice._held.home.lock:
        wraps = Wraps(alice)
        held = alice._held.actor.keyring.epoch(alice.epoch.sign_id)
        assert held is not None
        key = held.signing(ED25519)
        good = read_renewal(wraps.body([wraps.to(seat) for seat in wraps.seats]))
        chain = alice.chain.id
        bad = [
            good._replace(succession=b""),
            good._replace(succession=OTHER.sign.sign(SUCCESSION, good.vouched(chain))),
            good._replace(vouching=bytes(chain)),
            good._replace(vouching=None),
            good._replace(number=good.number + 1),
            good._replace(control=good.control._replace(sign=OTHER.public.sign)),
        ]
        for number in (1, 1 << 40):
            odd = good._replace(number=number)
            bad.append(odd._replace(succession=key.sign(SUCCESSION, odd.vouched(chain))))
        before = conclusions(alice)
        for renewal in bad:
            block = made_by(forger, forger.event(RENEWED, renewal.wire, 1, alice._held.actor.heads(alice.folded)))
            with copy_of(alice, block) as copy:
                assert is_void(copy, block.id)
                assert not is_genuine(copy, block.id)
                assert conclusions(copy) == before


def test_facts_that_are_none(here: Town, alice: Identity) -> None:
    """I14: an anchor for a seat that is no identity's, or an asking by another's key, is void and stays alone."""
    heads = [bytes(one) for one in alice.folded.pasts.place] or [bytes(alice.chain.id)]
    with alice._held.home.lock:
        for seat in (1, 2, bytes(alice.chain.id)):
            forger = Forger(alice.chain, some_device(20 + len(str(seat))))
            alice._held.log.admit(forger.device.block.key)
            made = forger.state(ANCHORED, [seat, sorted(heads)[:1], None])
            assert is_void(alice, made)
        asking = [OTHER.public.wire, "x", b"y"]
        forger = Forger(alice.chain, some_device(30))
        alice._held.log.admit(forger.device.block.key)
        assert is_void(alice, forger.state(ASKED, asking))
    assert alice.status().is_seated
