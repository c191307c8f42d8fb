"""The recovery key: 32 bytes on paper, from which the keys of seat 0 grow; as text that people can copy.

Its public half is published by its hash alone, until it is used; each use names the next one. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from identities.acts import ADDED, RECOVERED, REMOVED, SeatId
from identities.holders import PublicKey, RecoveryKeys
from identities.keyring import DeviceSecrets
from identities.payloads import removed
from identities.suites import COMPOSITE, SigningKey
from walytis_core.errors import InvalidInputError, NotAllowedError
from walytis_core.seals import derive
from walytis_core.signer import Ed25519Signer

if TYPE_CHECKING:
    from identities.actor import Actor

CODE_BYTES: Final = 32
_CHECK_BYTES: Final = 3
_GROUP: Final = 4


@dataclass(frozen=True, repr=False)
class RecoveryCode:
    """A recovery key. `str()` of it is what to write down: 14 groups of four letters and digits, with a checksum.

    >>> code = RecoveryCode(bytes(32))
    >>> RecoveryCode.parse(str(code).lower()) == code
    True
    """

    secret: bytes

    @classmethod
    def fresh(cls) -> RecoveryCode:
        """A random one."""
        return cls(os.urandom(CODE_BYTES))

    @classmethod
    def parse(cls, text: str) -> RecoveryCode:
        """Reads what was written down; case, spaces and dashes do not matter.

        Raises:
            InvalidInputError: It is no recovery code, or was mistyped.
        """
        plain = "".join(text.split()).replace("-", "").upper()
        try:
            data = base64.b32decode(plain)
        except ValueError as error:
            raise _mistyped() from error
        code = cls(data[:CODE_BYTES])
        if len(data) != CODE_BYTES + _CHECK_BYTES or data[CODE_BYTES:] != code._checksum:
            raise _mistyped()
        return code

    @cached_property
    def block(self) -> Ed25519Signer:
        """Signs blocks."""
        return Ed25519Signer(derive(self.secret, "identities/recovery/block"))

    @cached_property
    def sign(self) -> SigningKey:
        """Signs events."""
        return SigningKey.from_seed(COMPOSITE, derive(self.secret, "identities/recovery/sign"))

    @property
    def public(self) -> RecoveryKeys:
        """Its public half."""
        return RecoveryKeys(self.block.key, PublicKey(self.sign.suite, self.sign.public))

    @property
    def _checksum(self) -> bytes:
        return hashlib.sha256(b"walytis/recovery/1" + self.secret).digest()[:_CHECK_BYTES]

    def __str__(self) -> str:
        text = base64.b32encode(self.secret + self._checksum).decode("ascii")
        return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))

    def __repr__(self) -> str:
        return "RecoveryCode(...)"


def prepare(actor: Actor, used: RecoveryCode, seats: Collection[SeatId], node_key: bytes) -> tuple[RecoveryCode, bool]:
    """Keeps all that a recovery promises, before it is written: the next code, and the keys of the device to come.

    Args:
        actor: The device.
        used: The code.
        seats: What it is to remove.
        node_key: Of this node.

    Returns:
        The next code, that of an earlier call if that was cut off; and whether that one had got to its end.

    Raises:
        NotAllowedError: The code is none of this identity's, or used up.
    """
    keyring, after = actor.keyring, used.public.hash
    held = keyring.codes.get(after)
    following = RecoveryCode.fresh() if held is None else RecoveryCode(held)
    live = actor.log.folded().authority.live
    if not actor.is_newest(used):
        is_done = actor.successor_hash(used) == following.public.hash
        if not is_done or not {seat.id for seat in live}.isdisjoint(seats):
            raise NotAllowedError("this is not the newest recovery code of this identity", hint="Take the newest one.")
        return following, True
    keyring.codes[after] = following.secret
    coming, own = keyring.next_device, actor.seat(actor.log.folded())
    is_in = own is not None and own.made is not None and own.made.author == used.block.key
    if not is_in and (coming is None or coming.public.holder in actor.promised()):
        if coming is not None:
            keyring.add_seal(coming.seal_seed)  # something may be wrapped to it
        keyring.next_device = DeviceSecrets.fresh(node_key)
    keyring.save()
    return following, False


def recover(
    actor: Actor, used: RecoveryCode, following: RecoveryCode, seats: Sequence[SeatId], cut: Collection[bytes] | None
) -> None:
    """Takes an identity back: removes seats, adds the actor's device, renews, and names the next code, in this order.

    A seat that the device had before is among those that are removed: with it, what it said stays.

    A crash in between leaves the code good: what is done again does no harm, and no device is added twice.

    Args:
        actor: The device, or its keys to come; its log writes with the code's block key.
        used: The code.
        following: The next one.
        seats: What to remove.
        cut: As of `payloads.removed`.
    """
    device = actor.keyring.next_device or actor.keyring.device
    if device is None:
        raise NotAllowedError("a recovery adds the device that it is done on")
    if seats:
        actor.recover(used, REMOVED, removed(seats, None if cut is None else sorted(cut)))
    own = actor.seat(actor.log.folded())
    if own is not None and own.holder != device.public.holder:  # its keys are replaced; what it said stays
        actor.recover(used, REMOVED, removed([own.id], None))
    actor.keyring.save()  # before anything is promised to its keys
    actor.log.admit(device.block.key)
    if device.public.holder not in [seat.holder for seat in actor.log.folded().authority.live]:
        actor.recover(used, ADDED, device.public.wire)
    actor.renew(code=used)
    actor.log.admit(following.block.key)
    actor.recover(used, RECOVERED, [following.public.hash, following.block.key])


def _mistyped() -> InvalidInputError:
    return InvalidInputError(
        "this is no recovery code, or it was mistyped", hint="It has 14 groups of four letters and digits."
    )
