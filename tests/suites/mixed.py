"""Nodes of both kinds on one chain: embedded ones, and ones behind a Kubo daemon. For tests that have the fixture `kubo`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, Literal

from tests.suites.kubo_daemon import Daemon
from tests.suites.nodes import until
from walytis_core import Block, Chain, Cid, Libp2pNetwork, Node, content
from walytis_core.network.kubo import KuboNetwork

Kind = Literal["embedded", "kubo"]

PAIRS: Final[list[tuple[Kind, Kind]]] = [("embedded", "kubo"), ("kubo", "embedded"), ("kubo", "kubo")]
"""Who invites, and who joins."""
READERS: Final = ["everyone", "secret"]


class Place:
    """Where a node lives: a directory, and a daemon for one that needs it. It can be closed, and opened again there."""

    def __init__(self, directory: Path, daemon: Daemon | None) -> None:
        self._directory = directory
        self._daemon = daemon
        self._node: Node | None = None

    @property
    def daemon(self) -> Daemon:
        """The daemon behind the node."""
        assert self._daemon is not None, "an embedded node has no daemon"
        return self._daemon

    @property
    def node(self) -> Node:
        """The node, opened when it is not."""
        if self._node is None:
            network = Libp2pNetwork() if self._daemon is None else KuboNetwork(self._daemon.api_url)
            self._node = Node.open(self._directory, network=network)
        return self._node

    def close(self) -> None:
        """Closes the node; its daemon goes on."""
        node, self._node = self._node, None
        if node is not None:
            node.close()


Settle = Callable[[Kind], Place]
"""Makes a place of a kind."""


@contextmanager
def settling(directory: Path, kubo: Callable[..., Daemon]) -> Iterator[Settle]:
    """Gives out places, each with a daemon of its own where it needs one; closes their nodes in the end."""
    places: list[Place] = []
    numbers = count()

    def settle(kind: Kind) -> Place:
        places.append(Place(directory / f"node{next(numbers)}", kubo() if kind == "kubo" else None))
        return places[-1]

    try:
        yield settle
    finally:
        for place in places:
            place.close()


def cids_of(chain: Chain, blocks: Iterable[Block] | None = None) -> list[Cid]:
    """The CIDs of blocks, or of a whole chain with its genesis, and of their long content as far as it is held."""
    found: list[Cid] = []
    if blocks is None:
        found.append(chain.id)
        blocks = chain.blocks()
    for block in blocks:
        found.append(block.id)
        if block.content is not None:
            found += [piece.cid for piece in content.pieces(block.content, chain.tables.side)]
    return found


def until_kept(daemon: Daemon, cids: Iterable[Cid]) -> None:
    """Waits until a daemon has these blocks in its repository."""
    for cid in cids:
        until(partial(daemon.has, cid), what=f"{cid} in the daemon's repository")


def digests_in(daemon: Daemon) -> set[bytes]:
    """The SHA-256 digests of all that is in a daemon's repository: it keeps blocks whatever their codec."""
    return {Cid.parse(line)[4:] for line in daemon.ipfs("refs", "local").split() if line.startswith("baf")}
