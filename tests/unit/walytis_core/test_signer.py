"""One signature scheme, one verifier: published vectors, small-order points, malleability."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from walytis_core.signer import MULTIKEY_PREFIX, Ed25519Signer, is_author_key, is_signed

# RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature
RFC_8032 = [
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
]  # fmt: skip

# The points of small order of edwards25519, and second encodings of them, as in the published list of libsodium.
SMALL_ORDER = [
    "00" * 32, "01" + "00" * 31, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ec" + "ff" * 30 + "7f", "ed" + "ff" * 30 + "7f", "ee" + "ff" * 30 + "7f",
]  # fmt: skip


@pytest.mark.parametrize(("seed", "key", "message", "signature"), RFC_8032)
def test_published_vectors(seed: str, key: str, message: str, signature: str):
    """C09: signatures are those of RFC 8032, so they are deterministic."""
    signer = Ed25519Signer(bytes.fromhex(seed))
    assert signer.key == MULTIKEY_PREFIX + bytes.fromhex(key)
    assert signer.sign(bytes.fromhex(message)).hex() == signature
    assert is_signed(signer.key, bytes.fromhex(message), bytes.fromhex(signature))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_an_independent_signer_agrees(seed: bytes, message: bytes):
    """C09: OpenSSL makes the same signature; it verifies, and over no other message."""
    signer = Ed25519Signer(seed)
    assert signer.sign(message) == Ed25519PrivateKey.from_private_bytes(seed).sign(message)
    assert is_signed(signer.key, message, signer.sign(message))
    assert not is_signed(signer.key, message + b"x", signer.sign(message))


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_small_order(point: str):
    """C07: small-order author keys are none, in every encoding, and nothing verifies under them."""
    key = MULTIKEY_PREFIX + bytes.fromhex(point)
    assert not is_author_key(key)
    for signature in (bytes(64), bytes.fromhex(SMALL_ORDER[1]) + bytes(32), bytes.fromhex(point) + bytes(32)):
        assert not is_signed(key, b"message", signature)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        bytes(34),
        b"\xed\x01",
        b"\xed\x01" + bytes(31),
        b"\xec\x01" + Ed25519Signer(bytes(32)).key[2:],
        b"\xff" * 34,
    ],
)
def test_what_is_no_author_key(key: bytes):
    """C07: other lengths and other kinds of keys."""
    assert not is_author_key(key)


def test_a_point_outside_the_main_subgroup():
    """C07: a key with a small-order part is no author key."""
    assert is_author_key(Ed25519Signer(bytes(32)).key)
    mixed = sum(is_author_key(MULTIKEY_PREFIX + n.to_bytes(32, "little")) for n in range(2, 200))
    assert mixed < 40  # one in two is on the curve, one in eight of these in the subgroup


def test_a_small_order_point_in_a_signature():
    """C09: a signature whose R has small order is refused, whatever the key."""
    signer = Ed25519Signer(bytes(32))
    assert not is_signed(signer.key, b"", bytes.fromhex(SMALL_ORDER[1]) + bytes(32))


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65)])
def test_signatures_of_other_lengths(signature: bytes):
    """C09: an unsigned message is none."""
    assert not is_signed(Ed25519Signer(bytes(32)).key, b"message", signature)


def test_nothing_secret_is_shown():
    """C47: the text of a signer names its public key."""
    signer = Ed25519Signer(bytes(range(32)))
    assert bytes(range(32)).hex()[:12] not in repr(signer)
    assert signer.key.hex()[4:12] in repr(signer)
