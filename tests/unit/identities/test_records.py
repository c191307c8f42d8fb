"""Records and sealed messages: whose they are, by which key, for which use; and no other bytes."""

from __future__ import annotations

import doctest
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identities import records
from identities.epoch_keys import epoch_keys
from identities.records import (
    MAX_CONTEXT_CHARS,
    MAX_PLAINTEXT_BYTES,
    open_message,
    read_record,
    read_sealed,
    seal_message,
    sign_record,
    verify_record,
)
from identities.suites import COMPOSITE, ED25519, SealingKey, SigningKey, key_id, seal_to
from walytis_core import cbor
from walytis_core.cid import BlockId
from walytis_core.errors import InvalidInputError, Reason, RemoteError

VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/identity-keys.json").read_text())
DID, OTHER_DID = BlockId.of(b"identity"), BlockId.of(b"other")
MESSAGE = b"twenty bytes exactly"
EPOCHS = [epoch_keys(bytes([n]) * 32) for n in range(3)]
SIGNING = {suite: EPOCHS[0].signing(suite) for suite in (ED25519, COMPOSITE)}
PUBLIC = {key.id: (key.suite, key.public) for key in SIGNING.values()}
RECORDS = {suite: sign_record(key, DID, "test", MESSAGE) for suite, key in SIGNING.items()}
SEALING = [epoch.sealing() for epoch in EPOCHS]
HELD = {key.id: key for key in SEALING[:2]}
SEALED = seal_message(DID, SEALING[0].public, "test", MESSAGE)
both = pytest.mark.parametrize("suite", [ED25519, COMPOSITE])
stranger = SigningKey.from_seed(ED25519, bytes(range(32)))


def refused(call: Callable[..., Any], *args: Any) -> Reason:
    with pytest.raises(RemoteError) as error:
        call(*args)
    return error.value.reason


def checked(record: bytes, did: BlockId = DID, context: str = "test", message: bytes = MESSAGE) -> bytes:
    """The id of the key that signed."""
    return verify_record(record, PUBLIC.get, did, context, message).key


def opened(sealed: bytes, did: BlockId = DID, context: str = "test") -> bytes:
    return open_message(sealed, HELD.get, did, context)


# --- records ----------------------------------------------------------------------------------------------------------


@both
def test_a_record_is_that_of_the_specification(suite: int) -> None:
    case = VECTORS["records"][suite - 1]
    did, record, message = (bytes.fromhex(case[name]) for name in ("did", "record", "message"))
    key = epoch_keys(bytes.fromhex(VECTORS["epoch"]["secret"])).signing(case["suite"])
    assert key.id.hex() == case["key"]
    assert read_record(record)[:2] == (did, key.id)
    verify_record(record, {key.id: (suite, key.public)}.get, BlockId(did), case["context"], message)
    if suite == ED25519:
        assert sign_record(key, BlockId(did), case["context"], message) == record


def test_a_record_with_classical_keys_is_small() -> None:
    """I33: it names its key by hash."""
    record, key = RECORDS[ED25519], SIGNING[ED25519]
    assert len(record) == 123
    assert key.public not in record
    assert key.id in record
    assert SIGNING[COMPOSITE].public[-32:] not in RECORDS[COMPOSITE]


def test_records_of_two_suites_are_read_side_by_side() -> None:
    """I26: after an identity moved to another suite, what it signed before verifies; the key has the suite."""
    for suite, record in RECORDS.items():
        assert checked(record) == SIGNING[suite].id


@both
def test_a_record_is_for_one_identity_use_and_message(suite: int) -> None:
    record = RECORDS[suite]
    assert refused(checked, record, OTHER_DID) is Reason.WRONG_IDENTITY
    assert refused(checked, record, DID, "tess") is Reason.BAD_SIGNATURE
    assert refused(checked, record, DID, "test", MESSAGE + b"!") is Reason.BAD_SIGNATURE


