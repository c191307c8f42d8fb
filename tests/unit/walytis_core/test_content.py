"""Long content: the layout, the walk that fetches it, and the reader."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from walytis_core.block import Content
from walytis_core.cid import DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX, Cid
from walytis_core.content import (
    ContentReader,
    Piece,
    _level,
    _tree_bytes,
    _write_node,
    build,
    check,
    children,
    missing,
    open_content,
    pieces,
    root,
    total_pieces,
)
from walytis_core.errors import ClosedError, InvalidInputError, Reason, RemoteError, UnavailableError
from walytis_core.limits import Limits

LEAF = Limits.leaf_bytes
VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/content.json").read_text())


class Pattern(io.RawIOBase):
    """The bytes of the vectors, made as they are read: byte i of leaf k is 31k + 7i + 13(i/256) + k/8, modulo 256."""

    one_turn = bytes((7 * i + 13 * (i >> 8)) & 255 for i in range(1 << 16))  # it repeats after 2^16 bytes

    def __init__(self, size: int) -> None:
        super().__init__()
        self.left = size
        self.leaf = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        count = min(LEAF, self.left)
        assert size >= count
        add = (31 * self.leaf + (self.leaf >> 3)) & 255
        table = bytes((value + add) & 255 for value in range(256))
        self.left -= count
        self.leaf += 1
        return (self.one_turn.translate(table) * 4)[:count]


def small(monkeypatch: pytest.MonkeyPatch, leaf: int = 4, links: int = 3) -> None:
    """Small leaves and nodes, so that small files have deep trees."""
    monkeypatch.setattr(Limits, "leaf_bytes", leaf)
    monkeypatch.setattr(Limits, "max_leaf_links", links)


def nothing(_cid: Cid) -> bytes | None:
    return None


def made(data: bytes) -> tuple[Content, dict[Cid, bytes]]:
    held: dict[Cid, bytes] = {}
    return build(io.BytesIO(data), held.__setitem__), held


@pytest.mark.slow
@pytest.mark.parametrize("vector", VECTORS["files"], ids=lambda vector: str(vector["size"]))
def test_roots_are_those_of_ipfs_tools(vector: dict[str, Any]) -> None:
    """C50: `ipfs cat` of the link gives the same bytes, for the DAG is the one `ipfs add` makes."""
    content = build(Pattern(int(vector["size"])), lambda _cid, _data: None)  # type: ignore[arg-type]
    assert (str(content.link), content.size) == (vector["root"], int(vector["size"]))


@pytest.mark.parametrize("vector", VECTORS["nodes"], ids=lambda vector: vector["name"])
def test_nodes_are_those_of_the_specification(vector: dict[str, Any]) -> None:
    node = bytes.fromhex(vector["node"])
    piece = Piece(Cid.parse(vector["cid"]), 0, int(vector["size"]), int(vector["level"]))
    check(piece, node)
    assert [str(child.cid) for child in children(piece, node)] == vector["children"]


@given(st.binary(max_size=300), st.integers(1, 5), st.integers(2, 4))
@example(bytes(4), 1, 2)
def test_the_tree_is_the_one_of_a_plain_model(data: bytes, leaf: int, links: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small(patch, leaf, links)
        content, held = made(data)
        level = [Cid.of(data[at : at + leaf], RAW_PREFIX) for at in range(0, max(1, len(data)), leaf)]
        assert {cid: held[cid] for cid in level} == {cid: held[cid] for cid in held if cid[:4] == RAW_PREFIX}
        sizes = [min(leaf, len(data) - at) for at in range(0, max(1, len(data)), leaf)]
        height = 0
        while len(level) > 1:
            height += 1
            groups = [(level[at : at + links], sum(sizes[at : at + links])) for at in range(0, len(level), links)]
            level = [Cid.of(_write_node(cids, size, height), DAG_PB_PREFIX) for cids, size in groups]
            sizes = [size for _, size in groups]
        assert content == Content(level[0], len(data))
        assert ContentReader(content, held.get).readall() == data
        every = list(all_below(root(content), held))
        assert len(every) == total_pieces(content)
        assert sum(len(held[piece.cid]) for piece in every) == _tree_bytes(len(data), height)
        found = list(pieces(content, held.get))
        assert {piece.cid for piece in found} == {piece.cid for piece in every} == set(held)
        nodes = [piece._replace(offset=0) for piece in found if piece.level]
        assert len(nodes) == len(set(nodes)), "a node that is repeated is walked once"


def all_below(piece: Piece, held: dict[Cid, bytes]) -> Iterator[Piece]:
    yield piece
    for child in children(piece, held[piece.cid]) if piece.level else ():
        yield from all_below(child, held)


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_short_reads_change_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 100)

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(7, size or 0))

    data = random.Random(1).randbytes(size)
    assert build(Slow(data), lambda _cid, _data: None) == made(data)[0]


def test_children_are_put_before_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    held: dict[Cid, bytes] = {}

    def put(cid: Cid, data: bytes) -> None:
        assert set(named(data, cid)) <= set(held)
        held[cid] = data

    def named(data: bytes, cid: Cid) -> list[bytes]:
        if cid[:4] == RAW_PREFIX:
            return []
        starts = [at for at in range(len(data)) if data[at : at + 4] in {RAW_PREFIX, DAG_PB_PREFIX}]
        return [data[at : at + 36] for at in starts]

    build(io.BytesIO(random.Random(2).randbytes(150)), put)


def test_content_above_the_limit_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    monkeypatch.setattr(Limits, "max_content_bytes", 10)
    assert made(bytes(10))[0].size == 10
    with pytest.raises(InvalidInputError):
        made(bytes(11))


@pytest.mark.slow
def test_building_and_reading_hold_little_memory() -> None:
    """C50: 64 MiB go through a few leaves' worth of memory."""
    tracemalloc.start()
    build(Pattern(64 << 20), lambda _cid, _data: None)  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


