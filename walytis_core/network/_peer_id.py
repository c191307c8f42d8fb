"""The peer id of a node key, as libp2p writes it: base58 of the public key's identity multihash.

Every adapter uses this one form, so that a node keeps its peer id when it changes its transport. Knows only keys.
"""

from __future__ import annotations

from nacl.signing import SigningKey

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# identity multihash (0x00) of 36 bytes: the protobuf of an Ed25519 key (field 1 = 1, field 2 = 32 bytes)
_PREFIX = bytes.fromhex("002408011220")


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
