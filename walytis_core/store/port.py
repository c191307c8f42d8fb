"""The store port: what the replica reads of one chain (`Held`), what it has written (`Commit`), and the node's tables.

Adapters: `MemoryStore` (simulator, the model in tests) and `SqliteStore`. Invariants, for both:

- A chain's *members* are stored blocks; members are causally closed. A member is *folded* or not (DESIGN 3.1). Feeds,
  queries, counts and heads see folded blocks alone; `Held.metas`, `known`, `encoded` and `at` see all members.
- Each member has a number, given in order of insertion over the whole store, never given twice, so that a parent's
  number is lower than its folded children's. The genesis has a number too, but is in no query, count or feed.
- A commit is one transaction: all of it is durable when `commit` returns, or `StorageError` and none of it.

Ids are raw 36-byte CIDs; authors are 34-byte multikeys. The port knows no policy and verifies nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from walytis_core.block import Block
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import StorageError

Progress = Callable[[int, int], None]
"""Told how many members have been done, and of how many."""


class Meta(NamedTuple):
    """What the rules need to know of a member."""

    number: int
    author: bytes
    seq: int
    height: int
    type: str
    folded: bool


class Row(NamedTuple):
    """A member as it is streamed to peers and feeds."""

    number: int
    id: BlockId
    author: bytes
    seq: int
    folded: bool
    encoded: bytes


class Proof(NamedTuple):
    """Two different well-signed blocks by one author with one seq, as bytes; `first` has the smaller id."""

    author: bytes
    seq: int
    first: bytes
    second: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One transaction on one chain.

    Members by one author with one seq, and members outside the folded set, are of authors whose proof came before, or
    comes with the same commit.

    Attributes:
        blocks: New members, folded, parents before children.
        proofs: Proofs of equivocation; one per author is kept, a lower seq replaces a higher.
        unfold: Members, new ones too, that leave the folded set.
        refold: Members that come back into it, parents first: each gets a fresh number, *before* `blocks` get theirs.
    """

    blocks: Sequence[Block] = ()
    proofs: Sequence[Proof] = ()
    unfold: Sequence[BlockId] = ()
    refold: Sequence[BlockId] = ()


