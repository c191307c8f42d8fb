"""Chains into files: a snapshot, whole or not there at all."""

from __future__ import annotations

import errno
import io
import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.suites.making import ALICE, BOB, MALLORY, World
from tests.suites.nodes import Crew, assert_causal, ids
from walytis_core import Block, Chain, Cid, InvalidInputError, Node, NotFoundError, StorageError
from walytis_core.block import decode
from walytis_core.car import Reader, write_header, write_section
from walytis_core.cid import DAG_CBOR_PREFIX, RAW_PREFIX
from walytis_core.content import build
from walytis_core.events import Came, Received
from walytis_core.limits import Limits
from walytis_core.messages import ForkProof, Why
from walytis_core.screening import screen


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.in_memory() as one:
        yield one


@pytest.fixture
def chain(node: Node) -> Chain:
    return node.create_chain("notes", readers="everyone")


def in_file(path: Path) -> tuple[tuple[Cid, ...], list[tuple[Cid, bytes]]]:
    with path.open("rb") as stream:
        reader = Reader(stream)
        return reader.roots, [(section.cid, section.data) for section in reader]


def blocks_in(path: Path) -> list[Block]:
    return [decode(data, cid) for cid, data in in_file(path)[1] if cid[:4] == DAG_CBOR_PREFIX]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def give(chain: Chain, *blocks: Block) -> None:
    """Blocks come from a peer."""
    screened = screen([block.encoded for block in blocks], chain.engine.known)
    chain.engine.handle(Came("peer", Why.PULLED, screened, gossip=True))


def world_of(node: Node, tmp_path: Path) -> tuple[World, Chain]:
    """A chain made by hand, and its replica on a node."""
    world = World()
    data = write_header([world.first.id]) + write_section(world.first.id, world.first.encoded)
    (tmp_path / "first").write_bytes(data)
    return world, node.import_chain(tmp_path / "first", name="world")


def test_an_empty_chain(chain: Chain, tmp_path: Path):
    """C45: the root of an empty chain's file is its genesis."""
    report = chain.export(tmp_path / "a.car")
    assert (report.path, report.roots, report.blocks, report.pieces) == (tmp_path / "a.car", (chain.id,), 0, 0)
    roots, sections = in_file(report.path)
    assert roots == (chain.id,)
    assert [cid for cid, _ in sections] == [chain.id]
    assert report.path.stat().st_size == report.size
    assert names(tmp_path) == ["a.car"]


def test_all_blocks_as_they_came_and_each_piece_once(chain: Chain, tmp_path: Path):
    """C45: the genesis first, blocks in the order in which they came, content behind its block, each CID once."""
    long = bytes(Limits.leaf_bytes * 2) + b"the end"
    first = chain.append(long)
    chain.append(b"short")
    chain.append(long)
    dropped = chain.append(bytes([1]) * 40_000)
    chain.drop_content(dropped)
    done: list[tuple[int, int]] = []
    report = chain.export(str(tmp_path / "a.car"), progress=lambda *step: done.append(step))
    roots, sections = in_file(report.path)
    assert roots == report.roots == chain.heads
    blocks = blocks_in(report.path)
    assert blocks[0].id == chain.id
    assert [block.id for block in blocks[1:]] == [block.id for block in chain.blocks()]
    assert_causal(blocks[1:], chain.id)
    assert len({cid for cid, _ in sections}) == len(sections)
    kinds = [cid[:4] for cid, _ in sections]
    assert kinds[:2] == [DAG_CBOR_PREFIX] * 2
    assert sections[2][0] == first.content.link  # type: ignore[union-attr]
    assert kinds.count(RAW_PREFIX) == 2, "the zeros once, and the end"
    assert report.pieces == 3
    assert report.blocks == 4
    assert done[-1][0] == done[-1][1]


def test_a_file_that_is_there_is_kept(chain: Chain, tmp_path: Path):
    """C45: nothing is overwritten, not even what appeared meanwhile, unless it is asked for."""
    path = tmp_path / "a.car"
    path.write_bytes(b"precious")

    def appear(_done: int, _total: int) -> None:
        (tmp_path / "b.car").write_bytes(b"quick")

    with pytest.raises(InvalidInputError, match="is there already") as caught:
        chain.export(path)
    assert "`--force`" in caught.value.hint
    assert "force=True" in caught.value.hint
    with pytest.raises(InvalidInputError, match="is there already"):
        chain.export(tmp_path / "b.car", progress=appear)
    assert path.read_bytes() == b"precious"
    assert (tmp_path / "b.car").read_bytes() == b"quick"
    chain.export(path, force=True)
    assert blocks_in(path)[0].id == chain.id
    assert names(tmp_path) == ["a.car", "b.car"]


