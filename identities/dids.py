"""DIDs as text: `did:walytis:` for an identity, `did:key:` for the key of a device.

Theory (docs/spec/identity-documents.md): the id of a chain certifies its genesis, and that the first keys of the
identity; so the DID of an identity is the id of its chain and nothing else. A `did:key` is a public key itself.

Invariants: each has one form, which is the only one that is read; no path, query or fragment is part of a DID; what is
read as a key can be one. This file knows no chain, and decides nothing about identities.
"""

from __future__ import annotations

from typing import Final

from walytis_core import base58
from walytis_core.cid import BlockId, is_block_id, varint
from walytis_core.errors import InvalidInputError
from walytis_core.signer import MULTIKEY_PREFIX, is_author_key

WALYTIS: Final = "did:walytis:"
KEY: Final = "did:key:"
BASE58: Final = "z"
MLDSA65_PREFIX: Final = varint(0x1211)
"""Multicodec `mldsa-65-pub`."""

_MLDSA65_BYTES: Final = 1952
_MAX_CHARS: Final = 2800  # the longest, of an ML-DSA-65 key, has some 2 680


def did_of(chain: bytes) -> str:
    """The DID of the identity whose chain this is.

    >>> did_of(BlockId.of(b"genesis"))
    'did:walytis:bafyreifo5owuu6lpzqxblxcmmbq3ixwzwnz7e2w7y6mmu7jnrtcydatrry'

    Raises:
        InvalidInputError: It is no block id.
    """
    if not is_block_id(bytes(chain)):
        raise InvalidInputError("a chain id is a block id")
    return WALYTIS + str(BlockId(chain))


def chain_of(did: str) -> BlockId:
    """The chain of the identity with this DID.

    Raises:
        InvalidInputError: It is no `did:walytis`, or has a path, a query or a fragment.
    """
    if not did.startswith(WALYTIS) or len(did) > _MAX_CHARS:
        raise InvalidInputError(f"not a DID of an identity: it does not begin with {WALYTIS}")
    chain = BlockId.parse(did[len(WALYTIS) :])
    if not is_block_id(bytes(chain)):
        raise InvalidInputError("not a DID of an identity: it names no chain")
    return chain


def is_did(did: str) -> bool:
    """Whether this is the DID of an identity."""
    try:
        chain_of(did)
    except InvalidInputError:
        return False
    return True


def multibase(multikey: bytes) -> str:
    """A key with its multicodec before it, in base58, as Multikey has it in `publicKeyMultibase`.

    Raises:
        InvalidInputError: It is neither an Ed25519 nor an ML-DSA-65 key.
    """
    if not is_multikey(multikey):
        raise InvalidInputError("a multikey is an Ed25519 key after ed 01, or an ML-DSA-65 key after 91 24")
    return BASE58 + base58.encode(multikey)


def did_key_of(multikey: bytes) -> str:
    """The `did:key` of a device's block key, or of another public key, with its multicodec before it.

    >>> from walytis_core.signer import Ed25519Signer
    >>> did_key_of(Ed25519Signer(bytes(32)).key)
    'did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp'

    Raises:
        InvalidInputError: It is neither an Ed25519 nor an ML-DSA-65 key.
    """
    return KEY + multibase(multikey)


def key_of(did: str) -> bytes:
    """The key in a `did:key`, with its multicodec before it.

    Raises:
        InvalidInputError: It is no `did:key`, holds a key of another kind, or is not in the form that `did_key_of` gives.
    """
    if not did.startswith(KEY + BASE58) or len(did) > _MAX_CHARS:
        raise InvalidInputError(f"not the DID of a key: it does not begin with {KEY}{BASE58}")
    multikey = base58.decode(did[len(KEY + BASE58) :])
    if not is_multikey(multikey) or did_key_of(multikey) != did:
        raise InvalidInputError("not the DID of a key: it holds neither an Ed25519 nor an ML-DSA-65 key")
    return multikey


def is_multikey(data: bytes) -> bool:
    """Whether this is a public key of a known kind with its multicodec before it."""
    if data.startswith(MULTIKEY_PREFIX):
        return is_author_key(data)
    # every 1 952 bytes are a key of ML-DSA-65 (FIPS 204)
    return data.startswith(MLDSA65_PREFIX) and len(data) == len(MLDSA65_PREFIX) + _MLDSA65_BYTES
