"""What every process of the demo but the parent does: take orders on standard input, speak on standard output.

Invariant: a message is one line, whole, whichever thread says it.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from frontends.lines import Message, read_line, write_line


class Voice:
    """The pipes to the parent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, kind: str, **fields: Any) -> None:
        """Tells the parent something."""
        with self._lock:
            write_line(sys.stdout.buffer, {"is": kind, **fields})

    def hear(self) -> Message | None:
        """The parent's next order; None when it is gone."""
        return read_line(sys.stdin.buffer)
