"""What a device does by itself so that identities, groups and their chains find each other.

It holds the chains of the identities that are members, and the chains that the members read; it anchors its own identity
in the groups that it acts in, and lets its identity's other devices write there; it tells them of groups by notes. Each of
these is done by looking at what is there, and may be done twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from identities.actor import Actor, holder_in
from identities.acts import ADDED, ANCHORED, CUT, GRANTED, NOTED, OPENED, REMOVED, Act, Device, Nested, SeatId
from identities.anchoring import heads_of, lacking, portion
from identities.bundles import Handed, Told
from identities.checking import identity_of
from identities.notes import CONTACT, GROUP, NONCE_BYTES, open_note, seal_note
from identities.payloads import MAX_CUTS, MAX_HEADS, IdentityHolder, cuts, decode, read_genesis_block
from identities.renewal import order
from identities.rights import Folded
from identities.rounds import do_all
from identities.state import tag_of
from walytis_core import (
    Chain,
    ClosedError,
    LocalError,
    NotAllowedError,
    RemoteError,
    Signer,
    UnavailableError,
)
from walytis_core.block import decode as decode_block
from walytis_core.policy import read_genesis

if TYPE_CHECKING:
    from identities.identities import Identities
    from identities.identity import Identity
    from identities.known import KnownIdentity

_MOST_HELD: Final = 256
"""Chains that this node takes up for one identity by itself: what other members add must not fill it."""
_MOST_ADMITTED: Final = 256
"""Keys that are let in at once, in one block: many blocks between two events would make the second one void."""
_PORTION: Final = 512
"""Acts that one anchor adds at most; fewer where they are large."""
_BUNDLE_BYTES: Final = 64 * 1024
_HANDED: Final = "identities/handed/"
_TURN_S: Final = 5.0
"""After how long the next device does what the one before in the order has not done."""


class Groups:
    """The company that an identity keeps.

    Args:
        actor: This device in the identity.
        home: The identities of the node.
        identity: The identity.
    """

    def __init__(self, actor: Actor, home: Identities, identity: Identity) -> None:
        self._actor = actor
        self._home = home
        self._identity = identity
        self._noticed: dict[frozenset[bytes], float] = {}
        self._told = (0, 0, 0)
        self._handed: list[Handed | Told] = []
        self._read: set[bytes] = set()
        self._noted: set[bytes] = set()
        self._below: set[bytes] = set()
        self._groups: dict[bytes, tuple[bytes, KnownIdentity | None]] = {}  # that notes tell of; the handle, when held

    def run(self, now_s: float) -> float:
        """Does what is due; when to be called again."""
        folded = self._actor.log.folded()
        hold_members = partial(self._hold_members, folded)
        if self._actor.path(folded) is None:
            return do_all([hold_members])
        return do_all(
            (
                partial(self._anchor_own, folded, now_s), partial(self._cut_later, folded, now_s),
                hold_members, partial(self._hold_chains, folded), partial(self._read_notes, folded), self._use_handed,
                self._take_up_groups, self._note_groups, partial(self._wake_others, folded), partial(self._hand_on, folded, now_s),
            )
        )  # fmt: skip

    def _wake_others(self, folded: Folded) -> None:
        """Has the groups looked at in which this device acts behind a seat of the identity: they may open more now."""
        known = len(folded.pasts.acts), len(self._actor.keyring.epochs), len(self._handed)
        if known != self._told:
            self._told = known
            for one in self._outer():
                self._home.wake(one.chain.id)

    # --- holding -------------------------------------------------------------------------------------------------------

    def _hold_members(self, folded: Folded) -> None:
        holders = [(seat.id, seat.holder) for seat in folded.authority.live]
        nested = [(id, holder.chain) for id, holder in holders if isinstance(holder, Nested)]
        do_all(partial(self._hold_member, *one) for one in nested[:_MOST_HELD])

    def _hold_member(self, seat: SeatId, chain: bytes) -> None:
        if self._home.chain_of_node(chain) is None:
            keys = self._actor.holder(seat)
            if isinstance(keys, IdentityHolder):
                with _suppress_unfit():
                    self._home.take_up(keys.genesis, f"{self._identity.name}-member")

    def _opened(self, folded: Folded) -> list[Act]:
        return list(folded.authority.counted(OPENED))

    def _hold_chains(self, folded: Folded) -> None:
        signer = self._identity.device_signer
        do_all(partial(self._hold_chain, act, signer) for act in self._opened(folded)[:_MOST_HELD])

    def _hold_chain(self, act: Act, signer: Signer) -> None:
        chain = self._home.chain_of_node(act.body)
        genesis = decode(self._actor.log.block(act.id)).body
        with _suppress_unfit():
            if read_genesis(read_genesis_block(genesis)).policy.readers != self._identity.did:
                return
            if chain is None:  # one without blocks is false
                chain = self._home.adopt(genesis, f"{self._identity.name}-chain")
            if chain.author != signer.key:  # what counts there is told by the device's key: `chain_rights.py`
                chain.write_with(signer)

    def chains(self) -> list[Chain]:
        """The chains that the members read, as far as they are held."""
        found = [self._home.chain_of_node(act.body) for act in self._opened(self._actor.log.folded())]
        return [chain for chain in found if chain is not None]

    # --- notes ---------------------------------------------------------------------------------------------------------

    def note(self, kind: str, data: bytes) -> None:
        """Tells the other devices something."""
        epoch = self._identity.epoch
        keys = self._actor.keyring.epoch(epoch.sign_id)
        if keys is None:
            raise UnavailableError("this device has not opened the keys of the current epoch yet")
        nonce = self._actor.entropy(NONCE_BYTES)
        self._actor.act(
            NOTED, [epoch.id, seal_note(keys.storage, bytes(self._actor.log.id), epoch.id, kind, data, nonce)]
        )
        self._noted.add(data)

    def note_group(self, genesis: bytes) -> None:
        """Tells the other devices of a group, now or as soon as there are keys to do it with."""
        if genesis not in self._noted:
            with suppress(UnavailableError):
                self.note(GROUP, genesis)

    def notes(self) -> list[tuple[str, bytes]]:
        """What the devices told each other; what was handed on to this one first."""
        folded = self._actor.log.folded()
        found = (self._opened_note(folded, act) for act in folded.authority.counted(NOTED))
        told = [(one.kind, one.data) for one in self._handed if isinstance(one, Told)]
        return list(dict.fromkeys([*told, *(note for note in found if note is not None)]))

    def _opened_note(self, folded: Folded, act: Act) -> tuple[str, bytes] | None:
        id, sealed = decode(self._actor.log.block(act.id)).body
        epoch = folded.epochs.all.get(id)
        keys = None if epoch is None else self._actor.keyring.epoch(epoch.sign_id)
        if keys is None:
            return None
        try:
            return open_note(keys.storage, bytes(self._actor.log.id), id, sealed)
        except RemoteError:
            return None

    def _read_notes(self, folded: Folded) -> None:
        do_all(partial(self._read_noted, folded, act) for act in folded.authority.counted(NOTED))

    def _read_noted(self, folded: Folded, act: Act) -> None:
        note = None if act.id in self._read else self._opened_note(folded, act)
        if note is not None:
            self._read_note(*note)
            self._read.add(act.id)

    def _note_groups(self) -> None:
        """Tells of groups of which nothing could be told when this device came to act in them."""
        for one in self._outer():
            if one.actor.via is self._actor:
                with suppress(NotAllowedError):
                    self.note_group(one.chain.genesis)

    def _read_note(self, kind: str, data: bytes) -> None:
        if kind == GROUP:
            self._noted.add(data)
            with _suppress_unfit():
                id = bytes(identity_of(data))
                if len(self._groups) < _MOST_HELD:
                    self._groups.setdefault(id, (data, None))

    def _take_up_groups(self) -> None:
        do_all([partial(self._take_up_group, id, *group) for id, group in self._groups.items()])

    def _take_up_group(self, id: bytes, genesis: bytes, before: KnownIdentity | None) -> None:
        """Holds a group that it was told of, and acts there once its chain says that this identity is a member."""
        if self._home.identity_of(id) or (before is not None and self._home.chain_of_node(id) is None):
            return  # it acts there, or somebody has deleted it here
        with _suppress_unfit():
            known = self._home.take_up(genesis, f"{self._identity.name}-group", via=self._identity)
            if known is not None and known is not before:
                wake = partial(self._home.wake, bytes(self._actor.log.id))
                known.watch(wake)
                self._groups[id] = genesis, known
                wake()  # for what came before
            if known is not None:
                self._hold_below(known)

    def _hold_below(self, group: KnownIdentity) -> None:
        """Holds who is behind the seats of a group that it does not act in yet: else its chain is not understood."""
        todo, met = [group], set[bytes]()
        while todo:
            one = todo.pop()
            for seat, chain in one.folded.live_nested.items():
                is_fresh = self._home.chain_of_node(chain) is None and chain not in self._below
                keys = holder_in(one.log, seat) if is_fresh and len(self._below) < _MOST_HELD else None
                if isinstance(keys, IdentityHolder):
                    self._below.add(chain)
                    self._home.take_up(keys.genesis, f"{self._identity.name}-member")
                held = None if chain in met else self._home.held(chain)
                met.add(chain)
                todo.extend([] if held is None else [held])

    # --- anchors -------------------------------------------------------------------------------------------------------

    def introduce(self, other: KnownIdentity) -> None:
        """Makes a member known to its group: lets its devices write, and anchors what is held of it."""
        for seat, chain in self._actor.log.folded().live_nested.items():
            if chain == other.chain.id:
                self._let_write(other.folded)
                while self._anchor(seat, other.folded):
                    pass

    def _let_write(self, theirs: Folded) -> None:
        keys = self._unadmitted(theirs)
        if keys:
            self._actor.log.admit(*keys[:_MOST_ADMITTED])

    def _unadmitted(self, theirs: Folded) -> list[bytes]:
        """The keys of an identity's devices that may not write here yet, those of its own seats first, by rank."""
        own = [seat.holder.block_key for seat in theirs.authority.live if isinstance(seat.holder, Device)]
        keys = dict.fromkeys([*own, *sorted(device.block_key for device in theirs.devices)])
        return [key for key in keys if not self._identity.log.is_writer(key)]

    def _anchor(self, seat: SeatId, theirs: Folded) -> bool:
        """Anchors the next portion of what the group is to know of an identity; whether there was any."""
        folded = self._actor.log.folded()
        if not lacking(folded, seat, theirs):
            return False
        last, most = folded.best_anchor(seat), _PORTION
        base = None if last is None else last.id
        heads = portion(folded, seat, theirs, most)
        while last is None or list(last.body.heads) != heads:
            try:
                self._actor.state_fact(ANCHORED, [seat, heads, base], () if base is None else (base,))
            except NotAllowedError:
                if most == 1:
                    raise
                most //= 2  # more is under them than one anchor may add
                heads = portion(folded, seat, theirs, most)
            else:
                return True
        return False

    def _anchor_own(self, folded: Folded, now_s: float) -> float:
        """Has the group know what is new of the identity behind whose seat this device acts; in turn with its others."""
        via, seat = self._actor.via, self._actor.seat(folded)
        if via is None or seat is None:
            return float("inf")
        theirs = via.log.folded()
        news = lacking(folded, seat.id, theirs)
        keys = self._unadmitted(theirs)
        if not news and not keys:
            self._noticed.clear()
            return float("inf")
        turn = self._turn(theirs, news)
        if theirs.epochs.current is None:
            turn = max(turn, 1)  # first they renew: what is wrapped to the key before may be for one who was removed
        due = self._noticed.setdefault(frozenset({*news, *keys}), now_s) + _TURN_S * turn
        if due > now_s:
            return due
        with suppress(NotAllowedError, UnavailableError):
            self._let_write(theirs)
            has_said = self._anchor(seat.id, theirs)
            return now_s if has_said or len(keys) > _MOST_ADMITTED else float("inf")
        return float("inf")

    def _turn(self, theirs: Folded, news: Collection[bytes]) -> int:
        """This device's turn among those of an identity: first whoever said the last of what is new."""
        pasts, writer = theirs.pasts, self._actor.log.writer
        own = [pasts.place[id] for id in news if id in pasts.place]
        brought = (place for place, act in enumerate(pasts.acts) if act.kind == ANCHORED)  # what is further below
        last = max(own or brought, default=None)
        if last is not None and pasts.acts[last].author == writer:
            return 0
        keys = sorted({device.block_key for device in theirs.devices})
        seed = theirs.chain if last is None else pasts.acts[last].id
        return 1 + order(keys, seed).index(writer) if writer in keys else len(keys)

    # --- cuts ----------------------------------------------------------------------------------------------------------

    def cuts(self, seats: Collection[SeatId]) -> dict[bytes, list[bytes]]:
        """Where these seats of the identity have rights elsewhere, by tag: the last that was said there behind them."""
        folded, found = self._actor.log.folded(), dict[bytes, list[bytes]]()
        for one in self._outer():
            there = one.folded
            found[there.genesis.tag] = heads_of(there, list(there.said_by(folded.chain, seats)))[:MAX_HEADS]
        keys = folded.keys_behind(seats)
        for chain in self._data_chains():
            newest = (next(chain.blocks(author=key, newest_first=True, limit=1), None) for key in keys)
            found[tag_of(decode_block(chain.genesis))] = sorted(bytes(block.id) for block in newest if block)[
                :MAX_HEADS
            ]
        return dict(sorted(found.items()))

    def _outer(self) -> list[Identity]:
        """The groups in which this device acts behind a seat of the identity, near or far."""
        return [one for one in self._home.all() if one is not self._identity and self._actor in one.actor.behind]

    def _data_chains(self) -> list[Chain]:
        found = {chain.id: chain for one in (self._identity, *self._outer()) for chain in one.chains()}
        return list(found.values())

    def _cut_later(self, folded: Folded, now_s: float) -> float:
        """Gives cuts for the chains that a removal has none for: new ones, or such as its author did not know."""
        removals = list(folded.authority.counted(REMOVED))
        if not removals:
            return float("inf")
        seats = {seat for act in removals for seat in act.body.seats}
        cut = [{tag for cuts in folded.cuts_of(act) for tag in cuts} for act in removals]
        missing = {tag: heads for tag, heads in self.cuts(seats).items() if not all(tag in tags for tags in cut)}
        if not missing:
            return float("inf")
        turn = self._turn(folded, [removals[-1].id])
        due = self._noticed.setdefault(frozenset(missing), now_s) + _TURN_S * turn
        if due > now_s:
            return due
        with suppress(NotAllowedError, UnavailableError):
            self._actor.act(CUT, [None, cuts(dict(list(missing.items())[:MAX_CUTS]))])
            return now_s
        return float("inf")

    # --- what is handed on ---------------------------------------------------------------------------------------------

    def take_handed(self, handed: Handed | Told) -> None:
        """Takes in what another device handed on: notes, and keys of groups, which may have to wait until these are held."""
        if handed not in self._handed:
            self._handed.append(handed)

    def _use_handed(self) -> None:
        do_all([partial(self._read_note, *one) for one in self._handed if isinstance(one, Told)])
        for actor in self._actor.behind:
            behind = self._home.identity_of(actor.log.id)
            for one in () if behind is None else behind.handed:
                if isinstance(one, Handed) and one.chain == self._actor.log.id:
                    self._identity.take_handed(one)

    @property
    def handed(self) -> Sequence[Handed | Told]:
        """What other devices handed on to this one."""
        return self._handed

    def _hand_on(self, folded: Folded, now_s: float) -> float:
        """Hands new devices what was told before they came, and the keys of groups: first whoever added them."""
        again = float("inf")
        had = {act.body[0] for act in folded.authority.counted(GRANTED)}
        for seat in folded.authority.live if self._actor.via is None else ():
            made, mark = seat.made, f"{_HANDED}{_text(seat.id)}"
            if made is None or seat.id in had or not isinstance(seat.holder, Device) or made.kind != ADDED:
                continue
            is_mine = seat.holder.block_key == self._actor.log.writer
            if not is_mine and self._identity.chain.tables.get(mark) is None:
                due = self._noticed.setdefault(frozenset({made.id}), now_s) + _TURN_S * self._turn(folded, [made.id])
                if due > now_s:
                    again = min(again, due)
                    continue
                with suppress(NotAllowedError, UnavailableError):
                    self._hand(seat.id)
                    self._identity.chain.tables.put(mark, b"1")
        return again

    def _hand(self, seat: SeatId) -> None:
        things: list[Handed | Told] = [Told(*note) for note in self.notes() if note[0] in (GROUP, CONTACT)]
        for one in self._outer():
            epoch = one.folded.epochs.current
            keys = None if epoch is None else one.actor.keyring.epoch(epoch.sign_id)
            if epoch is not None and keys is not None:
                things.append(Handed(bytes(one.chain.id), epoch.sign_id, keys))
        while things:
            weight, count = 0, 0
            while count < len(things) and (not count or weight + _weight(things[count]) <= _BUNDLE_BYTES):
                weight += _weight(things[count])
                count += 1
            self._identity.hand(seat, things[:count])
            things = things[count:]


@contextmanager
def _suppress_unfit() -> Iterator[None]:
    """What another named, and what cannot be held: it is left alone. A disk that refuses is no such reason."""
    try:
        yield
    except ClosedError:
        raise
    except (RemoteError, LocalError):
        return


def _weight(thing: Handed | Told) -> int:
    return len(thing.data) + 128 if isinstance(thing, Told) else 256


def _text(seat: SeatId) -> str:
    return str(seat) if isinstance(seat, int) else seat.hex()
