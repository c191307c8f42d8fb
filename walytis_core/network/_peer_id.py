"""The peer id of a node key, as libp2p writes it: base58 of the public key's identity multihash.

Every adapter uses this one form, so that a node keeps its peer id when it changes its transport. Others may have keys of
another kind, and ids that are a SHA-256 multihash. Knows only keys.
"""

from __future__ import annotations

import re
from typing import Final

from nacl.signing import SigningKey

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# identity multihash (0x00) of 36 bytes: the protobuf of an Ed25519 key (field 1 = 1, field 2 = 32 bytes)
_PREFIX = bytes.fromhex("002408011220")

_WRITTEN: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{40,64}")
_IDENTITY, _SHA_256 = 0x00, 0x12


def is_peer_id(text: object) -> bool:
    """Whether this is written as a peer id: a whole multihash in base58, of one of the two kinds there are."""
    if not isinstance(text, str) or not _WRITTEN.fullmatch(text):
        return False
    number = 0
    for char in text:
        number = number * 58 + _ALPHABET.index(char)
    raw = b"\0" * (len(text) - len(text.lstrip("1"))) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    return raw[0] in {_IDENTITY, _SHA_256} and raw[1] == len(raw) - 2 and (raw[0] == _IDENTITY or raw[1] == 32)


def peer_id_of(seed: bytes) -> str:
    """The peer id that follows from a 32-byte Ed25519 seed."""
    return base58(_PREFIX + bytes(SigningKey(seed).verify_key))


def base58(raw: bytes) -> str:
    """Bytes in base58 with the Bitcoin alphabet; leading zero bytes are kept as ``1``."""
    number = int.from_bytes(raw, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text
