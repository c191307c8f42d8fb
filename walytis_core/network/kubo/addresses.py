"""Which multiaddresses are dialled and passed on: plain TCP ones that name their peer. Pure; knows no daemon."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from walytis_core.limits import Limits
from walytis_core.network.port import PeerId

__all__ = ["is_peer_id", "own_addresses", "peer_of", "plain"]

_PEER: Final = r"[1-9A-HJ-NP-Za-km-z]{40,64}"
_PLAIN: Final = re.compile(rf"/(?:ip4|ip6|dns|dns4|dns6)/[A-Za-z0-9.:_-]+/tcp/\d{{1,5}}/p2p/({_PEER})")
_LOOPBACK: Final = ("/ip4/127.", "/ip6/::1/")


def is_peer_id(text: object) -> bool:
    """Whether this is written as a peer id."""
    return isinstance(text, str) and re.fullmatch(_PEER, text) is not None


def peer_of(address: object) -> PeerId | None:
    """The peer that an address names; None where it is not to be dialled: an embedded node speaks only TCP."""
    if not isinstance(address, str) or len(address) > Limits.max_address_chars:
        return None
    found = _PLAIN.fullmatch(address)
    return found[1] if found else None


def plain(addresses: object, peer: PeerId, most: int) -> tuple[str, ...]:
    """Those of what a daemon told that are plain TCP addresses of this peer."""
    if not isinstance(addresses, list):
        return ()
    named = (f"{one}/p2p/{peer}" if "/p2p/" not in one else one for one in addresses[:256] if isinstance(one, str))
    return tuple(dict.fromkeys(one for one in named if peer_of(one) == peer))[:most]


def own_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """The same, loopback last."""
    return tuple(sorted(addresses, key=lambda one: one.startswith(_LOOPBACK)))
