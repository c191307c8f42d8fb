"""Feeds: how an app consumes a chain, in threads, asyncio, or by callback.

A feed reads the store from a cursor on and then waits for more; it keeps a page of blocks in memory and no transaction
open. A *named* feed has a durable cursor: what was not acknowledged is given again after a restart; what was, never.
Parents come before children. Invariant: the cursor only moves over acknowledged blocks, so nothing is skipped.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from walytis_core import events
from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import ClosedError, InvalidInputError
from walytis_core.standing import Standing
from walytis_core.store.port import ChainStore, Query, Row

_PAGE = 64
_FIRST_RETRY_S, _LAST_RETRY_S = 0.1, 30.0


@dataclass(frozen=True, slots=True)
class Source:
    """What a feed reads of a chain.

    Attributes:
        tables: The chain's tables.
        read: Makes a block of a row.
        standing: What the block's layer makes of it now.
    """

    tables: ChainStore
    read: Callable[[Row], Block]
    standing: Callable[[BlockId], Standing]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A block arrived.

    Attributes:
        block: The block.
        standing: What its layer makes of it now: `Obeyed`, `Void` or `Wait`; obeyed for blocks of no layer.
        number: Its place in this store's order of arrival: the cursor that `blocks(since=...)` takes.
    """

    block: Block
    standing: Standing
    number: int
    _feed: Feed = field(repr=False)

    def ack(self) -> None:
        """Acknowledges the block: a named feed never gives it again."""
        self._feed.acknowledge(self.number)

    def reject(self, reason: str) -> None:
        """Sets the block aside on purpose, with a reason kept in the store, and goes on."""
        self._feed.set_aside(self.number, reason)


@dataclass(frozen=True, slots=True)
class Revised:
    """The standing of blocks changed, or they left or came back to the folded set: look again."""

    ids: Sequence[BlockId]

    def ack(self) -> None:
        """Nothing to acknowledge: revisions are told to those who listen now."""


FeedEvent: TypeAlias = Arrived | Revised


