"""The join handshake: an invited node proves its invitation, and is handed what it needs to read the chain.

Theory (docs/spec/invitation.md#joining): three frames, a pure machine for each side.

    issuer  -> joiner   challenge: version, nonce
    joiner  -> issuer   request: invitation id, nonce, author key, node key, one-time X-Wing key,
                        a signature by each of the two keys, and a proof of the seed, all over the transcript
    issuer  -> joiner   grant: sealed to the one-time key (HPKE) and signed by the issuer; or refusal

The transcript holds both transport peer ids, the issuer's node key, the chain id (which is never sent) and every
field of the request. An open chain has no seed: its id takes the seed's place, and the grant has no secret.

Invariants: the reason of a refusal is sealed under the seed, so only who proved the seed reads it; to all others every
refusal looks the same and has the same length. The joiner takes a grant from the issuer that the invitation
names and for the chain that it names, or nothing. Whether an invitation may be used is `invitation.judge`'s business;
counting the use and admitting the author are the caller's, before `Issuer.grant`. Randomness is an argument, except for
the encapsulation inside the library's HPKE. This file knows no clock, no store and no policy.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from walytis_core import cbor
from walytis_core.armour import NODE_KEY_BYTES
from walytis_core.block import Block, decode, is_genuine
from walytis_core.cid import BlockId
from walytis_core.errors import ClosedError, InvalidInputError, Reason, RemoteError
from walytis_core.invitation import ID_BYTES, Invitation, suggest_name
from walytis_core.invitation_record import JoinRefusal
from walytis_core.limits import Limits
from walytis_core.seals import SECRET_BYTES, TAG_BYTES, ChainSecret, derive
from walytis_core.signer import AUTHOR_BYTES, MULTIKEY_PREFIX, SIGNATURE_BYTES, Signer, is_author_key, is_signed

VERSION: Final = 1
JOINER_ENTROPY_BYTES: Final = 128  # a nonce, an X25519 secret and an ML-KEM seed of 64
ISSUER_ENTROPY_BYTES: Final = 64  # a nonce, and a key for refusals that nobody can open
_NONCE_BYTES: Final = 32
_MLKEM_PUBLIC_BYTES: Final = 1184
_ONE_TIME_BYTES: Final = _MLKEM_PUBLIC_BYTES + 32
_PROOF_BYTES: Final = 32
_MAX_CHALLENGE_BYTES: Final = 64
_MAX_REQUEST_BYTES: Final = 2048
_CONTEXT: Final = "walytis/join/1"
_ONCE: Final = bytes(12)  # the nonce of keys that seal one refusal each
_REFUSED, _GRANTED = 0, 1
_REFUSALS: Final = tuple(JoinRefusal)  # a refusal's place here is its number on the wire
_PROBE: Final = X25519PrivateKey.from_private_bytes(bytes(32))
_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


class Ends(NamedTuple):
    """The transport peer ids of the two ends of a stream."""

    joiner: str
    issuer: str


class Terms(NamedTuple):
    """What an issuer must know of an invitation to check a request: the chain, and the seed unless it is open to all."""

    chain_id: BlockId
    seed: bytes | None

    def __repr__(self) -> str:
        return f"Terms({self.chain_id.short}, {'open' if self.seed is None else '...'})"


class Claim(NamedTuple):
    """Who asks to join, everything proven: it was invited, and holds both keys."""

    invitation_id: bytes
    chain_id: BlockId
    node_key: bytes
    author: bytes


class Grant(NamedTuple):
    """What a joiner is handed: `genesis` and `admit` are whole blocks, `blocks` is how many the issuer holds."""

    genesis: Block
    secret: ChainSecret | None
    admit: Block | None
    name: str
    blocks: int


class JoinStep(NamedTuple):
    """What a joiner does after a frame: send `send` if there is any; `grant` or `refused` ends the handshake."""

    send: bytes = b""
    grant: Grant | None = None
    refused: JoinRefusal | None = None


class Asked(NamedTuple):
    """What an issuer learnt from a request: a claim to judge; or None, and `refuse()` is to be sent."""

    claim: Claim | None
    reason: Reason | None = None


class Joiner:
    """The invited side, which opened the stream. Feed each frame to `receive`.

    Args:
        invitation: The invitation.
        node: Signs with this node's key.
        author: The key that this node will write with.
        ends: The transport's peer ids.
        entropy: 128 random bytes, never used before.
    """

    def __init__(self, invitation: Invitation, node: Signer, author: Signer, ends: Ends, entropy: bytes) -> None:
        if len(entropy) != JOINER_ENTROPY_BYTES:
            raise InvalidInputError(f"a joiner takes {JOINER_ENTROPY_BYTES} random bytes")
        self._invitation = invitation
        self._node = node
        self._author = author
        self._ends = ends
        self._nonce = entropy[:_NONCE_BYTES]
        self._private = _OneTime(entropy[_NONCE_BYTES:])
        self._keys = _SeedKeys(Terms(invitation.chain_id, invitation.seed))
        self._transcript = b""
        self._next: Callable[[bytes], JoinStep] = self._on_challenge

    def receive(self, frame: bytes) -> JoinStep:
        """Takes the issuer's next frame.

        Raises:
            RemoteError: The peer does not keep to the protocol, is not the issuer, or hands over another chain.
            ClosedError: The handshake is over.
        """
        step, self._next = self._next, _closed
        return step(frame)

    def _on_challenge(self, frame: bytes) -> JoinStep:
        _read_challenge(frame)
        fields: list[cbor.Value] = [
            VERSION, self._invitation.id, self._nonce, self._author.key, self._node.key[2:], self._private.public,
        ]  # fmt: skip
        self._transcript = _transcript(self._ends, self._keys.chain_id, self._invitation.issuer, frame, fields)
        author_signature = self._author.sign(_signed("author", self._transcript))
        node_signature = self._node.sign(_signed("node", self._transcript))
        proof = self._keys.proof(self._transcript, author_signature, node_signature)
        self._next = self._on_answer
        return JoinStep(cbor.encode([*fields, author_signature, node_signature, proof]))

    def _on_answer(self, frame: bytes) -> JoinStep:
        match cbor.decode(frame, max_bytes=Limits.max_frame_bytes, max_depth=1):
            case [0, bytes(sealed)] if len(sealed) == 1 + TAG_BYTES:
                return JoinStep(refused=self._keys.open_refusal(self._transcript, sealed))
            case [1, bytes(sealed), bytes(signature)] if len(signature) == SIGNATURE_BYTES:
                signed = _signed("grant", self._transcript + sealed)
                if not is_signed(MULTIKEY_PREFIX + self._invitation.issuer, signed, signature):
                    raise RemoteError(Reason.BAD_PROOF)
                return JoinStep(grant=self._read_grant(self._private.open(sealed, self._transcript)))
            case _:
                raise RemoteError(Reason.BAD_MESSAGE)

    def _read_grant(self, data: bytes) -> Grant:
        match cbor.decode(data, max_bytes=Limits.max_frame_bytes, max_depth=2):
            case [bytes(genesis), secret, bytes() | None as admit, str(name), int(blocks)] if _is_count(blocks):
                chain_id = self._invitation.chain_id
                return Grant(
                    _read_block(genesis, chain_id, genesis=True),
                    _read_secret(secret),
                    None if admit is None else _read_block(admit, chain_id, genesis=False),
                    suggest_name(name),
                    blocks,
                )
            case _:
                raise RemoteError(Reason.BAD_MESSAGE)


class Issuer:
    """The inviting side, which accepted the stream: send `challenge`, feed `receive`, send `grant()` or `refuse()`.

    Args:
        node: Signs with this node's key.
        ends: The transport's peer ids.
        entropy: 64 random bytes, never used before.
        find: Gives the terms of an invitation by its id; None when there is no such invitation.
    """

    def __init__(self, node: Signer, ends: Ends, entropy: bytes, find: Callable[[bytes], Terms | None]) -> None:
        if len(entropy) != ISSUER_ENTROPY_BYTES:
            raise InvalidInputError(f"an issuer takes {ISSUER_ENTROPY_BYTES} random bytes")
        self._node = node
        self._ends = ends
        self._find = find
        self._cover = entropy[_NONCE_BYTES:]
        self._keys: _SeedKeys | None = None
        self._transcript = b""
        self._one_time: hpke.MLKEM768X25519PublicKey | None = None
        self._asked = False
        self.challenge = cbor.encode([VERSION, entropy[:_NONCE_BYTES]])

    def receive(self, frame: bytes) -> Asked:
        """Takes the request. Without a claim the one answer is `refuse()`.

        Raises:
            ClosedError: There was a request before.
        """
        if self._asked:
            raise ClosedError("this handshake is over")
        self._asked = True
        try:
            return Asked(self._check(_read_request(frame)))
        except RemoteError as error:
            return Asked(None, error.reason)

    def refuse(self, why: JoinRefusal = JoinRefusal.NOT_HONOURED) -> bytes:
        """A refusal; its reason can be read by who proved the seed, and by nobody else."""
        proven = self._one_time is not None and self._keys is not None
        number = bytes((_REFUSALS.index(why) if proven else 0,))
        key = self._keys.refusal_key(self._transcript) if proven and self._keys else self._cover
        return cbor.encode([_REFUSED, ChaCha20Poly1305(key).encrypt(_ONCE, number, None)])

    def grant(self, grant: Grant) -> bytes:
        """The grant, for who proved the claim. The use has been counted and the author admitted, durably.

        Raises:
            ClosedError: Nobody has proven a claim.
        """
        if self._one_time is None:
            raise ClosedError("there is no claim that could be granted")
        secret: cbor.Value = None if grant.secret is None else [grant.secret.number, grant.secret.key]
        admit = None if grant.admit is None else grant.admit.encoded
        data = cbor.encode([grant.genesis.encoded, secret, admit, suggest_name(grant.name), grant.blocks])
        sealed = _SUITE.encrypt(data, self._one_time, _signed("seal", self._transcript))
        signature = self._node.sign(_signed("grant", self._transcript + sealed))
        return cbor.encode([_GRANTED, sealed, signature])

    def _check(self, request: _Request) -> Claim:
        terms = self._find(request.invitation_id)
        if terms is None:
            raise RemoteError(Reason.BAD_PROOF)
        keys = _SeedKeys(terms)
        node_key = self._node.key[len(MULTIKEY_PREFIX) :]
        transcript = _transcript(self._ends, terms.chain_id, node_key, self.challenge, request.fields)
        proof = keys.proof(transcript, request.author_signature, request.node_signature)
        proven = hmac.compare_digest(proof, request.proof)
        by_author = is_signed(request.author, _signed("author", transcript), request.author_signature)
        by_node = is_signed(MULTIKEY_PREFIX + request.node_key, _signed("node", transcript), request.node_signature)
        if not (proven and by_author and by_node and is_author_key(request.author)) or request.node_key == node_key:
            raise RemoteError(Reason.BAD_PROOF)
        self._one_time = _read_one_time(request.one_time)
        self._keys, self._transcript = keys, transcript
        return Claim(request.invitation_id, terms.chain_id, request.node_key, request.author)


def _closed(_frame: bytes) -> JoinStep:
    raise ClosedError("this handshake is over")


# --- the parts ---------------------------------------------------------------------------------------------------


class _SeedKeys:
    """The keys that grow from an invitation's seed, or from the chain id where there is none."""

    def __init__(self, terms: Terms) -> None:
        self.chain_id = terms.chain_id
        self._key = terms.seed or bytes(terms.chain_id)

    def proof(self, transcript: bytes, *signatures: bytes) -> bytes:
        key = derive(self._key, "join/proof", self.chain_id)
        return hmac.digest(key, transcript + b"".join(signatures), "sha256")

    def refusal_key(self, transcript: bytes) -> bytes:
        return derive(self._key, "join/refusal", transcript)

    def open_refusal(self, transcript: bytes, sealed: bytes) -> JoinRefusal:
        """The reason, or that there is none for us to read."""
        try:
            number = ChaCha20Poly1305(self.refusal_key(transcript)).decrypt(_ONCE, sealed, None)[0]
        except InvalidTag:
            return JoinRefusal.NOT_HONOURED
        return _REFUSALS[number] if number < len(_REFUSALS) else JoinRefusal.NOT_HONOURED


