"""What a device does for an identity by itself: joins, opens wraps, renews, lets in who was invited, hands on.

`run` does all that is due now and says when it wants to be called again; it is called again as well whenever the chain
changed, or an object came. It has no thread and no clock of its own: so simulated years run the very same code. Each duty
looks at the state anew, is done at most once, and can be cut off anywhere: what is left of it is found by the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from identities.actor import Actor
from identities.acts import ADDED, ASKED, GRANTED, JOINED, RENEWED, UNOPENED, Act, Device, Nested, SeatId
from identities.bundles import Handed, Told, open_bundle
from identities.epoch_keys import EpochKeys, epoch_keys
from identities.epochs import Epoch
from identities.payloads import decode, read_asking, read_renewal
from identities.renewal import Renewing, Situation
from identities.retention import is_lost
from identities.rights import Folded
from identities.suites import SealingKey
from identities.tending import Tending
from identities.wraps import unwrap, wrap_info
from walytis_core.errors import NotAllowedError, RemoteError, UnavailableError, WalytisError
from walytis_core.invitation_record import InvitationUse

PATIENCE_S: Final = 60.0
"""How long a wrap of the current epoch may not be served before it is called unopened."""
_TRY_AGAIN_S: Final = 5.0
"""When a device that could not renew looks again, if nothing comes before."""
_LONGEST_REST_S: Final = 60.0
"""How long it rests at most where each try fails, and nothing comes."""
_COMPLAINTS_HEEDED: Final = 3
"""Epochs in a row that one seat may complain of, and be listened to."""


@dataclass
class Worker:
    """The work of one device for one identity.

    Args:
        actor: The device.
        renewing: Says when to renew.
        invited: The uses of the invitations that this device gave: who may ask for a seat, with which keys.
        is_online: Whether anybody is there who could serve a wrap.
        hand_over: Given what else was handed on to this device: notes, and keys of other identities.
    """

    actor: Actor
    renewing: Renewing
    invited: Callable[[], Collection[InvitationUse]] = tuple
    is_online: Callable[[], bool] = lambda: True
    hand_over: Callable[[Handed | Told], None] = lambda _handed: None
    _wanted_since: dict[bytes, float] = field(default_factory=dict)
    _taken: set[bytes] = field(default_factory=set)
    _broken: set[bytes] = field(default_factory=set)
    _awaited: set[bytes] = field(default_factory=set)
    _failed_at: tuple[int, ...] = ()
    _rest_s: float = 0.0
    _rests_until_s: float = 0.0
    _tending: Tending = field(init=False)

    def __post_init__(self) -> None:
        self._tending = Tending(self.actor, self.renewing)

    def run(self, now_s: float) -> float:
        """Does what is due.

        Args:
            now_s: The local clock, in seconds since the epoch.

        Returns:
            When to call again at the latest; infinity where nothing is planned.
        """
        actor = self.actor
        self.take_up_next_device()
        path = actor.path()
        self._open_epochs(now_s)
        if path is None:
            return self._next_look(now_s)
        self._open_grants(path)
        self._say_joined(path)
        self._let_in()
        renew_s = self._renew(now_s)
        return min(renew_s, self._tending.run(frozenset(self._awaited), now_s), self._next_look(now_s))

    # --- a seat of its own -------------------------------------------------------------------------------------------

    def _say_joined(self, path: tuple[SeatId, ...]) -> None:
        folded = self.actor.log.folded()
        seat = folded.authority.seats[path[0]]
        if seat.made is not None and not seat.has_joined:
            self._try(JOINED, None)

    def _try(self, kind: str, body: object) -> None:
        try:
            self.actor.act(kind, body)
        except (NotAllowedError, UnavailableError):
            return  # the state is another one now; the next call sees it

    # --- opening -----------------------------------------------------------------------------------------------------

    def _open_epochs(self, now_s: float) -> None:
        """Opens every wrap that is for this device, also of epochs that lost, and of long ago."""
        log = self.actor.log
        folded = log.folded()
        self._awaited.clear()
        for act in folded.pasts.acts:
            if act.kind != RENEWED or self.actor.keyring.has_epoch(act.body.sign_id):
                continue
            for seat_id, key_id in act.body.wraps.items():
                key = self._key(folded, seat_id, key_id)
                if key is not None:
                    self._open(folded, act, seat_id, key, now_s)

    def _key(self, folded: Folded, seat_id: SeatId, key_id: bytes) -> SealingKey | None:
        """The secret key that a wrap is sealed to, if it is this device's, or its identity's."""
        keyring = self.actor.keyring
        seat = folded.authority.seats.get(seat_id)
        if self.actor.via is None:
            return keyring.seal_key(key_id)
        if seat is None or not isinstance(seat.holder, Nested) or seat.holder.chain != self.actor.via.log.id:
            return None
        return seal_key_of(self.actor.via, key_id)

    def _open(self, folded: Folded, act: Act, seat_id: SeatId, key: SealingKey, now_s: float) -> None:
        log = self.actor.log
        body = read_renewal(decode(log.block(act.id)).body)
        cid = next(cid for seat, _, cid in body.wraps if seat == seat_id)
        sealed = log.kept(cid)
        if sealed is None:
            self._wait_for(folded, act, cid, key.id, now_s)
            return
        if cid in self._broken:
            self._complain(folded, act)
            return
        self._wanted_since.pop(cid, None)
        keys = _opened(key, sealed, wrap_info(log.id, body.number, body.control.sign.id))
        control = body.control
        if keys is None or not keys.fits(control.sign.suite, control.sign.public, control.seal.public):
            self._broken.add(cid)
            self._complain(folded, act)
            return
        self.actor.keyring.add_epochs((control.sign.id, keys))

    def _wait_for(self, folded: Folded, act: Act, cid: bytes, key_id: bytes, now_s: float) -> None:
        since = self._wanted_since.get(cid)
        if since is None or now_s - since < PATIENCE_S or not is_lost(folded, act):
            self._awaited.add(key_id)
        if since is None:
            self._wanted_since[cid] = now_s
            self.actor.log.want(cid)
        elif not self.is_online():
            self._wanted_since[cid] = now_s  # nobody was there to ask
        elif now_s - since >= PATIENCE_S:
            self._complain(folded, act)

    def _complain(self, folded: Folded, act: Act) -> None:
        """Says once that a wrap of the current epoch does not open; that of an older one matters to nobody else."""
        current = folded.epochs.current
        path = self.actor.path(folded)
        if current is None or current.id != act.id or path is None:
            return
        if all(said.path[0] != path[0] for said in folded.epochs.unopened(current)):
            self._try(UNOPENED, act.id)

    def _next_look(self, now_s: float) -> float:
        """When patience with a wrap that is not served ends."""
        ends = (since + PATIENCE_S for since in self._wanted_since.values())
        return min((end for end in ends if end > now_s), default=float("inf"))

    def _open_grants(self, path: tuple[SeatId, ...]) -> None:
        """Takes in what another device handed on to this one."""
        actor = self.actor
        device = actor.keyring.device
        grants = [] if device is None else actor.log.folded().authority.counted(GRANTED)
        for act in grants:
            seat, cid = act.body
            if seat != path[0] or cid in self._taken:
                continue
            sealed = actor.log.kept(cid)
            if sealed is None:
                actor.log.want(cid)
                continue
            self._taken.add(cid)
            key = None if device is None else actor.keyring.seal_key(device.public.seal.id)
            if key is not None:
                self._take(key, sealed)

    def _take(self, key: SealingKey, sealed: bytes) -> None:
        try:
            handed = open_bundle(key, self.actor.log.id, sealed)
        except RemoteError:
            return  # what does not open adds nothing
        for one in handed:
            if isinstance(one, Handed) and one.chain == self.actor.log.id:
                self.take_handed(one)
            else:
                self.hand_over(one)

    def take_handed(self, handed: Handed) -> None:
        """Keeps the keys of an epoch that were handed on, if they are those that it published."""
        if self._fits(handed):
            self.actor.keyring.add_epochs((handed.sign_id, handed.keys))

    def _fits(self, handed: Handed) -> bool:
        """Whether handed keys are those that an epoch of this identity published."""
        for epoch in self.actor.log.folded().epochs.all.values():
            if epoch.sign_id == handed.sign_id:
                control = self.actor.control(epoch)
                return handed.keys.fits(control.sign.suite, control.sign.public, control.seal.public)
        return False

    # --- letting in --------------------------------------------------------------------------------------------------

    def _let_in(self) -> None:
        """Gives a seat to who was invited by this device and asks for one: one seat for each invitation, and no more.

        Who proved a key to this node is let in with that key alone: the node key in what asks is anybody's claim. A use is
        spent once a seat was given for it, by whomever, and whether that counts or was undone since. So whoever lost a seat
        does not come back by the invitation it once used, but by a new one, of any device.
        """
        uses = self.invited()
        if not uses:
            return
        folded = self.actor.log.folded()
        holders = [seat.holder for seat in folded.authority.seats.values()]
        given = [act.body for act in folded.pasts.acts if act.kind == ADDED]
        had = {holder.block_key for holder in (*holders, *given) if isinstance(holder, Device)}
        asked = {act.author: (place, act) for place, act in enumerate(folded.authority.counted(ASKED))}
        for use in uses:
            came = [asked[key] for key in use.authors if key in asked and asked[key][1].body.node_key == use.node_key]
            if came and not use.authors & had:
                _, act = max(came, key=itemgetter(0))  # not keys that it left behind by asking before
                had.add(act.author)
                with suppress(NotAllowedError):  # it is to keep nothing else from being done
                    self.add(read_asking(decode(self.actor.log.block(act.id)).body).device.wire)

    def add(self, holder: object) -> None:
        """Gives a seat to a holder, and renews at once."""
        self.actor.act(ADDED, holder)
        self.renew_now()

    # --- renewing ----------------------------------------------------------------------------------------------------

    def _renew(self, now_s: float) -> float:
        situation = self.situation()
        if situation is None:
            return float("inf")
        due = self.renewing.due(situation, now_s)
        if self._failed_at == self._situated():  # nothing came that could help
            due = max(due, min(self._rests_until_s, now_s + _LONGEST_REST_S))  # the clock may have been put back
        if due > now_s:
            return due
        if not self.renew_now():
            self._rest_s = min(max(2 * self._rest_s, _TRY_AGAIN_S), _LONGEST_REST_S)
            self._failed_at, self._rests_until_s = self._situated(), now_s + self._rest_s
            return self._rests_until_s
        self._failed_at, self._rest_s = (), 0.0
        after = self.situation()
        return float("inf") if after is None else self.renewing.due(after, now_s)

    def renew_now(self) -> bool:
        """Renews, if it can; where this device cannot, another will, or this one later."""
        try:
            self.actor.renew()
        except (NotAllowedError, UnavailableError, RemoteError):
            return False  # no key to vouch with yet, no key of somebody's, or one that is none
        return True

    def _situated(self) -> tuple[int, ...]:
        """What a renewal depends on, counted: what is known here, and behind which identities this device acts."""
        actors = [self.actor, *self.actor.behind]
        return tuple(n for one in actors for n in (len(one.log.folded().pasts.acts), len(one.keyring.epochs)))

    def has_seen(self, epoch: Epoch, seat_id: SeatId) -> bool:
        """Whether a seat has said something since an epoch began, or made it: then it has seen it."""
        if epoch.renewal is None or epoch.renewal.path[0] == seat_id:
            return True
        pasts = self.actor.log.folded().pasts
        said = (place for place, act in enumerate(pasts.acts) if act.path[:1] == (seat_id,))
        return any(pasts.has(pasts.past(place), epoch.id) for place in said)

    def take_up_next_device(self) -> None:
        """Writes with the keys that a key renewal gave this device, once it counts; the old ones still open."""
        keyring, secrets = self.actor.keyring, self.actor.secrets
        if self.actor.via is not None and secrets is not None and secrets.block.key != self.actor.log.writer:
            self.actor.log.write_with(secrets.block)  # it was renewed in the identity that holds the seat
        coming = keyring.next_device
        if coming is None or keyring.device is None:  # as another identity it acts until it is taken up anew
            return
        if keyring.take_up([seat.holder for seat in self.actor.log.folded().authority.live]):
            self.actor.log.write_with(coming.block)

    def situation(self) -> Situation | None:
        """What the renewing machine is to know; None while this device has no seat."""
        folded = self.actor.log.folded()
        path = self.actor.path(folded)
        if path is None:
            return None
        epochs = folded.epochs
        current, newest = epochs.current, epochs.newest
        lacks: tuple[bytes, ...] = () if current is not None else epochs.lacking(newest)
        if current is not None and epochs.highest.number > current.number:  # who has seen that one takes no lower one
            current, lacks = None, (epochs.highest.id,)
        last = folded.pasts.place.get(lacks[-1]) if lacks else None
        author = b"" if last is None else folded.pasts.acts[last].author
        complaint = current is not None and self._is_complained_of(folded, current, path)
        seats = [_name(seat.id) for seat in epochs.wrapped_to]
        id = None if current is None else current.id
        mine = author == self.actor.log.writer
        return Situation(id, newest.id, lacks, mine, complaint, _name(path[0]), seats)

    def _is_complained_of(self, folded: Folded, current: Epoch, path: tuple[SeatId, ...]) -> bool:
        """Whether somebody could not open an epoch that another made; who always complains is not heard."""
        if current.renewal is None or current.renewal.path[0] == path[0]:
            return False
        return any(not self._is_grumbler(folded, act) for act in folded.epochs.unopened(current))

    @staticmethod
    def _is_grumbler(folded: Folded, complaint: Act) -> bool:
        """Whether a seat complained of each of the last epochs, whoever made them."""
        numbers = {epoch.id: epoch.number for epoch in folded.epochs.all.values()}
        said = {numbers.get(act.body) for act in folded.authority.counted(UNOPENED) if act.path[0] == complaint.path[0]}
        at = numbers[complaint.body]
        return all(at - back in said for back in range(_COMPLAINTS_HEEDED + 1))


def seal_key_of(actor: Actor, key_id: bytes) -> SealingKey | None:
    """The secret control sealing key of an identity that has an id, of any epoch that is held."""
    for epoch in actor.log.folded().epochs.all.values():
        if epoch.seal_id == key_id:
            keys = actor.keyring.epoch(epoch.sign_id)
            return None if keys is None else keys.sealing()
    return None


def _opened(key: SealingKey, sealed: bytes, info: bytes) -> EpochKeys | None:
    try:
        return epoch_keys(unwrap(key, sealed, info))
    except WalytisError:
        return None


def _name(seat: SeatId) -> bytes:
    return seat.to_bytes(1, "big") if isinstance(seat, int) else seat
