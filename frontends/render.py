"""How answers look in a terminal: a line per block, tables, pictures.

Invariants: what peers wrote (topics, text, names) reaches the terminal only through `plain_text`, so no escape code of
theirs is ever performed; a line never exceeds the terminal's width. Takes the JSON forms, and knows no library.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from frontends.finding import SHORT
from frontends.forms import Form
from frontends.picture import STYLES, Dot, authors_in_order, draw, style_of

_PREVIEW_CHARS = 2000  # more never fits a line


def plain_text(text: str) -> str:
    """Text that others wrote, safe for a terminal: what is not printable becomes a middle dot."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def size_text(size: int) -> str:
    """A number of bytes for people."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{int(amount)} B" if unit == "B" else f"{amount:.1f} {unit}"


def time_text(text: str) -> str:
    """An ISO time as local time."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


class Palette:
    """A colour for each author, in order of appearance."""

    def __init__(self) -> None:
        self._styles: dict[str, str] = {}

    def __call__(self, author: str) -> str:
        """The style of an author."""
        return self._styles.setdefault(author, STYLES[len(self._styles) % len(STYLES)])


def preview(form: Form) -> str:
    """The content of a block in a few words."""
    if "link" in form:
        return f"[{size_text(form['size'])} of content]"
    if form["encoding"] == "base64":
        return f"[{size_text(form['size'])} of bytes] " + base64.b64decode(form["payload"])[:24].hex(" ")
    return plain_text(str(form["payload"])[:_PREVIEW_CHARS])


def block_line(form: Form, palette: Palette) -> Text:
    """A block in one line: id, author, time, labels, content."""
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(form["id"][-SHORT:], "bold")
    line.append(" " + form["author"][-SHORT:], palette(form["author"]))
    line.append(" " + time_text(form["time"])[5:], "dim")
    if form["type"]:
        line.append(" " + plain_text(form["type"]), "italic")
    for topic in form["topics"]:
        line.append(" #" + plain_text(topic), "green")
    line.append(" " + preview(form))
    return line


def fields_table(rows: Sequence[tuple[str, RenderableType]]) -> Table:
    """Names and values, one a row."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value if not isinstance(value, str) else Text(value))
    return table


def block_details(form: Form) -> RenderableType:
    """A whole block."""
    rows: list[tuple[str, RenderableType]] = [
        (name, form[name]) for name in ("id", "chain", "author")
    ]
    rows += [
        ("place", f"height {form['height']}, the author's number {form['seq']}"),
        ("time", f"{time_text(form['time'])} (by the author's clock)"),
        ("type", plain_text(form["type"]) or "-"),
        ("topics", "  ".join(map(plain_text, form["topics"])) or "-"),
        ("prev", form["prev"] or "-"),
        ("parents", "\n".join(form["parents"]) or "-"),
        ("size", size_text(form["size"])),
    ]
    if "link" in form:
        return fields_table([*rows, ("content", f"{form['link']}\n`walytis show --raw` writes it out")])
    if form["encoding"] == "base64":
        return fields_table([*rows, ("payload", f"{preview(form)}\n`walytis show --raw` writes it out")])
    lines = "\n".join(plain_text(line) for line in form["payload"].splitlines())
    return Group(fields_table(rows), Text(), Text(lines))


def chains_table(chains: Sequence[Form]) -> RenderableType:
    """The chains of a directory."""
    if not chains:
        return Text("No chains yet: `walytis create NAME` makes one, `walytis join INVITATION` joins one.")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in (("chain", "left"), ("blocks", "right"), ("height", "right"), ("id", "left")):
        table.add_column(title, justify=justify, overflow="fold" if title != "id" else "ellipsis", no_wrap=title == "id")  # type: ignore[arg-type]
    for chain in chains:
        table.add_row(Text(plain_text(chain["name"])), str(chain["blocks"]), str(chain["height"]), chain["id"])
    return table


def graph_picture(forms: Sequence[Form], width: int) -> RenderableType:
    """The graph of blocks, a lane per author, and who is who."""
    dots = [
        Dot(form["id"], form["author"], form["height"], [*form["parents"], *([form["prev"]] if form["prev"] else [])])
        for form in forms
    ]
    authors = authors_in_order(dots)
    named = {id for dot in dots for id in dot.named}
    heads = [dot.id for dot in dots if dot.id not in named]
    lines: list[RenderableType] = list(draw(dots, width=width))
    legend = Text(f"\n{len(dots)} blocks by {len(authors)} authors; heads: ")
    legend.append(" ".join(id[-SHORT:] for id in heads[:8]) + (" ..." if len(heads) > 8 else ""), "bold")
    return Group(*lines, legend)


def author_name(authors: Sequence[str], author: str) -> Text:
    """The end of an author's key, in its colour."""
    return Text(author[-SHORT:], style_of(authors, author))


def any_fields(data: Any, indent: int = 0) -> list[str]:
    """JSON data as indented lines: for what has no picture of its own."""
    pad = "  " * indent
    if isinstance(data, dict):
        lines = []
        for key, value in data.items():
            if isinstance(value, (dict, list)) and value:
                lines += [f"{pad}{key.replace('_', ' ')}", *any_fields(value, indent + 1)]
            else:
                lines.append(f"{pad}{key.replace('_', ' ')}: {_scalar(value)}")
        return lines
    if isinstance(data, list):
        return [line for item in data for line in any_fields(item, indent)]
    return [pad + _scalar(data)]


def _scalar(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return plain_text(str(value))


def terminal(*, to_stderr: bool = False) -> Console:
    """A console on standard output, or standard error."""
    return Console(stderr=to_stderr, highlight=False, soft_wrap=False)
