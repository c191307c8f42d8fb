"""What is missing: which blocks are asked for, and of whom.

Three kinds: what parked blocks lack, what a peer announced, and members whose bytes are spoilt. Each is asked of one peer at a
time, and of another when it does not come (`asking.py` counts). What a pull under way may bring is left to it while that is
young. Pure: time and randomness come in; effects go out. It knows nothing of frontiers and of what we tell others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from walytis_core.asking import Asking, Cause
from walytis_core.cid import BlockId
from walytis_core.events import Contact, Effect, Send, SetTimer
from walytis_core.limits import Limits
from walytis_core.link import Link
from walytis_core.members import Members
from walytis_core.messages import Want, split_ids
from walytis_core.store.port import ChainStore
from walytis_core.turns import Turns


@dataclass(slots=True)
class Missing:
    """The blocks that a replica knows of and does not hold.

    Attributes:
        links: The peers that can be asked; shared with `Sync`.
        turns: The pull under way; shared with `Sync`.
        damaged: Members whose bytes are spoilt and wanted again.
        asking: What is asked for.
    """

    members: Members
    random: Callable[[], float]
    links: Mapping[str, Link]
    turns: Turns
    damaged: set[BlockId] = field(default_factory=set)
    asking: Asking = field(default_factory=Asking)
    _to_repair: list[BlockId] = field(default_factory=list)
    _is_asking_soon: bool = False

    def announced(self, peer: str, ids: Sequence[BlockId], held: ChainStore) -> list[Effect]:
        """A peer named blocks that it has just learnt."""
        known = held.known(ids)
        new = [id for id in ids if id not in known and id not in self.members.parking]
        return self._want(peer, [id for id in new if self.asking.add(id, Cause.ANNOUNCED, peer, peer)])

    def ask_soon(self) -> list[Effect]:
        """What is missing is mostly under way: it is asked for a moment later."""
        if self._is_asking_soon:
            return []
        self._is_asking_soon = True
        return [SetTimer("missing", Limits.ask_delay_s * (1 + self.random()))]

    def ask(self) -> list[Effect]:
        """Asks for blocks that parked ones lack: the peers that sent these, or any.

        A pull under way brings most of it: while it is young nothing is asked for, then only what others' blocks lack.
        """
        self._is_asking_soon = False
        pulling = self.turns.pulling
        if pulling is not None and not pulling.looks:
            return []
        wanted: dict[str, list[BlockId]] = {}
        contacts: set[str] = set()
        for id in self.members.parking.lacking():
            if self.asking.count(Cause.LACKING) >= Limits.asked_at_once:
                break
            senders = self.members.parking.senders(id) - ({pulling.peer} if pulling is not None else set())
            if not senders or id in self.asking:
                continue
            linked = sorted(senders & self.links.keys()) or sorted(self.links)
            if not linked:
                contacts.add(min(senders))
                continue
            peer = linked[int(self.random() * len(linked))]
            if self.asking.add(id, Cause.LACKING, min(senders), peer):
                wanted.setdefault(peer, []).append(id)
        return [*self._want_all(wanted), *(Contact(peer) for peer in sorted(contacts))]

    def repair(self) -> list[Effect]:
        """Asks for the damaged blocks, some at a time."""
        self._to_repair = [id for id in sorted(self.damaged, reverse=True) if id not in self.asking]
        return self._ask_damaged()

    def go_on(self) -> list[Effect]:
        """Blocks came: where some were damaged, the next of these may be asked for."""
        return self._ask_damaged() if self._to_repair and not self.asking.count(Cause.DAMAGED) else []

    def _ask_damaged(self) -> list[Effect]:
        peers = sorted(self.links)
        wanted: dict[str, list[BlockId]] = {}
        while peers and self._to_repair and self.asking.count(Cause.DAMAGED) < Limits.repaired_at_once:
            id = self._to_repair.pop()
            peer = peers[int(self.random() * len(peers))]
            if id in self.damaged and self.asking.add(id, Cause.DAMAGED, "", peer):
                wanted.setdefault(peer, []).append(id)
        return self._want_all(wanted)

    def _want_all(self, wanted: Mapping[str, Sequence[BlockId]]) -> list[Effect]:
        return [effect for peer, ids in wanted.items() for effect in self._want(peer, ids)]

    def _want(self, peer: str, ids: Sequence[BlockId]) -> list[Effect]:
        effects: list[Effect] = [Send(peer, Want(portion)) for portion in split_ids(ids)]
        if ids and not self.asking.is_timed:
            self.asking.is_timed = True
            effects.append(SetTimer("want", 1.0))
        return effects

    def ask_again(self) -> list[Effect]:
        """Asks other peers for what was asked for and did not come; gives up after a few times."""
        self.asking.is_timed = False
        retry, given_up = self.asking.again(self.damaged.union(self.members.parking.lacking()))
        for id in given_up:
            if id not in self.damaged:
                self.members.parking.drop_waiting_for(id)
        peers = sorted(self.links)
        wanted: dict[str, list[BlockId]] = {}
        for id in retry if peers else ():
            wanted.setdefault(self.asking.other(id, peers, self.random()), []).append(id)
        effects = [*self._want_all(wanted), *self.ask(), *self._ask_damaged()]
        if len(self.asking) and not self.asking.is_timed:
            self.asking.is_timed = True
            effects.append(SetTimer("want", 1.0))
        return effects