class Feed:
    """The blocks of a chain as they arrive; iterate it, or iterate it with ``async for``.

    Ends when it, the chain or the node is closed. One consumer at a time.
    """

    def __init__(self, source: Source, query: Query, name: str | None, *, revisions: bool = False) -> None:
        self._source = source
        self._name = name
        self._query = query
        self._revisions = revisions
        self._changed = threading.Condition()
        self._wakers: list[Callable[[], None]] = []
        self._on_close: list[Callable[[], object]] = []
        self._is_closed = False
        self._has_more = True
        self._revised: deque[Revised] = deque()
        self._rows: deque[Row] = deque()
        self._unacked: set[int] = set()
        start = source.tables.cursor(name) if name is not None else source.tables.last
        self._read_to = self._cursor = start or 0

    # --- consuming -------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[FeedEvent]:
        while True:
            try:
                event = self.next()
            except ClosedError:
                return
            if event is not None:
                yield event

    async def __aiter__(self) -> AsyncIterator[FeedEvent]:
        loop = asyncio.get_running_loop()
        while True:
            wake = asyncio.Event()

            def waker(wake: asyncio.Event = wake) -> None:
                with suppress(RuntimeError):  # the app has closed its loop: nobody waits there any more
                    loop.call_soon_threadsafe(wake.set)

            with self._changed:
                self._wakers.append(waker)
            try:
                try:
                    event = self.next(timeout=0)
                except ClosedError:
                    return
                if event is not None:
                    yield event
                    continue
                await wake.wait()
            finally:
                with self._changed:
                    if waker in self._wakers:
                        self._wakers.remove(waker)

    def next(self, timeout: float | None = None) -> FeedEvent | None:
        """The next event.

        Args:
            timeout: Seconds to wait at most; None for no end.

        Returns:
            The event; None when there is none in time.

        Raises:
            ClosedError: The feed is closed.
        """
        while self._wait(timeout):
            event = self._revised.popleft() if self._revised else self._next_block()
            if event is not None:
                return event
        return None

    def _wait(self, timeout: float | None) -> bool:
        """Waits until there may be an event; False when there is none in time."""
        with self._changed:
            there = self._changed.wait_for(self._may_have_event, timeout)
            if self._is_closed:
                raise ClosedError("the feed is closed")
            return there

    def _may_have_event(self) -> bool:
        return self._is_closed or self._has_more or bool(self._revised or self._rows)

    def _next_block(self) -> Arrived | None:
        if not self._rows:
            with self._changed:
                self._has_more = False
            self._rows.extend(self._source.tables.query(self._query._replace(since=self._read_to), False, _PAGE))
            if not self._rows:
                return None
            with self._changed:
                self._has_more = True
        row = self._rows.popleft()
        self._read_to = row.number
        self._unacked.add(row.number)
        return Arrived(self._source.read(row), self._source.standing(row.id), row.number, self)

    # --- acknowledging ---------------------------------------------------------------------------------------

    def acknowledge(self, number: int) -> None:
        """Acknowledges a block by its number; the durable cursor moves up to the oldest one that is not."""
        with self._changed:
            self._unacked.discard(number)
            done = min(self._unacked, default=self._read_to + 1) - 1
            moved = done > self._cursor
            self._cursor = max(done, self._cursor)
        if moved and self._name is not None:
            self._source.tables.set_cursor(self._name, self._cursor)

    def set_aside(self, number: int, reason: str) -> None:
        """Rejects a block on purpose."""
        if self._name is None:
            raise InvalidInputError("only a named feed can set blocks aside")
        self._source.tables.set_aside(self._name, number, reason)
        self.acknowledge(number)

    # --- being told ------------------------------------------------------------------------------------------

    def tell(self, change: events.Change) -> None:
        """A change of the chain; called under the engine's lock, so it only wakes whoever waits."""
        with self._changed:
            if isinstance(change, events.Revised) and self._revisions:
                self._revised.append(Revised(tuple(change.ids)))
            elif not isinstance(change, (events.Arrived, events.Revised)):
                return
            self._has_more = True
            self._wake()

    def on_close(self, function: Callable[[], object]) -> None:
        """Has `function` called when the feed is closed."""
        self._on_close.append(function)

    def close(self) -> None:
        """Ends the feed; whoever iterates it comes to its end."""
        with self._changed:
            self._is_closed = True
            self._wake()
            functions, self._on_close = self._on_close, []
        for function in functions:
            function()

    def wait_closed(self, timeout_s: float) -> bool:
        """Waits until the feed is closed; False when it is still open after `timeout_s` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_closed, timeout_s)

    def _wake(self) -> None:
        self._changed.notify_all()
        for waker in self._wakers:
            waker()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Handler: TypeAlias = Callable[[FeedEvent], None]
Via: TypeAlias = Callable[[Callable[[], None]], object]


class Follower:
    """Calls a handler for each event of a feed, in a thread of its own or via an app's own loop.

    A handler that returns has acknowledged the block. One that raises is called again with the same block, after a
    pause that doubles from 0.1 s to 30 s; the error is shown in `Chain.status()`.

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
        self._thread = threading.Thread(target=self._run, name=f"walytis-follow-{name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it, and waits for its thread, unless called from that thread."""
        self.feed.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def _run(self) -> None:
        for event in self.feed:
            pause_s = _FIRST_RETRY_S
            while not self._handled(event):
                if self.feed.wait_closed(pause_s):
                    return
                pause_s = min(2 * pause_s, _LAST_RETRY_S)

    def _handled(self, event: FeedEvent) -> bool:
        try:
            if self._via is None:
                self._handler(event)
            elif not self._call_via(self._via, event):
                return False
            event.ack()
        except Exception as error:  # noqa: BLE001 - the app's own code: kept for status(), tried again, never skipped
            self.error = f"{type(error).__name__}: {error}"
            return False
        self.error = None
        return True

    def _call_via(self, via: Via, event: FeedEvent) -> bool:
        """Runs the handler in the app's loop and waits for it; False when the feed is closed before."""
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
                return False
        if errors:
            raise errors[0]
        return True
