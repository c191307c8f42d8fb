"""The keys of an epoch: all from one secret, one for each use."""

from __future__ import annotations

import doctest
import json
import sys
from pathlib import Path

import pytest

from identities.epoch_keys import EpochKeys, epoch_keys
from identities.suites import COMPOSITE, ED25519, SigningKey
from walytis_core.errors import InvalidInputError, Reason, RemoteError

CASE = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/identity-keys.json").read_text())["epoch"]
SECRET = bytes.fromhex(CASE["secret"])
KEYS = epoch_keys(SECRET)
OTHER = epoch_keys(bytes(32))


def test_they_are_those_of_the_specification() -> None:
    assert {name: getattr(KEYS, name).hex() for name in KEYS._fields} == {name: CASE[name] for name in KEYS._fields}
    assert KEYS.signing(ED25519).id.hex() == CASE["sign_1"]
    assert KEYS.signing(COMPOSITE).id.hex() == CASE["sign_2"]
    assert KEYS.sealing().id.hex() == CASE["seal"]


def test_each_use_and_each_epoch_has_its_own() -> None:
    """I20: who knows the keys of one epoch knows none of another, for nothing leads back to a secret."""
    keys = [*KEYS, *OTHER, SECRET, bytes(32)]
    assert {len(key) for key in keys} == {32}
    assert len(set(keys)) == len(keys)


def test_all_who_opened_the_secret_have_the_same_control_keys() -> None:
    again = epoch_keys(SECRET)
    assert again == KEYS
    assert [again.signing(suite).public for suite in (1, 2)] == [KEYS.signing(suite).public for suite in (1, 2)]
    assert again.sealing().public == KEYS.sealing().public


@pytest.mark.parametrize("suite", [ED25519, COMPOSITE])
def test_another_secret_than_the_published_one_is_seen(suite: int) -> None:
    """I38: a renewer that gives one seat other keys; in either of the two."""
    sign, seal = KEYS.signing(suite).public, KEYS.sealing().public
    assert KEYS.fits(suite, sign, seal)
    assert not OTHER.fits(suite, sign, seal)
    assert not KEYS.fits(suite, OTHER.signing(suite).public, seal)
    assert not KEYS.fits(suite, sign, OTHER.sealing().public)
    assert not KEYS.fits(ED25519 + COMPOSITE - suite, sign, seal)


def test_keys_of_a_suite_that_is_not_known_are_neither_right_nor_wrong() -> None:
    for call in (KEYS.signing, lambda suite: KEYS.fits(suite, b"", b"")):
        with pytest.raises(RemoteError) as refused:
            call(99)
        assert refused.value.reason is Reason.UNKNOWN_SUITE


def test_a_key_of_an_epoch_signs_in_whichever_suite() -> None:
    """I26: an identity moves to another suite by a renewal; the same seed makes keys that have nothing in common."""
    classic, hybrid = KEYS.signing(ED25519), KEYS.signing(COMPOSITE)
    assert isinstance(classic, SigningKey)
    assert classic.public not in hybrid.public
    assert classic.id != hybrid.id


def test_no_representation_shows_a_key() -> None:
    for text in (repr(KEYS), str(KEYS), f"{[KEYS]}", repr(EpochKeys(*KEYS))):
        assert text.strip("[]") == "EpochKeys(...)"


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33)], ids=len)
def test_a_secret_has_32_bytes(secret: bytes) -> None:
    with pytest.raises(InvalidInputError):
        epoch_keys(secret)


def test_the_examples_run() -> None:
    assert doctest.testmod(sys.modules[epoch_keys.__module__]).failed == 0
