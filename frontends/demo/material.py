"""The input of the demo: a folder's files, cut into parts, dealt to three peers; and how they are put together again.

A file becomes blocks with the topics `file:<label>` and `part:<i>/<n>`; one above the inline limit becomes one block of
long content, smaller ones are cut so that there are enough blocks for a picture. Invariants: every byte of every file
is in exactly one part; the victim's share has at least `MIN_SHARE` parts, so that it can be killed between 20 and 80 %
of it. Pure but for reading the input.
"""

from __future__ import annotations

import hashlib
import json
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


def gather(folder: Path) -> list[tuple[str, Path]]:
    """The files below a folder, with their names, in order.

    Raises:
        FailedError: It is no folder, or holds no files.
    """
    if not folder.is_dir():
        raise FailedError.usage(f"{folder} is no folder", "Name a folder with files in it.")
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    if not found:
        raise FailedError.usage(f"{folder} holds no files", "Name a folder with files in it.")
    return sorted((path.relative_to(folder).as_posix(), path) for path in found)


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
        FailedError: A file cannot be read, or all together are too small to deal.
    """
    try:
        inputs = [InputFile(str(path.resolve()), label_of(name), path.stat().st_size) for name, path in files]
    except OSError as error:
        raise FailedError.usage(f"{error.filename} cannot be read: {error.strerror}") from error
    small = sum(file.size for file in inputs if file.size <= INLINE_BYTES)
    part_bytes = min(max(small // _AIM_BLOCKS, _MIN_PART), _MAX_PART)
    by_file = [list(_cut(number, file.size, part_bytes)) for number, file in enumerate(inputs)]
    plan = Plan(inputs, _deal(by_file))
    if len(plan.shares[VICTIM]) < MIN_SHARE:
        hint = (
            f"The demo needs enough for {3 * MIN_SHARE} blocks: about {3 * MIN_SHARE * _MIN_PART} bytes in small files."
        )
        raise FailedError.usage("the input is too small to share among three", hint)
    return plan


def label_of(name: str) -> str:
    """What a file's blocks call it: its name, or a hash of one that no topic can hold."""
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= _MAX_LABEL and name.isprintable():
        return name
    return "sha256:" + hashlib.sha256(encoded).hexdigest()


def _cut(file: int, size: int, part_bytes: int) -> Iterator[Part]:
    step = size if size > INLINE_BYTES else part_bytes
    count = max(-(-size // step), 1) if step else 1
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
