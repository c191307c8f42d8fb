"""A join under way: asks the inviter until it answers, then waits for the first sync. Runs in the node's loop.

Invariant: a join that fails or is cancelled leaves nothing behind.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, TypeVar

import trio

from walytis_core.chain import Chain
from walytis_core.errors import ClosedError, JoinError, NotFoundError, UnavailableError, WalytisError
from walytis_core.events import Change, Progress, Synced
from walytis_core.invitation import Invitation
from walytis_core.joining import Grant
from walytis_core.pending import Pending
from walytis_core.signer import Ed25519Signer, Signer

T = TypeVar("T")

_RETRY_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)


class Home(Protocol):
    """What a join needs of its node."""

    async def ask_issuer(self, ticket: Invitation, author: Signer) -> tuple[Grant, str]:
        """Asks the issuer to be let in; gives the grant and the issuer's peer id."""
        ...

    def adopt(self, grant: Grant, issuer: str, name: str, seed: bytes | None, signer: Signer | None) -> Chain:
        """Adds the chain of a grant: all of it, or nothing."""
        ...

    def introduce(self, chain: Chain, peer: str, addresses: Sequence[str]) -> None:
        """A peer of this chain is known."""
        ...

    async def run_in_thread(self, job: Callable[[], T]) -> T:
        """Runs a job in a worker thread."""
        ...

    def delete_chain(self, chain: Chain) -> None:
        """Removes a chain."""
        ...


class Join:
    """A join under way; runs in the loop."""

    def __init__(self, home: Home, ticket: Invitation, name: str | None, signer: Signer | None) -> None:
        self.pending = Pending[Chain](on_cancel=self._undo)
        self._home = home
        self._ticket = ticket
        self._name = name
        self._given = signer
        self._seed = None if signer else os.urandom(32)
        self._author = signer or Ed25519Signer(self._seed or b"")
        self._chain: Chain | None = None
        self._adopting = threading.Lock()
        self._is_undone = False

    async def run(self) -> None:
        """Asks until the issuer answers, then waits for the first sync."""
        try:
            grant, peer = await self._ask()
            if self.pending.done():
                return
            chain = await self._home.run_in_thread(partial(self._adopt, grant, peer))
            self._watch(chain, peer, grant.blocks)
            self._home.introduce(chain, peer, self._ticket.addresses)
        except WalytisError as error:
            self.pending.fail(error)

    async def _ask(self) -> tuple[Grant, str]:
        tries = 0
        while not self.pending.done():
            if not tries:
                self.pending.report(0, 0, "asking the inviter")
            try:
                return await self._home.ask_issuer(self._ticket, self._author)
            except UnavailableError as error:
                self.pending.report(0, 0, f"waiting for the inviter to come online: {error}")
            await trio.sleep(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
            tries += 1
            if self._ticket.expires is not None and self._ticket.expires <= time.time():
                raise JoinError("the invitation expired while the inviter was away")
        raise ClosedError("the join was cancelled")

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
            name = self._name or grant.name
            self._chain = self._home.adopt(grant, peer, name, self._seed, self._given)
            return self._chain

    def _undo(self) -> None:
        """Waits for what is being added, so that nothing is there once `cancel` returns."""
        with self._adopting:
            self._is_undone = True
            chain, self._chain = self._chain, None
        if chain is not None:
            with suppress(NotFoundError, ClosedError):  # its user was quicker, or the node has ended
                self._home.delete_chain(chain)
