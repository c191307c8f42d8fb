"""The block: what it holds, and the one strict way its bytes are read and written.

Layout: docs/spec/block.md. Invariants: `decode(encoded)` accepts exactly the canonical DAG-CBOR of the layout, so
`encode(decode(x)) == x` and a block has one id; decoding is bounded by `Limits`; nothing here judges the
block's place in a chain (that is `rules.py`) or its signature (`signer.py`).

Rules for editing this file: the reader moves by the lengths that the bytes *claim*, and only the last check
(`end == len(encoded)`) makes short reads safe, so no field may be used before it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

from walytis_core.cid import CID_BYTES, DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX, BlockId, Cid
from walytis_core.errors import InvalidInputError, NotFoundError, Reason, RemoteError
from walytis_core.limits import Limits
from walytis_core.signer import BLOCK_CONTEXT, MULTIKEY_PREFIX, SIGNATURE_BYTES, Signer, is_signed

VERSION: Final = 1
_FIELDS: Final = 12
_ARRAY, _MAP, _TEXT, _BYTES, _UINT = 0x80, 0xA0, 0x60, 0x40, 0x00
_BYTES_OF: Final = tuple(bytes((byte,)) for byte in range(256))
_NULL: Final = b"\xf6"
_LINK: Final = bytes.fromhex("d82a582500")  # tag 42, 37 bytes, the multibase 0x00
_BLOCK_LINK: Final = _LINK + DAG_CBOR_PREFIX
_START: Final = b"\x82\x8c\x01" + _BLOCK_LINK
_LINK_BYTES: Final = len(_LINK) + CID_BYTES
_AUTHOR: Final = b"\x58\x22" + MULTIKEY_PREFIX
_SIGNATURE: Final = b"\x58\x40"
_TAIL: Final = len(_SIGNATURE) + SIGNATURE_BYTES
_LONG_HEADS: Final = {24: (2, 24), 25: (3, 1 << 8), 26: (5, 1 << 16), 27: (9, 1 << 32)}
"""Of a head that is longer than a byte: its length, and the least argument that needs it."""
_MAX_INT: Final = Limits.max_int  # a name of this file: read for nearly every field
_MAX_TIME_MS: Final = Limits.max_time_ms
_pack_2: Final = Struct(">BH").pack
_pack_4: Final = Struct(">BI").pack
_pack_8: Final = Struct(">BQ").pack
_new_id: Final = bytes.__new__  # `_new_id(BlockId, data)` is `BlockId(data)`, in half the time
_from_bytes: Final = int.from_bytes
_new_tuple: Final = tuple.__new__


class Content(NamedTuple):
    """Long content: a link to a UnixFS file and its size in bytes."""

    link: Cid
    size: int


class Block(NamedTuple):
    """A signed node of the DAG; frozen. The header fields are attributes; `encoded` is its exact bytes.

    `payload` gives the content whole, `open()` streams it; both need long content to be held here.
    """

    id: BlockId
    encoded: bytes
    chain: BlockId | None
    author: bytes
    seq: int
    prev: BlockId | None
    parents: tuple[BlockId, ...]
    height: int
    time_ms: int
    type: str
    topics: tuple[str, ...]
    body: bytes | Content
    ext: Mapping[str, bytes]
    reader: Callable[[Content], BinaryIO] | None = None

    @property
    def chain_id(self) -> BlockId:
        """The id of the chain: the genesis block's own id for the genesis."""
        return self.chain or self.id

    @property
    def payload(self) -> bytes:
        """The content, whole. Raises `UnavailableError` when long content is not held here."""
        if isinstance(self.body, bytes):
            return self.body
        with self.open() as stream:
            return stream.read()

    @property
    def content(self) -> Content | None:
        """Link and size of long content; None when the payload is inline."""
        return None if isinstance(self.body, bytes) else self.body

    def open(self) -> BinaryIO:
        """A binary stream over the content, verified leaf by leaf. Raises `UnavailableError` when a leaf is missing."""
        if isinstance(self.body, bytes):
            return io.BytesIO(self.body)
        if self.reader is None:
            raise NotFoundError("this block came without its chain, so its long content cannot be read")
        return self.reader(self.body)

    @property
    def time(self) -> datetime:
        """When the author's clock said it was made; informative only."""
        return datetime.fromtimestamp(self.time_ms / 1000, UTC)

    @property
    def ancestors_named(self) -> tuple[BlockId, ...]:
        """`prev` and `parents`: every block this one names."""
        return self.parents if self.prev is None else (self.prev, *self.parents)

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers: the context and the header as received."""
        return BLOCK_CONTEXT + self.encoded[1:-_TAIL]

    @property
    def signature(self) -> bytes:
        """The author's 64-byte signature."""
        return self.encoded[-SIGNATURE_BYTES:]

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and other.id == self.id

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"Block({self.id.short}, seq={self.seq}, height={self.height}, type={self.type!r})"


