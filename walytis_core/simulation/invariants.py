"""What must hold of every honest peer, judged by a naive second opinion.

Everything is recomputed from the stored bytes in the plainest way: the rules of membership, the folded set as its
definition reads, heads, frontier. Nothing here may use what the replica keeps. `problems_of` judges one peer at any instant
between two events; `differences` judges all together, once they have come to rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from walytis_core import dag
from walytis_core.block import Block, decode, is_genuine
from walytis_core.cid import BlockId
from walytis_core.frontier import Entry, Frontier
from walytis_core.limits import Limits
from walytis_core.policy import Genesis, read_admit
from walytis_core.rules import judge
from walytis_core.simulation.peer import Peer
from walytis_core.store.port import Held, Meta


def members_of(held: Held) -> dict[BlockId, Block]:
    """All members, the genesis too, read again from their bytes; in order of insertion."""
    return {row.id: decode(row.encoded) for row in held.scan(0, 1 << 40, 1 << 60)}


def naive_folded(members: Mapping[BlockId, Block], frozen: Mapping[bytes, int]) -> set[BlockId]:
    """The blocks of authors that never forked, those below each fork, and all their ancestors."""
    base = {id for id, block in members.items() if block.seq < frozen.get(block.author, block.seq + 1)}
    base |= {id for id, block in members.items() if block.chain is None}
    named = {id: block.ancestors_named for id, block in members.items()}
    return base | dag.ancestors(named, base)


def naive_frontier(members: Iterable[Block], frozen: Mapping[bytes, int]) -> Frontier:
    """Per author the newest block below its fork, recomputed."""
    frontier = Frontier()
    for block in sorted(members, key=lambda one: one.seq):
        fork = frozen.get(block.author)
        if fork is None or block.seq < fork:
            frontier.put(block.author, Entry(block.seq, block.id, fork))
    return frontier


def problems_of(peer: Peer, genesis: Genesis) -> list[str]:
    """What is wrong with one peer, by a look at everything it holds. Empty when all is well."""
    members = members_of(peer.store)
    frozen = {author: proof.seq for author, proof in peer.store.proofs().items()}
    folded = naive_folded(members, frozen)
    named = {id: block.ancestors_named for id, block in members.items() if id in folded}
    known = peer.replica.members
    checks = {
        "the folded set is not as defined": folded == set(members) - peer.store.unfolded(),
        "what is unfolded in memory is not what is stored": known.unfolded == peer.store.unfolded(),
        "frozen authors in memory are not those stored": known.frozen == frozen,
        "heads are not the folded blocks that nobody names": set(known.heads) == dag.heads(named) - {genesis.id},
        "heads do not know their heights": all(members[id].height == height for id, height in known.heads.items()),
        "stored heads differ": set(peer.store.heads()) == dag.heads(named) - {genesis.id},
        "the count is wrong": peer.store.count == len(folded) - 1,
        "the frontier is not that of the members": known.frontier.digest()
        == naive_frontier(members.values(), frozen).digest(),
        "an acknowledged block is lost": members.keys() >= set(peer.acknowledged),
        "the canonical order is not one": _is_canonical(peer.store, members, folded),
    }
    found = [problem for problem, holds in checks.items() if not holds]
    found += [f"{why} ({id.short})" for id, why in _bad_members(members, genesis)]
    return [f"{peer.name}: {problem}" for problem in [*found, *_over_budget(peer)]]


def _is_canonical(held: object, members: Mapping[BlockId, Block], folded: set[BlockId]) -> bool:
    ids = [row.id for row in held.canonical(None, 1 << 40)]  # type: ignore[attr-defined]
    return ids == [block.id for block in dag.canonical(members[id] for id in folded) if block.chain is not None]


def _bad_members(members: Mapping[BlockId, Block], genesis: Genesis) -> Iterable[tuple[BlockId, str]]:
    """Members that a naive judge would not have taken, in the order in which they were."""
    metas: dict[bytes, Meta] = {}
    numbers = {id: number for number, id in enumerate(members)}
    for id, block in members.items():
        if BlockId.of(block.encoded) != id or not is_genuine(block):
            yield id, "a member is not what its author signed"
        elif block.chain is not None:
            if not all(parent in members for parent in block.ancestors_named):
                yield id, "members are not causally closed"
                continue
            metas_of: dict[bytes, Meta] = {parent: _meta(members[parent]) for parent in block.ancestors_named}
            reason = judge(block, genesis, metas_of, lambda admit: read_admit(members[admit]))
            if reason is not None:
                yield id, f"a member breaks the rules: {reason.value}"
        metas[id] = _meta(block, numbers[id])


def _meta(block: Block, number: int = 0) -> Meta:
    return Meta(number, block.author, block.seq, block.height, block.type, True)


def _over_budget(peer: Peer) -> Iterable[str]:
    """Budgets that a peer holds too much for."""
    parking = peer.replica.members.parking
    size = sum(len(parked.block.encoded) for parked in parking.parked.values())
    reserved = size - (Limits.parked_bytes_per_node - parking.budget.left_bytes)
    if not 0 <= reserved <= Limits.parked_bytes_reserved:  # this chain is alone on its node
        yield "parking is over its budget, or miscounts it"
    by_sender: dict[str, int] = {}
    for parked in parking.parked.values():
        by_sender[parked.peer] = by_sender.get(parked.peer, 0) + 1
    if any(number > Limits.parked_blocks_per_peer for number in by_sender.values()):
        yield "one peer has more parked than it may"
    sync = peer.replica.sync
    if not all(0 <= link.credit <= Limits.credit_frames for link in sync.links.values()):
        yield "a link's credit is out of bounds"
    if sync.turns.pulling is not None and sync.turns.pulling.peer not in sync.links:
        yield "a pull is under way over a link that is gone"
    if any(len(link.asked) > Limits.parked_blocks_per_peer for link in sync.links.values()):
        yield "a link is asked for more than it may be"


def differences(peers: Sequence[Peer]) -> list[str]:
    """Where peers at rest do not agree."""
    if not peers:
        return []
    first, *rest = peers
    wanted = _folded_ids(first)
    found = []
    for peer in rest:
        if _folded_ids(peer) != wanted:
            found.append(f"{peer.name} and {first.name} hold different blocks")
        if set(peer.replica.members.heads) != set(first.replica.members.heads):
            found.append(f"{peer.name} and {first.name} have different heads")
    return found


def _folded_ids(peer: Peer) -> set[BlockId]:
    return {row.id for row in peer.store.scan(0, 1 << 40, 1 << 60) if row.folded}
