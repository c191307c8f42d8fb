"""The cryptographic suites of identities: who signed, and who can open.

Theory (docs/spec/identity-keys.md): a suite is a small integer whose meaning never changes, and the registry below is
all there is. A public key is always carried as `[suite, bytes]`, so a key has one suite for life; signatures and sealed
bytes never name theirs, and no message chooses how it is judged. Changing algorithms is a change to keys of another
suite. Whatever is signed is bound to a *context*, the use it is signed for.

Invariants: one verifier decides for Ed25519, which is libsodium's. A composite signature holds when both parts do, and
an X-Wing seal opens only for who can do both parts, so breaking one family of algorithms forges and opens nothing. No
`repr` shows a key. Composite signatures are randomised, and can be changed into others that verify: they MUST NOT go
into an id. This file knows neither identities, nor epochs, nor who may use a key.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import ClassVar, Final, Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from walytis_core.errors import InvalidInputError, Reason, RemoteError
from walytis_core.seals import derive
from walytis_core.signer import MULTIKEY_PREFIX, SIGNATURE_BYTES, Ed25519Signer, is_author_key, is_signed

ED25519: Final = 1
COMPOSITE: Final = 2
XWING: Final = 3
SEED_BYTES: Final = 32
KEY_ID_BYTES: Final = 16
MAX_CONTEXT_CHARS: Final = 255  # its length is one byte of what is signed
SEALING_KEY_BYTES: Final = 1184 + 32
SEAL_OVERHEAD: Final = 1088 + 32 + 16  # two encapsulations and the tag
_PUBLIC_BYTES: Final = 32
_MLDSA_PUBLIC_BYTES: Final = 1952
_MLDSA_SIGNATURE_BYTES: Final = 3309
_MLKEM_PUBLIC_BYTES: Final = 1184
_CLASSIC_PREFIX: Final = b"walytis/identities/1"
_COMPOSITE_PREFIX: Final = b"CompositeAlgorithmSignatures2025"
_COMPOSITE_LABEL: Final = b"COMPSIG-MLDSA65-Ed25519-SHA512"
_HPKE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
_KEYS_REMEMBERED: Final = 1024  # the verdict on a key costs up to 0.1 ms, and each is looked at several times
_PROBE: Final = X25519PrivateKey.from_private_bytes(bytes(32))


class _Secret(Protocol):
    """A secret key of one signing suite."""

    public: bytes

    def sign(self, context: bytes, message: bytes) -> bytes: ...


class _Scheme(Protocol):
    """One signing suite: makes secret keys of seeds, and judges what is signed with them."""

    def __call__(self, seed: bytes) -> _Secret: ...

    def verifies(self, public: bytes, context: bytes, message: bytes, signature: bytes) -> bool: ...

    def is_key(self, public: bytes) -> bool: ...


class _Ed25519:
    """Suite 1: Ed25519 (RFC 8032) over a prefix, the context and the message."""

    def __init__(self, seed: bytes) -> None:
        self._signer = Ed25519Signer(derive(seed, "identities/1/ed25519"))
        self.public = self._signer.key[len(MULTIKEY_PREFIX) :]

    def sign(self, context: bytes, message: bytes) -> bytes:
        return self._signer.sign(_classic(context, message))

    @staticmethod
    def verifies(public: bytes, context: bytes, message: bytes, signature: bytes) -> bool:
        if len(public) != _PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
            return False
        return is_signed(MULTIKEY_PREFIX + public, _classic(context, message), signature)

    @staticmethod
    def is_key(public: bytes) -> bool:
        return is_author_key(MULTIKEY_PREFIX + public)


class _Composite:
    """Suite 2: `id-MLDSA65-Ed25519-SHA512` of draft-ietf-lamps-pq-composite-sigs; the ML-DSA-65 part stands first.

    Each part has a seed of its own, and none is shared with suite 1: a part cut out of a composite is worth nothing.
    """

    def __init__(self, seed: bytes) -> None:
        self._mldsa = MLDSA65PrivateKey.from_seed_bytes(derive(seed, "identities/2/mldsa65"))
        self._signer = Ed25519Signer(derive(seed, "identities/2/ed25519"))
        self.public = self._mldsa.public_key().public_bytes_raw() + self._signer.key[len(MULTIKEY_PREFIX) :]

    def sign(self, context: bytes, message: bytes) -> bytes:
        representative = _representative(context, message)
        return self._mldsa.sign(representative, _COMPOSITE_LABEL) + self._signer.sign(representative)

    @staticmethod
    def verifies(public: bytes, context: bytes, message: bytes, signature: bytes) -> bool:
        if len(public) != _MLDSA_PUBLIC_BYTES + _PUBLIC_BYTES:
            return False
        if len(signature) != _MLDSA_SIGNATURE_BYTES + SIGNATURE_BYTES:
            return False
        representative = _representative(context, message)
        classic = MULTIKEY_PREFIX + public[_MLDSA_PUBLIC_BYTES:]
        if not is_signed(classic, representative, signature[_MLDSA_SIGNATURE_BYTES:]):
            return False
        mldsa = public[:_MLDSA_PUBLIC_BYTES]
        return _is_signed_by_mldsa(mldsa, representative, signature[:_MLDSA_SIGNATURE_BYTES])

    @staticmethod
    def is_key(public: bytes) -> bool:
        # every 1 952 bytes are a key of ML-DSA-65 (FIPS 204)
        return len(public) == _MLDSA_PUBLIC_BYTES + _PUBLIC_BYTES and _Ed25519.is_key(public[_MLDSA_PUBLIC_BYTES:])


_SCHEMES: Final[dict[int, _Scheme]] = {ED25519: _Ed25519, COMPOSITE: _Composite}


class SigningKey:
    """A secret signing key of one suite.

    Attributes:
        suite: Its suite.
        public: The public key, without its suite.
        id: `key_id` of it.

    >>> key = SigningKey.from_seed(ED25519, bytes(32))
    >>> verify(key.suite, key.public, "example", b"hello", key.sign("example", b"hello"))
    >>> key
    SigningKey(1, 5adfcdfe...)
    """

    __slots__ = ("_secret", "id", "public", "suite")

    def __init__(self, suite: int, secret: _Secret) -> None:
        self._secret = secret
        self.suite = suite
        self.public = secret.public
        self.id = key_id(suite, secret.public)

    @classmethod
    def from_seed(cls, suite: int, seed: bytes) -> SigningKey:
        """The key that grows from 32 secret bytes: always the same one, and another in each suite.

        Raises:
            RemoteError: `UNKNOWN_SUITE`.
        """
        scheme = _scheme(suite)
        return cls(suite, scheme(_checked(seed)))

    def sign(self, context: str, message: bytes) -> bytes:
        """A signature of `message` for one use.

        Args:
            context: The use: 1 to 255 characters of ASCII, one literal for each kind of thing that is signed.
            message: What is signed.
        """
        return self._secret.sign(_bound(context), message)

    def __repr__(self) -> str:
        return f"SigningKey({self.suite}, {self.id.hex()[:8]}...)"


def verify(suite: int, public: bytes, context: str, message: bytes, signature: bytes) -> None:
    """Does nothing when the signature holds.

    Args:
        suite: That of the key, as known beforehand, never as the message says.
        public: The key, which the caller knows to be the right one.
        context: As it was signed.
        message: As it was signed.
        signature: What is judged.

    Raises:
        RemoteError: `BAD_SIGNATURE`, which says not which part of it; `UNKNOWN_SUITE`.
    """
    if not _scheme(suite).verifies(public, _bound(context), message, signature):
        raise RemoteError(Reason.BAD_SIGNATURE)


@lru_cache(maxsize=_KEYS_REMEMBERED, typed=True)  # True is no suite, and equals 1
def is_signing_key(suite: int, public: bytes) -> bool:
    """Whether this is a key of the suite: of its length, its point canonical and of the main subgroup.

    Raises:
        RemoteError: `UNKNOWN_SUITE`.
    """
    return _scheme(suite).is_key(public)


class SealingKey:
    """A secret X-Wing key: what is sealed to its public key, it opens.

    Attributes:
        suite: `XWING`.
        public: The public key, without its suite.
        id: `key_id` of it.

    >>> key = SealingKey.from_seed(bytes(32))
    >>> key.open(b"example", seal_to(key.public, b"example", b"hello"))
    b'hello'
    """

    __slots__ = ("_private", "id", "public")
    suite: ClassVar[int] = XWING

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._private = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        self.id = key_id(XWING, self.public)

    @classmethod
    def from_seed(cls, seed: bytes) -> SealingKey:
        """The key whose X-Wing decapsulation key these 32 bytes are (draft-connolly-cfrg-xwing-kem, section 5.2)."""
        parts = hashlib.shake_256(_checked(seed)).digest(96)
        return cls(MLKEM768PrivateKey.from_seed_bytes(parts[:64]), X25519PrivateKey.from_private_bytes(parts[64:]))

    def open(self, info: bytes, sealed: bytes) -> bytes:
        """What was sealed to this key with the same `info`.

        Raises:
            RemoteError: `BAD_SEAL`: changed, or sealed to another key or for another use.
        """
        try:
            return _HPKE.decrypt(sealed, self._private, info)
        except (InvalidTag, ValueError) as error:
            raise RemoteError(Reason.BAD_SEAL) from error

    def __repr__(self) -> str:
        return f"SealingKey({self.suite}, {self.id.hex()[:8]}...)"


def seal_to(public: bytes, info: bytes, plaintext: bytes) -> bytes:
    """Seals to a public X-Wing key, by HPKE (RFC 9180) in base mode: it says nothing of who sealed.

    Args:
        public: 1 216 bytes.
        info: What it is bound to: the use, and whatever must be the same where it is opened.
        plaintext: Comes back `SEAL_OVERHEAD` bytes longer.

    Raises:
        RemoteError: `BAD_KEY`: that is no such key.
    """
    try:
        return _HPKE.encrypt(plaintext, _read_xwing(public), info)
    except ValueError as error:
        raise RemoteError(Reason.BAD_KEY) from error


@lru_cache(maxsize=_KEYS_REMEMBERED)
def is_sealing_key(public: bytes) -> bool:
    """Whether this is an X-Wing key: of its length, its ML-KEM part reduced, its X25519 part not of low order."""
    try:
        _read_xwing(public)
        _PROBE.exchange(X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_BYTES:]))
    except ValueError:
        return False
    return True


def key_id(suite: int, public: bytes) -> bytes:
    """By what a key is named where its bytes would be long: the first 16 of SHA-256 over its suite and it.

    Raises:
        RemoteError: `UNKNOWN_SUITE`.
    """
    if suite != XWING:
        _scheme(suite)
    return hashlib.sha256(bytes((suite,)) + public).digest()[:KEY_ID_BYTES]


def _scheme(suite: int) -> _Scheme:
    scheme = _SCHEMES.get(suite) if type(suite) is int else None  # True is no suite
    if scheme is None:
        raise RemoteError(Reason.UNKNOWN_SUITE)
    return scheme


def _checked(seed: bytes) -> bytes:
    if len(seed) != SEED_BYTES:
        raise InvalidInputError(f"the seed of a key has {SEED_BYTES} bytes")
    return seed


@lru_cache(maxsize=256)  # an app has few contexts
def _bound(context: str) -> bytes:
    if not context.isascii() or not 0 < len(context) <= MAX_CONTEXT_CHARS:
        raise InvalidInputError(f"a context is 1 to {MAX_CONTEXT_CHARS} characters of ASCII")
    return context.encode("ascii")


def _classic(context: bytes, message: bytes) -> bytes:
    return b"".join((_CLASSIC_PREFIX, len(context).to_bytes(), context, message))


def _representative(context: bytes, message: bytes) -> bytes:
    """M' of the composite draft, section 2.2: what both parts sign."""
    digest = hashlib.sha512(message).digest()
    return b"".join((_COMPOSITE_PREFIX, _COMPOSITE_LABEL, bytes((len(context),)), context, digest))


def _is_signed_by_mldsa(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        MLDSA65PublicKey.from_public_bytes(public).verify(signature, message, _COMPOSITE_LABEL)
    except InvalidSignature:
        return False
    return True


def _read_xwing(public: bytes) -> hpke.MLKEM768X25519PublicKey:
    """Raises `ValueError` when it is none."""
    mlkem = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_BYTES])
    return hpke.MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_BYTES:]))
