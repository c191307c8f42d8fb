"""Blocks of public chains by CID: what anyone may fetch from this node, and what it fetches from anyone.

Invariants: only chains that everyone may read are given from, and of their side stores only what bears no label of readers;
what comes is checked against its CID, and goes the way of every block. Which of a chain's peers holds what is not asked here
(`missing.py`, `fetching.py`): this is where one looks when none of them has it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from random import sample
from typing import Final, Protocol

import trio

from walytis_core.cid import BlockId, Cid
from walytis_core.engine import Engine
from walytis_core.errors import ClosedError, NotFoundError, StorageError, UnavailableError, WalytisError
from walytis_core.events import Came
from walytis_core.messages import Why
from walytis_core.policy import EVERYONE, Policy
from walytis_core.screening import screen
from walytis_core.shared import Shared
from walytis_core.store.port import ChainStore, Store

_log = logging.getLogger(__name__)
_AT_ONCE: Final = 8
"""Blocks fetched at the same time."""
_REPAIR_S: Final = 30.0
"""How often blocks that are damaged here are looked for."""
_REPAIRED_AT_ONCE: Final = 64


class Public(Protocol):
    """What is asked of a chain here."""

    @property
    def id(self) -> BlockId:
        """Its id."""
        ...

    @property
    def policy(self) -> Policy:
        """Who may read it."""
        ...

    @property
    def author(self) -> bytes:
        """The key that this node writes with."""
        ...

    engine: Engine
    tables: ChainStore


class Exchange:
    """The public chains of a node, by CID.

    Args:
        store: Holds them.
        shared: The transport and the threads.
    """

    def __init__(self, store: Store, shared: Shared) -> None:
        self._store = store
        self._shared = shared
        self._chains: dict[BlockId, Public] = {}

    def open(self, chain: Public) -> None:
        """A chain is there; one that not everyone may read is never offered. From any thread."""
        if chain.policy.readers == EVERYONE:
            self._chains[chain.id] = chain

    def forget(self, id: BlockId) -> None:
        """A chain is gone. From any thread."""
        self._chains.pop(id, None)

    def __contains__(self, id: BlockId) -> bool:
        return id in self._chains

    def chains(self) -> Sequence[Public]:
        """The public chains."""
        return tuple(self._chains.copy().values())

    def holder(self, cid: Cid) -> BlockId | None:
        """A public chain that holds this; None where there is none. Reads the store."""
        return next((id for id in self._store.holding(cid) if id in self._chains), None)

    # --- giving --------------------------------------------------------------------------------------------------

    async def give(self, cid: Cid) -> bytes | None:
        """The bytes of a block or a piece of content of a public chain; None where there is none, or the disk does not give it."""
        if not self._chains:
            return None
        try:
            return await self._shared.workers.run(partial(self._read, cid))
        except (StorageError, ClosedError):
            _log.debug("a block cannot be read", exc_info=True)
            return None

    def _read(self, cid: Cid) -> bytes | None:
        for id in self._store.holding(cid):
            chain = self._chains.get(id)
            if chain is None:
                continue
            try:
                data = chain.tables.encoded([cid]).get(cid) or chain.tables.unlabelled_side(cid)
            except NotFoundError:  # it was deleted meanwhile
                continue
            if data is not None and Cid.of(data, bytes(cid[:4])) == cid:
                return data
        return None

    # --- fetching ------------------------------------------------------------------------------------------------

    async def fetch_content(self, chain: Public, cids: Sequence[Cid]) -> None:
        """Fetches pieces of a public chain's content from anyone who is connected.

        Raises:
            UnavailableError: The chain is not public, or nobody has one of them.
            StorageError: The disk does not take one.
        """
        if chain.id not in self:
            raise UnavailableError("nobody who is online has this content")
        turn = trio.CapacityLimiter(_AT_ONCE)
        failed: list[WalytisError] = []

        async def get(cid: Cid) -> None:
            async with turn:
                if not failed:
                    try:
                        data = await self._shared.network.fetch(cid)
                        await self._shared.workers.run(partial(chain.engine.keep, cid, data))
                    except WalytisError as error:
                        failed.append(error)

        async with trio.open_nursery() as nursery:
            for cid in cids:
                nursery.start_soon(get, cid)
        if failed and isinstance(failed[0], UnavailableError):
            raise UnavailableError("nobody who is online has this content") from failed[0]
        if failed:
            raise failed[0]

    async def repair(self) -> None:
        """Fetches, now and then and for ever, the blocks of public chains that are damaged here."""
        while True:
            await trio.sleep(_REPAIR_S)
            for chain in self.chains():
                await self.repair_chain(chain)

    async def repair_chain(self, chain: Public) -> None:
        """Fetches the blocks of one public chain that are damaged here, as far as they can be had now."""
        workers, network = self._shared.workers, self._shared.network
        try:
            corrupt = await workers.run(chain.tables.corrupt)
            for id in sample(corrupt, min(len(corrupt), _REPAIRED_AT_ONCE)):  # not always those that nobody has
                with suppress(UnavailableError):  # the next one may be to be had
                    encoded = await network.fetch(id)
                    came = Came(network.peer_id, Why.ASKED, screen([encoded], chain.engine.known), gossip=True)
                    await workers.run(partial(chain.engine.handle, came))
        except (NotFoundError, StorageError, ClosedError):
            _log.debug("damaged blocks of a public chain cannot be repaired now", exc_info=True)
