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
from walytis_core.frontier import Entry, Frontier
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
        waiting = [parked.block for parked in self.parking.waiting_for(candidate.id)]
        if any(self._is_writer(block) for block in waiting):
            return True
        admissions = self._admissions({block.prev for block in waiting if block.prev is not None}, candidate, batch)
        keys = {id: _keys_of(admission) for id, admission in admissions.items()}
        return any(block.prev in keys and block.author in keys[block.prev] for block in waiting)

    def _is_writer(self, waiting: Block) -> bool:
        """Whether it is known already that an author may write; a candidate waits only when it is awaited itself."""
        author = waiting.author
        return self.writers is None or self.is_candidate(waiting) or author in self.frontier or author in self.writers

    def _admissions(self, ids: Collection[BlockId], candidate: Block, batch: Batch) -> dict[BlockId, Block]:
        """Those of some blocks that admit keys, and are members or parked candidates; looked up at once, not one by one."""
        parked = (self.parking.parked.get(id) for id in ids)
        blocks = [candidate, *(one.block for one in parked if one is not None and self.is_candidate(one.block))]
        blocks += [batch.staged[id] for id in ids if id in batch.staged]
        found = {block.id: block for block in blocks if block.type == ADMIT and block.id in ids}
        metas = batch.held.metas([id for id in ids if id not in found])
        stored = batch.held.encoded([BlockId(id) for id, meta in metas.items() if meta.type == ADMIT])
        return {**found, **{BlockId(id): decode(encoded, BlockId(id)) for id, encoded in stored.items()}}

    def expect(self, candidate: Block) -> None:
        """This candidate is awaited."""
        self._forget_unneeded()
        top = self.tops.get(candidate.author)
        if top is None or not self.parking.is_waited_for(top.id) or candidate.height > top.height:
            self.tops[candidate.author] = candidate
        if self._highest is None or candidate.height > self._highest.height:
            self._highest = candidate

    def awaited(self) -> list[tuple[bytes, Block]]:
        """The highest candidate of each author that is still awaited."""
        return [(author, top) for author, top in self.tops.items() if self.parking.is_waited_for(top.id)]

    def entries(self) -> dict[bytes, Entry]:
        """The same as entries, each with the fork of its author.

        Not of an author with blocks below its fork that are lacking: the answer to such an entry begins at the fork.
        """
        tops = ((author, top, self.frozen[author]) for author, top in self.awaited())
        return {author: Entry(top.seq, top.id, fork) for author, top, fork in tops if self._counted(author) >= fork}

    def _counted(self, author: bytes) -> int:
        """How many blocks of an author count."""
        entry = self.frontier.get(author)
        return 0 if entry is None else entry.seq + 1

    def allows(self, candidate: Block, peer: str) -> bool:
        """Whether a candidate may be taken now, if its ancestors are members.

        Args:
            peer: Who sent it.
        """
        self._forget_unneeded()
        highest = self._highest
        if highest is None or (candidate.height >= highest.height and candidate.id != highest.id):
            return False
        return self.parking.is_waited_for(candidate.id) or self._taken[candidate.author, peer] < highest.height

    def begin_pull(self, peer: str) -> None:
        """A pull begins: the peer may send another branch of each author. What is held of the last one is not counted again."""
        for key in [key for key in self._taken if key[1] == peer]:
            del self._taken[key]

    def took(self, candidate: Block, peer: str) -> None:
        """A candidate that was allowed is taken."""
        self._taken[candidate.author, peer] += 1

    def _forget_unneeded(self) -> None:
        """Once the highest block came, or nobody waits for it any more, what is waited for is looked through again."""
        if self._highest is None or self.parking.is_waited_for(self._highest.id):
            return
        self.tops = dict(self.awaited())
        self._highest = max(self.tops.values(), key=lambda top: top.height, default=None)
        self._taken.clear()


def _keys_of(admission: Block) -> frozenset[bytes]:
    try:
        return read_admit(admission)
    except RemoteError:
        return frozenset()