class Draft(NamedTuple):
    """What an author says, before it is placed in the DAG and signed."""

    body: bytes | Content
    topics: tuple[str, ...] = ()
    type: str = ""
    ext: Mapping[str, bytes] = {}
    parents: tuple[BlockId, ...] = ()
    """Blocks that it names whether they are heads or not."""


class Place(NamedTuple):
    """Where a new block goes: the chain, the author's counter and the blocks it names."""

    chain: BlockId | None
    seq: int
    prev: BlockId | None
    parents: tuple[BlockId, ...]
    height: int


GENESIS_PLACE: Final = Place(None, 0, None, (), 0)


# --- writing -----------------------------------------------------------------------------------------------------


def draft(
    body: bytes | Content, *, topics: Collection[str] = (), type: str = "", ext: Mapping[str, bytes] | None = None
) -> Draft:
    """Checks what a user wants to append, before anything is written.

    Raises:
        InvalidInputError: Something is outside `Limits`, or not text where text is due.
    """
    if isinstance(topics, str) or not isinstance(topics, Collection):
        raise InvalidInputError("topics is a list of texts, not one text")
    kept = tuple(topics)
    _require(len(kept) <= Limits.max_topics, f"at most {Limits.max_topics} topics")
    for topic in kept:
        size = len(_utf8(topic, "a topic"))
        _require(0 < size <= Limits.max_topic_bytes, f"a topic has 1 to {Limits.max_topic_bytes} bytes of UTF-8")
    _require(len(kept) < 2 or len(set(kept)) == len(kept), "topics must be distinct")
    if type != "":
        size = len(_utf8(type, "the type"))
        _require(size <= Limits.max_type_bytes, f"a type has at most {Limits.max_type_bytes} bytes")
    _check_body(body)
    if not ext:
        return Draft(body, kept, type)
    extension = dict(ext)
    _require(all(isinstance(value, bytes) for value in extension.values()), "values of ext are bytes")
    _require(len(_encode_ext(extension)) <= Limits.max_ext_bytes, f"ext has at most {Limits.max_ext_bytes} bytes")
    return Draft(body, kept, type, extension)


def create(signer: Signer, place: Place, draft: Draft, time_ms: int) -> Block:
    """Makes and signs a block.

    Args:
        signer: The author.
        place: Where it goes; `GENESIS_PLACE` for the first block of a chain.
        draft: Its content, as checked by `draft()`.
        time_ms: Milliseconds since the epoch, clamped to what the format holds.
    """
    time_ms = min(max(time_ms, 0), Limits.max_time_ms)
    body = draft.body
    header = b"".join((
        b"\x8c\x01",
        _NULL if place.chain is None else _LINK + place.chain,
        b"\x58\x22",
        signer.key,
        _head(_UINT, place.seq),
        _NULL if place.prev is None else _LINK + place.prev,
        _head(_ARRAY, len(place.parents)),
        *(_LINK + parent for parent in place.parents),
        _head(_UINT, place.height),
        _head(_UINT, time_ms),
        _encode_text(draft.type),
        _head(_ARRAY, len(draft.topics)),
        *map(_encode_text, draft.topics),
        _head(_BYTES, len(body)) + body if isinstance(body, bytes) else _encode_content(body),
        _encode_ext(draft.ext),
    ))  # fmt: skip
    encoded = b"\x82" + header + _SIGNATURE + signer.sign(BLOCK_CONTEXT + header)
    _require(len(encoded) <= Limits.max_block_bytes, f"a block has at most {Limits.max_block_bytes} bytes")
    return Block(
        BlockId.of(encoded), encoded, place.chain, signer.key, place.seq, place.prev, place.parents,
        place.height, time_ms, draft.type, draft.topics, body, draft.ext,
    )  # fmt: skip


def _check_body(body: object) -> None:
    if isinstance(body, Content):
        _require(body.link[:4] in (DAG_PB_PREFIX, RAW_PREFIX), "long content is linked as a UnixFS file")
        _require(0 <= body.size <= Limits.max_content_bytes, f"content has at most {Limits.max_content_bytes} bytes")
    elif isinstance(body, bytes):
        _require(
            len(body) <= Limits.max_payload_bytes, f"an inline payload has at most {Limits.max_payload_bytes} bytes"
        )
    else:
        raise InvalidInputError("a payload is bytes")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidInputError(message)


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8")
    except (UnicodeEncodeError, AttributeError) as error:
        raise InvalidInputError(f"{what} must be text that UTF-8 can hold") from error


