"""What every network adapter must do with channels."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.suites.networks import ALICE, AT_ONCE_S, BOB, CAROL, CHANNEL, Networks, hear, until
from walytis_core.errors import InvalidInputError
from walytis_core.limits import Limits
from walytis_core.network.port import Gossip, Network


class ChannelSuite(Networks):
    """Channels, as tests."""

    def test_gossip_names_its_publisher(self) -> None:
        """C43: over a peer between, and not to whoever published it."""

        async def test() -> None:
            carol = self.make(CAROL)
            async with self.two() as (alice, bob), carol.running(CAROL):
                await carol.connect(bob.addresses())
                inboxes = {peer: await peer.subscribe(CHANNEL) for peer in (alice, bob, carol)}
                await until(lambda: len(bob.on_channel(CHANNEL)) == 2)
                await until(lambda: bool(alice.on_channel(CHANNEL) and carol.on_channel(CHANNEL)))
                for data in (b"hello", b"", os.urandom(Limits.max_gossip_bytes)):
                    await alice.publish(CHANNEL, data)
                    for peer in (bob, carol):
                        assert await inboxes[peer].receive() == Gossip(alice.peer_id, data)
                with pytest.raises(trio.WouldBlock):
                    inboxes[alice].receive_nowait()
                with pytest.raises(InvalidInputError):
                    await alice.publish(CHANNEL, bytes(Limits.max_gossip_bytes + 1))

        self.run(test)

    def test_who_is_on_a_channel(self) -> None:
        """C43: whether they subscribed or connected first; until they leave or go."""

        async def test() -> None:
            alice, bob, carol = self.make(ALICE), self.make(BOB), self.make(CAROL)
            async with alice.running(ALICE), bob.running(BOB):
                await bob.subscribe(CHANNEL)
                await alice.connect(bob.addresses())
                await until(lambda: list(alice.on_channel(CHANNEL)) == [bob.peer_id])
                async with carol.running(CAROL):
                    await carol.connect(alice.addresses())
                    await carol.subscribe(CHANNEL)
                    await until(lambda: set(alice.on_channel(CHANNEL)) == {bob.peer_id, carol.peer_id})
                    await bob.unsubscribe(CHANNEL)
                    await until(lambda: list(alice.on_channel(CHANNEL)) == [carol.peer_id])
                await until(lambda: not alice.on_channel(CHANNEL))
                assert not alice.on_channel(CHANNEL + "/other")

        self.run(test)

    def test_subscribing_while_connecting(self) -> None:
        """C43: no moment at which a subscription is missed."""

        async def test() -> None:
            async with self.running_both() as (alice, bob):
                names = [f"{CHANNEL}/{number}" for number in range(30)]

                async def subscribe_all() -> None:
                    for name in names:
                        await bob.subscribe(name)
                        await trio.sleep(0.0005)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(subscribe_all)
                    nursery.start_soon(alice.connect, bob.addresses())
                await until(lambda: all(list(alice.on_channel(name)) == [bob.peer_id] for name in names))

        self.run(test)

    @asynccontextmanager
    async def running_both(self) -> AsyncIterator[tuple[Network, Network]]:
        """Alice and Bob, not connected."""
        alice, bob = self.make(ALICE), self.make(BOB)
        async with alice.running(ALICE), bob.running(BOB):
            yield alice, bob

    def test_unsubscribed_hears_nothing(self) -> None:
        """C43: neither who never subscribed nor who left; coming back works at once."""

        async def test() -> None:
            async with self.two() as (alice, bob):
                other = await bob.subscribe(CHANNEL + "/other")
                inbox = await bob.subscribe(CHANNEL)
                await until(lambda: bool(alice.on_channel(CHANNEL) and alice.on_channel(CHANNEL + "/other")))
                await bob.unsubscribe(CHANNEL)
                with pytest.raises(trio.EndOfChannel):
                    await inbox.receive()
                await until(lambda: not alice.on_channel(CHANNEL))
                await alice.publish(CHANNEL, b"unheard")
                inbox = await bob.subscribe(CHANNEL)
                await until(lambda: bool(alice.on_channel(CHANNEL)))
                await alice.publish(CHANNEL, b"heard")
                with trio.fail_after(AT_ONCE_S):
                    await hear(inbox, Gossip(alice.peer_id, b"heard"))
                await alice.publish(CHANNEL + "/other", b"other")
                assert await other.receive() == Gossip(alice.peer_id, b"other")

        self.run(test)

    def test_a_burst_of_gossip_arrives(self) -> None:
        """C43: publishing waits instead of losing; nearly all of 500 messages arrive, once each, in order where one is kept."""

        async def test() -> None:
            async with self.two() as (alice, bob):
                inbox = await bob.subscribe(CHANNEL)
                await until(lambda: bool(alice.on_channel(CHANNEL)))
                heard: list[int] = []

                async def hear() -> None:
                    async for message in inbox:
                        heard.append(int.from_bytes(message.data[:2], "big"))  # noqa: PERF401 - read while it grows

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(hear)
                    for number in range(500):
                        await alice.publish(CHANNEL, number.to_bytes(2, "big") + bytes(500))
                    await until(lambda: len(heard) >= self.heard_of_500)
                    nursery.cancel_scope.cancel()
                assert len(set(heard)) == len(heard)
                assert heard == sorted(heard) or not self.is_in_order

        self.run(test)

    def test_unread_gossip_is_bounded(self) -> None:
        """C36: who does not read loses the oldest, and holds nobody up."""

        async def test() -> None:
            async with self.two() as (alice, bob):
                inbox, end = await bob.subscribe(CHANNEL), await bob.subscribe(CHANNEL + "/end")
                await until(lambda: bool(alice.on_channel(CHANNEL) and alice.on_channel(CHANNEL + "/end")))
                for number in range(600):
                    await alice.publish(CHANNEL, number.to_bytes(2, "big"))
                await alice.publish(CHANNEL, b"last")
                await alice.publish(CHANNEL + "/end", b"")
                await end.receive()
                heard = [inbox.receive_nowait().data for _ in range(inbox.statistics().current_buffer_used)]
                assert heard[-1] == b"last"
                assert len(heard) < 600

        self.run(test)
