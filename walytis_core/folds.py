"""The folds of one layer on one chain: which are in memory, and how all of them are saved so that no crash hurts.

Invariants: the root names a number, the cursor, up to which every saved fold has seen all blocks; it is written after
the folds. While folds are being saved the root says so, since some then know more than the cursor tells. A bounded
number of folds is in memory, each up to date when it leaves. Which blocks belong in is decided in `view.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from walytis_core.block import Block
from walytis_core.cbor import encode
from walytis_core.cid import BlockId
from walytis_core.entries import read
from walytis_core.fold import Fold, is_empty, key_in
from walytis_core.layer import Key, Layer
from walytis_core.store.port import ChainStore

_FORMAT: Final = 1
_IN_MEMORY: Final = 256  # only a layer with `key` has more than one
_AT_HAND: Final = 64  # blocks that just came
_BUCKETS: Final = 256  # saved folds are listed so many parts at a time


class Folds:
    """The folds of a layer, as they were saved last.

    Args:
        layer: What to fold.
        store: The chain's blocks and values.
    """

    def __init__(self, layer: Layer, store: ChainStore) -> None:
        self._layer = layer
        self._store = store
        self._path = f"view/{layer.prefix}"
        self._folds: OrderedDict[Key, Fold] = OrderedDict()
        self._changed: set[BlockId] = set()
        self._at_hand: dict[bytes, Block] = {}
        self.cursor = 0
        """The number up to which the folds have seen all blocks."""
        self.count = 0
        """How many folded blocks, of any type, there were up to the cursor."""
        self.is_cut_off = self._open()
        """Whether a save is under way; at first, whether one was never finished."""
        self._saved = self.cursor, self.count

    def _open(self) -> bool:
        data = self._store.get(f"{self._path}root")
        if data is None:
            return False
        format, version, cursor, count, is_cut_off = read(data)
        if (format, version) != (_FORMAT, self._layer.version):
            for key in self._store.items(self._path):
                self._store.put(key, None)
            return False
        self.cursor, self.count = cursor, count
        return bool(is_cut_off)

    def get(self, key: Key) -> Fold:
        """The fold of a key; an empty one when it has no blocks yet."""
        fold = self._folds.get(key)
        if fold is None:
            while len(self._folds) >= _IN_MEMORY:
                self._evict()
            fold = self._folds[key] = Fold(self._layer, self._store, self._path, key, self._at_hand)
            self._changed |= fold.run()  # due only where the state could not be written
        self._folds.move_to_end(key)
        return fold

    def note(self, block: Block) -> None:
        """A block that the next run will need: if few came, it is not read again."""
        if len(self._at_hand) < _AT_HAND:
            self._at_hand[block.id] = block

    def run(self) -> set[BlockId]:
        """Brings all states up to their blocks; the blocks whose standing changed since the last call."""
        changed, self._changed = self._changed, set()
        changed.update(*(fold.run() for fold in self._folds.values()))
        self._at_hand.clear()
        return changed

    def save(self) -> None:
        """Writes everything durably; after `run`."""
        for fold in self._folds.values():
            self._save(fold)
        if self.is_cut_off or self._saved != (self.cursor, self.count):
            self._saved = self.cursor, self.count
            self._put_root(is_cut_off=False)

    def waiting(self) -> Iterator[Fold]:
        """The folds in which a block may wait."""
        keys = set(self._store.items(f"{self._path}wait/").values())
        keys.update(encode(fold.key) for fold in self._folds.values() if fold.is_waiting)
        return (self.get(read(key)) for key in sorted(keys))

    def keys(self) -> Iterator[Key]:
        """The keys of the saved folds that have blocks."""
        for bucket in range(_BUCKETS):
            for head in self._store.items(f"{self._path}fold/{bucket:02x}").values():
                if not is_empty(head):
                    yield key_in(head)

    def _evict(self) -> None:
        fold = next(iter(self._folds.values()))
        self._changed |= fold.run()
        self._save(fold)
        del self._folds[fold.key]

    def _save(self, fold: Fold) -> None:
        if fold.is_dirty:
            if not self.is_cut_off:
                self._put_root(is_cut_off=True)
            fold.save()

    def _put_root(self, *, is_cut_off: bool) -> None:
        self._store.put(f"{self._path}root", encode([_FORMAT, self._layer.version, *self._saved, is_cut_off]))
        self.is_cut_off = is_cut_off
