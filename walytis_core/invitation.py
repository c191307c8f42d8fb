"""Invitations: the URI that is handed on.

Theory (docs/spec/invitation.md): `walytis:` and the base32 of compact bytes: version, length, fields, checksum.
Base32, because an invitation is read from QR codes (upper case fits their alphanumeric mode), screens and mail: case
does not matter and nothing needs escaping. The seed in it proves to the issuer that the holder was invited; the chain
secret is never in it.

Invariants: `Invitation.parse(str(invitation)) == invitation`; a URI is taken whole, or refused with what is wrong and
what to do; no `repr` shows a seed, `str(invitation)` does on purpose. Addresses are text of the transport: this file only
writes the common ones short. By what its issuer honours it is in `invitation_record.py`.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Final

from walytis_core.cid import CID_BYTES, DAG_CBOR_PREFIX, BlockId
from walytis_core.errors import InvalidInputError, JoinError
from walytis_core.limits import Limits
from walytis_core.seals import derive

SEED_BYTES: Final = 16
ID_BYTES: Final = 16
NODE_KEY_BYTES: Final = 32
MAX_NAME_BYTES: Final = 32  # with one address of a common form, a URI stays under 300 characters
MAX_ADDRESSES: Final = 8
MAX_ADDRESS_BYTES: Final = 255
SCHEME: Final = "walytis:"
_VERSION: Final = 1
_MAX_URI: Final = 8192
_HEAD_BYTES: Final = 3  # version and length: the same in every version, as is the checksum
_CHECK_BYTES: Final = 4
_EXPIRY_BYTES: Final = 5
MAX_EXPIRES: Final = Limits.max_time_ms // 1000
_HAS_SEED, _HAS_EXPIRY = 1, 2


def invitation_id(chain_id: BlockId, seed: bytes | None) -> bytes:
    """The 16 bytes by which a joiner names an invitation; says nothing to those without the seed.

    Args:
        chain_id: The chain.
        seed: The invitation's seed; None names the chain itself, for one that is open to all.
    """
    return derive(seed or chain_id, "join/id", chain_id, ID_BYTES)


def suggest_name(name: str) -> str:
    """A chain's name as an invitation can carry it: printable, and at most `MAX_NAME_BYTES` of UTF-8."""
    printable = "".join(letter for letter in name if letter.isprintable())
    return printable.encode("utf-8", "ignore")[:MAX_NAME_BYTES].decode("utf-8", "ignore").strip()


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Invitation:
    """What a joiner needs to find the issuer of an invitation and to prove that it was invited.

    `str()` is the URI to hand on: who has it can join. `repr()` is for logs.

    Attributes:
        chain_id: The chain.
        issuer: The issuer's node key, 32 bytes.
        addresses: Where the issuer may be found, the best first; at most `MAX_ADDRESSES`.
        seed: 16 random bytes; None on a chain that is open to all.
        expires: Seconds since the epoch from which on it is not honoured; None for no end.
        name: The name that the inviter suggests; at most `MAX_NAME_BYTES` of printable UTF-8.

    >>> Invitation(chain_id=BlockId.of(b""), issuer=bytes(32), addresses=("/ip4/192.0.2.1/tcp/4001",), seed=bytes(16))
    Invitation(chain=nxquvyku, issuer=00000000..., name='', expires=None)
    """

    chain_id: BlockId
    issuer: bytes
    addresses: tuple[str, ...] = ()
    seed: bytes | None = None
    expires: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        require(len(self.chain_id) == CID_BYTES and self.chain_id[:4] == DAG_CBOR_PREFIX, "the chain id is no block id")
        require(len(self.issuer) == NODE_KEY_BYTES, f"a node key has {NODE_KEY_BYTES} bytes")
        require(self.seed is None or len(self.seed) == SEED_BYTES, f"a seed has {SEED_BYTES} bytes")
        require(self.expires is None or 0 <= self.expires <= MAX_EXPIRES, "the expiry is out of range")
        require(_is_name(self.name), f"a suggested name is printable and has at most {MAX_NAME_BYTES} bytes of UTF-8")
        require(len(self.addresses) <= MAX_ADDRESSES, f"at most {MAX_ADDRESSES} addresses")
        require(all(map(_is_address, self.addresses)), f"an address is ASCII of 1 to {MAX_ADDRESS_BYTES} bytes")

    @property
    def id(self) -> bytes:
        """What its issuer knows it by."""
        return invitation_id(self.chain_id, self.seed)

    @property
    def qr_text(self) -> str:
        """The URI in upper case, for the compact mode of QR codes."""
        return str(self).upper()

    @classmethod
    def parse(cls, text: str) -> Invitation:
        """Reads a URI, in either case, with any white space in it.

        Raises:
            InvalidInputError: It is no invitation, was cut short, or was mistyped.
            JoinError: It is of a newer version.
        """
        return _read(_unarmour(text))

    def __str__(self) -> str:
        return SCHEME + _base32(_write(self))

    def __repr__(self) -> str:
        chain, issuer = self.chain_id.short, self.issuer.hex()[:8]
        return f"Invitation(chain={chain}, issuer={issuer}..., name={self.name!r}, expires={self.expires})"


