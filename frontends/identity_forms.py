"""The JSON forms of identities: one per thing, under the rules of `forms.py`.

Invariant: a secret (a recovery code, a device's invitation) is in the form of the one command that makes it, and in no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from frontends.finding import SHORT
from frontends.forms import Form, author_text

if TYPE_CHECKING:
    from identities import Identity, KnownIdentity, SeatInfo
    from identities.acts import Act, SeatId

_DID: Final = "did:walytis:"
CURRENT, UNHEARD, UNOPENED = "current", "unheard", "unopened"


def seat_text(id: SeatId) -> str:
    """The id of a seat as text: a place in the first block, or the id of the block that made it."""
    from walytis_core import BlockId  # noqa: PLC0415 - the library is loaded by those who use it

    return str(id) if isinstance(id, int) else str(BlockId(id))


def seat_label(id: SeatId) -> str:
    """The same, short enough for a screen."""
    return seat_text(id)[-SHORT:]


def seat_form(
    seat: SeatInfo, *, keys: str | None = None, is_here: bool = False, names: Mapping[str, str] | None = None
) -> Form:
    """A seat.

    Args:
        seat: The seat.
        keys: Of a live device or identity: `CURRENT` when it has the current keys as far as can be known, `UNHEARD` when it has
            said nothing since they were made, `UNOPENED` when it said that it cannot open them.
        is_here: Whether it is this device's, or that of the identity that it acts for.
        names: What identities are called here, by their DIDs: a member has no other name.
    """
    name = (names or {}).get(seat.holder, seat.name)
    return {
        "seat": seat_text(seat.id), "kind": seat.kind, "holder": seat.holder, "name": name, "state": seat.state,
        "keys": keys, "here": is_here,
    }  # fmt: skip


def identity_form(known: KnownIdentity) -> Form:
    """An identity in short, as lists show it. `own` says whether this node acts for it."""
    from identities import Identity  # noqa: PLC0415 - the library is loaded by those who use it
    from walytis_core.policy import EVERYONE  # noqa: PLC0415 - the same

    current = known.folded.epochs.current
    form: Form = {"name": known.name, "did": known.did, "own": isinstance(known, Identity)}
    form |= {"public": known.chain.policy.readers == EVERYONE, "epoch": None if current is None else current.number}
    if isinstance(known, Identity):
        status = known.status()
        form |= {"seated": status.is_seated, "has_keys": status.has_keys}
    return form


def seats_form(known: KnownIdentity, names: Mapping[str, str]) -> list[Form]:
    """The seats of an identity, by rank, with who has the current keys as far as this node can know."""
    from identities import Identity  # noqa: PLC0415 - the library is loaded by those who use it

    seats = known.seats()
    if not isinstance(known, Identity):
        return [seat_form(seat, names=names) for seat in seats]
    status, here = known.status(), known.seat
    own = None if here is None else here.id
    unopened = {seat.id for seat in status.unopened}
    unheard = {seat.id for seat in (*status.behind, *status.pending)}

    def keys(seat: SeatInfo) -> str | None:
        if status.epoch is None or seat.state not in {"live", "pending"} or seat.kind not in {"device", "identity"}:
            return None
        if seat.id in unopened:
            return UNOPENED
        if seat.id == own:
            return CURRENT if status.has_keys else UNHEARD
        return UNHEARD if seat.id in unheard else CURRENT

    return [seat_form(seat, keys=keys(seat), is_here=seat.id == own, names=names) for seat in seats]


def details_form(known: KnownIdentity, names: Mapping[str, str]) -> Form:
    """An identity with its seats, and the chains that its members read here."""
    from identities import Identity  # noqa: PLC0415 - the library is loaded by those who use it

    folded = known.folded
    chains = [chain.name for chain in known.chains()] if isinstance(known, Identity) else []
    counts = {"events": len(folded.pasts.acts), "void": len(folded.authority.void)}
    return identity_form(known) | {"seats": seats_form(known, names), "chains": chains} | counts


def status_form(identity: Identity) -> Form:
    """How an identity does that this node acts for."""
    status = identity.status()
    seats = {"behind": status.behind, "unopened": status.unopened, "pending": status.pending}
    named = {key: [seat_text(seat.id) for seat in found] for key, found in seats.items()}
    return identity_form(identity) | named | {"peers": len(identity.chain.peers()), "void": status.void}


def acts_form(known: KnownIdentity, acts: Iterable[Act]) -> list[Form]:
    """Events: which seat said what, and when by its own clock."""
    from walytis_core import BlockId  # noqa: PLC0415 - the library is loaded by those who use it

    found: list[Form] = []
    for act in acts:
        block = known.chain.block(BlockId(act.id))
        seat = seat_text(act.path[0]) if act.path else None
        form = {"id": str(block.id), "kind": act.kind, "seat": seat, "author": author_text(block.author)}
        found.append(
            form | {"time": block.time.isoformat(timespec="milliseconds"), "seats": _about(act), "detail": _detail(act)}
        )
    return found


def _about(act: Act) -> list[str]:
    """The seats that an event is about: those it makes, removes, or hands something to."""
    match act.kind:
        case "added" | "rekeyed":
            return [seat_text(act.id)]
        case "removed":
            return [seat_text(seat) for seat in act.body.seats]
        case "granted":
            return [seat_text(act.body[0])]
    return []


def _detail(act: Act) -> Any:
    return act.body.number if act.kind == "renewed" else None


def did_end(did: str) -> str:
    """The end of a DID, for a screen."""
    return did.removeprefix(_DID)[-SHORT:]


def texts(ids: Sequence[bytes]) -> list[str]:
    """Ids of events as text."""
    from walytis_core import BlockId  # noqa: PLC0415 - the library is loaded by those who use it

    return [str(BlockId(id)) for id in ids]
