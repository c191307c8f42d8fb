"""Sessions of a node with devices of other identities, or of its own: dialling, accepting, and judging anew.

Streams are `/x/walytis/session/1`. Who may speak is the app's `judge`, which looks into its own view: it is asked at each
handshake, at each renewal, and about every open connection in `review`, which is to be called when members, keys or
windows of overlap have changed. Invariants: app code and signatures run in threads, never in the loop; an app that raises lets nobody
in; every handshake is bounded in time, and so many of one peer run at once.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar, cast

import trio

from identities.connection import Connection
from identities.handshake import ENTROPY_BYTES, Asked, Ends, Initiator, Own, Responder, Session, Verdict
from identities.mailbox import Mailbox
from walytis_core.boundary import log_error
from walytis_core.cid import BlockId
from walytis_core.errors import ClosedError, NotFoundError, Reason, RemoteError, UnavailableError, WalytisError
from walytis_core.limits import Limits
from walytis_core.network.port import Stream
from walytis_core.node import Node
from walytis_core.pending import Pending
from walytis_core.session import Frames

SESSION_PROTOCOL: Final = "/x/walytis/session/1"
_HINT: Final = "Its keys, or what this node knows of its identity, may be behind: sync, and dial again."
_JUDGES: Final = 4
"""Calls of the app's `judge` at once."""
_MOST_WAITING: Final = 64
"""Connections that wait to be accepted; more are closed."""

T = TypeVar("T")

Judge = Callable[[Asked], Verdict]
"""Gives the keys of a peer as its own view holds them, or why it is not taken."""


