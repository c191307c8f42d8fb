"""`docs/guides/ipfs.md` says what is true: its commands are run as they stand, in order, on a plain Kubo daemon.

A block of commands is run in the terminal that its fence names, a text below it is what has to be read there: its lines, in
order, with anything for each `…`. Only the surroundings are the test's: a home of its own, and an `ipfs init` that makes a
repository which knows nobody but this machine.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

import psutil
import pytest

from tests.suites.kubo_daemon import Daemon, binary
from tools.conformance import ROOT
from walytis_core.network.kubo.preflight import OLDEST

GUIDE = ROOT / "docs" / "guides" / "ipfs.md"
MAIN = "main"
WAIT_S = 60.0
FAILED = "a command failed: "

_STEP = re.compile(r"^```(sh|text|python)(?: (\w+))?\n(.*?)^```$|^<!-- Ctrl-C: (\w+) -->$", re.DOTALL | re.MULTILINE)
_IPFS = '#!/bin/sh\n[ "$1" = init ] && exec cp -r {repo} "$HOME/.ipfs"\nexec {ipfs} "$@"\n'
_WALYTIS = '#!/bin/sh\nexec {python} -c "from frontends.cli import main; main()" "$@"\n'


class Step(NamedTuple):
    """A fence of the page, or a Ctrl-C."""

    kind: str
    terminal: str
    text: str
    line: int


def steps(page: str) -> Iterator[Step]:
    before = MAIN
    for found in _STEP.finditer(page):
        kind, named, text, interrupted = found.groups()
        terminal = interrupted or named or (before if kind == "text" else MAIN)
        yield Step(kind or "interrupt", terminal, text or "", page[: found.start()].count("\n") + 2)
        before = terminal if kind != "text" else before


class Terminal:
    """A shell into which blocks are typed. It and all it started are gone when this is closed, or when the test run dies."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        lifeline, self._lifeline = os.pipe()
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=directory, env=environment | {"LIFELINE": str(lifeline)}, pass_fds=[lifeline], start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        os.close(lifeline)
        self._read = ""
        self._seen = 0
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._keep, daemon=True)
        self._reader.start()
        self._type('(read -r _ <&"$LIFELINE"; kill -KILL -- -$$) > /dev/null 2>&1 &')
        self._type(f"trap 'echo {FAILED}$BASH_COMMAND' ERR")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lifeline)
        with self._shell:
            self._reader.join()

    def _type(self, commands: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(commands.encode() + b"\n")
        self._shell.stdin.flush()

    def _keep(self) -> None:
        assert self._shell.stdout is not None
        while part := os.read(self._shell.stdout.fileno(), 1 << 16):
            with self._changed:
                self._read += part.decode()
                self._changed.notify_all()

    def _until(self, pattern: str) -> str:
        """What was printed since the last time, up to and with what matches."""
        with self._changed:
            self._changed.wait_for(lambda: re.search(pattern, self._read[self._seen :]), WAIT_S)
            found = re.search(pattern, self._read[self._seen :])
            assert found, f"not printed: {pattern}\nbut: {self._read[self._seen :]}"
            printed = self._read[self._seen : self._seen + found.end()]
            self._seen += found.end()
            return printed

    def run(self, commands: str) -> str:
        """Runs commands to their end; gives what they print."""
        self._type(f"{{\n{commands}}} < /dev/null\necho 'the end of it'")
        return self._until("the end of it\n").removesuffix("the end of it\n")

    def begin(self, commands: str) -> None:
        """Runs commands of which the last one goes on."""
        self._type(commands)

    def shows(self, text: str) -> None:
        """Waits until these lines were printed."""
        self._until(pattern_of(text))

    def interrupt(self) -> None:
        """Ctrl-C: ends the command that runs."""
        running = [each for each in psutil.Process(self._shell.pid).children() if "bash" not in each.name()]
        for process in running:
            process.send_signal(signal.SIGINT)
        assert psutil.wait_procs(running, WAIT_S)[0]


def pattern_of(text: str) -> str:
    """What matches an output with these lines in this order."""
    lines = (".*".join(map(re.escape, line.split("…"))) for line in text.splitlines())
    return "(?m)" + r"\n(?:.*\n)*?".join(rf"^{line}$" for line in lines)


def check(terminal: Terminal, step: Step, expected: str | None) -> None:
    """Runs a block to its end, again where it only looks at what comes by itself and has not come yet."""
    only_looks = all(line.startswith(("ipfs ", "walytis status ")) for line in step.text.splitlines())
    end = time.monotonic() + WAIT_S
    while True:
        printed = terminal.run(step.text)
        is_right = expected is None or re.search(pattern_of(expected), printed)
        if (is_right and FAILED not in printed) or not only_looks or time.monotonic() > end:
            break
    assert FAILED not in printed, printed
    assert is_right, f"{GUIDE.name}:{step.line} prints\n{printed}"


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    """A home without anything in it, and the commands of the page."""
    for name in ("home", "bin"):
        (tmp_path / name).mkdir()
    Daemon(tmp_path / "repo", pubsub=False, streams=False)  # its files, as `ipfs init` makes them for this test
    scripts = {
        "ipfs": _IPFS.format(repo=tmp_path / "repo", ipfs=binary()),
        "walytis": _WALYTIS.format(python=sys.executable),
        "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }
    for name, script in scripts.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.defpath}", "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8", "PYTHONUTF8": "1", "IPFS_TELEMETRY": "off",
    }  # fmt: skip


@pytest.mark.kubo
@pytest.mark.libp2p
@pytest.mark.timeout(300)
def test_its_commands_do_what_it_says(surroundings: dict[str, str]) -> None:
    """C44, C45, C50, C37: a plain Kubo walks a chain, has its content, reads and writes its CAR files, and may stop and start."""
    page = list(steps(GUIDE.read_text(encoding="utf-8")))
    with ExitStack() as stack:
        terminals: dict[str, Terminal] = {}
        for step, following in zip(page, [*page[1:], None], strict=True):
            if step.terminal not in terminals:
                terminals[step.terminal] = stack.enter_context(Terminal(surroundings, Path(surroundings["HOME"])))
            terminal = terminals[step.terminal]
            output = following.text if following is not None and following[:2] == ("text", step.terminal) else None
            match step.kind:
                case "interrupt":
                    terminal.interrupt()
                case "text" if step.terminal != MAIN:
                    terminal.shows(step.text)
                case "text":
                    pass  # compared with the block above it
                case "python":
                    check(terminal, step._replace(text=f"python - <<'END'\n{step.text}END\n"), output)
                case _ if step.terminal != MAIN:
                    terminal.begin(step.text)
                case _:
                    check(terminal, step, output)


def test_it_names_the_versions() -> None:
    """Of Kubo: the oldest that a node runs on, and the one that tests run on."""
    built = re.search(
        r"github.com/ipfs/kubo v(\d+\.\d+)", (ROOT / "tools" / "kubo" / "go.mod").read_text(encoding="utf-8")
    )
    assert built
    oldest, tested = ".".join(map(str, OLDEST)), built[1]
    assert f" {oldest} or newer (`ipfs version`; {tested} is what is tested)" in GUIDE.read_text(encoding="utf-8")


def test_it_is_read_whole() -> None:
    page = GUIDE.read_text(encoding="utf-8")
    found = list(steps(page))
    assert 2 * len([step for step in found if step.kind != "interrupt"]) == page.count("```")
    assert {step.kind for step in found} == {"sh", "text", "python", "interrupt"}
    assert len({step.terminal for step in found}) == 4
