"""What DESIGN 3.1 says of a set of blocks, written out plainly, and a replica's members driven as a node drives them.

`expected` knows no order of arrival, no budgets and no store: it looks at the whole set at once, and is slow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import cbor2

from walytis_core.block import Block, decode
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
from walytis_core.forks import read_proof
from walytis_core.frontier import Entry
from walytis_core.intake import Outcome
from walytis_core.members import Members
from walytis_core.parking import Budget
from walytis_core.policy import Genesis
from walytis_core.store.memory import MemoryChain


class Expected(NamedTuple):
    """What every replica comes to that has seen the set; ids without the genesis."""

    members: frozenset[BlockId]
    forks: dict[bytes, int]
    folded: frozenset[BlockId]
    heads: frozenset[BlockId]
    frontier: dict[bytes, Entry]


def expected(first: Block, genesis: Genesis, blocks: Collection[Block]) -> Expected:
    """The outcome for a set of genuine blocks. What is named and not given does not exist."""
    own = {block.id: block for block in blocks if block.chain == first.id}
    valid = {first.id: first}
    while True:
        more = [block for id, block in own.items() if id not in valid and belongs(block, valid, genesis)]
        if not more:
            break
        valid.update((block.id, block) for block in more)
    authors = {block.author for block in valid.values()}
    forks = {author: seq for author, seq in _lowest_forks([*own.values(), first], first).items() if author in authors}
    counted = [block for block in valid.values() if block.seq < forks.get(block.author, block.seq + 1)]
    folded = _with_ancestors(counted, valid) - {first.id}
    named = {id for one in folded for id in valid[one].ancestors_named}
    frontier: dict[bytes, Entry] = {}
    for block in counted:
        if block.author not in frontier or block.seq > frontier[block.author].seq:
            frontier[block.author] = Entry(block.seq, block.id, forks.get(block.author))
    return Expected(frozenset(valid) - {first.id}, forks, frozenset(folded), frozenset(folded - named), frontier)


def belongs(block: Block, valid: dict[BlockId, Block], genesis: Genesis) -> bool:
    """Whether a block is a member, where `valid` holds all members that it names."""
    if block.prev is None or any(id not in valid for id in block.ancestors_named):
        return False
    prev = valid[block.prev]
    if block.height != 1 + max(valid[id].height for id in block.ancestors_named):
        return False
    if block.type == "core/admit" and not listed(block):
        return False
    if prev.author == block.author:
        is_next = block.seq == prev.seq + 1
        writers = genesis.policy.writers
        return is_next and (prev.id != genesis.id or writers is None or block.author in writers)
    if block.seq != 0 or block.author == genesis.author:
        return False
    if prev.id == genesis.id:
        return genesis.policy.writers is None or block.author in genesis.policy.writers
    return prev.type == "core/admit" and block.author in listed(prev)


def listed(block: Block) -> set[bytes]:
    """The keys of an admission; none when it is not well-formed."""
    try:
        keys = cbor2.loads(block.payload)
    except cbor2.CBORDecodeError:
        return set()
    is_list = isinstance(keys, list) and keys == sorted(set(keys))
    return set(keys) if is_list and cbor2.dumps(keys, canonical=True) == block.payload else set()


def _lowest_forks(seen: Iterable[Block], first: Block) -> dict[bytes, int]:
    places: dict[tuple[bytes, int], set[BlockId]] = {}
    for block in seen:
        places.setdefault((block.author, block.seq), set()).add(block.id)
    del places[first.author, 0]  # nothing can unseat the genesis
    forks: dict[bytes, int] = {}
    for (author, seq), ids in places.items():
        if len(ids) > 1:
            forks[author] = min(seq, forks.get(author, seq))
    return forks


def _with_ancestors(start: Iterable[Block], valid: dict[BlockId, Block]) -> set[BlockId]:
    found: set[BlockId] = set()
    todo = list(start)
    while todo:
        block = todo.pop()
        if block.id not in found:
            found.add(block.id)
            todo.extend(valid[id] for id in block.ancestors_named)
    return found


class Holder:
    """Members on a store in memory, with each batch committed and settled, as the engine does it.

    Args:
        store: The chain's tables: a new replica's, or those of one that was stopped.
    """

    def __init__(self, genesis: Genesis, store: MemoryChain, budget: Budget | None = None) -> None:
        self.genesis = genesis
        self.store = store
        self.budget = budget
        self.members = Members(genesis, store, budget)

    def offer(self, *blocks: Block, peer: str = "peer", broken: Collection[BlockId] = ()) -> Outcome:
        """Takes a batch through; `broken` are ids of bytes that did not verify."""
        outcome = self.begin(blocks, peer, broken)
        self.settle()
        return outcome

    def begin(self, blocks: Sequence[Block], peer: str = "peer", broken: Collection[BlockId] = ()) -> Outcome:
        """Takes a batch in without settling it: a crash may follow."""
        outcome = self.members.ingest([(block, peer) for block in blocks], self.store)
        for id in broken:
            self.members.refuse(id, Reason.BAD_SIGNATURE, peer, outcome)
        self.store.commit(outcome.commit)
        return outcome

    def settle(self) -> None:
        """Settles until nothing is due."""
        for _ in range(1000):
            if self.members.is_unsettled:
                self.store.commit(self.members.settle(self.store))
            elif self.members.requeued:
                requeued, self.members.requeued = self.members.requeued, []
                self.store.commit(self.members.ingest(requeued, self.store).commit)
            else:
                return
        raise AssertionError("settling does not end")

    def prove(self, other: Holder) -> None:
        """Takes the proofs that another one holds."""
        for proof in list(other.members.proofs.values()):
            self.members.add_proof(*read_proof(proof.first, proof.second, self.genesis.id))
            self.settle()

    def restart(self) -> None:
        """Forgets all but the store."""
        self.members.parking.clear()
        self.members = Members(self.genesis, self.store, self.budget)

    @property
    def folded(self) -> frozenset[BlockId]:
        """The folded set, without the genesis."""
        return frozenset(row.id for row in self.store.canonical(None, 1 << 30))

    def state(self) -> tuple[object, ...]:
        """All that must be the same after a restart."""
        members = self.members
        return dict(members.frontier), list(members.heads.items()), members.unfolded, members.frozen, members.proofs

    def check(self) -> None:
        """C14 and C15: invariants that hold after any batch."""
        store, folded = self.store, self.folded
        blocks = store.encoded(list(folded))
        named = {id: decode(data).ancestors_named for id, data in blocks.items()}
        everything = {id for ids in named.values() for id in ids}
        assert set(self.members.heads) == folded - everything
        assert all(id in folded or id == self.genesis.id for id in everything)
        numbers = {id: meta.number for id, meta in store.metas([*folded, self.genesis.id]).items()}
        assert all(numbers[parent] < numbers[id] for id, parents in named.items() for parent in parents)
        assert self.members.unfolded == store.unfolded()
        assert store.count == len(folded)
