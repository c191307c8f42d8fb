"""What a nested identity's devices may do on another chain, which knows of that identity by anchors alone.

Rules (docs/spec/identities.md#anchors): what is anchored anywhere on a chain is one set of acts by identity, each folded as
one. An act of a device of a nested identity counts if the act that made the device's seat counts and is in what the act's
own past had anchored; if no removal, leaving or key renewal of that seat is in it; and if the act is inside the cut for its
chain of every removal of that seat that is anchored anywhere. (Were rights judged from an act's own anchors alone, a removed
device could write for ever with old parents.) An act on whose path an identity is met again does not count, and below a
depth of eight nothing is known. Pure.

An identity is folded at most once for each depth, however often it is met: identities that hold seats in each other cost
little and end. What somebody *knew* of an identity, whose keys a renewal was wrapped to, is folded from what they had seen
alone, at every depth.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

from identities.acts import (
    ANCHORED,
    CUT,
    LEFT,
    MAX_DEPTH,
    REKEYED,
    REMOVED,
    Act,
    Anchor,
    Device,
    GenesisSeats,
    LaterCut,
    Nested,
    Pasts,
    SeatId,
)
from identities.authority import AFTER_END, CUT_OFF, NO_SEAT, WRONG_KEY, Authority, Seat, decide
from identities.epochs import Epochs

UNKNOWN_IDENTITY: Final = "nothing is known here of the identity that holds its seat"
MET_AGAIN: Final = "the identity that holds its seat is met again on the path"
NOT_ANCHORED: Final = "its device's seat is not in what it had anchored"

Elsewhere = Mapping[bytes, Sequence[bytes]]
"""The cuts of a removal on other chains: heads there, by the chain's tag."""

Inside = Callable[[Elsewhere], bool]
"""Whether the act that is judged is inside the cut for the chain that it is on, if there is one."""


class World:
    """All that one chain knows: acts by identity, as data.

    Args:
        genesis: What the first block of each identity fixes.
        acts: Of each, all that is held or anchored, closed under `seen`.
    """

    def __init__(
        self, genesis: Mapping[bytes, GenesisSeats] | None = None, acts: Mapping[bytes, Sequence[Act]] | None = None
    ) -> None:
        self.genesis = genesis or {}
        self._acts = acts or {}
        self._pasts: dict[bytes, Pasts] = {}
        self._folds: dict[tuple[bytes, int, int], Folded] = {}

    def acts(self, chain: bytes) -> Sequence[Act]:
        """The acts of an identity that are known, in no order."""
        return self._acts.get(chain, ())

    def pasts(self, chain: bytes) -> Pasts:
        """The acts of an identity that are known, and their pasts."""
        if chain not in self._pasts:
            self._pasts[chain] = Pasts(self.acts(chain))
        return self._pasts[chain]

    def fold(self, chain: bytes, depth: int, heads: Iterable[bytes] | None = None) -> Folded | None:
        """A nested identity: as all that is known makes it, or as these of its acts and their pasts do.

        None where it lies too deep, or nothing is known of it.
        """
        if chain not in self.genesis or depth >= MAX_DEPTH:
            return None
        pasts = self.pasts(chain)
        closure = -1 if heads is None else pasts.closure(heads)
        if (chain, depth, closure) not in self._folds:
            acts = [act for place, act in enumerate(pasts.acts) if closure >> place & 1]
            self._folds[chain, depth, closure] = Folded(self, chain, acts, depth, is_whole=heads is None)
        return self._folds[chain, depth, closure]


