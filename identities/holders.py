"""Who can hold a seat of an identity, with all keys, and what its first block fixes: as bytes, and a strict way to read them.

Layout: docs/spec/identities.md#genesis. Everything here may come from a stranger: it is bounded before it is read, there
is one way to write it, and what does not fit raises `RemoteError` (`BAD_PAYLOAD`). The deciding files know the same holders
without keys (`acts.py`). What events say of them: `payloads.py`.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple, TypeAlias, cast

from identities.acts import Council, Device, Nested
from identities.suites import XWING, is_sealing_key, is_signing_key, key_id, verify
from walytis_core import cbor
from walytis_core.block import Block
from walytis_core.block import decode as decode_block
from walytis_core.cid import BlockId
from walytis_core.errors import Reason, RemoteError
from walytis_core.limits import Limits
from walytis_core.signer import is_author_key

GENESIS_KEY: Final = "identities/"
NODE_KEY_BYTES: Final = 32
HASH_BYTES: Final = 32
MAX_COUNCIL: Final = 16
MAX_LISTED: Final = 8
MAX_GENESIS_BYTES: Final = 16_384
_DEPTH: Final = 6
_VERSION: Final = 1

Wire: TypeAlias = Any
"""A value as `cbor.decode` gives it."""


class PublicKey(NamedTuple):
    """A public key, with the suite that it is bound to."""

    suite: int
    public: bytes

    @property
    def id(self) -> bytes:
        """By what it is named: `suites.key_id`."""
        return key_id(self.suite, self.public)

    def verify(self, context: str, message: bytes, signature: bytes) -> None:
        """Raises `RemoteError` (`BAD_SIGNATURE`) unless it signed this, in this context."""
        verify(self.suite, self.public, context, message, signature)


class DeviceKeys(NamedTuple):
    """A device with its keys.

    Attributes:
        block_key: The multikey that it writes blocks with.
        node_key: The 32 bytes by which its node is known on the network.
        sign: Signs its events.
        seal: An X-Wing key that things are wrapped to.
    """

    block_key: bytes
    node_key: bytes
    sign: PublicKey
    seal: PublicKey

    @property
    def holder(self) -> Device:
        """The device as the deciding files know it."""
        return Device(self.block_key, self.node_key, self.sign.id, self.seal.id)

    @property
    def wire(self) -> list[Wire]:
        """As it stands in an event."""
        return [1, self.block_key, self.node_key, *self.sign, self.seal.public]


class IdentityHolder(NamedTuple):
    """Another identity as a holder: with its first block, so that whoever reads this can hold its chain.

    Attributes:
        genesis: The bytes of its first block.
    """

    genesis: bytes

    @property
    def holder(self) -> Nested:
        """The identity as the deciding files know it."""
        return Nested(bytes(BlockId.of(self.genesis)))

    @property
    def wire(self) -> list[Wire]:
        """As it stands in an event."""
        return [2, self.genesis]


class CouncilKeys(NamedTuple):
    """A council: so many of these keys sign its acts."""

    needed: int
    members: tuple[PublicKey, ...]

    @property
    def holder(self) -> Council:
        """The council as the deciding files know it."""
        return Council(self.needed, len(self.members))

    @property
    def wire(self) -> list[Wire]:
        """As it stands in an event."""
        return [3, self.needed, [list(key) for key in self.members]]


HolderKeys: TypeAlias = DeviceKeys | IdentityHolder | CouncilKeys


class RecoveryKeys(NamedTuple):
    """The public half of a recovery key: the hash of it is published before it is used.

    >>> len(RecoveryKeys(bytes(34), PublicKey(1, bytes(32))).hash)
    32
    """

    block_key: bytes
    sign: PublicKey

    @property
    def hash(self) -> bytes:
        """Its commitment: SHA-256 over its canonical form."""
        return hashlib.sha256(cbor.encode([self.block_key, *self.sign])).digest()


class Control(NamedTuple):
    """The public keys of an epoch."""

    sign: PublicKey
    seal: PublicKey


class Genesis(NamedTuple):
    """What the first block of an identity fixes.

    Attributes:
        recovery_hash: Of the recovery key (`RecoveryKeys.hash`).
        recovery_block_key: What that key writes blocks with.
        holders: Of seats 1, 2, ...; the first is the founder's device or identity, unless a council stands above it.
        control: Of epoch 0.
    """

    recovery_hash: bytes
    recovery_block_key: bytes
    holders: tuple[HolderKeys, ...]
    control: Control

    @property
    def data(self) -> bytes:
        """As it stands in the genesis of a chain: `create_chain(..., data=)`."""
        holders = [holder.wire for holder in self.holders]
        control = [*self.control.sign, self.control.seal.public]
        body: Wire = [_VERSION, self.recovery_hash, self.recovery_block_key, holders, control]
        return cbor.encode({GENESIS_KEY: cbor.encode(body)})


def read_holder(wire: Wire) -> HolderKeys:
    """Reads a holder."""
    match wire:
        case [1, bytes(block_key), bytes(node_key), int(suite), bytes(sign), bytes(seal)] if wire[0] is not True:
            require(is_author_key(block_key) and len(node_key) == NODE_KEY_BYTES)
            return DeviceKeys(block_key, node_key, signing_key([suite, sign]), sealing_key(seal))
        case [2, bytes(genesis)] if len(genesis) <= MAX_GENESIS_BYTES:
            return IdentityHolder(genesis)
        case [3, int(needed), [*members]] if len(members) <= MAX_COUNCIL:
            keys = tuple(map(signing_key, members))
            require(needed is not True and 0 < needed <= len(keys) and len(set(keys)) == len(keys))
            return CouncilKeys(needed, keys)
    raise bad("a holder is a device, an identity or a council")


def read_genesis(data: bytes) -> Genesis:
    """Reads the data of an identity's genesis. Raises `RemoteError` where the chain is no identity's."""
    match cast(Wire, cbor.decode(data, max_bytes=Limits.max_payload_bytes, max_depth=1)):
        case {"identities/": bytes(inner)}:
            match cast(Wire, cbor.decode(inner, max_bytes=Limits.max_payload_bytes, max_depth=_DEPTH)):
                case [1, bytes(hash), bytes(block_key), [_, *_] as holders, control] if len(hash) == HASH_BYTES:
                    require(is_author_key(block_key) and len(holders) <= MAX_LISTED)
                    return Genesis(hash, block_key, tuple(map(read_holder, holders)), read_control(control))
    raise bad("this chain is not an identity's")


def read_genesis_block(encoded: bytes) -> Block:
    """A first block that stands in an event: bounded, well formed; whether it is genuine is for the core to say."""
    require(len(encoded) <= MAX_GENESIS_BYTES)
    block = decode_block(encoded)
    require(block.chain is None and isinstance(block.body, bytes))
    return block


# --- parts -----------------------------------------------------------------------------------------------------------


def read_control(wire: Wire) -> Control:
    """Reads the control keys of an epoch."""
    match wire:
        case [int(suite), bytes(sign), bytes(seal)]:
            return Control(signing_key([suite, sign]), sealing_key(seal))
    raise bad("control keys")


def signing_key(wire: Wire) -> PublicKey:
    """Reads a key of a signing suite."""
    match wire:
        case [int(suite), bytes(public)] if suite is not True and is_signing_key(suite, public):
            return PublicKey(suite, public)
    raise bad("a signing key")


def sealing_key(public: Wire) -> PublicKey:
    """Reads an X-Wing key."""
    require(isinstance(public, bytes) and is_sealing_key(public))
    return PublicKey(XWING, public)


def require(holds: object) -> None:
    """Raises `RemoteError` (`BAD_PAYLOAD`) where something does not hold."""
    if not holds:
        raise bad("it is not said as an identity's events are")


def bad(what: str) -> RemoteError:
    """What is raised for bytes that do not fit."""
    return RemoteError(Reason.BAD_PAYLOAD, f"refused: {what}")
