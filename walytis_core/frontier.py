"""The frontier: what a causally closed replica holds, as one entry per author, with its digest.

An entry counts the author's blocks below its fork, if it has one: the greatest such `seq` and that block's id, and the
lowest forked `seq`. The id makes two branches *below* a fork visible, and the fork makes a missing proof visible
(docs/adr/0004-frontier-entries.md). An author without counted blocks has no entry. Digests are SHA-256 over
sorted entries, in 256 buckets by the author's hash, and over the buckets; never sums (docs/spec/sync.md#frontier).
Pure, in memory: about 300 bytes per author.
"""

from __future__ import annotations

import hashlib
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar, overload

from walytis_core.cid import BlockId
from walytis_core.limits import Limits

BUCKET_HASH_BYTES: Final = 16
Default = TypeVar("Default")


class Entry(NamedTuple):
    """What is held of one author.

    Attributes:
        seq: The greatest counted `seq`.
        id: The block there.
        fork: The lowest forked `seq`; None while the author has not forked.
    """

    seq: int
    id: BlockId
    fork: int | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether this is no entry of a frontier: in a pull, a block at or above the fork is asked for, with all below."""
        return self.fork is not None and self.seq >= self.fork


def bucket_of(author: bytes) -> int:
    """The bucket of an author: the first byte of the hash of its key."""
    return hashlib.sha256(author).digest()[0]


class Frontier(Mapping[bytes, Entry]):
    """Entries by author; digests are computed when asked for, again only for buckets that changed."""

    __slots__ = ("_buckets", "_digest", "_dirty", "_entries", "_hashes")

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}
        self._buckets: list[set[bytes]] = [set() for _ in range(Limits.frontier_buckets)]
        self._hashes = bytearray(BUCKET_HASH_BYTES * Limits.frontier_buckets)  # those of the buckets, one after another
        self._dirty: set[bytes] = set()
        self._digest: bytes | None = None

    def __getitem__(self, author: bytes) -> Entry:
        return self._entries[author]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, author: object) -> bool:
        return author in self._entries

    def items(self) -> ItemsView[bytes, Entry]:
        """Authors with their entries; as quick as those of a dict."""
        return self._entries.items()

    @overload
    def get(self, author: bytes, /) -> Entry | None: ...
    @overload
    def get(self, author: bytes, default: Entry | Default, /) -> Entry | Default: ...
    def get(self, author: bytes, default: object = None, /) -> object:
        """The author's entry, or `default`; asked several times for each block that comes."""
        return self._entries.get(author, default)

    def put(self, author: bytes, entry: Entry) -> None:
        """Replaces the author's entry."""
        self._entries[author] = entry
        self._dirty.add(author)
        self._digest = None

    def drop(self, author: bytes) -> None:
        """Removes the author's entry, if there is one."""
        if self._entries.pop(author, None) is not None:
            self._dirty.add(author)
            self._digest = None

    def digest(self) -> bytes:
        """32 bytes that are equal exactly when the frontiers are."""
        if self._digest is None:
            self._refresh()
            self._digest = hashlib.sha256(b"walytis/frontier/1" + self._hashes).digest()
        return self._digest

    def bucket_hashes(self) -> list[bytes]:
        """One hash per bucket, 16 bytes each; zeros for an empty one."""
        self._refresh()
        hashes, size = bytes(self._hashes), BUCKET_HASH_BYTES
        return [hashes[at : at + size] for at in range(0, len(hashes), size)]

    def _refresh(self) -> None:
        """Hashes the buckets that changed."""
        for bucket in self._settle():
            members = sorted(self._buckets[bucket])
            data = b"".join([_canonical(author, self._entries[author]) for author in members])
            at = bucket * BUCKET_HASH_BYTES
            digest = hashlib.sha256(data).digest() if members else bytes(BUCKET_HASH_BYTES)
            self._hashes[at : at + BUCKET_HASH_BYTES] = digest[:BUCKET_HASH_BYTES]

    def differing(self, hashes: Iterable[bytes]) -> set[int]:
        """The buckets whose hash is not the one given."""
        return {
            index for index, (own, other) in enumerate(zip(self.bucket_hashes(), hashes, strict=True)) if own != other
        }

    def entries(self, buckets: set[int] | None = None) -> list[tuple[bytes, Entry]]:
        """The entries of some buckets, or all, sorted by author."""
        if buckets is None:
            return sorted(self._entries.items())
        self._refresh()
        return sorted((author, self._entries[author]) for bucket in buckets for author in self._buckets[bucket])

    def outside(self, buckets: set[int]) -> Iterator[tuple[bytes, Entry]]:
        """The entries of all other buckets."""
        self._refresh()
        for bucket, authors in enumerate(self._buckets):
            if bucket not in buckets:
                for author in authors:
                    yield author, self._entries[author]

    def _settle(self) -> set[int]:
        """Moves changed authors in and out of their buckets; gives the buckets to be hashed again."""
        touched = set()
        for author in self._dirty:
            bucket = bucket_of(author)
            touched.add(bucket)
            if author in self._entries:
                self._buckets[bucket].add(author)
            else:
                self._buckets[bucket].discard(author)
        self._dirty.clear()
        return touched


def _canonical(author: bytes, entry: Entry) -> bytes:
    """One entry as 86 bytes: fixed widths, so that no two lists of entries give the same bytes."""
    fork = 0 if entry.fork is None else entry.fork + 1
    return author + entry.seq.to_bytes(8, "big") + entry.id + fork.to_bytes(8, "big")