class _OneTime:
    """The joiner's one-time X-Wing key."""

    def __init__(self, entropy: bytes) -> None:
        x25519 = X25519PrivateKey.from_private_bytes(entropy[:32])
        mlkem = MLKEM768PrivateKey.from_seed_bytes(entropy[32:])
        self._private = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def open(self, sealed: bytes, transcript: bytes) -> bytes:
        try:
            return _SUITE.decrypt(sealed, self._private, _signed("seal", transcript))
        except (InvalidTag, ValueError) as error:
            raise RemoteError(Reason.BAD_SEAL) from error


class _Request(NamedTuple):
    fields: list[cbor.Value]
    invitation_id: bytes
    author: bytes
    node_key: bytes
    one_time: bytes
    author_signature: bytes
    node_signature: bytes
    proof: bytes


_REQUEST_BYTES: Final = (
    ID_BYTES, _NONCE_BYTES, AUTHOR_BYTES, NODE_KEY_BYTES, _ONE_TIME_BYTES, SIGNATURE_BYTES, SIGNATURE_BYTES, _PROOF_BYTES,
)  # fmt: skip


def _transcript(ends: Ends, chain_id: BlockId, issuer: bytes, challenge: bytes, fields: list[cbor.Value]) -> bytes:
    return hashlib.sha256(cbor.encode([_CONTEXT, *ends, bytes(chain_id), issuer, challenge, fields])).digest()


