"""What users read of an object: a version of it, and its history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, cast

from mutability.payloads import Change, decode
from walytis_core import Block, BlockId, NotFoundError, Standing


class DeletedError(NotFoundError):
    """The object has been deleted."""

    hint = "Its history shows what it was, and restoring it brings it back."


class Hole(NamedTuple):
    """A version whose block is damaged here. It is fetched again when a peer has it."""

    id: BlockId


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object.

    Attributes:
        object: The object's id: that of the block that created it.
        block: The version's block; its author, time and topics are the version's.
        standing: What the rule makes of it: `Obeyed()`, or why it does not count.
        source: The block with its content: another one where it restores; None where it deletes.
    """

    object: BlockId
    block: Block
    standing: Standing
    source: Block | None

    @property
    def id(self) -> BlockId:
        """The version's own id."""
        return self.block.id

    @property
    def change(self) -> Change:
        """What its block says."""
        return decode(self.block)

    @property
    def kind(self) -> str:
        """`created`, `edited`, `deleted` or `restored`."""
        return self.block.type.rpartition("/")[2]

    @property
    def media_type(self) -> str:
        """What kind of content it has (RFC 6838)."""
        return cast(str, decode(self.require_source()).detail)

    @property
    def content(self) -> bytes:
        """The whole content. Raises `UnavailableError` for long content that is not held, `DeletedError` for none."""
        return self.require_source().payload

    def open(self) -> BinaryIO:
        """The content as a stream, checked piece by piece. Raises as `content` does."""
        return self.require_source().open()

    def require_source(self) -> Block:
        """The block with its content. Raises `DeletedError` where there is none."""
        if self.source is None:
            raise DeletedError(f"the object {self.object.short} is deleted in this version")
        return self.source
