"""One sync stream: opening it, and carrying messages both ways between the peer and the chain's engine.

Runs in the node's loop; the engine is called in worker threads, in order. Invariants: the stream is read at once and
bounded (what waits for the engine is bounded by credit and by the pipe's length); every wait at the opening is bounded in
time; a message is sealed when it is written, so the seals' counters follow the order on the wire.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from walytis_core import messages
from walytis_core.engine import Engine
from walytis_core.errors import Reason, RemoteError, StorageError, UnavailableError
from walytis_core.events import Came, PeerLost, PeerSeen, Received
from walytis_core.handshake import Asked, FrameReader, Initiator, Responder, Session, frame
from walytis_core.limits import Limits
from walytis_core.messages import Blocks, Message, Peers
from walytis_core.network.port import Stream
from walytis_core.screening import Screened, screen, together
from walytis_core.workers import Lane

SYNC_PROTOCOL: Final = "/x/walytis/sync/1"
_READ_BYTES: Final = 128 * 1024
_WRITE_BYTES: Final = 32 * 1024
"""Messages are written together until they have so many bytes."""
_PIPE: Final = 64
"""Messages that may wait for the engine."""
_OUTBOX: Final = 2048
"""Small messages that may wait for a peer that does not read, before it is dropped."""
_SCREEN_APART: Final = 16
"""Blocks in a message from which on they are screened in a thread of their own, while the engine works."""


class Frames:
    """Frames on a stream, both ways; for handshakes too."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._reader = FrameReader()
        self._waiting: deque[bytes] = deque()

    async def receive(self) -> bytes:
        """The next frame.

        Raises:
            UnavailableError: The stream ended.
            RemoteError: What came is no frame.
        """
        while not self._waiting:
            data = await self.stream.receive(_READ_BYTES)
            if not data:
                raise UnavailableError("the peer closed the stream")
            self._waiting.extend(self._reader.feed(data))
        return self._waiting.popleft()

    async def send(self, *data: bytes) -> None:
        """Sends frames in one go."""
        await self.stream.send(b"".join(map(frame, data)))


Ask = Callable[[Asked], Awaitable[bool]]
"""Answers what a handshake asks."""


async def _nobody(_asked: Asked) -> bool:
    return False


async def open_as_initiator(frames: Frames, machine: Initiator, ask: Ask = _nobody) -> Session:
    """Runs the opening from the side that opened the stream.

    Raises:
        UnavailableError: The peer refused, is gone, or takes too long.
        RemoteError: The peer does not keep to the protocol.
    """
    with _bounded():
        await frames.send(machine.hello)
        step = machine.receive(await frames.receive())
        await frames.send(step.send)
        step = machine.receive(await frames.receive())
        if step.asks is not None:
            step = machine.answer(await ask(step.asks))
        if step.session is None:
            raise UnavailableError("the peer does not open this chain to this node")
        return step.session


async def open_as_responder(frames: Frames, machine: Responder, ask: Ask = _nobody) -> Session:
    """Runs the opening from the side that accepted the stream.

    Raises:
        UnavailableError: The peer is gone or takes too long.
        RemoteError: The peer was refused.
    """
    with _bounded():
        step = machine.receive(await frames.receive())
        await frames.send(step.send)
        step = machine.receive(await frames.receive())
        if step.asks is not None:
            step = machine.answer(await ask(step.asks))
        await frames.send(step.send)
        if step.session is None:
            raise RemoteError(step.refused or Reason.BAD_PROOF)
        return step.session


@contextmanager
def _bounded() -> Iterator[None]:
    """Bounds an opening in time."""
    with trio.move_on_after(Limits.handshake_timeout_s) as scope:
        yield
    if scope.cancelled_caught:
        raise UnavailableError("the peer takes too long to open the session")


@dataclass(slots=True)
class _Item:
    """A message on its way to the engine; blocks may be screened on the way."""

    message: Message
    screened: Screened | None = None
    is_ready: trio.Event = field(default_factory=trio.Event)


def _runs(items: Iterable[_Item]) -> list[list[_Item]]:
    """Messages in their order; small frames of blocks that were sent for one reason stand together.

    They are stored in one transaction then: a disk sync costs as much as dozens of blocks.
    """
    runs: list[list[_Item]] = []
    why, count = None, 0
    for item in items:
        message = item.message
        if not isinstance(message, Blocks):
            runs.append([item])
            why = None
            continue
        count += len(message.blocks)
        if message.why is why and count <= Limits.max_blocks_per_frame and len(runs[-1]) < Limits.credit_frames:
            runs[-1].append(item)
        else:
            runs.append([item])
            why, count = message.why, len(message.blocks)
    return runs


