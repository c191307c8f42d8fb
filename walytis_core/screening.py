"""Screening: from bytes that a peer sent to genuine blocks.

The part of ingest that needs no state but "is it held already", so it runs outside the replica's lock and on several
threads at once. Invariant: every block that leaves here was strictly decoded and carries its author's signature; ids are
looked up before anything is decoded, for most of what gossip brings is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from walytis_core.block import Block, decode, is_genuine
from walytis_core.cid import BlockId
from walytis_core.errors import Reason, RemoteError


class Screened(NamedTuple):
    """What a portion of blocks came to."""

    blocks: tuple[Block, ...] = ()
    refused: tuple[tuple[BlockId, Reason], ...] = ()
    known: int = 0


def together(parts: Sequence[Screened]) -> Screened:
    """Portions that came one after another, as one."""
    if len(parts) == 1:
        return parts[0]
    return Screened(
        tuple(block for part in parts for block in part.blocks),
        tuple(one for part in parts for one in part.refused),
        sum(part.known for part in parts),
    )


def read_genuine(encoded: bytes, id: BlockId) -> Block:
    """Decodes and verifies one block.

    Raises:
        RemoteError: The bytes are no block, or its signature does not verify.
    """
    block = decode(encoded, id)
    if not is_genuine(block):
        raise RemoteError(Reason.BAD_SIGNATURE)
    return block


def identify(portion: Sequence[bytes]) -> dict[BlockId, bytes]:
    """Blocks by their ids."""
    return {BlockId.of(encoded): encoded for encoded in portion}


def screen(portion: Sequence[bytes], known: Callable[[Collection[bytes]], set[bytes]]) -> Screened:
    """Decodes and verifies blocks.

    Args:
        portion: The bytes of blocks, as a peer sent them.
        known: Gives those of some ids that need no second look.
    """
    return screen_identified(identify(portion), known)


def screen_identified(
    by_id: Mapping[BlockId, bytes],
    known: Callable[[Collection[bytes]], set[bytes]],
    read: Callable[[bytes, BlockId], Block] | None = None,
) -> Screened:
    """The same for blocks by their ids.

    Args:
        by_id: What `identify` gives; the simulator does that once, whoever the blocks go to.
        known: Gives those of some ids that need no second look.
        read: Decodes and verifies one block, as `read_genuine`; the simulator remembers what it has read.
    """
    held = known(by_id.keys())
    blocks: list[Block] = []
    refused: list[tuple[BlockId, Reason]] = []
    for id, encoded in by_id.items():
        if id in held:
            continue
        try:
            blocks.append(decode(encoded, id) if read is None else read(encoded, id))
        except RemoteError as error:
            refused.append((id, error.reason))
    # Signatures come after all the decoding: libsodium lets go of the interpreter's lock, and between two of them there is
    # then next to nothing that needs it, so that another thread can screen, and a third one store, at the same time.
    genuine = tuple(filter(is_genuine, blocks)) if read is None else tuple(blocks)
    if len(genuine) < len(blocks):
        refused.extend((block.id, Reason.BAD_SIGNATURE) for block in set(blocks).difference(genuine))
    return Screened(genuine, tuple(refused), len(held))
