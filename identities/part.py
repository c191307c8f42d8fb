"""`Part`: the part that this node plays in an identity, as the other files of this package work with it.

Beside the chain (`Holding`) that is the device with its secrets (`actor.py`), what it does by itself (`worker.py`), and the
company that the identity keeps (`groups.py`). `work` does all that is due, in the thread of the node's identities. What
users hold of it is a handle: `identity.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from identities.acts import ASKED, CONFIRMED, GRANTED, Device, Nested, SeatId
from identities.authorship import Author, is_cut_off, path_of
from identities.bundles import Handed, Told, seal_bundle
from identities.epochs import Epoch
from identities.groups import Groups
from identities.holders import DeviceKeys
from identities.holding import Holding
from identities.keyring import DeviceSecrets
from identities.node_log import NodeLog
from identities.payloads import ASKING, Asking
from identities.rights import Folded
from identities.rounds import do_all
from identities.state import tag_of
from identities.worker import Worker
from walytis_core import (
    BlockId,
    Chain,
    ClosedError,
    NotAllowedError,
    NotFoundError,
    Obeyed,
    Pending,
    Signer,
    UnavailableError,
)
from walytis_core.block import decode
from walytis_core.seals import ChainSecret

if TYPE_CHECKING:
    from identities.home import Home

CODE: Final = "identities/code/"
"""Marks, in the tables of a chain, the invitations that give a seat."""


class Part(Holding):
    """This node's part in an identity.

    Args:
        log: The identity's chain.
        worker: Does what is due by itself.
        home: The identities of the node.
    """

    def __init__(self, log: NodeLog, worker: Worker, home: Home) -> None:
        super().__init__(log, worker.renewing.policy.overlap_s, home.now_s)
        self.actor = worker.actor
        self.worker = worker
        self.home = home
        self.groups = Groups(self)
        self._shared: object = None
        self._paths: tuple[Folded, dict[bytes, tuple[SeatId, ...] | None]] | None = None
        self._waiting: list[Pending[Epoch]] = []
        self._first_seen: dict[bytes, float] = {}
        worker.hand_over = self.groups.telling.take_handed

    def close(self) -> None:
        """Ends what was started; nobody waits for keys any more."""
        super().close()
        self._fail_waiting()

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for pending in waiting:
            pending.fail(ClosedError("this identity was closed, or deleted here"))

    # --- its work ------------------------------------------------------------------------------------------------------

    def work(self, now_s: float) -> float:
        """Does what is due; when to be called again."""
        share = partial(super().work, now_s)
        return do_all(  # who was removed is shut out first, and whatever becomes of the rest
            (
                share, self._tell_members, self._ask_again, partial(self._run_worker, now_s), self._tell_members,
                self._tell_ready, partial(self.groups.run, now_s),
            )
        )  # fmt: skip

    def wake(self) -> None:
        """Has its work looked at soon."""
        self.home.wake(self.id)

    def _run_worker(self, now_s: float) -> float:
        again = self.worker.run(now_s)
        seen, keyring = self.worker.renewing.first_seen, self.actor.keyring
        if seen != self._first_seen:
            self._first_seen = dict(seen)
            keyring.save()
        return again

    def _tell_members(self) -> None:
        """Has the chains that the members read go on with who they are, and with the secrets, that there are now."""
        shared = (self.secrets(), self.node_keys())
        if shared != self._shared:
            self.home.members_changed(self.did)
            self._shared = shared

    def secrets(self) -> list[ChainSecret]:
        """The secrets of the chains that its members read, the newest first."""
        try:
            accepted = self.accepted()
        except UnavailableError:
            return []
        held = [(epoch.number, self.actor.keyring.epoch(epoch.sign_id)) for epoch in accepted]
        return [ChainSecret(number, keys.network) for number, keys in held if keys is not None]

    # --- this device ---------------------------------------------------------------------------------------------------

    @property
    def device_signer(self) -> Signer:
        """Signs the blocks of this device. Raises `NotAllowedError` where its keys are not here."""
        secrets = self.actor.secrets
        if secrets is None:
            raise NotAllowedError("the keys of this device are not here")
        return secrets.block

    def require_seat(self) -> None:
        """Raises `NotAllowedError` where this device has no live seat."""
        self.actor.require_path(self.folded)

    def ask(self, device: DeviceSecrets, name: str) -> None:
        """Asks for a seat, as a device that came by an invitation."""
        bare = Asking(device.public, name, b"")
        proof = device.sign.sign(ASKING, bare.proven(self.log.id))
        self.actor.state_fact(ASKED, bare._replace(proof=proof).wire)

    def _ask_again(self) -> None:
        """Asks for a seat where this was cut off between joining the chain and asking."""
        device, folded = self.actor.keyring.device, self.folded
        if device is None or device.block.key != self.log.writer:
            return
        holders = [seat.holder for seat in folded.authority.seats.values()]
        has_said = any(act.author == device.block.key for act in folded.pasts.acts)
        if not has_said and device.public.holder not in holders:
            self.ask(device, "")

    def confirm(self) -> None:
        """Says that this device has the current keys, where it has said nothing since they were made."""
        with self.home.lock:
            folded = self.folded
            current, seat = folded.epochs.current, self.actor.seat(folded)
            if current is None or seat is None or not self.actor.keyring.has_epoch(current.sign_id):
                return
            if not self.worker.has_seen(current, seat.id):
                with suppress(NotAllowedError, UnavailableError):  # the state is another one now
                    self.actor.act(CONFIRMED, None)
        self.wake()

    def ready(self) -> Pending[Epoch]:
        """The current epoch, once there is one and this device has its keys."""
        pending = Pending[Epoch]()
        self._waiting.append(pending)
        if self.is_closed:
            self._fail_waiting()
        self.wake()
        return pending

    def _tell_ready(self) -> None:
        epoch = self.folded.epochs.current
        if epoch is not None and self.actor.keyring.has_epoch(epoch.sign_id):
            waiting, self._waiting = self._waiting, []
            for pending in waiting:
                pending.resolve(epoch)

    # --- who wrote -----------------------------------------------------------------------------------------------------

    def author(self, chain: Chain, id: BlockId) -> Author | None:
        """Who wrote a block. See `Identity.author`."""
        block, folded = chain.block(id), self.folded
        known = self._paths
        if known is None or known[0] is not folded:
            known = self._paths = folded, {}
        if block.author not in known[1]:
            known[1][block.author] = path_of(folded, block.author)
        path = known[1][block.author]
        if path is None:
            return None
        info, holder = self.infos_in(folded)[path[0]], folded.authority.seats[path[0]].holder
        member = self.home.held(holder.chain) if isinstance(holder, Nested) else None

        def is_inside(heads: Sequence[bytes]) -> bool:
            held = (chain.block(BlockId(head)) for head in heads if BlockId(head) in chain)
            return any(one.author == block.author and one.seq >= block.seq for one in held)

        return Author(
            name=info.name if member is None else member.name,
            seat=info.id,
            did=info.holder if isinstance(holder, Nested) else None,
            state=info.state,
            counts=isinstance(chain.standing(id), Obeyed)
            and not is_cut_off(folded, path, tag_of(decode(chain.genesis)), is_inside),
        )

    # --- others of the identity ----------------------------------------------------------------------------------------

    def take_handed(self, handed: Handed) -> None:
        """Takes in keys of an epoch that another device handed on, if they are those that were published."""
        self.worker.take_handed(handed)
        self.wake()

    def hand(self, seat: SeatId, things: Sequence[Handed | Told]) -> None:
        """Hands a device keys and notes, sealed to it.

        Raises:
            NotFoundError: There is no such seat, or it is not live.
            NotAllowedError: It is no device's.
        """
        with self.home.lock:
            known = self.folded.authority.seats.get(seat)
            if known is None or not known.is_live:
                raise NotFoundError("there is no such seat, or it is not live any more", hint="See `seats()`.")
            keys = self.actor.holder(seat) if isinstance(known.holder, Device) else None
            if not isinstance(keys, DeviceKeys):
                raise NotAllowedError("keys are handed to devices alone")
            cid = self.log.keep(seal_bundle(keys.seal.public, self.log.id, list(things)))
            self.actor.act(GRANTED, [seat, bytes(cid)])
        self.wake()

    def found(self, controller: Part) -> None:
        """What makes a group that was just created known: to itself, and to the other devices of who made it."""
        with self.home.lock:
            self.groups.anchors.introduce(controller)
            self.worker.renew_now()
            controller.groups.telling.tell_of_group(self)
        controller.wake()
