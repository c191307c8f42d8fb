"""DAG-CBOR for payloads and messages: one way to write a value, and a strict way to read it.

Theory: bytes that others sent go through `cbor2` with every built-in tag refused (some of them run for minutes on
a few kilobytes), then each value is checked to be of exactly one of the types below, then the value is written
again and must give the same bytes. Neither check is enough alone: writing again accepts `True` for 1 and floats
that are numbers here; types alone accept long forms, unsorted maps and trailing bytes.

Invariants: `decode(encode(x)) == x` (with lists for tuples), and `encode(decode(data)) == data`; a value has one
form. Reading costs time and memory in proportion to the bytes given, which the caller bounds. This file knows no
message and no layout; blocks have their own, faster reader (`block.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn, TypeAlias

import cbor2

from walytis_core.cid import CID_BYTES, DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX, Cid
from walytis_core.errors import InvalidInputError, Reason, RemoteError

Value: TypeAlias = "bool | int | str | bytes | Cid | list[Value] | tuple[Value, ...] | dict[str, Value] | None"
"""What DAG-CBOR holds here: no floats, no other tags. Maps have text keys; links are `Cid`."""

MAX_DEPTH: Final = 16
"""Arrays and maps within each other that `encode` writes; `decode` takes what its caller says."""

_LINK_TAG: Final = 42
_MAX_INT: Final = (1 << 53) - 1
_PLAIN: Final = frozenset({bytes, str, bool, type(None), Cid})
_LINK_PREFIXES: Final = frozenset({DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX})
_BUILT_IN_TAGS: Final = (
    *(0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54),
    *(100, 256, 258, 260, 261, 1004, 43000, 55799),
)  # fmt: skip


class _Refused(Exception):  # noqa: N818 - never leaves this file
    """A value that this subset does not have."""


def encode(value: Value) -> bytes:
    """Writes a value in its one canonical form.

    Args:
        value: None, bool, an integer of at most 53 bits, bytes, text, `Cid`, or a list, tuple or dict of these.

    Raises:
        InvalidInputError: It holds something else, or is nested deeper than `MAX_DEPTH`.

    >>> encode([1, b"x", {"b": None, "a": True}]).hex()
    '83014178a26161f56162f6'
    """
    try:
        _check(value, MAX_DEPTH)
        return _dumps(value)
    except _Refused as error:
        raise InvalidInputError(f"cannot be written as DAG-CBOR: {error}") from error
    except UnicodeEncodeError as error:
        raise InvalidInputError("cannot be written as DAG-CBOR: text that UTF-8 cannot hold") from error


def decode(data: bytes, *, max_bytes: int, max_depth: int) -> Value:
    """Reads a value from bytes that anyone may have sent; takes the canonical form only.

    Args:
        data: The bytes, all of them.
        max_bytes: The most that is looked at.
        max_depth: Arrays and maps within each other; 0 takes a single value that is neither.

    Raises:
        RemoteError: `Reason.BAD_MESSAGE`: too long, too deep, not canonical, or not in this subset.
    """
    if len(data) > max_bytes:
        raise RemoteError(Reason.BAD_MESSAGE)
    try:
        value: Value = cbor2.loads(
            data,
            semantic_decoders=_TAGS,
            tag_hook=_refuse,
            max_depth=max_depth + 1,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        _check(value, max_depth)
    except (cbor2.CBORDecodeError, _Refused) as error:
        raise RemoteError(Reason.BAD_MESSAGE) from error
    if _dumps(value) != data:
        raise RemoteError(Reason.BAD_MESSAGE)
    return value


def _dumps(value: Value) -> bytes:
    return cbor2.dumps(value, canonical=True, encoders=_ENCODERS)


def _check(value: object, depth: int) -> None:
    """Refuses every type but ours, by exact type: a bool is no integer, and a subclass is no list."""
    kind = type(value)
    if kind in _PLAIN:
        return
    if kind is int:
        if not -_MAX_INT <= value <= _MAX_INT:  # type: ignore[operator]  # it is an int
            raise _Refused("an integer of more than 53 bits")
        return
    if depth == 0:
        raise _Refused("nested too deep")
    if isinstance(value, list | tuple) and kind in {list, tuple}:
        _check_all(value, depth - 1)
    elif isinstance(value, dict) and kind is dict:
        if not set(map(type, value)) <= {str}:
            raise _Refused("keys of maps are text")
        _check_all(list(value.values()), depth - 1)
    else:
        raise _Refused("a type that it does not have")


def _check_all(values: list[object] | tuple[object, ...], depth: int) -> None:
    if set(map(type, values)) <= _PLAIN:  # most messages are long lists of byte strings
        return
    for value in values:
        _check(value, depth)


def _read_link(value: object, _immutable: bool) -> Cid:
    if type(value) is not bytes or len(value) != CID_BYTES + 1 or value[:1] != b"\0":
        raise _Refused("not a link")
    if value[1:5] not in _LINK_PREFIXES:
        raise _Refused("a link of an unknown form")
    return Cid(value[1:])


def _write_link(encoder: cbor2.CBOREncoder, value: Cid) -> None:
    encoder.encode_semantic(_LINK_TAG, b"\0" + value)


def _refuse(_value: object, _immutable: bool) -> NoReturn:
    raise _Refused("a tag that DAG-CBOR does not have")


_TAGS: Final = {**dict.fromkeys(_BUILT_IN_TAGS, _refuse), _LINK_TAG: _read_link}
_ENCODERS: Final[Mapping[type, cbor2.EncoderHook]] = {Cid: _write_link}
