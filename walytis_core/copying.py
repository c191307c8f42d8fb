"""Keeps copies of public chains where others fetch them: in an IPFS daemon that serves blocks by CID for this node.

What this node wrote is pinned there, with the chain's genesis; the rest is put there, for whoever walks the chain. Invariants:
how far a chain was copied is written down behind the copies, so that a crash copies twice and leaves nothing out; only public
chains are copied; the pins of a chain go when it is no longer held here, even if the daemon is away when it is deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from walytis_core import content
from walytis_core.block import decode
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import ClosedError, NotFoundError, RemoteError, StorageError, UnavailableError
from walytis_core.events import Arrived, Change, Fetched, Synced
from walytis_core.exchange import Exchange
from walytis_core.loop import Loop
from walytis_core.network.port import Copies
from walytis_core.shared import Shared
from walytis_core.store.port import Store

if TYPE_CHECKING:
    from walytis_core.chain import Chain

_log = logging.getLogger(__name__)
_PAGE: Final = 128
_PAGE_BYTES: Final = 1 << 20
_FETCHED_KEPT: Final = 8192
"""Pieces of content that came after their block was copied, and wait for their turn."""
_RETRY_S: Final = 2.0
_LOOK_S: Final = 60.0
"""How often it is seen whether it is another daemon, where nothing else happens."""
_NOTE: Final = "copies"


class _Copy(NamedTuple):
    cid: Cid
    data: bytes
    is_own: bool


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
    _at: dict[BlockId, int] = field(default_factory=dict)  # how far each chain was copied to this daemon
    _due: set[BlockId] = field(default_factory=set)
    _fetched: dict[Cid, BlockId] = field(default_factory=dict)
    _dropped: list[Cid] = field(default_factory=list)
    _is_tidy: bool = False
    _holder: str = ""

    def open(self, chain: Chain) -> None:
        """A public chain is there: follows it. From any thread."""
        if self.shared.network.copies is not None:
            chain.engine.listen(partial(self._tell, chain.id))
            self.loop.post(partial(self._look_at, chain.id))

    def forget(self, id: BlockId) -> None:
        """A chain is gone: its copies need not stay. From any thread."""
        if self.shared.network.copies is not None:
            self.loop.post(partial(self._forget, id))

    def drop(self, cids: list[Cid]) -> None:
        """Content was dropped here: its copies need not stay. From any thread."""
        if self.shared.network.copies is not None:
            self.loop.post(partial(self._drop, cids))

    def _tell(self, id: BlockId, change: Change) -> None:
        match change:
            case Fetched(cids, missing=False):
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
        self._at.pop(id, None)
        self._is_tidy = False
        self._changed.set()

    def _drop(self, cids: list[Cid]) -> None:
        self._dropped.extend(cids)
        self._changed.set()

    def _note_fetched(self, id: BlockId, cids: tuple[Cid, ...]) -> None:
        for cid in cids[: _FETCHED_KEPT - len(self._fetched)]:
            self._fetched[cid] = id
        self._changed.set()

    async def run(self) -> None:
        """Copies what there is and what comes, for ever; nothing where the transport keeps no copies."""
        copies, pause_s = self.shared.network.copies, _RETRY_S
        while copies is not None:
            self._changed = trio.Event()
            try:
                await self._copy_all(copies)
            except (UnavailableError, StorageError):
                _log.debug("copies cannot be kept now", exc_info=True)
                self._begin_anew()
                is_away = (
                    self.shared.network.failure is not None
                )  # else it does not take something: ever more rarely asked
                pause_s = _RETRY_S if is_away else min(2 * pause_s, _LOOK_S)
                await trio.sleep(pause_s)
            else:
                pause_s = _RETRY_S
                with trio.move_on_after(_LOOK_S):
                    await self._changed.wait()

    def _begin_anew(self) -> None:
        """It may be another daemon, or an empty one, that comes back."""
        self._at.clear()
        self._is_tidy = False
        self._due.update(chain.id for chain in self.exchange.chains())

    async def _copy_all(self, copies: Copies) -> None:
        if copies.holder != self._holder:
            self._begin_anew()
            self._holder = copies.holder
        if not self._holder:
            raise UnavailableError("the daemon is not there yet")
        if not self._is_tidy:
            self._is_tidy = True
            await self._clear_deleted(copies)
        await self._copy_due(copies)
        while self._fetched:
            await self._copy_fetched(copies)
        if self._dropped:
            dropped = tuple(self._dropped)
            await copies.unpin(dropped)
            del self._dropped[: len(dropped)]  # only now: the daemon may have been away

    async def _copy_due(self, copies: Copies) -> None:
        """Goes through the chains that may have something new; what fails for one does not keep the others waiting."""
        failed: UnavailableError | None = None
        for chain in self.exchange.chains():
            if chain.id in self._due:
                self._due.discard(chain.id)
                try:
                    await self._copy_chain(copies, chain)
                except (NotFoundError, ClosedError):  # it was deleted meanwhile: `forget` comes
                    continue
                except UnavailableError as error:  # it may be about this chain alone
                    failed = error
        if failed is not None:
            raise failed

    async def _clear_deleted(self, copies: Copies) -> None:
        """Takes the pins of chains away that are not held any more."""
        prefix = f"{_NOTE}/{copies.holder}/"
        notes = await self.shared.workers.run(partial(self.store.items, prefix))
        held = {_label(chain.id) for chain in self.exchange.chains()}
        for key, _ in notes:
            label = key.removeprefix(prefix)
            if label not in held:
                await copies.unpin_all(label)
                await self.shared.workers.run(partial(self.store.put, key, None))

    async def _copy_chain(self, copies: Copies, chain: Chain) -> None:
        workers, key = self.shared.workers, f"{_NOTE}/{copies.holder}/{_label(chain.id)}"
        if chain.id not in self._at:
            self._at[chain.id] = await self._copied_before(copies, chain, key)
        while chain.id in self._at and chain.engine.replica.sync.turns.pulling is None:  # else at its end
            rows = await workers.run(partial(chain.tables.scan, self._at[chain.id], _PAGE, _PAGE_BYTES))
            if not rows:
                return
            found = (copy for row in rows for copy in _copies_of(chain, row.id, row.encoded, row.author))
            while portion := await workers.run(partial(_take, found)):
                for is_own in (True, False):
                    blocks = [(copy.cid, copy.data) for copy in portion if copy.is_own is is_own]
                    if blocks:
                        await copies.put(blocks, label=_label(chain.id), pin=is_own)
            if chain.id in self._at:  # else it was deleted meanwhile
                self._at[chain.id] = rows[-1].number
                await workers.run(partial(self.store.put, key, b"%d" % rows[-1].number))

    async def _copied_before(self, copies: Copies, chain: Chain, key: str) -> int:
        """How far a chain was copied to this daemon in an earlier run."""
        workers = self.shared.workers
        at = int(await workers.run(partial(self.store.get, key)) or 0)
        if at and await copies.is_pinned(chain.id):
            return at
        await workers.run(partial(self.store.put, key, b"0"))  # from now on there may be pins to take away
        return 0

    async def _copy_fetched(self, copies: Copies) -> None:
        """Content that came after its block was copied; a node that is none is passed over."""
        cid, id = next(iter(self._fetched.items()))
        data = await self.exchange.give(cid)
        try:
            if data is not None:
                await copies.put([(cid, data)], label=_label(id), pin=False)
        except UnavailableError:
            if self.shared.network.failure is not None:
                raise
            _log.debug("the daemon does not take a piece of content", exc_info=True)
        self._fetched.pop(cid, None)


def _label(id: BlockId) -> str:
    return f"walytis-{id}"


def _copies_of(chain: Chain, id: BlockId, encoded: bytes, author: bytes) -> Iterator[_Copy]:
    """A block, and the pieces of its long content that are held: pieces first, so that no link leads nowhere."""
    is_own = author == chain.author or id == chain.id
    wanted = decode(encoded, id).content
    if wanted is not None:
        try:
            for piece in content.pieces(wanted, chain.tables.side):
                data = chain.tables.unlabelled_side(piece.cid)
                if data is not None and _is_sound(piece, data):
                    yield _Copy(piece.cid, data, is_own)
        except RemoteError:  # its author gave it a form that cannot be read
            _log.debug("long content of a public chain has no form", exc_info=True)
    yield _Copy(id, encoded, is_own)


def _is_sound(piece: content.Piece, data: bytes) -> bool:
    """Whether bytes are this piece: a daemon takes no page with a node in it that it cannot read."""
    try:
        content.check(piece, data)
    except RemoteError:
        return False
    return True


def _take(found: Iterator[_Copy]) -> list[_Copy]:
    """The next copies, about a megabyte of them."""
    taken: list[_Copy] = []
    size = 0
    for copy in islice(found, _PAGE):
        taken.append(copy)
        size += len(copy.data)
        if size >= _PAGE_BYTES:
            break
    return taken
