"""Identities that hold seats in each other, as acts: built by hand or at random, and the rules of anchors written out plainly.

`NaiveRights` says what an outer identity comes to, by the text of the rules: sets and closures, no bits and no caches.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from identities.acts import (
    ADDED,
    ANCHORED,
    CUT,
    LEFT,
    NOTED,
    REMOVED,
    Act,
    Anchor,
    Device,
    GenesisSeats,
    Holder,
    LaterCut,
    Nested,
    Recovery,
    Removal,
    SeatId,
)
from identities.rights import Folded, World
from tests.suites.naive_authority import Model

ID_PREFIX: Final = bytes((1, 0x71, 0x12, 0x20))


def some_id(of: object) -> bytes:
    """An id as blocks have them."""
    return ID_PREFIX + hashlib.sha256(repr(of).encode()).digest()


def device(name: str) -> Device:
    """A device with keys of its own."""
    block, node, sign, seal = (hashlib.sha256(f"{name} {part}".encode()).digest() for part in range(4))
    return Device(b"\xed\x01" + block, node, sign[:16], seal[:16])


class Log:
    """One identity's chain: acts that are written on what their author had seen.

    Args:
        name: Of the identity.
        holders: Of its seats from 1 on.
    """

    def __init__(self, name: str, *holders: Holder) -> None:
        self.name = name
        self.id = some_id(name)
        tag = hashlib.sha256(self.id).digest()[:16]
        self.genesis = GenesisSeats(self.id, (Recovery(b"\xed\x01" + bytes(32)), *holders), b"s" * 16, b"x" * 16, tag)
        self.acts: dict[bytes, Act] = {}

    @property
    def tag(self) -> bytes:
        """Names it in cuts."""
        return self.genesis.tag

    def heads(self, ids: Collection[bytes] | None = None) -> tuple[bytes, ...]:
        """The last of some acts, or of all."""
        among = self.acts.keys() if ids is None else ids
        named = {seen for id in among for seen in self.acts[id].seen}
        return tuple(sorted(id for id in among if id not in named))

    def past(self, ids: Iterable[bytes]) -> set[bytes]:
        """Acts and their pasts."""
        found, todo = set[bytes](), list(ids)
        while todo:
            id = todo.pop()
            if id in self.acts and id not in found:
                found.add(id)
                todo.extend(self.acts[id].seen)
        return found

    def put(
        self,
        kind: str,
        body: Any = None,
        path: Sequence[SeatId] = (),
        author: bytes = b"",
        seen: Iterable[bytes] | None = None,
    ) -> bytes:
        """Writes; on all that there is, when nothing is said."""
        named = self.heads() if seen is None else tuple(sorted(seen))
        height = 1 + max((self.acts[id].height for id in named), default=0)
        id = some_id((self.name, len(self.acts), kind, path, named))
        self.acts[id] = Act(id, height, author, kind, tuple(path), named, body)
        return id

    def anchor(self, seat: SeatId, heads: Iterable[bytes], seen: Iterable[bytes] | None = None) -> bytes:
        """States what is to be known of the identity that holds a seat."""
        return self.put(ANCHORED, Anchor(seat, tuple(sorted(heads))), seen=seen)


def folded(outer: Log, *others: Log, shuffled: random.Random | None = None) -> Folded:
    """An identity, decided over its acts and over all that is anchored there, in any order."""
    logs = {log.id: log for log in (outer, *others)}
    acts: dict[bytes, list[Act]] = {id: list(log.acts.values()) if log is outer else [] for id, log in logs.items()}
    todo = [outer.id]
    while todo:
        id = todo.pop()
        for chain, heads in _anchors(logs[id], acts[id]):
            if chain in logs and chain != outer.id:
                known = {act.id for act in acts[chain]}
                fresh = [logs[chain].acts[one] for one in logs[chain].past(heads) if one not in known]
                acts[chain] += fresh
                todo += [chain] if fresh else []
    for some in acts.values():
        if shuffled is not None:
            shuffled.shuffle(some)
    return Folded(World({log.id: log.genesis for log in logs.values()}, acts), outer.id, acts[outer.id])


def _anchors(log: Log, acts: Iterable[Act]) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
    """Which heads of which identity acts anchor."""
    for act in acts:
        if act.kind == ANCHORED:
            seat = act.body.seat
            holder = log.genesis.holders[seat] if isinstance(seat, int) else log.acts[seat].body
            if isinstance(holder, Nested):
                yield holder.chain, act.body.heads


def anchored(outer: Log, inner: Log, seats: Collection[SeatId]) -> list[Act]:
    """The acts of an identity that are anchored anywhere on another's chain."""
    anchors = [act.body for act in outer.acts.values() if act.kind == ANCHORED and act.body.seat in seats]
    return [inner.acts[id] for id in inner.past(head for anchor in anchors for head in anchor.heads)]


