"""A transport to nobody: for commands that only read or write what is on the disk, and need no libp2p for it."""

from __future__ import annotations

from collections.abc import Sequence

from walytis_core.network import MemoryHub, MemoryNetwork


class Offline(MemoryNetwork):
    """A memory network of its own, on which nobody else is, and which has no address that could be kept."""

    def __init__(self) -> None:
        super().__init__(MemoryHub())

    def addresses(self) -> Sequence[str]:
        """None: nobody can reach this node now."""
        return ()
