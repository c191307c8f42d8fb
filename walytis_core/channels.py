"""The gossip channels of one chain: one for each of its keys that is good now. Runs in the node's loop.

What is said goes to the channel of the newest key; what comes over any of them is opened with its key and handed to the engine.
Invariant: a message is opened with the key of its own channel alone. Who may have which keys is for others to know.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from functools import partial

import trio

from walytis_core import messages
from walytis_core.boundary import for_peer
from walytis_core.engine import Engine
from walytis_core.errors import ClosedError, NotFoundError, Reason, RemoteError, StorageError, UnavailableError
from walytis_core.events import Came, Received
from walytis_core.limits import Limits
from walytis_core.messages import Blocks, Digest, ForkProof, Message
from walytis_core.network.port import Gossip
from walytis_core.screening import screen
from walytis_core.seals import GOSSIP_NONCE_BYTES, ChainKeys
from walytis_core.shared import Shared
from walytis_core.workers import Lane


class Channels:
    """The channels of one chain.

    Args:
        shared: What the chains of a node have in common.
        engine: The chain.
        workers: The chain's lane of the node's threads.
        fault: Told what a peer did wrong.
    """

    def __init__(self, shared: Shared, engine: Engine, workers: Lane, fault: Callable[[Reason, str], None]) -> None:
        self._shared = shared
        self._engine = engine
        self._workers = workers
        self._fault = fault
        self._keys: tuple[ChainKeys, ...] = ()
        self._subscribed: set[str] = set()
        self._outgoing: list[Message] = []
        self._has_outgoing = trio.Event()

    def say(self, message: Message) -> None:
        """Has a message sent soon."""
        self._outgoing.append(message)
        self._has_outgoing.set()

    def present(self) -> set[str]:
        """The connected peers that are on any of the channels."""
        return {peer for keys in self._keys for peer in self._shared.network.on_channel(keys.channel)}

    def hearers(self) -> set[str]:
        """The connected peers that hear what is said."""
        return set(self._shared.network.on_channel(self._keys[0].channel)) if self._keys else set()

    async def tune(self, keys: Sequence[ChainKeys], nursery: trio.Nursery) -> None:
        """Listens on the channels of these keys, in tasks of the nursery, and on no others; the first is spoken on."""
        self._keys = tuple(keys)  # from here on nothing is sealed with another one
        for one in keys:
            if one.channel not in self._subscribed:
                gossip = await self._shared.network.subscribe(one.channel)
                self._subscribed.add(one.channel)
                nursery.start_soon(self._listen, one, gossip)
        await self._leave(self._subscribed.difference(one.channel for one in keys))

    def forget(self) -> None:
        """The network was started anew: there are no subscriptions."""
        self._subscribed.clear()

    async def leave(self) -> None:
        """Listens on none of them any more."""
        await self._leave(self._subscribed)

    async def _leave(self, channels: Collection[str]) -> None:
        for channel in list(channels):
            self._subscribed.discard(channel)
            await self._shared.network.unsubscribe(channel)  # which ends the task that listens

    async def _listen(self, keys: ChainKeys, gossip: trio.MemoryReceiveChannel[Gossip]) -> None:
        async for peer, data in gossip:
            if self._shared.is_kept_out(peer):
                continue
            with for_peer(peer, "a message on the channel", self._fault):
                match messages.decode(keys.gossip.open(data)):
                    case None:
                        pass
                    case Blocks() | Digest() | ForkProof() as message:
                        await self._hand_on(peer, message)
                    case _:
                        raise RemoteError(Reason.UNASKED)

    async def _hand_on(self, peer: str, message: Blocks | Digest | ForkProof) -> None:
        try:
            await self._workers.run(partial(self._heard, peer, message))
        except (StorageError, ClosedError, NotFoundError):  # the engine began anew, or has ended
            return

    def _heard(self, peer: str, message: Blocks | Digest | ForkProof) -> None:
        match message:
            case Blocks(why, blocks):
                self._engine.handle(Came(peer, why, screen(blocks, self._engine.known), gossip=True))
            case _:
                self._engine.handle(Received(peer, message, gossip=True))

    async def talk(self) -> None:
        """Sends what is said, for as long as the chain runs; what nobody can hear is dropped."""
        while True:
            await self._has_outgoing.wait()
            self._has_outgoing = trio.Event()
            outgoing, self._outgoing = self._outgoing, []
            for message in _coalesced(outgoing):
                if self._keys:
                    await self._publish(self._keys[0], messages.encode(message))

    async def _publish(self, keys: ChainKeys, message: bytes) -> None:
        try:
            sealed = keys.gossip.seal(message, os.urandom(GOSSIP_NONCE_BYTES))
            await self._shared.network.publish(keys.channel, sealed)
        except UnavailableError:
            return  # a hint that nobody hears is repaired by sync


def _coalesced(outgoing: Sequence[Message]) -> list[Message]:
    """Blocks that wait go out together, up to what one message holds."""
    result: list[Message] = []
    size = 0
    for message in outgoing:
        last = result[-1] if result else None
        if isinstance(message, Blocks) and isinstance(last, Blocks) and message.why is last.why:
            more = sum(map(len, message.blocks))
            count = len(last.blocks) + len(message.blocks)
            if size + more <= Limits.target_frame_bytes and count <= Limits.max_blocks_per_frame:
                result[-1] = Blocks(last.why, last.blocks + message.blocks)
                size += more
                continue
        result.append(message)
        size = sum(map(len, message.blocks)) if isinstance(message, Blocks) else 0
    return result
