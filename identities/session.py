"""An open session over its life: records in strict order, and its renewal by a new handshake inside it.

Theory (docs/spec/identity-sessions.md#records): each record is sealed under its direction's key with its number as the
nonce; its first byte says what it is. The initiator renews a session that is an hour old or near 2^20 records: both ends
run a handshake whose frames are records of the old session and whose transcript names it. The responder's last frame is
the last record under its old key, the initiator's `TURN` the last under its own; data flows on all the while.

Invariants: a record is opened once, in the order of sealing, and nothing after the first that does not open; no key seals
more than 2^20 records, or for longer than an hour and the minutes that a renewal may take; a renewed session is with the
same device for the same identity. Sealing decides the order: whoever calls `next_record` sends what it gives before
calling it again. Time is an argument. This file knows no stream and no thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from identities.handshake import Asked, Initiator, Responder, Session, Step, Verdict
from walytis_core.errors import ClosedError, InvalidInputError, Reason, RemoteError, UnavailableError
from walytis_core.limits import Limits
from walytis_core.seals import FRAME_OVERHEAD

MAX_RECORDS: Final = 1 << 20
RENEW_RECORDS: Final = MAX_RECORDS - (1 << 16)  # so many are left for what is under way while it is renewed
RENEW_S: Final = 3600.0
MAX_AGE_S: Final = RENEW_S + 300.0
MAX_MESSAGE_BYTES: Final = 255 * 1024
assert Limits.max_frame_bytes >= MAX_MESSAGE_BYTES + 1 + FRAME_OVERHEAD

_RESERVED: Final = 16  # records that only a renewal may use, and the end
_DATA, _HANDSHAKE, _TURN, _END = b"\0", b"\1", b"\2", b"\3"

Renew = Callable[[bytes], Initiator | Responder]
"""Makes this end's machine for the renewal of the session with an id."""


class Came(NamedTuple):
    """What a record meant.

    Attributes:
        message: What the other end sent.
        asks: To be answered by `Line.answer` before the next record is taken.
        refused: The renewal was refused: send what is next, then close.
        is_end: The other end sends nothing more.
    """

    message: bytes | None = None
    asks: Asked | None = None
    refused: Reason | None = None
    is_end: bool = False


_NOTHING: Final = Came()


