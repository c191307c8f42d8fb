"""Those who were invited by one node find each other, and go on when it leaves; what a given key may do after a restart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.suites.nodes import assert_sound, join, open_node, until, until_same
from walytis_core import Ed25519Signer, Libp2pNetwork, LockedError, MemoryHub, Node
from walytis_core.limits import Limits
from walytis_core.messages import Peers, decode, encode


def test_invited_by_one_they_go_on_without_it() -> None:
    """C38: peers of one chain are introduced to each other; those of another chain are not."""
    hub = MemoryHub()
    with Node.in_memory(hub) as bob, Node.in_memory(hub) as carol, Node.in_memory(hub) as other:
        with Node.in_memory(hub) as alice:
            chain = alice.create_chain("notes")
            elsewhere = alice.create_chain("elsewhere")
            copies = [join(bob, chain), join(carol, chain)]
            apart = join(other, elsewhere)
            until(lambda: all(len(copy.peers()) == 2 for copy in copies), what="bob and carol meet")
            assert [one.peer for one in apart.peers()] == [alice.peer_id]
        copies[0].append(b"without alice")
        until_same(*copies, count=1)
        assert not apart.peers()
        for copy in copies:
            assert_sound(copy)


def test_invited_by_one_they_go_on_without_it_over_libp2p(tmp_path: Path) -> None:
    """C38: the same over real sockets, where addresses come from identify."""
    with Node.open(tmp_path / "b", network=Libp2pNetwork()) as bob, Node.open(tmp_path / "c") as carol:
        with Node.open(tmp_path / "a") as alice:
            chain = alice.create_chain("notes")
            copies = [join(bob, chain), join(carol, chain)]
            until(lambda: all(len(copy.peers()) == 2 for copy in copies), what="bob and carol meet")
        copies[1].append(b"without alice")
        until_same(*copies, count=1)


def test_an_introduction_survives_the_codec() -> None:
    """C36: introductions are bounded; more peers, more addresses or longer ones do not parse."""
    fine = Peers((("p" * Limits.max_address_chars, ("a",) * Limits.addresses_per_peer),) * Limits.peers_per_message)
    assert decode(encode(fine)) == fine


def test_a_given_key_is_given_again(tmp_path: Path) -> None:
    """C27: a chain that is written with the app's own key never gets another one by itself."""
    hub = MemoryHub()
    signer = Ed25519Signer(os.urandom(32))
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes", writers=[], signer=signer)
        chain.append(b"1")
        id = chain.id
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain(id)
        assert chain.author == signer.key
        with pytest.raises(LockedError):
            chain.append(b"2")
        assert len(chain) == 1
    node = Node.open(tmp_path / "a", network=Libp2pNetwork(listen=[]), signers={id: signer})
    with node:
        assert node.chain(id).append(b"2").author == signer.key
        assert_sound(node.chain(id))
