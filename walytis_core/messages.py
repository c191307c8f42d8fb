"""The messages of a sync stream and of a channel: what they hold, and their bytes.

A message is DAG-CBOR `[kind, ...]` (docs/spec/sync.md#messages). Invariants: `decode` gives a message with every field
of its exact type and within `Limits`, or raises `RemoteError`; an unknown kind gives None and is ignored. Blocks are
carried as bytes: their strict reading is `screening.py`'s. This file knows no state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias, cast

from walytis_core import cbor
from walytis_core.cid import CID_BYTES, DAG_CBOR_PREFIX, BlockId, Cid
from walytis_core.errors import Reason, RemoteError
from walytis_core.frontier import BUCKET_HASH_BYTES, Entry
from walytis_core.limits import Limits
from walytis_core.signer import AUTHOR_BYTES, MULTIKEY_PREFIX


class Why(IntEnum):
    """Why blocks were sent."""

    PULLED = 0  # answers a frontier
    NEWS = 1  # just appended or learnt; the sender told the channel as well
    NEWS_HERE = 2  # the same, but the channel was not told: pass it on
    ASKED = 3  # answers a want


class Digest(NamedTuple):
    """The digest of the sender's frontier, and how many blocks it has."""

    digest: bytes
    held: int


class Buckets(NamedTuple):
    """The hashes of the sender's 256 frontier buckets: tell me which differ."""

    hashes: tuple[bytes, ...]


class Differ(NamedTuple):
    """The buckets that differ; answers `Buckets`."""

    buckets: tuple[int, ...]


class Pull(NamedTuple):
    """The sender's frontier, in one or more parts: send me what is above it.

    Attributes:
        buckets: The buckets it speaks of; None for all.
        entries: Entries by author.
        last: Whether this is the last part.
    """

    buckets: tuple[int, ...] | None
    entries: tuple[tuple[bytes, Entry], ...]
    last: bool


class Blocks(NamedTuple):
    """Blocks, parents before children."""

    why: Why
    blocks: tuple[bytes, ...]


class Done(NamedTuple):
    """The sender has sent everything above the frontier it was given; its own digest and count now."""

    digest: bytes
    held: int


class Announce(NamedTuple):
    """Ids of blocks that the sender has just learnt."""

    ids: tuple[BlockId, ...]


class Want(NamedTuple):
    """Ids of blocks that the sender lacks."""

    ids: tuple[BlockId, ...]


class ForkProof(NamedTuple):
    """Two different well-signed blocks by one author with one seq."""

    first: bytes
    second: bytes


class Credit(NamedTuple):
    """That many more frames of blocks or content may be sent."""

    frames: int


class Probe(NamedTuple):
    """Ids of the sender's blocks by one author at some seqs, rising: where do our branches part?"""

    author: bytes
    places: tuple[tuple[int, BlockId], ...]


class SideWant(NamedTuple):
    """CIDs of content that the sender lacks."""

    cids: tuple[Cid, ...]


class SidePart(NamedTuple):
    """A part of one piece of content; `total` is its whole size in bytes."""

    cid: Cid
    offset: int
    total: int
    data: bytes


class SideLacking(NamedTuple):
    """CIDs of content that the sender was asked for and does not give."""

    cids: tuple[Cid, ...]


class Peers(NamedTuple):
    """Peers of this chain that the sender has a stream with, each with addresses at which it may be dialled."""

    peers: tuple[tuple[str, tuple[str, ...]], ...]


Message: TypeAlias = (
    Digest
    | Buckets
    | Differ
    | Pull
    | Blocks
    | Done
    | Announce
    | Want
    | ForkProof
    | Credit
    | Probe
    | SideWant
    | SidePart
    | SideLacking
    | Peers
)

