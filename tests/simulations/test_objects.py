"""Objects at real replicas, in virtual time: loss, partitions, crashes, forks and vandals; all see the same in the end."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import cbor2
import pytest

from mutability import ANYONE, AUTHOR, CREATED, DELETED, EDITED, RESTORED
from mutability.state import heads_of, layer_of
from tests.suites.naive_objects import Model, anyone, author_only, malformed, read
from walytis_core.block import Block, Draft, Place, create, draft
from walytis_core.cid import BlockId
from walytis_core.events import Arrived, Change, Revised
from walytis_core.messages import Blocks, Why
from walytis_core.simulation import Hostile, Simulation, Weather
from walytis_core.simulation.invariants import members_of
from walytis_core.standing import Obeyed
from walytis_core.view import View

QUICK = range(12)
MANY = range(100, 200)
LINES = Path(__file__).with_name("objects_regressions.txt").read_text(encoding="utf-8").splitlines()
REGRESSIONS = [int(line) for line in LINES if line and not line.startswith("#")]
STRESS_S = 8.0


class Vandal(Hostile):
    """Says of the objects of others whatever it likes, well signed and at good places, and forks now and then."""

    writes = True

    def act(self) -> None:
        """Its turn."""
        plain = self.forger.fork() if self.rng.random() < 0.15 else self.forger.good()
        signer = next(one for one in self.forger.signers if one.key == plain.author)
        place = Place(plain.chain, plain.seq, plain.prev, plain.parents, plain.height)
        block = create(signer, place, self._vandalism(plain), 0)
        own = self.forger.own[plain.author]
        if own and own[-1] is plain:
            own[-1] = block
        self.forger.seen.remove(plain)
        self.forger.saw(block)
        for peer in self.streams:
            if self.rng.random() < 0.7:
                self.tell(Blocks(Why.NEWS, (block.encoded,)), peer)

    def _vandalism(self, plain: Block) -> Draft:
        seen = [(block.id, said) for block in self.forger.seen if (said := read(block)) is not None]
        named = [one for one in seen if one[0] in plain.ancestors_named] or seen
        if not named or self.rng.random() < 0.2:
            return version(CREATED, None, [], "text/plain", b"mine")
        victim, said = self.rng.choice(named)
        if self.rng.random() < 0.3:
            type, ext = malformed(self.rng, bytes(said.object), bytes(victim))
            return draft(b"", type=type, ext=ext)
        kinds: list[tuple[str, Any, bytes]] = [
            (EDITED, "text/plain", b"vandalised"), (DELETED, True, b""), (RESTORED, bytes(victim), b""),
        ]  # fmt: skip
        type, detail, body = self.rng.choice(kinds)
        return version(type, said.object, [victim], detail, body)


def version(type: str, object: bytes | None, replaces: list[BlockId], detail: object, body: bytes = b"") -> Draft:
    value = [None if object is None else bytes(object), sorted(bytes(id) for id in replaces), detail]
    return draft(body, type=type, ext={"mutability": cbor2.dumps(value, canonical=True)})


class Play:
    """One seed: a network, what its peers write, and a view at each of them."""

    def __init__(self, seed: int) -> None:
        self.random = rng = random.Random(f"objects {seed}")
        weather = Weather(
            rng, latency_s=0.01, jitter_s=0.03, loss=rng.choice([0.0, 0.1, 0.4]), duplicate=0.1, reorder=0.2
        )
        self.rule, self.judge = rng.choice([(AUTHOR, author_only), (ANYONE, anyone)])
        self.views: dict[str, tuple[int, View]] = {}
        self.sim = Simulation(rng.randint(2, 4), seed=seed, weather=weather, on_change=self.changed)
        for number in range(rng.choice([0, 1, 2])):
            self.sim.add_hostile(Vandal, f"vandal{number}")
        self.schedule()

    def schedule(self) -> None:
        sim, rng = self.sim, self.random
        for _ in range(rng.randint(20, 60)):
            sim.at(rng.random() * STRESS_S, self.write, rng.choice(list(sim.peers)))
        for _ in range(rng.randint(0, 2)):
            start_s = rng.random() * STRESS_S
            sim.at(start_s, sim.partition, [name for name in sim.wires.everyone if rng.random() < 0.5])
            sim.at(start_s + rng.random() * 4, sim.heal)
        for _ in range(rng.randint(0, 3)):
            start_s, peer, effects = rng.random() * STRESS_S, rng.choice(list(sim.peers)), rng.choice([None, 0, 1, 2])
            sim.at(start_s, lambda peer=peer, effects=effects: sim.crash(peer, after_effects=effects))
            sim.at(start_s + rng.random() * 3, sim.restart, peer)

    def view(self, name: str) -> View:
        """A peer's view: made anew from its store after a crash."""
        peer = self.sim.peer(name)
        life, view = self.views.get(name, (-1, None))
        if view is None or life != peer._life:
            view = View(layer_of(self.rule), peer.store)
            self.views[name] = peer._life, view
            view.arrived()
        return view

    @staticmethod
    def shown(view: View) -> list[bytes]:
        """The objects that a view shows."""
        keys = list(view.keys())
        return sorted(key for key in keys if isinstance(key, bytes) and view.state_of(key))

    @staticmethod
    def history(view: View, object: bytes) -> list[BlockId]:
        """The versions that count, read page by page."""
        obeyed: list[BlockId] = []
        at = None
        while page := view.entries(object, at):
            obeyed += [BlockId(at.id) for at, standing in page if standing == Obeyed()]
            at = page[-1][0]
        return obeyed

    def changed(self, name: str, change: Change) -> None:
        view = self.view(name)
        match change:
            case Arrived(blocks):
                view.arrived(blocks)
            case Revised(ids):
                view.revised(ids)
        if self.random.random() < 0.1:
            view.save()

    def write(self, name: str) -> None:
        """A peer writes of an object that it sees, or makes one."""
        peer, rng = self.sim.peer(name), self.random
        if not peer.is_up:
            return
        view = self.view(name)
        objects = self.shown(view)
        if not objects or rng.random() < 0.15:
            self.sim.append_many(name, [version(CREATED, None, [], "text/plain", rng.randbytes(4))])
            return
        object = rng.choice(objects)
        heads = heads_of(view.state_of(object))
        ids = [head.id for head in heads[: rng.randint(1, 22)]]
        types = (DELETED, RESTORED, EDITED, EDITED, EDITED) if not heads[0].is_deleted else (RESTORED,)
        kind = rng.choice(types)
        detail = {DELETED: False, RESTORED: object, EDITED: "text/plain"}[kind]
        one = version(kind, object, ids, detail, rng.randbytes(4) if kind == EDITED else b"")
        named = {*ids, BlockId(object)} if kind == RESTORED else {*ids}
        self.sim.append_many(name, [one._replace(parents=tuple(sorted(named)))])

    def check(self) -> set[bytes]:
        """Each peer sees what the model says; gives what there is."""
        states = []
        for name, peer in self.sim.peers.items():
            members = members_of(peer.store)
            folded = [BlockId(row.id) for row in peer.store.canonical(None, 1 << 40)]
            model, view = Model(members, folded, self.judge), self.view(name)
            for id in model.objects():
                assert [head.id for head in heads_of(view.state_of(id))] == model.heads(id)
                assert self.history(view, id) == model.history(id)
            assert set(self.shown(view)) == model.objects()
            states.append({id: view.state_of(id) for id in model.objects()})
        assert all(state == states[0] for state in states)
        return set(states[0])


def play(seed: int) -> set[bytes]:
    game = Play(seed)
    sim = game.sim
    sim.run(STRESS_S + 1)
    sim.heal()
    for peer in sim.peers:
        sim.restart(peer)
    sim.remove_hostile()
    sim.run(1)
    sim.run_until_converged(120)
    sim.check_invariants(at_rest=True)
    return game.check()


@pytest.mark.parametrize("seed", [*QUICK, *REGRESSIONS])
def test_all_replicas_see_the_same_objects(seed):
    """M05, M06, M07, M10: loss, partitions, crashes and vandals; the same state everywhere, and it is the model's."""
    assert play(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", MANY[::10])
def test_a_hundred_more(first):
    """M05, M06, M07, M10: as above; ten seeds each."""
    for seed in range(first, first + 10):
        play(seed)
