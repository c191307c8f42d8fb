"""The verbs on groups, and on the chains that the members of an identity read.

Invariants: as in `devices.py`; what a verb waits for goes on by itself where a node stays online, so that nothing is lost with
the wait.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from frontends.calls import Call, Verb
from frontends.devices import resolved, spread, told
from frontends.failures import EXIT_CODES, FailedError
from frontends.forms import Form, chain_form
from frontends.identities import details_of, known_of, own_of
from frontends.identity_forms import seat_text

if TYPE_CHECKING:
    from identities import Identity, KnownIdentity
    from walytis_core import Block, Chain

CARD: Final = "walytis-id:"
"""How a contact card begins."""
_ALIVE: Final = frozenset({"live", "pending"})


def add_member(call: Call, *, identity: str, member: str, timeout: float | None = None) -> Iterator[Form]:
    """An identity made a member of another, by its name or DID here, or by its contact card: its progress, at last the group."""
    group = own_of(call, identity)
    other = yield from _held(call, member, None, timeout)
    _require_fresh(group, other)
    group.add_identity(other)
    added = {"event": "added", "member": other.name, "member_did": other.did, "served": call.stays_online}
    yield added | details_of(call, group)


def _require_fresh(group: Identity, other: KnownIdentity) -> None:
    wrong = None
    if other.did == group.did:
        wrong = f"the group {group.name} cannot be a member of itself"
    elif any(seat.holder == other.did and seat.state in _ALIVE for seat in group.seats()):
        wrong = f"the group {group.name} has {other.name} as a member already"
    if wrong is not None:
        raise FailedError("InvalidInputError", wrong, "`walytis id show` lists its members.", EXIT_CODES["UsageError"])


def enter(
    call: Call, *, identity: str, via: str, name: str | None = None, wait: bool = True, timeout: float | None = None
) -> Iterator[Form]:
    """This device acts in a group, by the seat of an identity of its own: its progress until it can, at last the group."""
    by = own_of(call, via)
    group = yield from _held(call, identity, name, timeout)
    entered = call.identities.enter(group.did, by)
    if wait:
        what = f"{by.name} could not act in {entered.name}"
        yield from told(call, lambda: _lacks(entered, by), timeout, what)
        spread(call, entered)
    yield {"event": "entered", "via": by.name, "served": call.stays_online} | details_of(call, entered)


def _lacks(entered: Identity, by: Identity) -> str | None:
    """What this device waits for before it can act in a group; None when it can."""
    status = entered.status()
    if not status.is_seated:
        return f"waiting for {entered.name} to make {by.name} a member"
    return None if status.has_keys else "waiting for the keys"


def _held(call: Call, text: str, name: str | None, timeout: float | None) -> Generator[Form, None, KnownIdentity]:
    """An identity that is held here, by its name or DID; or by a contact card, which gets it."""
    if text.strip().lower().startswith(CARD):
        return (yield from resolved(call, text, name, timeout))
    return known_of(call, text)


# --- chains of members -------------------------------------------------------------------------------------------


def create_chain(call: Call, *, identity: str, name: str) -> Form:
    """A new chain that the members of an identity read and write."""
    one = own_of(call, identity)
    made = one.create_chain(name)
    return chain_form(made) | {"identity": one.name, "did": one.did, "served": call.stays_online}


def chains(call: Call, *, identity: str) -> Form:
    """The chains that the members of an identity read: those that are held here, and those that have not come."""
    known = known_of(call, identity)
    held = {str(chain.id): chain_form(chain) for chain in call.node.chains()}
    found = [
        held[id] | {"held": True} if id in held else {"name": None, "id": id, "blocks": 0, "height": 0, "held": False}
        for id in _opened(known)
    ]
    return {"name": known.name, "did": known.did, "chains": found}


def _opened(known: KnownIdentity) -> list[str]:
    from walytis_core import BlockId  # noqa: PLC0415 - the library is loaded by those who use it

    return list(dict.fromkeys(str(BlockId(act.body)) for act in known.folded.authority.counted("opened")))


def writers(call: Call, chain: Chain) -> Callable[[Block], Form]:
    """What is said of who wrote a block, on a chain that an identity's devices write; on any other chain nothing."""
    for one in call.identities.all() if call.has_identities else ():
        if one.did == chain.policy.readers or one.chain.id == chain.id:
            return functools.partial(_writer, one, chain)
    return lambda _block: {}


def _writer(one: Identity, chain: Chain, block: Block) -> Form:
    found = one.author(chain, block.id)
    if found is None:
        return {"writer": None}
    seat = {"name": found.name, "did": found.did, "seat": seat_text(found.seat), "state": found.state}
    return {"writer": seat | {"counts": found.counts}}


GROUP_VERBS: Final[Mapping[str, Verb]] = {
    "id add-member": add_member,
    "id chains": chains,
    "id create-chain": create_chain,
    "id enter": enter,
}
