"""Invitations as text, and the issuer's record of them."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walytis_core.armour import peer_id
from walytis_core.cid import BlockId
from walytis_core.errors import InvalidInputError, JoinError
from walytis_core.invitation import (
    ARMOUR,
    MAX_ADDRESSES,
    MAX_NAME_BYTES,
    Invitation,
    invitation_id,
    suggest_name,
)
from walytis_core.invitation_record import InvitationRecord

CHAIN = BlockId.of(b"chain")
ISSUER, FOREIGN = bytes(range(32)), bytes(range(100, 132))
SEED = bytes(range(200, 216))
IP4 = "/ip4/192.168.100.100/tcp/40000"
IP6 = "/ip6/2001:db8:85a3:1111:2222:8a2e:370:7334/tcp/40000"
VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/invitation.json").read_text())
FULL = Invitation(
    chain_id=CHAIN,
    issuer=ISSUER,
    addresses=(f"{IP4}/p2p/{peer_id(ISSUER)}",),
    seed=SEED,
    expires=2_000_000_000,
    name="Feldnotizen ü",
)

addresses = st.one_of(
    st.builds(lambda ip, port: f"/ip4/{ip}/tcp/{port}", st.ip_addresses(v=4), st.integers(0, 70_000)),
    st.builds(lambda ip, port: f"/ip6/{ip}/tcp/{port}", st.ip_addresses(v=6), st.integers(0, 70_000)),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60),
)
tails = st.one_of(
    st.just(""),
    st.binary(min_size=32, max_size=32).map(lambda key: "/p2p/" + peer_id(key)),
    st.sampled_from(["/p2p/" + peer_id(ISSUER), "/p2p/", "/p2p/QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"]),
)
invitations = st.builds(
    Invitation,
    chain_id=st.binary(max_size=4).map(BlockId.of),
    issuer=st.sampled_from([ISSUER, FOREIGN, bytes(32), b"\xff" * 32]),
    addresses=st.lists(st.builds(str.__add__, addresses, tails), max_size=3).map(tuple),
    seed=st.none() | st.binary(min_size=16, max_size=16),
    expires=st.none() | st.integers(0, 2**37),
    name=st.text(max_size=12).filter(str.isprintable).filter(lambda name: len(name.encode()) <= MAX_NAME_BYTES),
)


@given(invitations)
def test_a_uri_is_read_as_it_was_written(invitation: Invitation) -> None:
    uri = str(invitation)
    assert Invitation.parse(uri) == invitation
    assert str(Invitation.parse(uri)) == uri
    assert Invitation.parse(f"\n {invitation.qr_text[:40]}\r\n\t{invitation.qr_text[40:]} ") == invitation


@pytest.mark.parametrize("address", [IP4, IP6, "/dns4/" + "a" * 37 + "/tcp/4001"])
@pytest.mark.parametrize("key", [ISSUER, FOREIGN])
def test_one_address_makes_a_uri_under_300_characters(address: str, key: bytes) -> None:
    if address.startswith("/dns4") and key is FOREIGN:
        return  # said in the specification
    invitation = Invitation(
        chain_id=CHAIN,
        issuer=ISSUER,
        addresses=(f"{address}/p2p/{peer_id(key)}",),
        seed=SEED,
        expires=2**33,
        name="x" * MAX_NAME_BYTES,
    )
    assert len(str(invitation)) < 300
    assert Invitation.parse(str(invitation)) == invitation
    assert re.fullmatch(r"WALYTIS:[A-Z2-7]+", invitation.qr_text)


@pytest.mark.parametrize("vector", VECTORS["uris"], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    invitation = Invitation.parse(vector["uri"])
    assert str(invitation) == vector["uri"]
    assert invitation.chain_id.hex() == vector["chain"]
    assert invitation.issuer.hex() == vector["issuer"]
    assert invitation.seed == (None if vector["seed"] is None else bytes.fromhex(vector["seed"]))
    assert (invitation.expires, invitation.name) == (vector["expires"], vector["suggested_name"])
    assert list(invitation.addresses) == vector["addresses"]
    assert invitation.id.hex() == vector["id"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_refused_vectors(vector: dict[str, str]) -> None:
    with pytest.raises({"JoinError": JoinError, "InvalidInputError": InvalidInputError}[vector["error"]]) as caught:
        Invitation.parse(vector["uri"])
    assert vector["says"] in str(caught.value)


# --- what can be wrong with a text ------------------------------------------------------------------------------------


def said(text: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        Invitation.parse(text)
    assert caught.value.hint
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "hello", "http://example.org", "walyti:abc", "bafkrei"])
def test_other_text_is_no_invitation(text: str) -> None:
    assert "not an invitation" in said(text)


def test_every_cut_is_said_to_be_one() -> None:
    uri = str(FULL)
    for end in range(len("walytis:"), len(uri)):
        assert "cut short" in said(uri[:end])


def test_every_mistyped_letter_is_found() -> None:
    uri = str(FULL)
    for at in range(len("walytis:"), len(uri)):
        for letter in ("a" if uri[at] != "a" else "b", "7" if uri[at] != "7" else "6", "1"):
            assert re.search("mistyped|cut short", said(uri[:at] + letter + uri[at + 1 :]))
    assert "mistyped" in said(uri[:50] + uri[51] + uri[50] + uri[52:]) or uri[50] == uri[51]
    assert "mistyped" in said(uri + "aa")
    assert "too long" in said("walytis:" + "a" * 10_000)


def test_a_newer_version_is_said_to_be_one() -> None:
    for version in (2, 255):
        with pytest.raises(JoinError) as caught:
            Invitation.parse(ARMOUR.write(version, b"whatever comes"))
        assert "newer" in str(caught.value)
        assert "Update" in caught.value.hint


@given(st.randoms(use_true_random=False))
def test_odd_bytes_under_a_good_checksum_are_refused_or_read_back(rng: random.Random) -> None:
    data = bytearray(ARMOUR.read(str(FULL))[1])
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at:][: rng.randint(1, 20)]
            case _:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
    uri = ARMOUR.write(1, bytes(data))
    try:
        read = Invitation.parse(uri)
    except InvalidInputError:
        return
    assert str(read) == uri


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": BlockId(bytes(36))},
        {"issuer": bytes(31)},
        {"seed": bytes(15)},
        {"expires": -1},
        {"expires": 2**40},
        {"name": "x" * (MAX_NAME_BYTES + 1)},
        {"name": "a\nb"},
        {"name": "\x1b[2J"},
        {"addresses": ("/ip4/192.0.2.1/tcp/1",) * (MAX_ADDRESSES + 1)},
        {"addresses": ("",)},
        {"addresses": ("a b",)},
        {"addresses": ("ü",)},
        {"addresses": ("x" * 256,)},
    ],
    ids=repr,
)
def test_fields_outside_their_limits_are_refused(change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"chain_id": CHAIN, "issuer": ISSUER, **change}
    with pytest.raises(InvalidInputError):
        Invitation(**fields)


def test_a_suggested_name_always_fits() -> None:
    for name in ("plain", "ü" * 40, "a\x00b\n\u202ec", "x" * 31 + "ü", "\ud800", "   "):
        suggested = suggest_name(name)
        assert Invitation(chain_id=CHAIN, issuer=ISSUER, name=suggested).name == suggested
    assert suggest_name("plain") == "plain"
    assert suggest_name("x" * 31 + "ü") == "x" * 31


def test_an_id_names_one_invitation_to_one_chain() -> None:
    """C42: to those who know the chain id it tells nothing without the seed."""
    ids = {invitation_id(chain, seed) for chain in (CHAIN, BlockId.of(b"")) for seed in (None, SEED, bytes(16))}
    assert len(ids) == 6
    assert FULL.id == invitation_id(CHAIN, SEED)


def test_only_the_uri_shows_the_seed() -> None:
    record = InvitationRecord(id=FULL.id)
    for shown in (repr(FULL), repr(record), str(record), f"{record}", repr([record, FULL])):
        assert SEED.hex() not in shown
        assert repr(SEED)[2:-1] not in shown
        assert "walytis:" not in shown
