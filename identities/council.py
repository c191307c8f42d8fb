"""Acts of a council: proposed on one device, signed by its members elsewhere, and written by any device of the identity.

A proposal is the whole event but for its signatures: what it says, and the events that it builds on. Members read it, sign just
that, and hand their signatures back; who has as many as are needed writes it. It stays good while others write: what was
seen by it stays what it was. The device that writes it needs no seat, so a council can act when all devices were evicted.
Keeps nothing, and decides nothing: the fold does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from identities.acts import ADDED, REMOVED, SeatId
from identities.holders import CouncilKeys, DeviceKeys, IdentityHolder, PublicKey
from identities.identity import part_of
from identities.payloads import EVENT, Event, encode, read, removed
from identities.removal import sorted_cut
from identities.suites import SigningKey
from walytis_core import cbor
from walytis_core.cid import BlockId, is_block_id
from walytis_core.errors import InvalidInputError, NotAllowedError, RemoteError

if TYPE_CHECKING:
    from identities.identity import Identity
    from walytis_core import Block

_MAX_BYTES: Final = 64 * 1024
_MAX_SIGNATURE_BYTES: Final = 8192
_UNSIGNED: Final = b""


class Proposal(NamedTuple):
    """An act that a council may sign.

    Attributes:
        chain: The identity's chain.
        event: What is to be said; not signed.
    """

    chain: BlockId
    event: Event

    @property
    def encoded(self) -> bytes:
        """To be handed to members; it is public."""
        return cbor.encode([1, bytes(self.chain), self.event.kind, encode(self.event._replace(proofs=(_UNSIGNED,)))])

    @classmethod
    def decode(cls, data: bytes) -> Proposal:
        """Reads what a device proposed. Raises `InvalidInputError`."""
        try:
            match cast(Any, cbor.decode(data, max_bytes=_MAX_BYTES, max_depth=1)):
                case [1, bytes(chain), str(kind), bytes(payload)] if is_block_id(chain):
                    proposal = cls(BlockId(chain), read(kind, payload)._replace(proofs=()))
                    if proposal.encoded == data:
                        return proposal
        except RemoteError as error:
            raise InvalidInputError("this is no proposal, or one for a newer version") from error
        raise InvalidInputError("this is no proposal, or one for a newer version")

    def sign(self, key: SigningKey, council: CouncilKeys) -> bytes:
        """A member's signature, to be handed back. Show the member what the event says before.

        Args:
            key: The member's.
            council: The council, as the identity's chain has it.

        Raises:
            NotAllowedError: The key is none of the council's.
        """
        member = PublicKey(key.suite, key.public)
        if member not in council.members:
            raise NotAllowedError("this key is no member of the council")
        return cbor.encode([council.members.index(member), key.sign(EVENT, self.event.signed(self.chain))])


def propose(identity: Identity, council: SeatId, kind: str, body: Any) -> Proposal:
    """An act for a council to sign, on top of all that this device has seen.

    Args:
        identity: On any device that may write its chain, with a seat or without.
        council: The council's seat.
        kind, body: As of `payloads`.

    Raises:
        NotAllowedError: That is no live seat of a council, or it would not count.
    """
    event = Event(kind, (council,), part_of(identity).actor.heads(identity.folded), body)
    _require_counts(identity, event)
    return Proposal(identity.chain.id, event)


def propose_removal(
    identity: Identity, council: SeatId, seats: Collection[SeatId], *, cut: Collection[bytes] | None = None
) -> Proposal:
    """A removal for a council to sign, as `Identity.remove`; `removal.preview` with the council's path lists what it changes."""
    return propose(identity, council, REMOVED, removed(list(seats), sorted_cut(cut)))


def propose_adding(identity: Identity, council: SeatId, holder: DeviceKeys | IdentityHolder | CouncilKeys) -> Proposal:
    """A new seat for a council to sign; who writes it lets a device's key write as well."""
    return propose(identity, council, ADDED, holder.wire)


def write(identity: Identity, proposal: Proposal, signatures: Iterable[bytes]) -> Block:
    """Writes what a council has signed; the devices renew by themselves where the members have changed.

    Args:
        identity: On any device that may write its chain.
        proposal: What was signed.
        signatures: Of as many members as are needed, or more; those that do not fit are passed over.

    Raises:
        InvalidInputError: The proposal is for another identity, or too few signatures fit it.
        NotAllowedError: It would not count, or this device may not write.
    """
    event = proposal.event
    if proposal.chain != identity.chain.id:
        raise InvalidInputError("this proposal is for another identity")
    council = _require_counts(identity, event)
    signed = event._replace(proofs=_proofs(council, event.signed(proposal.chain), signatures))
    if event.kind == ADDED and event.body[0] == 1:
        part_of(identity).log.admit(event.body[1])
    return identity.chain.block(part_of(identity).log.append(event.kind, encode(signed), event.seen).id)


def _proofs(council: CouncilKeys, message: bytes, signatures: Iterable[bytes]) -> tuple[Any, ...]:
    """Signatures that fit, as many as are needed, each of another member."""
    good: dict[int, bytes] = {}
    for data in signatures:
        try:
            match cast(Any, cbor.decode(data, max_bytes=_MAX_SIGNATURE_BYTES, max_depth=1)):
                case [int(index), bytes(signature)] if type(index) is int and 0 <= index < len(council.members):
                    council.members[index].verify(EVENT, message, signature)
                    good[index] = signature
        except RemoteError:
            continue  # it is for something else, or was changed
    if len(good) < council.needed:
        raise InvalidInputError(
            f"{len(good)} of the {council.needed} signatures that are needed fit this proposal",
            hint="Have its members sign this very proposal.",
        )
    return tuple([index, good[index]] for index in sorted(good)[: council.needed])


def _require_counts(identity: Identity, event: Event) -> CouncilKeys:
    """The council, if what it says would count now."""
    seat = identity.folded.authority.seats.get(event.path[0]) if len(event.path) == 1 else None
    keys = part_of(identity).actor.holder(seat.id) if seat is not None and seat.id != 0 and seat.is_live else None
    if not isinstance(keys, CouncilKeys):
        raise NotAllowedError("this is no live seat of a council")
    reason = part_of(identity).actor.why_not(identity.folded, event)
    if reason is not None:
        raise NotAllowedError(f"this would not count: {reason}")
    return keys
