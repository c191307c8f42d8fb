"""What each command on identities does: one function per verb, beside those of `verbs.py`, and under the same rules.

Those that wait for other devices are in `devices.py`. Invariants: what an event would undo is computed, and given to whoever
asks, before it is signed; what is signed, sealed and opened passes in pieces.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

from frontends.calls import Call, Verb
from frontends.failures import EXIT_CODES, FailedError
from frontends.finding import find_event, find_seat
from frontends.forms import Form, handed_on_form
from frontends.identity_forms import (
    acts_form,
    details_form,
    identity_form,
    seat_text,
    seats_form,
    status_form,
    texts,
)
from frontends.lines import CHUNK_BYTES

if TYPE_CHECKING:
    from identities import Identity, KnownIdentity, RemovalPreview
    from identities.acts import SeatId
    from identities.epochs import Epoch

SUITES: Final = ("hybrid", "classical")
_CHECK: Final = (
    "The content must be the same, byte for byte, and --context too. What was signed before keys were renewed is "
    "checked with --epoch N."
)
_WRONG_SEAL: Final = (
    "It may be sealed to another identity, with another --context, or under keys of before this device joined: "
    "`walytis id grant` on an older device hands those on."
)
_MAX_BYTES: Final = 64 << 20  # more than the 16 MiB that can be sealed, in base64
_MAX_CUTS: Final = 64  # events that a removal may name as its cut
_ALIVE: Final = frozenset({"live", "pending"})
_HOLDERS: Final = "`walytis id list` shows them."


# --- which there are ---------------------------------------------------------------------------------------------


def list_identities(call: Call) -> Form:
    """The identities that this node acts for, and those that it only holds."""
    damaged = [
        {"name": name, "reason": str(error), "hint": error.hint} for name, error in call.identities.damaged().items()
    ]
    return {"identities": [identity_form(known) for known in held_identities(call)], "damaged": damaged}


def show(call: Call, *, identity: str) -> Form:
    """One identity, with its seats."""
    return details_of(call, known_of(call, identity))


def status(call: Call, *, identity: str | None = None) -> Form:
    """How the identities do that this node acts for: one, or all."""
    found = call.identities.all() if identity is None else [own_of(call, identity)]
    failure = call.identities.failure
    return {
        "running": call.stays_online,
        "failure": None if failure is None else str(failure),
        "identities": [status_form(one) for one in found],
    }


def held_identities(call: Call) -> list[KnownIdentity]:
    """All that this node holds: its own, and others'."""
    return sorted([*call.identities.all(), *call.identities.others()], key=lambda known: known.name)


def names_of(call: Call) -> dict[str, str]:
    """What the identities that are held here are called, by their DIDs."""
    return {known.did: known.name for known in held_identities(call)}


def details_of(call: Call, known: KnownIdentity) -> Form:
    """An identity with its seats: a member by the name that it has here."""
    return details_form(known, names_of(call))


def known_of(call: Call, text: str) -> KnownIdentity:
    """An identity that is held here, by its name or its DID.

    Raises:
        FailedError: There is none.
    """
    for known in held_identities(call):
        if text in {known.name, known.did, str(known.chain.id)}:
            return known
    message = f"there is no identity called {text} here"
    hint = f"{_HOLDERS} `walytis id create NAME` makes one, `walytis id resolve CARD` gets another's."
    raise FailedError("NotFoundError", message, hint, EXIT_CODES["LocalError"])


def own_of(call: Call, text: str) -> Identity:
    """An identity that this node acts for.

    Raises:
        FailedError: There is none, or it is another's.
    """
    from identities import Identity  # noqa: PLC0415 - the library is loaded by those who use it

    known = known_of(call, text)
    if not isinstance(known, Identity):
        hint = "One of its devices can add this one: `walytis id add-device` there. With its recovery code: `walytis id recover`."
        raise FailedError("NotAllowedError", f"this node does not act for {text}", hint, EXIT_CODES["LocalError"])
    return known


# --- making and changing -----------------------------------------------------------------------------------------


