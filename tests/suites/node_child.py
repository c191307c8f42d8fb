"""The processes of the node's crash tests: a nursery that forks, and nodes that append until they are killed."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from walytis_core import Arrived, Chain, Node
from walytis_core.network import MemoryHub, MemoryNetwork

THREADS = 3


def say(*words: object) -> None:
    """Writes a line in one piece, so that no kill can cut it."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def live(directory: str) -> None:
    """Appends from several threads, follows and acknowledges, without end; names what was acknowledged."""
    node = Node.open(directory, network=MemoryNetwork(MemoryHub()))
    chain = node.chains()[0] if node.chains() else node.create_chain("crash")
    chain.follow(acknowledge, name="inbox")
    threads = [threading.Thread(target=append, args=(chain, index)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def acknowledge(event: object) -> None:
    """A consumer that says what it handles; its return acknowledges."""
    assert isinstance(event, Arrived)
    say("handled", event.number)


def append(chain: Chain, index: int) -> None:
    """One thread's appends: single blocks, batches and long content."""
    rng = random.Random(os.urandom(8))
    while True:
        kind = rng.randrange(12)
        if kind == 0:
            blocks = [chain.append(rng.randbytes(70_000), topics=["long"])]
        else:
            blocks = list(chain.append_many([b"%d" % index] * (1 if kind < 8 else 20), topics=["short"]))
        for block in blocks:
            say("block", block.id.hex())


def nursery(live: Callable[[str], None] = live) -> None:
    """For each line on stdin, a directory: forks a child that lives in it, and says when it was born and when it died."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            live(line.rstrip("\n"))
        say("born", child)
        os.waitpid(child, 0)
        say("dead", child)


class Nursery:
    """Gives birth to nodes, and kills them."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders = process.stdin
        self._words = process.stdout.fileno()
        self._rest = b""

    def life(self, directory: Path | str, length_s: float) -> list[list[str]]:
        """Lets a node live in `directory` (or on another order of its kind), kills it `length_s` after its first word; what it said."""
        self._orders.write(f"{directory}\n".encode())
        self._orders.flush()
        lines: list[list[str]] = []
        while len(lines) < 2:
            lines += self._hear(None)
        (born,) = [int(line[1]) for line in lines if line[0] == "born"]
        end = time.monotonic() + length_s
        while lines[-1][0] != "dead" and (left := end - time.monotonic()) > 0:
            lines += self._hear(left)
        if lines[-1][0] != "dead":
            os.kill(born, signal.SIGKILL)
        while lines[-1][0] != "dead":
            lines += self._hear(None)
        return lines

    def _hear(self, timeout_s: float | None) -> list[list[str]]:
        """The lines that come next, if any come in time."""
        if not select.select([self._words], [], [], timeout_s)[0]:
            return []
        data = os.read(self._words, 1 << 16)
        assert data, "the nursery ended"
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode().split() for line in lines]


@contextmanager
def nursing(module: str = "tests.suites.node_child") -> Iterator[Nursery]:
    """A nursery, for the length of the block; that of another module where it is named."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            yield Nursery(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)


if __name__ == "__main__":
    nursery()
