"""Content that a command takes, from an argument, a file or standard input, and that one writes out.

Invariant: content of any length passes in pieces; what is written out is it, byte for byte, and nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import typer

from frontends.failures import FailedError
from frontends.options import directory_of
from frontends.reach import answers, mention_other_network
from frontends.telling import waiting, warn

Text = Annotated[str | None, typer.Argument(metavar="TEXT", help="The content; - or nothing reads standard input.")]
File = Annotated[Path | None, typer.Option("--file", "-f", metavar="PATH", help="Take the content from a file.")]
Topics = Annotated[
    list[str] | None, typer.Option("--topic", "-t", metavar="TOPIC", help="A label to filter by; may be repeated.")
]
Raw = Annotated[bool, typer.Option("--raw", help="Write the content out, byte for byte, and nothing else.")]
RawTimeout = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="With --raw: how long to wait for peers that have the content.", min=0.0),
]


@contextlib.contextmanager
def given(text: str | None, file: Path | None) -> Iterator[BinaryIO]:
    """The content that a command was given: its argument, a file, or else standard input."""
    if file is not None:
        if text is not None:
            raise FailedError.usage("give the content as an argument or as a file, not both")
        try:
            opened = file.open("rb")
        except OSError as error:
            raise FailedError("NotFoundError", f"cannot read {file}: {error.strerror}", "Check the path.", 3) from error
        with opened:
            yield opened
    elif text is not None and text != "-":
        yield io.BytesIO(text.encode("utf-8", "surrogateescape"))
    else:
        if sys.stdin.isatty():
            warn("Reading the content from the keyboard; Ctrl-D ends it.")
        yield cast(BinaryIO, StandardInput(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)))


class StandardInput:
    """Content from a pipe or the keyboard: nothing at all is a mistake, and what cannot be read now is not its end.

    Args:
        stream: Unbuffered: a buffer would ask the keyboard again after the Ctrl-D that ended a short read.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._is_empty = True

    def read(self, size: int) -> bytes:
        """What has come, up to `size` bytes; nothing at the end.

        Raises:
            FailedError: There was nothing, or it is non-blocking and has nothing now.
        """
        part: bytes | None = self._stream.read(size)
        if part is None:
            raise FailedError.usage("standard input is non-blocking, and has nothing now", "Put `cat |` before it.")
        if not part and self._is_empty:
            raise FailedError.usage("nothing was read from standard input", "For empty content, give '' as the text.")
        self._is_empty = False
        return part


def write_out(found: dict[str, Any], arguments: dict[str, Any], data_dir: Path | None, kubo: str | None) -> None:
    """Writes the content of a block to standard output, fetched from peers where it is not held.

    Args:
        found: The block, as `show` gave it.
        arguments: Those of the verb `content`.
        data_dir: The directory that the command was told to use.
        kubo: The Kubo daemon that it was told to use.
    """
    if not found.get("held", True):
        mention_other_network(data_dir, kubo)
    for piece in _pieces(found, directory_of(data_dir), arguments, kubo):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _pieces(found: dict[str, Any], directory: Path, arguments: dict[str, Any], kubo: str | None) -> Iterator[bytes]:
    """The content of a block: what was shown already, or asked for piece by piece."""
    if "payload" in found:
        text = found["payload"]
        yield base64.b64decode(text) if found["encoding"] == "base64" else text.encode()
        return
    held = found.get("held", True)
    asked = answers(directory, "content", arguments, online=not held, kubo=kubo)
    with waiting("fetching the content from peers", quiet=held):
        first = list(itertools.islice(asked, 1))
    for piece in itertools.chain(first, asked):
        yield base64.b64decode(piece["base64"])
