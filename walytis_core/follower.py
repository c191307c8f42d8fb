"""Followers: a feed that calls the app, in a thread of its own or via the app's own loop.

Invariants: a block is acknowledged once its handler has returned; until then it is given again, and nothing overtakes
it. Knows a feed, and neither the chain nor the store behind it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from walytis_core.errors import ClosedError
from walytis_core.feed import Feed, FeedEvent

_FIRST_RETRY_S, _LAST_RETRY_S = 0.1, 30.0

Handler: TypeAlias = Callable[[FeedEvent], None]
Via: TypeAlias = Callable[[Callable[[], None]], object]


class Follower:
    """Calls a handler for each event of a feed, in a thread of its own or via an app's own loop.

    A handler that returns has acknowledged the block. One that raises is called again with the same block, after a
    pause that doubles from 0.1 s to 30 s; the error is shown in `Chain.status()`. So is one of the disk: reading, and
    writing down what was acknowledged, is tried again in the same way, without calling the handler again.

    Args:
        feed: The feed.
        handler: Called with each event.
        via: Schedules a call in the app's loop, e.g. ``root.after_idle``; None to call in the follower's thread.
    """

    def __init__(self, feed: Feed, handler: Handler, via: Via | None, name: str) -> None:
        self.feed = feed
        self.name = name
        self.error: str | None = None
        self._handler = handler
        self._via = via
        feed.enter(self)
        self._thread = threading.Thread(target=self._run, name=f"walytis-follow-{name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it, and waits for its thread, unless called from that thread."""
        self.feed.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def _run(self) -> None:
        events: list[FeedEvent] = []
        while self._insist(partial(self._take, events)):
            event = events.pop()
            if not (self._insist(partial(self._hand, event)) and self._insist(event.ack)):
                return

    def _insist(self, act: Callable[[], None]) -> bool:
        """Does something until it works; False when the feed is closed before."""
        pause_s = _FIRST_RETRY_S
        while True:
            try:
                act()
            except Exception as error:  # noqa: BLE001 - the app's own code, or the disk: kept for status(), tried again
                if not self.feed.wait_closed(0):
                    self.error = f"{type(error).__name__}: {error}"
            else:
                self.error = None
                return True
            if self.feed.wait_closed(pause_s):
                return False
            pause_s = min(2 * pause_s, _LAST_RETRY_S)

    def _take(self, events: list[FeedEvent]) -> None:
        event = self.feed.next()
        if event is not None:
            events.append(event)

    def _hand(self, event: FeedEvent) -> None:
        if self._via is None:
            self._handler(event)
        else:
            self._call_via(self._via, event)

    def _call_via(self, via: Via, event: FeedEvent) -> None:
        """Runs the handler in the app's loop and waits for it; raises what it raises."""
        done = threading.Event()
        errors: list[Exception] = []

        def call() -> None:
            try:
                self._handler(event)
            except Exception as error:  # noqa: BLE001 - handed to the follower's thread
                errors.append(error)
            finally:
                done.set()

        via(call)
        while not done.wait(0.2):
            if self.feed.wait_closed(0):
                raise ClosedError("the feed is closed")
        if errors:
            raise errors[0]
