"""CAR files as bytes: vectors, limits, what is refused and where."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.suites.making import some_id
from walytis_core.block import decode, is_genuine
from walytis_core.car import Reader, Section, write_header, write_section
from walytis_core.cid import DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX, Cid
from walytis_core.errors import InvalidInputError
from walytis_core.limits import Limits

VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/car.json").read_text(encoding="utf-8"))
PREFIXES = (DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX)


def read(data: bytes) -> tuple[tuple[Cid, ...], list[Section]]:
    reader = Reader(io.BytesIO(data))
    return reader.roots, list(reader)


def written(roots: list[Cid], sections: list[tuple[Cid, bytes]]) -> bytes:
    return write_header(roots) + b"".join(write_section(cid, data) for cid, data in sections)


class Short(io.RawIOBase):
    """A stream whose reads are short."""

    def __init__(self, data: bytes) -> None:
        self.stream = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self.stream.read(min(size, 3))


@pytest.mark.parametrize("vector", VECTORS["chains"], ids=["chain"])
def test_vectors(vector: dict[str, Any]):
    """C45: what we write, and what Kubo's `dag export` wrote of the same chain, hold the same sections."""
    ours, theirs = bytes.fromhex(vector["ours"]), bytes.fromhex(vector["theirs"])
    roots, sections = read(ours)
    assert [str(root) for root in roots] == vector["roots"]
    assert written(list(roots), [(section.cid, section.data) for section in sections]) == ours
    assert all(Cid.of(section.data, section.cid[:4]) == section.cid for section in sections)
    blocks = [decode(section.data) for section in sections if section.cid.startswith(DAG_CBOR_PREFIX)]
    assert [str(block.id) for block in blocks] == vector["blocks"]
    assert all(map(is_genuine, blocks))
    assert [s.data.decode() for s in sections if s.cid.startswith(RAW_PREFIX)] == [vector["content"]]
    their_roots, their_sections = read(theirs)
    assert their_roots == roots
    assert {(s.cid, s.data) for s in their_sections} == {(s.cid, s.data) for s in sections}
    assert len(their_sections) == len(sections)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_refused_vectors(vector: dict[str, Any]):
    """C45: a file that is cut or is no CAR v1 is refused, and the error says where."""
    with pytest.raises(InvalidInputError) as caught:
        read(bytes.fromhex(vector["file"]))
    assert re.search(rf"\(at byte {vector['at']}\)$", str(caught.value))
    assert caught.value.hint


@given(
    st.lists(st.tuples(st.sampled_from(PREFIXES), st.binary(max_size=300)), max_size=8),
    st.integers(0, 4),
    st.booleans(),
)
def test_what_is_written_is_read(parts: list[tuple[bytes, bytes]], root_count: int, is_short: bool):
    """C45: sections come back with their offsets, in any number, from streams with short reads, too."""
    sections = [(Cid.of(data, prefix), data) for prefix, data in parts]
    roots = [some_id(number) for number in range(root_count)]
    data = written(roots, sections)
    reader = Reader(Short(data) if is_short else io.BytesIO(data))  # type: ignore[arg-type] # it reads, and no more
    found = list(reader)
    assert list(reader.roots) == roots
    assert [(section.cid, section.data) for section in found] == sections
    assert all(data[s.offset : s.offset + len(s.data)] == s.data for s in found)
    assert reader.offset == len(data)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_read_to_its_end(data: bytes):
    """C45: whatever the bytes are, there is an `InvalidInputError` or nothing is left over."""
    reader = None
    try:
        reader = Reader(io.BytesIO(data))
        sections = list(reader)
    except InvalidInputError:
        return
    assert written(list(reader.roots), [(section.cid, section.data) for section in sections]) == data


def test_the_longest_section_and_one_that_is_longer():
    """C45: a section of 2 MiB is read; one byte more is not asked for."""
    data = bytes(Limits.max_section_bytes - 36)
    (section,) = read(write_header([]) + write_section(Cid.of(data, RAW_PREFIX), data))[1]
    assert section.data == data
    longer = write_header([]) + write_section(Cid.of(data + b"x", RAW_PREFIX), data + b"x")

    class Watched(io.BytesIO):
        most = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.most = max(self.most, size or 0)
            return super().read(size)

    stream = Watched(longer)
    with pytest.raises(InvalidInputError, match="longer than"):
        list(Reader(stream))
    assert stream.most < 100


def test_more_roots_than_a_header_holds():
    """C45: a header is no longer than what a reader takes."""
    fitting = 51_000
    assert len(Reader(io.BytesIO(write_header([some_id(1)] * fitting))).roots) == fitting
    with pytest.raises(InvalidInputError, match="roots"):
        write_header([some_id(1)] * 52_000)
