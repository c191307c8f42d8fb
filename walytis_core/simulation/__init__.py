"""Replicas in virtual time, with faults and hostile peers, from one seed: test your app on it.

See docs/guides/simulator.md.
"""

from walytis_core.network.weather import Partition, Weather
from walytis_core.simulation.benchmark import Measured, benchmark
from walytis_core.simulation.forgery import Forger
from walytis_core.simulation.hostile import KINDS, Hostile
from walytis_core.simulation.scenario import Scenario, play
from walytis_core.simulation.simulation import InvariantError, Simulation
from walytis_core.simulation.traffic import Traffic

__all__ = [
    "KINDS",
    "Forger",
    "Hostile",
    "InvariantError",
    "Measured",
    "Partition",
    "Scenario",
    "Simulation",
    "Traffic",
    "Weather",
    "benchmark",
    "play",
]
