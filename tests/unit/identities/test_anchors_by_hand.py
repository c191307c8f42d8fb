"""Anchors, and events of devices behind nested identities: each guard of `check`, by what is right and what breaks just that."""

from __future__ import annotations

from typing import Any

import pytest

from identities import checking
from identities.acts import SeatId
from identities.holders import IdentityHolder
from identities.payloads import EVENT, Event, encode
from tests.suites.identity_blocks import FOUNDER, Page
from tests.unit.identities.test_checking_by_hand import NOTE, PHONE, THIEF, asked
from walytis_core.cid import BlockId
from walytis_core.standing import OBEYED, Wait


def nested() -> tuple[Page, Page, bytes]:
    """A person, a group whose first seat is theirs, and the person's newest event."""
    person = Page(nonce=20)
    head = person.say(FOUNDER, "joined")
    return person, Page(IdentityHolder(person.encoded), others=[person], nonce=21), head


def by_nested(page: Page, anchors: list[bytes], *, path: tuple[SeatId, ...] = (1, 1), sign: Any = None) -> Event:
    event = Event("noted", path, tuple(sorted(anchors)), NOTE)
    return event._replace(proofs=([anchors, (sign or FOUNDER.sign).sign(EVENT, event.signed(page.id))],))


def test_a_device_behind_a_nested_identity_is_looked_up_there() -> None:
    """I04, I34: its keys are those of its own identity's chain, found by an anchor of just that seat."""
    person, group, head = nested()
    anchor = group.state(FOUNDER.block, "anchored", [1, [head], None])
    assert group.holds(anchor)
    assert group.takes_event(FOUNDER.block, by_nested(group, [anchor]))
    assert not group.takes_event(FOUNDER.block, by_nested(group, [anchor], sign=THIEF.sign))
    assert not group.takes_event(THIEF.block, by_nested(group, [anchor], sign=THIEF.sign))
    assert not group.takes_event(FOUNDER.block, by_nested(group, [anchor], path=(1, 2)))
    assert not group.takes_event(FOUNDER.block, by_nested(group, [anchor, anchor]))
    assert not group.takes_event(FOUNDER.block, by_nested(group, [anchor], path=(1, 1, 1)))
    plain = group.signed("noted", (1,), NOTE, [anchor], FOUNDER.sign)
    assert not group.takes_event(FOUNDER.block, plain), "an identity itself signs nothing"
    other = group.state(THIEF.block, "asked", asked(group, THIEF))
    assert not group.takes_event(FOUNDER.block, by_nested(group, [other], path=(1, 1)))
    assert group.holds(other)
    assert person.holds(head)


def test_an_anchor_is_of_the_seat_that_acts() -> None:
    """I34: one of another seat lends nobody its keys."""
    person, other = Page(nonce=20), Page(nonce=23, founder=THIEF)
    head, theirs = person.say(FOUNDER, "joined"), other.say(THIEF, "joined")
    group = Page(IdentityHolder(person.encoded), IdentityHolder(other.encoded), others=[person, other], nonce=24)
    anchor = group.state(FOUNDER.block, "anchored", [1, [head], None])
    second = group.state(THIEF.block, "anchored", [2, [theirs], None])
    assert group.holds(second)
    assert group.takes_event(THIEF.block, by_nested(group, [second], path=(2, 1), sign=THIEF.sign))
    assert not group.takes_event(FOUNDER.block, by_nested(group, [second], path=(1, 1)))
    assert group.takes_event(FOUNDER.block, by_nested(group, [anchor], path=(1, 1)))
    rekey = Event("rekeyed", (1, 1), (anchor,), PHONE.public.wire)
    rekey = rekey._replace(proofs=([[anchor], FOUNDER.sign.sign(EVENT, rekey.signed(group.id))],))
    assert not group.takes_event(FOUNDER.block, rekey), "a device behind a nested seat has no seat here to renew"


def test_an_anchor_of_the_same_identity_by_another_seat() -> None:
    """I34: the seat that acts is the one that is anchored."""
    person = Page(nonce=20)
    head = person.say(FOUNDER, "joined")
    both = Page(*[IdentityHolder(person.encoded)] * 2, others=[person], nonce=26)
    anchor = both.state(FOUNDER.block, "anchored", [2, [head], None])
    assert both.takes_event(FOUNDER.block, by_nested(both, [anchor], path=(2, 1)))
    assert not both.takes_event(FOUNDER.block, by_nested(both, [anchor], path=(1, 1)))


def test_who_is_behind_a_seat_is_waited_for() -> None:
    """I34: an event whose device is to be looked up in what is not held here is judged when it is."""
    person, group, _ = nested()
    late = person.copy().say(FOUNDER, "noted", NOTE)
    unknown = group.state(THIEF.block, "anchored", [1, [late], None])
    group.put(group.block(FOUNDER.block, "chat", b"x", [unknown], prefix="app/"))
    bare = Event("noted", (1, 1), (), NOTE)
    event = bare._replace(proofs=([[unknown], FOUNDER.sign.sign(EVENT, bare.signed(group.id))],))
    assert group.said[group.put_event(FOUNDER.block, event)] == Wait(person.id, (BlockId(late),))


