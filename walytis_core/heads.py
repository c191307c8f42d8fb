"""The head of a fold: the one durable value that names all else that is kept of it, and under which name it is kept.

Layout: a fixed part, behind it what has no fixed length, and CBOR of what a small fold has none of. Each version of each
object writes one, so nothing is written or read here piece by piece. It knows no entries and no states.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from struct import Struct, error
from typing import Any, Final, NamedTuple

from walytis_core.cbor import pack, unpack
from walytis_core.errors import RemoteError, StorageError
from walytis_core.layer import Key

_FIXED: Final = Struct(">BBQQIIIII")
_NAME_BYTES: Final = 16
_NONE, _BYTES, _TEXT = range(3)


class Head(NamedTuple):
    """What is kept of a fold.

    Attributes:
        key: The key of all its blocks.
        is_waiting: Whether an entry may wait.
        next: The first number that it has not given to a segment or snapshot.
        obeyed: How many entries are obeyed.
        at: The place up to which the state goes; empty where that could not be written.
        state: The state.
        size, last: The last segment.
        snapshots, segments: The others, flat.
    """

    key: Key
    is_waiting: bool
    next: int
    obeyed: int
    at: bytes
    state: bytes
    size: int
    last: bytes
    snapshots: Sequence[Any] = ()
    segments: Sequence[Any] = ()


def name_of(key: Key) -> str:
    """What stands for a key in the keys of the store."""
    kind, data = (b"n", b"") if key is None else (b"b", key) if isinstance(key, bytes) else (b"t", key.encode())
    digest = hashlib.sha256(kind + data).digest()[:_NAME_BYTES]
    return digest[:1].hex() + urlsafe_b64encode(digest[1:]).decode()  # short, since an index holds millions


def write(head: Head) -> bytes:
    """A head as bytes."""
    key, is_waiting, next, obeyed, at, state, size, last, snapshots, segments = head
    kind, name = (_NONE, b"") if key is None else (_BYTES, key) if isinstance(key, bytes) else (_TEXT, key.encode())
    fixed = _FIXED.pack(kind, is_waiting, next, obeyed, len(name), len(at), len(state), size, len(last))
    more = pack([snapshots, segments]) if snapshots or segments else b""
    return b"".join((fixed, name, at, state, last, more))


def read(data: bytes) -> Head:
    """Reads what `write` has written. Raises `StorageError`."""
    try:
        kind, is_waiting, next, obeyed, name, at, state, size, last = _FIXED.unpack_from(data)
        at_start = _FIXED.size + name
        state_start = at_start + at
        last_start = state_start + state
        end = last_start + last
        raw = data[_FIXED.size : at_start]
        key = raw if kind == _BYTES else raw.decode() if kind == _TEXT else None
        more: Any = unpack(data[end:]) if len(data) != end else ((), ())
        snapshots, segments = more
    except (error, ValueError, TypeError, RemoteError) as cause:
        raise StorageError("a saved view cannot be read", hint="Open the node again: it is made anew then.") from cause
    at, state = data[at_start:state_start], data[state_start:last_start]
    return Head(key, is_waiting > 0, next, obeyed, at, state, size, data[last_start:end], snapshots, segments)
