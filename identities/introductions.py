"""For whom this node speaks in sessions, and who is taken at the other end: looked up in its own view of the identities.

Invariants: keys come from the chains that are held here, never from the peer; a control key is taken while its epoch is
current, or within the overlap after it; a device while its seat is live.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from identities.actor import holder_in
from identities.acts import Device, Nested, SeatId
from identities.handshake import Asked, Verdict
from identities.holders import DeviceKeys
from identities.holding import Holding
from identities.part import Part
from identities.transcript import Key, Keys, Own
from walytis_core import ClosedError, NotFoundError, UnavailableError
from walytis_core.errors import Reason

Find = Callable[[bytes], Holding | None]
"""Gives an identity that is held here, by its chain."""


def speakers(parts: Sequence[Part]) -> list[Own]:
    """Those of the identities that this node acts for, for which it can speak now."""
    found: list[Own] = []
    for part in parts:
        with suppress(ClosedError):  # its chain, or one behind it, was deleted meanwhile
            found.extend(_speaker(part))
    return found


def _speaker(part: Part) -> list[Own]:
    actor, path, secrets = part.actor, part.actor.path(), part.actor.secrets
    epoch = part.folded.epochs.current
    if epoch is None or path is None or secrets is None:
        return []
    control = actor.keyring.control(epoch.sign_id, part.control(epoch).sign.suite)
    return [] if control is None else [Own(part.log.id, path, control, secrets.sign)]


def judge(asked: Asked, find: Find) -> Verdict:
    """The keys of who is at the other end, or why it is not taken."""
    peer = asked.peer
    known = find(bytes(peer.did))
    if known is None:
        return Reason.UNKNOWN_MEMBER
    try:
        accepted = known.accepted()
    except UnavailableError:
        return Reason.STALE_KEY
    epoch = next((epoch for epoch in accepted if epoch.sign_id == peer.control_id), None)
    if epoch is None:
        was_ever = any(epoch.sign_id == peer.control_id for epoch in known.folded.epochs.all.values())
        return Reason.STALE_KEY if was_ever else Reason.WRONG_GROUP_KEY
    device = _device_key(known, peer.path, find)
    return Reason.UNKNOWN_MEMBER if device is None else Keys(Key(*known.control(epoch).sign), device)


def _device_key(known: Holding, path: Sequence[SeatId], find: Find) -> Key | None:
    """The signing key of the device behind a path of live seats; None where one is not live, or not known here."""
    seat = known.folded.authority.seats.get(path[0]) if path else None
    if seat is None or not seat.is_live:
        return None
    if isinstance(seat.holder, Nested):
        nested = find(seat.holder.chain)
        return None if nested is None else _device_key(nested, path[1:], find)
    if not isinstance(seat.holder, Device) or len(path) > 1:
        return None
    try:
        keys = holder_in(known.log, seat.id)
    except NotFoundError:
        return None
    return Key(*keys.sign) if isinstance(keys, DeviceKeys) else None
