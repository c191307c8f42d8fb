"""The bytes of a keystore: all secrets of a node, sealed under one passphrase (docs/spec/keystore.md).

Theory: Argon2id makes a key of the passphrase, with the salt and the costs that the file begins with. From it grow, by HKDF
and bound to that beginning, a *commitment* that stands in the file, and the key that seals the rest. The commitment tells a
wrong passphrase from damage, and has one passphrase alone open a file, which the cipher by itself would not promise.

Invariants: no byte can be changed unnoticed; costs are looked at before anything is derived, so a file costs a bounded time and
memory whatever it says; a secret is in no message and no `repr`. This file knows no disk and no randomness.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from nacl import bindings
from nacl.exceptions import CryptoError

from walytis_core import cbor
from walytis_core.errors import InvalidInputError, RemoteError, StorageError, UnavailableError, WrongPassphraseError
from walytis_core.seals import derive

SALT_BYTES: Final = 16
NONCE_BYTES: Final = 24
MAX_FILE_BYTES: Final = 16 << 20  # a hundred thousand chains; all of it is rewritten by each change
MAX_PASSPHRASE_BYTES: Final = 1024
MAX_MEMORY_KIB: Final = 512 << 10
MAX_PASSES: Final = 16
MAX_LANES: Final = 16
VERSION: Final = 1

_MAGIC: Final = b"walytkey"
_HEAD: Final = struct.Struct(f">8sBIHB{SALT_BYTES}s")
_COMMITMENT_BYTES: Final = 32
_TAG_BYTES: Final = 16
_SUM_BYTES: Final = 32
_BODY_AT: Final = _HEAD.size + _COMMITMENT_BYTES + NONCE_BYTES
_MIN_BYTES: Final = _BODY_AT + 1 + _TAG_BYTES + _SUM_BYTES
_RESTORE: Final = "Put the file back from a back-up of the directory."


class Costs(NamedTuple):
    """What a guess at the passphrase costs (RFC 9106): as its second recommended choice where left out, some 0.15 s.

    Attributes:
        memory_kib: Memory, in KiB; at least 8 for each lane.
        passes: How often it is filled.
        lanes: How many threads may fill it.
    """

    memory_kib: int = 64 << 10
    passes: int = 3
    lanes: int = 4

    @property
    def are_bearable(self) -> bool:
        """Whether they are within the caps of this version, and Argon2 has them at all."""
        has_lanes = 1 <= self.lanes <= MAX_LANES and 1 <= self.passes <= MAX_PASSES
        return has_lanes and 8 * self.lanes <= self.memory_kib <= MAX_MEMORY_KIB


class PassphraseKey:
    """What a passphrase became: seals any number of versions of one keystore.

    Args:
        passphrase: 1 to `MAX_PASSPHRASE_BYTES` bytes; of text: its UTF-8 in NFC.
        salt: 16 random bytes, fresh for each passphrase.
        costs: What deriving costs, now and at each opening.

    Raises:
        InvalidInputError: The passphrase is empty or too long, or the costs are out of their limits.
        UnavailableError: There is not so much memory now.
    """

    def __init__(self, passphrase: bytes, salt: bytes, costs: Costs) -> None:
        if not 1 <= len(passphrase) <= MAX_PASSPHRASE_BYTES:
            raise InvalidInputError(f"a passphrase has 1 to {MAX_PASSPHRASE_BYTES} bytes")
        if not costs.are_bearable or len(salt) != SALT_BYTES:
            raise InvalidInputError(
                f"a keystore's costs are 8 KiB for each lane to {MAX_MEMORY_KIB} KiB, at most {MAX_PASSES} passes "
                f"and {MAX_LANES} lanes; its salt has {SALT_BYTES} bytes"
            )
        head = _HEAD.pack(_MAGIC, VERSION, *costs, salt)
        key = _stretch(passphrase, salt, costs)
        self._key = derive(key, "keystore/seal", head)
        self.beginning = head + derive(key, "keystore/commitment", head)
        """How each file under this key begins: the head, and the commitment."""

    def seal(self, secrets: Mapping[str, bytes], nonce: bytes) -> bytes:
        """A whole file.

        Args:
            secrets: By name.
            nonce: 24 random bytes, fresh for each file.

        Raises:
            InvalidInputError: A name is not text, or there is no room for so much.
        """
        plain = cbor.encode(secrets)
        if len(nonce) != NONCE_BYTES or len(plain) > MAX_FILE_BYTES - _MIN_BYTES:
            raise InvalidInputError(f"a keystore has at most {MAX_FILE_BYTES} bytes")
        body = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, self.beginning, nonce, self._key)
        file = self.beginning + nonce + bytes(body)
        return file + sha256(file).digest()

    def open_body(self, nonce: bytes, body: bytes) -> dict[str, bytes]:
        """The secrets of a file that begins with this `beginning`.

        Raises:
            StorageError: Damaged: the passphrase is right, and the seal does not open.
        """
        try:
            plain = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(body, self.beginning, nonce, self._key)
            value = cbor.decode(bytes(plain), max_bytes=MAX_FILE_BYTES, max_depth=1)
        except (CryptoError, RemoteError) as error:
            raise _damaged() from error
        if not isinstance(value, dict):
            raise _damaged()
        secrets = {name: secret for name, secret in value.items() if isinstance(secret, bytes)}
        if len(secrets) != len(value):
            raise _damaged()
        return secrets

    def __repr__(self) -> str:
        return "PassphraseKey(...)"


class KeystoreFile(NamedTuple):
    """A keystore's parts, still sealed."""

    costs: Costs
    salt: bytes
    beginning: bytes
    nonce: bytes
    body: bytes

    def unlock(self, passphrase: bytes) -> tuple[PassphraseKey, dict[str, bytes]]:
        """The key, and the secrets by name.

        Raises:
            InvalidInputError: The passphrase is empty or too long.
            WrongPassphraseError: It is not this file's. So says a file whose beginning someone changed with care, too.
            StorageError: Damaged.
            UnavailableError: There is not so much memory now.
        """
        key = PassphraseKey(passphrase, self.salt, self.costs)
        if not hmac.compare_digest(key.beginning, self.beginning):
            raise WrongPassphraseError("the passphrase does not open the keystore")
        return key, key.open_body(self.nonce, self.body)


