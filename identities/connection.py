"""`Connection`: messages to and from a device of an identity, over one session; what users hold, and its tasks.

The tasks run in the node's loop, the rest in any thread. Invariants: what waits on either side is bounded, and who sends
waits while the other end does not read; records are sealed as they are written; reading never waits for writing, or two
ends that both send would wait for each other; the first error ends it, and what came before is still given. It decides
nothing about who may speak.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final, Self

import trio

from identities.handshake import ENTROPY_BYTES, Asked, Ends, Initiator, Own, Peer, Responder, Session, Verdict
from identities.mailbox import Mailbox
from identities.session import MAX_MESSAGE_BYTES, Line
from walytis_core.errors import ClosedError, InvalidInputError, RemoteError, UnavailableError, WalytisError
from walytis_core.limits import Limits
from walytis_core.pending import Pending
from walytis_core.session import Frames
from walytis_core.streams import Streams

_WAITING_BYTES: Final = 1 << 20
"""What may wait for the stream, and for the user, before the other side is made to wait."""
_RESUMED_BYTES: Final = _WAITING_BYTES // 2
"""Who was made to wait goes on when no more than this is left: threads take turns for several long messages at a time."""
_WRITE_BYTES: Final = 128 * 1024
"""Records are written together until they have so many bytes."""
_LONG_BYTES: Final = 64 * 1024
"""Records of so many bytes take long to open."""
_LOOK_S: Final = 30.0
"""How often the session's age is looked at."""
_CLOSE_WAIT_S: Final = 5.0
_MESSAGE_WEIGHT: Final = 64  # what a short message costs beside its bytes


