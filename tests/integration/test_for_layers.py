"""What layers need of nodes: objects beside blocks, chains taken up by their first block, keys that come later."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from tests.suites.nodes import WITHIN_S, assert_sound, ids, join, until, until_same
from walytis_core import (
    Chain,
    Cid,
    ClosedError,
    Ed25519Signer,
    InvalidInputError,
    Libp2pNetwork,
    Limits,
    LockedError,
    Node,
    NotAllowedError,
    Reason,
    UnavailableError,
)
from walytis_core.network import MemoryHub, MemoryNetwork
from walytis_core.network.port import Network, Stream, StreamHandler
from walytis_core.pending import Pending
from walytis_core.policy import read_admit

Open = Callable[..., Node]
DATA = os.urandom(200_000)  # two parts


@pytest.fixture(params=["memory", pytest.param("libp2p", marks=[pytest.mark.libp2p, pytest.mark.slow])])
def networks(request: pytest.FixtureRequest) -> Callable[[], Network]:
    """Makes networks that reach each other."""
    hub = MemoryHub()
    return Libp2pNetwork if request.param == "libp2p" else lambda: MemoryNetwork(hub)


@pytest.fixture
def open(tmp_path: Path, networks: Callable[[], Network]) -> Iterator[Open]:
    """Opens a node in a folder of this name; again, once it was closed."""
    with ExitStack() as stack:

        def make(name: str, **options: object) -> Node:
            node = Node.open(tmp_path / name, network=networks(), **options)  # type: ignore[arg-type]
            return stack.enter_context(node)

        yield make


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.in_memory() as node:
        yield node


def signer() -> Ed25519Signer:
    return Ed25519Signer(os.urandom(32))


def refused(chain: Chain) -> int:
    return chain.status().refused.get(Reason.NOT_A_MEMBER.value, 0)


# --- objects beside blocks ---------------------------------------------------------------------------------------


def test_objects_go_to_those_who_may_have_them(open: Open) -> None:
    """C42, C50: a peer that proved a node key that was named gets it, any other hears that it is not held."""
    alice, bob, carol = open("alice"), open("bob"), open("carol")
    chain = alice.create_chain("notes", readers="everyone")
    of_bob, of_carol = join(bob, chain), join(carol, chain)
    cid = chain.keep(DATA)
    early, never = of_bob.fetch_kept(cid), of_carol.fetch_kept(cid)
    until(lambda: refused(chain) >= 2, what="nobody may have it before it is said who")
    chain.let_have("members", [bob.key])
    assert early.result(WITHIN_S) == of_bob.kept(cid) == DATA
    asked = refused(chain)
    until(lambda: refused(chain) + refused(of_bob) > asked)
    assert not never.done()
    assert of_carol.kept(cid) is None
    of_bob.let_have("members", [alice.key, carol.key])
    assert never.result(WITHIN_S) == DATA  # it bears the label there too, so another member gave it


def test_an_object_comes_with_a_peer_that_comes_later(open: Open) -> None:
    """C50: the fetch goes on while nobody who is there has it."""
    alice, bob, carol = open("alice"), open("bob"), open("carol")
    chain = alice.create_chain("notes", readers="everyone")
    of_bob = join(bob, chain)
    of_carol = join(carol, chain)
    carol.close()
    cid = Cid(bytes.fromhex("01551220") + __import__("hashlib").sha256(DATA).digest())
    fetching = of_bob.fetch_kept(cid)
    with pytest.raises(UnavailableError):
        fetching.result(0.1)
    assert of_carol.id == chain.id
    carol = open("carol")
    carol.chain("notes").keep(DATA, readers="")
    assert fetching.result(WITHIN_S) == DATA


@pytest.mark.slow
def test_an_object_that_no_neighbour_has() -> None:
    """C50: two that may have it, without a stream between them, among many that may not: one peer after the other is asked."""
    hub, many = MemoryHub(), 8
    with ExitStack() as stack:
        alice, bob = (stack.enter_context(Node.in_memory(hub, neighbours=1)) for _ in range(2))
        others = [stack.enter_context(Node.in_memory(hub)) for _ in range(many)]
        chain = others[0].create_chain("notes", readers="everyone")
        for other in others[1:]:
            join(other, chain)
        of_alice, of_bob = join(alice, chain), join(bob, chain)
        for met in (True, False):  # all sync with all at first, and keep some streams
            until(lambda met=met: met == (bob.key in {peer.node_key for peer in of_alice.peers()}))  # type: ignore[misc]
        cid = of_alice.keep(DATA)
        of_alice.let_have("members", [bob.key])
        assert of_bob.fetch_kept(cid).result(WITHIN_S) == DATA


def test_objects_without_a_label(open: Open) -> None:
    """C42, C50: any reader may have them; with a label they are at once for nobody else."""
    alice, bob = open("alice"), open("bob")
    chain = alice.create_chain("notes")
    of_bob = join(bob, chain)
    one, other = (chain.keep(data, readers="") for data in (b"one", b"other"))
    assert of_bob.fetch_kept(one, readers="").result(WITHIN_S) == b"one"
    chain.keep(b"other", readers="members")
    chain.keep(b"other", readers="")  # whoever comes later cannot take the label off
    fetching = of_bob.fetch_kept(other, readers="")
    until(lambda: refused(chain))
    assert not fetching.done()
    assert fetching.cancel()
    with pytest.raises(ClosedError):
        fetching.result(1)


def test_objects_are_kept_and_forgotten(open: Open) -> None:
    """C22, C50: what is kept is there after a restart, until it is forgotten; what was damaged is not held."""
    alice = open("alice")
    chain = alice.create_chain("notes")
    cids = [chain.keep(bytes([number])) for number in range(3)]
    alice.close()
    chain = open("alice").chain("notes")
    assert [chain.kept(cid) for cid in cids] == [b"\0", b"\1", b"\2"]
    assert chain.fetch_kept(cids[0]).result(WITHIN_S) == b"\0"
    chain.forget_kept(*cids[:2])
    chain.tables.put_side(cids[2], b"flipped")
    assert [chain.kept(cid) for cid in cids] == [None, None, None]


def test_content_of_a_block_that_is_an_object(open: Open) -> None:
    """C42, C50: a writer that names an object as its content makes nobody give it away, or drop it."""
    alice, bob = open("alice"), open("bob")
    chain = alice.create_chain("notes", readers="everyone")
    of_bob = join(bob, chain)
    of_bob.append(b"wrapped", droppable=True)
    until_same(chain, of_bob, count=1)
    (block,) = chain.blocks()
    cid = chain.keep(b"wrapped")
    assert chain.has_content(block)
    chain.drop_content(block)
    assert chain.kept(cid) == b"wrapped"
    of_bob.drop_content(block)
    with pytest.raises(UnavailableError):
        of_bob.fetch(block).result(WITHIN_S)
    assert refused(chain)


def test_fetches_end_with_the_chain_or_the_node(node: Node) -> None:
    """C46: nobody waits for ever."""
    cid = node.create_chain("a").keep(b"x")
    other = node.create_chain("b")
    fetching = other.fetch_kept(cid)
    node.close()
    with pytest.raises(ClosedError):
        fetching.result(WITHIN_S)


def test_what_is_no_object(node: Node) -> None:
    """C26: limits of size and label, CIDs and node keys."""
    chain = node.create_chain("notes")
    block = chain.append(b"")
    assert chain.kept(chain.keep(bytes(Limits.leaf_bytes))) is not None
    for call in (
        lambda: chain.keep(b""),
        lambda: chain.keep(bytes(Limits.leaf_bytes + 1)),
        lambda: chain.keep("text"),  # type: ignore[arg-type]
        lambda: chain.keep(b"x", readers="x" * 65),
        lambda: chain.keep(b"x", readers="\0"),
        lambda: chain.fetch_kept(block.id),
        lambda: chain.fetch_kept(Cid(b"short")),
        lambda: chain.let_have("", []),
        lambda: chain.let_have("members", [bytes(31)]),
    ):
        with pytest.raises(InvalidInputError):
            call()


# --- chains that are taken up by their first block ---------------------------------------------------------------


def test_a_chain_taken_up_by_its_first_block(open: Open) -> None:
    """C40: it syncs with peers at the addresses that were given, and with those that it meets otherwise."""
    alice, bob = open("alice"), open("bob")
    chain = alice.create_chain("notes", readers="everyone", data=b"of the layer")
    chain.append(b"hello")
    taken = bob.adopt(chain.genesis, name="theirs", addresses=alice.addresses())
    assert (taken.id, taken.name, taken.policy) == (chain.id, "theirs", chain.policy)
    taken.append(b"at once")  # with a key of its own
    until_same(chain, taken, count=2)
    assert_sound(taken)
    assert bob.adopt(chain.genesis, name="another") is taken
    assert alice.adopt(chain.genesis, name="theirs") is chain
    bob.close()
    again = open("bob").chain("theirs")
    chain.append(b"later")
    until_same(chain, again, count=3)


def test_a_given_key_of_a_chain_that_is_taken_up(open: Open) -> None:
    """C27: it may have written elsewhere, so it appends after a sync."""
    alice, bob = open("alice"), open("bob")
    key = signer()
    chain = alice.create_chain("notes", readers="everyone", signer=key)
    before = chain.append(b"written before")
    taken = bob.adopt(chain.genesis, name="notes", signer=key)
    with pytest.raises(UnavailableError):
        taken.append(b"too early")
    bob.adopt(chain.genesis, name="notes", addresses=alice.addresses())  # again: now with where it is
    until(lambda: taken.status().writable is None)
    assert taken.append(b"after it").prev == before.id
    assert_sound(taken)


def test_what_cannot_be_taken_up(node: Node) -> None:
    """C26: bytes that are no first block, chains whose readers hold a secret, names that are taken, addresses of nobody."""
    public, secret = node.create_chain("public", readers="everyone"), node.create_chain("secret")
    block = public.append(b"x")
    damaged = public.genesis[:-1] + bytes([public.genesis[-1] ^ 1])
    with Node.in_memory() as other:
        for encoded in (b"", b"junk", block.encoded, damaged, public.genesis + b"\0"):
            with pytest.raises(InvalidInputError):
                other.adopt(encoded, name="x")
        with pytest.raises(NotAllowedError):
            other.adopt(secret.genesis, name="x")
        with pytest.raises(InvalidInputError):
            other.adopt(public.genesis, name="x", addresses=["/ip4/127.0.0.1/tcp/4001"])
        other.create_chain("taken")
        with pytest.raises(InvalidInputError):
            other.adopt(public.genesis, name="taken")
        assert len(other.chains()) == 1


def test_many_take_up_one_chain_at_once(node: Node) -> None:
    """C26: all get one chain."""
    genesis = node.create_chain("notes", readers="everyone").genesis
    with Node.in_memory() as other:
        taken: list[Chain] = []
        threads = [threading.Thread(target=lambda: taken.append(other.adopt(genesis, name="n"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WITHIN_S)
        assert len(taken) == 8
        assert len({id(chain) for chain in taken}) == len(other.chains()) == 1


# --- addresses of chains that everyone may read ------------------------------------------------------------------


def test_an_address_of_a_public_chain(open: Open) -> None:
    """C39, C40: to read what everyone may read takes no seed, from whoever holds it, any number of times; it admits nobody."""
    alice, bob, carol = open("alice"), open("bob"), open("carol")
    chain = alice.create_chain("notes", readers="everyone", writers=[])
    chain.append(b"one")
    address = chain.invite(write=False)
    assert address.seed is None
    assert not chain.invitations()
    theirs = bob.join(str(address)).result(WITHIN_S)
    until_same(chain, theirs, count=1)
    assert theirs.status().writable is not None
    with pytest.raises(NotAllowedError):
        theirs.append(b"x")
    third = carol.join(str(theirs.invite(write=False))).result(WITHIN_S)  # a reader can hand it on
    until_same(chain, third, count=1)
    chain.admit(theirs.author)
    until(lambda: theirs.status().writable is None)
    theirs.append(b"two")
    until_same(chain, theirs, third, count=3)
    with pytest.raises(NotAllowedError):
        third.invite()
    with pytest.raises(InvalidInputError):
        chain.invite(write=False, uses=3)


def test_what_is_more_than_an_address(open: Open) -> None:
    """C39: to write where writers are listed, and to read what is not for everyone, takes a seed, and a record."""
    node = open("alice")
    public = node.create_chain("public", readers="everyone", writers=[])
    secret = node.create_chain("secret", writers=[])
    for chain, write in ((public, True), (secret, True), (secret, False)):
        before = len(chain.invitations())
        assert chain.invite(write=write).seed is not None
        assert len(chain.invitations()) == before + 1
    assert join(open("bob"), public).status().writable is None


# --- keys that come later ----------------------------------------------------------------------------------------


def test_a_key_that_was_missing(open: Open) -> None:
    """C27: a chain made with a given key writes again as soon as that key is given."""
    key = signer()
    alice = open("alice")
    alice.create_chain("notes", signer=key).append(b"before")
    alice.close()
    chain = open("alice").chain("notes")
    with pytest.raises(LockedError):
        chain.append(b"no key")
    chain.write_with(key)
    assert chain.append(b"after").author == key.key
    assert_sound(chain)


def test_a_key_of_the_node_is_replaced(open: Open) -> None:
    """C09, C27: a key admitted by this node's own writes at once, also on a chain that came from elsewhere, and after a restart."""
    alice, bob = open("alice"), open("bob")
    chain = alice.create_chain("notes", readers="everyone", writers=[])
    theirs = join(bob, chain)
    alice.close()  # nobody is there to sync with
    first, second = signer(), signer()
    admission = theirs.admit(first.key)
    assert theirs.admit(first.key) == admission
    theirs.write_with(first)
    assert theirs.append(b"one").prev == admission.id
    theirs.admit(second.key)
    theirs.write_with(second)
    assert theirs.append(b"two").author == theirs.author == second.key
    assert_sound(theirs)
    bob.close()
    theirs = open("bob", signers={chain.id: second}).chain("notes")
    assert theirs.append(b"three").author == second.key
    bob_again_ids = ids(theirs)
    chain = open("alice").chain("notes")
    until(lambda: ids(chain) == bob_again_ids)
    assert_sound(chain)


