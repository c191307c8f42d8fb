"""What mutable objects are, written out plainly, and random chains of versions, right and wrong: for tests of `mutability`.

`Model` knows no order of arrival, no view and no fold: it looks at the whole folded set at once, by the definitions of
docs/spec/objects.md, and is slow. `ObjectDag` makes what honest and hostile authors write.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import cbor2

from tests.suites.dags import Dag
from tests.suites.making import some_id
from walytis_core.block import Block, Content, Place, create, draft
from walytis_core.cid import DAG_CBOR_PREFIX, RAW_PREFIX, BlockId, Cid
from walytis_core.dag import ancestors
from walytis_core.signer import Ed25519Signer

CREATED, EDITED, DELETED, RESTORED = ("mutability/" + kind for kind in ("created", "edited", "deleted", "restored"))
MOST: Final = 22
"""As many versions one version replaces."""
OBEYED, VOID, WAITS = "obeyed", "void", "waits"
ROLE: Final = "role/editor"
"""The type of app blocks that name an editor, for `editors`."""

Judge = Callable[["Said", Block, "Model"], str]


class Said(NamedTuple):
    """What a block says: `content` is the version whose content it restores."""

    kind: str
    object: bytes
    replaces: tuple[bytes, ...]
    detail: Any

    @property
    def content(self) -> bytes | None:
        return self.detail if self.kind == RESTORED else None

    @property
    def named(self) -> tuple[bytes, ...]:
        return (*self.replaces, self.detail) if self.kind == RESTORED else self.replaces


def read(block: Block) -> Said | None:
    """What a block says of an object; None when it does not say it properly."""
    if block.type not in (CREATED, EDITED, DELETED, RESTORED):
        return None
    data = block.ext.get("mutability", b"")
    try:
        value = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, TypeError):
        return None
    if type(value) is not list or len(value) != 3 or cbor2.dumps(value, canonical=True) != data:
        return None
    object, replaces, detail = value
    if type(replaces) is not list or not all(map(_is_id, replaces)) or replaces != sorted(set(replaces)):
        return None
    if block.type in (CREATED, EDITED):
        is_good = _is_media_type(detail)
    elif block.type == DELETED:
        is_good = detail is True or detail is False
    else:
        is_good = _is_id(detail)
    if block.type == CREATED:
        is_good = is_good and object is None and not replaces
    else:
        is_good = is_good and _is_id(object) and 1 <= len(replaces) <= MOST
    if block.type in (DELETED, RESTORED):
        is_good = is_good and block.body == b""
    return Said(block.type, object or bytes(block.id), tuple(replaces), detail) if is_good else None


def _is_id(value: object) -> bool:
    return type(value) is bytes and len(value) == 36 and value[:4] == bytes((1, 0x71, 0x12, 0x20))


def _is_media_type(value: object) -> bool:
    name = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*"
    return type(value) is str and len(value) <= 100 and bool(re.fullmatch(f"{name}/{name}(;[ -~]*)?", value))


# --- rules ----------------------------------------------------------------------------------------------------------


def author_only(said: Said, block: Block, model: Model) -> str:
    is_new = said.kind == CREATED
    return OBEYED if is_new or model.blocks[BlockId(said.object)].author == block.author else VOID


def anyone(said: Said, block: Block, model: Model) -> str:
    return OBEYED


def editors(said: Said, block: Block, model: Model) -> str:
    """Whoever is named by a role in the causal past may do anything; a deletion by others waits for another chain."""
    past = model.past(block.id)
    roles = [model.blocks[id].payload for id in past if id in model.blocks and model.blocks[id].type == ROLE]
    if block.author in roles or said.kind == CREATED:
        return OBEYED
    if said.kind == DELETED:
        return OBEYED if model.is_resolved else WAITS
    return VOID


class Model:
    """The objects of a chain.

    Args:
        blocks: All members.
        folded: Those that count.
        judge: The rule.
        is_resolved: Whether this node holds what the rule waits for.
    """

    def __init__(
        self, blocks: Mapping[BlockId, Block], folded: Collection[BlockId], judge: Judge, *, is_resolved: bool = True
    ) -> None:
        self.blocks = blocks
        self.is_resolved = is_resolved
        self._judge = judge
        self._folded = folded
        self._named = {id: block.ancestors_named for id, block in blocks.items()}
        self._standings: dict[bytes, str] = {}
        ours = [blocks[id] for id in folded if blocks[id].type.startswith("mutability/")]
        self.said = {block.id: said for block in ours if (said := read(block)) is not None}
        self.malformed = {block.id for block in ours} - self.said.keys()

    def resolved(self) -> Model:
        """The same, where nothing waits."""
        return Model(self.blocks, self._folded, self._judge)

    def past(self, id: BlockId) -> set[BlockId]:
        """The causal past of a block."""
        return ancestors(self._named, [id])

    def standing(self, id: bytes) -> str:
        """What is made of a version, by recursion over what it names."""
        if id not in self._standings:
            self._standings[id] = self._verdict(BlockId(id))
        return self._standings[id]

    def _verdict(self, id: BlockId) -> str:
        said = self.said.get(id)
        if said is None:
            return VOID
        for named in said.named:
            if named not in self._named[id]:
                return VOID
            other = self.said.get(BlockId(named))
            if other is None or other.object != said.object:
                return VOID
            if self.standing(named) != OBEYED:
                return self.standing(named)
        kinds = [self.said[BlockId(one)].kind for one in said.replaces]
        if said.kind == EDITED and set(kinds) == {DELETED}:
            return VOID
        if said.content is not None and self.said[BlockId(said.content)].kind not in (CREATED, EDITED):
            return VOID
        return self._judge(said, self.blocks[id], self)

    def under(self, object: bytes) -> list[Block]:
        """All that is said of an object, in canonical order."""
        found = [self.blocks[id] for id, said in self.said.items() if said.object == object]
        return sorted(found, key=lambda block: (block.height, block.id))

    def history(self, object: bytes) -> list[BlockId]:
        """The versions of an object, in canonical order."""
        return [block.id for block in self.under(object) if self.standing(block.id) == OBEYED]

    def heads(self, object: bytes) -> list[BlockId]:
        """The versions that none replaces, the greatest by height and id first."""
        versions = self.history(object)
        replaced = {one for id in versions for one in self.said[id].replaces}
        return [id for id in reversed(versions) if id not in replaced]

    def objects(self) -> set[BlockId]:
        """The objects that there are."""
        return {id for id, said in self.said.items() if said.kind == CREATED and self.standing(id) == OBEYED}

    def is_deleted(self, object: bytes) -> bool:
        return self.said[self.heads(object)[0]].kind == DELETED

    def content(self, id: BlockId) -> bytes | None:
        """The content of a version; None for a deletion."""
        said = self.said[id]
        if said.kind == DELETED:
            return None
        source = self.blocks[BlockId(said.content) if said.content is not None else id]
        assert isinstance(source.body, bytes)
        return source.body


# --- random chains of versions ----------------------------------------------------------------------------------------

GOOD: Final = ("create", "edit", "edit", "edit", "merge", "delete", "restore")
BAD: Final = (
    "unnamed", "unknown", "elsewhere", "malformed", "void", "edit deleted", "restore nothing", "foreign kind", "content",
    "not its object", "role", "plain",
)  # fmt: skip


class ObjectDag(Dag):
    """Makes versions of objects by several authors who do not know all; now and then hostile ones, and forks.

    Args:
        genesis: Of the chain that they are for; None for one of its own.
        apart: How often an author has not seen the newest blocks, from 0 to 1.
    """

    def __init__(self, seed: int, genesis: Block | None = None, authors: int = 3, apart: float = 0.5) -> None:
        super().__init__(seed, authors)
        if genesis is not None:
            self.genesis, self.blocks = genesis, {genesis.id: genesis}
            self.signers = [Ed25519Signer(bytes([n + 100]) * 32) for n in range(authors)]
        self.apart = apart
        self._waiting_for = some_id(7)

    def write(self, what: str | None = None, *, fork: bool = False) -> Block:
        """Adds one block: of a kind that is named, or of any."""
        rng = self.random
        what = what or rng.choice(GOOD if rng.random() < 0.7 else BAD)
        versions = [(id, said) for id, block in self.blocks.items() if (said := read(block)) is not None]
        if what == "role":
            return self.put(ROLE, None, rng.choice(self.signers).key, ext={}, fork=fork)
        if not versions or what == "create":
            return self.put(CREATED, [None, [], "text/plain"], rng.randbytes(3), fork=fork)
        id, said = rng.choice(versions[-12:])
        known = [one for one, other in versions if other.object == said.object]
        make: Callable[..., Block] = getattr(self, "_" + what.replace(" ", "_"))
        return make(bytes(said.object), id, known, fork)

    def put(
        self, type: str, value: object, body: bytes | Content = b"", *, parents: Collection[BlockId] = (),
        author: int | None = None, fork: bool = False, ext: Mapping[str, bytes] | None = None,
    ) -> Block:  # fmt: skip
        """Adds a block that says a value and names these parents, among others."""
        rng = self.random
        signer = rng.choice(self.signers) if author is None else self.signers[author]
        own = [block for block in self.blocks.values() if block.author == signer.key and block is not self.genesis]
        own = own or [self.genesis]
        prev = rng.choice(own[:-1]) if fork and len(own) > 1 else own[-1]
        seen = [] if rng.random() < self.apart else [rng.choice(self.heads()).id]
        named = tuple(sorted({*parents, *seen} - {prev.id, self.genesis.id}))
        height = 1 + max(self.blocks[id].height for id in (prev.id, *named))
        place = Place(self.genesis.id, prev.seq + 1 if prev.author == signer.key else 0, prev.id, named, height)
        said = {"mutability": cbor2.dumps(value, canonical=True)} if ext is None else ext
        topics = rng.sample(("a", "b"), rng.randrange(3))
        block = create(signer, place, draft(body, type=type, ext=said, topics=topics), 0)
        self.blocks[block.id] = block
        return block

    def _say(
        self, type: str, object: bytes, replaces: Sequence[bytes], detail: object, fork: bool, body: bytes = b""
    ) -> Block:
        named = [*replaces, detail] if type == RESTORED else replaces
        parents = [BlockId(id) for id in named if isinstance(id, bytes) and BlockId(id) in self.blocks]
        value = [object, sorted({bytes(id) for id in replaces}), detail]
        author = self.random.choice([None, self._author_of(object)])
        return self.put(type, value, body, parents=parents, fork=fork, author=author)

    def _author_of(self, object: bytes) -> int | None:
        block = self.blocks.get(BlockId(object))
        keys = [signer.key for signer in self.signers]
        return keys.index(block.author) if block is not None and block.author in keys else None

    def _edit(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        return self._say(EDITED, object, [id], "text/plain", fork, self.random.randbytes(3))

    def _merge(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        some = self.random.sample(known, min(len(known), self.random.randint(1, MOST)))
        return self._say(EDITED, object, some, "text/markdown", fork, self.random.randbytes(3))

    def _delete(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        return self._say(DELETED, object, [id], self.random.random() < 0.5, fork)

    def _restore(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        return self._say(RESTORED, object, [id], bytes(self.random.choice(known)), fork)

    # --- hostile ones ------------------------------------------------------------------------------------------------

    def _unnamed(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        """Replaces what is not among its parents, unless by chance."""
        return self.put(EDITED, [object, [bytes(id)], "text/plain"], b"x", fork=fork)

    def _unknown(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        """Replaces, or restores, what nobody has ever seen."""
        unknown = bytes(some_id(self.random.randrange(99)))
        if self.random.random() < 0.5:
            return self._say(RESTORED, object, [id], unknown, fork)
        return self._say(EDITED, object, [id, unknown], "text/plain", fork)

    def _elsewhere(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        """Replaces versions of another object, or blocks that are no versions."""
        other = self.random.choice(list(self.blocks))
        return self._say(EDITED, object, [other], "text/plain", fork, b"stolen")

    def _not_its_object(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        """Says of a block that is no creation that it is an object."""
        return self._say(EDITED, bytes(self.random.choice(list(self.blocks))), [id], "text/plain", fork)

    def _void(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        """Builds on the last block of all, whatever that is."""
        return self._say(EDITED, object, [list(self.blocks)[-1]], "text/plain", fork)

    def _edit_deleted(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        gone = self._delete(object, id, known, fork)
        return self._say(EDITED, object, [gone.id], "text/plain", False, b"risen")

    def _restore_nothing(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        """Restores what has no content: a deletion, or a restoration."""
        hollow = [one for one in known if self.blocks[one].type in (DELETED, RESTORED)]
        detail = self.random.choice(hollow) if hollow else self._delete(object, id, known, fork).id
        return self._say(RESTORED, object, [id], bytes(detail), False)

    def _foreign_kind(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        type = self.random.choice(("mutability/moved", "mutability/", "mutability/Edited", "mutability/edited/"))
        return self.put(type, [object, [bytes(id)], "text/plain"], parents=[id], fork=fork)

    def _content(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        """Deletes or restores with content; or edits with long content that nobody has."""
        if self.random.random() < 0.5:
            return self.put(DELETED, [object, [bytes(id)], False], b"content", parents=[id], fork=fork)
        long = Content(Cid.of(b"nowhere", RAW_PREFIX), 50_000)
        return self.put(DELETED, [object, [bytes(id)], False], long, parents=[id], fork=fork)

    def _plain(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        return self.put("", None, b"chat", ext={}, fork=fork)

    def _malformed(self, object: bytes, id: BlockId, known: list[BlockId], fork: bool) -> Block:
        """Says something that is no change: each in some way that a lax reader takes."""
        type, ext = malformed(self.random, object, bytes(id))
        return self.put(type, None, parents=[id], fork=fork, ext=ext)


def malformed(rng: random.Random, object: bytes, id: bytes) -> tuple[str, dict[str, bytes]]:
    """A type and an `ext` that nobody may take for a change."""
    many = sorted(bytes(some_id(number)) for number in range(MOST + 1))
    wrongs: list[tuple[str, Any]] = [
        (EDITED, [object, [id], "text/plain", 1]), (EDITED, [object, [id]]), (EDITED, {"object": object}),
        (EDITED, [object, [], "text/plain"]), (EDITED, [object, [id, id], "text/plain"]),
        (EDITED, [object, many[::-1][:2], "text/plain"]), (EDITED, [object, many, "a/b"]),
        (EDITED, [None, [id], "text/plain"]), (EDITED, [object, id, "text/plain"]),
        (EDITED, [object, [id[:-1]], "text/plain"]), (EDITED, [object, [id], "text"]), (EDITED, [object, [id], True]),
        (EDITED, [object, [id], "text/plain; \n"]), (EDITED, [object, [id], None]), (EDITED, [object, [1], "a/b"]),
        (EDITED, [object, [[id]], "a/b"]), (EDITED, [object, {"a": id}, "a/b"]), (EDITED, [object, [id], "a/" + "b" * 99]),
        (EDITED, [DAG_CBOR_PREFIX, [id], "a/b"]), (EDITED, [RAW_PREFIX + bytes(32), [id], "a/b"]),
        (CREATED, [object, [], "text/plain"]), (CREATED, [None, [id], "text/plain"]), (CREATED, [None, [], "plain"]),
        (CREATED, [None, None, "text/plain"]), (CREATED, [None, [], b"text/plain"]), (CREATED, [None, [], False]),
        (DELETED, [object, [id], 1]), (DELETED, [object, [id], 0]), (DELETED, [object, [id], None]),
        (DELETED, [object, [id], "text/plain"]), (DELETED, [None, [], False]), (DELETED, [object, [], False]),
        (RESTORED, [object, [id], None]), (RESTORED, [object, [id], "text/plain"]), (RESTORED, [object, [], id]),
        (RESTORED, [object, [id], [id]]), (RESTORED, [object, [id], id[:35]]), (RESTORED, [object, [id], True]),
    ]  # fmt: skip
    type, value = rng.choice(wrongs)
    good = cbor2.dumps([object, [id], "text/plain"], canonical=True)
    raw = [b"", good + b"\0", good[:-1], b"\x9f" + good[1:] + b"\xff", b"\x98\x03" + good[1:], b"\x81" * 500, b"\xa0"]
    tagged = cbor2.dumps([object, [cbor2.CBORTag(42, b"\0" + id)], "text/plain"])
    if rng.random() < 0.3:
        return EDITED, {"mutability": rng.choice([*raw, tagged])}
    if rng.random() < 0.1:
        return EDITED, rng.choice([{}, {"mutable": good}, {"Mutability": good}])
    return type, {"mutability": cbor2.dumps(value, canonical=True)}
