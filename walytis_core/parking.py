"""The parking lot: genuine blocks that cannot be judged yet.

Two kinds stand here. A *waiting* block lacks blocks that it names. An *idle* one is by an author that forked, at or
above the fork, and nobody needs it yet: it is taken only once a block that is taken names it. Everything is bounded, per
peer and per node; what does not fit is refused, for sync brings it again. Each chain has a reserve that others cannot
fill, and in it who has the most parked makes room for who has less. Pure, in memory: a restart forgets it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
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
    """What one peer has parked; the ids in order of arrival."""

    ids: dict[BlockId, None] = field(default_factory=dict)
    size_bytes: int = 0
    lacks: int = 0


@dataclass(slots=True)
class Parking:
    """Parked blocks by id, with an index from what is lacking to who waits for it."""

    budget: Budget = field(default_factory=Budget)
    parked: dict[BlockId, Parked] = field(default_factory=dict)
    _waiting_for: dict[BlockId, set[BlockId]] = field(default_factory=dict)
    _accounts: dict[str, _Account] = field(default_factory=dict)
    _places: dict[tuple[bytes, int], BlockId] = field(default_factory=dict)
    _lacks: int = 0
    _reserve_bytes: int = field(default_factory=lambda: Limits.parked_bytes_reserved)

    def __len__(self) -> int:
        return len(self.parked)

    def __contains__(self, id: object) -> bool:
        return id in self.parked

    def park(self, block: Block, lacks: Collection[BlockId], peer: str) -> Reason | None:
        """Parks a block; idle when it lacks nothing.

        Returns:
            Why it does not fit: the peer has too much here (OVER_BUDGET), or all have together (NO_ROOM).
        """
        account = self._accounts.get(peer) or _Account()
        size = len(block.encoded)
        if (
            len(account.ids) >= Limits.parked_blocks_per_peer
            or account.size_bytes + size > Limits.parked_bytes_per_peer
        ):
            return Reason.OVER_BUDGET
        if account.lacks + len(lacks) > Limits.parked_lacks_per_peer:
            return Reason.NO_ROOM
        if not self._make_room(size, len(lacks), account):
            return Reason.NO_ROOM
        self._accounts[peer] = account
        account.ids[block.id] = None
        self._count(account, size, len(lacks))
        self.parked[block.id] = Parked(block, set(lacks), peer)
        self._places.setdefault((block.author, block.seq), block.id)
        for id in sorted(lacks):
            self._waiting_for.setdefault(id, set()).add(block.id)
        return None

    def _make_room(self, size: int, lacks: int, account: _Account) -> bool:
        """Forgets the oldest blocks of who has the most here, as long as that is more than who asks would have."""
        while True:
            if size > self.budget.left_bytes + self._reserve_bytes:
                largest = max(self._accounts.values(), key=lambda one: one.size_bytes, default=account)
                is_larger = largest.size_bytes > account.size_bytes + size
            elif self._lacks + lacks > Limits.parked_lacks_per_chain:
                largest = max(self._accounts.values(), key=lambda one: one.lacks, default=account)
                is_larger = largest.lacks > account.lacks + lacks
            else:
                return True
            if not is_larger or len(self._accounts) > Limits.idle_peers_remembered:  # a crowd: too dear to search
                return False
            self.take(next(iter(largest.ids)))

    def _count(self, account: _Account, size: int, lacks: int) -> None:
        """Books bytes and ids in, or out: the node's budget first, then the chain's reserve; back the other way round."""
        account.size_bytes += size
        account.lacks += lacks
        self._lacks += lacks
        if size > 0:
            from_node = min(size, self.budget.left_bytes)
        else:
            from_node = min(size + Limits.parked_bytes_reserved - self._reserve_bytes, 0)
        self.budget.left_bytes -= from_node
        self._reserve_bytes -= size - from_node

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

    def lacking(self) -> Iterator[BlockId]:
        """The same, what was lacking first at first."""
        return (id for id in self._waiting_for if id not in self.parked)

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
        del account.ids[id]
        self._count(account, -size, -len(parked.lacks))
        if not account.ids:
            del self._accounts[parked.peer]
        return parked

    def arrived(self, id: BlockId) -> list[Parked]:
        """A block became a member: takes out and returns those that lacked only it."""
        ready = []
        for child in sorted(self._waiting_for.pop(id, ())):
            parked = self.parked[child]
            parked.lacks.discard(id)
            self._count(self._accounts[parked.peer], 0, -1)
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
