"""The suites of identities: published vectors, a second implementation, and everything that must not verify or open."""

from __future__ import annotations

import doctest
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st
from pqcrypto.kem import ml_kem_768
from pqcrypto.sign import ml_dsa_65

from identities import suites
from identities.suites import (
    COMPOSITE,
    ED25519,
    MAX_CONTEXT_CHARS,
    SEAL_OVERHEAD,
    SEALING_KEY_BYTES,
    XWING,
    SealingKey,
    SigningKey,
    is_sealing_key,
    is_signing_key,
    key_id,
    seal_to,
    verify,
)
from walytis_core.errors import InvalidInputError, Reason, RemoteError
from walytis_core.signer import MULTIKEY_PREFIX, Ed25519Signer, is_signed

VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/identity-keys.json").read_text())
PUBLISHED = Path(cryptography_vectors.__file__).parent
SEED, OTHER_SEED = bytes(range(32)), bytes(range(1, 33))
SUITES = (ED25519, COMPOSITE)
MLDSA_PUBLIC, MLDSA_SIGNATURE = 1952, 3309
KEYS = {suite: SigningKey.from_seed(suite, SEED) for suite in SUITES}
SEALING = SealingKey.from_seed(SEED)
CONTEXT, MESSAGE = "walytis/test", b"a message"
SIGNATURES = {suite: key.sign(CONTEXT, MESSAGE) for suite, key in KEYS.items()}
BOX = seal_to(SEALING.public, b"info", MESSAGE)
both = pytest.mark.parametrize("suite", SUITES)
unknown = pytest.mark.parametrize("suite", [0, 3, 4, -1, 255, 2**40, True, None, "1"], ids=repr)


def refused(call: Callable[..., Any], *args: Any) -> Reason:
    with pytest.raises(RemoteError) as info:
        call(*args)
    return info.value.reason


def verified(suite: int, signature: bytes, message: bytes = MESSAGE, context: str = CONTEXT) -> None:
    verify(suite, KEYS[suite].public, context, message, signature)


# --- published vectors, and a second implementation -----------------------------------------------------------------


def known_answers(path: str) -> Iterator[dict[str, bytes]]:
    """The first twenty cases of a file of NIST's form."""
    for case in islice((PUBLISHED / path).read_text().split("count = ")[1:], 20):
        fields = dict(re.findall(r"^(\w+) = (.*)$", case, flags=re.MULTILINE))
        yield {name: bytes.fromhex(value) for name, value in fields.items() if name not in ("mlen", "smlen")}


def test_mldsa65_gives_the_known_answers_in_two_implementations() -> None:
    for case in known_answers("asymmetric/MLDSA/kat_MLDSA_65_det_pure.rsp"):
        signature, ctx = case["sm"][:MLDSA_SIGNATURE], case["ctx"]
        assert MLDSA65PrivateKey.from_seed_bytes(case["xi"]).public_key().public_bytes_raw() == case["pk"]
        MLDSA65PublicKey.from_public_bytes(case["pk"]).verify(signature, case["msg"], ctx)
        ml_dsa_65.verify(case["pk"], case["msg"], signature, ctx)  # raises when it does not verify


def test_mlkem768_gives_the_known_answers_in_two_implementations() -> None:
    for case in known_answers("asymmetric/MLKEM/kat_MLKEM_768.rsp"):
        private = MLKEM768PrivateKey.from_seed_bytes(case["d"] + case["z"])
        assert private.public_key().public_bytes_raw() == case["pk"]
        for ciphertext, shared in ((case["ct"], case["ss"]), (case["ct_n"], case["ss_n"])):
            assert private.decapsulate(ciphertext) == shared
            assert ml_kem_768.decaps(case["sk"], ciphertext) == shared