def _head(major: int, value: int) -> bytes:
    """The minimal head of a CBOR item (RFC 8949, section 3)."""
    if value < 24:
        return _BYTES_OF[major | value]
    if value < 1 << 8:
        return bytes((major | 24, value))
    if value < 1 << 16:
        return _pack_2(major | 25, value)
    if value < 1 << 32:
        return _pack_4(major | 26, value)
    return _pack_8(major | 27, value)


def _encode_text(text: str) -> bytes:
    data = text.encode("utf-8")
    return _head(_TEXT, len(data)) + data


def _encode_content(content: Content) -> bytes:
    return b"\x82" + _LINK + content.link + _head(_UINT, content.size)


def _encode_ext(ext: Mapping[str, bytes]) -> bytes:
    if not ext:
        return _BYTES_OF[_MAP]
    keys = sorted((_utf8(key, "a key of ext") for key in ext), key=lambda key: (len(key), key))
    items = ((key, ext[key.decode("utf-8")]) for key in keys)
    body = b"".join(_head(_TEXT, len(key)) + key + _head(_BYTES, len(value)) + value for key, value in items)
    return _head(_MAP, len(ext)) + body


# --- reading -----------------------------------------------------------------------------------------------------


def decode(encoded: bytes, id: BlockId | None = None) -> Block:
    """Reads a block from bytes that anyone may have sent. Its signature is not looked at.

    Args:
        encoded: The bytes.
        id: Their CID, where the caller has computed it already.

    Raises:
        RemoteError: With the `Reason` for which these bytes are no block.
    """
    if len(encoded) > Limits.max_block_bytes:
        raise RemoteError(Reason.TOO_LARGE)
    try:
        return _decode(encoded, id or BlockId.of(encoded))
    except (IndexError, UnicodeDecodeError) as error:
        raise RemoteError(Reason.BAD_ENCODING) from error


def _decode(data: bytes, id: BlockId) -> Block:
    """The fields in their order; the empty ones, which are common, are looked at here and cost no call."""
    chain, at = (_new_id(BlockId, data[8:44]), 44) if data[:12] == _START else _read_start(data)
    author = data[at + 2 : at + 36]
    if data[at : at + 4] != _AUTHOR:
        raise RemoteError(Reason.BAD_ENCODING)
    seq, at = _read_uint(data, at + 36)
    prev, at = _read_block_link(data, at)
    parents, at = _read_parents(data, at) if data[at] != _ARRAY else ((), at + 1)
    height, at = _read_uint(data, at)
    time_ms, at = _read_uint(data, at)
    type_, at = _read_text(data, at, Limits.max_type_bytes) if data[at] != _TEXT else ("", at + 1)
    topics, at = _read_topics(data, at) if data[at] != _ARRAY else ((), at + 1)
    body, at = _read_body(data, at)
    ext, at = _read_ext(data, at) if data[at] != _MAP else ({}, at + 1)
    if at + _TAIL != len(data) or data[at : at + 2] != _SIGNATURE:
        raise RemoteError(Reason.BAD_ENCODING)
    if parents and (prev in parents or not _are_rising(parents)):
        raise RemoteError(Reason.BAD_PARENTS)
    if time_ms > _MAX_TIME_MS:
        raise RemoteError(Reason.BAD_FIELD)
    if (chain is None or prev is None) and not _is_first(chain, prev, seq, parents, height):
        raise RemoteError(Reason.BAD_FIELD)
    fields = (id, data, chain, author, seq, prev, parents, height, time_ms, type_, topics, body, ext, None)
    return _new_tuple(Block, fields)  # as `Block(...)` does, without its call


def _read_start(data: bytes) -> tuple[BlockId | None, int]:
    """Version and chain, of what does not begin as a block with a chain does."""
    if data[:3] != _START[:3]:
        raise RemoteError(_why_not_this_version(data))
    return _read_block_link(data, 3)


def _are_rising(ids: tuple[BlockId, ...]) -> bool:
    return len(ids) == 1 or all(a < b for a, b in pairwise(ids))


def _is_first(chain: BlockId | None, prev: BlockId | None, seq: int, parents: Sequence[BlockId], height: int) -> bool:
    """Whether the place is the genesis: the only one without chain and without prev."""
    return chain is None and prev is None and seq == 0 and not parents and height == 0


