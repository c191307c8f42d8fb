"""Wraps: the secret of an epoch for one seat, and everything that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identities.suites import SealingKey, key_id, seal_to
from identities.wraps import WRAP_BYTES, unwrap, wrap, wrap_info
from walytis_core.cid import BlockId
from walytis_core.errors import InvalidInputError, Reason, RemoteError

CASE = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/identity-keys.json").read_text())["wrap"]
SEAT, OTHER_SEAT = (SealingKey.from_seed(bytes([n]) * 32) for n in (1, 2))
CHAIN, SECRET, KEY = BlockId.of(b"identity"), bytes(range(32)), key_id(1, bytes(32))
INFO = wrap_info(CHAIN, 3, KEY)
WRAP = wrap(SECRET, SEAT.public, INFO)


def refused(key: SealingKey, sealed: bytes, info: bytes = INFO) -> bool:
    with pytest.raises(RemoteError) as error:
        unwrap(key, sealed, info)
    return error.value.reason is Reason.BAD_SEAL


def test_a_wrap_is_that_of_the_specification() -> None:
    info = wrap_info(BlockId(bytes.fromhex(CASE["chain"])), CASE["number"], bytes.fromhex(CASE["key"]))
    assert info.hex() == CASE["info"]
    key = SealingKey.from_seed(bytes.fromhex(CASE["seed"]))
    assert unwrap(key, bytes.fromhex(CASE["sealed"]), info).hex() == CASE["secret"]


def test_it_opens_for_its_seat_alone() -> None:
    assert len(WRAP) == WRAP_BYTES == 1168
    assert unwrap(SEAT, WRAP, INFO) == SECRET
    assert refused(OTHER_SEAT, WRAP)


@pytest.mark.parametrize(
    "info",
    [wrap_info(BlockId.of(b"other"), 3, KEY), wrap_info(CHAIN, 4, KEY), wrap_info(CHAIN, 3, key_id(2, bytes(32))), b""],
    ids=["identity", "number", "epoch", "nothing"],
)
def test_it_is_worth_nothing_in_another_renewal(info: bytes) -> None:
    """I13: an older wrap, shown again."""
    assert refused(SEAT, WRAP, info)


@given(st.integers(0, 8 * WRAP_BYTES - 1))
def test_no_bit_of_it_can_be_changed(bit: int) -> None:
    """I38: what does not open is seen as such."""
    assert refused(SEAT, (int.from_bytes(WRAP, "big") ^ 1 << bit).to_bytes(WRAP_BYTES, "big"))


@given(st.binary(max_size=1200))
def test_no_bytes_make_the_opener_stumble(sealed: bytes) -> None:
    assert refused(SEAT, sealed)


@pytest.mark.parametrize("size", [0, 31, 33, 1000])
def test_what_holds_no_secret_is_no_wrap(size: int) -> None:
    """I38: sealed properly to the seat, of another length."""
    assert refused(SEAT, seal_to(SEAT.public, INFO, bytes(size)))


def test_a_secret_has_32_bytes() -> None:
    with pytest.raises(InvalidInputError):
        wrap(bytes(31), SEAT.public, INFO)


def test_two_wraps_of_one_secret_say_not_that_they_are() -> None:
    assert wrap(SECRET, SEAT.public, INFO) != WRAP
