"""What a device does so that nobody is locked out, and that old keys go away all the same: duties of the `Worker`.

It holds the wraps of others, too: who made them may be away, or out of reach, when they are asked for. It confirms once in
a while what it has opened, and forgets what `retention.py` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from identities.actor import Actor
from identities.acts import CONFIRMED, Nested, SeatId
from identities.payloads import decode, read_renewal
from identities.renewal import Renewing
from identities.retention import confirmed_by, missing_wraps, needed_seals, needless_wraps
from identities.rights import Folded
from walytis_core.errors import NotAllowedError, UnavailableError


@dataclass
class Tending:
    """These duties of one device.

    Args:
        actor: The device.
        renewing: Knows since when epochs are known here, and how long to wait.
    """

    actor: Actor
    renewing: Renewing
    _forgotten: set[bytes] = field(default_factory=set)
    _looked_at: Folded | None = None

    def run(self, awaited: frozenset[bytes], now_s: float) -> float:
        """Does what is due; when to be called again.

        Args:
            awaited: The ids of the device's X-Wing keys to which something is wrapped that is still to come.
            now_s: The local clock.
        """
        due_s = float("inf") if awaited else self._confirm(self.actor.log.folded(), now_s)
        folded = self.actor.log.folded()
        if folded is not self._looked_at:
            self._looked_at = folded
            self._hold(folded)
            self._forget(folded, awaited)
        return due_s

    def _hold(self, folded: Folded) -> None:
        log = self.actor.log
        for act, seats in missing_wraps(folded):
            for seat, _, cid in self._wraps_of(act.id):
                if seat in seats and log.kept(cid) is None:
                    log.want(cid)

    def _wraps_of(self, id: bytes) -> Sequence[tuple[SeatId, bytes, bytes]]:
        return read_renewal(decode(self.actor.log.block(id)).body).wraps

    def _confirm(self, folded: Folded, now_s: float) -> float:
        """Says what was opened, a while after the first epoch that was not confirmed yet was seen."""
        if self.actor.via is not None or any(isinstance(seat.holder, Nested) for seat in folded.authority.live):
            return float("inf")
        known = confirmed_by(folded, self.actor.log.writer)
        epochs = (epoch.id for epoch in folded.epochs.all.values() if epoch.renewal is not None)
        first_seen = self.renewing.first_seen
        fresh = [first_seen[id] for id in epochs if id in first_seen and not folded.pasts.has(known, id)]
        due_s = min(fresh, default=float("inf")) + self.renewing.policy.confirm_s
        if due_s > now_s:
            return due_s
        with suppress(NotAllowedError, UnavailableError):  # the state is another one now; the next call sees it
            self.actor.act(CONFIRMED, None)
        return float("inf")

    def _forget(self, folded: Folded, awaited: frozenset[bytes]) -> None:
        if self.actor.via is not None:
            return
        for act in needless_wraps(folded):
            if act.id not in self._forgotten:
                self._forgotten.add(act.id)
                self.actor.log.forget([cid for _, _, cid in self._wraps_of(act.id)])
        keyring = self.actor.keyring
        keyring.drop_seals(needed_seals(folded, self.actor.log.writer, keyring.seals, awaited))
