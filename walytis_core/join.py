"""A join under way: asks the inviter until it answers, then waits for the first sync. Runs in the node's loop.

Invariant: a join that fails or is cancelled leaves nothing behind.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from walytis_core.admission import ask_to_join
from walytis_core.chain import Chain
from walytis_core.errors import ClosedError, JoinError, NotFoundError, UnavailableError, WalytisError
from walytis_core.events import Change, Progress, Synced
from walytis_core.invitation import Invitation
from walytis_core.joining import Grant
from walytis_core.pending import Pending
from walytis_core.registry import OwnKey, Registry
from walytis_core.service import Service

_RETRY_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)


class Join:
    """A join under way; runs in the loop.

    Args:
        registry: Takes the chain in.
        service: The node on the network.
        ticket: The invitation.
        name: The chain's name here; None for the suggested one.
        key: The node is to write the chain with it.
    """

    def __init__(self, registry: Registry, service: Service, ticket: Invitation, name: str | None, key: OwnKey) -> None:
        self.pending = Pending[Chain](on_cancel=self._undo)
        self._registry = registry
        self._service = service
        self._ticket = ticket
        self._name = name
        self._key = key
        self._chain: Chain | None = None
        self._adopting = threading.Lock()
        self._is_undone = False

    async def run(self) -> None:
        """Asks until the issuer answers, then waits for the first sync."""
        try:
            grant, peer = await self._ask()
            if self.pending.done():
                return
            chain = await self._service.shared.workers.run(partial(self._adopt, grant, peer))
            self._watch(chain, peer, grant.blocks)
            self._service.introduce(chain.id, peer, self._ticket.addresses)
        except WalytisError as error:
            self.pending.fail(error)

    async def _ask(self) -> tuple[Grant, str]:
        tries = 0
        while not self.pending.done():
            if not tries:
                self.pending.report(0, 0, "asking the inviter")
            try:
                return await self._ask_once()
            except UnavailableError as error:
                self.pending.report(0, 0, f"waiting for the inviter to come online: {error}")
            await trio.sleep(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
            tries += 1
            if self._ticket.expires is not None and self._ticket.expires <= time.time():
                raise JoinError("the invitation expired while the inviter was away")
        raise ClosedError("the join was cancelled")

    async def _ask_once(self) -> tuple[Grant, str]:
        shared, author = self._service.shared, self._key.signer
        peer = await self._service.connect(self._ticket.addresses)
        return await ask_to_join(shared.network, peer, self._ticket, shared.node, author), peer

    def _watch(self, chain: Chain, issuer: str, known: int) -> None:
        """Resolves the join at the first sync with the issuer."""

        def tell(change: Change) -> None:
            match change:
                case Progress(_, held, more):
                    self.pending.report(held, max(known, more), "fetching blocks")
                case Synced(peer, equal) if equal or peer == issuer:
                    self.pending.report(len(chain), len(chain), "joined")
                    self.pending.resolve(chain)
                    stop()

        self.pending.report(0, known, "opening a stream to the inviter")
        stop = chain.engine.listen(tell)

    def _adopt(self, grant: Grant, peer: str) -> Chain:
        with self._adopting:
            if self._is_undone:
                raise ClosedError("the join was cancelled")
            self._chain = self._registry.adopt(grant, peer, self._name or grant.name, self._key)
            return self._chain

    def _undo(self) -> None:
        """Waits for what is being added, so that nothing is there once `cancel` returns."""
        with self._adopting:
            self._is_undone = True
            chain, self._chain = self._chain, None
        if chain is not None:
            with suppress(NotFoundError, ClosedError):  # its user was quicker, or the node has ended
                self._registry.delete(chain)
