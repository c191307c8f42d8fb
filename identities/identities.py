"""`Identities`: the identities of a node: made, joined, recovered, resolved, and kept at work.

One thread does what is due for each (see `worker.py`), woken by changes of their chains, by objects that came, and by the
clock. It is the node's authority on members, too: who may read the chains of an identity, and under which secrets. It is
a context manager, and nothing of it outlives `close`.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Self, cast

from identities.actor import Actor
from identities.acts import JOINED, SeatId
from identities.arrivals import Arrivals
from identities.checking import identity_of
from identities.connections import Connections
from identities.contacts import ContactCard
from identities.dids import chain_of
from identities.epoch_keys import SECRET_BYTES, epoch_keys
from identities.identity import CODE, Identity
from identities.introductions import judge, speakers
from identities.keyring import DeviceSecrets, Keyring
from identities.known import KnownIdentity
from identities.log import Log
from identities.node_log import NodeLog
from identities.payloads import Control, CouncilKeys, Genesis, HolderKeys, IdentityHolder, PublicKey, read_genesis
from identities.recovery import RecoveryCode, prepare, recover
from identities.renewal import RenewalPolicy, Renewing
from identities.rounds import Rounds
from identities.suites import COMPOSITE
from identities.worker import Worker
from walytis_core import (
    Chain,
    InvalidInputError,
    Invitation,
    Node,
    NotAllowedError,
    NotFoundError,
    Pending,
    RemoteError,
    Signer,
    StorageError,
    UnavailableError,
    WalytisError,
)
from walytis_core.block import decode
from walytis_core.cid import BlockId
from walytis_core.invitation_record import InvitationUse
from walytis_core.policy import EVERYONE, SECRET
from walytis_core.seals import ChainSecret

_NAMES: Final = 1000


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
        self._node = node
        self._renewal = renewal or RenewalPolicy()
        self._random = random
        self.now_s = now_s
        """The local clock."""
        self._lock = threading.RLock()
        self._known: dict[bytes, KnownIdentity] = {}
        self._rounds = Rounds(self._work, self._above, self._lock, now_s)
        self._arrivals = Arrivals(self, self._rounds.put_off)
        self._damaged: dict[str, StorageError] = {}
        for chain in node.chains():
            try:
                self.open(chain)
            except StorageError as error:  # the others work
                self._damaged[chain.name] = error
        node.use_members(self)
        self.connections = Connections(node, lambda: speakers(self.all()), lambda asked: judge(asked, self._known.get))
        """The sessions with other devices: `Identity.dial` opens one, `connections.accept()` gives those that others open."""
        self._rounds.start()

    # --- life ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends the work. Close it before the node. Closing twice is fine."""
        self._rounds.close()
        self.connections.close()
        for known in self._known.values():
            known.close()
        self._arrivals.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def lock(self) -> threading.RLock:
        """Held while something is said for an identity: one event at a time."""
        return self._lock

    @property
    def failure(self) -> WalytisError | None:
        """The last failure of the work, until it works again."""
        return self._rounds.failure

    def wake(self, chain: bytes) -> None:
        """Has the work of an identity looked at soon."""
        self._rounds.wake(chain)

    def _above(self, due: set[bytes]) -> set[bytes]:
        """The identities that one of these is a member of."""
        found = set()
        for id, known in tuple(self._known.items()):
            with suppress(WalytisError):  # its chain was closed, or cannot be read: its own work says so
                if known.folded.nested_chains & due:
                    found.add(id)
        return found

    def _work(self, id: bytes, now_s: float) -> float:
        """Does what is due for an identity. A handle that was let go is not found any more, and saves nothing."""
        known = self._known.get(id)
        if known is None:
            return float("inf")
        try:
            return known.work(now_s)
        finally:
            self._arrivals.finish(id)

    # --- which there are -----------------------------------------------------------------------------------------------

    def all(self) -> list[Identity]:
        """The identities that this node acts for, by name."""
        return sorted((one for one in self._known.values() if isinstance(one, Identity)), key=lambda one: one.name)

    def damaged(self) -> dict[str, StorageError]:
        """The identities whose keys cannot be read here, and why, by the names of their chains."""
        return dict(self._damaged)

    def get(self, name_or_did: str) -> Identity:
        """An identity that this node acts for, by its local name or its DID. Raises `NotFoundError`."""
        for identity in self.all():
            if name_or_did in (identity.name, identity.did):
                return identity
        raise NotFoundError(f"there is no identity called {name_or_did} here")

    def identity_of(self, chain: bytes) -> Identity | None:
        """The identity with this chain, if this node acts for it."""
        found = self._known.get(chain)
        return found if isinstance(found, Identity) else None

    def written_by(self, actor: Actor) -> list[Log]:
        """The chains that a device writes as one of an identity's: the identity's own, and those of its groups."""
        found: list[Log] = []
        for identity in self.all():
            root: Actor | None = identity.actor
            while root is not None and root is not actor:
                root = root.via
            found.extend([identity.log] if root is actor else [])
        return found

    def known(self, did: str) -> KnownIdentity:
        """An identity that this node holds the chain of, its own or another's. Raises `NotFoundError`."""
        found = self._held(bytes(chain_of(did)))
        if found is None:
            raise NotFoundError(
                "this node does not hold that identity", hint="Ask for a contact card, and `resolve` it."
            )
        return found

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
        self._rounds.require_open()
        code, secret = RecoveryCode.fresh(), os.urandom(SECRET_BYTES)
        keys = epoch_keys(secret)
        sealing = keys.sealing()
        control = Control(PublicKey(suite, keys.signing(suite).public), PublicKey(sealing.suite, sealing.public))
        device = None if controller is not None else DeviceSecrets.fresh(self._node.key, suite)
        founder, signer = self._founder(controller, device)
        genesis = Genesis(code.public.hash, code.block.key, (*councils, founder), control)
        via = None if controller is None else bytes(controller.chain.id)
        keyring = Keyring(self._node.keys, _new_name(control.sign.id), device, via=via, codes={b"": code.secret})
        keyring.add_epochs((control.sign.id, keys))  # before the chain: a crash between leaves nothing without keys
        readers = EVERYONE if is_public else SECRET
        with self._lock:
            try:
                chain = self._node.create_chain(
                    name, writers=[code.block.key], readers=readers, data=genesis.data, signer=signer
                )
            except WalytisError:
                keyring.forget()
                raise
            identity = cast(Identity, self.open(chain))
            if controller is None:
                identity.actor.act(JOINED, None)  # so there is something to anchor where it becomes a member
        if controller is not None:
            identity.found(controller)
        self.wake(bytes(chain.id))
        return identity, code

    @staticmethod
    def _founder(controller: Identity | None, device: DeviceSecrets | None) -> tuple[HolderKeys, Signer]:
        if controller is not None:
            return IdentityHolder(controller.chain.genesis), controller.device_signer
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
            JoinError: It has expired; by `result()` also: it is used, revoked, or not the issuer's.
        """
        ticket = invitation if isinstance(invitation, Invitation) else Invitation.parse(invitation)
        return self._arrivals.join(ticket, name, device_name)

    def resolve(self, contact: ContactCard | str, *, name: str | None = None) -> Pending[KnownIdentity]:
        """Another's identity, from its contact card; from this node's own copy, else by joining its chain.

        The result comes when all that the card names is held here.

        Raises:
            InvalidInputError: It is no contact card, or was mistyped.
            NotFoundError: The chain is not held here, and the card has no address.
        """
        card = contact if isinstance(contact, ContactCard) else ContactCard.parse(contact)
        return self._arrivals.resolve(card, self._held(bytes(card.chain_id)), name)

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
        known = self.known(did)
        chain = known.chain
        with self._lock:
            known = self._settle(known, self._ring_of(known))  # what was cut off may have given this device its keys
            keyring = self._ring_of(known)
            actor = Actor(known.log, keyring)
            following, is_done = prepare(actor, used, remove, self._node.key)
            if is_done:
                return cast(Identity, known), following
            self._let_write_elsewhere(known, keyring.next_device)
            chain.write_with(used.block)
            if is_last_copy or chain.peers():  # one that is in touch tells of an earlier use as soon as it knows of it
                chain.confirm_newest()
            try:
                recover(actor, used, following, list(remove), cut)
                keyring.codes = {used.public.hash: following.secret}  # the others are used up
                keyring.save()
            finally:
                known = self._settle(known, keyring)
        self.wake(bytes(chain.id))
        return cast(Identity, known), following

    def _ring_of(self, known: KnownIdentity) -> Keyring:
        """The secrets of an identity, or where they are to be: one object, for whoever saves it saves all of it."""
        if isinstance(known, Identity):
            return known.actor.keyring
        keys, id = self._node.keys, known.chain.id
        return Keyring.load(keys, id) or Keyring(keys, Keyring.name_for(id))

    def _let_write_elsewhere(self, known: KnownIdentity, coming: DeviceSecrets | None) -> None:
        """Where the device acts for an identity, its coming keys may write, too; before they are its own."""
        logs = self.written_by(known.actor) if isinstance(known, Identity) else ()
        for log in logs if coming is not None else ():
            if log is not known.log:  # there the recovery key does
                with suppress(NotAllowedError, UnavailableError):  # another device lets it in there
                    log.admit(cast(DeviceSecrets, coming).block.key)

    def _settle(self, known: KnownIdentity, keyring: Keyring) -> KnownIdentity:
        """After a recovery, done or cut off: this device has its new seat, or is what it was."""
        if keyring.take_up([seat.holder for seat in known.folded.authority.live]):
            known.chain.write_with(cast(DeviceSecrets, keyring.device).block, fresh=True)
            return cast(Identity, self._take_up_anew(known.chain))
        if isinstance(known, Identity) and known.actor.secrets is not None:
            known.chain.write_with(known.actor.secrets.block)
        return known

    def _take_up_anew(self, chain: Chain) -> KnownIdentity | None:
        """Takes up an identity again, and those behind whose seats this device acts for it: its device is another."""
        id = bytes(chain.id)
        self._let_go(id)
        known = self.open(chain)
        for group in self.all():
            if group.actor.keyring.via == id:
                self._take_up_anew(group.chain)
        return known

    def _held(self, id: bytes) -> KnownIdentity | None:
        """The handle of an identity; that of a chain which was deleted, or taken up anew since, is let go."""
        known = self._known.get(id)
        if known is not None and self.chain_of_node(id) is not known.chain:
            self._let_go(id)
            return None
        return known

    def held(self, id: bytes) -> KnownIdentity | None:
        """The identity with this chain, its own or another's, if it is held here."""
        return self._held(id)

    def drop_stranger(self, id: bytes) -> None:
        """Another's identity is held here no longer."""
        known = self._held(id)
        if known is not None and not isinstance(known, Identity):
            self._let_go(id)
            self._node.delete_chain(known.chain)

    def _let_go(self, id: bytes) -> None:
        """The handle of an identity that is taken up anew, or deleted."""
        known = self._known.pop(id, None)
        if known is not None:
            known.close()

    # --- opening -------------------------------------------------------------------------------------------------------

    def open(self, chain: Chain) -> KnownIdentity | None:
        """Takes up an identity's chain; None where the chain is no identity's."""
        try:
            genesis = read_genesis(chain.policy.data)
        except RemoteError:
            return None
        id = bytes(chain.id)
        held = self._held(id)
        if held is not None:
            return held
        log = NodeLog(chain, self.chain_of_node, partial(self.wake, id))
        keyring = self._keyring(id, genesis.control.sign.id)
        if keyring is not None:  # a recovery may have been cut off after it gave this device a seat
            keyring.take_up([seat.holder for seat in log.folded().authority.live])
        is_own = keyring is not None and (keyring.device is not None or keyring.via is not None)
        overlap_s = self._renewal.overlap_s
        known = self._own(log, cast(Keyring, keyring)) if is_own else KnownIdentity(log, overlap_s, self.now_s)
        self._known[id] = known
        known.watch(partial(self.wake, id))
        self.wake(id)
        return known

    def _keyring(self, id: bytes, sign_id: bytes) -> Keyring | None:
        keys = self._node.keys
        keyring = Keyring.load(keys, id)
        if keyring is None:
            keyring = Keyring.load_as(keys, _new_name(sign_id))
            if keyring is not None:
                keyring.rename(Keyring.name_for(id))
        return keyring

    def _own(self, log: NodeLog, keyring: Keyring) -> Identity:
        via = None if keyring.via is None else self._own_actor(keyring.via)
        secrets = keyring.device if via is None else via.secrets
        if secrets is not None:
            log.write_with(secrets.block)
        chain = log.chain
        worker = Worker(
            Actor(log, keyring, via),
            Renewing(self._renewal, self._random, keyring.first_seen),
            invited=partial(_codes_used, chain),
            is_online=lambda: bool(chain.peers()),
        )
        return Identity(log, worker, self)

    def _own_actor(self, chain: bytes) -> Actor | None:
        known = self._known.get(chain)
        if known is None and self.chain_of_node(chain) is not None:
            known = self.open(cast(Chain, self.chain_of_node(chain)))
        return known.actor if isinstance(known, Identity) else None

    def chain_of_node(self, id: bytes) -> Chain | None:
        """A chain that this node holds, or None."""
        with suppress(NotFoundError, StorageError):
            return self._node.chain(BlockId(id))
        return None

    def adopt(self, genesis: bytes, name: str) -> Chain:
        """Holds a chain whose first block a block of another carries; under this name, or one like it."""
        free, count = name, 1
        while True:
            try:
                return self._node.adopt(genesis, name=free)
            except InvalidInputError:
                if not self._is_taken(free) or count == _NAMES:
                    raise
                count += 1
                free = f"{name}-{count}"

    def _is_taken(self, name: str) -> bool:
        try:
            self._node.chain(name)
        except NotFoundError:
            return False
        except StorageError:  # by one that cannot be read
            pass
        return True

    def take_up(
        self, genesis: bytes, name: str, *, via: Identity | None = None, is_asked: bool = False
    ) -> KnownIdentity | None:
        """Holds another identity's chain; with `via`, to act in it behind that identity's seat, once it has one there.

        Whoever told of the chain may be a thief: so one that this node writes in another way stays as it is, and nothing
        is said in a group that says nothing of that identity, unless the user has asked for it.

        Returns:
            The identity; None where the chain is held here, and is no identity's.
        """
        id = bytes(BlockId.of(genesis))
        with self._lock:
            known = self._held(id)
            if known is not None and (via is None or isinstance(known, Identity)):
                return known
            if known is None:
                held = self.chain_of_node(id)
                if held is None:  # of one that is held here, `open` says it
                    identity_of(genesis)
                known = self.open(self.adopt(genesis, name) if held is None else held)  # one without blocks is false
            has_seat = known is not None and via is not None and via.chain.id in known.folded.live_nested.values()
            if known is not None and via is not None and (has_seat or is_asked) and _is_unwritten(known):
                Keyring(self._node.keys, Keyring.name_for(id), via=bytes(via.chain.id)).save()
                known.chain.write_with(via.device_signer, fresh=True)  # this device never acted here
                self._let_go(id)
                known = self.open(known.chain)
        self.wake(id)
        return known

    def enter(self, did: str, via: Identity) -> Identity:
        """Acts in a group from now on, behind the seat that an identity of this node has in it.

        Args:
            did: The group; its chain must be held here: `resolve` its contact card before.
            via: The identity that holds the seat.

        Raises:
            NotAllowedError: This node writes that chain in another way.
        """
        known = self.known(did)
        entered = self.take_up(known.chain.genesis, known.name, via=via, is_asked=True)
        if not isinstance(entered, Identity):
            raise NotAllowedError("this node writes that chain in another way")
        via.note_group(entered)
        return entered

    # --- members, as the core asks -------------------------------------------------------------------------------------

    def admits(self, did: str, node_key: bytes) -> bool:
        """Whether a node key is that of a member of an identity, now. Asked by the node."""
        known = self._known.get(bytes(chain_of(did)))
        return known is not None and node_key in known.node_keys()

    def secrets(self, did: str) -> Sequence[ChainSecret]:
        """The secrets that the members of an identity share, the newest first. Asked by the node."""
        known = self._known.get(bytes(chain_of(did)))
        return known.secrets() if isinstance(known, Identity) else ()

    def members_changed(self, did: str) -> None:
        """Has the node ask again, and sessions be judged anew."""
        self._node.members_changed(did)
        self.connections.review()

    @property
    def node(self) -> Node:
        """The node."""
        return self._node


def _is_unwritten(known: KnownIdentity) -> bool:
    """Whether this node does not act for an identity, and has written nothing on its chain."""
    chain = known.chain
    is_mine = isinstance(known, Identity) or decode(chain.genesis).author == chain.author
    return not is_mine and not any(chain.blocks(author=chain.author, limit=1))


def _codes_used(chain: Chain) -> list[InvitationUse]:
    """The uses of invitations that give a seat; others let write, and no more."""
    return [use for use in chain.invitation_uses() if chain.tables.get(CODE + use.invitation.hex()) is not None]


def _new_name(sign_id: bytes) -> str:
    """The name of a keyring whose chain is being made."""
    return f"identity-new-{sign_id.hex()}"
