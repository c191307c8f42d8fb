"""The embedded transport on real sockets of the loopback."""

from __future__ import annotations

import socket

import pytest

from tests.suites.network_suite import NetworkSuite
from walytis_core.network import Network
from walytis_core.network.libp2p import Libp2pNetwork

pytestmark = pytest.mark.libp2p


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestLibp2pNetwork(NetworkSuite):
    @pytest.fixture(autouse=True)
    def _ports(self) -> None:
        self.ports: dict[bytes, int] = {}

    def make(self, seed: bytes) -> Network:
        """A network for the same seed takes the port of the one before."""
        port = self.ports.setdefault(seed, free_port())
        return Libp2pNetwork(listen=[f"/ip4/127.0.0.1/tcp/{port}"])
