"""What a daemon's stream mounting carries, as `p2p/ls` tells it: protocols that it hands to a port here, ways to peers.

Invariants: only ports of the loopback count, so that no daemon has us connect to another machine; a protocol is taken from
nobody who still answers at its port. Knows no chains.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import trio

from walytis_core.errors import UnavailableError
from walytis_core.network.kubo.rpc import Rpc
from walytis_core.network.port import PeerId

__all__ = ["Listener", "check_unused", "listeners", "way_to"]

_PROBE_WAIT_S: Final = 1.0
_LOOPBACK: Final = re.compile(r"/ip4/127\.0\.0\.1/tcp/([1-9]\d{0,4})", re.ASCII)


class Listener(NamedTuple):
    """A protocol whose streams a daemon hands to a port of the loopback."""

    protocol: str
    port: int


class _Row(NamedTuple):
    protocol: str
    listen: str
    target: str


async def listeners(rpc: Rpc) -> list[Listener]:
    """The protocols whose streams the daemon hands to somebody on this machine."""
    found = [(row.protocol, _port(row.target)) for row in await _rows(rpc)]
    return [Listener(protocol, port) for protocol, port in found if port is not None]


async def way_to(rpc: Rpc, peer: PeerId, protocol: str) -> int | None:
    """The port that leads to a peer, if there is one."""
    for row in await _rows(rpc):
        if row.protocol == protocol and row.target == f"/p2p/{peer}" and (port := _port(row.listen)) is not None:
            return port
    return None


async def check_unused(port: int) -> None:
    """Makes sure that nobody answers at a port: a process that was killed leaves its listeners in the daemon.

    Raises:
        UnavailableError: Somebody does.
    """
    with trio.move_on_after(_PROBE_WAIT_S):
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return
        await stream.aclose()
    raise UnavailableError(
        "Another node runs on this Kubo daemon.",
        hint="A daemon serves one node: stop the other one, or start a second daemon.",
    )


async def _rows(rpc: Rpc) -> list[_Row]:
    told = (await rpc.ask("p2p/ls")).get("Listeners")
    found = []
    for row in told if isinstance(told, list) else []:
        match row:
            case {"Protocol": str(protocol), "ListenAddress": str(listen), "TargetAddress": str(target)}:
                found.append(_Row(protocol, listen, target))
            case _:
                pass
    return found


def _port(address: str) -> int | None:
    found = _LOOPBACK.fullmatch(address)
    return int(found[1]) if found and int(found[1]) < 1 << 16 else None
