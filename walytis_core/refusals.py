"""What was refused, as far as it is remembered: so that what builds on it goes too, and forks are proven all the same.

A genuine block that broke a rule is no member, but with another one at its place it proves a fork. A proof about an author
that has no member here is kept aside until it has one, for anybody can make keys. Everything is bounded; what is forgotten here
others remember, and tell us. Pure, in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TypeVar

from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
from walytis_core.limits import Limits
from walytis_core.store.port import Proof

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(slots=True)
class Refusals:
    """Refused ids, refused blocks by place, and proofs about strangers; the latest of each."""

    _reasons: OrderedDict[BlockId, Reason] = field(default_factory=OrderedDict)
    _witnesses: OrderedDict[tuple[bytes, int], Block] = field(default_factory=OrderedDict)
    _strangers: OrderedDict[bytes, Proof] = field(default_factory=OrderedDict)

    def __contains__(self, id: object) -> bool:
        return id in self._reasons

    def add(self, id: BlockId, reason: Reason) -> None:
        """Remembers that an id was refused for ever."""
        _remember(self._reasons, id, reason)

    def witness(self, block: Block) -> None:
        """Remembers a genuine block that was refused."""
        _remember(self._witnesses, (block.author, block.seq), block)

    def at(self, author: bytes, seq: int) -> Block | None:
        """A refused genuine block at a place."""
        return self._witnesses.get((author, seq)) if self._witnesses else None

    def set_aside(self, proof: Proof) -> None:
        """Keeps a proof about an author that has no member here; the one with the lowest seq."""
        kept = self._strangers.get(proof.author)
        _remember(self._strangers, proof.author, proof if kept is None or proof.seq < kept.seq else kept)

    def of_stranger(self, author: bytes) -> Proof | None:
        """Gives back, once, the proof about an author that has a member now."""
        return self._strangers.pop(author, None) if self._strangers else None


def _remember(memory: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > Limits.refused_memory:
        memory.popitem(last=False)