_KINDS: Final[dict[type, int]] = {
    Digest: 1, Buckets: 2, Differ: 3, Pull: 4, Blocks: 5, Done: 6, Announce: 7,
    Want: 8, ForkProof: 9, Credit: 10, Probe: 11, SideWant: 12, SidePart: 13, SideLacking: 14, Peers: 15,
}  # fmt: skip


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    kind = _KINDS[type(message)]
    match message:
        case Buckets(hashes):
            return cbor.encode([kind, b"".join(hashes)])
        case Pull(buckets, entries, last):
            rows = [[author[2:], entry.seq, entry.id[4:], entry.fork] for author, entry in entries]
            return cbor.encode([kind, None if buckets is None else bytes(buckets), rows, last])
        case Differ(buckets):
            return cbor.encode([kind, bytes(buckets)])
        case Announce(ids) | Want(ids):
            return cbor.encode([kind, b"".join(id[4:] for id in ids)])
        case SideWant(cids) | SideLacking(cids):
            return cbor.encode([kind, b"".join(cids)])
        case Probe(author, places):
            return cbor.encode([kind, author[2:], [[seq, id[4:]] for seq, id in places]])
        case Blocks(why, blocks):
            return cbor.encode([kind, int(why), list(blocks)])
        case Peers(peers):
            return cbor.encode([kind, [[peer, list(addresses)] for peer, addresses in peers]])
        case SidePart(cid, offset, total, data):
            return cbor.encode([kind, bytes(cid), offset, total, data])
        case _:
            return cbor.encode([kind, *message])


def size(message: Message) -> int:
    """How many bytes `encode` writes; the commonest messages are not written for it. The simulator counts by it."""
    match message:
        case Blocks(_, blocks):
            return 3 + _head(len(blocks)) + sum([_head(len(encoded)) + len(encoded) for encoded in blocks])
        case Buckets(hashes):
            return 2 + _head(BUCKET_HASH_BYTES * len(hashes)) + BUCKET_HASH_BYTES * len(hashes)
        case Announce(ids) | Want(ids):
            return 2 + _head(32 * len(ids)) + 32 * len(ids)
        case Digest(digest, held) | Done(digest, held):
            return 2 + _head(len(digest)) + len(digest) + _head(held)
        case Pull(buckets, entries, _):
            places = 1 if buckets is None else _head(len(buckets)) + len(buckets)
            forks = sum([_head(entry.fork) for _, entry in entries if entry.fork is not None])
            rows = sum([70 + _head(entry.seq) - (entry.fork is not None) for _, entry in entries])
            return 3 + places + _head(len(entries)) + rows + forks
        case _:
            return len(encode(message))


def _head(argument: int) -> int:
    """The length of the shortest head of a CBOR item (RFC 8949, section 3)."""
    if argument < 24:
        return 1
    return 2 if argument < 1 << 8 else 3 if argument < 1 << 16 else 5 if argument < 1 << 32 else 9


def decode(data: bytes) -> Message | None:
    """Reads a message.

    Returns:
        The message; None when its kind is unknown.

    Raises:
        RemoteError: `BAD_MESSAGE`; the bytes are no message, or break a limit.
    """
    value = cbor.decode(data, max_bytes=Limits.max_frame_bytes, max_depth=Limits.max_message_depth)
    if not isinstance(value, list) or not value or type(value[0]) is not int:
        raise RemoteError(Reason.BAD_MESSAGE)
    read = _READERS.get(value[0])
    if read is None:
        return None
    try:
        return read(*value[1:])
    except (TypeError, ValueError) as error:
        raise RemoteError(Reason.BAD_MESSAGE) from error


# --- readers: each takes the fields as decoded and raises ValueError for a wrong one ------------------------------


