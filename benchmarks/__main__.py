"""`python -m benchmarks`: measures everything, prints one table, and writes `benchmarks/latest.json`.

python -m benchmarks --only join        one measure, or those whose name has this in it
python -m benchmarks --quick            small counts: whether the programs work, not how fast anything is
python -m benchmarks --write-docs DATE  docs/benchmarks.md from the last run, without measuring
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import page, table
from benchmarks.measures import MEASURES

LATEST: Final = Path(__file__).with_name("latest.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    options = _parser().parse_args(arguments)
    if options.write_docs:
        page.write(table.read(LATEST), options.write_docs)
        return 0
    names = [name for name in MEASURES if options.only in name]
    if not names:
        print(f"no measure is called {options.only!r}; there are: {', '.join(MEASURES)}", file=sys.stderr)
        return 2
    rows = _measure(names, quick=options.quick)
    path = options.json or (LATEST if names == list(MEASURES) and not options.quick else None)
    if path is not None:
        table.write(path, rows)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Each figure beside its ceiling.")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help=f"of these: {', '.join(MEASURES)}")
    parser.add_argument("--quick", action="store_true", help="small counts, to see that it works")
    parser.add_argument(
        "--json", type=Path, metavar="PATH", help="where the rows go; a full run: benchmarks/latest.json"
    )
    parser.add_argument("--write-docs", metavar="DATE", help="write docs/benchmarks.md from benchmarks/latest.json")
    return parser


def _measure(names: Sequence[str], *, quick: bool) -> list[table.Row]:
    rows: list[table.Row] = []
    started = time.perf_counter()
    print(table.HEADER, flush=True)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="walytis-bench-") as directory:
            for row in MEASURES[name](table.Bench(Path(directory), quick)):
                rows.append(row)
                print(table.line(row), flush=True)
    verdicts = [table.verdict(row) for row in rows]
    counts = ", ".join(f"{verdicts.count(word)} {word.lower()}" for word in ("met", "MISSED", "void"))
    print(f"{counts}; {time.perf_counter() - started:.0f} s")
    return rows


if __name__ == "__main__":
    sys.exit(main())