@both
def test_a_record_cannot_be_passed_to_another_identity(suite: int) -> None:
    """I04: not even where the same key is valid for both."""
    _, signature = read_record(RECORDS[suite])[1:]
    moved = cbor.encode([1, bytes(OTHER_DID), SIGNING[suite].id, signature])
    assert refused(checked, moved, OTHER_DID) is Reason.BAD_SIGNATURE


def test_a_key_that_is_not_the_identitys_counts_for_nothing() -> None:
    """I04: whoever signed properly with it, and whatever came along; asked is the reader's own view."""
    record = sign_record(stranger, DID, "test", MESSAGE)
    verify_record(record, {stranger.id: (1, stranger.public)}.get, DID, "test", MESSAGE)
    assert refused(checked, record) is Reason.UNKNOWN_KEY
    with_key = cbor.encode([1, bytes(DID), stranger.id, read_record(record).signature, stranger.public])
    by_value = cbor.encode([1, bytes(DID), stranger.public, read_record(record).signature])
    for bad in (with_key, by_value):
        assert refused(checked, bad) is Reason.BAD_MESSAGE


def test_a_key_named_falsely_verifies_nothing() -> None:
    """I04, I03: a stranger's signature under a true key's name, and a true one under the name of the other suite's."""
    mine = read_record(RECORDS[ED25519]).signature
    theirs = stranger.sign("walytis/record/test", MESSAGE)
    for key, signature in ((SIGNING[ED25519], theirs), (SIGNING[COMPOSITE], mine), (SIGNING[COMPOSITE], theirs)):
        assert refused(checked, cbor.encode([1, bytes(DID), key.id, signature])) is Reason.BAD_SIGNATURE


def test_the_name_of_the_key_is_signed() -> None:
    """Two ids for one key, as a broken index may hold them, make no second record."""
    key = SIGNING[ED25519]
    renamed = cbor.encode([1, bytes(DID), bytes(16), read_record(RECORDS[ED25519]).signature])
    find = {bytes(16): (1, key.public)}.get
    assert refused(verify_record, renamed, find, DID, "test", MESSAGE) is Reason.BAD_SIGNATURE


def test_a_key_of_a_suite_that_is_not_known_is_neither_right_nor_wrong() -> None:
    find = {SIGNING[ED25519].id: (77, b"")}.get
    assert refused(verify_record, RECORDS[ED25519], find, DID, "test", MESSAGE) is Reason.UNKNOWN_SUITE


def test_a_signature_for_another_kind_of_thing_is_no_record() -> None:
    """What a control key signs elsewhere, with the same words in another context."""
    key = SIGNING[ED25519]
    signed = b"\1" + DID + key.id + MESSAGE
    for context, right in (("walytis/record/test", True), ("test", False), ("walytis/identities/event", False)):
        record = cbor.encode([1, bytes(DID), key.id, key.sign(context, signed)])
        if right:
            checked(record)
        else:
            assert refused(checked, record) is Reason.BAD_SIGNATURE


# --- sealed messages --------------------------------------------------------------------------------------------------


def test_a_sealed_message_is_that_of_the_specification() -> None:
    case = VECTORS["message"]
    key = epoch_keys(bytes.fromhex(VECTORS["epoch"]["secret"])).sealing()
    did, sealed = BlockId(bytes.fromhex(case["did"])), bytes.fromhex(case["sealed"])
    assert read_sealed(sealed)[:2] == (did, bytes.fromhex(case["key"]))
    assert open_message(sealed, {key.id: key}.get, did, case["context"]).hex() == case["plaintext"]


def test_what_was_sealed_to_any_held_epoch_opens() -> None:
    """I06: before a renewal and after it; by the one key that it names."""
    for key in SEALING[:2]:
        assert opened(seal_message(DID, key.public, "test", MESSAGE)) == MESSAGE


