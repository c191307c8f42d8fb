"""A fetch under way: of long content, a portion at a time, and of one object that a layer keeps. Runs in the node's loop.

The chain's peers are asked first; where none of them has it and the chain is public, anyone who is connected. Which peer is asked is decided in `fetching.py`; which pieces belong to the content in `content.py`. What was fetched before
a cut stays, so a fetch that is begun again goes on where the last one ended. An object is asked of the chain's peers alone,
of those with a stream first, of others one by one then, and of whoever comes later: it belongs to no block, and the peer that has it may be away.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from walytis_core import content
from walytis_core.block import Block
from walytis_core.cid import Cid
from walytis_core.errors import RemoteError, WalytisError
from walytis_core.events import Change, Fetch, Fetched, Met, Synced
from walytis_core.exchange import Exchange
from walytis_core.loop import Loop
from walytis_core.pending import Pending
from walytis_core.service import Service
from walytis_core.workers import Workers

if TYPE_CHECKING:
    from walytis_core.chain import Chain
    from walytis_core.keeping import Keeping

_FETCH_AT_ONCE: Final = 64
_AGAIN_S: Final = 0.5
"""When peers that lacked an object are asked again, at first; each time after twice as long."""
_AGAIN_MOST_S: Final = 60.0


class ContentFetch:
    """A fetch of long content under way; runs in the loop."""

    def __init__(self, workers: Workers, loop: Loop, exchange: Exchange, chain: Chain, block: Block) -> None:
        self.pending = Pending[Block]()
        self._workers = workers
        self._loop = loop
        self._exchange = exchange
        self._chain = chain
        self._block = block
        self._from = 0  # before this offset everything is held
        self._waits: set[Cid] = set()
        self._lacking = False
        self._changed = trio.Event()

    async def run(self) -> None:
        """Asks for what is missing, a portion at a time, until all is held."""
        wanted = self._block.content
        if wanted is None:
            self.pending.resolve(self._block)
            return
        stop = self._chain.engine.listen(self._tell)
        try:
            total, done = content.total_pieces(wanted), await self._workers.run(self._held)
            while not self.pending.done():
                portion = await self._workers.run(self._portion)
                if not portion:
                    self.pending.report(total, total, "fetched")
                    self.pending.resolve(self._chain.block(self._block.id))
                    return
                self.pending.report(done, total, "fetching content")
                await self._get(portion)
                done += len(portion)
                if self._lacking:
                    self._lacking = False
                    await self._exchange.fetch_content(self._chain, await self._workers.run(self._portion))
        except RemoteError:  # nobody has it, by what its author says of it
            self.pending.fail(content.impossible())
        except WalytisError as error:
            self.pending.fail(error)
        finally:
            stop()

    def _held(self) -> int:
        wanted = self._block.content
        assert wanted is not None
        tables = self._chain.tables
        return sum(bool(tables.has_side([piece.cid])) for piece in content.pieces(wanted, tables.side))

    def _portion(self) -> list[Cid]:
        tables = self._chain.tables
        wanted = self._block.content
        assert wanted is not None
        found: list[content.Piece] = []
        for piece in content.missing(wanted, self._is_sound, tables.side, self._from):
            found.append(piece)
            if len(found) == _FETCH_AT_ONCE:
                break
        self._from = found[0].offset if found else 0
        return [piece.cid for piece in found]

    def _is_sound(self, cid: Cid) -> bool:
        """Whether a leaf is held and undamaged: what the disk has spoilt is fetched again."""
        data = self._chain.tables.side(cid)
        return data is not None and Cid.of(data, bytes(cid[:4])) == cid

    async def _get(self, portion: list[Cid]) -> None:
        self._waits = set(portion)
        self._changed = trio.Event()
        await self._workers.run(partial(self._chain.engine.handle, Fetch(tuple(portion))))
        await self._changed.wait()

    def _tell(self, change: Change) -> None:
        if isinstance(change, Fetched) and self._waits & set(change.cids):
            self._loop.post(partial(self._got, change))

    def _got(self, change: Fetched) -> None:
        self._lacking = self._lacking or change.missing
        self._waits.difference_update(change.cids)
        if not self._waits or self._lacking:
            self._changed.set()


class KeptFetch:
    """A fetch of an object under way; runs in the loop until the object is held, or nobody waits for it any more."""

    def __init__(self, service: Service, loop: Loop, chain: Keeping, cid: Cid, readers: str) -> None:
        self.pending = Pending[bytes](on_cancel=partial(loop.post, self._wake))
        self._service = service
        self._workers = service.shared.workers
        self._loop = loop
        self._chain = chain
        self._cid = cid
        self._readers = readers
        self._news = trio.Event()

    async def run(self) -> None:
        """Asks who is there, and again when somebody comes or may have got it meanwhile."""
        stop = self._chain.engine.listen(self._tell)
        again_s = _AGAIN_S
        try:
            while not self.pending.done():
                data = await self._workers.run(self._held)
                if data is not None:
                    self.pending.resolve(data)
                    return
                self._news = trio.Event()
                self.pending.report(0, 1, "asking the chain's peers")
                await self._workers.run(partial(self._chain.engine.handle, Fetch((self._cid,), self._readers)))
                with trio.move_on_after(again_s) as waiting:
                    await self._news.wait()
                if waiting.cancelled_caught:
                    self._service.meet_another(self._chain.engine.genesis.id)
                    again_s = min(2 * again_s, _AGAIN_MOST_S)
        except WalytisError as error:
            self.pending.fail(error)
        finally:
            stop()

    def _held(self) -> bytes | None:
        data = self._chain.kept(self._cid)
        if data is not None and self._chain.tables.side_label(self._cid) != self._readers:
            self._chain.keep(data, self._readers)  # it came as content of a block
        return data

    def _tell(self, change: Change) -> None:
        is_here = isinstance(change, Fetched) and not change.missing and self._cid in change.cids
        if is_here or isinstance(change, Met | Synced):  # who lacked it, or did not know of us, may have heard
            self._loop.post(self._wake)

    def _wake(self) -> None:
        self._news.set()