def _uint(value: object, most: int = Limits.max_int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError
    return value


def _bytes(value: object, size: int | None = None, most: int = Limits.max_frame_bytes) -> bytes:
    if type(value) is not bytes or (size is not None and len(value) != size) or len(value) > most:
        raise ValueError
    return value


def _list(value: object, most: int) -> list[object]:
    if type(value) is not list or len(value) > most:
        raise ValueError
    return value


def _cut(value: object, size: int, most: int) -> list[bytes]:
    """Byte strings of one size that stand one after another."""
    data = _bytes(value, most=size * most)
    if len(data) % size:
        raise ValueError
    return [data[at : at + size] for at in range(0, len(data), size)]


def _ids(value: object) -> tuple[BlockId, ...]:
    return tuple(BlockId(DAG_CBOR_PREFIX + digest) for digest in _cut(value, 32, Limits.max_ids_per_message))


def _id(value: object) -> BlockId:
    return BlockId(DAG_CBOR_PREFIX + _bytes(value, 32))


def _author(value: object) -> bytes:
    return MULTIKEY_PREFIX + _bytes(value, AUTHOR_BYTES - 2)


def _cids(value: object) -> tuple[Cid, ...]:
    return tuple(Cid(raw) for raw in _cut(value, CID_BYTES, Limits.max_ids_per_message))


def _entry(value: object) -> tuple[bytes, Entry]:
    author, seq, id, fork = _list(value, 4)
    return _author(author), Entry(_uint(seq), _id(id), None if fork is None else _uint(fork))


def _place(value: object) -> tuple[int, BlockId]:
    seq, id = _list(value, 2)
    return _uint(seq), _id(id)


def _text(value: object) -> str:
    if type(value) is not str or len(value) > Limits.max_address_chars:
        raise ValueError
    return value


def _peer(value: object) -> tuple[str, tuple[str, ...]]:
    peer, addresses = _list(value, 2)
    return _text(peer), tuple(_text(address) for address in _list(addresses, Limits.addresses_per_peer))


def _bucket_list(value: object) -> tuple[int, ...]:
    return tuple(sorted(set(_bytes(value, most=Limits.frontier_buckets))))


def _read_pull(buckets: object, entries: object, last: object) -> Pull:
    if type(last) is not bool:
        raise ValueError
    rows = tuple(_entry(row) for row in _list(entries, Limits.max_entries_per_message))
    return Pull(None if buckets is None else _bucket_list(buckets), rows, last)


def _read_blocks(why: object, blocks: object) -> Blocks:
    rows = _list(blocks, Limits.max_blocks_per_frame)
    if not set(map(type, rows)) <= {bytes}:
        raise ValueError
    encoded = cast("list[bytes]", rows)  # looked at as a whole: there are a hundred thousand in a long join
    if max(map(len, encoded), default=0) > Limits.max_block_bytes:
        raise ValueError
    return Blocks(Why(_uint(why)), tuple(encoded))


def _read_side_part(cid: object, offset: object, total: object, data: object) -> SidePart:
    part = SidePart(
        Cid(_bytes(cid, CID_BYTES)),
        _uint(offset),
        _uint(total, Limits.leaf_bytes),
        _bytes(data, most=Limits.part_bytes),
    )
    if len(part.data) != min(Limits.part_bytes, part.total - part.offset):  # whole parts only, so that nobody drips
        raise ValueError
    return part


_READERS: Final[dict[int, Callable[..., Message]]] = {
    1: lambda digest, count: Digest(_bytes(digest, 32), _uint(count)),
    2: lambda hashes: Buckets(tuple(_cut(_bytes(hashes, 256 * BUCKET_HASH_BYTES), BUCKET_HASH_BYTES, 256))),
    3: lambda buckets: Differ(_bucket_list(buckets)),
    4: _read_pull,
    5: _read_blocks,
    6: lambda digest, count: Done(_bytes(digest, 32), _uint(count)),
    7: lambda ids: Announce(_ids(ids)),
    8: lambda ids: Want(_ids(ids)),
    9: lambda first, second: ForkProof(
        _bytes(first, most=Limits.max_block_bytes), _bytes(second, most=Limits.max_block_bytes)
    ),
    10: lambda frames: Credit(_uint(frames, Limits.credit_frames)),
    11: lambda author, places: Probe(_author(author), tuple(_place(place) for place in _list(places, 64))),
    12: lambda cids: SideWant(_cids(cids)),
    13: _read_side_part,
    14: lambda cids: SideLacking(_cids(cids)),
    15: lambda peers: Peers(tuple(_peer(peer) for peer in _list(peers, Limits.peers_per_message))),
}


def split_ids(ids: Sequence[BlockId]) -> list[tuple[BlockId, ...]]:
    """Ids in portions that fit a message."""
    size = Limits.max_ids_per_message
    return [tuple(ids[at : at + size]) for at in range(0, len(ids), size)]
