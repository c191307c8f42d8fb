"""Screening: from bytes that a peer sent to genuine blocks.

The part of ingest that needs no state but "is it held already", so it runs outside the replica's lock and on several
threads at once. Invariant: every block that leaves here was strictly decoded and carries its author's signature; ids are
looked up before anything is decoded, for most of what gossip brings is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from walytis_core.block import Block, decode, is_genuine
from walytis_core.cid import BlockId
from walytis_core.errors import Reason, RemoteError


class Screened(NamedTuple):
    """What a portion of blocks came to."""

    blocks: tuple[Block, ...] = ()
    refused: tuple[tuple[BlockId, Reason], ...] = ()
    known: int = 0


def read_genuine(encoded: bytes, id: BlockId) -> Block:
    """Decodes and verifies one block.

    Raises:
        RemoteError: The bytes are no block, or its signature does not verify.
    """
    block = decode(encoded, id)
    if not is_genuine(block):
        raise RemoteError(Reason.BAD_SIGNATURE)
    return block


def screen(
    portion: Sequence[bytes],
    known: Callable[[Collection[bytes]], set[bytes]],
    read: Callable[[bytes, BlockId], Block] = read_genuine,
) -> Screened:
    """Decodes and verifies blocks.

    Args:
        portion: The bytes of blocks, as a peer sent them.
        known: Gives those of some ids that need no second look.
        read: Does it for one block; the simulator remembers what it has read.
    """
    by_id = {BlockId.of(encoded): encoded for encoded in portion}
    held = known(by_id.keys())
    blocks: list[Block] = []
    refused: list[tuple[BlockId, Reason]] = []
    for id, encoded in by_id.items():
        if id in held:
            continue
        try:
            blocks.append(read(encoded, id))
        except RemoteError as error:
            refused.append((id, error.reason))
    return Screened(tuple(blocks), tuple(refused), len(held))
