"""The tutorial says what is true: each chapter is run from its Markdown, and prints what stands below each snippet.

Guides whose snippets stand alone are run too.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
from code import InteractiveConsole
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tools.conformance import ROOT

FOLDER = ROOT / "docs" / "tutorial"
CHAPTERS = sorted(FOLDER.glob("[0-9]*.md"))
GUIDES = [ROOT / "docs" / "guides" / name for name in ("data-directory.md", "layers.md", "testing-your-app.md")]
REAL_NETWORK = {"01-blocks.md", "02-invite-and-join.md"}

_LEFT_S = 5  # a thread that was told to end may take so long: C46


class Snippet(NamedTuple):
    """A piece of code on a page, the line it begins at, and what the page says it prints; None where it is silent."""

    code: str
    line: int
    prints: str | None


def snippets(page: str) -> Iterator[Snippet]:
    fence = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", flags=re.DOTALL | re.MULTILINE)
    for found in fence.finditer(page):
        yield Snippet(found[1], page[: found.start(1)].count("\n"), found[2])


def run(chapter: Path) -> list[str]:
    """Runs a chapter in one namespace; gives the snippets that print something else than the page says."""
    names: dict[str, Any] = {"__name__": "tutorial"}
    wrong = []
    for code, line, prints in snippets(chapter.read_text(encoding="utf-8")):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile("\n" * line + code, str(chapter), "exec"), names)
        if prints is not None and out.getvalue() != prints:
            wrong.append(f"{chapter.name}:{line}: says {prints!r}, prints {out.getvalue()!r}")
    return wrong


class Session(InteractiveConsole):
    """An interactive session into which lines are pasted; keeps what it complains of."""

    def __init__(self) -> None:
        super().__init__({"__name__": "__main__"})
        self.complaints: list[str] = []

    def write(self, data: str) -> None:
        self.complaints.append(data)

    def paste(self, snippet: str) -> None:
        goes_on = False
        for line in snippet.splitlines():
            goes_on = self.push(line)
        if goes_on:
            self.push("")  # the empty line by which a person ends it


each_chapter = pytest.mark.parametrize(
    "chapter",
    [
        pytest.param(chapter, marks=[pytest.mark.slow, pytest.mark.libp2p] if chapter.name in REAL_NETWORK else [])
        for chapter in CHAPTERS
    ],
    ids=lambda chapter: chapter.stem,
)


@each_chapter
def test_a_chapter_can_be_pasted(chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C48: from an interactive session, where a line that is not indented does not end a block."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.displayhook", lambda _value: None)
    session = Session()
    with contextlib.redirect_stdout(io.StringIO()):
        for snippet in snippets(chapter.read_text(encoding="utf-8")):
            session.paste(snippet.code)
    assert session.complaints == []


@each_chapter
def test_a_chapter_does_what_it_says(chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C48: the same API from threads, from a running asyncio loop, and by iteration. C46: nothing is left running."""
    monkeypatch.chdir(tmp_path)
    before = set(threading.enumerate())
    assert run(chapter) == []
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("walytis")]
    for thread in left:
        thread.join(_LEFT_S)
    assert [thread.name for thread in left if thread.is_alive()] == [], "a chapter closes what it opens"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_does_what_it_says(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(guide) == []


def test_the_index_lists_the_chapters() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\d\d-[\w-]+\.md)\)", index) == [chapter.name for chapter in CHAPTERS]
    for chapter, following in pairwise(CHAPTERS):
        assert f"({following.name})" in chapter.read_text(encoding="utf-8").splitlines()[-1], "each leads to the next"


def test_every_box_of_output_belongs_to_a_snippet() -> None:
    for chapter in CHAPTERS:
        page = chapter.read_text(encoding="utf-8")
        boxes = len(re.findall(r"^```text$", page, flags=re.MULTILINE))
        assert boxes == sum(snippet.prints is not None for snippet in snippets(page)), chapter.name
