"""Acting as an identity: who this device is in it, and how it signs, checks beforehand, and writes an event.

An event builds on all that counts (`heads`), so that what it says is about what its author saw. Before it is written it
is decided as if it were there: what would not count is refused, for a block cannot be taken back. Renewing makes a fresh
secret, keeps its keys, wraps it to all live seats, and only then says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from identities.acts import ADDED, RECOVERED, RECOVERY, REKEYED, RENEWED, Act, Device, Nested, Pasts, SeatId
from identities.authority import FACTS, Seat
from identities.epoch_keys import SECRET_BYTES, EpochKeys, epoch_keys
from identities.epochs import Epoch
from identities.holders import Control, CouncilKeys, DeviceKeys, HolderKeys, PublicKey, read_genesis, read_holder
from identities.keyring import DeviceSecrets, Keyring
from identities.log import Log
from identities.payloads import EVENT, MAX_SEEN, SUCCESSION, Event, RenewalKeys, as_act, decode, encode, read_renewal
from identities.recovery import RecoveryCode
from identities.rights import Folded
from identities.suites import SigningKey
from identities.wraps import wrap, wrap_info
from walytis_core.block import Block
from walytis_core.errors import NotAllowedError, RemoteError, UnavailableError
from walytis_core.policy import read_genesis as read_policy

_NOWHERE: Final = b"\xff" * 36

Sign = Callable[[str, bytes], Any]
"""Makes the proof of an event's message, in a context."""


