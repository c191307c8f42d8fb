"""The parking lot: genuine blocks that cannot be judged yet.

Two kinds stand here. A *waiting* block lacks blocks that it names. An *idle* one is by an author that forked, at or
above the fork, and nobody needs it yet: it is taken only once a block that is taken names it, and makes room for blocks
of the same peer that wait. Everything is bounded, per peer and per node; what does not fit is refused, for sync brings it again. Each chain has a reserve that others cannot
fill, and in it who has the most parked makes room for who has less. Pure, in memory: a restart forgets it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
from walytis_core.limits import Limits


@dataclass(slots=True)
class Budget:
    """Bytes that may be parked, shared by all chains of a node.

    Attributes:
        left_bytes: How many more.
        lock: Held while that changes, where chains run in several threads.
    """

    left_bytes: int = Limits.parked_bytes_per_node
    lock: AbstractContextManager[object] = field(default_factory=nullcontext)

    def draw(self, size: int, reserve: int) -> int | None:
        """Takes of what is left as much as `size` needs; None, and nothing is taken, where a reserve has not the rest."""
        with self.lock:
            if size > self.left_bytes + reserve:
                return None
            drawn = min(size, self.left_bytes)
            self.left_bytes -= drawn
            return drawn

    def give_back(self, size: int) -> None:
        """Takes back what was drawn."""
        with self.lock:
            self.left_bytes += size


@dataclass(slots=True)
class Parked:
    """A parked block: what it lacks (nothing when idle), and who sent it."""

    block: Block
    lacks: set[BlockId]
    peer: str
    sweeps: int = 0


@dataclass(slots=True)
class _Account:
    """What one peer has parked; the ids in order of arrival, those of idle blocks once more."""

    ids: dict[BlockId, None] = field(default_factory=dict)
    idle: dict[BlockId, None] = field(default_factory=dict)
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
        while lacks and account.idle and not self._fits(size, account):
            self.take(next(iter(account.idle)))
        if not self._fits_account(size, account):
            return Reason.OVER_BUDGET
        if account.lacks + len(lacks) > Limits.parked_lacks_per_peer:
            return Reason.NO_ROOM
        if not self._make_room(size, len(lacks), account):
            return Reason.NO_ROOM
        self._accounts[peer] = account
        account.ids[block.id] = None
        if not lacks:
            account.idle[block.id] = None
        self._count(account, size, len(lacks))
        self.parked[block.id] = Parked(block, set(lacks), peer)
        self._places.setdefault((block.author, block.seq), block.id)
        for id in sorted(lacks):
            self._waiting_for.setdefault(id, set()).add(block.id)
        return None

    def _fits(self, size: int, account: _Account) -> bool:
        return self._fits_account(size, account) and size <= self.budget.left_bytes + self._reserve_bytes

    def _fits_account(self, size: int, account: _Account) -> bool:
        fits_bytes = account.size_bytes + size <= Limits.parked_bytes_per_peer
        return fits_bytes and len(account.ids) < Limits.parked_blocks_per_peer

    def _make_room(self, size: int, lacks: int, account: _Account) -> bool:
        """Books bytes: the node's first, then the chain's reserve.

        Where there are too few, forgets the oldest blocks of who has the most here, as long as that is more than who
        asks would have.
        """
        while True:
            if self._lacks + lacks > Limits.parked_lacks_per_chain:
                largest = max(self._accounts.values(), key=lambda one: one.lacks, default=account)
                is_larger = largest.lacks > account.lacks + lacks
            elif (drawn := self.budget.draw(size, self._reserve_bytes)) is None:
                largest = max(self._accounts.values(), key=lambda one: one.size_bytes, default=account)
                is_larger = largest.size_bytes > account.size_bytes + size
            else:
                self._reserve_bytes -= size - drawn
                return True
            if not is_larger or len(self._accounts) > Limits.idle_peers_remembered:  # a crowd: too dear to search
                return False
            self.take(next(iter(largest.ids)))

    def _count(self, account: _Account, size: int, lacks: int) -> None:
        """Counts bytes and ids in, or out."""
        account.size_bytes += size
        account.lacks += lacks
        self._lacks += lacks

    def _give_back(self, size: int) -> None:
        """Bytes are free again: they fill the chain's reserve first, then the node's budget."""
        to_reserve = min(size, Limits.parked_bytes_reserved - self._reserve_bytes)
        self._reserve_bytes += to_reserve
        self.budget.give_back(size - to_reserve)

    def at(self, author: bytes, seq: int) -> Block | None:
        """A parked block at a place of an author, if there is one."""
        id = self._places.get((author, seq)) if self._places else None
        return None if id is None else self.parked[id].block

    def is_waited_for(self, id: BlockId) -> bool:
        """Whether a waiting block lacks this one, which may be parked itself."""
        return id in self._waiting_for

    def waiting_for(self, id: BlockId) -> Iterator[Parked]:
        """The waiting blocks that lack this one."""
        return (self.parked[child] for child in self._waiting_for.get(id, ()))

    def lacking(self) -> Iterator[BlockId]:
        """Everything that waiting blocks lack and that is not parked itself; what was lacking first at first."""
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
        account.idle.pop(id, None)
        self._count(account, -size, -len(parked.lacks))
        self._give_back(size)
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

    def drop_waiting_for(self, id: BlockId) -> list[Parked]:
        """A block will not come: takes out and returns everything that waits for it, directly or not."""
        gone, todo = [], [id]
        while todo:
            for child in sorted(self._waiting_for.get(todo.pop(), ())):
                taken = self.take(child)
                if taken:
                    gone.append(taken)
                    todo.append(child)
        return gone

    def of_author(self, author: bytes) -> list[BlockId]:
        """The parked blocks of one author, waiting ones too."""
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
