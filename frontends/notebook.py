"""The history of an object in a notebook: a table, and a picture of its versions. Needs no notebook, and imports none.

    from frontends.notebook import show
    show(notes.history(note))

Invariants: what others wrote is escaped, and shown through `plain_text`; the newest versions are shown, so many at most
that a page stays one, however long the history or wide its conflicts are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

from frontends.excerpts import Excerpt, excerpt
from frontends.finding import SHORT
from frontends.forms import author_text
from mutability import DELETED, Hole, Version
from walytis_core import BlockId, InvalidInputError, Obeyed

MAX_ROWS: Final = 100
MAX_DOTS: Final = 40
_MAX_LANES: Final = 16  # versions further to the right stand in one lane, without their lines
_CELL_CHARS: Final = 160
_ROW, _LANE, _DOT = 24, 18, 6  # pixels: the height of a row, the width of a lane, the radius of a dot
_INK, _PALE, _PAPER = "#1f2328", "#6e7781", "#ffffff"
_COLOURS: Final = {"current": "#1a7f37", "conflict": "#bc4c00", "void": "#cf222e", "": "#57606a"}


class _Row(NamedTuple):
    """A version as both pictures need it."""

    id: BlockId
    what: str
    mark: str
    by: str
    when: str
    replaces: Sequence[BlockId]
    line: Excerpt


class History:
    """What `show` gives: a notebook draws it by itself.

    Args:
        rows: The newest versions, in canonical order.
        earlier: How many there are before them.
    """

    def __init__(self, rows: Sequence[_Row], earlier: int) -> None:
        self._rows = rows
        self._earlier = earlier

    def _repr_html_(self) -> str:
        """A table, a version a row, with the picture before it."""
        titles = ("version", "what", "by", "when", "replaces", "content")
        head = "".join(f'<th style="text-align:left">{title}</th>' for title in titles)
        more = f"<caption>{self._earlier} earlier versions are not shown.</caption>" if self._earlier else ""
        rows = "".join(map(_html_row, self._rows))
        return f"{self._repr_svg_()}<table>{more}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _repr_svg_(self) -> str:
        """The graph of the versions, the newest last; a line leads from a version to those that replace it."""
        return _picture(self._rows[-MAX_DOTS:])


def show(history: Iterable[Version | Hole]) -> History:
    """The history of an object, as `Mutable.history` gives it, to be shown in a notebook.

    Raises `InvalidInputError` for anything else, such as one version.

    >>> from mutability import Mutable
    >>> from walytis_core import Node
    >>> with Node.in_memory() as node:
    ...     notes = Mutable(node.create_chain("notes"))
    ...     page = show(notes.history(notes.create("milk")))
    >>> "<table>" in page._repr_html_(), page._repr_svg_()[:4]
    (True, '<svg')
    """
    newest: deque[Version | Hole] = deque(maxlen=MAX_ROWS)
    heads: dict[BlockId, None] = {}  # in canonical order: the last one is the current version
    earlier = 0
    for version in history:
        if not isinstance(version, (Version, Hole)):
            raise InvalidInputError("that is no history of an object", hint="Give one: show(notes.history(note)).")
        earlier += len(newest) == MAX_ROWS
        newest.append(version)
        if isinstance(version, Version) and isinstance(version.standing, Obeyed):
            for replaced in version.change.replaces:
                heads.pop(replaced, None)
            heads[version.id] = None
    marks = dict.fromkeys(heads, "conflict") | dict.fromkeys(list(heads)[-1:], "current")
    return History([_row(version, marks) for version in newest], earlier)


def _row(version: Version | Hole, marks: Mapping[BlockId, str]) -> _Row:
    line = excerpt(version)
    if isinstance(version, Hole):
        return _Row(version.id, "damaged", "", "", "", (), line)
    mark = marks.get(version.id, "") if isinstance(version.standing, Obeyed) else "void"
    what = version.change.kind.rpartition("/")[2]
    when = version.block.time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    by = author_text(version.block.author)[-SHORT:]
    return _Row(version.id, what, mark, by, when, version.change.replaces, line)


# --- the table -----------------------------------------------------------------------------------------------------


def _html_row(row: _Row) -> str:
    id, mark = _short(row.id), f" <b>{row.mark}</b>" if row.mark else ""
    named = " ".join(map(_short, row.replaces[:3])) + (f" and {len(row.replaces) - 3} more" if row.replaces[3:] else "")
    text = escape(row.line.text[:_CELL_CHARS]) + "…" * (len(row.line.text) > _CELL_CHARS)
    content = text if row.line.is_content else f'<i style="opacity:0.7">{text}</i>'
    what = f'<span style="color:{_COLOURS[row.mark]}">{row.what}{mark}</span>'
    cells = (f"<code>{id}</code>", what, f"<code>{row.by}</code>", row.when, f"<code>{named}</code>", content)
    return "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells) + "</tr>"


def _short(id: BlockId) -> str:
    return str(id)[-SHORT:]


# --- the picture ---------------------------------------------------------------------------------------------------


class _Edge(NamedTuple):
    """A line from a version to one that replaces it, in a lane that is its own in between."""

    top: int
    bottom: int
    lane: int


def _placed(rows: Sequence[_Row]) -> tuple[list[int], list[_Edge]]:
    """The lane of each row, and the edges between them: from the newest up, so that lanes in use never meet."""
    at = {row.id: place for place, row in enumerate(rows)}
    open_edges: dict[int, tuple[int, int]] = {}  # by lane: which row it leads up to, and from which
    lanes, edges = [0] * len(rows), []
    for place in range(len(rows) - 1, -1, -1):
        coming = sorted(lane for lane, (up_to, _) in open_edges.items() if up_to == place)
        edges += [_Edge(place, open_edges.pop(lane)[1], lane) for lane in coming]
        lanes[place] = coming[0] if coming else _free(open_edges)
        for replaced in rows[place].replaces:
            if at.get(replaced, place) < place:
                lane = lanes[place] if lanes[place] not in open_edges else _free(open_edges)
                open_edges[lane] = (at[replaced], place)
    return lanes, edges


def _free(lanes: Mapping[int, object]) -> int:
    return next(lane for lane in range(len(lanes) + 1) if lane not in lanes)


def _picture(rows: Sequence[_Row]) -> str:
    lanes, edges = _placed(rows)
    shown = [min(lane, _MAX_LANES) for lane in lanes]
    left = _LANE * (max(shown, default=0) + 1) + 12
    width, height = left + 300, _ROW * max(len(rows), 1) + 8
    lines = "".join(_line(edge, shown) for edge in edges if edge.lane < _MAX_LANES)
    dots = "".join(_dot(row, place, shown[place], left) for place, row in enumerate(rows))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="ui-monospace, monospace" font-size="12" role="img" aria-label="the versions of an object">'
        f'<rect width="100%" height="100%" rx="6" fill="{_PAPER}"/>{lines}{dots}</svg>'
    )


def _x(lane: int) -> int:
    return 14 + _LANE * lane


def _y(place: int) -> int:
    return 4 + _ROW // 2 + _ROW * place


def _line(edge: _Edge, lanes: Sequence[int]) -> str:
    """Along its own lane; it bends from the upper version's lane, and into the lower one's, within a row."""
    above, own, below = _x(lanes[edge.top]), _x(edge.lane), _x(lanes[edge.bottom])
    top, bottom, half = _y(edge.top), _y(edge.bottom), _ROW // 2
    path = f"M{above} {top}C{above} {top + half} {own} {top + half} {own} {top + _ROW}"
    if edge.bottom - edge.top > 1:
        path += f"V{bottom - _ROW}C{own} {bottom - half} {below} {bottom - half} {below} {bottom}"
    else:
        path = f"M{above} {top}C{above} {top + half} {below} {bottom - half} {below} {bottom}"
    return f'<path d="{path}" fill="none" stroke="{_PALE}" stroke-width="1.5"/>'


def _dot(row: _Row, place: int, lane: int, left: int) -> str:
    x, y, colour = _x(lane), _y(place), _COLOURS[row.mark]
    is_gone = row.what == DELETED.rpartition("/")[2]
    fill = _PAPER if is_gone or row.mark == "void" else colour
    dash = ' stroke-dasharray="2 2"' if row.mark == "void" else ""
    ring = f'<circle cx="{x}" cy="{y}" r="{_DOT + 3}" fill="none" stroke="{colour}"/>' if row.mark == "current" else ""
    cross = f'<path d="M{x - 3} {y - 3}l6 6m0 -6l-6 6" stroke="{colour}" stroke-width="1.5"/>' if is_gone else ""
    label = f'<tspan font-weight="bold">{_short(row.id)}</tspan> {row.what}'
    label += f' <tspan fill="{colour}" font-weight="bold">{row.mark}</tspan>' if row.mark else ""
    return (
        f"<g><title>{escape(row.line.text[:_CELL_CHARS])}</title>{ring}"
        f'<circle cx="{x}" cy="{y}" r="{_DOT}" fill="{fill}" stroke="{colour}" stroke-width="1.5"{dash}/>{cross}'
        f'<text x="{left}" y="{y + 4}" fill="{_INK}">{label} <tspan fill="{_PALE}">{row.by}</tspan></text></g>'
    )
