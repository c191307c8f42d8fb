"""Asking the app whether a peer is a member of the identity that reads a chain.

The app's function runs in a thread, for it may look things up. Invariants: however long it takes, the loop goes on; so few
run at once that no thread is lacking elsewhere; an app that raises, or does not answer while the stream is being opened,
lets nobody in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from walytis_core.boundary import log_error

IsMember = Callable[[str, bytes], bool]
"""Whether the holder of a node key (32 bytes) is a member of the identity with a DID, now."""

Ask = Callable[[bytes], Awaitable[bool]]
"""Asks whether the holder of a node key may read one chain, now."""

_AT_ONCE: Final = 4


class Membership:
    """Who may read chains that the members of an identity read.

    Args:
        members: The app's function; None: nobody may.
    """

    def __init__(self, members: IsMember | None) -> None:
        self._members = members
        self._turns = trio.CapacityLimiter(_AT_ONCE)

    async def admits(self, did: str, node_key: bytes) -> bool:
        """Whether the holder of a node key is a member of an identity, now.

        May be cancelled: a thread that is still asking then is left to end by itself, and keeps its turn until it does.
        """
        if self._members is None:
            return False
        ask = partial(self._members, did, node_key)
        try:  # threads of trio's, not of the node's: the node waits for its own when it closes
            run = trio.to_thread.run_sync
            return bool(await run(ask, abandon_on_cancel=True, limiter=self._turns))  # type: ignore[call-arg]  # old stubs
        except Exception as error:  # noqa: BLE001 - the app's code
            log_error("the app's `members`", error)
            return False
