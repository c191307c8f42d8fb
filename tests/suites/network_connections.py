"""What every network adapter must do: starting, stopping and connecting."""

from __future__ import annotations

import gc
import threading

import pytest
import trio

from tests.suites.networks import (
    ALICE,
    AT_ONCE_S,
    BOB,
    CAROL,
    CHANNEL,
    MANY_BYTES,
    NOTICED_S,
    PROTOCOL,
    Networks,
    await_few_threads,
    echo,
    hear,
    on_channel,
    open_sockets,
    tasks_at_most,
    until,
)
from walytis_core.cid import Cid
from walytis_core.errors import UnavailableError
from walytis_core.network.port import Connected, Gossip, Network, Stream


class ConnectionSuite(Networks):
    """Starting, stopping and connecting, as tests."""

    def test_starts_and_stops_twice(self) -> None:
        """C43"""

        async def test() -> None:
            network = self.make(ALICE)
            names = set()
            for _ in range(2):
                async with network.running(ALICE):
                    names.add(network.peer_id)
                    assert all(network.peer_id in address for address in network.addresses())
                    assert network.addresses()
                assert not network.connected()
            assert len(names) == 1

        self.run(test)

    def test_leaves_nothing_behind(self) -> None:
        """C46: no thread, task or socket after stopping, also when the node was cancelled."""

        async def test() -> None:
            for cancelled in (False, True):
                tasks = trio.lowlevel.current_statistics().tasks_living
                with trio.CancelScope() as scope:
                    async with self.two() as (alice, bob):
                        await alice.subscribe(CHANNEL)
                        bob.serve(PROTOCOL, echo)
                        stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                        await stream.send(b"x")
                        await stream.receive(1)
                        if cancelled:
                            scope.cancel()
                await tasks_at_most(tasks)

        self.run(test)  # what is made once and kept is made now
        gc.collect()
        before = threading.active_count(), open_sockets()
        self.run(test)
        gc.collect()
        await_few_threads(before[0])  # a thread that trio keeps for the next blocking call ends after ten idle seconds
        assert open_sockets() <= before[1]

    def test_an_error_in_the_block_comes_out_as_itself(self) -> None:
        """C43"""

        async def test() -> None:
            with pytest.raises(ZeroDivisionError):
                async with self.two():
                    raise ZeroDivisionError

        self.run(test)

    def test_an_error_in_a_handler_ends_the_node_loudly(self) -> None:
        """C46: a bug in the node's own handler is not swallowed."""

        async def faulty(stream: Stream) -> None:
            raise ZeroDivisionError

        async def test() -> None:
            bob = self.make(BOB)
            with pytest.raises(ZeroDivisionError):  # noqa: PT012
                async with bob.running(BOB):
                    bob.serve(PROTOCOL, faulty)
                    alice = self.make(ALICE)
                    async with alice.running(ALICE):
                        await alice.connect(bob.addresses())
                        await alice.open_stream(bob.peer_id, PROTOCOL)
                        await trio.sleep_forever()

        self.run(test)

    def test_not_running_is_said(self) -> None:
        """C43"""

        async def test() -> None:
            network = self.make(ALICE)
            with pytest.raises(UnavailableError):
                await network.connect(["/ip4/127.0.0.1/tcp/1"])
            with pytest.raises(UnavailableError):
                await network.open_stream("nobody", PROTOCOL)
            with pytest.raises(UnavailableError):
                await network.subscribe(CHANNEL)
            with pytest.raises(UnavailableError):
                await network.publish(CHANNEL, b"")
            with pytest.raises(UnavailableError):
                await network.fetch(Cid.of(b""))

        self.run(test)

    # --- connections ---

    def test_connects_by_addresses(self) -> None:
        """C43: both sides see it, hear of it once, and know an address."""

        async def test() -> None:
            alice, bob = self.make(ALICE), self.make(BOB)
            async with alice.running(ALICE), bob.running(BOB):
                heard, seen = alice.watch(), bob.watch()
                where = bob.addresses()[0]
                assert await alice.connect(["/nonsense", *bob.addresses()]) == Connected(bob.peer_id, where)
                assert await alice.connect(bob.addresses()) == Connected(bob.peer_id, None)
                assert list(alice.connected()) == [bob.peer_id]
                assert await heard.receive() == (bob.peer_id, True)
                assert await seen.receive() == (alice.peer_id, True)
                assert list(bob.connected()) == [alice.peer_id]
                await until(lambda: bool(bob.known_addresses(alice.peer_id)))
                assert set(alice.known_addresses(bob.peer_id)) >= set(bob.addresses())
                with pytest.raises(trio.WouldBlock):
                    heard.receive_nowait()

        self.run(test)

    def test_a_wrong_address_fails_in_bounded_time(self) -> None:
        """C43: nobody there, another peer there, or no address at all."""

        async def test() -> None:
            alice, bob, carol = self.make(ALICE), self.make(BOB), self.make(CAROL)
            async with alice.running(ALICE), bob.running(BOB):
                async with carol.running(CAROL):
                    gone = list(carol.addresses())
                await self.refuses_itself(alice)
                wrong = [address.replace(bob.peer_id, carol.peer_id) for address in bob.addresses()]
                for addresses in (gone, wrong, [], ["x" * 5000], ["/ip4/127.0.0.1/tcp/1"]):
                    with trio.fail_after(NOTICED_S), pytest.raises(UnavailableError):
                        await alice.connect(addresses)
                assert not alice.connected()
                answered = await alice.connect([*gone, *bob.addresses()])
                assert answered.address == bob.addresses()[0]  # and not the first, where nobody is

        self.run(test)

    async def refuses_itself(self, network: Network) -> None:
        with pytest.raises(UnavailableError):
            await network.connect(network.addresses())

    def test_both_dial_at_once(self) -> None:
        """C43: however many connections that makes, each sees the other once, and streams and gossip work."""

        async def test() -> None:
            alice, bob = self.make(ALICE), self.make(BOB)
            async with alice.running(ALICE), bob.running(BOB):
                bob.serve(PROTOCOL, echo)
                events = alice.watch()
                inbox = await alice.subscribe(CHANNEL)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(alice.connect, bob.addresses())
                    nursery.start_soon(bob.connect, alice.addresses())
                assert await events.receive() == (bob.peer_id, True)
                stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                await stream.send(b"hello")
                assert await stream.receive(5) == b"hello"
                await until(lambda: alice.peer_id in bob.on_channel(CHANNEL))
                await bob.publish(CHANNEL, b"hello")
                assert await inbox.receive() == Gossip(bob.peer_id, b"hello")
                with pytest.raises(trio.WouldBlock):
                    events.receive_nowait()

        self.run(test)

    def test_disconnects(self) -> None:
        """C43: both sides notice, streams break, and connecting again works at once."""

        async def test() -> None:
            async with self.two() as (alice, bob):
                bob.serve(PROTOCOL, echo)
                events = bob.watch()
                stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                await alice.disconnect(bob.peer_id)
                assert await events.receive() == (alice.peer_id, False)
                await until(lambda: not alice.connected())
                with pytest.raises(UnavailableError):
                    await stream.send(b"x")
                with pytest.raises(UnavailableError):
                    await alice.open_stream(bob.peer_id, PROTOCOL)
                await alice.connect(bob.addresses())
                assert await events.receive() == (alice.peer_id, True)

        self.run(test)

    def test_a_peer_that_stops_is_noticed(self) -> None:
        """C43: by an event, by what is connected, and by whoever reads or writes."""

        async def test() -> None:
            alice, bob = self.make(ALICE), self.make(BOB)
            async with alice.running(ALICE):
                alice.serve(PROTOCOL, echo)
                events = alice.watch()
                async with bob.running(BOB):
                    bob.serve(PROTOCOL, echo)
                    await bob.connect(alice.addresses())
                    assert await events.receive() == (bob.peer_id, True)
                    stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                with trio.fail_after(NOTICED_S):
                    assert await events.receive() == (bob.peer_id, False)
                assert not alice.connected()
                with pytest.raises(UnavailableError):
                    await stream.send(bytes(MANY_BYTES))

        self.run(test)

    def test_a_peer_that_vanishes_is_noticed(self) -> None:
        """C43: without a word of goodbye."""

        async def test() -> None:
            async with self.two() as (alice, bob):
                bob.serve(PROTOCOL, echo)
                events = alice.watch()
                stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                self.cut(bob)
                with trio.fail_after(NOTICED_S):
                    assert await events.receive() == (bob.peer_id, False)
                with pytest.raises(UnavailableError):
                    await stream.receive(1)

        self.run(test)

    def test_restart_on_the_same_port(self) -> None:
        """C37: after a restart with the same key, connecting and gossip work at once, again and again."""

        async def test() -> None:
            alice, bob = self.make(ALICE), self.make(BOB)
            async with alice.running(ALICE):
                inbox = await alice.subscribe(CHANNEL)
                events = alice.watch()
                async with bob.running(BOB):
                    where = list(bob.addresses())
                for life in range(3):
                    bob = self.make(BOB)
                    async with bob.running(BOB):
                        assert list(bob.addresses()) == where
                        with trio.fail_after(AT_ONCE_S):
                            heard = await bob.subscribe(CHANNEL)
                            await alice.connect(where)
                            assert await events.receive() == (bob.peer_id, True)
                            await on_channel(bob, alice)
                            await bob.publish(CHANNEL, bytes([life]))
                            await hear(inbox, Gossip(bob.peer_id, bytes([life])))
                            await on_channel(alice, bob)
                            await alice.publish(CHANNEL, bytes([life]))
                            await hear(heard, Gossip(alice.peer_id, bytes([life])))
                    with trio.fail_after(NOTICED_S):
                        assert await events.receive() == (bob.peer_id, False)
                    with pytest.raises(UnavailableError):
                        await alice.connect(where)

        self.run(test)
