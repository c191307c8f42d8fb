"""Consumers: what was acknowledged never comes again, what was not always does; in threads, asyncio and app loops."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.suites.nodes import WITHIN_S, assert_causal, join, open_node, until, until_same
from walytis_core import Arrived, Block, Chain, ClosedError, Feed, FeedEvent, InUseError, InvalidInputError, Node
from walytis_core.events import Revised
from walytis_core.network import MemoryHub


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def node(hub: MemoryHub) -> Iterator[Node]:
    with Node.in_memory(hub) as node:
        yield node


@pytest.fixture
def chain(node: Node) -> Chain:
    return node.create_chain("notes")


def take(feed: Feed, count: int, *, ack: bool = True) -> list[bytes]:
    """The payloads of the next events."""
    taken = []
    for _ in range(count):
        event = feed.next(timeout=WITHIN_S)
        assert isinstance(event, Arrived)
        taken.append(event.block.payload)
        if ack:
            event.ack()
    return taken


def keep_block(blocks: list[Block], event: FeedEvent) -> None:
    assert isinstance(event, Arrived)
    blocks.append(event.block)


def has(blocks: list[Block], count: int) -> bool:
    return len(blocks) == count


def test_at_least_once_across_restarts(tmp_path: Path, hub: MemoryHub) -> None:
    """C16: what was not acknowledged comes again after a restart; what was, never."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        chain.append_many([b"1", b"2", b"3", b"4"])
        feed = chain.follow(name="inbox")
        assert take(feed, 2) == [b"1", b"2"]
        assert take(feed, 1, ack=False) == [b"3"]
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        chain.append(b"5")
        feed = chain.follow(name="inbox")
        assert take(feed, 3) == [b"3", b"4", b"5"]
        assert feed.next(timeout=0) is None
    with open_node(tmp_path / "a", hub) as node:
        feed = node.chain("notes").follow(name="inbox")
        assert feed.next(timeout=0) is None
        node.chain("notes").append(b"6")
        assert take(feed, 1) == [b"6"]


def test_acknowledged_out_of_order(tmp_path: Path, hub: MemoryHub) -> None:
    """C16: an older block that is not acknowledged holds the cursor back; nothing is skipped."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        chain.append_many([b"1", b"2", b"3"])
        feed = chain.follow(name="inbox")
        events = [feed.next(timeout=WITHIN_S) for _ in range(3)]
        for event in (events[2], events[1]):
            assert event is not None
            event.ack()
    with open_node(tmp_path / "a", hub) as node:
        assert take(node.chain("notes").follow(name="inbox"), 3) == [b"1", b"2", b"3"]


def test_parents_come_first(node: Node, hub: MemoryHub) -> None:
    """C15: with three writers at once, at every follower."""
    with Node.in_memory(hub) as second, Node.in_memory(hub) as third:
        chain = node.create_chain("notes")
        chains = [chain, join(second, chain), join(third, chain)]
        heard: list[list[Block]] = [[], [], []]
        for copy, blocks in zip(chains, heard, strict=True):
            copy.follow(partial(keep_block, blocks), name="inbox")
        threads = [threading.Thread(target=lambda copy=copy: [copy.append(b"x") for _ in range(40)]) for copy in chains]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WITHIN_S)
        until_same(*chains, count=120)
        for blocks in heard:
            until(partial(has, blocks, 120))
            assert_causal(blocks, chain.id)


def test_a_handler_that_raises_is_tried_again(chain: Chain) -> None:
    """C17: with backoff, before the next block; the error is visible in `status()` until it is over."""
    tries: list[bytes] = []
    mended = threading.Event()

    def handler(event: object) -> None:
        assert isinstance(event, Arrived)
        tries.append(event.block.payload)
        if event.block.payload == b"2" and not mended.is_set():
            raise RuntimeError("the app's database is away")

    chain.follow(handler, name="inbox")
    chain.append_many([b"1", b"2", b"3"])
    until(lambda: tries.count(b"2") >= 2)
    assert b"3" not in tries
    assert "the app's database is away" in (chain.status().followers["inbox"] or "")
    mended.set()
    until(lambda: tries[-1] == b"3")
    until(lambda: chain.status().followers["inbox"] is None)
    assert tries == [b"1"] + [b"2"] * tries.count(b"2") + [b"3"]
    assert tries.count(b"2") <= 8, "no pause between tries"


def test_a_failing_handler_resumes_after_a_restart(tmp_path: Path, hub: MemoryHub) -> None:
    """C17: the block that failed comes first after a restart. C16."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        tried: list[bytes] = []

        def fails(event: object) -> None:
            assert isinstance(event, Arrived)
            tried.append(event.block.payload)
            if event.block.payload == b"2":
                raise RuntimeError("no")

        chain.follow(fails, name="inbox")
        chain.append_many([b"1", b"2", b"3"])
        until(lambda: b"2" in tried)
    with open_node(tmp_path / "a", hub) as node:
        got: list[bytes] = []
        node.chain("notes").follow(lambda event: got.append(event.block.payload), name="inbox")  # type: ignore[union-attr]
        until(lambda: len(got) == 2)
        assert got == [b"2", b"3"]


