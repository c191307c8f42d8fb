"""How objects look in a terminal."""

from __future__ import annotations

import ast
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from frontends import object_lines
from frontends.render import Palette, print_line

HOSTILE = "\x1b[31mred\x1b]0;title\x07\x1b[2J\r\n\u202eevil\u200b[red]not markup[/red]"
VERSION: dict[str, Any] = {
    "object": "b" * 59, "id": "c" * 59, "kind": "edited", "standing": "obeyed", "mark": "conflict", "author": "z" * 48,
    "height": 2, "time": "2026-01-02T03:04:05.006+00:00", "topics": [HOSTILE], "replaces": ["d" * 59], "restores": None,
    "dropped": False, "excerpt": HOSTILE * 50, "media_type": f"text/plain;{HOSTILE}", "source": "c" * 59, "size": 5,
    "payload": HOSTILE, "encoding": "utf-8", "conflicts": 2,
}  # fmt: skip
NOTED = {key: value for key, value in VERSION.items() if key != "excerpt"} | {"note": HOSTILE}
HOLE = {"id": "e" * 59, "kind": "damaged", "note": "damaged here"}


def shown(what: Any, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, highlight=False).print(what)
    return out.getvalue()


@pytest.mark.parametrize("form", [VERSION, NOTED])
@pytest.mark.parametrize(
    "page",
    [
        lambda form: object_lines.object_line(form, Palette()),
        lambda form: object_lines.version_line(form, Palette()),
        lambda form: object_lines.done_page(form | {"settled": [HOSTILE]}, HOSTILE),
        lambda form: object_lines.object_page(form, HOSTILE),
        lambda form: object_lines.object_page(form | {"encoding": "base64"}, HOSTILE),
    ],
)
def test_what_others_wrote_reaches_no_terminal_as_a_command(page, form):
    assert not set(shown(page(form))) & set("\x1b\x07\r\u202e\u200b")


@pytest.mark.parametrize("line_of", [object_lines.object_line, object_lines.version_line])
def test_a_line_is_one_line_of_the_terminals_width(line_of):
    out = io.StringIO()
    console = Console(file=out, width=80)
    print_line(console, line_of(VERSION, Palette()))
    assert out.getvalue().count("\n") == 1
    assert len(out.getvalue().rstrip("\n")) <= 80
    assert len(shown(object_lines.done_page(VERSION | {"conflicts": 0}, "notes")).splitlines()) == 1


def test_a_version_says_what_it_replaces_and_how_it_stands():
    line = object_lines.version_line(VERSION | {"excerpt": "milk"}, Palette()).plain
    assert line.startswith("cccccccc zzzzzzzz ")
    assert line.endswith(" edited conflict ←dddddddd milk")
    many = object_lines.version_line(VERSION | {"replaces": ["d" * 59] * 24}, Palette()).plain
    assert "←24 versions" in many
    assert object_lines.version_line(HOLE, Palette()).plain == "eeeeeeee [damaged here]"


def test_how_an_object_begins_is_within_80_columns():
    """However many topics it has."""
    out = io.StringIO()
    form = VERSION | {"excerpt": "milk, bread", "topics": ["t" * 100] * 5}
    print_line(Console(file=out, width=80), object_lines.object_line(form, Palette()))
    assert "milk, bread #ttt" in out.getvalue()


def test_what_was_done_says_what_to_do_next():
    gone = VERSION | {"kind": "deleted", "conflicts": 0}
    assert "`walytis object restore notes bbbbbbbb` brings it back" in shown(object_lines.done_page(gone, "notes"))
    assert "restore" not in shown(object_lines.done_page(gone | {"dropped": True}, "notes"))
    left = shown(object_lines.done_page(VERSION | {"excerpt": "x", "left": ["f" * 59]}, "notes"), 200)
    assert "in conflict still: ffffffff\n" in left


def test_what_is_said_about_a_version_never_looks_like_its_content():
    """An author who writes `deleted` deletes nothing."""
    by_its_author = object_lines.version_line(VERSION | {"excerpt": "[deleted]"}, Palette())
    by_us = object_lines.version_line(NOTED | {"note": "deleted"}, Palette())
    assert by_its_author.plain == by_us.plain
    assert by_its_author != by_us
    assert by_its_author.spans != by_us.spans


def test_only_what_is_no_text_is_not_shown():
    page = shown(object_lines.object_page(VERSION | {"payload": "milk\nbread", "conflicts": 0}, "notes"))
    assert page.endswith("\nmilk\nbread\n")
    long = {key: value for key, value in VERSION.items() if key != "encoding"}
    assert "`walytis object show notes bbbbbbbb cccccccc --raw` writes it out" in shown(
        object_lines.object_page(long, "notes"), 200
    )
    assert "fetches it from peers" in shown(object_lines.object_page(long | {"held": False}, "notes"), 200)


def test_pages_name_commands_only_in_hints():
    """So that none can forget the directory."""
    tree = ast.parse(Path(object_lines.__file__).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    hints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Hint"]
    hinted = {id(part) for call in hints for part in ast.walk(call)}
    constants = [part for part in ast.walk(tree) if isinstance(part, ast.Constant) and "`walytis" in str(part.value)]
    assert constants
    assert all(id(part) in hinted for part in constants)
