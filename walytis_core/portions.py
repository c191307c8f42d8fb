"""Many things in portions that fit one message, request or transaction. Pure; knows nothing of what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["portions"]

T = TypeVar("T")


def portions(items: Iterable[T], size_of: Callable[[T], int], most: int, most_bytes: int) -> Iterator[tuple[T, ...]]:
    """Items in order, in portions; what is too large for any is a portion of its own.

    Args:
        items: What there is; no more of it is taken ahead than one.
        size_of: How many bytes one of them counts.
        most: How many a portion has at most.
        most_bytes: How many bytes it has at most, if it is more than one item.

    >>> list(portions(["a", "bb", "cccc", "d", "e", "f"], len, 2, 3))
    [('a', 'bb'), ('cccc',), ('d', 'e'), ('f',)]
    """
    portion: list[T] = []
    size = 0
    for item in items:
        length = size_of(item)
        if portion and (len(portion) >= most or size + length > most_bytes):
            yield tuple(portion)
            portion, size = [], 0
        portion.append(item)
        size += length
    if portion:
        yield tuple(portion)