def create(
    call: Call, *, name: str, controller: str | None = None, suite: str = "hybrid", members_only: bool = False
) -> Iterator[Form]:
    """A new identity, and its recovery code: kept here until the caller, who has written it down, asks for what follows."""
    by = None if controller is None else own_of(call, controller)
    made, code = call.identities.create(name, controller=by, suite=_suite(suite), is_public=not members_only)
    yield details_of(call, made) | {"recovery_code": str(code)}
    made.recovery_code_kept()


def code(call: Call, *, identity: str) -> Iterator[Form]:
    """The recovery code that nobody took when it was made; kept here until it is taken, as by `create`."""
    one = own_of(call, identity)
    pending = one.pending_recovery_code
    if pending is None:
        hint = "It is on paper: `walytis id recover` with it makes the next one."
        message = f"the recovery code of {one.name} is not kept here"
        raise FailedError("NotFoundError", message, hint, EXIT_CODES["LocalError"])
    yield identity_form(one) | {"recovery_code": str(pending)}
    one.recovery_code_kept()


def renew(call: Call, *, identity: str, suite: str | None = None, device: bool = False) -> Form:
    """New keys of the identity; with `device` this device's own as well."""
    one = own_of(call, identity)
    chosen = None if suite is None else _suite(suite)
    if device:
        one.rekey(suite=chosen)
    else:
        one.renew(suite=chosen)
    return details_of(call, one) | {"served": call.stays_online}


def preview(
    call: Call,
    *,
    identity: str,
    seats: Sequence[str],
    cut: Sequence[str] | None = None,
    since: str | None = None,
    recovery: bool = False,
) -> Form:
    """What a removal would do: the events that would count no more, those that would again, and who would be left.

    Args:
        call: The call.
        identity: The identity.
        seats: What is to be removed.
        cut: The events after which nothing of theirs is to count; None with `since` None: all that is held stays.
        since: What they said from this instant on, by their own clocks, is to count no more.
        recovery: Whether the recovery code is to do it.
    """
    known = known_of(call, identity) if recovery else own_of(call, identity)
    ids = list(dict.fromkeys(find_seat(known, seat, names_of(call)).id for seat in seats))
    if not ids:
        raise FailedError.usage("a removal names at least one seat", "`walytis id show` shows them.")
    heads = _cut(known, ids, cut, since)
    found = _foreseen(known, ids, heads, recovery=recovery)
    forms = {form["seat"]: form for form in seats_form(known, names_of(call))}

    def seat(id: SeatId) -> Form:  # one that is brought back may be of no seat that counts now
        return forms.get(seat_text(id)) or {"seat": seat_text(id), "kind": "", "holder": "", "name": "", "here": False}

    live = {seat_text(id) for id in found.live}
    return {
        "name": known.name,
        "did": known.did,
        "removes": list(map(seat, ids)),
        "recovery": recovery,
        "cut": None if heads is None else texts(heads),
        "takes_away": acts_form(known, found.loses),
        "brings_back": acts_form(known, found.brings_back),
        "live": list(map(seat, found.live)),
        "ends": [form for form in forms.values() if form["state"] in _ALIVE and form["seat"] not in live],
    }


def _foreseen(
    known: KnownIdentity, seats: Sequence[SeatId], cut: Sequence[bytes] | None, *, recovery: bool
) -> RemovalPreview:
    from identities import Identity  # noqa: PLC0415 - the library is loaded by those who use it

    if isinstance(known, Identity) and not recovery:
        return known.preview_removal(seats, cut)
    return known.preview_recovery(seats, cut)


def remove(call: Call, *, identity: str, seats: Sequence[str], cut: Sequence[str] | None = None) -> Form:
    """Seats taken away; what that undoes, `preview` says."""
    one = own_of(call, identity)
    names = names_of(call)
    ids = [find_seat(one, seat, names).id for seat in seats]
    one.remove(ids, cut=None if cut is None else [find_event(one, event) for event in cut])
    return details_of(call, one) | {"removed": list(map(seat_text, ids)), "served": call.stays_online}


