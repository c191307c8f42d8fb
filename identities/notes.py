"""Notes: what the devices of an identity tell each other on its chain, sealed under an epoch's storage key.

A note is small: that there is a group, or a contact. Whoever has the epoch's keys reads it, a device that joins later only
when it is granted them. It gives nobody a right. Pure.
"""

from __future__ import annotations

from typing import Any, Final, cast

from nacl import bindings
from nacl.exceptions import CryptoError

from walytis_core import cbor
from walytis_core.errors import InvalidInputError, Reason, RemoteError
from walytis_core.seals import derive

NONCE_BYTES: Final = 24
MAX_TEXT_BYTES: Final = 16_384  # as many as the first block of a group may have
GROUP: Final = "group"
CONTACT: Final = "contact"
_LABEL: Final = "walytis/identities/note/1"


def seal_note(storage: bytes, chain: bytes, epoch: bytes, kind: str, data: bytes, nonce: bytes) -> bytes:
    """Seals a note.

    Args:
        storage: The epoch's storage key.
        chain: The identity's chain.
        epoch: The epoch's id.
        kind: What it is about: `GROUP`, `CONTACT`, or an app's own.
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


def _bound(chain: bytes, epoch: bytes) -> bytes:
    return cbor.encode([_LABEL, chain, epoch])
