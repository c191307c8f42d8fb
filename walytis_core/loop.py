"""The node's background thread: one trio loop, reachable from any thread.

Invariants: nothing outlives `stop`; a crash in the loop ends it loudly: `on_crash` is called with the error and every
later call raises `ClosedError`. This file knows nothing of chains.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from walytis_core.errors import ClosedError

T = TypeVar("T")


class Tasks:
    """Starts tasks in a nursery while it is open. What comes later is dropped: it belongs to what is ending."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[trio.Nursery]:
        """Runs tasks for the length of the block, and waits for those that are under way at its end."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield nursery
            finally:
                self._nursery = None

    def start(self, function: Callable[..., Awaitable[object]], *arguments: Any) -> bool:
        """Starts a task soon; says whether it does. In the loop."""
        if self._nursery is None:
            return False
        self._nursery.start_soon(function, *arguments)
        return True


class Loop:
    """A trio loop in a thread.

    Args:
        main: Runs until it is cancelled; given a nursery whose tasks end with it.
        on_crash: Called, in the loop's thread, with the error that ended the loop.
    """

    def __init__(
        self, main: Callable[[trio.Nursery], Awaitable[None]], on_crash: Callable[[BaseException], None]
    ) -> None:
        self._main = main
        self._on_crash = on_crash
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None
        self._posted: deque[Callable[[], None]] = deque()
        self._tasks = Tasks()
        self._is_over = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="walytis-node", daemon=True)

    def start(self) -> None:
        """Starts the thread; returns once the loop takes calls."""
        self._thread.start()
        self._ready.wait()

    def post(self, function: Callable[[], None]) -> None:
        """Has `function` called in the loop soon, in order. Dropped once the loop has ended."""
        self._posted.append(function)
        token = self._token
        if token is not None:
            try:
                token.run_sync_soon(self._drain, idempotent=True)
            except trio.RunFinishedError:
                self._posted.clear()

    def spawn(self, function: Callable[[], Awaitable[object]]) -> None:
        """Has an async function run as a task of the loop soon. Dropped once the loop is ending."""

        def start() -> None:
            self._tasks.start(function)

        self.post(start)

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Runs an async function in the loop and waits for it, from another thread.

        Raises:
            ClosedError: The loop has ended.
        """
        future: Future[T] = Future()

        async def run() -> None:
            try:
                future.set_result(await function())
            except trio.Cancelled:
                future.set_exception(ClosedError("the node was closed"))
                raise
            except Exception as error:  # noqa: BLE001 - handed to the caller in the other thread
                future.set_exception(error)

        self.post(lambda: _spawn(run))
        while not future.done() and self._thread.is_alive():
            try:
                return future.result(timeout=1.0)
            except TimeoutError:
                continue
        if future.done():
            return future.result()
        raise ClosedError("the node was closed")

    @property
    def is_here(self) -> bool:
        """Whether the caller is in the loop's thread."""
        return threading.current_thread() is self._thread

    def stop(self, timeout_s: float = 5.0) -> None:
        """Cancels everything in the loop and waits for the thread's end."""
        self.post(lambda: self._scope.cancel() if self._scope else None)
        if not self.is_here and self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            trio.run(self._guarded)
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the node ends, and says why
            self._on_crash(error)
        finally:
            self._ready.set()

    async def _guarded(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        try:
            async with self._tasks.open() as nursery:
                self._scope = nursery.cancel_scope
                self._ready.set()
                self._drain()
                await self._main(nursery)
                nursery.cancel_scope.cancel()
        finally:
            self._is_over = True

    def _drain(self) -> None:
        # what comes meanwhile waits: who posts without end must not hold the loop up
        for _ in range(len(self._posted)):
            if self._is_over:  # what still comes before the thread's end has nothing left to work on
                self._posted.clear()
                return
            self._posted.popleft()()


def _spawn(function: Callable[[], Awaitable[None]]) -> None:
    trio.lowlevel.spawn_system_task(function)
