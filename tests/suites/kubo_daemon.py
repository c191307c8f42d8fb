"""A real IPFS daemon (Kubo) for tests: its own throw-away repository, on loopback, and gone when the test is.

`make kubo` builds the daemon into `build/kubo/ipfs`; WALYTIS_KUBO_BINARY names another one. A test gets daemons from the fixture
`kubo` (tests/conftest.py). Invariants: a daemon knows no peers but those that a test connects; it answers at the same addresses
after a restart; it does not outlive the test run, however that ends (a guard beside it reads a pipe from us).
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

from tools.conformance import ROOT

MISSING: Final = "no Kubo daemon here; build it with `make kubo`"

READY_S: Final = 60.0
"""Generous, as every bound: a start takes half a second."""
STOP_S: Final = 20.0
"""Less than the half minute after which a daemon that stops cuts open subscriptions off: nobody may hold it up so long."""
COMMAND_S: Final = 60.0

_PORTS: Final = range(10_000, 32_768)
"""Below those that a kernel hands out: nobody is given the port of a daemon that is down for a while."""
_FOREIGN: Final = ("IPFS_", "LIBP2P_", "GOLOG_", "GODEBUG")

_GUARD: Final = """
"$@" &
exec >/dev/null 2>&1
while read -r signal; do kill -"$signal" $!; done
kill -KILL $!
wait
"""
"""Runs a command, passes signals on, and kills it at the end of its input: when whoever started it is no more."""


class KuboError(AssertionError):
    """A daemon or a command did not do what a test needs; says what it printed."""


def binary() -> Path | None:
    """The daemon's program; None where there is none."""
    path = Path(os.environ.get("WALYTIS_KUBO_BINARY") or ROOT / "build" / "kubo" / "ipfs")
    return path if path.is_file() else None


@functools.cache
def version() -> str:
    """The version of the daemon's program, e.g. ``0.43.0``."""
    program = binary()
    assert program is not None, MISSING
    return _output(["version", "--number"], program.with_name("no-repository")).decode().strip()


class Daemon:
    """One daemon and its repository. `start` it first; the fixture `kubo` does.

    Args:
        repo: An empty or missing folder for the repository.
        pubsub: Whether pubsub is on.
        streams: Whether streams may be mounted (`p2p/listen`, `p2p/forward`).
        routing: ``"none"``: it finds nothing by itself; ``"dht"``: in the DHT of the peers it is connected to.
        config: More of its configuration, by dotted name, e.g. ``{"API.Authorizations": {...}}``.
    """

    def __init__(
        self,
        repo: Path,
        *,
        pubsub: bool = True,
        streams: bool = True,
        routing: Literal["none", "dht"] = "none",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.repo = repo
        self._run: _Run | None = None
        self._log: list[str] = []
        self._api, self._swarm = free_port(), free_port()
        self._settings = {
            "Addresses.API": f"/ip4/127.0.0.1/tcp/{self._api}",
            "Addresses.Swarm": [f"/ip4/127.0.0.1/tcp/{self._swarm}"],
            "Addresses.Gateway": "",
            "Routing.Type": routing,
            "Pubsub.Enabled": pubsub,
            "Experimental.Libp2pStreamMounting": streams,
            "Swarm.ConnMgr.Type": "none",
            "Swarm.RelayClient.Enabled": False,
            "Swarm.RelayService.Enabled": False,
            "Swarm.EnableHolePunching": False,
            "AutoNAT.ServiceMode": "disabled",
            "HTTPRetrieval.Enabled": False,
            "Version.SwarmCheckEnabled": False,
            **(config or {}),
        }
        self.renew()

    # --- what it is ----------------------------------------------------------------------------------------------

    @property
    def api_url(self) -> str:
        """Where its RPC answers, the same after a restart."""
        return f"http://127.0.0.1:{self._api}"

    @property
    def peer_id(self) -> str:
        """Its peer id."""
        return str(self._config()["Identity"]["PeerID"])

    @property
    def addresses(self) -> Sequence[str]:
        """Where peers reach it, with its peer id; the same after a restart."""
        return [f"/ip4/127.0.0.1/tcp/{self._swarm}/p2p/{self.peer_id}"]

    @property
    def is_running(self) -> bool:
        """Whether it is there."""
        return self._run is not None and not self._run.is_over

    def log(self) -> str:
        """All it has printed, over all its runs."""
        return "".join(self._log)

    # --- starting and stopping -----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Starts it, and returns when it answers.

        Raises:
            KuboError: It ends, or is not ready within `READY_S`.
        """
        assert not self.is_running, "the daemon runs already"
        self._run = _Run([str(binary()), "daemon"], _environment(self.repo), self._log)
        if not self._run.is_ready(READY_S):
            self.kill()
            raise KuboError(f"the daemon does not start:\n{self.log()}")
        return self

    def renew(self) -> None:
        """Gives it a new, empty repository while it is down: another daemon, with another key, at the same ports."""
        assert not self.is_running, "the daemon runs"
        if self.repo.exists():
            shutil.rmtree(self.repo)
        self.repo.mkdir(parents=True)
        self.ipfs("init", "--profile=test")  # loopback, no bootstrap, mDNS, AutoConf, AutoTLS or port mapping
        self.configure(self._settings)

    def stop(self) -> None:
        """Ends it in good order. A daemon that is not running stays so."""
        self._end("TERM")

    def kill(self) -> None:
        """Ends it at once, as a crash does."""
        self._end("KILL")

    def _end(self, signal: str) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.end(signal)

    # --- using it ------------------------------------------------------------------------------------------------

    def ipfs(self, *arguments: str, data: bytes | None = None, within_s: float = COMMAND_S) -> str:
        """Runs an `ipfs` command on it (on its repository while it is down); gives what was printed, stripped.

        Args:
            arguments: The command, e.g. ``"block", "stat", "--offline", cid``.
            data: Its standard input.
            within_s: Ends it after so long.

        Raises:
            KuboError: It fails, or takes longer.
        """
        return self.ipfs_bytes(*arguments, data=data, within_s=within_s).decode().strip()

    def ipfs_bytes(self, *arguments: str, data: bytes | None = None, within_s: float = COMMAND_S) -> bytes:
        """As `ipfs`, but gives the bytes as they are."""
        return _output(arguments, self.repo, data, within_s)

    def json(self, *arguments: str, within_s: float = COMMAND_S) -> Any:
        """As `ipfs`, for commands that print one JSON value."""
        return json.loads(self.ipfs(*arguments, within_s=within_s))

    def connect(self, addresses: Sequence[str]) -> None:
        """Connects it to a peer at the first of these addresses."""
        self.ipfs("swarm", "connect", addresses[0])

    def peers(self) -> set[str]:
        """The ids of the peers it is connected to."""
        return {address.rpartition("/p2p/")[2] for address in self.ipfs("swarm", "peers").split()}

    def has(self, cid: object) -> bool:
        """Whether a block is in its repository, without asking anybody."""
        try:
            self.ipfs("block", "stat", "--offline", str(cid))
        except KuboError:
            return False
        return True

    def pins(self) -> set[str]:
        """The CIDs of all direct and recursive pins."""
        kinds = [self.ipfs("pin", "ls", f"--type={kind}", "--quiet") for kind in ("direct", "recursive")]
        return set(" ".join(kinds).split())

    # --- its configuration ---------------------------------------------------------------------------------------

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Changes settings by dotted name; they hold from its next start."""
        config = self._config()
        for name, value in settings.items():
            *path, last = name.split(".")
            section = config
            for part in path:
                section = section.setdefault(part, {})
            section[last] = value
        (self.repo / "config").write_text(json.dumps(config, indent=2), encoding="utf-8")

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.repo / "config").read_text(encoding="utf-8"))
        return config