class Folded:
    """One identity, decided: who may do what, and which epoch is current.

    Args:
        world: All that is known.
        chain: The identity.
        acts: Its acts that are to be taken into account.
        depth: How deep it is nested in the one that is asked for.
        is_whole: Whether nested identities are folded from all that is known, or from what these acts had anchored alone.
    """

    def __init__(
        self, world: World, chain: bytes, acts: Sequence[Act], depth: int = 0, *, is_whole: bool = True
    ) -> None:
        self.genesis = world.genesis[chain]
        self.chain = chain
        self._world = world
        self._depth = depth
        self._is_whole = is_whole
        self._anchors: dict[bytes, list[Act]] = {}
        self._holders: dict[SeatId, bytes] = {}
        self._note_nested(acts)
        self.pasts = Pasts(acts)
        self.authority: Authority = decide(self.genesis, self.pasts, self._rights)

    @cached_property
    def epochs(self) -> Epochs:
        """Its epochs."""
        if not self._holders:
            return Epochs(self.genesis, self.authority)
        return Epochs(self.genesis, self.authority, self._nested_key, self._nested_removals)

    def with_act(self, act: Act) -> Folded:
        """The identity as it would be with one more act."""
        return Folded(self._world, self.chain, [*self.pasts.acts, act], self._depth, is_whole=self._is_whole)

    def _note_nested(self, acts: Sequence[Act]) -> None:
        """Who the nested identities are, and what is anchored of them: facts, whether or not what made a seat counts."""
        for place, holder in enumerate(self.genesis.holders):
            if isinstance(holder, Nested):
                self._holders[place] = holder.chain
        self._holders.update({act.id: act.body.chain for act in acts if isinstance(act.body, Nested)})
        for act in acts if self._holders else ():
            if act.kind == ANCHORED and isinstance(act.body, Anchor) and act.body.seat in self._holders:
                self._anchors.setdefault(self._holders[act.body.seat], []).append(act)

    # --- what is known of a nested identity --------------------------------------------------------------------------

    def nested(self, chain: bytes) -> Folded | None:
        """A nested identity, as all that is known makes it; None where that is nothing."""
        heads = None if self._is_whole else self._heads(chain, -1)
        return self._world.fold(chain, self._depth + 1, heads) if chain in self._anchors else None

    def view(self, chain: bytes, seen: int = -1) -> Folded | None:
        """A nested identity as known to who has seen just these acts; None where nothing is."""
        heads = self._heads(chain, seen)
        return self._world.fold(chain, self._depth + 1, heads) if heads else None

    def _heads(self, chain: bytes, seen: int) -> list[bytes]:
        anchors = self._anchors.get(chain, [])
        if seen >= 0:
            anchors = [anchor for anchor in anchors if seen >> self.pasts.place[anchor.id] & 1]
        return [head for anchor in anchors for head in anchor.body.heads]

    def holder_of(self, seat: SeatId) -> bytes | None:
        """The identity that holds a seat, whether or not its making counts; None where another holds it."""
        return self._holders.get(seat)

    @property
    def nested_chains(self) -> frozenset[bytes]:
        """The identities that hold seats, or held some."""
        return frozenset(self._holders.values())

    def best_anchor(self, seat: SeatId) -> Act | None:
        """The anchor for a seat that says the most."""
        nested = self.nested(self._holders.get(seat, b""))
        if nested is None:
            return None
        pasts, anchors = nested.pasts, (act for act in self._anchors[nested.chain] if act.body.seat == seat)
        sized = [(pasts.closure(act.body.heads).bit_count(), act.height, act.id) for act in anchors]
        return self.pasts.acts[self.pasts.place[max(sized)[-1]]] if sized else None

    def anchors_for(self, path: tuple[SeatId, ...], known: int = -1) -> list[bytes] | None:
        """An anchor for each seat of a path but the last, each by which the next is known; None where there are none.

        Args:
            path: The seats.
            known: The acts here among which the first one is.
        """
        nested = self.nested(self._holders.get(path[0], b"")) if len(path) > 1 else None
        if nested is None:
            return [] if len(path) == 1 else None
        pasts, place = nested.pasts, self.pasts.place
        anchors = (act for act in self._anchors[nested.chain] if act.body.seat == path[0])
        covers = [(pasts.closure(act.body.heads), act.id) for act in anchors if known >> place[act.id] & 1]
        tried = 0
        for covered, id in sorted(covers, key=lambda cover: -cover[0].bit_count()):
            if (tried and not covered & ~tried) or not (isinstance(path[1], int) or pasts.has(covered, path[1])):
                continue  # what says no more than the others: strangers may write many
            rest = nested.anchors_for(path[1:], covered)
            if rest is not None:
                return [id, *rest]
            tried |= covered
        return None

    @property
    def live_nested(self) -> dict[SeatId, bytes]:
        """The identities that hold live seats."""
        live = self.authority.live if self._holders else ()
        return {seat.id: seat.holder.chain for seat in live if isinstance(seat.holder, Nested)}

    def _nested_key(self, seat: Seat, seen: int) -> bytes | None:
        known = self.view(seat.holder.chain, seen) if isinstance(seat.holder, Nested) else None
        if known is None:
            return None
        epochs = known.epochs  # not one whose key somebody has who was removed: the next one is wrapped to it, then
        safe = epochs.current or next((one for one in epochs.by_precedence if not epochs.lacks_removal(one)), None)
        return None if safe is None else safe.seal_id

    def _nested_removals(self, seen: int) -> frozenset[bytes]:
        """The removals and leavings in identities that hold live seats, that are anchored in these acts, at any depth."""
        found: set[bytes] = set()
        for chain in set(self.live_nested.values()):
            known = self.view(chain, seen)
            if known is not None:
                found |= known.removals
        return frozenset(found - self.pasts.place.keys())

    @cached_property
    def removals(self) -> frozenset[bytes]:
        """The removals and leavings that count, here and in identities that hold seats, at any depth."""
        own = {act.id for act in self.authority.counted(REMOVED, LEFT)}
        return self._nested_removals(-1) | own

    # --- rights ------------------------------------------------------------------------------------------------------

    def _rights(self, act: Act, past: int) -> str | None:
        """Why a nested identity's device had no right to an act here, or None."""

        def inside(elsewhere: Elsewhere) -> bool:
            heads = elsewhere.get(self.genesis.tag)
            known = self._world.pasts(self.chain)
            return heads is None or known.has(known.closure(heads), act.id)

        return self.why_not(act.path, act.author, past, inside)

    def why_not(
        self, path: tuple[SeatId, ...], author: bytes, seen: int, inside: Inside, met: tuple[bytes, ...] = ()
    ) -> str | None:
        """Why a key may not act behind the seat of a nested identity, having seen these acts; None when it may.

        Args:
            path: The seat here, then the seats below it.
            author: The key that signed the block.
            seen: What the act's past had seen of this identity.
            inside: Judges cuts for the chain that the act is on.
            met: The identities on the path before this one.
        """
        chain = self._holders.get(path[0])
        if chain is None or len(path) < 2:
            return WRONG_KEY
        if chain in met or chain == self.chain:
            return MET_AGAIN
        heads, below = self._heads(chain, seen), self.nested(chain)
        if below is None or not heads:
            return UNKNOWN_IDENTITY
        known = below.pasts.closure(heads)
        return below.why_no_seat(path[1:], author, known, inside, (*met, self.chain))

    def why_no_seat(
        self, path: tuple[SeatId, ...], author: bytes, known: int, inside: Inside, met: tuple[bytes, ...] = ()
    ) -> str | None:
        """Why the holder of a seat of this identity may not act elsewhere, where just these acts were known; or None."""
        has, seat = self.pasts.has, self.authority.seats.get(path[0])
        if seat is None:
            return NO_SEAT
        if seat.made is not None and not has(known, seat.made.id):
            return NOT_ANCHORED
        if any(has(known, removal.id) for removal in seat.removals) or not all(map(inside, self._cuts_of(seat))):
            return CUT_OFF
        if known & self._endings.get(seat.id, 0):
            return AFTER_END
        if isinstance(seat.holder, Nested):
            return self.why_not(path, author, known, inside, met)
        is_its_key = isinstance(seat.holder, Device) and seat.holder.block_key == author and len(path) == 1
        return None if is_its_key else WRONG_KEY

    @cached_property
    def _endings(self) -> dict[SeatId, int]:
        """The leavings and key renewals that count, by seat; concurrent ones of one seat count together."""
        found: dict[SeatId, int] = {}
        for act in self.authority.counted(LEFT, REKEYED):
            found[act.path[0]] = found.get(act.path[0], 0) | 1 << self.pasts.place[act.id]
        return found

    def _cuts_of(self, seat: Seat) -> Iterator[Elsewhere]:
        """The cuts on other chains of the removals that count against a seat, those that were given later too."""
        for removal in seat.removals:
            yield from self.cuts_of(removal)

    def cuts_of(self, removal: Act) -> Iterator[Elsewhere]:
        """The cuts on other chains of a removal: its own, and for further chains those that were given later."""
        own: Elsewhere = removal.body.elsewhere
        yield own
        for later, place in self._later:
            if self._is_of(later, place, removal):
                yield {tag: heads for tag, heads in later.elsewhere.items() if tag not in own}

    def _is_of(self, later: LaterCut, place: int, removal: Act) -> bool:
        if later.removal is None:
            return self.pasts.has(self.pasts.past(place), removal.id)
        return later.removal == removal.id

    @cached_property
    def _later(self) -> list[tuple[LaterCut, int]]:
        counted = ((act.body, self.pasts.place[act.id]) for act in self.authority.counted(CUT))
        return [(body, place) for body, place in counted if isinstance(body, LaterCut)]

    # --- who is behind it --------------------------------------------------------------------------------------------

    def node_keys(self) -> frozenset[bytes]:
        """The node keys of all devices that are members, behind nested identities too."""
        return frozenset(device.node_key for device in self.devices)

    @cached_property
    def devices(self) -> frozenset[Device]:
        """All devices that are members, behind nested identities too: those that epochs are wrapped to."""
        holders = {seat.holder for seat in self.epochs.wrapped_to}
        found = {holder for holder in holders if isinstance(holder, Device)}
        for chain in {holder.chain for holder in holders if isinstance(holder, Nested)}:
            nested = self.nested(chain)
            found |= frozenset() if nested is None else nested.devices
        return frozenset(found)

    def keys_behind(self, seats: Collection[SeatId]) -> frozenset[bytes]:
        """The block keys of all devices that hold or ever held these seats, behind nested identities too."""
        found: set[bytes] = set()
        for id in seats:
            holder = self.authority.seats[id].holder if id in self.authority.seats else None
            nested = self.nested(holder.chain) if isinstance(holder, Nested) else None
            found |= {holder.block_key} if isinstance(holder, Device) else set()
            found |= frozenset() if nested is None else nested.keys
        return frozenset(found)

    def paths_to(self, key: bytes, depth: int = MAX_DEPTH) -> Iterator[tuple[SeatId, ...]]:
        """The paths of seats, live or not, to the devices that write blocks with a key; those of higher ranks first."""
        for seat in self.authority.seats.values():
            if isinstance(seat.holder, Device) and seat.holder.block_key == key:
                yield (seat.id,)
            nested = self.nested(seat.holder.chain) if isinstance(seat.holder, Nested) and depth > 1 else None
            if nested is not None and key in nested.keys:
                yield from ((seat.id, *path) for path in nested.paths_to(key, depth - 1))

    @cached_property
    def keys(self) -> frozenset[bytes]:
        """The block keys of all devices that hold or ever held seats, behind nested identities too."""
        return self.keys_behind(self.authority.seats)

    def said_by(self, chain: bytes, seats: Collection[SeatId]) -> Iterator[Act]:
        """The acts that count here, and whose path leads through one of these seats of an identity."""
        return (act for act in self.pasts.acts if act.id not in self.authority.void and self._leads(act, chain, seats))

    def _leads(self, act: Act, chain: bytes, seats: Collection[SeatId]) -> bool:
        here: Folded | None = self
        for seat in act.path:
            if here is None:
                return False
            if here.chain == chain and seat in seats:
                return True
            below = here.holder_of(seat)
            here = None if below is None else here.nested(below)
        return False
