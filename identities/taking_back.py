"""Taking an identity back on this node, by its recovery code: what is around the events that `recovery.py` writes.

The device gets a new seat with fresh keys. Where it had one, that seat is removed by the same code: nobody would use its keys
any more, and whoever has copied them is shut out. All that is promised is kept before it is written, so a recovery that was
cut off goes on when it is called again, with the same code and to the same end.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from identities.actor import Actor
from identities.keyring import DeviceSecrets, Keyring
from identities.part import Part
from identities.recovery import RecoveryCode, prepare, recover
from walytis_core import NotAllowedError, UnavailableError

if TYPE_CHECKING:
    from identities.acts import SeatId
    from identities.holding import Holding
    from identities.home import Home


def take_back(
    home: Home,
    held: Holding,
    used: RecoveryCode,
    remove: Collection[SeatId],
    cut: Collection[bytes] | None,
    *,
    is_last_copy: bool,
) -> tuple[Part, RecoveryCode]:
    """Makes this device a controller, and removes others; gives the next code. See `Identities.recover`."""
    chain = held.chain
    with home.lock:
        held = _settle(home, held, home.ring_of(held))  # what was cut off may have given this device its keys
        keyring = home.ring_of(held)
        actor = Actor(held.log, keyring)
        following, is_done = prepare(actor, used, remove, home.node.key)
        if is_done:
            return cast(Part, held), following
        _let_write_elsewhere(home, held, keyring.next_device)
        chain.write_with(used.block)
        if is_last_copy or chain.peers():  # one that is in touch tells of an earlier use as soon as it knows of it
            chain.confirm_newest()
        try:
            recover(actor, used, following, list(remove), cut)
            keyring.codes = {used.public.hash: following.secret}  # the others are used up
            keyring.save()
        finally:
            held = _settle(home, held, keyring)
    home.wake(bytes(chain.id))
    return cast(Part, held), following


def _let_write_elsewhere(home: Home, held: Holding, coming: DeviceSecrets | None) -> None:
    """Where the device acts for an identity, its coming keys may write, too; before they are its own."""
    logs = home.written_by(held.actor) if isinstance(held, Part) else ()
    for log in logs if coming is not None else ():
        if log is not held.log:  # there the recovery key does
            with suppress(NotAllowedError, UnavailableError):  # another device lets it in there
                log.admit(cast(DeviceSecrets, coming).block.key)


def _settle(home: Home, held: Holding, keyring: Keyring) -> Holding:
    """After a recovery, done or cut off: this device has its new seat, or is what it was."""
    if keyring.take_up([seat.holder for seat in held.folded.authority.live]):
        held.chain.write_with(cast(DeviceSecrets, keyring.device).block, fresh=True)
        return cast(Part, home.open_anew(held.chain))
    if isinstance(held, Part) and held.actor.secrets is not None:
        held.chain.write_with(held.actor.secrets.block)
    return held
