"""Sessions between two people's devices over libp2p on loopback, beside plain streams of the same two nodes.

The one who dials is here, the other in a process of its own. A session is set up when `dial` has its result: both ends have
proven who they are, each looked up in the other's chain. Bulk goes one way, and counts once the other end says it has it all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from benchmarks.live import quantile
from benchmarks.peers import Child, child
from benchmarks.table import ROUNDS, Bench, Row, shown, under
from identities import Identities, RenewalPolicy
from identities.connection import Connection
from identities.session import MAX_MESSAGE_BYTES
from walytis_core import Node
from walytis_core.network.port import Stream
from walytis_core.pending import Pending

_PROTOCOL: Final = "/x/walytis/bench/1"
_PIECE: Final = 128 * 1024
_MB: Final = 1_000_000
_WAIT_S: Final = 60.0
_SHARE: Final = 0.5


def sessions(bench: Bench) -> Iterable[Row]:
    """How soon one is open, and how much goes through it."""
    size = bench.count(64, 1) * _MB
    with (
        Node.open(bench.folder("alice")) as node,
        Identities(node, renewal=RenewalPolicy(age_s=None)) as identities,
        child(answering, str(bench.folder("bob")), size) as other,
    ):
        alice, _ = identities.create("alice")
        alice.ready().result(_WAIT_S)
        other.tell(str(alice.contact(node.addresses(), node.key)))
        did, card, addresses = other.hear()
        identities.resolve(card).result(_WAIT_S)

        def dial() -> Connection:
            return alice.dial(did, addresses).result(_WAIT_S)

        dials, turns = bench.count(50, 3), bench.count(ROUNDS, 1)
        other.tell(1 + dials + turns)
        dial().close()  # connects the two nodes
        plain: list[float] = []
        opened: list[float] = []
        for _ in range(dials):
            plain.append(_timed(lambda: _round_trip(node, addresses, b"\0", 1)))
            opened.append(_timed(lambda: dial().close()))
        set_up, stream = (1000 * quantile(sorted(times), 0.5) for times in (opened, plain))
        yield under("session with another's device over loopback, set up, p50", set_up, "ms", 20)
        yield shown("  a plain stream there, opened, with one answer", stream, "ms")
        raw, ours = 0.0, 0.0
        for _ in range(turns):
            raw = max(raw, size / _MB / _timed(lambda: _round_trip(node, addresses, b"\1", size)))
            ours = max(ours, size / _MB / _send(dial(), size))
        yield Row(
            measure="bulk through a session",
            value=ours,
            unit="MB/s",
            ceiling=raw,
            ratio=ours / raw,
            target=f">= {_SHARE} of a plain stream",
            met=ours / raw >= _SHARE,
        )
        other.tell("done")


def _send(connection: Connection, size: int) -> float:
    """Seconds until the other end has it all."""
    message = os.urandom(MAX_MESSAGE_BYTES)

    def send() -> None:
        for at in range(0, size, MAX_MESSAGE_BYTES):
            connection.send(message[: size - at], _WAIT_S)
        assert connection.receive(_WAIT_S) == b"all"

    with connection:
        return _timed(send)


def _round_trip(node: Node, addresses: list[str], kind: bytes, size: int) -> None:
    """Opens a plain stream, sends a byte that says what comes, and so many more; waits for the answer."""
    done = Pending[bytes]()
    piece = os.urandom(min(_PIECE, size))

    async def talk() -> None:
        stream = await node.streams.open(addresses, _PROTOCOL)
        await stream.send(kind)
        for at in range(0, size, _PIECE):
            await stream.send(piece[: size - at])
        done.resolve(await stream.receive(1))
        await stream.close()

    assert node.streams.attend(done, talk).result(_WAIT_S) == b"!"


def answering(dialler: Child, folder: str, size: int) -> None:
    """The other end: takes what comes, and says when it has it all."""
    with Node.open(folder) as node, Identities(node, renewal=RenewalPolicy(age_s=None)) as identities:
        node.streams.serve(_PROTOCOL, _answer(size))
        bob, _ = identities.create("bob")
        bob.ready().result(_WAIT_S)
        identities.resolve(dialler.hear()).result(_WAIT_S)
        dialler.tell([bob.did, str(bob.contact(node.addresses(), node.key)), list(node.addresses())])
        for _ in range(dialler.hear()):
            with identities.connections.accept(_WAIT_S) as connection:
                _take_all(connection, size)
        dialler.hear()


def _take_all(connection: Connection, size: int) -> None:
    """Reads until the other end closes."""
    left = size
    for message in connection:
        left -= len(message)
        if not left:
            connection.send(b"all")


def _answer(size: int) -> Callable[[Stream], Awaitable[None]]:
    async def answer(stream: Stream) -> None:
        left = size if await stream.receive(1) == b"\1" else 1
        while left:
            left -= len(await stream.receive(_PIECE))
        await stream.send(b"!")

    return answer


def _timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