# --- hostile nodes ------------------------------------------------------------------------------------------------


def refused(piece: Piece, data: bytes) -> bool:
    """Whether `check` refuses it, and `children` does for its form alone."""
    for judge in (check, children):
        try:
            judge(piece, data)
        except RemoteError as error:
            assert error.reason is Reason.BAD_CONTENT  # noqa: PT017 - both judges are asked
        else:
            return False
    return True


def named_by(data: bytes, size: int, level: int) -> Piece:
    """A piece whose CID is right, so that only the form can be wrong."""
    return Piece(Cid.of(data, DAG_PB_PREFIX), 0, size, level)


def test_any_other_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """C50, C36: changed sizes, types, order, names, tags, lengths; each byte, each cut."""
    small(monkeypatch, 300, 3)
    content, held = made(random.Random(3).randbytes(2000))
    top = root(content)
    node = held[content.link]
    cids = {at + shift for at in range(len(node)) if node[at : at + 4] == DAG_PB_PREFIX for shift in range(4, 36)}
    for at in range(len(node)):
        for bit in range(8):
            changed = node[:at] + bytes([node[at] ^ 1 << bit]) + node[at + 1 :]
            assert refused(named_by(changed, top.size, top.level), changed) == (at not in cids)
        for changed in (node[:at], node[:at] + b"\0" + node[at:], node[:at] + node[at + 1 :]):
            assert refused(named_by(changed, top.size, top.level), changed) or at in cids
    for size in (top.size - 1, top.size + 1, 900, 0, 1 << 20):
        assert refused(named_by(node, size, max(1, _level(size))), node)
    for level in (1, 3):
        assert refused(named_by(node, top.size, level), node)


def link(cid: bytes, name: bytes = b"", size: int = 300) -> bytes:
    body = b"\x0a\x24" + cid + b"\x12" + bytes([len(name)]) + name + b"\x18" + size.to_bytes(1, "big")
    return b"\x12" + bytes([len(body)]) + body


LEAF_A = Cid.of(b"a" * 100, RAW_PREFIX)
FILE_200 = b"\x08\x02\x18\xc8\x01\x20\x64\x20\x64"


def node_of(links: bytes, data: bytes) -> bytes:
    return links + b"\x0a" + bytes([len(data)]) + data


ODD_NODES = {
    "directory": node_of(link(LEAF_A, b"a", 100) * 2, b"\x08\x01"),
    "sharded directory": node_of(link(LEAF_A, b"00a", 100) * 2, b"\x08\x05\x28\x22\x30\x80\x02"),
    "symlink": node_of(b"", b"\x08\x04\x12\x04/etc"),
    "unknown type": node_of(link(LEAF_A, b"", 100) * 2, b"\x08\x09" + FILE_200[2:]),
    "raw type": node_of(link(LEAF_A, b"", 100) * 2, b"\x08\x00" + FILE_200[2:]),
    "data inside": node_of(link(LEAF_A, b"", 100) * 2, FILE_200[:2] + b"\x12\x01x" + FILE_200[2:]),
    "mode and time": node_of(link(LEAF_A, b"", 100) * 2, FILE_200 + b"\x38\xa4\x03"),
    "named links": node_of(link(LEAF_A, b"a", 100) * 2, FILE_200),
    "wrong tree size": node_of(link(LEAF_A, b"", 101) * 2, FILE_200),
    "wrong file size": node_of(link(LEAF_A, b"", 100) * 2, FILE_200[:3] + b"\xc9\x01" + FILE_200[5:]),
    "wrong block sizes": node_of(link(LEAF_A, b"", 100) * 2, FILE_200[:5] + b"\x20\x63\x20\x65"),
    "packed block sizes": node_of(link(LEAF_A, b"", 100) * 2, FILE_200[:5] + b"\x22\x02\x64\x64"),
    "data before links": b"\x0a" + bytes([len(FILE_200)]) + FILE_200 + link(LEAF_A, b"", 100) * 2,
    "one link": node_of(link(LEAF_A, b"", 100), FILE_200),
    "three links": node_of(link(LEAF_A, b"", 100) * 3, FILE_200),
    "a node for a leaf": node_of(link(DAG_PB_PREFIX + LEAF_A[4:], b"", 100) * 2, FILE_200),
    "a block for a leaf": node_of(link(DAG_CBOR_PREFIX + LEAF_A[4:], b"", 100) * 2, FILE_200),
    "long length": link(LEAF_A, b"", 100) * 2 + b"\x0a" + bytes([len(FILE_200) | 0x80, 0]) + FILE_200,
    "nothing": b"",
    "endless length": b"\x12" + b"\xff" * 9 + b"\x01",
}


