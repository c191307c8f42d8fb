"""Which epoch of an identity is current: renewals, told apart by rules that every node applies to the same acts.

Rules (docs/spec/identities.md#epochs): a renewal is *usable* if it counts, is wrapped to just the live seats, with the
keys as in its own past, and has every counted membership act in its past. *Current* is the usable renewal with the
greatest number, then of the author of highest rank, then with the smallest id. A void renewal is never current; the
lineage of numbers may pass through one. The first epoch, which the genesis makes, is usable while its first holder is
alone. Between two epochs the older one is good for a while, but not when the newer one knows of a removal that the older
one does not. Pure; knows no key, no clock and no chain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from identities.acts import (
    ADDED,
    LEFT,
    MAX_SEATS,
    REKEYED,
    REMOVED,
    RENEWED,
    UNOPENED,
    Act,
    Device,
    GenesisSeats,
    Nested,
    Renewal,
    SeatId,
)
from identities.authority import Authority, Seat

_MEMBERSHIP: Final = (ADDED, REMOVED, LEFT, REKEYED)

NestedKey = Callable[[Seat, int], bytes | None]
"""The key by which a nested identity is reached, as known to who has seen these acts; None when nothing is known."""

NestedRemovals = Callable[[int], frozenset[bytes]]
"""The removals in nested identities that are known to who has seen these acts."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch.

    Attributes:
        id: Of the renewal that made it; the chain's id for the first.
        number: 0 for the first.
        sign_id, seal_id: Its control keys.
        wraps: The key of each seat that it was wrapped to.
        renewal: What made it; None for the first.
    """

    id: bytes
    number: int
    sign_id: bytes
    seal_id: bytes
    wraps: Mapping[SeatId, bytes]
    renewal: Act | None = None


class Epochs:
    """The epochs of an identity.

    Args:
        genesis: Makes the first one.
        authority: What counts.
        nested_key, nested_removals: What is known of nested identities; by default there are none.
    """

    def __init__(
        self,
        genesis: GenesisSeats,
        authority: Authority,
        nested_key: NestedKey = lambda _seat, _seen: None,
        nested_removals: NestedRemovals = lambda _seen: frozenset(),
    ) -> None:
        self._genesis = genesis
        self._authority = authority
        self._nested_key = nested_key
        self._nested_removals = nested_removals

    @cached_property
    def all(self) -> dict[bytes, Epoch]:
        """Every epoch whose renewal counts, and the first, by id, lower numbers first."""
        genesis = self._genesis
        wraps = _founder_wrap(genesis)
        first = Epoch(genesis.chain, 0, genesis.sign_id, genesis.seal_id, wraps)
        found = [
            Epoch(act.id, act.body.number, act.body.sign_id, act.body.seal_id, act.body.wraps, act)
            for act in self._authority.counted(RENEWED)
            if isinstance(act.body, Renewal)
        ]
        return {epoch.id: epoch for epoch in sorted([first, *found], key=lambda epoch: epoch.number)}

    @cached_property
    def _membership(self) -> list[Act]:
        return list(self._authority.counted(*_MEMBERSHIP))

    @cached_property
    def _needed(self) -> int:
        pasts = self._authority.pasts
        needed = 0
        for act in self._membership:
            needed |= 1 << pasts.place[act.id]
        return needed

    @cached_property
    def _freshened(self) -> dict[SeatId, list[tuple[int, bytes]]]:
        """The fresh keys that each seat named for itself, with the place of the act, in canonical order."""
        found: dict[SeatId, list[tuple[int, bytes]]] = {}
        for act in self._authority.counted(RENEWED):
            if isinstance(act.body, Renewal) and act.body.fresh is not None:
                found.setdefault(act.path[0], []).append((self._authority.pasts.place[act.id], act.body.fresh))
        return found

    def key_of(self, seat: Seat, seen: int) -> bytes | None:
        """The id of the key that a seat is reached by, as known to who has seen these acts."""
        if isinstance(seat.holder, Device):
            fresh = reversed(self._freshened.get(seat.id, []))
            return next((key for place, key in fresh if seen >> place & 1), seat.holder.seal_id)
        return self._nested_key(seat, seen) if seat.is_wrapped_to else None

    @cached_property
    def _reachable(self) -> frozenset[SeatId]:
        """The seats that an epoch can be wrapped to, by all that is known."""
        return frozenset(self.keys_now())

    def keys_now(self, seen: int | None = None) -> dict[SeatId, bytes]:
        """The keys that a renewal is wrapped to, by one who has seen these acts; None: all that are held.

        A nested identity of which nothing is known yet is passed over.
        """
        known = self._everything if seen is None else seen
        keys = {seat.id: self.key_of(seat, known) for seat in self.wrapped_to}
        return {id: key for id, key in keys.items() if key is not None}

    @cached_property
    def wrapped_to(self) -> list[Seat]:
        """The live seats that share the epochs: the first so many by rank, so that no junior pushes a senior out."""
        return [seat for seat in self._authority.live if seat.is_wrapped_to][:MAX_SEATS]

    @property
    def _everything(self) -> int:
        return (1 << len(self._authority.pasts.acts)) - 1

    def seen_by(self, epoch: Epoch) -> int:
        """The acts in the past of an epoch's renewal."""
        if epoch.renewal is None:
            return 0
        return self._authority.pasts.past(self._authority.pasts.place[epoch.id])

    def why_unusable(self, epoch: Epoch) -> str | None:
        """Why nothing is to be sent under an epoch; None when it is usable."""
        seen = self.seen_by(epoch)
        if self._needed & ~seen:
            return "it misses a change of the members"
        if dict(epoch.wraps) != self.keys_now(seen):
            return "its list is not that of the live seats"
        if self._reachable - epoch.wraps.keys():
            return "it leaves out an identity of which something is known now"
        if self._nested_removals(self._everything) - self._nested_removals(seen):
            return "it misses a removal in an identity that is a member"
        return None

    def lacking(self, epoch: Epoch) -> tuple[bytes, ...]:
        """The changes of members that an epoch does not know of, in canonical order; those in nested identities last."""
        pasts, seen = self._authority.pasts, self.seen_by(epoch)
        missed = [act.id for act in self._membership if not seen >> pasts.place[act.id] & 1]
        return (*missed, *sorted(self._nested_removals(self._everything) - self._nested_removals(seen)))

    def lacks_removal(self, epoch: Epoch) -> bool:
        """Whether an epoch does not know of a removal or a leaving: who is gone still has its keys."""
        kinds = {act.id: act.kind for act in self._membership}
        return any(kinds.get(id) in (REMOVED, LEFT, None) for id in self.lacking(epoch))

    @cached_property
    def next_number(self) -> int:
        """What the next renewal is numbered: above all that were ever written, for what outsiders saw never goes back."""
        return 1 + self.last_written[0]

    @cached_property
    def last_written(self) -> tuple[int, bytes]:
        """The greatest number that was ever written, and the renewal that has it, whether or not that one counts.

        The next one names it as the one before: so a thief's numbers, however they jump, are passed by once it is cut off.
        """
        renewals = (act for act in self._authority.pasts.acts if act.kind == RENEWED)
        written = ((act.body.number, act.id) for act in renewals)
        return max(written, default=(0, self._genesis.chain))

    def is_usable(self, epoch: Epoch) -> bool:
        """Whether an epoch may be sent under."""
        return self.why_unusable(epoch) is None

    @cached_property
    def by_precedence(self) -> list[Epoch]:
        """The epochs, usable or not, those first that would be current before others."""
        return sorted(self.all.values(), key=self._precedence)

    @property
    def highest(self) -> Epoch:
        """The epoch of the greatest number, usable or not."""
        return self.by_precedence[0]

    @cached_property
    def current(self) -> Epoch | None:
        """The usable epoch that all send under; None while somebody has to renew first."""
        return next(filter(self.is_usable, self.by_precedence), None)

    @property
    def newest(self) -> Epoch:
        """The epoch that the next renewal follows: the current one, else that of the greatest number."""
        return self.current or self.by_precedence[0]

    def _precedence(self, epoch: Epoch) -> tuple[int, object, bytes]:
        if epoch.renewal is None:
            return -epoch.number, ((-(2**54), b""),), epoch.id
        return -epoch.number, self._authority.seats[epoch.renewal.path[0]].rank, epoch.id

    def follows_removal(self, newer: Epoch, older: Epoch) -> bool:
        """Whether an epoch knows of a removal that an older one does not: then that one is good no longer."""
        pasts, more = self._authority.pasts, self.seen_by(newer) & ~self.seen_by(older)
        for act in self._membership:
            if act.kind in (REMOVED, LEFT) and more >> pasts.place[act.id] & 1:
                return True
        return bool(self._nested_removals(self.seen_by(newer)) - self._nested_removals(self.seen_by(older)))

    def unopened(self, epoch: Epoch) -> list[Act]:
        """Who said that an epoch's wrap does not open."""
        return [act for act in self._authority.counted(UNOPENED) if act.body == epoch.id]


def _founder_wrap(genesis: GenesisSeats) -> dict[SeatId, bytes]:
    """The first epoch as if it were wrapped to the first device that is listed, which has its secret."""
    devices = ((place, holder) for place, holder in enumerate(genesis.holders) if isinstance(holder, Device | Nested))
    place, holder = next(devices, (0, None))
    return {place: holder.seal_id} if isinstance(holder, Device) else {}
