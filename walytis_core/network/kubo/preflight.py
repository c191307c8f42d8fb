"""What a daemon must be before a node can run on it, each thing with what to change where it is not so.

Invariants: nothing in the daemon is changed; each finding says what to do about it. A node that starts raises the first
that is wrong, with what to do about all of them; `walytis doctor --kubo` shows each. It knows no chains.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from walytis_core.errors import UnavailableError
from walytis_core.network._addresses import loopback_last, of_peer
from walytis_core.network._peer_id import is_peer_id
from walytis_core.network.kubo.mounting import check_unused, listeners
from walytis_core.network.kubo.rpc import NOT_KUBO_HINT, Rpc, RpcRefusedError

__all__ = ["Daemon", "Finding", "examine", "identity", "require"]

OLDEST: Final = (0, 29)
"""The oldest version that may do: the first whose `pin/ls` finds pins by their label, which is the youngest thing that is used.

That is what Kubo's own notes on its versions say; tests run on the one version that `make kubo` builds.
"""
MAX_OWN_ADDRESSES: Final = 32
_RESTART: Final = "and restart the daemon"


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    is_ok: bool
    message: str
    """One plain sentence."""
    hint: str = ""
    """What to do, where it is not as it must be."""


class Daemon(NamedTuple):
    """Who a daemon is."""

    peer_id: str
    addresses: tuple[str, ...]
    """Its plain TCP addresses, loopback last."""


async def identity(rpc: Rpc) -> Daemon:
    """Who the daemon is. Raises `UnavailableError` where it is none."""
    told = await rpc.ask("id")
    peer_id = told.get("ID")
    if not is_peer_id(peer_id):
        raise UnavailableError("What answers is not a Kubo daemon.", hint=NOT_KUBO_HINT)
    return Daemon(str(peer_id), loopback_last(of_peer(told.get("Addresses"), str(peer_id), MAX_OWN_ADDRESSES)))


async def examine(rpc: Rpc, protocols: Sequence[str] = ()) -> list[Finding]:
    """Looks at all that a node needs; what cannot be looked at, since what it needs is wrong already, is left out.

    Args:
        rpc: The daemon's RPC.
        protocols: Those that nobody else may serve there.
    """
    findings = [await _looked("RPC", rpc, "version", _version)]
    if not findings[0].is_ok:
        return findings
    findings.append(await _looked("addresses", rpc, "id", _addresses))
    findings.append(await _looked("pubsub", rpc, "pubsub/ls", _on("pubsub"), _PUBSUB_OFF))
    findings.append(await _looked("stream mounting", rpc, "p2p/ls", _on("stream mounting"), _MOUNTING_OFF))
    if protocols and findings[-1].is_ok:
        findings.append(await _free(rpc, protocols))
    return findings


_PUBSUB_OFF: Final = Finding(
    "pubsub",
    False,
    "The Kubo daemon has its pubsub switched off.",
    f"Run `ipfs config --json Pubsub.Enabled true` {_RESTART}.",
)
_MOUNTING_OFF: Final = Finding(
    "stream mounting",
    False,
    "The Kubo daemon has its stream mounting switched off.",
    f"Run `ipfs config --json Experimental.Libp2pStreamMounting true` {_RESTART}.",
)


async def _looked(
    what: str, rpc: Rpc, command: str, judge: Callable[[dict[str, Any]], Finding], refused: Finding | None = None
) -> Finding:
    try:
        return judge(await rpc.ask(command))
    except RpcRefusedError as error:
        is_switched_off = refused is not None and ("not enabled" in error.said or "disabled" in error.said)
        return refused if refused is not None and is_switched_off else Finding(what, False, str(error), error.hint)
    except UnavailableError as error:
        return Finding(what, False, str(error), error.hint)


def _version(told: dict[str, Any]) -> Finding:
    version = told.get("Version")
    found = re.match(r"(\d{1,6})\.(\d{1,6})[\w.+-]{0,64}$", version) if isinstance(version, str) else None
    if found is None:
        return Finding("RPC", False, "What answers is not a Kubo daemon.", NOT_KUBO_HINT)
    if (int(found[1]), int(found[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return Finding("RPC", False, f"Kubo {found[0]} is too old.", f"Install Kubo {oldest} or newer.")
    return Finding("RPC", True, f"Kubo {found[0]} answers.")


def _addresses(told: dict[str, Any]) -> Finding:
    peer_id = str(told.get("ID"))
    found = of_peer(told.get("Addresses"), peer_id, MAX_OWN_ADDRESSES)
    if found:
        return Finding("addresses", True, f"It is {peer_id} and listens on TCP.")
    return Finding(
        "addresses",
        False,
        "The Kubo daemon listens on no plain TCP address, the only ones that an embedded node dials.",
        f"Add one, such as /ip4/0.0.0.0/tcp/4001, to Addresses.Swarm of its config {_RESTART}.",
    )


def _on(what: str) -> Callable[[dict[str, Any]], Finding]:
    return lambda _: Finding(what, True, f"Its {what} is on.")


async def _free(rpc: Rpc, protocols: Sequence[str]) -> Finding:
    for protocol, port in await listeners(rpc):
        if protocol in protocols:
            try:
                await check_unused(port)
            except UnavailableError as error:
                return Finding("one node", False, str(error), error.hint)
    return Finding("one node", True, "No other node runs on it.")


async def require(rpc: Rpc, protocols: Sequence[str]) -> None:
    """Raises `UnavailableError` of the first finding that is wrong; its hint says what to do about all of them."""
    wrong = [finding for finding in await examine(rpc, protocols) if not finding.is_ok]
    if wrong:
        raise UnavailableError(wrong[0].message, hint=" ".join(dict.fromkeys(finding.hint for finding in wrong)))
