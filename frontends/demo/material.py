"""The input of the demo: a folder's files, cut into parts, dealt to three peers; and how they are put together again.

A file becomes blocks with the topics `file:<label>` and `part:<i>/<n>`; one above the inline limit becomes one block of
long content, smaller ones are cut so that there are enough blocks for a picture. Where that gives too few blocks, all
are cut finer; where there are too few bytes to cut, the files are appended again as copies. Invariants: every byte of
every file, and of every copy, is in exactly one part; each share has at least `MIN_SHARE` parts, so that the victim can
be killed between 20 and 80 % of its own. Pure but for reading the input.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NamedTuple

import frontends
from frontends.failures import FailedError

PEERS: Final = ("alice", "bob", "carol")
VICTIM: Final = "carol"
INLINE_BYTES: Final = 32 * 1024  # Limits.max_payload_bytes, which a test compares
MIN_SHARE: Final = 10
_MIN_PARTS: Final = MIN_SHARE * len(PEERS)
_AIM_BLOCKS: Final = 90
_MIN_PART, _MAX_PART = 32, 16 * 1024
_MAX_LABEL: Final = 200  # bytes; a topic has at most 256
_READ: Final = 1 << 20


class Part(NamedTuple):
    """A piece of a file that becomes one block."""

    file: int
    place: int
    places: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of the input: where it is, what its blocks call it, and its size."""

    path: str
    label: str
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Who appends what."""

    files: Sequence[InputFile]
    shares: Mapping[str, Sequence[Part]]

    @property
    def long(self) -> list[str]:
        """The labels of the files with parts above the inline limit."""
        found = {part.file for share in self.shares.values() for part in share if part.size > INLINE_BYTES}
        return [self.files[number].label for number in sorted(found)]

    @property
    def parts(self) -> int:
        """How many blocks all of it makes."""
        return sum(len(share) for share in self.shares.values())

    def write(self, path: Path) -> None:
        """Writes the plan for the other processes."""
        data = {"files": [asdict(file) for file in self.files], "shares": self.shares}
        path.write_text(json.dumps(data), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Reads what `write` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        files = [InputFile(**file) for file in data["files"]]
        return cls(files, {name: [Part(*part) for part in share] for name, share in data["shares"].items()})

    def topics(self, part: Part) -> list[str]:
        """The labels of a part's block."""
        return [f"file:{self.files[part.file].label}", f"part:{part.place + 1}/{part.places}"]

    def payload(self, part: Part) -> bytes:
        """The bytes of a part."""
        with Path(self.files[part.file].path).open("rb") as stream:
            stream.seek(part.offset)
            return stream.read(part.size)


def default_folder() -> Path | None:
    """The `docs` of the repository this runs from; None when it is installed without one."""
    root = Path(frontends.__file__).resolve().parent.parent
    return root / "docs" if (root / "pyproject.toml").is_file() and (root / "docs").is_dir() else None


class Gathered(NamedTuple):
    """The files below a folder, with their names, in order; and how many links and special files were passed over."""

    files: list[tuple[str, Path]]
    skipped: int


def gather(folder: Path) -> Gathered:
    """Looks for the files below a folder.

    Raises:
        FailedError: It is no folder, holds no files, or something in it cannot be read.
    """
    if not folder.is_dir():
        raise FailedError.usage(f"there is no folder {folder}", "Name a folder with files in it.")
    found, skipped = [], 0
    try:
        for path in _below(folder):
            if path.is_symlink() or not path.is_file():
                skipped += 1
                continue
            path.open("rb").close()  # now, rather than in the middle of the demo
            found.append((path.relative_to(folder).as_posix(), path))
    except OSError as error:
        raise _unreadable(error) from error
    if not found:
        raise FailedError.usage(f"there are no files in {folder}", "Name a folder with files in it.")
    return Gathered(sorted(found), skipped)


def _below(folder: Path) -> Iterator[Path]:
    """All that is below a folder but folders; links are not followed."""
    for inside in sorted(folder.iterdir()):
        if inside.is_dir() and not inside.is_symlink():
            yield from _below(inside)
        else:
            yield inside


def _unreadable(error: OSError) -> FailedError:
    hint = "Allow it to be read, or take it out of the folder."
    return FailedError.usage(f"cannot read {os.fsdecode(error.filename)}: {error.strerror}", hint)


