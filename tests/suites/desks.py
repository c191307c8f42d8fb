"""A node in memory with its identities, and the verbs of the command line on them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from frontends.calls import Call, perform
from frontends.verbs import VERBS
from identities import Identities
from walytis_core import MemoryHub, Node


@dataclass
class Desk:
    """A node with its identities, and the verbs on them."""

    node: Node
    home: Identities

    def steps(self, verb: str, content: bytes = b"", **arguments: Any) -> Iterator[Any]:
        """What a verb on identities answers."""
        return self.others(f"id {verb}", content, **arguments)

    def others(self, verb: str, content: bytes = b"", **arguments: Any) -> Iterator[Any]:
        """A verb that is not on identities."""
        call = Call(self.node, stays_online=True, content=io.BytesIO(content), identities=self.home)
        return perform(VERBS, verb, call, arguments)

    def one(self, verb: str, content: bytes = b"", **arguments: Any) -> Any:
        """Its one answer."""
        (form,) = self.steps(verb, content, **arguments)
        return form

    def bytes(self, verb: str, content: bytes, **arguments: Any) -> bytes:
        """What it wrote in pieces."""
        return b"".join(base64.b64decode(piece["base64"]) for piece in self.steps(verb, content, **arguments))


@contextmanager
def desk(hub: MemoryHub) -> Iterator[Desk]:
    """One on this hub, closed at the end."""
    with Node.in_memory(hub) as node, Identities(node) as home:
        yield Desk(node, home)
