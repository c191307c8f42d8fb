"""The company that an identity keeps, by itself: chains of members and for members, and groups that it acts in.

It holds the chains of the identities that are members, and the chains that the members read, and gives these the key of
this device, while it has a seat; it takes up the groups that the identity's other devices told of. Each of these is done by
looking at what is there, and may be done twice. Next to it: `anchors.py`, `telling.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from identities.actor import holder_in
from identities.acts import OPENED, Act, Nested, SeatId
from identities.anchors import Anchors, Turns
from identities.holders import IdentityHolder, read_genesis_block
from identities.payloads import decode
from identities.rights import Folded
from identities.rounds import do_all
from identities.telling import Telling
from walytis_core import Chain, ClosedError, LocalError, NotAllowedError, RemoteError
from walytis_core.policy import read_genesis
from walytis_core.signer import Reluctant

if TYPE_CHECKING:
    from identities.holding import Holding
    from identities.part import Part

_MOST_HELD: Final = 256
"""Chains that this node takes up for one identity by itself: what other members add must not fill it."""
_NAME_TURNS: Final = 0.4
"""For how long a name is waited for that may be on its way, as a share of what devices give each other."""
_LEFT_OUT: Final = "identities/left-out/"
"""Marks, in the tables of an identity's chain, the groups that were deleted here: notes do not bring them back."""


