from __future__ import annotations

import random

from frontends.picture import MAX_LANES, STEP, Dot, authors_in_order, draw


def a_graph(blocks: int, authors: str, seed: int) -> list[Dot]:
    """Blocks of authors who see one another's now and then."""
    chance = random.Random(seed)
    seen: dict[str, set[str]] = {author: set() for author in authors}
    made: dict[str, Dot] = {}
    for number in range(blocks):
        author = chance.choice(authors)
        named = {id for known in seen[author] for id in made[known].named}
        heads = sorted(seen[author] - named)
        height = 1 + max((made[head].height for head in heads), default=0)
        made[f"block{number}"] = Dot(f"block{number}", author * 10, height, heads)
        seen[author].add(f"block{number}")
        for other in authors:
            if chance.random() < 0.5:
                seen[other] |= seen[author]
    return list(made.values())


def test_each_block_is_one_dot_in_its_authors_lane_at_its_height():
    dots = a_graph(30, "abc", 1)
    lines = [line.plain for line in draw(dots, width=1000, labelled=False)]
    lowest = min(dot.height for dot in dots)
    lanes = {author: 2 * lane for lane, author in enumerate(authors_in_order(dots))}
    wanted = {(lanes[dot.author], (dot.height - lowest) * STEP) for dot in dots}
    drawn = {(row, column) for row, line in enumerate(lines) for column, letter in enumerate(line) if letter == "●"}
    assert drawn == wanted


def test_a_chain_of_one_author_is_a_line():
    dots = [Dot(str(n), "me", n, [str(n - 1)]) for n in range(1, 4)]
    assert [line.plain for line in draw(dots, width=80)] == ["me  ●───●───●"]


def test_a_line_joins_two_lanes():
    dots = [Dot("a", "alice", 1, []), Dot("b", "bob", 2, ["a"])]
    assert [line.plain.rstrip() for line in draw(dots, width=80)] == ["alice  ●", "         ╲", "bob        ●"]


def test_no_line_is_wider_than_asked():
    for seed in range(20):
        for width in (20, 40, 79, 80):
            lines = draw(a_graph(40, "abcdefghijkl", seed), width=width)
            assert max(line.cell_len for line in lines) <= width
            assert len(lines) <= 2 * MAX_LANES - 1


def test_the_newest_are_shown_or_those_from_a_height_on():
    dots = [Dot(str(n), "me", n, [str(n - 1)]) for n in range(1, 101)]
    dots.append(Dot("first", "you", 1, []))
    (mine, _, yours) = (line.plain for line in draw(dots, width=40))
    assert "●" in mine
    assert "●" not in yours
    (mine, _, yours) = (line.plain for line in draw(dots, width=40, begin=0))
    assert "●" in yours


def test_nothing_is_drawn_of_nothing():
    assert draw([], width=80) == []
