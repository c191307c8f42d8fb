"""How answers look in a terminal: a line per block, tables, pictures.

Invariants: what peers wrote (topics, text, names) reaches the terminal only through `plain_text`, so no escape code of
theirs is ever performed; a block's line never exceeds the terminal's width; a command is named by a `Hint` alone. Takes the JSON
forms, and knows no library.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from frontends.console import Hint
from frontends.finding import SHORT
from frontends.forms import Form
from frontends.picture import STYLES, Dot, authors_in_order, draw
from frontends.plain import plain_text, size_text

_PREVIEW_CHARS = 2000  # more never fits a line
_TO_MINUTES = 16  # letters of a time
_NAME_CHARS = 20  # of who wrote, in a line


def many(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count} {noun}" + "s" * (count != 1)


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
    return plain_text(" ".join(str(form["payload"])[:_PREVIEW_CHARS].split()))


def block_line(form: Form, palette: Palette) -> Text:
    """A block in one line: id, author, time, labels, content."""
    line = Text()
    line.append(form["id"][-SHORT:], "bold")
    line.append(" " + _writer_name(form), palette(form["author"]))
    line.append(" " + time_text(form["time"])[5:], "dim")
    if form["type"]:
        line.append(" " + plain_text(form["type"]), "italic")
    for topic in form["topics"]:
        line.append(" #" + plain_text(topic), "green")
    line.append(" " + preview(form))
    return line


def _writer_name(form: Form) -> str:
    """Who wrote a block: on a chain of members by name; else, and where there is none, by the end of the key."""
    key = str(form["author"])[-SHORT:]
    if "writer" not in form:
        return key
    writer = form["writer"]
    if writer is None:
        return f"{key} (no member)"
    name = plain_text(writer["name"])[:_NAME_CHARS] or key
    return name if writer["counts"] else f"{name} (does not count)"


def _writer_rows(form: Form) -> list[tuple[str, RenderableType]]:
    if "writer" not in form:
        return []
    writer = form["writer"]
    if writer is None:
        return [("by", "nobody who is, or was, a member")]
    name = plain_text(writer["name"]) or "a device without a name"
    state = "" if writer["state"] == "live" else f", {writer['state']} by now"
    rows: list[tuple[str, RenderableType]] = [("by", f"{name}, seat {writer['seat'][-SHORT:]}{state}")]
    rows += [("member", writer["did"])] * (writer["did"] is not None)
    return [*rows, *[("counts", "no: its author was removed, or may not say this")] * (not writer["counts"])]


def fields_table(rows: Sequence[tuple[str, RenderableType]]) -> Table:
    """Names and values, one a row."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value if not isinstance(value, str) else Text(value))
    return table


def block_details(form: Form, chain: str) -> RenderableType:
    """A whole block, of the chain that the user called so."""
    rows: list[tuple[str, RenderableType]] = [(name, form[name]) for name in ("id", "chain", "author")]
    rows += [
        *_writer_rows(form),
        ("place", f"height {form['height']}, the author's number {form['seq']}"),
        ("time", f"{time_text(form['time'])} (by the author's clock)"),
        ("type", plain_text(form["type"]) or "-"),
        ("topics", "  ".join(map(plain_text, form["topics"])) or "-"),
        ("prev", form["prev"] or "-"),
        ("parents", "\n".join(form["parents"]) or "-"),
        ("size", size_text(form["size"])),
    ]
    if "link" in form:
        return Group(fields_table([*rows, ("content", form["link"])]), _raw_hint(form, chain))
    if form["encoding"] == "base64":
        return Group(fields_table([*rows, ("payload", preview(form))]), _raw_hint(form, chain))
    lines = "\n".join(plain_text(line) for line in form["payload"].splitlines())
    return Group(fields_table(rows), Text(), Text(lines))


def _raw_hint(form: Form, chain: str) -> Hint:
    does = "writes it out" if form.get("held", True) else "fetches it from peers"
    return Hint(f"`walytis show {shlex.quote(plain_text(chain))} {form['id'][-SHORT:]} --raw` {does}")


def chains_page(found: Form) -> RenderableType:
    """The chains of a directory, and those of them that cannot be opened."""
    if not found["chains"] and not found["damaged"]:
        return Hint("No chains yet: `walytis create NAME` makes one, `walytis join INVITATION` joins one.")
    parts = [_chains_table(found["chains"])] if found["chains"] else []
    return Group(*parts, *damaged_lines(found["damaged"]))


