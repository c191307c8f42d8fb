"""Bundles: what one device hands on to another, sealed to it alone: keys of epochs, of this identity and of groups, and notes.

A bundle is an object of the side store; the act that grants it names its CID. It adds keys and takes none away: what it
says is kept under the ids that the chain published, so a false key fits nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from identities.epoch_keys import EpochKeys
from identities.suites import SealingKey, seal_to
from walytis_core import cbor
from walytis_core.cid import is_block_id
from walytis_core.errors import Reason, RemoteError

MAX_BUNDLE_BYTES: Final = 128 * 1024
_LABEL: Final = "walytis/identities/bundle/1"
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 16


class Handed(NamedTuple):
    """The keys of one epoch: of which identity, and the id of its control signing key."""

    chain: bytes
    sign_id: bytes
    keys: EpochKeys


class Told(NamedTuple):
    """A note (`notes.py`) of before the device was there."""

    kind: str
    data: bytes


def seal_bundle(public: bytes, chain: bytes, things: Sequence[Handed | Told]) -> bytes:
    """Seals keys and notes to a device's X-Wing key.

    Args:
        public: The key.
        chain: The identity that the device is a member of.
        things: What is handed on.
    """
    wire: Any = [[one.chain, one.sign_id, *one.keys] if isinstance(one, Handed) else list(one) for one in things]
    return seal_to(public, _info(chain), cbor.encode(wire))


def open_bundle(key: SealingKey, chain: bytes, sealed: bytes) -> list[Handed | Told]:
    """What was handed on. Raises `RemoteError` (`BAD_SEAL`, `BAD_MESSAGE`)."""
    if len(sealed) > MAX_BUNDLE_BYTES:
        raise RemoteError(Reason.BAD_MESSAGE)
    wire = cast(Any, cbor.decode(key.open(_info(chain), sealed), max_bytes=MAX_BUNDLE_BYTES, max_depth=2))
    if not isinstance(wire, list):
        raise RemoteError(Reason.BAD_MESSAGE)
    return [_read(one) for one in wire]


def _read(wire: Any) -> Handed | Told:
    match wire:
        case [str(kind), bytes(data)]:
            return Told(kind, data)
        case [bytes(chain), bytes(sign_id), *keys] if is_block_id(chain) and len(sign_id) == _ID_BYTES:
            if len(keys) == len(EpochKeys._fields) and all(
                type(one) is bytes and len(one) == _KEY_BYTES for one in keys
            ):
                return Handed(chain, sign_id, EpochKeys(*keys))
    raise RemoteError(Reason.BAD_MESSAGE)


def _info(chain: bytes) -> bytes:
    return cbor.encode([_LABEL, bytes(chain)])
