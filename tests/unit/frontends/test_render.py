from __future__ import annotations

import base64
import io

import pytest
import segno
from rich.console import Console

from frontends import render

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\u202eevil\u200b[red]not markup[/red]"
BLOCK = {
    "id": "b" * 59, "chain": "c" * 59, "author": "z" * 48, "seq": 1, "height": 2, "time": "2026-01-02T03:04:05.006+00:00",
    "type": HOSTILE, "topics": [HOSTILE], "size": 5, "payload": HOSTILE, "encoding": "utf-8", "prev": None, "parents": [],
}  # fmt: skip


def shown(what, width=80):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, highlight=False).print(what)
    return out.getvalue()


@pytest.mark.parametrize(
    "page",
    [
        lambda: render.block_line(BLOCK, render.Palette()),
        lambda: render.block_details(BLOCK),
        lambda: render.chains_table([{"name": HOSTILE, "id": "x", "blocks": 1, "height": 1}]),
        lambda: render.verify_page({"chains": [{"name": HOSTILE, "checked": 1, "corrupt": [], "problems": [HOSTILE]}]}),
    ],
)
def test_what_others_wrote_reaches_no_terminal_as_a_command(page):
    text = shown(page())
    assert not set(text) & set("\x1b\x07\r\u202e\u200b")
    assert "[red]not markup[/red]" in "".join(text.split("\n")) or "…" in text


def test_a_block_is_one_line_of_the_terminals_width():
    out = io.StringIO()
    console = Console(file=out, width=80)
    render.print_line(console, render.block_line(BLOCK | {"payload": "word " * 1000}, render.Palette()))
    text = out.getvalue()
    assert text.count("\n") == 1
    assert len(text.rstrip("\n")) <= 80


def test_bytes_and_long_content_are_named():
    payload = base64.b64encode(bytes(range(40))).decode()
    assert "00 01 02" in render.preview({"size": 40, "payload": payload, "encoding": "base64"})
    assert render.preview({"size": 3 << 20, "link": "bafy"}) == "[3.0 MiB of content]"


def test_sizes_and_counts():
    assert [render.size_text(size) for size in (0, 1023, 1024, 5 << 30)] == ["0 B", "1023 B", "1.0 KiB", "5.0 GiB"]
    assert [render.many(count, "block") for count in (0, 1, 2)] == ["0 blocks", "1 block", "2 blocks"]


def test_a_code_shows_each_module_once():
    text = "WALYTIS:" + "A" * 200
    matrix = [
        list(map(bool, row))
        for row in segno.make(text, error="l", boost_error=False, micro=False).matrix_iter(border=1)
    ]
    halves = {" ": (False, False), "▄": (False, True), "▀": (True, False), "█": (True, True)}
    shown_rows: list[list[bool]] = []
    for line in render.qr_code(text):
        shown_rows += [[halves[letter][half] for letter in line] for half in (0, 1)]
    assert shown_rows[: len(matrix)] == matrix
    assert not any(map(any, shown_rows[len(matrix) :]))
