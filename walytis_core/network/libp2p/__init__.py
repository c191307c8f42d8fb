"""`Libp2pNetwork`, the embedded transport: TCP, Noise, Yamux, gossipsub, identify and ping by py-libp2p.

Importing this loads no py-libp2p: that takes a second, and starts processes to look for system libraries. It is
loaded when a network starts.
"""

from walytis_core.network.libp2p.network import Libp2pNetwork

__all__ = ["Libp2pNetwork"]