def leave(call: Call, *, identity: str) -> Form:
    """This device's seat given up."""
    one = own_of(call, identity)
    one.leave()
    return details_of(call, one) | {"served": call.stays_online}


def grant(call: Call, *, identity: str, seat: str, epochs: Sequence[int] | None = None) -> Form:
    """The keys of earlier epochs handed to a device: all that are here, or those of some."""
    one = own_of(call, identity)
    found = find_seat(one, seat)
    held = [epoch for epoch in one.folded.epochs.all.values() if one.has_keys(epoch)]
    numbers = sorted({epoch.number for epoch in held if epochs is None or epoch.number in epochs})
    if not numbers:
        raise FailedError("NotFoundError", "this device has the keys of none of these epochs", "Leave --epoch out.", 3)
    one.grant(found.id, epochs=numbers)
    return {"granted": seat_text(found.id), "name": found.name, "epochs": numbers, "served": call.stays_online}


def _suite(name: str) -> int:
    from identities import COMPOSITE, ED25519  # noqa: PLC0415 - the library is loaded by those who use it

    found = dict(zip(SUITES, (COMPOSITE, ED25519), strict=True)).get(name)
    if found is None:
        raise FailedError.usage(f"{name!r} is no kind of keys", f"It is {' or '.join(SUITES)}.")
    return found


def _cut(
    known: KnownIdentity, seats: Sequence[SeatId], cut: Sequence[str] | None, since: str | None
) -> list[bytes] | None:
    if since is None:
        return None if cut is None else sorted({find_event(known, event) for event in cut})
    return cut_before(known, seats, datetime.fromisoformat(since))


def cut_before(known: KnownIdentity, seats: Sequence[SeatId], since: datetime) -> list[bytes]:
    """The cut that leaves nothing of some seats' that they say they said since an instant, nor what builds on that.

    Raises:
        FailedError: It would name too many events.
    """
    from walytis_core import BlockId  # noqa: PLC0415 - the library is loaded by those who use it

    folded = known.folded
    pasts, void = folded.pasts, folded.authority.void
    own = pasts.closure(act.id for act in pasts.acts if act.id not in void)  # a cut lies in the past of the removal
    undone, covered = 0, 0
    kept: list[int] = []
    for place, act in enumerate(pasts.acts):
        is_late = act.path[:1] in {(seat,) for seat in seats} and known.chain.block(BlockId(act.id)).time >= since
        if is_late:
            undone |= 1 << place
        if own >> place & 1 and not (pasts.past(place) | 1 << place) & undone:
            kept.append(place)
            covered |= pasts.past(place)
    heads = sorted(pasts.acts[place].id for place in kept if not covered >> place & 1)
    if len(heads) > _MAX_CUTS:
        raise FailedError.usage("too much was said at once for one cut", "Name the events by --cut.")
    return heads


# --- signing and sealing -----------------------------------------------------------------------------------------


def sign(call: Call, *, identity: str, context: str = "app") -> Form:
    """A signature of the content that came with the call."""
    one = own_of(call, identity)
    record = one.sign(_content(call), context=context)
    text = base64.b64encode(record).decode("ascii")
    return {"name": one.name, "did": one.did, "epoch": one.epoch.number, "context": context, "signature": text}


def verify(call: Call, *, identity: str, signature: str, context: str = "app", epoch: int | None = None) -> Form:
    """Whether an identity signed the content that came with the call; as of an epoch, or of now."""
    known = known_of(call, identity)
    at = None if epoch is None else _epoch(known, epoch).id
    with _refusing(f"{known.name} did not sign this", _CHECK):
        found = known.verify(_content(call), _bytes_of(signature), context=context, at=at)
    return {"name": known.name, "did": found.did, "epoch": found.epoch, "current": found.is_current}


def seal(call: Call, *, identity: str, context: str = "app") -> Iterator[Form]:
    """The content that came with the call sealed to an identity, in pieces."""
    return _pieces(known_of(call, identity).seal(_content(call), context=context))


