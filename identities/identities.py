"""`Identities`: the identities of a node, as its users hold them: made, joined, recovered, resolved, deleted.

What is due for them is done by itself, in a thread of its own (`home.py`). It is a context manager, and nothing of it outlives
`close`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Collection, Sequence
from typing import Self, cast

from identities.acts import JOINED, SeatId
from identities.contacts import SCHEME as CARD_SCHEME
from identities.contacts import ContactCard
from identities.dids import chain_of, did_of
from identities.epoch_keys import SECRET_BYTES, epoch_keys
from identities.holders import Control, CouncilKeys, Genesis, HolderKeys, IdentityHolder, PublicKey
from identities.holding import Holding
from identities.home import Home, new_name
from identities.identity import Identity, handle_of, part_of
from identities.keyring import DeviceSecrets, Keyring
from identities.known import KnownIdentity
from identities.part import Part
from identities.recovery import RecoveryCode
from identities.renewal import RenewalPolicy
from identities.suites import COMPOSITE
from identities.taking_back import take_back
from walytis_core import (
    Chain,
    InvalidInputError,
    Invitation,
    Node,
    NotAllowedError,
    NotFoundError,
    Pending,
    Signer,
    StorageError,
    WalytisError,
)
from walytis_core.invitation import SCHEME as INVITATION_SCHEME
from walytis_core.policy import EVERYONE, SECRET


class Identities:
    """The identities of a node.

    Args:
        node: The node; it stays its owner's.
        renewal: How often keys are renewed.
        random: Gives numbers from 0 to 1.
        now_s: The local clock, in seconds since the epoch.

    >>> from walytis_core import Node
    >>> with Node.in_memory() as node, Identities(node) as identities:
    ...     alice, code = identities.create("alice")
    ...     record = alice.sign(b"hello")
    ...     alice.verify(b"hello", record).epoch
    0
    """

    def __init__(
        self,
        node: Node,
        *,
        renewal: RenewalPolicy | None = None,
        random: Callable[[], float] = random.random,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._home = Home(node, renewal or RenewalPolicy(), random, now_s)
        self.connections = self._home.connections
        """The sessions with other devices: `Identity.dial` opens one, `connections.accept()` gives those that others open."""

    def close(self) -> None:
        """Ends the work. Close it before the node. Closing twice is fine."""
        self._home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Identities({', '.join(one.name for one in self._home.parts())})"

    @property
    def failure(self) -> WalytisError | None:
        """The last failure of the work, until it works again."""
        return self._home.rounds.failure

    # --- which there are -----------------------------------------------------------------------------------------------

    def all(self) -> list[Identity]:
        """The identities that this node acts for, by name; `others` are those that it has resolved."""
        return [cast(Identity, handle_of(part)) for part in self._home.parts()]

    def others(self) -> list[KnownIdentity]:
        """The identities that this node holds the chains of and does not act for, by name; `all` are its own."""
        return [handle_of(held) for held in self._home.all_held() if not isinstance(held, Part)]

    def damaged(self) -> dict[str, StorageError]:
        """The identities whose keys cannot be read here, and why, by the names of their chains."""
        return dict(self._home.damaged)

    def get(self, name_or_did: str) -> Identity:
        """An identity that this node acts for, by its local name or its DID. Raises `NotFoundError`."""
        for identity in self.all():
            if name_or_did in (identity.name, identity.did):
                return identity
        raise NotFoundError(
            f"there is no identity called {name_or_did} here",
            hint="`Identities.all` and `walytis id list` show them; another's is had by `known`, from its DID.",
        )

    def known(self, did: str) -> KnownIdentity:
        """An identity that this node holds the chain of, its own or another's. Raises `NotFoundError`."""
        found = self._home.held(bytes(chain_of(did)))
        if found is None:
            raise NotFoundError(
                "this node does not hold that identity", hint="Ask for a contact card, and `resolve` it."
            )
        return handle_of(found)

    # --- making, joining, recovering -----------------------------------------------------------------------------------

    def create(
        self,
        name: str,
        *,
        controller: Identity | None = None,
        councils: Sequence[CouncilKeys] = (),
        suite: int = COMPOSITE,
        is_public: bool = True,
    ) -> tuple[Identity, RecoveryCode]:
        """Makes an identity, with this device as its first controller.

        Args:
            name: What to call it here; also what invitations suggest.
            controller: The identity whose devices are to control it: makes a group. None: this device alone.
            councils: Seats above the founder's: so many of a list of keys can do what a lost founder could.
            suite: Of its keys, see `suites`: hybrid ones by default.
            is_public: Whether everyone may read its chain; else only who was invited.

        Returns:
            The identity, and the recovery code: to be written down and kept away from all devices. This device keeps it,
            as `Identity.pending_recovery_code`, until `Identity.recovery_code_kept` says that this was done.

        Raises:
            InvalidInputError: The name is taken or empty.
        """
        home = self._home
        home.rounds.require_open()
        code, secret = RecoveryCode.fresh(), os.urandom(SECRET_BYTES)
        keys = epoch_keys(secret)
        sealing = keys.sealing()
        control = Control(PublicKey(suite, keys.signing(suite).public), PublicKey(sealing.suite, sealing.public))
        device = None if controller is not None else DeviceSecrets.fresh(home.node.key, suite)
        founder, signer = self._founder(controller, device)
        genesis = Genesis(code.public.hash, code.block.key, (*councils, founder), control)
        via = None if controller is None else bytes(controller.chain.id)
        keyring = Keyring(home.node.keys, new_name(control.sign.id), device, via=via, codes={b"": code.secret})
        keyring.add_epochs((control.sign.id, keys))  # before the chain: a crash between leaves nothing without keys
        readers = EVERYONE if is_public else SECRET
        with home.lock:
            try:
                chain = home.node.create_chain(
                    name, writers=[code.block.key], readers=readers, data=genesis.data, signer=signer
                )
            except WalytisError:
                keyring.forget()
                raise
            part = cast(Part, home.open(chain))
            if controller is None:
                part.actor.act(JOINED, None)  # so there is something to anchor where it becomes a member
        if controller is not None:
            part.found(part_of(controller))
        part.wake()
        return cast(Identity, handle_of(part)), code

    @staticmethod
    def _founder(controller: Identity | None, device: DeviceSecrets | None) -> tuple[HolderKeys, Signer]:
        if controller is not None:
            return IdentityHolder(controller.chain.genesis), part_of(controller).device_signer
        known = cast(DeviceSecrets, device)
        return known.public, known.block

    def join(
        self, invitation: Invitation | str, *, name: str | None = None, device_name: str = ""
    ) -> Pending[Identity]:
        """Makes this device a controller of an identity that one of its devices gave an invitation of.

        The result comes when this device has its seat and the current keys.

        Args:
            invitation: What `Identity.invite` gave.
            name: What to call the identity here; None for the suggested name.
            device_name: What to call this device, for the others to see.

        Raises:
            InvalidInputError: It is no invitation, or was mistyped.
            UnavailableError: This device is joining that identity already.
            JoinError: It has expired; by `result()` also: it is used, revoked, or not the issuer's.
        """
        self._home.rounds.require_open()
        if isinstance(invitation, str) and invitation.strip().startswith(CARD_SCHEME):
            raise InvalidInputError(
                "this is a contact card, not an invitation",
                hint="`resolve` takes it. To become a device of the identity, ask one of its devices for an invitation.",
            )
        ticket = invitation if isinstance(invitation, Invitation) else Invitation.parse(invitation)
        return self._home.arrivals.join(ticket, name, device_name)

    def resolve(self, contact: ContactCard | str, *, name: str | None = None) -> Pending[KnownIdentity]:
        """Another's identity, from its contact card; from this node's own copy, else by joining its chain.

        The result comes when all that the card names is held here.

        Raises:
            InvalidInputError: It is no contact card, or was mistyped.
            NotFoundError: The chain is not held here, and the card has no address.
        """
        self._home.rounds.require_open()
        if isinstance(contact, str) and contact.strip().startswith(INVITATION_SCHEME):
            raise InvalidInputError(
                "this is an invitation, not a contact card",
                hint="`join` takes it, on a device that is to be one of the identity's; others need `Identity.contact`.",
            )
        card = contact if isinstance(contact, ContactCard) else ContactCard.parse(contact)
        return self._home.arrivals.resolve(card, self._home.held(bytes(card.chain_id)), name)

    def recover(
        self,
        code: RecoveryCode | str,
        did: str,
        *,
        remove: Collection[SeatId] = (),
        cut: Collection[bytes] | None = None,
        is_last_copy: bool = False,
    ) -> tuple[Identity, RecoveryCode]:
        """Takes an identity back by its recovery code: makes this device a controller, and removes others.

        The chain must be held here: `resolve` a contact card, or join it, before. One that was cut off goes on when it is
        called again with the same code, and gives the same next one.

        Args:
            code: The newest recovery code.
            did: The identity.
            remove: The seats to take away.
            cut: Events after which nothing of theirs counts, see `KnownIdentity.preview_recovery`; None: what is held here
                stays as it is.
            is_last_copy: Whether no other copy of the chain is left that could know of an earlier use of the code.

        Returns:
            The identity, and the next recovery code: the old one is used up. It is kept here as that of `create` is.

        Raises:
            NotAllowedError: It is not the newest code of this identity: it was used up, say.
            UnavailableError: No peer that holds the chain is there, which could know of an earlier use of the code.
        """
        used = code if isinstance(code, RecoveryCode) else RecoveryCode.parse(code)
        held = self._home.held(self.known(did).chain.id)
        part, following = take_back(self._home, cast(Holding, held), used, remove, cut, is_last_copy=is_last_copy)
        return cast(Identity, handle_of(part)), following

    def enter(self, did: str, via: Identity) -> Identity:
        """Acts in a group from now on, behind the seat that an identity of this node has in it.

        Args:
            did: The group; its chain must be held here: `resolve` its contact card before.
            via: The identity that holds the seat.

        Raises:
            NotAllowedError: This node writes that chain in another way, or acts for it otherwise.
        """
        known, behind = self.known(did), part_of(via)
        entered = self._home.take_up(known.chain.genesis, known.name, via=behind, is_asked=True)
        if not isinstance(entered, Part) or entered.actor.keyring.via != behind.id:
            raise NotAllowedError(
                "this node writes that chain in another way",
                hint="`Identities.get` gives an identity that it acts for already.",
            )
        with self._home.lock:
            behind.groups.let_in(entered.id)
            behind.groups.telling.tell_of_group(entered)
        behind.wake()
        return cast(Identity, handle_of(entered))

    # --- ending --------------------------------------------------------------------------------------------------------

    def delete(self, name_or_did: str, *, dry_run: bool = False) -> None:
        """Ends an identity on this node: its chain, its keys, and what was noted of it; sessions for it end.

        What was sealed to it can never be opened here again. For the others nothing changes: the seat of this device stays
        until one of them removes it (or `Identity.leave`, before), and its chain can be had again as any other's. The chains
        that its members read stay, to be read; they are deleted with `Node.delete_chain`. One that was cut off is
        done again; what is left is found under the same name.

        Args:
            name_or_did: One that this node acts for, one whose keys are damaged, or another's.
            dry_run: Whether only to raise what would be raised, and change nothing.

        Raises:
            NotFoundError: There is none.
            NotAllowedError: Another identity here is acted for through it, or has it as a member: delete that first.
            StorageError: The disk refused.
        """
        home = self._home
        with home.lock:
            chain = self._chain(name_or_did)
            id = bytes(chain.id)
            _require_needless(id, home.parts())
            if dry_run:
                return
            for part in home.parts():
                part.groups.leave_out(id)
            home.delete(chain)
        self.connections.review()

    def _chain(self, name_or_did: str) -> Chain:
        for held in self._home.all_held():
            if name_or_did in (held.name, held.did):
                return held.chain
        for chain in self._home.node.chains():
            if chain.name in self._home.damaged and name_or_did in (chain.name, did_of(chain.id)):
                return chain
        raise NotFoundError(f"there is no identity called {name_or_did} here")


def _require_needless(id: bytes, parts: Sequence[Part]) -> None:
    """Raises `NotAllowedError` where others here need the identity with this chain."""
    for part in parts:
        if any(actor.log.id == id for actor in part.actor.behind):
            raise NotAllowedError(
                f"this node acts for {part.name} through it",
                hint=f"Delete {part.name} here first: `walytis id delete {part.name}`.",
            )
        if part.id != id and id in part.folded.live_nested.values():
            raise NotAllowedError(
                f"it is a member of {part.name}, which needs its chain",
                hint=f"Remove its seat there, or delete {part.name} here first.",
            )
