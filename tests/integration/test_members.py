"""Chains that the members of an identity read: met and heard under the secrets that these share, until they are members no more."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.suites.nodes import WITHIN_S, Circle, assert_sound, join, payloads, until, until_same
from walytis_core import Chain, Libp2pNetwork, Node
from walytis_core.network import MemoryHub, MemoryNetwork
from walytis_core.network.port import Network
from walytis_core.seals import ChainKeys, ChainSecret

DID = "did:walytis:bafyreidjlj53zfh3bfsoauf5y36oqxmwhav474holttadpt7ika72fmvty"
FIRST, SECOND, THIRD = (ChainSecret(number, bytes([number]) * 32) for number in (1, 2, 3))
Open = Callable[..., tuple[Node, Circle]]


@pytest.fixture(params=["memory", pytest.param("libp2p", marks=[pytest.mark.libp2p, pytest.mark.slow])])
def networks(request: pytest.FixtureRequest) -> Callable[[], Network]:
    """Makes networks that reach each other."""
    hub = MemoryHub()
    return Libp2pNetwork if request.param == "libp2p" else lambda: MemoryNetwork(hub)


@pytest.fixture
def open(tmp_path: Path, networks: Callable[[], Network]) -> Iterator[Open]:
    """Opens a node in a folder of this name, with its own view of the identity."""
    with ExitStack() as stack:

        def make(name: str, *shared: ChainSecret) -> tuple[Node, Circle]:
            circle = Circle(DID)
            circle.shared = list(shared)
            return stack.enter_context(Node.open(tmp_path / name, network=networks(), members=circle)), circle

        yield make


def adopt(node: Node, chain: Chain, host: Node) -> Chain:
    return node.adopt(chain.genesis, name="ours", addresses=host.addresses())


def numbers(node: Node, chain: Chain) -> list[int | None]:
    return [keys.number for keys in node._service.chains[chain.id].keys]


def channel(chain: Chain, secret: ChainSecret) -> str:
    return ChainKeys(chain.id, secret).channel


def test_reading_ends_with_removal(open: Open) -> None:
    """C42: members meet; one that is removed keeps what it has, and gets nothing more, by no stream and no channel."""
    opened = [open(name, FIRST) for name in ("alice", "bob", "carol")]
    (alice, of_alice), (bob, of_bob), (carol, _) = opened
    for _, circle in opened:
        circle.members = {node.key for node, _ in opened}
    chain = alice.create_chain("ours", readers=DID)
    theirs, removed = adopt(bob, chain, alice), adopt(carol, chain, alice)
    chain.append(b"for all")
    until_same(chain, theirs, removed, count=1)
    for circle in (of_alice, of_bob):
        circle.members = {alice.key, bob.key}
        circle.shared = [SECOND]
    alice.members_changed(DID)
    bob.members_changed(DID)
    until(lambda: not removed.peers(), what="streams with the one that was removed end")
    until(theirs.peers)
    chain.append(b"for those who are left")
    removed.append(b"from outside")
    until_same(chain, theirs, count=2)
    assert payloads(removed) == [b"for all", b"from outside"]
    until(lambda: {info.node_key for info in chain.peers()} == {bob.key}, what="they meet again under the new secret")
    for node in (alice, bob):
        assert numbers(node, chain) == [2]
        assert carol.peer_id not in node._network.on_channel(channel(chain, SECOND))
    assert_sound(chain)


def test_a_member_that_is_behind(open: Open) -> None:
    """C42: in the overlap the older secret still opens a stream; when it is over, such streams end and new ones are opened."""
    (alice, of_alice), (bob, of_bob) = open("alice", SECOND, FIRST), open("bob", FIRST)
    chain = alice.create_chain("ours", readers=DID)
    theirs = adopt(bob, chain, alice)
    chain.append(b"one")
    until_same(chain, theirs, count=1)
    assert (numbers(alice, chain), numbers(bob, chain)) == ([2, 1], [1])
    of_bob.shared = [SECOND, FIRST]
    bob.members_changed(DID)
    until(lambda: numbers(bob, chain) == [2, 1])
    theirs.append(b"two")
    until_same(chain, theirs, count=2)
    (before,) = bob._service.chains[chain.id].sessions.values()
    for node, circle in ((alice, of_alice), (bob, of_bob)):
        circle.shared = [SECOND]
        node.members_changed(DID)
    until(lambda: before.ended.is_set() and theirs.peers() and chain.peers())
    (after,) = bob._service.chains[chain.id].sessions.values()
    assert (before.keys.number, after.keys.number) == (1, 2)
    chain.append(b"three")
    until_same(chain, theirs, count=3)


def test_gossip_goes_over_the_newest_channel(open: Open) -> None:
    """C42: a member without a stream hears what is said under the newest secret; channels of others are left."""
    (alice, of_alice), (bob, of_bob) = open("alice", FIRST), open("bob", FIRST)
    chain = alice.create_chain("ours", readers=DID)
    theirs = adopt(bob, chain, alice)
    until(theirs.peers)
    assert alice._network.on_channel(channel(chain, FIRST)) == [bob.peer_id]
    for circle, node in ((of_alice, alice), (of_bob, bob)):
        circle.shared = [THIRD, SECOND]
        node.members_changed(DID)
    until(lambda: list(alice._network.on_channel(channel(chain, THIRD))) == [bob.peer_id])
    until(lambda: list(alice._network.on_channel(channel(chain, SECOND))) == [bob.peer_id])
    until(lambda: not alice._network.on_channel(channel(chain, FIRST)))
    of_bob.shared = [SECOND]  # so it is no member of the newest epoch any more, as far as it knows
    bob.members_changed(DID)
    until(lambda: not alice._network.on_channel(channel(chain, THIRD)))
    chain.append(b"by a stream under the older one")
    until_same(chain, theirs, count=1)


def test_no_secret_no_meeting(open: Open, networks: Callable[[], Network], tmp_path: Path) -> None:
    """C42, C46: without secrets, or anyone who knows them, a chain is read and written here alone; then it meets."""
    alice, of_alice = open("alice")
    chain = alice.create_chain("ours", readers=DID)
    chain.append(b"alone")
    with Node.open(tmp_path / "bob", network=networks()) as bob:
        theirs = adopt(bob, chain, alice)
        theirs.append(b"alone, too")
        until(lambda: chain.id in bob._service.chains and bob._service.chains[chain.id].is_running)
        assert numbers(alice, chain) == numbers(bob, chain) == []
        assert not theirs.peers()
        of_alice.shared = [FIRST]
        alice.members_changed("did:walytis:of-somebody-else")
        alice.members_changed(DID)
        circle = Circle(DID)
        circle.shared = [FIRST]
        bob.use_members(circle)
        until_same(chain, theirs, count=2)


def test_a_member_that_is_removed_and_knows_the_secret(open: Open) -> None:
    """C42: whoever is not admitted is not let in, and a stream that is open ends; what is on the channel it can hear."""
    (alice, of_alice), (bob, of_bob) = open("alice", FIRST), open("bob", FIRST)
    chain = alice.create_chain("ours", readers=DID)
    theirs = adopt(bob, chain, alice)
    until(theirs.peers)
    of_alice.members = {alice.key}
    alice.members_changed(DID)
    until(lambda: not chain.peers())
    until(lambda: not theirs.peers())
    of_bob.members = {bob.key}  # and the other way round, for who opens the stream
    of_alice.members = {alice.key, bob.key}
    alice.members_changed(DID)
    bob.members_changed(DID)
    refused = sum(alice.stats.refused.values()) + sum(bob.stats.refused.values())
    until(lambda: sum(alice.stats.refused.values()) + sum(bob.stats.refused.values()) > refused)
    until(lambda: not chain.peers())  # who opened it asks last
    assert not theirs.peers()


def test_a_removal_while_a_stream_is_being_opened(open: Open) -> None:
    """C42: who was admitted just before is asked about once more."""
    (alice, of_alice), (bob, _) = open("alice", FIRST), open("bob", FIRST)
    asked, answer, answers = threading.Event(), threading.Event(), [True]

    def admits(_did: str, _key: bytes) -> bool:
        result = answers.pop() if answers else False
        if result:
            asked.set()
            answer.wait(WITHIN_S)
        return result

    of_alice._admits = admits
    chain = alice.create_chain("ours", readers=DID)
    theirs = adopt(bob, chain, alice)
    assert asked.wait(WITHIN_S)
    service = alice._service.chains[chain.id]
    service._left_alone["nobody"] = math.inf  # until all streams were looked at
    alice.members_changed(DID)
    until(lambda: "nobody" not in service._left_alone)
    answer.set()
    until(lambda: service.last_contact, what="a stream was opened, and has ended")
    assert not chain.peers()
    until(lambda: not theirs.peers())


def test_an_invitation_brings_no_secret(open: Open) -> None:
    """C40, C42: of such a chain it hands over the first block; members have the secret from elsewhere."""
    (alice, _), (bob, _), (carol, _) = open("alice", FIRST), open("bob", FIRST), open("carol")
    chain = alice.create_chain("ours", readers=DID)
    chain.append(b"one")
    until_same(chain, join(bob, chain), count=1)
    waiting = carol.join(str(chain.invite()))
    until(lambda: len(carol.chains()) == 1)
    assert not waiting.done()
    assert not len(carol.chain("ours"))
    assert carol._secrets.secret(chain.id) is None