@pytest.mark.parametrize("node", ODD_NODES.values(), ids=ODD_NODES.keys())
def test_other_nodes_of_ipfs_are_refused(node: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """C50, C36: only files of our one layout."""
    small(monkeypatch, 100, 3)
    good = node_of(link(LEAF_A, b"", 100) * 2, FILE_200)
    assert not refused(named_by(good, 200, 1), good)
    assert refused(named_by(node, 200, 1), node)


@given(st.binary(max_size=400), st.integers(0, 1 << 41), st.integers(1, 3))
def test_garbage_is_refused(data: bytes, size: int, level: int) -> None:
    """C36: in bounded time, whatever size is claimed."""
    assert refused(named_by(data, min(size, Limits.leaf_bytes * 174**level), level), data)


def test_a_leaf_is_checked_for_hash_and_size() -> None:
    """C50: a wrong byte, a short leaf, somebody else's leaf."""
    data = random.Random(4).randbytes(1000)
    piece = root(made(data)[0])
    check(piece, data)
    for wrong in (data[:-1], data + b"\0", b"", bytes(1000), bytes(Limits.leaf_bytes + 1)):
        with pytest.raises(RemoteError):
            check(piece, wrong)
    with pytest.raises(RemoteError):
        check(piece._replace(size=999), data)


@pytest.mark.parametrize(
    ("link", "size"),
    [
        (RAW_PREFIX, LEAF + 1),
        (DAG_PB_PREFIX, LEAF),
        (DAG_PB_PREFIX, 0),
        (DAG_CBOR_PREFIX, 1),
        (DAG_CBOR_PREFIX, LEAF + 1),
    ],
)
def test_a_link_fits_its_size(link: bytes, size: int) -> None:
    with pytest.raises(RemoteError):
        root(Content(Cid(link + bytes(32)), size))


def test_the_largest_file_has_a_small_shape() -> None:
    """C36: a terabyte claimed costs one node's work."""
    size = Limits.max_content_bytes
    assert _level(size) == 3
    assert _tree_bytes(size, 3) > size
    assert total_pieces(Content(Cid(DAG_PB_PREFIX + bytes(32)), size)) == (1 << 22) + 24106 + 139 + 1


# --- fetching -----------------------------------------------------------------------------------------------------


def fetch(content: Content, source: dict[Cid, bytes], held: dict[Cid, bytes], at_once: int, most: int = 10**9) -> int:
    """Fetches what is missing, some at a time, as a peer's answers would come; gives how many pieces came."""
    came = start = 0
    while came < most:
        wanted = []
        for piece in missing(content, held.__contains__, held.get, start):
            wanted.append(piece)
            if len(wanted) == at_once:
                break
        if not wanted:
            break
        start = wanted[0].offset
        for piece in wanted:
            check(piece, source[piece.cid])
            held[piece.cid] = source[piece.cid]
            came += 1
    return came


@given(st.binary(max_size=400), st.integers(1, 9), st.integers(0, 40))
def test_a_fetch_is_resumed_and_takes_each_piece_once(data: bytes, at_once: int, cut: int) -> None:
    """C50: fetched on demand, resumed; nothing twice."""
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        content, source = made(data)
        held: dict[Cid, bytes] = {}
        came = fetch(content, source, held, at_once, cut)
        came += fetch(content, source, held, at_once)
        assert held == source
        assert came == len(source)
        assert list(missing(content, held.__contains__, held.get)) == []
        assert ContentReader(content, held.get).readall() == data


def test_what_is_missing_comes_in_reading_order(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    data = bytes(range(100))
    content, held = made(data)
    leaves = {cid for cid in held if cid[:4] == RAW_PREFIX}
    nodes = {cid: held[cid] for cid in held if cid not in leaves}
    plan = list(missing(content, lambda _: False, nodes.get))
    assert [piece.offset for piece in plan] == list(range(0, 100, 4))
    assert {piece.cid for piece in plan} == leaves
    assert [piece.offset for piece in missing(content, lambda _: False, nodes.get, start=50)] == list(range(48, 100, 4))


def test_a_leaf_that_repeats_is_wanted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    content, held = made(bytes(100))
    nodes = {cid: data for cid, data in held.items() if cid[:4] == DAG_PB_PREFIX}
    assert [piece.offset for piece in missing(content, lambda _: False, nodes.get)] == [0]


def test_a_damaged_node_is_missing_and_a_lying_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    content, held = made(bytes(range(100)))
    damaged = {**held, content.link: held[content.link][:-1] + b"\xff"}
    assert [piece.cid for piece in missing(content, held.__contains__, damaged.get)] == [content.link]
    other, others = made(bytes(range(50)))
    with pytest.raises(RemoteError):
        list(missing(Content(other.link, 100), others.__contains__, others.get))


def test_pieces_name_all_that_may_be_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """C50: dropping."""
    small(monkeypatch)
    content, held = made(bytes(range(100)))
    assert {piece.cid for piece in pieces(content, held.get)} == set(held)
    assert [piece.cid for piece in pieces(content, nothing)] == [content.link]


@pytest.mark.slow
def test_a_file_that_repeats_itself_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: half a million leaves, all one, in thirteen pieces: what looks for missing ones, or drops it, takes no long."""
    small(monkeypatch)
    content, held = made(bytes(4 * 3**12))
    assert len(held) == 13
    looked: list[Cid] = []

    def has(cid: Cid) -> bool:
        looked.append(cid)
        return True

    assert list(missing(content, has, held.get)) == []
    assert len(list(pieces(content, held.get))) == 12 + 3
    assert len(looked) == 3


# --- reading ------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 220), st.integers(0, 50)), max_size=12))
@settings(max_examples=60)
def test_reading_and_seeking_as_in_any_file(data: bytes, steps: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        content, held = made(data)
        plain = io.BytesIO(data)
        for stream in (open_content(content, held.get), io.BufferedReader(ContentReader(content, held.get), 3)):
            for offset, count in steps:
                assert stream.seek(offset) == plain.seek(offset)
                assert stream.read(count) == plain.read(count)
                assert stream.tell() == plain.tell()
            assert stream.seek(-min(3, len(data)), io.SEEK_END) == plain.seek(-min(3, len(data)), io.SEEK_END)
            assert stream.read() == plain.read()


def test_a_reader_takes_each_node_once_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    data = bytes(range(200))
    content, held = made(data)
    asked: list[Cid] = []

    def get(cid: Cid) -> bytes | None:
        asked.append(cid)
        return held.get(cid)

    assert ContentReader(content, get).readall() == data
    assert len(asked) == total_pieces(content)


def test_a_missing_leaf_is_said_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """C50: dropped content says so; what is held can be read."""
    small(monkeypatch)
    data = bytes(range(100))
    content, held = made(data)
    del held[Cid.of(data[40:44], RAW_PREFIX)]
    reader = ContentReader(content, held.get)
    assert b"".join(reader.read(9) for _ in range(10)) == data[:40]
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            reader.read(1)
        assert "40" in str(caught.value)
    reader.seek(44)
    assert reader.readall() == data[44:]
    with pytest.raises(UnavailableError):
        ContentReader(content, nothing).read(1)


def test_damaged_bytes_never_leave_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """C50: each leaf and node is verified."""
    small(monkeypatch)
    content, held = made(bytes(range(100)))
    for cid in held:
        broken = {**held, cid: bytes([held[cid][0] ^ 1]) + held[cid][1:]}
        with pytest.raises(UnavailableError):
            ContentReader(content, broken.get).readall()


def test_content_that_was_made_wrongly_is_unavailable_to_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    content, held = made(bytes(range(100)))
    for wrong in (
        Content(content.link, 99),
        Content(content.link, 101),
        Content(content.link, 4),
        Content(content.link, 2000),
    ):
        with pytest.raises(UnavailableError):
            ContentReader(wrong, held.get).readall()
    short = Cid.of(b"abc", RAW_PREFIX)
    with pytest.raises(UnavailableError):
        ContentReader(Content(short, 4), {short: b"abc"}.get).readall()


def test_a_closed_reader_reads_nothing() -> None:
    content, held = made(b"data")
    reader = ContentReader(content, held.get)
    assert reader.readable()
    assert reader.seekable()
    reader.close()
    for use in (reader.readall, lambda: reader.read(1)):
        with pytest.raises((ClosedError, ValueError)):
            use()
    with pytest.raises(InvalidInputError):
        ContentReader(content, held.get).seek(-1)
    with pytest.raises(InvalidInputError):
        ContentReader(content, held.get).seek(0, 7)
