"""A local network of two machines: network namespaces with a cable between them, and processes in them.

The namespaces have no names: a process holds each, and ends with its input, so that nothing is left of them however the
tests end. Run as a module, this is a node on one of the machines (see `main`).
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import logging
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from zeroconf import DNSOutgoing, DNSPointer, DNSText
from zeroconf.asyncio import AsyncZeroconf

from tests.suites.nodes import until
from tools.conformance import ROOT
from walytis_core import Node
from walytis_core.network._peer_id import peer_id_of
from walytis_core.network.libp2p import Libp2pNetwork
from walytis_core.network.libp2p.nearby import Nearby

LISTEN = "/ip4/0.0.0.0/tcp/0"
_HOLD = ["sh", "-c", "echo held; exec cat"]
_IS_ROOT = os.geteuid() == 0
_AS_ROOT = [] if _IS_ROOT else ["--user", "--map-root-user"]  # others become root in a namespace of users
_SAME_USERS = [] if _IS_ROOT else ["--user", "--preserve-credentials"]


@dataclass(frozen=True)
class Machine:
    """A machine of the network.

    Attributes:
        pid: The process that holds its namespace.
        host: Its address.
    """

    pid: int
    host: str

    def inside(self, *command: str) -> list[str]:
        """A command, as it is run on this machine; the process is the command's own."""
        return ["nsenter", f"--target={self.pid}", "--net", *_SAME_USERS, *command]

    def ip(self, *arguments: str) -> None:
        """Runs `ip` on this machine."""
        subprocess.run(self.inside("ip", *arguments), check=True, capture_output=True, timeout=20)


@functools.cache
def missing() -> str:
    """Why there can be no such network here; empty where there can be."""
    lacking = [tool for tool in ("ip", "unshare", "nsenter") if shutil.which(tool) is None]
    if lacking:
        return f"no network namespaces here: {lacking[0]} is not installed"
    try:
        with lan():
            return ""
    except (OSError, subprocess.SubprocessError) as error:
        return f"no network namespaces here: {error}"


@contextmanager
def lan() -> Iterator[tuple[Machine, Machine]]:
    """Two machines and the cable between them, for the length of the block.

    Raises:
        OSError: The system allows no namespaces.
    """
    with _held(["unshare", *_AS_ROOT, "--net"]) as first:
        beside = [] if _IS_ROOT else ["nsenter", f"--target={first}", *_SAME_USERS]
        with _held([*beside, "unshare", "--net"]) as second:
            machines = Machine(first, "10.77.0.1"), Machine(second, "10.77.0.2")
            machines[0].ip("link", "add", "lan0", "type", "veth", "peer", "name", "lan0", "netns", str(second))
            for machine in machines:
                machine.ip("addr", "add", f"{machine.host}/24", "dev", "lan0")
                machine.ip("link", "set", "lan0", "up")
                machine.ip("link", "set", "lo", "up")
            yield machines


@contextmanager
def _held(unshare: Sequence[str]) -> Iterator[int]:
    """A process in a namespace of its own; its id."""
    with subprocess.Popen([*unshare, *_HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"held\n":
            raise OSError(f"{' '.join(unshare)} is not allowed")
        yield process.pid


class Neighbour:
    """A node in a process on one of the machines: what it says, as it comes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.said: dict[str, Any] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.update(json.loads(line))

    def until(self, what: str) -> Any:
        """Waits until it has said this; gives it."""
        until(lambda: self.said.get(what) or not self._reader.is_alive(), what=f"{what}, of {self.said}")
        return self.said.get(what)

    def end(self) -> dict[str, Any]:
        """Has it close its node and end; gives all it said."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._reader.join()
        return self.said


@contextmanager
def neighbour(machine: Machine, directory: Path, mode: str = "") -> Iterator[Neighbour]:
    """A node on a machine; see `main`."""
    command = machine.inside(sys.executable, "-m", "tests.suites.lan", str(directory), mode)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            yield Neighbour(process)
        finally:
            process.kill()


# --- in the child ------------------------------------------------------------------------------------------------


def say(**words: object) -> None:
    """A line for `Neighbour.said`."""
    os.write(1, json.dumps(words).encode() + b"\n")


def main(directory: str, mode: str) -> None:
    """Runs a node with mDNS until its input ends; says who is connected, and what it leaves when it is closed.

    Args:
        directory: Its directory.
        mode: ``"deaf"``: it dials nobody that mDNS told of; ``"mute"``: it does not announce itself; ``"noise"``: no node
            at all, see `make_noise`.
    """
    if mode == "deaf":
        Nearby.due = lambda *_: []  # type: ignore[method-assign]
    if mode == "mute":
        AsyncZeroconf.async_register_service = _unsaid  # type: ignore[method-assign]
    if mode == "noise":
        make_noise()
        return
    logging.basicConfig(level=logging.INFO, stream=_Log())
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=[ended], daemon=True).start()
    network = Libp2pNetwork(listen=[LISTEN], mdns=True)
    with Node.open(directory, network=network) as node:
        say(addresses=node.addresses(), peer=node.peer_id)
        while not ended.wait(0.02):
            say(connected=list(network.connected()), blocks=[len(chain) for chain in node.chains()])
        began = time.monotonic()
    threads = [thread.name for thread in threading.enumerate() if thread.daemon and thread.name[:4] != "Trio"]
    say(closed_in_s=time.monotonic() - began, threads=threads, sockets=len(psutil.Process().net_connections("inet")))


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


class _Log(io.TextIOBase):
    """Takes the log; what it holds is said."""

    def write(self, text: str) -> int:
        say(log=text)
        return len(text)


def make_noise() -> None:
    """Sends the neighbour what no node sends: bytes at random, responses cut or changed, and a crowd of false peers."""
    rng = random.Random(0)
    packets = [rng.randbytes(rng.randrange(1500)) for _ in range(300)]
    for number in range(300):
        text = _txt(rng, number)
        name = f"{number}._p2p._udp.local."
        out = DNSOutgoing(0x8400)  # a response
        out.add_answer_at_time(DNSPointer("_p2p._udp.local.", 12, 1, 1 << 31, name), 0)
        out.add_answer_at_time(DNSText(name, 16, 1, 1 << 31, text), 0)
        whole = bytearray(out.packets()[0])
        packets.append(bytes(whole))
        packets.append(bytes(whole[: rng.randrange(len(whole))]))
        whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        packets.append(bytes(whole))
    rng.shuffle(packets)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.77.0.2"))
        sender.bind(("10.77.0.2", 5353))
        for packet in packets:
            sender.sendto(packet, ("224.0.0.251", 5353))


def _txt(rng: random.Random, number: int) -> bytes:
    peer = peer_id_of(number.to_bytes(32, "big"))
    kinds = [
        b"dnsaddr=" + rng.randbytes(rng.randrange(247)),
        f"dnsaddr=/ip4/10.77.0.{number % 250 + 3}/tcp/1/p2p/{peer}".encode(),
        f"dnsaddr=/ip4/127.0.0.1/tcp/1/p2p/{peer}".encode(),
        rng.randbytes(rng.randrange(255)),
    ]
    chosen = rng.choices(kinds, k=rng.randrange(1, 30))
    return b"".join(bytes([len(one)]) + one for one in chosen)


async def _unsaid(*_: object, **__: object) -> asyncio.Future[None]:
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


if __name__ == "__main__":
    main(*sys.argv[1:])
