"""Notes: what the devices of an identity tell each other on its chain, sealed under an epoch's storage key.

A note is small: that there is a group, or a contact, or what a chain was called where it was made. Whoever has the epoch's
keys reads it, a device that joins later only when it is granted them. It gives nobody a right. Pure.
"""

from __future__ import annotations

from typing import Any, Final, cast

from nacl import bindings
from nacl.exceptions import CryptoError

from walytis_core import cbor
from walytis_core.cid import is_block_id
from walytis_core.errors import InvalidInputError, Reason, RemoteError
from walytis_core.invitation import suggest_name
from walytis_core.seals import derive

NONCE_BYTES: Final = 24
MAX_TEXT_BYTES: Final = 16_384  # as many as the first block of a group may have
GROUP: Final = "group"
CONTACT: Final = "contact"
NAME: Final = "name"
_LABEL: Final = "walytis/identities/note/1"
_MAX_NAMING_BYTES: Final = 128


def seal_note(storage: bytes, chain: bytes, epoch: bytes, kind: str, data: bytes, nonce: bytes) -> bytes:
    """Seals a note.

    Args:
        storage: The epoch's storage key.
        chain: The identity's chain.
        epoch: The epoch's id.
        kind: What it is about: `GROUP`, `CONTACT`, `NAME`, or an app's own.
        data: At most 16 384 bytes.
        nonce: 24 random bytes, never used before.
    """
    if len(data) > MAX_TEXT_BYTES or len(nonce) != NONCE_BYTES or len(kind) > 64:
        raise InvalidInputError(f"a note has at most {MAX_TEXT_BYTES} bytes, and a kind of at most 64 characters")
    key, bound = derive(storage, "identities/note"), _bound(chain, epoch)
    plain = cbor.encode([kind, data])
    return nonce + bytes(bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, bound, nonce, key))


def open_note(storage: bytes, chain: bytes, epoch: bytes, sealed: bytes) -> tuple[str, bytes]:
    """The kind of a note, and what it says. Raises `RemoteError` (`BAD_SEAL`, `BAD_MESSAGE`)."""
    key, bound = derive(storage, "identities/note"), _bound(chain, epoch)
    nonce, box = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        plain = bytes(bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(box, bound, nonce, key))
    except (CryptoError, ValueError) as error:
        raise RemoteError(Reason.BAD_SEAL) from error
    match cast(Any, cbor.decode(plain, max_bytes=MAX_TEXT_BYTES + 256, max_depth=1)):
        case [str(kind), bytes(data)]:
            return kind, data
    raise RemoteError(Reason.BAD_MESSAGE)


def name_note(chain: bytes, name: str) -> bytes | None:
    """What a note of the kind `NAME` says: what a chain is called here; None where it is a name that nobody would take."""
    data = cbor.encode([bytes(chain), suggest_name(name)])
    try:
        read_name(data)
    except RemoteError:
        return None
    return data


def read_name(data: bytes) -> tuple[bytes, str]:
    """A chain's id, and the name that is suggested for it: printable, and shorter than any id.

    Raises `RemoteError` (`BAD_MESSAGE`).
    """
    match cast(Any, cbor.decode(data, max_bytes=_MAX_NAMING_BYTES, max_depth=1)):
        case [bytes(chain), str(name)] if is_block_id(chain) and name and name == suggest_name(name):
            return chain, name
    raise RemoteError(Reason.BAD_MESSAGE)


def _bound(chain: bytes, epoch: bytes) -> bytes:
    return cbor.encode([_LABEL, chain, epoch])