def test_what_was_sealed_to_an_epoch_that_is_not_held_does_not_open() -> None:
    """I19, I20: one has no key for it, and trying others is no use."""
    later = seal_message(DID, SEALING[2].public, "test", MESSAGE)
    assert refused(opened, later) is Reason.UNKNOWN_KEY
    renamed = cbor.encode([1, bytes(DID), SEALING[0].id, read_sealed(later).box])
    assert refused(opened, renamed) is Reason.BAD_SEAL


def test_a_sealed_message_is_for_one_identity_and_use() -> None:
    assert opened(SEALED) == MESSAGE
    assert refused(opened, SEALED, OTHER_DID) is Reason.WRONG_IDENTITY
    assert refused(opened, SEALED, DID, "tess") is Reason.BAD_SEAL
    moved = cbor.encode([1, bytes(OTHER_DID), *read_sealed(SEALED)[1:]])
    assert refused(opened, moved, OTHER_DID) is Reason.BAD_SEAL


def test_a_seal_for_another_kind_of_thing_is_no_message() -> None:
    """What is sealed to a seat or an identity elsewhere, a wrap for example."""
    box = seal_to(SEALING[0].public, b"", MESSAGE)
    assert refused(opened, cbor.encode([1, bytes(DID), SEALING[0].id, box])) is Reason.BAD_SEAL


def test_who_reads_a_sealed_message_without_a_key_learns_whose_it_is_and_its_length() -> None:
    again = seal_message(DID, SEALING[0].public, "test", MESSAGE)
    assert MESSAGE not in again
    assert b"test" not in again
    assert read_sealed(again).box != read_sealed(SEALED).box
    assert len(SEALED) == len(again) == len(MESSAGE) + 1196


def test_nothing_is_sealed_to_what_is_no_key() -> None:
    assert refused(seal_message, DID, b"", "test", b"") is Reason.BAD_KEY


@pytest.mark.parametrize("over", [0, 1])
def test_sixteen_megabytes_and_no_more(over: int) -> None:
    plaintext = bytes(MAX_PLAINTEXT_BYTES + over)
    if over:
        with pytest.raises(InvalidInputError):
            seal_message(DID, SEALING[0].public, "test", plaintext)
    else:
        assert opened(seal_message(DID, SEALING[0].public, "test", plaintext)) == plaintext


# --- bytes ------------------------------------------------------------------------------------------------------------

READERS: list[Callable[[bytes], tuple[Any, ...]]] = [read_record, read_sealed]
readers = pytest.mark.parametrize("read", READERS)
NEAR = st.lists(
    st.sampled_from([0, 1, 2, True, None, bytes(DID), bytes(36), bytes(16), SIGNING[1].id, b"", "x", [1], {"a": 1}]),
    max_size=5,
).map(cbor.encode)
CHANGED = st.tuples(st.sampled_from([*RECORDS.values(), SEALED]), st.integers(0, 140), st.binary(max_size=3)).map(
    lambda change: change[0][: change[1]] + change[2] + change[0][change[1] + len(change[2]) :]
)


@readers
@given(data=st.binary(max_size=200) | NEAR | CHANGED)
@settings(max_examples=300)
def test_bytes_are_read_in_one_way_or_not_at_all(read: Callable[[bytes], tuple[Any, ...]], data: bytes) -> None:
    try:
        did, key, rest = read(data)
    except RemoteError as error:
        assert error.reason in {Reason.BAD_MESSAGE, Reason.NEWER_VERSION}  # noqa: PT017 - either is a proper answer
    else:
        assert cbor.encode([1, bytes(did), key, rest]) == data


@given(NEAR | CHANGED)
@settings(max_examples=300)
def test_no_bytes_pass_for_a_record_or_open(data: bytes) -> None:
    """I04: but the very ones that were signed or sealed."""
    if data not in RECORDS.values():
        refused(checked, data)
    if data != SEALED:
        refused(opened, data)


