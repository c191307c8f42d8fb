"""Who wrote a block on a chain that the members of an identity read: which seat, and whether a removal cuts it off.

It looks at what the identity says of its seats, and at nothing that the block says of itself. Whoever's key is that of no
device that holds or ever held a seat, near or behind an identity that is a member, is nobody here. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from identities.acts import Nested, SeatId
from identities.authority import Seat
from identities.rights import Folded


class Author(NamedTuple):
    """Who wrote a block.

    Attributes:
        name: What a device called itself when it asked to join, or what the identity that is a member is called here;
            for people, and never proven. Empty where nothing is known.
        seat: The seat, in the identity that was asked.
        did: Of the identity that holds the seat; None where a device holds it.
        state: What became of the seat, as in `SeatInfo`.
        counts: Whether the block counts: not where its layer calls it void or waits for something, nor where it is behind
            the end that a removal of its author set on this chain.
    """

    name: str
    seat: SeatId
    did: str | None
    state: str
    counts: bool


def path_of(folded: Folded, key: bytes) -> tuple[SeatId, ...] | None:
    """The seats by which a key speaks, or spoke: of live ones that of the highest rank, else the last; None: nobody's."""
    last = None
    for path in folded.paths_to(key):
        if all(seat.is_live for _, seat in _along(folded, path)):
            return path
        last = path
    return last


def is_cut_off(
    folded: Folded, path: Sequence[SeatId], tag: bytes, is_inside: Callable[[Sequence[bytes]], bool]
) -> bool:
    """Whether a removal of a seat on a path ends what was said by it on a chain before a block.

    Args:
        folded: The identity.
        path: As of `path_of`.
        tag: Of the chain.
        is_inside: Whether the block is among these of its author, or before one of them.
    """
    for here, seat in _along(folded, path):
        for removal in seat.removals:
            if not all(is_inside(cuts[tag]) for cuts in here.cuts_of(removal) if tag in cuts):
                return True
    return False


def _along(folded: Folded, path: Sequence[SeatId]) -> Iterator[tuple[Folded, Seat]]:
    here: Folded | None = folded
    for id in path:
        if here is None:
            return
        seat = here.authority.seats[id]
        yield here, seat
        here = here.nested(seat.holder.chain) if isinstance(seat.holder, Nested) else None
