"""The thread that does what is due, and what it does when some of that fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from identities.rounds import Never, Rounds, do_all
from tests.suites.nodes import WITHIN_S, until
from walytis_core.errors import ClosedError, LocalError, StorageError

ONE, OTHER = b"one", b"other"


class Work:
    """What is due, told to the test."""

    def __init__(self) -> None:
        self.done: list[bytes] = []
        self.above_fails = False
        self.rounds = Rounds(self.work, self.above, threading.RLock(), lambda: 0.0)

    def work(self, name: bytes, now_s: float) -> float:
        self.done.append(name)
        return Never

    def above(self, names: set[bytes]) -> set[bytes]:
        if self.above_fails:
            raise KeyError("a fault")
        return {OTHER} if names else set()


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    made.rounds.start()
    yield made
    made.rounds.close()


def test_a_task_that_fails_ends_nothing(work: Work) -> None:
    """I22: neither a refusing disk nor a fault; what was put off after it is done, and so is the work."""

    def fault() -> None:
        raise KeyError("a fault")

    def refuse() -> None:
        raise StorageError("no room")

    after = threading.Event()
    work.rounds.put_off(fault)
    work.rounds.put_off(refuse)
    work.rounds.put_off(after.set)
    assert after.wait(WITHIN_S)
    assert isinstance(work.rounds.failure, StorageError)
    work.rounds.wake(ONE)
    until(lambda: set(work.done) == {ONE, OTHER}, what="the work of both")


def test_who_is_above_cannot_be_told(work: Work) -> None:
    """I22: the work of those who are due is done all the same."""
    work.above_fails = True
    work.rounds.wake(ONE)
    until(lambda: work.done == [ONE], what="the work")
    work.above_fails = False
    work.rounds.wake(ONE)
    until(lambda: OTHER in work.done, what="the work of the other")


def test_all_duties_are_done() -> None:
    """I20: whichever fails; the first failure is told, and the soonest instant."""
    done: list[int] = []

    def fails(error: Exception) -> None:
        done.append(0)
        raise error

    def at(instant: float | None) -> float | None:
        done.append(1)
        return instant

    assert do_all([lambda: at(3.0), lambda: at(None), lambda: at(2.0)]) == 2.0
    assert do_all([]) == Never
    done.clear()
    with pytest.raises(StorageError):
        do_all([lambda: at(1.0), lambda: fails(StorageError("")), lambda: fails(ClosedError("")), lambda: at(1.0)])
    assert done == [1, 0, 0, 1]
    with pytest.raises(LocalError):
        do_all([lambda: fails(LocalError(""))])
