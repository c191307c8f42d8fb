"""`Holding`: an identity whose chain this node holds, as the parts of this package work with it.

It keeps up with the chain: who has seats, which keys are current, and which epoch is the highest that was ever seen, which
is written down and never goes back: a copy that shows less is not trusted for anything new, and says so. What users of
the package hold is a handle on it: `known.py`; what else there is of an identity that this node acts for: `part.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from identities.actor import control_in
from identities.acts import ASKED, Council, Device, Nested, SeatId
from identities.authority import Seat
from identities.dids import did_of
from identities.epochs import Epoch
from identities.holders import Control
from identities.node_log import NodeLog
from identities.payloads import PREFIX
from identities.rights import Folded
from identities.state import judged_name
from walytis_core import Chain, Feed, UnavailableError, cbor
from walytis_core.cid import BlockId

if TYPE_CHECKING:
    from identities.known import KnownIdentity

_HIGHEST: Final = "identities/highest"
_CONTROLS_KEPT: Final = 64  # of 3 kB each: reading one again costs half a millisecond


class SeatInfo(NamedTuple):
    """One seat, for people and programs.

    Attributes:
        id: Names it: a place in the genesis, or the id of the block that made it.
        kind: ``device``, ``identity``, ``council`` or ``recovery``.
        holder: A device's node key in hex, an identity's DID, or how many of a council's keys.
        name: What a device called itself when it asked to join; never proven.
        state: ``live``, ``pending`` (it has not said a word yet), ``removed``, ``left`` or ``renewed``.
    """

    id: SeatId
    kind: str
    holder: str
    name: str
    state: str

    @property
    def label(self) -> str:
        """The seat's id, short enough for a screen."""
        return str(self.id) if isinstance(self.id, int) else BlockId(self.id).short


class Now(NamedTuple):
    """What is read of an identity again and again, worked out once for each state of its chain.

    Attributes:
        folded: The state.
        epoch: The current epoch.
        control: Its keys.
        before: The epoch that is good beside it within the overlap, if there is one.
    """

    folded: Folded
    epoch: Epoch
    control: Control
    before: Epoch | None


