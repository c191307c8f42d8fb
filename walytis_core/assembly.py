"""Puts the chains of a node to work, each from its tables: engine, author, handle, layers, and its part on the network.

Invariants: a chain whose first block or whose keys are damaged is not put to work; one whose secret is lost meets nobody;
the chains of a node share one parking budget. What a chain is called, and whether it is held, is for `registry.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from random import random

from walytis_core.authors import OwnAuthor
from walytis_core.block import decode
from walytis_core.chain import Chain
from walytis_core.chain_keys import ChainSecrets
from walytis_core.chain_service import ChainService, LoopOutlet
from walytis_core.cid import BlockId
from walytis_core.engine import Engine
from walytis_core.errors import ClosedError, NotFoundError, RemoteError, StorageError
from walytis_core.events import Arrived, Change, Revised
from walytis_core.home import Home
from walytis_core.keys import Keys
from walytis_core.layer import Layer
from walytis_core.membership import Circle, Membership
from walytis_core.parking import Budget
from walytis_core.policy import EVERYONE, SECRET, Genesis, Policy, read_genesis
from walytis_core.seals import ChainKeys
from walytis_core.signer import Signer
from walytis_core.store.port import ChainStore


class Assembly:
    """The chains of a node that are at work.

    Args:
        home: The node, as its chains know it.
        keys: Where the keys are that this node writes with.
        secrets: The chains' secrets.
        layers: Judge blocks.
        membership: Who may read chains that the members of an identity read.
    """

    def __init__(
        self, home: Home, keys: Keys, secrets: ChainSecrets, layers: Sequence[Layer], membership: Membership
    ) -> None:
        self.chains: dict[BlockId, Chain] = {}
        self._home = home
        self._keys = keys
        self._secrets = secrets
        self._layers = tuple(layers)
        self._membership = membership
        self._budget = Budget(lock=threading.Lock())

    def open(self, tables: ChainStore, signer: Signer | None, *, is_copy: bool = False) -> Chain:
        """Puts a chain to work.

        Args:
            tables: The chain's tables.
            signer: Writes it; None for the key that is kept here.
            is_copy: Whether the tables were restored from a copy.

        Raises:
            StorageError: Its first block or a key is damaged.
        """
        home, service, id = self._home, self._home.service, tables.id
        genesis = _genesis_of(tables)
        outlet = LoopOutlet(home.life.loop, service.chains, service.fault, id)
        engine = Engine(genesis, tables, outlet, random, self._budget)
        known = partial(service.known_peers_of, id)
        author = OwnAuthor(genesis, tables, self._keys, signer, is_copy=is_copy, known_peers=known)
        chain = Chain(home, engine, author, self._layers, self._tables_of)
        engine.listen(partial(self._tell_others, id))
        keys, circle = self._keys_of(id, genesis.policy), self._circle_of(genesis.policy)
        home.opened(chain)
        self.chains[id] = chain
        self._resolve(id)
        home.life.loop.post(lambda: service.add(ChainService(service.shared, engine, keys, circle)))
        return chain

    def take_out(self, id: BlockId) -> None:
        """Ends a chain's part in the node; its handle is closed by who holds it."""
        self.chains.pop(id, None)
        self._home.forget(id)
        self._home.life.loop.post(partial(self._home.service.remove, id))

    def _keys_of(self, id: BlockId, policy: Policy) -> Sequence[ChainKeys]:
        """The keys of a chain, before members of an identity were asked for theirs. Its id alone must open no other."""
        if policy.is_public:
            return (ChainKeys(id),)
        secret = self._secrets.secret(id) if policy.readers == SECRET else None
        return () if secret is None else (ChainKeys(id, secret),)

    def _circle_of(self, policy: Policy) -> Circle | None:
        """Those whose members may read; None where the chain's key is the only right to read."""
        return None if policy.readers in (EVERYONE, SECRET) else Circle(self._membership, policy.readers)

    # --- what chains have of each other ------------------------------------------------------------------------------

    def _tables_of(self, id: BlockId) -> ChainStore | None:
        chain = self.chains.get(id)
        return None if chain is None else chain.tables

    def _tell_others(self, id: BlockId, change: Change) -> None:
        """What waits for this chain on others is checked again, outside this chain's lock."""
        if isinstance(change, Arrived | Revised):  # or had some healed
            for chain in tuple(self.chains.values()):
                if chain.id != id and chain.judging.asks_others:
                    self._home.life.loop.spawn(partial(self._tell, chain, id))

    def _resolve(self, id: BlockId) -> None:
        """A chain has come that may hold blocks: what waits for it on those that came before is checked again."""
        for chain in tuple(self.chains.values()):
            if chain.id != id and chain.judging.asks_others:
                with suppress(StorageError):
                    chain.judging.resolved(id)

    async def _tell(self, chain: Chain, other: BlockId) -> None:
        """Another chain took blocks; what a refusing disk or a deleted chain leaves undone here is not worth the node."""
        with suppress(StorageError, ClosedError, NotFoundError):
            await self._home.service.shared.workers.run(partial(chain.judging.resolved, other))


def _genesis_of(tables: ChainStore) -> Genesis:
    """The first block, checked against its id. Raises `StorageError` when it is damaged."""
    encoded = tables.encoded([tables.id]).get(tables.id)
    try:
        block = None if encoded is None else decode(encoded)
        if block is not None and block.id == tables.id:
            return read_genesis(block)
    except RemoteError as error:
        raise _damaged_genesis() from error
    raise _damaged_genesis()


def _damaged_genesis() -> StorageError:
    return StorageError(
        "the chain's first block is damaged", hint="Restore a backup; or delete the chain here, and join it again."
    )
