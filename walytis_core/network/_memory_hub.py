"""The shared medium of `MemoryNetwork`s: who is there, who is linked, and how an event gets to another node's loop.

Nodes may live in one trio loop (also under `trio.testing.MockClock`) or each in a loop and thread of its own: the hub
is the only thing they share, everything in it is behind one lock, and an event reaches a node only by being run in
that node's loop. Invariant: events that `reliable` covers arrive in the order in which they were sent. The hub knows
nothing of what events mean.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import trio

from walytis_core.network.port import PeerId
from walytis_core.network.weather import Weather

__all__ = ["MemoryHub", "Port"]

Arrive = Callable[[PeerId, object, float, bool], None]


class LinkEvents(Protocol):
    """Makes the two events that the hub itself sends."""

    def __call__(self, up: bool) -> object:
        """The event that says a link is up or down."""
        ...


class Port:
    """One run of one node, as the hub sees it: its loop and the function that takes an event there."""

    def __init__(self, peer: PeerId, arrive: Arrive, link_event: LinkEvents) -> None:
        self.peer = peer
        self.link_event = link_event
        self.is_open = True
        self._arrive = arrive
        self._token = trio.lowlevel.current_trio_token()

    def post(self, sender: PeerId, event: object, delay_s: float, reliable: bool) -> None:
        """Has the event taken in the node's own loop. From any thread; a node that is gone hears nothing."""
        try:
            self._token.run_sync_soon(self._take, sender, event, delay_s, reliable)
        except trio.RunFinishedError:
            self.is_open = False

    def _take(self, sender: PeerId, event: object, delay_s: float, reliable: bool) -> None:
        if self.is_open:
            self._arrive(sender, event, delay_s, reliable)


class MemoryHub:
    """A network in memory, to which `MemoryNetwork`s are attached.

    Args:
        weather: What becomes of messages; perfect links when left out. Streams feel only its latency and partitions.

    Example:
        >>> hub = MemoryHub(Weather(7, latency_s=0.02, loss=0.1))
    """

    def __init__(self, weather: Weather | None = None) -> None:
        self.weather = weather or Weather()
        self._lock = threading.Lock()
        self._ports: dict[PeerId, Port] = {}
        self._links: set[frozenset[PeerId]] = set()
        self._cut: set[PeerId] = set()
        self._ids = itertools.count(1)

    def cut(self, peer: PeerId) -> None:
        """Makes a peer vanish abruptly: all its links break, and nobody reaches it until it runs again."""
        with self._lock:
            self._cut.add(peer)
            self._unlink([link for link in self._links if peer in link])

    def split(self, *groups: Iterable[PeerId]) -> None:
        """Separates groups of peers from each other, and from those in no group: their links break."""
        with self._lock:
            self.weather.split(*groups)
            self._unlink([link for link in self._links if self._is_separated(link)])

    def heal(self) -> None:
        """Ends all partitions; the peers have to connect again by themselves."""
        with self._lock:
            self.weather.heal()

    def new_id(self) -> int:
        """A number that no other call gets."""
        return next(self._ids)

    def enter(self, port: Port) -> bool:
        """Attaches a node that starts; False when its peer id is in use."""
        with self._lock:
            if port.peer in self._ports:
                return False
            self._ports[port.peer] = port
            self._cut.discard(port.peer)
            return True

    def leave(self, port: Port) -> None:
        """Detaches a node that stops; its links break."""
        with self._lock:
            port.is_open = False
            self._unlink([link for link in self._links if port.peer in link])
            self._ports.pop(port.peer, None)

    def link(self, one: PeerId, other: PeerId, now: float) -> bool:
        """Connects two peers and tells `other`; False when they do not reach each other."""
        pair = frozenset((one, other))
        with self._lock:
            if one == other or not self._reaches(one, other, now):
                return False
            if pair not in self._links:
                self._links.add(pair)
                self._tell(self._ports[other], one, up=True)
            return True

    def unlink(self, one: PeerId, other: PeerId) -> None:
        """Disconnects two peers and tells both."""
        pair = frozenset((one, other))
        with self._lock:
            self._unlink([pair] if pair in self._links else [])

    def is_linked(self, one: PeerId, other: PeerId) -> bool:
        """Whether two peers are connected."""
        with self._lock:
            return frozenset((one, other)) in self._links

    def send(self, sender: PeerId, receiver: PeerId, event: object, now: float, *, reliable: bool = True) -> int:
        """Sends an event over a link; gives how many copies will arrive.

        What is sent reliably is not lost, doubled or reordered: where there is no way through, the link breaks.
        """
        pair = frozenset((sender, receiver))
        with self._lock:
            if pair not in self._links:
                return 0
            if reliable and not self._reaches(sender, receiver, now):
                self._unlink([pair])
                return 0
            delays = [self.weather.latency()] if reliable else self.weather.delays(sender, receiver, now)
            for delay_s in delays:
                self._ports[receiver].post(sender, event, delay_s, reliable)
            return len(delays)

    def _reaches(self, one: PeerId, other: PeerId, now: float) -> bool:
        there = one in self._ports and other in self._ports and not self._cut & {one, other}
        return there and not self.weather.separated(one, other, now)

    def _is_separated(self, link: frozenset[PeerId]) -> bool:
        one, other = link
        return self.weather.separated(one, other, 0.0)

    def _unlink(self, links: Sequence[frozenset[PeerId]]) -> None:
        for link in links:
            self._links.discard(link)
            one, other = link
            self._tell(self._ports[one], other, up=False)
            self._tell(self._ports[other], one, up=False)

    @staticmethod
    def _tell(port: Port, peer: PeerId, *, up: bool) -> None:
        port.post(peer, port.link_event(up), 0.0, reliable=True)