class Holding:
    """An identity whose chain this node holds.

    Args:
        log: The chain.
        overlap_s: For how long the epoch before the current one is good for what is new.
        now_s: The local clock.
    """

    def __init__(self, log: NodeLog, overlap_s: float, now_s: Callable[[], float] = time.time) -> None:
        self.log = log
        self.id = bytes(log.id)
        self.handle: KnownIdentity | None = None
        """What users hold of it, once somebody asked."""
        self.is_closed = False
        self._overlap_s = overlap_s
        self._now_s = now_s
        self._feeds: list[Feed] = []
        self._turned: tuple[bytes, float] | None = None  # the current epoch, and when it was seen to take over
        self._before = b""  # the one before that
        self._last: Now | None = None
        self._infos: tuple[Folded, dict[SeatId, SeatInfo]] | None = None
        self._asked: dict[bytes, str] = {}
        self._controls: dict[bytes, Control] = {}

    def watch(self, changed: Callable[[], None]) -> None:
        """Has `changed` called when blocks come, or their standing changes."""
        self._feeds.append(self.chain.follow(lambda _event: changed(), type=PREFIX, revisions=True))

    def close(self) -> None:
        """Ends what was started."""
        self.is_closed = True
        for feed in self._feeds:
            feed.close()
        self.log.close()

    def work(self, now_s: float) -> float:
        """Does what is due, for the identities that this node acts for; when to be called again."""
        with suppress(UnavailableError):
            self._note_highest(self.epoch)
        self.log.share_with(self.node_keys())
        ends = float("-inf") if self._turned is None else self._turned[1] + self._overlap_s
        return ends if ends > now_s else float("inf")

    def node_keys(self) -> frozenset[bytes]:
        """The node keys of its members: devices, and those of the identities that are members."""
        return self.folded.node_keys()

    @property
    def chain(self) -> Chain:
        """The identity's chain."""
        return self.log.chain

    @cached_property
    def did(self) -> str:
        """The identity's DID."""
        return did_of(self.log.id)

    @property
    def name(self) -> str:
        """What it is called on this node."""
        return self.chain.name

    @property
    def folded(self) -> Folded:
        """What is decided over all that is held now."""
        return self.log.folded()

    @property
    def infos(self) -> Mapping[SeatId, SeatInfo]:
        """`seats` by their ids."""
        return self.infos_in(self.folded)

    def infos_in(self, folded: Folded) -> Mapping[SeatId, SeatInfo]:
        """`infos`, in a state."""
        known = self._infos
        if known is None or known[0] is not folded:
            names = self._names(folded)
            infos = [_info(seat, names) for seat in folded.authority.seats.values()]
            known = self._infos = folded, {info.id: info for info in infos}
        return known[1]

    def _names(self, folded: Folded) -> dict[bytes, str]:
        asked = list(folded.authority.counted(ASKED))
        for act in asked:
            if act.id not in self._asked:
                self._asked[act.id] = judged_name(self.log.block(act.id))
        return {act.author: self._asked[act.id] for act in asked}

    # --- epochs --------------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> Epoch:
        """The current epoch.

        Raises:
            UnavailableError: There is none now (somebody has to renew first), or this copy shows less than was seen before.
        """
        return self.now(self.folded).epoch

    def now(self, folded: Folded) -> Now:
        """What is read of a state again and again. Raises `UnavailableError` as `epoch`."""
        now = self._last
        if now is None or now.folded is not folded:
            now = self._last = self._look(folded)
        return now

    def _look(self, folded: Folded) -> Now:
        epochs = folded.epochs
        current = epochs.current
        if current is None:
            raise UnavailableError(
                "no epoch of this identity can be used now", hint="One of its devices renews it soon."
            )
        self._note_highest(current)
        before = epochs.all.get(self._before)  # what was current here: others of its number may never have been usable
        if before is not None and epochs.follows_removal(current, before):
            before = None
        return Now(folded, current, self.control(current), before)

    def _note_highest(self, current: Epoch) -> None:
        """The highest epoch seen never goes back; among concurrent ones of a number it may change."""
        number, id = self._highest
        is_known = id in (b"", current.id) or id in self.folded.epochs.all
        if current.number < number or (current.number == number and not is_known):
            raise UnavailableError(
                "this copy of the identity shows an older epoch than was seen before, or another lineage",
                hint="Sync with a device of the identity; compare `lineages()` with its owner.",
            )
        if (current.number, current.id) != (number, id):
            self.chain.tables.put(_HIGHEST, cbor.encode([current.number, current.id]))
        if self._turned is None:
            self._turned = current.id, float("-inf")
        elif self._turned[0] != current.id:
            self._before, self._turned = self._turned[0], (current.id, self._now_s())

    def lineages(self) -> list[tuple[int, str]]:
        """The newest epochs as (number, id): one, or two where this copy contradicts what was seen before."""
        current, (number, id) = self.folded.epochs.current, self._highest
        found = [] if current is None else [(current.number, str(BlockId(current.id)))]
        if id and (current is None or id != current.id) and (current is None or number >= current.number):
            found.append((number, str(BlockId(id))))
        return found

    @property
    def _highest(self) -> tuple[int, bytes]:
        data = self.chain.tables.get(_HIGHEST)
        match None if data is None else cbor.decode(data, max_bytes=128, max_depth=1):
            case [int(number), bytes(id)]:
                return number, id
        return 0, b""

    def control(self, epoch: Epoch) -> Control:
        """The public control keys of an epoch."""
        control = self._controls.get(epoch.id)
        if control is None:
            if len(self._controls) >= _CONTROLS_KEPT:
                self._controls.clear()
            control = self._controls[epoch.id] = control_in(self.log.block(epoch.id))
        return control

    def accepted(self) -> list[Epoch]:
        """The epochs that new signatures may be of: the current one, and the one before within the overlap.

        Raises:
            UnavailableError: As `epoch`.
        """
        return self.accepted_in(self.folded)

    def accepted_in(self, folded: Folded) -> list[Epoch]:
        """`accepted`, in a state."""
        epochs = folded.epochs
        if epochs.current is None and not epochs.lacks_removal(epochs.newest):
            return [epochs.newest]  # somebody was added: until it is renewed, what was good stays good
        now = self.now(folded)
        if now.before is None or self._turned is None or self._now_s() >= self._turned[1] + self._overlap_s:
            return [now.epoch]
        return [now.epoch, now.before]


def _info(seat: Seat, names: dict[bytes, str]) -> SeatInfo:
    kind, holder, name = "recovery", "", ""
    match seat.holder:
        case Device(block_key, node_key, _, _):
            kind, holder, name = "device", node_key.hex(), names.get(block_key, "")
        case Nested(chain):
            kind, holder = "identity", did_of(chain)
        case Council(needed, members):
            kind, holder = "council", f"{needed} of {members}"
    return SeatInfo(seat.id, kind, holder, name, _state(seat))


def _state(seat: Seat) -> str:
    if seat.removals:
        return "removed"
    if seat.ended is not None:
        return "left" if seat.ended.kind == "left" else "renewed"
    return "live" if seat.made is None or seat.has_joined else "pending"
