"""What must hold of every history of an identity: `identities.authority` and `identities.epochs` against the naive model.

`judge(seed)` asserts all of it for the history of one seed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from identities.acts import (
    ADDED,
    ANCHORED,
    JOINED,
    LEFT,
    NOTED,
    REKEYED,
    REMOVED,
    RENEWED,
    Act,
    Device,
    Removal,
    Renewal,
    SeatId,
)
from identities.authority import Authority, Seat, decide
from identities.epochs import Epochs
from tests.suites.identity_counts import tally
from tests.suites.identity_schedules import schedule
from tests.suites.identity_worlds import ID_PREFIX, Schedule
from tests.suites.naive_authority import Model


class Shown(NamedTuple):
    """All that is to be seen of a seat; equal for equal outcomes."""

    id: SeatId
    removals: frozenset[bytes]
    ended: bytes | None
    is_live: bool
    has_joined: bool


class Outcome:
    """What the code makes of a set of acts of a history."""

    def __init__(self, history: Schedule, acts: Iterable[Act]) -> None:
        acts = list(acts)
        self.authority: Authority = decide(
            history.genesis, acts, lambda act, _past: "refused" if act.id in history.refused else None
        )
        self.epochs = Epochs(history.genesis, self.authority, self._nested_key, self._nested_removals)
        self.ids = {act.id for act in acts}
        self.void = set(self.authority.void)
        self.seats = [_shown(seat) for seat in self.authority.seats.values()]
        self.live = [seat.id for seat in self.authority.live]
        current = self.epochs.current
        self.current = None if current is None else current.id
        self.usable = {id for id, epoch in self.epochs.all.items() if self.epochs.is_usable(epoch)}

    @property
    def everything(self) -> tuple[object, ...]:
        return self.void, self.seats, self.live, self.current, self.usable

    def _heads(self, seen: int, seat: SeatId | None = None) -> set[bytes]:
        acts = [
            act for place, act in enumerate(self.authority.pasts.acts) if seen >> place & 1 and act.kind == ANCHORED
        ]
        return {head for act in acts if seat in (None, act.body.seat) for head in act.body.heads}

    def _nested_key(self, seat: Seat, seen: int) -> bytes | None:
        heads = self._heads(seen, seat.id)
        return max(heads)[-16:] if heads else None

    def _nested_removals(self, seen: int) -> frozenset[bytes]:
        return frozenset(self._heads(seen))


def _shown(seat: Seat) -> Shown:
    removals = frozenset(act.id for act in seat.removals)
    return Shown(seat.id, removals, None if seat.ended is None else seat.ended.id, seat.is_live, seat.has_joined)


# --- the model ----------------------------------------------------------------------------------------------------------


def agree(model: Model, outcome: Outcome) -> None:
    """The code says what the model says."""
    assert outcome.void == model.void()
    assert [seat.id for seat in outcome.seats] == model.seats()
    assert outcome.live == model.live()
    for seat in outcome.seats:
        endings = sorted(model.endings(seat.id), key=lambda act: (act.height, act.id))
        assert seat.removals == {act.id for act in model.removals(seat.id)}
        assert seat.ended == (endings[0].id if endings else None)
        assert seat.has_joined == any(model.counts(act.id) for act in model.acts.values() if act.path[:1] == (seat.id,))
    renewals = {act.id for act in model.renewals()}
    assert outcome.epochs.all.keys() == renewals | {model.genesis.chain}
    assert outcome.usable == {id for id in outcome.epochs.all if not model.why_unusable(id)}
    assert outcome.current == model.current()


# --- any order ----------------------------------------------------------------------------------------------------------


def topological(source: random.Random, acts: Sequence[Act]) -> list[Act]:
    """The same acts, each after what it has seen, at random otherwise."""
    left, done, order = list(acts), set[bytes](), list[Act]()
    ids = {act.id for act in acts}
    while left:
        ready = [act for act in left if all(id in done for id in act.seen if id in ids)]
        act = source.choice(ready)
        left.remove(act)
        done.add(act.id)
        order.append(act)
    return order


def any_order(source: random.Random, history: Schedule, outcome: Outcome) -> None:
    """One state, whatever came first."""
    orders = [topological(source, history.folded) for _ in range(2)]
    orders += [list(reversed(orders[0])), source.sample(history.folded, len(history.folded))]
    for acts in orders:
        assert Outcome(history, acts).everything == outcome.everything


# --- without some -------------------------------------------------------------------------------------------------------


def without(acts: Sequence[Act], dropped: Collection[bytes]) -> list[Act]:
    """The acts that remain, as if the dropped ones had never been: who named one names what it had named."""
    seen = {act.id: act.seen for act in acts}

    def named(ids: Iterable[bytes]) -> tuple[bytes, ...]:
        found, todo = set[bytes](), list(ids)
        while todo:
            id = todo.pop()
            if id in dropped:
                todo += seen[id]
            else:
                found.add(id)
        return tuple(sorted(found))

    kept = [act._replace(seen=named(act.seen)) for act in acts if act.id not in dropped]
    return [
        act._replace(body=act.body._replace(cut=named(act.body.cut))) if act.kind == REMOVED else act for act in kept
    ]


def void_ones_do_nothing(source: random.Random, history: Schedule, outcome: Outcome) -> None:
    """Without the void acts, or some of them, all is as it was. (A renewal's number may come from void ones: they stay.)"""
    void = sorted(id for id in outcome.void if id in outcome.ids)
    numbered = {act.id for act in history.folded if act.kind == RENEWED}
    for dropped in (set(void), set(source.sample(void, source.randint(0, len(void))))):
        left = Outcome(history, without(history.folded, dropped))
        assert left.void == outcome.void - dropped
        assert left.seats == outcome.seats
        assert left.current == Outcome(history, without(history.folded, dropped - numbered)).current == outcome.current


def juniors_do_nothing(history: Schedule, model: Model, outcome: Outcome) -> None:
    """Without all acts of its juniors, a seat and those above it are as they were."""
    for place, seat in enumerate(outcome.seats[:-1]):
        seniors = {one.id for one in outcome.seats[: place + 1]}
        kept = {act.id for act in history.folded if not act.path or act.path[0] in seniors}
        left = Outcome(history, without(history.folded, outcome.ids - kept))
        assert left.void == outcome.void & kept
        assert left.seats[: place + 1] == outcome.seats[: place + 1]
        assert seat.id in seniors


# --- with some more -----------------------------------------------------------------------------------------------------


class Forger:
    """Acts that were not in the history."""

    def __init__(self, source: random.Random, history: Schedule, model: Model) -> None:
        self.random = source
        self.history = history
        self.model = model
        self.acts: list[Act] = []

    def id(self) -> bytes:
        return ID_PREFIX + self.random.randbytes(32)

    def device(self) -> Device:
        rng = self.random
        return Device(b"\xed\x01" + rng.randbytes(32), rng.randbytes(32), rng.randbytes(16), rng.randbytes(16))

    def seen(self, *, at_least: SeatId | None = None) -> tuple[bytes, ...]:
        """Some acts, old or new; what made a seat is in their past."""
        known = [act.id for act in self.history.folded]
        seen = set(self.random.sample(known, min(len(known), self.random.randint(0, 3))))
        making = {at_least} if isinstance(at_least, bytes) else set()
        return tuple(sorted(seen | making))

    def put(self, path: tuple[SeatId, ...], author: bytes, kind: str, seen: tuple[bytes, ...]) -> Act:
        rng, model = self.random, self.model
        heights = {act.id: act.height for act in (*self.history.folded, *self.acts)}
        height = 1 + max((heights[id] for id in seen), default=0) + rng.choice((0, 0, 3))
        body: object = None
        if kind == REMOVED:
            body = Removal(tuple(model.seats()), seen if rng.random() < 0.5 else ())
        elif kind in (ADDED, REKEYED):
            body = self.device()
        elif kind == RENEWED:
            past = model.closure(seen)
            body = Renewal(99, self.history.genesis.chain, rng.randbytes(16), rng.randbytes(16), model.wanted(past))
        act = Act(self.id(), height, author, kind, path, seen, body)
        self.acts.append(act)
        return act


def late_ones_do_nothing(source: random.Random, history: Schedule, model: Model, outcome: Outcome) -> None:
    """Whatever the key of a removed seat still writes outside of the cut, and its puppets write, changes nothing."""
    removed = [seat.id for seat in outcome.seats if seat.removals and isinstance(model.holder(seat.id), Device)]
    for seat in source.sample(removed, min(2, len(removed))):
        forger = Forger(source, history, model)
        holder = model.holder(seat)
        assert isinstance(holder, Device)
        for kind in (ADDED, REMOVED, LEFT, REKEYED, RENEWED, JOINED):
            act = forger.put((seat,), holder.block_key, kind, forger.seen(at_least=seat))
            if kind in (ADDED, REKEYED):
                for puppet in (JOINED, REMOVED):
                    forger.put((act.id,), act.body.block_key, puppet, (act.id,))
        more = Outcome(history, [*history.folded, *forger.acts])
        assert more.void == outcome.void | {act.id for act in forger.acts}
        assert (more.seats, more.current, more.usable) == (outcome.seats, outcome.current, outcome.usable)


def copies_void_nothing(source: random.Random, history: Schedule, model: Model, outcome: Outcome) -> None:
    """A second act where another seat has built on the first, and a witness of it: what counted counts.

    A copy that removes somebody has its effect, on juniors alone.
    """
    live = [seat for seat in outcome.live if isinstance(model.holder(seat), Device)]
    originals = [act for act in history.folded if act.path and isinstance(model.holder_or_none(act.path[0]), Device)]
    built_on = [
        act for act in originals
        if any(other.path[:1] != act.path[:1] and act.id in model.past(other.id) for other in history.folded)
    ]  # fmt: skip
    for original in source.sample(built_on, min(2, len(built_on))):
        forger = Forger(source, history, model)
        kind = source.choice((NOTED, REMOVED, LEFT, ADDED, RENEWED, REKEYED))
        copy = forger.put(original.path, original.author, kind, original.seen)
        if live:
            witness = source.choice(live)
            holder = model.holder(witness)
            assert isinstance(holder, Device)
            making = {witness} if isinstance(witness, bytes) else set()
            forger.put((witness,), holder.block_key, NOTED, tuple(sorted({copy.id, original.id, *making})))
        more = Outcome(history, [*history.folded, *forger.acts])
        safe = outcome.ids
        if kind == REMOVED:
            author = original.path[0]
            safe = {
                act.id for act in history.folded
                if not act.path or (model.is_placed(act.path[0]) and model.rank(act.path[0]) <= model.rank(author))
            }  # fmt: skip
        assert more.void & safe == outcome.void & safe


# --- all of it ----------------------------------------------------------------------------------------------------------


def judge(seed: int) -> Counter[str]:
    """Asserts all of it for one history.

    Returns:
        How often each rule decided.
    """
    try:
        return _judge(seed)
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise


def _judge(seed: int) -> Counter[str]:
    history = schedule(seed)
    source = random.Random(f"judge {seed}")
    model = Model(history.genesis, history.folded, history.refused)
    outcome = Outcome(history, history.folded)
    agree(model, outcome)
    if len(history.acts) > len(history.folded):
        agree(Model(history.genesis, history.acts, history.refused), Outcome(history, history.acts))
    any_order(source, history, outcome)
    void_ones_do_nothing(source, history, outcome)
    juniors_do_nothing(history, model, outcome)
    late_ones_do_nothing(source, history, model, outcome)
    copies_void_nothing(source, history, model, outcome)
    return tally(history, model)
