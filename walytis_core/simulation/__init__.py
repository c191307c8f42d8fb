"""Replicas in virtual time, with faults and hostile peers, from one seed: test your app on it.

See docs/guides/simulator.md.
"""

from walytis_core.network.weather import Partition, Weather
from walytis_core.simulation.simulation import InvariantError, Simulation
from walytis_core.simulation.traffic import Traffic

__all__ = ["InvariantError", "Partition", "Simulation", "Traffic", "Weather"]