class SyncSession:
    """An open sync stream of one chain with one peer.

    Args:
        engine: The chain.
        frames: The stream, opened.
        session: What the opening gave.
        initiator: The peer id of the end that opened the stream.
        workers: The chain's lane of the node's threads.
        screeners: Bounds the threads that screen blocks.
    """

    def __init__(
        self,
        engine: Engine,
        frames: Frames,
        session: Session,
        initiator: str,
        workers: Lane,
        screeners: trio.CapacityLimiter,
    ) -> None:
        self.peer = frames.stream.peer
        self.node_key = session.peer_node_key
        self.keys = session.keys
        self.initiator = initiator
        self.ended = trio.Event()
        self.last_contact = time.time()
        self._engine = engine
        self._frames = frames
        self._session = session
        self._workers = workers
        self._screeners = screeners
        self._outbox: deque[Message] = deque()
        self._has_outgoing = trio.Event()
        self._scope = trio.CancelScope()
        self._is_refused = False
        self.on_peers: Callable[[Peers], None] = lambda _peers: None
        """Told, in the loop, which peers of the chain the other end knows."""
        self.introduced: dict[str, float] = {}
        """The peers that the other end was told of, and when."""
        self.opened_at = trio.current_time()

    def send(self, message: Message) -> None:
        """Queues a message; a peer that does not read is dropped when too many wait."""
        if len(self._outbox) >= _OUTBOX:
            self.close()
            return
        self._outbox.append(message)
        self._has_outgoing.set()

    def refuse(self) -> None:
        """Not to be run after all: `run()` then only closes the stream, and the engine hears nothing."""
        self._is_refused = True

    def close(self) -> None:
        """Ends the session soon."""
        self._scope.cancel()

    async def run(self) -> RemoteError | None:
        """Runs until the stream ends or `close()`; gives the fault of a peer that broke the protocol."""
        if self._is_refused:
            await self._frames.stream.close()
            self.ended.set()
            return None
        fault: RemoteError | None = None
        send, receive = trio.open_memory_channel[_Item](_PIPE)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._consume, receive)
                    try:
                        await self._read(send, nursery)
                    except RemoteError as error:
                        fault = error
                    except UnavailableError:
                        pass
                    nursery.cancel_scope.cancel()
        finally:
            try:
                with trio.CancelScope(shield=True):
                    await self._frames.stream.close()
                    await self._in_thread(partial(self._engine.handle, PeerLost(self.peer)))
            finally:
                self.ended.set()  # whatever happened: the next session with this peer waits for it
        return fault

    # --- reading -------------------------------------------------------------------------------------------------

    async def _read(self, pipe: trio.MemorySendChannel[_Item], nursery: trio.Nursery) -> None:
        while True:
            sealed = await self._frames.receive()
            self.last_contact = time.time()
            message = messages.decode(self._session.receive.open(sealed))
            if message is None:
                continue
            if isinstance(message, Peers):
                self.on_peers(message)
                continue
            item = _Item(message)
            if isinstance(message, Blocks) and len(message.blocks) >= _SCREEN_APART:
                nursery.start_soon(self._screen, item, message)
            else:
                item.is_ready.set()
            try:
                pipe.send_nowait(item)  # mostly there is room: then without a turn of the loop
            except trio.WouldBlock:
                await pipe.send(item)

    async def _screen(self, item: _Item, message: Blocks) -> None:
        item.screened = await self._workers.run(partial(self._screened, message), self._screeners)
        item.is_ready.set()

    def _screened(self, message: Message) -> Screened:
        assert isinstance(message, Blocks)
        return screen(message.blocks, self._engine.known)

    async def _consume(self, pipe: trio.MemoryReceiveChannel[_Item]) -> None:
        """Hands messages to the engine, in order; those that wait together go in one call."""
        await self._in_thread(partial(self._engine.handle, PeerSeen(self.peer, self.node_key)))
        async for first in pipe:
            if not first.is_ready.is_set():
                await first.is_ready.wait()
            items = [first]
            while len(items) < _PIPE:
                try:
                    item = pipe.receive_nowait()
                except trio.WouldBlock:
                    break
                if not item.is_ready.is_set():
                    await self._in_thread(partial(self._handle, items))
                    items = []
                    await item.is_ready.wait()
                items.append(item)
            await self._in_thread(partial(self._handle, items))

    def _handle(self, items: Iterable[_Item]) -> None:
        for run in _runs(items):
            match run[0].message:
                case Blocks(why):
                    parts = [item.screened or self._screened(item.message) for item in run]
                    self._engine.handle(Came(self.peer, why, together(parts), frames=len(run)))
                case message:
                    self._engine.handle(Received(self.peer, message))

    async def _in_thread(self, function: partial[None]) -> None:
        try:
            await self._workers.run(function)
        except StorageError:  # the engine started anew from what is stored; the next sync brings the rest
            self.close()

    # --- writing -------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        try:
            while True:
                await self._has_outgoing.wait()
                self._has_outgoing = trio.Event()
                while self._outbox:
                    await self._frames.send(*self._sealed())
        except UnavailableError:
            self.close()

    def _sealed(self) -> list[bytes]:
        """What waits, sealed, up to about one frame: small messages go out together."""
        result: list[bytes] = []
        size = 0
        while self._outbox and size < _WRITE_BYTES:
            result.append(self._session.send.seal(messages.encode(self._outbox.popleft())))
            size += len(result[-1])
        return result
