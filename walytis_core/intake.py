"""A batch of blocks in work, and what it came to.

A batch is judged against members that are committed and blocks taken earlier in it; `Outcome.commit` is the one transaction
that makes them members. It knows no rules: `members.py` decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
from walytis_core.store.port import Commit, Held, Meta


@dataclass(slots=True)
class Outcome:
    """What a batch came to; `commit` is to be stored before anything is said about it.

    Attributes:
        taken: The new members, parents first.
        ahead: Those of them that are outside the folded set: a block that waits will need them.
        parked: How many blocks wait for others, or are waited for.
    """

    taken: list[Block] = field(default_factory=list)
    ahead: dict[BlockId, None] = field(default_factory=dict)
    refold: list[BlockId] = field(default_factory=list)
    rejected: list[tuple[BlockId, Reason, str]] = field(default_factory=list)
    parked: int = 0

    @property
    def commit(self) -> Commit:
        """The transaction for this batch."""
        return Commit(blocks=tuple(self.taken), unfold=tuple(self.ahead), refold=tuple(self.refold))

    @property
    def folded(self) -> list[Block]:
        """The new members that are in the folded set."""
        return [block for block in self.taken if block.id not in self.ahead] if self.ahead else self.taken


class UnreadableError(Exception):
    """The bytes of a member that a rule reads are set aside as corrupt. Never leaves `members.py`."""

    def __init__(self, id: BlockId) -> None:
        super().__init__(f"the bytes of block {id.short} are set aside")
        self.id = id


@dataclass(slots=True)
class Batch:
    """A batch in work: metas of members, committed or staged; ids found to be of none; and blocks taken so far."""

    held: Held
    metas: dict[bytes, Meta]
    absent: set[BlockId]
    staged: dict[BlockId, Block] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)

    def look_up(self, ids: Iterable[BlockId]) -> None:
        """Finds out at once which of these are members."""
        new = [id for id in ids if id not in self.metas and id not in self.absent]
        if new:
            self.metas.update(self.held.metas(new))
            self.absent.update(id for id in new if id not in self.metas)

    def stage(self, block: Block) -> None:
        """Takes a block in: for those behind it, it is a member."""
        self.staged[block.id] = block
        self.metas[block.id] = Meta(0, block.author, block.seq, block.height, block.type, True)

    def unstage(self, id: BlockId) -> None:
        """Takes it out again."""
        del self.staged[id], self.metas[id]
