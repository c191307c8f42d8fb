"""What the devices of an identity tell each other of their company: notes on its chain, and what one hands on to a new one.

Notes tell of groups, and what chains are called; a device that came later gets those of before in bundles, with the keys of
the groups. Nothing that is told gives anybody a right. Of names the first one that is told of a chain stays, as a suggestion.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from identities.acts import ADDED, GRANTED, NOTED, Act, Device, SeatId
from identities.anchoring import turn_of
from identities.anchors import Turns
from identities.bundles import Handed, Told
from identities.checking import identity_of
from identities.notes import CONTACT, GROUP, NAME, NONCE_BYTES, name_note, open_note, read_name, seal_note
from identities.payloads import decode
from identities.rights import Folded
from identities.rounds import do_all
from walytis_core import LocalError, NotAllowedError, RemoteError, UnavailableError

if TYPE_CHECKING:
    from identities.part import Part

MOST_TOLD_OF: Final = 256
"""Groups, and chains with names, that notes tell one identity's devices of; what comes after these is passed over."""
_BUNDLE_BYTES: Final = 64 * 1024
_HANDED: Final = "identities/handed/"


class Telling:
    """What was told, and what is to be told.

    Args:
        part: This node's part in the identity.
    """

    def __init__(self, part: Part) -> None:
        self.handed: list[Handed | Told] = []
        """What other devices handed on to this one."""
        self.groups: dict[bytes, bytes] = {}
        """The first blocks of the groups that were told of, by their chains."""
        self._part = part
        self._actor = part.actor
        self._turns = Turns()
        self._names: dict[bytes, str] = {}
        self._read: set[bytes] = set()
        self._noted: set[bytes] = set()

    # --- notes ---------------------------------------------------------------------------------------------------------

    def note(self, kind: str, data: bytes) -> None:
        """Tells the other devices something.

        Raises:
            UnavailableError: This device has not opened the current epoch's keys yet, or there are none.
            NotAllowedError: It has no seat.
        """
        epoch = self._part.epoch
        keys = self._actor.keyring.epoch(epoch.sign_id)
        if keys is None:
            raise UnavailableError("this device has not opened the keys of the current epoch yet")
        nonce = self._actor.entropy(NONCE_BYTES)
        self._actor.act(
            NOTED, [epoch.id, seal_note(keys.storage, bytes(self._actor.log.id), epoch.id, kind, data, nonce)]
        )
        self._noted.add(data)

    def name(self, chain: bytes, name: str) -> None:
        """Tells what a chain is called here, for who is to take it up; where that cannot be told now, it never is."""
        data = name_note(chain, name)
        if data is not None and data not in self._noted:
            with suppress(UnavailableError):
                self.note(NAME, data)

    def name_of(self, chain: bytes) -> str | None:
        """What a chain is called where it was made, if that was told."""
        return self._names.get(chain)

    def tell_of_group(self, group: Part) -> None:
        """Tells the other devices of a group, now or as soon as there are keys to do it with."""
        genesis = group.chain.genesis
        if genesis not in self._noted:
            self.name(group.id, group.name)
            with suppress(UnavailableError):
                self.note(GROUP, genesis)

    def tell_of_groups(self) -> None:
        """Tells of groups of which nothing could be told when this device came to act in them."""
        for one in self._part.groups.outer():
            if one.actor.via is self._actor:
                with suppress(NotAllowedError):
                    self.tell_of_group(one)

    def notes(self) -> list[tuple[str, bytes]]:
        """What the devices told each other; what was handed on to this one first."""
        folded = self._actor.log.folded()
        found = (self._opened(folded, act) for act in folded.authority.counted(NOTED))
        told = [(one.kind, one.data) for one in self.handed if isinstance(one, Told)]
        return list(dict.fromkeys([*told, *(note for note in found if note is not None)]))

    def _opened(self, folded: Folded, act: Act) -> tuple[str, bytes] | None:
        id, sealed = decode(self._actor.log.block(act.id)).body
        epoch = folded.epochs.all.get(id)
        keys = None if epoch is None else self._actor.keyring.epoch(epoch.sign_id)
        if keys is None:
            return None
        try:
            return open_note(keys.storage, bytes(self._actor.log.id), id, sealed)
        except RemoteError:
            return None

    def read(self, folded: Folded) -> None:
        """Takes in what was told and handed on."""
        noted = (partial(self._read_noted, folded, act) for act in folded.authority.counted(NOTED))
        do_all([*noted, *(partial(self._take_in, *one) for one in self.handed if isinstance(one, Told)), self._pass_on])

    def _read_noted(self, folded: Folded, act: Act) -> None:
        note = None if act.id in self._read else self._opened(folded, act)
        if note is not None:
            self._take_in(*note)
            self._read.add(act.id)

    def has_unread(self, folded: Folded) -> bool:
        """Whether there are notes that this device cannot read: what they say may be handed on to it."""
        return any(act.id not in self._read for act in folded.authority.counted(NOTED))

    def _take_in(self, kind: str, data: bytes) -> None:
        if kind in (GROUP, NAME):
            self._noted.add(data)
            with suppress(RemoteError, LocalError):  # whatever another said
                self._take_name(*read_name(data)) if kind == NAME else self._take_group(data)

    def _take_name(self, chain: bytes, name: str) -> None:
        if len(self._names) < MOST_TOLD_OF:
            self._names.setdefault(chain, name)

    def _take_group(self, genesis: bytes) -> None:
        id = bytes(identity_of(genesis))
        if len(self.groups) < MOST_TOLD_OF:
            self.groups.setdefault(id, genesis)

    # --- what is handed on ---------------------------------------------------------------------------------------------

    def take_handed(self, handed: Handed | Told) -> None:
        """Takes in what another device handed on: notes, and keys of groups, which may have to wait until these are held."""
        if handed not in self.handed:
            self.handed.append(handed)

    def _pass_on(self) -> None:
        """Takes the keys of this group that were handed on to this device in an identity behind it."""
        for actor in self._actor.behind:
            behind = self._part.home.part(bytes(actor.log.id))
            for one in () if behind is None else behind.groups.telling.handed:
                if isinstance(one, Handed) and one.chain == self._actor.log.id:
                    self._part.take_handed(one)

    def hand_on(self, folded: Folded, now_s: float) -> float:
        """Hands new devices what was told before they came, and the keys of groups: first whoever added them."""
        again, tables = float("inf"), self._part.chain.tables
        had = {act.body[0] for act in folded.authority.counted(GRANTED)}
        for seat in folded.authority.live if self._actor.via is None else ():
            made, mark = seat.made, f"{_HANDED}{_text(seat.id)}"
            if made is None or seat.id in had or not isinstance(seat.holder, Device) or made.kind != ADDED:
                continue
            is_mine = seat.holder.block_key == self._actor.log.writer
            if not is_mine and tables.get(mark) is None:
                due = self._turns.due_s(made.id, turn_of(self._actor.log.writer, folded, [made.id]), now_s)
                if due > now_s:
                    again = min(again, due)
                    continue
                with suppress(NotAllowedError, UnavailableError):
                    self._hand(seat.id)
                    tables.put(mark, b"1")
        return again

    def _hand(self, seat: SeatId) -> None:
        things: list[Handed | Told] = [Told(*note) for note in self.notes() if note[0] in (GROUP, CONTACT, NAME)]
        for one in self._part.groups.outer():
            epoch = one.folded.epochs.current
            keys = None if epoch is None else one.actor.keyring.epoch(epoch.sign_id)
            if epoch is not None and keys is not None:
                things.append(Handed(one.id, epoch.sign_id, keys))
        while things:
            count = _fitting(things)
            self._part.hand(seat, things[:count])
            things = things[count:]


def _fitting(things: Sequence[Handed | Told]) -> int:
    """How many of these go into one bundle."""
    weight, count = 0, 0
    while count < len(things) and (not count or weight + _weight(things[count]) <= _BUNDLE_BYTES):
        weight += _weight(things[count])
        count += 1
    return count


def _weight(thing: Handed | Told) -> int:
    return len(thing.data) + 128 if isinstance(thing, Told) else 256


def _text(seat: SeatId) -> str:
    return str(seat) if isinstance(seat, int) else seat.hex()
