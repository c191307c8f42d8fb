from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from tests.suites.network_suite import ALICE, BOB, CAROL, CHANNEL, PROTOCOL, NetworkSuite, echo, until
from walytis_core.errors import UnavailableError
from walytis_core.network import Gossip, MemoryHub, MemoryNetwork, Network, Weather


class TestMemoryNetwork(NetworkSuite):
    @pytest.fixture(autouse=True)
    def _hub(self) -> None:
        self.hub = MemoryHub()

    def make(self, seed: bytes) -> Network:
        return MemoryNetwork(self.hub)

    def cut(self, network: Network) -> None:
        self.hub.cut(network.peer_id)
