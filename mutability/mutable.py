"""`Mutable`: the handle that users hold on the objects of a chain. It turns calls into blocks, folds into versions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext, suppress
from typing import BinaryIO, NamedTuple, TypeAlias, cast

from mutability.payloads import CREATED, DELETED, EDITED, MAX_REPLACED, RESTORED, Change, decode, encode
from mutability.state import Head, Rule, heads_of, key_of, layer_of, rule_of
from walytis_core import Block, BlockId, Chain, Obeyed, Pending, Standing, Touch, Touches, Via
from walytis_core.errors import DeletedError, NotAllowedError, NotFoundError, UnavailableError
from walytis_core.media_type import require_media_type
from walytis_core.standing import OBEYED


class Hole(NamedTuple):
    """A version that cannot be read: a block is damaged here. It is fetched again when a peer has it."""

    id: BlockId


class Version(NamedTuple):
    """One version of an object.

    Attributes:
        object: The object's id: that of the block that created it; `id` is the version's own.
        change: What its block says.
        standing: What the rule makes of it: `Obeyed()`, or why it does not count.
        block: Its block; the author, time and topics of that are the version's.
        source: The block with its content: another one where it restores; None where it deletes.
    """

    object: BlockId
    id: BlockId
    change: Change
    standing: Standing
    block: Block
    source: Block | None

    @property
    def media_type(self) -> str:
        """What kind of content it has (RFC 6838)."""
        return cast(str, decode(self.require_source()).detail)

    @property
    def content(self) -> bytes:
        """The whole content. Raises `UnavailableError` for content that is not held, `DeletedError` for none."""
        return self.require_source().payload

    def open(self) -> BinaryIO:
        """The content as a stream, checked piece by piece. Raises as `content` does."""
        return self.require_source().open()

    def require_source(self) -> Block:
        """The block with its content. Raises `DeletedError` where there is none."""
        if self.source is None:
            raise DeletedError(f"the object {self.object.short} is deleted")
        return self.source


Content: TypeAlias = bytes | str | BinaryIO
Ids: TypeAlias = Collection[BlockId]
Ref: TypeAlias = bytes | str | Version
"""An object: by its id, by that as text, or by any version of it."""


class Mutable:
    """The objects of a chain: made, edited, deleted and restored, though nothing on a chain can be changed.

    Call it from any thread. It never waits for the network. What is written is durable then; see `Chain.append`.

    >>> from walytis_core import Node
    >>> with Node.in_memory() as node:
    ...     notes = Mutable(node.create_chain("notes"))
    ...     note = notes.create("milk")
    ...     version = notes.edit(note, "milk, bread")
    ...     notes.get(note).content, [one.content for one in notes.history(note)]
    (b'milk, bread', [b'milk', b'milk, bread'])

    Args:
        chain: Any chain that this node may read.
        rule: Who may do what: the same for all who share the chain. None for the one that its genesis names
            (`Rule.data`), or else `AUTHOR`. Raises `InvalidInputError` and `InUseError` where another one holds.
        drop: Drops the contents of the blocks that it is given; None for `chain.drop_content`: on this node alone.
    """

    def __init__(self, chain: Chain, rule: Rule | None = None, *, drop: Callable[..., None] | None = None) -> None:
        self.chain = chain
        self.rule = rule_of(chain.policy, rule)
        self._drop = drop or chain.drop_content
        self._layer = layer_of(self.rule)
        self._view = chain.use(self._layer)

    def create(
        self, content: Content, *, media_type: str = "", topics: Collection[str] = (), droppable: bool = False
    ) -> Version:
        """Makes an object, of content of any length. Raises `NotAllowedError` where the rule forbids it.

        Args:
            media_type: What it is (RFC 6838), in at most 100 characters; plain text, or bytes, where left out.
            topics: Labels in the clear, to list objects by.
            droppable: Whether to keep even short content beside the block, so that `delete(drop=True)` can drop it.
        """
        media_type = media_type or ("text/plain" if isinstance(content, str) else "application/octet-stream")
        return self._append(Change(CREATED, require_media_type(media_type)), content, topics, droppable)

    def edit(self, object: Ref, content: Content, *, media_type: str = "", replaces: Ids = ()) -> Version:
        """Gives an object new content in place of the current one; what conflicts with that stays as it is.

        Raises `DeletedError`, `NotFoundError`; `NotAllowedError` where the rule forbids it.

        Args:
            media_type: As before where left out; content that could be dropped can be again.
            replaces: The versions that were read: these are replaced, and what has come since is in conflict.
        """
        return self._replace(object, content, media_type, replaces, 1)

    def merge(self, object: Ref, content: Content, *, media_type: str = "", replaces: Ids = ()) -> Version:
        """Gives an object new content in place of all versions that nothing replaces. See `edit`."""
        return self._replace(object, content, media_type, replaces, None)

    def delete(self, object: Ref, *, drop: bool = False) -> Version:
        """Deletes an object: it is in no listing, and reading it raises `DeletedError`. Its history stays.

        With `drop`, its contents are dropped, too, and a second deletion says so; also where it is deleted already.
        What stands in blocks stays (see `create`): where that is all, `NotAllowedError` is raised; nothing was done.
        """
        id, heads = self.heads(object)
        if heads[0].is_deleted and not drop:
            raise DeletedError(f"the object {id.short} is deleted already")
        beside = self._beside_blocks(id) if drop else ()
        deleted = self._append(Change(DELETED, False, id, tuple(sorted(head.id for head in heads[:MAX_REPLACED]))))
        if not drop:
            return deleted
        self._drop(*beside)
        return self._append(Change(DELETED, True, id, (deleted.id,)))

    def restore(self, object: Ref, version: Ref | None = None) -> Version:
        """Gives an object, deleted or not, the content of an earlier version again: by default of the last with any.

        Raises `NotFoundError`, also for a version of another object; `NotAllowedError` where the rule forbids it.
        """
        id, (head, *_) = self.heads(object)
        wanted = self.version(id, BlockId.read(version.id if isinstance(version, Version) else version or head.id))
        while wanted.source is None:
            replaced = (self.version(id, replaced) for replaced in wanted.change.replaces)
            wanted = max(replaced, key=lambda one: (one.block.height, one.id))
        return self._append(Change(RESTORED, wanted.source.id, id, (head.id,)))

    def get(self, object: Ref) -> Version:
        """The current version: the same wherever the same blocks are. Raises `DeletedError`, `NotFoundError`."""
        id, (head, *_) = self.heads(object)
        if head.is_deleted:
            raise DeletedError(f"the object {id.short} is deleted")
        return self.version(id, head.id, OBEYED)

    def heads(self, object: Ref) -> tuple[BlockId, list[Head]]:
        """The object's id and its heads, the current one first. Raises `NotFoundError`."""
        id = object.object if isinstance(object, Version) else BlockId.read(object)
        heads = self._view.look(id, heads_of)
        if not heads and id in self.chain:  # perhaps the id of a version
            id = BlockId(key_of(self.chain.block(id)) or id)
            heads = self._view.look(id, heads_of)
        if not heads:
            raise NotFoundError(f"this chain has no object {id.short} here", hint="List the objects that it has.")
        return id, heads

    def conflicts(self, object: Ref) -> list[Version]:
        """The versions beside the current one that nothing replaces, the last in canonical order first."""
        id, (_, *others) = self.heads(object)
        return [self.version(id, head.id, OBEYED) for head in others]

    def version(self, object: BlockId, id: BlockId | Block, standing: Standing | None = None) -> Version:
        """A version of an object; `standing` spares looking up what the rule makes of it. Raises `NotFoundError`."""
        block = id if isinstance(id, Block) else self.chain.block(id)
        standing = standing or self.chain.standing(block.id)
        if key_of(block) != object:
            raise NotFoundError(f"the object {object.short} has no version {block.id.short}")
        change, source = decode(block), None if block.type in (DELETED, RESTORED) else block
        if change.kind == RESTORED and isinstance(standing, Obeyed):
            source = self.chain.block(change.named[-1])
        return Version(object, block.id, change, standing, block, source)

    def history(self, object: Ref, *, void: bool = False) -> Iterator[Version | Hole]:
        """The versions of an object in canonical order; with `void`, those too that do not count, or wait."""
        found = self._everything(self.heads(object)[0])
        return (one for one in found if void or isinstance(one, Hole) or one.standing == OBEYED)

    def objects(
        self, *, deleted: bool | None = False, topic: str | None = None, author: bytes | None = None,
        since: Ref | None = None,
    ) -> Iterator[Version]:  # fmt: skip
        """The current versions, in the order in which objects came here: what is late comes last, and shifts no page.

        Args:
            deleted: Whether to list deleted ones instead; None for both.
            topic, author: Only those that were created with it, or by it.
            since: Only those after this object: the last on the page before.
        """
        after = None if since is None else self.heads(since)[0]
        for made in self.chain.blocks(type=CREATED, topic=topic, author=author, since=after):
            heads = self._view.look(made.id, heads_of)
            if heads and deleted in (None, heads[0].is_deleted):
                with suppress(UnavailableError, NotFoundError):  # damaged here, or its author has just forked
                    yield self.version(made.id, heads[0].id, OBEYED)

    def fetch(self, version: Version) -> Pending[Block]:
        """Fetches the long content of a version from peers. Raises `DeletedError` for a version that has none."""
        return self.chain.fetch(version.require_source())

    def follow(self, callback: Touch | None = None, *, name: str | None = None, via: Via | None = None) -> Touches:
        """Which objects change, as blocks come; an object's id is the `key`. See `Chain.follow`."""
        return Touches(self.chain, self._layer, callback, name=name, via=via)

    def _beside_blocks(self, id: BlockId) -> list[Block]:
        """The blocks of an object whose contents can be dropped. Raises as `delete`; and where some are damaged."""
        found = [*self.history(id)]
        beside = [one.block for one in found if isinstance(one, Version) and one.block.content is not None]
        if any(isinstance(one, Hole) for one in found):
            raise UnavailableError("some of its versions are damaged here", hint="`verify` has them fetched again.")
        if not beside:
            raise NotAllowedError(
                "all its content stands in blocks", hint="What is to go must be created as droppable."
            )
        return beside

    def _replace(self, object: Ref, content: Content, media_type: str, replaces: Ids, most: int | None) -> Version:
        with nullcontext() if hasattr(content, "read") else self.chain.engine.exclusive():  # but for a slow stream
            id, heads = self.heads(object)
            ids = [*dict.fromkeys(replaces)] or [head.id for head in heads[:most]]
            live = [head for head in heads if head.id in ids and not head.is_deleted]
            if not (live or replaces):
                raise DeletedError(f"the object {id.short} is deleted")
            known = next((head.media_type for head in live if head.media_type), "")
            if not (media_type or known):  # it restores another, or something has come since
                known = self.version(id, live[0].id if live else ids[0]).media_type
            change = Change(EDITED, require_media_type(media_type or known), id, tuple(sorted(ids[:MAX_REPLACED])))
            done = edited = self._append(change, content, droppable=heads[0].is_droppable)
            for start in range(MAX_REPLACED, len(ids), MAX_REPLACED - 1):  # what one block cannot name
                rest = sorted((done.id, *ids[start : start + MAX_REPLACED - 1]))
                done = self._append(Change(RESTORED, edited.id, id, tuple(rest)))
            return done

    def _append(
        self, change: Change, content: Content = b"", topics: Collection[str] = (), droppable: bool = False
    ) -> Version:
        block = self.chain.append(
            content.encode() if isinstance(content, str) else content, type=change.kind, ext=encode(change),
            topics=topics, parents=change.named, droppable=droppable, lawful=True,
        )  # fmt: skip
        return self.version(change.object or block.id, block, OBEYED)

    def _everything(self, id: BlockId) -> Iterator[Version | Hole]:
        """All that stands under an object, in canonical order; read page by page."""
        at = None
        while page := self._view.entries(id, at):
            for at, standing in page:
                try:
                    yield self.version(id, BlockId(at.id), standing)
                except UnavailableError:
                    yield Hole(BlockId(at.id))