# --- by the text of the rules --------------------------------------------------------------------------------------------


class NaiveRights:
    """What a group comes to in which identities of devices hold seats.

    Args:
        outer: The group.
        members: Who holds which seat of it.
    """

    def __init__(self, outer: Log, members: Mapping[SeatId, Log]) -> None:
        self.outer = outer
        self.members = members
        self.models = {
            log.id: Model(log.genesis, anchored(outer, log, [seat for seat, one in members.items() if one is log]))
            for log in members.values()
        }
        nested = [act for act in outer.acts.values() if act.path and act.path[0] in members]
        self.refused = {act.id for act in nested if not self.has_right(act)}
        self.model = Model(outer.genesis, outer.acts.values(), self.refused)

    def has_right(self, act: Act) -> bool:
        """Whether a device of a member could act there, then."""
        inner = self.members[act.path[0]]
        model, known = self.models[inner.id], self.known(act, inner)
        if len(act.path) != 2 or not known or not model.exists(act.path[1]):
            return False
        seat = act.path[1]
        removals = model.removals(seat)
        return (
            model.holder(seat) == _device_of(model, seat, act.author)
            and (isinstance(seat, int) or seat in known)
            and not any(one.id in known for one in (*removals, *model.endings(seat)))
            and all(act.id in self.outer.past(heads) for removal in removals for heads in self.cuts(model, removal))
        )

    def known(self, act: Act, inner: Log) -> set[bytes]:
        """What the past of an act had anchored of a member; its chain itself stands for that anything is."""
        seats = [seat for seat, log in self.members.items() if log is inner]
        before = (self.outer.acts[id] for id in self.outer.past(act.seen))
        anchors = [one.body for one in before if one.kind == ANCHORED and one.body.seat in seats]
        return inner.past(head for one in anchors for head in one.heads) | ({inner.id} if anchors else set())

    def cuts(self, model: Model, removal: Act) -> list[Sequence[bytes]]:
        """The cuts of a removal for the group: its own, or, where it has none, those that were given later."""
        own = removal.body.elsewhere.get(self.outer.tag)
        if own is not None:
            return [own]
        later = [act for act in model.of([CUT]) if model.counts(act.id) and self.is_for(model, act, removal)]
        return [act.body.elsewhere[self.outer.tag] for act in later if self.outer.tag in act.body.elsewhere]

    @staticmethod
    def is_for(model: Model, later: Act, removal: Act) -> bool:
        """Whether a later cut is for a removal."""
        named = later.body.removal
        return bool(removal.id in model.past(later.id) if named is None else named == removal.id)


def _device_of(model: Model, seat: SeatId, author: bytes) -> Holder | None:
    holder = model.holder(seat)
    return holder if isinstance(holder, Device) and holder.block_key == author else None


# --- at random ---------------------------------------------------------------------------------------------------------------


class Hand(NamedTuple):
    """Somebody with a device's key, and what reached them of the person's chain and of the group's."""

    seat: SeatId
    key: bytes
    inner: set[bytes]
    outer: set[bytes]
    is_thief: bool


