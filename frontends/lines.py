"""JSON lines between processes of one user: how one is written, and how one is read without trusting its length.

Used on the local socket and on the pipes of the demo. Invariant: a line longer than the reader's bound is refused
before it is held in memory whole; any text comes over exactly, also what UTF-8 cannot hold.
"""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from frontends.failures import FailedError

MAX_LINE_BYTES: Final = 1 << 20  # a block of 64 KiB with each letter escaped, and room for the rest
MAX_ANSWER_BYTES: Final = 64 << 20  # from a node of the same user: a list of all its chains is one answer
CHUNK_BYTES: Final = 96 * 1024  # of content, before it becomes base64 in a line

Message = dict[str, Any]


class Reads(Protocol):
    """A stream that gives lines."""

    def readline(self, size: int, /) -> bytes:
        """The next line, or as much of it as `size` allows."""
        ...


class Writes(Protocol):
    """A stream that takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Takes all of `data`."""
        ...

    def flush(self) -> object:
        """Sends what was taken."""
        ...


def write_line(stream: Writes, message: Message) -> None:
    """Writes one object as a line, and flushes it."""
    stream.write(json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n")
    stream.flush()


def read_line(stream: Reads, *, max_bytes: int = MAX_LINE_BYTES) -> Message | None:
    """Reads one object; None at the end of the stream.

    Raises:
        FailedError: The line is too long, was cut, or holds no JSON object.
    """
    line = stream.readline(max_bytes + 1)
    if not line:
        return None
    if not line.endswith(b"\n"):
        raise FailedError.usage("a line was cut short, or is too long")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FailedError.usage("a line holds no JSON") from error
    if not isinstance(message, dict):
        raise FailedError.usage("a line holds no JSON object")
    return message
