"""How a session between devices of two identities begins: SIGMA-I over one-time X-Wing keys.

Theory (docs/spec/identity-sessions.md): a pure machine for each role, fed one frame at a time.

    initiator                                         responder
    hello: nonce, one-time key, who is wanted   -->
                                                <--   nonce, one-time key, a secret sealed to the initiator's, [proof]
    a secret sealed to the responder's, [proof] -->
                                                <--   a MAC under both secrets, or a refusal of the same length

A *proof* says for which identity, by which control key and from which seat its sender speaks, signed by that control key
and by the device's key over the whole transcript, with a MAC over both. It is sealed under the secrets alone, so who only
listens learns nobody's name; the initiator's is sent when the responder has been judged. Both long-term keys sign, none
ever opens: what was recorded stays shut when all of them are known later.

Invariants: each step adds to one transcript, which begins with both transport peer ids and the session that is renewed,
if any; keys to verify with are the answer of whoever holds a view (`asks`), never in a message; a machine that raised
or refused takes nothing more, and one that ended holds no one-time key. Every refusal has its own reason here, and
none at the peer. Randomness is an argument, except for what the library draws to seal and to sign. This file knows no
transport, no clock, no chain and no rule of who may speak.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

from identities.suites import SEAL_OVERHEAD, SEALING_KEY_BYTES
from identities.transcript import (
    ENTROPY_BYTES,
    PART_BYTES,
    TAG_BYTES,
    Key,
    Keys,
    Own,
    Peer,
    Session,
    Signed,
    Transcript,
    wanted,
)
from walytis_core import cbor
from walytis_core.cid import BlockId
from walytis_core.errors import ClosedError, Reason, RemoteError, UnavailableError, WalytisError
from walytis_core.handshake import Ends

__all__ = ["ENTROPY_BYTES", "Asked", "Ends", "Initiator", "Key", "Keys", "Own", "Peer", "Responder", "Session", "Step"]

VERSION: Final = 1
_MAX_FRAME_BYTES: Final = 16 * 1024
_REFUSAL: Final = bytes(PART_BYTES)
_SEALED_BYTES: Final = PART_BYTES + SEAL_OVERHEAD
_HELLO_BYTES: Final = (PART_BYTES, TAG_BYTES, PART_BYTES, SEALING_KEY_BYTES)
_ANSWER_BYTES: Final = (PART_BYTES, PART_BYTES, TAG_BYTES, SEALING_KEY_BYTES, _SEALED_BYTES)

Verdict = Keys | Reason
"""The answer to what a step asks: keys; or why the peer is not taken (`UNKNOWN_MEMBER`, `STALE_KEY`, `WRONG_IDENTITY`)."""


class Asked(NamedTuple):
    """What is to be judged: whether `peer`, which has proven nothing yet, may speak with `did`; and what its keys are."""

    peer: Peer
    did: BlockId


class Step(NamedTuple):
    """What to do next: send `send` if there is any, then use the session, close if it was refused, or `answer` `asks`."""

    send: bytes = b""
    session: Session | None = None
    refused: Reason | None = None
    asks: Asked | None = None


class _Machine:
    """Either role: one step at a time, and nothing kept once it is over."""

    def __init__(self, ends: Ends, entropy: bytes) -> None:
        self._transcript = Transcript(ends, entropy)
        self._next: Callable[[bytes], Step] = _closed
        self._judged: Callable[[Verdict], Step] = _not_asked

    def receive(self, frame: bytes) -> Step:
        """Takes the other end's next frame. A refusal by the responder is a step; all of them send the same.

        Raises:
            RemoteError: The frame is not of the protocol, or of another run, or proves nothing; nothing is answered.
            UnavailableError: The responder does not take this device.
            ClosedError: The handshake is over.
        """
        step, self._next = self._next, _closed
        return self._do(partial(step, frame))

    def answer(self, verdict: Verdict) -> Step:
        """Takes the verdict on the other end. An initiator raises `RemoteError` where a responder sends its refusal."""
        judged, self._judged = self._judged, _not_asked
        return self._do(partial(judged, verdict))

    def _do(self, step: Callable[[], Step]) -> Step:
        try:
            done = step()
        except WalytisError:
            self._next, self._judged = _closed, _not_asked
            self._transcript.forget()
            raise
        if done.session is not None or done.refused is not None:
            self._transcript.forget()
        return done


class Initiator(_Machine):
    """The end that opened the stream. Send `hello`, then feed each frame to `receive`.

    Args:
        own: This end.
        did: The identity that is meant.
        ends: The transport's peer ids: `initiator` is this end.
        entropy: 96 random bytes, never used before.
        renews: The id of the session that is renewed; empty for a first one.
    """

    def __init__(self, own: Own, did: BlockId, ends: Ends, entropy: bytes, renews: bytes = b"") -> None:
        super().__init__(ends, entropy)
        self._own, self._did = own, did
        ours = self._transcript
        self.hello = cbor.encode([VERSION, ours.nonce, ours.ends_tag(ours.nonce), wanted(did, ours.nonce), ours.public])
        ours.begin(renews, self.hello)
        self._next = self._on_answer

    def _on_answer(self, frame: bytes) -> Step:
        ours = self._transcript
        nonce, echo, tag, public, sealed, proof = _read(frame, _ANSWER_BYTES)
        ours.meet(nonce, public)
        if echo != ours.nonce:
            raise RemoteError(Reason.REPLAYED)
        if tag != ours.ends_tag(nonce):
            raise RemoteError(Reason.WRONG_PEER_ID)
        ours.extend(cbor.encode([VERSION, nonce, echo, tag, public]))
        ours.take_secret("responder", sealed)
        peer, signed = ours.open_proof("responder", proof, self._own)
        if peer.did != self._did:
            raise RemoteError(Reason.WRONG_IDENTITY)
        self._judged = partial(self._on_verdict, peer, signed)
        return Step(asks=Asked(peer, self._own.did))

    def _on_verdict(self, peer: Peer, signed: Signed, verdict: Verdict) -> Step:
        if isinstance(verdict, Reason):
            raise RemoteError(verdict)
        signed.verify(verdict)
        ours = self._transcript
        sealed = ours.give_secret("initiator")
        proof = ours.make_proof("initiator", self._own)
        self._next = partial(self._on_confirmation, peer)
        return Step(cbor.encode([VERSION, ours.peer_nonce, sealed, proof]))

    def _on_confirmation(self, peer: Peer, frame: bytes) -> Step:
        ours = self._transcript
        echo, mac = _read(frame, (PART_BYTES,), last=PART_BYTES)
        if echo != ours.nonce:
            raise RemoteError(Reason.REPLAYED)
        if mac == _REFUSAL:
            raise UnavailableError(
                "the peer does not take this device",
                hint="One of you may be behind: sync the identities of both, and dial again.",
            )
        if not hmac.compare_digest(mac, ours.confirmation()):
            raise RemoteError(Reason.BAD_PROOF)
        return Step(session=ours.session(peer, self._own.did, "initiator"))


class Responder(_Machine):
    """The end that accepted the stream. Feed each frame to `receive`.

    Args:
        here: Those for which this node speaks; each is tried, so that the time tells nothing of them.
        ends: The transport's peer ids: `responder` is this end.
        entropy: 96 random bytes, never used before.
        renews: The id of the session that is renewed; empty for a first one.
    """

    def __init__(self, here: Iterable[Own], ends: Ends, entropy: bytes, renews: bytes = b"") -> None:
        super().__init__(ends, entropy)
        self._here = here
        self._renews = renews
        self._next = self._on_hello

    def _on_hello(self, frame: bytes) -> Step:
        ours = self._transcript
        nonce, tag, name, public = _read(frame, _HELLO_BYTES[:-1], last=_HELLO_BYTES[-1])
        ours.meet(nonce, public)
        if tag != ours.ends_tag(nonce):
            raise RemoteError(Reason.WRONG_PEER_ID)
        own = self._find(nonce, name)
        ours.begin(self._renews, frame)
        head: list[cbor.Value] = [VERSION, ours.nonce, nonce, ours.ends_tag(ours.nonce), ours.public]
        ours.extend(cbor.encode(head))
        sealed = ours.give_secret("responder")
        proof = ours.make_proof("responder", own)
        self._next = partial(self._on_proof, own)
        return Step(cbor.encode([*head, sealed, proof]))

    def _find(self, nonce: bytes, name: bytes) -> Own:
        found = None
        for own in self._here:  # all of them: no early end that could be timed
            if hmac.compare_digest(wanted(own.did, nonce), name):
                found = own
        if found is None:
            raise RemoteError(Reason.WRONG_IDENTITY)
        return found

    def _on_proof(self, own: Own, frame: bytes) -> Step:
        ours = self._transcript
        try:
            echo, sealed, proof = _read(frame, (PART_BYTES, _SEALED_BYTES))
            if echo != ours.nonce:
                raise RemoteError(Reason.REPLAYED)
            ours.take_secret("initiator", sealed)
            peer, signed = ours.open_proof("initiator", proof, own)
        except RemoteError as error:
            return self._refuse(error.reason)
        self._judged = partial(self._on_verdict, own, peer, signed)
        return Step(asks=Asked(peer, own.did))

    def _on_verdict(self, own: Own, peer: Peer, signed: Signed, verdict: Verdict) -> Step:
        if isinstance(verdict, Reason):
            return self._refuse(verdict)
        try:
            signed.verify(verdict)
        except RemoteError as error:
            return self._refuse(error.reason)
        ours = self._transcript
        confirmation = cbor.encode([VERSION, ours.peer_nonce, ours.confirmation()])
        return Step(confirmation, ours.session(peer, own.did, "responder"))

    def _refuse(self, reason: Reason) -> Step:
        return Step(cbor.encode([VERSION, self._transcript.peer_nonce, _REFUSAL]), refused=reason)


def _closed(_frame: bytes) -> Step:
    raise ClosedError("this handshake is over")


def _not_asked(_verdict: Verdict) -> Step:
    raise ClosedError("this handshake waits for no verdict")


def _read(frame: bytes, sizes: tuple[int, ...], last: int | None = None) -> list[bytes]:
    """The parts of a frame: the version, parts of these sizes, and one more, of any size or of the size `last`."""
    value = cbor.decode(frame, max_bytes=_MAX_FRAME_BYTES, max_depth=1)
    if type(value) is not list or not value or type(value[0]) is not int or value[0] < VERSION:
        raise RemoteError(Reason.BAD_MESSAGE)
    if value[0] > VERSION:
        raise RemoteError(Reason.NEWER_VERSION)
    parts = [part for part in value[1:] if type(part) is bytes]
    if len(value) != len(sizes) + 2 or tuple(map(len, parts[:-1])) != sizes or last not in (None, len(parts[-1])):
        raise RemoteError(Reason.BAD_MESSAGE)
    return parts
