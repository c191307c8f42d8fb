"""Transports: the port that a node asks for, and the adapters that fill it.

`Libp2pNetwork` is in `walytis_core.network.libp2p`, `KuboNetwork` in `walytis_core.network.kubo`: neither is imported here, so that
who uses memory loads nothing else.
"""

from walytis_core.network.memory import MemoryHub, MemoryNetwork
from walytis_core.network.port import Connected, Gossip, Network, PeerId, Stream, StreamHandler
from walytis_core.network.weather import Partition, Weather

__all__ = [
    "Connected",
    "Gossip",
    "MemoryHub",
    "MemoryNetwork",
    "Network",
    "Partition",
    "PeerId",
    "Stream",
    "StreamHandler",
    "Weather",
]
