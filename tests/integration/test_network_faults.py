"""Networks that go and come back, peers that die, and chains that do not disturb each other."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.suites.nodes import WITHIN_S, assert_sound, join, open_node, payloads, until, until_same
from walytis_core import Chain, Node, UnavailableError
from walytis_core.network import MemoryHub, Weather


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def nodes(hub: MemoryHub) -> Iterator[list[Node]]:
    with Node.in_memory(hub) as one, Node.in_memory(hub) as two, Node.in_memory(hub) as three:
        yield [one, two, three]


@pytest.fixture
def chains(nodes: list[Node]) -> list[Chain]:
    chain = nodes[0].create_chain("notes")
    return [chain, *(join(node, chain) for node in nodes[1:])]


def is_alone(chain: Chain) -> bool:
    return not chain.peers()


def has_last_spoken(copy: Chain, node: Node, chain: Chain) -> bool:
    """Has a peer say something, and tells whether it stands first."""
    copy.append(b"said")
    return [info.peer for info in chain.peers()][:1] == [node.peer_id]


def has_more_than(chain: Chain, count: int) -> bool:
    return len(chain) > count


@pytest.mark.slow
def test_the_network_goes_down_and_up(hub: MemoryHub, nodes: list[Node], chains: list[Chain]) -> None:
    """C37, C30: all links break several times while everyone writes; no node is restarted; all come together again."""
    for turn in range(3):
        hub.split(*([node.peer_id] for node in nodes))
        for chain in chains:
            until(partial(is_alone, chain))
            chain.append(b"alone %d" % turn)
        hub.heal()
        for chain in chains:
            chain.append(b"together %d" % turn)
        until_same(*chains, count=6 * (turn + 1), within_s=30)
    for chain in chains:
        assert_sound(chain)
        assert {head.short for head in chain.heads} == {head.short for head in chains[0].heads}


def test_bad_weather(tmp_path: Path) -> None:
    """C37: with messages lost, doubled and reordered, everything comes through."""
    hub = MemoryHub(Weather(7, latency_s=0.002, jitter_s=0.01, loss=0.3, duplicate=0.1, reorder=0.2, reorder_s=0.02))
    with open_node(tmp_path / "a", hub) as one, open_node(tmp_path / "b", hub) as two:
        chain = one.create_chain("notes")
        copy = join(two, chain)
        for number in range(50):
            (chain, copy)[number % 2].append(b"%d" % number)
        until_same(chain, copy, count=50, within_s=30)
        assert_sound(copy)


def test_gossip_alone(hub: MemoryHub) -> None:
    """C31: nodes without open streams hear each other over the channel, and repair what was lost."""
    with (
        Node.in_memory(hub, neighbours=0) as one,
        Node.in_memory(hub, neighbours=0) as two,
    ):
        chain = one.create_chain("notes")
        copy = join(two, chain)
        for number in range(30):
            chain.append(b"%d" % number)
        until_same(chain, copy, count=30)
        assert_sound(copy)


def test_peers_are_online_ones_only(hub: MemoryHub, nodes: list[Node], chains: list[Chain]) -> None:
    """C38: online ones only, most recent first, with their proven node keys."""
    chain = chains[0]
    until(lambda: len(chain.peers()) == 2)
    for speaks, is_silent in ((2, 1), (1, 2)):
        with chains[is_silent].engine.exclusive():  # else it answers to what it hears, and is the most recent again
            until(partial(has_last_spoken, chains[speaks], nodes[speaks], chain))
    times = [info.last_contact for info in chain.peers()]
    assert times == sorted(times, reverse=True)
    keys = {node.peer_id: node.signer.key[2:] for node in nodes[1:]}
    until(lambda: {info.peer: info.node_key for info in chain.peers()} == keys)
    last = chain.status().last_contact
    hub.cut(nodes[1].peer_id)
    until(lambda: [info.peer for info in chain.peers()] == [nodes[2].peer_id])
    until(lambda: chain.status().peers == 1)
    assert (chain.status().last_contact or 0) >= (last or 0)


def test_chains_share_no_peers(hub: MemoryHub, nodes: list[Node]) -> None:
    """C38: two chains on one node share no peer list or cache."""
    left, right = nodes[0].create_chain("left"), nodes[0].create_chain("right")
    left_copy, right_copy = join(nodes[1], left), join(nodes[2], right)
    left.append(b"left")
    right.append(b"right")
    until_same(left, left_copy, count=1)
    until_same(right, right_copy, count=1)
    until(lambda: {info.peer for info in left.peers()} == {nodes[1].peer_id})
    until(lambda: {info.peer for info in right.peers()} == {nodes[2].peer_id})
    assert payloads(left) == payloads(left_copy) == [b"left"]
    assert next(left.blocks()).id not in right
    hub.cut(nodes[1].peer_id)
    until(lambda: right.peers() and not left.peers())


def test_a_slow_chain_holds_up_no_other(hub: MemoryHub, nodes: list[Node]) -> None:
    """C38: while one chain is busy (its lock is held) and many peers talk to it, another goes on."""
    slow, quick = nodes[0].create_chain("slow"), nodes[0].create_chain("quick")
    quick_copy = join(nodes[1], quick)
    others = [Node.in_memory(hub) for _ in range(8)]
    try:
        slow_copies = [join(other, slow) for other in others]
        until(lambda: len(slow.peers()) == 8)
        with slow.engine.exclusive():
            for number, copy in enumerate(slow_copies):
                copy.append(b"%d" % number)
            quick_copy.append(b"from the peer")
            until(lambda: b"from the peer" in payloads(quick))
            quick.append(b"to the peer")
            until(lambda: b"to the peer" in payloads(quick_copy))
            assert len(slow) == 0
        until_same(slow, *slow_copies, count=8)
    finally:
        for other in others:
            other.close()


def test_a_slow_follower_holds_up_nobody(nodes: list[Node], chains: list[Chain]) -> None:
    """C38: a handler that blocks keeps no block from others, nor from other followers."""
    go_on = threading.Event()
    slow: list[object] = []

    def wait(event: object) -> None:
        go_on.wait(50)
        slow.append(event)

    chains[0].follow(wait, name="slow")
    quick: list[object] = []
    chains[0].follow(quick.append, name="quick")
    for number in range(50):
        chains[number % 3].append(b"%d" % number)
    until(lambda: len(quick) == 50)
    until_same(*chains, count=50)
    assert not slow
    go_on.set()
    until(lambda: len(slow) == 50)


@pytest.mark.slow
def test_deleting_while_syncing(hub: MemoryHub, nodes: list[Node], chains: list[Chain]) -> None:
    """C27: a chain deleted in the middle of a stream of blocks leaves no trace and no error; it can be joined again."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set() and len(chains[0]) < 4000:
            chains[0].append_many([b"x" * 500] * 20)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            copy = nodes[1].chains()[0]
            until(partial(has_more_than, copy, 20))
            nodes[1].delete_chain(copy)
            assert nodes[1].chains() == []
            assert nodes[1].stats.blocks == 0
            join(nodes[1], chains[0], 30)
    finally:
        stop.set()
        writer.join()
    again = nodes[1].chains()[0]
    until_same(chains[0], again, chains[2], within_s=30)
    assert_sound(again)
    assert nodes[1].stats.network == "up"


