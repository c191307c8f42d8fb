"""Writing a chain into a CAR file (docs/spec/car.md): a snapshot of it, while others go on appending.

Invariants: the file is there whole or not at all, never in the place of another unless that was asked for, and never in the place
of what is no file; it holds every member up to one number and none after it, so that it is causally closed; what is damaged here is
not passed over in silence. Holds one page of blocks, the blocks outside the folded set, and the CIDs of the pieces that were written.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from walytis_core import car, content
from walytis_core.block import Content, decode
from walytis_core.cid import BlockId, Cid
from walytis_core.engine import Engine
from walytis_core.errors import InvalidInputError, NotFoundError, RemoteError, StorageError, WalytisError
from walytis_core.policy import EVERYONE
from walytis_core.store.port import ChainStore, Proof

_PAGE: Final = 256
_PAGE_BYTES: Final = 1 << 20
_BUFFER_BYTES: Final = 1 << 20
_STEPS: Final = 1000
"""Parts of a block that progress tells apart: the content of one may be most of the file."""
_PIECES: Final = 16

Tell = Callable[[int, int], None]
"""Told how much of how much is done: the blocks, in parts."""


class ExportReport(NamedTuple):
    """What was written.

    Attributes:
        path: The file.
        roots: The heads of the chain, as its header names them; the genesis when there are none.
        blocks: How many blocks, besides the genesis; those outside the folded set, too.
        pieces: How many pieces of long content.
        size: Bytes of the file.
    """

    path: Path
    roots: tuple[BlockId, ...]
    blocks: int
    pieces: int
    size: int


class _Snapshot(NamedTuple):
    """What a chain was at one instant."""

    roots: tuple[BlockId, ...]
    last: int
    members: int
    unfolded: Collection[BlockId]
    proofs: Mapping[bytes, Proof]


def export_chain(engine: Engine, path: Path, *, force: bool = False, tell: Tell | None = None) -> ExportReport:
    """Writes a chain into a file. See `Chain.export`."""
    with _new_file(path, force=force, is_private=engine.genesis.policy.readers != EVERYONE) as stream:
        writing = _Writing(engine.store, stream, tell or _tell_nobody)
        writing.write(_snapshot(engine))
        return ExportReport(path, writing.roots, writing.blocks - 1, len(writing.pieces), stream.tell())


def _snapshot(engine: Engine) -> _Snapshot:
    with engine.exclusive():
        members, tables = engine.replica.members, engine.store
        heads = tuple(id for id in members.heads if id != tables.id) or (tables.id,)
        unfolded = frozenset(members.unfolded)
        return _Snapshot(heads, tables.last, 1 + tables.count + len(unfolded), unfolded, dict(members.proofs))


def _tell_nobody(_done: int, _total: int) -> None: ...


@dataclass(slots=True)
class _Writing:
    """A file while it is written."""

    tables: ChainStore
    stream: BinaryIO
    tell: Tell
    roots: tuple[BlockId, ...] = ()
    blocks: int = 0
    pieces: set[Cid] = field(default_factory=set)
    _seen: set[content.Piece] = field(default_factory=set)
    _members: int = 0

    def write(self, snapshot: _Snapshot) -> None:
        self.roots, self._members = snapshot.roots, snapshot.members
        self.stream.write(car.write_header(self.roots))
        moved = set(snapshot.unfolded)
        for id, encoded in self._scan(snapshot.last):
            moved.discard(id)
            self._write_block(id, encoded)
            if self.blocks % _PAGE == 0:
                self._progress()
        for moved_id, encoded in self.tables.encoded(list(moved)).items():  # into the folded set: to a later number
            self._write_block(BlockId(moved_id), encoded)
        if self.blocks != snapshot.members:
            raise StorageError(
                "some blocks of this chain are damaged here, so that the file would not be whole",
                hint="`walytis verify` shows them; go online until a peer has brought them again, and try once more.",
            )
        for proof in snapshot.proofs.values():
            self._write_proof(proof)
        self._progress()

    def _progress(self, left: int = 0) -> None:
        """Says how far it is, where so many parts of the last block are still to come."""
        self.tell(self.blocks * _STEPS - left, self._members * _STEPS)

    def _scan(self, last: int) -> Iterator[tuple[BlockId, bytes]]:
        """The members up to a number, in the order in which they came; the genesis came first."""
        after = 0
        while rows := [row for row in self.tables.scan(after, _PAGE, _PAGE_BYTES) if row.number <= last]:
            yield from ((row.id, row.encoded) for row in rows)
            after = rows[-1].number

    def _write_block(self, id: BlockId, encoded: bytes) -> None:
        self.stream.write(car.write_section(id, encoded))
        self.blocks += 1
        wanted = decode(encoded, id).content
        if wanted is not None:
            self._write_content(wanted)

    def _write_content(self, wanted: Content) -> None:
        """Writes the pieces that are held, and sound; what cannot be read, whoever has it, is left out."""
        with suppress(RemoteError):
            for number, piece in enumerate(content.distinct(wanted, self.tables.side, self._seen)):
                if number and number % _PIECES == 0:
                    self._progress(_STEPS - _STEPS * piece.offset // wanted.size)
                data = None if piece.cid in self.pieces else self.tables.unlabelled_side(piece.cid)
                if data is None or Cid.of(data, bytes(piece.cid[:4])) != piece.cid:
                    continue
                content.check(piece, data)
                self.stream.write(car.write_section(piece.cid, data))
                self.pieces.add(piece.cid)

    def _write_proof(self, proof: Proof) -> None:
        """Writes what proves a fork; it need not be a member."""
        blocks = {BlockId.of(encoded): encoded for encoded in (proof.first, proof.second)}
        for id in blocks.keys() - self.tables.known(blocks):
            self.stream.write(car.write_section(id, blocks[id]))


# --- the file ----------------------------------------------------------------------------------------------------


@contextmanager
def _new_file(path: Path, *, force: bool, is_private: bool) -> Iterator[BinaryIO]:
    """A file that takes its name when what is inside has ended well; a link keeps naming it.

    Args:
        is_private: Whether nobody but its owner may read it.
    """
    try:
        _require_free(path, force=force)
        target = Path(os.path.realpath(path))
        part = target.with_name(f".{target.name[:50]}.{os.urandom(4).hex()}.part")
        try:
            mode = 0o600 if is_private else 0o666  # less what the umask takes
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb", buffering=_BUFFER_BYTES) as stream:
                yield stream
                stream.flush()
                os.fsync(descriptor)
            _give_name(part, target, force=force)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(path, error) from error


def _require_free(path: Path, *, force: bool) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise InvalidInputError(f"{path} is a folder", hint="Name a file in it.")
    if not stat.S_ISREG(mode):
        raise InvalidInputError(
            f"{path} is a device, a pipe or a socket", hint="Name a file: nothing else is replaced."
        )
    if not force:
        hint = "Name another file, or replace this one: `--force`, in Python `force=True`."
        raise InvalidInputError(f"{path} is there already", hint=hint)


def _give_name(part: Path, path: Path, *, force: bool) -> None:
    if force:
        _require_free(path, force=True)  # what is no file may have come meanwhile
        part.replace(path)
    else:
        try:
            os.link(part, path)  # a renaming that never replaces
        except OSError:  # it came meanwhile, or a file system that knows no links
            _require_free(path, force=False)
            part.rename(path)
    with suppress(OSError):  # a file system that cannot; the bytes are safe all the same
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _refused(path: Path, error: OSError) -> WalytisError:
    folder = Path(os.path.realpath(path)).parent
    if isinstance(error, FileNotFoundError) and not folder.exists():
        return NotFoundError(f"there is no folder {folder}", hint="Make it first, or name another.")
    if isinstance(error, FileNotFoundError):  # /proc, for one
        return InvalidInputError(f"no file can be made in {folder}", hint="Name another folder.")
    if error.errno in {errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}:
        return InvalidInputError(f"{path} cannot be a file: {error.strerror}", hint="Name another file.")
    return StorageError(
        f"{path} cannot be written: {error.strerror}", hint="Free some space, or name a place where you may write."
    )