def test_rejected_on_purpose(tmp_path: Path, hub: MemoryHub) -> None:
    """C17: `reject` sets one block aside with its reason, and goes on."""
    with open_node(tmp_path / "a", hub) as node:
        chain = node.create_chain("notes")
        chain.append_many([b"1", b"2"])
        feed = chain.follow(name="inbox")
        event = feed.next(timeout=WITHIN_S)
        assert isinstance(event, Arrived)
        event.reject("not for me")
        assert take(feed, 1) == [b"2"]
        assert list(chain.rejected("inbox").values()) == ["not for me"]
    with open_node(tmp_path / "a", hub) as node:
        chain = node.chain("notes")
        assert chain.follow(name="inbox").next(timeout=0) is None
        assert list(chain.rejected("inbox").values()) == ["not for me"]
        unnamed = chain.follow()
        chain.append(b"3")
        event = unnamed.next(timeout=WITHIN_S)
        assert isinstance(event, Arrived)
        with pytest.raises(InvalidInputError):
            event.reject("unnamed")


@pytest.mark.slow
def test_ten_thousand_blocks_while_the_app_was_off(tmp_path: Path, hub: MemoryHub) -> None:
    """C18: all are delivered at its next start, in bounded memory."""
    total = 10_000
    with open_node(tmp_path / "a", hub) as node, open_node(tmp_path / "b", hub) as other:
        chain = node.create_chain("notes")
        copy = join(other, chain)
        feed = copy.follow(name="inbox")
        chain.append(b"seen")
        assert take(feed, 1) == [b"seen"]
        feed.close()
        for start in range(0, total, 250):
            chain.append_many([b"%d" % (start + index) + bytes(200) for index in range(250)])
        until(lambda: len(copy) == total + 1, 60)
    with open_node(tmp_path / "b", hub) as other:
        copy = other.chain("notes")
        feed = copy.follow(name="inbox")
        tracemalloc.start()
        count, named = 0, copy.id
        for event in feed:
            assert isinstance(event, Arrived)
            if count:
                assert event.block.prev == named, "out of order"
            named = event.block.id
            assert int(event.block.payload[:-200]) == count
            event.ack()
            count += 1  # noqa: SIM113 - used after the loop
            if count == total:
                break
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert feed.next(timeout=0) is None
        assert peak < 2 << 20, f"{peak} bytes"


def test_two_consumers_are_independent(chain: Chain) -> None:
    """C19: names have their own cursors; `reset` replays all."""
    chain.append_many([b"1", b"2", b"3"])
    one, other = chain.follow(name="one"), chain.follow(name="other")
    assert take(one, 3) == [b"1", b"2", b"3"]
    assert take(other, 1) == [b"1"]
    one.close()
    other.close()
    chain.reset("one")
    assert take(chain.follow(name="one"), 3) == [b"1", b"2", b"3"]
    assert take(chain.follow(name="other"), 2) == [b"2", b"3"]


