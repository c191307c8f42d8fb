"""Mathematics of a DAG given as "each id and the ids it names". Pure; ids that are named but not given are ignored.

The words are those of git and IPLD: parents, children, heads, ancestors (docs/spec/block.md#dag).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

Id = TypeVar("Id", bound=bytes)
Named = Mapping[Id, Collection[Id]]
"""Each id and the ids that it names (parents and prev)."""


class Placed(Protocol):
    """Anything with a place in the canonical order."""

    @property
    def height(self) -> int:
        """Its height."""
        ...

    @property
    def id(self) -> bytes:
        """Its id."""
        ...


PlacedT = TypeVar("PlacedT", bound=Placed)


def heads(named: Named[Id]) -> set[Id]:
    """The ids that no given id names."""
    return set(named) - {parent for parents in named.values() for parent in parents}


def children(named: Named[Id]) -> dict[Id, set[Id]]:
    """For each given id, the given ids that name it."""
    result: dict[Id, set[Id]] = {id: set() for id in named}
    for id, parents in named.items():
        for parent in parents:
            if parent in result:
                result[parent].add(id)
    return result


def ancestors(named: Named[Id], ids: Iterable[Id]) -> set[Id]:
    """All given ids that are reachable from `ids` by naming; `ids` themselves only where another one reaches them."""
    found: set[Id] = set()
    todo = [parent for id in ids for parent in named.get(id, ())]
    while todo:
        id = todo.pop()
        if id in named and id not in found:
            found.add(id)
            todo.extend(named[id])
    return found


def common_ancestors(named: Named[Id], first: Id, second: Id) -> set[Id]:
    """The ids that are ancestors of both, where each block counts as its own ancestor."""
    return (ancestors(named, [first]) | {first}) & (ancestors(named, [second]) | {second})


def latest_common_ancestors(named: Named[Id], first: Id, second: Id) -> set[Id]:
    """The common ancestors that are not ancestors of another common one: where two branches parted."""
    common = common_ancestors(named, first, second)
    return common - ancestors(named, common)


def canonical(blocks: Iterable[PlacedT]) -> list[PlacedT]:
    """Blocks in the canonical order: by height, then by the bytes of the id. It respects causality."""
    return sorted(blocks, key=lambda block: (block.height, block.id))


def topological(named: Named[Id]) -> list[Id]:
    """The given ids, each after all the given ids it names; ties by bytes, so that the result is one.

    Raises:
        ValueError: The ids name each other in a circle (impossible for hashes).
    """
    waiting = {id: sum(parent in named for parent in set(parents)) for id, parents in named.items()}
    below = children(named)
    ready = sorted((id for id, count in waiting.items() if not count), reverse=True)
    result: list[Id] = []
    while ready:
        id = ready.pop()
        result.append(id)
        freed = []
        for child in below[id]:
            waiting[child] -= 1
            if not waiting[child]:
                freed.append(child)
        ready = sorted((*ready, *freed), reverse=True) if freed else ready
    if len(result) != len(named):
        raise ValueError("the ids name each other in a circle")
    return result


def merge_heads(longest_held_first: Sequence[Id], prev: Id | None, limit: int) -> tuple[Id, ...]:
    """The parents of a new block: the heads without `prev`, at most `limit`, the longest held first, sorted by bytes."""
    return tuple(sorted([id for id in longest_held_first if id != prev][:limit]))
