"""Chains through files: what comes in, and that nothing stays of what may not."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.properties.test_members import LISTED, OPEN, Pool
from tests.suites.making import ALICE, MALLORY, World
from tests.suites.naive_members import expected
from tests.suites.nodes import Crew, assert_sound, ids, join, until, until_same
from walytis_core import Block, Chain, Cid, InvalidInputError, LocalError, MemoryHub, Node, StorageError
from walytis_core.car import write_header, write_section
from walytis_core.errors import ClosedError, NotAllowedError, NotFoundError
from walytis_core.events import Came
from walytis_core.messages import Why
from walytis_core.screening import screen

VECTOR = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/car.json").read_text(encoding="utf-8"))["chains"][0]
OURS, THEIRS = bytes.fromhex(VECTOR["ours"]), bytes.fromhex(VECTOR["theirs"])


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.in_memory() as one:
        yield one


@pytest.fixture
def other() -> Iterator[Node]:
    with Node.in_memory() as one:
        yield one


def rows(chain: Chain) -> Any:
    """All that is held of a chain: members with their numbers, heads, and pieces of content."""
    tables = chain.tables
    side = tables._tables.read("SELECT cid, data FROM side WHERE chain = ? ORDER BY cid", (tables._chain,))  # type: ignore[attr-defined]
    return tables.scan(0, 1 << 20, 1 << 30), chain.heads, tables.count, side


def everything(node: Node) -> Any:
    """All that a node holds."""
    store = node._store
    counts = [store._database.read(f"SELECT count(*) FROM {table}", ()) for table in ("chains", "blocks", "side")]
    return counts, store.chains(), sorted(node._keys._secrets), list(store.items("keys/"))  # type: ignore[attr-defined]


def refused(node: Node, path: Path, data: bytes, match: str = "at byte") -> InvalidInputError:
    """Asserts that a file is refused, and that nothing of it stays."""
    path.write_bytes(data)
    before = everything(node)
    with pytest.raises(InvalidInputError, match=match) as caught:
        node.import_chain(path)
    assert everything(node) == before
    assert caught.value.hint
    return caught.value


def file_of(roots: list[Block], *blocks: Block) -> bytes:
    return write_header([root.id for root in roots]) + b"".join(write_section(b.id, b.encoded) for b in blocks)


@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_a_chain_comes_from_a_file(node: Node, tmp_path: Path, name: str):
    """C45: what we write, and what Kubo writes, is the same chain here, with a key of its own and a free name."""
    (tmp_path / "notes.car").write_bytes(bytes.fromhex(VECTOR[name]))
    node.create_chain("notes")
    chain = node.import_chain(tmp_path / "notes.car")
    assert chain.name == "notes-2"
    assert [str(id) for id in ids(chain) | {chain.id}].sort() == VECTOR["blocks"].sort()
    assert [str(head) for head in chain.heads] == [VECTOR["blocks"][-1]]
    assert_sound(chain)
    (long,) = [block for block in chain.blocks() if block.content]
    assert long.payload.decode() == VECTOR["content"]
    assert chain.append(b"and on").seq == 0, "a fresh key"
    assert node.import_chain(str(tmp_path / "notes.car")) is chain
    assert len(chain) == 5


@pytest.mark.slow
@pytest.mark.parametrize("data", [OURS, THEIRS], ids=["ours", "theirs"])
def test_a_file_cut_at_any_byte(node: Node, tmp_path: Path, data: bytes):
    """C45: a truncated file keeps the valid prefix out."""
    without_content = data.rindex(b"\x01\x55\x12\x20") - 1  # where the leaf's section begins
    for size in range(len(data)):
        if data is OURS or size != without_content:
            refused(node, tmp_path / "cut.car", data[:size])
    assert node.chains() == []
    if data is THEIRS:  # the leaf is its last section
        (tmp_path / "cut.car").write_bytes(data[:without_content])
        assert len(node.import_chain(tmp_path / "cut.car")) == 4


@pytest.mark.slow
def test_any_byte_that_is_flipped(node: Node, tmp_path: Path):
    """C45: no damage goes unnoticed, wherever it is, and however large."""
    source = random.Random(1)
    for at in range(len(OURS)):
        damaged = bytearray(OURS)
        damaged[at] ^= source.choice((1, 0x80, source.randrange(1, 256)))
        refused(node, tmp_path / "damaged.car", bytes(damaged))


def test_bytes_of_another_cid(node: Node, tmp_path: Path):
    """C45: a block or a piece of content that does not match its CID is refused before anything else is looked at."""
    for at in (OURS.index(VECTOR["content"].encode()), len(OURS) - 1, OURS.index(b"beside")):
        damaged = OURS[:at] + bytes([OURS[at] ^ 1]) + OURS[at + 1 :]
        refused(node, tmp_path / "damaged.car", damaged, "do not match its CID")


def test_nothing_of_a_refused_file_comes_into_a_chain_that_is_held(node: Node, tmp_path: Path):
    """C45: all is judged before the first block is taken, also where the chain is held."""
    world = World()
    line = world.chain(ALICE, 20)
    (tmp_path / "some.car").write_bytes(file_of([line[4]], world.first, *line[:5]))
    chain = node.import_chain(tmp_path / "some.car")
    before = rows(chain)
    data = file_of([line[-1]], world.first, *line)
    for size in (len(data) - 1, len(data) // 2, 100):
        refused(node, tmp_path / "more.car", data[:size])
    high = world.block(ALICE, line[-1], height=99)
    refused(node, tmp_path / "more.car", file_of([high], world.first, *line, high), "height")
    foreign = World(nonce=bytes(16)).chain(ALICE, 1)
    refused(node, tmp_path / "more.car", file_of([line[-1]], world.first, *line, *foreign), "another chain")
    forged = line[-1]._replace(encoded=line[-1].encoded[:-1] + bytes([line[-1].encoded[-1] ^ 1]))
    forged = forged._replace(id=Cid.of(forged.encoded))
    refused(node, tmp_path / "more.car", file_of([forged], world.first, *line[:-1], forged), "signature")
    assert rows(chain) == before
    (tmp_path / "more.car").write_bytes(data)
    assert node.import_chain(tmp_path / "more.car") is chain
    assert len(chain) == 20
    assert_sound(chain)


@pytest.mark.parametrize("seed", range(30))
def test_random_chains_in_any_order(node: Node, other: Node, tmp_path: Path, seed: int):
    """C12, C45: whatever the order of the file, the same folded set comes out, and goes through a file again."""
    source = random.Random(seed)
    world = source.choice((OPEN, LISTED))
    pool = Pool(source, world, 40, source.choice((0.0, 0.1, 0.4)))
    held = [block for block in pool.valid.values() if block is not world.first]
    places = {(block.author, block.seq) for block in held}
    proofs = [block for block in pool.blocks if block.id not in pool.valid and (block.author, block.seq) in places]
    blocks = [world.first, *held, *proofs]
    wanted = expected(world.first, world.genesis, [*held, *proofs])
    source.shuffle(blocks)
    roots = [pool.valid[id] for id in wanted.heads] or [world.first]
    (tmp_path / "a.car").write_bytes(file_of(roots, *blocks, *source.sample(blocks, 3)))
    chain = node.import_chain(tmp_path / "a.car")
    for each in (chain, again(other, chain, tmp_path)):
        members = each.engine.replica.members
        assert ids(each) == wanted.folded
        assert set(each.heads) == wanted.heads
        assert members.frozen == wanted.forks
        assert dict(members.frontier) == wanted.frontier
        assert not each.verify().problems


def again(node: Node, chain: Chain, folder: Path) -> Chain:
    """The chain on another node, through a file."""
    chain.export(folder / "again.car")
    return node.import_chain(folder / "again.car")


def test_a_fork_through_a_file(node: Node, other: Node, tmp_path: Path):
    """C16, C45: three blocks, two of them at one place: the proof goes with the chain."""
    world = World()
    pair = [world.block(MALLORY, payload=payload) for payload in (b"1", b"2")]
    (tmp_path / "fork.car").write_bytes(file_of([world.first], world.first, *pair))
    chain = node.import_chain(tmp_path / "fork.car")
    copy = again(other, chain, tmp_path)
    for each in (chain, copy):
        assert len(each) == 0
        assert each.heads == ()
        (proof,) = each.equivocations().values()
        assert {proof.first, proof.second} == {block.encoded for block in pair}


def test_a_long_branch_that_is_needed(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """C16, C45: a branch of an author that forked comes with what was built on it, even if it is longer than the parking."""
    monkeypatch.setattr("walytis_core.limits.Limits.parked_blocks_per_peer", 20)
    world = World()
    fork = world.block(MALLORY, payload=b"the other branch")
    branch = world.chain(MALLORY, 60)
    needs = world.block(ALICE, None, [branch[-1]])
    (tmp_path / "a.car").write_bytes(file_of([needs], world.first, fork, *branch, needs))
    chain = node.import_chain(tmp_path / "a.car")
    assert ids(chain) == {block.id for block in (*branch, needs)}
    assert set(chain.equivocations()) == {MALLORY.key}


def test_a_chain_that_not_everyone_may_read(tmp_path: Path):
    """C45: the file has no secret, so who has not joined cannot take it; who has gets the blocks, and their content."""
    hub = MemoryHub()
    with Node.in_memory(hub) as alice, Node.in_memory(hub) as bob:
        chain = alice.create_chain("secret")
        joined = join(bob, chain)
        bob.close()
        blocks = chain.append_many([b"one", b"two", bytes(40_000)])
        chain.export(tmp_path / "secret.car")
        assert (tmp_path / "secret.car").stat().st_mode & 0o077 == 0
        with Node.in_memory() as carol:
            before = everything(carol)
            with pytest.raises(NotAllowedError, match="not everyone may read") as caught:
                carol.import_chain(tmp_path / "secret.car")
            assert "Join it first" in caught.value.hint
            assert everything(carol) == before
        assert len(joined) == 0
        held = alice.import_chain(tmp_path / "secret.car")
        assert held is chain
        assert ids(held) == {block.id for block in blocks}


def test_blocks_and_content_come_into_a_chain_that_was_joined(tmp_path: Path):
    """C45, C50: what a file brings is new blocks, and content that was not held; the two then go on in sync."""
    hub = MemoryHub()
    with Node.in_memory(hub) as alice, Node.in_memory(hub) as bob:
        chain = alice.create_chain("secret")
        long = chain.append(bytes(300_000))
        joined = join(bob, chain)
        assert not joined.has_content(long)
        chain.export(tmp_path / "secret.car")
        assert bob.import_chain(tmp_path / "secret.car", name="secret") is joined
        assert joined.has_content(long)
        chain.append(b"live")
        until_same(chain, joined, count=2)


def test_peers_get_what_came_from_a_file(tmp_path: Path):
    """C13, C45: peers that are online hear of it, and pull it."""
    hub, world = MemoryHub(), World()
    line = world.chain(ALICE, 40)
    (tmp_path / "some.car").write_bytes(file_of([line[4]], world.first, *line[:5]))
    (tmp_path / "all.car").write_bytes(file_of([line[-1]], world.first, *line))
    with Node.in_memory(hub) as one, Node.in_memory(hub) as two:
        first, second = (each.import_chain(tmp_path / "some.car") for each in (one, two))
        one.connect(two.addresses()).result(30)
        first.append(b"live")
        until_same(first, second, count=6)
        until(second.peers)
        two.import_chain(tmp_path / "all.car")
        until_same(first, second, count=41)


def test_names(node: Node, tmp_path: Path):
    """C45: a given name must be free; of a chain that is held it must be its own; without one the file's is taken."""
    path = tmp_path / "a\nb.car"
    path.write_bytes(OURS)
    node.create_chain("taken")
    for name in ("taken", "", "a\0b"):
        before = everything(node)
        with pytest.raises(InvalidInputError):
            node.import_chain(path, name=name)
        assert everything(node) == before
    chain = node.import_chain(path)
    assert chain.name == "ab"
    with pytest.raises(InvalidInputError, match="held here already, as ab") as caught:
        node.import_chain(path, name="an other")
    assert "`walytis rename ab 'an other'`" in caught.value.hint
    assert node.import_chain(path, name="ab") is chain