def test_a_filter_moves_the_cursor_over_its_own_only(chain: Chain) -> None:
    """C19: a consumer of one topic gets each of its blocks, and nothing else."""
    for number in range(200):
        chain.append(b"%d" % number, topics=["even" if number % 2 == 0 else "odd"], type="t" if number % 3 else "")
    feed = chain.follow(name="even", topic="even")
    assert take(feed, 100) == [b"%d" % number for number in range(0, 200, 2)]
    assert feed.next(timeout=0) is None
    feed.close()
    chain.append(b"odd", topics=["odd"])
    chain.append(b"even", topics=["even"])
    assert take(chain.follow(name="even", topic="even"), 1) == [b"even"]
    assert len(take(chain.follow(name="typed", type="t"), 133)) == 133


def test_an_unnamed_follower_is_live_only(chain: Chain) -> None:
    """C19: an unnamed feed starts now, and shows own blocks too."""
    chain.append(b"before")
    feed = chain.follow()
    chain.append(b"after")
    assert take(feed, 1) == [b"after"]
    assert feed.next(timeout=0) is None


# --- threads, asyncio, app loops ---------------------------------------------------------------------------------


def fill(chain: Chain) -> list[bytes]:
    payloads = [b"%d" % number for number in range(30)]
    for payload in payloads[:15]:
        chain.append(payload)
    chain.append_many(payloads[15:])
    return payloads


def test_all_ways_give_the_same(chain: Chain) -> None:
    """C48: iteration, a thread's callback, an app's loop and asyncio get the same blocks in the same order."""
    results: dict[str, list[bytes]] = {"thread": [], "via": [], "asyncio": [], "iteration": []}
    callers: set[str] = set()
    calls: queue.Queue[object] = queue.Queue()

    def keep(name: str):
        def handler(event: object) -> None:
            assert isinstance(event, Arrived)
            results[name].append(event.block.payload)
            if name == "via":
                callers.add(threading.current_thread().name)

        return handler

    chain.follow(keep("thread"), name="thread")
    chain.follow(keep("via"), name="via", via=calls.put)
    payloads = fill(chain)
    while len(results["via"]) < len(payloads):  # the app's own loop
        call = calls.get(timeout=WITHIN_S)
        assert callable(call)
        call()
    for event in chain.follow(name="iteration"):
        assert isinstance(event, Arrived)
        results["iteration"].append(event.block.payload)
        if len(results["iteration"]) == len(payloads):
            break

    async def consume() -> None:
        async for event in chain.follow(name="asyncio"):
            keep("asyncio")(event)
            if len(results["asyncio"]) == len(payloads):
                return

    asyncio.run(asyncio.wait_for(consume(), WITHIN_S))
    until(lambda: len(results["thread"]) == len(payloads))
    assert results == dict.fromkeys(results, payloads)
    assert callers == {threading.current_thread().name}


def test_asyncio_waits_without_blocking_its_loop(chain: Chain) -> None:
    """C48: `async for` inside a running loop, while another task of that loop appends."""

    async def consume() -> list[bytes]:
        got = []
        async for event in chain.follow():
            assert isinstance(event, Arrived)
            got.append(event.block.payload)
            if len(got) == 5:
                break
        return got

    async def main() -> list[bytes]:
        consumer = asyncio.create_task(consume())
        for number in range(5):
            await asyncio.sleep(0)
            chain.append(b"%d" % number)
        return await asyncio.wait_for(consumer, WITHIN_S)

    assert asyncio.run(main()) == [b"0", b"1", b"2", b"3", b"4"]


def test_asyncio_feed_ends_when_it_is_closed(chain: Chain) -> None:
    """C48: closing from a thread ends `async for`."""

    async def main() -> int:
        feed = chain.follow()
        threading.Timer(0.05, feed.close).start()
        return len([event async for event in feed])

    assert asyncio.run(asyncio.wait_for(main(), WITHIN_S)) == 0


def test_a_join_can_be_awaited(node: Node, hub: MemoryHub) -> None:
    """C48: `await node.join(...)` in a running loop."""
    chain = node.create_chain("notes")
    chain.append(b"1")
    uri = str(chain.invite())

    async def main() -> list[bytes]:
        with Node.in_memory(hub) as other:
            copy = await asyncio.wait_for(_awaited(other.join(uri)), WITHIN_S)
            block = await copy.fetch(next(copy.blocks()))
            return [block.payload]

    async def _awaited(pending):
        return await pending

    assert asyncio.run(main()) == [b"1"]


