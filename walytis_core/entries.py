"""The blocks of one fold in canonical order, each with what `check` made of it: a durable sorted list in segments.

Invariants: entries are sorted by place, without doubles; what a saved head names is not touched before the transaction
that saves the next head, so whatever a crash cuts off, the head still finds what it was saved with. Few segments are in
memory at once: a whole chain never is, and what is stays packed, as it is on disk: nothing is unpacked for one entry.
What the entries mean for a state is decided in `fold.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from walytis_core import cbor
from walytis_core.cbor import Value
from walytis_core.cid import CID_BYTES, BlockId
from walytis_core.errors import RemoteError, StorageError
from walytis_core.standing import OBEYED, Obeyed, Standing, Wait, from_value, to_value
from walytis_core.store.port import ChainStore, Position

_SEGMENT: Final = 512  # entries; some 22 KB, which one new entry writes again
_LOADED: Final = 32  # segments in memory
_UNSAVED_BYTES: Final = 4 << 20  # of segments and snapshots that are not written yet
_HEIGHT_BYTES: Final = 8
_WIDTH: Final = _HEIGHT_BYTES + CID_BYTES
_first: Final = attrgetter("first")


class Entry(NamedTuple):
    """A block of the fold. Places are bytes that sort as `Position`s do: see `place_of`."""

    place: bytes
    standing: Standing


def place_of(height: int, id: bytes) -> bytes:
    """The place of a block: its height, in eight bytes, and its id."""
    return height.to_bytes(_HEIGHT_BYTES, "big") + id


def id_at(place: bytes) -> BlockId:
    """The block at a place."""
    return BlockId(place[_HEIGHT_BYTES:])


def position_of(place: bytes) -> Position:
    """A place as users see it."""
    return Position(int.from_bytes(place[:_HEIGHT_BYTES], "big"), id_at(place))


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
        path: Their keys start with it, and go on with the fold's name.
        next: The first number that no saved head has named.
    """

    __slots__ = ("_name", "_path", "_saved", "_trash", "_unsaved", "next")

    def __init__(self, unsaved: Unsaved, path: str, name: str, next: int = 0) -> None:
        self._unsaved = unsaved
        self._path = path
        self._name = name
        self._saved = self.next = next
        self._trash: tuple[int, ...] = ()

    def keep(self, data: bytes) -> int:
        """Keeps a value; its number."""
        self._unsaved.put(self._key(self.next), data)
        self._unsaved.relieve()
        self.next += 1
        return self.next - 1

    def get(self, number: int) -> bytes:
        """A value that is kept."""
        data = self._unsaved.get(self._key(number))
        if data is None:
            raise StorageError("a part of a saved view is missing")
        return data

    def drop(self, number: int) -> None:
        """Gives up a value: at once if no saved head names it, else with the next head."""
        if number >= self._saved:
            self._unsaved.put(self._key(number), None)
        else:
            self._trash = (*self._trash, number)

    def save(self) -> None:
        """The next head is about to be saved: what it uses no more goes with it."""
        self._saved = self.next
        if self._trash:
            for number in self._trash:
                self._unsaved.put(self._key(number), None)
            self._trash = ()

    def _key(self, number: int) -> str:
        return f"{self._path}{self._name}/{number}"


class _Segment:
    """A run of entries: their places side by side, and the standings of those that are not obeyed.

    Args:
        first: The first place.
        size: How many there are.
        waits: Whether an entry waited when it was kept.
        number: Under which it is kept as it is now; None when it is not.
        places: None while it is not in memory.
    """

    __slots__ = ("first", "number", "others", "places", "size", "waits")

    def __init__(
        self, first: bytes, size: int, waits: bool, number: int | None, places: bytearray | None = None
    ) -> None:
        self.first = first
        self.size = size
        self.waits = waits
        self.number = number
        self.places = places
        self.others: dict[bytes, Standing] | None = None

    def load(self, data: bytes) -> None:
        """Takes what `pack` gave."""
        end = self.size * _WIDTH
        self.places = bytearray(data[:end])
        if len(data) > end:
            others = in_rows(read(data[end:]), 2)
            self.others = {data[at * _WIDTH : (at + 1) * _WIDTH]: from_value(value) for at, value in others}

    def pack(self) -> bytes:
        """All places, and behind them the standings of those that are not obeyed, by their index."""
        places, others = bytes(self.places or b""), self.others
        self.waits = False
        if not others:
            return places
        self.waits = any(isinstance(standing, Wait) for standing in others.values())
        values: list[Value] = []
        for place, standing in others.items():
            values += (self.index(place), to_value(standing))
        return places + cbor.pack(values)

    def index(self, place: bytes) -> int:
        """How many entries come before a place."""
        places = self.places or b""
        low, high = 0, self.size
        if high and places[-_WIDTH:] < place:  # nearly always
            return high
        while low < high:
            middle = (low + high) // 2
            if places[middle * _WIDTH : (middle + 1) * _WIDTH] < place:
                low = middle + 1
            else:
                high = middle
        return low

    def at(self, index: int) -> bytes:
        """A place; nothing behind the last."""
        return bytes((self.places or b"")[index * _WIDTH : (index + 1) * _WIDTH])

    def standing(self, place: bytes) -> Standing:
        """What stands at a place, which is there."""
        return self.others.get(place, OBEYED) if self.others else OBEYED

    def entries(self, start: int) -> list[Entry]:
        """The entries from an index on."""
        places = bytes(self.places or b"")
        found = [places[at : at + _WIDTH] for at in range(start * _WIDTH, len(places), _WIDTH)]
        return [Entry(place, self.standing(place)) for place in found]

    def mark(self, place: bytes, standing: Standing) -> None:
        """Says what stands at a place."""
        if not isinstance(standing, Obeyed):
            self.others = self.others or {}
            self.others[place] = standing
        elif self.others:
            self.others.pop(place, None)

    def cut(self) -> _Segment:
        """Gives the upper half away."""
        middle = self.size // 2
        places = (self.places or bytearray())[middle * _WIDTH :]
        upper = _Segment(bytes(places[:_WIDTH]), self.size - middle, False, None, places)
        if self.others:
            upper.others = {place: one for place, one in self.others.items() if place >= upper.first}
            self.others = {place: one for place, one in self.others.items() if place < upper.first}
        if self.places is not None:
            del self.places[middle * _WIDTH :]
        self.size = middle
        return upper


