"""The opening of a sync session: two peers prove the chain they mean and their node keys, and agree on keys.

Theory (docs/spec/session.md): a pure machine for each role, fed one frame at a time.

    initiator                                responder
    hello: version, nonce, X25519     -->
                                      <--    hello: version, nonce, X25519
    sealed [name, node key, signature] -->
                                      <--    sealed [name, node key, signature], or a refusal of the same length

A *name* is an HMAC of the transcript under a key of the chain: it names the chain to those who hold its key, and
nothing to others. The proofs are sealed under the Diffie-Hellman secret alone, so who only listens sees no node key.

Invariants: the transcript holds the roles, the version, both transport peer ids, nonces and ephemerals, and then
each proof; an unknown chain, a false proof and a peer that is not admitted get one answer, after the same work;
a machine that raised or refused takes nothing more. Who may read beside holding the chain's key is asked outside, once
the peer has proven its node key. Randomness is an argument and must never be used twice.
This file knows no transport, no store and no message of sync.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from walytis_core import cbor
from walytis_core.cid import BlockId, varint
from walytis_core.errors import ClosedError, InvalidInputError, Reason, RemoteError, UnavailableError
from walytis_core.limits import Limits
from walytis_core.seals import TAG_BYTES, ChainKeys, FrameOpener, FrameSealer, derive
from walytis_core.signer import MULTIKEY_PREFIX, SIGNATURE_BYTES, Signer, is_signed

VERSION: Final = 1
ENTROPY_BYTES: Final = 64  # a nonce of 32 and an X25519 secret of 32
NODE_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 32
_NAME_BYTES: Final = 32
_PROOF_BYTES: Final = _NAME_BYTES + NODE_KEY_BYTES + SIGNATURE_BYTES
_MAX_HELLO_BYTES: Final = 128
_MAX_LENGTH_BYTES: Final = 3  # 21 bits hold Limits.max_frame_bytes
_CONTEXT: Final = "walytis/sync/1"
_REFUSAL: Final = bytes(_PROOF_BYTES)
_ONCE: Final = bytes(12)  # the nonce of keys that seal one proof each


class Candidate(NamedTuple):
    """A chain that a responder holds.

    Attributes:
        keys: Its keys.
        is_asked: Whether it is asked of each peer if it may read; else the chain's key is the only right to read.
    """

    keys: ChainKeys
    is_asked: bool = False


class Asked(NamedTuple):
    """What is to be asked: whether the holder of a node key (32 bytes), which is proven, may read a chain, now."""

    chain_id: BlockId
    node_key: bytes


class Ends(NamedTuple):
    """The transport peer ids of the two ends of a stream."""

    initiator: str
    responder: str


class Session(NamedTuple):
    """An open session: what both ends have proven to each other, and the seals of the two directions."""

    chain_id: BlockId
    peer_node_key: bytes
    send: FrameSealer
    receive: FrameOpener
    id: bytes
    """16 bytes, the same at both ends and in no other session; not secret."""
    keys: ChainKeys
    """Those of the chain under which it was opened."""


class Step(NamedTuple):
    """What to do next: send `send` if there is any, then use the session, close if it was refused, or `answer` `asks`."""

    send: bytes = b""
    session: Session | None = None
    refused: Reason | None = None
    asks: Asked | None = None


class Initiator:
    """The end that opened the stream. Send `hello`, then feed each frame to `receive`.

    Args:
        node: Signs with this node's key.
        chain: The chain that is meant.
        ends: The transport's peer ids: `initiator` is this end.
        entropy: 64 random bytes, never used before.
        is_asked: Whether it is asked if the responder may read the chain.
    """

    def __init__(self, node: Signer, chain: ChainKeys, ends: Ends, entropy: bytes, *, is_asked: bool = False) -> None:
        self._core = _Core(node, ends, entropy)
        self._chain = chain
        self._is_asked = is_asked
        self._next: Callable[[bytes], Step] = self._on_hello
        self._admit: Callable[[bool], Step] = _not_asked
        self.hello = self._core.hello

    def receive(self, frame: bytes) -> Step:
        """Takes the responder's next frame.

        Raises:
            RemoteError: The frame is not of the protocol, or its proof is false.
            UnavailableError: The responder refused: it does not hold the chain, or does not admit this node.
            ClosedError: The handshake is over.
        """
        step, self._next = self._next, _closed
        return step(frame)

    def answer(self, is_admitted: bool) -> Step:
        """Takes the answer to what a step asked. Raises `RemoteError` for a responder that may not read."""
        admit, self._admit = self._admit, _not_asked
        return admit(is_admitted)

    def _on_hello(self, frame: bytes) -> Step:
        core = self._core
        core.meet(ours_first=True, theirs=frame)
        proof = core.prove(self._chain, "initiator")
        sealed = core.seal("initiator", proof)
        core.extend(proof)
        self._next = self._on_proof
        return Step(sealed)

    def _on_proof(self, frame: bytes) -> Step:
        core = self._core
        proof = core.open("responder", frame)
        if proof == _REFUSAL:
            raise UnavailableError("the peer does not open this chain to this node")
        name, node_key, signature = _split(proof)
        named = core.names(self._chain, "responder", name)
        if not (core.is_proven(node_key, name, signature, "responder") and named):
            raise RemoteError(Reason.BAD_PROOF)
        core.extend(proof)
        if not self._is_asked:
            return self._open(node_key, True)
        self._admit = partial(self._open, node_key)
        return Step(asks=Asked(self._chain.chain_id, node_key))

    def _open(self, node_key: bytes, is_admitted: bool) -> Step:
        if not is_admitted:
            raise RemoteError(Reason.BAD_PROOF)
        return Step(session=self._core.session(self._chain, node_key, "initiator"))


class Responder:
    """The end that accepted the stream. Feed each frame to `receive`.

    Args:
        node: Signs with this node's key.
        candidates: The chains held; each is tried, so that the work does not tell which one matched.
        ends: The transport's peer ids: `responder` is this end.
        entropy: 64 random bytes, never used before.
    """

    def __init__(self, node: Signer, candidates: Iterable[Candidate], ends: Ends, entropy: bytes) -> None:
        self._core = _Core(node, ends, entropy)
        self._candidates = candidates
        self._next: Callable[[bytes], Step] = self._on_hello
        self._admit: Callable[[bool], Step] = _not_asked

    def receive(self, frame: bytes) -> Step:
        """Takes the initiator's next frame. A refusal is a step too: its answer is sent before closing.

        Raises:
            RemoteError: The hello is not of the protocol; nothing is answered.
            ClosedError: The handshake is over.
        """
        step, self._next = self._next, _closed
        return step(frame)

    def answer(self, is_admitted: bool) -> Step:
        """Takes the answer to what a step asked. A refusal is as any other."""
        admit, self._admit = self._admit, _not_asked
        return admit(is_admitted)

    def _on_hello(self, frame: bytes) -> Step:
        self._core.meet(ours_first=False, theirs=frame)
        self._next = self._on_proof
        return Step(self._core.hello)

    def _on_proof(self, frame: bytes) -> Step:
        core = self._core
        try:
            proof = core.open("initiator", frame)
        except RemoteError as error:
            return Step(core.seal("responder", _REFUSAL), refused=error.reason)
        name, node_key, signature = _split(proof)
        found = self._find(name)
        proven = core.is_proven(node_key, name, signature, "initiator")
        if found is None or not proven:
            return Step(core.seal("responder", _REFUSAL), refused=Reason.BAD_PROOF)
        core.extend(proof)
        if not found.is_asked:
            return self._open(found.keys, node_key, True)
        self._admit = partial(self._open, found.keys, node_key)
        return Step(asks=Asked(found.keys.chain_id, node_key))

    def _open(self, chain: ChainKeys, node_key: bytes, is_admitted: bool) -> Step:
        core = self._core
        if not is_admitted:
            return Step(core.seal("responder", _REFUSAL), refused=Reason.BAD_PROOF)
        answer = core.prove(chain, "responder")
        sealed = core.seal("responder", answer)
        core.extend(answer)
        return Step(sealed, core.session(chain, node_key, "responder"))

    def _find(self, name: bytes) -> Candidate | None:
        found = None
        for candidate in self._candidates:  # all of them: no early end that could be timed
            if self._core.names(candidate.keys, "initiator", name):
                found = candidate
        return found


def _closed(_frame: bytes) -> Step:
    raise ClosedError("this handshake is over")


def _not_asked(_is_admitted: bool) -> Step:
    raise ClosedError("this handshake waits for no answer")


def _split(proof: bytes) -> tuple[bytes, bytes, bytes]:
    key_end = _NAME_BYTES + NODE_KEY_BYTES
    return proof[:_NAME_BYTES], proof[_NAME_BYTES:key_end], proof[key_end:]


class _Core:
    """What both roles share: own hello, the transcript so far, and the Diffie-Hellman secret."""

    def __init__(self, node: Signer, ends: Ends, entropy: bytes) -> None:
        if len(entropy) != ENTROPY_BYTES:
            raise InvalidInputError(f"a handshake takes {ENTROPY_BYTES} random bytes")
        self._node = node
        self._ends = ends
        self._nonce = entropy[:_NONCE_BYTES]
        self._private = X25519PrivateKey.from_private_bytes(entropy[_NONCE_BYTES:])
        self._public = self._private.public_key().public_bytes_raw()
        self.hello = cbor.encode([VERSION, self._nonce, self._public])
        self._shared = b""
        self._met = b""  # the transcript of the hellos, which the seals of the proofs stand on
        self._transcript = b""

    def meet(self, *, ours_first: bool, theirs: bytes) -> None:
        """Takes the other's hello: from here on there is a shared secret and a transcript."""
        nonce, public = _read_hello(theirs)
        if nonce == self._nonce or public == self._public:
            raise RemoteError(Reason.BAD_PROOF, "refused: the peer sent our own hello back")
        try:
            self._shared = self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:  # the all-zero secret of a low-order point (RFC 7748, section 6.1)
            raise RemoteError(Reason.BAD_KEY) from error
        hellos = [self.hello, theirs] if ours_first else [theirs, self.hello]
        self._met = self._transcript = hashlib.sha256(cbor.encode([_CONTEXT, *self._ends, *hellos])).digest()

    def extend(self, proof: bytes) -> None:
        """Adds a proof to the transcript."""
        self._transcript = hashlib.sha256(self._transcript + proof).digest()

    def prove(self, chain: ChainKeys, role: str) -> bytes:
        """This end's proof: the chain's name, the node key, and its signature over all so far."""
        key = self._node.key[len(MULTIKEY_PREFIX) :]
        name = self._name(chain, role)
        return name + key + self._node.sign(self._signed(key, name, role))

    def names(self, chain: ChainKeys, role: str, name: bytes) -> bool:
        """Whether `name` names this chain."""
        return hmac.compare_digest(self._name(chain, role), name)

    def is_proven(self, node_key: bytes, name: bytes, signature: bytes, role: str) -> bool:
        """Whether the other end holds `node_key`, and is not ourselves."""
        reflected = node_key == self._node.key[len(MULTIKEY_PREFIX) :]
        return is_signed(MULTIKEY_PREFIX + node_key, self._signed(node_key, name, role), signature) and not reflected

    def seal(self, role: str, proof: bytes) -> bytes:
        """Seals this role's proof for the other end."""
        return self._proof_seal(role).encrypt(_ONCE, proof, None)

    def open(self, role: str, sealed: bytes) -> bytes:
        """Opens the proof of the other end."""
        if len(sealed) != _PROOF_BYTES + TAG_BYTES:
            raise RemoteError(Reason.BAD_MESSAGE)
        try:
            return self._proof_seal(role).decrypt(_ONCE, sealed, None)
        except InvalidTag as error:
            raise RemoteError(Reason.BAD_SEAL) from error

    def session(self, chain: ChainKeys, peer_node_key: bytes, role: str) -> Session:
        """The session under the transcript as it stands."""
        keys = [self._frame_key(chain, "initiator"), self._frame_key(chain, "responder")]
        send, receive = keys if role == "initiator" else reversed(keys)
        return Session(
            chain.chain_id, peer_node_key, FrameSealer(send), FrameOpener(receive), self._transcript[:16], chain
        )

    def _frame_key(self, chain: ChainKeys, sender: str) -> bytes:
        return derive(chain.frames + self._shared, f"session/frames/{sender}", self._transcript)

    def _proof_seal(self, role: str) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(derive(self._shared, f"session/proof/{role}", self._met))

    def _name(self, chain: ChainKeys, role: str) -> bytes:
        return hmac.digest(chain.naming, role.encode("ascii") + self._transcript, "sha256")

    def _signed(self, node_key: bytes, name: bytes, role: str) -> bytes:
        return f"{_CONTEXT}/{role}".encode("ascii") + self._transcript + name + node_key


