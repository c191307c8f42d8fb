"""What every network adapter must do: subclass `NetworkSuite`, give it `make`, and pytest runs it all.

Example:
    >>> class TestMine(NetworkSuite):
    ...     def make(self, seed): return MyNetwork()
"""

from __future__ import annotations

import gc
import os
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from walytis_core import cbor
from walytis_core.cid import DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX, Cid
from walytis_core.errors import InvalidInputError, UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.port import Connected, Give, Gossip, Network, Stream

ALICE, BOB, CAROL = (bytes([number]) * 32 for number in (1, 2, 3))
PROTOCOL = "/x/walytis/test/1"
CHANNEL = "/walytis/1/test"
MANY_BYTES = 20 << 20
BOUND_S = 50.0  # a test that waits longer has failed
NOTICED_S = 10.0
"""Far below what a keep-alive takes, far above what a slow machine does."""
AT_ONCE_S = 4.5
"""Below the 5 s for which gossipsub may shut out who left a channel."""


async def until(condition: Callable[[], bool], bound_s: float = 30.0) -> None:
    """Waits until something is so; the port has no event for everything, so this looks often."""
    with trio.fail_after(bound_s):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


async def echo(stream: Stream) -> None:
    """Sends back all it receives."""
    while data := await stream.receive(65536):
        await stream.send(data)


async def read_all(stream: Stream) -> bytes:
    """Everything until the end of a stream."""
    received = bytearray()
    while data := await stream.receive(1 << 20):
        received += data
    return bytes(received)


async def hear(inbox: trio.MemoryReceiveChannel[Gossip], message: Gossip) -> None:
    """Waits for a message; others may come before, for a newcomer may be told what was said shortly before."""
    while await inbox.receive() != message:
        pass


async def open_spoken(network: Network, peer: str, protocol: str) -> None:
    """Opens a stream; one that nobody serves may end at once instead of being refused."""
    stream = await network.open_stream(peer, protocol)
    if not await stream.receive(1):
        raise UnavailableError("The stream ended with its first byte unread.")


async def on_channel(network: Network, peer: Network) -> None:
    """Waits until a network sees a peer on the channel."""
    await until(lambda: peer.peer_id in network.on_channel(CHANNEL))


async def tasks_at_most(count: int) -> None:
    """Waits until no more tasks than that are left in this loop."""
    await until(lambda: trio.lowlevel.current_statistics().tasks_living <= count)


