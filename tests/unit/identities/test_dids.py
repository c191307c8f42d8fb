"""DIDs: one form each, and nothing else is read."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import multibase as other_multibase

from identities import dids
from identities.dids import chain_of, did_key_of, did_of, is_did, is_multikey, key_of
from walytis_core import base58
from walytis_core.cid import RAW_PREFIX, BlockId
from walytis_core.errors import InvalidInputError
from walytis_core.signer import Ed25519Signer

VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/identity-documents.json").read_text("utf-8"))
DID = VECTORS["dids"][0]["did"]
DID_KEY = VECTORS["did_keys"][0]["did"]
multikeys = st.one_of(
    st.binary(min_size=32, max_size=32).map(lambda seed: Ed25519Signer(seed).key),
    st.binary(min_size=1952, max_size=1952).map(lambda key: dids.MLDSA65_PREFIX + key),
)


def test_the_examples_hold():
    assert doctest.testmod(dids).failed == 0
    assert doctest.testmod(base58).failed == 0


@pytest.mark.parametrize("vector", VECTORS["dids"], ids=lambda vector: vector["did"])
def test_vectors(vector: dict[str, str]) -> None:
    """I01: the method and the chain id."""
    chain = BlockId(bytes.fromhex(vector["chain"]))
    assert did_of(chain) == vector["did"] == f"did:walytis:{chain}"
    assert chain_of(vector["did"]) == chain
    assert is_did(vector["did"])


@pytest.mark.parametrize("did", VECTORS["refused_dids"], ids=repr)
def test_other_strings_are_refused(did: str) -> None:
    """I01: other methods, other cases, paths and fragments, ids of what is no chain."""
    with pytest.raises(InvalidInputError):
        chain_of(did)
    assert not is_did(did)


@pytest.mark.parametrize("vector", VECTORS["did_keys"], ids=lambda vector: vector["did"][:40])
def test_vectors_of_keys(vector: dict[str, str]) -> None:
    """I12: a `did:key` is the multikey in base58."""
    assert did_key_of(bytes.fromhex(vector["key"])) == vector["did"]
    assert key_of(vector["did"]).hex() == vector["key"]
    assert other_multibase.decode(vector["did"].removeprefix("did:key:")).hex() == vector["key"]


@pytest.mark.parametrize("did", VECTORS["refused_did_keys"], ids=lambda did: did[:70])
def test_other_strings_are_no_keys(did: str) -> None:
    """I01: other kinds of keys, points that are none, other bases, leading zeros, fragments."""
    with pytest.raises(InvalidInputError):
        key_of(did)


@pytest.mark.parametrize("chain", [b"", bytes(36), bytes(RAW_PREFIX + bytes(32)), BlockId.of(b"x") + b"\0"], ids=repr)
def test_only_a_chain_has_a_did(chain: bytes) -> None:
    """I01: what is no block id."""
    with pytest.raises(InvalidInputError):
        did_of(chain)


@pytest.mark.parametrize(
    "key", [b"", b"\xed\x01", b"\xed\x01" + bytes(32), b"\x91\x24" + bytes(1951), b"\xec\x01" + bytes(32)]
)
def test_only_keys_have_a_did(key: bytes) -> None:
    """I01: a length, a point or a codec that is none."""
    assert not is_multikey(key)
    with pytest.raises(InvalidInputError):
        did_key_of(key)


@pytest.mark.slow
@given(multikeys)
def test_a_key_is_read_as_it_was_written(key: bytes) -> None:
    assert key_of(did_key_of(key)) == key


@given(st.text(max_size=60) | st.sampled_from([DID, DID_KEY]), st.data())
def test_whatever_is_read_is_written_the_same(text: str, data: Any) -> None:
    """I01: for any string, and for DIDs with a few letters changed."""
    at = data.draw(st.integers(0, len(text)))
    text = text[:at] + data.draw(st.text("abz19IlO%:#", max_size=2)) + text[at + data.draw(st.integers(0, 2)) :]
    for prefix in ("", dids.WALYTIS, dids.KEY, dids.KEY + "z"):
        for read, write in ((chain_of, did_of), (key_of, did_key_of)):
            try:
                found = read(prefix + text)
            except InvalidInputError:
                continue
            assert write(found) == prefix + text


@given(st.binary(max_size=60))
def test_base58_is_what_others_make_of_it(data: bytes) -> None:
    """I12: against another implementation."""
    text = base58.encode(data)
    assert "z" + text == other_multibase.encode(data, "base58btc")
    assert base58.decode(text) == data


@pytest.mark.parametrize("text", ["z" * 100_000, "did:key:z" + "6" * 100_000, "did:walytis:b" + "a" * 100_000])
def test_what_is_too_long_is_not_read(text: str) -> None:
    """I01: reading costs the square of the length, so it is bounded before."""
    for read in (chain_of, key_of):
        with pytest.raises(InvalidInputError, match="begin with"):
            read(text)