def test_a_rejoined_chain_hears_gossip(hub: MemoryHub) -> None:
    """C27: after deleting and joining again at once, the channel is listened to again."""
    with Node.in_memory(hub, neighbours=0) as one, Node.in_memory(hub, neighbours=0) as two:
        chain = one.create_chain("notes")
        uri = str(chain.invite())
        for turn in range(5):
            copy = two.join(uri).result(WITHIN_S)
            chain.append(b"%d" % turn)
            until_same(chain, copy, count=turn + 1)
            two.delete_chain(copy)


def test_neighbours_that_are_many(hub: MemoryHub) -> None:
    """C38: with more peers than streams, everyone still gets everything."""
    nodes = [Node.in_memory(hub, neighbours=2) for _ in range(8)]
    try:
        chain = nodes[0].create_chain("notes", readers="everyone")
        uri = str(chain.invite())
        chains = [chain, *(node.join(uri).result(WITHIN_S) for node in nodes[1:])]
        for number, one in enumerate(chains):
            one.append(b"%d" % number)
        until_same(*chains, count=8, within_s=30)
    finally:
        for node in nodes:
            node.close()


# --- real sockets and processes ----------------------------------------------------------------------------------


@pytest.mark.libp2p
@pytest.mark.slow
def test_a_peer_restarts(tmp_path: Path) -> None:
    """C37: over real libp2p: a peer closes and comes back on its port; the other finds it again by itself."""
    with Node.open(tmp_path / "b") as other:
        with Node.open(tmp_path / "a") as node:
            chain = node.create_chain("notes")
            chain.append(b"1")
            copy = join(other, chain)
        until(lambda: not copy.peers())
        copy.append(b"2")
        for turn in range(2):
            with Node.open(tmp_path / "a") as node:
                chain = node.chain("notes")
                chain.append(b"again %d" % turn)
                until_same(chain, copy, count=3 + turn, within_s=30)
            until(lambda: not copy.peers())


