"""The terminal that commands write to, and the hints on it.

Invariants: a command that a hint names acts on the directory that the user had to name, whatever page the hint is on, and
is never broken over two lines, and no word of a sentence is, so that paths, ids and codes can be copied; what goes to no
terminal is neither wrapped nor cut.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from frontends.directory import on_directory

_NO_END: Final = 1 << 20  # columns, where nobody's eyes set a width
_WORD: Final = re.compile(r"(?:`[^`]*`|[^\s`]|`)+")  # with a command in it whole


class _Terminal(Console):
    data_dir: Path | None = None

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints without cutting: a terminal goes on in the next line by itself, and what is copied is whole."""
        super().print(*objects, **({"crop": False} | options))

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
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _NO_END
    return console


class Hint:
    """A sentence in lines that break between words; commands in it get the directory that the user had to name.

    Not for the cells of tables, which cut.

    Args:
        text: The sentence.
        style: How it looks.
        lead: What stands before it in its first line.
        indent: Where its lines begin.
    """

    def __init__(self, text: str, style: str = "", *, lead: Text | None = None, indent: int = 0) -> None:
        self._text = text
        self._style = style
        self._lead = lead or Text()
        self._indent = indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = on_directory(self._text, getattr(console, "data_dir", None))
        before = self._lead + " " * (self._indent - self._lead.cell_len)
        for line in _filled(text, options.max_width - self._indent):
            whole = before + Text(line, self._style)
            whole.no_wrap, whole.overflow = True, "ignore"
            yield whole
            before = Text(" " * self._indent)


def _filled(text: str, width: int) -> Iterator[str]:
    """Text in lines of a width; only a word or a command that is longer makes one longer."""
    line = ""
    for word in _WORD.findall(text):
        if line and cell_len(line) + 1 + cell_len(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line