def test_what_is_no_file_is_never_replaced(chain: Chain, tmp_path: Path, request: pytest.FixtureRequest):
    """C45: also when it is asked for: a folder, a pipe, a device, and what stands in such a place meanwhile."""
    folder, fifo, link = tmp_path / "folder", tmp_path / "fifo", tmp_path / "link"
    folder.mkdir()
    os.mkfifo(fifo)
    ours, theirs = os.openpty()
    for descriptor in (ours, theirs):
        request.addfinalizer(partial(os.close, descriptor))
    device = Path(os.ttyname(theirs))  # where nothing else can be put, whoever runs this
    link.symlink_to(device)
    for path, said in ((folder, "is a folder"), (fifo, "a pipe"), (link, "a device"), (device, "a device")):
        for force in (False, True):
            with pytest.raises(InvalidInputError, match=said) as caught:
                chain.export(path, force=force)
            assert "force" not in caught.value.hint
    assert fifo.is_fifo()
    assert link.is_symlink()
    assert device.is_char_device()

    def appear(_done: int, _total: int) -> None:
        if not (tmp_path / "late").exists():
            os.mkfifo(tmp_path / "late")

    with pytest.raises(InvalidInputError, match="a pipe"):
        chain.export(tmp_path / "late", force=True, progress=appear)
    assert (tmp_path / "late").is_fifo()
    assert names(tmp_path) == ["fifo", "folder", "late", "link"]
    assert names(folder) == []


def test_a_link_keeps_naming_its_file(chain: Chain, tmp_path: Path):
    """C45: the file that it names is written; a link to nothing gets its file, one to itself is refused."""
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.car", tmp_path / "link"
    link.symlink_to("there/a.car")
    assert chain.export(link).path == link
    with pytest.raises(InvalidInputError, match="is there already"):
        chain.export(link)
    chain.append(b"more")
    chain.export(link, force=True)
    assert link.readlink() == Path("there/a.car")
    assert len(blocks_in(target)) == 2
    assert names(tmp_path / "there") == ["a.car"]
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(InvalidInputError, match="cannot be a file"):
        chain.export(tmp_path / "round", force=True)
    assert (tmp_path / "round").is_symlink()


def test_how_far_one_long_file_is(chain: Chain, tmp_path: Path):
    """C45: most of a file may be the content of one block: progress tells of it, and never goes back."""
    chain.append(random.Random(1).randbytes(Limits.leaf_bytes * 80))
    done: list[tuple[int, int]] = []
    chain.export(tmp_path / "a.car", progress=lambda *step: done.append(step))
    assert len({held for held, _ in done}) > 4
    assert done == sorted(done)
    assert {total for _, total in done} == {done[-1][0]}


