"""Equivocation: proofs that an author forked, and what leaves the folded set because of them.

Two different well-signed blocks by one author with one `seq` are a proof; they need not be members. From the lowest
forked `seq` on, the author's blocks are *candidates*: one is folded only if a folded member names it. So the folded
set is: the blocks of authors who never forked, those below each fork, and all their ancestors (docs/spec/sync.md#forks).
Pure: reads committed members through `Held`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from walytis_core.block import Block, decode, is_genuine
from walytis_core.cid import BlockId
from walytis_core.errors import Reason, RemoteError
from walytis_core.store.port import Held, Meta, Proof


def proof_of(one: Block, other: Block) -> Proof:
    """The proof that two genuine blocks make; the one with the smaller id goes first."""
    first, second = sorted((one, other), key=lambda block: block.id)
    return Proof(one.author, one.seq, first.encoded, second.encoded)


def read_proof(first: bytes, second: bytes, chain: BlockId) -> tuple[Block, Block]:
    """Checks a proof that a peer sent.

    Raises:
        RemoteError: These are not two different genuine blocks of this chain by one author with one seq.
    """
    one, other = decode(first), decode(second)
    same_place = one.author == other.author and one.seq == other.seq
    if not same_place or one.id >= other.id or not one.chain == other.chain == chain:
        raise RemoteError(Reason.BAD_PROOF)
    if not (is_genuine(one) and is_genuine(other)):
        raise RemoteError(Reason.BAD_PROOF)
    return one, other


def to_unfold(
    held: Held, unfolded: Collection[BlockId], frozen: Mapping[bytes, int], author: bytes, upper: int | None
) -> list[BlockId]:
    """What leaves the folded set when `author` has just been frozen from `frozen[author]`.

    Args:
        held: The members, committed.
        unfolded: Those outside the folded set before.
        frozen: The lowest forked seq of each author that forked, the new one included.
        upper: Where the author was frozen before, if it was.

    Returns:
        The members to unfold, children before parents.
    """
    out = set(unfolded)
    result: list[BlockId] = []
    todo = held.above(author, frozen[author], upper)
    while todo:
        id = todo.pop()
        if id in out or any(child not in out for child in held.children(id)):
            continue
        out.add(id)
        result.append(id)
        encoded = held.encoded([id])
        named = decode(encoded[id], id).ancestors_named if id in encoded else ()  # set aside as corrupt
        metas = held.metas(named)
        todo.extend(parent for parent in named if is_candidate(metas[parent], frozen))
    return result


def to_refold(held: Held, unfolded: Collection[BlockId], named: Collection[BlockId]) -> list[BlockId]:
    """What comes back into the folded set because a folded block names `named`: parents before children."""
    found: set[BlockId] = set()
    todo = [id for id in named if id in unfolded]
    while todo:
        id = todo.pop()
        if id in found:
            continue
        found.add(id)
        encoded = held.encoded([id])
        if id in encoded:
            todo.extend(parent for parent in decode(encoded[id], id).ancestors_named if parent in unfolded)
    metas = held.metas(found)
    return sorted(found, key=lambda id: (metas[id].height, id))


def is_candidate(meta: Meta, frozen: Mapping[bytes, int]) -> bool:
    """Whether a member lies at or above its author's fork."""
    return meta.author in frozen and meta.seq >= frozen[meta.author]