def test_what_is_no_file(node: Node, tmp_path: Path):
    """C45: no file, a folder, a pipe, rubbish."""
    with pytest.raises(NotFoundError, match="there is no file"):
        node.import_chain(tmp_path / "nothing.car")
    with pytest.raises(InvalidInputError, match="is no file"):
        node.import_chain(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="is no file"):
        node.import_chain(tmp_path / "pipe")
    refused(node, tmp_path / "empty.car", b"")
    refused(node, tmp_path / "text.car", b"This is no CAR file. " * 100)


@pytest.mark.slow
def test_progress_and_giving_up(node: Node, tmp_path: Path):
    """C45: progress goes from nothing to all; what it raises ends the import, and nothing is left."""
    world = World()
    line = world.chain(ALICE, 1500)
    data = file_of([line[-1]], world.first, *line)
    (tmp_path / "a.car").write_bytes(data)

    class GivenUpError(Exception):
        pass

    seen: list[tuple[int, int]] = []
    before = everything(node)
    for share in (0.1, 0.55, 0.7):

        def give_up(done: int, total: int, share: float = share) -> None:
            if done >= share * total:
                raise GivenUpError

        with pytest.raises(GivenUpError):
            node.import_chain(tmp_path / "a.car", progress=give_up)
        assert everything(node) == before
    chain = node.import_chain(tmp_path / "a.car", progress=lambda done, total: seen.append((done, total)))
    assert len(chain) == 1500
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {len(data)}
    assert seen[-1] == (len(data), len(data))
    assert len(seen) > 10


