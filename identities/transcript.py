"""What both ends of a session's handshake share: one transcript, two secrets, and proofs over them.

Theory (docs/spec/identity-sessions.md#transcript): the transcript is one hash that takes up each part of the handshake as
it is sent. Every key is derived from the secrets known by then, with the transcript of that moment as its context, and
every signature is over it; so whatever an end saw otherwise than the other shows at once, and nothing of one run fits
another.

Invariants: reading is strict and bounded; a proof that was opened has proven nothing until its signatures were
verified with keys that a caller gave; after `forget` neither one-time key nor secrets are held. This file knows no order
of messages.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from identities.acts import MAX_DEPTH, SeatId
from identities.suites import KEY_ID_BYTES, SealingKey, SigningKey, is_sealing_key, seal_to, verify
from walytis_core import cbor
from walytis_core.cid import CID_BYTES, DAG_CBOR_PREFIX, BlockId
from walytis_core.errors import InvalidInputError, Reason, RemoteError
from walytis_core.handshake import Ends
from walytis_core.seals import FrameOpener, FrameSealer, derive

ENTROPY_BYTES: Final = 96  # a nonce, the seed of the one-time key, and the secret that is sealed to the other end's
PART_BYTES: Final = 32
TAG_BYTES: Final = 16
_MAX_PROOF_BYTES: Final = 12 * 1024  # two composite signatures of 3 373 bytes, a path of eight seats, and room
_CONTEXT: Final = "walytis/identities/session/1"
_LABEL: Final = "identities/session/"
_ONCE: Final = bytes(12)  # the nonce of keys that seal one proof each


class Key(NamedTuple):
    """A public signing key, as the verifier's own view has it."""

    suite: int
    public: bytes


class Keys(NamedTuple):
    """What a peer's proof is to be verified with: the control key that it named, and its device's key."""

    control: Key
    device: Key


class Own(NamedTuple):
    """This end: a device that speaks for an identity.

    Attributes:
        did: The identity's chain.
        path: Its seat there; behind a nested identity's, the seat there, and so on, to this device's.
        control: The identity's control key of an epoch.
        device: This device's signing key.
    """

    did: BlockId
    path: tuple[SeatId, ...]
    control: SigningKey
    device: SigningKey


class Peer(NamedTuple):
    """The other end: for which identity it speaks, from which seat, by which control key (its id of 16 bytes)."""

    did: BlockId
    path: tuple[SeatId, ...]
    control_id: bytes


class Session(NamedTuple):
    """An open session: who is at the other end, for which identity this end speaks, and the seals of the two directions."""

    peer: Peer
    did: BlockId
    send: FrameSealer
    receive: FrameOpener
    id: bytes
    """16 bytes, the same at both ends and in no other session; not secret."""


class Signed(NamedTuple):
    """Two signatures, and what they are said to sign."""

    role: str
    message: bytes
    by_control: bytes
    by_device: bytes

    def verify(self, keys: Keys) -> None:
        """Raises `RemoteError` when one of them does not hold, with a reason for each."""
        for key, signature, use, reason in (
            (keys.control, self.by_control, "control", Reason.WRONG_GROUP_KEY),
            (keys.device, self.by_device, "device", Reason.WRONG_DEVICE_KEY),
        ):
            try:
                verify(key.suite, key.public, f"{_CONTEXT}/{self.role}/{use}", self.message, signature)
            except RemoteError as error:
                raise RemoteError(reason if error.reason is Reason.BAD_SIGNATURE else error.reason) from error


