"""Prints each line of `tests/conformance.md` with the tests that name it, and how they ended.

A test names a line in its docstring; `tests/conftest.py` writes the names into the junit file, so that what is
printed is what ran, tests inherited from a suite included. Exit code 1 when a line has no test or a failed one,
save those under "Not yet", and those whose tests need a Kubo daemon where there is none.

    python -m tools.conformance                     runs the tests that name a line
    python -m tools.conformance --junit build/junit reads the files of the last run
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
LINES = ROOT / "tests" / "conformance.md"
JUNIT = ROOT / "build" / "conformance.xml"
NO_KUBO = "no Kubo"

_ID = r"[A-Z]\d\d"
_NAMED = re.compile(rf"\b({_ID}(?:(?:, | and ){_ID})*)(?: \([^)]*\))?:")
_LINE = re.compile(rf"^- ({_ID}) (.*)$")
_LATER = re.compile(rf"^- ({_ID}) (whole|in part): (.*)$")


@dataclass(frozen=True)
class Line:
    """One behaviour: its id, what it says, and what of it waits for a later issue."""

    id: str
    text: str
    later: str = ""
    whole: bool = False


@dataclass(frozen=True)
class Outcome:
    """How the test `name` ended: passed, failed, skipped, or no Kubo: skipped for want of a daemon."""

    name: str
    result: str


def lines_named(docstring: str) -> list[str]:
    """The ids that a docstring names, as in ``"C19: ..."`` or ``"C19 and C20: ..."``."""
    return [line for named in _NAMED.findall(docstring) for line in re.findall(_ID, named)]


def read_lines(text: str) -> list[Line]:
    """The lines of a conformance page, in its order; continuation lines are joined.

    Raises:
        ValueError: An id stands twice, or one under "Not yet" stands nowhere above.
    """
    behaviours, _, not_yet = text.partition("## Not yet")
    later = {match[1]: (match[3], match[2] == "whole") for match in map(_LATER.match, not_yet.splitlines()) if match}
    lines: dict[str, Line] = {}
    for entry in re.split(r"\n(?=- |#|\n)", behaviours):
        match = _LINE.match(" ".join(entry.split()))
        if match is None:
            continue
        if match[1] in lines:
            message = f"{match[1]} stands twice"
            raise ValueError(message)
        reason, whole = later.pop(match[1], ("", False))
        lines[match[1]] = Line(match[1], match[2].replace("**B** ", ""), reason, whole)
    if later:
        message = f"not yet, but not a line: {', '.join(sorted(later))}"
        raise ValueError(message)
    return list(lines.values())


def read_outcomes(files: Iterable[Path]) -> dict[str, list[Outcome]]:
    """The outcomes in junit files, by the line that the test names."""
    found: dict[str, list[Outcome]] = defaultdict(list)
    for file in files:
        for case in ET.parse(file).getroot().iter("testcase"):
            outcome = Outcome(f"{case.get('classname')}.{case.get('name')}", _result(case))
            for named in case.iterfind("properties/property[@name='conformance']"):
                found[named.get("value", "")].append(outcome)
    return found


def _result(case: ET.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    if case.find("skipped") is None:
        return "passed"
    return "skipped" if case.find("properties/property[@name='needs'][@value='kubo']") is None else NO_KUBO


def judge(line: Line, outcomes: Sequence[Outcome]) -> str:
    """One word for a line: passed, failed, skipped, no Kubo, none (no test ran) or later."""
    results = {outcome.result for outcome in outcomes}
    for result in ("failed", "passed", "skipped", NO_KUBO):  # one passed test holds a line whose others were skipped
        if result in results:
            return result
    return "later" if line.whole else "none"


def table(lines: Sequence[Line], outcomes: Mapping[str, Sequence[Outcome]], width: int = 118) -> str:
    """The print-out: a row for each line, below it the tests that did not pass, and a row of counts."""
    rows, counts = [f"{'line':<6}{'tests':>5}  {'outcome':<9}behaviour"], dict[str, int]()
    for line in lines:
        mine = outcomes.get(line.id, ())
        verdict = judge(line, mine)
        counts[verdict] = counts.get(verdict, 0) + 1
        text = line.text if len(line.text) <= width - 22 else line.text[: width - 25] + "..."
        rows.append(f"{line.id:<6}{len(mine):>5}  {verdict:<9}{text}")
        told = [outcome for outcome in mine if outcome.result not in {"passed", NO_KUBO}]
        rows += [f"{'':22}{outcome.result}: {outcome.name}" for outcome in told]
        if without := sum(outcome.result == NO_KUBO for outcome in mine):
            rows.append(f"{'':22}without a Kubo daemon: {without} tests skipped")
        if line.later:
            rows.append(f"{'':22}not yet: {line.later}")
    rows.append("; ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    return "\n".join(rows)


def unmet(lines: Sequence[Line], outcomes: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """The ids that keep the print-out from being clean: without a test, failed, or only skipped."""
    return [line.id for line in lines if judge(line, outcomes.get(line.id, ())) not in {"passed", "later", NO_KUBO}]


def without_kubo(outcomes: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """The ids that hold only as far as no Kubo daemon is needed: there was none."""
    return sorted(id for id, mine in outcomes.items() if any(outcome.result == NO_KUBO for outcome in mine))


def run_tests(junit: Path) -> None:
    """Runs the tests that name a line, one after the other, into a junit file."""
    junit.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--conformance", f"--junit-xml={junit}"]
    subprocess.run(command, cwd=ROOT, check=False)  # failed tests are told by the table
    if not junit.exists():
        message = "the tests did not run: see above"
        raise SystemExit(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; gives the exit code."""
    parser = argparse.ArgumentParser(prog="conformance", description="Each line of tests/conformance.md and its tests.")
    parser.add_argument("--junit", type=Path, nargs="+", help="junit files, or folders of them, of the last run")
    parser.add_argument("--tests", action="store_true", help="also list the tests of each line")
    options = parser.parse_args(arguments)
    if options.junit is None:
        run_tests(JUNIT)
    files = [found for path in options.junit or [JUNIT] for found in (path.glob("*.xml") if path.is_dir() else [path])]
    lines, outcomes = read_lines(LINES.read_text(encoding="utf-8")), read_outcomes(sorted(files))
    print(table(lines, outcomes))
    if options.tests:
        for line in lines:
            names = [outcome.name for outcome in outcomes.get(line.id, ())]
            print(f"\n{line.id} {line.text}", *names, sep="\n    ")
    missed = unmet(lines, outcomes)
    unknown = sorted(set(outcomes) - {line.id for line in lines})
    if unknown:
        print(f"named by tests, but not lines of tests/conformance.md: {', '.join(unknown)}")
    print(f"not met: {', '.join(missed)}" if missed else "every line is met")
    if partly := without_kubo(outcomes):
        print(f"but for tests that need a Kubo daemon (`make kubo` builds one): {', '.join(partly)}")
    return 1 if missed or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