def test_a_dead_asyncio_loop_harms_nobody(chain: Chain) -> None:
    """C48: an app that closes its loop while a feed waits in it does not break appends."""
    loop = asyncio.new_event_loop()
    feed = chain.follow()

    async def consume() -> None:
        async for _ in feed:
            pass

    task = loop.create_task(consume())
    loop.run_until_complete(asyncio.sleep(0.01))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    chain.append(b"1")
    assert len(chain) == 1
    feed.close()


def test_a_loop_that_is_gone_shows_in_the_status(chain: Chain) -> None:
    """C17: `via` may raise, e.g. when the app's window is closed."""

    def gone(_call: object) -> None:
        raise RuntimeError("no window")

    chain.follow(lambda _event: None, name="inbox", via=gone)
    chain.append(b"1")
    until(lambda: "no window" in (chain.status().followers["inbox"] or ""))


def test_a_feed_closed_while_waiting(chain: Chain) -> None:
    """C46: whoever waits in a feed comes to its end when it, the chain or the node is closed."""
    ends: list[str] = []
    feed = chain.follow()

    def iterate() -> None:
        for _ in feed:
            pass
        ends.append("over")

    threads = [threading.Thread(target=iterate) for _ in range(2)]
    for thread in threads:
        thread.start()
    feed.close()
    for thread in threads:
        thread.join(WITHIN_S)
    assert ends == ["over", "over"]
    with pytest.raises(ClosedError):
        feed.next(timeout=0)
    feed.close()


def test_a_name_has_one_feed_at_a_time(chain: Chain) -> None:
    """C16: a second one would have its acknowledged blocks given again: it is refused until the first is closed."""
    got: list[object] = []
    first = chain.follow(got.append, name="same")
    for callback in (None, got.append):
        with pytest.raises(InUseError) as caught:
            chain.follow(callback, name="same")
        assert "close" in caught.value.hint
    chain.append(b"1")
    until(lambda: got)
    until(lambda: chain.tables.cursor("same") is not None)
    first.close()
    with chain.follow(name="same") as feed:
        assert feed.next(timeout=0) is None
    chain.follow(got.append, name="same")
    chain.close()
    until(lambda: not any(thread.name == "walytis-follow-same" for thread in threading.enumerate()))


def test_a_feed_that_was_left_gives_its_name_up(chain: Chain) -> None:
    """C16, C17: the next one goes on where it was, and what the old one still says has no effect, loudly."""
    chain.append_many([b"1", b"2"])
    for event in chain.follow(name="same"):
        assert isinstance(event, Arrived)
        event.ack()
        break
    left = chain.follow(name="same")
    late = left.next(timeout=WITHIN_S)
    assert isinstance(late, Arrived)
    with chain.follow(name="same") as feed:
        assert take(feed, 1, ack=False) == [b"2"]
        for act in (partial(left.next, timeout=0), late.ack, partial(late.reject, "no"), partial(next, iter(left))):
            with pytest.raises(ClosedError, match="another feed of the name 'same'") as caught:
                act()
            assert "name" in caught.value.hint
        assert chain.rejected("same") == {}
        assert chain.tables.cursor("same") == late.number - 1


def test_a_feed_at_work_keeps_its_name(chain: Chain) -> None:
    """C16: a loop, a `with` block, a callback: until it is left or closed; neither a second feed nor a reset gets in."""
    chain.append_many([b"1", b"2"])

    def refused() -> None:
        for ask in (partial(chain.follow, name="same"), partial(chain.reset, "same")):
            with pytest.raises(InUseError) as caught:
                ask()
            assert "close" in caught.value.hint

    for _event in chain.follow(name="same"):
        refused()
        break
    with chain.follow(name="same"):
        refused()
    follower = chain.follow(lambda _event: None, name="same")
    refused()
    follower.close()
    chain.reset("same")