def test_a_key_that_may_have_written_elsewhere(open: Open) -> None:
    """C27: on a chain that came from elsewhere it waits for a sync, unless it is fresh, as the app says."""
    alice, bob = open("alice"), open("bob")
    chain = alice.create_chain("notes", readers="everyone")
    theirs = join(bob, chain)
    alice.close()
    until(lambda: not theirs.peers())
    key = signer()
    theirs.write_with(key)
    with pytest.raises(UnavailableError):
        theirs.append(b"too early")
    fresh = signer()
    theirs.write_with(fresh, fresh=True)
    theirs.append(b"at once")
    theirs.write_with(key)
    with pytest.raises(UnavailableError):
        theirs.append(b"too early, still")
    open("alice")
    until(lambda: theirs.status().writable is None)
    assert theirs.append(b"after a sync").author == key.key
    assert_sound(theirs)


def test_a_key_that_may_not_write(node: Node) -> None:
    """C09: nor does it while it is not admitted; then it does."""
    chain = node.create_chain("notes", writers=[])
    own, key = chain.author, signer()
    chain.write_with(key)
    with pytest.raises(NotAllowedError):
        chain.append(b"x")
    assert chain.author == key.key != own
    with pytest.raises(InvalidInputError):
        chain.write_with(type("Bad", (), {"key": b"short", "sign": None})())


