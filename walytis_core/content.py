"""Long content: a file as a DAG of leaves, built, read, and fetched leaf by leaf.

Theory (docs/spec/content.md): the layout is that of `ipfs add --cid-version=1 --raw-leaves`: raw leaves of 256 KiB under
balanced UnixFS nodes of at most 174 links; a file of one leaf is that leaf. The size alone fixes the shape: how many
nodes there are, the size of each part, and every byte of a node but the CIDs of its children. So a node is read by
writing it again: what does not come out the same is refused, be it of another type, size, order or layout.

Invariants: one file has one DAG; work and memory at each step are bounded by one node and one leaf, and depth by the size;
no byte leaves a reader unchecked against its CID. This file knows no store and no peer: bytes come and go by callables.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

from walytis_core.block import Content
from walytis_core.cid import CID_BYTES, DAG_PB_PREFIX, RAW_PREFIX, Cid, varint
from walytis_core.errors import ClosedError, InvalidInputError, Reason, RemoteError, UnavailableError
from walytis_core.limits import Limits

Put = Callable[[Cid, bytes], None]
Get = Callable[[Cid], bytes | None]
Has = Callable[[Cid], bool]

_LINK_HEAD: Final = b"\x0a\x24"  # PBLink.Hash, 36 bytes
_LINK_NAME: Final = b"\x12\x00"  # PBLink.Name, empty
_LINK_BYTES: Final = 2 + len(_LINK_HEAD) + CID_BYTES + len(_LINK_NAME) + 1  # and the tree size behind it
_MAX_LINK_BYTES: Final = 64  # with its place in the UnixFS data
_FILE_HEAD: Final = b"\x08\x02\x18"  # UnixFS: Type = File, then the tag of filesize


class Piece(NamedTuple):
    """A node or leaf of a file: its CID and the part of the file it stands for."""

    cid: Cid
    offset: int
    size: int
    level: int
    """How far the leaves are below: 0 for a leaf."""


# --- the shape, which follows from the size ----------------------------------------------------------------------


def _capacity(level: int) -> int:
    """How many bytes a full piece of this level stands for."""
    capacity: int = Limits.leaf_bytes * Limits.max_leaf_links**level
    return capacity


def _level(size: int) -> int:
    """The level of the root of a file."""
    level = 0
    while size > _capacity(level):
        level += 1
    return level


def _child_sizes(size: int, level: int) -> list[int]:
    """The sizes of the children of a piece: all full but the last."""
    full, rest = divmod(size, _capacity(level - 1))
    return [_capacity(level - 1)] * full + [rest] * (rest > 0)


def _tree_bytes(size: int, level: int) -> int:
    """The bytes of a piece and of all below it, which its parent states (Tsize)."""
    if level == 0:
        return size
    capacity = _capacity(level - 1)
    full, rest = divmod(size, capacity)
    total, data = 0, len(_FILE_HEAD + varint(size))
    for count, child in ((full, capacity), (int(rest > 0), rest)):
        if count:
            below = _tree_bytes(child, level - 1)
            total += count * (below + _LINK_BYTES + len(varint(below)))
            data += count * (1 + len(varint(child)))
    return total + 1 + len(varint(data)) + data


def _write_node(cids: Sequence[bytes], size: int, level: int) -> bytes:
    """The one dag-pb node of these children: links first, then the UnixFS data, as Kubo writes it."""
    sizes = _child_sizes(size, level)
    tree_sizes = {child: varint(_tree_bytes(child, level - 1)) for child in set(sizes)}
    links = []
    for cid, child in zip(cids, sizes, strict=True):
        link = _LINK_HEAD + cid + _LINK_NAME + b"\x18" + tree_sizes[child]
        links.append(b"\x12" + varint(len(link)) + link)
    data = _FILE_HEAD + varint(size) + b"".join(b"\x20" + varint(child) for child in sizes)
    return b"".join(links) + b"\x0a" + varint(len(data)) + data


# --- building ----------------------------------------------------------------------------------------------------


def build(stream: BinaryIO, put: Put) -> Content:
    """Cuts a stream into leaves and nodes, and hands each to `put`, children before parents.

    Holds one leaf and the CIDs of one unfinished node per level.

    Args:
        stream: Read to its end; short reads are fine.
        put: Keeps bytes under their CID. The same piece may come more than once.

    Raises:
        InvalidInputError: The stream is longer than `Limits.max_content_bytes`.

    >>> build(io.BytesIO(b""), lambda cid, data: None).link
    Cid('bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku')
    """
    open_nodes: list[list[Cid]] = [[]]
    size = 0
    while True:
        leaf = _read_leaf(stream)
        if not leaf and size:
            break
        size += len(leaf)
        if size > Limits.max_content_bytes:
            raise InvalidInputError(f"content has at most {Limits.max_content_bytes} bytes")
        open_nodes[0].append(_put(put, leaf, RAW_PREFIX))
        _close_full(open_nodes, size, put)
        if len(leaf) < Limits.leaf_bytes:
            break
    return Content(_close_all(open_nodes, size, put), size)


def _read_leaf(stream: BinaryIO) -> bytes:
    parts = []
    missing = Limits.leaf_bytes
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _put(put: Put, data: bytes, prefix: bytes) -> Cid:
    cid = Cid.of(data, prefix)
    put(cid, data)
    return cid


def _close_full(open_nodes: list[list[Cid]], size: int, put: Put) -> None:
    for level, cids in enumerate(open_nodes, start=1):
        if len(cids) < Limits.max_leaf_links:
            return
        _close(open_nodes, level, size, put)


def _close(open_nodes: list[list[Cid]], level: int, size: int, put: Put) -> None:
    """Makes a node of what is open below `level` when `size` bytes have been read, and adds it to those open there."""
    if len(open_nodes) == level:
        open_nodes.append([])
    node = _write_node(open_nodes[level - 1], (size - 1) % _capacity(level) + 1, level)
    open_nodes[level].append(_put(put, node, DAG_PB_PREFIX))
    open_nodes[level - 1].clear()


def _close_all(open_nodes: list[list[Cid]], size: int, put: Put) -> Cid:
    root_level = _level(size)
    for level in range(1, root_level + 1):
        if open_nodes[level - 1]:
            _close(open_nodes, level, size, put)
    return open_nodes[root_level][0]


# --- reading nodes -----------------------------------------------------------------------------------------------


def root(content: Content) -> Piece:
    """The whole file as a piece.

    Raises:
        RemoteError: `BAD_CONTENT`: the size is out of range, or the kind of the link does not fit it.
    """
    level = _level(min(content.size, Limits.max_content_bytes))
    if not 0 <= content.size <= Limits.max_content_bytes or content.link[:4] != (
        DAG_PB_PREFIX if level else RAW_PREFIX
    ):
        raise RemoteError(Reason.BAD_CONTENT)
    return Piece(content.link, 0, content.size, level)


def check(piece: Piece, data: bytes) -> None:
    """Checks bytes that came for a piece: hash, size and, for a node, its form.

    Raises:
        RemoteError: `BAD_CONTENT`.
    """
    fits = len(data) < _MAX_LINK_BYTES * (Limits.max_leaf_links + 1) if piece.level else len(data) == piece.size
    if not fits or not _is_of(piece, data):
        raise RemoteError(Reason.BAD_CONTENT)
    if piece.level:
        children(piece, data)


def children(piece: Piece, node: bytes) -> list[Piece]:
    """The pieces that a node names, in order. Its hash is the caller's to check.

    Raises:
        RemoteError: `BAD_CONTENT`: these bytes are not the one node of this size in this place.
    """
    sizes = _child_sizes(piece.size, piece.level)
    cids = list(_read_cids(node, len(sizes)))
    if len(cids) != len(sizes) or _write_node(cids, piece.size, piece.level) != node:
        raise RemoteError(Reason.BAD_CONTENT)
    prefix = DAG_PB_PREFIX if piece.level > 1 else RAW_PREFIX
    if any(cid[:4] != prefix for cid in cids):
        raise RemoteError(Reason.BAD_CONTENT)
    capacity = _capacity(piece.level - 1)
    return [
        Piece(cid, piece.offset + index * capacity, size, piece.level - 1)
        for index, (cid, size) in enumerate(zip(cids, sizes, strict=True))
    ]


def _read_cids(node: bytes, count: int) -> Iterator[Cid]:
    """Where the CIDs of a well-formed node stand; of any other it reads anything, and the caller finds out."""
    at = 0
    for _ in range(count):
        cid = node[at + 4 : at + 4 + CID_BYTES]
        if len(cid) != CID_BYTES:
            return
        yield Cid(cid)
        at += 2 + node[at + 1]  # a link is shorter than 128 bytes


# --- walking and fetching ----------------------------------------------------------------------------------------


def missing(content: Content, has: Has, get: Get, start: int = 0) -> Iterator[Piece]:
    """The pieces of a file that are not held, in reading order; each CID once. Lazy: take as many as can be asked for.

    What lies below a missing node shows once the node is held, so a fetch is: take some, fetch, `check` and keep them, and
    walk again, with the offset of the first that was missing as `start`; it is done when nothing is missing.

    Args:
        content: The file.
        has: Whether a leaf is held.
        get: The bytes of a node, or None when it is not held.
        start: Pieces that end at or before this offset are taken to be held.

    Raises:
        RemoteError: `BAD_CONTENT`: a held node is not of this layout, so the file can never be read.
    """
    seen: set[Cid] = set()
    for piece in _walk(root(content), get, start):
        if piece.cid not in seen and (piece.level or not has(piece.cid)):
            seen.add(piece.cid)
            yield piece


def pieces(content: Content, get: Get) -> Iterator[Piece]:
    """The pieces of a file whose nodes are held, parents before children: to drop it, to serve it, to count it.

    A node that is not held, or not of this layout, is given, and nothing below it; a node that the file repeats is given
    once.

    Raises:
        RemoteError: `BAD_CONTENT`: there is no such file, by its link and size alone.
    """
    return _walk(root(content), get, 0, inner=True)


def distinct(content: Content, get: Get, seen: set[Piece]) -> Iterator[Piece]:
    """The pieces of a file whose nodes are held, parents before children; what the file repeats is given once.

    A file may be a million times as long as its pieces together, so whoever walks files of others walks them so.

    Args:
        content: The file.
        get: The bytes of a node, or None when it is not held.
        seen: What was given already, of this file or of others; what is given is added.

    Raises:
        RemoteError: `BAD_CONTENT`: a node that is held, and was given, is not of this layout.
    """
    stack = [root(content)]
    while stack:
        piece = stack.pop()
        whatever_place = piece._replace(offset=0)
        if whatever_place in seen:
            continue
        seen.add(whatever_place)
        yield piece
        node = _held(piece, get) if piece.level else None
        if node is not None:
            stack.extend(reversed(children(piece, node)))


def _walk(top: Piece, get: Get, start: int, *, inner: bool = False) -> Iterator[Piece]:
    """Leaves, and nodes that are not held (with `inner`, all nodes), from `start` on.

    Nodes that are repeated are walked once: a file may be a million times as long as its pieces together.
    """
    stack, seen = [top], set[Piece]()
    while stack:
        piece = stack.pop()
        if piece.offset + piece.size <= start and piece.size:
            continue
        if piece.level:
            anywhere = piece._replace(offset=0)
            if anywhere in seen:
                continue
            seen.add(anywhere)
        node = _held(piece, get) if piece.level else None
        if node is None or inner:
            yield piece
        if node is None:
            continue
        try:
            stack.extend(reversed(children(piece, node)))
        except RemoteError:
            if not inner:
                raise


def _held(piece: Piece, get: Get) -> bytes | None:
    """The bytes of a piece; None also when they are damaged here, so that they are fetched again."""
    data = get(piece.cid)
    return data if data is not None and _is_of(piece, data) else None


def _is_of(piece: Piece, data: bytes) -> bool:
    return Cid.of(data, bytes(piece.cid[:4])) == piece.cid


# --- reading -----------------------------------------------------------------------------------------------------


def open_content(content: Content, get: Get) -> BinaryIO:
    """A buffered stream over a file. Raises as `ContentReader` does."""
    return io.BufferedReader(ContentReader(content, get))


class ContentReader(io.RawIOBase):
    """Reads a file by its leaves, each checked against its CID. Holds one leaf and one node per level.

    Args:
        content: The file.
        get: The bytes of a piece, or None when it is not held.

    Reading raises `UnavailableError` when a piece is not held or its bytes are damaged: fetching it again helps; and
    `UnavailableError` with another hint when its author gave it a form that cannot be read.

    >>> held = {}
    >>> file = build(io.BytesIO(b"abc"), held.__setitem__)
    >>> ContentReader(file, held.get).read()
    b'abc'
    """

    def __init__(self, content: Content, get: Get) -> None:
        super().__init__()
        self._size = content.size
        self._get = get
        self._at = 0
        try:
            self._path: list[tuple[Piece, list[Piece]]] = []
            self._root = root(content)
        except RemoteError as error:
            raise impossible() from error
        self._leaf: tuple[Piece, bytes] | None = None

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to an offset, which may lie behind the end. Nothing is read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}.get(whence)
        if base is None or base + offset < 0:
            raise InvalidInputError("seek goes to an offset of 0 or more, from the start, here or the end")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is of Python 3.12
        """Reads up to the end of the leaf at the offset."""
        room = memoryview(buffer).cast("B")
        part = self._rest_of_leaf()[: len(room)]
        room[: len(part)] = part
        self._at += len(part)
        return len(part)

    def readall(self) -> bytes:
        """The rest of the file."""
        parts = []
        while part := self._rest_of_leaf():
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    def _rest_of_leaf(self) -> memoryview:
        if self.closed:
            raise ClosedError("this file was closed")
        if self._at >= self._size:
            return memoryview(b"")
        piece, data = self._leaf_at(self._at)
        return memoryview(data)[self._at - piece.offset :]

    def _leaf_at(self, offset: int) -> tuple[Piece, bytes]:
        if self._leaf is None or not _covers(self._leaf[0], offset):
            piece = self._root
            while self._path and not _covers(self._path[-1][0], offset):
                self._path.pop()
            if self._path:
                piece = self._child(self._path[-1][1], offset)
            while piece.level:
                below = self._children(piece)
                self._path.append((piece, below))
                piece = self._child(below, offset)
            self._leaf = piece, self._load(piece)
        return self._leaf

    @staticmethod
    def _child(below: Sequence[Piece], offset: int) -> Piece:
        return below[(offset - below[0].offset) // below[0].size]

    def _children(self, piece: Piece) -> list[Piece]:
        try:
            return children(piece, self._load(piece))
        except RemoteError as error:
            raise impossible() from error

    def _load(self, piece: Piece) -> bytes:
        data = self._get(piece.cid)
        if data is None:
            raise UnavailableError(
                f"content from byte {piece.offset} on is not held here", hint="Call `chain.fetch(block)` first."
            )
        if not _is_of(piece, data):
            raise UnavailableError(f"content from byte {piece.offset} on is damaged here", hint="Fetch it again.")
        if piece.level == 0 and len(data) != piece.size:
            raise impossible()
        return data


def _covers(piece: Piece, offset: int) -> bool:
    return piece.offset <= offset < piece.offset + piece.size


def impossible() -> UnavailableError:
    """What a reader is told of a file that nobody can have: its link, size and nodes contradict each other."""
    return UnavailableError(
        "the content of this block cannot exist: its link, its size and its form contradict each other",
        hint="Nobody can give it: ask its author to append it again.",
    )


def total_pieces(content: Content) -> int:
    """How many pieces a file has, repeated ones counted each time: what a progress bar counts to."""
    return sum(max(1, -(-content.size // _capacity(level))) for level in range(_level(content.size) + 1))