def test_an_anchor_waits_for_what_it_names() -> None:
    """I34: and is void where its seat is no identity's."""
    person, group, head = nested()
    late = person.copy().say(FOUNDER, "noted", NOTE)
    unknown = group.state(FOUNDER.block, "anchored", [1, [late], None])
    assert group.said[unknown] == Wait(person.id, (BlockId(late),))
    alone = Page(IdentityHolder(person.encoded), nonce=21)
    assert isinstance(alone.said[alone.state(FOUNDER.block, "anchored", [1, [head], None])], Wait)
    page = Page()
    assert not page.copy().holds_fact(FOUNDER.block, "anchored", [1, [head], None])
    assert not isinstance(page.said.get(page.state(FOUNDER.block, "anchored", [1, [head], None])), Wait)
    waiting = group.copy()
    again = waiting.put_event(FOUNDER.block, by_nested(waiting, [unknown]))
    assert isinstance(waiting.said[again], Wait), "what builds on it waits as well"


def test_the_base_of_an_anchor_is_one_of_its_seat() -> None:
    """I34: which it has seen; so that nobody skips the limits by a base of somebody else's."""
    person, group, head = nested()
    first = group.state(FOUNDER.block, "anchored", [1, [head], None])
    newer = person.say(FOUNDER, "noted", NOTE)
    assert group.copy().holds_fact(FOUNDER.block, "anchored", [1, [newer], first])
    fact = Event("anchored", (), (), [1, [newer], first])
    again = group.copy()
    block = again.block(THIEF.block, "anchored", encode(fact), [first])
    assert not again.holds(again.put(block)), "it has not seen its base"
    noted = group.state(PHONE.block, "asked", asked(group, PHONE))
    assert not group.copy().holds_fact(PHONE.block, "anchored", [1, [newer], noted])
    both = Page(IdentityHolder(person.encoded), IdentityHolder(person.encoded), others=[person], nonce=25)
    other = both.state(FOUNDER.block, "anchored", [2, [head], None])
    assert not both.copy().holds_fact(FOUNDER.block, "anchored", [1, [newer], other])


def test_what_an_anchor_adds_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """I34: in blocks and in bytes; what its base has is not counted."""
    person, group, head = nested()
    first = group.state(FOUNDER.block, "anchored", [1, [head], None])
    newer = [person.say(FOUNDER, "noted", NOTE) for _ in range(4)][-1]
    monkeypatch.setattr(checking, "MAX_ANCHORED_BLOCKS", 4)
    assert not group.copy().holds_fact(FOUNDER.block, "anchored", [1, [newer], None])
    assert group.copy().holds_fact(FOUNDER.block, "anchored", [1, [newer], first])
    monkeypatch.setattr(checking, "MAX_ANCHORED_BLOCKS", 5)
    assert group.copy().holds_fact(FOUNDER.block, "anchored", [1, [newer], None])
    monkeypatch.setattr(checking, "MAX_ANCHORED_BYTES", 400)
    assert not group.copy().holds_fact(FOUNDER.block, "anchored", [1, [newer], None])


def test_the_base_of_an_anchor_is_held() -> None:
    """I34: or nobody could tell what it adds."""
    person, group, head = nested()
    late = person.copy().say(FOUNDER, "noted", NOTE)
    unknown = group.state(THIEF.block, "anchored", [1, [late], None])
    assert isinstance(group.said[unknown], Wait)
    group.said[unknown] = OBEYED  # as it is where that block is held
    base = group.state(THIEF.block, "anchored", [1, [head], unknown])
    assert group.said[base] == Wait(person.id, (BlockId(late),))


def test_anchors_below_are_waited_for() -> None:
    """I34: what a nested identity has anchored in turn is held, or the verdict waits: it is the same everywhere."""
    deep = Page(nonce=30)
    head = deep.say(FOUNDER, "joined")
    middle = Page(IdentityHolder(deep.encoded), others=[deep], nonce=31)
    anchor = middle.state(FOUNDER.block, "anchored", [1, [head], None])
    assert middle.holds(anchor)
    for held in ([middle], [middle, deep]):
        top = Page(IdentityHolder(middle.encoded), others=held, nonce=32)
        said = top.said[top.state(FOUNDER.block, "anchored", [1, [anchor], None])]
        assert isinstance(said, Wait) is (deep not in held)


def test_what_an_event_does_not_build_on_stands_in_no_anchors_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """I34: junk, and an anchor to what nobody has, among the parents of an honest event: it is anchored all the same."""
    deep = Page(nonce=40)
    nobody_has = deep.copy().say(FOUNDER, "joined")
    person = Page(FOUNDER.public, IdentityHolder(deep.encoded), others=[deep], nonce=41)
    head = person.say(FOUNDER, "joined")
    junk = person.put(person.block(THIEF.block, "junk", bytes(2000), [head], prefix="app/"))
    waiting = person.state(THIEF.block, "anchored", [2, [nobody_has], None])
    assert isinstance(person.said[waiting], Wait)
    bare = Event("noted", (1,), (head,), NOTE)
    event = bare._replace(proofs=(FOUNDER.sign.sign(EVENT, bare.signed(person.id)),))
    honest = person.put(person.block(FOUNDER.block, "noted", encode(event), [head, junk, waiting]))
    assert person.holds(honest)
    group = Page(IdentityHolder(person.encoded), others=[person, deep], nonce=42)
    monkeypatch.setattr(checking, "MAX_ANCHORED_BLOCKS", 2)
    monkeypatch.setattr(checking, "MAX_ANCHORED_BYTES", 1500)
    assert group.holds_fact(FOUNDER.block, "anchored", [1, [honest], None])
    naming_it = group.state(FOUNDER.block, "anchored", [1, [waiting], None])
    assert isinstance(group.said[naming_it], Wait), "who anchors it waits alone"
