"""What the documents promise: two commands on the README's first screen, a short example, links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.conformance import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(language: str, text: str = README) -> list[list[str]]:
    return [
        found.splitlines() for found in re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    ]


def test_the_first_screen_has_exactly_two_commands():
    first_screen = "\n".join(README.splitlines()[:20])
    (commands,) = blocks("sh", first_screen)
    assert [line.partition("#")[0].strip() for line in commands] == ["make demo", "make test"]


def test_the_example_has_ten_lines():
    example, *_ = blocks("python")
    assert len([line for line in example if line]) <= 11  # ten, and an import


@pytest.mark.slow
@pytest.mark.libp2p
@pytest.mark.parametrize(
    ("number", "prints"),
    [(0, "b'hello'\n"), (1, "b'milk, bread' [b'milk', b'milk, bread']\n"), (2, "b'bring the map' True\n")],
    ids=["chains", "objects", "identities"],
)
def test_an_example_works(number, prints, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks("python")[number]), "README.md", "exec"), {})
    assert capsys.readouterr().out.endswith(prints)


def test_each_example_of_the_readme_is_run():
    assert len(blocks("python")) == 3


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, fragment = target.partition("#")
        if "://" in file or file.startswith("mailto:"):
            continue
        path = document.parent / file if file else document
        if not path.exists() or (fragment and fragment not in anchors(path)):
            broken.append(target)
    assert broken == []


def anchors(document: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
