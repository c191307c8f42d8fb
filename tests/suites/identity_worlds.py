"""A growing history of an identity: what was written, by whom, on top of what, and what reached whom.

Who does what in it: `identity_schedules`.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from identities.acts import (
    ANCHORED,
    ASKED,
    LEFT,
    NOTED,
    RECOVERY,
    Act,
    Council,
    Device,
    GenesisSeats,
    Holder,
    Nested,
    Recovery,
    SeatId,
)
from tests.suites.naive_authority import Model

ID_PREFIX: Final = bytes((1, 0x71, 0x12, 0x20))
MOST_SEEN: Final = 62


class Schedule(NamedTuple):
    """A history.

    Attributes:
        acts: Everything ever written.
        folded: What the core folds of it: less the forked ends of keys on which nobody built.
        copies: Acts that share their author's previous block with another act.
        refused: Acts of nested identities' devices without the right to them.
    """

    seed: int
    genesis: GenesisSeats
    acts: Sequence[Act]
    folded: Sequence[Act]
    copies: Collection[bytes]
    refused: Collection[bytes]


class Player:
    """Somebody who holds a seat's key, or a copy of it.

    Args:
        path: The seat, and what is behind it.
        author: Its block key.
        view: What reached it.
        own: The last act by that key that it knows of.
    """

    def __init__(
        self, path: tuple[SeatId, ...], author: bytes, view: Iterable[bytes] = (), own: bytes | None = None
    ) -> None:
        self.path = path
        self.author = author
        self.view = set(view)
        self.own = own

    @property
    def seat(self) -> SeatId:
        return self.path[0]

    def copied(self) -> Player:
        """A thief's copy."""
        return Player(self.path, self.author, self.view, self.own)