class Entries:
    """The sorted list of one fold.

    Args:
        shelf: Where segments are kept, but for the last one: most folds have no other.
        kept: The other segments, as `to_values` gave them.
        size: How many entries the last one has.
        last: The last one, as `to_values` gave it.
    """

    __slots__ = ("_segments", "_shelf")

    def __init__(self, shelf: Shelf, kept: Sequence[Any] = (), size: int = 0, last: bytes = b"") -> None:
        self._shelf = shelf
        self._segments = [_Segment(*row) for row in in_rows(kept, 4)] if kept else []
        if size:
            segment = _Segment(last[:_WIDTH], size, False, None)
            segment.load(last)
            self._segments.append(segment)

    def __len__(self) -> int:
        return sum(segment.size for segment in self._segments)

    def find(self, place: bytes) -> Standing | None:
        """The standing of the block at a place; None when it is not an entry."""
        if not self._segments:
            return None
        segment = self._loaded(self._segment_of(place))
        at = segment.index(place)
        return segment.standing(place) if at < segment.size and segment.at(at) == place else None

    def last(self, place: bytes) -> Standing | None:
        """The standing of the last entry, if it is at this place."""
        last = self._segments[-1] if self._segments else None
        return last.standing(place) if last and last.places and last.places.endswith(place) else None

    def put(self, entry: Entry) -> Standing | None:
        """Adds an entry, or replaces the one at its place; what stood there."""
        place, standing = entry
        index = self._segment_of(place) if self._segments else 0
        segment = self._loaded(index) if self._segments else None
        at = 0 if segment is None else segment.index(place)
        if segment is None or at == segment.size >= _SEGMENT:
            segment = _Segment(place, 1, False, None, bytearray(place))
            segment.mark(place, standing)
            self._segments.insert(index + 1, segment)
            return None
        before = None
        if at < segment.size and segment.at(at) == place:
            before = segment.standing(place)
        elif segment.places is not None:
            segment.places[at * _WIDTH : at * _WIDTH] = place
            segment.size += 1
            segment.first = min(segment.first, place)
        segment.mark(place, standing)
        self._changed(index)
        return before

    def remove(self, place: bytes) -> Standing | None:
        """Takes an entry out; its standing, or None when there was none."""
        standing = self.find(place)
        if standing is not None:
            index = self._segment_of(place)
            segment = self._loaded(index)
            at = segment.index(place)
            if segment.places is not None:
                del segment.places[at * _WIDTH : (at + 1) * _WIDTH]
            segment.size -= 1
            segment.mark(place, OBEYED)
            segment.first = segment.at(0)
            self._changed(index)
        return standing

    def after(self, place: bytes | None) -> Iterator[list[Entry]]:
        """The entries after a place, in pages. Meanwhile entries may be replaced, but not added."""
        index = 0 if place is None else self._segment_of(place)
        while index < len(self._segments):
            segment = self._loaded(index)
            start = 0 if place is None else segment.index(place)
            yield segment.entries(start + (place is not None and segment.at(start) == place))
            index += 1

    def waiting(self) -> Iterator[list[Entry]]:
        """The entries that wait, in pages. Meanwhile entries may be replaced, but not added."""
        for index, segment in enumerate(self._segments):
            if segment.places is not None or segment.waits:
                yield [entry for entry in self._loaded(index).entries(0) if isinstance(entry.standing, Wait)]

    def flush(self) -> None:
        """Keeps what changed; only the last segment stays in memory."""
        if len(self._segments) > 1:
            for segment in self._segments[:-1]:
                if segment.places is not None:
                    if segment.number is None:
                        segment.number = self._shelf.keep(segment.pack())
                    segment.places = segment.others = None

    def to_values(self) -> tuple[list[Value], int, bytes]:
        """For the head, after `flush`: where the segments are; and the last one itself, with its size."""
        if not self._segments:
            return [], 0, b""
        values: list[Value] = []
        for one in self._segments[:-1]:
            values += (one.first, one.size, one.waits, one.number)
        last = self._loaded(len(self._segments) - 1)
        if last.number is not None:
            self._shelf.drop(last.number)
            last.number = None
        return values, last.size, last.pack()

    def _segment_of(self, place: bytes) -> int:
        if self._segments[-1].first <= place:
            return len(self._segments) - 1
        return max(bisect_right(self._segments, place, key=_first) - 1, 0)

    def _loaded(self, index: int) -> _Segment:
        segment = self._segments[index]
        if segment.places is None:
            if sum(other.places is not None for other in self._segments) >= _LOADED:
                self.flush()
            segment.load(self._shelf.get(segment.number or 0))
        return segment

    def _changed(self, index: int) -> None:
        """What is kept of a segment is out of date. Drops it when it is empty, cuts it in two when it is too long."""
        segment = self._segments[index]
        if segment.number is not None:
            self._shelf.drop(segment.number)
            segment.number = None
        if segment.size == 0:
            del self._segments[index]
        elif segment.size > _SEGMENT:
            self._segments.insert(index + 1, segment.cut())
