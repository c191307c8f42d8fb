"""Asking for single blocks: which ids are asked for and have not come.

An id is asked of one peer at a time, a few times, then given up: sync brings what is real. A peer can make us ask only for so many
ids that it announced, and its silence costs a second, after which somebody else is asked. Pure, in memory, bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from walytis_core.cid import BlockId
from walytis_core.limits import Limits

_TRIES = 6


@dataclass(slots=True)
class _Ask:
    """One id: who announced it (nobody, when a parked block lacks it), and how often it was asked for."""

    announcer: str | None
    tries: int = 1


@dataclass(slots=True)
class Asking:
    """Ids asked for, with the timer that has them asked for again."""

    is_timed: bool = False
    _asked: dict[BlockId, _Ask] = field(default_factory=dict)
    _announced: Counter[str] = field(default_factory=Counter)

    def __contains__(self, id: object) -> bool:
        return id in self._asked

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, id: BlockId, announcer: str | None) -> bool:
        """Notes that an id is asked for; False when it is already, or its announcer is over its budget."""
        if id in self._asked or (announcer is not None and self._announced[announcer] >= Limits.announced_per_peer):
            return False
        self._asked[id] = _Ask(announcer)
        if announcer is not None:
            self._announced[announcer] += 1
        return True

    def is_announced(self, id: BlockId) -> bool:
        """Whether an id was asked for because it was announced: then it is news."""
        ask = self._asked.get(id)
        return ask is not None and ask.announcer is not None

    def came(self, id: BlockId) -> None:
        """It is here, or given up."""
        ask = self._asked.pop(id, None)
        if ask is not None and ask.announcer is not None:
            self._announced[ask.announcer] -= 1
            if not self._announced[ask.announcer]:
                del self._announced[ask.announcer]

    def again(self, needed: Collection[BlockId]) -> tuple[list[BlockId], list[BlockId]]:
        """A second is over.

        Args:
            needed: The ids that parked blocks lack.

        Returns:
            The ids to ask of others now, and those given up.
        """
        retry, given_up = [], []
        for id, ask in list(self._asked.items()):
            ask.tries += 1
            if ask.tries > (_TRIES if id in needed else 2):
                self.came(id)
                given_up.append(id)
            elif id in needed or ask.announcer is not None:
                retry.append(id)
            else:
                self.came(id)
        return retry, given_up
