"""The time in which a node runs: its loop, what ends it, and what those are told who still wait then.

Invariants: it ends once, because it is closed or because its loop crashed; from then on every call raises `ClosedError`,
with the cause, and everything that was pending has failed. A forked child touches none of it: the loop and its threads
are the parent's. It knows no chains and no network.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from weakref import WeakSet

import trio

from walytis_core.engine import require_process
from walytis_core.errors import ClosedError
from walytis_core.loop import Loop
from walytis_core.pending import Pending

T = TypeVar("T")

_log = logging.getLogger(__name__)
_CRASHED: Final = "the node ended because of an error in its background loop"


class Lifetime:
    """The time in which a node runs.

    Args:
        main: Runs in the loop for as long as the node does; given a nursery whose tasks end with it.
        on_crash: Called, in the loop's thread, when the loop has crashed, before those who wait are told.
    """

    def __init__(self, main: Callable[[trio.Nursery], Awaitable[None]], on_crash: Callable[[], None]) -> None:
        self.loop = Loop(main, self._crashed)
        self.crash: BaseException | None = None
        self.is_closed = False
        self._on_crash = on_crash
        self._process = os.getpid()
        self._pendings: WeakSet[Pending[Any]] = WeakSet()
        self._ending: ClosedError | None = None  # what those who wait were told
        self._attending = threading.Lock()

    def start(self) -> None:
        """Starts the loop."""
        self.loop.start()

    def require_open(self) -> None:
        """Raises `ClosedError`, with the cause, once the node has ended, and in a forked child."""
        if os.getpid() != self._process:
            require_process(self._process)
        if self.crash is not None:
            raise self._ended(self.crash)
        if self.is_closed:
            raise ClosedError("the node has been closed")

    @property
    def failure(self) -> ClosedError | None:
        """What ended the node, if it was not closed."""
        return None if self.crash is None else self._ended(self.crash)

    def attend(self, pending: Pending[T], task: Callable[[], Awaitable[object]]) -> Pending[T]:
        """Runs a task in the loop that resolves a pending; when the node ends before, the pending fails."""
        with self._attending:
            self._pendings.add(pending)
            ending = self._ending
        if ending is None:
            self.loop.spawn(task)
        else:  # it ended while the caller was on its way here
            pending.fail(ending)
        return pending

    def begin_end(self) -> bool:
        """Says whether the caller is to end the node: once, and never in a forked child."""
        if self.is_closed or os.getpid() != self._process:
            return False
        self.is_closed = True
        return True

    def end(self) -> None:
        """Ends the loop and tells those who wait."""
        self.loop.stop()
        self._fail_pendings(ClosedError("the node was closed"))

    def _crashed(self, error: BaseException) -> None:
        self.crash = error
        _log.critical(_CRASHED, exc_info=error)
        self._on_crash()
        self._fail_pendings(self._ended(error))

    def _fail_pendings(self, error: ClosedError) -> None:
        with self._attending:
            self._ending = error
            pendings = tuple(self._pendings)
        for pending in pendings:
            pending.fail(error)

    @staticmethod
    def _ended(crash: BaseException) -> ClosedError:
        root = crash
        while isinstance(root, BaseExceptionGroup) and len(root.exceptions) == 1:
            root = root.exceptions[0]
        error = ClosedError(
            f"{_CRASHED}: {type(root).__name__}", hint="This is a bug: report it with the error that is its cause."
        )
        error.__cause__ = root
        return error
