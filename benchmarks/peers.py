"""Other processes for a measure: a function that runs in a child of its own, and the talk with it.

Times are compared across processes by `time.monotonic_ns`, which is one clock for the whole machine on Linux.
Invariants: every wait is bounded; a child that fails ends the measure with what it said; none outlives its block.
"""

from __future__ import annotations

import gc
import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CDLL
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import psutil

from walytis_core.network import Network
from walytis_core.network.kubo import KuboNetwork
from walytis_core.network.libp2p import Libp2pNetwork

WAIT_S: Final = 180.0
EMBEDDED: Final = ""
"""Stands for the embedded network where the RPC address of a daemon may be given."""
_MB: Final = 1_000_000


class Child:
    """A child at the other end of a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def tell(self, value: object) -> None:
        """Says something to it."""
        self._pipe.send(value)

    def hear(self, wait_s: float = WAIT_S) -> Any:
        """What it says next.

        Raises:
            RuntimeError: It failed, or says nothing for too long.
        """
        if not self._pipe.poll(wait_s):
            raise RuntimeError("a process of this measure does not answer")
        value = self._pipe.recv()
        if isinstance(value, _Failed):
            raise RuntimeError(f"a process of this measure failed:\n{value.said}")  # noqa: TRY004 - it is no type's fault
        return value


class _Failed:
    def __init__(self, said: str) -> None:
        self.said = said


@contextmanager
def child(function: Callable[..., None], *args: object) -> Iterator[Child]:
    """Runs `function(child, *args)` in a process of its own, where `child` is this end."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(function, theirs, args), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Child(ours)
        process.join(10.0)
    finally:
        process.kill()
        process.join()
        ours.close()


def _run(function: Callable[..., None], pipe: Connection, args: tuple[object, ...]) -> None:
    try:
        function(Child(pipe), *args)
    except Exception:  # noqa: BLE001 - a process boundary: it is raised again at the other end
        pipe.send(_Failed(traceback.format_exc()))


def network_on(rpc: str) -> Network:
    """The network of a node: embedded, or on the daemon behind this RPC address."""
    return Libp2pNetwork() if rpc == EMBEDDED else KuboNetwork(rpc)


def memory_mb() -> float:
    """What this process holds in memory, once what is free is given back."""
    gc.collect()
    trim = getattr(CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)
    return float(psutil.Process().memory_info().rss) / _MB


def forget_peak() -> None:
    """From now on `peak_mb` looks at what comes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb() -> float:
    """The most that this process has held since `forget_peak`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (peak,) = [row.split()[1] for row in status.splitlines() if row.startswith("VmHWM:")]
    return int(peak) * 1024 / _MB