def _read_hello(frame: bytes) -> tuple[bytes, bytes]:
    match cbor.decode(frame, max_bytes=_MAX_HELLO_BYTES, max_depth=1):
        case [int(version), bytes(nonce), bytes(public)] if len(nonce) == _NONCE_BYTES and len(public) == 32:
            if version is True or version < VERSION:
                raise RemoteError(Reason.BAD_MESSAGE)
            if version > VERSION:
                raise RemoteError(Reason.NEWER_VERSION)
            return nonce, public
        case _:
            raise RemoteError(Reason.BAD_MESSAGE)


# --- frames on a stream ------------------------------------------------------------------------------------------


def frame(data: bytes) -> bytes:
    """One frame as it stands on a stream: its length as an unsigned varint, then its bytes.

    >>> frame(b"x" * 200)[:2].hex()
    'c801'
    """
    if not 0 < len(data) <= Limits.max_frame_bytes:
        raise InvalidInputError(f"a frame has 1 to {Limits.max_frame_bytes} bytes")
    return varint(len(data)) + data


class FrameReader:
    r"""Cuts what comes over a stream into frames. Holds one frame at most beyond what it is fed.

    >>> reader = FrameReader()
    >>> reader.feed(frame(b"one") + b"\x03tw"), reader.feed(b"o")
    ([b'one'], [b'two'])
    """

    __slots__ = ("_broken", "_buffer")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._broken = False

    @property
    def whole(self) -> bool:
        """Whether the stream may end here: no frame has begun."""
        return not self._buffer

    def feed(self, data: bytes) -> list[bytes]:
        """Takes bytes of the stream, and gives the frames that are whole now.

        Raises:
            RemoteError: `BAD_MESSAGE`: a length of 0, above `Limits.max_frame_bytes` or not in its shortest form. It is
                raised as soon as the length is read; nothing more is taken.
        """
        if self._broken:
            raise ClosedError("this stream ended at a frame that is not one")
        self._buffer += data
        frames = []
        while (head := self._read_length()) is not None:
            start, length = head
            if len(self._buffer) < start + length:
                break
            with memoryview(self._buffer) as held:  # one copy: a slice of the buffer itself would be another
                frames.append(bytes(held[start : start + length]))
            del self._buffer[: start + length]
        return frames

    def _read_length(self) -> tuple[int, int] | None:
        """Where the frame starts and its length; None while the length itself is not whole."""
        length = 0
        for at, byte in enumerate(self._buffer[:_MAX_LENGTH_BYTES]):
            length |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                if not 0 < length <= Limits.max_frame_bytes or (byte == 0 and at > 0):
                    break
                return at + 1, length
        else:
            if len(self._buffer) < _MAX_LENGTH_BYTES:
                return None
        self._broken = True
        raise RemoteError(Reason.BAD_MESSAGE)
