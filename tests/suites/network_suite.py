"""What every network adapter must do: subclass `NetworkSuite`, give it `make`, and pytest runs it all.

Example:
    >>> class TestMine(NetworkSuite):
    ...     def make(self, seed): return MyNetwork()
"""

from __future__ import annotations

from tests.suites.network_blocks import BlockSuite
from tests.suites.network_channels import ChannelSuite
from tests.suites.network_connections import ConnectionSuite
from tests.suites.network_streams import StreamSuite


class NetworkSuite(ConnectionSuite, StreamSuite, ChannelSuite, BlockSuite):
    """The contract of `walytis_core.network.port.Network`, as tests."""
