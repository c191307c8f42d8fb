"""docs/benchmarks.md, from the rows of a run and what is known about those that miss."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.table import Row, figure, verdict

PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_PROFILES: Final = Path(__file__).with_name("profiles.md")

_HEAD: Final = """\
# Benchmarks

`make bench` measures all of this in less than ten minutes, prints it, and writes `benchmarks/latest.json`. `python -m benchmarks --only join` runs a
part. This page is made from that file: `python -m benchmarks --write-docs {date}`.

Measured on {date}, on {machine}.
"""

_HOW: Final = """\
## How to read it

- **Ceiling**: what the same libraries (PyNaCl, sqlite3) do with the simplest honest table, without rules, indexes or protocol:
  `benchmarks/ceilings.py`. It is measured in turns with our figure, in the same process run, and the best of each counts.
- **Ratio**: our figure as a share of its ceiling. Absolute figures say much about a machine; ratios say something about the code.
- **void**: the ceiling itself stayed under 0.6 of what such a machine has shown. Something else was running; the ratio means nothing.
- Blocks have a payload of 100 bytes and one topic. Everything that is stored is stored durably (`synchronous=FULL`).
- Network figures are between two processes on loopback, through the embedded libp2p. A block has arrived when the reader's feed gives it to
  the app; latency counts from the call of `append`, its disk sync included.
"""


def write(rows: Sequence[Row], date: str) -> None:
    """Writes the page.

    Args:
        rows: Of a full run.
        date: When it was; ISO 8601.
    """
    PAGE.write_text(render(rows, date, _profiles()), encoding="utf-8")


def render(rows: Sequence[Row], date: str, profiles: Mapping[str, str]) -> str:
    """The page as Markdown.

    Args:
        rows: Of a full run.
        date: When it was.
        profiles: Why a figure misses its target, by measure.
    """
    lines = [
        _HEAD.format(date=date, machine=_machine()),
        "| measure | here | ceiling | ratio | must reach | |",
        "|---|--:|--:|--:|---|---|",
    ]
    lines += map(_line, rows)
    lines += ["", _HOW, "## What misses, and why", ""]
    missed = [row for row in rows if row.met is False]
    if not missed:
        lines.append("Nothing does.")
    for row in missed:
        lines += [f"### {row.measure.strip()}", "", profiles.get(row.measure.strip(), "No profile yet."), ""]
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Row) -> str:
    ceiling = f"{row.ceiling:,.0f}" if row.ceiling else ""
    ratio = f"{row.ratio:.2f}" if row.ratio else ""
    name = row.measure.replace("  ", "&emsp;", 1) if row.measure.startswith("  ") else row.measure
    target = row.target.replace("<", "under").replace(">=", "at least").replace("'", "")
    return f"| {name} | {figure(row.value)} {row.unit} | {ceiling} | {ratio} | {target} | {verdict(row)} |"


def _profiles() -> dict[str, str]:
    """The profiles by measure: sections of a file kept by hand."""
    if not _PROFILES.exists():
        return {}
    sections = re.split(r"^## (.+)$", _PROFILES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name.strip(): text.strip() for name, text in zip(sections[::2], sections[1::2], strict=True)}


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
