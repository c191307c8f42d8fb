"""A bounded queue that never makes its writer wait: when it is full, the oldest item goes.

Invariant: `put` never blocks and never raises; what is lost is always the oldest. Used for what may be lost: gossip
(a hint) and connection events (`connected()` is the truth). One trio loop only.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import trio

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """A queue of `size` items with a receive channel to read from."""

    def __init__(self, size: int) -> None:
        self._send, self.receive = trio.open_memory_channel[Item](size)
        self._own = self.receive.clone()  # so that the oldest can be taken out, and a reader that closes breaks nothing

    def put(self, item: Item) -> None:
        """Adds an item, at the price of the oldest when there is no room."""
        try:
            self._send.send_nowait(item)
        except trio.WouldBlock:
            self._own.receive_nowait()
            self._send.send_nowait(item)

    def close(self) -> None:
        """Ends the queue: a reader gets what is left, then the end."""
        self._send.close()
        self._own.close()
