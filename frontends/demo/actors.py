"""The other processes of the demo, as the parent holds them: started, told, heard, killed.

Invariants: every wait has a bound and ends early when a process dies; no process outlives the `Troupe`; what a process
writes on standard error is kept in a file, to be shown when it fails.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from frontends.failures import FailedError
from frontends.lines import Message, read_line, write_line

_ERROR_LINES: Final = 12
_END_S: Final = 5.0


class Actor:
    """One process that speaks JSON lines on its pipes.

    Args:
        name: What it is called.
        module: The module it runs.
        arguments: Its command line.
        work: A folder for its error output.
        heard: Where what it says goes, as ``(actor, message)``; None as message at its end.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        work: Path,
        heard: queue.SimpleQueue[tuple[Actor, Message | None]],
    ) -> None:
        self.name = name
        self._errors = work / f"{name}.stderr.txt"
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is for the parent, which ends its children
            )  # fmt: skip
        self._heard = heard
        self._reader = threading.Thread(target=self._read, name=f"hears {name}", daemon=True)
        self._reader.start()

    def tell(self, **message: Any) -> None:
        """Has it do something; says nothing when it is gone."""
        try:
            write_line(_pipe(self.process.stdin), message)
        except OSError:
            return  # its end is heard by the reader

    def kill(self) -> int:
        """Ends it with SIGKILL; returns once it is dead, with its exit code."""
        self.process.send_signal(signal.SIGKILL)
        return self.process.wait(_END_S)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code; None when it has not ended in time."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        """The end of what it wrote on standard error."""
        lines = self._errors.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_ERROR_LINES:])

    def clear(self) -> None:
        """Makes sure that it is dead, and closes its pipes."""
        if self.process.poll() is None:
            self.kill()
        self._reader.join(_END_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was unsent has no reader

    def _read(self) -> None:
        try:
            while (message := read_line(_pipe(self.process.stdout))) is not None:
                self._heard.put((self, message))
        except (FailedError, OSError, ValueError):
            pass  # it was killed within a line
        self._heard.put((self, None))


def _pipe(pipe: Any) -> BinaryIO:
    assert pipe is not None
    return pipe  # type: ignore[no-any-return]


class Troupe:
    """All actors of a demo; a context manager that leaves none alive.

    Args:
        work: A folder for error output.
        on_message: Told each message, before any wait looks whether it came.
    """

    def __init__(self, work: Path, on_message: Callable[[Actor, Message], None]) -> None:
        self._work = work
        self._on_message = on_message
        self._heard: queue.SimpleQueue[tuple[Actor, Message | None]] = queue.SimpleQueue()
        self._all: list[Actor] = []
        self._may_end: set[Actor] = set()

    def start(self, name: str, module: str, *arguments: str) -> Actor:
        """Starts a process."""
        actor = Actor(name, module, arguments, self._work, self._heard)
        self._all.append(actor)
        return actor

    def dismiss(self, actor: Actor) -> None:
        """From now on the end of this process is no failure."""
        self._may_end.add(actor)

    def until(self, holds: Callable[[], bool], what: str, *, stall_s: float = 30.0) -> None:
        """Hears messages until a condition holds.

        Args:
            holds: The condition, looked at after each message.
            what: What is waited for, for the error.
            stall_s: Seconds without any message after which it fails.

        Raises:
            FailedError: A process ended, said that it failed, or nothing was heard for too long.
        """
        last = time.monotonic()
        while not holds():
            try:
                actor, message = self._heard.get(timeout=max(last + stall_s - time.monotonic(), 0))
            except queue.Empty as error:
                raise _stopped(f"{what}: nothing happened for {stall_s:g} s", "") from error
            last = time.monotonic()
            if message is None:
                if actor not in self._may_end:
                    raise _stopped(f"{what}: {actor.name} ended with code {actor.wait(_END_S)}", actor.last_words())
            elif message.get("is") == "failed":
                raise _stopped(f"{what}: {actor.name} failed: {message['message']}", actor.last_words())
            else:
                self._on_message(actor, message)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._all:
            actor.clear()


def _stopped(message: str, words: str) -> FailedError:
    hint = "`walytis doctor` looks for what is wrong on this machine; --keep DIR keeps what the peers wrote."
    return FailedError("DemoError", message, f"{words}\n{hint}" if words else hint, 1)