class Pair:
    """A random history of a person and of a group in which it holds a seat, with thieves and liars in it.

    Args:
        seed: Of all chance.
        limit: How many acts there are, about.
    """

    def __init__(self, seed: int, limit: int = 40) -> None:
        self.random = random.Random(f"pair {seed}")
        self.seed = seed
        founder, own = device(f"{seed} founder"), device(f"{seed} own")
        self.inner = Log(f"person {seed}", founder)
        self.outer = Log(f"group {seed}", Nested(self.inner.id), own)
        self.members: dict[SeatId, Log] = {1: self.inner}
        self.hands = [Hand(1, founder.block_key, set(), set(), False)]
        self.own = own
        self.outer.anchor(1, [self.inner.id])
        for _ in range(limit):
            self.turn()

    def hear(self, hand: Hand) -> None:
        """Something reaches somebody."""
        for log, view in ((self.inner, hand.inner), (self.outer, hand.outer)):
            for id in self.random.sample(sorted(log.acts), self.random.randint(0, min(3, len(log.acts)))):
                view.update(log.past([id]))
            if self.random.random() < 0.3:
                view.update(log.acts)

    def turn(self) -> None:
        """Somebody does something."""
        rng = self.random
        hand = rng.choice(self.hands)
        self.hear(hand)
        deeds = [
            self.note,
            self.note,
            self.say,
            self.say,
            self.say,
            self.state,
            self.state,
            self.remove,
            self.cut,
            self.add,
        ]
        if hand.is_thief:
            deeds += [self.lie, self.lie, self.say, self.puppet]
        rng.choice(deeds)(hand)
        if rng.random() < 0.1:
            self.hands.append(hand._replace(inner=set(hand.inner), outer=set(hand.outer), is_thief=True))
        if rng.random() < 0.05:
            self.outer.put(NOTED, None, (2,), self.own.block_key)

    def _inner(self, hand: Hand, kind: str, body: Any) -> bytes:
        id = self.inner.put(kind, body, (hand.seat,), hand.key, self.inner.heads(hand.inner))
        hand.inner.add(id)
        return id

    def note(self, hand: Hand) -> None:
        self._inner(hand, self.random.choice((NOTED, NOTED, NOTED, LEFT)), None)

    def add(self, hand: Hand) -> None:
        """A new device of the person."""
        new = device(f"{self.seed} {len(self.hands)} {len(self.inner.acts)}")
        id = self._inner(hand, ADDED, new)
        self.hands.append(Hand(id, new.block_key, set(hand.inner), set(hand.outer), hand.is_thief))

    puppet = add

    def remove(self, hand: Hand) -> None:
        """A removal with a cut for the group, or without; now and then a low one."""
        seats = {one.seat for one in self.hands} - {hand.seat}
        if not seats:
            return
        seat = self.random.choice(sorted(seats, key=repr))
        cut = self.inner.heads(hand.inner)
        elsewhere = {self.outer.tag: self.held(hand)} if self.random.random() < 0.6 else {}
        self._inner(hand, REMOVED, Removal((seat,), cut, elsewhere))

    def held(self, hand: Hand) -> tuple[bytes, ...]:
        """What a cut for the group names: all that is held of it, or some."""
        heads = self.outer.heads(hand.outer)
        return heads if self.random.random() < 0.7 else tuple(sorted(self.random.sample(heads, len(heads) // 2)))

    def cut(self, hand: Hand) -> None:
        """A cut for the group that is given later."""
        removals = sorted(id for id in hand.inner if self.inner.acts[id].kind == REMOVED)
        if removals:
            removal = self.random.choice([None, self.random.choice(removals)])
            self._inner(hand, CUT, LaterCut(removal, {self.outer.tag: self.held(hand)}))

    def say(self, hand: Hand) -> None:
        """Something in the group; also a seat for the person again, or a leaving."""
        path = (self.random.choice(sorted(self.members, key=repr)), hand.seat)
        kind = self.random.choice((NOTED, NOTED, NOTED, NOTED, ADDED, REMOVED))
        seen = self.outer.heads(hand.outer)
        if hand.is_thief and seen and self.random.random() < 0.4:
            seen = tuple(self.random.sample(sorted(hand.outer), 1))
        body: Any = None
        if kind == ADDED:
            body = (
                Nested(self.inner.id) if self.random.random() < 0.5 else device(f"{self.seed} {len(self.outer.acts)}")
            )
        elif kind == REMOVED:
            body = Removal((2,), seen)
        id = self.outer.put(kind, body, path, hand.key, seen)
        hand.outer.add(id)
        if isinstance(body, Nested):
            self.members[id] = self.inner

    def state(self, hand: Hand) -> None:
        """An anchor of what is known of the person."""
        seat = self.random.choice(sorted(self.members, key=repr))
        seen = self.outer.heads(hand.outer | ({seat} if isinstance(seat, bytes) else set()))
        hand.outer.update(
            self.outer.past([self.outer.anchor(seat, self.inner.heads(hand.inner) or [self.inner.id], seen)])
        )

    def lie(self, hand: Hand) -> None:
        """An anchor of something old, written beside what is known."""
        some = self.random.sample(sorted(hand.inner), 1) if hand.inner else [self.inner.id]
        seen = self.random.sample(sorted(hand.outer), 1) if hand.outer else []
        hand.outer.update(self.outer.past([self.outer.anchor(1, some, seen)]))
