"""Reading a chain: blocks by id, by query and in canonical order, and the long content that some of them have.

Rows are read in pages and no transaction stays open, so a reader may take its time. Nothing here waits for the network, and
the genesis is no block of a chain's content. Content that cannot exist, by what its author says of it, is content that is
not held: a reader is told no more of it than `UnavailableError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Final

from walytis_core import content
from walytis_core.block import Block, Content, decode
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import InvalidInputError, NotFoundError, RemoteError, UnavailableError
from walytis_core.store.port import ChainStore, Position, Query, Row

_PAGE: Final = 256


class Reading:
    """What one chain holds, as blocks.

    Args:
        tables: The chain's tables.
    """

    def __init__(self, tables: ChainStore) -> None:
        self._tables = tables

    def block(self, id: BlockId) -> Block:
        """A block by id. Raises `NotFoundError` when it is not held, `UnavailableError` when its bytes are damaged."""
        if id == self._tables.id:
            raise NotFoundError("the genesis is not a block of the chain's content")
        encoded = self._tables.encoded([id]).get(id)
        if encoded is None and self._tables.known([id]):
            raise UnavailableError("this block is damaged here", hint="It is fetched again when a peer has it.")
        if encoded is None or id in self._tables.unfolded():
            raise NotFoundError("this chain holds no such block here")
        return self.opening(decode(encoded, id))

    def number(self, id: BlockId) -> int:
        """A block's place in the order in which blocks came. Raises `NotFoundError`."""
        meta = self._tables.metas((id,)).get(id)
        if meta is None:
            raise NotFoundError("this chain holds no such block here")
        return meta.number

    def holds(self, id: object) -> bool:
        """Whether this is the id of a block that is held."""
        return isinstance(id, bytes) and id != self._tables.id and bool(self._tables.known([id]))

    def query(self, query: Query, *, newest_first: bool, limit: int | None) -> Iterator[Block]:
        """Blocks in the order in which they came. Raises `InvalidInputError`, at once, when the limit is negative."""
        if limit is not None and limit < 0:
            raise InvalidInputError("the limit is a number of blocks, 0 or more; None for no limit")
        return self._query(query, newest_first=newest_first, left=limit)

    def _query(self, query: Query, *, newest_first: bool, left: int | None) -> Iterator[Block]:
        while left is None or left > 0:
            rows = self._tables.query(query, newest_first, _PAGE if left is None else min(left, _PAGE))
            yield from map(self.of, rows)
            if not rows:
                return
            left = None if left is None else left - len(rows)
            last = rows[-1].number
            query = query._replace(until=last - 1) if newest_first else query._replace(since=last)

    def linear(self) -> Iterator[Block]:
        """All blocks in the canonical order."""
        at: Position | None = None
        while rows := self._tables.canonical(at, _PAGE):
            for row in rows:
                block = self.of(row)
                at = Position(block.height, block.id)
                yield block

    def of(self, row: Row) -> Block:
        """The block of a row."""
        return self.opening(decode(row.encoded, row.id))

    # --- long content ------------------------------------------------------------------------------------------------

    def opening(self, block: Block) -> Block:
        """The block, able to open its long content if it has any."""
        return block if isinstance(block.body, bytes) else block._replace(reader=self._open)

    def has_content(self, block: Block) -> bool:
        """Whether the whole content of a block is held."""
        if block.content is None:
            return True
        try:
            return next(content.missing(block.content, self._has_side, self._tables.side), None) is None
        except RemoteError:  # it cannot exist
            return False

    def drop_content(self, block: Block) -> list[Cid]:
        """Forgets the long content of a block; gives its pieces."""
        cids: list[Cid] = []
        if block.content is None:
            return cids
        with suppress(RemoteError):  # it cannot exist: nothing of it is held
            cids.extend(piece.cid for piece in content.pieces(block.content, self._tables.side))
        self._tables.drop_side(cids)
        return cids

    def _open(self, wanted: Content) -> BinaryIO:
        return content.open_content(wanted, self._tables.side)

    def _has_side(self, cid: Cid) -> bool:
        return bool(self._tables.has_side([cid]))
