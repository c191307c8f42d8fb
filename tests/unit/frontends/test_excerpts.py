"""What is shown of a version in one line."""

from __future__ import annotations

import io
from typing import Any, cast

import pytest

from frontends.excerpts import EXCERPT_CHARS, Excerpt, excerpt
from frontends.plain import plain_text
from mutability import DELETED, Hole, Mutable
from walytis_core import BlockId, Node, Void, Wait

HOSTILE = "\x1b[31mred\x1b]0;title\x07\x1b[2J\r\n\u202eevil\u200b\ufeff\x00"


@pytest.fixture(scope="module")
def notes():
    with Node.in_memory() as node:
        yield Mutable(node.create_chain("notes"))


@pytest.mark.parametrize(
    ("content", "media_type", "line"),
    [
        (b"milk,\n\t bread", "text/plain", Excerpt("milk, bread", is_content=True)),
        (b"deleted", "text/plain", Excerpt("deleted", is_content=True)),
        (b"", "text/plain", Excerpt("empty", is_content=False)),
        (b"\xff\x00", "text/plain", Excerpt("2 B, text/plain", is_content=False)),
        (b"<svg>", "image/svg+xml", Excerpt("5 B, image/svg+xml", is_content=False)),
        (b"plain", "application/octet-stream", Excerpt("plain", is_content=True)),
        (bytes(5000), "IMAGE/png", Excerpt("4.9 KiB, IMAGE/png", is_content=False)),
        ("é".encode() * 4000, "text/plain", Excerpt("é" * EXCERPT_CHARS + "…", is_content=True)),
        (b"x" + "é".encode() * 40_000, "text/plain", Excerpt("x" + "é" * (EXCERPT_CHARS - 1) + "…", is_content=True)),
        (b"a" * 1599 + "é".encode(), "text/plain", Excerpt("a" * EXCERPT_CHARS + "…", is_content=True)),
        (b"\xc3", "text/plain", Excerpt("1 B, text/plain", is_content=False)),
    ],
)
def test_a_content_begins_so(notes, content, media_type, line):
    assert excerpt(notes.create(io.BytesIO(content), media_type=media_type)) == line


def test_what_others_wrote_is_one_harmless_line(notes):
    line = excerpt(notes.create(HOSTILE * 100))
    assert line.is_content
    assert line.text.isprintable()
    assert len(line.text) <= EXCERPT_CHARS + 1
    typed = excerpt(notes.create(b"\xff", media_type="text/plain;x=y"))
    assert typed.text.isprintable()


def test_only_the_start_of_a_huge_content_is_read(notes):
    version = notes.create(b"once " * 1_000_000)
    taken: list[int] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            taken.append(size)
            return super().read(size)

    source = version.source._replace(reader=lambda _content: cast(Any, Watched(b"once " * 1000)))
    assert excerpt(version._replace(source=source)).text.startswith("once once")
    assert len(taken) == 1
    assert 0 < taken[0] < 10_000


def test_what_has_no_content_says_why(notes):
    made = notes.create("milk", droppable=True)
    assert excerpt(Hole(BlockId(made.id))) == Excerpt("damaged here; it is fetched again from a peer", is_content=False)
    void = made._replace(standing=Void(f"no{HOSTILE}"), source=None)
    assert excerpt(void) == Excerpt(plain_text(f"void: no{HOSTILE}"), is_content=False)
    assert "another chain" in excerpt(made._replace(standing=Wait(made.id, (made.id,)))).text
    gone = notes.delete(made)
    assert (gone.change.kind, excerpt(gone)) == (DELETED, Excerpt("deleted", is_content=False))
    assert excerpt(notes.delete(made, drop=True)) == Excerpt("deleted, and its contents dropped", is_content=False)
    first = next(notes.history(made))
    assert excerpt(first) == Excerpt("its content is not held here: 4 B, text/plain", is_content=False)
