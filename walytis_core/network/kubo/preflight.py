"""What a daemon must be before a node can run on it, each thing with what to change where it is not so.

Invariants: nothing in the daemon is changed; each finding says what to do about it. A node that starts raises the first
that is wrong, `walytis doctor --kubo` shows them all. It knows no chains.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import trio

from walytis_core.errors import UnavailableError
from walytis_core.network.kubo.addresses import is_peer_id, own_addresses, plain
from walytis_core.network.kubo.rpc import NOT_KUBO_HINT, Rpc, RpcRefusedError

__all__ = ["Daemon", "Finding", "Listener", "examine", "identity", "is_answered", "listeners", "require"]

OLDEST: Final = (0, 30)
MAX_OWN_ADDRESSES: Final = 32
_PROBE_WAIT_S: Final = 1.0
_RESTART: Final = "and restart the daemon"


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    is_ok: bool
    message: str
    """One plain sentence."""
    hint: str = ""
    """What to do, where it is not as it must be."""

    def raise_if_wrong(self) -> None:
        """Raises `UnavailableError` when it is not as it must be."""
        if not self.is_ok:
            raise UnavailableError(self.message, hint=self.hint)


class Daemon(NamedTuple):
    """Who a daemon is."""

    peer_id: str
    addresses: tuple[str, ...]
    """Its plain TCP addresses, loopback last."""


class Listener(NamedTuple):
    """A protocol whose streams a daemon hands to a port of the loopback."""

    protocol: str
    port: int


async def identity(rpc: Rpc) -> Daemon:
    """Who the daemon is. Raises `UnavailableError` where it is none."""
    told = await rpc.ask("id")
    peer_id = told.get("ID")
    if not is_peer_id(peer_id):
        raise UnavailableError("What answers is not a Kubo daemon.", hint=NOT_KUBO_HINT)
    return Daemon(str(peer_id), own_addresses(plain(told.get("Addresses"), str(peer_id), MAX_OWN_ADDRESSES)))


async def listeners(rpc: Rpc) -> list[Listener]:
    """The protocols whose streams the daemon hands to somebody on this machine."""
    rows = (await rpc.ask("p2p/ls")).get("Listeners")
    found = []
    for row in rows if isinstance(rows, list) else []:
        match row:
            case {"Protocol": str(protocol), "TargetAddress": str(target)}:
                if port := re.fullmatch(r"/ip4/127\.0\.0\.1/tcp/(\d{1,5})", target):
                    found.append(Listener(protocol, int(port[1])))
            case _:
                pass
    return found


async def is_answered(port: int) -> bool:
    """Whether somebody listens at a port of the loopback: a process that was killed leaves its listeners in the daemon."""
    with trio.move_on_after(_PROBE_WAIT_S):
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return False
        await stream.aclose()
    return True


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
    found = plain(told.get("Addresses"), peer_id, MAX_OWN_ADDRESSES)
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
        if protocol in protocols and await is_answered(port):
            return Finding(
                "one node",
                False,
                "Another node runs on this Kubo daemon.",
                "A daemon serves one node: stop the other one, or start a second daemon.",
            )
    return Finding("one node", True, "No other node runs on it.")


async def require(rpc: Rpc, protocols: Sequence[str]) -> None:
    """Raises `UnavailableError` of the first finding that is wrong."""
    for finding in await examine(rpc, protocols):
        finding.raise_if_wrong()