class Line:
    """An open session at one end.

    Args:
        session: What the first handshake gave.
        renew: Makes the machine of a renewal.
        is_initiator: Whether this end opened the stream; it begins renewals.
        now: Seconds, of any clock that never goes back.
    """

    def __init__(self, session: Session, renew: Renew, *, is_initiator: bool, now: float) -> None:
        self.peer = session.peer
        self._renew = renew
        self._is_initiator = is_initiator
        self._out = self._in = session
        self._sent = self._received = 0
        self._began = now
        self._handshake: Initiator | Responder | None = None
        self._renewed: Session | None = None  # what the other end turns to next
        self._is_due = False
        self._waiting: deque[tuple[bytes, bytes, Session | None]] = deque()
        self._is_ended = self._is_broken = False  # sending, receiving

    @property
    def id(self) -> bytes:
        """The id of the session in which this end receives now."""
        return self._in.id

    def renew(self) -> None:
        """Has the session renewed soon, though it is not old: this end has a newer control key. By the initiator only."""
        self._is_due = True

    # --- sending -----------------------------------------------------------------------------------------------------

    def next_record(self, now: float) -> bytes | None:
        """What is to be sent before anything else: a record of a renewal; None when there is none. Sealed."""
        self._begin_renewal(now)
        if not self._waiting:
            return None
        kind, data, then = self._waiting.popleft()
        record = self._seal(kind + data, now)
        if then is not None:
            self._out, self._sent = then, 0
        return record

    def may_send(self) -> bool:
        """Whether a message can be sealed now; else the session has to be renewed first."""
        return self._sent < MAX_RECORDS - _RESERVED

    def is_expired(self, now: float) -> bool:
        """Whether it has come to its end without being renewed."""
        return now - self._began > MAX_AGE_S

    def seal(self, message: bytes, now: float) -> bytes:
        """Seals a message of at most `MAX_MESSAGE_BYTES`.

        Raises:
            InvalidInputError: It is too long.
            UnavailableError: The session has come to its end without being renewed.
            ClosedError: This end has said that it sends nothing more.
        """
        if len(message) > MAX_MESSAGE_BYTES:
            raise InvalidInputError(f"a message has at most {MAX_MESSAGE_BYTES} bytes")
        return self._seal(_DATA + message, now)

    def end(self, now: float) -> bytes:
        """The last record: says that this end sends nothing more."""
        record = self._seal(_END, now)
        self._is_ended = True
        return record

    def _seal(self, record: bytes, now: float) -> bytes:
        if self._is_ended:
            raise ClosedError("this session has ended")
        if self._sent >= MAX_RECORDS or self.is_expired(now):
            raise UnavailableError("the session was not renewed in time")
        self._sent += 1
        return self._out.send.seal(record)

    # --- receiving ---------------------------------------------------------------------------------------------------

    def receive(self, record: bytes, now: float) -> Came:
        """Takes the next record of the other end.

        Raises:
            RemoteError: It does not open, or is none; nothing more is taken then.
            UnavailableError: The other end refuses a renewal, or the session was not renewed in time.
            ClosedError: A record before this one was refused.
        """
        try:
            return self._receive(record, now)
        except (RemoteError, UnavailableError):
            self._is_broken = True
            raise

    def answer(self, verdict: Verdict, now: float) -> Came:
        """Takes the verdict on the other end, as for a handshake. Raises `RemoteError`."""
        if self._is_broken or self._handshake is None:
            raise ClosedError("no verdict is waited for")
        try:
            return self._take(self._handshake.answer(verdict), now)
        except RemoteError:
            self._is_broken = True
            raise

    def _receive(self, record: bytes, now: float) -> Came:
        if self._is_broken:
            raise ClosedError("this session ended at a record that was refused")
        if self.is_expired(now):
            raise UnavailableError("the session was not renewed in time")
        if self._received >= MAX_RECORDS:
            raise RemoteError(Reason.OVER_BUDGET)
        opened = self._in.receive.open(record)
        self._received += 1
        kind, data = opened[:1], opened[1:]
        if kind == _DATA:
            return Came(message=data)
        if kind == _HANDSHAKE:
            return self._on_handshake(data, now)
        if kind == _TURN and not data and not self._is_initiator and self._renewed is not None:
            self._turn(self._renewed, now)
            return _NOTHING
        if kind == _END and not data:
            self._is_broken = True  # nothing can come after it
            return Came(is_end=True)
        raise RemoteError(Reason.BAD_MESSAGE)

    # --- renewing ----------------------------------------------------------------------------------------------------

    def _begin_renewal(self, now: float) -> None:
        if not self._is_initiator or self._handshake is not None:
            return
        if self._is_due or now - self._began >= RENEW_S or max(self._sent, self._received) >= RENEW_RECORDS:
            self._is_due = False
            machine = self._renew(self._in.id)
            assert isinstance(machine, Initiator)
            self._handshake = machine
            self._waiting.append((_HANDSHAKE, machine.hello, None))

    def _on_handshake(self, frame: bytes, now: float) -> Came:
        if self._handshake is None:
            if self._is_initiator or self._renewed is not None:
                raise RemoteError(Reason.BAD_MESSAGE)
            self._handshake = self._renew(self._in.id)
        try:
            return self._take(self._handshake.receive(frame), now)
        except ClosedError as error:  # a frame too many
            raise RemoteError(Reason.BAD_MESSAGE) from error

    def _take(self, step: Step, now: float) -> Came:
        if step.asks is not None:
            if step.asks.peer[:2] != self.peer[:2]:
                return self.answer(Reason.WRONG_DEVICE_KEY, now)
            return Came(asks=step.asks)
        if step.refused is not None:
            self._waiting.append((_HANDSHAKE, step.send, None))
            self._is_broken = True
            return Came(refused=step.refused)
        if step.session is None:
            self._waiting.append((_HANDSHAKE, step.send, None))
            return _NOTHING
        self._handshake = None
        if self._is_initiator:
            self._waiting.append((_TURN, b"", step.session))
            self._turn(step.session, now)
        else:
            self._waiting.append((_HANDSHAKE, step.send, step.session))
            self._renewed = step.session
        return _NOTHING

    def _turn(self, session: Session, now: float) -> None:
        """From here on the other end sends in the new session."""
        self.peer = session.peer
        self._in, self._received, self._renewed = session, 0, None
        self._began = now