class NetworkSuite:
    """The contract of `walytis_core.network.port.Network`, as tests."""

    heard_of_500 = 490
    """Of so many messages in a burst, how many arrive at least."""

    @abstractmethod
    def make(self, seed: bytes) -> Network:
        """A new network for the node with this seed; again for one seed, it takes the place of the one that stopped."""

    def cut(self, network: Network) -> None:
        """Makes a running node vanish without a word, if the adapter can."""
        pytest.skip("this adapter cannot cut a node off")

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            with trio.fail_after(BOUND_S):
                await test()

        trio.run(bounded)

    @asynccontextmanager
    async def two(self) -> AsyncIterator[tuple[Network, Network]]:
        """Alice and Bob, connected."""
        alice, bob = self.make(ALICE), self.make(BOB)
        async with alice.running(ALICE), bob.running(BOB):
            await alice.connect(bob.addresses())
            await until(lambda: alice.peer_id in bob.connected())
            yield alice, bob

    # --- life ---

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

    # --- streams ---

    def test_streams_carry_bytes_both_ways(self) -> None:
        """C43: much, at once in both directions, and nothing lost."""

        async def test() -> None:
            async with self.two() as (alice, bob):
                bob.serve(PROTOCOL, echo)
                stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                assert stream.peer == bob.peer_id
                sent = os.urandom(MANY_BYTES // 4)
                received = bytearray()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send, sent)
                    while len(received) < len(sent):
                        received += await stream.receive(100_000)
                assert received == sent
                await stream.close()
                await stream.close()
                with pytest.raises(UnavailableError):
                    await stream.send(b"x")
                with pytest.raises(UnavailableError):
                    await stream.receive(1)

        self.run(test)

    @pytest.mark.slow
    def test_a_slow_reader_slows_the_sender(self) -> None:
        """C43: back-pressure: a reader that pauses (longer than Yamux's 5 s) holds the sender up; nothing is lost."""

        async def test() -> None:
            start, result = trio.Event(), bytearray()
            done = trio.Event()

            async def slow(stream: Stream) -> None:
                await start.wait()
                result.extend(await read_all(stream))
                done.set()

            async with self.two() as (alice, bob):
                bob.serve(PROTOCOL, slow)
                stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                sent = os.urandom(MANY_BYTES)
                finished = False

                async def send() -> None:
                    nonlocal finished
                    await stream.send(sent)
                    finished = True
                    await stream.close()

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send)
                    await trio.sleep(6)
                    assert not finished
                    start.set()
                    await done.wait()
                assert result == sent

        self.run(test)

    def test_a_reader_that_pauses_does_not_hold_up_other_streams(self) -> None:
        """C38: one slow chain does not hold up another."""

        async def pause(stream: Stream) -> None:
            await trio.sleep_forever()

        async def test() -> None:
            async with self.two() as (alice, bob):
                bob.serve(PROTOCOL, echo)
                bob.serve(PROTOCOL + "/pause", pause)
                stuck = await alice.open_stream(bob.peer_id, PROTOCOL + "/pause")
                stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stuck.send, bytes(4 << 20))
                    for _ in range(20):
                        await stream.send(b"ping")
                        assert await stream.receive(4) == b"ping"
                    nursery.cancel_scope.cancel()

        self.run(test)

    def test_a_cancelled_send_breaks_only_its_stream(self) -> None:
        """C43: a caller may bound its waits without losing the connection."""

        async def pause(stream: Stream) -> None:
            await trio.sleep_forever()

        async def test() -> None:
            async with self.two() as (alice, bob):
                bob.serve(PROTOCOL, echo)
                bob.serve(PROTOCOL + "/pause", pause)
                for _ in range(5):
                    stuck = await alice.open_stream(bob.peer_id, PROTOCOL + "/pause")
                    with trio.move_on_after(0.02):
                        await stuck.send(bytes(4 << 20))
                    await stuck.close()
                stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                await stream.send(b"still here")
                assert await stream.receive(99) == b"still here"

        self.run(test)

    def test_many_streams(self) -> None:
        """C43: many at once, each with its own bytes; and many one after the other."""

        async def test() -> None:
            async with self.two() as (alice, bob):
                bob.serve(PROTOCOL, echo)

                async def one(number: int) -> None:
                    stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                    data = bytes([number]) * 10_000
                    await stream.send(data)
                    received = b""
                    while len(received) < len(data):
                        received += await stream.receive(3000)
                    assert received == data
                    await stream.close()

                for _ in range(5):
                    async with trio.open_nursery() as nursery:
                        for number in range(40):
                            nursery.start_soon(one, number)

        self.run(test)

    def test_streams_of_a_peer_are_limited(self) -> None:
        """C36: a peer that opens more streams than it may is refused; what it has goes on, and others are served."""

        async def pause(stream: Stream) -> None:
            await trio.sleep_forever()

        async def test() -> None:
            async with self.two() as (alice, bob):
                held: list[Stream] = []
                bob.serve(PROTOCOL, pause)

                async def hold_too_many() -> None:
                    while len(held) <= Limits.max_streams_per_peer:
                        held.append(await alice.open_stream(bob.peer_id, PROTOCOL))

                with pytest.raises(UnavailableError):
                    await hold_too_many()
                assert len(held) > Limits.max_streams_per_peer // 2
                assert list(alice.connected()) == [bob.peer_id]
                await held[0].send(b"x")
                for stream in held:
                    await stream.close()

        self.run(test)

    def test_the_end_comes_after_the_data(self) -> None:
        """C43: closing loses nothing that was sent, and the end stays the end."""

        async def test() -> None:
            results: list[bytes] = []
            done = trio.Event()

            async def collect(stream: Stream) -> None:
                results.append(await read_all(stream))
                results.append(await stream.receive(1))
                done.set()

            async with self.two() as (alice, bob):
                bob.serve(PROTOCOL, collect)
                stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                await stream.send(b"x" * 200_000)
                await stream.close()
                await done.wait()
                assert results == [b"x" * 200_000, b""]

        self.run(test)

    def test_closing_mid_way_stops_the_sender(self) -> None:
        """C43: who closes is not waited for, and who sends is told."""

        async def quit_early(stream: Stream) -> None:
            await stream.receive(10)

        async def test() -> None:
            async with self.two() as (alice, bob):
                bob.serve(PROTOCOL, quit_early)
                stream = await alice.open_stream(bob.peer_id, PROTOCOL)
                with pytest.raises(UnavailableError):
                    await stream.send(bytes(MANY_BYTES))
                assert list(alice.connected()) == [bob.peer_id]

        self.run(test)

    def test_a_protocol_nobody_serves(self) -> None:
        """C43"""

        async def test() -> None:
            async with self.two() as (alice, bob):
                with pytest.raises(UnavailableError):
                    await open_spoken(alice, bob.peer_id, PROTOCOL + "/none")
                with pytest.raises(UnavailableError):
                    await alice.open_stream(alice.peer_id, PROTOCOL)

        self.run(test)

    # --- gossip ---

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
        """C43: publishing waits instead of losing; nearly all of 500 messages arrive, in order."""

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
                assert heard == sorted(heard)

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

    # --- blocks ---

    @asynccontextmanager
    async def giving(
        self, seed: bytes, blocks: Mapping[Cid, bytes], give: Give | None = None
    ) -> AsyncIterator[Network]:
        """A running network that gives blocks, by `give` where it is asked for them."""

        async def given(cid: Cid) -> bytes | None:
            return blocks.get(cid)

        network = self.make(seed)
        network.offer(give or given)
        async with network.running(seed):
            if network.copies is not None:
                await network.copies.put(list(blocks.items()), label="test", pin=False)
            yield network

    def skips_where_copies_are_given(self) -> None:
        """For tests whose `give` misbehaves: where copies are put, it is never asked."""
        if self.make(ALICE).copies is not None:
            pytest.skip("this adapter gives copies, and asks nobody for blocks")

    def test_blocks_are_fetched_by_cid(self) -> None:
        """C43: of every kind and size, from a peer that is named and from any, both ways at the same time."""

        async def test() -> None:
            kinds = [DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX]
            ours, theirs = (
                blocks_of([(kind, size) for kind in kinds for size in (1, 300, Limits.leaf_bytes)]) for _ in range(2)
            )
            async with self.giving(ALICE, ours) as alice, self.giving(BOB, theirs) as bob:
                await alice.connect(bob.addresses())
                await until(lambda: alice.peer_id in bob.connected())

                async def fetch_all(network: Network, blocks: Mapping[Cid, bytes], peer: Network) -> None:
                    for cid, data in blocks.items():
                        assert await network.fetch(cid) == data
                        assert await network.fetch(cid, [peer.peer_id]) == data

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(fetch_all, alice, theirs, bob)
                    nursery.start_soon(fetch_all, bob, ours, alice)

        self.run(test)

    def test_a_block_that_nobody_has(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """C43: is said in bounded time: by a peer, by one that cannot look, or when nobody is connected."""
        monkeypatch.setattr(Limits, "fetch_wait_s", 4.0)

        async def give(cid: Cid) -> bytes | None:
            raise UnavailableError("not now")

        async def test() -> None:
            async with self.giving(ALICE, {}, give) as alice, self.running_both_without(ALICE) as (bob, carol):
                for network in (bob, carol):
                    await network.connect(alice.addresses())
                for network in (alice, bob):
                    with trio.fail_after(Limits.fetch_wait_s + NOTICED_S), pytest.raises(UnavailableError):
                        await network.fetch(Cid.of(b"nobody has it"))
                await bob.disconnect(alice.peer_id)
                await until(lambda: not bob.connected())
                with trio.fail_after(Limits.fetch_wait_s + NOTICED_S), pytest.raises(UnavailableError):
                    await bob.fetch(Cid.of(b"nobody has it"))

        self.run(test)

    @asynccontextmanager
    async def running_both_without(self, seed: bytes) -> AsyncIterator[tuple[Network, Network]]:
        """Two of the three, not connected."""
        one, other = (each for each in (ALICE, BOB, CAROL) if each != seed)
        first, second = self.make(one), self.make(other)
        async with first.running(one), second.running(other):
            yield first, second

    def test_only_blocks_of_known_kinds(self) -> None:
        """C36: nobody is asked for a CID of another kind."""

        async def test() -> None:
            asked: list[Cid] = []

            async def give(cid: Cid) -> bytes | None:
                asked.append(cid)
                return b"x"

            async with self.giving(ALICE, {}, give) as alice, self.giving(BOB, {}, give) as bob:
                await alice.connect(bob.addresses())
                for odd in (Cid(b"\x01\x51" + Cid.of(b"x")[2:]), Cid(Cid.of(b"x")[2:]), Cid(b"")):
                    with trio.fail_after(Limits.fetch_wait_s + NOTICED_S), pytest.raises(UnavailableError):
                        await alice.fetch(odd)
                assert not asked

        self.run(test)

    def test_many_fetches_at_once(self) -> None:
        """C43: of many blocks and of one block many times; those that are given up disturb no other."""

        async def test() -> None:
            blocks = blocks_of([(RAW_PREFIX, 200 + number) for number in range(60)])
            async with self.giving(BOB, blocks) as bob:
                alice = self.make(ALICE)
                async with alice.running(ALICE):
                    await alice.connect(bob.addresses())
                    got: list[bytes] = []

                    async def fetch(cid: Cid, patience_s: float) -> None:
                        with trio.move_on_after(patience_s) as patience:
                            data = await alice.fetch(cid)
                            assert data == blocks[cid]
                            got.append(data)
                        assert patience_s == 0 or not patience.cancelled_caught

                    async with trio.open_nursery() as nursery:
                        for number, cid in enumerate(blocks):
                            for patience_s in (0, BOUND_S, BOUND_S) if number % 10 else (BOUND_S,) * 5:
                                nursery.start_soon(fetch, cid, patience_s)
                    assert set(got) == set(blocks.values())

        self.run(test)

    def test_what_does_not_fit_is_never_handed_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """C36: a peer that gives other bytes, or too many: the next is asked."""
        self.skips_where_copies_are_given()
        monkeypatch.setattr(Limits, "fetch_wait_s", 4.0)

        async def test() -> None:
            blocks = blocks_of([(RAW_PREFIX, 300)])
            large = os.urandom(Limits.leaf_bytes + 1)
            liars = {cid: data[::-1] for cid, data in blocks.items()} | {Cid.of(large): large}
            async with self.giving(ALICE, liars) as liar, self.giving(BOB, blocks) as bob:
                carol = self.make(CAROL)
                async with carol.running(CAROL):
                    await carol.connect(liar.addresses())
                    with pytest.raises(UnavailableError):
                        await carol.fetch(Cid.of(large))
                    await carol.connect(bob.addresses())
                    for cid, data in blocks.items():
                        assert await carol.fetch(cid, [liar.peer_id, bob.peer_id]) == data

        self.run(test)

    def test_a_peer_that_goes_gives_nothing(self) -> None:
        """C43: a fetch from a peer that cannot answer ends when the peer is gone; meanwhile others are served."""
        self.skips_where_copies_are_given()

        async def test() -> None:
            waiting = trio.Event()
            blocks = blocks_of([(RAW_PREFIX, 300)])
            (there,) = blocks

            async def give(cid: Cid) -> bytes | None:
                if cid != there:
                    waiting.set()
                    await trio.sleep_forever()
                return blocks[cid]

            async with self.giving(ALICE, {}, give) as alice, self.running_both_without(ALICE) as (bob, carol):
                await bob.connect(alice.addresses())
                await carol.connect(alice.addresses())

                async def never() -> None:
                    with trio.fail_after(NOTICED_S), pytest.raises(UnavailableError):
                        await bob.fetch(Cid.of(b"slow"))

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(never)
                    await waiting.wait()
                    assert await carol.fetch(there) == blocks[there]
                    await alice.disconnect(bob.peer_id)
                await until(lambda: not bob.connected())
                await bob.connect(alice.addresses())
                assert await bob.fetch(there) == blocks[there]

        self.run(test)

    def test_a_fetch_ends_with_the_network(self) -> None:
        """C46: whoever waits for a block when the network stops is told."""
        self.skips_where_copies_are_given()

        async def test() -> None:
            waiting = trio.Event()

            async def give(cid: Cid) -> bytes | None:
                waiting.set()
                await trio.sleep_forever()

            async with self.giving(ALICE, {}, give) as alice, trio.open_nursery() as nursery:
                bob = self.make(BOB)

                async def never() -> None:
                    with trio.fail_after(NOTICED_S), pytest.raises(UnavailableError):
                        await bob.fetch(Cid.of(b"slow"))

                async with bob.running(BOB):
                    await bob.connect(alice.addresses())
                    nursery.start_soon(never)
                    await waiting.wait()

        self.run(test)

    def test_an_error_in_giving_ends_the_node_loudly(self) -> None:
        """C46: a bug where blocks are looked up is not swallowed."""
        self.skips_where_copies_are_given()

        async def give(cid: Cid) -> bytes | None:
            raise ZeroDivisionError

        async def test() -> None:
            alice = self.make(ALICE)
            async with alice.running(ALICE):
                with pytest.raises(ZeroDivisionError):  # noqa: PT012
                    async with self.giving(BOB, {}, give) as bob:
                        await alice.connect(bob.addresses())
                        with pytest.raises(UnavailableError):
                            await alice.fetch(Cid.of(b"x"))
                        await trio.sleep_forever()

        self.run(test)


def blocks_of(kinds: Sequence[tuple[bytes, int]]) -> dict[Cid, bytes]:
    """New blocks of these kinds and (nearly) sizes; each can be decoded, for an IPFS daemon takes no others."""
    datas = [(prefix, encoded(prefix, os.urandom(max(1, size - 5)))) for prefix, size in kinds]
    return {Cid.of(data, prefix): data for prefix, data in datas}


def encoded(prefix: bytes, data: bytes) -> bytes:
    """A node of this kind that holds some bytes and links to nothing."""
    if prefix == DAG_CBOR_PREFIX:
        return cbor.encode(data)
    if prefix == DAG_PB_PREFIX:
        size, length = len(data), bytearray()
        while size > 0x7F:
            length.append(size & 0x7F | 0x80)
            size >>= 7
        return b"\x0a" + bytes([*length, size]) + data
    return data


def await_few_threads(most: int) -> None:
    """Waits until no more threads than that are left in this process."""
    for thread in threading.enumerate():
        if threading.active_count() <= most:
            return
        if thread is not threading.current_thread():
            thread.join(20 / threading.active_count())
    assert threading.active_count() <= most, threading.enumerate()


def open_sockets() -> int:
    """Sockets that this process has open."""
    try:
        return sum(str(fd.readlink()).startswith("socket:") for fd in Path("/proc/self/fd").iterdir())
    except OSError:  # a descriptor that closed meanwhile, or no /proc
        return 0
