"""Random chains, for tests that must hold for every shape of one."""

from __future__ import annotations

import random
from typing import Any

from walytis_core.block import GENESIS_PLACE, Block, Place, create, draft
from walytis_core.cid import BlockId
from walytis_core.signer import Ed25519Signer
from walytis_core.store.port import Commit, Proof


class Dag:
    """Makes random chains, with forks, and says by the definition of DESIGN 3.1 what is folded."""

    def __init__(self, seed: int, authors: int = 3) -> None:
        self.random = random.Random(seed)
        self.extra_parents = 0.1  # the chance of each older block to be named besides
        self.signers = [Ed25519Signer(bytes([n + 1]) * 32) for n in range(authors)]
        self.genesis = create(self.signers[0], GENESIS_PLACE, draft(self.random.randbytes(16), type="core/genesis"), 0)
        self.blocks: dict[BlockId, Block] = {self.genesis.id: self.genesis}

    def grow(
        self, author: int | None = None, *, fork: bool = False, payload: bytes = b"payload", **content: Any
    ) -> Block:
        """Adds a block by one author on top of some of the heads; one that forks has an older block as prev."""
        signer = self.random.choice(self.signers) if author is None else self.signers[author]
        own = [block for block in self.blocks.values() if block.author == signer.key] or [self.genesis]
        prev = self.random.choice(own[:-1]) if fork and len(own) > 1 else own[-1]
        named = {block for block in self.blocks.values() if self.random.random() < self.extra_parents} | {
            self.random.choice(self.heads())
        }
        parents = tuple(sorted(block.id for block in named - {prev}))[:8]
        height = 1 + max(self.blocks[id].height for id in (prev.id, *parents))
        place = Place(self.genesis.id, prev.seq + 1 if prev.author == signer.key else 0, prev.id, parents, height)
        content.setdefault("topics", self.random.sample(("a", "b", "ünï", "c\0d"), self.random.randrange(3)))
        content.setdefault("type", self.random.choice(("", "", "test/one", "test/two")))
        block = create(signer, place, draft(payload, **content), self.random.randrange(1000))
        self.blocks[block.id] = block
        return block

    def line(self, length: int, author: int = 0, **content: Any) -> list[Block]:
        """Adds several blocks by one author."""
        return [self.grow(author, **content) for _ in range(length)]

    def heads(self) -> list[Block]:
        """The blocks that none names."""
        named = {parent for block in self.blocks.values() for parent in block.ancestors_named}
        return [block for block in self.blocks.values() if block.id not in named]

    def proofs(self) -> dict[bytes, Proof]:
        """The lowest fork of each author."""
        found: dict[bytes, Proof] = {}
        seen: dict[tuple[bytes, int], Block] = {}
        for block in sorted(self.blocks.values(), key=lambda block: (block.seq, block.id)):
            other = seen.setdefault((block.author, block.seq), block)
            if other is not block and block.author not in found:
                found[block.author] = Proof(block.author, block.seq, other.encoded, block.encoded)
        return found

    def folded(self) -> set[BlockId]:
        """The blocks of unfrozen authors, those below each fork, and all their ancestors."""
        proofs = self.proofs()
        todo = [b.id for b in self.blocks.values() if b.author not in proofs or b.seq < proofs[b.author].seq]
        folded: set[BlockId] = set()
        while todo:
            id = todo.pop()
            if id not in folded:
                folded.add(id)
                todo.extend(self.blocks[id].ancestors_named)
        return folded

    def step(self, count: int, fork_chance: float) -> Commit:
        """Adds some blocks, and says what to commit."""
        before, known = self.folded(), set(self.blocks)
        blocks = [self.grow(fork=self.random.random() < fork_chance) for _ in range(count)]
        after = self.folded()
        new = {block.id for block in blocks}
        return Commit(
            blocks=blocks,
            proofs=tuple(self.proofs().values()),
            unfold=[id for id in self.blocks if id not in after and (id in before or id in new)],
            refold=[id for id in self.blocks if id in after and id in known - before],
        )
