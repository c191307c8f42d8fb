"""Link faults as a pure, seeded model: what becomes of one message from a sender to a receiver at a moment.

Decides only delays: an empty answer is a loss, two delays are a duplicate. Invariants: the same seed and the same
questions in the same order give the same answers; no delay is negative; between separated peers nothing arrives.
It has no clock and does no IO: `now` is an argument, so it serves `MemoryNetwork` and the simulator alike. It knows
nothing of messages, channels or chains.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Partition", "Weather"]


class Partition(NamedTuple):
    """A split of the network: peers of different groups do not reach each other from `start_s` until `end_s`.

    Peers in no group form one more group together.
    """

    groups: tuple[frozenset[str], ...]
    start_s: float = -math.inf
    end_s: float = math.inf

    def separates(self, one: str, other: str, now: float) -> bool:
        """Whether `one` and `other` are in different groups at `now`."""
        return self.start_s <= now < self.end_s and self._group(one) != self._group(other)

    def _group(self, peer: str) -> int:
        return next((number for number, group in enumerate(self.groups) if peer in group), -1)


class Weather:
    """A seeded model of bad links.

    Args:
        seed: What all randomness comes from; or a `random.Random` to share one.
        latency_s: One-way delay of every message.
        jitter_s: Up to this much is added, at random.
        loss: Probability that a message is lost.
        duplicate: Probability that it arrives twice.
        reorder: Probability that it is held back by `reorder_s`, so that later ones overtake it.
        reorder_s: How long such a message is held back.
        partitions: Splits, each with its time.

    Example:
        >>> Weather(1, latency_s=0.02).delays("alice", "bob", now=0.0)
        [0.02]
    """

    def __init__(
        self,
        seed: int | random.Random = 0,
        *,
        latency_s: float = 0.0,
        jitter_s: float = 0.0,
        loss: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        reorder_s: float = 0.1,
        partitions: Sequence[Partition] = (),
    ) -> None:
        if min(latency_s, jitter_s, reorder_s) < 0 or not all(0 <= p <= 1 for p in (loss, duplicate, reorder)):
            raise ValueError("delays are at least 0 and probabilities between 0 and 1")
        self._random = seed if isinstance(seed, random.Random) else random.Random(seed)  # noqa: S311 - a simulation
        self._latency_s = latency_s
        self._jitter_s = jitter_s
        self._loss = loss
        self._duplicate = duplicate
        self._reorder = reorder
        self._reorder_s = reorder_s
        self._partitions = list(partitions)

    def delays(self, sender: str, receiver: str, now: float) -> list[float]:
        """The delays after which copies of one message arrive: none when it is lost, two for a duplicate."""
        if self.separated(sender, receiver, now) or self._happens(self._loss):
            return []
        copies = 2 if self._happens(self._duplicate) else 1
        return [self.latency() + (self._reorder_s if self._happens(self._reorder) else 0.0) for _ in range(copies)]

    def latency(self) -> float:
        """One delay on a link that loses and reorders nothing: what a reliable stream feels."""
        return self._latency_s + (self._random.uniform(0.0, self._jitter_s) if self._jitter_s else 0.0)

    def separated(self, one: str, other: str, now: float) -> bool:
        """Whether a partition is between two peers at `now`."""
        return bool(self._partitions) and any(split.separates(one, other, now) for split in self._partitions)

    def split(self, *groups: Iterable[str], start_s: float = -math.inf, end_s: float = math.inf) -> None:
        """Adds a partition."""
        self._partitions.append(Partition(tuple(frozenset(group) for group in groups), start_s, end_s))

    def heal(self) -> None:
        """Ends all partitions."""
        self._partitions.clear()

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability
