"""What leaves a nursery: one error as itself, several as a group.

trio wraps even a single error of a block with tasks into a group. Whoever runs a network wants to catch
`UnavailableError`, or the error of their own block. Invariant: several errors stay a group; none is lost but
cancellation that goes with an error, which trio repeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

__all__ = ["single_error"]


@contextmanager
def single_error() -> Iterator[None]:
    """Raises the only error in a group of one as itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors = [error for error in _leaves(group) if not isinstance(error, trio.Cancelled)]
        if len(errors) == 1:
            raise errors[0] from errors[0].__cause__
        raise


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
