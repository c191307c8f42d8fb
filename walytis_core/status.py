"""What a node and a chain say about themselves: plain frozen data, the same in the command, the notebook and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerInfo:
    """A peer of a chain that is online.

    Attributes:
        peer: The transport's peer id.
        node_key: Its node key, proven at the opening of the stream; 32 bytes.
        last_contact: When something last came from it; seconds since the epoch.
    """

    peer: str
    node_key: bytes
    last_contact: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainStatus:
    """Why a chain is, or is not, in sync.

    Attributes:
        blocks: How many blocks are held.
        heads: How many blocks nobody has built on.
        peers: Online peers with an open stream.
        last_contact: Seconds since the epoch; None when nobody was met since the node was opened.
        pulling_from: The peer from which blocks are being fetched now.
        parked: Blocks that wait for others that are missing.
        missing: How many blocks they wait for.
        refused: What peers sent that was refused, counted by reason.
        forked_authors: Authors that are proven to have equivocated.
        corrupt: Blocks that were found damaged on disk and are fetched again.
        writable: Why this node may not append now; None when it may.
        followers: The last error of each callback follower, by name; None where all is well.
        copied: Whether all of it is in the IPFS daemon on which the node runs, and pinned there as far as it is this
            node's own; None where no daemon keeps copies of it.
    """

    blocks: int
    heads: int
    peers: int
    last_contact: float | None
    pulling_from: str | None
    parked: int
    missing: int
    refused: Mapping[str, int]
    forked_authors: int
    corrupt: int
    writable: str | None
    followers: Mapping[str, str | None]
    copied: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStats:
    """What a node holds and does; the same numbers in the command, the notebook and metrics.

    Attributes:
        chains: How many chains are held and work.
        damaged: How many chains could not be opened; `Node.damaged` says which, and why.
        blocks: How many blocks, in all of them.
        peers: Peers that are connected.
        sessions: Open sync streams.
        refused: What peers sent that was refused, counted by reason.
        network: ``"starting"``, ``"up"``, or what is wrong.
    """

    chains: int
    damaged: int
    blocks: int
    peers: int
    sessions: int
    refused: dict[str, int]
    network: str
