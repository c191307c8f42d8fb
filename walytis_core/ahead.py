"""Which blocks of authors that forked may be taken ahead of the block that needs them.

A candidate that nobody needs is parked or refused, never stored. But when a writer's block waits for a candidate, what lies
below that may be more than the parking holds: then candidates are taken from the fork upwards, as members *outside the folded
set*, in the order in which a pull brings them, and folded together with the block that waits, once it is taken. What that
may cost is bounded: only while it waits, only below the height of what it waits for, and of one author from one peer no more blocks
than one branch can have. A peer that uses up its share with other branches leaves the shares of others alone. Pure, in memory: a
restart forgets it, and the next pull begins it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from walytis_core.block import Block, decode
from walytis_core.cid import BlockId
from walytis_core.errors import RemoteError
from walytis_core.frontier import Frontier
from walytis_core.intake import Batch
from walytis_core.parking import Parking
from walytis_core.policy import ADMIT, read_admit


@dataclass(slots=True)
class Ahead:
    """The candidates that are waited for: the highest of each author.

    Attributes:
        writers: Who may write by the genesis; None for anyone.
        frontier: The authors that have counted members.
        frozen: The lowest forked seq of each author that forked.
        parking: Who waits for what.
    """

    writers: Collection[bytes] | None
    frontier: Frontier
    frozen: Mapping[bytes, int]
    parking: Parking
    tops: dict[bytes, Block] = field(default_factory=dict)
    _highest: Block | None = None
    _taken: Counter[tuple[bytes, str]] = field(default_factory=Counter)

    def is_candidate(self, block: Block) -> bool:
        """Whether a block lies at or above its author's fork."""
        return block.author in self.frozen and block.seq >= self.frozen[block.author]

    def is_awaited(self, candidate: Block, batch: Batch) -> bool:
        """Whether a parked block by a writer lacks this candidate: blocks by others cost nothing to make."""
        return any(self._is_writer(parked.block, candidate, batch) for parked in self.parking.waiting_for(candidate.id))

    def _is_writer(self, waiting: Block, candidate: Block, batch: Batch) -> bool:
        """Whether the author of a block that waits may write; a candidate waits only when it is awaited itself."""
        author, prev = waiting.author, waiting.prev
        if self.is_candidate(waiting) or author in self.frontier or self.writers is None or author in self.writers:
            return True
        admission = candidate if prev is None or prev == candidate.id else self._find(prev, batch)
        return admission is not None and admission.type == ADMIT and author in _keys_of(admission)

    def _find(self, id: BlockId, batch: Batch) -> Block | None:
        """A block that is a member, or a parked candidate."""
        parked = self.parking.parked.get(id)
        if parked is not None:
            return parked.block if self.is_candidate(parked.block) else None
        encoded = {} if id in batch.staged else batch.held.encoded([id])
        return decode(encoded[id], id) if id in encoded else batch.staged.get(id)

    def expect(self, candidate: Block) -> None:
        """This candidate is awaited."""
        self._forget_unneeded()
        top = self.tops.get(candidate.author)
        if top is None or not self.parking.is_needed(top.id) or candidate.height > top.height:
            self.tops[candidate.author] = candidate
        if self._highest is None or candidate.height > self._highest.height:
            self._highest = candidate

    def awaited(self) -> list[tuple[bytes, Block]]:
        """The highest candidate of each author that is still awaited."""
        return [(author, top) for author, top in self.tops.items() if self.parking.is_needed(top.id)]

    def allows(self, candidate: Block, peer: str) -> bool:
        """Whether a candidate may be taken now, if its ancestors are members.

        Args:
            peer: Who sent it.
        """
        self._forget_unneeded()
        highest = self._highest
        if highest is None or (candidate.height >= highest.height and candidate.id != highest.id):
            return False
        return self._taken[candidate.author, peer] < highest.height

    def took(self, candidate: Block, peer: str) -> None:
        """A candidate that was allowed is taken."""
        self._taken[candidate.author, peer] += 1

    def _forget_unneeded(self) -> None:
        """Once the highest block came, or nobody waits for it any more, what is waited for is looked through again."""
        if self._highest is None or self.parking.is_needed(self._highest.id):
            return
        self.tops = dict(self.awaited())
        self._highest = max(self.tops.values(), key=lambda top: top.height, default=None)
        self._taken.clear()


def _keys_of(admission: Block) -> frozenset[bytes]:
    try:
        return read_admit(admission)
    except RemoteError:
        return frozenset()
