"""Who may do what in an identity, written out plainly: the rules of DESIGN 4.1 and 4.2, each where it is said.

`Model` looks at a whole set of acts at once. It has sets and recursion, no order of its own and no tricks, and is slow. That
the recursion ends is rule 1: what an act depends on is said by higher seats, or earlier by the same seat; for a seat is lower
than the one that made it, once acts are left out that are older than their own seat (3a), which is asked first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final, TypeAlias

from identities.acts import (
    ADDED,
    ANCHORED,
    ASKED,
    LEFT,
    MAX_SEATS,
    RECOVERED,
    RECOVERY,
    REKEYED,
    REMOVED,
    RENEWED,
    Act,
    Device,
    GenesisSeats,
    Holder,
    Nested,
    Recovery,
    SeatId,
)

FACTS: Final = (ANCHORED, ASKED)
MAKING: Final = (ADDED, REKEYED)
ENDING: Final = (LEFT, REKEYED)
MEMBERSHIP: Final = (ADDED, REMOVED, LEFT, REKEYED)

Rank: TypeAlias = tuple[tuple[int, int, bytes], ...]

UNMADE, EARLY, CUT_OFF, AFTER_LEAVING, AFTER_REKEYING, AFTER_USE, FOREIGN_KEY, NO_RIGHT = (
    "its seat does not exist",
    "its seat's making is not in its past",
    "outside of a cut",
    "after its seat left",
    "after its seat renewed its key",
    "after its recovery key named the next one",
    "another author than its seat's",
    "its nested identity did not let it",
)
LIST_DIFFERS, KEY_DIFFERS, MISSES = "its list is not the live seats", "a key is not of its past", "it misses an event"


class Model:
    """What a set of acts comes to.

    Args:
        genesis: The first seats.
        acts: The set.
        refused: Acts of nested identities' devices that had no right to them.
    """

    def __init__(self, genesis: GenesisSeats, acts: Iterable[Act], refused: Collection[bytes] = ()) -> None:
        self.genesis = genesis
        self.acts = {act.id: act for act in acts}
        self.refused = refused
        self._pasts: dict[bytes, frozenset[bytes]] = {}
        self._whys: dict[bytes, set[str]] = {}
        self._copies: dict[SeatId, set[SeatId]] = {}

    # --- pasts ------------------------------------------------------------------------------------------------------

    def past(self, id: bytes) -> frozenset[bytes]:
        """What an act has seen, without itself."""
        if id not in self._pasts:
            self._pasts[id] = self.closure(self.acts[id].seen)
        return self._pasts[id]

    def closure(self, heads: Iterable[bytes]) -> frozenset[bytes]:
        """These acts and their pasts."""
        heads = [id for id in heads if id in self.acts]
        return frozenset(heads).union(*(self.past(id) for id in heads))

    def of(self, kinds: Collection[str], seat: SeatId | None = None) -> Iterator[Act]:
        """The acts of some kinds, of one seat if it is given, counted or not."""
        return (act for act in self.acts.values() if act.kind in kinds and (seat is None or act.path[0] == seat))

    # --- seats ------------------------------------------------------------------------------------------------------

    def making(self, seat: SeatId) -> Act | None:
        """The act that would make a seat."""
        act = self.acts.get(seat) if isinstance(seat, bytes) else None
        return act if act is not None and act.kind in MAKING else None

    def holder(self, seat: SeatId) -> Holder:
        if isinstance(seat, int):
            return self.genesis.holders[seat]
        holder: Holder = self.acts[seat].body
        return holder

    def holder_or_none(self, seat: SeatId) -> Holder | None:
        return self.holder(seat) if self.is_placed(seat) else None

    def rank(self, seat: SeatId) -> Rank:
        """Where a seat stands: smaller is higher. The listed seats, then by adding block; renewed ones after the old one."""
        if isinstance(seat, int):
            return ((0, seat, b""),)
        making = self.acts[seat]
        own = (1, making.height, making.id)
        return (*self.rank(making.path[0]), own) if making.kind == REKEYED else (own,)

    def is_placed(self, seat: SeatId) -> bool:
        """Whether a seat has a rank: it is listed, or made by an act that is held, even one that does not count."""
        if isinstance(seat, int):
            return 0 <= seat < len(self.genesis.holders)
        making = self.making(seat)
        return making is not None and (making.kind == ADDED or self.is_placed(making.path[0]))

    def exists(self, seat: SeatId) -> bool:
        """Whether the block that made it counts."""
        if not self.is_placed(seat):
            return False
        making = self.making(seat)
        return making is None or self.counts(making.id)

    def removals(self, seat: SeatId) -> list[Act]:
        """Rule 2: the removals that count against a seat. One counts if it counts as an act of a strictly higher seat."""
        if not self.is_placed(seat):
            return []
        same = self.copies(seat)
        naming = [act for act in self.of([REMOVED]) if same & set(act.body.seats) and self.is_placed(act.path[0])]
        higher = [act for act in naming if self.rank(act.path[0]) < self.rank(seat)]
        return [act for act in higher if self.counts(act.id)]

    def copies(self, seat: SeatId) -> set[SeatId]:
        """A seat and its copies."""
        if seat not in self._copies:
            self._copies[seat] = {seat, *(other for other in self.acts if self.is_copy(other, seat))}
        return self._copies[seat]

    def is_copy(self, one: SeatId, other: SeatId) -> bool:
        """Whether two seats were made by acts that say the same, on top of the same."""
        acts = [self.making(one), self.making(other)]
        said = [(act.kind, act.path, act.seen, act.body) for act in acts if act is not None and act.kind == ADDED]
        return len(said) == 2 and said[0] == said[1]

    def endings(self, seat: SeatId) -> list[Act]:
        """Its own leavings and key renewals that count."""
        return [act for act in self.of(ENDING, seat) if self.counts(act.id)]

    def is_live(self, seat: SeatId) -> bool:
        """Rule 4."""
        return self.exists(seat) and not self.removals(seat) and not self.endings(seat)

    def seats(self) -> list[SeatId]:
        """The seats there are, the highest first."""
        made: list[SeatId] = [act.id for act in self.of(MAKING)]
        every: list[SeatId] = [*range(len(self.genesis.holders)), *made]
        return sorted((seat for seat in every if self.exists(seat)), key=self.rank)

    def live(self) -> list[SeatId]:
        return [seat for seat in self.seats() if self.is_live(seat)]

    # --- acts -------------------------------------------------------------------------------------------------------

    def counts(self, id: bytes) -> bool:
        """Whether an act counts."""
        return not self.why_void(id)

    def why_void(self, id: bytes) -> set[str]:
        """Rule 3: the conditions that an act fails; none when it counts. One older than its seat is asked nothing more."""
        if id not in self._whys:
            act = self.acts[id]
            if act.kind in FACTS:
                self._whys[id] = set()
            else:
                self._whys[id] = {EARLY} if self.is_early(act) else set(self.failed(act))
        return self._whys[id]

    def is_early(self, act: Act) -> bool:
        """Rule 3a."""
        seat = act.path[0]
        return isinstance(seat, bytes) and seat not in self.past(act.id)

    def failed(self, act: Act) -> Iterator[str]:
        """What an act fails, but for its age."""
        seat, past = act.path[0], self.past(act.id)
        if not self.exists(seat):
            yield UNMADE
            return
        if any(act.id not in self.closure(removal.body.cut) for removal in self.removals(seat)):
            yield CUT_OFF
        for kind, why in ((LEFT, AFTER_LEAVING), (REKEYED, AFTER_REKEYING)):
            if any(end.id in past and self.counts(end.id) for end in self.of([kind], seat)):
                yield why
        mine = [used for used in self.uses() if used.id in past and used.author == act.author]
        if seat == RECOVERY and any(self.counts(used.id) for used in mine):
            yield AFTER_USE
        if not self.is_key_of(seat, act.author, past):
            yield FOREIGN_KEY
        if isinstance(self.holder(seat), Nested) and act.id in self.refused:
            yield NO_RIGHT

    def uses(self) -> Iterator[Act]:
        """What ends a recovery key and names the next one."""
        return self.of([RECOVERED], RECOVERY)

    def is_key_of(self, seat: SeatId, author: bytes, past: Collection[bytes]) -> bool:
        """Whether a seat's acts may stand in this author's blocks. A recovery key is named by the one before it."""
        holder = self.holder(seat)
        if isinstance(holder, Device):
            return author == holder.block_key
        if isinstance(holder, Recovery):
            named = {use.body[1] for use in self.uses() if use.id in past and self.counts(use.id)}
            return author in {holder.block_key, *named}
        return True

    def void(self) -> set[bytes]:
        return {id for id in self.acts if not self.counts(id)}

    # --- epochs -----------------------------------------------------------------------------------------------------

    def renewals(self) -> list[Act]:
        """The renewals that count."""
        return [act for act in self.of([RENEWED]) if self.counts(act.id)]

    def key(self, seat: SeatId, past: Collection[bytes]) -> bytes | None:
        """The key that a seat is reached by, as known to who has this past: the last one that it named itself."""
        holder = self.holder(seat)
        if isinstance(holder, Device):
            named = [act for act in self.renewals() if act.path[0] == seat and act.id in past and act.body.fresh]
            last = max(named, key=lambda act: (act.height, act.id), default=None)
            return holder.seal_id if last is None else bytes(last.body.fresh)
        heads = self.nested_heads(past, seat)
        return max(heads)[-16:] if heads else None

    def nested_heads(self, past: Collection[bytes], seat: SeatId | None = None) -> set[bytes]:
        """What is anchored in a past; in these histories each head is a removal, and the greatest has the key."""
        anchors = [act.body for act in self.of([ANCHORED]) if act.id in past]
        return {head for anchor in anchors if seat in (None, anchor.seat) for head in anchor.heads}

    def wanted(self, past: Collection[bytes]) -> dict[SeatId, bytes]:
        """The list of a usable renewal with this past: devices and identities that are live, by keys known there."""
        reached = [seat for seat in self.live() if isinstance(self.holder(seat), Device | Nested)][:MAX_SEATS]
        return {seat: key for seat in reached if (key := self.key(seat, past)) is not None}

    def membership(self) -> set[bytes]:
        return {act.id for act in self.of(MEMBERSHIP) if self.counts(act.id)}

    def why_unusable(self, id: bytes) -> set[str]:
        """What is wrong with a renewal that counts, or with the first epoch; nothing when it is usable."""
        if id == self.genesis.chain:
            past: frozenset[bytes] = frozenset()
            listed = {self.founder: self.key(self.founder, ())}
        else:
            past, listed = self.past(id), dict(self.acts[id].body.wraps)
        wanted, whys = self.wanted(past), set()
        if listed.keys() != wanted.keys():
            whys.add(LIST_DIFFERS)
        if any(listed[seat] != wanted[seat] for seat in listed.keys() & wanted.keys()):
            whys.add(KEY_DIFFERS)
        if not self.membership() <= past or not self.nested_heads(self.acts) <= self.nested_heads(past):
            whys.add(MISSES)
        return whys

    @property
    def founder(self) -> SeatId:
        """The first device of the genesis."""
        return next(seat for seat, holder in enumerate(self.genesis.holders) if isinstance(holder, Device))

    def usable(self) -> list[Act]:
        """The usable renewals, the current one first: the greatest number, then the author's rank, then the smallest id."""
        found = [act for act in self.renewals() if not self.why_unusable(act.id)]
        return sorted(found, key=lambda act: (-act.body.number, self.rank(act.path[0]), act.id))

    def current(self) -> bytes | None:
        """The epoch that all send under; None while somebody has to renew."""
        if usable := self.usable():
            return usable[0].id
        return self.genesis.chain if not self.why_unusable(self.genesis.chain) else None
