"""What a removal would change, told before it is signed: a lower cut takes acts away, and brings others back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, cast

from identities.actor import Actor
from identities.acts import RECOVERED, RECOVERY, REMOVED, Act, Recovery, SeatId
from identities.payloads import Event, removed
from identities.rights import Folded


class RemovalPreview(NamedTuple):
    """What a removal would do.

    Attributes:
        loses: Acts that count now and would not any more.
        brings_back: Acts that do not count now and would again.
        live: The seats that would be live.
    """

    loses: Sequence[Act]
    brings_back: Sequence[Act]
    live: Sequence[SeatId]


def preview(
    actor: Actor, seats: Collection[SeatId], cut: Collection[bytes] | None, path: tuple[SeatId, ...] = (RECOVERY,)
) -> RemovalPreview:
    """What a removal would change if it were written now.

    Args:
        actor: The device; of one without a seat, only its log is asked.
        seats: What is removed.
        cut: As of `sorted_cut`.
        path: The seat that removes; the recovery code's when left out.
    """
    before = actor.log.folded()
    event = Event(REMOVED, path, actor.heads(before), removed(list(seats), sorted_cut(cut)), (b"",))
    after = actor.foreseen(before, event, _recovery_key(before) if path == (RECOVERY,) else b"")
    acts = before.pasts.acts
    gone = [act for act in acts if act.id in after.authority.void and act.id not in before.authority.void]
    back = [act for act in acts if act.id in before.authority.void and act.id not in after.authority.void]
    return RemovalPreview(gone, back, [seat.id for seat in after.authority.live])


def _recovery_key(folded: Folded) -> bytes:
    """The block key that the newest recovery code writes with."""
    named = [bytes(act.body[1]) for act in folded.authority.counted(RECOVERED)]
    return named[-1] if named else cast(Recovery, folded.genesis.holders[0]).block_key


def sorted_cut(cut: Collection[bytes] | None) -> list[bytes] | None:
    """A cut as events have it; None: all that was seen stays."""
    return None if cut is None else sorted(bytes(id) for id in cut)
