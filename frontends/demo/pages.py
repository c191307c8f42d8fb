"""How the demo looks: a line for what happened when, one picture, one table. Or JSON lines, for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from frontends.demo.material import PEERS, VICTIM
from frontends.picture import STYLES, Dot, authors_in_order, draw
from frontends.plain import plain_text, size_text
from frontends.render import many, print_line
from frontends.telling import write_json

_PICTURE_LEAD: Final = 5  # heights shown before the victim is killed, and before it comes back
_BAR: Final = 12
_CUT: Final = " ⋯ "


class Page:
    """Tells the story in a terminal.

    Args:
        console: Where.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(Text(""), console=console, transient=True, refresh_per_second=12)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def tell(self, event: str, fields: dict[str, Any]) -> None:
        """Shows one event."""
        if event == "progress":
            self._live.update(_bars(fields))
            return
        show = getattr(self, "_" + event.replace(" ", "_"))
        if event in {"closed", "complete"}:
            self._live.update(Text(""))
        show(fields)

    def _line(self, fields: Mapping[str, Any], *pieces: str | Text) -> None:
        line = Text(f"{fields['at_s']:6.2f} s  ", "dim")
        for piece in pieces:
            line.append_text(piece if isinstance(piece, Text) else Text(piece))
        print_line(self._console, line)

    # --- events ----------------------------------------------------------------------------------------------

    def _input(self, fields: Mapping[str, Any]) -> None:
        text = f"{many(fields['files'], 'file')} of {plain_text(fields['folder'])}"
        if fields["times"] > 1:
            text += f", {fields['times']} times each"
        text += f", {size_text(fields['bytes'])}: {many(fields['blocks'], 'block')}"
        if fields["long"]:
            text += f"; long content: {plain_text(fields['long'])}"
        print_line(self._console, Text(text))
        if fields["skipped"]:
            what = (
                "a link or special file" if fields["skipped"] == 1 else f"{fields['skipped']} links and special files"
            )
            print_line(self._console, Text(f"passed over: {what}"))

    def _open(self, fields: Mapping[str, Any]) -> None:
        self._line(fields, "three processes are up, each with its own directory and libp2p host")
        for name in PEERS:
            address = (fields["peers"][name] or ["no address"])[0]
            self._console.print(
                Text("          ")
                .append(name.ljust(7), _style(name))
                .append(f"process {fields['pids'][name]}, {address}", "dim"),
                overflow="ellipsis",
                no_wrap=True,
            )

    def _created(self, fields: Mapping[str, Any]) -> None:
        self._line(fields, _name(fields["peer"]), " made a chain and two invitations")

    def _joined(self, fields: Mapping[str, Any]) -> None:
        self._line(fields, _name(fields["peer"]), f" joined in {fields['took_s']:.2f} s")

    def _appending(self, fields: Mapping[str, Any]) -> None:
        shares = ", ".join(f"{name} {count}" for name, count in fields["shares"].items())
        self._line(fields, f"all three append at once (blocks: {shares})")

    def _killed(self, fields: Mapping[str, Any]) -> None:
        text = f" was killed with SIGKILL at {fields['own']} of its {fields['of']} blocks"
        self._line(fields, _name(fields["peer"]), Text(text, "bold red"))

    def _went_on(self, fields: Mapping[str, Any]) -> None:
        counts = " and ".join(f"{name} {count}" for name, count in fields["appended"].items())
        self._line(fields, f"the others go on (blocks since: {counts})")

    def _back(self, fields: Mapping[str, Any]) -> None:
        share = f"{fields['own']} of its {fields['of']} ({fields['own'] / fields['of']:.0%})"
        self._line(fields, _name(fields["peer"]), f" is back after {fields['away_s']:.1f} s; on its disk: {share}")

    def _caught_up(self, fields: Mapping[str, Any]) -> None:
        text = f" caught up on {many(fields['blocks'], 'block')} in {fields['took_s']:.2f} s, and appends the rest"
        self._line(fields, _name(fields["peer"]), text)

    def _complete(self, fields: Mapping[str, Any]) -> None:
        self._line(
            fields, f"all three hold all {many(fields['blocks'], 'block')}, {fields['took_s']:.1f} s after the first"
        )

    def _closed(self, fields: Mapping[str, Any]) -> None:
        self._line(fields, "all closed; a fourth process, on no network, opens the directories")

    def _picture(self, fields: Mapping[str, Any]) -> None:
        for line in _picture(fields["dots"], fields["authors"], self._console.width):
            self._console.print(line)

    def _verdict(self, fields: Mapping[str, Any]) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
        for title in ("directory", "blocks", "verified", "bad", "files = input"):
            table.add_column(title, justify="left" if title == "directory" else "right")
        for one in fields["directories"]:
            bad = one["corrupt"] + len(one["problems"])
            numbers = (f"{one['blocks']} and genesis", one["verified"], bad, f"{one['files']} of {one['of']}")
            table.add_row(_name(one["peer"]), *map(str, numbers))
        self._console.print(table)
        same = "the same block ids in all three" if fields["same_ids"] else "the block ids DIFFER"
        if fields["passed"]:
            self._console.print(
                Text(f"Passed in {fields['total_s']:.1f} s: {same}, every file as it was.", "bold green")
            )
        else:
            self._console.print(Text(f"FAILED after {fields['total_s']:.1f} s: {same}.", "bold red"))


class Lines:
    """Tells the story as JSON lines."""

    def tell(self, event: str, fields: dict[str, Any]) -> None:
        """Writes one event; what only moves a picture is left out."""
        if event == "picture":
            write_json({"event": "graph", "blocks": len(fields["dots"]), "authors": fields["authors"]}, compact=True)
        elif event != "progress":
            write_json({"event": event, **fields}, compact=True)


def _style(name: str) -> str:
    return STYLES[PEERS.index(name) % len(STYLES)]


def _name(name: str) -> Text:
    return Text(name, "bold " + _style(name))


def _bars(fields: Mapping[str, Any]) -> Text:
    line = Text(" " * 10, no_wrap=True, overflow="crop")
    for name in PEERS:
        filled = round(_BAR * fields[name] / max(fields["of"], 1))
        line.append(f"{name} ", _style(name)).append("━" * filled, _style(name)).append("━" * (_BAR - filled), "dim")
        line.append(f" {fields[name]:<5}")
    return line


def _picture(dots: Sequence[Mapping[str, Any]], authors: Mapping[str, str], width: int) -> list[Text]:
    """The graph where the victim is killed and, beside it, where it comes back."""
    every = [Dot(dot["id"], dot["author"], dot["height"], dot["named"]) for dot in dots]
    order = _order(authors, authors_in_order(every))
    victim = sorted(dot.height for dot in every if authors.get(dot.author) == VICTIM)
    gaps = [(after - before, before, after) for before, after in pairwise(victim)]
    if not gaps:
        return draw(every, width=width, names=authors, order=order)
    _, before, after = max(gaps)
    half = (width - max(map(len, PEERS)) - 2 - len(_CUT)) // 2
    left = draw(every, width=half + max(map(len, PEERS)) + 2, names=authors, order=order, begin=before - _PICTURE_LEAD)
    right = draw(every, width=half, order=order, begin=after - _PICTURE_LEAD, labelled=False)
    return [
        one + Text(_CUT if row % 2 == 0 else " " * len(_CUT), "dim") + other
        for row, (one, other) in enumerate(zip(left, right, strict=True))
    ]


def _order(authors: Mapping[str, str], found: Sequence[str]) -> list[str]:
    return sorted(found, key=lambda author: PEERS.index(authors[author]) if author in authors else len(PEERS))
