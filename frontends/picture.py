r"""A small picture of a chain's graph for the terminal: a lane per author, time to the right.

    author  o---o-------o---o      each dot is a block, at its height
                 \     /           a line leads from a block to those that name it
    author  o-----o---o---o

Decides where dots and lines go; colours are style names. Invariants: a dot stands in its author's lane at its height; a
line is drawn for each named block, once, and cut off where the picture ends. A line
over several heights runs along a lane where no block stands between; where both lanes have one, it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rich.text import Text

STEP: Final = 4  # columns from one height to the next: room for a line across two lanes
MAX_LANES: Final = 8
STYLES: Final = ("cyan", "magenta", "yellow", "green", "blue", "red", "bright_cyan", "bright_magenta")
_DOT, _RUN = "●", "─"
_DOWN, _UP, _CROSS = (
    "\N{BOX DRAWINGS LIGHT DIAGONAL UPPER LEFT TO LOWER RIGHT}",
    "\N{BOX DRAWINGS LIGHT DIAGONAL UPPER RIGHT TO LOWER LEFT}",
    "\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}",
)


class Dot(NamedTuple):
    """A block as the picture needs it."""

    id: str
    author: str
    height: int
    named: Sequence[str]
    """`prev` and parents."""


@dataclass(slots=True)
class _Canvas:
    """Characters with styles, in rows of one width."""

    width: int
    rows: int
    cells: dict[tuple[int, int], tuple[str, str]] = field(default_factory=dict)

    def put(self, row: int, column: int, letter: str, style: str) -> None:
        if 0 <= column < self.width:
            self.cells[row, column] = (letter, style)

    def put_line(self, row: int, column: int, letter: str, style: str) -> None:
        """A piece of a line: never over a dot; two that cross become one cross."""
        there = self.cells.get((row, column), (" ", ""))[0]
        if there == _DOT:
            return
        if {there, letter} == {_DOWN, _UP} or there == _CROSS:
            letter = _CROSS
        if letter == _RUN and there in {_DOWN, _UP, _CROSS}:
            return
        self.put(row, column, letter, style)

    def text(self, row: int) -> Text:
        line = Text()
        for column in range(self.width):
            letter, style = self.cells.get((row, column), (" ", ""))
            line.append(letter, style or None)
        return line


def style_of(authors: Sequence[str], author: str) -> str:
    """The colour of an author: by its place among the authors of the chain."""
    return STYLES[authors.index(author) % len(STYLES)] if author in authors else "white"


def authors_in_order(dots: Sequence[Dot]) -> list[str]:
    """The authors, by their first block."""
    return list(dict.fromkeys(dot.author for dot in sorted(dots, key=lambda dot: (dot.height, dot.id))))


def draw(
    dots: Sequence[Dot],
    *,
    width: int,
    names: Mapping[str, str] | None = None,
    order: Sequence[str] | None = None,
    begin: int | None = None,
    labelled: bool = True,
) -> list[Text]:
    """The picture, line by line.

    Args:
        dots: Blocks, in any order.
        width: Columns at most.
        names: What to call authors; the end of their key otherwise.
        order: The authors from the top lane down; by their first block otherwise.
        begin: The height to begin at; otherwise the newest blocks are shown.
        labelled: Whether lanes begin with their author.
    """
    authors = list(order or authors_in_order(dots))
    lanes = {author: lane for lane, author in enumerate(authors[:MAX_LANES])}
    labels = {author: (names or {}).get(author, author[-8:]) if labelled else "" for author in lanes}
    margin = max(map(len, labels.values()), default=0) + 2 if labelled else 0
    columns = max((width - margin - 1) // STEP + 1, 2)
    lowest, highest = _window([dot.height for dot in dots], columns, begin)
    canvas = _Canvas((highest - lowest) * STEP + 1, max(2 * len(lanes) - 1, 0))
    _draw_all(canvas, [dot for dot in dots if dot.author in lanes], lanes, lowest)
    return _with_labels(canvas, labels, authors, margin)


def _window(heights: Sequence[int], columns: int, begin: int | None) -> tuple[int, int]:
    """The lowest and the highest height that are shown."""
    first, last = min(heights, default=0), max(heights, default=0)
    latest_start = max(last - columns + 1, first)
    lowest = latest_start if begin is None else min(max(begin, first), latest_start)
    return lowest, min(lowest + columns - 1, last)


def _with_labels(canvas: _Canvas, labels: Mapping[str, str], authors: Sequence[str], margin: int) -> list[Text]:
    by_row = {2 * lane: author for lane, author in enumerate(labels)}
    lines = []
    for row in range(canvas.rows):
        author = by_row.get(row)
        label = Text((labels[author] if author else "").ljust(margin), style_of(authors, author) if author else "")
        lines.append(label + canvas.text(row))
    return lines


def _draw_all(canvas: _Canvas, dots: Sequence[Dot], lanes: Mapping[str, int], lowest: int) -> None:
    """All dots, then all lines; what lies outside the canvas is cut off at its edge."""
    authors = list(lanes)
    places = {dot.id: (lanes[dot.author], dot.height) for dot in dots}
    taken = set(places.values())
    for dot in dots:
        row, column = 2 * lanes[dot.author], (dot.height - lowest) * STEP
        canvas.put(row, column, _DOT, style_of(authors, dot.author) + " bold")
    for dot in dots:
        for named in dot.named:
            if (
                named in places
                and (dot.height - lowest) * STEP >= 0
                and (places[named][1] - lowest) * STEP < canvas.width
            ):
                style = style_of(authors, authors[places[named][0]])
                _draw_line(canvas, places[named], places[dot.id], taken, lowest, style)


def _draw_line(
    canvas: _Canvas, start: tuple[int, int], end: tuple[int, int], taken: set[tuple[int, int]], lowest: int, style: str
) -> None:
    """A line from a block to one that names it: along the lane of the one, then across, or the other way round."""
    (from_lane, low), (to_lane, high) = start, end
    if all((from_lane, height) not in taken for height in range(low + 1, high)):
        turn = high - 1
    elif all((to_lane, height) not in taken for height in range(low + 1, high)):
        turn = low
    else:
        return
    for column in range((low - lowest) * STEP, (turn - lowest) * STEP + 1):
        canvas.put_line(2 * from_lane, column, _RUN, style)
    across = turn + 1 if from_lane != to_lane else turn
    for column in range((across - lowest) * STEP, (high - lowest) * STEP + 1):
        canvas.put_line(2 * to_lane, column, _RUN, style)
    if from_lane == to_lane:
        return
    first, last = sorted((2 * from_lane, 2 * to_lane))
    letter = _DOWN if to_lane > from_lane else _UP
    for row in range(first + 1, last):
        part = (row - first) / (last - first)
        offset = round(STEP * (part if to_lane > from_lane else 1 - part))
        canvas.put_line(row, (turn - lowest) * STEP + offset, letter, style)
