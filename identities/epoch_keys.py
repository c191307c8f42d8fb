"""The keys of one epoch of an identity: all grow from its secret.

Theory (docs/spec/identity-keys.md#epochs): an epoch has a fresh random secret, which its live seats open from their wraps.
Each use has its own key by HKDF-SHA256, one label each, so a key of one use says nothing of the others, nor of the secret.
The *control keys*, the signing and the sealing one, are published by the renewal; who opened a wrap compares them, and so
sees it when it was given another secret than the others. The caller deletes the secret once the keys are derived.

Invariants: one secret makes the same keys everywhere; a signing key depends on its suite; no `repr` shows a key. This
file knows no chain and no seat.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from identities.suites import SealingKey, SigningKey
from walytis_core.errors import InvalidInputError
from walytis_core.seals import derive

SECRET_BYTES: Final = 32
_LABELS: Final = ("sign", "seal", "storage", "network", "messages")


class EpochKeys(NamedTuple):
    """What an epoch's secret gives, 32 bytes each.

    Attributes:
        sign_seed: Of the control signing key, in whichever suite.
        seal_seed: Of the control sealing key.
        storage: Seals what the members keep for each other.
        network: The chain secret of the chains that the members read.
        messages: The root that message keys grow from.

    >>> epoch_keys(bytes(32))
    EpochKeys(...)
    """

    sign_seed: bytes
    seal_seed: bytes
    storage: bytes
    network: bytes
    messages: bytes

    def signing(self, suite: int) -> SigningKey:
        """The control signing key, made anew by each call. Raises `RemoteError` (`UNKNOWN_SUITE`)."""
        return SigningKey.from_seed(suite, self.sign_seed)

    def sealing(self) -> SealingKey:
        """The control sealing key, made anew by each call."""
        return SealingKey.from_seed(self.seal_seed)

    def fits(self, suite: int, sign_public: bytes, seal_public: bytes) -> bool:
        """Whether these are the control keys that the epoch's renewal published.

        Raises:
            RemoteError: `UNKNOWN_SUITE`.
        """
        return self.signing(suite).public == sign_public and self.sealing().public == seal_public

    def __repr__(self) -> str:
        return "EpochKeys(...)"


def epoch_keys(secret: bytes) -> EpochKeys:
    """The keys of the epoch with this secret.

    Args:
        secret: 32 random bytes, of one epoch of one identity only.
    """
    if len(secret) != SECRET_BYTES:
        raise InvalidInputError(f"the secret of an epoch has {SECRET_BYTES} bytes")
    return EpochKeys(*(derive(secret, f"identities/epoch/{label}") for label in _LABELS))
