"""Manners: what peers did wrong, and who is kept out for a while because of it. No IO; time is passed in.

Invariant: what honest peers do without end (a newer version, the blocks of an author that forked, blocks that find no room,
keys of the time before it was away) is counted and never punished; what they do now and then (an answer that comes late) weighs little. Bounded: who can make keys
without end cannot make us remember them all.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from walytis_core.errors import Reason

FAULTS_ALLOWED: Final = 50
"""So many, and the peer is kept out."""
KEEP_OUT_S: Final = 60.0
_FAULTY_PEERS: Final = 1024
"""Peers whose faults are counted; those with the fewest are forgotten."""
_FORGIVEN: Final = frozenset(
    {Reason.NEWER_VERSION, Reason.FROZEN, Reason.NO_ROOM, Reason.NOT_A_MEMBER, Reason.STALE_KEY, Reason.UNKNOWN_MEMBER}
)
_LIGHT: Final = frozenset({Reason.UNASKED, Reason.BAD_ANCESTOR})
_LIGHT_PER_FAULT: Final = 20
"""So many light faults weigh as much as one other."""


class Manners:
    """The faults of the peers of one node."""

    def __init__(self) -> None:
        self.faults: Counter[Reason] = Counter()
        self._by_peer: Counter[str] = Counter()
        self._kept_out: dict[str, float] = {}

    def fault(self, reason: Reason, peer: str, now_s: float) -> bool:
        """Counts a fault. Returns whether the peer is to be dropped now."""
        self.faults[reason] += 1
        if reason in _FORGIVEN:
            return False
        self._by_peer[peer] += 1 if reason in _LIGHT else _LIGHT_PER_FAULT
        if len(self._by_peer) > _FAULTY_PEERS:
            self._by_peer = Counter(dict(self._by_peer.most_common(_FAULTY_PEERS // 2)))
        if self._by_peer[peer] < FAULTS_ALLOWED * _LIGHT_PER_FAULT:
            return False
        del self._by_peer[peer]
        self._kept_out = {one: until for one, until in self._kept_out.items() if until > now_s}
        self._kept_out[peer] = now_s + KEEP_OUT_S
        return True

    def is_kept_out(self, peer: str, now_s: float) -> bool:
        """Whether nothing is taken from a peer now."""
        return self._kept_out.get(peer, now_s) > now_s
