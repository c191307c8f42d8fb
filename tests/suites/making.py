"""Blocks made by hand for tests: by any author, at any place, right or wrong, and the raw bytes of any header.

`World` is one chain seen from outside, where every author may write anything, also what no honest node writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from walytis_core.block import Block, Content, Draft, Place, create, decode
from walytis_core.cid import DAG_CBOR_PREFIX, BlockId
from walytis_core.policy import ADMIT, EVERYONE, Genesis, Policy, create_genesis, encode_admit, read_genesis
from walytis_core.signer import BLOCK_CONTEXT, Ed25519Signer
from walytis_core.store.memory import MemoryChain, MemoryStore
from walytis_core.store.port import Meta

FOUNDER, ALICE, BOB, CAROL, MALLORY = (Ed25519Signer(bytes([n]) * 32) for n in range(1, 6))
NONCE = bytes(range(16))


def signers(count: int, first: int = 0) -> list[Ed25519Signer]:
    """That many authors, always the same ones."""
    return [Ed25519Signer((first + n).to_bytes(32, "big")) for n in range(1, count + 1)]


def some_id(number: int) -> BlockId:
    """A block id that no block has."""
    return BlockId.of(b"nothing %d" % number, DAG_CBOR_PREFIX)


class World:
    """One chain, and blocks of it made by hand.

    Args:
        writers: The keys listed in the genesis; None for anyone.
    """

    def __init__(self, writers: Collection[Ed25519Signer] | None = None, nonce: bytes = NONCE) -> None:
        keys = None if writers is None else frozenset(signer.key for signer in writers)
        self.first = create_genesis(FOUNDER, Policy(keys, EVERYONE), nonce, 0)
        self.genesis: Genesis = read_genesis(self.first)

    def block(
        self,
        signer: Ed25519Signer,
        prev: Block | None = None,
        parents: Sequence[Block] = (),
        payload: bytes = b"",
        *,
        type: str = "",
        seq: int | None = None,
        height: int | None = None,
    ) -> Block:
        """A genuine block; `seq` and `height` as the rules have them unless given otherwise."""
        prev = prev or self.first
        if seq is None:
            own = prev.author == signer.key
            seq = prev.seq + 1 if own else 0
        if height is None:
            height = 1 + max(block.height for block in (prev, *parents))
        ids = tuple(sorted({block.id for block in parents} - {prev.id}))
        place = Place(self.first.id, seq, prev.id, ids, height)
        return create(signer, place, Draft(payload, type=type), 0)

    def admit(
        self, signer: Ed25519Signer, keys: Collection[Ed25519Signer], prev: Block | None = None,
        parents: Sequence[Block] = (),
    ) -> Block:  # fmt: skip
        """A `core/admit` block."""
        return self.block(signer, prev, parents, encode_admit([key.key for key in keys]), type=ADMIT)

    def chain(self, signer: Ed25519Signer, count: int, prev: Block | None = None, payload: bytes = b"") -> list[Block]:
        """That many blocks by one author, one after another."""
        blocks: list[Block] = []
        for number in range(count):
            blocks.append(self.block(signer, blocks[-1] if blocks else prev, (), payload + b"%d" % number))
        return blocks

    def store(self) -> MemoryChain:
        """A new replica's tables: the genesis alone."""
        return MemoryStore().create_chain(self.first, "test")


def meta_of(block: Block) -> Meta:
    """The `Meta` of a block as if it were a member."""
    return Meta(1, block.author, block.seq, block.height, block.type, folded=True)


def metas_of(*blocks: Block) -> dict[bytes, Meta]:
    """Members by id."""
    return {block.id: meta_of(block) for block in blocks}


# --- raw CBOR, canonical or not -----------------------------------------------------------------------------------


def head(major: int, value: int, width: int | None = None) -> bytes:
    """The head of an item; `width` bytes of argument where given, however small the value is."""
    if width is None:
        width = 0 if value < 24 else next(size for size in (1, 2, 4, 8) if value < 1 << 8 * size)
    if width == 0:
        return bytes([major << 5 | value])
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[width]]) + value.to_bytes(width, "big")


def text(value: str) -> bytes:
    """A text string."""
    data = value.encode("utf-8", "surrogatepass")
    return head(3, len(data)) + data


def binary(value: bytes) -> bytes:
    """A byte string."""
    return head(2, len(value)) + value


def array(*items: bytes) -> bytes:
    """An array of items that are encoded already."""
    return head(4, len(items)) + b"".join(items)


def link(cid: bytes) -> bytes:
    """A link (tag 42)."""
    return b"\xd8\x2a" + binary(b"\0" + cid)


FIELDS = ("v", "chain", "author", "seq", "prev", "parents", "height", "time", "type", "topics", "payload", "ext")
GENESIS_ID, PREV_ID = some_id(0), some_id(1)
PLAIN: Mapping[str, bytes] = {
    "v": head(0, 1),
    "chain": link(GENESIS_ID),
    "author": binary(ALICE.key),
    "seq": head(0, 5),
    "prev": link(PREV_ID),
    "parents": array(*map(link, sorted([some_id(2), some_id(3)]))),
    "height": head(0, 7),
    "time": head(0, 1_700_000_000_000),
    "type": text("test/type"),
    "topics": array(text("one"), text("two")),
    "payload": binary(b"hello"),
    "ext": head(5, 2) + text("a") + binary(b"1") + text("bb") + binary(b""),
}
"""A well-formed header, field by field."""


def sealed(header: bytes, signer: Ed25519Signer = ALICE) -> bytes:
    """A header with its signature: a block, if the header is one."""
    return b"\x82" + header + binary(signer.sign(BLOCK_CONTEXT + header))


def raw_block(**changes: bytes) -> bytes:
    """The signed bytes of the plain header with some fields replaced by other bytes."""
    fields = {**PLAIN, **changes}
    return sealed(head(4, len(fields)) + b"".join(fields.values()))


def read_all(encoded: Sequence[bytes]) -> list[Block]:
    """Blocks from bytes."""
    return [decode(data) for data in encoded]


def contents(block: Block) -> dict[str, Any]:
    """The header fields that a user sees."""
    body = block.body
    return {
        "type": block.type, "topics": block.topics, "ext": dict(block.ext),
        "payload": tuple(body) if isinstance(body, Content) else body,
    }  # fmt: skip