def test_a_composite_signature_of_the_draft_verifies() -> None:
    """I03: and only whole: each part decides."""
    case = {name: bytes.fromhex(value) for name, value in VECTORS["published"]["composite"].items() if name != "source"}
    secret, message, signature = case["secret"], case["message"], case["signature"]
    public = MLDSA65PrivateKey.from_seed_bytes(secret[:32]).public_key().public_bytes_raw()
    public += Ed25519Signer(secret[32:]).key[2:]
    judge = suites._Composite.verifies
    assert judge(public, b"", message, signature)
    assert not judge(public, b"x", message, signature)
    for at in (0, MLDSA_SIGNATURE - 1, MLDSA_SIGNATURE, len(signature) - 1):
        assert not judge(public, b"", message, flipped(signature, 8 * at))


@both
def test_signing_keys_and_signatures_are_those_of_the_specification(suite: int) -> None:
    case = VECTORS["signing"][suite - 1]
    key = SigningKey.from_seed(case["suite"], bytes.fromhex(case["seed"]))
    assert (key.suite, key.public.hex(), key.id.hex()) == (suite, case["public"], case["id"])
    message, signature = bytes.fromhex(case["message"]), bytes.fromhex(case["signature"])
    verify(suite, key.public, case["context"], message, signature)
    if suite == ED25519:
        assert key.sign(case["context"], message) == signature


def test_a_second_implementation_agrees_with_both_parts_of_a_composite() -> None:
    """I03: what a part signs, made and judged by other code."""
    digest = hashlib.sha512(MESSAGE).digest()
    label = b"COMPSIG-MLDSA65-Ed25519-SHA512"
    signed = b"CompositeAlgorithmSignatures2025" + label + bytes([len(CONTEXT)]) + CONTEXT.encode() + digest
    public, signature = KEYS[COMPOSITE].public, SIGNATURES[COMPOSITE]
    ml_dsa_65.verify(public[:MLDSA_PUBLIC], signed, signature[:MLDSA_SIGNATURE], label)
    assert is_signed(MULTIKEY_PREFIX + public[MLDSA_PUBLIC:], signed, signature[MLDSA_SIGNATURE:])
    mldsa_public, mldsa_secret = ml_dsa_65.keygen()
    signer = Ed25519Signer(OTHER_SEED)
    composite = bytes(ml_dsa_65.sign(mldsa_secret, signed, label)) + signer.sign(signed)
    verify(COMPOSITE, bytes(mldsa_public) + signer.key[2:], CONTEXT, MESSAGE, composite)


# --- an X-Wing and an HPKE of our own, after the drafts: to say what a reader of one part knows -----------------------


def combine(mlkem: bytes, x25519: bytes, encapsulated: bytes, public: bytes) -> bytes:
    """X-Wing's shared secret (draft-connolly-cfrg-xwing-kem, section 5.3)."""
    return hashlib.sha3_256(mlkem + x25519 + encapsulated[1088:] + public[1184:] + rb"\.//^" + b"\\").digest()


