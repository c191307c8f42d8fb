"""CIDs: text and bytes, against an independent implementation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID

from walytis_core.cid import DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX, BlockId, Cid
from walytis_core.errors import InvalidInputError

NAMES = {DAG_CBOR_PREFIX: "dag-cbor", DAG_PB_PREFIX: "dag-pb", RAW_PREFIX: "raw"}


@given(st.binary(max_size=100), st.sampled_from(list(NAMES)))
def test_round_trip_and_independent_text(data: bytes, prefix: bytes):
    """C08: text and bytes are those that another implementation gives."""
    cid = Cid.of(data, prefix)
    other = CID.decode(str(cid))
    assert (other.version, other.codec.name, other.hashfun.name) == (1, NAMES[prefix], "sha2-256")
    assert bytes(other) == bytes(cid)
    assert Cid.parse(str(cid)) == cid
    assert type(Cid.parse(str(cid))) is Cid
    assert str(cid).endswith(cid.short)
    assert repr(cid) == f"Cid('{cid}')"


GOOD = str(BlockId.of(b"x"))


@pytest.mark.parametrize("text", [
    "", "b", GOOD[1:], GOOD.upper(), GOOD[:-1], GOOD + "a", GOOD + "=", f" {GOOD}", f"{GOOD}\n", "z" + GOOD[1:], "B" + GOOD[1:].upper(), GOOD[:-1] + "1",
    "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykü", "bafkqaaa", GOOD.replace("a", "A"),
])  # fmt: skip
def test_what_is_no_cid(text: str):
    """C21: other text forms, cut or padded ones, other hashes: an argument error, never something else."""
    with pytest.raises(InvalidInputError):
        Cid.parse(text)


def test_one_text_form():
    """C08: trailing bits that base32 ignores are not ignored here."""
    last = "abcdefghijklmnopqrstuvwxyz234567".index(GOOD[-1])
    others = [GOOD[:-1] + "abcdefghijklmnopqrstuvwxyz234567"[last ^ bit] for bit in (1, 2, 4)]
    for text in others:
        try:
            assert str(Cid.parse(text)) == text
        except InvalidInputError:
            continue


def test_sorts_as_bytes():
    """C12: ids compare as their bytes."""
    some = [Cid.of(b"%d" % n) for n in range(20)]
    assert sorted(some) == sorted(some, key=bytes)
