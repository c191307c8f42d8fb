"""The blocks of one fold in canonical order, each with what `check` made of it: a durable sorted list in segments.

Invariants: entries are sorted by place, without doubles; a value that a saved head names is never overwritten, so
whatever a crash cuts off, the head still finds what it was saved with. Few segments are in memory at once: a whole
chain never is. What the entries mean for a state is decided in `fold.py`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from walytis_core import cbor
from walytis_core.cbor import Value
from walytis_core.cid import BlockId
from walytis_core.errors import RemoteError, StorageError
from walytis_core.standing import Standing, Wait, from_value, to_value
from walytis_core.store.port import ChainStore, Position

_SEGMENT: Final = 512  # entries; some 22 KB on disk, which one new entry writes again
_LOADED: Final = 32  # segments in memory, of some 100 KB


class Entry(NamedTuple):
    """A block of the fold."""

    place: Position
    standing: Standing


def read(data: bytes) -> Any:
    """Reads data that a view has saved."""
    try:
        return cbor.decode(data, max_bytes=len(data), max_depth=cbor.MAX_DEPTH)
    except RemoteError as error:
        raise StorageError("a saved view cannot be read") from error


class Shelf:
    """Numbered values of one fold, each written once. The fold's head names those in use.

    Args:
        path: Their keys start with it.
        next: The first number that no saved head has named.
        trash: Numbers that the saved head uses no more.
    """

    def __init__(self, store: ChainStore, path: str, next: int = 0, trash: Sequence[int] = ()) -> None:
        self._store = store
        self._path = path
        self._saved = self.next = next
        self.trash = list(trash)

    def keep(self, data: bytes) -> int:
        """Writes a value; its number."""
        self._store.put(f"{self._path}{self.next}", data)
        self.next += 1
        return self.next - 1

    def get(self, number: int) -> bytes:
        """A value that is kept."""
        data = self._store.get(f"{self._path}{number}")
        if data is None:
            raise StorageError("a part of a saved view is missing")
        return data

    def drop(self, number: int) -> None:
        """Gives up a value: at once if no saved head names it, else after the next head is saved."""
        if number >= self._saved:
            self._store.put(f"{self._path}{number}", None)
        else:
            self.trash.append(number)

    def saved(self) -> None:
        """The head was saved: what it uses no more can go."""
        self._saved = self.next
        trash, self.trash = self.trash, []
        for number in trash:
            self._store.put(f"{self._path}{number}", None)


@dataclass(slots=True)
class _Segment:
    """A run of entries. `rows` is None when it is not in memory, `number` when it is not kept as it is now."""

    first: Position
    size: int
    waits: bool
    number: int | None
    rows: list[Entry] | None


class Entries:
    """The sorted list of one fold.

    Args:
        shelf: Where segments are kept, but for the last one: most folds have no other.
        segments: The segments before the last, and the rows of the last, as `to_value` gave them.
        last: See there.
    """

    def __init__(self, shelf: Shelf, segments: Sequence[Any] = (), last: Sequence[Any] = ()) -> None:
        self._shelf = shelf
        self._segments = [
            _Segment(Position(height, id), size, waits, number, None) for height, id, size, waits, number in segments
        ]
        if last:
            rows = _from_value(last)
            self._segments.append(_Segment(rows[0].place, len(rows), False, None, rows))

    def __len__(self) -> int:
        return sum(segment.size for segment in self._segments)

    def find(self, place: Position) -> Standing | None:
        """The standing of the block at a place; None when it is not an entry."""
        if not self._segments:
            return None
        rows = self._rows(self._segment_of(place))
        at = bisect_left(rows, place, key=_place)
        return rows[at].standing if at < len(rows) and rows[at].place == place else None

    def put(self, entry: Entry) -> None:
        """Adds an entry, or replaces the one at its place."""
        if not self._segments:
            self._segments.append(_Segment(entry.place, 0, False, None, []))
        index = self._segment_of(entry.place)
        rows = self._rows(index)
        at = bisect_left(rows, entry.place, key=_place)
        if at < len(rows) and rows[at].place == entry.place:
            rows[at] = entry
        elif at == len(rows) >= _SEGMENT:
            self._segments.insert(index + 1, _Segment(entry.place, 1, False, None, [entry]))
            return
        else:
            rows.insert(at, entry)
        self._changed(index)

    def remove(self, place: Position) -> Standing | None:
        """Takes an entry out; its standing, or None when there was none."""
        standing = self.find(place)
        if standing is not None:
            index = self._segment_of(place)
            rows = self._rows(index)
            del rows[bisect_left(rows, place, key=_place)]
            self._changed(index)
        return standing

    def after(self, place: Position | None) -> Iterator[list[Entry]]:
        """The entries after a place, in pages. Meanwhile entries may be replaced, but not added."""
        index = 0 if place is None else self._segment_of(place)
        while index < len(self._segments):
            rows = self._rows(index)
            yield rows[0 if place is None else bisect_right(rows, place, key=_place) :]
            index += 1

    def waiting(self) -> Iterator[list[Entry]]:
        """The entries that wait, in pages. Meanwhile entries may be replaced, but not added."""
        for index, segment in enumerate(self._segments):
            if segment.rows is not None or segment.waits:
                yield [entry for entry in self._rows(index) if isinstance(entry.standing, Wait)]

    def flush(self) -> None:
        """Keeps what changed; only the last segment stays in memory."""
        for segment in self._segments[:-1]:
            if segment.rows is not None:
                self._keep(segment, segment.rows)
                segment.rows = None

    def to_value(self) -> tuple[Value, Value]:
        """For the head: the segments before the last, and the rows of the last."""
        if not self._segments:
            return [], []
        self.flush()
        rows, last = self._rows(len(self._segments) - 1), self._segments[-1]
        if last.number is not None:
            self._shelf.drop(last.number)
            last.number = None
        segments: Value = [[s.first.height, bytes(s.first.id), s.size, s.waits, s.number] for s in self._segments[:-1]]
        return segments, _to_value(rows)

    def _segment_of(self, place: Position) -> int:
        return max(bisect_right(self._segments, place, key=lambda segment: segment.first) - 1, 0)

    def _rows(self, index: int) -> list[Entry]:
        segment = self._segments[index]
        if segment.rows is None:
            if sum(other.rows is not None for other in self._segments) >= _LOADED:
                self.flush()
            segment.rows = _from_value(read(self._shelf.get(segment.number or 0)))
        return segment.rows

    def _changed(self, index: int) -> None:
        """Counts a segment anew, drops it when empty, cuts it in two when it has become too long."""
        segment = self._segments[index]
        rows = segment.rows or []
        if segment.number is not None:
            self._shelf.drop(segment.number)
        segment.number = None
        if not rows:
            del self._segments[index]
            return
        if len(rows) > _SEGMENT:
            middle = len(rows) // 2
            self._segments.insert(
                index + 1, _Segment(rows[middle].place, len(rows) - middle, False, None, rows[middle:])
            )
            del rows[middle:]
        segment.first, segment.size = rows[0].place, len(rows)

    def _keep(self, segment: _Segment, rows: list[Entry]) -> None:
        if segment.number is None:
            segment.waits = any(isinstance(entry.standing, Wait) for entry in rows)
            segment.number = self._shelf.keep(cbor.encode(_to_value(rows)))


def _to_value(rows: Sequence[Entry]) -> Value:
    return [[place.height, bytes(place.id), to_value(standing)] for place, standing in rows]


def _from_value(rows: Sequence[Any]) -> list[Entry]:
    return [Entry(Position(height, BlockId(id)), from_value(standing)) for height, id, standing in rows]


def _place(entry: Entry) -> Position:
    return entry.place
