"""Trickle: how often a quiet channel is told what we hold (RFC 6206).

An interval doubles from the least to the greatest length; in its second half, at a random instant, we send, unless
`k` consistent messages were heard in it. It starts over when *our own* set changed, never because of what a peer
says (a liar could keep us talking). One interval in eight is never suppressed, so that a peer which echoes
everybody's own digest keeps nobody silent for ever. Pure: randomness comes in as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

from walytis_core.limits import Limits


@dataclass(slots=True)
class Trickle:
    """One Trickle timer. All times are seconds from now."""

    interval_s: float = Limits.trickle_min_s
    heard: int = 0
    intervals: int = 0
    _until_end_s: float = 0.0

    def begin(self, random: float) -> float:
        """Starts an interval.

        Args:
            random: In [0, 1).

        Returns:
            Seconds until `fire()` is due.
        """
        self.heard = 0
        self.intervals += 1
        fire_s = self.interval_s * (0.5 + random / 2)
        self._until_end_s = self.interval_s - fire_s
        return fire_s

    def fire(self) -> bool:
        """Whether to send now."""
        return self.heard < Limits.trickle_k or self.intervals % Limits.trickle_never_suppressed == 0

    def end(self) -> float:
        """After `fire()`: seconds until the interval ends and `begin()` is due; the next one is twice as long."""
        self.interval_s = min(2 * self.interval_s, Limits.trickle_max_s)
        return self._until_end_s

    def hear(self) -> None:
        """A consistent message was heard."""
        self.heard += 1

    def reset(self) -> bool:
        """Our own set changed. Returns whether a new interval is to begin (not when it is at its least already)."""
        if self.interval_s <= Limits.trickle_min_s:
            return False
        self.interval_s = Limits.trickle_min_s
        return True
