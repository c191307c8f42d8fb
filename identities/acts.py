"""What the deciding files know of an identity's events: acts and seats as plain data, without keys, signatures or bytes.

An *act* is an event that passed `check`: well formed, and signed by the seat that it names. Whether it counts is for
`authority.py`. Its *past* is what it names in `seen`, and what those name: authority looks at nothing else, for that is
what the signature of a seat covers (docs/spec/identities.md#past). This file decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

SeatId: TypeAlias = int | bytes
"""A seat is named by its place in the genesis, or by the block that made it."""

RECOVERY: Final[SeatId] = 0
MAX_DEPTH: Final = 8
MAX_JUMP: Final = 2**32
MAX_SEATS: Final = 192  # named by one removal, or wrapped to by one renewal: what a block of 32 KiB holds
"""By how much a renewal's number may exceed that of the one it follows: it also passes by those that do not count."""

ADDED, REMOVED, CUT, LEFT, REKEYED, JOINED = "added", "removed", "cut", "left", "rekeyed", "joined"
RENEWED, UNOPENED, CONFIRMED, RECOVERED = "renewed", "unopened", "confirmed", "recovered"
NOTED, GRANTED, OPENED, ANCHORED, ASKED = "noted", "granted", "opened", "anchored", "asked"


class Device(NamedTuple):
    """A holder: one installation. Keys that are not needed to decide stand here by their ids of 16 bytes.

    Attributes:
        block_key: The multikey that it writes blocks with.
        node_key: The 32 bytes by which its node is known on the network.
        sign_id: Its signing key.
        seal_id: The X-Wing key that things are wrapped to, until it renews that.
    """

    block_key: bytes
    node_key: bytes
    sign_id: bytes
    seal_id: bytes


class Nested(NamedTuple):
    """A holder: another identity."""

    chain: bytes


class Council(NamedTuple):
    """A holder: so many of a fixed list of keys, whose signatures `check` has counted."""

    needed: int
    members: int


class Recovery(NamedTuple):
    """The holder of seat 0: whoever has the offline key. `block_key` writes; the next ones are named as it is used."""

    block_key: bytes


Holder: TypeAlias = Device | Nested | Council | Recovery


class Act(NamedTuple):
    """An event that passed `check`.

    Attributes:
        id: Of its block.
        height: Of its block: greater than those of all in its past.
        author: The multikey that signed its block.
        kind: One of the names above.
        path: The seat that acts; behind a nested identity's, the seat there, and so on, to a device's. Empty for facts.
        seen: The acts it builds on.
        body: What it says, by kind; see the classes below. None where nothing more is needed.
    """

    id: bytes
    height: int
    author: bytes
    kind: str
    path: tuple[SeatId, ...]
    seen: tuple[bytes, ...]
    body: Any = None


class Removal(NamedTuple):
    """The body of `REMOVED`.

    Attributes:
        seats: Which seats.
        cut: Acts of its own past: what stands outside of them and their pasts counts no more for those seats.
        elsewhere: Cuts on other chains: heads there, by the chain's tag.
    """

    seats: tuple[SeatId, ...]
    cut: tuple[bytes, ...]
    elsewhere: Mapping[bytes, tuple[bytes, ...]] = {}


class LaterCut(NamedTuple):
    """The body of `CUT`: cuts on further chains for one removal, or for all in its past that count (None)."""

    removal: bytes | None
    elsewhere: Mapping[bytes, tuple[bytes, ...]]


class Anchor(NamedTuple):
    """The body of `ANCHORED`: what is to be known of the nested identity that holds a seat."""

    seat: SeatId
    heads: tuple[bytes, ...]


class Renewal(NamedTuple):
    """The body of `RENEWED`.

    Attributes:
        number: One more than that of `previous`.
        previous: The renewal it follows; the chain's id for the first epoch, which the genesis makes.
        sign_id, seal_id: The new control keys.
        wraps: To which key of each seat the secret was wrapped.
        fresh: The author's own fresh X-Wing key; None when it keeps the one it has.
    """

    number: int
    previous: bytes
    sign_id: bytes
    seal_id: bytes
    wraps: Mapping[SeatId, bytes]
    fresh: bytes | None = None


class GenesisSeats(NamedTuple):
    """What the genesis fixes.

    Attributes:
        chain: The identity's chain id.
        holders: Seats 0, 1, ...: the recovery key, then those listed.
        sign_id, seal_id: The control keys of epoch 0.
        tag: Names this chain in cuts that other chains carry.
    """

    chain: bytes
    holders: Sequence[Holder]
    sign_id: bytes
    seal_id: bytes
    tag: bytes = b""


class Pasts:
    """The acts of one chain in canonical order, and their pasts as sets of places: one integer each, bit by bit.

    Args:
        acts: In any order; what one names and is not among them is passed over.
    """

    def __init__(self, acts: Iterable[Act]) -> None:
        self.acts = sorted(acts, key=lambda act: (act.height, act.id))
        self.place = {act.id: place for place, act in enumerate(self.acts)}
        self._closed: list[int] = []  # each with itself
        for place, act in enumerate(self.acts):
            self._closed.append(self._union(act.seen) | 1 << place)

    def _union(self, ids: Iterable[bytes]) -> int:
        found = 0
        for id in ids:
            place = self.place.get(id)
            if place is not None and place < len(self._closed):
                found |= self._closed[place]
        return found

    def closure(self, ids: Iterable[bytes]) -> int:
        """These acts and their pasts."""
        return self._union(ids)

    def past(self, place: int) -> int:
        """The past of the act at a place, without itself."""
        return self._closed[place] ^ 1 << place

    def has(self, closure: int, id: bytes) -> bool:
        """Whether an act is in a closure."""
        place = self.place.get(id)
        return place is not None and bool(closure >> place & 1)
