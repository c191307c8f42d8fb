"""A network of replicas in virtual time, from one seed: to test what an app does when the world is unkind.

It runs the same deciding code as production (`replica.py` and below) over simulated wires, with faults that a seed chooses.
Invariant: a run is a function of the calls made and the seed, so a failure can be played again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from walytis_core.block import Block, Draft, draft
from walytis_core.cid import BlockId
from walytis_core.errors import NotFoundError, RemoteError
from walytis_core.events import Change, Settle
from walytis_core.network.weather import Weather
from walytis_core.policy import EVERYONE, Policy, create_genesis, read_genesis
from walytis_core.screening import read_genuine
from walytis_core.signer import Ed25519Signer, Signer
from walytis_core.simulation.hostile import KINDS, Hostile
from walytis_core.simulation.invariants import differences, problems_of
from walytis_core.simulation.peer import Peer
from walytis_core.simulation.timeline import Timeline
from walytis_core.simulation.traffic import Traffic
from walytis_core.simulation.wires import Wires
from walytis_core.store.memory import MemoryStore

State = TypeVar("State")
Name = int | str
"""A peer: its number, from 0, or its name."""

_START_MS = 1_700_000_000_000
_LINKS = 2


class InvariantError(AssertionError):
    """Something that must always hold does not; the message says what, for whom, and of which seed."""


class Simulation:
    """Peers that share one chain, in virtual time.

    Args:
        peers: How many honest peers.
        seed: What all chance comes from.
        weather: Faults of the links; by default 10 to 30 ms and nothing lost.
        writers: The numbers of the peers that may write; None for all, and strangers too.
        genesis: The chain's first block; by default one is made, with these writers.
        links: How many streams each peer wants; None for one to every other.
        bytes_read: Whether the messages of honest peers are read from their bytes; without, the run is the same, and faster.
        on_change: Told of every change at every peer, as a follower would be: `(name, change)`.

    Example:
        >>> sim = Simulation(peers=3, seed=7, weather=Weather(7, latency_s=0.01, loss=0.2))
        >>> block = sim.append(0, b"hello")
        >>> sim.partition([0, 1], [2])
        >>> _ = sim.append(2, b"is anybody there?")
        >>> sim.run(5)
        >>> sim.heal()
        >>> sim.run_until_converged() < 2
        True
        >>> [len(sim.folded(peer)) for peer in range(3)]
        [2, 2, 2]
    """

    def __init__(
        self, peers: int = 3, *, seed: int = 0, weather: Weather | None = None, writers: Collection[int] | None = None,
        links: int | None = _LINKS, bytes_read: bool = True, genesis: Block | None = None,
        on_change: Callable[[str, Change], None] | None = None,
    ) -> None:  # fmt: skip
        self.seed = seed
        self.random = random.Random(seed)
        self.timeline = Timeline()
        self.traffic = Traffic()
        self.weather = weather or Weather(random.Random(seed), latency_s=0.01, jitter_s=0.02)
        self.wires = Wires(self.timeline, self.weather, self.traffic, bytes_read=bytes_read)
        self._links = links
        self._on_change = on_change or (lambda _name, _change: None)
        self._read: dict[BlockId, Block | RemoteError] = {}
        signers = [self.signer(f"peer{number}") for number in range(peers)]
        keys = None if writers is None else frozenset(signers[number].key for number in writers)
        founder = signers[min(writers)] if writers else self.signer("peer0")
        self.genesis_block = genesis or create_genesis(founder, Policy(keys, EVERYONE), bytes(16), _START_MS)
        self.genesis = read_genesis(self.genesis_block)
        self.peers: dict[str, Peer] = {}
        self.hostile: list[Hostile] = []
        for signer in signers:
            self.add_peer(signer)

    # --- who is there --------------------------------------------------------------------------------------------

    def signer(self, name: str) -> Signer:
        """A signer that is a function of the seed and a name."""
        return Ed25519Signer(random.Random(f"{self.seed} {name}").randbytes(32))

    def add_peer(self, signer: Signer | None = None) -> str:
        """Adds an honest peer that knows nothing but the genesis. Returns its name."""
        name = f"peer{len(self.peers)}"
        store = MemoryStore().create_chain(self.genesis_block, "simulated")
        rng = random.Random(f"{self.seed} chance of {name}")
        peer = Peer(name, self.genesis, store, signer or self.signer(name), self.wires, rng, self.read, self._on_change)
        others = list(self.peers)
        peer.wanted = others if self._links is None else self.random.sample(others, min(self._links, len(others)))
        self.peers[name] = peer
        self.wires.join(peer)
        peer.start()
        return name

    def add_hostile(self, kind: str | Callable[..., Hostile], name: str | None = None) -> Hostile:
        """Adds somebody who plays by other rules.

        Args:
            kind: One of `hostile.KINDS`, or a subclass of `Hostile`.
            name: Its name on the network.
        """
        name = name or f"hostile{len(self.hostile)}"
        make = KINDS[kind] if isinstance(kind, str) else kind
        hostile = make(name, self.genesis, self.wires, random.Random(f"{self.seed} chance of {name}"))
        self.hostile.append(hostile)
        self.wires.join(hostile)
        hostile.start()
        return hostile

    def remove_hostile(self, *, writers_only: bool = False) -> None:
        """All hostile peers go; or only those that would write for ever, so that nobody could come to rest."""
        for hostile in self.hostile:
            if writers_only and not hostile.writes:
                continue
            hostile.is_up = False
            self.wires.cut_all(hostile.name)

    def peer(self, peer: Name) -> Peer:
        """One peer. Raises `NotFoundError`."""
        name = f"peer{peer}" if isinstance(peer, int) else peer
        if name not in self.peers:
            raise NotFoundError(f"there is no peer {peer} in this simulation")
        return self.peers[name]

    @property
    def now_s(self) -> float:
        """Virtual seconds since the start."""
        return self.timeline.now_s

    def read(self, encoded: bytes, id: BlockId) -> Block:
        """`screening.read_genuine`, remembered: a block that many peers receive is decoded and verified once."""
        found = self._read.get(id)
        if found is None:
            try:
                found = read_genuine(encoded, id)
            except RemoteError as error:
                found = error
            self._read[id] = found
        if isinstance(found, RemoteError):
            raise RemoteError(found.reason)
        return found

    # --- what they do --------------------------------------------------------------------------------------------

    def append(self, peer: Name, payload: bytes, *, topics: Collection[str] = (), type: str = "") -> Block:
        """Has a peer append a block; it is stored when this returns. Raises what `Chain.append` raises."""
        return self.append_many(peer, [draft(payload, topics=topics, type=type)])[0]

    def append_many(self, peer: Name, drafts: Sequence[Draft], *, start: BlockId | None = None) -> list[Block]:
        """Has a peer append blocks in one transaction."""
        one = self.peer(peer)
        return one.append(drafts, one.signer, self.clock_ms(peer), start)

    def append_if_up(self, peer: Name, payload: bytes) -> None:
        """Has a peer append, unless it has crashed."""
        if self.peer(peer).is_up:
            self.append_many(peer, [draft(payload)])

    def clock_ms(self, peer: Name) -> int:
        """What a peer's clock says, in milliseconds since the epoch."""
        return _START_MS + int(1000 * (self.now_s + self.peer(peer).skew_s))

    def at(self, time_s: float, do: Callable[..., object], *args: object) -> None:
        """Has something done at a virtual time."""
        self.timeline.after(max(time_s - self.now_s, 0.0), do, *args)

    # --- what befalls them ---------------------------------------------------------------------------------------

    def partition(self, *groups: Iterable[Name]) -> None:
        """Separates groups of peers; those in no group form one more together."""
        names = [[self._name(one) for one in group] for group in groups]
        self.weather.split(*names)
        self.wires.cut_separated()

    def heal(self) -> None:
        """Ends all partitions; peers find each other again."""
        self.weather.heal()
        for peer in self.peers.values():
            peer.redial_soon()

    def cut(self, one: Name, other: Name) -> None:
        """Cuts the stream between two; they open it again."""
        self.wires.cut(self._name(one), self._name(other))

    def cut_somewhere(self, chance: float) -> None:
        """Cuts one of the open streams, chosen by a number in [0, 1)."""
        open_ones = [(one, other) for one in self.wires.everyone for other in self.wires.neighbours(one)]
        if open_ones:
            self.wires.cut(*open_ones[int(chance * len(open_ones))])

    def crash(self, peer: Name, *, after_effects: int | None = None) -> None:
        """Ends a peer's process: now, or once it has performed so many more effects."""
        if after_effects is None:
            self.peer(peer).crash()
        else:
            self.peer(peer).crash_after = after_effects

    def restart(self, peer: Name) -> None:
        """Starts a crashed peer from its store."""
        one = self.peer(peer)
        if not one.is_up:
            one.start()
            for other in self.peers.values():
                if one.name in other.wanted:
                    other.redial_soon()

    def skew(self, peer: Name, seconds: float) -> None:
        """Sets a peer's clock off."""
        self.peer(peer).skew_s = seconds

    def _name(self, peer: Name) -> str:
        return f"peer{peer}" if isinstance(peer, int) else peer

    # --- time ----------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Lets virtual time pass."""
        self.timeline.run(self.now_s + seconds)

    def run_until(self, holds: Callable[[], bool], limit_s: float = 60.0, every_s: float = 0.05) -> float:
        """Lets time pass until something holds.

        Returns:
            The virtual seconds it took.

        Raises:
            InvariantError: It does not hold after `limit_s`.
        """
        start_s = self.now_s
        while not holds():
            if self.now_s - start_s >= limit_s:
                raise InvariantError(f"seed {self.seed}: not within {limit_s} s of virtual time")
            self.run(every_s)
        return self.now_s - start_s

    def run_until_converged(self, limit_s: float = 60.0) -> float:
        """Lets time pass until all peers that are up hold the same. Returns the virtual seconds it took.

        Raises:
            InvariantError: They do not after `limit_s`; it says how they differ.
        """
        try:
            return self.run_until(lambda: self.is_converged, limit_s)
        except InvariantError as error:
            raise InvariantError("\n".join([str(error), *differences(self._up())])) from None

    @property
    def is_converged(self) -> bool:
        """Whether all peers that are up have the same digest and count, and nothing to settle."""
        up = self._up()
        digests = {(peer.replica.members.frontier.digest(), peer.store.count) for peer in up}
        return len(digests) <= 1 and not any(peer.replica.is_unsettled for peer in up)

    def _up(self) -> list[Peer]:
        return [peer for peer in self.peers.values() if peer.is_up]

    # --- what came of it -----------------------------------------------------------------------------------------

    def folded(self, peer: Name) -> list[Block]:
        """A peer's blocks in canonical order, without the genesis: what an app's fold would read."""
        rows = self.peer(peer).store.canonical(None, 1 << 40)
        return [self.read(row.encoded, row.id) for row in rows]

    def fold(self, peer: Name, step: Callable[[State, Block], State], start: State) -> State:
        """An app's state at a peer: `step` over its blocks in canonical order."""
        state = start
        for block in self.folded(peer):
            state = step(state, block)
        return state

    def check_invariants(self, *, at_rest: bool = False) -> None:
        """Judges everything that every peer holds by a naive second opinion; slow, thorough.

        Args:
            at_rest: Whether they have converged, so that they must also agree.

        Raises:
            InvariantError: With all that is wrong, and the seed.
        """
        up = self._up()
        for peer in up:
            if peer.replica.is_unsettled:
                peer.feed(Settle())
        problems = [problem for peer in up for problem in problems_of(peer, self.genesis)]
        problems += differences(up) if at_rest else []
        if problems:
            raise InvariantError("\n".join([f"seed {self.seed}, at {self.now_s:.3f} s:", *problems]))
