"""When this device renews the keys of an identity: a machine with time and randomness as arguments.

Rules (docs/spec/identities.md#renewal): whoever changed the members renews at once. Another who finds no epoch to send
under, or a wrap that others could not open, waits a random 0.3 to 1.3 s for somebody else's renewal, and takes the turn
when none came: without that, thirty devices would make thirty. When the current epoch has reached its age, by this
device's own clock since it first saw it, the device with the lowest hash of (seat, epoch) leads; each next one in that
order takes over a while later. Who complains of one epoch after the other is not listened to. Knows no chain, key or block.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

WAIT_S: Final = (0.3, 1.3)
DAY_S: Final = 86_400.0


class RenewalPolicy(NamedTuple):
    """How often keys are renewed.

    Attributes:
        age_s: Of an epoch; None: never for its age alone.
        jitter: Up to which share of the age is added, by the hash that chooses the leader.
        takeover_s: After how long the next device takes over from one that does not act.
        overlap_s: How long the epoch before stays good for live sessions.
        confirm_s: How long a device waits before it confirms what it has opened, so that others may forget the wraps.
    """

    age_s: float | None = 30 * DAY_S
    jitter: float = 0.1
    takeover_s: float = DAY_S
    overlap_s: float = 600.0
    confirm_s: float = 90 * DAY_S


class Situation(NamedTuple):
    """What the machine is told.

    Attributes:
        epoch: The current epoch's id; None while none is usable.
        newest: The id of the epoch that the next renewal follows.
        lacks: What has made the newest one unusable: the ids of acts; empty while it is usable.
        mine: Whether this device wrote the last of these acts.
        complaint: Whether somebody, to whom one listens, could not open the current epoch, which this device did not make.
        seat: This device's seat, in bytes.
        others: All live seats that could renew, in bytes, this one among them.
    """

    epoch: bytes | None
    newest: bytes
    lacks: tuple[bytes, ...]
    mine: bool
    complaint: bool
    seat: bytes
    others: Sequence[bytes]


@dataclass
class Renewing:
    """The machine.

    Args:
        policy: How often.
        random: Gives numbers from 0 to 1.
    """

    policy: RenewalPolicy
    random: Callable[[], float]
    first_seen: dict[bytes, float] = field(default_factory=dict)
    """When each epoch was first current here, by the local clock; kept by the caller."""
    _need: tuple[object, ...] = ()
    _due: float = 0.0

    def due(self, now: Situation, now_s: float) -> float:
        """The instant at which to renew, if nothing happens until then; infinity for never.

        Args:
            now: The situation.
            now_s: The local clock, in seconds since the epoch.
        """
        if now.epoch is not None:
            seen_s = self.first_seen.get(now.epoch, now_s)
            self.first_seen[now.epoch] = min(seen_s, now_s)  # the clock may have been put back
        need = self._pressing(now)
        if need:
            if need != self._need:
                low, high = WAIT_S
                self._need, self._due = need, now_s if now.mine else now_s + low + (high - low) * self.random()
            return min(self._due, now_s + WAIT_S[1])
        self._need = ()
        return self._aged(now)

    def _pressing(self, now: Situation) -> tuple[object, ...]:
        if now.epoch is None:
            return ("unusable", now.newest, now.lacks)
        return ("unopened", now.epoch) if now.complaint else ()

    def _aged(self, now: Situation) -> float:
        if self.policy.age_s is None or now.epoch is None:
            return float("inf")
        turn = order(now.others, now.epoch)
        place = turn.index(now.seat) if now.seat in turn else len(turn)
        jitter = self.policy.jitter * int.from_bytes(now.epoch[-2:], "big") / 65_536
        age_s = self.policy.age_s * (1 + jitter) + place * self.policy.takeover_s
        return self.first_seen[now.epoch] + age_s


def order(seats: Sequence[bytes], epoch: bytes) -> list[bytes]:
    """The order in which seats lead the renewal of an epoch: by SHA-256 of seat and epoch."""
    return sorted(seats, key=lambda seat: hashlib.sha256(b"walytis/renewal/1" + seat + epoch).digest())
