"""Timers of the node's loop: functions that are called at an instant, in one heap. Knows nothing of chains."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import trio


class Timers:
    """Functions to be called later, in the loop."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._changed = trio.Event()

    def add(self, due: float, fire: Callable[[], None]) -> None:
        """Has `fire` called when `due` comes, by the loop's clock."""
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, fire))
        if self._heap[0][1] == self._count:
            self._changed.set()

    async def run(self) -> None:
        """Fires timers for ever."""
        while True:
            self._changed = trio.Event()
            with trio.move_on_at(self._heap[0][0] if self._heap else float("inf")):
                await self._changed.wait()
            while self._heap and self._heap[0][0] <= trio.current_time():
                heapq.heappop(self._heap)[2]()