def test_a_loop_that_was_interrupted_gives_its_name_up(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """C16: as in a notebook, where what was raised keeps the frames of the loop alive."""
    feed = chain.follow(name="same")
    monkeypatch.setattr(feed, "next", interrupted)
    with pytest.raises(KeyboardInterrupt) as kept:
        list(feed)
    chain.follow(name="same").close()
    assert any("self" in entry.frame.f_locals for entry in kept.traceback)


def interrupted() -> None:
    raise KeyboardInterrupt


def test_asyncio_loops_hold_the_name_and_give_it_up(chain: Chain) -> None:
    """C16: at once when the loop is left, before asyncio has done anything else."""
    chain.append_many([b"1", b"2"])

    async def main() -> None:
        for _ in range(2):
            async for _event in chain.follow(name="same"):
                with pytest.raises(InUseError):
                    chain.follow(name="same")
                break
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait_for_ever(), 0.05)
        chain.follow(name="same").close()

    async def wait_for_ever() -> None:
        with chain.follow(name="other") as feed:
            assert take(feed, 2) == [b"1", b"2"]
        async for _event in chain.follow(name="other"):
            raise AssertionError

    asyncio.run(main())


def test_starting_over_is_not_undone_by_a_late_acknowledgement(chain: Chain) -> None:
    """C19: also not by one of a feed that was closed before."""
    chain.append_many([b"1", b"2"])
    for closes in (False, True):
        feed = chain.follow(name="same")
        late = feed.next(timeout=WITHIN_S)
        assert late is not None
        if closes:
            feed.close()
        chain.reset("same")
        with pytest.raises(ClosedError, match="was reset"):
            late.ack()
        assert chain.tables.cursor("same") is None
    with chain.follow(name="same") as feed:
        assert take(feed, 2) == [b"1", b"2"]


def test_a_feed_that_is_dropped_is_not_kept(chain: Chain) -> None:
    """C17: the chain tells it nothing more, and holds nothing for it."""
    dropped = weakref.ref(chain.follow(revisions=True))
    gc.collect()
    assert dropped() is None
    chain.append(b"1")


def test_a_block_that_was_damaged_when_it_was_passed(tmp_path: Path, hub: MemoryHub) -> None:
    """C16, C24: it is delivered once it is healed, once, and after a restart in between too."""
    with Node.in_memory(hub) as peer, open_node(tmp_path / "a", hub) as node:
        chain = peer.create_chain("notes")
        blocks = chain.append_many([b"%d" % number for number in range(5)])
        copy = node.join(str(chain.invite())).result(WITHIN_S)
        until(lambda: len(copy) == 5)
        hub.cut(peer.peer_id)
        with copy.tables._database.write() as connection:  # type: ignore[attr-defined]
            sql = "UPDATE blocks SET encoded = x'00' WHERE id IN (?, ?)"
            connection.execute(sql, (blocks[1].id[4:], blocks[2].id[4:]))
        with copy.follow(name="inbox") as feed:
            assert take(feed, 3) == [b"0", b"3", b"4"]
            assert feed.next(timeout=0) is None
    with open_node(tmp_path / "a", hub) as node:
        copy = node.chain("notes")
        feed = copy.follow(name="inbox")
        assert feed.next(timeout=0) is None
        copy.tables.heal(blocks[2].id, blocks[2].encoded)
        copy.engine._notify(Revised((blocks[2].id,)))
        assert take(feed, 1) == [b"2"]
        assert feed.next(timeout=0) is None
    with open_node(tmp_path / "a", hub) as node:
        copy = node.chain("notes")
        copy.tables.heal(blocks[1].id, blocks[1].encoded)
        with copy.follow(name="inbox") as feed:
            assert take(feed, 1, ack=False) == [b"1"]
        with copy.follow(name="inbox") as feed:
            assert take(feed, 1) == [b"1"]
            assert feed.next(timeout=0) is None
        with copy.follow(name="inbox") as feed:
            assert feed.next(timeout=0) is None
        assert copy.tables.items("missed/") == {}


def test_a_consumer_that_ends_is_not_kept(chain: Chain) -> None:
    """C17: a follower that was closed is in no status, and a feed that was closed is not told anything."""
    for number in range(20):
        feed = chain.follow(lambda _event: None, name=f"inbox {number}")
        feed.close()
    until(lambda: not any("walytis-follow" in thread.name for thread in threading.enumerate()))
    assert chain.status().followers == {}
