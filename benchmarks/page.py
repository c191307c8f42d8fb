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
- **Objects**: a node on its own folder, contents of 100 bytes, the rule that an object's author alone changes it. The ceiling of edits is
  `Chain.append` on another node, a hundred of each in turn, and what follows an append counts: the fold is up to date when `edit` returns,
  and saved now and then. "From nothing" is `Mutable(chain)` on a stored chain whose fold was never saved: every verdict and every state is
  made, no block is fetched, no signature checked. Objects are edited in turn there, which is the worst order for what is kept in memory.
  A current version is read by its object's id, each once, by a node just opened; the system's own cache of files is warm. A late version
  names the first version of its object alone, and is taken as from a peer, signature and disk included, until it is among the conflicts.
- **Identities**: the long chain is that of five devices that take turns adding a sixth (it asks, is added, joins), renewing, removing it, and renewing
  again, with the keys of the hybrid suite; "signatures checked" takes every key and signature as good, as a node does that has judged them. The
  ceiling of signing and verifying is PyNaCl, with `cryptography` for ML-DSA-65, called in turns with ours over as many bytes as a record covers; the
  median of each counts. A session counts from `dial` to the closed connection; bulk counts until the other end says that it has all of it, and its ceiling
  is a plain stream between the same two nodes.
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
