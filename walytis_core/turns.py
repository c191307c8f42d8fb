"""Turns: from whom we pull, and when.

One pull at a time, so that nothing is sent twice. A peer whose pulls bring nothing is asked ever more rarely, also over a new
stream; a pull passes its turn on when another peer is due, the sooner the less it brings. So a peer that lies costs a bounded
rate of fruitless pulls, and holds nobody else up for longer than a turn. Pure: it says when, `syncing.py` says what.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from walytis_core.limits import Limits


@dataclass(slots=True)
class Pulling:
    """The pull under way.

    Attributes:
        taken: What it brought: blocks taken, forks proven.
        idle: Looks in a row that saw nothing new.
        looks: How often it was looked at.
    """

    peer: str
    taken: int = 0
    idle: int = 0
    looks: int = 0
    _seen: int = 0

    def progress(self) -> int:
        """How much it brought since the last look."""
        self.looks += 1
        new = self.taken - self._seen
        self._seen = self.taken
        self.idle = 0 if new else self.idle + 1
        return new


@dataclass(slots=True)
class _HoldOff:
    """How long the next fruitless pull from a peer holds it off, and until when it is held off now."""

    next_s: float = Limits.holdoff_min_s
    until_s: float = 0.0


class Suspect(NamedTuple):
    """A digest heard on the channel that was not ours: what it was, what ours was then, and how many blocks it stands for.

    It may be acted on from `ripe_s` on: what is under way may make the digests equal before.
    """

    digest: bytes
    own: bytes
    held: int
    own_held: int
    ripe_s: float

    def still_differs(self, own: bytes, held: int) -> bool:
        """Whether it is worth a pull: not while our own set moves on and has outgrown what the peer said it has.

        While blocks flow, no two digests are equal, and what differs is on its way; once it is quiet, they are heard again.
        """
        return self.digest != own and (self.own == own or self.held > held)


@dataclass(slots=True)
class Turns:
    """The pull under way, who is due, who is held off, and whose digest on the channel differed."""

    pulling: Pulling | None = None
    due: dict[str, None] = field(default_factory=dict)
    suspects: dict[str, Suspect] = field(default_factory=dict)
    _held_off: OrderedDict[str, _HoldOff] = field(default_factory=OrderedDict)

    def is_pulling(self, peer: str) -> bool:
        """Whether the pull under way is from this peer."""
        return self.pulling is not None and self.pulling.peer == peer

    def wait_s(self, peer: str, now_s: float) -> float:
        """How long a peer is held off still."""
        held_off = self._held_off.get(peer)
        return max(held_off.until_s - now_s, 0.0) if held_off else 0.0

    def begin(self, peer: str) -> None:
        """Pulls from a peer."""
        self.due.pop(peer, None)
        self.pulling = Pulling(peer)

    def end(self, now_s: float, *, equal: bool) -> None:
        """The pull under way is over; one that brought nothing holds its peer off.

        Args:
            equal: Whether the peer says that we hold the same: then its digest may have been overtaken by news.
        """
        pulling, self.pulling = self.pulling, None
        if pulling is None:
            return
        if pulling.taken:
            self._held_off.pop(pulling.peer, None)
            return
        held_off = self._held_off.setdefault(pulling.peer, _HoldOff())
        self._held_off.move_to_end(pulling.peer)
        if len(self._held_off) > Limits.idle_peers_remembered:
            self._held_off.popitem(last=False)
        held_off.until_s = now_s + (min(held_off.next_s, Limits.holdoff_equal_s) if equal else held_off.next_s)
        held_off.next_s = min(2 * held_off.next_s, Limits.holdoff_max_s)

    def next(self, now_s: float) -> str | None:
        """The peer that is due the longest and not held off."""
        return next((peer for peer in self.due if not self.wait_s(peer, now_s)), None)

    def next_wait_s(self, now_s: float) -> float | None:
        """When the first hold-off of those that are due ends; None when nobody is due."""
        return min((self.wait_s(peer, now_s) for peer in self.due), default=None)

    def is_slow(self, now_s: float) -> bool:
        """Whether the pull under way is to end: with nothing new for long; or, while another peer is due, when it had its share.

        However much a peer sends, its turn ends: blocks cost their author nothing.
        """
        if self.pulling is None:
            return False
        new = self.pulling.progress()
        if self.next(now_s) is None:
            return self.pulling.idle >= Limits.pull_idle_turns
        looks = Limits.pull_looks if new < Limits.pull_good_blocks else Limits.pull_good_looks
        return new < Limits.pull_turn_blocks or self.pulling.looks >= looks

    # --- the channel ---------------------------------------------------------------------------------------------

    def suspect(self, peer: str, suspect: Suspect) -> bool:
        """A peer's digest on the channel is not ours. Returns whether it is the first such peer.

        One that already differs from what we hold now stays as it is: else who talks often would never be ripe.
        """
        first = not self.suspects
        old = self.suspects.get(peer)
        if old is not None and old.still_differs(suspect.own, suspect.own_held):
            return first
        if len(self.suspects) < Limits.idle_peers_remembered:
            self.suspects[peer] = suspect
        return first

    def choose(self, own: bytes, held: int, random: float, now_s: float) -> str | None:
        """One of the peers whose digest still differs and that is not held off; the rest is kept for later."""
        left = {peer: suspect for peer, suspect in self.suspects.items() if suspect.still_differs(own, held)}
        able = sorted(peer for peer in left if not self.wait_s(peer, now_s))
        self.suspects = {peer: left[peer] for peer in able}
        ripe = [peer for peer in able if left[peer].ripe_s <= now_s]
        if not ripe:
            return None
        peer = ripe[int(random * len(ripe))]
        del self.suspects[peer]
        return peer

    def forget(self, peer: str) -> bool:
        """A peer is gone. Returns whether its pull was under way."""
        self.due.pop(peer, None)
        was_pulling = self.is_pulling(peer)
        if was_pulling:
            self.pulling = None
        return was_pulling
