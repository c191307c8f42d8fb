"""Invitations: the URI that is handed on.

Theory (docs/spec/invitation.md): `walytis:` and the armour of its fields. The seed in it proves to the issuer that the
holder was invited; the chain secret is never in it.

Invariants: `Invitation.parse(str(invitation)) == invitation`; no `repr` shows a seed, `str(invitation)` does on purpose.
By what its issuer honours it is in `invitation_record.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from walytis_core.armour import (
    MAX_ADDRESS_BYTES,
    NODE_KEY_BYTES,
    Armour,
    Fields,
    is_address,
    write_addresses,
    write_text,
)
from walytis_core.cid import CID_BYTES, DAG_CBOR_PREFIX, BlockId
from walytis_core.errors import InvalidInputError, JoinError
from walytis_core.limits import Limits
from walytis_core.seals import derive

SEED_BYTES: Final = 16
ID_BYTES: Final = 16
MAX_NAME_BYTES: Final = 32  # with one address of a common form, a URI stays under 300 characters
MAX_ADDRESSES: Final = 8
SCHEME: Final = "walytis:"
ARMOUR: Final = Armour(SCHEME, "invitation", "an", b"walytis/invitation", JoinError.hint)
MAX_EXPIRES: Final = Limits.max_time_ms // 1000
_VERSION: Final = 1
_EXPIRY_BYTES: Final = 5
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
        require(is_name(self.name), f"a suggested name is printable and has at most {MAX_NAME_BYTES} bytes of UTF-8")
        require(len(self.addresses) <= MAX_ADDRESSES, f"at most {MAX_ADDRESSES} addresses")
        require(all(map(is_address, self.addresses)), f"an address is ASCII of 1 to {MAX_ADDRESS_BYTES} bytes")

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
        return _read(*ARMOUR.read(text))

    def __str__(self) -> str:
        return ARMOUR.write(_VERSION, _fields(self))

    def __repr__(self) -> str:
        chain, issuer = self.chain_id.short, self.issuer.hex()[:8]
        return f"Invitation(chain={chain}, issuer={issuer}..., name={self.name!r}, expires={self.expires})"


def require(holds: bool, message: str) -> None:
    """Raises `InvalidInputError` with the message where something does not hold."""
    if not holds:
        raise InvalidInputError(message)


def is_name(name: str) -> bool:
    """Whether a suggested name is printable, and short enough."""
    return name.isprintable() and len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES


def _fields(invitation: Invitation) -> bytes:
    flags = (_HAS_SEED if invitation.seed else 0) | (0 if invitation.expires is None else _HAS_EXPIRY)
    return b"".join((
        bytes((flags,)),
        invitation.chain_id[len(DAG_CBOR_PREFIX) :],
        invitation.issuer,
        invitation.seed or b"",
        b"" if invitation.expires is None else invitation.expires.to_bytes(_EXPIRY_BYTES, "big"),
        write_text(invitation.name),
        write_addresses(invitation.addresses, invitation.issuer),
    ))  # fmt: skip


def _read(version: int, data: bytes) -> Invitation:
    if version > _VERSION:
        raise JoinError("the invitation needs a newer version of this program", hint="Update, then join again.")
    fields = Fields(ARMOUR, data)
    flags = fields.number()
    chain_id, issuer = BlockId(DAG_CBOR_PREFIX + fields.take(32)), fields.take(NODE_KEY_BYTES)
    try:
        invitation = Invitation(
            chain_id=chain_id,
            issuer=issuer,
            seed=fields.take(SEED_BYTES) if flags & _HAS_SEED else None,
            expires=fields.number(_EXPIRY_BYTES) if flags & _HAS_EXPIRY else None,
            name=fields.text(),
            addresses=fields.addresses(issuer),
        )
    except (InvalidInputError, ValueError) as error:
        raise ARMOUR.malformed() from error
    if version != _VERSION or _fields(invitation) != data:  # one form: also unknown flags, and trailing bytes
        raise ARMOUR.malformed()
    return invitation
