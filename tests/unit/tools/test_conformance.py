from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import conformance

PAGE = """# A page
Text with - dashes and A01 in it.

- A01 **B** one thing, which goes on
  on a second line.
- A02 another thing.

## Part
- A03 a third.
- A04 a fourth.

## Not yet
- A03 in part: half of it.
- A04 whole: all of it.
"""


@pytest.mark.parametrize(
    ("docstring", "lines"),
    [
        ("C19: two followers", ["C19"]),
        ("Two followers.\n\n    C19, C20: they are independent.", ["C19", "C20"]),
        ("C07 and C09 (float): refused", ["C07", "C09"]),
        ("about C19 in general", []),
        ("XC19: not one", []),
        ("", []),
    ],
)
def test_lines_named(docstring, lines):
    assert conformance.lines_named(docstring) == lines


def test_a_page_is_read_in_order_with_continuations():
    lines = conformance.read_lines(PAGE)
    assert [line.id for line in lines] == ["A01", "A02", "A03", "A04"]
    assert lines[0].text == "one thing, which goes on on a second line."
    assert [(line.later, line.whole) for line in lines[2:]] == [("half of it.", False), ("all of it.", True)]


def test_a_line_that_stands_twice_or_nowhere_is_an_error():
    with pytest.raises(ValueError, match="A02 stands twice"):
        conformance.read_lines(PAGE.replace("A01 **B**", "A02 **B**"))
    with pytest.raises(ValueError, match="not a line: A09"):
        conformance.read_lines(PAGE.replace("A04 whole", "A09 whole"))


def test_our_page_holds_every_line():
    lines = conformance.read_lines(conformance.LINES.read_text(encoding="utf-8"))
    assert sorted(line.id for line in lines) == [
        *(f"C{number:02}" for number in range(1, 53)),
        *(f"I{number:02}" for number in range(1, 40)),
        *(f"M{number:02}" for number in range(1, 11)),
    ]
    assert [line.id for line in lines if line.later] == ["M08", "M09"]


def test_a_run_is_judged_line_by_line(tmp_path: Path):
    """The tool end to end: pytest writes a junit file, inherited tests included, and each line gets its word."""
    tests = Path(__file__).resolve().parents[2]
    (tmp_path / "conftest.py").write_text((tests / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "test_made_up.py").write_text(
        "import pytest\n"
        "class Suite:\n"
        "    def test_one(self):\n"
        "        'A01: inherited'\n"
        "class TestAdapter(Suite): pass\n"
        "@pytest.mark.parametrize('n', [0, 1])\n"
        "def test_two(n):\n"
        "    'A02, A03: one of two fails'\n"
        "    assert n\n"
        "@pytest.mark.skip\n"
        "def test_four():\n"
        "    'A05: never runs'\n"
        "def test_five(kubo):\n"
        "    'A01, A07: no daemon where there is no program'\n"
        "def test_unnamed(): assert False\n",
        encoding="utf-8",
    )
    junit = tmp_path / "out.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "--rootdir", str(tmp_path), "--conformance"]
    subprocess.run(
        [*command, f"--junit-xml={junit}", str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(conformance.ROOT), "PATH": "", "WALYTIS_KUBO_BINARY": str(tmp_path / "none")},
        check=False,
        capture_output=True,
    )
    outcomes = conformance.read_outcomes([junit])
    lines = [*conformance.read_lines(PAGE), *(conformance.Line(f"A{number:02}", "more") for number in (5, 6, 7))]
    verdicts = {line.id: conformance.judge(line, outcomes.get(line.id, ())) for line in lines}
    assert verdicts == {
        "A01": "passed",
        "A02": "failed",
        "A03": "failed",
        "A04": "later",
        "A05": "skipped",
        "A06": "none",
        "A07": "no Kubo",
    }
    assert [len(outcomes[line]) for line in ("A01", "A02", "A05")] == [2, 2, 1]
    assert conformance.unmet(lines, outcomes) == ["A02", "A03", "A05", "A06"]
    assert conformance.without_kubo(outcomes) == ["A01", "A07"]
    printed = conformance.table(lines, outcomes)
    assert "failed: test_made_up.test_two[0]" in printed
    assert "not yet: half of it." in printed
    assert printed.count("without a Kubo daemon: 1 tests skipped") == 2