def _signed(use: str, data: bytes) -> bytes:
    return f"{_CONTEXT}/{use}".encode("ascii") + data


def _read_challenge(frame: bytes) -> None:
    match cbor.decode(frame, max_bytes=_MAX_CHALLENGE_BYTES, max_depth=1):
        case [version, bytes(nonce)] if len(nonce) == _NONCE_BYTES:
            _check_version(version)
        case _:
            raise RemoteError(Reason.BAD_MESSAGE)


def _check_version(version: object) -> None:
    if type(version) is not int or version < VERSION:
        raise RemoteError(Reason.BAD_MESSAGE)
    if version > VERSION:
        raise RemoteError(Reason.NEWER_VERSION)


def _read_request(frame: bytes) -> _Request:
    value = cbor.decode(frame, max_bytes=_MAX_REQUEST_BYTES, max_depth=1)
    if type(value) is not list or len(value) != 1 + len(_REQUEST_BYTES):
        raise RemoteError(Reason.BAD_MESSAGE)
    _check_version(value[0])
    parts = [part for part in value[1:] if type(part) is bytes]
    if tuple(map(len, parts)) != _REQUEST_BYTES:
        raise RemoteError(Reason.BAD_MESSAGE)
    invitation_id, _nonce, author, node_key, one_time, *proofs = parts
    return _Request(value[:6], invitation_id, author, node_key, one_time, *proofs)


