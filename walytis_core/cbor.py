"""DAG-CBOR for payloads and messages: one way to write a value, and a strict way to read it.

Theory: bytes that others sent go through `cbor2` with every built-in tag refused (some of them run for minutes on
a few kilobytes). Then each value is checked to be of exactly one of the types below, and the whole is written again: only
bytes that come out as they went in are taken, so there is nothing to be said about heads, keys and ends one by one.

Invariants: `decode(encode(x)) == x` (with lists for tuples), and `encode(decode(data)) == data`; a value has one
form. Reading costs time and memory in proportion to the bytes given, which the caller bounds. This file knows no
message and no layout; blocks have their own, faster reader (`block.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias

import cbor2

from walytis_core.cid import Cid, is_ours
from walytis_core.errors import InvalidInputError, Reason, RemoteError

Value: TypeAlias = "bool | int | str | bytes | Cid | list[Value] | tuple[Value, ...] | dict[str, Value] | None"
"""What DAG-CBOR holds here: no floats, no other tags. Maps have text keys; links are `Cid`."""

Writable: TypeAlias = "bool | int | str | bytes | Cid | Sequence[Writable] | Mapping[str, Writable] | None"
"""What `encode` takes: lists and tuples of whatever it takes, too."""

MAX_DEPTH: Final = 16
"""Arrays and maps within each other that `encode` writes; `decode` takes what its caller says."""

_LINK_TAG: Final = 42
_MAX_INT: Final = (1 << 53) - 1
_NESTED: Final[frozenset[type]] = frozenset({list, tuple, dict})
_PLAIN: Final[frozenset[type]] = frozenset({bytes, str, bool, type(None)})
_TEXT: Final[frozenset[type]] = frozenset({str})
_BUILT_IN_TAGS: Final = (
    *(0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54),
    *(100, 256, 258, 260, 261, 1004, 43000, 55799),
)  # fmt: skip


class _Refused(Exception):  # noqa: N818 - never leaves this file
    """A value that this subset does not have."""


def encode(value: Writable) -> bytes:
    """Writes a value in its one canonical form.

    Args:
        value: None, bool, an integer of at most 53 bits, bytes, text, `Cid`, or a list, tuple or dict of these.

    Raises:
        InvalidInputError: It holds something else, or is nested deeper than `MAX_DEPTH`.

    >>> encode([1, b"x", {"b": None, "a": True}]).hex()
    '83014178a26161f56162f6'
    """
    try:
        return _write(value, MAX_DEPTH)
    except _Refused as error:
        raise InvalidInputError(f"cannot be written as DAG-CBOR: {error}") from error
    except UnicodeEncodeError as error:
        raise InvalidInputError("cannot be written as DAG-CBOR: text that UTF-8 cannot hold") from error


def pack(value: Writable) -> bytes:
    """`encode` without its checks, at less than half the price: for plain values without links that are known as such."""
    return cbor2.dumps(value, canonical=True)


def unpack(data: bytes) -> Value:
    """Reads what `encode` or `pack` has written on this device, without asking whether anyone else could have.

    Raises:
        RemoteError: `Reason.BAD_MESSAGE`: no such data.
    """
    try:
        return _load(data, MAX_DEPTH)
    except (cbor2.CBORDecodeError, _Refused) as error:
        raise RemoteError(Reason.BAD_MESSAGE) from error


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
        value = _load(data, max_depth)
        is_canonical = _write(value, max_depth) == data
    except (cbor2.CBORDecodeError, _Refused) as error:
        raise RemoteError(Reason.BAD_MESSAGE) from error
    if not is_canonical:
        raise RemoteError(Reason.BAD_MESSAGE)
    return value


def _load(data: bytes, max_depth: int) -> Value:
    value: Value = cbor2.loads(
        data,
        semantic_decoders=_TAGS,
        tag_hook=_refuse,
        max_depth=max_depth + 1,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    return value


def _write(value: object, depth: int) -> bytes:
    """The canonical form of a value that this subset has; raises `_Refused` for any other."""
    has_links = _check(value, depth)
    return cbor2.dumps(value, canonical=True, encoders=_ENCODERS if has_links else None)  # they cost time


def _check(value: object, depth: int) -> bool:
    """Looks at a value, at what it holds, at what that holds; whether there are links. Raises `_Refused`."""
    links: list[Cid] = []
    level = _below((value,), links)
    while level is not None:
        if depth == 0:
            raise _Refused("nested too deep")
        depth -= 1
        level = _below(level, links)
    return bool(links)


def _below(level: Iterable[Any], links: list[Cid]) -> list[Any] | None:
    """What the lists and maps of a level hold; None when it has neither. The rest must be ours, links are added to some.

    Types are compared exactly: a bool is no integer, and a subclass is no list.
    """
    below: list[Any] | None = None
    for value in level:
        kind = type(value)
        if kind is int:
            if not -_MAX_INT <= value <= _MAX_INT:
                raise _Refused("an integer of more than 53 bits")
        elif kind in _NESTED:
            below = [] if below is None else below
            below += _values(value) if kind is dict else value
        elif kind is Cid:
            links.append(value)
        elif kind not in _PLAIN:
            raise _Refused("a type that it does not have")
    return below


def _values(value: dict[Any, Any]) -> Iterable[Any]:
    if not set(map(type, value)) <= _TEXT:
        raise _Refused("keys of maps are text")
    return value.values()


def _read_link(value: object, _immutable: bool) -> Cid:
    if type(value) is not bytes or value[:1] != b"\0" or not is_ours(value[1:]):
        raise _Refused("not a link, or one of an unknown form")
    return Cid(value[1:])


def _write_link(encoder: cbor2.CBOREncoder, value: Cid) -> None:
    encoder.encode_semantic(_LINK_TAG, b"\0" + value)


def _refuse(_value: object, _immutable: bool) -> NoReturn:
    raise _Refused("a tag that DAG-CBOR does not have")


_TAGS: Final = {**dict.fromkeys(_BUILT_IN_TAGS, _refuse), _LINK_TAG: _read_link}
_ENCODERS: Final[Mapping[type, cbor2.EncoderHook]] = {Cid: _write_link}