class Connections:
    """The sessions of one node. Close it, or the node, to end them all.

    Args:
        node: The node.
        own: Gives those for whom this node speaks now, with their present keys. Called in threads.
        judge: Judges who is at the other end. Called in threads, a few at once.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        node: Node,
        own: Callable[[], Sequence[Own]],
        judge: Judge,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams = node.streams
        self._own = own
        self._judge = judge
        self._clock = clock
        self._turns = trio.CapacityLimiter(_JUDGES)
        self._handshakes: Counter[str] = Counter()
        self._open: set[Connection] = set()
        self._accepted = Mailbox[Connection](lambda: None)
        self._is_closed = False
        self._streams.serve(SESSION_PROTOCOL, self._accept)
        self._lifetime = self._streams.attend(Pending[None](), self._until_the_end)

    def dial(self, did: BlockId, addresses: Sequence[str] | str, *, own: BlockId) -> Pending[Connection]:
        """Opens a session with a device of an identity.

        Args:
            did: The identity that is meant: its chain.
            addresses: Where one of its devices is.
            own: The identity for which this node speaks.

        Raises:
            ClosedError: The node, or this, was closed.
            NotFoundError: By `result()`: this node does not speak for `own`.
            UnavailableError: By `result()`: nobody answers there, does not take this device, or is not taken.
        """
        if self._is_closed:
            raise ClosedError("these connections were closed")
        scope = trio.CancelScope()
        pending = Pending[Connection](on_cancel=lambda: self._streams.post(scope.cancel))
        wanted = [addresses] if isinstance(addresses, str) else list(addresses)

        async def task() -> None:
            with scope:
                await self._dial(pending, did, wanted, own)

        return self._streams.attend(pending, task)

    def accept(self, timeout: float | None = None) -> Connection:
        """The next connection that somebody opened to this node.

        Raises:
            UnavailableError: None came within `timeout` seconds.
            ClosedError: This was closed.
        """
        return self._accepted.get(timeout)

    async def accept_async(self) -> Connection:
        """`accept` for asyncio."""
        return await self._accepted.get_async()

    @property
    def open(self) -> tuple[Connection, ...]:
        """The connections that are open now."""
        return tuple(self._open)

    def review(self) -> None:
        """Judges all open connections anew, and ends those that are taken no longer; new keys of our own are put to use.

        To be called when members, keys or windows of overlap have changed.
        """
        own = {one.did: one for one in self._owners()}
        for connection in self.open:
            mine = own.get(connection.own.did)
            verdict = self._judged(Asked(connection.peer, connection.own.did))
            if mine is None:
                connection.drop(ClosedError("this node speaks for that identity no longer"))
            elif isinstance(verdict, Reason):
                connection.drop(UnavailableError(f"the peer is taken no longer: it {verdict.value}"))
            else:
                connection.refresh(mine)

    def close(self) -> None:
        """Closes all connections; nobody is answered any more."""
        self._is_closed = True
        self._accepted.end(ClosedError("these connections were closed"))
        for connection in self.open:
            connection.close()

    # --- in the loop -----------------------------------------------------------------------------------------------

    async def _until_the_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._is_closed = True
            self._accepted.end(ClosedError("the node was closed"))

    async def _dial(self, pending: Pending[Connection], did: BlockId, addresses: Sequence[str], own: BlockId) -> None:
        try:
            here = [one for one in await self._ask(self._owners) if one.did == own]
            if not here:
                raise NotFoundError("this node does not speak for that identity")
            stream = await self._streams.open(addresses, SESSION_PROTOCOL)
        except WalytisError as error:
            pending.fail(error)
            return
        frames, ends = Frames(stream), Ends(self._streams.peer_id, stream.peer)
        try:
            with self._streams.guarded(stream.peer), _told(pending):
                machine = Initiator(here[0], did, ends, os.urandom(ENTROPY_BYTES))
                session = await self._shake_hands(frames, machine)
                connection = self._connection(here[0], session, ends, frames, is_initiator=True)
                pending.resolve(connection)
                await self._run(connection)
        finally:
            with trio.CancelScope(shield=True):
                await stream.close()

    async def _accept(self, stream: Stream) -> None:
        peer = stream.peer
        if self._is_closed or self._handshakes[peer] >= Limits.joins_per_peer:
            return
        self._handshakes[peer] += 1
        frames, ends = Frames(stream), Ends(peer, self._streams.peer_id)
        try:
            here = await self._ask(self._owners)
            session = await self._shake_hands(frames, Responder(here, ends, os.urandom(ENTROPY_BYTES)))
        finally:
            self._handshakes[peer] -= 1
            if not self._handshakes[peer]:
                del self._handshakes[peer]
        if self._accepted.weight < _MOST_WAITING:
            own = next(one for one in here if one.did == session.did)
            connection = self._connection(own, session, ends, frames, is_initiator=False)
            self._accepted.put(connection, 1)
            await self._run(connection)

    async def _shake_hands(self, frames: Frames, machine: Initiator | Responder) -> Session:
        """Runs a handshake.

        Raises:
            UnavailableError: The peer refused, is gone, or takes too long.
            RemoteError: The peer was refused.
        """
        with trio.move_on_after(Limits.handshake_timeout_s):
            if isinstance(machine, Initiator):
                await frames.send(machine.hello)
            while True:
                step = await self._streams.run_in_thread(partial(machine.receive, await frames.receive()))
                if step.asks is not None:
                    verdict = await self._ask(partial(self._judged, step.asks))
                    step = await self._streams.run_in_thread(partial(machine.answer, verdict))
                if step.send:
                    await trio.lowlevel.checkpoint()  # who has given up sends nothing more
                    await frames.send(step.send)
                if step.refused is not None:
                    raise RemoteError(step.refused)
                if step.session is not None:
                    return step.session
        raise UnavailableError("the peer takes too long to open the session")

    def _connection(self, own: Own, session: Session, ends: Ends, frames: Frames, *, is_initiator: bool) -> Connection:
        async def judge(asked: Asked) -> Verdict:
            return await self._ask(partial(self._judged, asked))

        if self._is_closed:
            raise ClosedError("these connections were closed")
        streams, clock = self._streams, self._clock
        connection = Connection(own, session, ends, frames, streams, judge, clock, is_initiator=is_initiator)
        self._open.add(connection)
        return connection

    async def _run(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._open.discard(connection)

    async def _ask(self, question: Callable[[], T]) -> T:
        """Asks the app, in a thread of trio's that is left to itself when nobody waits for it any longer."""
        run = trio.to_thread.run_sync
        return cast(T, await run(question, abandon_on_cancel=True, limiter=self._turns))  # type: ignore[call-arg]  # old stubs

    # --- the app's code --------------------------------------------------------------------------------------------

    def _owners(self) -> list[Own]:
        try:
            return list(self._own())
        except Exception as error:  # noqa: BLE001 - the app's code
            log_error("the app's `own`", error)
            return []

    def _judged(self, asked: Asked) -> Verdict:
        try:
            return self._judge(asked)
        except Exception as error:  # noqa: BLE001 - the app's code
            log_error("the app's `judge`", error)
            return Reason.UNKNOWN_MEMBER


@contextmanager
def _told(pending: Pending[Connection]) -> Iterator[None]:
    """Tells who waits what went wrong; a peer's fault means that it is not there for us."""
    try:
        yield
    except RemoteError as error:
        told = UnavailableError(f"the peer was not taken: {error.reason.value}", hint=_HINT)
        told.__cause__ = error
        pending.fail(told)
        raise
    except WalytisError as error:
        pending.fail(error)
        raise
