"""CAR v1: a file of blocks by CID, as IPFS tools write and read it (docs/spec/car.md).

A header, which names the roots, then sections: a length, a CID, bytes. Invariants: reading takes exactly the one way in which this
file writes, with sections of the three kinds that chains have (dag-cbor, dag-pb, raw; SHA-256); it holds one section at a time, and
none that is longer than `Limits.max_section_bytes`. Whether the bytes match their CID, and what they mean, is for `bundle.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

from walytis_core import cbor
from walytis_core.cid import CID_BYTES, Cid, is_ours, varint
from walytis_core.errors import InvalidInputError, RemoteError
from walytis_core.limits import Limits

_VERSION: Final = 1
_VERSION_2: Final = bytes.fromhex("a16776657273696f6e02")
_MAX_VARINT_BYTES: Final = 4  # 28 bits: far above the longest section
_HINT: Final = (
    "Get the file again from where it came from: it was cut, changed on the way, or is no CAR file of a chain."
)


class Section(NamedTuple):
    """A block or a piece of content in a file.

    Attributes:
        cid: What the bytes are to hash to; not checked.
        offset: Where in the file `data` begins.
        data: The bytes.
    """

    cid: Cid
    offset: int
    data: bytes


def wrong(what: str, at: int, hint: str = _HINT) -> InvalidInputError:
    """The error for a file that is not as it should be.

    Args:
        what: What is wrong.
        at: The offset in the file.
        hint: What to do next.
    """
    return InvalidInputError(f"this CAR file cannot be read: {what} (at byte {at})", hint=hint)


# --- writing -----------------------------------------------------------------------------------------------------


def write_header(roots: Sequence[Cid]) -> bytes:
    """The beginning of a file.

    Raises:
        InvalidInputError: There are so many roots that no reader takes the header.

    >>> write_header([]).hex()
    '11a265726f6f7473806776657273696f6e01'
    """
    header = cbor.encode({"roots": list(roots), "version": _VERSION})
    if len(header) > Limits.max_section_bytes:
        raise InvalidInputError(
            f"a CAR file has room for {Limits.max_section_bytes // (CID_BYTES + 5)} roots, and these are {len(roots)}",
            hint="Append blocks to the chain first: each makes one head of up to 64.",
        )
    return varint(len(header)) + header


def write_section(cid: Cid, data: bytes) -> bytes:
    """A block or a piece of content, as it follows the header.

    >>> write_section(Cid.of(b"hi"), b"hi")[:5].hex()
    '2601711220'
    """
    return b"".join((varint(CID_BYTES + len(data)), cid, data))


# --- reading -----------------------------------------------------------------------------------------------------


class Reader:
    """Reads a file from its beginning; iterating gives its sections.

    Args:
        stream: The file.

    Both the constructor and iterating raise `InvalidInputError`, with the offset, where the file is cut or is no CAR v1.

    >>> import io
    >>> leaf = Cid.of(b"hi")
    >>> reader = Reader(io.BytesIO(write_header([leaf]) + write_section(leaf, b"hi")))
    >>> [section.data for section in reader]
    [b'hi']
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._at = 0
        self.roots: tuple[Cid, ...] = self._read_header()
        """What the header names, in its order."""

    @property
    def offset(self) -> int:
        """How far it has read."""
        return self._at

    def __iter__(self) -> Iterator[Section]:
        while True:
            start = self._at
            size = self._read_length()
            if size is None:
                return
            if size < CID_BYTES:
                raise wrong(f"a section of {size} bytes has no room for a CID", start)
            head = self._exactly(CID_BYTES, start)
            if not is_ours(head):
                raise wrong("a section's CID is none of version 1, with SHA-256, of dag-cbor, dag-pb or raw", start)
            offset = self._at
            yield Section(Cid(head), offset, self._exactly(size - CID_BYTES, start))

    def _read_header(self) -> tuple[Cid, ...]:
        size = self._read_length()
        if not size:
            raise wrong("it has no header", 0)
        data = self._exactly(size, 0)
        if data.startswith(_VERSION_2):
            raise wrong("it is of CAR version 2", 0, "Make one of version 1, as `ipfs dag export` writes it.")
        try:
            header = cbor.decode(data, max_bytes=Limits.max_section_bytes, max_depth=2)
        except RemoteError as error:
            raise wrong("its header is not in canonical DAG-CBOR, or names a root of another kind", 0) from error
        match header:
            case {"roots": list(roots), "version": version, **more} if (
                not more and type(version) is int and version == _VERSION and all(type(root) is Cid for root in roots)
            ):
                return tuple(roots)
        raise wrong("its header is not {roots, version: 1}", 0)

    def _read_length(self) -> int | None:
        """The length of what follows; None at the end of the file."""
        start, length = self._at, 0
        for index in range(_MAX_VARINT_BYTES):
            byte = self._stream.read(1)
            if not byte:
                if index:
                    raise wrong("it ends in the middle of a length", start)
                return None
            self._at += 1
            length |= (byte[0] & 0x7F) << 7 * index
            if byte[0] < 0x80:
                if index and not byte[0]:
                    raise wrong("a length is not in its shortest form", start)
                if length > Limits.max_section_bytes:
                    break
                return length
        raise wrong(f"a section or the header is longer than {Limits.max_section_bytes} bytes", start)

    def _exactly(self, size: int, start: int) -> bytes:
        """The next `size` bytes of the section that begins at `start`."""
        data = self._stream.read(size)
        while len(data) < size:
            more = self._stream.read(size - len(data))
            if not more:
                raise wrong("it ends too early, in the header or section that begins there", start)
            data += more
        self._at += size
        return data
