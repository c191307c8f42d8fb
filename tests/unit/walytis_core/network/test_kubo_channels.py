"""How often a daemon is asked who is on a channel, in virtual time; and how its topics and payloads are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
import trio.testing

from walytis_core.network._errors import single_error
from walytis_core.network._peer_id import peer_id_of
from walytis_core.network.kubo.gossip import Channels, decoded, encoded
from walytis_core.network.kubo.peers import Peers
from walytis_core.network.kubo.rpc import Rpc

PEER = peer_id_of(bytes(32))
OTHER = peer_id_of(bytes([1]) * 32)


class Asked:
    """An RPC that says who is on which channel, and counts how often it is asked."""

    def __init__(self) -> None:
        self.crowds: dict[str, list[str]] = {}
        self.count = Counter[str]()

    async def ask(self, path: str, *args: str, **how: Any) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if path == "swarm/peers":
            return {"Peers": [{"Peer": PEER, "Addr": "/ip4/127.0.0.1/tcp/1"}]}
        self.count[path] += 1
        return {"Strings": self.crowds.get((decoded(args[0]) or b"").decode())}


def run(test: Callable[[Asked, Channels], Awaitable[None]], asked: Asked | None = None) -> None:
    asked = asked or Asked()

    async def with_channels() -> None:
        rpc = cast(Rpc, asked)
        peers = Peers(rpc, lambda *_: None)
        await peers.look()
        with single_error():
            async with trio.open_nursery() as nursery:
                channels = Channels(rpc, peers, lambda *_: None, nursery, lambda: None)
                channels.came_up()
                nursery.start_soon(channels.look)
                await test(asked, channels)
                nursery.cancel_scope.cancel()

    trio.run(with_channels, clock=trio.testing.MockClock(autojump_threshold=0))


def test_who_came_is_seen_soon() -> None:
    """C43: a peer subscribes shortly after it connected, and is seen at once; one that does so later, within seconds."""

    async def test(asked: Asked, channels: Channels) -> None:
        assert not channels.on_channel("x")
        await trio.sleep(0.1)
        asked.crowds["x"] = [PEER, OTHER, "nonsense"]
        await trio.sleep(0.3)
        assert list(channels.on_channel("x")) == [PEER]  # the other one is not connected
        await trio.sleep(100)
        asked.crowds["x"] = []
        await trio.sleep(4.1)
        assert not channels.on_channel("x")

    run(test)


def test_nothing_new_costs_little() -> None:
    """C36: 20 channels on which nothing happens cost two calls a second."""

    async def test(asked: Asked, channels: Channels) -> None:
        names = [str(number) for number in range(20)]
        for _ in range(30):
            for name in names:
                channels.on_channel(name)
            await trio.sleep(2)
        before = asked.count.total()
        for _ in range(60):
            for name in names:
                channels.on_channel(name)
            await trio.sleep(1)
        assert 60 < asked.count.total() - before <= 130

    run(test)


def test_a_crowd_that_comes_and_goes_costs_little() -> None:
    """C36: however often something changes, calls stay within the budget."""

    async def test(asked: Asked, channels: Channels) -> None:
        for _ in range(600):
            for number in range(20):
                channels.on_channel(str(number))
            channels.news()
            await trio.sleep(0.1)
        assert 200 < asked.count.total() <= 200 + 60 * 4 + 1

    run(test)


def test_what_nobody_asks_for_is_forgotten() -> None:
    """C36: a channel that is neither subscribed to nor asked for costs nothing."""

    async def test(asked: Asked, channels: Channels) -> None:
        for number in range(20):
            channels.on_channel(str(number))
        await trio.sleep(200)
        before = asked.count.total()
        await trio.sleep(100)
        assert asked.count.total() == before

    run(test)


class Subscribed(Asked):
    """The same, where subscriptions are answered when `open_` is set, and then never end."""

    def __init__(self) -> None:
        super().__init__()
        self.open = trio.Event()

    async def each_line(self, path: str, *args: str, on_open: Callable[[], None], **how: Any) -> None:
        await self.open.wait()
        on_open()
        await trio.sleep_forever()


@pytest.mark.parametrize("state", ["away", "there", "silent"])
def test_subscribing_waits_for_the_daemon_alone(state: str) -> None:
    """C37: until it has subscribed, or has not answered for two seconds; not at all while it is away."""

    async def test(asked: Asked, channels: Channels) -> None:
        assert isinstance(asked, Subscribed)
        if state == "away":
            channels.went_down()
        if state != "silent":
            asked.open.set()
        began = trio.current_time()
        await channels.subscribe("x")
        assert trio.current_time() - began == (2.0 if state == "silent" else 0.0)

    run(test, Subscribed())


@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xfe\xfd", bytes(range(256))])
def test_multibase_and_back(data: bytes) -> None:
    """C43"""
    assert encoded(data).startswith("u")
    assert decoded(encoded(data)) == data


@pytest.mark.parametrize(
    "text", [None, 1, b"uYWI", "", "zabc", "YWI", "u!", "u YWI", "uA", "u=", "u====", "uYWI=", "u\u20ac"]
)
def test_what_is_no_multibase(text: object) -> None:
    """C36: base64url after a `u`, without padding, and nothing else."""
    assert decoded(text) is None
