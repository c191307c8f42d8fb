"""The verbs on identities that wait for other devices: letting one in, joining, resolving another's, recovering.

Invariants: each says how far it is whenever that changes, and ends soon after its caller is gone; a code that lets a device in
is taken back when whoever waits for the device stops waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from frontends.calls import Call, Verb
from frontends.finding import find_event, find_seat
from frontends.forms import Form, handed_on_form, time_text
from frontends.identities import details_of, known_of, names_of, own_of
from frontends.identity_forms import seat_form
from frontends.pieces import POLL_S, awaited

if TYPE_CHECKING:
    from identities import Identity, KnownIdentity, SeatInfo
    from walytis_core import Invitation

_SPREAD_S: Final = 5.0
"""How long a directory that was opened for this stays online until somebody has what was written."""


# --- letting in --------------------------------------------------------------------------------------------------


def add_device(
    call: Call, *, identity: str, expires_s: float, wait: bool = True, timeout: float | None = None
) -> Iterator[Form]:
    """A code for another device, and with `wait` how far that is, until it has its seat and has said so."""
    one = own_of(call, identity)
    ticket = one.invite(uses=1, expires=timedelta(seconds=expires_s))
    is_in = False
    try:
        yield {
            "event": "invited", "invitation": str(ticket), "id": ticket.id.hex(), "name": one.name, "did": one.did,
            "expires": time_text(ticket.expires), "served": call.stays_online,
        } | handed_on_form(ticket)  # fmt: skip
        is_in = not wait  # it is left to the node that goes on
        if wait:
            yield from told(call, lambda: _entry(call, one, ticket), timeout, "the device did not come")
            is_in = True
            yield {"event": "added", "name": one.name, "did": one.did} | seat_form(_seated(one, ticket)[0])
    finally:
        if not is_in:
            _take_back(one, ticket)


def _entry(call: Call, one: Identity, ticket: Invitation) -> str | None:
    """What is waited for; None when the device is in."""
    if not _came(one, ticket):
        return "waiting for the device"
    seats = _seated(one, ticket)
    status = one.status()
    lacks = {seat.id for seat in status.behind}  # what it lacks it gets from here, so that we stay
    if seats and seats[0].state == "live" and status.epoch is not None and seats[0].id not in lacks:
        return None
    now = "the device has its seat, and gets the keys" if seats else "the device is here, and gets its seat"
    failure = call.identities.failure
    return now if failure is None else f"{now}: {failure}"


def _came(one: Identity, ticket: Invitation) -> frozenset[bytes]:
    """The node keys of those who used an invitation."""
    return frozenset(key for record in one.chain.invitations() if record.id == ticket.id for key in record.used_by)


def _seated(one: Identity, ticket: Invitation) -> list[SeatInfo]:
    came = {key.hex() for key in _came(one, ticket)}
    return [seat for seat in one.seats() if seat.holder in came and seat.state in {"live", "pending"}]


def _take_back(one: Identity, ticket: Invitation) -> None:
    from walytis_core import WalytisError  # noqa: PLC0415 - loaded already by whoever opened the node

    with suppress(WalytisError):  # the node is gone, or the disk refuses: it expires
        one.chain.revoke(ticket)


def join(
    call: Call, *, invitation: str, name: str | None = None, device_name: str = "", timeout: float | None = None
) -> Iterator[Form]:
    """This device made one of an identity's: its progress, at last the identity."""
    pending = call.identities.join(invitation, name=name, device_name=device_name)
    yield from awaited(call, pending, timeout, "not joined")
    one = pending.result(0)
    spread(call, one)
    yield {"event": "joined"} | details_of(call, one)


# --- others ------------------------------------------------------------------------------------------------------


def resolve(call: Call, *, contact: str, name: str | None = None, timeout: float | None = None) -> Iterator[Form]:
    """Another's identity from its contact card: its progress, at last the identity."""
    known = yield from resolved(call, contact, name, timeout)
    yield {"event": "resolved"} | details_of(call, known)


def resolved(call: Call, contact: str, name: str | None, timeout: float | None) -> Generator[Form, None, KnownIdentity]:
    """The identity of a contact card, after how far that is."""
    pending = call.identities.resolve(contact, name=name)
    yield from awaited(call, pending, timeout, "not found")
    return pending.result(0)


# --- recovering --------------------------------------------------------------------------------------------------


def recover(
    call: Call,
    *,
    identity: str,
    code: str,
    remove: Sequence[str] = (),
    cut: Sequence[str] | None = None,
    last_copy: bool = False,
    timeout: float | None = None,
) -> Iterator[Form]:
    """An identity taken back by its recovery code: waits for a peer that could know of an earlier use of the code."""
    from identities import RecoveryCode  # noqa: PLC0415 - the library is loaded by those who use it
    from walytis_core import NotAllowedError  # noqa: PLC0415 - the same

    known = known_of(call, identity)
    used = RecoveryCode.parse(code)
    names = names_of(call)
    seats = [find_seat(known, seat, names).id for seat in remove]
    heads = None if cut is None else [find_event(known, event) for event in cut]
    did = known.did
    if not last_copy:
        yield from told(call, lambda: _meeting(known), timeout, "nobody who holds this identity came online")
    try:
        one, following = call.identities.recover(used, did, remove=seats, cut=heads, is_last_copy=last_copy)
    except NotAllowedError as error:
        hint = "Each recovery makes the code after it, and uses its own up: take the newest one; `walytis id code` shows one that was not taken."
        raise NotAllowedError(f"this code does not recover {known.name}: {error}", hint=hint) from error
    yield {"event": "recovered", "recovery_code": str(following)}  # first of all: the old one is used up
    one.recovery_code_kept()  # whoever asks for what follows has written it down
    if not last_copy:
        spread(call, one)
    yield {"event": "done", "served": call.stays_online} | details_of(call, one)


def _meeting(known: KnownIdentity) -> str | None:
    return None if known.chain.peers() else "waiting for somebody who holds this identity"


# --- behind it ---------------------------------------------------------------------------------------------------


def told(call: Call, state: Callable[[], str | None], timeout: float | None, what: str) -> Iterator[Form]:
    """What is waited for, each time that it changes, until nothing is."""
    from walytis_core import UnavailableError  # noqa: PLC0415 - loaded already by whoever opened the node

    gone = threading.Event()
    call.when_gone(gone.set)
    end = None if timeout is None else time.monotonic() + timeout
    seen = ""
    while (now := state()) is not None:
        if now != seen:
            seen = now
            yield {"event": "progress", "state": now, "held": 0, "known": 0}
        if end is not None and time.monotonic() >= end:
            raise UnavailableError(f"{what} within {timeout:g} s")
        if gone.wait(POLL_S):
            raise UnavailableError("nobody waits for this any more")


def spread(call: Call, one: Identity) -> None:
    """Stays until somebody who is online has what was written here: a directory opened for this goes offline next."""
    if call.stays_online:
        return
    gone = threading.Event()
    call.when_gone(gone.set)
    end = time.monotonic() + _SPREAD_S
    blocks = list(one.chain.blocks(newest_first=True, limit=1))
    while one.chain.peers() and blocks and not one.chain.holders(blocks[0]) and time.monotonic() < end:
        if gone.wait(POLL_S):
            return


DEVICE_VERBS: Final[Mapping[str, Verb]] = {
    "id add-device": add_device,
    "id join": join,
    "id recover": recover,
    "id resolve": resolve,
}