def test_a_file_system_without_links(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """C45: the same where a file cannot have two names."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    def appear(_done: int, _total: int) -> None:
        (tmp_path / "b.car").write_bytes(b"quick")

    monkeypatch.setattr(os, "link", refuse)
    chain.export(tmp_path / "a.car")
    with pytest.raises(InvalidInputError):
        chain.export(tmp_path / "b.car", progress=appear)
    assert (tmp_path / "b.car").read_bytes() == b"quick"
    assert names(tmp_path) == ["a.car", "b.car"]


def test_what_cannot_be_written_leaves_nothing(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """C45: a full disk, a folder that is not there, a name that is none."""
    with pytest.raises(NotFoundError, match="no folder"):
        chain.export(tmp_path / "nowhere" / "a.car")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", Path("/"), tmp_path / ("n" * 300)):
        with pytest.raises(InvalidInputError):
            chain.export(path, force=True)
    (tmp_path / "a.car").write_bytes(b"precious")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        chain.export(tmp_path / "a.car", force=True)
    assert (tmp_path / "a.car").read_bytes() == b"precious"
    assert names(tmp_path) == ["a.car", "folder"]
    assert names(tmp_path / "folder") == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="where there is a /proc")
def test_a_folder_that_takes_no_files(chain: Chain):
    with pytest.raises(InvalidInputError, match="no file can be made in /proc"):
        chain.export(Path("/proc/a.car"))


def test_giving_up(chain: Chain, tmp_path: Path):
    """C45: what progress raises ends the export, and there is no file."""

    class GivenUpError(Exception):
        pass

    def give_up(_done: int, _total: int) -> None:
        raise GivenUpError

    with pytest.raises(GivenUpError):
        chain.export(tmp_path / "a.car", progress=give_up)
    assert names(tmp_path) == []


def test_who_may_read_the_file(node: Node, chain: Chain, tmp_path: Path):
    """C45: the file of a chain that not everyone may read is its owner's alone."""
    mask = os.umask(0o022)
    try:
        assert chain.export(tmp_path / "a.car").path.stat().st_mode & 0o777 == 0o644
        assert node.create_chain("secret").export(tmp_path / "b.car").path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(mask)


def test_appending_meanwhile(chain: Chain, tmp_path: Path):
    """C45: a snapshot: all that was held when it began and nothing later, causally closed, under the heads of then."""
    chain.append_many([b"%d" % number for number in range(600)])
    before, heads = ids(chain), chain.heads
    crew = Crew()

    def append(done: int, _total: int) -> None:
        crew.start(chain.append, b"later %d" % done)
        crew.join()

    chain.export(tmp_path / "a.car", progress=append)
    blocks = blocks_in(tmp_path / "a.car")
    assert {block.id for block in blocks[1:]} == before
    assert in_file(tmp_path / "a.car")[0] == heads
    assert len(chain) > len(before)
    assert_causal(blocks[1:], chain.id)


def test_blocks_outside_the_folded_set_and_proofs(node: Node, tmp_path: Path):
    """C16, C45: members outside the folded set are in the file, and what proves the fork, though it is no member."""
    world, chain = world_of(node, tmp_path)
    line = world.chain(MALLORY, 3)
    beside = world.block(MALLORY, line[0], payload=b"beside")
    give(chain, *line)
    first, second = sorted((line[1], beside), key=lambda block: block.id)
    chain.engine.handle(Received("peer", ForkProof(first.encoded, second.encoded)))
    assert ids(chain) == {line[0].id}
    report = chain.export(tmp_path / "a.car")
    assert report.roots == (line[0].id,)
    assert {block.id for block in blocks_in(report.path)} == {chain.id, beside.id, *(block.id for block in line)}
    assert len(blocks_in(report.path)) == 5


def test_a_branch_that_comes_back_meanwhile(node: Node, tmp_path: Path):
    """C16, C45: what gets a later number while it is written is in the file all the same."""
    world, chain = world_of(node, tmp_path)
    filler = world.chain(BOB, 255)
    line = world.chain(MALLORY, 3)
    give(chain, *filler)
    give(chain, *line)
    give(chain, world.block(MALLORY, payload=b"a fork"))
    assert ids(chain) == {block.id for block in filler}
    needs = world.block(ALICE, None, [line[1]])
    moved: list[bool] = []

    def need(_done: int, _total: int) -> None:
        if not moved:
            moved.append(True)
            give(chain, needs)

    chain.export(tmp_path / "a.car", progress=need)
    assert needs.id in ids(chain), "it happened in the middle"
    in_it = [block.id for block in blocks_in(tmp_path / "a.car")]
    assert set(in_it) >= {block.id for block in (*filler, *line)}
    assert len(set(in_it)) == len(in_it)
    assert needs.id not in in_it
    with Node.in_memory() as other:
        assert other.import_chain(tmp_path / "a.car").equivocations().keys() == {MALLORY.key}


def test_damaged_content_is_left_out(chain: Chain, tmp_path: Path):
    """C45, C50: pieces whose bytes are damaged here are not given as sound."""
    held: dict[Cid, bytes] = {}
    long = bytes(range(256)) * 2000
    build(io.BytesIO(long), held.__setitem__)
    chain.append(long)
    leaf = next(cid for cid in held if cid[:4] == RAW_PREFIX)
    chain.tables.put_side(leaf, b"damaged")
    report = chain.export(tmp_path / "a.car")
    assert {cid for cid, _ in in_file(report.path)[1]} & held.keys() == held.keys() - {leaf}
    with Node.in_memory() as other:
        (block,) = other.import_chain(report.path).blocks()
        assert block.content is not None