def open_sealed(call: Call, *, identity: str, context: str = "app") -> Iterator[Form]:
    """What was sealed to an identity, which came with the call: as it is, or in base64."""
    one = own_of(call, identity)
    given = _content(call)
    try:
        sealed = base64.b64decode(b"".join(given.split()), validate=True)
    except binascii.Error:
        sealed = given
    with _refusing(f"this does not open for {one.name}", _WRONG_SEAL):
        return _pieces(one.open(sealed, context=context))


@contextmanager
def _refusing(what: str, hint: str) -> Iterator[None]:
    """Has what was given here not be blamed on a peer."""
    from walytis_core import RemoteError  # noqa: PLC0415 - the library is loaded by those who use it

    try:
        yield
    except RemoteError as error:
        message = f"{what}: {str(error).removeprefix('refused: ')}"
        raise FailedError("RemoteError", message, hint, EXIT_CODES["RemoteError"]) from error


def _content(call: Call) -> bytes:
    """The content that came with the call, whole: a signature and a seal are over all of it."""
    found: list[bytes] = []
    room = _MAX_BYTES
    while room >= 0 and (part := call.content.read(CHUNK_BYTES)):
        found.append(part)
        room -= len(part)
    if room < 0:
        raise FailedError.usage(f"more than {_MAX_BYTES >> 20} MiB at once", "Sign or seal the hash of it, say.")
    return b"".join(found)


def _pieces(data: bytes) -> Iterator[Form]:
    starts = range(0, len(data), CHUNK_BYTES)
    return ({"base64": base64.b64encode(data[at : at + CHUNK_BYTES]).decode("ascii")} for at in starts)


def _bytes_of(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FailedError.usage("this is no signature", "It is what `walytis id sign` wrote, in base64.") from error


def _epoch(known: KnownIdentity, number: int) -> Epoch:
    for epoch in known.folded.epochs.by_precedence:
        if epoch.number == number:
            return epoch
    raise FailedError("NotFoundError", f"there is no epoch {number}", "`walytis id show` names the current one.", 3)


# --- showing it to others ----------------------------------------------------------------------------------------


def document(call: Call, *, identity: str) -> Form:
    """The DID document."""
    return known_of(call, identity).document()


def contact(call: Call, *, identity: str, addresses: bool = True) -> Form:
    """A contact card; with the addresses of this node, where whoever has it finds the identity's chain."""
    from walytis_core.invitation import MAX_ADDRESSES  # noqa: PLC0415 - the library is loaded by those who use it

    known = known_of(call, identity)
    where = call.node.addresses()[:MAX_ADDRESSES] if addresses else ()
    card = known.contact(where, call.node.key) if where else known.contact()
    form = identity_form(known) | {"contact": str(card), "served": call.stays_online, "addresses": list(where)}
    return form | handed_on_form(card)


def delete(call: Call, *, identity: str, dry_run: bool = False) -> Form:
    """An identity ended on this node: its chain, and this device's keys of it; with `dry_run`, only whether it could be."""
    is_damaged = identity in call.identities.damaged()  # then there is nothing to show of it
    form: Form = {"name": identity} if is_damaged else identity_form(known_of(call, identity))
    left = [] if is_damaged or not form["own"] else [chain.name for chain in own_of(call, identity).chains()]
    call.identities.delete(form.get("did", identity), dry_run=dry_run)
    return {"would_delete" if dry_run else "deleted": form, "left": left}


IDENTITY_VERBS: Final[Mapping[str, Verb]] = {
    "id code": code,
    "id contact": contact,
    "id create": create,
    "id delete": delete,
    "id document": document,
    "id grant": grant,
    "id leave": leave,
    "id list": list_identities,
    "id open": open_sealed,
    "id preview": preview,
    "id remove": remove,
    "id renew": renew,
    "id seal": seal,
    "id show": show,
    "id sign": sign,
    "id status": status,
    "id verify": verify,
}
