"""The node's loop in a thread: calls from elsewhere, a loud end, nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from walytis_core.errors import ClosedError, JoinError
from walytis_core.loop import Loop, Tasks


@contextmanager
def running(crashes: list[BaseException]) -> Iterator[Loop]:
    async def main(_nursery: trio.Nursery) -> None:
        await trio.sleep_forever()

    loop = Loop(main, crashes.append)
    loop.start()
    try:
        yield loop
    finally:
        loop.stop()
        assert not loop._thread.is_alive()


def test_calls():
    """C48: a call gives the result, or the error, of a function that ran in the loop's thread."""
    crashes: list[BaseException] = []
    with running(crashes) as loop:

        async def where() -> bool:
            await trio.lowlevel.checkpoint()
            return loop.is_here

        async def fails() -> None:
            raise JoinError("no")

        async def late() -> None:
            raise TimeoutError("its own")

        assert loop.call(where)
        assert not loop.is_here
        with pytest.raises(JoinError):
            loop.call(fails)
        with pytest.raises(TimeoutError, match="its own"):
            loop.call(late)
        assert loop.call(where)
    assert crashes == []


def test_posts_keep_their_order():
    """C48: functions posted from several threads run one at a time, those of one thread in order."""
    ran: list[tuple[int, int]] = []
    done = threading.Event()
    with running([]) as loop:

        def post(number: int) -> None:
            for at in range(100):
                loop.post(lambda at=at: ran.append((number, at)))  # type: ignore[misc]

        threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        loop.post(done.set)
        assert done.wait(30)
    assert len(ran) == 400
    for number in range(4):
        assert [at for one, at in ran if one == number] == list(range(100))


def test_stop_ends_what_waits():
    """C46: stopping ends calls under way and tasks, and later calls say so; stopping twice is fine."""
    crashes: list[BaseException] = []
    started = threading.Event()
    errors: list[BaseException] = []
    with running(crashes) as loop:

        async def forever() -> None:
            started.set()
            await trio.sleep_forever()

        def wait() -> None:
            try:
                loop.call(forever)
            except ClosedError as error:
                errors.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert started.wait(30)
        loop.stop()
        waiting.join(30)
        assert len(errors) == 1
        loop.stop()
        with pytest.raises(ClosedError):
            loop.call(forever)
        loop.post(started.clear)
        assert started.is_set()
    assert crashes == []


def test_a_crash_is_loud():
    """C46: an error in the loop is given to `on_crash`, and every later call raises."""
    crashes: list[BaseException] = []
    ended = threading.Event()
    go = threading.Event()

    async def main(_nursery: trio.Nursery) -> None:
        await trio.to_thread.run_sync(go.wait)
        raise RuntimeError("broken")

    def crashed(error: BaseException) -> None:
        crashes.append(error)
        ended.set()

    loop = Loop(main, crashed)
    loop.start()
    go.set()
    assert ended.wait(30)
    assert "broken" in repr(crashes[0])

    async def anything() -> None:
        await trio.lowlevel.checkpoint()

    loop._thread.join(30)
    with pytest.raises(ClosedError):
        loop.call(anything)
    loop.stop()


def test_a_crash_at_the_start():
    """C46: `start` returns even when the loop ends at once."""
    crashes: list[BaseException] = []

    async def main(_nursery: trio.Nursery) -> None:
        raise RuntimeError("at once")

    loop = Loop(main, crashes.append)
    loop.start()
    loop._thread.join(30)
    assert len(crashes) == 1


def test_tasks_that_come_while_it_ends_are_dropped():
    """C46: a nursery that is closing takes no more, and says so; nothing crashes."""

    async def main() -> tuple[bool, bool, bool]:
        ran = trio.Event()

        async def run() -> None:
            await trio.lowlevel.checkpoint()
            ran.set()

        tasks = Tasks()
        early = tasks.start(run)
        async with tasks.open() as nursery:
            begun = tasks.start(run)
            await ran.wait()
            nursery.cancel_scope.cancel()
        return early, begun, tasks.start(run)

    assert trio.run(main) == (False, True, False)


def test_who_posts_without_end_does_not_hold_the_loop_up():
    """C48: tasks get their turn in between, and the loop can be stopped."""
    crashes: list[BaseException] = []

    async def work() -> str:
        await trio.lowlevel.checkpoint()
        return "done"

    with running(crashes) as loop:

        def again() -> None:
            loop.post(again)

        loop.post(again)
        assert loop.call(work) == "done"
    assert crashes == []


def test_what_is_posted_while_the_loop_ends_does_not_crash_it():
    """C46: posts, tasks and calls from other threads up to the very end."""
    for _ in range(50):
        crashes: list[BaseException] = []
        started, ended = threading.Event(), threading.Event()
        with running(crashes) as loop:

            async def nothing() -> None:
                await trio.lowlevel.checkpoint()

            def spawn(loop: Loop = loop, started: threading.Event = started, ended: threading.Event = ended) -> None:
                while not ended.is_set():
                    if len(loop._posted) < 100:  # stopping comes after what was posted before it
                        loop.spawn(nothing)
                    started.set()

            thread = threading.Thread(target=spawn)
            thread.start()
            assert started.wait(30)
            loop.stop()
            ended.set()
            thread.join(30)
        assert crashes == []
