"""What a device may forget: wraps that nobody needs to fetch any more, and its own X-Wing keys that nothing comes to.

That a device's event has a renewal in its past does not say that the device has opened it: its wrap may have been out of
reach. So a device says `confirmed` once in a while, when it has opened all that is wrapped to it, and what the last
word of this kind of *every* live device has in its past is confirmed. Then (docs/spec/identities.md#retention):

- the wraps of a confirmed renewal are forgotten; until then every device holds them, for whoever made them may be away;
- a device's X-Wing key is forgotten when a newer one is confirmed, for nobody wraps to the older one any more, and
  whatever was wrapped to it by those who did not know better is in the confirmed past as well, or held and awaited.

So a device that is away for years keeps its keys, and finds its wraps; the price is that others keep theirs as long. Where
an identity is a member nothing is forgotten: its devices do not confirm. Pure; knows no key but by its id, and no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from identities.acts import ADDED, CONFIRMED, RECOVERY, RENEWED, Act, Device, Nested, SeatId
from identities.authority import Seat
from identities.rights import Folded

MOST_HELD: Final = 64
"""Renewals whose wraps a device holds for others: somebody may make many."""


def confirmed(folded: Folded) -> int:
    """The acts that all live devices have confirmed, as a set of places (`acts.Pasts`); no act where one has not yet."""
    seats = folded.authority.live
    if any(isinstance(seat.holder, Nested) for seat in seats):
        return 0
    last = _last_words(folded)
    found = -1
    for seat in seats:
        if isinstance(seat.holder, Device):
            found &= last.get(seat.holder.block_key, 0)
    return max(found, 0)  # -1: there is no device at all


def confirmed_by(folded: Folded, author: bytes) -> int:
    """The acts that a device has confirmed, by the key that it writes blocks with."""
    return _last_words(folded).get(author, 0)


def _last_words(folded: Folded) -> dict[bytes, int]:
    pasts = folded.pasts
    return {act.author: pasts.past(pasts.place[act.id]) for act in folded.authority.counted(CONFIRMED)}


def needless_wraps(folded: Folded) -> list[Act]:
    """The renewals whose wraps all who needed them have opened; of void ones, too."""
    known = confirmed(folded)
    return [act for place, act in enumerate(folded.pasts.acts) if known >> place & 1 and act.kind == RENEWED]


def missing_wraps(folded: Folded) -> list[tuple[Act, frozenset[SeatId]]]:
    """The renewals of late whose wraps some seats may not have opened yet, with these seats: everybody holds them."""
    last, pasts = _last_words(folded), folded.pasts
    known: dict[SeatId, int] = {}
    for old in folded.authority.seats.values():
        seat = _now(folded, old)
        if seat.is_wrapped_to:
            known[old.id] = last.get(seat.holder.block_key, 0) if isinstance(seat.holder, Device) else 0
    found: list[tuple[Act, frozenset[SeatId]]] = []
    for act in list(folded.authority.counted(RENEWED))[-MOST_HELD:]:
        seats = frozenset(id for id in act.body.wraps if not pasts.has(known.get(id, -1), act.id))
        if seats:
            found.append((act, seats))
    return found


def needed_seals(folded: Folded, author: bytes, seals: Sequence[bytes], awaited: Collection[bytes]) -> frozenset[bytes]:
    """Those X-Wing keys of a device's that something may still come to, or be fetched for.

    Args:
        folded: The identity.
        author: The key that the device writes blocks with.
        seals: The ids of its keys, in the order in which it made them.
        awaited: The ids of those to which something is wrapped that it has not opened, and still may.
    """
    known, introduced = confirmed(folded), _introductions(folded, author)
    newest = max((number for number, id in enumerate(seals) if known & introduced.get(id, 0)), default=0)
    return frozenset({*seals[newest:], *(id for id in seals if id in awaited)})


def _introductions(folded: Folded, author: bytes) -> dict[bytes, int]:
    """The place, as a bit, of the act that told the others of a key of this device's."""
    mine = {seat.id for seat in folded.authority.seats.values() if _is_held_by(seat, author)}
    place = folded.pasts.place
    return {
        act.body.fresh: 1 << place[act.id]
        for act in folded.authority.counted(RENEWED)
        if act.path[0] in mine and act.body.fresh is not None
    }


def _is_held_by(seat: Seat, author: bytes) -> bool:
    return isinstance(seat.holder, Device) and seat.holder.block_key == author


def is_lost(folded: Folded, act: Act) -> bool:
    """Whether who made a renewal was removed or has left, and will hardly serve its wraps any more.

    The recovery key works on a device that it gives a seat.
    """
    seats, pasts = folded.authority.seats, folded.pasts
    past = pasts.past(pasts.place[act.id])
    makers = [seats.get(act.path[0])]
    if act.path[0] == RECOVERY:
        added = folded.authority.counted(ADDED)
        makers = [seats.get(one.id) for one in added if one.path[0] == RECOVERY and pasts.has(past, one.id)]
    return not any(seat is not None and _now(folded, seat).is_live for seat in makers)


def _now(folded: Folded, seat: Seat) -> Seat:
    """A seat, or the one that its device has since it renewed its keys."""
    while not seat.removals and seat.ended is not None and seat.ended.id in folded.authority.seats:
        seat = folded.authority.seats[seat.ended.id]
    return seat
