"""Block signatures: one scheme, one verifier.

Ed25519 by libsodium decides for the protocol; a second verifier would disagree on edge cases and split chains
(docs/adr/0002-one-verifier.md). Keys are multikeys: `ed 01` and the 32 bytes of the public key. Signatures are
over ``b"walytis/block/1" + header bytes``. This file knows nothing of what is signed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Final, Protocol

from nacl import bindings
from nacl.exceptions import BadSignatureError

SIGNATURE_BYTES: Final = 64
AUTHOR_BYTES: Final = 34
MULTIKEY_PREFIX: Final = b"\xed\x01"
BLOCK_CONTEXT: Final = b"walytis/block/1"


class Signer(Protocol):
    """Signs for one author. Layers bring their own; the core makes a fresh one for each chain."""

    @property
    def key(self) -> bytes:
        """The author's multikey, 34 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """A 64-byte Ed25519 signature of `message` (RFC 8032)."""
        ...


class Reluctant(ABC):
    """A signer that does not sign at all times: it is asked before blocks are made, and then signs what was begun."""

    key: bytes
    """The author's multikey, 34 bytes."""

    @abstractmethod
    def require_ready(self) -> None:
        """Raises a `LocalError` while blocks are not to be made with this key. Called under the chain's lock."""

    @abstractmethod
    def sign(self, message: bytes) -> bytes:
        """A 64-byte Ed25519 signature of `message`."""


class Ed25519Signer:
    """A signer that holds its secret in memory.

    Args:
        seed: The 32-byte secret seed (RFC 8032, section 5.1.5).

    >>> signer = Ed25519Signer(bytes(32))
    >>> is_signed(signer.key, b"hello", signer.sign(b"hello"))
    True
    """

    __slots__ = ("_secret", "key")

    def __init__(self, seed: bytes) -> None:
        public, self._secret = bindings.crypto_sign_seed_keypair(seed)
        self.key: bytes = MULTIKEY_PREFIX + public

    def sign(self, message: bytes) -> bytes:
        """A 64-byte Ed25519 signature of `message`."""
        signed: bytes = bindings.crypto_sign(message, self._secret)
        return signed[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.key.hex()[4:12]}...)"


def is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` by the multikey `key` over `message` verifies."""
    try:
        bindings.crypto_sign_open(signature + message, key[2:])
    except BadSignatureError:
        return False
    return True


@lru_cache(maxsize=1024)  # it costs more than a signature check, and the same keys are met again and again
def is_author_key(key: bytes) -> bool:
    """Whether a multikey may be an author: Ed25519, a canonical point of the main subgroup, not of small order."""
    return (
        len(key) == AUTHOR_BYTES
        and key[:2] == MULTIKEY_PREFIX
        and bool(bindings.crypto_core_ed25519_is_valid_point(key[2:]))
    )
