"""The boundary around what is done for one peer: whatever its bytes lead to ends that work, and never the node.

What the protocol refuses is counted by its reason, a peer that is gone and a chain that was closed are nothing to tell of,
and of a refusing disk the store tells itself. Anything else is a bug of ours that a peer found: it is logged as an error, counted against that
peer, and the node goes on. Invariants: a cancellation passes through; nothing that a peer sent is logged (of an error, its type
and where it arose; its text may quote). A chain's own tasks stand outside: their bugs end the node, loudly.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from walytis_core.errors import ClosedError, NotFoundError, Reason, RemoteError, StorageError, UnavailableError

_log = logging.getLogger(__name__)


@contextmanager
def for_peer(peer: str, doing: str, fault: Callable[[Reason, str], None]) -> Iterator[None]:
    """Stands around what is done for one peer.

    Args:
        peer: Whom the work is for, and who is blamed.
        doing: What the work is, for the log.
        fault: Told what the peer did wrong.
    """
    try:
        yield
    except* Exception as group:  # noqa: BLE001 - the task's boundary: a peer must not find a way to end the node
        for error in _single(group):
            match error:
                case UnavailableError() | ClosedError() | NotFoundError() | StorageError():
                    pass
                case RemoteError():
                    fault(error.reason, peer)
                case _:
                    log_error(f"{doing}, with {peer},", error)
                    fault(Reason.BROKE_US, peer)


def log_error(what: str, error: BaseException) -> None:
    """Logs an unexpected error with its traceback, and without its text, which may quote what a peer sent."""
    where = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s led to %s here; the node goes on\n%s", what, type(error).__name__, where)


def blame_nobody(_reason: Reason, _peer: str) -> None:
    """Whose fault it is cannot be told."""


def _single(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, however deep."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _single(one)
    else:
        yield error
