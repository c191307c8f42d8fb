"""The content of a block, piece by piece, as a verb gives it: from the disk, or fetched from peers first.

Invariants: one piece is in memory at a time; a fetch ends soon after its caller is gone.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from frontends.calls import Call
from frontends.forms import Form
from frontends.lines import CHUNK_BYTES

if TYPE_CHECKING:
    from walytis_core import Block, Chain, Pending

POLL_S: Final = 0.1  # how often progress is looked at


def pieces(call: Call, chain: Chain, block: Block, timeout: float) -> Iterator[Form]:
    """The content; peers that have it are waited for so long, in seconds, where it is not held."""
    with block.open() as stream:  # refuses what nobody can have before anyone is asked and waited for
        if not chain.has_content(block):
            _fetch(call, chain, block, time.monotonic() + timeout)
        while piece := stream.read(CHUNK_BYTES):
            yield {"base64": base64.b64encode(piece).decode("ascii")}


def _fetch(call: Call, chain: Chain, block: Block, end: float) -> None:
    """Fetches long content; a directory that was just opened has yet to meet those who have it."""
    from walytis_core import UnavailableError  # noqa: PLC0415 - loaded already by whoever opened the node

    gone = threading.Event()
    call.when_gone(gone.set)
    while True:
        pending = chain.fetch(block)
        call.when_gone(pending.cancel)
        try:
            while not pending.done():
                settle(pending)
            pending.result(0)
        except UnavailableError:
            if gone.wait(POLL_S) or time.monotonic() >= end:
                raise
        else:
            return


def settle(pending: Pending[Any]) -> None:
    """Waits a moment for a result."""
    from walytis_core import UnavailableError  # noqa: PLC0415 - loaded already by whoever opened the node

    try:
        pending.result(POLL_S)
    except UnavailableError:
        if pending.done():
            raise


def awaited(call: Call, pending: Pending[Any], timeout: float | None, what: str) -> Iterator[Form]:
    """How far something is, until it is done."""
    from walytis_core import UnavailableError  # noqa: PLC0415 - loaded already by whoever opened the node

    call.when_gone(pending.cancel)
    end = None if timeout is None else time.monotonic() + timeout
    seen: object = None
    try:
        while not pending.done():
            progress = pending.progress()
            if progress != seen:
                seen = progress
                yield {"event": "progress", "state": progress.state, "held": progress.held, "known": progress.known}
            if end is not None and time.monotonic() >= end:
                raise UnavailableError(f"{what} within {timeout:g} s: {progress.state}")
            settle(pending)
    finally:
        pending.cancel()
