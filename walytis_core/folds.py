"""The folds of one layer on one chain: which are in memory, and how all of them are saved so that no crash hurts.

Invariants: the root names a number, the cursor; the saved folds hold the blocks up to it and no others, since they are
saved together with it, in one transaction. So folds are saved between pages of blocks, never within one. Only while a
view goes through all blocks once more, folds know more than the cursor tells: the root says so. A bounded number of folds
is in memory, each up to date when it leaves. Which blocks belong in is decided in `view.py`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import Final

from walytis_core import heads
from walytis_core.block import Block
from walytis_core.cbor import encode, pack
from walytis_core.cid import BlockId
from walytis_core.entries import Unsaved, read
from walytis_core.errors import StorageError
from walytis_core.fold import Fold, Setting
from walytis_core.guarding import Guarded
from walytis_core.layer import Key, Layer
from walytis_core.past import Past
from walytis_core.store.port import ChainStore

_FORMAT: Final = 5
_CHANGED: Final = 2048  # folds in memory, of some 2 KB each: only a layer with `key` has more than one
_MOST: Final = 12_288  # so many where folds are read that were let go: then it pays to keep more of them
_UNCHANGED: Final = 1024  # others in memory
_TOUCHES: Final = 1024  # changes of folds, until these let go of most entries
_BUCKETS: Final = 256  # saved values are listed so many parts at a time


def digest_of(ids: Collection[bytes]) -> bytes:
    """What stands for a set of blocks."""
    return hashlib.sha256(b"".join(sorted(ids))).digest()


class Folds:
    """The folds of a layer, as they were saved last.

    Args:
        layer: What to fold.
        guarded: Its functions.
        store: The chain's blocks and values.
        past_of: Gives the past of a block that touches a part, where the layer looks back.
    """

    def __init__(
        self, layer: Layer, guarded: Guarded, store: ChainStore, past_of: Callable[[Block, Key], Past] | None
    ) -> None:
        self._layer = layer
        self._store = store
        self._path = f"view/{layer.prefix}"
        self._unsaved = Unsaved(store)
        self.awaited: set[BlockId] = set()
        """The chains that blocks wait for, at least."""
        self._setting = Setting(
            layer,
            guarded,
            store,
            self._unsaved,
            self._path,
            f"{self._path}blob/",
            encode(layer.initial),
            past_of,
            self.awaited,
        )
        self._saved: OrderedDict[Key, Fold] = OrderedDict()
        self._changed: dict[Key, Fold] = {}
        self._due: dict[Key, Fold] = {}
        self._touches = 0
        self._room = _CHANGED
        self._revised: set[BlockId] = set()
        self.cursor = 0
        """The number up to which the folds have seen all blocks."""
        self.count = 0
        """How many folded blocks, of any type, there were up to the cursor."""
        self.gone = digest_of(())
        """The digest of the members outside the folded set that the folds have been told of."""
        self.unsaved = 0
        """How many blocks the saved folds have not seen."""
        self.is_whole = True
        """Whether the folds have no blocks but those up to the cursor."""
        self._open()
        self._root = self.cursor, self.count, self.is_whole, self.gone

    def _open(self) -> None:
        data = self._store.get(f"{self._path}root")
        if data is None:
            return
        format, version, *root = read(data)
        if (format, version) == (_FORMAT, self._layer.version):
            self.cursor, self.count, self.is_whole, self.gone = root
            return
        self._void_all()  # if this is cut off, no version takes the rest for its own
        for kind in ("fold", "blob", "wait"):
            for values in self._listed(kind):
                self._store.put_many(dict.fromkeys(values))

    def _void_all(self) -> None:
        """What is saved is made anew when the chain is opened the next time."""
        self._store.put(f"{self._path}root", pack([0, None]))

    def _listed(self, kind: str) -> Iterator[dict[str, bytes]]:
        return (self._store.items(f"{self._path}{kind}/{bucket:02x}") for bucket in range(_BUCKETS))

    # --- which are in memory -------------------------------------------------------------------------------------

    def get(self, key: Key) -> Fold:
        """The fold of a key, to be read; an empty one when it has no blocks yet."""
        fold = self._changed.get(key)
        if fold is not None:
            return fold
        if key not in self._saved:
            self.load((key,))
        self._saved.move_to_end(key)
        return self._saved[key]

    def change(self, key: Key) -> Fold:
        """The fold of a key, to be changed."""
        fold = self._due.get(key)
        if fold is None:
            fold = self._due[key] = self._changed[key] = self.get(key)
            self._saved.pop(key, None)
        self._touches += 1
        return fold

    def load(self, keys: Collection[Key]) -> None:
        """Reads folds together that are about to be needed."""
        names = {key: heads.name_of(key) for key in keys if key not in self._changed and key not in self._saved}
        if not names:
            return
        kept = self._store.get_many([f"{self._path}fold/{name}" for name in names.values()])
        self._room = min(_MOST, self._room + len(kept))
        for key, name in names.items():
            try:
                fold = self._saved[key] = Fold(self._setting, key, name, kept.get(f"{self._path}fold/{name}"))
            except StorageError:
                self._void_all()
                raise
            if fold.is_due:  # only where the state could not be written
                self._revised |= fold.run()
        self._forget(len(names))

    def _forget(self, new: int) -> None:
        while len(self._saved) > max(_UNCHANGED, new):
            self._saved.popitem(last=False)

    def waiting(self) -> Iterator[Fold]:
        """The folds in which a block may wait, to be changed."""
        keys = set(self._store.items(f"{self._path}wait/").values())
        keys.update(pack(key) for folds in (self._saved, self._changed) for key in folds if folds[key].is_waiting)
        return (self.change(read(key)) for key in sorted(keys))

    def keys(self) -> Iterator[Key]:
        """The keys of the saved folds that have blocks."""
        found = (heads.read(data) for values in self._listed("fold") for data in values.values())
        return (head.key for head in found if head.size)

    # --- bringing up to date, and saving -------------------------------------------------------------------------

    def see(self, cursor: int, count: int) -> None:
        """All blocks up to a number have been seen, so many more than before."""
        self.cursor = cursor
        self.count += count
        self.unsaved += count

    def note(self, block: Block) -> None:
        """A block that the next run will need: it is not read again."""
        self._setting.at_hand[block.id] = block

    def run(self) -> set[BlockId]:
        """Brings all states up to their blocks; the blocks whose standing changed since the last call."""
        for fold in self._due.values():
            self._revised |= fold.run()
        self._due.clear()
        self._setting.at_hand.clear()
        revised, self._revised = self._revised, set()
        return revised

    def relieve(self) -> None:
        """Between pages of blocks: keeps memory bounded."""
        for key, fold in list(self._due.items()):
            if fold.goes_on:
                self._revised |= fold.run()
                del self._due[key]
        self._setting.at_hand.clear()
        if len(self._changed) >= self._room:
            self._revised = self.run()
            self.save()
        elif self._touches >= _TOUCHES:
            self._flush()

    def save(self) -> None:
        """Writes everything durably, in one transaction; after `run`."""
        self._flush()
        self.unsaved = 0
        for key, fold in self._changed.items():
            if fold.is_dirty:
                fold.save()
            self._saved[key] = fold
        self._changed.clear()
        self._forget(0)
        root = self.cursor, self.count, self.is_whole, self.gone
        if root != self._root:
            self._root = root
            self._unsaved.put(f"{self._path}root", pack([_FORMAT, self._layer.version, *root]))
        self._unsaved.write()

    def _flush(self) -> None:
        self._touches = 0
        for fold in self._changed.values():
            fold.flush()
