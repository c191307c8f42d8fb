"""`Pending` from threads, asyncio and callbacks: one result, once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from walytis_core.errors import ClosedError, JoinError, UnavailableError
from walytis_core.pending import Pending, PendingProgress


def test_a_result():
    """C48: it is there for everybody, in a thread and in asyncio; a second one is ignored."""
    pending = Pending[int]()
    waiting = threading.Timer(0.0, pending.resolve, [7])
    waiting.start()
    assert pending.result(timeout=30) == 7
    waiting.join()
    pending.resolve(8)
    pending.fail(JoinError("late"))
    assert (pending.result(), pending.done(), pending.cancel()) == (7, True, False)

    async def wait() -> int:
        return await pending

    assert asyncio.run(wait()) == 7


def test_an_error():
    """C40: the error that it failed with is raised to each who asks."""
    pending = Pending[int]()
    pending.fail(JoinError("used"))
    pending.resolve(7)
    for _ in range(2):
        with pytest.raises(JoinError, match="used"):
            pending.result(timeout=0)


def test_out_of_time():
    """C48: then it is not there yet, and the operation goes on."""
    pending = Pending[int]()
    pending.report(3, 9, "asking peers")
    with pytest.raises(UnavailableError, match="asking peers"):
        pending.result(timeout=0)
    assert not pending.done()
    assert pending.progress() == PendingProgress(3, 9, "asking peers")
    pending.resolve(1)
    assert pending.result() == 1


def test_a_timeout_as_the_error_of_the_operation():
    pending = Pending[int]()
    pending.fail(TimeoutError("its own"))
    with pytest.raises(TimeoutError, match="its own"):
        pending.result(timeout=0)


def test_cancelled():
    """C40: what was begun is undone, once; who waits is told."""
    undone: list[int] = []
    pending = Pending[int](lambda: undone.append(1))
    assert pending.cancel()
    pending.cancel()
    pending.resolve(7)
    with pytest.raises(ClosedError):
        pending.result(timeout=0)
    assert undone == [1]
    assert pending.done()


def test_asyncio_is_woken_by_a_thread():
    """C48: a running loop is not blocked, and is woken from another thread."""

    async def wait() -> int:
        pending = Pending[int]()
        thread = threading.Thread(target=pending.resolve, args=(5,))
        asyncio.get_running_loop().call_soon(thread.start)
        value = await asyncio.wait_for(_awaited(pending), 30)
        thread.join()
        return value

    assert asyncio.run(wait()) == 5


def test_an_await_that_is_cancelled():
    """C40, C48: `asyncio.wait_for` that runs out of time undoes what was begun, before it raises; a shield does not."""
    undone: list[int] = []

    async def wait() -> None:
        kept = Pending[int](lambda: undone.append(0))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(kept), 0.01)
        assert (undone, kept.done()) == ([], False)
        kept.resolve(7)
        pending = Pending[int](lambda: undone.append(1))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pending, 0.01)
        assert (undone, pending.done()) == ([1], True)
        pending.resolve(7)
        with pytest.raises(ClosedError):
            await pending

    asyncio.run(wait())


def test_an_operation_that_is_cancelled_elsewhere():
    """C48: who awaits it gets the error that `result` raises, and is not cancelled itself."""

    async def wait() -> None:
        pending = Pending[int]()
        asyncio.get_running_loop().call_soon(pending.cancel)
        with pytest.raises(ClosedError):
            await pending

    asyncio.run(wait())


def test_it_ends_once():
    """C48: of many threads that end it, one does; nobody is told of an error in the machinery."""
    for _ in range(50):
        undone: list[int] = []
        pending = Pending[int](lambda undone=undone: undone.append(1))  # type: ignore[misc]
        start = threading.Barrier(4)
        failed: list[Exception] = []

        def end(
            how: int,
            pending: Pending[int] = pending,
            start: threading.Barrier = start,
            failed: list[Exception] = failed,
        ) -> None:
            start.wait(30)
            try:
                (lambda: pending.resolve(1), lambda: pending.fail(JoinError("no")), pending.cancel)[how % 3]()
            except Exception as error:  # noqa: BLE001 - shown by the assertion
                failed.append(error)

        threads = [threading.Thread(target=end, args=(how,)) for how in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert (failed, pending.done()) == ([], True)


async def _awaited(pending: Pending[int]) -> int:
    return await pending
