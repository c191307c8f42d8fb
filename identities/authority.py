"""Who may do what in an identity: one pass over its acts, from the seat of the highest rank down.

The rules (docs/spec/identities.md#authority says why each is there):

1. **Rank.** The seats of the genesis in listed order, the recovery key first; then the others by (height, id) of the act
   that made them; a seat that a key renewal made stands directly after the old one.
2. **Removal.** A removal counts against a seat if it counts as an act of a seat of strictly higher rank. Its cut is acts
   of its own past: those of the seat's acts that are not among them or in their pasts count no more. It holds for all
   seats that copies of one act made.
3. **An act counts for its seat** if (a) the act that made the seat counts and is in this act's past, (b) it is inside the
   cut of every removal that counts against the seat, and (c) no leaving or key renewal of the seat that counts is in its
   past. For the seat of another identity, that identity's own device must have had the right as well (`rights.py`).
4. **Live** is a seat whose making counts, that no counted removal names, and that has not left or been renewed.
5. **Nothing else decides**: no clock, no order of arrival. Acts that do not count change nothing.
6. **Leaving and renewing a key bind their holder alone.** Against a copy of a key only a removal helps.

When a seat's turn comes, all that could remove it is decided: only seats of higher rank could, and who makes a seat has
a higher rank than it. So one pass is enough. Pure; knows nothing of epochs, keys and chains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from typing import Final, TypeAlias

from identities.acts import (
    ADDED,
    ANCHORED,
    ASKED,
    LEFT,
    RECOVERED,
    RECOVERY,
    REKEYED,
    REMOVED,
    Act,
    Device,
    GenesisSeats,
    Holder,
    Nested,
    Pasts,
    Recovery,
    Removal,
    SeatId,
)

Rank: TypeAlias = tuple[tuple[int, bytes], ...]
"""Smaller is higher."""

_LISTED: Final = -(2**53)  # ranks of the genesis stand before those by height
FACTS: Final = frozenset({ANCHORED, ASKED})
"""Kinds that need no right."""

NO_SEAT: Final = "there is no such seat"
NOT_MADE: Final = "its seat was never made"
BEFORE_SEAT: Final = "it is older than its seat"
CUT_OFF: Final = "a removal of its seat cuts it off"
AFTER_END: Final = "its seat had left, or its key was renewed"
WRONG_KEY: Final = "it is signed by another key than its seat's"


@dataclass(slots=True, eq=False)
class Seat:
    """A seat whose making counts.

    Attributes:
        id: Names it.
        holder: Who holds it.
        rank: Smaller is higher.
        made: The act that made it; None for a seat of the genesis.
        removals: The removals that count against it.
        ended: Its own leaving or key renewal, the first that counts.
        has_joined: Whether its holder has said a word that counts; until then it is shown as pending.
    """

    id: SeatId
    holder: Holder
    rank: Rank
    made: Act | None = None
    removals: list[Act] = field(default_factory=list)
    ended: Act | None = None
    has_joined: bool = False

    @property
    def is_live(self) -> bool:
        """Rule 4."""
        return not self.removals and self.ended is None

    @property
    def is_wrapped_to(self) -> bool:
        """Whether epochs are wrapped to it: a device or an identity, and live."""
        return self.is_live and isinstance(self.holder, Device | Nested)


Rights: TypeAlias = Callable[[Act, int], str | None]
"""Why a nested identity's device may not act, or None; the act, and the acts in its past."""


@dataclass
class Authority:
    """What the pass found. It changes no more once `decide` has given it, so what is read of it often is kept.

    Attributes:
        pasts: The acts, in canonical order.
        seats: Those whose making counts, by rank.
        void: Why acts do not count, by id.
    """

    pasts: Pasts
    seats: dict[SeatId, Seat] = field(default_factory=dict)
    void: dict[bytes, str] = field(default_factory=dict)

    def counts(self, id: bytes) -> bool:
        """Whether an act is held and counts."""
        return id in self.pasts.place and id not in self.void

    def counted(self, *kinds: str) -> Iterable[Act]:
        """The acts of some kinds that count, in canonical order."""
        return (act for act in self.pasts.acts if act.kind in kinds and act.id not in self.void)

    @cached_property
    def live(self) -> list[Seat]:
        """The live seats, by rank."""
        return [seat for seat in self.seats.values() if seat.is_live]


def _refuse_nested(_act: Act, _past: int) -> str | None:
    return "the identity that holds its seat is not known"


def decide(genesis: GenesisSeats, acts: Iterable[Act] | Pasts, rights: Rights = _refuse_nested) -> Authority:
    """Decides which acts count, and which seats there are.

    Args:
        genesis: The first seats.
        acts: All that passed `check`, in any order: the outcome is the same.
        rights: Says whether a nested identity's device had the right to act.
    """
    return _Pass(genesis, acts if isinstance(acts, Pasts) else Pasts(acts), rights).run()


