"""The peers that a chain knows, and where they were reached: its address book, kept in the chain's store.

Invariants: what may be worth a dial after a restart is on the disk soon after it was learnt, and a burst of news costs one
write; before the kept book was read nothing is written, so a disk that refuses then costs no addresses; a refusing
disk costs the book and nothing else. Whom to dial, and when, is decided in `addresses.py`. All of it runs in the loop.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Final

import trio

from walytis_core import cbor
from walytis_core.addresses import AddressBook
from walytis_core.errors import ClosedError, NotFoundError, RemoteError, StorageError
from walytis_core.messages import Peers
from walytis_core.store.port import ChainStore
from walytis_core.workers import Lane

_jitter: Final = Random().random  # noqa: S311 - spreads load; nothing secret hangs on it
_KEY: Final = "peers"
_PAUSE_S: Final = 1.0
"""From one write to the next, so that news that come together are written together."""


class KnownPeers:
    """The peers of one chain.

    Args:
        store: Keeps the book.
        workers: Threads that read and write it.
    """

    def __init__(self, store: ChainStore, workers: Lane) -> None:
        self.book = AddressBook()
        self.is_read = False
        self._store = store
        self._workers = workers
        self._kept = self.book.places()
        self._changed = trio.Event()

    # --- what happened -----------------------------------------------------------------------------------------------

    def learn(self, peer: str, addresses: Sequence[str]) -> None:
        """Addresses of a peer are known, by itself or by who invited us."""
        self.book.learn(peer, addresses, time.time())
        self._changed.set()

    def hear(self, teller: str, message: Peers, own: str) -> None:
        """A peer told of others; which addresses are sound, and how many are taken, is for the book to say."""
        for peer, addresses in message.peers:
            if peer != own:
                self.book.hear(teller, peer, addresses, time.time())

    def dialled(self, peer: str, address: str | None, began: float) -> None:
        """A peer answered at an address; `began` is when it was dialled."""
        self.book.connected(peer, address, time.time(), round_trip_s=time.time() - began)
        self._changed.set()

    def failed(self, peer: str) -> None:
        """A peer answered at none of its addresses."""
        self.book.failed(peer, time.time(), jitter=_jitter())

    def came(self, peer: str) -> None:
        """A peer is connected."""
        self.book.connected(peer, None, time.time())

    def moved(self, peer: str, is_there: bool) -> None:
        """Somebody connected or is gone, who may be a peer of this chain."""
        if peer not in self.book:
            return
        if is_there:
            self.came(peer)
        else:
            self.book.disconnected(peer, time.time(), jitter=_jitter())

    def due(self) -> Sequence[tuple[str, Sequence[str]]]:
        """The peers to dial now, each with its addresses, best first."""
        return self.book.due(time.time())

    # --- keeping them ------------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Takes in what was kept."""
        try:
            data = await self._workers.run(self._read)
        except (StorageError, ClosedError, NotFoundError):
            return
        self._kept = AddressBook.from_data(data).places()
        self.book.restore(data)
        self.is_read = True

    async def keep(self) -> None:
        """Writes what is new, for as long as the chain runs; how known addresses fared since may be lost."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            places = self.book.places()
            if places != self._kept and await self._is_written(self.book.to_data()):
                self._kept = places
            await trio.sleep(_PAUSE_S)

    def close(self) -> None:
        """Writes all that is known by now; the chain ends."""
        self._write(self.book.to_data())

    async def _is_written(self, data: list[list[object]]) -> bool:
        try:
            return await self._workers.run(partial(self._write, data))
        except ClosedError:  # the node is being closed
            return False

    def _read(self) -> object:
        data = self._store.get(_KEY)
        try:
            return [] if data is None else cbor.decode(data, max_bytes=1 << 22, max_depth=5)
        except RemoteError:
            return []

    def _write(self, data: list[list[object]]) -> bool:
        if not self.is_read:
            return False
        try:
            self._store.put(_KEY, cbor.encode(data))  # type: ignore[arg-type]
        except (StorageError, NotFoundError):  # the disk refuses, or the chain was just deleted
            return False
        return True
