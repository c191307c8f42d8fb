"""One fold of a layer on a chain: its blocks, the state they add up to, and snapshots of it on the way there.

A layer without `key` has one fold, else one for each key. Invariants, after every `run`:

- the state is `step` over the obeyed entries in canonical order, from the layer's initial state, without those on
  which `step` fails: these are `Failed`, until the fold goes back below them and tries again; those whose past `step`
  cannot be told here yet wait;
- a snapshot is the same up to and with its place, so one is good for what changed *above* its place only;
- snapshots are few: two for each power of two of blocks, so a block that comes n blocks late costs about 4n steps;
- where the layer commutes it costs one, on top of the state, and the snapshots above its place, which lack it. What a
  block builds on was stepped over before: only blocks that are new to the fold are late, not such as stop waiting.

A head is one durable value, and what it names changes in one transaction with it: a fold is whole at any instant. Which
entries there must be is decided in `view.py`, and when folds are saved in `folds.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from walytis_core import heads
from walytis_core.block import Block, decode
from walytis_core.cbor import pack
from walytis_core.cid import CID_BYTES, BlockId
from walytis_core.entries import Entries, Entry, Shelf, Unsaved, id_at, in_rows, position_of, read
from walytis_core.errors import LocalError
from walytis_core.guarding import Finished, Guarded
from walytis_core.layer import Key, Layer
from walytis_core.past import Past
from walytis_core.standing import OBEYED, Failed, Obeyed, Standing, Void, Wait
from walytis_core.store.port import ChainStore, Position

_SPACING: Final = 64  # obeyed blocks from one snapshot to the next, while there are few
_MOST_OF_ONE_SPACING: Final = 256  # with more, the spacing doubles: a state may grow with its blocks
_PAGE: Final = 64  # blocks read at once
_LATE: Final = 1024  # late blocks to be stepped on top of a state; with more at once it is made again
_SMALL: Final = 4096  # bytes of a state
_COUNTED: Final = (Obeyed, Failed)


class Snapshot(NamedTuple):
    """The state after all entries up to a place, kept under a number."""

    place: bytes
    obeyed: int
    number: int


class _Base(NamedTuple):
    """The state after all entries up to a place, in memory for one run."""

    place: bytes
    reached: int
    data: bytes


class _Run(NamedTuple):
    """What happens while a state is brought up to its entries.

    Attributes:
        wanted: After how many blocks to make a snapshot.
        failed: Blocks that are passed by, as `step` has failed on them.
        bases: After how many blocks `step` has met one that waits.
        changed: Blocks whose standing this changed.
    """

    wanted: set[int]
    failed: set[BlockId]
    bases: set[int]
    changed: set[BlockId]


def kept(obeyed: int) -> set[int]:
    """After how many obeyed blocks there are to be snapshots: the two last multiples of each power of two."""
    if obeyed < _SPACING:
        return set()
    step = _SPACING
    while step * _MOST_OF_ONE_SPACING <= obeyed:
        step *= 2
    found: set[int] = set()
    while step <= obeyed:
        last = obeyed // step * step
        found.update((last, last - step))
        step *= 2
    return found - {0}


@dataclass(slots=True)
class Setting:
    """What the folds of a view have in common.

    Attributes:
        layer: What to fold.
        guarded: Its functions.
        store: The chain's blocks.
        unsaved: The chain's values.
        path: Where the layer's values are kept.
        blobs: Where their segments and snapshots are kept.
        initial: The state before the first block, as data, since `step` may change what it is given.
        past_of: Gives the past of a block that touches a part, where the layer looks back.
        awaited: Takes the chains that blocks wait for.
        at_hand: Some blocks that need not be read again.
    """

    layer: Layer
    guarded: Guarded
    store: ChainStore
    unsaved: Unsaved
    path: str
    blobs: str
    initial: bytes
    past_of: Callable[[Block, Key], Past] | None
    awaited: set[BlockId]
    at_hand: dict[bytes, Block] = field(default_factory=dict)


class Fold:
    """A fold, as it was saved last. See the module's invariants.

    Args:
        setting: The view's.
        key: The key of all its blocks.
        name: What stands for the key.
        head: As `save` wrote it; None when it has no blocks yet.
    """

    __slots__ = (
        "_at",
        "_at_hand",
        "_base",
        "_entries",
        "_guarded",
        "_is_marked",
        "_late",
        "_low",
        "_name",
        "_obeyed",
        "_reached",
        "_result",
        "_setting",
        "_shelf",
        "_size",
        "_snapshots",
        "is_dirty",
        "is_due",
        "is_waiting",
        "key",
        "state",
    )

    def __init__(self, setting: Setting, key: Key, name: str, head: bytes | None) -> None:
        self._setting = setting
        self._guarded = setting.guarded
        self._at_hand = setting.at_hand
        self.key = key
        self._name = name
        self._snapshots: tuple[Snapshot, ...] = ()
        self.state: Any
        self._at: bytes | None
        if head is None:
            self._shelf = Shelf(setting.unsaved, setting.blobs, name)
            self._entries = Entries(self._shelf)
            self._obeyed, self._size, self._at, self.is_waiting, self.state = 0, 0, None, False, read(setting.initial)
        else:
            _, self.is_waiting, next, self._obeyed, at, state, size, last, snapshots, segments = heads.read(head)
            self._at, self._size, self.state = at or None, len(state), read(state)
            self._shelf = Shelf(setting.unsaved, setting.blobs, name, next)
            self._entries = Entries(self._shelf, segments, size, last)
            if snapshots:
                self._snapshots = tuple(Snapshot(*row) for row in in_rows(snapshots, 3))
        self._reached = self._obeyed
        self._low: bytes | None = None
        self._late: tuple[bytes, ...] = ()
        self._result: Finished | None = None
        self._base: _Base | None = None
        self._is_marked = self.is_waiting
        """Whether an entry may wait; a durable mark says so, since `View.resolved` must find the fold."""
        self.is_due = False
        """Whether entries changed that the state does not show: `run`."""
        self.is_dirty = False
        """Whether there is something to save."""
        if self._at is None and self._obeyed:  # the state could not be written
            self._go_back()
            self.is_due = True

    def __len__(self) -> int:
        return len(self._entries)

    # --- entries -------------------------------------------------------------------------------------------------

    def find(self, place: bytes) -> Standing | None:
        """What `check` made of the block at a place; None when it is not in the fold."""
        return self._entries.find(place)

    def put(self, entry: Entry) -> None:
        """Adds a block, or changes what `check` made of it."""
        self._moved(entry.place, self._entries.put(entry), entry.standing)
        self.is_waiting |= isinstance(entry.standing, Wait)

    def page(self, after: bytes | None) -> list[tuple[Position, Standing]]:
        """The next entries after a place, with what the layer makes of them, `finish` included."""
        page = next((page for page in self._entries.after(after) if page), [])
        return [(position_of(place), self._with_voids(place, standing)) for place, standing in page]

    def remove(self, place: bytes) -> bool:
        """Takes a block out; whether it was there."""
        standing = self._entries.remove(place)
        if standing is not None:
            self._moved(place, standing, None)
        return standing is not None

    def waiting(self) -> Iterator[list[Entry]]:
        """The waiting entries, in pages. Meanwhile entries may be replaced, but not added."""
        return self._entries.waiting()

    def set_waiting(self, is_waiting: bool) -> None:
        """Says whether any entry waits: only a look at all of them tells."""
        self.is_dirty |= is_waiting != self.is_waiting
        self.is_waiting = is_waiting

    def _moved(self, place: bytes, before: Standing | None, after: Standing | None) -> None:
        self.is_dirty = True
        change = _counts(after) - _counts(before)
        if change:
            self._obeyed += change
            self.is_due = True
            is_late = before is None and self._at is not None and place < self._at
            if is_late and self._setting.layer.commutes and len(self._late) < _LATE:
                self._late = (*self._late, place)
            else:
                self._low = place if self._low is None else min(self._low, place)

    # --- the state -----------------------------------------------------------------------------------------------

    @property
    def value(self) -> Any:
        """What `finish` makes of the state.

        Raises:
            LocalError: It fails.
        """
        result = self._result or self.finished
        if result.failure is not None:
            prefix = self._setting.layer.prefix
            raise LocalError(f"layer {prefix} has no value: {result.failure}", hint=f"Mend `finish` of layer {prefix}.")
        return result.value

    @property
    def finished(self) -> Finished:
        """What `finish` makes of the state, or why it fails."""
        if self._result is None:
            self._result = self._guarded.finish(self.state)
        return self._result

    def standing(self, place: bytes) -> Standing | None:
        """What the layer makes of the block at a place, `finish` included."""
        standing = self._entries.find(place)
        return None if standing is None else self._with_voids(place, standing)

    def _with_voids(self, place: bytes, standing: Standing) -> Standing:
        if isinstance(standing, Failed):
            return Void(standing.reason)
        if isinstance(standing, Obeyed) and self._voids and (id := id_at(place)) in self._voids:
            return Void(self._voids[id])
        return standing

    @property
    def _voids(self) -> Mapping[BlockId, str]:
        return self.finished.voids if self._at is not None else {}

    @property
    def goes_on(self) -> bool:
        """Whether `run` only steps over what came behind all else, and that a small state costs little to keep."""
        return self._size <= _SMALL and (self._at is None or self._low is None or self._low > self._at)

    def run(self) -> set[BlockId]:
        """Brings the state up to the entries; the blocks whose standing that changed."""
        if not self.is_due:
            return set()
        before = self._voids
        changed = set() if self._add_last() else self._run()
        self._low, self._result, self._base, self.is_due = None, None, None, False
        after = self._voids
        if before or after:
            changed.update(id for id in before.keys() | after.keys() if before.get(id) != after.get(id))
        return changed

    def _add_last(self) -> bool:
        """Steps over what is new where that is one block behind all else, as nearly always; False where it is not."""
        low = self._low
        if low is None or self._late or self._obeyed != self._reached + 1 or self._obeyed % _SPACING == 0:
            return False  # with that many blocks, other snapshots are due
        block = self._at_hand.get(low[-CID_BYTES:])
        if block is None or self._entries.last(low) is not OBEYED or (self._at is not None and low < self._at):
            return False
        past_of = self._setting.past_of
        past = None if past_of is None else past_of(block, self.key)
        state, failure = self._guarded.step(self.state, block, past)
        if failure is not None:
            self._go_back()  # `_run` does it again
            return False
        self.state, self._at, self._reached = state, low, self._obeyed
        return True

    def _run(self) -> set[BlockId]:
        """As `run`, whatever is new; the blocks whose standing `step` has changed."""
        self._roll_back()
        run = _Run(kept(self._obeyed), set(), set(), set())
        while not (self._catch_up(run) and self._advance(run)):
            self._go_back()
        if self._snapshots:
            self._forget([one for one in self._snapshots if one.obeyed not in run.wanted])
        return run.changed

    def _catch_up(self, run: _Run) -> bool:
        """Steps over what came late, on top of the state; False when `step` failed, and spoilt the state."""
        if not self._late:
            return True
        late, self._late = sorted(self._late), ()
        self._forget([one for one in self._snapshots if one.place >= late[0]])
        entries = [Entry(place, one) for place in late if (one := self._entries.find(place)) is not None]
        unkept = run._replace(wanted=set())
        return all(self._pass(*one, unkept) for one in self._blocks(entries))

    def _advance(self, run: _Run) -> bool:
        """Steps over the entries after where the state is; False when `step` failed on one more, and spoilt the state."""
        for page in self._entries.after(self._at):
            for entry, id, block in self._blocks(page):
                if not self._pass(entry, id, block, run):
                    return False
            self._at = page[-1].place if page else self._at
        return True

    def _pass(self, entry: Entry, id: BlockId, block: Block | None, run: _Run) -> bool:
        """Steps over an entry; False when that failed, or has to wait, and did not before."""
        place, standing = entry
        if block is None:
            self._await(place, Wait(self._setting.store.id, (id,)))
            run.changed.add(id)
            return True
        if id not in run.failed:
            past_of = self._setting.past_of
            past = None if past_of is None else past_of(block, self.key)
            self.state, failure = self._guarded.step(self.state, block, past)
            if isinstance(failure, Wait):
                self._await(place, failure)
                run.changed.add(id)
                run.bases.add(self._reached)
                return False
            after = failure or OBEYED
            if standing is not after and standing != after:
                self._entries.put(Entry(place, after))
                run.changed.add(id)
            if failure is not None:
                run.failed.add(id)
                return False
        self._reach(place, run.wanted, is_base=id in run.failed or self._reached + 1 in run.bases)
        return True

    def _roll_back(self) -> None:
        """Goes back to the last snapshot below the lowest change, or to the beginning."""
        if self._low is None or self._at is None or self._low > self._at:
            return
        low, self._late = min((self._low, *self._late)), ()
        self._forget([one for one in self._snapshots if one.place >= low])
        self._go_back()

    def _go_back(self) -> None:
        """Goes back to the last state that is kept, or to the beginning."""
        last, base = self._snapshots[-1] if self._snapshots else None, self._base
        if base is not None and (last is None or last.place < base.place):
            self._at, self._reached, self.state = base.place, base.reached, read(base.data)
        elif last is not None:
            self._at, self._reached, self.state = last.place, last.obeyed, read(self._shelf.get(last.number))
        else:
            self._at, self._reached, self.state = None, 0, read(self._setting.initial)

    def _blocks(self, page: Sequence[Entry]) -> Iterator[tuple[Entry, BlockId, Block | None]]:
        """The blocks of a page that `check` obeys; None for one whose bytes are damaged."""
        at_hand = self._at_hand
        entries = [(entry, id_at(entry.place)) for entry in page if isinstance(entry.standing, _COUNTED)]
        for start in range(0, len(entries), _PAGE):
            part = entries[start : start + _PAGE]
            away = [id for _, id in part if id not in at_hand]
            encoded = self._setting.store.encoded(away) if away else {}
            for entry, id in part:
                block = at_hand.get(id)
                if block is None and id in encoded:
                    block = decode(encoded[id], id)
                yield entry, id, block

    def _reach(self, place: bytes, wanted: set[int], *, is_base: bool) -> None:
        """The state is the one after the block at a place: kept, if a later run or this one may go back to it."""
        self._reached += 1
        is_snapshot = self._reached in wanted
        data = self._guarded.encoded(self.state) if is_snapshot or is_base else None
        if data is None:
            return
        self._size = len(data)
        if is_snapshot:
            self._snapshots = (*self._snapshots, Snapshot(place, self._reached, self._shelf.keep(data)))
        if is_base:  # so that many failures, or waits, cost two steps for each block, and not as many as there are
            self._base = _Base(place, self._reached, data)
        self.state = read(data)  # what a later run starts from must be what this one goes on with

    def _await(self, place: bytes, wait: Wait) -> None:
        """Lets an obeyed block wait: its own bytes, or what `step` has asked for, are damaged or not held here."""
        self._entries.put(Entry(place, wait))
        self._obeyed -= 1
        self.is_waiting = True
        self._setting.awaited.add(wait.chain)

    def _forget(self, snapshots: Sequence[Snapshot]) -> None:
        if snapshots:
            self._snapshots = tuple(one for one in self._snapshots if one not in snapshots)
            for snapshot in snapshots:
                self._shelf.drop(snapshot.number)

    # --- saving --------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Lets go of most entries."""
        self._entries.flush()

    def save(self) -> None:
        """Has the fold written with the next transaction; after `run` and `flush`."""
        unsaved, path = self._setting.unsaved, self._setting.path
        at, state = self._at, self._guarded.encoded(self.state)
        if state is None:
            at, state = None, self._setting.initial  # the next one to load it makes the state again
        self._size = len(state)
        snapshots = [value for snapshot in self._snapshots for value in snapshot]
        segments, size, last = self._entries.to_values()
        next, obeyed = self._shelf.next, self._obeyed
        head = heads.Head(self.key, self.is_waiting, next, obeyed, at or b"", state, size, last, snapshots, segments)
        unsaved.put(f"{path}fold/{self._name}", heads.write(head))
        self._shelf.save()
        if self._is_marked != self.is_waiting:
            unsaved.put(f"{path}wait/{self._name}", pack(self.key) if self.is_waiting else None)
        self._is_marked, self.is_dirty = self.is_waiting, False


def _counts(standing: Standing | None) -> bool:
    return isinstance(standing, _COUNTED)
