"""The terminal that commands write to, and the hints on it.

Invariant: a command that a hint names acts on the directory that the user had to name, whatever page the hint is on.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from frontends.directory import on_directory


class _Terminal(Console):
    data_dir: Path | None = None

    def on_broken_pipe(self) -> None:
        """Leaves the end to whoever ends the command."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def terminal(data_dir: Path | None, *, to_stderr: bool = False) -> Console:
    """A console on standard output, or standard error.

    Args:
        data_dir: The directory that the user had to name, which the commands in hints then name, too.
        to_stderr: Which of the two.
    """
    console = _Terminal(stderr=to_stderr, highlight=False, soft_wrap=False)
    console.data_dir = data_dir
    return console


class Hint:
    """A sentence that names commands; where it is shown they get the directory that the user had to name."""

    def __init__(self, text: str, style: str = "") -> None:
        self._text = text
        self._style = style

    def __rich_console__(self, console: Console, _options: ConsoleOptions) -> RenderResult:
        yield self._on(console)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._on(console))

    def _on(self, console: Console) -> Text:
        return Text(on_directory(self._text, getattr(console, "data_dir", None)), self._style)