def damaged_lines(damaged: Sequence[Form], delete: str = "walytis delete") -> list[RenderableType]:
    """What cannot be opened, each with the reason and what to do."""
    lines: list[RenderableType] = []
    for chain in damaged:
        name = plain_text(chain["name"])
        lines += [
            Text.assemble((name, "bold"), ("  damaged: ", "red"), chain["reason"]),
            Hint(chain["hint"], indent=2),
            Hint(f"`{delete} {shlex.quote(name)}` deletes it.", indent=2),
        ]
    return lines


def _chains_table(chains: Sequence[Form]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("chain", overflow="fold", min_width=12)
    table.add_column("blocks", justify="right", no_wrap=True)
    table.add_column("height", justify="right", no_wrap=True)
    table.add_column("id")
    for chain in chains:
        id = Text(chain["id"], overflow="ellipsis", no_wrap=True)  # as the column's it would be cut without a sign
        table.add_row(Text(plain_text(chain["name"])), str(chain["blocks"]), str(chain["height"]), id)
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
    legend = Text(f"\n{many(len(dots), 'block')} by {many(len(authors), 'author')}; heads: ")
    legend.append(" ".join(id[-SHORT:] for id in heads[:8]) + (" ..." if len(heads) > 8 else ""), "bold")
    return Group(*lines, legend)


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


def print_line(console: Console, line: Text) -> None:
    """Prints a text as one line of the console's width, cut where it is longer."""
    console.print(line, no_wrap=True, overflow="ellipsis", crop=True)


# --- pages -------------------------------------------------------------------------------------------------------


def status_page(found: Form) -> RenderableType:
    """The node and its chains."""
    node = found["node"]
    state = "running, not online" if found["running"] else "offline: nobody can reach it"
    if found["online"]:
        state = "online"
    rows: list[tuple[str, RenderableType]] = [("node", state)]
    if found["running"]:
        rows += [
            ("network", plain_text(node["network"])),
            ("peers", f"{node['peers']} connected, {many(node['sessions'], 'stream')}"),
        ]
    rows.append(("holds", f"{many(node['blocks'], 'block')} in {many(node['chains'], 'chain')}"))
    rows += [("refused", counted(node["refused"]))] * bool(node["refused"])
    parts: list[RenderableType] = [fields_table(rows)]
    if not found["running"]:
        parts.append(Hint("`walytis run` keeps it online.", "dim"))
    for chain in found["chains"]:
        parts += [
            Text(),
            Text(plain_text(chain["name"]), "bold underline"),
            _chain_status(chain, running=found["running"]),
        ]
    if found["damaged"]:
        parts += [Text(), *damaged_lines(found["damaged"])]
    return Group(*parts)


def _chain_status(chain: Form, *, running: bool) -> RenderableType:
    now = chain["status"]
    rows: list[tuple[str, RenderableType]] = [("id", Text(chain["id"], overflow="ellipsis", no_wrap=True))]
    rows.append(("blocks", f"{chain['blocks']}, up to height {chain['height']}; {many(now['heads'], 'head')}"))
    if running:
        met = "nobody since the node was started" if now["last_contact"] is None else ago(now["last_contact"])
        rows.append(("peers", f"{now['peers']} online; last contact: {met}"))
    if now["copied"] is not None:
        rows.append(
            ("on IPFS", "all of it is in the daemon" if now["copied"] else "not all of it is in the daemon yet")
        )
    if now["pulling_from"]:
        rows.append(("fetching", f"from {now['pulling_from']}"))
    if now["parked"]:
        rows.append(("parked", f"{many(now['parked'], 'block')} waiting for {now['missing']} missing"))
    rows += [("refused", counted(now["refused"]))] * bool(now["refused"])
    rows += [("forked", f"{many(now['forked_authors'], 'author')} wrote two blocks in one place")] * bool(
        now["forked_authors"]
    )
    rows += [("damaged", f"{many(now['corrupt'], 'block')}, fetched again from the next peer")] * bool(now["corrupt"])
    rows.append(("writing", "yes" if now["writable"] else f"no: {now['not_writable_because']}"))
    return fields_table(rows)


def counted(counts: Form) -> str:
    """Reasons with their counts."""
    return ", ".join(f"{count} x {plain_text(reason)}" for reason, count in counts.items())


def ago(text: str) -> str:
    """How long ago an ISO time is, roughly."""
    seconds = max((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds(), 0)
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{int(seconds / size)} {unit} ago"
    return f"{int(seconds)} s ago"


def verify_page(report: Form) -> RenderableType:
    """What a check of all blocks found."""
    lines: list[RenderableType] = []
    for chain in report["chains"]:
        bad = len(chain["corrupt"]) + len(chain["problems"])
        text = Text(plain_text(chain["name"]), "bold").append(
            f"  {many(chain['checked'], 'block')} checked, the genesis too: ", "not bold"
        )
        lines.append(text.append("all sound", "green") if not bad else text.append(many(bad, "problem"), "red"))
        lines += [Text(f"  damaged: {id}") for id in chain["corrupt"]]
        lines += [Text(f"  {plain_text(problem)}") for problem in chain["problems"]]
        if chain["corrupt"]:
            hint = Hint("Damaged blocks are set aside, and fetched again from a peer: `walytis run`.", "dim", indent=2)
            lines.append(hint)
    lines += damaged_lines(report["damaged"])
    return Group(*lines) if lines else Text("No chains to check.")


def invitation_page(console: Console, made: Form, *, with_code: bool) -> None:
    """An invitation to hand on: the text and, last, so that it stays in view, the code to scan where it fits."""
    uses = "any number of uses" if made["uses"] is None else many(made["uses"], "use")
    until = "" if made["expires"] is None else f", until {time_text(made['expires'])[:_TO_MINUTES]}"
    about = (
        f"An invitation to {plain_text(made['chain'])} for {uses}{until}. Who has it can join: hand it on with care."
    )
    console.print(about, markup=False)
    console.print(made["invitation"], markup=False, soft_wrap=True, style="bold")
    code = qr_code(made["qr_text"]) if with_code else []
    if code and len(code[0]) <= console.width:
        for line in code:
            console.print(Text(line, "black on bright_white"))


def qr_code(text: str) -> list[str]:
    """The lines of a QR code in half-block letters, to be shown black on white."""
    import segno  # noqa: PLC0415 - takes time to load, and only invitations need it

    rows = [list(row) for row in segno.make(text, error="l", boost_error=False, micro=False).matrix_iter(border=1)]
    rows += [[0] * len(rows[0])] * (len(rows) % 2)
    letters = {(0, 0): " ", (0, 1): "▄", (1, 0): "▀", (1, 1): "█"}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(letters[bool(a), bool(b)] for a, b in zip(top, bottom, strict=True)) for top, bottom in pairs]


def invitations_table(found: Sequence[Form], chain: str) -> RenderableType:
    """The invitations of the chain that the user called so."""
    if not found:
        return Hint(f"No invitations yet: `walytis invite {shlex.quote(plain_text(chain))}` makes one.")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "used", "for", "until", "state"):
        table.add_column(title)
    now = datetime.now(UTC)
    for one in found:
        uses = "any number" if one["uses"] is None else str(one["uses"])
        until = "no end" if one["expires"] is None else time_text(one["expires"])[:_TO_MINUTES]
        used_up = one["uses"] is not None and one["used"] >= one["uses"]
        expired = one["expires"] is not None and datetime.fromisoformat(one["expires"]) <= now
        state = "revoked" if one["revoked"] else "expired" if expired else "used" if used_up else "open"
        state += "" if one["write"] else ", read only"
        table.add_row(one["id"][:8], f"{one['used']} of {uses}", "writers" if one["write"] else "readers", until, state)
    return table


