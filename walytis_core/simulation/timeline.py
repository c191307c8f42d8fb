"""Virtual time: what is due, in order.

Invariants: time never goes back; what is due at one instant happens in the order in which it was asked for, so a run is
a function of its seed. It knows nothing of peers.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

Due = tuple[float, int, Callable[..., object], tuple[Any, ...]]


class Timeline:
    """A queue of things to do, and the present instant."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[Due] = []
        self._asked = 0

    def after(self, delay_s: float, do: Callable[..., object], *args: object) -> None:
        """Has `do(*args)` called after a delay."""
        self._asked += 1
        heapq.heappush(self._due, (self.now_s + delay_s, self._asked, do, args))

    def at(self, due_s: float, do: Callable[..., object], *args: object) -> None:
        """Has `do(*args)` called at an instant that is not past."""
        self._asked += 1
        heapq.heappush(self._due, (due_s, self._asked, do, args))

    def run(self, until_s: float) -> None:
        """Does all that is due by `until_s`, and what that leads to; then it is `until_s`."""
        due = self._due
        while due and due[0][0] <= until_s:
            self.now_s, _, do, args = heapq.heappop(due)
            do(*args)
        self.now_s = max(self.now_s, until_s)
