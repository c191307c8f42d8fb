"""Identities that are on their way here: joins of this device, and contacts that are being resolved.

Whoever calls back that a chain came holds that chain's lock, so what follows is put off to the thread that does the work.
Invariant: what was begun ends: by a result, by an error, or as closed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from identities.contacts import ContactCard
from identities.holding import Holding
from identities.identity import Identity, handle_of
from identities.keyring import DeviceSecrets, Keyring
from identities.known import KnownIdentity
from identities.part import Part
from walytis_core import (
    Chain,
    ClosedError,
    InvalidInputError,
    Invitation,
    NotFoundError,
    Pending,
    UnavailableError,
    WalytisError,
)

if TYPE_CHECKING:
    from identities.home import Home


class Arrivals:
    """What is on its way.

    Args:
        home: The identities of the node.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._pendings: set[Pending[Any]] = set()
        self._coming: dict[bytes, tuple[Keyring, Pending[Identity]]] = {}
        self._joining: dict[bytes, Pending[Identity]] = {}
        self._awaited: list[tuple[ContactCard, Holding, Pending[KnownIdentity]]] = []

    def close(self) -> None:
        """Ends what has not arrived."""
        for pending in tuple(self._pendings):
            pending.fail(ClosedError("the identities of this node were closed"))

    def drop(self, id: bytes) -> None:
        """An identity is deleted here: nobody waits for it any more."""
        gone: list[Pending[Any]] = [pending for _, held, pending in self._awaited if held.id == id]
        self._awaited = [waiting for waiting in self._awaited if waiting[1].id != id]
        gone.extend([self._joining.pop(id)] if id in self._joining else [])
        for pending in gone:
            pending.fail(ClosedError("the identity was deleted here"))

    def finish(self, id: bytes) -> None:
        """Gives out what has arrived by now."""
        self._finish_joining(id)
        self._finish_resolving()

    def _expect(self, pending: Pending[Any]) -> None:
        self._pendings.add(pending)
        pending.when_done(partial(self._pendings.discard, pending))

    def _when_joined(
        self,
        joined: Pending[Chain],
        pending: Pending[Any],
        task: Callable[[Chain], None],
        undo: Callable[[], None] = lambda: None,
    ) -> None:
        def go_on() -> None:
            try:
                task(joined.result(timeout=0))
            except (WalytisError, CancelledError) as error:
                undo()
                pending.fail(error if isinstance(error, WalytisError) else ClosedError("this was cancelled"))

        self._expect(pending)
        pending.begin_with(joined)
        joined.when_done(partial(self._home.rounds.put_off, go_on))

    # --- this device ---------------------------------------------------------------------------------------------------

    def join(self, ticket: Invitation, name: str | None, device_name: str) -> Pending[Identity]:
        """A device joins. See `Identities.join`."""
        home, id = self._home, bytes(ticket.chain_id)
        if id in self._coming and not self._coming[id][1].done():
            raise UnavailableError("this device is joining that identity already", hint="Wait for that, or cancel it.")
        device = DeviceSecrets.fresh(home.node.key)
        keyring = Keyring(home.node.keys, Keyring.name_for(id), device)
        home.drop_stranger(id)  # held as another's: it comes again, to be written
        joined = home.node.join(ticket, name=name, signer=device.block)  # raises before anything is kept
        pending = Pending[Identity](on_cancel=partial(_cancel, joined))
        keyring.save()
        self._coming[id] = keyring, pending
        go_on, undo = partial(self._joined, pending, device, device_name), partial(self._tidy, id, keyring)
        self._when_joined(joined, pending, go_on, undo)
        return pending

    def _tidy(self, id: bytes, keyring: Keyring) -> None:
        """No keys stay of an identity that did not come."""
        coming = self._coming.get(id)
        if coming is not None and coming[0] is not keyring:  # it is joining again, with other keys under the same name
            return
        self._coming.pop(id, None)
        if self._home.chain_of_node(id) is None:
            keyring.forget()

    def _joined(self, pending: Pending[Identity], device: DeviceSecrets, device_name: str, chain: Chain) -> None:
        home = self._home
        with home.lock:
            part = home.open(chain)
            if not isinstance(part, Part):
                home.node.delete_chain(chain)
                raise InvalidInputError("this is an invitation to a chain that is no identity's")
            self._joining[part.id] = pending
            self._coming.pop(part.id, None)
            chain.confirm_newest()  # the key was made for this: nobody has blocks by it, whomever else we met
            part.ask(device, device_name)
        home.wake(bytes(chain.id))

    def _finish_joining(self, id: bytes) -> None:
        pending, part = self._joining.get(id), self._home.part(id)
        if pending is None or part is None:
            return
        known = cast(Identity, handle_of(part))
        status = known.status()
        pending.report(int(status.is_seated) + int(status.has_keys), 2, "waiting for a device of the identity")
        if status.has_keys and status.is_seated:
            del self._joining[id]
            part.confirm()  # who let it in may go offline now
            pending.resolve(known)

    # --- others --------------------------------------------------------------------------------------------------------

    def resolve(self, card: ContactCard, held: Holding | None, name: str | None) -> Pending[KnownIdentity]:
        """Another's identity comes. See `Identities.resolve`."""
        pending = Pending[KnownIdentity]()
        if held is not None:
            self._expect(pending)
            self._resolved(card, pending, held.chain)
            return pending
        if card.node_key is None or not card.addresses:
            raise NotFoundError("this node does not hold that identity, and the card has no address")
        ticket = Invitation(chain_id=card.chain_id, issuer=card.node_key, addresses=card.addresses, name=card.name)
        joined = self._home.node.join(ticket, name=name)
        self._when_joined(joined, pending, partial(self._resolved, card, pending))
        return pending

    def _resolved(self, card: ContactCard, pending: Pending[KnownIdentity], chain: Chain) -> None:
        with self._home.lock:
            held = self._home.open(chain)
        if held is None:
            self._home.node.delete_chain(chain)
            raise InvalidInputError("the chain that the card names is no identity's")
        self._awaited.append((card, held, pending))
        self._home.wake(bytes(chain.id))

    def _finish_resolving(self) -> None:
        for waiting in list(self._awaited):
            card, held, pending = waiting
            if pending.done():
                self._awaited.remove(waiting)
            elif all(head in held.chain for head in card.heads if head != held.log.id):
                self._awaited.remove(waiting)
                pending.resolve(handle_of(held))


def _cancel(pending: Pending[Chain]) -> None:
    pending.cancel()
