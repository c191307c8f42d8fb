"""The judge of the block reader: a general CBOR decoder behind refusals, exact types, and re-encoding.

Slow and written another way than `walytis_core/block.py`, from the layout in docs/spec/block.md alone: bytes are a block
exactly when a general decoder reads them as values of the right types and limits whose canonical form are these bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import cbor2

MAX_INT = 2**53 - 1
_BUILT_IN_TAGS = (
    *(0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54),
    *(100, 256, 258, 260, 261, 1004, 43000, 55799),
)  # fmt: skip


class _Link(bytes):
    """A CID behind tag 42."""


class _Refused(Exception):  # noqa: N818 - never leaves this file
    """Not a value of the layout."""


def _refuse(*_: object) -> NoReturn:
    raise _Refused


def _read_link(value: object, _immutable: object) -> _Link:
    if type(value) is not bytes or len(value) != 37 or value[0] != 0:
        raise _Refused
    return _Link(value[1:])


def _write_link(encoder: cbor2.CBOREncoder, value: _Link) -> None:
    encoder.encode_semantic(42, b"\0" + value)


_TAGS: Mapping[int, Any] = {**dict.fromkeys(_BUILT_IN_TAGS, _refuse), 42: _read_link}


def is_block(data: bytes) -> bool:
    """Whether bytes are a block of version 1. The signature is not looked at."""
    if not 68 <= len(data) <= 64 * 1024 or data[:1] != b"\x82" or data[-66:-64] != b"\x58\x40":
        return False
    header_bytes = data[1:-66]
    try:
        header = cbor2.loads(
            header_bytes, semantic_decoders=_TAGS, tag_hook=_refuse, max_depth=3, allow_indefinite=False,
            allow_duplicate_keys=False, strict_hashable_types=True,
        )  # fmt: skip
    except (cbor2.CBORDecodeError, _Refused):
        return False
    if type(header) is not list or len(header) != 12 or not all(_judge(header)):
        return False
    return cbor2.dumps(header, canonical=True, encoders={_Link: _write_link}) == header_bytes


def _judge(header: list[Any]) -> list[bool]:
    v, chain, author, seq, prev, parents, height, time, type_, topics, payload, ext = header
    return [
        type(v) is int and v == 1,
        chain is None or _is_link(chain),
        type(author) is bytes and len(author) == 34 and author[:2] == b"\xed\x01",
        _is_uint(seq),
        prev is None or _is_link(prev),
        _are_parents(parents, prev),
        _is_uint(height),
        _is_uint(time, 253_402_300_799_999),
        _is_text(type_, 0, 128),
        _are_topics(topics),
        _is_payload(payload),
        _is_ext(ext),
        (chain is None and prev is None and (seq, parents, height) == (0, [], 0)) or None not in (chain, prev),
    ]


def _is_uint(value: object, most: int = MAX_INT) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_link(value: object, codecs: bytes = b"\x71") -> bool:
    return type(value) is _Link and value[:1] == b"\x01" and value[1] in codecs and value[2:4] == b"\x12\x20"


def _is_text(value: object, least: int, most: int) -> bool:
    return type(value) is str and least <= len(value.encode("utf-8", "surrogatepass")) <= most


def _are_parents(value: object, prev: object) -> bool:
    if type(value) is not list or len(value) > 64 or not all(_is_link(one) for one in value):
        return False
    return value == sorted(set(value)) and prev not in value


def _are_topics(value: object) -> bool:
    if type(value) is not list or len(value) > 16:
        return False
    return all(_is_text(one, 1, 256) for one in value) and len(set(value)) == len(value)


def _is_payload(value: object) -> bool:
    if type(value) is bytes:
        return len(value) <= 32 * 1024
    if type(value) is not list or len(value) != 2:
        return False
    return _is_link(value[0], b"\x70\x55") and _is_uint(value[1], 1 << 40)


def _is_ext(value: object) -> bool:
    if type(value) is not dict:
        return False
    plain = all(type(key) is str and type(data) is bytes for key, data in value.items())
    return plain and len(cbor2.dumps(value, canonical=True)) <= 1024
