"""ARCHITECTURE.md is one page that names every file of the packages, and nothing else."""

from __future__ import annotations

import re
import tomllib

from tools.conformance import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGES = ("walytis_core", "frontends")
MAX_LINES = 120  # one printed page in small type


def named_files() -> dict[str, str]:
    """The files the page names, each with the heading it stands under."""
    files: dict[str, str] = {}
    folder = heading = ""
    for line in PAGE.splitlines():
        if match := re.match(r"## `([\w/]+/)`", line):
            folder = heading = match[1]
        elif line.startswith("### "):
            heading = line.removeprefix("### ")
        elif match := re.match(r"- `([\w/]+\.py)` \S", line):
            files[folder + match[1]] = heading
    return files


def test_every_file_has_its_line():
    present = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert sorted(present - set(named_files())) == [], "add a line for each to ARCHITECTURE.md"
    assert sorted(set(named_files()) - present) == [], "ARCHITECTURE.md names files that are not there"


def test_it_fits_one_page():
    assert len(PAGE.splitlines()) <= MAX_LINES
    assert max(map(len, PAGE.splitlines())) <= 150


def test_deciding_files_are_held_to_it_by_import_linter():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (deciding,) = (contract for contract in contracts if contract["id"] == "deciding")
    files = {module.replace(".", "/") + ".py" for module in deciding["source_modules"]}
    assert files == {file for file, heading in named_files().items() if heading.startswith("Deciding")}