def require(holds: bool, message: str) -> None:
    """Raises `InvalidInputError` with the message where something does not hold."""
    if not holds:
        raise InvalidInputError(message)


def _is_name(name: str) -> bool:
    return name.isprintable() and len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES


def _is_address(address: str) -> bool:
    return 0 < len(address) <= MAX_ADDRESS_BYTES and address.isascii() and address.isprintable() and " " not in address


# --- writing -----------------------------------------------------------------------------------------------------


def _write(invitation: Invitation) -> bytes:
    name = invitation.name.encode("utf-8")
    flags = (_HAS_SEED if invitation.seed else 0) | (0 if invitation.expires is None else _HAS_EXPIRY)
    fields = b"".join((
        bytes((flags,)),
        invitation.chain_id[len(DAG_CBOR_PREFIX) :],
        invitation.issuer,
        invitation.seed or b"",
        b"" if invitation.expires is None else invitation.expires.to_bytes(_EXPIRY_BYTES, "big"),
        bytes((len(name),)) + name,
        bytes((len(invitation.addresses),)),
        *(_write_address(address, invitation.issuer) for address in invitation.addresses),
    ))  # fmt: skip
    length = _HEAD_BYTES + len(fields) + _CHECK_BYTES
    whole = bytes((_VERSION,)) + length.to_bytes(2, "big") + fields
    return whole + _checksum(whole)


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(b"walytis/invitation" + data).digest()[:_CHECK_BYTES]


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").lower().rstrip("=")


# --- reading -----------------------------------------------------------------------------------------------------


def _unarmour(text: str) -> bytes:
    """The bytes of a URI whose length and checksum hold."""
    require(len(text) <= _MAX_URI, "not an invitation: too long")
    text = "".join(text.split()).lower()
    if not text.startswith(SCHEME):
        raise InvalidInputError("not an invitation", hint=f"An invitation is one long word that begins with {SCHEME}")
    letters = text[len(SCHEME) :]
    usable = letters[: len(letters) - {1: 1, 3: 1, 6: 1}.get(len(letters) % 8, 0)]
    try:
        data = base64.b32decode(usable.upper() + "=" * (-len(usable) % 8))
    except ValueError as error:
        raise _mistyped() from error
    if _is_whole(data) and _base32(data) == letters:
        return data
    if len(data) < _HEAD_BYTES or len(data) < int.from_bytes(data[1:_HEAD_BYTES], "big"):
        raise InvalidInputError("the invitation was cut short", hint="Copy all of it, to its last character.")
    raise _mistyped()


def _is_whole(data: bytes) -> bool:
    at = len(data) - _CHECK_BYTES
    return at >= _HEAD_BYTES and int.from_bytes(data[1:3], "big") == len(data) and _checksum(data[:at]) == data[at:]


