"""The `walytis` command as tests run it: a real process, with a bound, away from this user's directories."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.conformance import ROOT

COMMAND = [sys.executable, "-c", "from frontends.cli import main; main()"]
WAIT_S = 60.0


def environment(home: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "HOME": str(home), "PATH": os.defpath, "LANG": "C.UTF-8", "TMPDIR": str(home)}


def walytis(
    directory: Path, *arguments: str, stdin: bytes = b"", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end, with these variables in its environment."""
    command = [*COMMAND, *arguments, "--data-dir", str(directory)]
    env = environment(directory.parent) | variables
    return subprocess.run(command, input=stdin, env=env, capture_output=True, timeout=WAIT_S, check=False)


def answer(directory: Path, *arguments: str, stdin: bytes = b"", **variables: str) -> Any:
    """The JSON document that a command writes."""
    done = walytis(directory, *arguments, "--json", stdin=stdin, **variables)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def lines(directory: Path, *arguments: str) -> list[Any]:
    """The JSON lines that a command writes."""
    done = walytis(directory, *arguments, "--json")
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def failure(directory: Path, *arguments: str) -> dict[str, Any]:
    """What a command that fails says, as JSON."""
    done = walytis(directory, *arguments, "--json")
    assert done.stdout == b""
    told: dict[str, Any] = json.loads(done.stderr)
    assert done.returncode == told["exit_code"]
    return told


@contextmanager
def started(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that goes on; killed at the end where it has not ended."""
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--data-dir", str(directory)],
        env=environment(directory.parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@contextmanager
def running(directory: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`walytis run`, from ready to cleanly ended."""
    with started(directory, "run", "--json", *options) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready, process.communicate(timeout=WAIT_S)[1].decode()
        assert json.loads(ready)["event"] == "ready"
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=WAIT_S)
            assert process.returncode == 0, err.decode()
            assert json.loads(out)["event"] == "stopped"