class _Pass:
    """One pass."""

    def __init__(self, genesis: GenesisSeats, pasts: Pasts, rights: Rights) -> None:
        self._pasts = pasts
        self._rights = rights
        self._found = Authority(pasts)
        self._against: dict[object, list[Act]] = {}
        self._by_seat: dict[SeatId, list[int]] = {}
        for place, act in enumerate(pasts.acts):
            if act.path:
                self._by_seat.setdefault(act.path[0], []).append(place)
            elif act.kind not in FACTS:
                self._found.void[act.id] = NO_SEAT
        self._named: list[tuple[int, bytes]] = []  # by the recovery key in use: the next one's block key
        self._heap: list[tuple[Rank, int]] = [
            (((_LISTED + place, b""),), place) for place in range(len(genesis.holders))
        ]
        self._made: list[tuple[SeatId, Holder, Act | None]] = [
            (place, holder, None) for place, holder in enumerate(genesis.holders)
        ]

    def run(self) -> Authority:
        while self._heap:
            rank, number = heappop(self._heap)
            id, holder, made = self._made[number]
            self._take(Seat(id, holder, rank, made, list(self._against.get(self._same(id), ()))))
        for id, places in self._by_seat.items():
            if id not in self._found.seats:
                self._found.void.update({self._pasts.acts[place].id: NOT_MADE for place in places})
        return self._found

    def _take(self, seat: Seat) -> None:
        """A seat's turn: all that could remove it is decided. What juniors say against it comes too late (rule 2)."""
        self._found.seats[seat.id] = seat
        allowed = -1  # all of them
        for removal in seat.removals:
            own = self._pasts.past(self._pasts.place[removal.id])
            allowed &= self._pasts.closure(removal.body.cut) & own  # a cut reaches no further than who made it saw
        ends: dict[bytes, int] = {}  # by the key that ended: the recovery seat goes on with the next one
        for place in self._by_seat.get(seat.id, ()):
            act = self._pasts.acts[place]
            key = act.author if seat.id == RECOVERY else b""
            reason = self._why_void(seat, act, place, allowed, ends.get(key, 0))
            if reason is not None:
                self._found.void[act.id] = reason
                continue
            seat.has_joined = True
            if act.kind in (LEFT, REKEYED):
                seat.ended = seat.ended or act
            if act.kind == RECOVERED:
                self._named.append((place, act.body[1]))
            if act.kind in (LEFT, REKEYED, RECOVERED):
                ends[key] = ends.get(key, 0) | 1 << place
            self._do(seat, act)

    def _why_void(self, seat: Seat, act: Act, place: int, allowed: int, ends: int) -> str | None:
        """Rule 3."""
        past = self._pasts.past(place)
        if seat.made is not None and not self._pasts.has(past, seat.made.id):
            return BEFORE_SEAT
        if not allowed >> place & 1:
            return CUT_OFF
        if past & ends:
            return AFTER_END
        if isinstance(seat.holder, Nested):
            return self._rights(act, past)
        return None if len(act.path) == 1 and self._is_key_of(seat, act.author, past) else WRONG_KEY

    def _is_key_of(self, seat: Seat, key: bytes, past: int) -> bool:
        """Whether a seat's acts are signed by this key; a council's by whoever carries them."""
        match seat.holder:
            case Device(block_key, _, _, _):
                return key == block_key
            case Recovery(block_key):
                return key == block_key or any(past >> place & 1 and key == named for place, named in self._named)
        return True

    def _do(self, seat: Seat, act: Act) -> None:
        """What an act that counts leads to."""
        if act.kind == ADDED:
            self._make(act, ((act.height, act.id),), act.body)
        elif act.kind == REKEYED and isinstance(seat.holder, Device):
            self._make(act, (*seat.rank, (act.height, act.id)), act.body)
        elif act.kind == REMOVED and isinstance(act.body, Removal):
            for id in act.body.seats:
                self._against.setdefault(self._same(id), []).append(act)

    def _same(self, id: SeatId) -> object:
        """What all seats have in common that copies of one act made: a council's act can be written by anybody, again."""
        place = self._pasts.place.get(id) if isinstance(id, bytes) else None
        act = None if place is None else self._pasts.acts[place]
        return id if act is None or act.kind != ADDED else (act.path, act.seen, act.body)

    def _make(self, act: Act, rank: Rank, holder: Holder) -> None:
        heappush(self._heap, (rank, len(self._made)))
        self._made.append((act.id, holder, act))
