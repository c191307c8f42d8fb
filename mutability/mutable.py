"""`Mutable`: the handle that users hold on the objects of a chain. It turns calls into blocks, and folds into versions.

Reading and writing never wait for the network; all of it may be called from any thread. What counts is decided in
`rules.py` and `state.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import BinaryIO, Final, NamedTuple, TypeAlias

from mutability.payloads import CREATED, DELETED, EDITED, MAX_REPLACED, RESTORED, Change, decode, encode, is_media_type
from mutability.rules import Rule, rule_of, verdict
from mutability.state import Head, count_of, heads_of, key_of, layer_of
from mutability.versions import DeletedError, Hole, Version
from walytis_core import Block, BlockId, Chain, Obeyed, Pending, Standing, Touch, Touches, Via, Void, Wait
from walytis_core.errors import InvalidInputError, NotAllowedError, NotFoundError, UnavailableError
from walytis_core.store.port import Query

Content: TypeAlias = bytes | str | BinaryIO
Ref: TypeAlias = BlockId | str | Version
"""An object: by its id, by that as text, or by any version of it."""

_OBEYED: Final = Obeyed()
_PAGE: Final = 64


class Listed(NamedTuple):
    """An object in a listing: its current version, how many versions it has, and how many are in conflict with that.

    `number` is its place in the order in which objects came to this node: what to give as `since` for those after it.
    """

    number: int
    current: Version
    versions: int
    conflicts: int


class Mutable:
    """The objects of a chain: made, edited, deleted and restored, though nothing on a chain can be changed.

    >>> from walytis_core import Node
    >>> with Node.in_memory() as node:
    ...     notes = Mutable(node.create_chain("notes"))
    ...     note = notes.create("milk")
    ...     version = notes.edit(note, "milk, bread")
    ...     notes.get(note).content, len(notes.history(note))
    (b'milk, bread', 2)

    Args:
        chain: Any chain that this node may read.
        rule: Who may do what; None for the one that the genesis names (`Rule.data`), or else `AUTHOR`. All who share
            the chain must have the same.
        drop: Drops the contents of all versions of an object, wherever a layer below keeps them, or raises
            `NotAllowedError`. None to drop this node's own copies.

    Raises:
        InvalidInputError: The genesis names another rule, or one that is not known here.
        InUseError: The chain's objects are judged by another rule already.
    """

    def __init__(
        self, chain: Chain, rule: Rule | None = None, *, drop: Callable[[Sequence[Version]], None] | None = None
    ) -> None:
        self.chain = chain
        self.rule = rule_of(chain.policy.data, rule)
        self._drop = drop or self._drop_here
        self._layer = layer_of(self.rule)
        self._view = chain.use(self._layer)

    # --- writing: durable when it returns; `Chain.append` says what else it raises ------------------------------------

    def create(
        self, content: Content, *, media_type: str = "", topics: Collection[str] = (), droppable: bool = False
    ) -> Version:
        """Makes an object. Raises `NotAllowedError` where the rule forbids it.

        Args:
            content: Text, bytes, or a binary stream of any length.
            media_type: What it is (RFC 6838), in at most 100 characters; plain text, or bytes, where left out.
            topics: Labels in the clear, to list objects by.
            droppable: Whether to keep even short content beside the block, so that `delete(drop=True)` can drop it.
        """
        media_type = media_type or ("text/plain" if isinstance(content, str) else "application/octet-stream")
        return self._append(Change(CREATED, media_type), content, topics, droppable=droppable)

    def edit(self, object: Ref, content: Content, *, media_type: str = "") -> Version:
        """Gives an object new content in place of the current one; what conflicts with that stays as it is.

        Raises `DeletedError`, `NotFoundError`; `NotAllowedError` where the rule forbids it.
        """
        return self._replace(self.get(object), (), content, media_type)

    def merge(self, object: Ref, content: Content, *, media_type: str = "") -> Version:
        """Gives an object new content in place of all versions that nothing replaces: it has no conflicts then.

        Raises as `edit`: `DeletedError` where all of these versions delete it.
        """
        id, heads = self._heads(object)
        live = next((head for head in heads if not head.is_deleted), None)
        if live is None:
            raise DeletedError(f"the object {id.short} is deleted")
        base = self._version(id, live.id)
        while len(heads) > MAX_REPLACED:  # what one block cannot name is gathered first, under the content it has now
            gathered, heads = heads[-MAX_REPLACED:], heads[:-MAX_REPLACED]
            kept = self._append(Change(RESTORED, base.require_source().id, id, _sorted(gathered)), b"")
            heads.insert(0, Head(kept.block.height, kept.id, is_deleted=False))
        return self._replace(base, heads, content, media_type)

    def delete(self, object: Ref, *, drop: bool = False) -> Version:
        """Deletes an object: it is in no listing, and reading it raises `DeletedError`. Its history stays.

        Args:
            drop: Whether to drop its contents as well, and say so; also of one that is deleted already. What stands in
                blocks cannot be dropped: see `create(droppable=True)`.

        Raises:
            NotAllowedError: The rule forbids it, or some of the contents cannot be dropped; nothing was done.
        """
        id, heads = self._heads(object)
        if heads[0].is_deleted and not drop:
            raise DeletedError(f"the object {id.short} is deleted already")
        change = Change(DELETED, drop, id, _sorted(heads[:MAX_REPLACED]))
        if drop:  # first, so that no crash makes the record say what is not so
            self._require_allowed(change)
            self._drop([version for version in self._everything(id) if isinstance(version, Version)])
        return self._append(change, b"")

    def restore(self, object: Ref, version: BlockId | str | None = None) -> Version:
        """Gives an object, deleted or not, the content of an earlier version again: by default of the last that had any.

        Raises `NotFoundError`, also where the object has no such version; `NotAllowedError` where the rule forbids it.
        """
        id, (head, *_) = self._heads(object)
        wanted = self._version(id, head.id if version is None else _block_id(version))
        while wanted.source is None:
            replaced = (self._version(id, replaced) for replaced in wanted.change.replaces)
            wanted = max(replaced, key=lambda one: (one.block.height, one.id))
        return self._append(Change(RESTORED, wanted.source.id, id, (head.id,)), b"", wanted.block.topics)

    # --- reading -------------------------------------------------------------------------------------------------

    def get(self, object: Ref) -> Version:
        """The current version of an object: the same on every node that holds the same blocks.

        Raises `DeletedError`, `NotFoundError`; `UnavailableError` while its block is damaged here.
        """
        id, (head, *_) = self._heads(object)
        if head.is_deleted:
            raise DeletedError(f"the object {id.short} is deleted")
        return self._version(id, head.id)

    def conflicts(self, object: Ref) -> list[Version]:
        """The versions beside the current one that nothing replaces, the last in canonical order first."""
        id, (_, *others) = self._heads(object)
        return [self._version(id, head.id) for head in others]

    def version(self, object: Ref, id: BlockId | str) -> Version:
        """A version of an object by its id, whatever its standing. Raises `NotFoundError`."""
        block = self.chain.block(id)
        return self._version(self._heads(object)[0], block, self.chain.standing(block.id))

    def history(self, object: Ref, *, void: bool = False) -> Iterator[Version | Hole]:
        """The versions of an object in canonical order, also of a deleted one. Raises `NotFoundError`.

        Args:
            void: Whether to give those, too, that do not count, or whose verdict waits for another chain.
        """
        id, _ = self._heads(object)
        return (one for one in self._everything(id) if void or isinstance(one, Hole) or one.standing == _OBEYED)

    def objects(
        self, *, deleted: bool | None = False, conflicting: bool = False, media_type: str | None = None,
        topic: str | None = None, author: bytes | None = None, since: int = 0, limit: int | None = None,
    ) -> Iterator[Listed]:  # fmt: skip
        """The objects, in the order in which they came to this node: what comes late comes last, and shifts no page.

        Args:
            deleted: Whether to list deleted ones instead; None for both.
            conflicting, media_type: Only those with conflicts; only those whose current content is of just this type.
            topic, author: Only those that were created with it, or by it.
            since, limit: A page: those after the `number` of the last on the page before, at most so many.
        """
        return islice(self._listed(Query(topic, CREATED, author, since), deleted, conflicting, media_type), limit)

    def fetch(self, version: Version) -> Pending[Block]:
        """Fetches the long content of a version from peers. Raises `DeletedError` for a version that has none."""
        return self.chain.fetch(version.require_source())

    def follow(self, callback: Touch | None = None, *, name: str | None = None, via: Via | None = None) -> Touches:
        """Which objects change, as blocks come; an object's id is the `key`. See `Chain.follow`."""
        return Touches(self.chain, self._layer, callback, name=name, via=via)

    # --- behind it -----------------------------------------------------------------------------------------------

    def _replace(self, base: Version, heads: Sequence[Head], content: Content, media_type: str) -> Version:
        change = Change(EDITED, media_type or base.media_type, base.object, _sorted(heads) or (base.id,))
        is_droppable = base.require_source().content is not None
        return self._append(change, content, base.block.topics, droppable=is_droppable)

    def _append(
        self, change: Change, content: Content, topics: Collection[str] = (), *, droppable: bool = False
    ) -> Version:
        body = content.encode() if isinstance(content, str) else content
        if change.kind in (CREATED, EDITED) and not is_media_type(change.detail):
            raise InvalidInputError("that is no media type", hint="It looks like text/plain: 100 characters at most.")
        self._require_allowed(change)
        block = self.chain.append(
            body, topics=topics, type=change.kind, ext=encode(change), parents=change.named, droppable=droppable
        )
        if not self._view.look(change.object or block.id, lambda state: block.id.hex() in state[0]):
            _require_obeyed(self.chain.standing(block.id))  # something came in between
        return self._version(change.object or block.id, block)

    def _listed(
        self, query: Query, deleted: bool | None, conflicting: bool, media_type: str | None
    ) -> Iterator[Listed]:
        while rows := self.chain.tables.query(query, False, _PAGE):
            for row in rows:
                heads = self._view.look(row.id, heads_of)
                if heads and deleted in (None, heads[0].is_deleted) and (len(heads) > 1 or not conflicting):
                    current, count = self._version(row.id, heads[0].id), self._view.look(row.id, count_of)
                    if media_type is None or (current.source is not None and current.media_type == media_type):
                        yield Listed(row.number, current, count, len(heads) - 1)
            query = query._replace(since=rows[-1].number)

    def _require_allowed(self, change: Change) -> None:
        """Asks beforehand: a void block could not be taken back."""
        named, author = change.named, self.chain.author
        verdict_on = partial(verdict, self.rule, change, author, named)
        _require_obeyed(self._view.ask(change.object, verdict_on, named))

    def _heads(self, object: Ref) -> tuple[BlockId, list[Head]]:
        """The object's id and its heads, the current one first. Raises `NotFoundError`."""
        id = object.object if isinstance(object, Version) else _block_id(object)
        heads = self._view.look(id, heads_of)
        if not heads:
            raise NotFoundError(f"this chain has no object {id.short} here", hint="List the objects that it has.")
        return id, heads

    def _everything(self, id: BlockId) -> Iterator[Version | Hole]:
        """All that stands under an object, in canonical order; read page by page."""
        at = None
        while page := self._view.entries(id, at):
            for at, standing in page:
                try:
                    yield self._version(id, BlockId(at.id), standing)
                except UnavailableError:
                    yield Hole(BlockId(at.id))

    def _version(self, object: BlockId, id: BlockId | Block, standing: Standing = _OBEYED) -> Version:
        block = id if isinstance(id, Block) else self.chain.block(id)
        if key_of(block) != object:
            raise NotFoundError(f"the object {object.short} has no version {block.id.short}")
        source: Block | None = block
        if block.type in (DELETED, RESTORED):
            is_restored = block.type == RESTORED and isinstance(standing, Obeyed)
            source = self.chain.block(decode(block).named[-1]) if is_restored else None
        return Version(object, block, standing, source)

    def _drop_here(self, versions: Sequence[Version]) -> None:
        inline = sum(bool(version.block.body) and version.block.content is None for version in versions)
        if inline:
            raise NotAllowedError(
                f"{inline} of its versions have their content in their blocks, for ever",
                hint="Delete it without dropping; create with droppable=True what is to be dropped one day.",
            )
        for version in versions:
            self.chain.drop_content(version.block)


def _block_id(id: BlockId | str) -> BlockId:
    return BlockId.parse(id) if isinstance(id, str) else BlockId(id)


def _sorted(heads: Sequence[Head]) -> tuple[BlockId, ...]:
    return tuple(sorted(head.id for head in heads))


def _require_obeyed(standing: Standing) -> None:
    match standing:
        case Void(reason):
            raise NotAllowedError(reason, hint="The chain's rule says who may do what to its objects.")
        case Wait():
            raise UnavailableError("whether that is allowed depends on blocks of another chain, not held here yet")