def _mistyped() -> InvalidInputError:
    return InvalidInputError(
        "the invitation was mistyped: its checksum is wrong", hint="Copy it again, or scan its code."
    )


def _read(data: bytes) -> Invitation:
    if data[0] > _VERSION:
        raise JoinError("the invitation needs a newer version of this program", hint="Update, then join again.")
    reader = _Bytes(data[_HEAD_BYTES:-_CHECK_BYTES])
    flags = reader.take(1)[0]
    chain_id, issuer = BlockId(DAG_CBOR_PREFIX + reader.take(32)), reader.take(NODE_KEY_BYTES)
    try:
        invitation = Invitation(
            chain_id=chain_id,
            issuer=issuer,
            seed=reader.take(SEED_BYTES) if flags & _HAS_SEED else None,
            expires=int.from_bytes(reader.take(_EXPIRY_BYTES), "big") if flags & _HAS_EXPIRY else None,
            name=reader.take(reader.take(1)[0]).decode("utf-8"),
            addresses=tuple(_read_address(reader, issuer) for _ in range(reader.take(1)[0])),
        )
    except (InvalidInputError, ValueError) as error:
        raise _malformed() from error
    if _write(invitation) != data:  # one form: also unknown flags, trailing bytes and version 0
        raise _malformed()
    return invitation


def _malformed() -> InvalidInputError:
    return InvalidInputError("not an invitation that this program could have made", hint=JoinError.hint)


class _Bytes:
    """Takes bytes from the front, and never fewer than asked."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise _malformed()
        self._at += count
        return taken


# --- addresses ---------------------------------------------------------------------------------------------------
# One byte `4 * head + tail`. Head 0: length and text; 1: ip4 and tcp in 6 bytes; 2: ip6 and tcp in 18 bytes.
# Tail 0: nothing; 1: `/p2p/` and the peer id of the issuer's key; 2: the same for the key that follows.

_PEER_MARK: Final = "/p2p/"
_PEER_PREFIX: Final = bytes.fromhex("002408011220")  # identity multihash of the protobuf of an Ed25519 key
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_IP_BYTES: Final = {"ip4": 4, "ip6": 16}


def _write_address(address: str, issuer: bytes) -> bytes:
    head, mark, peer = address.rpartition(_PEER_MARK)
    key = _key_of(peer) if mark and head else None
    tail = 0 if key is None else 1 if key == issuer else 2
    base = address if key is None else head
    packed = _pack_ip(base)
    form, body = packed or (0, bytes((len(base),)) + base.encode("ascii"))
    return bytes((4 * form + tail,)) + body + (key or b"" if tail == 2 else b"")


def _read_address(reader: _Bytes, issuer: bytes) -> str:
    form, tail = divmod(reader.take(1)[0], 4)
    if form == 0:
        base = reader.take(reader.take(1)[0]).decode("ascii")
    elif form <= len(_IP_BYTES):
        kind, size = list(_IP_BYTES.items())[form - 1]
        ip = ipaddress.ip_address(reader.take(size))
        base = f"/{kind}/{ip}/tcp/{int.from_bytes(reader.take(2), 'big')}"
    else:
        raise _malformed()
    if tail == 0:
        return base
    return base + _PEER_MARK + _peer_id(issuer if tail == 1 else reader.take(NODE_KEY_BYTES))


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


def _peer_id(key: bytes) -> str:
    """The peer id of an Ed25519 key, as libp2p writes it."""
    number, text = int.from_bytes(_PEER_PREFIX + key, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" + text  # for the leading zero byte


def _key_of(peer: str) -> bytes | None:
    """The Ed25519 key of a peer id; None when it is not made of one."""
    size = len(_PEER_PREFIX) + NODE_KEY_BYTES
    if len(peer) != 52 or not set(peer) <= set(_BASE58):
        return None
    number = 0
    for letter in peer:
        number = number * 58 + _BASE58.index(letter)
    key = number.to_bytes(size + 2, "big")[-NODE_KEY_BYTES:]
    return key if _peer_id(key) == peer else None
