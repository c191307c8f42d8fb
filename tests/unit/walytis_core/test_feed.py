"""Feeds: what was not acknowledged comes again, what was never does, and nothing is skipped."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.suites.making import ALICE, BOB, World
from tests.suites.nodes import until
from walytis_core import events
from walytis_core import follower as follower_module
from walytis_core.block import Block, decode
from walytis_core.errors import ClosedError, InvalidInputError, StorageError
from walytis_core.feed import Arrived, Feed, FeedEvent, Revised, Source
from walytis_core.follower import Follower
from walytis_core.standing import Obeyed
from walytis_core.store.memory import MemoryChain
from walytis_core.store.port import Commit, Query, Row

WORLD = World()


class Bench:
    """A chain that grows, and feeds on it."""

    def __init__(self) -> None:
        self.store: MemoryChain = WORLD.store()
        self.feeds: list[Feed] = []
        self.last: Block | None = None

    def grow(self, count: int) -> list[Block]:
        blocks = WORLD.chain(ALICE, count, self.last)
        self.last = blocks[-1]
        self.store.commit(Commit(blocks=blocks))
        for one in self.feeds:
            one.tell(events.Arrived(blocks))
        return blocks

    def open(self, name: str | None = "app", *, revisions: bool = False, query: Query | None = None) -> Feed:
        def read(row: Row) -> Block:
            return decode(row.encoded, row.id)

        source = Source(self.store, read, lambda _id: Obeyed())
        one = Feed(source, query or Query(), name, revisions=revisions)
        self.feeds.append(one)
        return one


def take(one: Feed, count: int) -> list[Arrived]:
    found = [one.next(timeout=30) for _ in range(count)]
    assert all(isinstance(event, Arrived) for event in found)
    return found  # type: ignore[return-value]


def test_a_named_feed_replays_what_was_missed():
    """C16, C18: everything since the cursor, in order, then live; in pages."""
    bench = Bench()
    missed = bench.grow(200)
    one = bench.open()
    assert [event.block for event in take(one, 200)] == missed
    assert len(one._rows) <= 64
    assert one.next(timeout=0) is None
    news = bench.grow(3)
    assert [event.block for event in take(one, 3)] == news


def test_acknowledged_blocks_never_come_again():
    """C16: after a restart: what was not acknowledged, also where a later one was."""
    bench = Bench()
    blocks = bench.grow(5)
    found = take(bench.open(), 5)
    for at in (0, 1, 3):
        found[at].ack()
    assert [event.block for event in take(bench.open(), 3)] == blocks[2:]
    found[2].ack()
    assert [event.block for event in take(bench.open(), 1)] == blocks[4:]
    found[4].ack()
    found[4].ack()
    assert bench.open().next(timeout=0) is None


def test_an_unnamed_feed_starts_now():
    """C19: it keeps no cursor, and gives what arrives from now on."""
    bench = Bench()
    bench.grow(3)
    one = bench.open(None)
    assert one.next(timeout=0) is None
    news = bench.grow(2)
    found = take(one, 2)
    assert [event.block for event in found] == news
    found[0].ack()
    assert bench.store._cursors == {}
    with pytest.raises(InvalidInputError):
        found[1].reject("no")


def test_names_are_independent():
    """C19: each name has its own cursor; without one, everything is replayed."""
    bench = Bench()
    blocks = bench.grow(3)
    for event in take(bench.open("one"), 3):
        event.ack()
    assert [event.block for event in take(bench.open("two"), 3)] == blocks
    bench.store.set_cursor("one", None)
    assert [event.block for event in take(bench.open("one"), 3)] == blocks


def test_set_aside():
    """C16: a block that is rejected on purpose is kept with the reason, and passed over."""
    bench = Bench()
    bench.grow(2)
    first, second = take(bench.open(), 2)
    first.reject("not ours")
    second.ack()
    assert bench.store.rejected("app") == {first.number: "not ours"}
    assert bench.open().next(timeout=0) is None


def test_a_filter_moves_the_cursor_too():
    """C20: blocks that a feed does not ask for are not given."""
    bench = Bench()
    bench.grow(4)
    assert bench.open(query=Query(author=BOB.key)).next(timeout=0) is None


def test_revisions_are_told_to_those_who_asked():
    """C52: only to them, before the next block."""
    bench = Bench()
    asked, other = bench.open("a", revisions=True), bench.open("b")
    for one in bench.feeds:
        one.tell(events.Revised((WORLD.first.id,)))
        one.tell(events.Forked(ALICE.key, 1))
    assert asked.next(timeout=0) == Revised((WORLD.first.id,))
    assert asked.next(timeout=0) is other.next(timeout=0) is None


def test_close_ends_iteration():
    """C46: in a thread that waits, in asyncio, and for later calls."""
    bench = Bench()
    one = bench.open()
    bench.grow(1)
    got: list[FeedEvent] = []
    first = threading.Event()

    def consume() -> None:
        for event in one:
            got.append(event)
            first.set()

    thread = threading.Thread(target=consume)
    thread.start()
    assert first.wait(30)
    ended: list[int] = []
    one.on_close(lambda: ended.append(1))
    one.close()
    one.close()
    thread.join(30)
    assert not thread.is_alive()
    assert (len(got), ended) == (1, [1])
    with pytest.raises(ClosedError):
        one.next(timeout=0)

    async def consume_closed() -> list[FeedEvent]:
        return [event async for event in one]

    assert asyncio.run(consume_closed()) == []


def test_asyncio_is_woken():
    """C48: by iteration in a running loop, with the same result."""
    bench = Bench()
    one = bench.open()
    bench.grow(2)

    async def consume() -> list[Any]:
        found = []
        async for event in one:
            found.append(event)
            if len(found) == 2:
                threading.Thread(target=bench.grow, args=(3,)).start()
            if len(found) == 5:
                return found
        return found

    found = asyncio.run(asyncio.wait_for(consume(), 30))
    numbers = [event.number for event in found]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 5


def test_a_handler_that_raises(monkeypatch):
    """C17: it is called again with the same block, the error is visible, and the next block comes after it."""
    monkeypatch.setattr(follower_module, "_FIRST_RETRY_S", 0.001)
    bench = Bench()
    blocks = bench.grow(2)
    seen: list[Block] = []
    errors: list[str | None] = []
    done = threading.Event()
    followers: list[Follower] = []
    ready = threading.Event()

    def handler(event: FeedEvent) -> None:
        assert isinstance(event, Arrived)
        ready.wait(30)
        seen.append(event.block)
        errors.append(followers[0].error)
        if len(seen) < 4:
            raise ValueError("not yet")
        if event.block == blocks[1]:
            done.set()

    followers.append(Follower(bench.open(), handler, None, "app"))
    ready.set()
    assert done.wait(30)
    followers[0].close()
    assert seen == [blocks[0]] * 4 + [blocks[1]]
    assert errors == [None, *["ValueError: not yet"] * 3, None]
    assert bench.open().next(timeout=0) is None


class Failing:
    """Stands in for a function: raises the first times."""

    def __init__(self, function: Any, times: int) -> None:
        self.function = function
        self.left = times

    def __call__(self, *arguments: Any) -> Any:
        if self.left:
            self.left -= 1
            raise StorageError("the disk reports an error")
        return self.function(*arguments)


@pytest.mark.parametrize("name", ["query", "corrupt", "set_cursor"])
def test_a_follower_survives_a_disk_that_fails(monkeypatch, name):
    """C17, C25: reading and writing are tried again, the error is visible, and no block is handled twice or lost."""
    monkeypatch.setattr(follower_module, "_FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(follower_module, "_LAST_RETRY_S", 0.001)
    bench = Bench()
    monkeypatch.setattr(bench.store, name, Failing(getattr(bench.store, name), 1 << 60))
    seen: list[Block] = []
    done = threading.Event()

    def handler(event: FeedEvent) -> None:
        assert isinstance(event, Arrived)
        seen.append(event.block)
        if len(seen) == 3:
            done.set()

    one = bench.open()
    follower = Follower(one, handler, None, "app")
    blocks = bench.grow(3)
    until(lambda: follower.error)
    assert follower.error == "StorageError: the disk reports an error"
    monkeypatch.undo()
    assert done.wait(30)
    until(lambda: bench.store.cursor("app") == bench.store.last)
    follower.close()
    assert seen == blocks
    assert follower.error is None


def test_what_fails_while_an_event_is_made_skips_nothing():
    """C16: the error is raised once; the next call gives the same block."""
    bench = Bench()
    blocks = bench.grow(3)
    one = bench.open()
    one._source = Source(bench.store, Failing(one._source.read, 1), one._source.standing)
    with pytest.raises(StorageError):
        one.next(timeout=0)
    one._source = Source(bench.store, one._source.read, Failing(one._source.standing, 1))
    with pytest.raises(StorageError):
        next(iter(one))
    assert [event.block for event in take(one, 3)] == blocks


def test_a_cursor_that_could_not_be_written_is_written_later(monkeypatch):
    """C16, C25: acknowledging again is enough; an old feed of the name never moves the cursor back."""
    bench = Bench()
    bench.grow(3)
    old, one = bench.open(), bench.open()
    monkeypatch.setattr(bench.store, "set_cursor", Failing(bench.store.set_cursor, 1))
    first, second, third = take(one, 3)
    with pytest.raises(StorageError):
        first.ack()
    assert bench.store.cursor("app") is None
    first.ack()
    assert bench.store.cursor("app") == first.number
    second.ack()
    third.ack()
    take(old, 1)[0].ack()
    assert bench.store.cursor("app") == third.number


def test_a_filtered_feed_passes_what_it_does_not_ask_for():
    """C16, C20: acknowledging out of order, with other blocks in between, loses nothing and repeats little."""
    bench = Bench()
    wanted, others = Query(author=BOB.key), WORLD.chain(ALICE, 12)
    chosen = WORLD.chain(BOB, 3)
    mixed = [*others[:3], chosen[0], *others[3:6], chosen[1], *others[6:9], chosen[2], *others[9:]]
    bench.store.commit(Commit(blocks=mixed))
    first, second, third = take(bench.open(query=wanted), 3)
    assert [event.block for event in (first, second, third)] == chosen
    second.ack()
    assert (bench.store.cursor("app") or 0) < first.number
    first.ack()
    assert second.number <= (bench.store.cursor("app") or 0) < third.number
    again = bench.open(query=wanted)
    assert [event.block for event in take(again, 1)] == chosen[2:]
    third.ack()
    assert bench.store.cursor("app") == third.number
    assert bench.open(query=wanted).next(timeout=0) is None


class Damaged:
    """A chain of which some bytes are set aside."""

    def __init__(self, store: MemoryChain) -> None:
        self.store = store
        self.lost: set[bytes] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def corrupt(self) -> list[bytes]:
        return sorted(self.lost)

    def query(self, query: Query, newest_first: bool, limit: int) -> list[Row]:
        rows = self.store.query(query, newest_first, 1 << 30)
        return [row for row in rows if row.id not in self.lost][:limit]


@pytest.mark.parametrize("name", ["app", None])
@pytest.mark.parametrize("is_live", [True, False])
def test_damaged_blocks_are_given_when_they_are_healed(name, is_live):
    """C16, C24: once each, if the feed asks for them; those that came whole are not given again."""
    bench = Bench()
    store: Any = Damaged(bench.store)
    bench.store = store
    one = bench.open(name)
    blocks = bench.grow(150)
    store.lost = {blocks[at].id for at in (0, 20, 70, 149)}
    for event in take(one, 146):
        event.ack()
    assert one.next(timeout=0) is None
    store.lost.add(blocks[30].id)  # damaged after it was given
    other = bench.open("other", query=Query(author=BOB.key))
    if not is_live and name is not None:
        one = bench.open(name)
        assert one.next(timeout=0) is None
    store.lost = {blocks[20].id}
    for feed_ in (one, other):
        feed_.tell(events.Revised((blocks[0].id, blocks[30].id, blocks[70].id, blocks[149].id)))
    found = take(one, 3)
    assert [event.block for event in found] == [blocks[0], blocks[70], blocks[149]]
    for event in found[::-1]:
        event.ack()
    assert one.next(timeout=0) is other.next(timeout=0) is None
    store.lost.clear()
    one.tell(events.Revised((blocks[20].id,)))
    take(one, 1)[0].ack()
    assert one.next(timeout=0) is None
    assert store.items("missed/") == {}


def test_a_handler_in_the_apps_own_loop():
    """C48: `via` has the handler called where the app wants it, and acknowledged after it ran."""
    bench = Bench()
    blocks = bench.grow(2)
    scheduled: list[threading.Thread] = []
    seen: list[FeedEvent] = []
    done = threading.Event()

    def via(call: Any) -> None:
        scheduled.append(threading.Thread(target=call, name="app"))
        scheduled[-1].start()

    def handler(event: FeedEvent) -> None:
        assert threading.current_thread().name == "app"
        seen.append(event)
        if len(seen) == 2:
            done.set()

    follower = Follower(bench.open(), handler, via, "app")
    assert done.wait(30)
    follower.close()
    assert [event.block for event in seen if isinstance(event, Arrived)] == blocks


def test_a_handler_that_never_comes_back():
    """C46: closing ends a follower whose app has stopped its loop."""
    bench = Bench()
    bench.grow(1)
    asked = threading.Event()
    follower = Follower(bench.open(), lambda _event: None, lambda _call: asked.set(), "app")
    assert asked.wait(30)
    follower.close()
    assert not follower._thread.is_alive()
    assert bench.store.cursor("app") is None
