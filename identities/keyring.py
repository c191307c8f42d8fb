"""The secrets that one device has of one identity, and how they are kept.

What there is: the device's own seeds (where it holds a seat itself), every X-Wing key of its own that something may still
be wrapped to, the keys of each epoch that it made or opened, and a recovery code until its owner has written it down. Epochs are filed under the id of their control signing
key, so that they can be kept before the block that publishes them is written: a crash between the two loses nothing.
Invariant: what `add` and `use` took is durable when they return. No secret shows in `repr`. Knows no chain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol, cast

from identities.epoch_keys import EpochKeys
from identities.holders import DeviceKeys, PublicKey
from identities.suites import COMPOSITE, SealingKey, SigningKey
from walytis_core import cbor
from walytis_core.errors import ClosedError, RemoteError, StorageError
from walytis_core.signer import Ed25519Signer

SEED_BYTES: Final = 32
_VERSION: Final = 1
_MAX_BYTES: Final = 1 << 24
_DEPTH: Final = 4

Entropy = Callable[[int], bytes]


class Vault(Protocol):
    """Where secrets are kept; the core's `Keys`."""

    def get(self, name: str) -> bytes | None:
        """A secret, or None."""
        ...

    def put(self, name: str, secret: bytes) -> None:
        """Keeps a secret durably."""
        ...

    def delete(self, name: str) -> None:
        """Forgets a secret."""
        ...


@dataclass(frozen=True, repr=False)
class DeviceSecrets:
    """The seeds of one device: what makes its block key, its signing key and its first X-Wing key."""

    block_seed: bytes
    suite: int
    sign_seed: bytes
    seal_seed: bytes
    node_key: bytes

    @classmethod
    def fresh(cls, node_key: bytes, suite: int = COMPOSITE, entropy: Entropy = os.urandom) -> DeviceSecrets:
        """Fresh seeds, for the node with this key."""
        return cls(entropy(SEED_BYTES), suite, entropy(SEED_BYTES), entropy(SEED_BYTES), node_key)

    @cached_property
    def block(self) -> Ed25519Signer:
        """Signs its blocks."""
        return Ed25519Signer(self.block_seed)

    @cached_property
    def sign(self) -> SigningKey:
        """Signs its events."""
        return SigningKey.from_seed(self.suite, self.sign_seed)

    @cached_property
    def seal(self) -> SealingKey:
        """Opens what was wrapped to its first X-Wing key."""
        return SealingKey.from_seed(self.seal_seed)

    @cached_property
    def public(self) -> DeviceKeys:
        """The device as it stands in events."""
        seal = self.seal
        sign = PublicKey(self.sign.suite, self.sign.public)
        return DeviceKeys(self.block.key, self.node_key, sign, PublicKey(seal.suite, seal.public))

    @cached_property
    def seal_id(self) -> bytes:
        """The id of its first X-Wing key."""
        return self.public.seal.id

    @property
    def wire(self) -> list[Any]:
        """As it is kept."""
        return [self.block_seed, self.suite, self.sign_seed, self.seal_seed, self.node_key]


