"""Keeps copies of public chains where others fetch them: in an IPFS daemon that serves blocks by CID for this node.

All that is held is put there, for whoever walks a chain; then what this node wrote, and the genesis, is pinned (docs/adr/0014).
Invariants: how far a chain was copied is written down behind the copies, so that a crash copies twice and leaves nothing out; only
public chains are copied; a long chain keeps no other waiting for its blocks; the pins of a chain go when it is no longer held
here, even if the daemon is away when it is deleted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

import trio

from walytis_core import content
from walytis_core.block import decode
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import ClosedError, NotFoundError, RemoteError, StorageError, UnavailableError, WalytisError
from walytis_core.events import Arrived, Change, Fetched, Revised, Synced
from walytis_core.exchange import Exchange, Public
from walytis_core.loop import Loop
from walytis_core.network.port import Copies
from walytis_core.portions import portions
from walytis_core.shared import Shared
from walytis_core.store.port import Row, Store

_log = logging.getLogger(__name__)
_PAGE: Final = 128
_PAGE_BYTES: Final = 1 << 20
_PAGES_AT_ONCE: Final = 16
"""Of one chain, before others have their turn."""
_UNPINNED_AT_ONCE: Final = 1000
_GIVEN_KEPT: Final = 100_000
"""Pieces of content that are remembered to be there: what many blocks link to is put once."""
_FETCHED_KEPT: Final = 8192
"""Pieces of content that came after their block was copied, and wait for their turn."""
_RETRY_S: Final = 2.0
_LOOK_S: Final = 60.0
"""How often it is seen whether it is still the daemon with the copies in it, where nothing else happens."""
_PATIENCE_S: Final = 5.0
"""How long the copies of a chain wait while it is being fetched: the daemon has enough to do then."""
_NOTE: Final = "copies"


class _Place(NamedTuple):
    """Up to which number the blocks of a chain were put, and its own ones pinned."""

    put: int = 0
    pinned: int = 0
    is_behind: int = 0
    """1 where content came after its block was put, and is not put yet: all is gone through again if that is cut off."""

    @classmethod
    def read(cls, note: bytes | None) -> _Place:
        return cls(*map(int, note.split())) if note else cls()

    def note(self) -> bytes:
        return b"%d %d %d" % self


@dataclass(slots=True)
class Copying:
    """The copies that a node keeps.

    Args:
        store: The node's; remembers how far each chain was copied.
        shared: The transport and the threads.
        exchange: The public chains.
        loop: The node's.
    """

    store: Store
    shared: Shared
    exchange: Exchange
    loop: Loop
    _changed: trio.Event = field(default_factory=trio.Event)
    _places: dict[BlockId, _Place] = field(default_factory=dict)  # how far each chain was copied to this daemon
    _due: set[BlockId] = field(default_factory=set)
    _given: set[Cid] = field(default_factory=set)
    _waiting: dict[BlockId, float] = field(default_factory=dict)  # chains that are being fetched, and until when
    _fetched: dict[Cid, BlockId] = field(default_factory=dict)
    _lost: set[BlockId] = field(default_factory=set)  # chains of which too much was fetched at once
    _dropped: deque[tuple[BlockId, list[Cid]]] = field(default_factory=deque)
    _is_tidy: bool = False
    _holder: str = ""

    def open(self, chain: Public) -> None:
        """A public chain is there: follows it. From any thread."""
        if self.shared.network.copies is not None:
            chain.engine.listen(partial(self._tell, chain.id))
            self.loop.post(partial(self._look_at, chain.id))

    def forget(self, id: BlockId) -> None:
        """A chain is gone: its copies need not stay. From any thread."""
        if self.shared.network.copies is not None:
            self.loop.post(partial(self._forget, id))

    def drop(self, id: BlockId, cids: list[Cid]) -> None:
        """Content of a chain was dropped here: where it is public, its copies need not stay. From any thread."""
        if self.shared.network.copies is not None and id in self.exchange:
            self.loop.post(partial(self._drop, id, cids))

    def is_copied(self, chain: Public) -> bool | None:
        """Whether all of a chain is there, and what is to be pinned is; None where nobody keeps copies. From any thread."""
        if self.shared.network.copies is None or chain.id not in self.exchange:
            return None
        place = self._places.get(chain.id, _Place())
        return min(place.put, place.pinned) >= chain.tables.last and not place.is_behind

    def _tell(self, id: BlockId, change: Change) -> None:
        match change:
            case Fetched(cids, missing=False) | Revised(cids):  # what was damaged and is whole again is revised
                self.loop.post(partial(self._note_fetched, id, tuple(cids)))
            case Arrived() | Synced():
                self.loop.post(partial(self._look_at, id))
            case _:
                pass

    # --- in the loop ---------------------------------------------------------------------------------------------

    def _look_at(self, id: BlockId) -> None:
        self._due.add(id)
        self._changed.set()

    def _forget(self, id: BlockId) -> None:
        self._places.pop(id, None)
        self._waiting.pop(id, None)
        self._is_tidy = False
        self._changed.set()

    def _drop(self, id: BlockId, cids: list[Cid]) -> None:
        self._given.difference_update(cids)
        self._dropped.append((id, cids))
        self._changed.set()

    def _note_fetched(self, id: BlockId, cids: tuple[Cid, ...]) -> None:
        if len(self._fetched) + len(cids) > _FETCHED_KEPT:
            self._lost.add(id)
            cids = cids[:1]
        self._fetched.update(dict.fromkeys(cids, id))
        self._changed.set()

    async def run(self) -> None:
        """Copies what there is and what comes, for ever; nothing where the transport keeps no copies."""
        copies, pause_s = self.shared.network.copies, _RETRY_S
        while copies is not None:
            self._changed = trio.Event()
            try:
                has_more = await self._copy_some(copies)
            except (UnavailableError, StorageError):
                _log.debug("copies cannot be kept now", exc_info=True)
                self._begin_anew()
                is_away = self.shared.network.failure is not None or not copies.holder
                # else it does not take something, and is asked ever more rarely
                pause_s = _RETRY_S if is_away else min(2 * pause_s, _LOOK_S)
                await trio.sleep(pause_s)
            else:
                pause_s = _RETRY_S
                if not has_more:
                    await self._rest(copies)

    async def _rest(self, copies: Copies) -> None:
        """Waits for something to do."""
        with trio.move_on_after(_PATIENCE_S if self._waiting else _LOOK_S) as nothing_new:
            await self._changed.wait()
        self._due.update(self._waiting)
        if nothing_new.cancelled_caught and not self._waiting:
            with suppress(UnavailableError):  # it is away: what is copied next finds out
                for id, place in tuple(self._places.items()):
                    if place.pinned and not await copies.is_pinned(id):
                        self._begin_anew()  # its repository was made anew

    def _begin_anew(self) -> None:
        """It may be another daemon, or an empty one, that comes back."""
        self._places.clear()
        self._given.clear()
        self._is_tidy = False
        self._due.update(chain.id for chain in self.exchange.chains())

    async def _copy_some(self, copies: Copies) -> bool:
        """Puts all that is new, and does a portion of the rest; says whether anything is left."""
        if copies.holder != self._holder:
            self._begin_anew()
            self._holder = copies.holder
        if not self._holder:
            raise UnavailableError("the daemon is not there yet")
        due = [chain for chain in self.exchange.chains() if chain.id in self._due]
        self._due.clear()
        failed = [await self._each(due, partial(step, copies)) for step in (self._put_new, self._pin_some)]
        await self._put_fetched(copies)
        while self._dropped:
            id, cids = self._dropped[0]
            holders = await self._holders(cids)
            await copies.unpin([cid for cid in cids if holders[cid] is None], _label(id))
            self._dropped.popleft()  # only now: the daemon may have been away
        if not self._is_tidy:
            self._is_tidy = True
            self._is_tidy = await self._clear_deleted(copies) and self._is_tidy
        for error in filter(None, failed):
            raise error
        return bool(self._due) or not self._is_tidy

    async def _each(self, due: Sequence[Public], step: Callable[[Public], Awaitable[None]]) -> WalytisError | None:
        """Takes a step for each of some chains; what fails for one keeps no other waiting, and is given back."""
        failed: WalytisError | None = None
        for chain in due:
            try:
                await step(chain)
            except (NotFoundError, ClosedError):  # it was deleted meanwhile: `forget` comes
                continue
            except (UnavailableError, StorageError) as error:  # it may be about this chain alone
                failed = error
        return failed

    # --- one chain -----------------------------------------------------------------------------------------------

    async def _put_new(self, copies: Copies, chain: Public) -> None:
        """Puts some of what came since the last time."""
        if chain.id not in self._places:
            self._places[chain.id] = await self._place_before(copies, chain.id)
        if chain.id not in self.exchange or self._must_wait(chain):
            return
        for _ in range(_PAGES_AT_ONCE):
            place = self._places.get(chain.id)
            rows = [] if place is None else await self._rows(chain, place.put)
            if place is None:
                return
            if not rows:
                if place.is_behind and chain.id not in self._fetched.values():
                    await self._moved(chain.id, place._replace(is_behind=0))
                return
            found = (copy for row in rows for copy in _copies_of(chain, row, self._given))
            some = _portions(found)
            while portion := await self.shared.workers.run(partial(next, some, None)):
                await copies.put(portion)
                self._given.update(cid for cid, _ in portion if cid[:4] != chain.id[:4])
            if len(self._given) > _GIVEN_KEPT:
                self._given.clear()
            await self._moved(chain.id, place._replace(put=rows[-1].number))  # so a note stands before the first pin
        self._due.add(chain.id)

    def _must_wait(self, chain: Public) -> bool:
        """Whether a chain is being fetched, and has not waited for long."""
        now = trio.current_time()
        if (
            chain.engine.replica.sync.turns.pulling is None
            or self._waiting.setdefault(chain.id, now + _PATIENCE_S) <= now
        ):
            self._waiting.pop(chain.id, None)
            return False
        return True

    async def _pin_some(self, copies: Copies, chain: Public) -> None:
        """Pins a portion of what was put and is this node's own; the rest is due."""
        place = self._places.get(chain.id)
        if place is None or place.pinned >= place.put:
            return
        rows = [row for row in await self._rows(chain, place.pinned) if row.number <= place.put]
        own = (row for row in rows if row.author == chain.author or row.id == chain.id)
        found = (copy for row in own for copy in _copies_of(chain, row, ()))
        some = _portions(found)
        while portion := await self.shared.workers.run(partial(next, some, None)):
            await copies.put(portion)  # the daemon may have cleared it away, and would look for it everywhere
            await copies.pin([cid for cid, _ in portion], _label(chain.id))
        await self._moved(chain.id, place._replace(pinned=rows[-1].number if rows else place.put))
        self._due.add(chain.id)

    async def _rows(self, chain: Public, after: int) -> list[Row]:
        return await self.shared.workers.run(partial(chain.tables.scan, after, _PAGE, _PAGE_BYTES))

    async def _moved(self, id: BlockId, place: _Place) -> None:
        if self.shared.network.copies is None or self.shared.network.copies.holder != self._holder:
            raise UnavailableError("another daemon has taken its place")
        if id in self._places and id in self.exchange:  # else it was deleted meanwhile
            self._places[id] = place
            await self.shared.workers.run(partial(self.store.put, self._key(id), place.note()))

    async def _place_before(self, copies: Copies, id: BlockId) -> _Place:
        """How far a chain was copied to this daemon in an earlier run."""
        place = _Place.read(await self.shared.workers.run(partial(self.store.get, self._key(id))))
        if not place.pinned or not await copies.is_pinned(id):
            return _Place()
        return place._replace(put=0) if place.is_behind else place

    def _key(self, id: BlockId) -> str:
        return f"{_NOTE}/{self._holder}/{_label(id)}"

    # --- the rest ------------------------------------------------------------------------------------------------

    async def _clear_deleted(self, copies: Copies) -> bool:
        """Takes a portion of the pins of chains away that are not held any more; says whether that was all."""
        prefix = f"{_NOTE}/{self._holder}/"
        notes = await self.shared.workers.run(partial(self.store.items, prefix))
        held = {_label(chain.id) for chain in self.exchange.chains()}
        for key, _ in notes:
            label = key.removeprefix(prefix)
            if label not in held:
                if cids := await copies.pins(label, _UNPINNED_AT_ONCE):
                    await self._release(copies, cids, label)
                    return False
                await self.shared.workers.run(partial(self.store.put, key, None))
        return True

    async def _release(self, copies: Copies, cids: Sequence[Cid], label: str) -> None:
        """Takes pins of a label away; what another public chain holds gets the label of that one."""
        holders = await self._holders(cids)
        for id in {id for id in holders.values() if id is not None}:
            await copies.pin([cid for cid in cids if holders[cid] == id], _label(id))
        await copies.unpin([cid for cid in cids if holders[cid] is None], label)

    async def _holders(self, cids: Sequence[Cid]) -> dict[Cid, BlockId | None]:
        return await self.shared.workers.run(lambda: {cid: self.exchange.holder(cid) for cid in cids})

    async def _put_fetched(self, copies: Copies) -> None:
        """Content that came after its block was put; where that is cut off, the chain is gone through again."""
        ids = set(self._fetched.values()) & self._places.keys()
        for id in ids:
            await self._moved(id, self._places[id]._replace(is_behind=1))
        try:
            while self._fetched:
                cid = next(iter(self._fetched))
                data = await self.exchange.give(cid)
                if data is not None:
                    await copies.put([(cid, data)])
                self._fetched.pop(cid, None)
        except UnavailableError:
            self._fetched.clear()  # it may be a node that is none: those are passed over when all is gone through
            raise
        for id in ids & self._places.keys():
            is_lost, place = id in self._lost, self._places[id]
            self._lost.discard(id)
            await self._moved(id, place._replace(put=0 if is_lost else place.put, is_behind=0))
            if is_lost:
                self._due.add(id)


def _label(id: BlockId) -> str:
    return f"walytis-{id}"


def _copies_of(chain: Public, row: Row, given: Collection[Cid]) -> Iterator[tuple[Cid, bytes]]:
    """A block, and the pieces of its long content that are held: pieces first, so that no link leads nowhere.

    Content whose root was given before is left out.
    """
    wanted = decode(row.encoded, row.id).content
    if wanted is not None and wanted.link not in given:
        try:
            for piece in content.distinct(wanted, chain.tables.side, set()):
                data = chain.tables.unlabelled_side(piece.cid)
                if data is not None and _is_sound(piece, data):
                    yield piece.cid, data
        except RemoteError:  # its author gave it a form that cannot be read
            _log.debug("long content of a public chain has no form", exc_info=True)
    yield row.id, row.encoded


def _is_sound(piece: content.Piece, data: bytes) -> bool:
    """Whether bytes are this piece: a daemon takes no page with a node in it that it cannot read."""
    try:
        content.check(piece, data)
    except RemoteError:
        return False
    return True


def _portions(found: Iterator[tuple[Cid, bytes]]) -> Iterator[tuple[tuple[Cid, bytes], ...]]:
    return portions(found, lambda copy: len(copy[1]), _PAGE, _PAGE_BYTES)