class Transcript:
    """One end's nonce, one-time key and secret; the secrets of both ends; and the transcript so far.

    Args:
        ends: The transport's peer ids.
        entropy: 96 random bytes, never used before.
    """

    def __init__(self, ends: Ends, entropy: bytes) -> None:
        if len(entropy) != ENTROPY_BYTES:
            raise InvalidInputError(f"a handshake takes {ENTROPY_BYTES} random bytes")
        self._ends = ends
        self.nonce = entropy[:PART_BYTES]
        self.peer_nonce = b""
        self._one_time: SealingKey | None = SealingKey.from_seed(entropy[PART_BYTES : 2 * PART_BYTES])
        self.public = self._one_time.public
        self._secret = entropy[2 * PART_BYTES :]
        self._peer_public = b""
        self._shared = b""  # the responder's secret, then the initiator's
        self._hash = b""

    def begin(self, renews: bytes, hello: bytes) -> None:
        """It begins with the protocol, both peer ids, the session that is renewed, and the hello."""
        self._hash = hashlib.sha256(cbor.encode([_CONTEXT, *self._ends, renews, hello])).digest()

    def extend(self, part: bytes) -> None:
        """Takes up a part."""
        self._hash = hashlib.sha256(self._hash + part).digest()

    def meet(self, nonce: bytes, public: bytes) -> None:
        """Takes the other end's nonce and one-time key; raises `RemoteError` when they are ours, or no such key."""
        if nonce == self.nonce or public == self.public:
            raise RemoteError(Reason.REFLECTED)
        if not is_sealing_key(public):
            raise RemoteError(Reason.BAD_KEY)
        self.peer_nonce, self._peer_public = nonce, public

    def ends_tag(self, nonce: bytes) -> bytes:
        """By which the ends tell each other early that they see other peer ids."""
        return hashlib.sha256(cbor.encode([f"{_CONTEXT}/ends", nonce, *self._ends])).digest()[:TAG_BYTES]

    def give_secret(self, role: str) -> bytes:
        """Own secret, sealed to the other end's one-time key."""
        sealed = seal_to(self._peer_public, self._info(role), self._secret)
        self._shared += self._secret
        self.extend(sealed)
        return sealed

    def take_secret(self, role: str, sealed: bytes) -> None:
        """The other end's secret, sealed to our one-time key."""
        assert self._one_time is not None
        try:
            secret = self._one_time.open(self._info(role), sealed)
        except RemoteError as error:
            raise RemoteError(Reason.SWAPPED_KEY) from error
        self._shared += secret
        self.extend(sealed)

    def make_proof(self, role: str, own: Own) -> bytes:
        """This end's proof, sealed."""
        name = _name(own.did, own.path, own.control.id)
        message = self._hash + cbor.encode(name)
        by_control = own.control.sign(f"{_CONTEXT}/{role}/control", message)
        by_device = own.device.sign(f"{_CONTEXT}/{role}/device", message)
        mac = self._mac(role, message + by_control + by_device)
        proof = cbor.encode([*name, by_control, by_device, mac])
        sealed = self._proof_seal(role).encrypt(_ONCE, proof, None)
        self.extend(proof)
        return sealed

    def open_proof(self, role: str, sealed: bytes, own: Own) -> tuple[Peer, Signed]:
        """The other end's proof: who it says it is, and signatures, which are not verified yet.

        Raises:
            RemoteError: It does not open, is none, or is of this very device.
        """
        try:
            proof = self._proof_seal(role).decrypt(_ONCE, sealed, None)
        except InvalidTag as error:
            raise RemoteError(Reason.BAD_SEAL) from error
        peer, by_control, by_device, mac = _read_proof(proof)
        message = self._hash + cbor.encode(_name(*peer))
        if not hmac.compare_digest(mac, self._mac(role, message + by_control + by_device)):
            raise RemoteError(Reason.BAD_PROOF)
        if (peer.did, peer.path) == (own.did, own.path):
            raise RemoteError(Reason.REFLECTED)
        self.extend(proof)
        return peer, Signed(role, message, by_control, by_device)

    def confirmation(self) -> bytes:
        """The responder's last word: it has both secrets, and the same transcript."""
        return hmac.digest(self._derive("confirm"), b"", "sha256")

    def session(self, peer: Peer, did: BlockId, role: str) -> Session:
        """The session under the transcript as it stands."""
        keys = [self._derive("records/initiator"), self._derive("records/responder")]
        send, receive = keys if role == "initiator" else reversed(keys)
        return Session(peer, did, FrameSealer(send), FrameOpener(receive), self._hash[:16])

    def forget(self) -> None:
        """Nothing is left by which the secrets could be learnt again."""
        self._one_time, self._secret, self._shared = None, b"", b""

    def _derive(self, use: str) -> bytes:
        return derive(self._shared, _LABEL + use, self._hash)

    def _proof_seal(self, role: str) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(self._derive(f"proof/{role}"))

    def _mac(self, role: str, data: bytes) -> bytes:
        return hmac.digest(self._derive(f"mac/{role}"), data, "sha256")

    def _info(self, role: str) -> bytes:
        return f"{_CONTEXT}/secret/{role}".encode("ascii") + self._hash


def wanted(did: BlockId, nonce: bytes) -> bytes:
    """Names an identity to those who know it, once, and to nobody else."""
    return hmac.digest(bytes(did), f"{_CONTEXT}/wanted".encode("ascii") + nonce, "sha256")


def _name(did: BlockId, path: Sequence[SeatId], control_id: bytes) -> list[cbor.Value]:
    return [bytes(did), [seat if isinstance(seat, int) else bytes(seat) for seat in path], control_id]


def _read_proof(proof: bytes) -> tuple[Peer, bytes, bytes, bytes]:
    match cbor.decode(proof, max_bytes=_MAX_PROOF_BYTES, max_depth=2):
        case [bytes(did), list(path), bytes(control_id), bytes(by_control), bytes(by_device), bytes(mac)] if (
            _is_id(did) and 0 < len(path) <= MAX_DEPTH and len(control_id) == KEY_ID_BYTES and len(mac) == PART_BYTES
        ):
            return Peer(BlockId(did), tuple(map(_read_seat, path)), control_id), by_control, by_device, mac
        case _:
            raise RemoteError(Reason.BAD_MESSAGE)


def _read_seat(value: cbor.Value) -> SeatId:
    if type(value) is int and value >= 0:
        return value
    if type(value) is bytes and _is_id(value):
        return value
    raise RemoteError(Reason.BAD_MESSAGE)


def _is_id(value: bytes) -> bool:
    return len(value) == CID_BYTES and value.startswith(DAG_CBOR_PREFIX)