def schedule(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and nonce of HPKE in base mode (RFC 9180, section 5.1), for our one suite."""
    suite_id = b"HPKE" + bytes.fromhex("647a00010003")

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite_id + label + ikm, "sha256")

    def expand(key: bytes, label: bytes, context: bytes, length: int) -> bytes:
        labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + context
        return hmac.digest(key, labelled + b"\1", "sha256")[:length]

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    return expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)


def parts(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])


def shares(seed: bytes, encapsulated: bytes) -> tuple[bytes, bytes]:
    mlkem, x25519 = parts(seed)
    return mlkem.decapsulate(encapsulated[:1088]), x25519.exchange(
        X25519PublicKey.from_public_bytes(encapsulated[1088:])
    )


def test_xwing_is_that_of_the_draft() -> None:
    case = {name: bytes.fromhex(value) for name, value in VECTORS["published"]["xwing"].items() if name != "source"}
    key = SealingKey.from_seed(case["seed"])
    assert hashlib.sha256(key.public).digest() == case["public_sha256"]
    mlkem, x25519 = shares(case["seed"], case["encapsulated"])
    assert combine(mlkem, x25519, case["encapsulated"], key.public) == case["shared"]
    aead, nonce = schedule(case["shared"], b"info")
    sealed = case["encapsulated"] + ChaCha20Poly1305(aead).encrypt(nonce, MESSAGE, None)
    assert key.open(b"info", sealed) == MESSAGE, "the library agrees with the draft"


def test_hpke_over_xwing_is_that_of_its_published_vector() -> None:
    cases = json.loads((PUBLISHED / "HPKE/hpke-pq-test-vectors.json").read_text())
    (case,) = (each for each in cases if (each["kem_id"], each["kdf_id"], each["aead_id"]) == (0x647A, 1, 3))
    raw = {name: bytes.fromhex(value) for name, value in case.items() if isinstance(value, str)}
    key = SealingKey.from_seed(raw["skRm"])
    assert key.public == raw["pkRm"]
    assert combine(*shares(raw["skRm"], raw["enc"]), raw["enc"], key.public) == raw["shared_secret"]
    aead, nonce = schedule(raw["shared_secret"], raw["info"])
    assert (aead, nonce) == (raw["key"], raw["base_nonce"])
    assert key.open(raw["info"], raw["enc"] + ChaCha20Poly1305(aead).encrypt(nonce, MESSAGE, None)) == MESSAGE


def test_sealing_keys_and_seals_are_those_of_the_specification() -> None:
    case = VECTORS["sealing"]
    key = SealingKey.from_seed(bytes.fromhex(case["seed"]))
    assert (key.suite, key.public.hex(), key.id.hex()) == (case["suite"], case["public"], case["id"])
    assert key.open(bytes.fromhex(case["info"]), bytes.fromhex(case["sealed"])) == bytes.fromhex(case["plaintext"])


# --- signatures -------------------------------------------------------------------------------------------------------


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ 1 << (8 * len(data) - 1 - bit)).to_bytes(len(data), "big")


@both
@given(context=st.text(st.characters(codec="ascii"), min_size=1, max_size=MAX_CONTEXT_CHARS), message=st.binary())
@settings(max_examples=25)
def test_what_a_key_signs_verifies(suite: int, context: str, message: bytes) -> None:
    verify(suite, KEYS[suite].public, context, message, KEYS[suite].sign(context, message))


@both
@given(data=st.data())
def test_no_bit_can_be_changed(suite: int, data: st.DataObject) -> None:
    """I03: in either part of a composite."""
    signature = SIGNATURES[suite]
    bit = data.draw(st.integers(0, 8 * len(signature) - 1))
    assert refused(verified, suite, flipped(signature, bit)) is Reason.BAD_SIGNATURE


def missing_parts() -> dict[str, bytes]:
    whole = SIGNATURES[COMPOSITE]
    mldsa, classic = whole[:MLDSA_SIGNATURE], whole[MLDSA_SIGNATURE:]
    elsewhere = KEYS[COMPOSITE].sign("walytis/other", MESSAGE)
    later = KEYS[COMPOSITE].sign(CONTEXT, b"another message")
    stranger = SigningKey.from_seed(COMPOSITE, OTHER_SEED).sign(CONTEXT, MESSAGE)
    return {
        "nothing": b"",
        "ML-DSA alone": mldsa,
        "Ed25519 alone": classic,
        "a zeroed Ed25519": mldsa + bytes(64),
        "a zeroed ML-DSA": bytes(MLDSA_SIGNATURE) + classic,
        "swapped": classic + mldsa,
        "one byte more": whole + b"\0",
        "one byte less": whole[:-1],
        "twice the Ed25519": mldsa + classic + classic,
        "Ed25519 for another use": mldsa + elsewhere[MLDSA_SIGNATURE:],
        "ML-DSA for another use": elsewhere[:MLDSA_SIGNATURE] + classic,
        "Ed25519 of another message": mldsa + later[MLDSA_SIGNATURE:],
        "ML-DSA of another message": later[:MLDSA_SIGNATURE] + classic,
        "Ed25519 of another key": mldsa + stranger[MLDSA_SIGNATURE:],
        "ML-DSA of another key": stranger[:MLDSA_SIGNATURE] + classic,
        "Ed25519 of suite 1": mldsa + SIGNATURES[ED25519],
        "suite 1": SIGNATURES[ED25519],
    }


@pytest.mark.parametrize("signature", [pytest.param(value, id=name) for name, value in missing_parts().items()])
def test_a_composite_without_both_its_parts_is_refused(signature: bytes) -> None:
    """I03."""
    verified(COMPOSITE, SIGNATURES[COMPOSITE])
    assert refused(verified, COMPOSITE, signature) is Reason.BAD_SIGNATURE


def test_two_signatures_of_one_message_may_be_mixed_and_so_are_no_id() -> None:
    """Why the module says that no id may hold a composite signature: what is mixed still verifies."""
    again = KEYS[COMPOSITE].sign(CONTEXT, MESSAGE)
    mixed = again[:MLDSA_SIGNATURE] + SIGNATURES[COMPOSITE][MLDSA_SIGNATURE:]
    assert mixed != SIGNATURES[COMPOSITE]
    verified(COMPOSITE, mixed)


@both
def test_a_signature_is_for_one_use_message_key_and_suite(suite: int) -> None:
    """I03."""
    key, signature = KEYS[suite], SIGNATURES[suite]
    assert refused(verified, suite, signature, b"a massage") is Reason.BAD_SIGNATURE
    assert refused(verified, suite, signature, MESSAGE, "walytis/tess") is Reason.BAD_SIGNATURE
    stranger = SigningKey.from_seed(suite, OTHER_SEED).public
    assert refused(verify, suite, stranger, CONTEXT, MESSAGE, signature) is Reason.BAD_SIGNATURE
    for other in {*SUITES} - {suite}:
        for public in (key.public, KEYS[other].public, key.public[-32:]):
            assert refused(verify, other, public, CONTEXT, MESSAGE, signature) is Reason.BAD_SIGNATURE


@both
def test_a_key_has_one_form(suite: int) -> None:
    """libsodium looks at no length: a key with a tail would verify all that the key itself does."""
    public = KEYS[suite].public
    for other in (public + b"\0", public[:-1], b"\0" + public, b""):
        assert refused(verify, suite, other, CONTEXT, MESSAGE, SIGNATURES[suite]) is Reason.BAD_SIGNATURE


def test_a_part_of_a_composite_is_no_signature_of_suite_1() -> None:
    """I03: even where somebody passes the part of the key off as one of suite 1."""
    public, signature = KEYS[COMPOSITE].public[MLDSA_PUBLIC:], SIGNATURES[COMPOSITE][MLDSA_SIGNATURE:]
    assert refused(verify, ED25519, public, CONTEXT, MESSAGE, signature) is Reason.BAD_SIGNATURE


@both
def test_where_the_context_ends_is_signed(suite: int) -> None:
    signature = KEYS[suite].sign("ab", b"c")
    assert refused(verify, suite, KEYS[suite].public, "a", b"bc", signature) is Reason.BAD_SIGNATURE


@both
@given(public=st.binary(max_size=40) | st.binary(min_size=1984, max_size=1984), signature=st.binary(max_size=80))
def test_no_bytes_make_the_verifier_stumble(suite: int, public: bytes, signature: bytes) -> None:
    assert refused(verify, suite, public, CONTEXT, MESSAGE, signature) is Reason.BAD_SIGNATURE
    for right_size in (bytes(64), SIGNATURES[suite]):
        assert refused(verify, suite, public, CONTEXT, MESSAGE, right_size) is Reason.BAD_SIGNATURE


@unknown
def test_a_suite_that_is_not_in_the_registry_is_unknown(suite: Any) -> None:
    """I03: neither believed, nor called false, nor looked up as another; a sealing suite signs nothing."""
    calls: list[tuple[Any, ...]] = [
        (SigningKey.from_seed, suite, SEED),
        (verify, suite, KEYS[ED25519].public, CONTEXT, MESSAGE, SIGNATURES[ED25519]),
        (is_signing_key, suite, KEYS[ED25519].public),
    ]
    for call, *args in calls + ([(key_id, suite, b"")] if suite != XWING else []):
        assert refused(call, *args) is Reason.UNKNOWN_SUITE


@both
def test_whether_something_is_a_key_is_known_before_it_is_used(suite: int) -> None:
    public = KEYS[suite].public
    assert is_signing_key(suite, public)
    identity_point, not_canonical = b"\1" + bytes(31), b"\xee" + b"\xff" * 30 + b"\x7f"
    for bad in (b"", public[:-1], public + b"\0", public[:-32] + identity_point, public[:-32] + not_canonical):
        assert not is_signing_key(suite, bad)
    for other in {*SUITES} - {suite}:
        assert not is_signing_key(other, public)


# --- keys -------------------------------------------------------------------------------------------------------------


@both
def test_a_seed_makes_one_key_in_each_suite(suite: int) -> None:
    """I26: and nothing of it is used in two: a part of one is no part of the other."""
    assert SigningKey.from_seed(suite, SEED).public == KEYS[suite].public
    assert SigningKey.from_seed(suite, OTHER_SEED).public != KEYS[suite].public
    assert KEYS[ED25519].public not in KEYS[COMPOSITE].public
    assert Ed25519Signer(SEED).key[2:] not in KEYS[suite].public


def test_key_ids_differ_by_suite() -> None:
    ids = {key_id(suite, KEYS[ED25519].public) for suite in (*SUITES, XWING)}
    assert {len(id) for id in ids} == {16}
    assert len(ids) == 3
    assert key_id(ED25519, KEYS[ED25519].public) == KEYS[ED25519].id


@pytest.mark.parametrize("key", [*KEYS.values(), SEALING], ids=repr)
def test_no_representation_shows_a_key(key: SigningKey | SealingKey) -> None:
    assert re.fullmatch(r"(Signing|Sealing)Key\(\d, [0-9a-f]{8}\.\.\.\)", f"{key!r}")
    assert f"{key}" == f"{key!r}"


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)], ids=len)
def test_a_seed_has_32_bytes(seed: bytes) -> None:
    with pytest.raises(InvalidInputError):
        SigningKey.from_seed(ED25519, seed)
    with pytest.raises(InvalidInputError):
        SealingKey.from_seed(seed)


@pytest.mark.parametrize("context", ["", "ü", "x" * (MAX_CONTEXT_CHARS + 1)], ids=len)
def test_a_context_is_short_ascii(context: str) -> None:
    with pytest.raises(InvalidInputError):
        KEYS[ED25519].sign(context, b"")
    with pytest.raises(InvalidInputError):
        verified(ED25519, SIGNATURES[ED25519], context=context)


# --- seals ------------------------------------------------------------------------------------------------------------


@given(info=st.binary(max_size=300), plaintext=st.binary(max_size=300))
@settings(max_examples=25)
def test_what_is_sealed_to_a_key_opens_with_it(info: bytes, plaintext: bytes) -> None:
    sealed = seal_to(SEALING.public, info, plaintext)
    assert len(sealed) == len(plaintext) + SEAL_OVERHEAD
    assert SEALING.open(info, sealed) == plaintext


def test_a_seal_is_for_one_key_and_one_use() -> None:
    assert SEALING.open(b"info", BOX) == MESSAGE
    assert refused(SEALING.open, b"other", BOX) is Reason.BAD_SEAL
    assert refused(SealingKey.from_seed(OTHER_SEED).open, b"info", BOX) is Reason.BAD_SEAL


@given(st.integers(0, 8 * len(BOX) - 1))
def test_no_bit_of_a_seal_can_be_changed(bit: int) -> None:
    assert refused(SEALING.open, b"info", flipped(BOX, bit)) is Reason.BAD_SEAL


@given(st.binary(max_size=100) | st.integers(0, len(BOX) - 1).map(lambda end: BOX[:end]))
def test_no_bytes_make_the_opener_stumble(sealed: bytes) -> None:
    assert refused(SEALING.open, b"info", sealed) is Reason.BAD_SEAL


@pytest.mark.parametrize(
    "public",
    [
        *(b"", bytes(SEALING_KEY_BYTES - 1), bytes(SEALING_KEY_BYTES + 1)),
        b"\xff" * 1184 + SEALING.public[1184:],  # not reduced
        SEALING.public[:1184] + bytes(32),  # of low order
        SEALING.public[:1184] + b"\1" + bytes(31),
    ],
    ids=range(6),
)
def test_nothing_is_sealed_to_what_is_no_key(public: bytes) -> None:
    assert is_sealing_key(SEALING.public)
    assert not is_sealing_key(public)
    assert refused(seal_to, public, b"", b"") is Reason.BAD_KEY


# --- one family broken ------------------------------------------------------------------------------------------------


def forged(*, mldsa: bool, classic: bool) -> bytes:
    """A composite over a message that its key never signed, by who can forge these parts and makes up the rest."""
    victim = KEYS[COMPOSITE].sign(CONTEXT, b"forged")
    own = SigningKey.from_seed(COMPOSITE, OTHER_SEED).sign(CONTEXT, b"forged")
    return (victim if mldsa else own)[:MLDSA_SIGNATURE] + (victim if classic else own)[MLDSA_SIGNATURE:]


def test_who_can_forge_one_family_forges_nothing() -> None:
    """I25: true signatures of one part, as one who broke its family would make them; with both it is a signature."""
    for mldsa, classic in ((True, False), (False, True), (False, False)):
        assert refused(verified, COMPOSITE, forged(mldsa=mldsa, classic=classic), b"forged") is Reason.BAD_SIGNATURE
    verified(COMPOSITE, forged(mldsa=True, classic=True), b"forged")


@pytest.mark.parametrize("broken", ["is_signed", "_is_signed_by_mldsa"])
def test_a_verifier_that_takes_anything_of_one_family_lets_nothing_pass(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I25: each part is asked, and each one's no is the answer."""
    asked: list[bytes] = []

    def take_anything(key: bytes, _message: bytes, _signature: bytes) -> bool:
        asked.append(key)
        return True

    monkeypatch.setattr(suites, broken, take_anything)
    verified(COMPOSITE, SIGNATURES[COMPOSITE])
    assert asked
    assert refused(verified, COMPOSITE, bytes(3373)) is Reason.BAD_SIGNATURE
    assert refused(verified, COMPOSITE, SIGNATURES[COMPOSITE], b"forged") is Reason.BAD_SIGNATURE


def test_who_can_read_one_family_reads_nothing() -> None:
    """I25: with the shared secret of one part, all that is public, and guesses for the other part."""
    encapsulated, box = BOX[:1120], BOX[1120:]
    mlkem, x25519 = shares(SEED, encapsulated)
    other_mlkem, other_x25519 = shares(OTHER_SEED, encapsulated)

    def reads(mlkem: bytes, x25519: bytes) -> bool:
        aead, nonce = schedule(combine(mlkem, x25519, encapsulated, SEALING.public), b"info")
        try:
            return ChaCha20Poly1305(aead).decrypt(nonce, box, None) == MESSAGE
        except InvalidTag:
            return False

    assert reads(mlkem, x25519)
    for guess in (bytes(32), other_x25519, mlkem):
        assert not reads(mlkem, guess)
    for guess in (bytes(32), other_mlkem, x25519):
        assert not reads(guess, x25519)


@pytest.mark.parametrize("stolen", ["mlkem", "x25519"])
def test_half_a_sealing_key_opens_nothing(stolen: str) -> None:
    """I25: one part of the secret key, with one's own in place of the other."""
    (mlkem, x25519), (own_mlkem, own_x25519) = parts(SEED), parts(OTHER_SEED)
    half = SealingKey(mlkem, own_x25519) if stolen == "mlkem" else SealingKey(own_mlkem, x25519)
    assert refused(half.open, b"info", BOX) is Reason.BAD_SEAL
    assert SealingKey(mlkem, x25519).open(b"info", BOX) == MESSAGE


def test_the_examples_run() -> None:
    assert doctest.testmod(suites).failed == 0
