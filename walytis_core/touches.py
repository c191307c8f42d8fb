"""A feed of what a layer's blocks touch: which parts of its state changed, by which blocks, however late these came.

Invariant: what a named feed gives is acknowledged by its user, what is about no part is acknowledged here; so nothing
is skipped. It knows a chain's feeds and a layer's `key`, and folds nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

from walytis_core.block import Block, decode
from walytis_core.cid import BlockId
from walytis_core.feed import Arrived, FeedEvent
from walytis_core.follower import Via
from walytis_core.guarding import Guarded
from walytis_core.layer import Layer

if TYPE_CHECKING:
    from walytis_core.chain import Chain


@dataclass(frozen=True, slots=True)
class Touched:
    """Parts of a layer's state may have changed: look what they are now.

    Attributes:
        keys: Which parts; one for a block that came, several where the standing of blocks was revised.
        ids: The blocks that touch them, void ones too.
    """

    keys: tuple[str | bytes, ...]
    ids: tuple[BlockId, ...]
    _event: FeedEvent

    def ack(self) -> None:
        """Acknowledges it: a named feed never gives it again."""
        self._event.ack()


Touch: TypeAlias = Callable[[Touched], None]


class Touches:
    """What the blocks of a layer touch, as they come; iterate it, or iterate it with ``async for``.

    Args:
        chain: The chain; the layer is in use there.
        layer: One that gives `key`.
        callback, name, via: See `Chain.follow`.
    """

    def __init__(
        self, chain: Chain, layer: Layer, callback: Touch | None = None, *, name: str | None, via: Via | None
    ) -> None:
        self._tables = chain.tables
        self._layer = layer
        self._guarded = Guarded(layer)

        def handle(event: FeedEvent) -> None:
            touched = self._touched(event)
            if callback is not None and touched is not None:
                callback(touched)

        handler = None if callback is None else handle
        self._feed = chain.follow(handler, name=name, type=layer.prefix, revisions=True, via=via)

    def next(self, timeout: float | None = None) -> Touched | None:
        """The next one; None when there is none within `timeout` seconds, if blocks come that touch nothing or not.

        Raises:
            ClosedError: The feed is closed.
        """
        while (event := self._feed.next(timeout)) is not None:
            if (touched := self._touched(event)) is not None:
                return touched
        return None

    def __iter__(self) -> Iterator[Touched]:
        return (touched for event in self._feed if (touched := self._touched(event)) is not None)

    async def __aiter__(self) -> AsyncIterator[Touched]:
        async for event in self._feed:
            if (touched := self._touched(event)) is not None:
                yield touched

    def close(self) -> None:
        """Ends it; whoever iterates it comes to its end."""
        self._feed.close()

    def __enter__(self) -> Self:
        self._feed.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _touched(self, event: FeedEvent) -> Touched | None:
        blocks = [event.block] if isinstance(event, Arrived) else self._blocks(event.ids)
        keys = {block.id: self._guarded.key_of(block)[0] for block in blocks}
        touched = {id: key for id, key in keys.items() if key is not None}
        if touched:
            return Touched(tuple(dict.fromkeys(touched.values())), tuple(touched), event)
        event.ack()
        return None

    def _blocks(self, ids: Sequence[BlockId]) -> list[Block]:
        """The layer's blocks among these, also such as count no more because their author forked."""
        blocks = [decode(encoded, BlockId(id)) for id, encoded in self._tables.encoded(ids).items()]
        return [block for block in blocks if self._layer.owns(block.type)]
