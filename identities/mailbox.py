"""What came for the user: put in by the loop, taken out by threads or by asyncio, in order.

Invariants: each item is given once; what came before the end is given before the end is told. It bounds nothing by
itself: whoever puts in looks at `weight`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from walytis_core.errors import ClosedError, UnavailableError, WalytisError

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Items that wait for the user. Iteration ends where the end is a `ClosedError`, and raises any other.

    Args:
        on_taken: Called when an item was taken out, in the thread that took it.

    >>> box = Mailbox[str](lambda: None)
    >>> box.put("one", 3)
    >>> box.end(ClosedError("that was all"))
    >>> list(box)
    ['one']
    """

    def __init__(self, on_taken: Callable[[], None]) -> None:
        self._on_taken = on_taken
        self._items: deque[tuple[T, int]] = deque()
        self._changed = threading.Condition()
        self._wakers: list[Callable[[], None]] = []
        self._end: WalytisError | None = None
        self.weight = 0
        """What waits weighs so much."""

    def put(self, item: T, weight: int) -> None:
        """Puts an item in. Dropped after the end."""
        with self._changed:
            if self._end is None:
                self._items.append((item, weight))
                self.weight += weight
        self._tell()

    def end(self, error: WalytisError) -> None:
        """Nothing comes any more; whoever has taken all gets `error`. The first end counts."""
        with self._changed:
            self._end = self._end or error
        self._tell()

    def get(self, timeout: float | None = None) -> T:
        """Takes the next item out; waits for it.

        Raises:
            UnavailableError: Nothing came within `timeout` seconds.
            WalytisError: What it ended with.
        """
        with self._changed:
            if not self._changed.wait_for(self._has_next, timeout):
                raise UnavailableError(f"nothing came within {timeout:g} s")
            item = self._take()
        self._on_taken()
        return item

    async def get_async(self) -> T:
        """The same for asyncio; one consumer at a time."""
        loop = asyncio.get_running_loop()
        while (ready := self._ready(loop)) is not None:
            await ready
        return self.get()

    def __iter__(self) -> Iterator[T]:
        with suppress(ClosedError):
            while True:
                yield self.get()

    async def __aiter__(self) -> AsyncIterator[T]:
        with suppress(ClosedError):
            while True:
                yield await self.get_async()

    def _ready(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None] | None:
        """What to wait for; None when the next item is there."""
        ready = loop.create_future()
        with self._changed:
            if self._has_next():
                return None
            self._wakers.append(partial(_wake, loop, ready))
        return ready

    def _has_next(self) -> bool:
        return bool(self._items) or self._end is not None

    def _take(self) -> T:
        if not self._items:
            assert self._end is not None
            raise self._end
        item, weight = self._items.popleft()
        self.weight -= weight
        return item

    def _tell(self) -> None:
        with self._changed:
            wakers, self._wakers = self._wakers, []
            self._changed.notify_all()
        for wake in wakers:
            wake()


def _wake(loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> None:
    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    with suppress(RuntimeError):  # the app's loop has ended
        loop.call_soon_threadsafe(wake)