class Connection:
    """Messages to and from one device, in order, each whole. Close it, or use it as a context manager.

    Iterating gives messages until the other end closes, also with ``async for``.
    """

    def __init__(
        self,
        own: Own,
        session: Session,
        ends: Ends,
        frames: Frames,
        streams: Streams,
        judge: Callable[[Asked], Awaitable[Verdict]],
        clock: Callable[[], float],
        *,
        is_initiator: bool,
    ) -> None:
        self.own = own
        self._ends = ends
        self._line = Line(session, self._renewal, is_initiator=is_initiator, now=clock())
        self._frames = frames
        self._streams = streams
        self._judge = judge
        self._clock = clock
        self._inbox = Mailbox[bytes](self._taken)
        self._outbox: deque[bytes] = deque()
        self._out_bytes = 0
        self._senders: deque[Pending[None]] = deque()
        self._lock = threading.Lock()
        self._is_woken = self._is_closing = False
        self._end: WalytisError | None = None
        self._ended = threading.Event()
        # in the loop
        self._scope = trio.CancelScope()
        self._work = trio.Event()
        self._room = trio.Event()
        self._room.set()
        self._failure: WalytisError | None = None
        self._is_refused = False

    # --- for users -------------------------------------------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """Who is at the other end, proven: the identity, the seat, and by which control key."""
        return self._line.peer

    @property
    def peer_id(self) -> str:
        """The transport's name for the other end."""
        return self._frames.stream.peer

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return self._end is None and not self._is_closing

    def send(self, message: bytes, timeout: float | None = None) -> None:
        """Sends a message; waits while much waits already. It is on its way then, which says nothing of its arrival.

        Args:
            message: At most `MAX_MESSAGE_BYTES` (255 KiB); send longer things in parts.
            timeout: Seconds to wait for room at most. The message is sent all the same.

        Raises:
            InvalidInputError: It is too long.
            UnavailableError: No room in time; or the connection broke.
            ClosedError: It was closed.
        """
        self.sending(message).result(timeout)

    def sending(self, message: bytes) -> Pending[None]:
        """`send` for asyncio: await it."""
        if len(message) > MAX_MESSAGE_BYTES:
            raise InvalidInputError(f"a message has at most {MAX_MESSAGE_BYTES} bytes", hint="Send it in parts.")
        pending = Pending[None]()
        with self._lock:
            if self._end is not None:
                raise self._end
            if self._is_closing:
                raise ClosedError("the connection was closed")
            self._outbox.append(bytes(message))
            self._out_bytes += len(message) + _MESSAGE_WEIGHT
            if self._out_bytes > _WAITING_BYTES:
                self._senders.append(pending)
            else:
                pending.resolve(None)
        self._wake()
        return pending

    def receive(self, timeout: float | None = None) -> bytes:
        """The next message.

        Raises:
            UnavailableError: None came within `timeout` seconds; or the connection broke.
            ClosedError: The other end, or this one, has closed it.
        """
        return self._inbox.get(timeout)

    async def receive_async(self) -> bytes:
        """`receive` for asyncio."""
        return await self._inbox.get_async()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._inbox)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._inbox)

    def close(self) -> None:
        """Closes it, once what was sent has left; that is waited for, but not long. Closing twice is fine."""
        self._is_closing = True
        self._wake()
        if not self._ended.wait(_CLOSE_WAIT_S):
            self._streams.post(self._scope.cancel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- for `connections.py` --------------------------------------------------------------------------------------

    def refresh(self, own: Own) -> None:
        """This end has these keys now; the end that opened the stream has the session renewed with them."""

        def renew() -> None:
            self._line.renew()
            self._work.set()

        is_new, self.own = own.control.id != self.own.control.id, own
        if is_new:
            self._streams.post(renew)

    def drop(self, error: WalytisError) -> None:
        """Ends it at once: the other end is taken no longer."""

        def end() -> None:
            self._fail(error)
            self._scope.cancel()

        self._streams.post(end)

    async def run(self) -> None:
        """Carries messages until one end closes, or something breaks. In the loop.

        Raises:
            RemoteError: The peer broke the protocol.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for task in (self._write, self._read, self._grow_old):
                        nursery.start_soon(self._until_failure, task)
            self._fail(ClosedError("the connection was closed"))
        finally:
            with trio.CancelScope(shield=True):
                await self._frames.stream.close()
            self._finish(self._failure or ClosedError("the node was closed"))
        if isinstance(self._failure, RemoteError):
            raise self._failure

    # --- tasks -----------------------------------------------------------------------------------------------------

    async def _until_failure(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except WalytisError as error:
            self._fail(error)
        self._scope.cancel()

    async def _write(self) -> None:
        while True:
            if not (records := self._records()):
                # from here on who sends wakes it: so it looks once more
                self._work, self._is_woken = trio.Event(), False
                records = self._records()
            if records:
                self._is_woken = True  # it looks by itself once these are out
                await self._frames.send(*records)
            elif self._is_refused:
                return
            elif self._is_closing and not self._outbox:
                end = self._line.end(self._clock())
                self._fail(ClosedError("the connection was closed"))  # now: the peer may be quicker to close the stream
                await self._frames.send(end)
                return
            else:
                await self._work.wait()

    def _records(self) -> list[bytes]:
        """What is to be sent now, sealed, up to about one frame: small messages go out together."""
        records: list[bytes] = []
        size = 0
        while size < _WRITE_BYTES:
            record = self._line.next_record(self._clock())
            if record is None and self._outbox and self._line.may_send() and not self._is_refused:
                record = self._line.seal(self._pop(), self._clock())
            if record is None:
                break
            records.append(record)
            size += len(record)
        return records

    def _pop(self) -> bytes:
        with self._lock:
            message = self._outbox.popleft()
            self._out_bytes -= len(message) + _MESSAGE_WEIGHT
            ready = list(self._senders) if self._out_bytes <= _RESUMED_BYTES else []
            if ready:
                self._senders.clear()
        for pending in ready:
            pending.resolve(None)
        return message

    async def _read(self) -> None:
        while True:
            record = await self._frames.receive()
            if len(record) > _LONG_BYTES:  # the transport gives credit back first: the other end goes on meanwhile
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
            came = self._line.receive(record, self._clock())
            if came.message is not None:
                await self._deliver(came.message)
                continue
            if came.asks is not None:
                came = self._line.answer(await self._judge(came.asks), self._clock())
            self._work.set()
            if came.is_end:
                return
            if came.refused is not None:
                self._fail(RemoteError(came.refused))
                self._is_refused = True
                await trio.sleep(Limits.handshake_timeout_s)  # the writer ends it earlier, once the refusal is out
                return

    async def _deliver(self, message: bytes) -> None:
        self._inbox.put(message, len(message) + _MESSAGE_WEIGHT)
        while self._inbox.weight > _WAITING_BYTES:
            self._room = trio.Event()
            if self._inbox.weight > _RESUMED_BYTES:
                await self._room.wait()

    async def _grow_old(self) -> None:
        while not self._line.is_expired(self._clock()):
            await trio.sleep(_LOOK_S)
            self._work.set()  # the writer begins a renewal that is due
        raise UnavailableError("the session was not renewed in time")

    def _renewal(self, renews: bytes) -> Initiator | Responder:
        entropy = os.urandom(ENTROPY_BYTES)
        if self.peer_id == self._ends.responder:
            return Initiator(self.own, self.peer.did, self._ends, entropy, renews)
        return Responder([self.own], self._ends, entropy, renews)

    # --- between threads -------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._streams.post(self._do_work)

    def _taken(self) -> None:
        if self._inbox.weight <= _RESUMED_BYTES and not self._room.is_set():
            self._streams.post(self._make_room)

    def _do_work(self) -> None:
        self._work.set()

    def _make_room(self) -> None:
        self._room.set()

    def _fail(self, error: WalytisError) -> None:
        if self._failure is None:  # what follows from the first one is of no interest
            self._failure = error

    def _finish(self, failure: WalytisError) -> None:
        end = failure
        if isinstance(failure, RemoteError):
            end = UnavailableError("the connection broke: what the peer sent was refused", hint="Dial again.")
            end.__cause__ = failure
        with self._lock:
            self._end = end
            senders = list(self._senders)
            self._senders.clear()
            self._outbox.clear()
        for pending in senders:
            pending.fail(end)
        self._inbox.end(end)
        self._ended.set()
