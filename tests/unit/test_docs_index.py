"""`docs/README.md` leads to every page."""

from __future__ import annotations

import re

from tools.conformance import ROOT

DOCS = ROOT / "docs"
INDEX = (DOCS / "README.md").read_text(encoding="utf-8")


def test_every_page_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", INDEX))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if path != DOCS / "README.md"}
    chapters = {page for page in pages if page.startswith("tutorial/0")}  # listed by the tutorial's own index
    assert sorted(pages - chapters - linked) == [], "add them to docs/README.md"


def test_decisions_are_numbered_without_gaps_and_fit_half_a_page() -> None:
    decisions = sorted((DOCS / "adr").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        assert title.startswith(f"{path.name[:4]}. ")
        number, _, words = title.partition(". ")
        assert f"{number} [{words}](adr/{path.name})" in INDEX
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, flags=re.MULTILINE) == ["Context", "Choice", "Price"]
        assert len(text.split()) < 350, f"{path.name} is more than half a page"
