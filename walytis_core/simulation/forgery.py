"""Blocks that nobody honest would make: well signed at wrong places, wrongly signed, forked, of other chains.

A `Forger` writes with keys of its own, in a DAG it only knows by what it was told. It judges nothing.
"""

from __future__ import annotations

import random

from walytis_core.block import Block, Place, create, draft
from walytis_core.cid import BlockId
from walytis_core.limits import Limits
from walytis_core.policy import Genesis
from walytis_core.signer import Ed25519Signer, Signer

_REMEMBERED = 64
_FAR = Limits.max_int - (1 << 20)  # there is room for children


class Forger:
    """Makes bad blocks, and some good ones to build them on.

    Args:
        genesis: The chain that is attacked.
        rng: What chance comes from.
        signers: The keys it writes with.
    """

    def __init__(self, genesis: Genesis, rng: random.Random, signers: int = 3) -> None:
        self.genesis = genesis
        self.rng = rng
        self.signers: list[Signer] = [Ed25519Signer(rng.randbytes(32)) for _ in range(signers)]
        self.seen: list[Block] = []
        """Blocks heard of others or made, the latest last."""
        self.own: dict[bytes, list[Block]] = {signer.key: [] for signer in self.signers}
        """Good-looking blocks by author."""

    def saw(self, block: Block) -> None:
        """Remembers a block to name or to repeat."""
        self.seen.append(block)
        del self.seen[:-_REMEMBERED]

    def good(self, signer: Signer | None = None, parents: tuple[Block, ...] | None = None) -> Block:
        """The next block of one of its authors, as the rules want it."""
        signer = signer or self.rng.choice(self.signers)
        before = self.own[signer.key]
        prev = before[-1] if before else None
        return self._make(signer, prev, self._some() if parents is None else parents)

    def fork(self, depth: int = 4) -> Block:
        """Another block at a place that one of its authors has filled, up to `depth` back; later ones build on it or not."""
        signer = self.rng.choice(self.signers)
        before = self.own[signer.key]
        if not before:
            return self.good(signer)
        at = max(len(before) - 1 - self.rng.randrange(depth), 0)
        twin = self._make(signer, before[at - 1] if at else None, self._some(), remember=False)
        if self.rng.random() < 0.5:
            self.own[signer.key] = [*before[:at], twin]
        return twin

    def wrong(self) -> Block:
        """A well signed block with one field of its place wrong, or a wrongly signed one."""
        block = self.good()
        self.own[block.author].pop()
        signer = next(signer for signer in self.signers if signer.key == block.author)
        place = Place(block.chain, block.seq, block.prev, block.parents, block.height)
        other = BlockId.of(self.rng.randbytes(8))
        wrongs = [
            place._replace(height=self.rng.choice([0, block.height + 1, block.height - 1, _FAR])),
            place._replace(seq=self.rng.choice([block.seq + 1, block.seq + 1000, _FAR])),
            place._replace(prev=other),
            place._replace(prev=self.rng.choice(self.seen).id if self.seen else other, parents=()),
            place._replace(parents=tuple(sorted({*block.parents, other}))),
            place._replace(chain=other),
            place._replace(chain=None, prev=None, seq=0, parents=(), height=0),
        ]
        if self.rng.random() < 0.2:
            return self.unsigned(block)
        return create(signer, self.rng.choice(wrongs), draft(self.rng.randbytes(8)), self._time())

    def unsigned(self, block: Block) -> Block:
        """The same block with its signature broken: another id."""
        encoded = block.encoded[:-1] + bytes([block.encoded[-1] ^ 1])
        return block._replace(id=BlockId.of(encoded), encoded=encoded)

    def child_of(self, block: Block) -> Block:
        """A block that names another one, whatever that is, as `prev` or as a parent."""
        signer = next((one for one in self.signers if one.key == block.author), self.signers[0])
        if signer.key == block.author and block.prev is not None:
            place = Place(self.genesis.id, block.seq + 1, block.id, (), block.height + 1)
        else:
            place = Place(self.genesis.id, 0, self.genesis.id, (block.id,), block.height + 1)
        return create(signer, place, draft(self.rng.randbytes(8)), self._time())

    def _make(self, signer: Signer, prev: Block | None, parents: tuple[Block, ...], *, remember: bool = True) -> Block:
        prev_id, height, seq = (prev.id, prev.height, prev.seq + 1) if prev else (self.genesis.id, 0, 0)
        named = {block.id: block.height for block in parents if block.id != prev_id}
        place = Place(self.genesis.id, seq, prev_id, tuple(sorted(named)), 1 + max([height, *named.values()]))
        block = create(signer, place, draft(self.rng.randbytes(8)), self._time())
        if remember:
            self.own[signer.key].append(block)
        self.saw(block)
        return block

    def _some(self) -> tuple[Block, ...]:
        usable = [block for block in self.seen if block.chain == self.genesis.id]
        return tuple(self.rng.sample(usable, min(len(usable), self.rng.randrange(3))))

    def _time(self) -> int:
        return self.rng.choice([0, 1, 1_700_000_000_000, Limits.max_time_ms])
