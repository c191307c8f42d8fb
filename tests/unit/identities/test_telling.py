"""Names that travel with notes: what a chain is called where it was made is what the other devices call it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from identities.acts import OPENED
from identities.bundles import Told
from identities.identity import Identity
from identities.notes import NAME, name_note, read_name
from identities.suites import ED25519
from tests.suites.identity_nodes import Town, all_have_keys, town, until_agreed
from tests.suites.nodes import until
from walytis_core import BlockId, Chain, RemoteError, cbor

CHAIN = bytes(BlockId.of(b"some chain"))


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


@pytest.fixture
def alice(here: Town) -> Identity:
    return here.house("laptop").identities.create("alice", suite=ED25519)[0]


def copy_at(here: Town, house: str, chain: Chain) -> Chain:
    """The copy that another device takes up."""
    node = here.house(house).node
    until(lambda: any(one.id == chain.id for one in node.chains()), what=f"{house} takes the chain up")
    return next(one for one in node.chains() if one.id == chain.id)


def test_what_a_note_says_of_a_name() -> None:
    """One way to write it; what is none, is too long, or could not be shown, is refused; a name is shortened, or not told."""
    data = name_note(CHAIN, "diary")
    assert data is not None
    assert read_name(data) == (CHAIN, "diary")
    assert read_name(name_note(CHAIN, "é" * 40) or b"") == (CHAIN, "é" * 16)
    assert read_name(name_note(CHAIN, "a\nb") or b"") == (CHAIN, "ab")
    assert name_note(CHAIN, "\n") is None
    wires: tuple[Any, ...] = (
        [CHAIN, ""], [CHAIN, " "], [CHAIN, " x"], [CHAIN, "a\nb"], [CHAIN, "\u202eevil"], [CHAIN, "x" * 33], [CHAIN[:-1], "x"], [CHAIN, b"x"], [CHAIN],
        [CHAIN, str(BlockId(CHAIN))], [CHAIN, "x", "y"], {}, None,
    )  # fmt: skip
    for wire in wires:
        with pytest.raises(RemoteError):
            read_name(cbor.encode(wire))
    with pytest.raises(RemoteError):
        read_name(b"\xff" * 200)


def test_chains_have_the_name_they_were_made_with(here: Town, alice: Identity) -> None:
    """I22: on a device that is there, and on one that comes later; where the name is taken, with a number."""
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    here.house("phone").node.create_chain("diary")
    chain = alice.create_chain("diary")
    assert copy_at(here, "phone", chain).name == "diary-2"
    here.join(alice, "tablet")
    assert copy_at(here, "tablet", chain).name == "diary"


def test_groups_have_the_name_they_were_made_with(here: Town, alice: Identity) -> None:
    """I22: on the other devices of who made one, and its chains on all of them."""
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    club = here.house("laptop").identities.create("club", controller=alice, suite=ED25519)[0]
    theirs = here.house("phone").identities
    until(lambda: any(one.did == club.did for one in theirs.all()), what="the phone has the club")
    also = theirs.get("club")
    assert also.did == club.did
    until(lambda: all_have_keys(also))
    assert copy_at(here, "phone", club.create_chain("talk")).name == "talk"
    assert copy_at(here, "laptop", also.create_chain("plans")).name == "plans"


def test_names_that_nobody_would_take(here: Town, alice: Identity) -> None:
    """A name is a suggestion: one that is hostile, told twice or of something else keeps no chain from being held."""
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    laptop = here.house("laptop")
    made = [laptop.node.create_chain(f"x{n}", readers=alice.did, signer=alice._held.device_signer) for n in range(3)]
    with laptop.identities._home.lock:
        alice.note(NAME, cbor.encode([bytes(made[0].id), "evil\u202e"]))
        alice.note(NAME, b"garbage")
        alice.note(NAME, cbor.encode([bytes(made[1].id), "first"]))
        alice.note(NAME, cbor.encode([bytes(made[1].id), "second"]))
        for chain in made:
            alice._held.actor.act(OPENED, chain.genesis)
    names = [copy_at(here, "phone", chain).name for chain in made]
    assert names == ["alice-chain", "first", "alice-chain-2"]
    assert here.house("phone").identities.failure is None


def test_a_name_that_is_on_its_way_is_waited_for_a_while(here: Town, alice: Identity) -> None:
    """I22: a device that cannot read all notes waits for what is handed on to it, and not for ever."""
    groups, telling = alice._held.groups, alice._held.groups.telling
    with here.house("laptop").identities._home.lock:  # its own work waits meanwhile
        telling.take_handed(Told(NAME, name_note(CHAIN, "of before") or b""))
        telling.read(alice.folded)
        assert telling.name_of(CHAIN) == "of before"
        chain = alice.create_chain("mine")
        alice.note("app", b"something")
        assert telling.has_unread(alice.folded), "as if they were of before this device came"
        (act,) = alice.folded.authority.counted(OPENED)
        here.house("laptop").node.delete_chain(chain)
        due = groups._hold_chain(act, alice.folded, 100.0)
        assert 100.0 < due <= 110.0
        assert alice.chains() == []
        assert groups._hold_chain(act, alice.folded, due) == float("inf")
        assert [one.name for one in alice.chains()] == ["alice-chain"]
        telling.read(alice.folded)
        assert not telling.has_unread(alice.folded)
