"""What is handed on as text: a scheme, and the base32 of compact bytes: version, length, fields, checksum.

Theory (docs/spec/invitation.md): such a text is read from QR codes (upper case fits their alphanumeric mode), screens
and mail: with base32 case does not matter and nothing needs escaping. Version, length and checksum stand where they are
in every version, so that a text which was cut, one that was mistyped and one of a newer version are told apart.

Invariants: a text is taken whole, or refused with what is wrong and what to do. Addresses are text of the transport:
this file only writes the common ones short. It knows neither invitations nor contacts.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from typing import Final, NamedTuple

from walytis_core import base58
from walytis_core.errors import InvalidInputError

NODE_KEY_BYTES: Final = 32
MAX_ADDRESS_BYTES: Final = 255
_MAX_TEXT: Final = 8192
_HEAD_BYTES: Final = 3  # version and length
_CHECK_BYTES: Final = 4


class Armour(NamedTuple):
    """One kind of text.

    Attributes:
        scheme: What it begins with, up to and with the colon.
        noun: What to call it.
        article: The article of that.
        tag: Bound into the checksum.
        hint: How to come by a good one.
    """

    scheme: str
    noun: str
    article: str
    tag: bytes
    hint: str

    def write(self, version: int, fields: bytes) -> str:
        """The text."""
        length = _HEAD_BYTES + len(fields) + _CHECK_BYTES
        whole = bytes((version,)) + length.to_bytes(2, "big") + fields
        return self.scheme + _base32(whole + self._checksum(whole))

    def read(self, text: str) -> tuple[int, bytes]:
        """Version and fields of a text, in either case, with any white space in it.

        Raises:
            InvalidInputError: It is something else, was cut short, or was mistyped.
        """
        kind = f"{self.article} {self.noun}"
        if len(text) > _MAX_TEXT:
            raise InvalidInputError(f"not {kind}: too long", hint=self.hint)
        text = "".join(text.split()).lower()
        if not text.startswith(self.scheme):
            hint = f"{kind.capitalize()} is one long word that begins with {self.scheme}"
            raise InvalidInputError(f"not {kind}", hint=hint)
        data = self._unarmour(text[len(self.scheme) :])
        return data[0], data[_HEAD_BYTES:-_CHECK_BYTES]

    def malformed(self) -> InvalidInputError:
        """What to raise for fields that cannot have been written here."""
        return InvalidInputError(f"not {self.article} {self.noun} that this program could have made", hint=self.hint)

    def _unarmour(self, letters: str) -> bytes:
        usable = letters[: len(letters) - {1: 1, 3: 1, 6: 1}.get(len(letters) % 8, 0)]
        try:
            data = base64.b32decode(usable.upper() + "=" * (-len(usable) % 8))
        except ValueError as error:
            raise self._mistyped() from error
        if self._is_whole(data) and _base32(data) == letters:
            return data
        if len(data) < _HEAD_BYTES or len(data) < int.from_bytes(data[1:_HEAD_BYTES], "big"):
            raise InvalidInputError(f"the {self.noun} was cut short", hint="Copy all of it, to its last character.")
        raise self._mistyped()

    def _is_whole(self, data: bytes) -> bool:
        at = len(data) - _CHECK_BYTES
        is_long = at >= _HEAD_BYTES and int.from_bytes(data[1:_HEAD_BYTES], "big") == len(data)
        return is_long and self._checksum(data[:at]) == data[at:]

    def _checksum(self, data: bytes) -> bytes:
        return hashlib.sha256(self.tag + data).digest()[:_CHECK_BYTES]

    def _mistyped(self) -> InvalidInputError:
        return InvalidInputError(
            f"the {self.noun} was mistyped: its checksum is wrong", hint="Copy it again, or scan its code."
        )


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").lower().rstrip("=")


class Fields:
    """Takes fields from the front, and never fewer bytes than asked.

    Args:
        armour: What they are of, for what is raised.
        data: All of them.
    """

    def __init__(self, armour: Armour, data: bytes) -> None:
        self._armour = armour
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next bytes. Raises `InvalidInputError` where there are not so many."""
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise self._armour.malformed()
        self._at += count
        return taken

    def number(self, size: int = 1) -> int:
        """The next number, of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        """The next text: its length in one byte, and UTF-8. Raises `ValueError`."""
        return self.take(self.number()).decode("utf-8")

    def addresses(self, key: bytes) -> tuple[str, ...]:
        """The next addresses, as `write_addresses` wrote them for a node key. Raises `ValueError`."""
        return tuple(self._address(key) for _ in range(self.number()))

    def _address(self, key: bytes) -> str:
        form, tail = divmod(self.number(), 4)
        if form == 0:
            base = self.take(self.number()).decode("ascii")
        elif form <= len(_IP_BYTES):
            kind, size = list(_IP_BYTES.items())[form - 1]
            ip = ipaddress.ip_address(self.take(size))
            base = f"/{kind}/{ip}/tcp/{self.number(2)}"
        else:
            raise self._armour.malformed()
        if tail == 0:
            return base
        return base + _PEER_MARK + peer_id(key if tail == 1 else self.take(NODE_KEY_BYTES))


def write_text(text: str) -> bytes:
    """A text of at most 255 bytes of UTF-8, with its length before it."""
    data = text.encode("utf-8")
    return bytes((len(data),)) + data


# --- addresses ---------------------------------------------------------------------------------------------------
# One byte `4 * head + tail`. Head 0: length and text; 1: ip4 and tcp in 6 bytes; 2: ip6 and tcp in 18 bytes.
# Tail 0: nothing; 1: `/p2p/` and the peer id of the issuer's key; 2: the same for the key that follows.

_PEER_MARK: Final = "/p2p/"
_PEER_PREFIX: Final = bytes.fromhex("002408011220")  # identity multihash of the protobuf of an Ed25519 key
_PEER_CHARS: Final = 52
_IP_BYTES: Final = {"ip4": 4, "ip6": 16}


def is_address(address: str) -> bool:
    """Whether this can be an address of some transport."""
    return 0 < len(address) <= MAX_ADDRESS_BYTES and address.isascii() and address.isprintable() and " " not in address


def write_addresses(addresses: tuple[str, ...], key: bytes) -> bytes:
    """At most 255 addresses, with their number before them.

    Args:
        addresses: Each of which `is_address`.
        key: The node key whose peer id most of them end with.
    """
    return bytes((len(addresses),)) + b"".join(_write_address(address, key) for address in addresses)


def _write_address(address: str, issuer: bytes) -> bytes:
    head, mark, peer = address.rpartition(_PEER_MARK)
    key = _key_of(peer) if mark and head else None
    tail = 0 if key is None else 1 if key == issuer else 2
    base = address if key is None else head
    packed = _pack_ip(base)
    form, body = packed or (0, bytes((len(base),)) + base.encode("ascii"))
    return bytes((4 * form + tail,)) + body + (key or b"" if tail == 2 else b"")


def _pack_ip(base: str) -> tuple[int, bytes] | None:
    """The short form of `/ip4/.../tcp/...` and `/ip6/.../tcp/...`; None for any other text, also for odd spellings."""
    match base.split("/"):
        case ["", ("ip4" | "ip6") as kind, ip, "tcp", port] if port.isdecimal() and len(port) <= 5:
            try:
                packed = ipaddress.ip_address(ip)
            except ValueError:
                return None
            size = _IP_BYTES[kind]
            if len(packed.packed) == size and int(port) < 1 << 16 and f"/{kind}/{packed}/tcp/{int(port)}" == base:
                return (1 if kind == "ip4" else 2), packed.packed + int(port).to_bytes(2, "big")
    return None


def peer_id(key: bytes) -> str:
    """The peer id of an Ed25519 key, as libp2p writes it."""
    return base58.encode(_PEER_PREFIX + key)


def _key_of(peer: str) -> bytes | None:
    """The Ed25519 key of a peer id; None when it is not made of one."""
    if len(peer) != _PEER_CHARS:
        return None
    try:
        raw = base58.decode(peer)
    except InvalidInputError:
        return None
    size = len(_PEER_PREFIX) + NODE_KEY_BYTES
    return raw[len(_PEER_PREFIX) :] if len(raw) == size and raw.startswith(_PEER_PREFIX) else None