_SIGNS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "bad": ("✗", "red")}


def finding_line(finding: Form) -> RenderableType:
    """What a check of the doctor found."""
    sign, style = _SIGNS[finding["level"]]
    lead = Text.assemble((sign, style), f" {finding['check']:<10} ")
    remedy = [Hint(finding["remedy"], "bold", indent=lead.cell_len)] if finding["remedy"] else []
    return Group(Hint(finding["found"], lead=lead, indent=lead.cell_len), *remedy)


class JoinPage:
    """The progress of a join: who is waited for, then a bar of blocks held of blocks known.

    Args:
        console: Where; lines instead of a bar when it is no terminal.
    """

    def __init__(self, console: Console) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[held]}"),
        )
        self._console = console
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("starting", total=None, held="")
        self._state = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def progress(self, step: Form) -> None:
        """How far it is."""
        held = f"{step['held']} of {step['known']} blocks" if step["known"] else ""
        total = step["known"] or None
        state, _, _reason = plain_text(step["state"]).partition(": ")  # both are more than a line
        self._bar.update(self._task, description=state, total=total, completed=step["held"], held=held)
        if step["state"] != self._state and not self._console.is_terminal:
            self._console.print(plain_text(step["state"]), markup=False)
        self._state = step["state"]

    def joined(self, chain: Form) -> None:
        """The end."""
        self._bar.stop()
        name = plain_text(chain["name"])
        held = f"Joined {name}: {many(chain['blocks'], 'block')}."
        self._console.print(Hint(f"{held} `walytis log {shlex.quote(name)}` shows them."))
