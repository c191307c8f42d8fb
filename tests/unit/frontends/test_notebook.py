"""The history of an object as a notebook shows it."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from frontends import notebook
from frontends.excerpts import Excerpt
from frontends.notebook import MAX_DOTS, MAX_ROWS, History, show
from mutability import EDITED, Change, Hole, Mutable, Version
from mutability.payloads import encode
from tools.conformance import ROOT
from walytis_core import BlockId, InvalidInputError, Node

HOSTILE = "</td><script>alert(1)</script><b onmouseover='x'>\x1b[31m\u202e\x00]]>&lt;"


@pytest.fixture
def notes():
    with Node.in_memory() as node:
        yield Mutable(node.create_chain("notes"))


def beside(notes: Mutable, version: Version, content: bytes) -> BlockId:
    """An edit by someone who knew only that version."""
    ext = encode(Change(EDITED, "text/plain", version.object, (version.id,)))
    return notes.chain.append(content, type=EDITED, ext=ext, parents=(version.id,)).id


class Page(HTMLParser):
    """The tags of a page, the cells of its table, and whether each tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert not any(name.startswith("on") for name, _ in attrs)
        self.tags.add(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_a_history_is_a_table_and_a_picture(notes):
    made = notes.create("milk")
    side = beside(notes, made, b"milk, jam")
    edited = notes.edit(made, "milk, bread")
    other = beside(notes, made, b"milk, tea")
    notes.delete(made)
    page = show(notes.history(made))
    rows = Page(page._repr_html_()).rows
    assert rows[0] == ["version", "what", "by", "when", "replaces", "content"]
    assert [row[1] for row in rows[1:]] == ["created", "edited", "edited", "edited", "deleted current"]
    assert rows[1][5] == "milk"
    assert {row[0] for row in rows[1:]} >= {str(id)[-8:] for id in (made.id, side, edited.id, other)}
    drawn = ET.fromstring(page._repr_svg_())
    text = " ".join(drawn.itertext())
    assert all(row[0] in text for row in rows[1:])
    assert text.count("current") == 1


def test_conflicts_and_the_current_version_are_told_apart(notes):
    """M05: by what nothing replaces, as the object's own state has it."""
    made = notes.create("milk")
    for number in range(4):
        beside(notes, made, b"%d" % number)
    rows = {row[0]: row[1] for row in Page(show(notes.history(made))._repr_html_()).rows}
    assert rows[str(notes.get(made).id)[-8:]] == "edited current"
    assert {id for id, what in rows.items() if what == "edited conflict"} == {
        str(version.id)[-8:] for version in notes.conflicts(made)
    }


def test_what_others_wrote_is_text_and_nothing_else(notes):
    made = notes.create(HOSTILE)
    gone = notes.delete(notes.edit(made, HOSTILE * 1000))
    beside(notes, gone, HOSTILE.encode())
    page = show([*notes.history(made, void=True), Hole(made.id)])
    assert Page(page._repr_html_()).tags <= {
        "svg", "rect", "path", "g", "title", "circle", "text", "tspan", "table", "thead", "tbody", "tr", "th", "td",
        "code", "span", "b", "i",
    }  # fmt: skip
    text = " ".join(ET.fromstring(page._repr_svg_()).itertext())
    assert "<script>alert(1)</script>" in text, "shown as it was written"
    assert not set(page._repr_html_()) & set("\x1b\u202e\x00")
    assert "void" in text
    assert "damaged" in text


def test_a_long_history_stays_one_page(notes):
    made = notes.create("0")
    page = show(iter([*[made] * 5000, notes.edit(made, "x" * 30_000)]))
    html = page._repr_html_()
    assert len(Page(html).rows) == MAX_ROWS + 1
    assert f"{5001 - MAX_ROWS} earlier versions are not shown." in html
    assert html.count("<circle") <= 2 * MAX_DOTS
    assert len(html) < 100_000


def row(number: int, replaces: Sequence[int]) -> Any:
    def id_of(number: int) -> BlockId:
        return BlockId(
            BlockId.parse("bafyreie3anh2inyj2nqwkz6t5enursyfw3wnxynupvomrgfciiysnq3pka")[:-2] + number.to_bytes(2)
        )

    line = Excerpt("x", is_content=True)
    return notebook._Row(id_of(number), "edited", "", "me", "now", [id_of(one) for one in replaces], line)


@pytest.mark.parametrize("seed", range(50))
def test_no_line_runs_through_a_version_that_it_is_not_about(seed):
    """Each line has its lane for itself between its two ends; and there is one for each pair that is shown."""
    dice = random.Random(seed)
    rows = [row(0, ())]
    for number in range(1, MAX_DOTS):
        replaced = dice.sample(range(number), k=min(number, dice.choice([1, 1, 1, 2, 3])))
        rows += [row(number, sorted(replaced))]
    shown = rows[dice.randrange(10) :]
    lanes, edges = notebook._placed(shown)
    at = {one.id: place for place, one in enumerate(shown)}
    pairs = sorted((at[id], at[one.id]) for one in shown for id in one.replaces if id in at)
    assert sorted((edge.top, edge.bottom) for edge in edges) == pairs
    taken: set[tuple[int, int]] = {(lane, place) for place, lane in enumerate(lanes)}
    for edge in edges:
        own = {(edge.lane, place) for place in range(edge.top + 1, edge.bottom)}
        assert not own & taken
        taken |= own


def test_many_sides_at_once_are_a_picture_of_bounded_width():
    rows = [row(0, ()), *(row(number, [0]) for number in range(1, 30)), row(30, range(1, 25))]
    drawn = ET.fromstring(History(rows, 0)._repr_svg_())
    assert int(drawn.attrib["width"]) < 700
    assert max(float(found) for found in re.findall(r'cx="(\d+)"', History(rows, 0)._repr_svg_())) < 400


def test_nothing_at_all_is_an_empty_table():
    page = show([])
    assert Page(page._repr_html_()).rows == [["version", "what", "by", "when", "replaces", "content"]]
    ET.fromstring(page._repr_svg_())


def test_what_is_no_history_is_refused(notes):
    made = notes.create("milk")
    for other in (made, made.object):
        with pytest.raises(InvalidInputError) as refused:
            show(other)
        assert "notes.history(note)" in refused.value.hint


def test_a_notebook_is_not_needed():
    code = (
        "import sys, frontends.notebook; print([name for name in ('IPython', 'rich', 'typer') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "[]\n"
