"""What a chain knows of its peers is on the disk soon, in few writes, and no disk costs more than that."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import trio
import trio.testing

from walytis_core import cbor, known_peers
from walytis_core.errors import StorageError
from walytis_core.known_peers import KnownPeers
from walytis_core.messages import Peers
from walytis_core.store.port import ChainStore
from walytis_core.workers import Lane, Workers


def at(peer: str, number: int = 1) -> str:
    return f"/ip4/192.0.2.{number}/tcp/4001/p2p/{peer}"


class Values:
    """The small values of a chain, counted as they are written."""

    def __init__(self, kept: bytes | None = None) -> None:
        self.kept = kept
        self.writes = 0
        self.refuses = False

    def get(self, _key: str) -> bytes | None:
        if self.refuses:
            raise StorageError("the disk reports an error")
        return self.kept

    def put(self, _key: str, value: bytes | None) -> None:
        if self.refuses:
            raise StorageError("the disk is full")
        self.kept = value
        self.writes += 1

    def peers(self) -> dict[str, list[str]]:
        data = cast(
            "list[list[object]]", [] if self.kept is None else cbor.decode(self.kept, max_bytes=1 << 20, max_depth=5)
        )
        return {cast(str, peer): [entry[0] for entry in cast("list[list[str]]", entries)] for peer, entries in data}


class Direct:
    """Does jobs in the loop, between two of its turns."""

    async def run(self, job: Callable[[], object], _limiter: object = None) -> object:
        await trio.lowlevel.checkpoint()
        return job()


def known(values: Values) -> KnownPeers:
    return KnownPeers(cast(ChainStore, values), cast(Lane, Direct()))


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
def clock() -> trio.testing.MockClock:
    return trio.testing.MockClock()


def run(function: Callable[[trio.testing.MockClock], object], clock: trio.testing.MockClock) -> None:
    trio.run(function, clock, clock=clock)  # type: ignore[arg-type]


def test_what_is_learnt_is_on_the_disk_soon_in_few_writes(clock: trio.testing.MockClock) -> None:
    """C22: a node that is killed finds its peers again; a burst of news costs one more write."""

    async def main(clock: trio.testing.MockClock) -> None:
        values = Values()
        peers = known(values)
        await peers.restore()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.keep)
            peers.learn("bob", [at("bob")])
            await settled()
            assert (values.peers(), values.writes) == ({"bob": [at("bob")]}, 1)
            for number in range(20):
                peers.learn(f"peer{number}", [at(f"peer{number}")])
                await settled()
            assert values.writes == 1
            clock.jump(known_peers._PAUSE_S)
            await settled()
            assert (len(values.peers()), values.writes) == (21, 2)
            for turn in range(5):  # nothing new
                peers.came("bob")
                peers.learn("bob", [at("bob")])
                peers.hear("bob", Peers((("eve", (at("eve"),)),)), "alice")
                clock.jump(known_peers._PAUSE_S)
                await settled()
                assert values.writes == 2, turn
            peers.dialled("bob", at("bob"), began=0.0)  # now it is known to work
            clock.jump(known_peers._PAUSE_S)
            await settled()
            assert values.writes == 3
            nursery.cancel_scope.cancel()
        again = known(Values(values.kept))
        await again.restore()
        assert len(again.book) == 21

    run(main, clock)


def test_a_disk_that_refuses_to_write_is_asked_again(clock: trio.testing.MockClock) -> None:
    """C25: the peers are not forgotten, and are written with the next news."""

    async def main(clock: trio.testing.MockClock) -> None:
        values = Values()
        peers = known(values)
        await peers.restore()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.keep)
            values.refuses = True
            peers.learn("bob", [at("bob")])
            await settled()
            values.refuses = False
            peers.learn("bob", [at("bob")])
            clock.jump(known_peers._PAUSE_S)
            await settled()
            assert set(values.peers()) == {"bob"}
            nursery.cancel_scope.cancel()

    run(main, clock)


def test_a_book_that_was_not_read_is_not_written_over(clock: trio.testing.MockClock) -> None:
    """C25: a disk that refuses while a chain starts costs no addresses."""

    async def main(_clock: trio.testing.MockClock) -> None:
        values = Values(cbor.encode([["bob", [[at("bob"), 1, 0, 1]]]]))
        values.refuses = True
        peers = known(values)
        await peers.restore()
        values.refuses = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.keep)
            peers.learn("carol", [at("carol")])
            await settled()
            nursery.cancel_scope.cancel()
        peers.close()
        assert (values.writes, set(values.peers())) == (0, {"bob"})

    run(main, clock)


@pytest.mark.parametrize("kept", [b"", b"\xff", cbor.encode("x"), cbor.encode([["bob", 1], [1, []]])])
def test_a_damaged_book_is_an_empty_one(kept: bytes, clock: trio.testing.MockClock) -> None:
    """C25: what does not parse is left out."""

    async def main(_clock: trio.testing.MockClock) -> None:
        peers = known(Values(kept))
        await peers.restore()
        assert (len(peers.book), peers.is_read) == (0, True)

    run(main, clock)


def test_a_node_that_closes_ends_the_writing(clock: trio.testing.MockClock) -> None:
    """C46: news that come while the threads end are left to the last write."""

    async def main(_clock: trio.testing.MockClock) -> None:
        values, workers = Values(), Workers()
        peers = KnownPeers(cast(ChainStore, values), workers.lane())
        peers.is_read = True
        workers.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.keep)
            peers.learn("bob", [at("bob")])
            await settled()
            assert values.writes == 0
            nursery.cancel_scope.cancel()
        peers.close()
        assert set(values.peers()) == {"bob"}

    run(main, clock)
