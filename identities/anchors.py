"""What a device says on the chain of a group so that the others there know of the identity behind whose seat it acts.

It anchors what is new of it, lets its other devices write, and gives cuts for where they wrote when one is removed. Several
devices could say each of these things, so they take turns: the next one waits a while for the one before. Each is done by
looking at what is there, and may be done twice. What is to be known is for `anchoring.py` to say.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from identities.acts import ANCHORED, CUT, REMOVED, Device, SeatId
from identities.anchoring import heads_of, lacking, portion, turn_of
from identities.payloads import MAX_CUTS, MAX_HEADS, cuts
from identities.rights import Folded
from identities.state import tag_of
from walytis_core import Chain, NotAllowedError, UnavailableError
from walytis_core.block import decode

if TYPE_CHECKING:
    from identities.holding import Holding
    from identities.part import Part

_MOST_ADMITTED: Final = 256
"""Keys that are let in at once, in one block: many blocks between two events would make the second one void."""
_PORTION: Final = 512
"""Acts that one anchor adds at most; fewer where they are large."""
_TURN_S: Final = 5.0
"""After how long the next device does what the one before in the order has not done."""


class Turns:
    """When it is this device's turn: so long after it first saw that something is to be done."""

    def __init__(self) -> None:
        self._noticed: dict[Hashable, float] = {}

    def due_s(self, what: Hashable, turn: float, now_s: float) -> float:
        """When this device is to do it."""
        return self._noticed.setdefault(what, now_s) + _TURN_S * turn

    def clear(self) -> None:
        """Nothing is to be done."""
        self._noticed.clear()


class Anchors:
    """What this device says of its identity elsewhere, and of members here.

    Args:
        part: This node's part in the identity.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._actor = part.actor
        self._anchoring = Turns()
        self._cutting = Turns()

    def introduce(self, other: Holding) -> None:
        """Makes a member known to its group: lets its devices write, and anchors what is held of it."""
        for seat, chain in self._actor.log.folded().live_nested.items():
            if chain == other.id:
                self._let_write(other.folded)
                while self._anchor(seat, other.folded):
                    pass

    def _let_write(self, theirs: Folded) -> None:
        keys = self._unadmitted(theirs)
        if keys:
            self._actor.log.admit(*keys[:_MOST_ADMITTED])

    def _unadmitted(self, theirs: Folded) -> list[bytes]:
        """The keys of an identity's devices that may not write here yet, those of its own seats first, by rank."""
        own = [seat.holder.block_key for seat in theirs.authority.live if isinstance(seat.holder, Device)]
        keys = dict.fromkeys([*own, *sorted(device.block_key for device in theirs.devices)])
        return [key for key in keys if not self._part.log.is_writer(key)]

    def _anchor(self, seat: SeatId, theirs: Folded) -> bool:
        """Anchors the next portion of what the group is to know of an identity; whether there was any."""
        folded = self._actor.log.folded()
        if not lacking(folded, seat, theirs):
            return False
        last, most = folded.best_anchor(seat), _PORTION
        base = None if last is None else last.id
        heads = portion(folded, seat, theirs, most)
        while last is None or list(last.body.heads) != heads:
            try:
                self._actor.state_fact(ANCHORED, [seat, heads, base], () if base is None else (base,))
            except NotAllowedError:
                if most == 1:
                    raise
                most //= 2  # more is under them than one anchor may add
                heads = portion(folded, seat, theirs, most)
            else:
                return True
        return False

    def anchor_own(self, folded: Folded, now_s: float) -> float:
        """Has the group know what is new of the identity behind whose seat this device acts; in turn with its others."""
        via, seat = self._actor.via, self._actor.seat(folded)
        if via is None or seat is None:
            return float("inf")
        theirs = via.log.folded()
        news = lacking(folded, seat.id, theirs)
        keys = self._unadmitted(theirs)
        if not news and not keys:
            self._anchoring.clear()
            return float("inf")
        turn = turn_of(self._actor.log.writer, theirs, news)
        if theirs.epochs.current is None:
            turn = max(turn, 1)  # first they renew: what is wrapped to the key before may be for one who was removed
        due = self._anchoring.due_s(frozenset({*news, *keys}), turn, now_s)
        if due > now_s:
            return due
        with suppress(NotAllowedError, UnavailableError):
            self._let_write(theirs)
            has_said = self._anchor(seat.id, theirs)
            return now_s if has_said or len(keys) > _MOST_ADMITTED else float("inf")
        return float("inf")

    # --- cuts ----------------------------------------------------------------------------------------------------------

    def cuts(self, seats: Collection[SeatId]) -> dict[bytes, list[bytes]]:
        """Where these seats of the identity have rights elsewhere, by tag: the last that was said there behind them."""
        folded, found = self._actor.log.folded(), dict[bytes, list[bytes]]()
        for one in self._part.groups.outer():
            there = one.folded
            found[there.genesis.tag] = heads_of(there, list(there.said_by(folded.chain, seats)))[:MAX_HEADS]
        keys = folded.keys_behind(seats)
        for chain in self._data_chains():
            newest = (next(chain.blocks(author=key, newest_first=True, limit=1), None) for key in keys)
            found[tag_of(decode(chain.genesis))] = sorted(bytes(block.id) for block in newest if block)[:MAX_HEADS]
        return dict(sorted(found.items()))

    def _data_chains(self) -> list[Chain]:
        found = {chain.id: chain for one in (self._part, *self._part.groups.outer()) for chain in one.groups.chains()}
        return list(found.values())

    def cut_later(self, folded: Folded, now_s: float) -> float:
        """Gives cuts for the chains that a removal has none for: new ones, or such as its author did not know."""
        removals = list(folded.authority.counted(REMOVED))
        if not removals:
            return float("inf")
        seats = {seat for act in removals for seat in act.body.seats}
        cut = [{tag for cuts in folded.cuts_of(act) for tag in cuts} for act in removals]
        missing = {tag: heads for tag, heads in self.cuts(seats).items() if not all(tag in tags for tags in cut)}
        if not missing:
            return float("inf")
        turn = turn_of(self._actor.log.writer, folded, [removals[-1].id])
        due = self._cutting.due_s(frozenset(missing), turn, now_s)
        if due > now_s:
            return due
        with suppress(NotAllowedError, UnavailableError):
            self._actor.act(CUT, [None, cuts(dict(list(missing.items())[:MAX_CUTS]))])
            return now_s
        return float("inf")
