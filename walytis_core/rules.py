"""The rules of membership: whether a well-formed, well-signed block belongs to a chain.

Invariant (DESIGN, rule 3): the verdict depends only on the block, the blocks it names and the genesis. It is the
same on every node, whatever arrived first, and for ever. So nothing here may look at a clock, at what else is
held, or at forks: those decide what is *folded*, not what is a member.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import Reason, RemoteError
from walytis_core.policy import ADMIT, Genesis, read_admit
from walytis_core.signer import is_author_key
from walytis_core.store.port import Meta

Admitted = Callable[[BlockId], frozenset[bytes]]
"""Gives the keys that a member of type `core/admit` lists."""


def judge(block: Block, genesis: Genesis, named: Mapping[bytes, Meta], admitted: Admitted) -> Reason | None:
    """Judges a block whose `prev` and `parents` are all members.

    Args:
        block: Decoded and genuine.
        genesis: The chain's first block.
        named: The `Meta` of every block that it names.
        admitted: Reads a `core/admit` member.

    Returns:
        None when the block belongs to the chain, else the reason why not.
    """
    if block.chain != genesis.id or block.prev is None:
        return Reason.WRONG_CHAIN
    before = named[block.prev]
    below = before.height
    for id in block.parents:
        below = max(below, named[id].height)
    if block.height != below + 1:
        return Reason.WRONG_HEIGHT
    if block.type == ADMIT and not _is_admit(block):
        return Reason.BAD_PAYLOAD
    if before.author == block.author and block.prev != genesis.id:
        return None if block.seq == before.seq + 1 else Reason.WRONG_SEQ
    return _judge_first(block, block.prev, before, genesis, admitted)


def _judge_first(block: Block, prev: BlockId, before: Meta, genesis: Genesis, admitted: Admitted) -> Reason | None:
    """Judges an author's first block: `prev` is the genesis, or the admission that lists its key."""
    by_founder = block.author == genesis.author
    if block.seq != int(by_founder):
        return Reason.WRONG_SEQ
    if not is_author_key(block.author):
        return Reason.BAD_KEY
    writers = genesis.policy.writers
    if prev == genesis.id:
        return None if writers is None or block.author in writers else Reason.NOT_A_WRITER
    if by_founder or before.type != ADMIT:
        return Reason.WRONG_PREV
    return None if block.author in admitted(prev) else Reason.NOT_A_WRITER


def _is_admit(block: Block) -> bool:
    try:
        return bool(read_admit(block))
    except RemoteError:
        return False