@pytest.mark.libp2p
@pytest.mark.slow
def test_connections_that_break(tmp_path: Path) -> None:
    """C37: over real libp2p: every connection is dropped, again and again; nobody restarts."""
    with Node.open(tmp_path / "a") as node, Node.open(tmp_path / "b") as other:
        chain = node.create_chain("notes")
        copy = join(other, chain)
        for turn in range(4):
            one, two = (node, other) if turn % 2 else (other, node)
            one._life.loop.call(partial(one._network.disconnect, two.peer_id))
            chain.append(b"a%d" % turn)
            copy.append(b"b%d" % turn)
            until_same(chain, copy, count=2 * turn + 2, within_s=30)
        assert_sound(copy)


_PEER = """
import sys
from walytis_core import Node
with Node.open(sys.argv[1]) as node:
    chain = node.join(sys.argv[2]).result(20) if len(sys.argv) > 2 else node.chains()[0]
    for word in sys.argv[3:4]:
        chain.append(word.encode())
    print("ready", flush=True)
    for event in chain.follow(name="inbox"):
        print(event.block.payload.decode(), flush=True)
        event.ack()
        if event.block.payload.startswith(b"say "):
            chain.append(b"said " + event.block.payload[4:])
"""


class Peer:
    """A node in a process of its own, which answers what is said to it."""

    def __init__(self, *words: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PEER, *words], stdout=subprocess.PIPE, text=True, env=environment
        )

    def wait_for(self, line: str) -> None:
        assert self.process.stdout is not None
        for heard in self.process.stdout:
            if heard.rstrip("\n") == line:
                return
        raise AssertionError(f"the peer ended before it said {line!r}")

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.libp2p
@pytest.mark.slow
def test_a_peer_that_is_killed_after_joining_finds_back(tmp_path: Path) -> None:
    """C22, C37: killed by SIGKILL right after its join, it knows its chain and its peers at the next start."""
    with Node.open(tmp_path / "a") as node:
        chain = node.create_chain("notes")
        chain.append(b"1")
        peer = Peer(str(tmp_path / "b"), str(chain.invite()), "hello")
        try:
            peer.wait_for("ready")
            until(lambda: b"hello" in payloads(chain))
        finally:
            peer.kill()
        until(lambda: not chain.peers())
        chain.append(b"say one")
        peer = Peer(str(tmp_path / "b"))
        try:
            peer.wait_for("ready")
            until(lambda: b"said one" in payloads(chain), 30)
        finally:
            peer.kill()
        assert payloads(chain).count(b"said one") == 1
        assert_sound(chain)
    with Node.open(tmp_path / "b") as other:
        assert_sound(other.chain("notes"))


@pytest.mark.libp2p
@pytest.mark.slow
def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """C37: the old port is gone: another is taken, and local use never notices."""
    with Node.open(tmp_path / "a") as node:
        node.create_chain("notes").append(b"1")
        port = int(node.addresses()[0].split("/")[4])
    until((tmp_path / "a").exists)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with Node.open(tmp_path / "a") as node:
            assert int(node.addresses()[0].split("/")[4]) != port
            node.chain("notes").append(b"2")


def test_without_a_network(tmp_path: Path) -> None:
    """C37: a transport that cannot start: local use goes on; what needs the network says so, and nothing hangs."""
    hub = MemoryHub()
    with open_node(tmp_path / "a", hub) as first:
        first.create_chain("notes").append(b"1")
        seed = (tmp_path / "a" / "keys" / "node").read_bytes()
        (tmp_path / "b" / "keys").mkdir(parents=True, mode=0o700)
        (tmp_path / "b" / "keys" / "node").write_bytes(seed)
        uri = str(first.chain("notes").invite())
        with open_node(tmp_path / "b", hub) as twin, Node.in_memory(hub):
            chain = twin.create_chain("alone")
            chain.append(b"1")
            assert payloads(chain) == [b"1"]
            for call in (twin.addresses, chain.invite, lambda: twin.connect(first.addresses()).result(5)):
                with pytest.raises(UnavailableError) as caught:
                    call()
                assert "key" in str(caught.value)
            assert "key" in twin.stats.network
            assert uri