def shipped(into: Path) -> list[tuple[str, Path]]:
    """The source files of this installation: real input where there is no repository."""
    import walytis_core  # noqa: PLC0415 - only its place is wanted

    roots = [Path(str(module.__file__)).parent for module in (walytis_core, frontends)]
    files = [
        (f"{root.name}/{path.relative_to(root).as_posix()}", path) for root in roots for path in root.rglob("*.py")
    ]
    return with_a_long_one(sorted(files)[:40], into)


def with_a_long_one(files: list[tuple[str, Path]], into: Path) -> list[tuple[str, Path]]:
    """The same files and, when none is above the inline limit, one that is: all of them after one another."""
    if any(path.stat().st_size > INLINE_BYTES for _, path in files):
        return files
    whole = b"".join(path.read_bytes() for _, path in files)
    longer = into / "all-in-one.txt"
    longer.write_bytes(whole * (1 + INLINE_BYTES // max(len(whole), 1)))
    return [*files, (longer.name, longer)]


def make_plan(files: Sequence[tuple[str, Path]]) -> Plan:
    """Cuts files into parts and deals them to the peers.

    Raises:
        FailedError: A file cannot be read.
    """
    try:
        inputs = [InputFile(str(path.resolve()), label_of(name), path.stat().st_size) for name, path in files]
    except OSError as error:
        raise _unreadable(error) from error
    small = sum(file.size for file in inputs if file.size <= INLINE_BYTES)
    part_bytes = min(max(small // _AIM_BLOCKS, _MIN_PART), _MAX_PART)
    by_file = [list(_cut(number, file.size, _step(file.size, part_bytes))) for number, file in enumerate(inputs)]
    if sum(map(len, by_file)) < _MIN_PARTS:
        step = max(sum(file.size for file in inputs) // _MIN_PARTS, 1)
        inputs = _with_copies(inputs, step)
        by_file = [list(_cut(number, file.size, min(step, file.size))) for number, file in enumerate(inputs)]
    return Plan(inputs, _deal(by_file))


def _with_copies(inputs: Sequence[InputFile], step: int) -> list[InputFile]:
    """The files and, where they make too few parts of `step` bytes, copies of them under labels of their own."""
    once = sum(_count(file.size, step) for file in inputs)
    taken = {file.label for file in inputs}
    every = list(inputs)
    for number in range(2, -(-_MIN_PARTS // once) + 1):
        for file in inputs:
            label = label_of(f"copy {number} of {file.label}")
            while label in taken:
                label = label_of(f"another {label}")
            taken.add(label)
            every.append(InputFile(file.path, label, file.size))
    return every


def label_of(name: str) -> str:
    """What a file's blocks call it: its name, or a hash of one that no topic can hold."""
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= _MAX_LABEL and name.isprintable():
        return name
    return "sha256:" + hashlib.sha256(encoded).hexdigest()


def _step(size: int, part_bytes: int) -> int:
    """How a file is cut: a long one not at all."""
    return size if size > INLINE_BYTES else part_bytes


def _count(size: int, step: int) -> int:
    return max(-(-size // step), 1) if step else 1


def _cut(file: int, size: int, step: int) -> Iterator[Part]:
    count = _count(size, step)
    for index in range(count):
        offset = index * step
        yield Part(file, index, count, offset, min(step, size - offset))


def _deal(by_file: Sequence[Sequence[Part]]) -> dict[str, list[Part]]:
    """Whole files, the largest first, to who has least; part by part when that leaves someone too little."""
    shares: dict[str, list[Part]] = {name: [] for name in PEERS}
    for parts in sorted(by_file, key=len, reverse=True):
        shares[min(PEERS, key=lambda name: len(shares[name]))].extend(parts)
    if min(map(len, shares.values())) < MIN_SHARE:
        every = [part for parts in by_file for part in parts]
        shares = {name: every[number :: len(PEERS)] for number, name in enumerate(PEERS)}
    return shares


def part_of(topics: Iterable[str]) -> tuple[str, int, int] | None:
    """File, index and count that a block's topics name; None when it is no part."""
    label, place = "", ""
    for topic in topics:
        kind, _, value = topic.partition(":")
        label, place = (value, place) if kind == "file" else (label, value if kind == "part" else place)
    index, _, count = place.partition("/")
    if not label or not index.isdecimal() or not count.isdecimal():
        return None
    return label, int(index) - 1, int(count)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_READ):
            digest.update(chunk)
    return digest.hexdigest()