def read(file: bytes) -> KeystoreFile:
    """Takes a file apart; costs time in proportion to it, whatever it says, for nothing is derived.

    Raises:
        StorageError: It is damaged, no keystore, of a newer version, or asks for more than the caps.
    """
    if file[: len(_MAGIC)] != _MAGIC or not _MIN_BYTES <= len(file) <= MAX_FILE_BYTES:
        raise _damaged()
    if sha256(file[:-_SUM_BYTES]).digest() != file[-_SUM_BYTES:]:
        raise _damaged()
    _, version, memory_kib, passes, lanes, salt = _HEAD.unpack_from(file)
    if version != VERSION:
        raise StorageError("the keystore was written by another version", hint="Open it with a newer version.")
    costs = Costs(memory_kib, passes, lanes)
    if not costs.are_bearable:
        raise StorageError(f"opening the keystore would cost too much memory or time ({memory_kib} KiB)", hint=_RESTORE)
    nonce_at = _BODY_AT - NONCE_BYTES
    return KeystoreFile(costs, salt, file[:nonce_at], file[nonce_at:_BODY_AT], file[_BODY_AT:-_SUM_BYTES])


def _stretch(passphrase: bytes, salt: bytes, costs: Costs) -> bytes:
    argon = Argon2id(
        salt=salt, length=32, iterations=costs.passes, lanes=costs.lanes, memory_cost=costs.memory_kib
    )  # fmt: skip
    try:
        return argon.derive(passphrase)
    except MemoryError as error:
        raise UnavailableError(
            f"there are no {costs.memory_kib >> 10} MiB of memory to open the keystore with",
            hint="End other programs, then try again.",
        ) from error


def _damaged() -> StorageError:
    return StorageError("the keystore is damaged", hint=_RESTORE)
