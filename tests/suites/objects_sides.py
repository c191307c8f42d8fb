"""What the parts of the objects suite share: two nodes on one chain, ways to write what no honest app writes, a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import pytest

from mutability import (
    EDITED,
    Change,
    Mutable,
    Rule,
    Version,
)
from mutability.payloads import encode
from tests.suites.nodes import Circle, join, until
from walytis_core import Block, BlockId, Chain, MemoryHub, MemoryNetwork, Node, Void
from walytis_core.errors import DeletedError
from walytis_core.network.port import Network
from walytis_core.past import Past
from walytis_core.standing import Obeyed, Standing

Writers: TypeAlias = "Literal['anyone'] | Sequence[bytes]"
Open = Callable[..., tuple[Mutable, Mutable]]
LONG = bytes(range(256)) * 200
"""Above the inline limit."""


def keep_first(change: Change, author: bytes, past: Past) -> Standing:
    """Anyone may edit; only the author of an object deletes and restores it, and only who wrote before creates one."""
    if change.object is None:
        return (
            Obeyed() if any(block.author == author for block in past.blocks("chat/")) else Void("write something first")
        )
    is_author = past.header(change.object).author == author
    return Obeyed() if change.kind == EDITED or is_author else Void("only its author may delete it")


KEEP = Rule("keep/1", keep_first)


def versions(objects: Mutable, object: BlockId, *, void: bool = False) -> list[Version]:
    """The history, without holes."""
    found = []
    for one in objects.history(object, void=void):
        assert isinstance(one, Version)
        found.append(one)
    return found


def contents(objects: Mutable, object: BlockId) -> list[bytes | None]:
    """What each version of the history has."""
    return [None if one.source is None else one.content for one in versions(objects, object)]


def write(chain: Chain, change: Change, content: bytes = b"", parents: Sequence[BlockId] | None = None) -> Block:
    """Writes a version whether it is allowed or not, as a hostile app would."""
    named = change.named if parents is None else parents
    return chain.append(content, type=change.kind, ext=encode(change), parents=named)


@contextmanager
def deaf(objects: Mutable) -> Iterator[None]:
    """Has a node hear nothing of its chain for a while; what it writes is concurrent to what others write."""
    with objects.chain.engine.exclusive():
        yield


def meet(*sides: Mutable) -> None:
    """Waits until all hold the same blocks."""

    def same() -> bool:
        held = [{block.id for block in one.chain.blocks()} for one in sides]
        return all(one == held[0] for one in held)

    until(same, what="the same blocks")


def assert_same(object: BlockId, *sides: Mutable) -> None:
    """Asserts that all see the same of an object."""
    seen: list[Any] = []
    for one in sides:
        states = [version.id for version in versions(one, object)], [other.id for other in one.conflicts(object)]
        try:
            seen.append((one.get(object).id, one.get(object).content, states))
        except DeletedError:
            seen.append((None, None, states))
    assert all(one == seen[0] for one in seen)


class Sides:
    """Two nodes on one chain; each part of the suite is one of these."""

    readers: ClassVar[str] = "everyone"
    writers: ClassVar[Writers] = "anyone"

    def networks(self) -> tuple[Network, Network]:
        """Two transports that reach each other."""
        hub = MemoryHub()
        return MemoryNetwork(hub), MemoryNetwork(hub)

    @pytest.fixture
    def open(self, tmp_path: Path) -> Iterator[Open]:
        """Opens a chain at two nodes: `open(rule)`; the chain's maker comes first."""
        with ExitStack() as stack:
            circle = Circle(self.readers)

            def make(rule: Rule | None = None, data: bytes = b"") -> tuple[Mutable, Mutable]:
                nodes = [
                    stack.enter_context(Node.open(tmp_path / name, network=network, members=circle))
                    for name, network in zip("ab", self.networks(), strict=True)
                ]
                chain = nodes[0].create_chain("objects", readers=self.readers, writers=self.writers, data=data)
                copy = join(nodes[1], chain)
                return Mutable(chain, rule), Mutable(copy, rule)

            yield make