@readers
@pytest.mark.parametrize("version", [0, -1, 2, 2**53 - 1, True, None, b"\1", "1"], ids=repr)
def test_other_versions(read: Callable[[bytes], tuple[Any, ...]], version: Any) -> None:
    newer = type(version) is int and version > 1
    for rest in ([bytes(DID), bytes(16), b"x"], [b"something else"], []):
        reason = refused(read, cbor.encode([version, *rest]))
        assert reason is (Reason.NEWER_VERSION if newer else Reason.BAD_MESSAGE)


@readers
@pytest.mark.parametrize(
    "value",
    [
        *([1, bytes(36), bytes(16), b"x"], [1, bytes(DID)[:-1], bytes(16), b"x"], [1, bytes(DID), bytes(15), b"x"]),
        *([1, bytes(DID), bytes(17), b"x"], [1, bytes(DID), bytes(16), "x"], [1, bytes(DID), bytes(16), b"x", None]),
        *([1, DID, bytes(16), b"x"], {"1": 1}, 1, None),
    ],
)
def test_other_forms_are_refused(read: Callable[[bytes], tuple[Any, ...]], value: Any) -> None:
    assert refused(read, cbor.encode(value)) is Reason.BAD_MESSAGE


def test_reading_is_bounded() -> None:
    assert refused(read_record, cbor.pack([1, bytes(DID), bytes(16), bytes(4096)])) is Reason.BAD_MESSAGE
    long = cbor.pack([1, bytes(DID), bytes(16), bytes(MAX_PLAINTEXT_BYTES + 4096)])
    assert refused(read_sealed, long) is Reason.BAD_MESSAGE


@pytest.mark.parametrize("context", ["", "ü", "x" * (MAX_CONTEXT_CHARS + 1)], ids=len)
def test_a_context_is_short_ascii(context: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: sign_record(SIGNING[ED25519], DID, context, b""),
        lambda: checked(RECORDS[ED25519], context=context),
        lambda: seal_message(DID, SEALING[0].public, context, b""),
        lambda: opened(SEALED, context=context),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError):
            call()


@both
def test_the_longest_context_fits_every_suite(suite: int) -> None:
    context = "x" * MAX_CONTEXT_CHARS
    record = sign_record(SIGNING[suite], DID, context, b"")
    assert checked(record, DID, context, b"") == key_id(*PUBLIC[SIGNING[suite].id])


@given(st.binary(max_size=300), st.sampled_from([ED25519, COMPOSITE]))
@settings(max_examples=20)
def test_whatever_is_signed_and_sealed_comes_back(message: bytes, suite: int) -> None:
    checked(sign_record(SIGNING[suite], DID, "test", message), message=message)
    key: SealingKey = SEALING[0]
    assert opened(seal_message(DID, key.public, "test", message)) == message


def test_the_examples_run() -> None:
    assert doctest.testmod(records).failed == 0


def _outcome(data: bytes) -> object:
    try:
        return read_record(data)
    except RemoteError as error:
        return error.reason


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255), st.sampled_from(["put", "cut", "set"])), max_size=2),
    st.sampled_from([0, 1, 23, 24, 64, 255, 256, 300, 3373]),
    st.sampled_from([0, 1, 2]),
)
@settings(max_examples=400)
def test_what_is_read_in_the_short_way_is_what_the_strict_reader_says(
    changes: list[tuple[int, int, str]], length: int, version: int
):
    """I03: one form, whatever was changed in it."""
    data = bytearray(cbor.pack([version, bytes(DID), bytes(16), bytes(length)]))
    for place, value, change in changes:
        at = place % (len(data) - 1)
        data[at : at + (change != "put")] = b"" if change == "cut" else bytes([value])
    found = _outcome(bytes(data))
    with mock.patch.object(records, "_SHORTEST_BYTES", MAX_PLAINTEXT_BYTES):  # nothing is read in the short way
        assert _outcome(bytes(data)) == found
