"""The Kubo daemon that `--kubo` names: the transport over it, and what there is to say of it.

Invariants: what opens its RPC comes from the environment, and is in nothing that is shown; looking at it changes nothing in
it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import trio

from frontends.forms import Form
from frontends.options import TOKEN
from walytis_core import UnavailableError
from walytis_core.admission import JOIN_PROTOCOL
from walytis_core.network.kubo import KuboNetwork
from walytis_core.network.kubo.endpoint import Endpoint
from walytis_core.network.kubo.preflight import Finding, examine, require
from walytis_core.network.kubo.rpc import Rpc
from walytis_core.session import SYNC_PROTOCOL

PEERS: Final = "peers"
_PEERS_BYTES: Final = 16 << 20
_VERSION_CHARS: Final = 64
_OURS: Final = (SYNC_PROTOCOL, JOIN_PROTOCOL)  # which one node of a daemon serves
_ONE_NODE: Final = Finding("one node", True, "The node of this directory runs on it.")


def network_on(url: str) -> KuboNetwork:
    """The transport over the daemon whose RPC is there.

    Raises:
        InvalidInputError: That is no URL of one.
    """
    return KuboNetwork(url, token=_token())


def url_of(url: str) -> str:
    """The same URL without what opens the RPC, to be shown and compared; raises as `network_on`."""
    return Endpoint.parse(url, _token()).url


def daemon_at(url: str, *, will_do: bool) -> Form:
    """Where a daemon's RPC is, and its version.

    Args:
        url: Where its RPC is.
        will_do: Whether to look at all that a new node needs of it, too: also that it serves no other one.

    Raises:
        UnavailableError: It is away, or will not do.
    """
    endpoint = Endpoint.parse(url, _token())

    async def ask() -> Form:
        async with Rpc(endpoint) as rpc:
            if will_do:
                await require(rpc, _OURS)
            return await rpc.ask("version")

    version = filter(str.isprintable, str(trio.run(ask).get("Version"))[:_VERSION_CHARS])
    return {"url": endpoint.url, "version": "".join(version)}


def findings_of(url: str, *, is_ours: bool) -> Sequence[Finding]:
    """What there is to say of a daemon, the first thing first; raises as `network_on`.

    Args:
        url: Where its RPC is.
        is_ours: Whether the one node that may run on it is that of the user's directory.
    """
    endpoint = Endpoint.parse(url, _token())

    async def look() -> list[Finding]:
        async with Rpc(endpoint) as rpc:
            findings = await examine(rpc, () if is_ours else _OURS)
            if findings[0].is_ok:
                findings += [_ONE_NODE] * is_ours
                findings.append(await _peers(rpc))
            return findings

    return trio.run(look)


async def _peers(rpc: Rpc) -> Finding:
    try:
        told = (await rpc.ask("swarm/peers", max_bytes=_PEERS_BYTES)).get("Peers")
    except UnavailableError as error:
        return Finding(PEERS, False, str(error), error.hint)
    if told and isinstance(told, list):
        return Finding(PEERS, True, f"It is connected to {len(told)} peer{'s' * (len(told) != 1)}.")
    hint = "Nodes that share a chain connect by themselves; `ipfs swarm connect ADDRESS` connects it to anyone else."
    return Finding(PEERS, False, "It is connected to nobody.", hint)


def _token() -> str | None:
    return os.environ.get(TOKEN) or None
