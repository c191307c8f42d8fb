"""The border to py-libp2p: whatever is raised below becomes `UnavailableError`, with its cause.

py-libp2p parses what strangers send in every call, and raises what its parsers happen to raise: its own errors,
`UnicodeDecodeError` of a protocol name, `DecodeError` of protobuf, `ValueError`, `KeyError`, `OSError`, trio's errors of
closed channels. No list of them would stay complete, and one that is missing lets a stranger end the node. Invariants:
errors of this library and cancellation pass as they are. It must be put around calls of py-libp2p only, never around
the node's own code, whose errors have to be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from libp2p.peer.id import ID

from walytis_core.errors import UnavailableError, WalytisError
from walytis_core.network.port import PeerId

__all__ = ["foreign_errors", "parse_peer"]


@contextmanager
def foreign_errors(message: str) -> Iterator[None]:
    """Has every error in the block leave as `UnavailableError` with this message."""
    try:
        yield
    except WalytisError:
        raise
    except Exception as error:  # see above: a stranger's bytes raise anything; cancellation is no `Exception`
        raise UnavailableError(message) from error


def parse_peer(peer: PeerId) -> ID:
    """The peer id of a text. Raises `UnavailableError` when it is none: no such peer is connected."""
    with foreign_errors("This is not a peer id."):
        return ID.from_base58(peer)
