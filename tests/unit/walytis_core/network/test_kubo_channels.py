"""How often a daemon is asked who is on a channel, in virtual time; and which addresses are dialled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
import trio.testing

from walytis_core.network._peer_id import peer_id_of
from walytis_core.network.kubo.addresses import own_addresses, peer_of, plain
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


def run(test: Callable[[Asked, Channels], Awaitable[None]]) -> None:
    async def with_channels() -> None:
        asked = Asked()
        rpc = cast(Rpc, asked)
        peers = Peers(rpc, lambda *_: None)
        await peers.look()
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


@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xfe\xfd", bytes(range(256))])
def test_multibase_and_back(data: bytes) -> None:
    """C43"""
    assert encoded(data).startswith("u")
    assert decoded(encoded(data)) == data


@pytest.mark.parametrize("text", [None, 1, "", "zabc", "u!", "uA", "u====", "u\u20ac"])
def test_what_is_no_multibase(text: object) -> None:
    """C36"""
    assert decoded(text) in (None, b"")


@pytest.mark.parametrize(
    "address",
    [
        f"/ip4/127.0.0.1/udp/4001/quic-v1/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/4001/ws/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/4001/p2p/{OTHER}/p2p-circuit/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}/",
        f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}\n",
        f"/dns/{'x' * 300}/tcp/1/p2p/{PEER}",
        "/ip4/127.0.0.1/tcp/4001",
        "",
        None,
    ],
)
def test_addresses_that_are_not_dialled(address: object) -> None:
    """C36"""
    assert peer_of(address) is None
    assert plain([address], PEER, 8) == ((f"{address}/p2p/{PEER}",) if address == "/ip4/127.0.0.1/tcp/4001" else ())


def test_addresses_of_a_peer() -> None:
    """C43: those that are its own, each once, as many as wanted; our own with the loopback last."""
    told = [
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}",
        f"/dns4/example.org/tcp/1/p2p/{PEER}",
        "/ip6/::1/tcp/1",
        "/ip6/2001:db8::1/tcp/1",
    ]
    theirs = [f"/ip4/192.0.2.1/tcp/1/p2p/{OTHER}", *told[:1], 7, None]
    found = plain([*told, *theirs], PEER, 8)
    assert len(found) == 4
    assert plain(told, PEER, 2) == found[:2]
    assert own_addresses(found) == (found[1], found[3], found[0], found[2])
    assert plain({"not": "a list"}, PEER, 8) == ()
