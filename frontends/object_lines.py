"""How objects and their versions look in a terminal: a line each, and one object with its content.

Invariants: as in `render.py`; what is said about a version never looks like what its author wrote.
"""

from __future__ import annotations

import shlex
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from frontends.console import Hint
from frontends.finding import SHORT
from frontends.forms import Form
from frontends.plain import plain_text, size_text
from frontends.render import Palette, many, time_text

_DONE: Final = {
    "created": "Made", "edited": "Edited", "deleted": "Deleted", "restored": "Restored", "merged": "Merged",
}  # fmt: skip
_MARKS: Final = {"current": "green", "conflict": "yellow"}
_FEW: Final = 2  # ids named in a line


def object_line(form: Form, palette: Palette) -> Text:
    """An object in one line: its id, then its current version."""
    line = _began(form, form["object"], palette)
    if form["conflicts"]:
        line.append(" " + many(form["conflicts"], "conflict"), "yellow")
    return line.append(" ").append_text(_excerpt(form)).append_text(_topics(form))  # what is long goes beyond the edge


def version_line(form: Form, palette: Palette) -> Text:
    """A version in one line: its id, author, time, what it does, what it replaces, its content."""
    if "author" not in form:
        return Text.assemble((form["id"][-SHORT:], "bold"), " ", _excerpt(form))
    line = _began(form, form["id"], palette).append(f" {form['kind']}")
    if form["mark"] is not None:
        line.append(f" {form['mark']}", _MARKS[form["mark"]])
    if form["replaces"]:
        ids = form["replaces"]
        named = " ←".join(id[-SHORT:] for id in ids) if len(ids) <= _FEW else many(len(ids), "version")
        line.append(f" ←{named}", "dim")
    return line if form.get("note") == form["kind"] else line.append(" ").append_text(_excerpt(form))


def _began(form: Form, id: str, palette: Palette) -> Text:
    line = Text.assemble((id[-SHORT:], "bold"), " ", (form["author"][-SHORT:], palette(form["author"])))
    return line.append(" " + time_text(form["time"])[5:], "dim")


def _topics(form: Form) -> Text:
    return Text("".join(" #" + plain_text(topic) for topic in form["topics"]), "green")


def _excerpt(form: Form) -> Text:
    if "excerpt" in form:
        return Text(plain_text(form["excerpt"]))
    return Text(f"[{plain_text(form['note'])}]", "italic bright_black")


def done_page(form: Form, chain: str, *, merged: bool = False) -> RenderableType:
    """What was done to an object of the chain that the user called so."""
    what = _DONE["merged" if merged else form["kind"]]
    line = Text(f"{what} ", no_wrap=True, overflow="ellipsis").append(form["object"][-SHORT:], "bold")
    if form["kind"] != "created":
        line.append(f", version {form['id'][-SHORT:]}")
    if form["kind"] != "deleted":
        line.append(": ").append_text(_excerpt(form))
    elif form["dropped"]:
        line.append("; its contents are dropped here, for good where nobody else has them")
    more: list[RenderableType] = []
    if settled := ", ".join(map(plain_text, form.get("settled", ()))):
        more.append(Text(f"Changed on both sides, so look whether it came out right: {settled}"))
    if left := ", ".join(id[-SHORT:] for id in form.get("left", ())):
        more.append(Text(f"No JSON, and in conflict still: {left}", "yellow"))
    if form["kind"] == "deleted" and not form["dropped"]:
        more.append(Hint(f"`walytis object restore {_names(form, chain)}` brings it back", "dim"))
    return Group(line, *more, *_conflicts_hint(form, chain))


def object_page(form: Form, chain: str) -> RenderableType:
    """A version of an object: a line on it, then its content, where that is text of no great length."""
    head = Text(form["object"][-SHORT:], "bold")
    if "media_type" in form:
        head.append(f"  {plain_text(form['media_type'])}, {size_text(form['size'])}", "not bold")
    head.append_text(_topics(form)).append(
        f"\n{form['kind']} {time_text(form['time'])} by {form['author'][-SHORT:]}, version {form['id'][-SHORT:]}",
        "not bold dim",
    )
    if form["standing"] != "obeyed" or "media_type" not in form:
        return Group(head, Text(), _excerpt(form))
    hints = _conflicts_hint(form, chain)
    if form.get("encoding") == "utf-8":
        lines = "\n".join(plain_text(line) for line in form["payload"].splitlines())
        return Group(head, *hints, Text(), Text(lines))
    does = "writes it out" if form.get("held", True) else "fetches it from peers"
    names = f"{_names(form, chain)} {form['id'][-SHORT:]}"
    return Group(head, *hints, Text(), _excerpt(form), Hint(f"`walytis object show {names} --raw` {does}", "dim"))


def _conflicts_hint(form: Form, chain: str) -> list[RenderableType]:
    if not form["conflicts"]:
        return []
    beside = f"{many(form['conflicts'], 'version')} in conflict with the current one"
    if form["mark"] == "conflict":
        beside += ", this one among them"
    return [Hint(f"{beside}: `walytis object conflicts {_names(form, chain)}`", "yellow")]


def _names(form: Form, chain: str) -> str:
    return f"{shlex.quote(plain_text(chain))} {form['object'][-SHORT:]}"
