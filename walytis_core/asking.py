"""Asking for single blocks: which ids are asked for and have not come.

An id is asked of one peer at a time, a few times, then given up: sync brings what is real. A peer can make us ask only for so many
ids that it announced, or that its parked blocks lack, and its silence costs a second, after which somebody else is asked. Pure,
in memory, bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, auto

from walytis_core.cid import BlockId
from walytis_core.limits import Limits

_TRIES = 6


class Cause(Enum):
    """Why an id is asked for."""

    ANNOUNCED = auto()
    LACKING = auto()
    """A parked block names it."""
    DAMAGED = auto()
    """It is a member, and its bytes are spoilt."""


_PER_PEER = {
    Cause.ANNOUNCED: Limits.announced_per_peer,
    Cause.LACKING: Limits.asked_per_sender,
    Cause.DAMAGED: Limits.repaired_at_once,
}


@dataclass(slots=True)
class _Ask:
    """One id: why and on whose account it is asked for, of whom last, and how often it was."""

    cause: Cause
    account: str
    peer: str
    tries: int = 1


@dataclass(slots=True)
class Asking:
    """Ids asked for, with the timer that has them asked for again."""

    is_timed: bool = False
    _asked: dict[BlockId, _Ask] = field(default_factory=dict)
    _accounts: Counter[tuple[Cause, str]] = field(default_factory=Counter)
    _counts: Counter[Cause] = field(default_factory=Counter)

    def __contains__(self, id: object) -> bool:
        return id in self._asked

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, id: BlockId, cause: Cause, account: str, peer: str) -> bool:
        """Notes that an id is asked for; False when it is already, or the account is over its budget.

        Args:
            account: The peer that makes us ask.
            peer: The peer that is asked.
        """
        if id in self._asked or self._accounts[cause, account] >= _PER_PEER[cause]:
            return False
        self._asked[id] = _Ask(cause, account, peer)
        self._accounts[cause, account] += 1
        self._counts[cause] += 1
        return True

    def count(self, cause: Cause) -> int:
        """How many ids are asked for because of this."""
        return self._counts[cause]

    def is_announced(self, id: BlockId) -> bool:
        """Whether an id was asked for because it was announced: then it is news."""
        ask = self._asked.get(id)
        return ask is not None and ask.cause is Cause.ANNOUNCED

    def other(self, id: BlockId, peers: Collection[str], random: float) -> str:
        """Whom to ask now: one of `peers`, but not who was asked last where there is another."""
        ask = self._asked[id]
        able = [peer for peer in peers if peer != ask.peer] or list(peers)
        ask.peer = able[int(random * len(able))]
        return ask.peer

    def came(self, id: BlockId) -> None:
        """It is here, or given up."""
        ask = self._asked.pop(id, None)
        if ask is not None:
            self._counts[ask.cause] -= 1
            account = ask.cause, ask.account
            self._accounts[account] -= 1
            if not self._accounts[account]:
                del self._accounts[account]

    def again(self, needed: Collection[BlockId]) -> tuple[list[BlockId], list[BlockId]]:
        """A second is over.

        Args:
            needed: The ids that parked blocks lack, and those of damaged blocks.

        Returns:
            The ids to ask of others now, and those given up.
        """
        retry, given_up = [], []
        for id, ask in list(self._asked.items()):
            ask.tries += 1
            if ask.tries > (_TRIES if id in needed else 2):
                self.came(id)
                given_up.append(id)
            elif id in needed or ask.cause is Cause.ANNOUNCED:
                retry.append(id)
            else:
                self.came(id)
        return retry, given_up
