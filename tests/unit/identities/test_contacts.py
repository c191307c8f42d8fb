"""Contact cards as text."""

from __future__ import annotations

import doctest
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st

from identities import contacts
from identities.contacts import ARMOUR, MAX_CHARS, MAX_HEADS, ContactCard
from identities.dids import chain_of
from walytis_core.armour import peer_id
from walytis_core.cid import BlockId
from walytis_core.errors import InvalidInputError
from walytis_core.invitation import MAX_NAME_BYTES, Invitation

VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/identity-documents.json").read_text("utf-8"))
CHAIN, NODE = BlockId.of(b"identity"), bytes(range(32))
HEADS = tuple(sorted(BlockId.of(bytes((n,))) for n in range(MAX_HEADS + 1)))
FULL = ContactCard(
    chain_id=CHAIN,
    heads=HEADS[:3],
    epoch=12,
    node_key=NODE,
    addresses=(f"/ip4/192.168.100.100/tcp/40000/p2p/{peer_id(NODE)}", "/dns4/example.org/tcp/443/wss"),
    name="Ann ü",
)
cards = st.builds(
    lambda heads, node, addresses, **more: ContactCard(
        heads=tuple(sorted(heads)), node_key=node, addresses=() if node is None else tuple(addresses), **more
    ),
    chain_id=st.binary(max_size=4).map(BlockId.of),
    heads=st.sets(st.sampled_from(HEADS), min_size=1, max_size=MAX_HEADS),
    epoch=st.integers(0, 2**53 - 1),
    node=st.none() | st.sampled_from([NODE, bytes(32), b"\xff" * 32]),
    addresses=st.lists(
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40), max_size=3
    ),
    name=st.text(max_size=12).filter(str.isprintable).filter(lambda name: len(name.encode()) <= MAX_NAME_BYTES),
)


MALFORMED = str(ARMOUR.malformed())


def outcome(text: str) -> str:
    """The text of the card that is read, or why there is none."""
    try:
        return str(ContactCard.parse(text))
    except InvalidInputError as error:
        return str(error)


def said(text: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        ContactCard.parse(text)
    assert caught.value.hint
    return str(caught.value)


def test_the_example_holds():
    assert doctest.testmod(contacts).failed == 0


@pytest.mark.parametrize("vector", VECTORS["cards"], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    """I05: a card names heads and an epoch."""
    card = ContactCard.parse(vector["uri"])
    assert str(card) == vector["uri"]
    assert (card.chain_id.hex(), [head.hex() for head in card.heads]) == (vector["chain"], vector["heads"])
    assert (card.epoch, card.name) == (vector["epoch"], vector["suggested_name"])
    assert (card.node_key and card.node_key.hex(), list(card.addresses)) == (vector["node_key"], vector["addresses"])
    assert chain_of(card.did) == card.chain_id


@pytest.mark.parametrize("vector", VECTORS["refused_cards"], ids=lambda vector: vector["name"])
def test_refused_vectors(vector: dict[str, str]) -> None:
    """I05: among them the bare DID, which says nothing of what the identity is now."""
    assert vector["says"] in said(vector["uri"])


@given(cards)
def test_a_card_is_read_as_it_was_written(card: ContactCard) -> None:
    text = str(card)
    assert ContactCard.parse(text) == card
    assert ContactCard.parse(f"\n {card.qr_text[:40]}\r\n\t{card.qr_text[40:]} ") == card
    assert re.fullmatch(r"WALYTIS-ID:[A-Z2-7]+", card.qr_text)
    assert len(text) <= MAX_CHARS


def test_the_largest_card_is_read_from_a_qr_code():
    """I05: eight heads, a name, a node and as many addresses as fit."""
    address = "x" * 255
    card = replace(FULL, heads=HEADS[:MAX_HEADS], name="x" * MAX_NAME_BYTES, addresses=("/ip4/1.2.3.4/tcp/5",) * 8)
    assert ContactCard.parse(str(card)) == card
    assert segno.make(card.qr_text, error="m").mode == "alphanumeric"
    with pytest.raises(InvalidInputError, match="fewer addresses"):
        replace(card, addresses=(address,))
    assert len(str(replace(FULL, addresses=(address,)))) <= MAX_CHARS


def test_every_cut_and_every_mistyped_letter_is_found():
    text = str(FULL)
    for at in range(len("walytis-id:"), len(text)):
        assert "cut short" in said(text[:at])
        for letter in ("a" if text[at] != "a" else "b", "1"):
            assert re.search("mistyped|cut short", said(text[:at] + letter + text[at + 1 :]))
    assert "too long" in said("walytis-id:" + "a" * 10_000)


def test_a_card_and_an_invitation_are_told_apart():
    """I05: also where the scheme of one is put before the other."""
    invitation = Invitation(chain_id=CHAIN, issuer=NODE)
    assert "not a contact card" in said(str(invitation))
    assert "mistyped" in said("walytis-id:" + str(invitation).removeprefix("walytis:"))
    for text in (str(FULL), "walytis:" + str(FULL).removeprefix("walytis-id:")):
        with pytest.raises(InvalidInputError):
            Invitation.parse(text)


@given(st.randoms(use_true_random=False))
def test_odd_bytes_under_a_good_checksum_are_refused_or_read_back(rng: random.Random) -> None:
    data = bytearray(ARMOUR.read(str(FULL))[1])
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(3):
            case 0:
                data[at : at + 1] = rng.randbytes(1)
            case 1:
                del data[at:][: rng.randint(1, 20)]
            case _:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
    text = ARMOUR.write(1, bytes(data))
    assert outcome(text) in (text, MALFORMED)


@given(st.binary(max_size=400), st.integers(0, 255))
def test_any_bytes_are_refused_or_read_back(data: bytes, version: int) -> None:
    text = ARMOUR.write(version, data)
    expected = (text, MALFORMED) if version <= 1 else ("the contact card needs a newer version of this program",)
    assert outcome(text) in expected


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": BlockId(bytes(36))},
        {"heads": ()},
        {"heads": HEADS},
        {"heads": HEADS[1::-1]},
        {"heads": HEADS[:1] * 2},
        {"heads": (BlockId(bytes(36)),)},
        {"epoch": -1},
        {"epoch": 2**53},
        {"node_key": bytes(31)},
        {"node_key": None},
        {"name": "x" * (MAX_NAME_BYTES + 1)},
        {"name": "a\nb"},
        {"addresses": ("/ip4/192.0.2.1/tcp/1",) * 9},
        {"addresses": ("a b",)},
        {"addresses": ("x" * 256,)},
    ],
    ids=repr,
)
def test_fields_outside_their_limits_are_refused(change: dict[str, Any]) -> None:
    """I05: a card without heads is none; addresses are those of a node."""
    with pytest.raises(InvalidInputError):
        replace(FULL, **change)
