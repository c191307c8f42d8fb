"""What the measures work on: chains of signed blocks, made quickly, and folders that hold them.

A block here is the one the figures speak of: 100 bytes of payload and one topic. Authors take turns, and each names the
block before its own, as peers do who hear each other: one `prev`, one parent, one head.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from walytis_core.block import Block, Draft, Place, create, draft
from walytis_core.cid import BlockId
from walytis_core.limits import Limits
from walytis_core.policy import EVERYONE, Policy, create_genesis
from walytis_core.signer import Ed25519Signer
from walytis_core.store.port import Commit
from walytis_core.store.sqlite import SqliteStore

PAYLOAD_BYTES: Final = 100
TOPIC: Final = "topic"
BATCH: Final = Limits.max_blocks_per_frame
CHAIN_NAME: Final = "bench"


class Last(NamedTuple):
    """Where an author's own chain of blocks stands."""

    seq: int
    id: BlockId


class Maker:
    """Makes the blocks of one open chain, by so many authors in turn; the first one is its founder."""

    def __init__(self, authors: int) -> None:
        self._signers = [Ed25519Signer(os.urandom(32)) for _ in range(authors)]
        self.genesis = create_genesis(
            self._signers[0], Policy(None, EVERYONE), os.urandom(16), time.time_ns() // 1_000_000
        )
        self._last: dict[int, Last] = {0: Last(0, self.genesis.id)}
        self._head, self._count = self.genesis.id, 0

    def blocks(self, count: int) -> Iterator[Block]:
        """The next `count` blocks."""
        for _ in range(count):
            yield self.next(draft(os.urandom(PAYLOAD_BYTES), topics=[TOPIC]))

    def next(self, said: Draft, named: Collection[BlockId] = ()) -> Block:
        """The next block, which says this, and names more than the one before it."""
        turn = self._count % len(self._signers)
        self._count += 1
        seq, prev = self._last.get(turn, Last(-1, self.genesis.id))
        parents = tuple(sorted({self._head, *named} - {prev, self.genesis.id}))
        place = Place(self.genesis.id, seq + 1, prev, parents, self._count)
        block = create(self._signers[turn], place, said, time.time_ns() // 1_000_000)
        self._head, self._last[turn] = block.id, Last(block.seq, block.id)
        return block

    def batches(self, count: int) -> Iterator[list[bytes]]:
        """The next `count` blocks as bytes, in the batches in which peers send them."""
        for at in range(0, count, BATCH):
            yield [block.encoded for block in self.blocks(min(BATCH, count - at))]


def fill(directory: Path, count: int, authors: int) -> BlockId:
    """Writes a chain of so many blocks into the store of a folder, without judging them; gives its id."""
    maker = Maker(authors)
    write(directory, maker, maker.blocks(count))
    return maker.genesis.id


def write(directory: Path, maker: Maker, blocks: Iterator[Block]) -> None:
    """Writes a chain into the store of a folder, without judging its blocks: the genesis of a maker, and what it made."""
    store = SqliteStore.open(directory)
    try:
        chain = store.create_chain(maker.genesis, CHAIN_NAME)
        while batch := list(islice(blocks, BATCH)):
            chain.commit(Commit(blocks=batch))
    finally:
        store.close()
