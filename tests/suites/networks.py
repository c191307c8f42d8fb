"""What the parts of the network suite share: names, waiting with a bound, and two networks that are connected."""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from walytis_core import cbor
from walytis_core.cid import DAG_CBOR_PREFIX, DAG_PB_PREFIX, Cid
from walytis_core.errors import UnavailableError
from walytis_core.network.port import Gossip, Network, Stream

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


class Networks:
    """Makes networks for tests; each part of the suite is one of these."""

    heard_of_500 = 490
    """Of so many messages in a burst, how many arrive at least."""
    is_in_order = True
    """Whether messages of one sender arrive as they were published."""

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
