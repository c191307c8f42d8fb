"""`walytis run`: a node that stays online, and answers the other commands through its local socket.

Invariants: it ends cleanly on SIGTERM and SIGINT, and loudly when the node ends by itself; whatever way it ends, its
socket and its ready file are gone. Signals only wake the one loop below: nothing is done in a handler.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from frontends.calls import Call, perform
from frontends.directory import holds_node, private_folder, socket_path
from frontends.failures import EXIT_CODES, FailedError
from frontends.forms import Form
from frontends.kubo import daemon_at, network_on, url_of
from frontends.local_socket import LocalServer
from frontends.telling import write_json
from frontends.unlocking import keys_of
from frontends.verbs import UP, VERBS
from identities import Identities
from walytis_core import InUseError, Node, WalytisError
from walytis_core.keys import Keys
from walytis_core.network import Network
from walytis_core.network.libp2p import Libp2pNetwork

_LOOK_S: Final = 2.0  # how often it looks whether the node is alive, and its network


class Daemon:
    """A node that stays.

    Args:
        directory: Its data directory.
        listen: Multiaddresses to listen on; none for loopback, on the port this directory had before.
        mdns: Whether to find nodes on the local network, and be found.
        kubo: The RPC of the Kubo daemon to run on; None for a node that is on none.
    """

    def __init__(self, directory: Path, listen: Sequence[str], *, mdns: bool = False, kubo: str | None = None) -> None:
        self._directory = directory
        self._listen = tuple(listen)
        self._mdns = mdns
        self._kubo = kubo

    def run(self, ready_file: Path | None, *, as_json: bool) -> None:
        """Runs until a signal comes.

        Args:
            ready_file: Gets the addresses, as JSON, once others can connect; removed at the end.
            as_json: Says what it says as JSON lines.

        Raises:
            WalytisError: The directory cannot be opened, or the node ended by itself.
            FailedError: The socket cannot be made.
        """
        kubo = None if self._kubo is None else daemon_at(self._kubo, will_do=not holds_node(self._directory))
        keys = keys_of(self._directory)  # asks, which Ctrl-C ends: before signals are caught
        with _signals() as woken, self._open(keys) as node, Identities(node) as identities:

            def call(content: BinaryIO) -> Call:
                return Call(node, stays_online=True, content=content, identities=identities)

            server = LocalServer(socket_path(self._directory), call, self._answer)
            try:
                ready = {
                    "event": "ready",
                    "addresses": node.addresses(),
                    "pid": os.getpid(),
                    "chains": len(node.chains()),
                    "damaged": len(node.damaged()),
                    "identities": len(identities.all()),
                }
                if kubo is not None:
                    ready["kubo"] = kubo | {"peer": node.peer_id}
                with _announced(ready, ready_file):
                    _say(ready, as_json=as_json)
                    _serve(node, server, woken, as_json=as_json)
            finally:
                server.close()
        _say({"event": "stopped"}, as_json=as_json)

    def _open(self, keys: Callable[[Path], Keys]) -> Node:
        network: Network | None = None
        if self._kubo is not None:
            network = network_on(self._kubo)
        elif self._listen or self._mdns:
            network = Libp2pNetwork(listen=self._listen, mdns=self._mdns)  # refuses bad addresses
        private_folder(self._directory)
        try:
            return Node.open(self._directory, network=network, keys=keys)
        except InUseError as error:
            hint = "It may be another `walytis run`: stop that one first."
            raise FailedError("InUseError", str(error), hint, EXIT_CODES["LocalError"]) from error

    def _answer(self, verb: str, call: Call, arguments: Form) -> Generator[Form, None, None]:
        try:
            yield from perform({**VERBS, "network": self._network}, verb, call, arguments)
        except WalytisError as error:
            raise FailedError.of(error) from error

    def _network(self, _call: Call) -> Form:
        """What this node is on: for a command that was told to use a daemon."""
        return {"kubo": None if self._kubo is None else url_of(self._kubo)}


def _serve(node: Node, server: LocalServer, woken: socket.socket, *, as_json: bool) -> None:
    network = UP
    with selectors.DefaultSelector() as selector:
        selector.register(server.listener, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select(_LOOK_S)]
            if woken in ready:
                return
            if server.listener in ready:
                server.accept()
            node.chains()  # raises ClosedError once the node has ended by itself
            before, network = network, node.stats.network
            if network != before:
                _say({"event": "network", "network": network}, as_json=as_json)


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that becomes readable when SIGTERM or SIGINT comes."""
    woken, waker = socket.socketpair()
    with woken, waker:
        waker.setblocking(False)
        before_wakeup = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, _nothing) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield woken
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before_wakeup)


def _nothing(_number: int, _frame: Any) -> None:
    """The wake-up socket has been told; there is nothing else to do here."""


@contextlib.contextmanager
def _announced(ready: Form, ready_file: Path | None) -> Iterator[None]:
    """Writes the ready file whole, or not at all, and removes it at the end."""
    if ready_file is None:
        yield
        return
    try:
        beside = ready_file.with_name(ready_file.name + ".new")
        beside.write_text(json.dumps(ready), encoding="utf-8")
        beside.replace(ready_file)
    except OSError as error:
        raise FailedError(
            "StorageError", f"cannot write {ready_file}: {error.strerror}", "Name another file.", 6
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            ready_file.unlink(missing_ok=True)


def _say(event: Form, *, as_json: bool) -> None:
    if as_json:
        write_json(event, compact=True)
        return
    if event["event"] == "stopped":
        sys.stdout.write("Stopped.\n")
    elif event["event"] == "network":
        sys.stdout.write("Online again.\n" if event["network"] == UP else f"Not online: {event['network']}\n")
    else:
        damaged = f" (and {event['damaged']} damaged)" * bool(event["damaged"])
        on = "Online"
        if daemon := event.get("kubo"):
            on += f" by Kubo {daemon['version']} at {daemon['url']}"
        acts_for = f", identities: {event['identities']}" * bool(event["identities"])
        sys.stdout.write(
            f"{on}; chains: {event['chains']}{damaged}{acts_for}. Ctrl-C ends it. Others reach this node at\n"
        )
        sys.stdout.writelines(f"  {address}\n" for address in event["addresses"])
    sys.stdout.flush()
