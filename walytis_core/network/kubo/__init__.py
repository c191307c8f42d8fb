"""`KuboNetwork`, the transport over a Kubo daemon: its pubsub, its streams and its block store, by its HTTP RPC.

Importing this loads no httpx: that is done when a network starts.
"""

from walytis_core.network.kubo.network import KuboNetwork

__all__ = ["KuboNetwork"]
