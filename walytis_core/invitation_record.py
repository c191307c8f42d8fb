"""The record by which the issuer of an invitation honours it.

Invariants: `judge` alone says who may use an invitation; a use belongs to a node key, so a retry costs none; a record
holds no secret: the seed is kept with the node's keys. This file knows no clock and no store.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from walytis_core import cbor
from walytis_core.errors import RemoteError, StorageError
from walytis_core.invitation import ID_BYTES, MAX_EXPIRES, require

MAX_USES: Final = 1024  # each is remembered with its node key; who wants more leaves the number open


class JoinRefusal(StrEnum):
    """Why an issuer refuses a joiner. All but the first are told only to those who proved the invitation's seed."""

    NOT_HONOURED = "the invitation is not honoured here"
    USED = "the invitation was used already"
    EXPIRED = "the invitation has expired"
    REVOKED = "the invitation was revoked"
    NOT_NOW = "the inviter cannot let anyone in now"


class InvitationUse(NamedTuple):
    """One use of an invitation that lets write, on a chain with listed writers.

    Attributes:
        node_key: The node that used it, proven.
        authors: The author keys that it brought, proven, and that may write by it: more than one after retries.
        invitation: The invitation's id.
    """

    node_key: bytes
    authors: frozenset[bytes]
    invitation: bytes = b""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class InvitationRecord:
    """What the issuer keeps of an invitation.

    Attributes:
        id: `Invitation.id`.
        uses: How many node keys may use it, 1 to `MAX_USES`; None for any number.
        expires: Seconds since the epoch from which on it is not honoured.
        write: Whether a joiner may write, on a chain with listed writers.
        revoked: Taken back by its issuer.
        used_by: The node keys that used it; not kept when any number may.
    """

    id: bytes
    uses: int | None = 1
    expires: int | None = None
    write: bool = True
    revoked: bool = False
    used_by: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        require(len(self.id) == ID_BYTES, f"an id has {ID_BYTES} bytes")
        require(self.uses is None or 1 <= self.uses <= MAX_USES, f"uses is 1 to {MAX_USES}, or None for any number")
        require(self.expires is None or 0 <= self.expires <= MAX_EXPIRES, "the expiry is out of range")

    def used(self, node_key: bytes) -> InvitationRecord:
        """The record once `node_key` has used it; the same for a retry. Kept durably before anything is granted."""
        if self.uses is None or node_key in self.used_by:
            return self
        return replace(self, used_by=self.used_by | {node_key})

    def has_ended(self, now: int) -> bool:
        """Whether nobody may use it ever again, at `now` in seconds since the epoch."""
        return self.revoked or (self.expires is not None and now >= self.expires)

    def encode(self) -> bytes:
        """The record as bytes for the store."""
        used_by: list[cbor.Value] = [*sorted(self.used_by)]
        return cbor.encode([2, self.id, self.uses, self.expires, self.write, self.revoked, used_by])

    @classmethod
    def decode(cls, data: bytes) -> InvitationRecord:
        """Reads what `encode` wrote, in this version or the one before. Raises `StorageError` when it is something else."""
        return cls.decode_old(data)[0]

    @classmethod
    def decode_old(cls, data: bytes) -> tuple[InvitationRecord, bytes | None]:
        """Reads a record, and the seed that stands in one of version 1."""
        try:
            value = cbor.decode(data, max_bytes=64 * MAX_USES, max_depth=2)
        except RemoteError as error:
            raise StorageError("the record of an invitation cannot be read") from error
        seed: bytes | None = None
        if isinstance(value, list) and len(value) == 8 and value[0] == 1 and isinstance(value[2], bytes):
            seed = value[2]
            value = [2, value[1], *value[3:]]
        match value:
            case [2, bytes(id), int() | None as uses, int() | None as end, bool(write), bool(gone), list(keys)]:
                used_by = frozenset(key for key in keys if isinstance(key, bytes))
                return cls(id=id, uses=uses, expires=end, write=write, revoked=gone, used_by=used_by), seed
            case _:
                raise StorageError("the record of an invitation is of another version")

    def __repr__(self) -> str:
        used = f"{len(self.used_by)}/{self.uses or 'any'}"
        return f"InvitationRecord({self.id.hex()[:8]}, used={used}, expires={self.expires}, revoked={self.revoked})"


def judge(record: InvitationRecord, node_key: bytes, now: int) -> JoinRefusal | None:
    """Whether a node may use an invitation now; None means yes.

    A use belongs to a node key, which may come back after a cut; nobody may once it is revoked or has expired.

    Args:
        record: What the issuer kept.
        node_key: The joiner's, proven.
        now: Seconds since the epoch, by the issuer's clock.
    """
    if record.revoked:
        return JoinRefusal.REVOKED
    if record.expires is not None and now >= record.expires:
        return JoinRefusal.EXPIRED
    if record.uses is not None and node_key not in record.used_by and len(record.used_by) >= record.uses:
        return JoinRefusal.USED
    return None
