"""The bytes of a keystore: vectors, every change detected, hostile headers."""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.pwhash import argon2id

from identities import keystore_file
from identities.keystore_file import MAX_MEMORY_KIB, Costs, PassphraseKey, read
from tools.conformance import ROOT
from walytis_core.errors import InvalidInputError, StorageError, UnavailableError, WalytisError, WrongPassphraseError

VECTORS = json.loads((ROOT / "docs" / "spec" / "vectors" / "keystore.json").read_text(encoding="utf-8"))
LIGHT = Costs(8, 1, 1)
PASSPHRASE = b"correct horse battery staple"
FILE = bytes.fromhex(VECTORS["files"][0]["file"])  # under that passphrase
SECRETS = {"node": bytes(range(32)), "author-x": bytes(range(32, 64))}
BEGINNING = 64  # head and commitment
SUM = 32


def made(passphrase: bytes = PASSPHRASE, salt: bytes = bytes(16), costs: Costs = LIGHT) -> bytes:
    return PassphraseKey(passphrase, salt, costs).seal(SECRETS, bytes(24))


def summed(file: bytes) -> bytes:
    """The same, with the checksum that belongs to it: changed by someone who knows the format."""
    return file[:-SUM] + sha256(file[:-SUM]).digest()


def with_costs(memory_kib: int, passes: int, lanes: int) -> bytes:
    return summed(FILE[:9] + struct.pack(">IHB", memory_kib, passes, lanes) + FILE[16:])


@pytest.fixture
def nothing_is_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise AssertionError("something was derived")

    monkeypatch.setattr(keystore_file, "Argon2id", refuse)


@pytest.mark.parametrize("vector", VECTORS["files"], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    """I27: the files of the specification are made, and opened, byte for byte."""
    costs = Costs(int(vector["memory_kib"]), int(vector["passes"]), int(vector["lanes"]))
    secrets = {name: bytes.fromhex(secret) for name, secret in vector["secrets"].items()}
    passphrase, salt = bytes.fromhex(vector["passphrase"]), bytes.fromhex(vector["salt"])
    key = PassphraseKey(passphrase, salt, costs)
    assert key.beginning[32:].hex() == vector["commitment"]
    assert key.seal(secrets, bytes.fromhex(vector["nonce"])).hex() == vector["file"]
    assert read(bytes.fromhex(vector["file"])).unlock(passphrase)[1] == secrets


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_refused_vectors(vector: dict[str, str]) -> None:
    """I27: and these are refused, each as it says."""
    with pytest.raises(WalytisError) as caught:
        read(bytes.fromhex(vector["file"])).unlock(bytes.fromhex(vector["passphrase"]))
    assert type(caught.value).__name__ == vector["error"]


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.binary(max_size=40), max_size=5)
)
def test_what_is_sealed_opens(secrets: dict[str, bytes]) -> None:
    file = PassphraseKey(PASSPHRASE, bytes(16), LIGHT).seal(secrets, bytes(24))
    key, kept = read(file).unlock(PASSPHRASE)
    assert kept == secrets
    assert key.seal(secrets, bytes(24)) == file


def test_a_wrong_passphrase() -> None:
    """I27: refused, and not taken for damage."""
    for wrong in (PASSPHRASE + b" ", PASSPHRASE[:-1], PASSPHRASE.upper(), b"x"):
        with pytest.raises(WrongPassphraseError):
            read(made()).unlock(wrong)


def test_every_flipped_bit_is_damage(nothing_is_derived: None) -> None:
    """I27: noticed before anything is derived, so never taken for a wrong passphrase."""
    for bit in range(8 * len(FILE)):
        changed = bytearray(FILE)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StorageError):
            read(bytes(changed))


def test_every_changed_byte_is_noticed_when_the_checksum_is_changed_too() -> None:
    """I27: whoever writes a good checksum under it gets no further: neither do other costs, nor another salt."""
    file = made()
    for place in range(len(file) - SUM):
        for flip in (1, 2, 128):
            changed = bytearray(file)
            changed[place] ^= flip
            if 9 <= place < BEGINNING:
                expected: tuple[type[Exception], ...] = (StorageError, WrongPassphraseError)
            else:
                expected = (StorageError,)
            with pytest.raises(expected):
                read(summed(bytes(changed))).unlock(PASSPHRASE)


def test_a_right_passphrase_and_a_bad_body_is_damage() -> None:
    """I27: the commitment tells them apart."""
    file = bytearray(made())
    file[-SUM - 1] ^= 1
    with pytest.raises(StorageError):
        read(summed(bytes(file))).unlock(PASSPHRASE)


def test_every_length_is_noticed(nothing_is_derived: None) -> None:
    """I27: truncated anywhere, or with something added."""
    for end in range(len(FILE)):
        with pytest.raises(StorageError):
            read(FILE[:end])
    with pytest.raises(StorageError):
        read(FILE + b"\0")
    with pytest.raises(StorageError):
        read(bytes(keystore_file.MAX_FILE_BYTES + 1))


def test_truncated_with_a_good_checksum() -> None:
    file = made()
    for end in range(len(file) - SUM):
        with pytest.raises(StorageError):
            read(summed(file[:end] + bytes(SUM))).unlock(PASSPHRASE)