def test_a_disk_that_refuses_leaves_nothing(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """C45: a new chain goes again when its blocks cannot be stored."""
    (tmp_path / "a.car").write_bytes(OURS)
    before = everything(node)

    def refuse(_self: object, _commit: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("walytis_core.store.sqlite.SqliteChain.commit", refuse)
        with pytest.raises(StorageError):
            node.import_chain(tmp_path / "a.car")
    assert everything(node) == before
    assert len(node.import_chain(tmp_path / "a.car")) == 4


@pytest.mark.slow
def test_a_chain_that_is_deleted_and_a_node_that_is_closed_meanwhile(node: Node, tmp_path: Path):
    """C45, C46: the import ends with an error that says so."""
    world = World()
    line = world.chain(ALICE, 1500)
    (tmp_path / "a.car").write_bytes(file_of([line[-1]], world.first, *line))

    def late(action: Any) -> Any:
        return lambda done, total: action() if 0.6 * total < done < total else None

    def delete() -> None:
        for chain in node.chains():
            node.delete_chain(chain)

    with pytest.raises(NotFoundError):
        node.import_chain(tmp_path / "a.car", progress=late(delete))
    assert node.chains() == []
    with pytest.raises(ClosedError):
        node.import_chain(tmp_path / "a.car", progress=late(node.close))
    with pytest.raises(ClosedError):
        node.import_chain(tmp_path / "a.car")


def test_damaged_blocks_are_healed(node: Node, tmp_path: Path):
    """C45, C24: a file brings back the bytes of blocks that are damaged here."""
    chain = node.create_chain("notes", readers="everyone")
    blocks = chain.append_many([b"one", b"two", b"three"])
    chain.export(tmp_path / "whole.car")
    with node._store._database.write() as connection:
        connection.execute("UPDATE blocks SET encoded = x'00' WHERE id = ?", (blocks[1].id[4:],))
    assert list(chain.verify().corrupt) == [blocks[1].id]
    with pytest.raises(StorageError, match="damaged") as caught:
        chain.export(tmp_path / "hole.car")
    assert "walytis verify" in caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.car"]
    assert node.import_chain(tmp_path / "whole.car") is chain
    assert not chain.tables.corrupt()
    chain.export(tmp_path / "hole.car")


def test_blocks_that_this_key_wrote_elsewhere(node: Node, tmp_path: Path):
    """C18, C45: a file with newer blocks by this node's own key replaces the key: it does not fork itself."""
    chain = node.create_chain("notes", readers="everyone")
    first = chain.append(b"first")
    key = chain.own_author.signer
    newer = World.block(_world(chain), key, first)  # type: ignore[arg-type]
    genesis = chain.tables.encoded([chain.id])[chain.id]
    data = write_header([newer.id]) + b"".join(
        write_section(id, encoded)
        for id, encoded in ((chain.id, genesis), (first.id, first.encoded), (newer.id, newer.encoded))
    )
    (tmp_path / "a.car").write_bytes(data)
    node.import_chain(tmp_path / "a.car")
    assert chain.append(b"and on").author != key.key
    assert not chain.equivocations()
    assert_sound(chain)


def _world(chain: Chain) -> World:
    """The chain of a node, from outside."""
    world = World.__new__(World)
    world.first = chain.engine.block(chain.id)
    world.genesis = chain.engine.genesis
    return world


def test_two_imports_at_once(node: Node, tmp_path: Path):
    """C45: of two that add a chain one may be told that it is there already; the chain is whole all the same."""
    world = World()
    line = world.chain(ALICE, 600)
    (tmp_path / "a.car").write_bytes(file_of([line[-1]], world.first, *line))

    def take() -> None:
        with suppress(LocalError):
            node.import_chain(tmp_path / "a.car")

    crew = Crew()
    for _ in range(3):
        crew.start(take)
    crew.join()
    (chain,) = node.chains()
    assert len(chain) == 600
    assert_sound(chain)


def test_blocks_of_a_peer_and_of_a_file_take_one_way(node: Node, other: Node, tmp_path: Path):
    """C45: one ingest: what a peer sends and what a file holds comes to the same rows."""
    world = World()
    line = world.chain(ALICE, 30)
    (tmp_path / "first.car").write_bytes(file_of([world.first], world.first))
    (tmp_path / "all.car").write_bytes(file_of([line[-1]], world.first, *line))
    sent = other.import_chain(tmp_path / "first.car")
    sent.engine.handle(Came("peer", Why.PULLED, screen([block.encoded for block in line], sent.engine.known)))
    assert rows(node.import_chain(tmp_path / "all.car")) == rows(sent)
