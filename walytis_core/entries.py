"""The blocks of one fold in canonical order, each with what `check` made of it: a durable sorted list in segments.

Invariants: entries are sorted by place, without doubles; what a saved head names is not touched before the transaction
that saves the next head, so whatever a crash cuts off, the head still finds what it was saved with. Few segments are in
memory at once: a whole chain never is. What the entries mean for a state is decided in `fold.py`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple

from walytis_core import cbor
from walytis_core.cbor import Value
from walytis_core.cid import CID_BYTES, BlockId
from walytis_core.errors import RemoteError, StorageError
from walytis_core.standing import OBEYED, Obeyed, Standing, Wait, from_value, to_value
from walytis_core.store.port import ChainStore, Position

_SEGMENT: Final = 512  # entries; some 22 KB on disk, which one new entry writes again
_LOADED: Final = 32  # segments in memory, of some 100 KB
_UNSAVED_BYTES: Final = 4 << 20  # of segments and snapshots that are not written yet
_HEIGHT_BYTES: Final = 8
_PLACE_BYTES: Final = _HEIGHT_BYTES + CID_BYTES
_place: Final = itemgetter(0)


class Entry(NamedTuple):
    """A block of the fold."""

    place: Position
    standing: Standing


def read(data: bytes) -> Any:
    """Reads data that a view has saved."""
    try:
        return cbor.unpack(data)
    except RemoteError as error:
        raise StorageError("a saved view cannot be read") from error


def in_rows(values: Sequence[Any], length: int) -> Iterator[tuple[Any, ...]]:
    """Cuts a list into rows: what is saved is flat, since each list costs as much time as ten of its values."""
    return zip(*[iter(values)] * length, strict=True)


class Unsaved:
    """What a view has to write, so that one transaction takes many values.

    Between saves there is only what no saved head names: that may be written at any time.
    """

    def __init__(self, store: ChainStore) -> None:
        self._store = store
        self._values: dict[str, bytes | None] = {}
        self._size = 0

    def get(self, key: str) -> bytes | None:
        """A value, written or not."""
        return self._values[key] if key in self._values else self._store.get(key)

    def put(self, key: str, value: bytes | None) -> None:
        """A value that goes with the next transaction; None removes it."""
        self._values[key] = value
        self._size += 0 if value is None else len(value)

    def relieve(self) -> None:
        """Writes what there is, when it has become much; not while a save is put together."""
        if self._size >= _UNSAVED_BYTES:
            self.write()

    def write(self) -> None:
        """Writes what there is, in one transaction."""
        if self._values:
            self._store.put_many(self._values)
            self._values, self._size = {}, 0


class Shelf:
    """Numbered values of one fold, each written once. The fold's head names those in use.

    Args:
        path: Their keys start with it.
        next: The first number that no saved head has named.
    """

    __slots__ = ("_path", "_saved", "_trash", "_unsaved", "next")

    def __init__(self, unsaved: Unsaved, path: str, next: int = 0) -> None:
        self._unsaved = unsaved
        self._path = path
        self._saved = self.next = next
        self._trash: list[int] = []

    def keep(self, data: bytes) -> int:
        """Keeps a value; its number."""
        self._unsaved.put(f"{self._path}{self.next}", data)
        self._unsaved.relieve()
        self.next += 1
        return self.next - 1

    def get(self, number: int) -> bytes:
        """A value that is kept."""
        data = self._unsaved.get(f"{self._path}{number}")
        if data is None:
            raise StorageError("a part of a saved view is missing")
        return data

    def drop(self, number: int) -> None:
        """Gives up a value: at once if no saved head names it, else with the next head."""
        if number >= self._saved:
            self._unsaved.put(f"{self._path}{number}", None)
        else:
            self._trash.append(number)

    def save(self) -> None:
        """The next head is about to be saved: what it uses no more goes with it."""
        self._saved = self.next
        trash, self._trash = self._trash, []
        for number in trash:
            self._unsaved.put(f"{self._path}{number}", None)


@dataclass(slots=True)
class _Segment:
    """A run of entries. `rows` is None when it was not looked at; then it is kept under `number`, or the last: `data`.

    `number` is None when it is not kept as it is now, and so is `data`.
    """

    first: Position
    size: int
    waits: bool
    number: int | None
    rows: list[Entry] | None
    data: bytes | None = None


class Entries:
    """The sorted list of one fold.

    Args:
        shelf: Where segments are kept, but for the last one: most folds have no other.
        segments: All segments, as `to_values` gave them.
    """

    __slots__ = ("_segments", "_shelf")

    def __init__(self, shelf: Shelf, segments: Sequence[Any] = ()) -> None:
        self._shelf = shelf
        self._segments = [
            _Segment(Position(height, id), size, waits, number, None, data)
            for height, id, size, waits, number, data in in_rows(segments, 6)
        ]

    def __len__(self) -> int:
        return sum(segment.size for segment in self._segments)

    def find(self, place: Position) -> Standing | None:
        """The standing of the block at a place; None when it is not an entry."""
        if not self._segments:
            return None
        rows = self._rows(self._segment_of(place))
        if rows[-1].place < place:
            return None
        at = bisect_left(rows, place, key=_place)
        return rows[at].standing if at < len(rows) and rows[at].place == place else None

    def put(self, entry: Entry) -> Standing | None:
        """Adds an entry, or replaces the one at its place; what stood there."""
        if not self._segments:
            self._segments.append(_Segment(entry.place, 0, False, None, []))
        index = self._segment_of(entry.place)
        rows = self._rows(index)
        at = bisect_left(rows, entry.place, key=_place) if rows and entry.place <= rows[-1].place else len(rows)
        before = None
        if at < len(rows) and rows[at].place == entry.place:
            before = rows[at].standing
            rows[at] = entry
        elif at == len(rows) >= _SEGMENT:
            self._segments.insert(index + 1, _Segment(entry.place, 1, False, None, [entry]))
            return None
        else:
            rows.insert(at, entry)
        self._changed(index)
        return before

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

    def to_values(self) -> list[Value]:
        """For the head: where the segments are, after `flush`; the last one stands there itself."""
        if self._segments:
            last = self._segments[-1]
            if last.data is None:
                rows = self._rows(len(self._segments) - 1)
                last.data, last.waits, last.rows = _pack(rows), _any_waits(rows), None
            if last.number is not None:
                self._shelf.drop(last.number)
                last.number = None
        values: list[Value] = []
        for one in self._segments:
            values += (one.first.height, bytes(one.first.id), one.size, one.waits, one.number, one.data)
        return values

    def _segment_of(self, place: Position) -> int:
        if self._segments[-1].first <= place:
            return len(self._segments) - 1
        return max(bisect_right(self._segments, place, key=lambda segment: segment.first) - 1, 0)

    def _rows(self, index: int) -> list[Entry]:
        segment = self._segments[index]
        if segment.rows is None:
            if sum(other.rows is not None for other in self._segments) >= _LOADED:
                self.flush()
            segment.rows = _unpack(segment.data or self._shelf.get(segment.number or 0), segment.size)
        return segment.rows

    def _changed(self, index: int) -> None:
        """Counts a segment anew, drops it when empty, cuts it in two when it has become too long."""
        segment = self._segments[index]
        rows = segment.rows or []
        if segment.number is not None:
            self._shelf.drop(segment.number)
        segment.number = segment.data = None
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
            segment.waits = _any_waits(rows)
            segment.number = self._shelf.keep(segment.data or _pack(rows))
        segment.data = None


def _any_waits(rows: Sequence[Entry]) -> bool:
    return any(isinstance(entry.standing, Wait) for entry in rows)


def _pack(rows: Sequence[Entry]) -> bytes:
    """All places, and behind them the standings of those that are not obeyed, by their index."""
    places = b"".join([height.to_bytes(_HEIGHT_BYTES, "big") + id for (height, id), _ in rows])
    others: list[Value] = []
    for at, (_, standing) in enumerate(rows):
        if not isinstance(standing, Obeyed):
            others += (at, to_value(standing))
    return places + cbor.pack(others) if others else places


def _unpack(data: bytes, size: int) -> list[Entry]:
    end = size * _PLACE_BYTES
    others = {at: from_value(value) for at, value in in_rows(read(data[end:]), 2)} if len(data) > end else {}
    return [
        Entry(
            Position(
                int.from_bytes(data[start : start + _HEIGHT_BYTES], "big"),
                BlockId(data[start + _HEIGHT_BYTES : start + _PLACE_BYTES]),
            ),
            others.get(at, OBEYED),
        )
        for at, start in enumerate(range(0, end, _PLACE_BYTES))
    ]
