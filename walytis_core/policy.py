"""A chain's policy: who may write and who may read, fixed in the genesis.

Layout: docs/spec/block.md#genesis. Invariants: the policy is a function of the genesis block alone; nothing about a
chain can be swapped later. Admission adds writers and never takes one away. This file knows payloads, not the DAG.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from walytis_core import cbor
from walytis_core.block import GENESIS_PLACE, Block, Draft, create, draft, is_genuine
from walytis_core.cid import DAG_CBOR_PREFIX, BlockId, Cid
from walytis_core.errors import InvalidInputError, Reason, RemoteError
from walytis_core.limits import Limits
from walytis_core.signer import Signer, is_author_key

ADMIT: Final = "core/admit"
ANYONE: Final = "anyone"
EVERYONE: Final = "everyone"
SECRET: Final = "secret"
NONCE_BYTES: Final = 16
_DID: Final = "did:walytis:"


class Policy(NamedTuple):
    """Who may write and who may read.

    Attributes:
        writers: The multikeys listed in the genesis; None when anyone may write.
        readers: ``"everyone"``, ``"secret"`` (holders of the chain secret) or an identity's DID.
        data: The app's own bytes in the genesis payload.
    """

    writers: frozenset[bytes] | None
    readers: str
    data: bytes = b""

    @property
    def is_public(self) -> bool:
        """Whether everyone may read: who is let in without a right to write needs an address, and no secret."""
        return self.readers == EVERYONE

    @property
    def is_open(self) -> bool:
        """Whether anyone may read and write: an invitation is then only an address."""
        return self.writers is None and self.is_public

    def named(self, layer: str) -> str | None:
        """What the genesis names for a layer, where `data` is a DAG-CBOR map of text: its rule, say."""
        try:
            names = cbor.decode(self.data, max_bytes=Limits.max_payload_bytes, max_depth=1)
        except RemoteError:  # data of the app's own
            return None
        name = names.get(layer) if isinstance(names, dict) else None
        return name if isinstance(name, str) else None


class Genesis(NamedTuple):
    """What the rules need to know of a chain's first block."""

    id: BlockId
    author: bytes
    policy: Policy


def create_genesis(signer: Signer, policy: Policy, nonce: bytes, time_ms: int) -> Block:
    """Makes the first block of a new chain.

    Args:
        nonce: 16 random bytes; they make the chain's id unique.

    Raises:
        InvalidInputError: A writer is not an Ed25519 multikey, `readers` is unknown, or the policy is too long.
    """
    writers = None if policy.writers is None else sorted(policy.writers)
    if writers is not None and (not writers or len(writers) > Limits.max_writers):
        raise InvalidInputError(f"writers has 1 to {Limits.max_writers} keys, or is 'anyone'")
    if not all(is_author_key(key) for key in writers or ()):
        raise InvalidInputError("a writer is an Ed25519 multikey of 34 bytes")
    if not _is_readers(policy.readers):
        raise InvalidInputError("readers is 'everyone', 'secret' or a did:walytis: identity")
    payload = cbor.encode([nonce, writers, policy.readers, policy.data])
    return create(signer, GENESIS_PLACE, draft(payload), time_ms)


def read_genesis(block: Block) -> Genesis:
    """Reads and checks a genesis block, its signature included.

    Raises:
        RemoteError: It is no genesis block, or its policy does not parse.
    """
    if block.chain is not None or block.type or not isinstance(block.body, bytes):
        raise RemoteError(Reason.BAD_FIELD, "not a genesis block")
    if not is_author_key(block.author):
        raise RemoteError(Reason.BAD_KEY)
    if not is_genuine(block):
        raise RemoteError(Reason.BAD_SIGNATURE)
    match _decode(block.body):
        case [bytes(nonce), writers, str(readers), bytes(data)] if (
            len(nonce) == NONCE_BYTES and _is_readers(readers) and type(data) is bytes  # a link is no data
        ):
            keys = None if writers is None else _read_keys(writers)
            return Genesis(block.id, block.author, Policy(keys, readers, data))
    raise RemoteError(Reason.BAD_PAYLOAD, "the genesis payload is not [nonce, writers, readers, data]")


def encode_admit(keys: Collection[bytes]) -> bytes:
    """The payload of a `core/admit` block: the multikeys that may write from now on."""
    return cbor.encode(sorted(set(keys)))


def read_admit(block: Block | Draft) -> frozenset[bytes]:
    """The multikeys that a `core/admit` block lists.

    Raises:
        RemoteError: The payload does not parse.
    """
    if not isinstance(block.body, bytes):
        raise RemoteError(Reason.BAD_PAYLOAD, "a core/admit payload is inline")
    return _read_keys(_decode(block.body))


def _decode(payload: bytes) -> object:
    try:
        return cbor.decode(payload, max_bytes=Limits.max_payload_bytes, max_depth=3)
    except RemoteError as error:
        raise RemoteError(Reason.BAD_PAYLOAD) from error


def _read_keys(value: object) -> frozenset[bytes]:
    """A sorted, distinct, non-empty list of valid author keys."""
    if not isinstance(value, list) or not 0 < len(value) <= Limits.max_writers:
        raise RemoteError(Reason.BAD_PAYLOAD)
    if not all(isinstance(key, bytes) and is_author_key(key) for key in value) or value != sorted(set(value)):
        raise RemoteError(Reason.BAD_PAYLOAD)
    return frozenset(value)


def _is_readers(readers: str) -> bool:
    if not readers.startswith(_DID):
        return readers in (EVERYONE, SECRET)
    try:
        return Cid.parse(readers.removeprefix(_DID)).startswith(DAG_CBOR_PREFIX)
    except InvalidInputError:
        return False
