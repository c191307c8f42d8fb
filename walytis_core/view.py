"""The one machine that keeps a layer's fold of a chain: incremental in canonical order, durable, right after a crash.

Theory: the store gives each block a fresh number when it comes into the folded set, and shows the folded set as it is
now; so what happened since a cursor is "the blocks with greater numbers" and "those that are no longer folded". A fold
(`fold.py`) is a sorted list of blocks, taking one in or out is idempotent, and all folds are saved together with the
cursor. So whatever a crash has cut off is read again, and changes nothing. Invariants, after each call:

- every state is the fold of those of the layer's blocks that are in the folded set and that `check` obeys;
- what came together was folded as it came where it stands behind all else, and folded again at most once where not;
- `check` was asked once per block, but for blocks that wait.

Memory does not grow with the chain, but for what the layer's own states and values hold. No clock, no threads: one
call at a time, in the order of the commits. When a call raises `StorageError`, throw the view away and make a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from typing import Any, Final

from walytis_core.block import Block, decode
from walytis_core.cid import BlockId
from walytis_core.entries import Entry, id_at, place_of
from walytis_core.errors import NotFoundError
from walytis_core.fold import Fold
from walytis_core.folds import Folds, digest_of
from walytis_core.guarding import Guarded
from walytis_core.layer import Key, Layer
from walytis_core.past import Headers, KnownPast, Others, Past, holds
from walytis_core.standing import OBEYED, Failed, Standing, Void, Wait
from walytis_core.store.port import ChainStore, Meta, Position, Query

UNFOLDED: Final = Void("its author forked, and nothing else builds on it")
"""The standing of members outside the folded set."""

_PAGE: Final = 256  # rows read at once
_SAVE_AFTER: Final = 1024  # blocks: what a crash makes us read again


class View:
    """A layer's state on one chain. An example stands at `Layer`.

    The node tells it what was committed: `arrived` at opening and after each commit, `revised` when blocks left the
    folded set, came back or were healed, `resolved` when another chain took blocks. Each returns the blocks whose
    standing changed by that, for feeds to say `Revised`: those that came just now, and those told as revised, are not
    among them.

    Args:
        layer: What to fold.
        store: The chain's blocks and values.
        others: Gives the other chains of the node, for checks that look there.
    """

    def __init__(self, layer: Layer, store: ChainStore, others: Others | None = None) -> None:
        self.layer = layer
        self._store = store
        self._others = None if others is None else partial(self._ask, others)
        self.asks_others = False
        """Whether a check has ever looked at another chain: set before it looks."""
        self._guarded = Guarded(layer)
        self._headers = Headers(store)
        self._folds = Folds(layer, self._guarded, store, self._known_past if layer.looks_back else None)
        self._foreseen: tuple[BlockId | None, Standing] = None, OBEYED
        self._changed: set[BlockId] = set()
        self._is_settled = False

    # --- what happened -------------------------------------------------------------------------------------------

    def arrived(self, blocks: Iterable[Block] = ()) -> tuple[BlockId, ...]:
        """Blocks were committed. Without blocks: whatever was committed is looked up.

        Args:
            blocks: Spares reading them; the store says what there is.

        Returns:
            The blocks whose standing changed, lower numbers first.
        """
        return self._advance((), tuple(blocks))

    def revised(self, ids: Collection[BlockId]) -> tuple[BlockId, ...]:
        """Blocks left the folded set, came back into it, or have their bytes back; the store shows it.

        Returns:
            The other blocks whose standing changed.
        """
        changed = self._advance(ids, ())
        self.save()  # such a thing is rare, and finding it again after a crash costs a look at every block
        return changed

    def resolved(self, chain: BlockId) -> tuple[BlockId, ...]:
        """Another chain took blocks: what waits for it is checked again. Costs nothing when nothing does.

        Returns:
            The blocks whose standing changed.
        """
        start = self._folds.cursor
        if not self._settle() and chain in self._folds.awaited:
            self._recheck(chain)
        return self._finish(start, ())

    def save(self) -> None:
        """Writes all of it durably; it happens by itself after every thousandth block or so. Call it on closing."""
        self._folds.save()

    # --- what there is -------------------------------------------------------------------------------------------

    @property
    def state(self) -> Any:
        """The state of a layer without `key`. Not to be changed."""
        return self.state_of(None)

    @property
    def value(self) -> Any:
        """What `finish` makes of the state of a layer without `key`. Raises `LocalError` when `finish` fails."""
        return self.value_of(None)

    def state_of(self, key: Key) -> Any:
        """The state of one part; the initial one where no block has touched it."""
        return self._folds.get(key).state

    def value_of(self, key: Key) -> Any:
        """What `finish` makes of the state of one part. Raises `LocalError` when `finish` fails."""
        return self._folds.get(key).value

    def entries(self, key: Key, after: Position | None = None) -> list[tuple[Position, Standing]]:
        """A page of the blocks of one part, in canonical order, with their standings; an empty one at the end."""
        return self._folds.get(key).page(None if after is None else place_of(after.height, after.id))

    def keys(self) -> Iterator[Key]:
        """The keys of all parts that have blocks, obeyed or not, in no useful order."""
        self.save()
        return self._folds.keys()

    @property
    def removed(self) -> frozenset[bytes]:
        """The authors whose heads own blocks must not name."""
        return frozenset() if self.layer.removed is None else self._guarded.removed(self._folds.get(None).finished)

    @property
    def awaited(self) -> frozenset[BlockId]:
        """The chains that blocks wait for."""
        return frozenset(self._folds.awaited)

    def standing(self, id: BlockId) -> Standing:
        """What the layer makes of a member; a block of another layer, or of none, is obeyed.

        Raises:
            NotFoundError: It is no member.
        """
        meta = self._store.metas((id,)).get(id)
        if meta is None:
            raise NotFoundError(f"there is no block {id} here")
        if not meta.folded:
            return UNFOLDED
        if not self.layer.owns(meta.type):
            return OBEYED
        block = self._block(id)
        if block is None:
            return Wait(self._store.id, (id,))
        key, failure = self._guarded.key_of(block)
        known = self._folds.get(key).standing(place_of(block.height, block.id))
        return failure or self._check(block, key) if known is None else known

    def _ask(self, others: Others, chain: BlockId) -> ChainStore | None:
        self.asks_others = True
        return others(chain)

    def foresee(self, block: Block) -> Standing:
        """What `check` makes of an own block that is about to be written; it is asked just once, if it is written."""
        key, failure = self._guarded.key_of(block)
        standing = failure or self._check(block, key)
        self._foreseen = block.id, standing
        return standing

    def past(self, heads: Iterable[BlockId], key: Key) -> Past:
        """What the author of a block with these heads would have seen, who is about to touch this part."""
        return Past(self._headers, heads, self._others, partial(self._judged, key))

    # --- taking in and out ---------------------------------------------------------------------------------------

    def _advance(self, revised: Collection[BlockId], arrived: Sequence[Block]) -> tuple[BlockId, ...]:
        start = self._folds.cursor
        if not self._settle():
            self._revise(revised)
            self._pull(arrived)
        return self._finish(start, revised)

    def _settle(self) -> bool:
        """Before anything else: finds all that happened since the view was saved. Whether it did so now."""
        if self._is_settled:
            return False
        self._is_settled = True
        folds, store, gone = self._folds, self._store, digest_of(self._store.unfolded())
        if not folds.cursor:
            folds.gone = gone
        self._pull()
        if not folds.is_whole or folds.gone != gone or folds.count != store.count:  # alone, the count may be as it was
            self._go_through()
        self._recheck(None)
        return True

    def _go_through(self) -> None:
        """Looks at every block: some that a fold has may be folded no more, and some that is folded may be missing."""
        folds, unfolded = self._folds, self._store.unfolded()
        folds.is_whole = False
        for id in sorted(unfolded):
            self._take_out(id)
            folds.relieve()
        folds.cursor = folds.count = 0
        self._pull()
        folds.is_whole, folds.gone = True, digest_of(unfolded)

    def _pull(self, arrived: Sequence[Block] = ()) -> None:
        """Takes in what the store has with numbers above the cursor."""
        for blocks, last in self._pages(arrived):
            mine = [block for block in blocks if self.layer.owns(block.type)]
            keyed = [(block, *self._guarded.key_of(block)) for block in mine]
            self._folds.load({key for _, key, _ in keyed})
            self._headers.expect(mine)
            for block, key, failure in keyed:
                self._take_in(block, key, failure)
            self._folds.see(last, len(blocks))
            self._folds.relieve()

    def _pages(self, arrived: Sequence[Block]) -> Iterator[tuple[Sequence[Block], int]]:
        """What the store has with numbers above the cursor, in pages, each with its last number."""
        folds = self._folds
        if self._is_all(arrived):
            for start in range(0, len(arrived), _PAGE):
                page = arrived[start : start + _PAGE]
                yield page, folds.cursor + len(page)
            return
        decoded = {block.id: block for block in arrived}
        is_more = True
        while is_more:
            rows = self._store.query(Query(since=folds.cursor), newest_first=False, limit=_PAGE)
            is_more = len(rows) == _PAGE
            if rows:
                yield [decoded.get(row.id) or decode(row.encoded, row.id) for row in rows], rows[-1].number

    def _is_all(self, arrived: Sequence[Block]) -> bool:
        """Whether these are just what the store has above the cursor: a number is given once, so they leave no gap."""
        start, end = self._folds.cursor + 1, self._store.last + 1
        if len(arrived) != end - start:
            return False
        metas = self._store.metas([block.id for block in arrived])
        for number, block in enumerate(arrived, start):
            meta = metas.get(block.id)
            if meta is None or meta.number != number or not meta.folded:
                return False
        return True

    def _revise(self, ids: Collection[BlockId]) -> None:
        for id, meta in _metas(self._store, ids):
            if not meta.folded:
                self._take_out(id)
                self._folds.count -= meta.number <= self._folds.cursor
            elif meta.number <= self._folds.cursor:  # healed: the cursor passed it by when its bytes were lost
                block = self._block(id)
                if block is not None and self.layer.owns(block.type):
                    self._folds.count += self._take_in(block, *self._guarded.key_of(block))
            self._folds.relieve()
        if ids:
            self._folds.gone = digest_of(self._store.unfolded())
            self._recheck(self._store.id)

    def _take_in(self, block: Block, key: Key, failure: Void | None) -> bool:
        """Puts a folded block of the layer into its fold; whether it was missing there."""
        place, fold = place_of(block.height, block.id), self._folds.change(key)
        if fold.find(place) is not None:
            return False
        foreseen, standing = self._foreseen
        if foreseen != block.id:
            standing = failure or self._check(block, key)
        if isinstance(standing, Wait):
            self._folds.awaited.add(standing.chain)
        fold.put(Entry(place, standing))
        self._folds.note(block)
        return True

    def _take_out(self, id: BlockId) -> None:
        block = self._block(id)
        if block is not None and self.layer.owns(block.type):
            key, _ = self._guarded.key_of(block)
            self._folds.change(key).remove(place_of(block.height, block.id))

    def _check(self, block: Block, key: Key) -> Standing:
        return self._guarded.check(block, self.past(block.ancestors_named, key))

    def _known_past(self, block: Block, key: Key) -> Past:
        """What `step` is given: a block's past, as it is on every node."""
        return KnownPast(self._headers, block.ancestors_named, self._others, partial(self._judged, key))

    def _judged(self, key: Key, place: Position) -> Standing | None:
        """What `check` made of a member: where `step` fails depends on what came in between."""
        standing = self._folds.get(key).find(place_of(*place))
        if standing is None and self._may_come(BlockId(place.id), key):
            return Wait(self._store.id, (BlockId(place.id),))
        return OBEYED if isinstance(standing, Failed) else standing

    def _may_come(self, id: BlockId, key: Key) -> bool:
        """Whether a member that is not in a fold belongs there: damaged or unfolded until now, and not taken in yet."""
        block = self._block(id)
        return block is None or (self.layer.owns(block.type) and self._guarded.key_of(block)[0] == key)

    def _recheck(self, chain: BlockId | None) -> None:
        """Checks again what waits for a chain, or for any."""
        self._folds.awaited.clear()
        is_due = cache(partial(self._is_due, chain))  # many may wait for the same
        for fold in self._folds.waiting():
            waits = [self._recheck_entry(fold, entry, is_due) for page in fold.waiting() for entry in page]
            chains = {wait.chain for wait in waits if isinstance(wait, Wait)}
            fold.set_waiting(bool(chains))
            self._folds.awaited.update(chains)
            self._folds.relieve()

    def _is_due(self, chain: BlockId | None, wait: Wait) -> bool:
        """Whether what waits may wait no more: what it waits for is held, in bytes that are not damaged."""
        if chain not in (None, wait.chain):
            return False
        is_own = wait.chain == self._store.id
        held = self._store if is_own else self._others(wait.chain) if self._others else None
        return held is not None and holds(held, wait.heads) and len(held.encoded(wait.heads)) == len(set(wait.heads))

    def _recheck_entry(self, fold: Fold, entry: Entry, is_due: Callable[[Wait], bool]) -> Standing:
        before, id = entry.standing, id_at(entry.place)
        if isinstance(before, Wait) and not is_due(before):
            return before
        block = self._block(id)
        standing = Wait(self._store.id, (id,)) if block is None else self._check(block, fold.key)
        if standing != before:
            fold.put(Entry(entry.place, standing))
            if not isinstance(standing, Wait):
                self._changed.add(id)
        return standing

    def _finish(self, start: int, revised: Collection[BlockId]) -> tuple[BlockId, ...]:
        """Folds, and says which standings changed of what was there at `start`; saves now and then."""
        changed = (self._changed | self._folds.run()).difference(revised)
        self._changed = set()
        if self._folds.unsaved >= _SAVE_AFTER:
            self.save()
        if not changed:
            return ()
        metas = dict(_metas(self._store, changed))
        old = [id for id, meta in metas.items() if meta.number <= start]
        return tuple(sorted(old, key=lambda id: metas[id].number))

    def _block(self, id: BlockId) -> Block | None:
        """A member; None when its bytes are damaged."""
        data = self._store.encoded((id,)).get(id)
        return None if data is None else decode(data, id)


def _metas(store: ChainStore, ids: Iterable[BlockId]) -> Iterator[tuple[BlockId, Meta]]:
    left = iter(ids)
    while part := list(islice(left, _PAGE)):
        metas = store.metas(part)
        yield from ((id, metas[id]) for id in part if id in metas)