class World:
    """What was written, by whom, on top of what."""

    def __init__(self, seed: int, limit: int, devices: int | None = None) -> None:
        self.random = random.Random(f"identity {seed}")
        self.seed = seed
        self.limit = limit
        self.acts: dict[bytes, Act] = {}
        self.prev: dict[bytes, bytes | None] = {}
        self.pasts: dict[bytes, frozenset[bytes]] = {}
        self.refused: set[bytes] = set()
        self.naming: dict[bytes, bytes] = {}
        self.honest: list[Player] = []
        self.thieves: list[Player] = []
        self._made = 0
        self.genesis = self._genesis(devices)

    # --- the beginning ----------------------------------------------------------------------------------------------

    def some_bytes(self, count: int = 32) -> bytes:
        self._made += 1
        return hashlib.shake_256(f"{self.seed} {self._made}".encode()).digest(count)

    def id(self, of: object) -> bytes:
        return ID_PREFIX + hashlib.sha256(f"{self.seed} {of!r}".encode()).digest()

    def device(self) -> Device:
        return Device(b"\xed\x01" + self.some_bytes(), self.some_bytes(), self.some_bytes(16), self.some_bytes(16))

    def _genesis(self, devices: int | None) -> GenesisSeats:
        rng = self.random
        holders: list[Holder] = [Recovery(b"\xed\x01" + self.some_bytes())]
        if rng.random() < 0.45:
            holders.append(Council(2, 3))
        holders += [self.device() for _ in range(devices or rng.choice((1, 1, 2, 3)))]
        if devices is None and rng.random() < 0.2:
            holders.append(Nested(self.id("nested")))
        for seat, holder in enumerate(holders):
            self.seat(seat, holder)
        return GenesisSeats(self.id("chain"), tuple(holders), self.some_bytes(16), self.some_bytes(16))

    def seat(self, seat: SeatId, holder: Holder, view: Iterable[bytes] = ()) -> None:
        """Somebody sits down on a seat."""
        if isinstance(holder, Device):
            self.honest.append(Player((seat,), holder.block_key, view))
        elif isinstance(holder, Nested):
            self.honest += [Player((seat, 1 + n), b"\xed\x01" + self.some_bytes(), view) for n in range(2)]

    def chairs(self) -> list[Player]:
        """Those who hold the recovery key or speak for a council."""
        found: list[Player] = []
        for seat, holder in enumerate(self.genesis.holders):
            if isinstance(holder, Recovery):
                found.append(Player((seat,), holder.block_key))
            elif isinstance(holder, Council):
                found.append(Player((seat,), b"\xed\x01" + self.some_bytes()))
        return found

    def holder(self, seat: SeatId) -> Holder | None:
        """Who would hold a seat, whether or not its making counts."""
        if isinstance(seat, int):
            return self.genesis.holders[seat]
        holder: Holder | None = self.acts[seat].body
        return holder

    # --- writing ----------------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        return len(self.acts) >= self.limit

    def heads(self, view: Collection[bytes]) -> tuple[bytes, ...]:
        """What an act on this view names."""
        named = {id for one in view for id in self.acts[one].seen}
        heads = sorted(id for id in view if id not in named)
        return tuple(sorted(self.random.sample(heads, min(len(heads), MOST_SEEN))))

    def some(self, ids: Collection[bytes], most: int = 3) -> tuple[bytes, ...]:
        """A few of them."""
        ids = sorted(ids)
        return tuple(sorted(self.random.sample(ids, min(len(ids), self.random.randint(1, most)))))

    def put(
        self,
        player: Player,
        kind: str,
        body: Any = None,
        *,
        seen: tuple[bytes, ...] | None = None,
        path: tuple[SeatId, ...] | None = None,
        fork: bool = False,
    ) -> Act:
        """Somebody writes; `fork` from beside its last act."""
        seen = self.heads(player.view) if seen is None else seen
        naming = self.naming.get(player.author)
        if naming is not None and not any(naming == id or naming in self.pasts[id] for id in seen):
            seen = tuple(sorted({*seen, naming}))  # without it nobody takes it for a recovery key
        prev = self.prev.get(player.own) if fork and player.own else player.own
        below = max((self.acts[id].height for id in (*seen, *([prev] if prev else ()))), default=0)
        height = below + self.random.choice((1, 1, 1, 2, 4))
        path = player.path if path is None else path
        path = () if kind in (ANCHORED, ASKED) else path
        kind = NOTED if kind == LEFT and path[0] == RECOVERY else kind  # it cannot
        id = self.id((height, player.author, kind, path, seen, body, prev))
        act = Act(id, height, player.author, kind, path, seen, body)
        self.acts[id] = act
        self.prev[id] = prev
        self.pasts[id] = frozenset(seen).union(*(self.pasts[one] for one in seen))
        player.view |= {id, *self.pasts[id]}
        player.own = id
        if len(path) > 1 and self.random.random() < 0.2:
            self.refused.add(id)
        return act

    def hear(self, player: Player) -> None:
        """Something reaches somebody, or everything."""
        if self.random.random() < 0.3:
            player.view |= self.acts.keys()
        for id in self.some(self.acts, 3) if self.acts else ():
            player.view |= {id, *self.pasts[id]}

    def model(self, view: Collection[bytes]) -> Model:
        return Model(self.genesis, [self.acts[id] for id in sorted(view)], self.refused)

    # --- the end ----------------------------------------------------------------------------------------------------

    def done(self) -> Schedule:
        """The history."""
        forked: dict[tuple[bytes, bytes | None], list[bytes]] = {}
        for id, prev in self.prev.items():
            forked.setdefault((self.acts[id].author, prev), []).append(id)
        copies = {id for ids in forked.values() if len(ids) > 1 for id in ids}
        folded = folded_of(self.acts, self.prev)
        acts = [act for id, act in self.acts.items() if id in folded]
        return Schedule(self.seed, self.genesis, list(self.acts.values()), acts, copies, frozenset(self.refused))


def folded_of(acts: Mapping[bytes, Act], prev: Mapping[bytes, bytes | None]) -> set[bytes]:
    """Acts by no forked key from its fork on, and what these name: as the core has it (DESIGN 3.1)."""

    def seq(id: bytes) -> int:
        before = prev[id]
        return 0 if before is None else 1 + seq(before)

    places: dict[tuple[bytes, int], int] = {}
    for id, act in acts.items():
        places[act.author, seq(id)] = places.get((act.author, seq(id)), 0) + 1
    forks: dict[bytes, int] = {}
    for (author, number), count in places.items():
        if count > 1:
            forks[author] = min(number, forks.get(author, number))
    found: set[bytes] = set()
    todo = [id for id, act in acts.items() if seq(id) < forks.get(act.author, sys.maxsize)]
    while todo:
        id = todo.pop()
        if id not in found:
            found.add(id)
            before = prev[id]
            todo += [*acts[id].seen, *([] if before is None else [before])]
    return found
