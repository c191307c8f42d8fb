"""The parking lot: genuine blocks that cannot be judged yet.

Two kinds stand here. A *waiting* block lacks blocks that it names. An *idle* one is by an author that forked, at or
above the fork, and nobody needs it yet: it is taken only once a block that is taken names it. Everything is bounded, per
peer and per node; what does not fit is refused, for sync brings it again. Pure, in memory: a restart forgets it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.limits import Limits


@dataclass(slots=True)
class Budget:
    """Bytes that may be parked, shared by all chains of a node."""

    left_bytes: int = Limits.parked_bytes_per_node


@dataclass(slots=True)
class Parked:
    """A parked block: what it lacks (nothing when idle), and who sent it."""

    block: Block
    lacks: set[BlockId]
    peer: str
    sweeps: int = 0


@dataclass(slots=True)
class _Account:
    blocks: int = 0
    size_bytes: int = 0


@dataclass(slots=True)
class Parking:
    """Parked blocks by id, with an index from what is lacking to who waits for it."""

    budget: Budget = field(default_factory=Budget)
    parked: dict[BlockId, Parked] = field(default_factory=dict)
    _waiting_for: dict[BlockId, set[BlockId]] = field(default_factory=dict)
    _accounts: dict[str, _Account] = field(default_factory=dict)
    _places: dict[tuple[bytes, int], BlockId] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.parked)

    def __contains__(self, id: object) -> bool:
        return id in self.parked

    def park(self, block: Block, lacks: Collection[BlockId], peer: str) -> bool:
        """Parks a block; idle when it lacks nothing. Returns False when it does not fit the budgets."""
        account = self._accounts.setdefault(peer, _Account())
        size = len(block.encoded)
        if account.blocks >= Limits.parked_blocks_per_peer or account.size_bytes + size > Limits.parked_bytes_per_peer:
            return False
        if size > self.budget.left_bytes:
            return False
        account.blocks += 1
        account.size_bytes += size
        self.budget.left_bytes -= size
        self.parked[block.id] = Parked(block, set(lacks), peer)
        self._places.setdefault((block.author, block.seq), block.id)
        for id in lacks:
            self._waiting_for.setdefault(id, set()).add(block.id)
        return True

    def at(self, author: bytes, seq: int) -> Block | None:
        """A parked block at a place of an author, if there is one."""
        id = self._places.get((author, seq)) if self._places else None
        return None if id is None else self.parked[id].block

    def is_needed(self, id: BlockId) -> bool:
        """Whether a waiting block lacks this one."""
        return id in self._waiting_for

    def needed(self) -> set[BlockId]:
        """Everything that waiting blocks lack and that is not parked itself."""
        return {id for id in self._waiting_for if id not in self.parked}

    def senders(self, id: BlockId) -> set[str]:
        """The peers that sent blocks which lack this one."""
        return {self.parked[child].peer for child in self._waiting_for.get(id, ())}

    def take(self, id: BlockId) -> Parked | None:
        """Takes one block out; None when it is not parked."""
        parked = self.parked.pop(id, None)
        if parked is None:
            return None
        for lacking in parked.lacks:
            self._forget_need(lacking, id)
        place = parked.block.author, parked.block.seq
        if self._places.get(place) == id:
            del self._places[place]  # another one parked there is a proven fork already
        size = len(parked.block.encoded)
        account = self._accounts[parked.peer]
        account.blocks -= 1
        account.size_bytes -= size
        self.budget.left_bytes += size
        if not account.blocks:
            del self._accounts[parked.peer]
        return parked

    def arrived(self, id: BlockId) -> list[Parked]:
        """A block became a member: takes out and returns those that lacked only it."""
        ready = []
        for child in sorted(self._waiting_for.pop(id, ())):
            parked = self.parked[child]
            parked.lacks.discard(id)
            if not parked.lacks:
                taken = self.take(child)
                ready.extend([taken] if taken else [])
        return ready

    def refused(self, id: BlockId) -> list[Parked]:
        """A block was refused: takes out everything that waits for it, directly or not."""
        gone, todo = [], [id]
        while todo:
            for child in sorted(self._waiting_for.get(todo.pop(), ())):
                taken = self.take(child)
                if taken:
                    gone.append(taken)
                    todo.append(child)
        return gone

    def idle_of(self, author: bytes) -> list[BlockId]:
        """The parked blocks of one author."""
        return [id for id, parked in self.parked.items() if parked.block.author == author]

    def sweep(self) -> int:
        """Forgets what has stood here since before the last sweep but one. Returns how many are left."""
        for id, parked in list(self.parked.items()):
            parked.sweeps += 1
            if parked.sweeps > 2:
                self.take(id)
        return len(self.parked)

    def clear(self) -> None:
        """Forgets everything and gives its budget back."""
        for id in list(self.parked):
            self.take(id)

    def _forget_need(self, lacking: BlockId, child: BlockId) -> None:
        children = self._waiting_for.get(lacking)
        if children is not None:
            children.discard(child)
            if not children:
                del self._waiting_for[lacking]
