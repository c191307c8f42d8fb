"""One thread that does what is due: woken by what changed, by what was put off to it, and by the clock.

It knows names and instants, and not what the work is. Invariants: each piece of work is done by one call at a time; a
failure of one does not end the others, and it is tried again.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final

from walytis_core.errors import ClosedError, LocalError, WalytisError

_log = logging.getLogger(__name__)
_REST_S: Final = 1.0
"""After a failure, when the work is tried again."""
_LONG_REST_S: Final = 30.0
_LOOK_S: Final = 3600.0

Never: Final = float("inf")


def do_all(duties: Iterable[Callable[[], float | None]]) -> float:
    """Does each of these, whatever becomes of the others; then raises the first failure.

    Returns:
        The soonest instant that one of them asked for.
    """
    failures: list[WalytisError] = []
    again = Never
    for duty in duties:
        try:
            due = duty()
        except WalytisError as error:
            failures.append(error)
        else:
            again = again if due is None else min(again, due)
    if failures:
        raise failures[0]
    return again


class Rounds:
    """The thread, once it is started.

    Args:
        work: Does what is due for one name at an instant, and says when it is to be called again.
        above: The names for which something is due when it is for these.
        lock: Held while work is done.
        now_s: The local clock, in seconds since the epoch.
    """

    def __init__(
        self,
        work: Callable[[bytes, float], float],
        above: Callable[[set[bytes]], set[bytes]],
        lock: AbstractContextManager[object],
        now_s: Callable[[], float],
    ) -> None:
        self._work = work
        self._above = above
        self._lock = lock
        self._now_s = now_s
        self._changed = threading.Condition()
        self._dirty: set[bytes] = set()
        self._tasks: deque[Callable[[], None]] = deque()
        self._due: dict[bytes, float] = {}
        self._is_closed = False
        self.failure: WalytisError | None = None
        """The last failure of the work, until it works again."""
        self._thread = threading.Thread(target=self._run, name="walytis-identities", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def close(self) -> None:
        """Ends it, and waits for what is being done."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def require_open(self) -> None:
        """Raises `ClosedError` once it has ended: nobody would do what follows."""
        if self._is_closed:
            raise ClosedError("the identities of this node were closed", hint="Open them again: `Identities(node)`.")

    def wake(self, name: bytes) -> None:
        """Something is due for a name; from any thread, at once."""
        with self._changed:
            self._dirty.add(name)
            self._changed.notify_all()

    def put_off(self, task: Callable[[], None]) -> None:
        """Has the thread do something, for who may not wait."""
        with self._changed:
            self._tasks.append(task)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._is_due, self._pause())
                if self._is_closed:
                    return
                tasks, self._tasks = self._tasks, deque()
                now_s = self._now_s()
                due = self._dirty | {name for name, at in self._due.items() if at <= now_s}
                self._dirty = set()
            for task in tasks:
                self._safely(task)
            above = set[bytes]()
            self._safely(lambda: above.update(self._above(due)))  # noqa: B023 - called at once
            for name in due | above:
                self._do(name)

    def _is_due(self) -> bool:
        has_work = self._is_closed or bool(self._dirty or self._tasks)
        return has_work or min(self._due.values(), default=Never) <= self._now_s()

    def _pause(self) -> float | None:
        soonest = min(self._due.values(), default=Never)
        return None if soonest == Never else max(0.0, min(soonest - self._now_s(), _LOOK_S))

    def _do(self, name: bytes) -> None:
        def work() -> float:
            with self._lock:
                again = self._work(name, self._now_s())
            self.failure = None
            return again

        self._due[name] = self._safely(work)

    def _safely(self, work: Callable[[], float | None]) -> float:
        """Does something, and says when it is to be called again; after a failure, a while later."""
        try:
            again = work()
        except ClosedError:
            return Never
        except WalytisError as error:  # a disk that refuses, a network that is away: tried again
            self.failure = error
            return self._now_s() + _REST_S
        except Exception as error:  # noqa: BLE001 - the thread's boundary: a fault in one identity must not end the others
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind = type(error).__name__
            _log.error("the work of an identity failed with %s at %s:%s", kind, where.filename, where.lineno)
            self.failure = LocalError(f"the work of an identity failed: {kind}")
            return self._now_s() + _LONG_REST_S
        return Never if again is None else again
