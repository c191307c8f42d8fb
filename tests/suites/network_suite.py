"""What every network adapter must do: subclass `NetworkSuite`, give it `make`, and pytest runs it all.

One whose `copies` is None takes `GivingSuite` too.

Example:
    >>> class TestMine(NetworkSuite, GivingSuite):
    ...     def make(self, seed): return MyNetwork()
"""

from __future__ import annotations

from tests.suites.network_blocks import BlockSuite, GivingSuite
from tests.suites.network_channels import ChannelSuite
from tests.suites.network_connections import ConnectionSuite
from tests.suites.network_streams import StreamSuite

__all__ = ["GivingSuite", "NetworkSuite"]


class NetworkSuite(ConnectionSuite, StreamSuite, ChannelSuite, BlockSuite):
    """The contract of `walytis_core.network.port.Network`, as tests."""
