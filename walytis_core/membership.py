"""Asking a layer, or the app, who the members of the identity that reads a chain are, and which secrets they share.

What is asked runs in a thread, for it may look things up. Invariants: however long it takes, the loop goes on; so few
run at once that no thread is lacking elsewhere; whoever raises, or does not answer while a stream is being opened,
lets nobody in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

import trio

from walytis_core.boundary import log_error
from walytis_core.limits import Limits
from walytis_core.seals import ChainSecret

T = TypeVar("T")
_AT_ONCE: Final = 4


class Members(Protocol):
    """Who reads the chains that the members of an identity read. Called in threads, a few at once.

    When an answer changes, `Node.members_changed` is to be called.
    """

    def admits(self, did: str, node_key: bytes) -> bool:
        """Whether the holder of a node key (32 bytes) is a member of the identity with a DID, now."""
        ...

    def secrets(self, did: str) -> Sequence[ChainSecret]:
        """The secrets that the members of an identity share, the newest first; none where they are not known here.

        The newest is used; under the others, up to `Limits.secrets_at_once` in all, peers are still met and heard.
        """
        ...


class Membership:
    """Who may read chains that the members of an identity read.

    Args:
        members: Knows it; None: nobody may.
    """

    def __init__(self, members: Members | None) -> None:
        self._members = members
        self._turns = trio.CapacityLimiter(_AT_ONCE)

    def use(self, members: Members) -> None:
        """Asks somebody else from now on."""
        self._members = members

    async def admits(self, did: str, node_key: bytes) -> bool:
        """Whether the holder of a node key is a member of an identity, now.

        May be cancelled: a thread that is still asking then is left to end by itself, and keeps its turn until it does.
        """
        members = self._members
        return members is not None and await self._asked(lambda: bool(members.admits(did, node_key)), False)

    async def secrets(self, did: str) -> Sequence[ChainSecret]:
        """The secrets that the members of an identity share, the newest first. May be cancelled, as `admits`."""
        members = self._members
        if members is None:
            return ()
        return await self._asked(lambda: tuple(members.secrets(did))[: Limits.secrets_at_once], ())

    async def _asked(self, ask: Callable[[], T], otherwise: T) -> T:
        try:  # threads of trio's, not of the node's: the node waits for its own when it closes
            run = partial(trio.to_thread.run_sync, abandon_on_cancel=True, limiter=self._turns)  # type: ignore[call-arg]
            return await run(ask)  # old stubs
        except Exception as error:  # noqa: BLE001 - the app's code
            log_error("the app's `members`", error)
            return otherwise


class Circle:
    """The members of one identity, as a chain that they read asks about them."""

    def __init__(self, membership: Membership, did: str) -> None:
        self.did = did
        self._membership = membership

    async def admits(self, node_key: bytes) -> bool:
        """Whether the holder of a node key is one of them, now."""
        return await self._membership.admits(self.did, node_key)

    async def secrets(self) -> Sequence[ChainSecret]:
        """The secrets that they share, the newest first."""
        return await self._membership.secrets(self.did)
