"""The open feeds of one chain: who has which name, and which callbacks are at work.

Invariants: a name has one feed; a feed that the app dropped is told nothing more. What a feed gives, and how it is
acknowledged, is decided in `feed.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final
from weakref import WeakSet

from walytis_core.errors import InUseError
from walytis_core.feed import Feed, Source
from walytis_core.follower import Follower, Handler, Via
from walytis_core.store.port import Query

_NAME_HINT: Final = "Close that feed first, with close() or by leaving its `with` block, or take another name."


class Following:
    """The feeds of one chain.

    Args:
        source: What feeds read.
        lock: Held while a name is looked at and taken: two threads may ask for one.

    Attributes:
        feeds: Those that the app holds: one that it drops is told nothing more.
    """

    def __init__(self, source: Source, lock: AbstractContextManager[object]) -> None:
        self._source = source
        self._lock = lock
        self.feeds: WeakSet[Feed] = WeakSet()
        self._followers: list[Follower] = []
        self._unnamed = itertools.count(1)

    def open(
        self, query: Query, name: str | None, *, callback: Handler | None, revisions: bool, via: Via | None
    ) -> Feed:
        """Opens a feed, with a callback at work on it if there is one. See `Chain.follow`."""
        with self._lock:
            if name is not None:
                self._free_name(name, f"another feed of the name {name!r} was opened")
            feed = Feed(self._source, query, name, revisions=revisions)
            self.feeds.add(feed)
            if callback is not None:
                label = name or f"unnamed-{next(self._unnamed)}"
                follower = Follower(feed, callback, via, label)
                self._followers.append(follower)
                feed.on_close(lambda: self._followers.remove(follower))
        return feed

    def reset(self, name: str) -> None:
        """Has the next feed of this name begin at the start."""
        with self._lock:
            self._free_name(name, f"the name {name!r} was reset")  # else its next ack would undo this
            self._source.tables.set_cursor(name, None)

    def errors(self) -> Mapping[str, str | None]:
        """The last error of each callback, by the name of its feed; None where all is well."""
        return {follower.name: follower.error for follower in tuple(self._followers)}

    def close(self) -> None:
        """Ends all feeds, and waits for callbacks that are at work."""
        with self._lock:  # one that is being opened counts
            followers, feeds = tuple(self._followers), tuple(self.feeds)
        for feed in feeds:
            feed.close()
        for follower in followers:
            follower.close()

    def _free_name(self, name: str, why: str) -> None:
        named = [feed for feed in self.feeds if feed.name == name]
        if any(feed.is_at_work for feed in named):
            raise InUseError(f"a feed named {name!r} is at work on this chain", hint=_NAME_HINT)
        for feed in named:
            feed.lose_name(why)
