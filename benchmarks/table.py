"""A row of the table, and how rows are judged, printed and kept.

Invariant: a figure is never left out because it is bad: what misses its target says so, and what was measured beside a
ceiling that this machine did not reach says that it is void.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import ceilings

ROUNDS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure.

    Attributes:
        measure: What was measured.
        value: The figure, in `unit`.
        ceiling: What the libraries alone reach, in the same unit; None where there is no such program.
        ratio: The figure as a share of its ceiling, or what the target speaks of where that is a ratio.
        target: What must be reached; empty for a figure that is only reported.
        met: Whether it was; None where there is nothing to meet, or where the run is void.
    """

    measure: str
    value: float
    unit: str
    ceiling: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """What a measure is given: a folder of its own, and whether it only has to show that it works."""

    directory: Path
    quick: bool = False

    def count(self, full: int, quick: int) -> int:
        """How many of something, in a full run and in a quick one."""
        return quick if self.quick else full

    def folder(self, name: str) -> Path:
        """A folder that is not there yet."""
        return self.directory / name


Measure = Callable[[Bench], Iterable[Row]]


def under(measure: str, value: float, unit: str, limit: float, *, unless: bool = False) -> Row:
    """A figure that must stay under a limit; `unless` says that something else spoilt it."""
    return Row(measure=measure, value=value, unit=unit, target=f"< {limit:g} {unit}", met=value < limit and not unless)


def at_least(measure: str, value: float, unit: str, limit: float, *, unless: bool = False) -> Row:
    """A figure that must reach a limit; `unless` says that something else spoilt it."""
    return Row(
        measure=measure, value=value, unit=unit, target=f">= {limit:g} {unit}", met=value >= limit and not unless
    )


def shown(measure: str, value: float, unit: str) -> Row:
    """A figure that is only reported."""
    return Row(measure=measure, value=value, unit=unit)


def rates(bench: Bench, name: str, share: float, measures: Mapping[str, Callable[[Path], float]]) -> list[Row]:
    """Rates in blocks per second beside a ceiling, each the best of a few runs that take turns with the ceiling's.

    Taking turns gives both the same weather: other programs disturb a shared machine for seconds at a time.

    Args:
        bench: Where and how.
        name: The ceiling.
        share: What must be reached of it.
        measures: Gives a rate in a fresh folder, by the name of its row.
    """
    ceiling, best = 0.0, dict.fromkeys(measures, 0.0)
    program = ceilings.CEILINGS[name]
    for turn in range(bench.count(ROUNDS, 1)):
        fresh = bench.folder(f"ceiling-{turn}")
        fresh.mkdir()
        ceiling = max(ceiling, program.function(fresh, bench.count(program.blocks, 300)))
        for number, (measure, function) in enumerate(measures.items()):
            best[measure] = max(best[measure], function(bench.folder(f"ours-{turn}-{number}")))
    return [beside(measure, value, name, ceiling, share) for measure, value in best.items()]


def beside(measure: str, value: float, name: str, ceiling: float, share: float) -> Row:
    """A rate beside its ceiling, which is void when the machine has not shown what such a machine can."""
    ratio = value / ceiling
    met = None if ceilings.is_void(name, ceiling) else ratio >= share
    target = f">= {share:g} of {name!r}"
    return Row(measure=measure, value=value, unit="blocks/s", ceiling=ceiling, ratio=ratio, target=target, met=met)


def verdict(row: Row) -> str:
    """One word on a row."""
    if row.met is None:
        return "void" if row.ceiling else ""
    return "met" if row.met else "MISSED"


def line(row: Row) -> str:
    """A row as text."""
    ceiling = f"{row.ceiling:,.0f}" if row.ceiling else ""
    ratio = f"{row.ratio:.2f}" if row.ratio else ""
    value = f"{figure(row.value)} {row.unit}"
    return f"{row.measure:<64}{value:>20}{ceiling:>9}{ratio:>6}  {verdict(row):<7}{row.target}".rstrip()


HEADER: Final = (
    f"{'measure (payloads of 100 bytes, one topic)':<64}{'here':>20}{'ceiling':>9}{'ratio':>6}  {'':<7}target"
)


def figure(value: float) -> str:
    """A number with as many digits as say something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write(path: Path, rows: Sequence[Row]) -> None:
    """Keeps rows as JSON."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> list[Row]:
    """Reads what `write` kept."""
    kept: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [Row(**row) for row in kept]
