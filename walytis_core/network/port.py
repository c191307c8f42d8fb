"""The network port: the little that a node asks of a transport.

All methods run in the one trio loop of the node. Invariants: a foreign exception never leaves an adapter (it
becomes `UnavailableError`, with its cause chained); gossip is a lossy hint, streams are reliable and ordered; a
peer id is an address and proves nothing (the sync handshake does). The port knows nothing of chains.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

import trio

from walytis_core.cid import Cid
from walytis_core.errors import UnavailableError

PeerId = str
"""A transport's name for a peer, as text (for libp2p: base58 of the public key's multihash)."""


class Gossip(NamedTuple):
    """One message that came over a channel: who published it and its bytes."""

    peer: PeerId
    data: bytes


class Connected(NamedTuple):
    """What `connect` found."""

    peer: PeerId
    address: str | None
    """The address that answered; None when the peer was connected already, so that none was tried."""


class Stream(Protocol):
    """A reliable, ordered byte stream to one peer."""

    @property
    def peer(self) -> PeerId:
        """The peer at the other end."""
        ...

    async def send(self, data: bytes) -> None:
        """Sends all of `data`; waits while the other end does not read. Raises `UnavailableError` when it is gone."""
        ...

    async def receive(self, max_bytes: int) -> bytes:
        """Gives 1 to `max_bytes` bytes, or ``b""`` at the end. Raises `UnavailableError` when the peer is gone."""
        ...

    async def close(self) -> None:
        """Closes both directions at once; never raises; closing twice is fine."""
        ...


StreamHandler = Callable[[Stream], Awaitable[None]]

Give = Callable[[Cid], Awaitable[bytes | None]]
"""Gives the bytes of a block to whoever asks for it by CID; None when there is nothing to give."""


class Copies(Protocol):
    """Where copies of blocks are kept for others, by someone else than this node: an IPFS daemon.

    All methods raise `UnavailableError` when the daemon is away.
    """

    @property
    def holder(self) -> str:
        """Names the daemon: with another one, no copy is there yet."""
        ...

    async def put(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        """Has copies kept, for as long as the daemon likes."""
        ...

    async def pin(self, cids: Sequence[Cid], label: str) -> None:
        """Has copies that are there kept until the pins are taken away; each has one label, the last it was given."""
        ...

    async def is_pinned(self, cid: Cid) -> bool:
        """Whether a pinned copy of this block is there."""
        ...

    async def pins(self, label: str, most: int) -> Sequence[Cid]:
        """The pinned copies of a label, or so many of them."""
        ...

    async def unpin(self, cids: Sequence[Cid], label: str) -> None:
        """Takes pins away that have this label; others, and what is not pinned, are passed over."""
        ...


class Network(Protocol):
    """A transport: peers, channels, streams and blocks by CID. Adapters: `MemoryNetwork`, `Libp2pNetwork`, `KuboNetwork`."""

    @property
    def peer_id(self) -> PeerId:
        """This node's own peer id; known once started."""
        ...

    def addresses(self) -> Sequence[str]:
        """Addresses under which others reach this node, the best first; each names the peer id."""
        ...

    def resume_at(self, addresses: Sequence[str]) -> None:
        """Says where this node was reached the last time; called before `running`.

        A transport that may choose where it listens listens there again, as far as it can: peers look for it there.
        """
        ...

    def running(self, seed: bytes) -> AbstractAsyncContextManager[None]:
        """Runs the transport for the length of the block.

        Args:
            seed: The 32-byte Ed25519 seed of the node key; the peer id follows from it.

        Raises:
            UnavailableError: The transport cannot start (a port is taken, a daemon is away).
        """
        ...

    def serve(self, protocol: str, handler: StreamHandler) -> None:
        """Has `handler` called, in a task of its own, for each stream a peer opens for `protocol`.

        The stream is closed when the handler returns. May be called before or while running, then in the loop.
        """
        ...

    def offer(self, give: Give) -> None:
        """Says who gives the blocks that anyone may fetch from this node by CID. Called before `running`.

        `give` is called in the loop, for each block that a peer asks for; a transport with `copies` never calls it.
        """
        ...

    @property
    def copies(self) -> Copies | None:
        """Where copies have to be put so that others can fetch them; None where `offer` is enough."""
        ...

    async def fetch(self, cid: Cid, peers: Sequence[PeerId] = ()) -> bytes:
        """Fetches a block by CID: from these peers, or from any connected one; at most `Limits.leaf_bytes`.

        What comes is checked against the CID.

        Raises:
            UnavailableError: Nobody who is connected gives it in time (`Limits.fetch_wait_s`).
        """
        ...

    async def connect(self, addresses: Sequence[str]) -> Connected:
        """Connects to the peer at any of these addresses, tried in order; at once when connected already.

        Says which address answered: the others may be made up.

        Raises:
            UnavailableError: None of them answers in time.
        """
        ...

    async def disconnect(self, peer: PeerId) -> None:
        """Drops the connection to `peer`, if there is one."""
        ...

    def connected(self) -> Sequence[PeerId]:
        """The peers that are connected now."""
        ...

    @property
    def failure(self) -> UnavailableError | None:
        """Why nobody can be reached for now, though it is running; None while all is well."""
        ...

    def watch(self) -> trio.MemoryReceiveChannel[tuple[PeerId, bool]]:
        """A channel that yields `(peer, True)` when a peer connects and `(peer, False)` when it is gone."""
        ...

    def known_addresses(self, peer: PeerId) -> Sequence[str]:
        """Addresses at which `peer` listens, as far as known (each names the peer id); may be empty."""
        ...

    async def open_stream(self, peer: PeerId, protocol: str) -> Stream:
        """Opens a stream to a connected peer.

        Where the transport cannot tell at once that the peer does not speak `protocol`, the stream ends with its first
        byte unread.

        Raises:
            UnavailableError: Not connected, or the peer does not speak `protocol`.
        """
        ...

    async def subscribe(self, channel: str) -> trio.MemoryReceiveChannel[Gossip]:
        """Subscribes to a channel; messages that are not read in time are dropped. Own messages are not heard."""
        ...

    async def unsubscribe(self, channel: str) -> None:
        """Ends a subscription and closes its receive channel."""
        ...

    async def publish(self, channel: str, data: bytes) -> None:
        """Publishes to whoever is on the channel; waits while queues are full. A lossy hint."""
        ...

    def on_channel(self, channel: str) -> Sequence[PeerId]:
        """The connected peers that are subscribed to a channel."""
        ...
