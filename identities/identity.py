"""`Identity`: an identity that this node acts for: signing, opening, adding and removing, renewing.

Everything that changes the identity is one event on its chain, refused beforehand where it would not count. What follows
from it by itself (renewal, letting in who was invited) is the worker's. May be used from any thread.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from identities.actor import Actor
from identities.acts import ADDED, ASKED, CONFIRMED, GRANTED, LEFT, OPENED, REKEYED, REMOVED, Device, SeatId
from identities.bundles import Handed, Told, seal_bundle
from identities.connection import Connection
from identities.dids import chain_of
from identities.epochs import Epoch
from identities.groups import Groups
from identities.keyring import DeviceSecrets
from identities.known import KnownIdentity, SeatInfo
from identities.node_log import NodeLog
from identities.payloads import ASKING, Asking, CouncilKeys, DeviceKeys, IdentityHolder, removed
from identities.records import open_message, sign_record
from identities.recovery import RecoveryCode
from identities.removal import RemovalPreview, preview, sorted_cut
from identities.rounds import do_all
from identities.suites import SealingKey
from identities.worker import Worker
from walytis_core import (
    Chain,
    InvalidInputError,
    Invitation,
    NotAllowedError,
    NotFoundError,
    Pending,
    RemoteError,
    Signer,
    UnavailableError,
)
from walytis_core.seals import ChainSecret

CODE: Final = "identities/code/"
"""Marks, in the tables of a chain, the invitations that give a seat."""
CODE_LIFE: Final = timedelta(hours=1)

if TYPE_CHECKING:
    from identities.identities import Identities


class IdentityStatus(NamedTuple):
    """How an identity is.

    Attributes:
        did: Its DID.
        name: Its name here.
        is_seated: Whether this device has a live seat.
        epoch: The number of the current epoch; None while somebody has to renew.
        has_keys: Whether this device has that epoch's keys.
        behind: Live seats that have said nothing since the current epoch: they may lack its keys.
        unopened: Seats that said they could not open it.
        pending: Seats whose holders have not said a word yet.
        void: How many events do not count.
    """

    did: str
    name: str
    is_seated: bool
    epoch: int | None
    has_keys: bool
    behind: Sequence[SeatInfo]
    unopened: Sequence[SeatInfo]
    pending: Sequence[SeatInfo]
    void: int


class Identity(KnownIdentity):
    """An identity that this node acts for. Get one from `Identities`.

    Args:
        log: Its chain.
        worker: Does what is due by itself.
        home: The identities of the node.
    """

    def __init__(self, log: NodeLog, worker: Worker, home: Identities) -> None:
        super().__init__(log, worker.renewing.policy.overlap_s, home.now_s)
        self._actor = worker.actor
        self._worker = worker
        self._home = home
        self._lock = home.lock
        self._shared: object = None
        self._waiting: list[Pending[Epoch]] = []
        self._first_seen: dict[bytes, float] = {}
        self._groups = Groups(worker.actor, home, self)
        worker.hand_over = self._groups.take_handed

    def work(self, now_s: float) -> float:
        """Does what is due; when to be called again."""
        share = partial(super().work, now_s)
        return do_all(  # who was removed is shut out first, and whatever becomes of the rest
            (
                share, self._tell_members, self._ask_again, partial(self._run_worker, now_s), self._tell_members,
                self._tell_ready, partial(self._groups.run, now_s),
            )
        )  # fmt: skip

    def _run_worker(self, now_s: float) -> float:
        again = self._worker.run(now_s)
        seen, keyring = self._worker.renewing.first_seen, self._actor.keyring
        if seen != self._first_seen:
            self._first_seen = dict(seen)
            keyring.save()
        return again

    def _tell_members(self) -> None:
        """Has the chains that the members read go on with who they are, and with the secrets, that there are now."""
        shared = (self.secrets(), self.node_keys())
        if shared != self._shared:
            self._home.members_changed(self.did)
            self._shared = shared

    def secrets(self) -> list[ChainSecret]:
        """The secrets of the chains that its members read, the newest first."""
        try:
            accepted = self.accepted()
        except UnavailableError:
            return []
        held = [(epoch.number, self._actor.keyring.epoch(epoch.sign_id)) for epoch in accepted]
        return [ChainSecret(number, keys.network) for number, keys in held if keys is not None]

    def take_handed(self, handed: Handed) -> None:
        """Takes in keys of an epoch that another device handed on, if they are those that were published."""
        self._worker.take_handed(handed)
        self._changed()

    @property
    def handed(self) -> Sequence[Handed | Told]:
        """What other devices of this identity handed on to this one."""
        return self._groups.handed

    @property
    def actor(self) -> Actor:
        """This device, in this identity."""
        return self._actor

    @property
    def device_signer(self) -> Signer:
        """Signs the blocks of this device."""
        secrets = self._actor.secrets
        if secrets is None:
            raise NotAllowedError("the keys of this device are not here")
        return secrets.block

    def dial(self, did: str, addresses: Sequence[str] | str) -> Pending[Connection]:
        """Opens a session with a device of an identity, its own or another's, which both ends prove to be what they say.

        Args:
            did: The identity that is meant; its chain must be held here.
            addresses: Where one of its devices is.
        """
        return self._home.connections.dial(chain_of(did), addresses, own=self._log.id)

    def ready(self) -> Pending[Epoch]:
        """The current epoch, once there is one and this device has its keys: after a change of the members, soon."""
        pending = Pending[Epoch]()
        self._waiting.append(pending)
        self._changed()
        return pending

    def _tell_ready(self) -> None:
        epoch = self.folded.epochs.current
        if epoch is not None and self._actor.keyring.has_epoch(epoch.sign_id):
            waiting, self._waiting = self._waiting, []
            for pending in waiting:
                pending.resolve(epoch)

    def ask(self, device: DeviceSecrets, name: str) -> None:
        """Asks for a seat, as a device that came by an invitation."""
        bare = Asking(device.public, name, b"")
        proof = device.sign.sign(ASKING, bare.proven(self._log.id))
        self._actor.state_fact(ASKED, bare._replace(proof=proof).wire)

    def _ask_again(self) -> None:
        """Asks for a seat where this was cut off between joining the chain and asking."""
        device, folded = self._actor.keyring.device, self._log.folded()
        if device is None or device.block.key != self._log.writer:
            return
        holders = [seat.holder for seat in folded.authority.seats.values()]
        has_said = any(act.author == device.block.key for act in folded.pasts.acts)
        if not has_said and device.public.holder not in holders:
            self.ask(device, "")

    def _changed(self) -> None:
        self._home.wake(bytes(self._log.id))

    @property
    def seat(self) -> SeatInfo | None:
        """This device's seat, or that of the identity it acts for; None while it has none."""
        path = self._actor.path()
        return None if path is None else self.infos[path[0]]

    # --- signing and opening -------------------------------------------------------------------------------------------

    def sign(self, message: bytes, *, context: str = "app") -> bytes:
        """Signs a message as this identity: 120 bytes of record with classical keys, some 3.4 kB with hybrid ones.

        Raises:
            NotAllowedError: This device has no live seat.
            UnavailableError: It has not opened the current epoch's keys yet.
        """
        folded, actor = self._log.folded(), self._actor
        if actor.path(folded) is None:
            raise _no_seat()
        now = self._now(folded)
        key = actor.keyring.control(now.epoch.sign_id, now.control.sign.suite)
        if key is None:
            raise UnavailableError("this device has not opened the keys of the current epoch yet")
        return sign_record(key, self._id, context, message)

    def open(self, sealed: bytes, *, context: str = "app") -> bytes:
        """Opens what was sealed to this identity, in whichever epoch this device has the keys of.

        Raises:
            RemoteError: It is for another identity or epoch, or was changed.
        """
        try:
            return open_message(sealed, self._seal_key, self._log.id, context)
        except RemoteError as error:
            error.hint = "Ask who sent it: it was changed, is for somebody else, or is older than this device's seat."
            raise

    def _seal_key(self, key_id: bytes) -> SealingKey | None:
        for epoch in self.folded.epochs.all.values():
            if epoch.seal_id == key_id:
                keys = self._actor.keyring.epoch(epoch.sign_id)
                return None if keys is None else keys.sealing()
        return None

    # --- devices and members ---------------------------------------------------------------------------------------------

    def invite(self, *, uses: int = 1, expires: timedelta | datetime = CODE_LIFE) -> Invitation:
        """A code for another device: whoever uses it becomes a controller of this identity. Hand it to nobody else.

        This node lets it in by itself while it runs. It can be taken back with `chain.revoke`. (An invitation that
        `chain.invite` made lets nobody in here: it gives no seat.)

        Args:
            uses: How many devices may use it.
            expires: When it ends; after an hour, if nothing else is said.
        """
        self._require_seat()
        invitation = self.chain.invite(uses=uses, expires=expires)
        self.chain.tables.put(CODE + invitation.id.hex(), b"1")
        return invitation

    def add(self, holder: DeviceKeys | IdentityHolder | CouncilKeys) -> None:
        """Gives a holder a seat, and renews."""
        with self._lock:
            if isinstance(holder, DeviceKeys):
                self._log.admit(holder.block_key)
            self._worker.add(holder.wire)
        self._changed()

    def add_identity(self, other: KnownIdentity) -> None:
        """Makes another identity a member: all its devices, those to come too."""
        with self._lock:
            self._actor.act(ADDED, IdentityHolder(other.chain.genesis).wire)
            self._groups.introduce(other)  # before the renewal: it is wrapped to what is anchored
            self._renew_after()
        self._changed()

    def preview_removal(self, seats: Collection[SeatId], cut: Collection[bytes] | None = None) -> RemovalPreview:
        """What a removal would change: look at it, and show it, before a cut lower than all that was seen is signed.

        Raises as `remove`.
        """
        folded = self.folded
        path = self._actor.path(folded)
        if path is None:
            raise _no_seat()
        self._require_junior(seats)
        return preview(self._actor, seats, cut, path)

    def remove(self, seats: Collection[SeatId], *, cut: Collection[bytes] | None = None) -> None:
        """Takes seats away, and renews at once: what is sealed from now on they cannot open.

        Args:
            seats: Which; of lower rank than this device's.
            cut: Events after which nothing of theirs counts; None: all that this device has seen stays as it is. A lower
                cut undoes what they did since: see `preview_removal`.

        Raises:
            NotFoundError: There is no such seat.
            NotAllowedError: A seat is not of lower rank.
        """
        if not seats:
            raise InvalidInputError("no seat was named", hint="See `seats()`.")
        with self._lock:
            self._require_junior(seats)
            self._actor.act(REMOVED, removed(list(seats), sorted_cut(cut), self._groups.cuts(seats)))
            self._renew_after()
        self._changed()

    def _require_junior(self, seats: Collection[SeatId]) -> None:
        folded = self.folded
        own = self._actor.seat(folded)
        for id in seats:
            seat = folded.authority.seats.get(id)
            if seat is None:
                raise NotFoundError("there is no such seat", hint="See `seats()`.")
            if own is None or not own.rank < seat.rank:
                raise NotAllowedError(
                    "a seat can only be removed by one of higher rank",
                    hint="Use an older device, or the recovery code.",
                )

    # --- groups and chains ---------------------------------------------------------------------------------------------

    def found(self, controller: Identity) -> None:
        """What makes a group that was just created known: to itself, and to the other devices of who made it."""
        with self._lock:
            self._groups.introduce(controller)
            self._worker.renew_now()
        controller.note_group(self)

    def note(self, kind: str, data: bytes) -> None:
        """Tells the other devices of this identity something, on its chain, for their eyes only."""
        with self._lock:
            self._groups.note(kind, data)
        self._changed()

    def notes(self) -> list[tuple[str, bytes]]:
        """What the devices of this identity told each other, as far as this one has the keys."""
        return self._groups.notes()

    def note_group(self, group: Identity) -> None:
        """Tells the other devices of this identity of a group that it is a member of."""
        with self._lock:
            self._groups.note_group(group.chain.genesis)
        self._changed()

    def create_chain(self, name: str, *, data: bytes = b"") -> Chain:
        """Makes a chain that the members of this identity read and write; their other devices get it by themselves."""
        with self._lock:
            chain = self._home.node.create_chain(name, readers=self.did, data=data, signer=self.device_signer)
            self._actor.act(OPENED, chain.genesis)
        self._changed()
        return chain

    def chains(self) -> list[Chain]:
        """The chains that the members of this identity read, as far as they are held here."""
        return self._groups.chains()

    def leave(self) -> None:
        """Gives this device's seat up."""
        with self._lock:
            self._actor.act(LEFT, None)
        self._changed()

    # --- keys ----------------------------------------------------------------------------------------------------------

    def renew(self, *, suite: int | None = None) -> Epoch:
        """Makes a new epoch now.

        Args:
            suite: Of the control signing key from now on (`suites.ED25519`, `suites.COMPOSITE`); None: as before.
        """
        with self._lock:
            self._actor.renew(suite)
            epoch = self.epoch
        self._changed()
        return epoch

    def rekey(self, *, suite: int | None = None) -> None:
        """Gives this device fresh keys of its own: a new seat, ranked directly after the old one; and renews.

        One that was cut off goes on with the keys that it had made.
        """
        with self._lock:
            self._worker.take_up_next_device()  # an earlier one may have been cut off after it was written
            keyring, old = self._actor.keyring, self._actor.keyring.device
            if old is None:
                raise NotAllowedError("this device acts for another identity", hint="Renew its keys there.")
            self._require_seat()
            fresh = keyring.next_device
            if fresh is not None and fresh.public.holder in self._actor.promised():
                raise NotAllowedError("a key renewal of this device was written, and does not count")
            if fresh is None or fresh.suite != (suite or fresh.suite):
                fresh = keyring.next_device = DeviceSecrets.fresh(old.node_key, suite or old.suite)
                keyring.save()
            for log in self._home.written_by(self._actor):
                log.admit(fresh.block.key)  # where this device acts for this identity, too: it is to go on there
            self._actor.act(REKEYED, fresh.public.wire)
            self._worker.take_up_next_device()
            self._renew_after()
        self._changed()

    # --- the recovery code ---------------------------------------------------------------------------------------------

    @property
    def pending_recovery_code(self) -> RecoveryCode | None:
        """The newest recovery code, if it was made here and nobody said yet that it is written down; else None."""
        codes = map(RecoveryCode, self._actor.keyring.codes.values())
        return next(filter(self._actor.is_newest, codes), None)

    def recovery_code_kept(self) -> None:
        """Says that the recovery code is written down: this device forgets it."""
        with self._lock:
            keyring, kept = self._actor.keyring, self.pending_recovery_code
            if kept is not None:
                keyring.codes = {after: code for after, code in keyring.codes.items() if code != kept.secret}
                keyring.save()

    def _renew_after(self) -> None:
        """Renews after a change of the members; where this device cannot, another will."""
        self._worker.renew_now()

    # --- handing on ----------------------------------------------------------------------------------------------------

    def grant(self, seat: SeatId, *, epochs: Collection[int] | None = None) -> None:
        """Hands a device the keys of earlier epochs: it can open what was sealed before it joined.

        Args:
            seat: The device's.
            epochs: The numbers of the epochs; None: all that are here.
        """
        keyring = self._actor.keyring
        known = [epoch for epoch in self.folded.epochs.all.values() if epochs is None or epoch.number in epochs]
        held = [(epoch.sign_id, keyring.epoch(epoch.sign_id)) for epoch in known]
        self.hand(seat, [Handed(bytes(self._log.id), id, keys) for id, keys in held if keys is not None])

    def hand(self, seat: SeatId, handed: Sequence[Handed | Told]) -> None:
        """Hands a device keys and notes, sealed to it."""
        with self._lock:
            known = self.folded.authority.seats.get(seat)
            if known is None or not known.is_live:
                raise NotFoundError("there is no such seat, or it is not live any more", hint="See `seats()`.")
            keys = self._actor.holder(seat) if isinstance(known.holder, Device) else None
            if not isinstance(keys, DeviceKeys):
                raise NotAllowedError("keys are handed to devices alone")
            cid = self._log.keep(seal_bundle(keys.seal.public, self._log.id, list(handed)))
            self._actor.act(GRANTED, [seat, bytes(cid)])
        self._changed()

    # --- how it is -----------------------------------------------------------------------------------------------------

    def confirm(self) -> None:
        """Says that this device has the current keys, where it has said nothing since they were made."""
        with self._lock:
            folded = self.folded
            current, seat = folded.epochs.current, self._actor.seat(folded)
            if current is None or seat is None or not self._actor.keyring.has_epoch(current.sign_id):
                return
            if not self._has_seen(current, seat.id):
                with suppress(NotAllowedError, UnavailableError):  # the state is another one now
                    self._actor.act(CONFIRMED, None)
        self._changed()

    def status(self) -> IdentityStatus:
        """Who has the current keys, who is behind, what could not be opened."""
        folded = self.folded
        current = folded.epochs.current
        infos = self.infos
        members = folded.epochs.wrapped_to
        behind = [] if current is None else [infos[seat.id] for seat in members if not self._has_seen(current, seat.id)]
        unopened = [] if current is None else [infos[act.path[0]] for act in folded.epochs.unopened(current)]
        return IdentityStatus(
            did=self.did,
            name=self.name,
            is_seated=self._actor.path(folded) is not None,
            epoch=None if current is None else current.number,
            has_keys=current is not None and self._actor.keyring.has_epoch(current.sign_id),
            behind=behind,
            unopened=unopened,
            pending=[info for info in infos.values() if info.state == "pending"],
            void=len(folded.authority.void),
        )

    def _has_seen(self, epoch: Epoch, seat: SeatId) -> bool:
        return self._worker.has_seen(epoch, seat)

    def _require_seat(self) -> None:
        if self._actor.path() is None:
            raise _no_seat()


def _no_seat() -> NotAllowedError:
    return NotAllowedError("this device has no seat in the identity", hint="Have it added, or use another device.")
