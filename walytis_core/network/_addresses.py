"""Which addresses of peers are spoken, dialled and passed on: plain TCP ones, as multiaddresses. Pure; no adapter is known here.

An address may be a stranger's. Invariant: what is taken is a text of one form alone, whose host and port could be dialled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from walytis_core.limits import Limits
from walytis_core.network._peer_id import is_peer_id
from walytis_core.network.port import PeerId

__all__ = ["TcpAddress", "loopback_last", "of_peer", "parse", "peer_of"]

_FORM: Final = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/([A-Za-z0-9.:_-]+)/tcp/(0|[1-9]\d{0,4})(?:/p2p/(\w+))?", re.ASCII)
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_LOOPBACK: Final = ("/ip4/127.", "/ip6/::1/")
_MOST_TOLD: Final = 256


class TcpAddress(NamedTuple):
    """What an address says."""

    kind: str
    """`ip4`, `ip6`, or the kind of name that the host is."""
    host: str
    port: int
    peer: PeerId | None


def parse(address: object) -> TcpAddress | None:
    """Reads an address, to listen at or of a peer; None where it is not one of plain TCP.

    >>> parse("/ip4/127.0.0.1/tcp/0")
    TcpAddress(kind='ip4', host='127.0.0.1', port=0, peer=None)
    """
    if not isinstance(address, str) or len(address) > Limits.max_address_chars:
        return None
    found = _FORM.fullmatch(address)
    if found is None or not _is_host(found[1], found[2]) or int(found[3]) >= 1 << 16:
        return None
    if found[4] is not None and not is_peer_id(found[4]):
        return None
    return TcpAddress(found[1], found[2], int(found[3]), found[4])


def _is_host(kind: str, host: str) -> bool:
    if kind.startswith("dns"):
        return _NAME.fullmatch(host) is not None
    try:
        (IPv4Address if kind == "ip4" else IPv6Address)(host)
    except ValueError:
        return False
    return True


def peer_of(address: object) -> PeerId | None:
    """The peer that an address names; None where it is not to be dialled."""
    found = parse(address)
    return found.peer if found is not None and found.port else None


def of_peer(addresses: object, peer: PeerId, most: int) -> tuple[str, ...]:
    """Those of what was told that are to be dialled for this peer, each once, with its peer id."""
    if not isinstance(addresses, list):
        return ()
    named = (
        f"{one}/p2p/{peer}" if "/p2p/" not in one else one for one in addresses[:_MOST_TOLD] if isinstance(one, str)
    )
    return tuple(dict.fromkeys(one for one in named if peer_of(one) == peer))[:most]


def loopback_last(addresses: Iterable[str]) -> tuple[str, ...]:
    """The same, those of the loopback last."""
    return tuple(sorted(addresses, key=lambda one: one.startswith(_LOOPBACK)))