class SeatSigner(Reluctant):
    """Signs blocks on a chain of the members with this device's key, as long as it has a seat.

    Args:
        part: This node's part in the identity.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._signer = part.device_signer
        self.key = self._signer.key

    def require_ready(self) -> None:
        """Raises `NotAllowedError` once this device has no seat, as far as is known here."""
        try:
            self._part.require_seat()
        except ClosedError as error:  # it was deleted here, or taken up anew
            raise NotAllowedError(
                "this node acts for the members of this chain no longer", hint="Join their identity again."
            ) from error

    def sign(self, message: bytes) -> bytes:
        """A signature."""
        return self._signer.sign(message)


class Groups:
    """The company that an identity keeps.

    Args:
        part: This node's part in the identity.
    """

    def __init__(self, part: Part) -> None:
        self.anchors = Anchors(part)
        self.telling = Telling(part)
        self._part = part
        self._actor = part.actor
        self._home = part.home
        self._turns = Turns()
        self._told = (0, 0, 0)
        self._written: dict[bytes, tuple[Chain, bytes]] = {}
        self._taken_up: dict[bytes, Holding] = {}  # of the groups that notes tell of
        self._below: set[bytes] = set()

    def run(self, now_s: float) -> float:
        """Does what is due; when to be called again."""
        folded = self._actor.log.folded()
        hold_members = partial(self._hold_members, folded)
        if self._actor.path(folded) is None:
            return do_all([hold_members, self.write_held])
        anchors, telling = self.anchors, self.telling
        return do_all(
            (
                partial(anchors.anchor_own, folded, now_s), partial(anchors.cut_later, folded, now_s),
                hold_members, partial(telling.read, folded), partial(self._hold_chains, folded, now_s), self._take_up_groups,
                telling.tell_of_groups, partial(self._wake_others, folded), partial(telling.hand_on, folded, now_s),
            )
        )  # fmt: skip

    def _wake_others(self, folded: Folded) -> None:
        """Has the groups looked at in which this device acts behind a seat of the identity: they may open more now."""
        known = len(folded.pasts.acts), len(self._actor.keyring.epochs), len(self.telling.handed)
        if known != self._told:
            self._told = known
            for one in self.outer():
                one.wake()

    def outer(self) -> list[Part]:
        """The groups in which this device acts behind a seat of the identity, near or far."""
        return [one for one in self._home.parts() if one is not self._part and self._actor in one.actor.behind]

    # --- members -------------------------------------------------------------------------------------------------------

    def _hold_members(self, folded: Folded) -> None:
        holders = [(seat.id, seat.holder) for seat in folded.authority.live]
        nested = [(id, holder.chain) for id, holder in holders if isinstance(holder, Nested)]
        do_all(partial(self._hold_member, *one) for one in nested[:_MOST_HELD])

    def _hold_member(self, seat: SeatId, chain: bytes) -> None:
        if self._home.chain_of_node(chain) is None:
            keys = self._actor.holder(seat)
            if isinstance(keys, IdentityHolder):
                with _suppress_unfit():
                    self._home.take_up(keys.genesis, f"{self._part.name}-member")

    # --- chains that the members read ----------------------------------------------------------------------------------

    def _opened(self) -> list[Act]:
        return list(self._actor.log.folded().authority.counted(OPENED))

    def chains(self) -> list[Chain]:
        """The chains that the members read, as far as they are held."""
        found = [self._home.chain_of_node(act.body) for act in self._opened()]
        return [chain for chain in found if chain is not None]

    def write_held(self) -> None:
        """Has those of them that are held written with this device's key, or refused while it has no seat."""
        do_all(partial(self._write, chain) for chain in self.chains()[:_MOST_HELD])

    def _hold_chains(self, folded: Folded, now_s: float) -> float:
        return do_all(partial(self._hold_chain, act, folded, now_s) for act in self._opened()[:_MOST_HELD])

    def _hold_chain(self, act: Act, folded: Folded, now_s: float) -> float:
        chain = self._home.chain_of_node(act.body)
        if chain is None:
            name = self.telling.name_of(act.body)
            due = self._turns.due_s(act.body, _NAME_TURNS, now_s)
            if name is None and self.telling.has_unread(folded) and due > now_s:
                return due
            genesis = decode(self._actor.log.block(act.id)).body
            with _suppress_unfit():
                if self._is_for_members(genesis):
                    chain = self._home.adopt(genesis, name or f"{self._part.name}-chain", SeatSigner(self._part))
        if chain is not None:  # one without blocks is false
            self._write(chain)
        return float("inf")

    def _is_for_members(self, genesis: bytes) -> bool:
        return read_genesis(read_genesis_block(genesis)).policy.readers == self._part.did

    def _write(self, chain: Chain) -> None:
        """What counts there is told by the device's key: `chain_rights.py`."""
        secrets = self._actor.secrets
        key = b"" if secrets is None else secrets.block.key
        if key and self._written.get(bytes(chain.id)) != (chain, key):
            with _suppress_unfit():
                if self._is_for_members(chain.genesis):
                    chain.write_with(SeatSigner(self._part))
            self._written[bytes(chain.id)] = chain, key

    # --- groups that it was told of ------------------------------------------------------------------------------------

    def leave_out(self, group: bytes) -> None:
        """An identity is deleted here: where it is a group, what was told of it brings it back no more."""
        if group in self.telling.groups or any(one.id == group for one in self.outer()):
            self._part.chain.tables.put(_LEFT_OUT + group.hex(), b"1")

    def let_in(self, group: bytes) -> None:
        """A group is acted in again."""
        self._part.chain.tables.put(_LEFT_OUT + group.hex(), None)

    def _take_up_groups(self) -> None:
        do_all([partial(self._take_up_group, id, genesis) for id, genesis in self.telling.groups.items()])

    def _take_up_group(self, id: bytes, genesis: bytes) -> None:
        """Holds a group that it was told of, and acts there once its chain says that this identity is a member."""
        before = self._taken_up.get(id)
        if self._home.part(id) or (before is not None and self._home.chain_of_node(id) is None):
            return  # it acts there, or somebody has deleted it here
        if self._part.chain.tables.get(_LEFT_OUT + id.hex()) is not None:
            return
        with _suppress_unfit():
            name = self.telling.name_of(id) or f"{self._part.name}-group"
            known = self._home.take_up(genesis, name, via=self._part)
            if known is not None and known is not before:
                known.watch(self._part.wake)
                self._taken_up[id] = known
                self._part.wake()  # for what came before
            if known is not None:
                self._hold_below(known)

    def _hold_below(self, group: Holding) -> None:
        """Holds who is behind the seats of a group that it does not act in yet: else its chain is not understood."""
        todo, met = [group], set[bytes]()
        while todo:
            one = todo.pop()
            for seat, chain in one.folded.live_nested.items():
                is_fresh = self._home.chain_of_node(chain) is None and chain not in self._below
                keys = holder_in(one.log, seat) if is_fresh and len(self._below) < _MOST_HELD else None
                if isinstance(keys, IdentityHolder):
                    self._below.add(chain)
                    self._home.take_up(keys.genesis, f"{self._part.name}-member")
                held = None if chain in met else self._home.held(chain)
                met.add(chain)
                todo.extend([] if held is None else [held])


@contextmanager
def _suppress_unfit() -> Iterator[None]:
    """What another named, and what cannot be held: it is left alone. A disk that refuses is no such reason."""
    try:
        yield
    except ClosedError:
        raise
    except (RemoteError, LocalError):
        return
