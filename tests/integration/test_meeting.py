"""Those who were invited by one node find each other, and go on when it leaves; what a given key may do after a restart."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest

from tests.suites.nodes import WITHIN_S, assert_sound, join, open_node, until, until_same
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
            until(lambda: [one.peer for one in apart.peers()] == [alice.peer_id], what="of the other chain alice alone")
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


def test_a_peer_is_online_from_one_stream_to_the_next() -> None:
    """C38: a stream that takes the place of another, as where both ends opened one at once, does not look like a loss."""
    hub = MemoryHub()
    with Node.in_memory(hub) as alice, Node.in_memory(hub) as bob:
        chain = alice.create_chain("notes")
        copy = join(bob, chain)
        until(lambda: bool(chain.peers() and copy.peers()), what="alice and bob meet")
        # the stream that the first opens is the one that stays
        first, second = sorted((alice, bob), key=lambda node: node.peer_id)
        service = first._service.chains[chain.id]
        links = service.engine.replica.sync.links
        for _ in range(5):
            old, counts, end = service.sessions[second.peer_id], set[int](), time.monotonic() + WITHIN_S
            first._life.loop.spawn(partial(service._initiate, second.peer_id))
            while service.sessions.get(second.peer_id, old) is old or second.peer_id not in links:
                counts.add(len(service.peers()))  # as often as can be
                assert time.monotonic() < end
            assert counts == {1}
        second.close()
        until(lambda: not service.peers(), what="the second is gone")


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


# --- what a directory keeps of addresses ---------------------------------------------------------------------------


@pytest.mark.parametrize("joins", [True, False], ids=["who joined", "who was joined"])
def test_peers_are_on_the_disk_while_the_node_runs(joins: bool) -> None:
    """C22: a node that is killed finds the peers of its chains again."""
    hub = MemoryHub()
    with Node.in_memory(hub) as alice, Node.in_memory(hub) as bob:
        chain = alice.create_chain("notes")
        copy = join(bob, chain)
        mine, peer = (copy, alice.peer_id) if joins else (chain, bob.peer_id)
        until(lambda: peer.encode() in (mine.tables.get("peers") or b""), what="the peer is kept")


@pytest.mark.libp2p
def test_a_node_listens_where_it_did(tmp_path: Path) -> None:
    """On each of its addresses, where it may choose the port; without its own network on loopback."""
    listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.2/tcp/0"]

    def addresses(network: Libp2pNetwork | None) -> set[str]:
        with Node.open(tmp_path, network=network) as node:
            return set(node.addresses())

    first = addresses(Libp2pNetwork(listen=listen))
    assert len(first) == 2
    assert addresses(Libp2pNetwork(listen=listen)) == first
    (alone,) = addresses(None)
    assert alone in first
    assert addresses(None) == {alone}
