"""Random scenarios: from one number a network, its weather, its hostile peers and what befalls it.

A scenario ends in peace: partitions healed, crashed peers back, hostile ones still there or gone. Then all honest peers must agree, and
everything must be as a naive second opinion says. The same number gives the same run, on every machine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from walytis_core.network.weather import Weather
from walytis_core.simulation.hostile import KINDS
from walytis_core.simulation.simulation import Simulation

_STRESS_S = 10.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is drawn from a seed."""

    seed: int
    peers: int
    hostile: tuple[str, ...]
    loss: float
    duplicate: float
    reorder: float
    appends: int
    partitions: int
    crashes: int
    cuts: int
    hostile_stay: bool

    @classmethod
    def of(cls, seed: int) -> Scenario:
        """The scenario of a seed."""
        rng = random.Random(f"scenario {seed}")
        return cls(
            seed=seed,
            peers=rng.randint(2, 6),
            hostile=tuple(rng.choices(sorted(KINDS), k=rng.choice([0, 1, 1, 2, 3]))),
            loss=rng.choice([0.0, 0.1, 0.5]),
            duplicate=rng.choice([0.0, 0.2]),
            reorder=rng.choice([0.0, 0.3]),
            appends=rng.randint(5, 30),
            partitions=rng.randint(0, 2),
            crashes=rng.randint(0, 3),
            cuts=rng.randint(0, 5),
            hostile_stay=rng.random() < 0.5,
        )


def play(scenario: Scenario, *, limit_s: float = 120.0) -> Simulation:
    """Plays a scenario to its end.

    Returns:
        The simulation, at rest.

    Raises:
        InvariantError: Peers did not converge, or something is not as it must be.
    """
    rng = random.Random(f"play {scenario.seed}")
    weather = Weather(
        rng, latency_s=0.01, jitter_s=0.03, loss=scenario.loss, duplicate=scenario.duplicate, reorder=scenario.reorder
    )
    sim = Simulation(scenario.peers, seed=scenario.seed, weather=weather)
    for number, kind in enumerate(scenario.hostile):
        sim.add_hostile(kind, f"hostile{number}")
    _schedule(sim, scenario, rng)
    for _ in range(4):
        sim.run(_STRESS_S / 4)
        sim.check_invariants()
    sim.heal()
    for peer in sim.peers:
        sim.restart(peer)
    sim.remove_hostile(writers_only=scenario.hostile_stay)
    sim.run(1.0)
    sim.run_until_converged(limit_s)
    sim.check_invariants(at_rest=True)
    return sim


def _schedule(sim: Simulation, scenario: Scenario, rng: random.Random) -> None:
    def someone() -> str:
        return rng.choice(list(sim.peers))

    for peer in sim.peers:
        sim.skew(peer, rng.uniform(-86400, 86400))
    for number in range(scenario.appends):
        sim.at(rng.random() * _STRESS_S, sim.append_if_up, someone(), b"block %d" % number)
    for _ in range(scenario.partitions):
        start_s = rng.random() * _STRESS_S
        halves = [name for name in sim.wires.everyone if rng.random() < 0.5]
        sim.at(start_s, sim.partition, halves)
        sim.at(start_s + rng.random() * 4, sim.heal)
    for _ in range(scenario.crashes):
        start_s, peer = rng.random() * _STRESS_S, someone()
        effects = rng.choice([None, 0, 1, 2, 5])
        sim.at(start_s, lambda peer=peer, effects=effects: sim.crash(peer, after_effects=effects))
        sim.at(start_s + rng.random() * 3, sim.restart, peer)
    for _ in range(scenario.cuts):
        sim.at(rng.random() * _STRESS_S, sim.cut_somewhere, rng.random())
