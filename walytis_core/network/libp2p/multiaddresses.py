"""Addresses of hosts: which are spoken here, and what of a stranger's is believed.

An address may be a stranger's, and py-libp2p's codecs raise what they like: here it ends as `InvalidInputError`, or as
None. Invariant: what `peer_of` and `told_by` give was parsed whole.
"""

from __future__ import annotations

from libp2p.peer.id import ID
from multiaddr import Multiaddr

from walytis_core.errors import InvalidInputError
from walytis_core.limits import Limits
from walytis_core.network.port import PeerId

__all__ = ["parse_address", "peer_of", "told_by"]


def parse_address(address: str) -> Multiaddr:
    """A text as a TCP address, with or without a peer id. Raises `InvalidInputError` when it is none."""
    if len(address) > Limits.max_address_chars:
        raise InvalidInputError(f"An address has at most {Limits.max_address_chars} characters.")
    try:
        parsed = Multiaddr(address)
        if _is_tcp(parsed):
            return parsed
    except Exception as error:  # see above
        raise InvalidInputError("This is not a multiaddress.") from error
    raise InvalidInputError("Only /ip4, /ip6 and /dns addresses with /tcp are spoken here.")


def peer_of(address: Multiaddr) -> ID:
    """The peer that an address names. Raises `InvalidInputError` when it names none."""
    try:
        return ID.from_base58(str(address.value_for_protocol("p2p")))
    except Exception as error:  # see above
        raise InvalidInputError("An address to dial ends in /p2p/ and the peer id.") from error


def told_by(peer: PeerId, address: Multiaddr) -> str | None:
    """An address that a peer told of itself, as text with its peer id; None when it is garbage or not to be dialled.

    py-libp2p keeps the bytes as they came: each use of one may raise.
    """
    try:
        if not _is_tcp(address):
            return None
        text = str(address)
        text = text if "/p2p/" in text else f"{text}/p2p/{peer}"
        return text if peer_of(parse_address(text)) == ID.from_base58(peer) else None
    except Exception:  # noqa: BLE001 - a stranger's bytes: the address is dropped, whatever its codecs raise
        return None


def _is_tcp(address: Multiaddr) -> bool:
    names = [protocol.name for protocol in address.protocols()]
    return names in (["ip4", "tcp"], ["ip6", "tcp"]) or (
        len(names) == 3 and names[0] in {"ip4", "ip6", "dns", "dns4", "dns6"} and names[1:] == ["tcp", "p2p"]
    )
