"""What the chains of a node have in common on the network: the transport, threads, timers, and who is told of faults.

Holds no chain and decides nothing; all of it is used in the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from walytis_core.errors import Reason
from walytis_core.network.port import Network
from walytis_core.signer import Signer
from walytis_core.timers import Timers
from walytis_core.workers import Workers


@dataclass(slots=True)
class Shared:
    """What the chains of a node have in common on the network.

    Attributes:
        network: The transport.
        node: Signs with the node key.
        neighbours: Sync streams that each chain keeps open.
        workers: The node's threads.
        timers: The loop's timers.
        screeners: Bounds the threads that screen blocks.
        fault: Told what a peer did wrong.
        is_kept_out: Whether nothing is taken from a peer now.
    """

    network: Network
    node: Signer
    neighbours: int
    workers: Workers
    timers: Timers
    screeners: trio.CapacityLimiter
    fault: Callable[[Reason, str], None]
    is_kept_out: Callable[[str], bool]
