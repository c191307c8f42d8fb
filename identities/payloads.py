"""What the events of an identity say, with all their keys; how they are written, and a strict way to read them.

Layout: docs/spec/identities.md#events. Everything here may come from a stranger: it is bounded before it is read, there
is one way to write it, and what does not fit raises `RemoteError` (`BAD_PAYLOAD`). From an event comes the act that the
deciding files know (`acts.py`), which holds no key. This file knows no chain, and verifies nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

from identities import acts
from identities.acts import (
    MAX_DEPTH,
    MAX_SEATS,
    Act,
    Anchor,
    LaterCut,
    Removal,
    Renewal,
    SeatId,
)
from identities.holders import (
    HASH_BYTES,
    MAX_COUNCIL,
    MAX_LISTED,
    Control,
    CouncilKeys,
    DeviceKeys,
    HolderKeys,
    IdentityHolder,
    PublicKey,
    Wire,
    bad,
    read_control,
    read_genesis_block,
    read_holder,
    require,
    sealing_key,
)
from identities.suites import KEY_ID_BYTES
from walytis_core import cbor
from walytis_core.block import Block
from walytis_core.cid import is_block_id
from walytis_core.limits import Limits
from walytis_core.signer import is_author_key

PREFIX: Final = "identities/"
TAG_BYTES: Final = 16
MAX_SEEN: Final = 62  # with the author's last block and one head, the 64 that a block names
MAX_CUTS: Final = 64
MAX_HEADS: Final = 64
MAX_NOTE_BYTES: Final = 17_408  # a sealed note with a first block in it
MAX_NAME_BYTES: Final = 256
_DEPTH: Final = 6


class Event(NamedTuple):
    """An event: what the payload of its block says.

    Attributes:
        kind: One of the names in `acts.py`: the block's type without the prefix.
        path: The seat that acts, as in `Act`.
        seen: The events it builds on, sorted.
        body: What it says, as DAG-CBOR holds it; made by the functions below.
        proofs: Signatures of the seat; one, or several of a council.
    """

    kind: str
    path: tuple[SeatId, ...]
    seen: tuple[bytes, ...]
    body: Wire
    proofs: tuple[Wire, ...] = ()

    def signed(self, chain: bytes) -> bytes:
        """What its seat signs, in the context `EVENT`."""
        return cbor.encode([bytes(chain), self.kind, list(self.path), list(self.seen), self.body])


EVENT: Final = "identities/event"
"""The context of signatures over events."""


def encode(event: Event) -> bytes:
    """The payload of a block that says this."""
    return cbor.encode([list(event.path), list(event.seen), event.body, list(event.proofs)])


def decode(block: Block) -> Event:
    """What a block of ours says. Raises `RemoteError` (`BAD_PAYLOAD`)."""
    if not isinstance(block.body, bytes):
        raise bad("an event is inline")
    return read(block.type.removeprefix(PREFIX), block.body)


@lru_cache(maxsize=256)  # it is pure, and asked several times for each block
def read(kind: str, payload: bytes) -> Event:
    """What a payload of a kind says. Raises `RemoteError` (`BAD_PAYLOAD`)."""
    read_body = _BODIES.get(kind)
    match cast(Wire, cbor.decode(payload, max_bytes=Limits.max_payload_bytes, max_depth=_DEPTH)):
        case [[*path], [*seen], body, [*proofs]] if read_body and len(path) <= MAX_DEPTH and len(proofs) <= MAX_COUNCIL:
            require(all(map(_is_seat, path)) and _are_ids(seen, MAX_SEEN) and all(map(_is_proof, proofs)))
            require(bool(path) is bool(proofs) is (kind not in (acts.ANCHORED, acts.ASKED)))
            read_body(body)
            return Event(kind, tuple(path), tuple(seen), body, tuple(proofs))
    raise bad("it is no event of a kind that is known")


def act_of(block: Block) -> Act:
    """The act that a block is, for those that decide."""
    return as_act(decode(block), bytes(block.id), block.height, block.author)


def as_act(event: Event, id: bytes, height: int, author: bytes) -> Act:
    """The act that an event is, or would be in a block with this id and height."""
    body = _BODIES[event.kind](event.body)
    if isinstance(body, DeviceKeys | IdentityHolder | CouncilKeys):
        body = body.holder
    if isinstance(body, Removal) and event.body[1] is None:
        body = body._replace(cut=event.seen)
    return Act(id, height, author, event.kind, event.path, event.seen, body)


# --- bodies: one function that makes each, one that reads it ---------------------------------------------------------


def removed(
    seats: Sequence[SeatId], cut: Sequence[bytes] | None, elsewhere: Mapping[bytes, Sequence[bytes]] | None = None
) -> Wire:
    """The body of `REMOVED`; `cut` None: all that it has seen stays."""
    plain = [seat if isinstance(seat, int) else bytes(seat) for seat in seats]  # a `BlockId` is not written as bytes
    return [plain, None if cut is None else sorted(map(bytes, cut)), cuts(elsewhere or {})]


def cuts(elsewhere: Mapping[bytes, Sequence[bytes]]) -> Wire:
    """Cuts on other chains, by their tags."""
    return [[tag, sorted(heads)] for tag, heads in sorted(elsewhere.items())]


class RenewalKeys(NamedTuple):
    """The body of `RENEWED` with its keys.

    Attributes:
        number, previous: As in `acts.Renewal`.
        control: The new control keys.
        wraps: Seat, id of the key it is sealed to, and CID of the wrap; in the order of seats on the wire.
        fresh: The author's fresh X-Wing key, or None.
        vouching: The epoch whose control key vouches; the chain's id for the first; None: the recovery key does.
        succession: Its signature.
    """

    number: int
    previous: bytes
    control: Control
    wraps: tuple[tuple[SeatId, bytes, bytes], ...]
    fresh: PublicKey | None
    vouching: bytes | None
    succession: bytes = b""

    @property
    def wire(self) -> Wire:
        """As it stands in an event."""
        fresh = None if self.fresh is None else self.fresh.public
        control = [*self.control.sign, self.control.seal.public]
        wraps = [list(wrap) for wrap in self.wraps]
        return [self.number, self.previous, control, wraps, fresh, self.vouching, self.succession]

    def vouched(self, chain: bytes) -> bytes:
        """What the succession signature covers, in the context `SUCCESSION`."""
        return cbor.encode([bytes(chain), self._replace(succession=b"").wire])


SUCCESSION: Final = "identities/succession"


def read_renewal(body: Wire) -> RenewalKeys:
    """Reads the body of `RENEWED`."""
    match body:
        case [int(number), bytes(previous), control, [*wraps], fresh, vouching, bytes(succession)]:
            require(number is not True and number > 0 and is_block_id(previous) and len(succession) <= 4096)
            require(len(wraps) <= MAX_SEATS and (vouching is None or is_block_id(vouching)))
            read = tuple(map(_read_wrap, wraps))
            require(len({seat for seat, _, _ in read}) == len(read))
            renewed = None if fresh is None else sealing_key(fresh)
            return RenewalKeys(number, previous, read_control(control), read, renewed, vouching, succession)
    raise bad("a renewal")


class Asking(NamedTuple):
    """The body of `ASKED`: a device that came by an invitation asks for a seat.

    Attributes:
        device: Its keys.
        name: What it calls itself; for people, and never believed.
        proof: By its signing key, over the rest: it holds what it shows.
    """

    device: DeviceKeys
    name: str
    proof: bytes

    @property
    def wire(self) -> Wire:
        """As it stands in an event."""
        return [self.device.wire, self.name, self.proof]

    def proven(self, chain: bytes) -> bytes:
        """What the proof covers, in the context `ASKING`."""
        return cbor.encode([bytes(chain), self.device.wire, self.name])


ASKING: Final = "identities/asked"


def read_asking(body: Wire) -> Asking:
    """Reads the body of `ASKED`."""
    match body:
        case [device, str(name), bytes(proof)] if len(name.encode()) <= MAX_NAME_BYTES and len(proof) <= 4096:
            holder = read_holder(device)
            if isinstance(holder, DeviceKeys):
                return Asking(holder, name, proof)
    raise bad("what asks for a seat is a device")


def _read_added(body: Wire) -> HolderKeys:
    return read_holder(body)


def _read_rekeyed(body: Wire) -> HolderKeys:
    holder = read_holder(body)
    require(isinstance(holder, DeviceKeys))
    return holder


def _read_removed(body: Wire) -> Removal:
    match body:
        case [[_, *_] as seats, cut, elsewhere] if len(seats) <= MAX_SEATS:
            require(all(map(_is_seat, seats)) and len(set(seats)) == len(seats) and 0 not in seats)
            require(cut is None or (isinstance(cut, list) and _are_ids(cut, MAX_HEADS)))
            return Removal(tuple(seats), tuple(cut or ()), _read_cuts(elsewhere))
    raise bad("a removal")


def _read_later_cut(body: Wire) -> LaterCut:
    match body:
        case [removal, elsewhere] if removal is None or is_block_id(removal):
            return LaterCut(removal, _read_cuts(elsewhere))
    raise bad("a later cut")


def _read_cuts(wire: Wire) -> dict[bytes, tuple[bytes, ...]]:
    require(isinstance(wire, list) and len(wire) <= MAX_CUTS)
    found: dict[bytes, tuple[bytes, ...]] = {}
    for pair in wire:
        match pair:
            case [bytes(tag), [*heads]] if len(tag) == TAG_BYTES and tag not in found and _are_ids(heads, MAX_HEADS):
                found[tag] = tuple(heads)
            case _:
                raise bad("a cut on another chain")
    return found


def _read_renewed(body: Wire) -> Renewal:
    keys = read_renewal(body)
    wraps = {seat: key for seat, key, _ in keys.wraps}
    fresh = None if keys.fresh is None else keys.fresh.id
    return Renewal(keys.number, keys.previous, keys.control.sign.id, keys.control.seal.id, wraps, fresh)


def _read_nothing(body: Wire) -> None:
    require(body is None)


def _read_id(body: Wire) -> bytes:
    require(is_block_id(body))
    return cast(bytes, body)


def _read_recovered(body: Wire) -> tuple[bytes, bytes]:
    match body:
        case [bytes(hash), bytes(block_key)] if len(hash) == HASH_BYTES and is_author_key(block_key):
            return hash, block_key
    raise bad("the next recovery key")


def _read_noted(body: Wire) -> None:
    match body:
        case [bytes(epoch), bytes(sealed)] if is_block_id(epoch) and len(sealed) <= MAX_NOTE_BYTES:
            return
    raise bad("a note")


def _read_granted(body: Wire) -> tuple[SeatId, bytes]:
    match body:
        case [seat, bytes(cid)] if _is_seat(seat) and _is_cid(cid):
            return seat, cid
    raise bad("a grant")


def _read_opened(body: Wire) -> bytes:
    require(isinstance(body, bytes))
    return bytes(read_genesis_block(body).id)


def _read_anchored(body: Wire) -> Anchor:
    match body:
        case [seat, [_, *_] as heads, base] if _is_seat(seat) and _are_ids(heads, MAX_HEADS):
            require(base is None or is_block_id(base))
            return Anchor(seat, tuple(heads))
    raise bad("an anchor")


_BODIES: Final[Mapping[str, Callable[[Wire], Any]]] = {
    acts.ADDED: _read_added, acts.REMOVED: _read_removed, acts.CUT: _read_later_cut, acts.LEFT: _read_nothing,
    acts.REKEYED: _read_rekeyed, acts.JOINED: _read_nothing, acts.RENEWED: _read_renewed, acts.UNOPENED: _read_id, acts.CONFIRMED: _read_nothing,
    acts.RECOVERED: _read_recovered, acts.NOTED: _read_noted, acts.GRANTED: _read_granted, acts.OPENED: _read_opened,
    acts.ANCHORED: _read_anchored, acts.ASKED: lambda body: read_asking(body).device,
}  # fmt: skip


# --- parts -----------------------------------------------------------------------------------------------------------


def _read_wrap(wire: Wire) -> tuple[SeatId, bytes, bytes]:
    match wire:
        case [seat, bytes(key_id), bytes(cid)] if _is_seat(seat) and len(key_id) == KEY_ID_BYTES and _is_cid(cid):
            return seat, key_id, cid
    raise bad("a wrap")


def _is_seat(wire: Wire) -> bool:
    return (type(wire) is int and 0 <= wire <= MAX_LISTED) or is_block_id(wire)


def _is_cid(wire: Wire) -> bool:
    return isinstance(wire, bytes) and len(wire) == 36


def _is_proof(wire: Wire) -> bool:
    return isinstance(wire, bytes | list)


def _are_ids(wire: list[Wire], most: int) -> bool:
    return len(wire) <= most and all(map(is_block_id, wire)) and wire == sorted(set(wire))
