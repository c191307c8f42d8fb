"""Mixed chains: embedded nodes and nodes behind a Kubo daemon, in every pairing, through absence, partition and restarts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.suites.kubo_daemon import Daemon
from tests.suites.mixed import PAIRS, READERS, Kind, Place, Settle, cids_of, settling, until_kept
from tests.suites.nodes import WITHIN_S, Crew, assert_sound, ids, join, payloads, until, until_same
from walytis_core import Arrived, Block, Chain, Limits

pytestmark = [pytest.mark.kubo, pytest.mark.libp2p]

pairs = pytest.mark.parametrize(("inviter", "joiner"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
readable = pytest.mark.parametrize("readers", READERS)
LOOPBACK = "/ip4/127.0.0.0/ipcidr/8"


@pytest.fixture
def settle(tmp_path: Path, kubo: Callable[..., Daemon]) -> Iterator[Settle]:
    with settling(tmp_path, kubo) as settle:
        yield settle


def shared(settle: Settle, inviter: Kind, joiner: Kind, readers: str = "secret") -> tuple[Place, Place, Chain, Chain]:
    """Two places whose nodes share a chain of three blocks."""
    one, other = settle(inviter), settle(joiner)
    chain = one.node.create_chain("notes", readers=readers)
    chain.append_many([b"0", b"1", b"2"])
    copy = join(other.node, chain)
    assert ids(copy) == ids(chain), "a join is over when all that the inviter holds is held"
    return one, other, chain, copy


def bring(copy: Chain, block: Block) -> bytes:
    """The long content of a block, fetched by another replica once it has the block."""
    until(lambda: block.id in copy)
    held = copy.block(block.id)
    assert not copy.has_content(held)
    return copy.fetch(held).result(WITHIN_S).payload


@pairs
@readable
def test_they_join_and_hear_each_other(settle: Settle, inviter: Kind, joiner: Kind, readers: str) -> None:
    """C44: join, and live blocks both ways, told to followers in order."""
    _, _, chain, copy = shared(settle, inviter, joiner, readers)
    feed, other_feed = chain.follow(), copy.follow()
    for number in range(10):
        writer, hearer = (chain, other_feed) if number % 2 else (copy, feed)
        said = writer.append(b"live %d" % number)
        while True:  # own blocks are told, too
            event = hearer.next(timeout=WITHIN_S)
            assert isinstance(event, Arrived)
            if event.block.id == said.id:
                break
    until_same(chain, copy, count=13)
    assert list(chain.linear()) == list(copy.linear())
    assert_sound(chain)
    assert_sound(copy)


@pairs
def test_long_content_comes_both_ways(settle: Settle, inviter: Kind, joiner: Kind) -> None:
    """C44, C50: content above the inline limit, of one leaf and of many, over the sync stream."""
    _, _, chain, copy = shared(settle, inviter, joiner)
    for size in (Limits.max_payload_bytes + 1, 3_000_000):
        payload = random.Random(size).randbytes(size)
        assert bring(copy, chain.append(payload)) == payload
        payload = random.Random(size + 1).randbytes(size)
        assert bring(chain, copy.append(payload)) == payload
    assert_sound(chain)
    assert_sound(copy)


@pairs
@readable
def test_who_was_absent_catches_up(settle: Settle, inviter: Kind, joiner: Kind, readers: str) -> None:
    """C44: either one is closed while the other writes (a daemon stays up without its node), and has all when it is back."""
    one, other, chain, copy = shared(settle, inviter, joiner, readers)
    other.close()
    for at in range(0, 300, 100):
        chain.append_many([b"while you were away %d" % number for number in range(at, at + 100)])
    copy = other.node.chain("notes")
    until_same(chain, copy, count=303)
    one.close()
    copy.append_many([b"and you %d" % number for number in range(100)])
    chain = one.node.chain("notes")
    until_same(chain, copy, count=403)
    chain.append(b"live again")
    until_same(chain, copy, count=404)
    assert_sound(chain)
    assert_sound(copy)


@pytest.mark.parametrize("other", ["embedded", "kubo"])
def test_a_partition_heals(settle: Settle, other: Kind) -> None:
    """C44, C30: the daemon refuses every connection for a while; both sides write; all comes together by itself."""
    one, _, chain, copy = shared(settle, "kubo", other)
    daemon = one.daemon
    for turn in range(2):
        daemon.ipfs("swarm", "filters", "add", LOOPBACK)
        for peer in daemon.peers():
            daemon.ipfs("swarm", "disconnect", f"/p2p/{peer}")
        until(lambda: not chain.peers() and not copy.peers(), what="both are alone")
        mine, theirs = chain.append(b"mine %d" % turn), copy.append(b"theirs %d" % turn)
        assert theirs.id not in chain
        assert mine.id not in copy
        daemon.ipfs("swarm", "filters", "rm", LOOPBACK)
        until_same(chain, copy, count=3 + 3 * turn + 2)
        assert set(chain.append(b"healed %d" % turn).ancestors_named) == {mine.id, theirs.id}
        until_same(chain, copy, count=3 + 3 * turn + 3)
    assert_sound(chain)
    assert_sound(copy)


@pairs
@pytest.mark.parametrize("end", [Daemon.stop, Daemon.kill], ids=["stopped", "killed"])
def test_a_daemon_restarts(settle: Settle, inviter: Kind, joiner: Kind, end: Callable[[Daemon], None]) -> None:
    """C37, C44: a daemon goes away, twice, while its node and the others go on writing; nobody is opened again."""
    one, other, chain, copy = shared(settle, inviter, joiner, "everyone")
    place, mine, theirs = (one, chain, copy) if inviter == "kubo" else (other, copy, chain)
    daemon = place.daemon
    for turn in range(2):
        end(daemon)
        until(lambda: not mine.peers() and not theirs.peers(), what="both are alone")
        alone = [mine.append(b"without a daemon %d" % turn), theirs.append(b"without you %d" % turn)]
        daemon.start()
        until_same(mine, theirs, count=3 + 4 * turn + 2)
        live = [mine.append(b"live %d" % turn), theirs.append(b"live, too %d" % turn)]
        until_same(mine, theirs, count=3 + 4 * turn + 4)
        until_kept(daemon, [block.id for block in alone + live])
    assert {str(block.id) for block in mine.blocks(author=mine.author)} <= daemon.pins()
    assert_sound(mine)
    assert_sound(theirs)


@pytest.mark.parametrize("other", ["embedded", "kubo"])
def test_another_daemon_takes_its_place(settle: Settle, other: Kind) -> None:
    """C37: a daemon that comes back empty and under another peer id is met as a new one; it gets all copies anew."""
    one, _, chain, copy = shared(settle, "kubo", other, "everyone")
    daemon = one.daemon
    until_kept(daemon, cids_of(chain))
    before = one.node.peer_id
    daemon.stop()
    daemon.renew()
    daemon.start()
    until(lambda: one.node.peer_id not in {before, ""}, what="the node is known by another peer id")
    assert one.node.peer_id == daemon.peer_id
    chain.append(b"of another")
    copy.append(b"to another")
    until_same(chain, copy, count=5)
    until_kept(daemon, cids_of(chain))
    assert {str(cid) for cid in cids_of(chain, chain.blocks(author=chain.author))} <= daemon.pins()


@pairs
@readable
def test_a_daemon_dies_within_a_join(settle: Settle, inviter: Kind, joiner: Kind, readers: str) -> None:
    """C37, C40: the join goes on when the daemon is back, and ends with all; no half chain is left."""
    one, other = settle(inviter), settle(joiner)
    chain = one.node.create_chain("notes", readers=readers)
    for _ in range(30):
        chain.append_many([bytes(3000)] * 100)
    daemon = (one if inviter == "kubo" else other).daemon
    pending = other.node.join(str(chain.invite()))
    until(lambda: pending.progress().held > 100, what="the join is under way")
    daemon.kill()
    daemon.start()
    copy = pending.result(60.0)
    assert ids(copy) == ids(chain)
    assert other.node.chains() == [copy]
    copy.append(b"joined")
    until_same(chain, copy, count=3001)


@pytest.mark.parametrize("other", ["embedded", "kubo"])
def test_a_node_opens_before_its_daemon(settle: Settle, other: Kind) -> None:
    """C37: without its daemon a node reads and writes, and says what is the matter; it goes online by itself."""
    one, _, chain, copy = shared(settle, "kubo", other)
    one.close()
    one.daemon.stop()
    chain = one.node.chain("notes")
    chain.append(b"offline")
    assert payloads(chain)[-1] == b"offline"
    until(lambda: "Kubo" in one.node.stats.network or "daemon" in one.node.stats.network, what="it says so")
    copy.append(b"online")
    one.daemon.start()
    until_same(chain, copy, count=5)
    assert one.node.stats.network == "up"
    late = settle("embedded")
    until_same(chain, copy, join(late.node, chain), count=5)


def test_many_of_both_kinds(settle: Settle) -> None:
    """C44: two of each kind, invited by different ones, all write at once; every replica ends with the same."""
    kinds: list[Kind] = ["embedded", "kubo", "kubo", "embedded"]
    nodes = [settle(kind).node for kind in kinds]
    chains = [nodes[0].create_chain("notes")]
    for node, inviting in zip(nodes[1:], (0, 1, 2), strict=True):
        chains.append(join(node, chains[inviting]))
    crew = Crew()
    for number, chain in enumerate(chains):
        for _ in range(10):
            crew.start(partial(chain.append, b"by %d" % number))
    crew.join()
    until_same(*chains, count=40)
    assert len({tuple(block.id for block in chain.linear()) for chain in chains}) == 1
    for chain in chains:
        assert_sound(chain)


def test_those_who_were_invited_by_one_go_on_without_it(settle: Settle) -> None:
    """C44, C38: an embedded and a Kubo-backed node meet through the one that invited both, and need it no more."""
    middle = settle("kubo")
    chain = middle.node.create_chain("notes")
    copies = [join(settle("embedded").node, chain), join(settle("kubo").node, chain)]
    until(lambda: all(len(copy.peers()) == 2 for copy in copies), what="they meet")
    middle.close()
    middle.daemon.kill()
    for copy in copies:
        copy.append(b"without the middle")
    until_same(*copies, count=2)


def test_two_chains_of_a_daemon_are_apart(settle: Settle) -> None:
    """C44, C38: a public and a secret chain on one daemon; each replica holds its own chain's blocks and no others."""
    one = settle("kubo").node
    chains = [one.create_chain(readers, readers=readers) for readers in READERS]
    copies = [join(settle("embedded").node, chain) for chain in chains]
    for chain, copy in zip(chains, copies, strict=True):
        chain.append(chain.name.encode())
        copy.append(copy.name.encode())
    for chain, copy in zip(chains, copies, strict=True):
        until_same(chain, copy, count=2)
        assert set(payloads(copy)) == {chain.name.encode()}
    assert not set(cids_of(chains[0])) & set(cids_of(chains[1]))