def test_admitting_again_writes_nothing(node: Node) -> None:
    """C09: one admission for a key, however often, and from however many threads."""
    chain = node.create_chain("notes", writers=[])
    keys = [signer().key for _ in range(3)]
    threads = [threading.Thread(target=lambda: [chain.admit(key) for key in keys]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    assert len(chain) == len(keys)


def test_many_keys_are_admitted_in_one_block(node: Node) -> None:
    """And none of them twice; as many as fit into a block."""
    chain = node.create_chain("listed", writers=[node.signer.key], readers="everyone")
    keys = [Ed25519Signer(number.to_bytes(32, "big")).key for number in range(513)]
    first = chain.admit(*keys[:3])
    assert read_admit(first) == frozenset(keys[:3])
    assert chain.admit(keys[1]) == chain.admit(*keys[:2]) == first
    assert read_admit(chain.admit(*keys[1:512])) == frozenset(keys[3:512])
    for wrong in ([], keys, [b"x"]):
        with pytest.raises(InvalidInputError):
            chain.admit(*wrong)


# --- streams of a layer's own ----------------------------------------------------------------------------------------


class WhereServed(MemoryNetwork):
    """Notes what it was told outside of a loop, where the port forbids it."""

    outside: tuple[str, ...] = ()

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        try:
            trio.lowlevel.current_trio_token()
        except RuntimeError:
            self.outside = (*self.outside, protocol)
        super().serve(protocol, handler)


def test_a_protocol_served_while_the_node_runs() -> None:
    """C43: an adapter is told in the loop, and a peer can open the protocol as soon as `serve` has returned."""
    hub, protocol = MemoryHub(), "/x/walytis/test/1"
    network, heard = WhereServed(hub), threading.Event()

    async def hear(stream: Stream) -> None:
        assert await stream.receive(1) == b"x"
        heard.set()

    with Node.in_memory(network=network) as here, Node.in_memory(hub) as there:
        addresses = there.addresses() and here.addresses()  # both are up
        here.streams.serve(protocol, hear)
        assert protocol not in network.outside

        async def call() -> None:
            stream = await there.streams.open(addresses, protocol)
            await stream.send(b"x")
            heard_of.resolve(None)

        heard_of = Pending[None]()
        there.streams.attend(heard_of, call).result(WITHIN_S)
        assert heard.wait(WITHIN_S)
    with pytest.raises(ClosedError):
        here.streams.serve(protocol, hear)
