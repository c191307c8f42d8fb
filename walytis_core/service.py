"""The node on the network: starts the transport, runs the services of its chains, and answers peers that open a stream.

All of it runs in the loop. Invariants: no task outlives the service; a peer that sends rubbish is dropped and kept out
for a while. What a single chain does on the network is in `chain_service.py`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio

from walytis_core.boundary import for_peer
from walytis_core.chain_service import ChainService
from walytis_core.cid import BlockId
from walytis_core.errors import Reason, UnavailableError
from walytis_core.handshake import ENTROPY_BYTES, Asked, Ends, Responder
from walytis_core.limits import Limits
from walytis_core.loop import Tasks
from walytis_core.manners import Manners
from walytis_core.network.port import Network, Stream
from walytis_core.session import SYNC_PROTOCOL, Frames, SyncSession, open_as_responder
from walytis_core.shared import Shared
from walytis_core.signer import Signer
from walytis_core.status import PeerInfo
from walytis_core.timers import Timers
from walytis_core.workers import Workers

PEER_MARK: Final = "/p2p/"
"""Stands before the peer id in an address."""
_TICK_S: Final = 2.0
_UP_WAIT_S: Final = 15.0
_AGAIN_S: Final = 2.0
"""After this time a network that did not come up is tried again."""
_SOON_S: Final = (0.02, 0.1, 0.4)
"""After a peer connects: when it is looked at, as its subscriptions come in."""


class Service:
    """The node on the network.

    Args:
        network: The transport.
        node: Signs with the node key.
        neighbours: Sync streams that each chain keeps open.
    """

    def __init__(self, network: Network, node: Signer, neighbours: int) -> None:
        self._network = network
        self.shared = Shared(
            network, node, neighbours, Workers(), Timers(), trio.CapacityLimiter(2), self.fault, self.is_kept_out
        )
        self.manners = Manners()
        self.chains: dict[bytes, ChainService] = {}
        self.failure: UnavailableError | None = None
        self.is_up = trio.Event()
        self._is_settled = trio.Event()
        self._streams: Counter[str] = Counter()
        self._tasks = Tasks()
        self._token: trio.lowlevel.TrioToken | None = None
        self._has_come = self._is_looking = False

    async def run(self, seed: bytes) -> None:
        """Runs the network and all chains until cancelled.

        Where the network does not come up, local use goes on, and it is tried again now and then.
        """
        while not self.is_up.is_set():
            try:
                await self._run(seed)
            except UnavailableError as error:
                self.failure = error  # `addresses()` and the node's `stats` say so
                self._is_settled.set()
            await trio.sleep(_AGAIN_S)
        await trio.sleep_forever()

    async def _run(self, seed: bytes) -> None:
        self._network.serve(SYNC_PROTOCOL, self._accept)
        self._token = trio.lowlevel.current_trio_token()
        async with self._network.running(seed), self._tasks.open() as nursery:
            nursery.start_soon(self.shared.timers.run)
            nursery.start_soon(self._watch, self._network.watch())
            nursery.start_soon(self._tick)
            for chain in self.chains.values():
                nursery.start_soon(chain.run)
            self.failure = None
            self.is_up.set()
            self._is_settled.set()
            await trio.sleep_forever()

    async def wait_up(self) -> None:
        """Waits until the network is up. Raises `UnavailableError` when it does not come up."""
        await self._is_settled.wait()
        if self.failure is not None:
            raise UnavailableError(str(self.failure), hint=self.failure.hint) from self.failure

    async def addresses(self) -> list[str]:
        """Addresses under which this node can be reached, the best first, once the network is up.

        Raises:
            UnavailableError: The network does not come up, or takes too long.
        """
        with trio.move_on_after(_UP_WAIT_S):
            await self.wait_up()
            return list(self._network.addresses())
        raise UnavailableError("the network is not up yet", hint="See `walytis doctor`.")

    async def connect(self, addresses: Sequence[str]) -> str:
        """Connects to a peer at one of these addresses, once the network is up; gives its peer id.

        Raises:
            UnavailableError: The network does not come up, or nobody answers there.
        """
        await self.wait_up()
        return (await self._network.connect(addresses)).peer

    def add(self, chain: ChainService) -> None:
        """A chain is there; in the loop."""
        self.chains[chain.engine.genesis.id] = chain
        self._tasks.start(chain.run)  # those that come before the network are started with it

    def remove(self, chain_id: bytes) -> None:
        """A chain is gone; in the loop."""
        chain = self.chains.pop(chain_id, None)
        if chain is not None:
            chain.close()

    def members_changed(self, did: str | None) -> None:
        """Who are the members of an identity, or of any, may have changed; in the loop."""
        for chain in self.chains.values():
            if chain.circle is not None and did in (None, chain.circle.did):
                chain.members_changed()

    # --- the peers of one chain --------------------------------------------------------------------------------------

    def peers_of(self, id: BlockId) -> Sequence[PeerInfo]:
        """The online peers of a chain, the most recent contact first. From any thread."""
        chain = self.chains.get(id)
        return () if chain is None else chain.peers()

    def last_contact_of(self, id: BlockId) -> float | None:
        """When a peer of a chain was last heard; seconds since the epoch. From any thread."""
        chain = self.chains.get(id)
        if chain is None:
            return None
        now = [info.last_contact for info in chain.peers()]
        return max([*now, *chain.last_contact.values()], default=None)

    def known_peers_of(self, id: BlockId) -> int:
        """How many peers of a chain are known, online or not. From any thread."""
        chain = self.chains.get(id)
        return 0 if chain is None else chain.known_peers

    def introduce(self, id: BlockId, peer: str, addresses: Sequence[str]) -> None:
        """A peer of a chain is known: syncs with it; in the loop."""
        chain = self.chains.get(id)
        if chain is not None:
            own = [address for address in addresses if address.endswith(f"/p2p/{peer}")]
            chain.known.learn(peer, own or [f"{address}/p2p/{peer}" for address in addresses])
            chain.contact(peer)

    def meet_another(self, id: BlockId) -> None:
        """What is wanted of a chain is not to be had from the peers with a stream; in the loop."""
        chain = self.chains.get(id)
        if chain is not None:
            chain.meet_another()

    def look_for(self, id: BlockId, addresses: Sequence[str]) -> None:
        """Peers of a chain may be found at these addresses, each of which names its peer; in the loop."""
        chain = self.chains.get(id)
        if chain is not None:
            for address in addresses:
                chain.known.learn(address.rpartition(PEER_MARK)[2], [address])
            chain.tick()

    # --- peers that misbehave --------------------------------------------------------------------------------------

    def fault(self, reason: Reason, peer: str) -> None:
        """Counts what a peer did wrong; after too much it is dropped and kept out for a while. From any thread."""
        try:
            trio.lowlevel.current_trio_token()
        except RuntimeError:  # elsewhere than in the loop
            if self._token is not None:
                with suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._count, reason, peer)
            return
        self._count(reason, peer)

    def _count(self, reason: Reason, peer: str) -> None:
        if self.manners.fault(reason, peer, trio.current_time()):
            for chain in self.chains.values():
                if session := chain.sessions.get(peer):
                    session.close()
            self._tasks.start(self._drop, peer)

    def is_kept_out(self, peer: str) -> bool:
        """Whether nothing is taken from a peer now."""
        return self.manners.is_kept_out(peer, trio.current_time())

    async def _drop(self, peer: str) -> None:
        try:
            await self._network.disconnect(peer)
        except UnavailableError:
            return

    # --- tasks -----------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await trio.sleep(_TICK_S)
            self._tick_all()
            for peer in self._network.connected():
                if self.is_kept_out(peer):  # it came back between two events
                    self._tasks.start(self._drop, peer)

    def _tick_all(self) -> None:
        for chain in self.chains.values():
            chain.tick()

    async def _watch(self, changes: trio.MemoryReceiveChannel[tuple[str, bool]]) -> None:
        async for peer, is_there in changes:
            for chain in self.chains.values():
                chain.known.moved(peer, is_there)
            if is_there and self.is_kept_out(peer):
                self._tasks.start(self._drop, peer)
            elif is_there:
                self._has_come = True
                self._is_looking = self._is_looking or self._tasks.start(self._look_soon)

    async def _look_soon(self) -> None:
        try:
            while self._has_come:  # a daemon of the public network has peers that come all the time: one look for many
                self._has_come = False
                for delay_s in _SOON_S:
                    await trio.sleep(delay_s)
                    self._tick_all()
        finally:
            self._is_looking = False

    async def _accept(self, stream: Stream) -> None:
        """Answers a peer that opened a sync stream."""
        peer = stream.peer
        if self.is_kept_out(peer) or self._streams[peer] >= Limits.max_streams_per_peer:
            return
        self._streams[peer] += 1
        try:
            with for_peer(peer, "a sync stream", self.fault):
                await self._answer(stream)
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]

    async def _answer(self, stream: Stream) -> None:
        frames = Frames(stream)
        ends = Ends(stream.peer, self._network.peer_id)
        candidates = [candidate for chain in self.chains.values() for candidate in chain.candidates()]
        machine = Responder(self.shared.node, candidates, ends, os.urandom(ENTROPY_BYTES))
        session = await open_as_responder(frames, machine, self._admits)
        chain = self.chains.get(session.chain_id)
        if chain is not None and chain.is_running and len(chain.sessions) < Limits.sessions_per_chain:
            await chain.attach(
                SyncSession(chain.engine, frames, session, ends.initiator, chain.workers, self.shared.screeners)
            )

    async def _admits(self, asked: Asked) -> bool:
        chain = self.chains.get(asked.chain_id)
        return chain is not None and await chain.admits(asked)
