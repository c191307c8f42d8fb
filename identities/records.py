"""What an identity signs, and what is sealed to it, away from its chain.

Theory (docs/spec/identity-keys.md#records): a record is a signature by a control key that says for which identity and by
which key it was made, the key by its id; it carries neither key, nor suite, nor the message. A sealed message says for
which identity and to which of its keys. Whoever reads one asks its own view of that identity for the key, so a key
that came with the message, or that was never the identity's, counts for nothing; the key has its suite, so messages of
every suite are read side by side.

Invariants: what is signed or sealed is bound to version, identity, key, context and message; each has one form, and other
bytes are a `RemoteError`; one key is tried. A sealed message says nothing of who sent it. Whether a key was valid at some
time is the business of `find_key`. This file knows no chain and no fold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from identities.suites import KEY_ID_BYTES, SEAL_OVERHEAD, XWING, SealingKey, SigningKey, key_id, seal_to, verify
from walytis_core import cbor
from walytis_core.cid import BlockId, is_block_id
from walytis_core.errors import InvalidInputError, Reason, RemoteError

VERSION: Final = 1
MAX_CONTEXT_CHARS: Final = 200
MAX_PLAINTEXT_BYTES: Final = 16 << 20
MAX_RECORD_BYTES: Final = 4096  # a composite signature has 3 373
_MAX_SEALED_BYTES: Final = MAX_PLAINTEXT_BYTES + SEAL_OVERHEAD + 128
_VERSION_BYTE: Final = bytes((VERSION,))
_HEAD: Final = bytes((0x84, VERSION, 0x58, 36))  # a list of four, the version, 36 bytes
_KEY_HEAD: Final = bytes((0x40 | KEY_ID_BYTES,))
_SHORT: Final = 0x58  # so many bytes as the next byte says
_SHORTEST_BYTES: Final = 59 + 24
_RECORD: Final = "walytis/record/"
_SEALED: Final = "walytis/sealed/"

FindKey: TypeAlias = Callable[[bytes], tuple[int, bytes] | None]
"""Gives the control signing key of the identity in question that has an id, as (suite, public key); or None."""

FindSealingKey: TypeAlias = Callable[[bytes], SealingKey | None]
"""Gives the secret sealing key that has an id, if it is held here and may be used."""


class Record(NamedTuple):
    """What a record says; nothing of it is verified.

    Attributes:
        did: The chain id of the identity that it says has signed.
        key: The id of the control key.
        signature: By that key, in its suite.
    """

    did: BlockId
    key: bytes
    signature: bytes


class SealedMessage(NamedTuple):
    """What a sealed message says in the clear; nothing of it is verified.

    Attributes:
        did: The chain id of the identity that it is for.
        key: The id of the sealing key.
        box: What opens with that key.
    """

    did: BlockId
    key: bytes
    box: bytes


def sign_record(key: SigningKey, did: BlockId, context: str, message: bytes) -> bytes:
    """A record of `message`, which goes beside it.

    Args:
        key: The identity's current control signing key.
        did: Its chain id.
        context: What the message is signed for: 1 to 200 characters of ASCII, a literal.
        message: What is signed; of any length.

    >>> key, did = SigningKey.from_seed(1, bytes(32)), BlockId.of(b"")
    >>> record = sign_record(key, did, "example", b"hello")
    >>> verify_record(record, {key.id: (key.suite, key.public)}.get, did, "example", b"hello").key == key.id
    True
    """
    signature = key.sign(_use(_RECORD, context), _signed(did, key.id, message))
    return _written(did, key.id, signature)


def read_record(record: bytes) -> Record:
    """What a record says, to learn whose keys to look up.

    Raises:
        RemoteError: `BAD_MESSAGE`, `NEWER_VERSION`.
    """
    return Record(*_read(record, MAX_RECORD_BYTES))


def verify_record(record: bytes, find_key: FindKey, did: BlockId, context: str, message: bytes) -> Record:
    """The record, once it is certain that the identity signed this message for this use.

    Args:
        record: What came with the message.
        find_key: The control keys of `did` that count for the caller.
        did: The chain id of the identity that must have signed.
        context: As it was signed.
        message: As it was signed.

    Raises:
        RemoteError: `BAD_MESSAGE`, `NEWER_VERSION`; `WRONG_IDENTITY`: it names another; `UNKNOWN_KEY`: `find_key` has
            none of this id; `BAD_SIGNATURE`.
    """
    read = read_record(record)
    if read.did != did:
        raise RemoteError(Reason.WRONG_IDENTITY)
    found = find_key(read.key)
    if found is None:
        raise RemoteError(Reason.UNKNOWN_KEY)
    suite, public = found
    verify(suite, public, _use(_RECORD, context), _signed(did, read.key, message), read.signature)
    return read


def seal_message(did: BlockId, public: bytes, context: str, plaintext: bytes) -> bytes:
    """Seals a message to an identity.

    Args:
        did: Its chain id.
        public: The control sealing key of its current epoch.
        context: What it is for: 1 to 200 characters of ASCII, a literal.
        plaintext: At most 16 MiB.

    Raises:
        RemoteError: `BAD_KEY`: that is no such key.
    """
    _require_bytes(plaintext)
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise InvalidInputError(f"a sealed message holds at most {MAX_PLAINTEXT_BYTES} bytes")
    key = key_id(XWING, public)
    return cbor.pack([VERSION, bytes(did), key, seal_to(public, _info(did, key, context), plaintext)])


def read_sealed(sealed: bytes) -> SealedMessage:
    """What a sealed message says in the clear.

    Raises:
        RemoteError: `BAD_MESSAGE`, `NEWER_VERSION`.
    """
    return SealedMessage(*_read(sealed, _MAX_SEALED_BYTES))


def open_message(sealed: bytes, find_key: FindSealingKey, did: BlockId, context: str) -> bytes:
    """What was sealed to an identity.

    Args:
        sealed: The whole of it.
        find_key: The sealing keys of `did` that are held here, of every epoch.
        did: The chain id of the identity that it must be for.
        context: As it was sealed.

    Raises:
        RemoteError: `BAD_MESSAGE`, `NEWER_VERSION`; `WRONG_IDENTITY`: it is for another; `UNKNOWN_KEY`: `find_key` has
            none of this id; `BAD_SEAL`.
    """
    read = read_sealed(sealed)
    if read.did != did:
        raise RemoteError(Reason.WRONG_IDENTITY)
    key = find_key(read.key)
    if key is None:
        raise RemoteError(Reason.UNKNOWN_KEY)
    return key.open(_info(did, read.key, context), read.box)


def _read(data: bytes, max_bytes: int) -> tuple[BlockId, bytes, bytes]:
    """Both are `[version, chain id, key id, bytes]`. Not by `match`: its class patterns cost half of what all else does."""
    if _SHORTEST_BYTES <= len(data) <= MAX_RECORD_BYTES:
        did, key, rest = data[4:40], data[41:57], data[59 if data[57] == _SHORT else 60 :]
        if is_block_id(did) and data == _written(did, key, rest):  # as nearly all are
            return BlockId(did), key, rest
    value: Any = cbor.decode(data, max_bytes=max_bytes, max_depth=1)
    if type(value) is not list or not value or type(value[0]) is not int:
        raise RemoteError(Reason.BAD_MESSAGE)
    version, *fields = value
    if version > VERSION:
        raise RemoteError(Reason.NEWER_VERSION)
    if version != VERSION or list(map(type, fields)) != [bytes, bytes, bytes]:
        raise RemoteError(Reason.BAD_MESSAGE)
    did, key, rest = fields
    if not is_block_id(did) or len(key) != KEY_ID_BYTES:
        raise RemoteError(Reason.BAD_MESSAGE)
    return BlockId(did), key, rest


def _written(did: bytes, key: bytes, rest: bytes) -> bytes:
    """`[version, did, key, rest]` as `cbor.pack` writes it, at a tenth of its price, where `rest` has 24 to 65 535 bytes."""
    length = len(rest)
    head = bytes((_SHORT, length)) if length < 256 else b"\x59" + length.to_bytes(2, "big")
    return b"".join((_HEAD, did, _KEY_HEAD, key, head, rest))


@lru_cache(maxsize=256)  # an app has few contexts
def _use(prefix: str, context: str) -> str:
    if not context.isascii() or not 0 < len(context) <= MAX_CONTEXT_CHARS:
        raise InvalidInputError(f"a context is 1 to {MAX_CONTEXT_CHARS} characters of ASCII")
    return prefix + context


def _require_bytes(message: bytes) -> None:
    if not isinstance(message, bytes | bytearray | memoryview):
        raise InvalidInputError("a message is bytes", hint="Text becomes bytes by `text.encode()`.")


def _signed(did: BlockId, key: bytes, message: bytes) -> bytes:
    _require_bytes(message)
    return b"".join((_VERSION_BYTE, did, key, message))  # all but the last of one length


def _info(did: BlockId, key: bytes, context: str) -> bytes:
    return cbor.encode([_use(_SEALED, context), VERSION, bytes(did), key])
