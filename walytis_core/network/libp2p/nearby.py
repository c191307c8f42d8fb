"""Peers that the local network tells of: what of a record is believed, and who is dialled, when.

Only private addresses count: whoever lies aims nobody at machines elsewhere, nor at the node's own loopback. Invariants:
a record is hostile bytes and makes no error; a record, its addresses, the peers remembered and the dials in a minute are
bounded, and hearing of a peer again never hastens its dial. No clock, no sockets, no chains.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from walytis_core.errors import InvalidInputError
from walytis_core.limits import Limits
from walytis_core.network._addresses import peer_of
from walytis_core.network.port import PeerId

__all__ = ["PREFIX", "Nearby", "is_near", "parse_record"]

PREFIX: Final = b"dnsaddr="  # before each address of a record: libp2p's specification of mDNS
MAX_RECORD_BYTES = 4096  # of a TXT record; Kubo's have about one thousand
MAX_ENTRIES = 64  # looked at, of one record; most name transports that are not spoken here
MAX_PEERS = 256  # that mDNS told of and that are remembered
MAX_CONNECTED = 64  # connections, above which nobody is dialled only because mDNS told of them
DIALS_PER_MINUTE = 30  # to peers that mDNS told of
RETRY_MIN_S, RETRY_MAX_S = 20.0, 640.0
TRIES = 8  # dials after which a peer that does not answer is forgotten, until it is heard of again


@dataclass(slots=True)
class _Known:
    addresses: tuple[str, ...]
    next_s: float = 0.0
    failures: int = 0


class Nearby:
    """Whom this node was told of, and when each is dialled.

    Args:
        own: This node's peer id; nobody is dialled under it.
    """

    def __init__(self, own: PeerId) -> None:
        self._own = own
        self._known: dict[PeerId, _Known] = {}
        self._dialled: list[float] = []

    def __len__(self) -> int:
        return len(self._known)

    def heard(self, record: bytes) -> None:
        """Takes a TXT record; the newest of a peer counts."""
        peer, addresses = parse_record(record)
        if not addresses or peer == self._own:
            return
        if peer in self._known:
            self._known[peer].addresses = addresses
            return
        if len(self._known) >= MAX_PEERS:
            del self._known[max(self._known, key=lambda one: self._known[one].failures)]  # of equals, the oldest
        self._known[peer] = _Known(addresses)

    def due(self, now_s: float, connected: Collection[PeerId]) -> Sequence[tuple[PeerId, Sequence[str]]]:
        """The peers to dial now, with their addresses; each counts as dialled."""
        self._dialled = [then for then in self._dialled if now_s - then < 60.0]
        room = min(DIALS_PER_MINUTE - len(self._dialled), MAX_CONNECTED - len(connected))
        chosen: list[tuple[PeerId, Sequence[str]]] = []
        for peer, known in sorted(self._known.items(), key=lambda item: item[1].failures):
            if peer in connected:
                known.failures, known.next_s = 0, now_s + RETRY_MIN_S  # at first the chains redial whom they lost
            elif known.next_s <= now_s and len(chosen) < room:
                chosen.append((peer, known.addresses))
                known.next_s = now_s + min(RETRY_MAX_S, RETRY_MIN_S * 2**known.failures)
                known.failures += 1
                if known.failures >= TRIES:
                    del self._known[peer]
        self._dialled += [now_s] * len(chosen)
        return chosen


def parse_record(record: bytes) -> tuple[PeerId, tuple[str, ...]]:
    """The peer of a TXT record and those of its addresses that may be dialled; none where it makes no sense.

    A record speaks for one peer: what it says of others is left out.
    """
    peer: PeerId = ""
    found: dict[str, None] = {}
    if len(record) > MAX_RECORD_BYTES:
        return peer, ()
    for _, entry in zip(range(MAX_ENTRIES), _strings(record), strict=False):
        with suppress(InvalidInputError, UnicodeDecodeError):
            address = _near_address(entry)
            peer = peer or peer_of(address) or ""
            if peer_of(address) == peer:
                found[address] = None
        if len(found) >= Limits.addresses_per_peer:
            break
    return peer, tuple(found)


def is_near(host: str) -> bool:
    """Whether a text is an IP address that may be one of the local network: private, not loopback, without a zone."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    if ip.is_global or ip.is_loopback or ip.is_multicast or ip.is_unspecified:
        return False
    return isinstance(ip, ipaddress.IPv4Address) or not (ip.is_link_local or ip.ipv4_mapped)


def _near_address(entry: bytes) -> str:
    """The address of a string such as ``dnsaddr=/ip4/192.168.0.7/tcp/4001/p2p/12D3...``."""
    text = entry.removeprefix(PREFIX).decode("ascii")
    if not entry.startswith(PREFIX) or text.count("/") != 6 or not is_near(text.split("/")[2]):
        raise InvalidInputError("This is no TCP address of a peer nearby.")
    return text


def _strings(record: bytes) -> Iterator[bytes]:
    """The strings of a TXT record, each after its length (RFC 6763, 6.1)."""
    start = 0
    while start < len(record):
        end = start + 1 + record[start]
        yield record[start + 1 : end]
        start = end
