"""The peer id of a node key, as libp2p writes it: base58 of the public key's identity multihash.

Every adapter uses this one form, so that a node keeps its peer id when it changes its transport. Others may have keys of
another kind, and ids that are a SHA-256 multihash. Knows only keys.
"""

from __future__ import annotations

import re
from typing import Final

from nacl.signing import SigningKey

from walytis_core import base58

# identity multihash (0x00) of 36 bytes: the protobuf of an Ed25519 key (field 1 = 1, field 2 = 32 bytes)
_PREFIX = bytes.fromhex("002408011220")

_WRITTEN: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{40,64}")
_IDENTITY, _SHA_256 = 0x00, 0x12


def is_peer_id(text: object) -> bool:
    """Whether this is written as a peer id: a whole multihash in base58, of one of the two kinds there are."""
    if not isinstance(text, str) or not _WRITTEN.fullmatch(text):
        return False
    raw = base58.decode(text)
    return raw[0] in {_IDENTITY, _SHA_256} and raw[1] == len(raw) - 2 and (raw[0] == _IDENTITY or raw[1] == 32)


def peer_id_of(seed: bytes) -> str:
    """The peer id that follows from a 32-byte Ed25519 seed."""
    return base58.encode(_PREFIX + bytes(SigningKey(seed).verify_key))
