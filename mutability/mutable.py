"""`Mutable`: the handle that users hold on the objects of a chain. It turns calls into blocks, and folds into versions.

Nothing here waits for the network, and all may be called from any thread. `state.py` decides what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO, NamedTuple, TypeAlias, cast

from mutability.payloads import CREATED, DELETED, EDITED, MAX_REPLACED, RESTORED, Change, decode, encode
from mutability.state import Head, Rule, heads_of, key_of, layer_of, rule_of
from walytis_core import Block, BlockId, Chain, Obeyed, Pending, Standing, Touch, Touches, Via
from walytis_core.errors import DeletedError, NotAllowedError, NotFoundError, UnavailableError
from walytis_core.media_type import require_media_type
from walytis_core.standing import OBEYED
from walytis_core.store.port import Query


class Hole(NamedTuple):
    """A version whose block is damaged here. It is fetched again when a peer has it."""

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


Content: TypeAlias = bytes | str | BinaryIO
Ref: TypeAlias = bytes | str | Version
"""An object: by its id, by that as text, or by any version of it."""


class Mutable:
    """The objects of a chain: made, edited, deleted and restored, though nothing on a chain can be changed.

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

    # --- writing: it is durable when it returns; `Chain.append` says what else it raises ------------------------------

    def create(
        self, content: Content, *, media_type: str = "", topics: Collection[str] = (), droppable: bool = False
    ) -> Version:
        """Makes an object, of a content of any length. Raises `NotAllowedError` where the rule forbids it.

        Args:
            media_type: What it is (RFC 6838), in at most 100 characters; plain text, or bytes, where left out.
            topics: Labels in the clear, to list objects by.
            droppable: Whether to keep even short content beside the block, so that `delete(drop=True)` can drop it.
        """
        media_type = media_type or ("text/plain" if isinstance(content, str) else "application/octet-stream")
        return self._append(Change(CREATED, require_media_type(media_type)), content, topics, droppable)

    def edit(self, object: Ref, content: Content, *, media_type: str = "") -> Version:
        """Gives an object new content in place of the current one; what conflicts with that stays as it is.

        Raises `DeletedError`, `NotFoundError`; `NotAllowedError` where the rule forbids it.
        """
        id, heads = self.heads(object)
        return self._replace(id, heads[0], [heads[0].id], content, media_type)

    def merge(self, object: Ref, content: Content, *, media_type: str = "") -> Version:
        """Gives an object new content in place of all versions that nothing replaces: it has no conflicts then.

        Raises as `edit`: `DeletedError` where all of these versions delete it.
        """
        id, heads = self.heads(object)
        base, ids = next((head for head in heads if not head.is_deleted), heads[0]), [head.id for head in heads]
        while len(ids) > MAX_REPLACED:  # what one block cannot name is gathered first, under the content it has now
            gathered, ids = ids[-MAX_REPLACED:], ids[:-MAX_REPLACED]
            source = self.version(id, base.id, OBEYED).require_source()
            ids.insert(0, self._append(Change(RESTORED, source.id, id, tuple(sorted(gathered)))).id)
        return self._replace(id, base, ids, content, media_type)

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

    def restore(self, object: Ref, version: BlockId | str | None = None) -> Version:
        """Gives an object, deleted or not, the content of an earlier version again: by default of the last with any.

        Raises `NotFoundError`, also where the object has no such version; `NotAllowedError` where the rule forbids it.
        """
        id, (head, *_) = self.heads(object)
        wanted = self.version(id, head.id if version is None else BlockId.read(version))
        while wanted.source is None:
            replaced = (self.version(id, replaced) for replaced in wanted.change.replaces)
            wanted = max(replaced, key=lambda one: (one.block.height, one.id))
        return self._append(Change(RESTORED, wanted.source.id, id, (head.id,)), b"")

    def get(self, object: Ref) -> Version:
        """The current version of an object: the same on every node that holds the same blocks.

        Raises `DeletedError`, `NotFoundError`; `UnavailableError` while its block is damaged here.
        """
        id, (head, *_) = self.heads(object)
        if head.is_deleted:
            raise DeletedError(f"the object {id.short} is deleted")
        return self.version(id, head.id, OBEYED)

    def heads(self, object: Ref) -> tuple[BlockId, list[Head]]:
        """The object's id and its heads, the current one first. Raises `NotFoundError`."""
        id = object.object if isinstance(object, Version) else BlockId.read(object)
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
        """The versions of an object, also of a deleted one, in canonical order. Raises `NotFoundError`.

        With `void`, those are given, too, that do not count, or whose verdict waits for another chain.
        """
        id, _ = self.heads(object)
        return (one for one in self._everything(id) if void or isinstance(one, Hole) or one.standing == OBEYED)

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
        id = None if since is None else self.heads(since)[0]
        query = Query(topic, CREATED, author, None if id is None else self.chain.tables.metas((id,))[id].number)
        while rows := self.chain.tables.query(query, False, 64):
            for row in rows:
                heads = self._view.look(row.id, heads_of)
                if heads and deleted in (None, heads[0].is_deleted):
                    with suppress(UnavailableError):  # it is listed again when its block is here again
                        yield self.version(row.id, heads[0].id, OBEYED)
            query = query._replace(since=rows[-1].number)

    def fetch(self, version: Version) -> Pending[Block]:
        """Fetches the long content of a version from peers. Raises `DeletedError` for a version that has none."""
        return self.chain.fetch(version.require_source())

    def follow(self, callback: Touch | None = None, *, name: str | None = None, via: Via | None = None) -> Touches:
        """Which objects change, as blocks come; an object's id is the `key`. See `Chain.follow`."""
        return Touches(self.chain, self._layer, callback, name=name, via=via)

    def _beside_blocks(self, id: BlockId) -> list[Block]:
        """The blocks of an object whose contents can be dropped. Raises as `delete`; and where some are damaged."""
        found = list(self._everything(id))
        if any(isinstance(one, Hole) for one in found):
            raise UnavailableError("some of its versions are damaged here", hint="`verify` has them fetched again.")
        versions = [one for one in found if isinstance(one, Version) and one.block.content is not None]
        if all(one.standing != OBEYED for one in versions):
            raise NotAllowedError(
                "all of it stands in blocks", hint="What is to be dropped must be created as droppable."
            )
        return [one.block for one in versions]

    def _replace(self, id: BlockId, base: Head, ids: Sequence[BlockId], content: Content, media_type: str) -> Version:
        is_droppable, known_type = base.is_droppable, base.media_type
        if not known_type:  # it restores another version, or deletes the object
            source = self.version(id, base.id, OBEYED)
            is_droppable, known_type = source.require_source().content is not None, source.media_type
        change = Change(EDITED, require_media_type(media_type or known_type), id, tuple(sorted(ids)))
        return self._append(change, content, droppable=is_droppable)

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