def _read_one_time(data: bytes) -> hpke.MLKEM768X25519PublicKey:
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(data[:_MLKEM_PUBLIC_BYTES])
        x25519 = X25519PublicKey.from_public_bytes(data[_MLKEM_PUBLIC_BYTES:])
        _PROBE.exchange(x25519)  # a low-order point is refused now, not when a use has been counted
        return hpke.MLKEM768X25519PublicKey(mlkem, x25519)
    except ValueError as error:
        raise RemoteError(Reason.BAD_KEY) from error


def _read_block(encoded: bytes, chain_id: BlockId, *, genesis: bool) -> Block:
    block = decode(encoded)
    if (block.id if genesis else block.chain) != chain_id:
        raise RemoteError(Reason.WRONG_CHAIN)
    if not is_author_key(block.author):
        raise RemoteError(Reason.BAD_KEY)
    if not is_genuine(block):
        raise RemoteError(Reason.BAD_SIGNATURE)
    return block


def _is_count(value: int) -> bool:
    return type(value) is int and value >= 0


def _read_secret(value: cbor.Value) -> ChainSecret | None:
    match value:
        case None:
            return None
        case [int(number), bytes(key)] if _is_count(number) and len(key) == SECRET_BYTES:
            return ChainSecret(number, key)
        case _:
            raise RemoteError(Reason.BAD_MESSAGE)