class _Run:
    """A running daemon behind its guard; a thread keeps what it prints."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: list[str]) -> None:
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # an interrupt from the keyboard is for the tests, which then end the daemon
        )
        self._log = log
        self._is_ready = False
        self._told = threading.Event()
        self._reader = threading.Thread(target=self._read, name="kubo output", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._guard.stdout is not None
        for line in self._guard.stdout:
            self._log.append(line.decode(errors="replace"))
            if line.startswith(b"Daemon is ready"):
                self._is_ready = True
                self._told.set()
        self._told.set()

    @property
    def is_over(self) -> bool:
        """Whether the daemon has ended: nobody can print any more."""
        return not self._reader.is_alive()

    def is_ready(self, within_s: float) -> bool:
        """Waits until the daemon says that it is ready, or ends, or the time is over."""
        self._told.wait(within_s)
        return self._is_ready

    def end(self, signal: str) -> None:
        """Sends a signal, and waits until the daemon and its guard are gone; one that does not obey is killed."""
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        if not self.is_over:
            self._guard.stdin.write(f"{signal}\n".encode())
            self._guard.stdin.flush()
            self._reader.join(STOP_S)
        obeyed = self.is_over
        self._guard.stdin.close()
        self._guard.wait()
        self._reader.join()
        self._guard.stdout.close()
        if not obeyed:
            raise KuboError(f"the daemon did not end within {STOP_S:g} s:\n{''.join(self._log)}")


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise KuboError("no free port")


def _environment(repo: Path) -> dict[str, str]:
    """Ours, without what would change the daemon; telemetry is off."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {"IPFS_PATH": str(repo), "IPFS_TELEMETRY": "off"}


def _output(arguments: Sequence[str], repo: Path, data: bytes | None = None, within_s: float = COMMAND_S) -> bytes:
    command = [str(binary()), *arguments]
    try:
        done = subprocess.run(
            command, env=_environment(repo), input=data or b"", capture_output=True, timeout=within_s, check=True
        )
    except subprocess.CalledProcessError as error:
        raise KuboError(f"ipfs {' '.join(arguments)}: {error.stderr.decode(errors='replace').strip()}") from None
    except subprocess.TimeoutExpired:
        raise KuboError(f"ipfs {' '.join(arguments)}: not within {within_s:g} s") from None
    return done.stdout
