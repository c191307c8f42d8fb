"""Feeds: how an app consumes a chain, in threads and asyncio; `follower.py` calls a callback with one.

A feed reads the store from a cursor on and then waits for more; it keeps a page of blocks in memory and no transaction
open. A *named* feed has a durable cursor: what was not acknowledged is given again after a restart; what was, never.
Parents come before children. Invariants:

- The cursor moves over blocks that were acknowledged, and never back, so nothing is skipped and nothing given again.
- A block whose bytes are damaged on the disk is not waited for: no peer may have it. The feed writes down that it was
  passed by before the cursor can pass it, and gives it, after its children, once its bytes are back.
- An event leaves the feed when it is whole: whatever fails before, the next call gives the same block.
- A name has one feed: one that nobody is at gives way to the next, and from then on writes nothing under the name.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self, TypeAlias
from weakref import WeakSet

from walytis_core import events
from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import ClosedError, InvalidInputError
from walytis_core.standing import Standing
from walytis_core.store.port import ChainStore, Query, Row

_PAGE = 64
_MISSED = "missed/"
"""Starts the key under which a named feed keeps the numbers of blocks that it passed by damaged."""
_LOST_HINT = "Have one feed at work per name; in a `with` block it keeps the name, and gives it back at the end."


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

    Ends when it, the chain or the node is closed. One consumer at a time. A named one that no loop, `with` block or
    callback is at gives way to the next feed of its name; whoever comes back to it gets `ClosedError`.
    """

    def __init__(self, source: Source, query: Query, name: str | None, *, revisions: bool = False) -> None:
        self._source = source
        self.name = name
        self._query = query
        self._revisions = revisions
        self._changed = threading.Condition()
        self._wakers: list[Callable[[], None]] = []
        self._on_close: list[Callable[[], object]] = []
        self._is_closed = False
        self._lost_name: str | None = None  # why, once it has
        self._was_ended = False  # by losing its name, not by being closed
        self._at_it: WeakSet[object] = WeakSet()  # weak: a loop that was left is at it no more
        self._has_more = True
        self._revised: deque[Revised] = deque()
        self._rows: deque[Row] = deque()
        self._unacked: set[int] = set()
        start = source.tables.cursor(name) if name is not None else source.tables.last
        self._read_to = self._cursor = start or 0
        self._writing = threading.RLock()  # held while something is written under the name
        self._missed = self._load_missed(self._cursor)
        self._looks_again = bool(self._missed)
        self._again: deque[Row] = deque()
        self._given_again: set[int] = set()

    # --- consuming -------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[FeedEvent]:
        return _Loop(self)

    def __aiter__(self) -> AsyncIterator[FeedEvent]:
        return _Loop(self)

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
                raise self._end()
            return there

    def _end(self) -> ClosedError:
        if self._was_ended:
            return ClosedError(f"this feed was ended: {self._lost_name}", hint=_LOST_HINT)
        return ClosedError("the feed is closed")

    def _may_have_event(self) -> bool:
        return self._is_closed or self._has_more or bool(self._revised or self._rows)

    def _next_block(self) -> Arrived | None:
        if self._looks_again:
            self._look_again()
        if self._again:
            event = self._event(self._again[0])
            self._given_again.add(self._again.popleft().number)
            return event
        if not self._rows:
            self._read_page()
            if not self._rows:
                return None
        event = self._event(self._rows[0])
        with self._changed:
            self._read_to = self._rows.popleft().number
            self._unacked.add(self._read_to)
        return event

    def _event(self, row: Row) -> Arrived:
        return Arrived(self._source.read(row), self._source.standing(row.id), row.number, self)

    def _read_page(self) -> None:
        tables = self._source.tables
        with self._changed:
            self._has_more = False
        try:
            damaged = set(tables.corrupt())
            rows = tables.query(self._query._replace(since=self._read_to), False, _PAGE)
            if rows:  # reading them may have found more that are damaged
                self._note_missed(damaged.union(tables.corrupt()), {row.number for row in rows})
                self._rows.extend(rows)
        except BaseException:
            with self._changed:
                self._has_more = True
            raise
        if rows:
            with self._changed:
                self._has_more = True

    # --- blocks that were damaged when they were passed by ------------------------------------------------------

    def _note_missed(self, damaged: Collection[BlockId], given: Collection[int]) -> None:
        if damaged:
            metas = self._source.tables.metas(damaged).values()
            passed = {meta.number for meta in metas if meta.folded and self._read_to < meta.number < max(given)}
            with self._writing:
                self._set_missed(self._missed | passed.difference(given))
            self._looks_again = True  # one may have been healed, and that told, in the meantime

    def _look_again(self) -> None:
        """Finds those that are to be given now; forgets those that are not asked for, or have another number now."""
        self._looks_again = False
        tables = self._source.tables
        try:
            with self._writing:
                damaged = {meta.number for meta in tables.metas(tables.corrupt()).values()}
                for number in sorted(self._missed - damaged - self._given_again):
                    rows = tables.query(self._query._replace(since=number - 1, until=number), False, 1)
                    if not rows:
                        self._set_missed(self._missed - {number})
                    elif number not in {row.number for row in self._again}:
                        self._again.extend(rows)
        except BaseException:
            self._looks_again = True
            raise

    def _load_missed(self, cursor: int) -> frozenset[int]:
        """What was passed by up to the cursor; what is above it is met again."""
        data = None if self.name is None else self._source.tables.get(_MISSED + self.name)
        return frozenset(number for number in map(int, (data or b"").split()) if number <= cursor)

    def _set_missed(self, missed: frozenset[int]) -> None:
        if missed == self._missed or self._lost_name is not None:
            return
        if self.name is not None:
            data = b" ".join(b"%d" % number for number in sorted(missed))
            self._source.tables.put(_MISSED + self.name, data or None)
        self._missed = missed

    # --- acknowledging ---------------------------------------------------------------------------------------

    def acknowledge(self, number: int) -> None:
        """Acknowledges a block by its number; the durable cursor moves up to the oldest one that is not.

        Raises:
            ClosedError: Another feed has the name now, or it was started over.
        """
        with self._writing:
            if self._lost_name is not None:
                raise ClosedError(f"nothing was acknowledged: {self._lost_name}", hint=_LOST_HINT)
            if number in self._missed:
                self._set_missed(self._missed - {number})
            else:
                self._move_cursor(number)

    def _move_cursor(self, number: int) -> None:
        with self._changed:
            self._unacked.discard(number)
            done = min(self._unacked, default=self._read_to + 1) - 1
        if done > self._cursor:
            if self.name is not None:
                self._source.tables.set_cursor(self.name, done)
            with self._changed:  # not before: what could not be written is written with the next one
                self._cursor = max(done, self._cursor)

    def set_aside(self, number: int, reason: str) -> None:
        """Rejects a block on purpose."""
        if self.name is None:
            raise InvalidInputError("only a named feed can set blocks aside")
        with self._writing:
            if self._lost_name is None:
                self._source.tables.set_aside(self.name, number, reason)
            self.acknowledge(number)

    # --- being told ------------------------------------------------------------------------------------------

    def tell(self, change: events.Change) -> None:
        """A change of the chain; called under the engine's lock, so it only wakes whoever waits."""
        with self._changed:
            if self._is_closed:
                return
            if isinstance(change, events.Revised) and self._revisions:
                self._revised.append(Revised(tuple(change.ids)))
            elif not isinstance(change, (events.Arrived, events.Revised)):
                return
            self._looks_again |= isinstance(change, events.Revised) and bool(self._missed)
            self._has_more = True
            self._wake()

    def on_close(self, function: Callable[[], object]) -> None:
        """Has `function` called when the feed is closed; now where it is."""
        with self._changed:
            if not self._is_closed:
                self._on_close.append(function)
                return
        function()

    def close(self) -> None:
        """Ends the feed; whoever iterates it comes to its end."""
        with self._changed:
            self._is_closed = True
            self._wake()
            functions, self._on_close = self._on_close, []
        for function in functions:
            function()

    @property
    def is_at_work(self) -> bool:
        """Whether it is open and a loop, a `with` block or a callback is at it: then its name is not given away."""
        return not self._is_closed and bool(self._at_it)

    @property
    def was_ended(self) -> bool:
        """Whether it was ended by losing its name."""
        return self._was_ended

    def lose_name(self, why: str) -> None:
        """Ends the feed, and has it write nothing more under its name; also one that is closed already."""
        with self._writing, self._changed:
            self._was_ended = not self._is_closed
            self._lost_name = self._lost_name or why
        self.close()

    def enter(self, user: object) -> None:
        """Notes that `user` is at it, until it leaves or is gone."""
        with self._changed:
            self._at_it.add(user)

    def leave(self, user: object) -> None:
        """Notes that `user` is at it no more."""
        with self._changed:
            self._at_it.discard(user)

    @contextmanager
    def waking(self, waker: Callable[[], None]) -> Iterator[None]:
        """Has `waker` called, while inside, each time that there may be an event."""
        with self._changed:
            self._wakers.append(waker)
        try:
            yield
        finally:
            with self._changed:
                self._wakers.remove(waker)

    def wait_closed(self, timeout_s: float) -> bool:
        """Waits until the feed is closed; False when it is still open after `timeout_s` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_closed, timeout_s)

    def _wake(self) -> None:
        self._changed.notify_all()
        for waker in self._wakers:
            waker()

    def __enter__(self) -> Self:
        self.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Loop:
    """One loop over a feed, in a thread or in asyncio: it is at the feed until it is dropped, or something ends it."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __iter__(self) -> Iterator[FeedEvent]:
        return self

    def __aiter__(self) -> AsyncIterator[FeedEvent]:
        return self

    def __next__(self) -> FeedEvent:
        try:
            self._feed.enter(self)
            while (event := self._feed.next()) is None:
                pass
        except BaseException as error:
            self._feed.leave(self)
            if self._is_end(error):
                raise StopIteration from None
            raise
        return event

    async def __anext__(self) -> FeedEvent:
        try:
            self._feed.enter(self)
            while (event := await self._next_or_wait()) is None:
                pass
        except BaseException as error:
            self._feed.leave(self)
            if self._is_end(error):
                raise StopAsyncIteration from None
            raise
        return event

    def _is_end(self, error: BaseException) -> bool:
        """Whether it is the end that was asked for; losing the name is told."""
        return isinstance(error, ClosedError) and not self._feed.was_ended

    async def _next_or_wait(self) -> FeedEvent | None:
        """The next event; None when there was none, and there may be one now."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()

        def waker() -> None:
            with suppress(RuntimeError):  # the app has closed its loop: nobody waits there any more
                loop.call_soon_threadsafe(wake.set)

        with self._feed.waking(waker):
            event = self._feed.next(timeout=0)
            if event is None:
                await wake.wait()
            return event