@pytest.mark.parametrize(
    "costs",
    [
        (2**32 - 1, 1, 1), (MAX_MEMORY_KIB + 1, 1, 1), (64, 2**16 - 1, 1), (64, 17, 1), (8192, 1, 255), (8192, 1, 17),
        (0, 1, 1), (64, 0, 1), (64, 1, 0), (31, 1, 4),
    ],
)  # fmt: skip
def test_costs_are_capped_before_deriving(costs: tuple[int, int, int], nothing_is_derived: None) -> None:
    """I27: a header that asks for terabytes or years is refused at once, whatever its checksum."""
    with pytest.raises(StorageError):
        read(with_costs(*costs))
    with pytest.raises(InvalidInputError):
        PassphraseKey(PASSPHRASE, bytes(16), Costs(*costs))


def test_costs_at_the_caps_are_taken() -> None:
    assert read(with_costs(MAX_MEMORY_KIB, 16, 16)).costs == (MAX_MEMORY_KIB, 16, 16)
    assert read(with_costs(128, 1, 16)).costs == (128, 1, 16)
    assert Costs().are_bearable


def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Poor:
        def __init__(self, **_: object) -> None: ...

        def derive(self, _passphrase: bytes) -> bytes:
            raise MemoryError

    monkeypatch.setattr(keystore_file, "Argon2id", Poor)
    with pytest.raises(UnavailableError, match="64 MiB"):
        PassphraseKey(PASSPHRASE, bytes(16), Costs())


def test_another_version_is_said(nothing_is_derived: None) -> None:
    file = bytearray(FILE)
    file[8] = 2
    with pytest.raises(StorageError, match="another version"):
        read(summed(bytes(file)))


def test_parts_of_two_files_do_not_fit() -> None:
    """I27: one passphrase alone opens a file: beginnings and bodies cannot be combined."""
    one, other = made(), made(b"another passphrase", bytes([1]) * 16)
    mixed = summed(one[:BEGINNING] + other[BEGINNING:])
    with pytest.raises(StorageError):
        read(mixed).unlock(PASSPHRASE)
    with pytest.raises(WrongPassphraseError):
        read(mixed).unlock(b"another passphrase")


def test_each_input_changes_key_and_commitment() -> None:
    keys = [
        PassphraseKey(PASSPHRASE, bytes(16), LIGHT),
        PassphraseKey(PASSPHRASE + b"\0", bytes(16), LIGHT),
        PassphraseKey(PASSPHRASE, bytes([1]) * 16, LIGHT),
        PassphraseKey(PASSPHRASE, bytes(16), Costs(9, 1, 1)),
        PassphraseKey(PASSPHRASE, bytes(16), Costs(8, 2, 1)),
        PassphraseKey(PASSPHRASE, bytes(16), Costs(16, 1, 2)),
    ]
    found = {key._key for key in keys} | {key.beginning[32:] for key in keys}
    assert len(found) == 2 * len(keys)
    assert all(one != other for one, other in pairwise(sorted(found)))
    assert all(secret.hex() not in repr(keys) and str(secret) not in repr(keys) for secret in found)


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_read_or_refused(tail: bytes, is_summed: bool) -> None:
    """I27: the reader raises nothing else, and derives nothing."""
    file = b"walytkey\x01" + tail
    try:
        costs = read(summed(file + bytes(SUM)) if is_summed else file).costs
    except StorageError:
        return
    assert costs.are_bearable


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.integers(0, 255))
def test_any_costs_are_within_the_caps_or_refused(memory_kib: int, passes: int, lanes: int) -> None:
    is_fine = 1 <= passes <= 16 and 1 <= lanes <= 16 and 8 * lanes <= memory_kib <= MAX_MEMORY_KIB
    try:
        assert read(with_costs(memory_kib, passes, lanes)).costs == (memory_kib, passes, lanes)
        assert is_fine
    except StorageError:
        assert not is_fine


@pytest.mark.parametrize(("memory_kib", "passes"), [(8, 1), (64, 3), (1000, 2)])
def test_argon_is_that_of_libsodium(memory_kib: int, passes: int) -> None:
    """I27: a second implementation gives the same key (it has one lane only)."""
    salt = bytes(range(16))
    other = argon2id.kdf(32, PASSPHRASE, salt, opslimit=passes, memlimit=memory_kib << 10)
    assert keystore_file._stretch(PASSPHRASE, salt, Costs(memory_kib, passes, 1)) == other


@pytest.mark.parametrize("length", [0, 1025])
def test_passphrases_of_no_length(length: int) -> None:
    with pytest.raises(InvalidInputError):
        PassphraseKey(b"x" * length, bytes(16), LIGHT)


def test_limits_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    key = PassphraseKey(PASSPHRASE, bytes(16), LIGHT)
    monkeypatch.setattr(keystore_file, "MAX_FILE_BYTES", 1000)
    file = key.seal({"x": bytes(1000 - 64 - 24 - 16 - 32 - 1 - 2 - 3 - 1)}, bytes(24))
    assert read(file).unlock(PASSPHRASE)[1].keys() == {"x"}
    with pytest.raises(InvalidInputError):
        key.seal({"x": bytes(1000)}, bytes(24))
    with pytest.raises(InvalidInputError):
        key.seal({"\ud800": b""}, bytes(24))


@pytest.mark.parametrize("value", [[], {"x": "text"}, {"x": 1}, {"x": [b""]}, None])
def test_a_body_of_another_kind(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    file = PassphraseKey(PASSPHRASE, bytes(16), LIGHT).seal(value, bytes(24))  # type: ignore[arg-type]
    with pytest.raises(StorageError):
        read(file).unlock(PASSPHRASE)
