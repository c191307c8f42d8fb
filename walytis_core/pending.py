"""`Pending`: the result of something that waits for the network. One object for threads, asyncio and callbacks.

Invariant: it ends once, by a result, an error or a cancellation, whoever comes first of however many threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Generic, NamedTuple, TypeVar

from walytis_core.errors import ClosedError, UnavailableError

T = TypeVar("T")


class PendingProgress(NamedTuple):
    """How far something is: `held` of `known`, in what the operation counts (blocks, pieces), and a sentence."""

    held: int
    known: int
    state: str = ""


class Pending(Generic[T]):
    """A result that is not there yet. `result(timeout)` waits in a thread, ``await`` in a running asyncio loop.

    A `result` that runs out of time leaves the operation going on. Cancelling a task that awaits cancels the operation,
    as asyncio has it: ``asyncio.wait_for(node.join(uri), 10)`` undoes the join when time is up. To wait
    without that, shield it: ``asyncio.wait_for(asyncio.shield(pending), 10)``.

    >>> pending = Pending[int]()
    >>> pending.resolve(7)
    >>> pending.result(timeout=1)
    7
    """

    def __init__(self, on_cancel: Callable[[], None] | None = None) -> None:
        self._future: Future[T] = Future()
        self._progress = PendingProgress(0, 0, "starting")
        self._first: Pending[Any] | None = None
        self._on_cancel = on_cancel
        self._lock = threading.Lock()
        self._is_settled = False

    def result(self, timeout: float | None = None) -> T:
        """Waits for the result.

        Args:
            timeout: Seconds to wait at most; None for no end.

        Raises:
            UnavailableError: It is not there in time; the operation goes on.
            ClosedError: It was cancelled, or the node was closed.
            WalytisError: What the operation failed with.
        """
        try:
            return self._future.result(timeout)
        except FutureTimeoutError as error:
            if self._future.done():
                raise
            state = self._progress.state
            raise UnavailableError(f"no result within {timeout:g} s: {state}") from error
        except CancelledError as error:
            raise ClosedError("this was cancelled") from error

    def __await__(self) -> Generator[None, None, T]:
        return self._awaited().__await__()

    async def _awaited(self) -> T:
        try:
            return await asyncio.shield(asyncio.wrap_future(self._future))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # not the awaiting task was cancelled, but the operation
                raise ClosedError("this was cancelled") from None
            await asyncio.get_running_loop().run_in_executor(None, self.cancel)  # undoing may take the disk a while
            raise

    def cancel(self) -> bool:
        """Gives up, and undoes what was begun. Returns False when there is a result already."""
        if not self._settle():
            return False
        self._future.cancel()
        if self._on_cancel is not None:
            self._on_cancel()
        return True

    def done(self) -> bool:
        """Whether there is a result, an error, or a cancellation."""
        return self._future.done()

    def progress(self) -> PendingProgress:
        """How far it is."""
        return self._progress if self._first is None else self._first.progress()

    def when_done(self, callback: Callable[[], None]) -> None:
        """Has `callback` called once there is a result, an error or a cancellation, at once where there is; in any thread."""
        self._future.add_done_callback(lambda _: callback())

    # --- for whoever works on it -----------------------------------------------------------------------------

    def report(self, held: int, known: int, state: str) -> None:
        """Says how far it is."""
        self._progress, self._first = PendingProgress(held, known, state), None

    def begin_with(self, first: Pending[Any]) -> None:
        """Is as far as another one, which comes first, until it says otherwise."""
        self._first = first

    def resolve(self, value: T) -> None:
        """Gives the result; ignored once there is one."""
        if self._settle():
            self._future.set_result(value)

    def fail(self, error: Exception) -> None:
        """Gives an error; ignored once there is a result."""
        if self._settle():
            self._future.set_exception(error)

    def _settle(self) -> bool:
        """Whether the caller is the one that ends it."""
        with self._lock:
            is_first, self._is_settled = not self._is_settled, True
        return is_first
