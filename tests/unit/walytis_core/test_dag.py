"""The maths of the DAG on a published example."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from walytis_core.dag import (
    ancestors,
    canonical,
    children,
    common_ancestors,
    heads,
    latest_common_ancestors,
    merge_heads,
    topological,
)

# The example of git's own documentation, in gitrevisions(7) under "Specifying Revisions": ten commits A to J, by Jon
# Loeliger. A merges B and C; B has three parents, D, E and F; C's parent is F; D merges G and H; F merges I and J. We
# leave E out (it adds no shape: a parent without parents, beside D and F), which gives nine blocks.
GIT = {
    b"A": [b"B", b"C"], b"B": [b"D", b"F"], b"C": [b"F"], b"D": [b"G", b"H"], b"F": [b"I", b"J"],
    b"G": [], b"H": [], b"I": [], b"J": [],
}  # fmt: skip


def letters(ids: set[bytes]) -> str:
    return b"".join(sorted(ids)).decode()


@pytest.mark.parametrize(("start", "found"), [
    ("A", "BCDFGHIJ"), ("B", "DFGHIJ"), ("C", "FIJ"), ("D", "GH"), ("F", "IJ"), ("G", ""), ("BC", "DFGHIJ"), ("DF", "GHIJ"), ("", ""),
    ("AF", "BCDFGHIJ"), ("Z", ""),
])  # fmt: skip
def test_ancestors(start: str, found: str):
    """C13: what `git rev-list` reaches from each commit, without it."""
    assert letters(ancestors(GIT, [bytes([one]) for one in start.encode()])) == found


@pytest.mark.parametrize(("first", "second", "found", "latest"), [
    ("B", "C", "FIJ", "F"), ("D", "F", "", ""), ("B", "F", "FIJ", "F"), ("A", "A", "ABCDFGHIJ", "A"), ("D", "G", "G", "G"),
    ("I", "J", "", ""), ("A", "D", "DGH", "D"), ("C", "D", "", ""),
])  # fmt: skip
def test_common_ancestors(first: str, second: str, found: str, latest: str):
    """C13: common ancestors, and the latest of them as `git merge-base --all` gives them."""
    one, other = first.encode(), second.encode()
    assert letters(common_ancestors(GIT, one, other)) == found
    assert letters(common_ancestors(GIT, other, one)) == found
    assert letters(latest_common_ancestors(GIT, one, other)) == latest


def test_criss_cross_merge_has_two_merge_bases():
    """C13: two branches that merged each other: neither of the two bases is better (git-merge-base(1))."""
    named = {b"1": [], b"2": [b"1"], b"3": [b"1"], b"4": [b"2", b"3"], b"5": [b"3", b"2"]}
    assert letters(latest_common_ancestors(named, b"4", b"5")) == "23"


def test_heads_and_children():
    """C13: heads are what nobody names."""
    assert letters(heads(GIT)) == "A"
    assert letters(heads({id: named for id, named in GIT.items() if id not in (b"A", b"B")})) == "CD"
    assert letters(children(GIT)[b"F"]) == "BC"
    assert children(GIT)[b"A"] == set()
    assert heads({}) == set()


def test_names_that_are_not_given_are_ignored():
    """C13: a part of a DAG is a DAG."""
    part = {b"A": [b"B", b"Z"], b"B": [b"Y"]}
    assert heads(part) == {b"A"}
    assert ancestors(part, [b"A"]) == {b"B"}
    assert topological(part) == [b"B", b"A"]
    assert children(part) == {b"A": set(), b"B": {b"A"}}


def test_topological():
    """C12, C13: ancestors first; the smallest bytes first among those that are free."""
    assert b"".join(topological(GIT)) == b"GHDIJFBCA"
    assert topological(dict(reversed(GIT.items()))) == topological(GIT)
    assert topological({b"A": [b"B", b"B"], b"B": []}) == [b"B", b"A"]


def test_circle():
    """C13: impossible for hashes, so it is said and not looped on."""
    with pytest.raises(ValueError):
        topological({b"A": [b"B"], b"B": [b"A"], b"C": []})


class Spot(NamedTuple):
    height: int
    id: bytes


def test_canonical():
    """C12: by height, then by bytes."""
    spots = [Spot(2, b"a"), Spot(1, b"c"), Spot(10, b"a"), Spot(1, b"b")]
    assert canonical(spots) == [Spot(1, b"b"), Spot(1, b"c"), Spot(2, b"a"), Spot(10, b"a")]


def test_merge_heads():
    """C06: at most so many, the longest held first, without `prev`, sorted."""
    held = [b"d", b"b", b"c", b"a"]
    assert merge_heads(held, b"b", 64) == (b"a", b"c", b"d")
    assert merge_heads(held, b"b", 2) == (b"c", b"d")
    assert merge_heads(held, None, 3) == (b"b", b"c", b"d")
    assert merge_heads([], b"b", 3) == ()
    assert merge_heads([b"b"], b"b", 3) == ()