class Actor:
    """One device in one identity.

    Args:
        log: The identity's chain.
        keyring: Its secrets here.
        via: The same device in the identity that holds the seat, where that is another one.
        entropy: Gives random bytes.
    """

    def __init__(
        self, log: Log, keyring: Keyring, via: Actor | None = None, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        self.log = log
        self.keyring = keyring
        self.via = via
        self.entropy = entropy
        self._seated: tuple[Folded, DeviceSecrets | None, Seat | None] | None = None  # as it was asked last

    # --- who this is -------------------------------------------------------------------------------------------------

    @property
    def secrets(self) -> DeviceSecrets | None:
        """The seeds that events are signed with."""
        return self.keyring.device if self.via is None else self.via.secrets

    @property
    def behind(self) -> list[Actor]:
        """The same device in the identities behind whose seats it acts here, nearest first."""
        return [] if self.via is None else [self.via, *self.via.behind]

    def path(self, folded: Folded | None = None) -> tuple[SeatId, ...] | None:
        """The live seat that this device acts by, and those behind it; None while it has none."""
        known = folded or self.log.folded()
        seat = self.seat(known)
        if seat is None:
            return None
        if self.via is None:
            return (seat.id,)
        below = self.via.path()
        return None if below is None else (seat.id, *below)

    def seat(self, folded: Folded) -> Seat | None:
        """The live seat that is this device's, or its identity's."""
        seated, device = self._seated, self.keyring.device
        if seated is None or seated[0] is not folded or seated[1] is not device:
            seated = self._seated = folded, device, next(filter(self._is_mine, folded.authority.live), None)
        return seated[2]

    def _is_mine(self, seat: Seat) -> bool:
        if self.via is not None:
            return isinstance(seat.holder, Nested) and seat.holder.chain == self.via.log.id
        device = self.keyring.device
        return isinstance(seat.holder, Device) and device is not None and seat.holder.block_key == device.block.key

    # --- what it says ------------------------------------------------------------------------------------------------

    def act(self, kind: str, body: Any, named: Sequence[bytes] = ()) -> Block:
        """Says something by this device's seat; `named` are blocks to name that it does not build on.

        Raises:
            NotAllowedError: This device has no live seat, or it would not count.
        """
        folded = self.log.folded()
        path = self.require_path(folded)
        return self._write(folded, path, kind, body, self._proof(folded, path), named)

    def require_path(self, folded: Folded) -> tuple[SeatId, ...]:
        """`path`. Raises `NotAllowedError` where this device has none."""
        path = self.path(folded)
        if path is None:
            raise NotAllowedError(
                "this device has no seat in the identity",
                hint="Another of its devices gives it one: `walytis id add-device`, then `walytis id join` here.",
            )
        return path

    def recover(self, code: RecoveryCode, kind: str, body: Any, named: Sequence[bytes] = ()) -> Block:
        """Says something by the recovery seat. The log must write with the code's block key."""
        folded = self.log.folded()

        def sign(context: str, message: bytes) -> Any:
            keys = code.public
            return [self._named_by(folded, code), keys.block_key, *keys.sign, code.sign.sign(context, message)]

        return self._write(folded, (0,), kind, body, sign, named)

    def state_fact(self, kind: str, body: Any, also: Sequence[bytes] = ()) -> Block:
        """Says what needs no right; `also` are further events that it builds on."""
        folded = self.log.folded()
        seen = sorted({*self.heads(folded), *also})
        event = Event(kind, (), tuple(seen), body)
        return self.log.append(kind, encode(event), event.seen)

    def why_not(self, folded: Folded, event: Event) -> str | None:
        """Why an event would not count if it were written now; None when it would."""
        found = self.foreseen(folded, event)
        return found.authority.void.get(_NOWHERE)

    def foreseen(self, folded: Folded, event: Event, author: bytes = b"") -> Folded:
        """The identity as it would be with one more event, of this device's or another key, under an id of no block."""
        height = 1 + max((act.height for act in folded.pasts.acts), default=0)
        return folded.with_act(as_act(event, _NOWHERE, height, author or self.log.writer))

    def _write(
        self, folded: Folded, path: tuple[SeatId, ...], kind: str, body: Any, sign: Sign, named: Sequence[bytes]
    ) -> Block:
        event = Event(kind, path, self.heads(folded), body)
        reason = self.why_not(folded, event)
        if reason is not None:
            raise NotAllowedError(f"this would not count: {reason}")
        proof = sign(EVENT, event.signed(self.log.id))
        parents = {*event.seen, *named} - {self.log.id}
        return self.log.append(kind, encode(event._replace(proofs=(proof,))), sorted(parents))

    def _proof(self, folded: Folded, path: tuple[SeatId, ...]) -> Sign:
        secrets = self.secrets
        if secrets is None:
            raise NotAllowedError("the keys of this device are not here")
        if self.via is None:
            return secrets.sign.sign
        anchors = self.anchors_for(folded, path)
        return lambda context, message: [anchors, secrets.sign.sign(context, message)]

    def anchors_for(self, folded: Folded, path: tuple[SeatId, ...]) -> list[bytes]:
        """An anchor for each seat of a path but the last, by which the next one is known. Raises `UnavailableError`."""
        found = folded.anchors_for(path)
        if found is None:
            raise UnavailableError("nothing is anchored yet of the identity that this device acts for")
        return found

    def _named_by(self, folded: Folded, code: RecoveryCode) -> bytes | None:
        """The act that named the hash of a recovery key; None for the genesis."""
        wanted = code.public.hash
        if read_genesis(read_policy(self.log.block(self.log.id)).policy.data).recovery_hash == wanted:
            return None
        for act in folded.authority.counted("recovered"):
            if act.body[0] == wanted:
                return act.id
        raise NotAllowedError("this is not the recovery code of this identity", hint="Take the newest one.")

    def is_newest(self, code: RecoveryCode) -> bool:
        """Whether this is the recovery code that is good now: named, and not used up."""
        folded = self.log.folded()
        try:
            self._named_by(folded, code)
        except NotAllowedError:
            return False
        return self.successor_hash(code) is None

    def successor_hash(self, code: RecoveryCode) -> bytes | None:
        """The hash of the recovery key that the one of this code named; None while it is not used up."""
        named = self.log.folded().authority.counted(RECOVERED)
        return next((bytes(act.body[0]) for act in named if act.author == code.block.key), None)

    def promised(self) -> list[object]:
        """The holders that events of this chain made seats for, counted or not."""
        return [act.body for act in self.log.folded().pasts.acts if act.kind in (ADDED, REKEYED)]

    def heads(self, folded: Folded) -> tuple[bytes, ...]:
        """What an event of this device builds on now: the last acts that count, and its own last event."""
        pasts, void = folded.pasts, folded.authority.void
        covered, own = 0, self._last_own(pasts)
        for place, act in enumerate(pasts.acts):
            if act.id not in void:
                covered |= pasts.past(place)
        heads = [
            place
            for place, act in enumerate(pasts.acts)
            if act.id not in void and not covered >> place & 1 and place != own
        ]
        heads.sort(key=lambda place: (pasts.acts[place].kind in FACTS, -place))
        chosen = heads[: MAX_SEEN - 1] if own is not None else heads[:MAX_SEEN]
        if own is not None:
            chosen.append(own)
        return tuple(sorted(pasts.acts[place].id for place in chosen))

    def _last_own(self, pasts: Pasts) -> int | None:
        """The last act that this device's key signed; those that it carried for councils are not its own."""
        for place in range(len(pasts.acts) - 1, -1, -1):
            act = pasts.acts[place]
            if act.author == self.log.writer and not self._is_councils(act):
                return place
        return None

    def _is_councils(self, act: Act) -> bool:
        is_outer = len(act.path) == 1 and act.path[0] != RECOVERY
        return is_outer and isinstance(self.holder(act.path[0]), CouncilKeys)

    # --- keys of others ------------------------------------------------------------------------------------------------

    def holder(self, seat: SeatId) -> HolderKeys:
        """Who holds a seat of this identity, with all keys."""
        return holder_in(self.log, seat)

    def seal_public(self, folded: Folded, seat: Seat, key_id: bytes) -> PublicKey:
        """The X-Wing key of a seat that has an id. Raises `UnavailableError` where it is not held here."""
        if isinstance(seat.holder, Nested):
            return self._nested_public(folded, seat.holder.chain, key_id)
        keys = self.holder(seat.id)
        if isinstance(keys, DeviceKeys) and keys.seal.id == key_id:
            return keys.seal
        for act in folded.authority.counted(RENEWED):
            if act.path[0] == seat.id and act.body.fresh == key_id:
                return cast(PublicKey, read_renewal(decode(self.log.block(act.id)).body).fresh)
        raise UnavailableError("a key of a device is not held here")

    def _nested_public(self, folded: Folded, chain: bytes, key_id: bytes) -> PublicKey:
        nested = folded.nested(chain)
        for epoch in () if nested is None else nested.epochs.all.values():
            if epoch.seal_id == key_id:
                block = self.log.block_of(chain, epoch.id)
                if block is not None:
                    return control_in(block).seal
        raise UnavailableError("a key of an identity that is a member is not held here")

    def control(self, epoch: Epoch) -> Control:
        """The control keys of an epoch."""
        return control_in(self.log.block(epoch.id))

    # --- renewing ----------------------------------------------------------------------------------------------------

    def renew(self, suite: int | None = None, *, code: RecoveryCode | None = None) -> Block:
        """Makes a new epoch, of which all live seats get the secret.

        Args:
            suite: Of the new control signing key; None for that of the epoch before.
            code: Renews by the recovery key.

        Raises:
            NotAllowedError: This device has no right to, or no key to vouch for the new ones.
        """
        folded = self.log.folded()
        epochs = folded.epochs
        number, previous = epochs.next_number, epochs.last_written[1]
        suite = suite or self.control(epochs.newest).sign.suite
        vouching, key = (None, code.sign) if code is not None else self._vouching(epochs.by_precedence)
        secret = self.entropy(SECRET_BYTES)
        keys = epoch_keys(secret)
        control = Control(
            PublicKey(suite, keys.signing(suite).public), PublicKey(keys.sealing().suite, keys.sealing().public)
        )
        bare = RenewalKeys(number, previous, control, (), None, vouching)
        self._require_right(folded, bare, code)
        kept = _Kept(self.keyring, self.log, control.sign.id)
        try:
            bare = bare._replace(wraps=self._wraps(folded, secret, bare, kept))  # all that may fail
            kept.add_epoch(keys)
            if code is None and self.via is None:
                bare = bare._replace(fresh=kept.add_seal(self.entropy(SECRET_BYTES)))
            body = bare._replace(succession=key.sign(SUCCESSION, bare.vouched(self.log.id))).wire
            if code is not None:
                return self.recover(code, RENEWED, body, (previous,))
            return self.act(RENEWED, body, (previous,))
        except (NotAllowedError, UnavailableError, RemoteError):  # it was not written; after others it may have been
            kept.drop()
            raise

    def _require_right(self, folded: Folded, bare: RenewalKeys, code: RecoveryCode | None) -> None:
        """Raises where a renewal would not count, before anything is kept for it."""
        path = (RECOVERY,) if code is not None else self.require_path(folded)
        if code is None:
            self._proof(folded, path)
        seen = tuple(sorted({*self.heads(folded), bare.previous}))
        reason = self.why_not(folded, Event(RENEWED, path, seen, bare.wire))
        if reason is not None:
            raise NotAllowedError(f"this would not count: {reason}")

    def _wraps(
        self, folded: Folded, secret: bytes, bare: RenewalKeys, kept: _Kept
    ) -> tuple[tuple[SeatId, bytes, bytes], ...]:
        seen = folded.pasts.closure(self.heads(folded))
        info = wrap_info(self.log.id, bare.number, bare.control.sign.id)
        self.log.share_with(folded.node_keys())  # before anybody can ask for a wrap
        wraps: list[tuple[SeatId, bytes, bytes]] = []
        for seat_id, key_id in folded.epochs.keys_now(seen).items():
            public = self.seal_public(folded, folded.authority.seats[seat_id], key_id)
            wraps.append((seat_id, key_id, kept.keep(wrap(secret, public.public, info))))
        return tuple(wraps)

    def _vouching(self, epochs: Sequence[Epoch]) -> tuple[bytes, SigningKey]:
        """The epoch, of the newest, whose control key is here to vouch for new ones, and this key."""
        for epoch in epochs:
            held = self.keyring.epoch(epoch.sign_id)
            if held is not None:
                return epoch.id, held.signing(self.control(epoch).sign.suite)
        raise NotAllowedError("this device has no key yet to vouch for new ones", hint="Wait until it has opened one.")


class _Kept:
    """What a renewal keeps before it is written, to be dropped when it cannot be.

    Args:
        keyring: Keeps the keys.
        log: Keeps the wraps.
        sign_id: The id of the new control signing key.
    """

    def __init__(self, keyring: Keyring, log: Log, sign_id: bytes) -> None:
        self._keyring = keyring
        self._log = log
        self._sign_id = sign_id
        self._seal_id: bytes | None = None
        self._cids: list[bytes] = []

    def keep(self, sealed: bytes) -> bytes:
        """A wrap; its CID."""
        self._cids.append(bytes(self._log.keep(sealed)))
        return self._cids[-1]

    def add_epoch(self, keys: EpochKeys) -> None:
        """The epoch's keys."""
        self._keyring.add_epochs((self._sign_id, keys))

    def add_seal(self, seed: bytes) -> PublicKey:
        """A fresh X-Wing key of the device's; its public half."""
        made = self._keyring.add_seal(seed)
        self._seal_id = made.id
        return PublicKey(made.suite, made.public)

    def drop(self) -> None:
        """Forgets all of it."""
        self._keyring.take_back(self._sign_id, self._seal_id)
        self._log.forget(self._cids)


def holder_in(log: Log, seat: SeatId) -> HolderKeys:
    """Who holds a seat, with all keys. Raises `NotFoundError` where the block that made it is not held."""
    if isinstance(seat, int):
        return read_genesis(read_policy(log.block(log.id)).policy.data).holders[seat - 1]
    return read_holder(decode(log.block(seat)).body)


def control_in(block: Block) -> Control:
    """The control keys that a first block or a renewal publishes."""
    if block.chain is None:
        return read_genesis(read_policy(block).policy.data).control
    return read_renewal(decode(block).body).control
