"""Wraps: an epoch's secret, sealed to one seat.

Theory (docs/spec/identity-keys.md#wraps): a renewal seals the secret to the current key of each live seat. It is bound to
the identity, the epoch's number and its new control signing key, so a wrap moved to another renewal does not open. It
may be opened by who was meant and hold anything all the same: `EpochKeys.fits` decides whether it is the epoch's secret.

Invariant: a wrap has one length and holds 32 bytes, or does not open. This file knows no seat and no renewal.
"""

from __future__ import annotations

from typing import Final

from identities.epoch_keys import SECRET_BYTES
from identities.suites import SEAL_OVERHEAD, SealingKey, seal_to
from walytis_core import cbor
from walytis_core.cid import BlockId
from walytis_core.errors import InvalidInputError, Reason, RemoteError

WRAP_BYTES: Final = SECRET_BYTES + SEAL_OVERHEAD
_LABEL: Final = "walytis/identities/wrap/1"


def wrap_info(chain_id: BlockId, number: int, key: bytes) -> bytes:
    """What the wraps of one renewal are bound to.

    Args:
        chain_id: The identity's chain.
        number: The epoch's number.
        key: `SigningKey.id` of its control signing key.
    """
    return cbor.encode([_LABEL, bytes(chain_id), number, key])


def wrap(secret: bytes, public: bytes, info: bytes) -> bytes:
    """Seals an epoch's secret to a seat's X-Wing key; `WRAP_BYTES` long.

    Raises:
        RemoteError: `BAD_KEY`: that is no such key.
    """
    if len(secret) != SECRET_BYTES:
        raise InvalidInputError(f"the secret of an epoch has {SECRET_BYTES} bytes")
    return seal_to(public, info, secret)


def unwrap(key: SealingKey, sealed: bytes, info: bytes) -> bytes:
    """The secret that somebody wrapped to this key.

    Raises:
        RemoteError: `BAD_SEAL`: no wrap, or one for another key, identity, number or epoch.
    """
    if len(sealed) != WRAP_BYTES:
        raise RemoteError(Reason.BAD_SEAL)
    return key.open(info, sealed)
