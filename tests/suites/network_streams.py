"""What every network adapter must do with streams."""

from __future__ import annotations

import os

import pytest
import trio

from tests.suites.networks import MANY_BYTES, PROTOCOL, Networks, echo, open_spoken, read_all
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.port import Stream


class StreamSuite(Networks):
    """Streams, as tests."""

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
                    await trio.sleep(
                        6
                    )  # real time: Yamux waits by a clock of its own, and nothing tells when it gives up
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
