"""ARCHITECTURE.md is one page that names every file of the packages, and nothing else."""

from __future__ import annotations

import ast
import re
import tomllib

from tools.conformance import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGES = ("walytis_core", "frontends")
MAX_LINES = 150  # one printed page in small type
SPINE_FILES = 7


def named_files() -> dict[str, str]:
    """The files the page lists, each with the heading it stands under."""
    files: dict[str, str] = {}
    folder = heading = ""
    for line in PAGE.splitlines():
        if match := re.match(r"## `([\w/]+/)`", line):
            folder = heading = match[1]
        elif line.startswith("### "):
            heading = line.removeprefix("### ")
        elif match := re.match(r"- ((?:`[\w/]+\.py`,? )+)\S", line):
            files.update((folder + file, heading) for file in re.findall(r"`([\w/]+\.py)`", match[1]))
    return files


def spine() -> list[tuple[int, str, str]]:
    """The way of one block: the step, the file, and the function that the step names in it."""
    _, _, text = PAGE.partition("## One block")
    text, _, _ = text.partition("\n## ")
    found = []
    for number, step in re.findall(r"^(\d)\. (.*?)(?=^\d\. |\Z)", text, flags=re.DOTALL | re.MULTILINE):
        file = ""
        for name in re.findall(r"`([^`]+)`", step):
            if name.endswith(".py"):
                file = name
            else:
                found.append((int(number), file, name))
    return found


def functions_of(file: str) -> set[str]:
    """The functions of a file, and the methods of its classes, as `Class.method`."""
    tree = ast.parse((ROOT / "walytis_core" / file).read_text(encoding="utf-8"))
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            methods = (one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{node.name}.{one.name}" for one in methods}
    return found


def test_every_file_has_its_line():
    present = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert sorted(present - set(named_files())) == [], "add a line for each to ARCHITECTURE.md"
    assert sorted(set(named_files()) - present) == [], "ARCHITECTURE.md names files that are not there"


def test_one_block_can_be_followed_through_seven_files():
    steps = spine()
    assert sorted({number for number, _, _ in steps}) == list(range(1, SPINE_FILES + 1))
    everywhere = {name for _, file, _ in steps for name in functions_of(file)}
    lost = [(file, name) for _, file, name in steps if name not in functions_of(file) and name not in everywhere]
    assert lost == [], "the page follows a block through functions that are not there"


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