class Held(Protocol):
    """A read-only view of one chain's members, as last committed. Cheap: nothing here scans the chain."""

    @property
    def last(self) -> int:
        """The number of the newest member of this chain; 0 when there is none."""
        ...

    @property
    def count(self) -> int:
        """How many folded blocks there are, without the genesis. Kept, not computed."""
        ...

    def known(self, ids: Collection[bytes]) -> set[bytes]:
        """Those of `ids` that are members. At most a few hundred at a time; one query."""
        ...

    def metas(self, ids: Collection[bytes]) -> dict[bytes, Meta]:
        """The `Meta` of those of `ids` that are members."""
        ...

    def encoded(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """The bytes of those of `ids` that are members (and not set aside as corrupt)."""
        ...

    def at(self, author: bytes, seq: int) -> list[BlockId]:
        """The members by `author` with this seq: one, none, or several after a fork."""
        ...

    def above(self, author: bytes, seq: int, below: int | None = None) -> list[BlockId]:
        """The members by `author` with `seq <= their seq < below`, by number. For freezing: may be long."""
        ...

    def next_number(self, author: bytes, seq: int) -> int | None:
        """The smallest number among the author's members with a seq greater than `seq`; None when there is none."""
        ...

    def scan(self, after: int, max_blocks: int, max_bytes: int) -> list[Row]:
        """Members with number > `after`, genesis included, by number, up to the limits but at least one if any."""
        ...

    def children(self, id: bytes) -> list[BlockId]:
        """The members that name this one as parent or prev."""
        ...

    def tips(self) -> Iterator[tuple[bytes, int, BlockId]]:
        """For each author with members: the greatest seq and one member's id at it. The genesis counts as its author's."""
        ...

    def heads(self) -> list[BlockId]:
        """Folded members, without the genesis, that no folded member names; by number. Used at opening only."""
        ...

    def proofs(self) -> dict[bytes, Proof]:
        """The proof kept for each frozen author."""
        ...

    def unfolded(self) -> set[BlockId]:
        """The members outside the folded set. Empty unless an author forked."""
        ...


class Query(NamedTuple):
    """Which folded blocks a user wants. All given conditions hold together.

    Attributes:
        topic, type, author: Exact matches; None for any. A type that ends with a slash matches all that start so.
        since, until: Numbers: `since < number <= until`; None for open ends.
        after_ms, before_ms: `after_ms <= time_ms < before_ms`, by the authors' clocks.
    """

    topic: str | None = None
    type: str | None = None
    author: bytes | None = None
    since: int | None = None
    until: int | None = None
    after_ms: int | None = None
    before_ms: int | None = None

    @property
    def is_type_prefix(self) -> bool:
        """Whether the type stands for all types that start with it."""
        return self.type is not None and self.type.endswith("/")


class Position(NamedTuple):
    """A place in the canonical order (height, id)."""

    height: int
    id: bytes


class ChainStore(Held, Protocol):
    """One chain's tables."""

    @property
    def id(self) -> BlockId:
        """The chain's id: its genesis block's."""
        ...

    def commit(self, commit: Commit) -> dict[BlockId, int]:
        """Writes a commit durably.

        Returns:
            The numbers of the new and refolded members.

        Raises:
            StorageError: The disk refused; nothing of the commit was written.
            LocalError: A block is a member already, or an id or parent is of no member; nothing of it was written.
        """
        ...

    def query(self, query: Query, newest_first: bool, limit: int) -> list[Row]:
        """Up to `limit` folded blocks (genesis excluded), by number or by falling number."""
        ...

    def canonical(self, after: Position | None, limit: int, before: Position | None = None) -> list[Row]:
        """Up to `limit` folded blocks (genesis excluded) in canonical order, after a position, before another."""
        ...

    # consumers: a cursor is the number up to which everything is acknowledged
    def cursor(self, name: str) -> int | None:
        """The cursor of a named consumer; None when it is new."""
        ...

    def set_cursor(self, name: str, number: int | None) -> None:
        """Moves a cursor durably, and never back; None removes it."""
        ...

    def set_aside(self, name: str, number: int, reason: str) -> None:
        """Records that a consumer rejected a block on purpose."""
        ...

    def rejected(self, name: str) -> dict[int, str]:
        """What a consumer has set aside, by number."""
        ...

    # side store: bytes by CID, which may be dropped
    def put_side(self, cid: Cid, data: bytes, readers: str = "") -> None:
        """Keeps bytes under their CID (checked by the caller).

        Args:
            readers: The owner layer's own label. Bytes that have one keep it when they are put again without.
        """
        ...

    def side(self, cid: Cid) -> bytes | None:
        """Bytes of the side store, or None."""
        ...

    def unlabelled_side(self, cid: Cid) -> bytes | None:
        """Bytes of the side store whose owner layer named no readers, or None."""
        ...

    def side_label(self, cid: Cid) -> str | None:
        """The label of bytes in the side store, empty where there is none; None when they are not held."""
        ...

    def has_side(self, cids: Sequence[Cid]) -> set[Cid]:
        """Those of `cids` that are held."""
        ...

    def drop_side(self, cids: Sequence[Cid], *, labelled: bool = False) -> None:
        """Forgets bytes of the side store; the blocks that name them stay valid.

        Args:
            labelled: Whether to forget those with a label, too: a layer put them there, whatever blocks name them.
        """
        ...

    # small durable values of this chain: invitations, view snapshots, own author, ...
    def get(self, key: str) -> bytes | None:
        """A small value, or None."""
        ...

    def put(self, key: str, value: bytes | None) -> None:
        """Writes a small value durably; None removes it."""
        ...

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        """Those of the small values that there are."""
        ...

    def put_many(self, values: Mapping[str, bytes | None]) -> None:
        """Writes small values durably, all of them or, with `StorageError`, none; None removes one."""
        ...

    def items(self, prefix: str) -> dict[str, bytes]:
        """All small values whose key starts with `prefix`."""
        ...

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Re-hashes and re-checks every member; corrupt ones are set aside (to be fetched again)."""
        ...

    def corrupt(self) -> list[BlockId]:
        """Members that were set aside and whose bytes are wanted again."""
        ...

    def heal(self, id: BlockId, encoded: bytes) -> None:
        """Puts back the bytes of a block that was set aside. The caller has checked the CID.

        The block keeps its number, so that parents stay in front of children; a feed that passed it by remembers it.
        """
        ...


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found."""

    checked: int
    corrupt: Sequence[BlockId] = ()
    problems: Sequence[str] = ()


class Store(Protocol):
    """One node's database."""

    @property
    def refusal(self) -> StorageError | None:
        """Why the disk refused, when it last did; None once it has taken a write again."""
        ...

    @property
    def device_changed(self) -> bool:
        """Whether this file is a copy: it has another device or inode than the one written in it when opened."""
        ...

    def acknowledge_device(self) -> None:
        """Writes this file's device and inode into it: from now on it is no copy. Called once its keys are replaced."""
        ...

    def create_chain(self, genesis: Block, name: str, values: Mapping[str, bytes] | None = None) -> ChainStore:
        """Adds a chain with its genesis as first member, and its first small values, in one transaction.

        Raises:
            LocalError: It is there already.
            StorageError: The disk refused; nothing was written.
        """
        ...

    def chains(self) -> dict[BlockId, str]:
        """The chains and their local names."""
        ...

    def chain(self, id: BlockId) -> ChainStore:
        """One chain. Raises `NotFoundError`."""
        ...

    def holding(self, cid: Cid) -> list[BlockId]:
        """The chains that hold this as a member or in their side store. One query."""
        ...

    def rename(self, id: BlockId, name: str) -> None:
        """Changes a chain's local name."""
        ...

    def delete_chain(self, id: BlockId) -> None:
        """Removes all of a chain's data: `hide_chain`, then `purge`."""
        ...

    def hide_chain(self, id: BlockId) -> None:
        """Takes a chain out of sight in one short transaction: it can be created anew. Raises `NotFoundError`."""
        ...

    def purge(self) -> None:
        """Removes what is left of hidden chains; also done at opening."""
        ...

    def get(self, key: str) -> bytes | None:
        """A small value of the node, or None."""
        ...

    def put(self, key: str, value: bytes | None) -> None:
        """Writes a small value durably; None removes it."""
        ...

    def items(self, prefix: str) -> Iterable[tuple[str, bytes]]:
        """All small values of the node whose key starts with `prefix`."""
        ...

    def close(self) -> None:
        """Checkpoints and closes; closing twice is fine."""
        ...
