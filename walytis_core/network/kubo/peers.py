"""The peers of a daemon: who is connected, who comes and goes, and where they listen.

A daemon has no word for connections that change, so they are looked at: each second, and at once when something hints at a
change. Invariants: a peer is told of once when it comes and once when it goes; what is kept about it goes with it. A daemon
of the public network has hundreds of connections that are no concern of ours: only those are asked about that somebody
asked for. Knows no chains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final, NamedTuple

import trio

from walytis_core.errors import UnavailableError
from walytis_core.network._addresses import of_peer, peer_of
from walytis_core.network._peer_id import is_peer_id
from walytis_core.network.kubo.rpc import Rpc, RpcRefusedError
from walytis_core.network.port import Connected, PeerId

__all__ = ["Peers"]

MAX_DIALLED: Final = 8  # addresses tried in one `connect`
MAX_KNOWN: Final = 16  # addresses of a peer that are passed on
LOOK_WAIT_S: Final = 5.0
_DROPS, _DROPPED_S = 5, 0.1  # tries to drop a connection, and the time after each until it is looked at
_CROSSED_S: Final = (0.05, 0.25)  # a dial that crossed with the peer's own is tried again within this time
_LOOK_BYTES: Final = 8 << 20
_FRESH_S: Final = 300.0  # addresses of a peer are asked for again after so long
_RETRY_S: Final = 2.0  # and sooner where none were known


_jitter: Final = Random()  # noqa: S311 - spreads dials; nothing secret hangs on it


class _Known(NamedTuple):
    addresses: tuple[str, ...]
    until: float


class Peers:
    """The connections of a daemon.

    Args:
        rpc: The daemon's RPC.
        tell: Takes each peer that comes (True) or goes (False).
    """

    def __init__(self, rpc: Rpc, tell: Callable[[PeerId, bool], None]) -> None:
        self._rpc = rpc
        self._tell = tell
        self._there: dict[PeerId, set[str]] = {}  # with the addresses of its connections
        self._dialled: dict[PeerId, str] = {}
        self._known: dict[PeerId, _Known] = {}
        self._asked: dict[PeerId, None] = {}
        self._has_asked = trio.Event()
        self._looking = trio.Lock()
        self._begun = self._seen = 0  # looks, by number

    def __contains__(self, peer: object) -> bool:
        return peer in self._there

    def __len__(self) -> int:
        return len(self._there)

    def __iter__(self) -> Iterator[PeerId]:
        return iter(self._there)

    async def look(self) -> None:
        """Sees who is connected; whoever calls sees what is so after calling. Raises `UnavailableError`."""
        begun = self._begun
        async with self._looking:
            if self._seen > begun:
                return  # another look began since, and has succeeded
            self._begun += 1
            answer = await self._rpc.ask("swarm/peers", max_bytes=_LOOK_BYTES, wait_s=LOOK_WAIT_S)
            self._seen = self._begun
            self._take(_parsed(answer))

    def _take(self, found: dict[PeerId, set[str]]) -> None:
        gone = [peer for peer in self._there if peer not in found]
        came = [peer for peer in found if peer not in self._there]
        self._there = found
        for peer in gone:
            for kept in (self._dialled, self._known, self._asked):
                kept.pop(peer, None)
            self._tell(peer, False)
        for peer in came:
            self._tell(peer, True)

    def lose_all(self) -> None:
        """The daemon is away."""
        self._take({})

    async def is_there(self, peer: PeerId) -> bool:
        """Whether a peer is connected; looks again when it seems not."""
        if peer not in self._there:
            await self.look()
        return peer in self._there

    # --- connecting --------------------------------------------------------------------------------------------------

    async def connect(self, addresses: Sequence[str], own: PeerId, wait_s: float) -> Connected:
        """Has the daemon connect to a peer at one of these addresses, tried in order."""
        await self.look()
        last: UnavailableError | None = None
        for address in addresses[:MAX_DIALLED]:
            peer = peer_of(address)
            if peer is None or peer == own:
                continue
            if peer in self._there:
                return Connected(peer, None)
            try:
                return await self._dial(address, peer, wait_s)
            except UnavailableError as error:
                last = error
        raise UnavailableError("No peer answers at any of these addresses.") from last

    async def _dial(self, address: str, peer: PeerId, wait_s: float) -> Connected:
        try:
            await self._rpc.call("swarm/connect", address, wait_s=wait_s)
        except RpcRefusedError:  # where both dial at once from the ports they listen on, both may fail
            await trio.sleep(_jitter.uniform(*_CROSSED_S))
            await self.look()
            if peer in self._there:
                return Connected(peer, None)
            await self._rpc.call("swarm/connect", address, wait_s=wait_s)
        await self.look()
        if peer not in self._there:
            raise UnavailableError("The peer is gone again.")
        # the daemon tries all the addresses that it knows of the peer, too, and may have got there by another one
        is_this = any(_is_same(address, f"{remote}/p2p/{peer}") for remote in self._there[peer])
        if is_this:
            self._dialled[peer] = address
        self.ask(peer)
        return Connected(peer, address if is_this else None)

    async def disconnect(self, peer: PeerId) -> None:
        """Has the daemon drop its connections to a peer; again where its gossip has at once dialled it anew."""
        if not is_peer_id(peer):
            return
        with suppress(UnavailableError):
            for _ in range(_DROPS):
                await self._rpc.call("swarm/disconnect", f"/p2p/{peer}")
                await trio.sleep(_DROPPED_S)
                await self.look()
                if peer not in self._there:
                    return

    # --- their addresses ---------------------------------------------------------------------------------------------

    def addresses(self, peer: PeerId) -> Sequence[str]:
        """Where a connected peer listens, as far as known; what is not known is asked for."""
        if peer not in self._there:
            return []
        known = self._known.get(peer)
        if known is None or known.until < trio.current_time():
            self.ask(peer)
        found = [self._dialled[peer]] if peer in self._dialled else []
        return list(dict.fromkeys([*found, *(known.addresses if known else ())]))[:MAX_KNOWN]

    def ask(self, peer: PeerId) -> None:
        """Has the addresses of a peer looked up."""
        self._asked[peer] = None
        self._has_asked.set()

    async def look_up(self) -> None:
        """Looks up the addresses that were asked for, one after the other, for ever."""
        while True:
            await self._has_asked.wait()
            self._has_asked = trio.Event()
            while self._asked:
                peer = next(iter(self._asked))
                del self._asked[peer]
                await self._look_up(peer)

    async def _look_up(self, peer: PeerId) -> None:
        addresses: tuple[str, ...] = ()
        with suppress(UnavailableError):
            told = await self._rpc.ask("id", peer, wait_s=LOOK_WAIT_S)
            addresses = of_peer(told.get("Addresses"), peer, MAX_KNOWN)
        if peer in self._there:
            self._known[peer] = _Known(addresses, trio.current_time() + (_FRESH_S if addresses else _RETRY_S))


def _parsed(answer: dict[str, Any]) -> dict[PeerId, set[str]]:
    rows = answer.get("Peers")
    found: dict[PeerId, set[str]] = {}
    for row in rows if isinstance(rows, list) else []:
        match row:
            case {"Peer": str(peer), "Addr": str(address)} if is_peer_id(peer):
                found.setdefault(peer, set()).add(address)
            case _:
                pass
    return found


def _is_same(dialled: str, connected: str) -> bool:
    """Whether a connection is to the address that was dialled; of a name, the port has to do."""
    if dialled.startswith("/dns"):
        return dialled.split("/")[3:] == connected.split("/")[3:]
    return dialled == connected