def _why_not_this_version(data: bytes) -> Reason:
    if data[0] == 0x82 and 0x80 <= data[1] <= 0x97:
        version, _ = _read_uint(data, 2)
        if version > VERSION:
            return Reason.NEWER_VERSION
    return Reason.BAD_ENCODING


def _read_uint(data: bytes, at: int, major: int = _UINT) -> tuple[int, int]:
    """An unsigned integer, or a length of another major type, in its shortest form, at most 2^53 - 1."""
    first = data[at] - major
    if 0 <= first < 24:
        return first, at + 1
    try:
        size, least = _LONG_HEADS[first]
    except KeyError:
        raise RemoteError(Reason.BAD_ENCODING) from None
    value = _from_bytes(data[at + 1 : at + size], "big")
    if not least <= value <= _MAX_INT:
        raise RemoteError(Reason.BAD_ENCODING)
    return value, at + size


def _read_block_link(data: bytes, at: int) -> tuple[BlockId | None, int]:
    if data[at : at + 9] == _BLOCK_LINK:
        return _new_id(BlockId, data[at + 5 : at + 41]), at + _LINK_BYTES
    if data[at : at + 1] == _NULL:
        return None, at + 1
    raise RemoteError(Reason.BAD_ENCODING)


def _read_parents(data: bytes, at: int) -> tuple[tuple[BlockId, ...], int]:
    count, at = _read_uint(data, at, _ARRAY)
    if count > Limits.max_parents:
        raise RemoteError(Reason.BAD_PARENTS)
    parents = []
    for _ in range(count):
        if data[at : at + 9] != _BLOCK_LINK:
            raise RemoteError(Reason.BAD_ENCODING)
        parents.append(_new_id(BlockId, data[at + 5 : at + 41]))
        at += _LINK_BYTES
    return tuple(parents), at


def _read_text(data: bytes, at: int, max_bytes: int) -> tuple[str, int]:
    size, at = _read_uint(data, at, _TEXT)
    if size > max_bytes:
        raise RemoteError(Reason.BAD_FIELD)
    end = at + size
    return data[at:end].decode("utf-8"), end


def _read_topics(data: bytes, at: int) -> tuple[tuple[str, ...], int]:
    count, at = _read_uint(data, at, _ARRAY)
    if count > Limits.max_topics:
        raise RemoteError(Reason.BAD_FIELD)
    topics = []
    for _ in range(count):
        topic, at = _read_text(data, at, Limits.max_topic_bytes)
        topics.append(topic)
    if "" in topics or (count > 1 and len(set(topics)) != count):
        raise RemoteError(Reason.BAD_FIELD)
    return tuple(topics), at


def _read_body(data: bytes, at: int) -> tuple[bytes | Content, int]:
    if data[at] == _ARRAY | 2:
        return _read_content(data, at + 1)
    size, at = _read_uint(data, at, _BYTES)
    if size > Limits.max_payload_bytes:
        raise RemoteError(Reason.BAD_FIELD)
    end = at + size
    return data[at:end], end


def _read_content(data: bytes, at: int) -> tuple[Content, int]:
    link = Cid(data[at + 5 : at + 41])
    if data[at : at + 5] != _LINK or link[:4] not in (DAG_PB_PREFIX, RAW_PREFIX):
        raise RemoteError(Reason.BAD_ENCODING)
    size, at = _read_uint(data, at + _LINK_BYTES)
    if size > Limits.max_content_bytes:
        raise RemoteError(Reason.BAD_FIELD)
    return Content(link, size), at


def _read_ext(data: bytes, at: int) -> tuple[Mapping[str, bytes], int]:
    start = at
    count, at = _read_uint(data, at, _MAP)
    if count > Limits.max_ext_bytes:
        raise RemoteError(Reason.BAD_FIELD)
    ext: dict[str, bytes] = {}
    last = (-1, b"")
    for _ in range(count):
        key, at = _read_text(data, at, Limits.max_ext_bytes)
        raw = key.encode("utf-8")
        if (len(raw), raw) <= last:
            raise RemoteError(Reason.BAD_ENCODING)
        last = (len(raw), raw)
        size, at = _read_uint(data, at, _BYTES)
        ext[key] = data[at : at + size]
        at += size
        if at - start > Limits.max_ext_bytes:
            raise RemoteError(Reason.BAD_FIELD)
    return ext, at


def is_genuine(block: Block) -> bool:
    """Whether the author's signature verifies. Whether the key may write at all is for `rules.py`."""
    return is_signed(block.author, block.signed, block.signature)
