"""Keys of a chain, and the seals made with them.

Theory (docs/spec/session.md): all keys of a chain grow from its *chain key*, which is the chain secret, or for a
chain that everyone may read the chain id. Each use has its own key, by HKDF-SHA256 with one label per use and the
chain id beside it, so a seal of one use, chain or secret never opens in another. Gossip is sealed with
XChaCha20-Poly1305 and a random nonce, frames of a session with ChaCha20-Poly1305 and a counter.

Invariants: nothing here shows a key in `repr` or a message; a `FrameOpener` takes each frame once, in order, and
nothing after the first that does not open. Neither cipher commits to its key: no caller may try several keys on
one seal. This file knows no chain state, no message and no peer.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl import bindings
from nacl.exceptions import CryptoError

from walytis_core.cid import BlockId
from walytis_core.errors import ClosedError, InvalidInputError, Reason, RemoteError
from walytis_core.limits import Limits

SECRET_BYTES: Final = 32
GOSSIP_NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
FRAME_OVERHEAD: Final = TAG_BYTES
GOSSIP_OVERHEAD: Final = GOSSIP_NONCE_BYTES + TAG_BYTES
_CHANNEL_BYTES: Final = 20  # 32 characters of base32; each gossip message carries its channel's name
_CHANNEL_PREFIX: Final = "/walytis/1/"


def derive(key: bytes, label: str, context: bytes = b"", length: int = 32) -> bytes:
    """A key for one use, by HKDF-SHA256 (RFC 5869) without salt.

    Args:
        key: Input key material.
        label: The use, ASCII; the protocol's own list stands in docs/spec/session.md.
        context: What the key is bound to beside its use.
        length: Bytes wanted.
    """
    info = b"walytis/1/" + label.encode("ascii") + b"\0" + context
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(key)


@dataclass(frozen=True, slots=True, repr=False)
class ChainSecret:
    """The numbered secret of a chain whose readers hold one: 32 random bytes.

    Attributes:
        number: Which of the chain's secrets it is.
        key: The secret itself; never in a log.
    """

    number: int
    key: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.number <= Limits.max_int or len(self.key) != SECRET_BYTES:
            raise InvalidInputError(f"a chain secret has a number of at most 53 bits and {SECRET_BYTES} bytes")

    def __repr__(self) -> str:
        return f"ChainSecret({self.number}, ...)"


class ChainKeys:
    """Every key of a chain, each derived when first used.

    Args:
        chain_id: The chain.
        secret: Its secret, or None when everyone may read it.

    >>> ChainKeys(BlockId(bytes(36))).channel
    '/walytis/1/wfwwu2ferfyppdc3uwm6uiszmyqzba2z'
    """

    def __init__(self, chain_id: BlockId, secret: ChainSecret | None = None) -> None:
        self.chain_id = chain_id
        self.number = None if secret is None else secret.number
        self._key = bytes(chain_id) if secret is None else secret.key
        number = b"" if secret is None else secret.number.to_bytes(8, "big")
        self._context = bytes(chain_id) + number

    @cached_property
    def channel(self) -> str:
        """The name of the chain's gossip channel; says nothing to those without the chain key."""
        name = derive(self._key, "channel", self._context, _CHANNEL_BYTES)
        return _CHANNEL_PREFIX + base64.b32encode(name).decode("ascii").lower()

    @cached_property
    def gossip(self) -> GossipSeal:
        """The seal of gossip messages."""
        return GossipSeal(derive(self._key, "gossip", self._context), self.channel)

    @cached_property
    def naming(self) -> bytes:
        """The key that names the chain in the opening of a session. Secret."""
        return derive(self._key, "session/name", self._context)

    @cached_property
    def frames(self) -> bytes:
        """The chain's share in the frame keys of a session. Secret."""
        return derive(self._key, "session/frames", self._context)

    def __repr__(self) -> str:
        return f"ChainKeys({self.chain_id.short}, number={self.number})"


class GossipSeal:
    """Seals and opens the messages of one channel. What strangers put on the channel does not open.

    Args:
        key: 32 bytes, for this use only.
        channel: The channel's name, bound into each seal.
    """

    __slots__ = ("_channel", "_key")

    def __init__(self, key: bytes, channel: str) -> None:
        self._key = key
        self._channel = channel.encode("ascii")

    def seal(self, message: bytes, nonce: bytes) -> bytes:
        """Seals a message.

        Args:
            message: At most `Limits.max_gossip_bytes - GOSSIP_OVERHEAD` bytes.
            nonce: 24 random bytes, fresh for each message.
        """
        if len(message) + GOSSIP_OVERHEAD > Limits.max_gossip_bytes or len(nonce) != GOSSIP_NONCE_BYTES:
            raise InvalidInputError("a gossip message is too long, or its nonce is not of 24 bytes")
        sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(message, self._channel, nonce, self._key)
        return nonce + bytes(sealed)

    def open(self, sealed: bytes) -> bytes:
        """Opens what came over the channel. Raises `RemoteError` (`BAD_SEAL`, or `BAD_MESSAGE` when too long)."""
        if len(sealed) > Limits.max_gossip_bytes:
            raise RemoteError(Reason.BAD_MESSAGE)
        if len(sealed) < GOSSIP_OVERHEAD:
            raise RemoteError(Reason.BAD_SEAL)
        nonce, body = sealed[:GOSSIP_NONCE_BYTES], sealed[GOSSIP_NONCE_BYTES:]
        try:
            return bytes(bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(body, self._channel, nonce, self._key))
        except CryptoError as error:
            raise RemoteError(Reason.BAD_SEAL) from error

    def __repr__(self) -> str:
        return f"GossipSeal({self._channel.decode('ascii')})"


class FrameSealer:
    """Seals the frames of one direction of one session; the n-th frame has the nonce n.

    Args:
        key: 32 bytes, for this session and direction only.
    """

    __slots__ = ("_aead", "_count")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._count = 0

    def seal(self, frame: bytes) -> bytes:
        """Seals the next frame: at most `Limits.max_frame_bytes - FRAME_OVERHEAD` bytes."""
        if len(frame) + FRAME_OVERHEAD > Limits.max_frame_bytes:
            raise InvalidInputError(f"a frame has at most {Limits.max_frame_bytes - FRAME_OVERHEAD} bytes")
        nonce = self._count.to_bytes(12, "big")
        self._count += 1
        return self._aead.encrypt(nonce, frame, None)


class FrameOpener:
    """Opens the frames of one direction in the order of sealing, and nothing more after the first error.

    Args:
        key: The key of the `FrameSealer` at the other end.
    """

    __slots__ = ("_aead", "_count", "_open")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._count = 0
        self._open = True

    def open(self, sealed: bytes) -> bytes:
        """Opens the next frame.

        Raises:
            RemoteError: `BAD_SEAL`: changed, repeated, left out, or from another session or direction.
            ClosedError: A frame before this one did not open.
        """
        if not self._open:
            raise ClosedError("this session ended at a frame that did not open")
        try:
            frame = self._aead.decrypt(self._count.to_bytes(12, "big"), sealed, None)
        except InvalidTag as error:
            self._open = False
            raise RemoteError(Reason.BAD_SEAL) from error
        self._count += 1
        return frame
