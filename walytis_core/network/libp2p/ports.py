"""Which ports to listen on: where any would do, those of the last time, so that peers find the node where it was.

Invariants: an address to listen on keeps its host and its place in the list; a port that was named is never changed;
a port that somebody else has by now is not asked for.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

_FAMILIES: Final = {"ip4": socket.AF_INET, "ip6": socket.AF_INET6}


class _Place(NamedTuple):
    family: str
    host: str
    port: int


def resumed(listen: Sequence[str], before: Sequence[str], is_free: Callable[[str, str, int], bool]) -> list[str]:
    """The addresses to listen on now.

    Args:
        listen: Multiaddresses; those with port 0 get a port of the last time, of the same host where there is one.
        before: Where the node listened the last time; what is no TCP address is left out.
        is_free: Whether a port can be listened on, given its family (``"ip4"``, ``"ip6"``) and host.

    >>> last = ["/ip4/127.0.0.1/tcp/4001/p2p/me", "/ip4/127.0.0.1/tcp/4002/p2p/me"]
    >>> resumed(["/ip4/127.0.0.1/tcp/0"] * 3, last, lambda family, host, port: True)
    ['/ip4/127.0.0.1/tcp/4001', '/ip4/127.0.0.1/tcp/4002', '/ip4/127.0.0.1/tcp/0']
    """
    last = [place for address in before if (place := _place(address)) is not None]
    taken: set[tuple[str, int]] = set()
    result = []
    for address in listen:
        place = _place(address)
        if place is not None and place.port == 0:
            near = [one.port for one in last if one.family == place.family and one.host == place.host]
            far = [one.port for one in last if one.family == place.family and one.host != place.host]
            open_ports = (
                port
                for port in (*near, *far)
                if (place.family, port) not in taken and is_free(place.family, place.host, port)
            )
            place = place._replace(port=next(open_ports, 0))
            address = _with_port(address, place.port)
        if place is not None and place.port:
            taken.add((place.family, place.port))
        result.append(address)
    return result


def is_free(family: str, host: str, port: int) -> bool:
    """Whether a port can be listened on now."""
    with socket.socket(_FAMILIES[family]) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == "ip6":
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _place(address: str) -> _Place | None:
    match address.split("/"):
        case ["", ("ip4" | "ip6") as family, host, "tcp", port, *_] if port.isascii() and port.isdecimal():
            return _Place(family, host, int(port)) if int(port) < 1 << 16 else None
    return None


def _with_port(address: str, port: int) -> str:
    parts = address.split("/")
    return "/".join([*parts[:4], str(port), *parts[5:]])
