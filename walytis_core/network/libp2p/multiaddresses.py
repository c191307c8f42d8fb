"""Addresses as py-libp2p takes them; which are spoken here at all is in `network/_addresses.py`.

An address may be a stranger's, and py-libp2p's codecs raise what they like: here it ends as `InvalidInputError`, or as
None.
"""

from __future__ import annotations

from libp2p.peer.id import ID
from multiaddr import Multiaddr

from walytis_core.errors import InvalidInputError
from walytis_core.network._addresses import of_peer, parse, peer_of
from walytis_core.network.port import PeerId

__all__ = ["parse_address", "told_by", "with_peer"]


def parse_address(address: str) -> Multiaddr:
    """A text as a TCP address, with or without a peer id. Raises `InvalidInputError` when it is none."""
    if parse(address) is None:
        raise InvalidInputError("Only /ip4, /ip6 and /dns addresses with /tcp are spoken here.")
    try:
        return Multiaddr(address)
    except Exception as error:  # see above
        raise InvalidInputError("This is not a multiaddress.") from error


def with_peer(address: str) -> tuple[Multiaddr, ID]:
    """An address to dial, and the peer that it names. Raises `InvalidInputError` when it is none."""
    peer = peer_of(address)
    if peer is None:
        raise InvalidInputError("An address to dial is one of TCP that ends in /p2p/ and the peer id.")
    parsed = parse_address(address)
    try:
        return parsed, ID.from_base58(peer)
    except Exception as error:  # see above
        raise InvalidInputError("This is not the id of a peer.") from error


def told_by(peer: PeerId, address: Multiaddr) -> str | None:
    """An address that a peer told of itself, as text with its peer id; None when it is garbage or not to be dialled.

    py-libp2p keeps the bytes as they came: each use of one may raise.
    """
    try:
        text = str(address)
    except Exception:  # noqa: BLE001 - a stranger's bytes: the address is dropped, whatever its codecs raise
        return None
    return next(iter(of_peer([text], peer, 1)), None)
