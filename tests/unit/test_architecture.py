"""ARCHITECTURE.md is one page that names every file of the packages, and nothing else."""

from __future__ import annotations

import ast
import re
import tomllib

from tools.conformance import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGES = ("walytis_core", "identities", "mutability", "frontends")
MAX_LINES = 150  # one printed page in small type
SPINE_FILES = 7
HANDED_OVER = {
    "Channels.talk": "_has_outgoing",
    "SyncSession._write": "_has_outgoing",
    "SyncSession._read": "_frames",
    "SyncSession._consume": "pipe",
    "Judging._changed": "listener",
    "Feed.next": "_changed",
}
"""Functions of the spine that no call leads to, and by what they are woken: a queue, a stream, a callback."""


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


def functions_of(file: str) -> dict[str, set[str]]:
    """The functions of a file, and the methods of its classes as `Class.method`, each with the names in it."""
    tree = ast.parse((ROOT / "walytis_core" / file).read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    for node in tree.body:
        prefix, inside = (f"{node.name}.", node.body) if isinstance(node, ast.ClassDef) else ("", [node])
        for one in inside:
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                found[prefix + one.name] = names_in(one)
    return found


def names_in(function: ast.AST) -> set[str]:
    """The names and attributes that a function uses."""
    nodes = list(ast.walk(function))
    return {one.id for one in nodes if isinstance(one, ast.Name)} | {
        one.attr for one in nodes if isinstance(one, ast.Attribute)
    }


def test_every_file_has_its_line():
    present = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert sorted(present - set(named_files())) == [], "add a line for each to ARCHITECTURE.md"
    assert sorted(set(named_files()) - present) == [], "ARCHITECTURE.md names files that are not there"


def test_one_block_can_be_followed_file_by_file():
    steps = spine()
    assert sorted({number for number, _, _ in steps}) == list(range(1, SPINE_FILES + 1))
    lost = [(file, name) for _, file, name in steps if name not in functions_of(file)]
    assert lost == [], "the page follows a block through functions that are not there"


def test_each_step_leads_to_a_later_one():
    first, *later = spine()
    used = set(functions_of(first[1])[first[2]])
    for _, file, name in later:
        short = name.rpartition(".")[2]
        assert used & {short, f"_{short}", HANDED_OVER.get(name, short)}, f"nothing before {name} leads to it"
        used |= functions_of(file)[name]


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
