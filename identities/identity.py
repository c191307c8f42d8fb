"""`Identity`: the handle on an identity that this node acts for: signing, opening, adding and removing, renewing.

Everything that changes the identity is one event on its chain, refused beforehand where it would not count. What follows
from it by itself (renewal, letting in who was invited) is the worker's. May be used from any thread.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from identities.acts import ADDED, LEFT, OPENED, REKEYED, REMOVED, SeatId
from identities.authorship import Author
from identities.bundles import Handed
from identities.connection import Connection
from identities.dids import chain_of
from identities.epochs import Epoch
from identities.groups import SeatSigner
from identities.holders import CouncilKeys, DeviceKeys, IdentityHolder
from identities.holding import Holding, SeatInfo
from identities.keyring import DeviceSecrets
from identities.known import KnownIdentity
from identities.part import CODE, Part
from identities.payloads import removed
from identities.records import open_message, sign_record
from identities.recovery import RecoveryCode
from identities.removal import RemovalPreview, preview, sorted_cut
from identities.suites import SealingKey
from walytis_core import (
    BlockId,
    Chain,
    InvalidInputError,
    Invitation,
    NotAllowedError,
    NotFoundError,
    Pending,
    RemoteError,
    UnavailableError,
    WalytisError,
)

CODE_LIFE: Final = timedelta(hours=1)


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
    """An identity that this node acts for. Get one from `Identities`."""

    _held: Part

    def __init__(self, part: Part) -> None:
        super().__init__(part)

    @property
    def seat(self) -> SeatInfo | None:
        """This device's seat, or that of the identity it acts for; None while it has none."""
        path = self._held.actor.path()
        return None if path is None else self._held.infos[path[0]]

    def ready(self) -> Pending[Epoch]:
        """The current epoch, once there is one and this device has its keys: after a change of the members, soon."""
        return self._held.ready()

    def dial(self, did: str, addresses: Sequence[str] | str) -> Pending[Connection]:
        """Opens a session with a device of an identity, its own or another's, which both ends prove to be what they say.

        Args:
            did: The identity that is meant; its chain must be held here.
            addresses: Where one of its devices is.
        """
        return self._held.home.connections.dial(chain_of(did), addresses, own=self._held.log.id)

    # --- signing and opening -------------------------------------------------------------------------------------------

    def sign(self, message: bytes, *, context: str = "app") -> bytes:
        """Signs a message as this identity: 120 bytes of record with classical keys, some 3.4 kB with hybrid ones.

        Raises:
            NotAllowedError: This device has no live seat.
            UnavailableError: It has not opened the current epoch's keys yet.
        """
        held = self._held
        folded, actor = held.log.folded(), held.actor
        actor.require_path(folded)
        now = held.now(folded)
        key = actor.keyring.control(now.epoch.sign_id, now.control.sign.suite)
        if key is None:
            raise UnavailableError("this device has not opened the keys of the current epoch yet")
        return sign_record(key, held.log.id, context, message)

    def open(self, sealed: bytes, *, context: str = "app") -> bytes:
        """Opens what was sealed to this identity, in whichever epoch this device has the keys of.

        Raises:
            RemoteError: It is for another identity or epoch, or was changed.
        """
        try:
            return open_message(sealed, self._seal_key, self._held.log.id, context)
        except RemoteError as error:
            error.hint = "Ask who sent it: it was changed, is for somebody else, or is older than this device's seat."
            raise

    def _seal_key(self, key_id: bytes) -> SealingKey | None:
        for epoch in self.folded.epochs.all.values():
            if epoch.seal_id == key_id:
                keys = self._held.actor.keyring.epoch(epoch.sign_id)
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
        self._held.require_seat()
        invitation = self.chain.invite(uses=uses, expires=expires)
        self.chain.tables.put(CODE + invitation.id.hex(), b"1")
        return invitation

    def add(self, holder: DeviceKeys | IdentityHolder | CouncilKeys) -> None:
        """Gives a holder a seat, and renews: a council, or keys that came another way. See `invite` and `add_identity`."""
        with self._held.home.lock:
            if isinstance(holder, DeviceKeys):
                self._held.log.admit(holder.block_key)
            self._held.worker.add(holder.wire)
        self._held.wake()

    def add_identity(self, other: KnownIdentity) -> None:
        """Makes another identity a member: all its devices, those to come too."""
        with self._held.home.lock:
            self._held.actor.act(ADDED, IdentityHolder(other.chain.genesis).wire)
            self._held.groups.anchors.introduce(held_of(other))  # before the renewal: it is wrapped to what is anchored
            self._held.worker.renew_now()
        self._held.wake()

    def preview_removal(self, seats: Collection[SeatId], cut: Collection[bytes] | None = None) -> RemovalPreview:
        """What a removal would change: look at it, and show it, before a cut lower than all that was seen is signed.

        Raises as `remove`.
        """
        folded = self.folded
        path = self._held.actor.require_path(folded)
        self._require_junior(seats)
        return preview(self._held.actor, seats, cut, path)

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
        with self._held.home.lock:
            self._require_junior(seats)
            self._held.actor.act(REMOVED, removed(list(seats), sorted_cut(cut), self._held.groups.anchors.cuts(seats)))
            self._held.worker.renew_now()
        self._held.wake()

    def _require_junior(self, seats: Collection[SeatId]) -> None:
        folded = self.folded
        own = self._held.actor.seat(folded)
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

    def create_chain(self, name: str, *, data: bytes = b"") -> Chain:
        """Makes a chain that the members of this identity read and write; their other devices get it by themselves.

        They take it up under its name, or one like it, where that has at most 32 bytes.

        Raises:
            InvalidInputError: The name is taken or empty.
            NotAllowedError: This device has no live seat.
            UnavailableError: It has no keys, or what it acts through is not known in the group yet.
        """
        part = self._held
        with part.home.lock:
            part.require_seat()
            chain = part.home.node.create_chain(name, readers=self.did, data=data, signer=SeatSigner(part))
            try:
                part.groups.telling.name(chain.id, name)  # before it is there to be taken up
                part.actor.act(OPENED, chain.genesis)
            except WalytisError:  # without that it is nobody's
                part.home.node.delete_chain(chain)
                raise
        part.wake()
        return chain

    def chains(self) -> list[Chain]:
        """The chains that the members of this identity read, as far as they are held here."""
        return self._held.groups.chains()

    def author(self, chain: Chain, block_id: BlockId | str) -> Author | None:
        """Who wrote a block: which device, or which identity that is a member.

        Args:
            chain: One that the members read, or the identity's own.
            block_id: The block.

        Returns:
            None where the key is nobody's who has, or had, a seat here.

        Raises:
            NotFoundError: The block is not held.
            UnavailableError: It is damaged here.
        """
        return self._held.author(chain, BlockId.read(block_id))

    def note(self, kind: str, data: bytes) -> None:
        """Tells the other devices of this identity something, on its chain, for their eyes only.

        Raises:
            InvalidInputError: It is more than 16 384 bytes.
            NotAllowedError: This device has no live seat.
            UnavailableError: It has not opened the current epoch's keys yet.
        """
        with self._held.home.lock:
            self._held.groups.telling.note(kind, data)
        self._held.wake()

    def notes(self) -> list[tuple[str, bytes]]:
        """What the devices of this identity told each other, as far as this one has the keys."""
        return self._held.groups.telling.notes()

    def leave(self) -> None:
        """Gives this device's seat up."""
        with self._held.home.lock:
            self._held.actor.act(LEFT, None)
        self._held.wake()

    # --- keys ----------------------------------------------------------------------------------------------------------

    def renew(self, *, suite: int | None = None) -> Epoch:
        """Makes a new epoch now.

        Args:
            suite: Of the control signing key from now on (`suites.ED25519`, `suites.COMPOSITE`); None: as before.
        """
        with self._held.home.lock:
            self._held.actor.renew(suite)
            epoch = self.epoch
        self._held.wake()
        return epoch

    def rekey(self, *, suite: int | None = None) -> None:
        """Gives this device fresh keys of its own: a new seat, ranked directly after the old one; and renews.

        One that was cut off goes on with the keys that it had made.
        """
        with self._held.home.lock:
            self._held.worker.take_up_next_device()  # an earlier one may have been cut off after it was written
            keyring, old = self._held.actor.keyring, self._held.actor.keyring.device
            if old is None:
                raise NotAllowedError("this device acts for another identity", hint="Renew its keys there.")
            self._held.require_seat()
            fresh = keyring.next_device
            if fresh is not None and fresh.public.holder in self._held.actor.promised():
                raise NotAllowedError("a key renewal of this device was written, and does not count")
            if fresh is None or fresh.suite != (suite or fresh.suite):
                fresh = keyring.next_device = DeviceSecrets.fresh(old.node_key, suite or old.suite)
                keyring.save()
            for log in self._held.home.written_by(self._held.actor):
                log.admit(fresh.block.key)  # where this device acts for this identity, too: it is to go on there
            self._held.actor.act(REKEYED, fresh.public.wire)
            self._held.worker.take_up_next_device()
            self._held.worker.renew_now()
        self._held.wake()

    # --- the recovery code ---------------------------------------------------------------------------------------------

    @property
    def pending_recovery_code(self) -> RecoveryCode | None:
        """The newest recovery code, if it was made here and nobody said yet that it is written down; else None."""
        codes = map(RecoveryCode, self._held.actor.keyring.codes.values())
        return next(filter(self._held.actor.is_newest, codes), None)

    def recovery_code_kept(self) -> None:
        """Says that the recovery code is written down: this device forgets it."""
        with self._held.home.lock:
            keyring, kept = self._held.actor.keyring, self.pending_recovery_code
            if kept is not None:
                keyring.codes = {after: code for after, code in keyring.codes.items() if code != kept.secret}
                keyring.save()

    # --- handing on ----------------------------------------------------------------------------------------------------

    def grant(self, seat: SeatId, *, epochs: Collection[int] | None = None) -> None:
        """Hands a device the keys of earlier epochs: it can open what was sealed before it joined.

        Args:
            seat: The device's.
            epochs: The numbers of the epochs; None: all that are here.
        """
        keyring = self._held.actor.keyring
        known = [epoch for epoch in self.folded.epochs.all.values() if epochs is None or epoch.number in epochs]
        held = [(epoch.sign_id, keyring.epoch(epoch.sign_id)) for epoch in known]
        self._held.hand(seat, [Handed(bytes(self._held.log.id), id, keys) for id, keys in held if keys is not None])

    # --- how it is -----------------------------------------------------------------------------------------------------

    def has_keys(self, epoch: Epoch) -> bool:
        """Whether this device has the keys of an epoch: it opens what was sealed then."""
        return self._held.actor.keyring.has_epoch(epoch.sign_id)

    def status(self) -> IdentityStatus:
        """Who has the current keys, who is behind, what could not be opened."""
        folded = self.folded
        current = folded.epochs.current
        infos = self._held.infos
        members = folded.epochs.wrapped_to
        has_seen = self._held.worker.has_seen
        behind = [] if current is None else [infos[seat.id] for seat in members if not has_seen(current, seat.id)]
        unopened = [] if current is None else [infos[act.path[0]] for act in folded.epochs.unopened(current)]
        return IdentityStatus(
            did=self.did,
            name=self.name,
            is_seated=self._held.actor.path(folded) is not None,
            epoch=None if current is None else current.number,
            has_keys=current is not None and self.has_keys(current),
            behind=behind,
            unopened=unopened,
            pending=[info for info in infos.values() if info.state == "pending"],
            void=len(folded.authority.void),
        )


def handle_of(held: Holding) -> KnownIdentity:
    """What users hold of an identity: one handle for each."""
    if held.handle is None:
        held.handle = Identity(held) if isinstance(held, Part) else KnownIdentity(held)
    return held.handle


def part_of(identity: Identity) -> Part:
    """What this package works with, behind a handle."""
    return identity._held  # noqa: SLF001 - of this file


def held_of(known: KnownIdentity) -> Holding:
    """As `part_of`, of one that this node may not act for."""
    return known._held  # noqa: SLF001 - of this package
