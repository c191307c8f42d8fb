"""Worker threads of a node: where the loop sends what may take long (signatures, the disk).

Trio's own worker threads stay for seconds after their last job; these end with the node. Invariant: a job that was
started is waited for, also when the waiting task is cancelled: it may hold a transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

import outcome
import trio

from walytis_core.errors import ClosedError

T = TypeVar("T")

_THREADS: Final = 24
"""Made as they are needed. Two screen; each chain has one at work at most, so that many slow chains are needed to keep
the others waiting."""


class Workers:
    """A pool of threads for one node."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="walytis-worker")

    async def run(self, job: Callable[[], T], limiter: trio.CapacityLimiter | None = None) -> T:
        """Runs a job in a worker thread and gives its result, or raises what it raised.

        Args:
            job: Called in the thread.
            limiter: Bounds how many jobs of a kind run at once.
        """
        if limiter is None:
            return await self._run(job)
        try:
            limiter.acquire_nowait()  # mostly free: then without a turn of the loop
        except trio.WouldBlock:
            await limiter.acquire()
        try:
            return await self._run(job)
        finally:
            limiter.release()

    def lane(self) -> Lane:
        """A lane for the jobs of one chain."""
        return Lane(self)

    async def _run(self, job: Callable[[], T]) -> T:
        task = trio.lowlevel.current_task()
        token = trio.lowlevel.current_trio_token()
        try:
            future = self._pool.submit(job)
        except RuntimeError as error:  # the threads have ended with the node
            raise ClosedError("the node was closed") from error

        def done(future: Future[T]) -> None:
            token.run_sync_soon(trio.lowlevel.reschedule, task, outcome.Value(future))

        future.add_done_callback(done)
        await trio.lowlevel.wait_task_rescheduled(lambda _raise: trio.lowlevel.Abort.FAILED)
        return future.result()

    def close(self) -> None:
        """Ends the threads, once their jobs are done."""
        self._pool.shutdown(wait=True)


class Lane:
    """The jobs of one chain, one at a time: they would wait for its lock anyway, and a slow chain takes one thread, not all."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._turn = trio.CapacityLimiter(1)

    async def run(self, job: Callable[[], T], limiter: trio.CapacityLimiter | None = None) -> T:
        """Runs a job when its turn comes; one with a limiter of its own needs no turn. See `Workers.run`."""
        return await self._workers.run(job, limiter or self._turn)
