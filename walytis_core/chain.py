"""`Chain`: the handle that users hold. It turns calls into drafts, queries and feeds; it decides nothing.

Reading and appending never wait for the network. Everything here may be called from any thread, and from a running
asyncio loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from walytis_core.authors import OwnAuthor
from walytis_core.block import Block, Draft
from walytis_core.cid import BlockId
from walytis_core.drafting import Drafting, InFlight
from walytis_core.engine import Engine
from walytis_core.errors import ClosedError, InvalidInputError
from walytis_core.exporting import ExportReport, export_chain
from walytis_core.feed import Feed, FeedEvent, Source
from walytis_core.follower import Handler, Via
from walytis_core.following import Following
from walytis_core.judging import Judging, LayerView
from walytis_core.keeping import Keeping
from walytis_core.layer import Layer
from walytis_core.past import Others
from walytis_core.pending import Pending
from walytis_core.policy import Policy
from walytis_core.reading import Reading
from walytis_core.sharing import Sharing
from walytis_core.standing import Standing
from walytis_core.status import ChainStatus, PeerInfo
from walytis_core.store.port import Proof, Query, VerifyReport

if TYPE_CHECKING:
    from walytis_core.home import Home


class Chain(Sharing, Keeping):
    """A shared log: this node's copy of it.

    >>> from walytis_core import Node
    >>> with Node.in_memory() as node:
    ...     chain = node.create_chain("notes")
    ...     block = chain.append(b"hello", topics=["greeting"])
    ...     [found.payload for found in chain.blocks(topic="greeting")]
    [b'hello']
    """

    def __init__(
        self, home: Home, engine: Engine, author: OwnAuthor, layers: Sequence[Layer] = (), others: Others | None = None
    ) -> None:
        self._home = home
        self.engine = engine
        self.own_author = author
        self.tables = engine.store
        self._reading = Reading(self.tables)
        self._in_flight = InFlight(self.tables)
        self._following = Following(Source(self.tables, self._reading.of, self.standing), engine.exclusive())
        self._is_closed = False
        engine.listen(author.tell)
        self.judging = Judging(engine, layers, others, self._following.feeds, self._require_open)

    # --- what it is ----------------------------------------------------------------------------------------------

    @property
    def id(self) -> BlockId:
        """The chain's id: the id of its genesis block."""
        return self.engine.genesis.id

    @property
    def genesis(self) -> bytes:
        """The bytes of the genesis block, by which others can take up the chain (`Node.adopt`)."""
        self._require_open()
        return self.engine.block(self.id).encoded

    @property
    def name(self) -> str:
        """The chain's name on this node."""
        return self._home.name_of(self.id)

    @property
    def policy(self) -> Policy:
        """Who may write and read."""
        return self.engine.genesis.policy

    @property
    def author(self) -> bytes:
        """The multikey that this node writes with."""
        return self.own_author.signer.key

    @property
    def heads(self) -> Sequence[BlockId]:
        """The blocks that none names as parent or prev, the longest held first."""
        with self.engine.exclusive():  # in the middle of an event they are decided and not yet stored
            return tuple(id for id in self.engine.replica.members.heads if id != self.id)

    @property
    def height(self) -> int:
        """The greatest height of a block; 0 when there is none."""
        with self.engine.exclusive():
            return max(self.engine.replica.members.heads.values(), default=0)

    def __len__(self) -> int:
        return self.tables.count

    def __repr__(self) -> str:
        if self._is_closed:
            return f"Chain({self.id.short}, closed)"
        return f"Chain({self.name!r}, {self.id.short}, {len(self)} blocks)"

    # --- appending -----------------------------------------------------------------------------------------------

    def append(
        self,
        payload: bytes | BinaryIO,
        *,
        topics: Collection[str] = (),
        type: str = "",
        ext: Mapping[str, bytes] | None = None,
        parents: Iterable[BlockId] = (),
        droppable: bool = False,
        lawful: bool = False,
    ) -> Block:
        """Adds a block to the chain and offers it to the peers that are there.

        Returns once the block is on disk. Its parents are the heads at this moment, so everything this replica has
        seen comes before it. Peers that are away get it when they next meet anyone who has it.

        Args:
            payload: Bytes, or a binary stream. Up to `Limits.max_payload_bytes` go into the block; longer content
                becomes a UnixFS file that peers fetch when they want it.
            topics: Labels kept in the clear, to filter by without reading payloads; at most 16.
            type: The layer's payload type, e.g. ``"identities/renewed"``; empty for app data. ``core/`` is reserved.
            ext: Extension fields, at most 1 KiB; kept and ignored by those who do not know them.
            parents: Blocks to name beside the heads, at most 64: for a layer whose blocks name what they build on.
            droppable: Whether even short content is kept beside the block, so that `drop_content` can forget it.
            lawful: Whether to refuse what the block's layer would not obey, since a void block could not be taken back.

        Raises:
            InvalidInputError: Something is outside its limits; nothing was written.
            NotFoundError: A parent is not held here.
            NotAllowedError: This node's key may not write to this chain, or the layer would call the block void.
            UnavailableError: This directory is a copy, and its key may write only after a sync; or what the layer would
                make of the block depends on others that are not held here.
            StorageError: The disk refused; nothing was written.
            ClosedError: The node has been closed.
        """
        self._require_open()
        drafting = Drafting(
            self.tables, self._in_flight, topics=topics, type=type, ext=ext, parents=parents, droppable=droppable
        )
        return self._append_all([payload], drafting, self.judging.require_obeyed if lawful else None)[0]

    def append_many(
        self,
        payloads: Iterable[bytes | BinaryIO],
        *,
        topics: Collection[str] = (),
        type: str = "",
        ext: Mapping[str, bytes] | None = None,
        parents: Iterable[BlockId] = (),
        droppable: bool = False,
    ) -> Sequence[Block]:
        """Adds blocks, one after another, in one transaction: all of them or none. See `append`."""
        self._require_open()
        drafting = Drafting(
            self.tables, self._in_flight, topics=topics, type=type, ext=ext, parents=parents, droppable=droppable
        )
        return self._append_all(payloads, drafting)

    def _append_all(
        self, payloads: Iterable[bytes | BinaryIO], drafting: Drafting, check: Callable[[Block], None] | None = None
    ) -> Sequence[Block]:
        try:
            drafts = [drafting.draft(payload) for payload in payloads]
        except BaseException:  # whatever stopped it
            drafting.undo()
            raise
        try:
            blocks = self._append(drafts, check)
        except Exception:
            drafting.undo()
            raise
        except BaseException:  # cut off while others may be appending it
            drafting.keep()
            raise
        drafting.keep()
        return blocks

    def _append(self, drafts: Sequence[Draft], check: Callable[[Block], None] | None = None) -> Sequence[Block]:
        blocks = self.engine.append(drafts, self.own_author, check)
        return [self._reading.opening(block) for block in blocks]

    # --- reading -------------------------------------------------------------------------------------------------

    def block(self, id: BlockId | str) -> Block:
        """A block by id. Raises `NotFoundError` when it is not held, `UnavailableError` while it is damaged here."""
        self._require_open()
        return self._reading.block(BlockId.read(id))

    def __contains__(self, id: object) -> bool:
        return self._reading.holds(id)

    def blocks(
        self,
        *,
        topic: str | None = None,
        type: str | None = None,
        author: bytes | None = None,
        since: int | BlockId | None = None,
        until: int | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Iterator[Block]:
        """Blocks in the order in which they came to this node.

        Args:
            topic: Only blocks with this topic.
            type: Only blocks of this type; with a slash at its end, of all types that start so.
            author: Only blocks by this multikey.
            since: Only blocks that came after this cursor (`Arrived.number`, `cursor()`), or after this block.
            until: Only blocks that came up to this cursor.
            after: Only blocks dated at or after this instant, by their authors' clocks.
            before: Only blocks dated before this instant.
            newest_first: Whether to turn the order round.
            limit: At most so many.
        """
        self._require_open()
        if isinstance(since, bytes):
            since = self._reading.number(since)
        query = Query(topic, type, author, since, until, _ms(after), _ms(before))
        return self._reading.query(query, newest_first=newest_first, limit=limit)

    def cursor(self) -> int:
        """The cursor of what has come so far: ``blocks(since=chain.cursor())`` gives what comes later."""
        return self.tables.last

    def linear(self) -> Iterator[Block]:
        """All blocks in the canonical order: the same on every node that holds the same blocks."""
        self._require_open()
        return self._reading.linear()

    def graph(self, limit: int = 1000) -> dict[BlockId, tuple[BlockId, ...]]:
        """The newest blocks, each with the blocks it names (`prev` first; the genesis left out)."""
        blocks = self.blocks(newest_first=True, limit=limit)
        return {block.id: tuple(id for id in block.ancestors_named if id != self.id) for block in blocks}

    # --- long content --------------------------------------------------------------------------------------------

    def has_content(self, block: Block) -> bool:
        """Whether the whole content of a block is held here."""
        return self._reading.has_content(block)

    def fetch(self, block: Block) -> Pending[Block]:
        """Fetches a block's long content from peers, verified piece by piece; what is held already is not fetched.

        The result is the block, whose `payload` and `open()` then work. It fails with `UnavailableError` when nobody
        who is there has the content.
        """
        self._require_open()
        return self._home.fetch(self, block)

    def drop_content(self, *blocks: Block) -> None:
        """Forgets the content of blocks that is kept beside them, here. They stay valid; `fetch` brings it back.

        Content is kept by its CID: blocks of this chain with the same content lose it, too. What stands in a block stays.
        """
        for block in blocks:
            self._home.copying.drop(self.id, self._reading.drop_content(block))

    # --- following -----------------------------------------------------------------------------------------------

    def follow(
        self,
        callback: Handler | None = None,
        *,
        name: str | None = None,
        topic: str | None = None,
        type: str | None = None,
        author: bytes | None = None,
        revisions: bool = False,
        via: Via | None = None,
    ) -> Feed:
        """Blocks as they come, own ones too, parents before children.

        Without a callback, iterate the feed (``for`` or ``async for``) and `ack()` each event. With one, it is called
        for each event in a thread of its own, or via the app's loop; returning acknowledges, raising retries.

        Args:
            callback: Called with each event.
            name: A durable consumer: replays what was not acknowledged, then goes on live. Unnamed: live only.
                One feed at a time: one that is at work (a loop, a `with` block, a callback) keeps the name until it
                is closed; one that was left ends when its name is asked for again.
            topic, type, author: Only such blocks; a type with a slash at its end stands for all that start so.
            revisions: Whether to be told, too, when the standing of earlier blocks changes.
            via: Schedules a call in the app's loop, e.g. ``root.after_idle``.

        Raises:
            InUseError: A feed of this name is at work.
            ClosedError: The node has been closed.
        """
        self._require_open()
        query = Query(topic, type, author)
        return self._following.open(query, name, callback=callback, revisions=revisions, via=via)

    def reset(self, name: str) -> None:
        """Has a named consumer start over: the next feed of this name gets everything again.

        Raises:
            InUseError: A feed of this name is at work.
            ClosedError: The node has been closed.
        """
        self._require_open()
        self._following.reset(name)

    def rejected(self, name: str) -> Mapping[int, str]:
        """What a named consumer has set aside, by number, with its reasons."""
        return self.tables.rejected(name)

    def standing(self, id: BlockId) -> Standing:
        """What a block's layer makes of it; obeyed for blocks of no layer."""
        return self.judging.standing(id)

    def view(self, prefix: str) -> LayerView:
        """A layer's state on this chain. Raises `NotFoundError` when the node has no layer with this prefix."""
        return self.judging.view(prefix)

    def use(self, layer: Layer) -> LayerView:
        """Has a layer judge this chain from now on, as `Node.open(layers=...)` does for all chains; once is enough.

        Blocks until all that is stored is judged. Do it before feeds are opened: they are told nothing of it.

        Raises:
            InUseError: The prefix has another version of the layer already.
            ClosedError: The node has been closed.
        """
        self._require_open()
        return self.judging.use(layer)

    # --- looking after it ----------------------------------------------------------------------------------------

    def peers(self) -> Sequence[PeerInfo]:
        """The online peers of this chain, the most recent contact first."""
        return self._home.peers_of(self.id)

    def holders(self, block: Block) -> int:
        """How many online peers have stored this block, as far as they have confirmed it over an open stream."""
        with self.engine.exclusive():  # between what was sent and what that confirms nothing comes
            return sum(link.has_stored(block) for link in self.engine.replica.sync.links.values())

    def status(self) -> ChainStatus:
        """Why this chain is, or is not, in sync."""
        peers, last_contact = len(self.peers()), self._home.last_contact_of(self.id)
        with self.engine.exclusive():
            replica = self.engine.replica
            pulling = replica.sync.turns.pulling
            return ChainStatus(
                blocks=len(self),
                heads=len(self.heads),
                peers=peers,
                last_contact=last_contact,
                pulling_from=None if pulling is None else pulling.peer,
                parked=len(replica.members.parking),
                missing=len(set(replica.members.parking.lacking())),
                refused={reason.value: count for reason, count in sorted(self.engine.refused.items())},
                forked_authors=len(replica.members.proofs),
                corrupt=len(self.tables.corrupt()),
                writable=self._why_not_writable() or self.own_author.reluctance(),
                followers=self._following.errors(),
                copied=self._home.copying.is_copied(self),
            )

    def equivocations(self) -> Mapping[bytes, Proof]:
        """The authors that are proven to have forked, each with two different blocks of one `seq`."""
        with self.engine.exclusive():
            return dict(self.engine.replica.members.proofs)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Re-hashes and re-checks every block. Damaged ones are set aside, and fetched again when a peer has them."""
        self._require_open()
        report = self.tables.verify(progress)
        if report.corrupt:
            self.engine.verify_failed(report.corrupt)
        return report

    def export(
        self, path: Path | str, *, force: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> ExportReport:
        """Writes the chain into a CAR file: all blocks, and the long content that is held here (docs/spec/car.md).

        Any IPFS tool reads it, and `Node.import_chain`. It holds what is held at this instant; others may go on
        appending. It is there whole or not at all. Of a chain that not everyone may read, too, it holds blocks and
        content in the clear: nobody but its owner may read the file, until you hand it on.

        Args:
            path: The file.
            force: Whether to replace a file that is there.
            progress: Told how much is done, and of how much; what it raises ends the export.

        Raises:
            InvalidInputError: There is such a file already, or it cannot be one: it is a folder, a device or a pipe.
            NotFoundError: There is no such folder.
            StorageError: The disk refused, or blocks of the chain are damaged here; no file was written.
            ClosedError: The node has been closed.
        """
        self._require_open()
        return export_chain(self.engine, Path(path), force=force, tell=progress)

    def confirm_newest(self) -> None:
        """Says that nobody holds newer blocks by this node's key than this copy does, so that it may write at once.

        For the last copy of a chain, restored from a copy or a file, where there is no peer to ask. If it is not so, the
        key forks, is proven to have, and can write no more.
        """
        self._require_open()
        with self.engine.exclusive():
            self.own_author.confirm()

    def _require_open(self) -> None:
        self.engine.require_process()
        if self._is_closed:
            self._home.require_open()  # says why, if it is the node that ended
            raise ClosedError("this chain was deleted from this node", hint="Join it again, with an invitation.")

    def close(self, *, is_deleted: bool = False) -> None:
        """Ends the feeds and followers; called by the node. Of a deleted chain nothing more is saved."""
        self._is_closed = True
        self._following.close()
        if not is_deleted:
            self.judging.save()
        self.engine.close()


def _ms(instant: datetime | None) -> int | None:
    if instant is None:
        return None
    if instant.tzinfo is None:
        raise InvalidInputError("a time needs a time zone", hint="Use datetime.now(UTC), or .astimezone().")
    return int(instant.timestamp() * 1000)


__all__ = ["Chain", "ChainStatus", "FeedEvent", "PeerInfo"]