@dataclass(repr=False)
class Keyring:
    """The secrets of one device in one identity.

    Attributes:
        device: Its own seeds; None where its seat is another identity's.
        next_device: Seeds for a key renewal, or a recovery, that is being written.
        via: The chain of the identity behind whose seat it acts; None where the seat is its own.
        first_seen: When the current epoch was first seen, by the local clock, in seconds.
        codes: Recovery codes that were made here, until they are written down, by the hash of the recovery key that names
            each; the first code by nothing.
    """

    vault: Vault
    name: str
    device: DeviceSecrets | None = None
    next_device: DeviceSecrets | None = None
    via: bytes | None = None
    first_seen: dict[bytes, float] = field(default_factory=dict)
    codes: dict[bytes, bytes] = field(default_factory=dict)
    _seals: dict[bytes, bytes] = field(default_factory=dict)
    _epochs: dict[bytes, EpochKeys] = field(default_factory=dict)
    _opened: dict[bytes, SealingKey] = field(default_factory=dict)
    _signing: dict[bytes, SigningKey] = field(default_factory=dict)
    _is_forgotten: bool = False

    @staticmethod
    def name_for(chain: bytes) -> str:
        """The name under which the secrets of an identity are kept."""
        return f"identity-{chain.hex()}"

    @classmethod
    def load(cls, vault: Vault, chain: bytes) -> Keyring | None:
        """What is kept of an identity; None for one that this node has no part in. Raises `StorageError`."""
        return cls.load_as(vault, cls.name_for(chain))

    @classmethod
    def load_as(cls, vault: Vault, name: str) -> Keyring | None:
        """What is kept under a name."""
        data = vault.get(name)
        if data is None:
            return None
        try:
            match cast(Any, cbor.decode(data, max_bytes=_MAX_BYTES, max_depth=_DEPTH)):
                case [1, device, next_device, bytes() | None as via, [*seen], [*seals], [*epochs], [*codes]]:
                    devices = [None if one is None else DeviceSecrets(*one) for one in (device, next_device)]
                    found = {key: EpochKeys(*keys) for key, *keys in epochs}
                    first_seen = {epoch: at_ms / 1000 for epoch, at_ms in seen}
                    return cls(vault, name, devices[0], devices[1], via, first_seen, dict(codes), dict(seals), found)
        except (RemoteError, TypeError, ValueError) as error:
            raise StorageError("the keys of an identity cannot be read") from error
        raise StorageError("the keys of an identity are of another version", hint="Update this program.")

    def rename(self, name: str) -> None:
        """Keeps it under another name from now on."""
        old, self.name = self.name, name
        self.save()
        self.vault.delete(old)

    def save(self) -> None:
        """Writes all of it durably.

        Raises:
            StorageError: The disk refused; or it is more than `load` takes.
            ClosedError: It was forgotten.
        """
        if self._is_forgotten:
            raise ClosedError("the keys of this identity were deleted here")
        devices: Any = [None if one is None else one.wire for one in (self.device, self.next_device)]
        seals: Any = [[key, seed] for key, seed in self._seals.items()]
        epochs: Any = [[key, *keys] for key, keys in self._epochs.items()]
        seen: Any = [[epoch, int(at * 1000)] for epoch, at in self.first_seen.items()]
        codes: Any = [[after, code] for after, code in self.codes.items()]
        data = cbor.encode([_VERSION, *devices, self.via, seen, seals, epochs, codes])
        if len(data) > _MAX_BYTES:  # it would never be read again
            raise StorageError("there are too many keys of an identity to keep them")
        self.vault.put(self.name, data)

    # --- X-Wing keys of the device ---------------------------------------------------------------------------------

    def add_seal(self, seed: bytes) -> SealingKey:
        """Keeps a fresh X-Wing key of the device's."""
        key = SealingKey.from_seed(seed)
        self._seals[key.id] = seed
        self._opened[key.id] = key
        self.save()
        return key

    def retire(self, old: DeviceSecrets, coming: DeviceSecrets) -> None:
        """The device has other keys from now on; what was wrapped to the old ones still opens."""
        self._seals[old.public.seal.id] = old.seal_seed
        self.device, self.next_device = coming, None
        self.save()

    def take_up(self, holders: Collection[object]) -> bool:
        """Has the coming keys be the device's own, once they are among the holders of live seats; whether they are now."""
        coming = self.next_device
        if coming is None or coming.public.holder not in holders:
            return False
        self.via = None
        self.retire(self.device or coming, coming)
        return True

    def seal_key(self, id: bytes) -> SealingKey | None:
        """A secret X-Wing key of the device's, by its id."""
        if id not in self._opened and id in self._seals:
            self._opened[id] = SealingKey.from_seed(self._seals[id])
        for one in (self.device, self.next_device):
            if one is not None and one.seal_id == id:
                return one.seal
        return self._opened.get(id)

    @property
    def seals(self) -> tuple[bytes, ...]:
        """The ids of the X-Wing keys that were added to the device's first one, in the order in which they came."""
        return tuple(self._seals)

    def drop_seals(self, keep: frozenset[bytes]) -> int:
        """Forgets the X-Wing keys of the device's that are not among these; how many."""
        gone = [id for id in self._seals if id not in keep]
        for id in gone:
            del self._seals[id]
            self._opened.pop(id, None)
        if gone:
            self.save()
        return len(gone)

    # --- epochs ------------------------------------------------------------------------------------------------------

    def add_epochs(self, *keys: tuple[bytes, EpochKeys]) -> None:
        """Keeps the keys of epochs, each under the id of its control signing key."""
        self._epochs.update(keys)
        for sign_id, _ in keys:
            self._signing.pop(sign_id, None)
        self.save()

    def take_back(self, sign_id: bytes, seal_id: bytes | None) -> None:
        """Forgets what was kept for a renewal that could not be written: an epoch's keys, and a key of the device's."""
        self._epochs.pop(sign_id, None)
        self._signing.pop(sign_id, None)
        if seal_id is not None:
            self._seals.pop(seal_id, None)
            self._opened.pop(seal_id, None)
        self.save()

    def epoch(self, sign_id: bytes) -> EpochKeys | None:
        """The keys of the epoch whose control signing key has this id."""
        return self._epochs.get(sign_id)

    def control(self, sign_id: bytes, suite: int) -> SigningKey | None:
        """The control signing key that has this id, of this suite; it is made once."""
        key = self._signing.get(sign_id)
        if key is None and sign_id in self._epochs:
            key = self._signing[sign_id] = self._epochs[sign_id].signing(suite)
        return key

    def has_epoch(self, sign_id: bytes) -> bool:
        """Whether an epoch's keys are held."""
        return sign_id in self._epochs

    @property
    def epochs(self) -> dict[bytes, EpochKeys]:
        """All that are held."""
        return dict(self._epochs)

    def forget(self) -> None:
        """Forgets all of it, for good: whoever still has this object saves nothing with it any more."""
        self._is_forgotten = True
        self.vault.delete(self.name)

    def __repr__(self) -> str:
        return f"Keyring({self.name[-8:]}, {len(self._epochs)} epochs)"
