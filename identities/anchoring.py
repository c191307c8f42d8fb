"""What is to be anchored of an identity in a group that it is a member of: what the group must know, and no more.

What matters to a group are changes of the members and of the keys, at any depth, but not what its own chain says: so
identities that hold seats in each other come to rest. An anchor may add only so much, and a long history is anchored in
portions. And whose turn it is to say so. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from identities.acts import ADDED, ANCHORED, CUT, LEFT, REKEYED, REMOVED, RENEWED, Act, SeatId
from identities.payloads import MAX_HEADS
from identities.renewal import order
from identities.rights import Folded

_MATTERS: Final = (ADDED, REMOVED, LEFT, REKEYED, RENEWED, CUT)


def lacking(group: Folded, seat: SeatId, theirs: Folded) -> frozenset[bytes]:
    """The acts of an identity, and of those behind it, that its group must know of and does not.

    Args:
        group: The group.
        seat: The identity's seat in it.
        theirs: The identity, as its own chain shows it.
    """
    chain = group.holder_of(seat)
    view = None if chain is None else group.view(chain)
    needed = _needed(theirs, {group.chain})
    known = set[bytes]() if view is None else _known(view, set())
    if view is None:
        return frozenset(needed | {theirs.chain})
    return frozenset(needed - known)


def portion(group: Folded, seat: SeatId, theirs: Folded, most: int) -> list[bytes]:
    """The heads of the next anchor: of the first so many acts that are not known, or of all; at least the first block."""
    chain = group.holder_of(seat)
    view = None if chain is None else group.view(chain)
    known = {} if view is None else view.pasts.place
    counted = [act for act in theirs.pasts.acts if act.id not in theirs.authority.void]
    fresh = [act for act in counted if act.id not in known]
    return _heads(theirs, fresh[:most]) or [theirs.chain]


def heads_of(folded: Folded, acts: Sequence[Act]) -> list[bytes]:
    """Those of some acts that are in the past of no other of them."""
    pasts, covered = folded.pasts, 0
    for act in acts:
        covered |= pasts.past(pasts.place[act.id])
    return sorted(act.id for act in acts if not covered >> pasts.place[act.id] & 1)


def _heads(folded: Folded, acts: Sequence[Act]) -> list[bytes]:
    return heads_of(folded, acts)[:MAX_HEADS]  # what is left over comes with the next anchor


def _needed(folded: Folded, met: set[bytes]) -> set[bytes]:
    met.add(folded.chain)
    found = {act.id for act in folded.authority.counted(*_MATTERS)}
    for chain in sorted(set(folded.live_nested.values())):
        nested = None if chain in met else folded.nested(chain)
        found |= set() if nested is None else _needed(nested, met)
    return found


def _known(view: Folded, met: set[int]) -> set[bytes]:
    met.add(id(view))
    found = set(view.pasts.place)
    for chain in view.nested_chains:
        nested = view.view(chain)
        found |= set() if nested is None or id(nested) in met else _known(nested, met)
    return found


def turn_of(writer: bytes, theirs: Folded, news: Collection[bytes]) -> int:
    """A device's turn among those of an identity to tell of something: first whoever said the last of what is new.

    Args:
        writer: The key that the device writes with.
        theirs: The identity.
        news: Acts in it, or in one behind it.
    """
    pasts = theirs.pasts
    own = [pasts.place[id] for id in news if id in pasts.place]
    brought = (place for place, act in enumerate(pasts.acts) if act.kind == ANCHORED)  # what is further below
    last = max(own or brought, default=None)
    if last is not None and pasts.acts[last].author == writer:
        return 0
    keys = sorted({device.block_key for device in theirs.devices})
    seed = theirs.chain if last is None else pasts.acts[last].id
    return 1 + order(keys, seed).index(writer) if writer in keys else len(keys)
