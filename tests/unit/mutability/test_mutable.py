"""The handle on a chain's objects: every method, and each way in which it refuses."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mutability import ANYONE, AUTHOR, CREATED, DELETED, EDITED, RESTORED, Change, Mutable, Rule, Version
from mutability.payloads import MAX_REPLACED, encode
from tests.suites.making import some_id
from tests.suites.nodes import WITHIN_S, join
from walytis_core import (
    Block,
    BlockId,
    ClosedError,
    Ed25519Signer,
    Limits,
    MemoryHub,
    Node,
    NotAllowedError,
    NotFoundError,
    UnavailableError,
    Void,
    Wait,
    WalytisError,
)
from walytis_core.block import Place, create, draft
from walytis_core.errors import DeletedError, InvalidInputError
from walytis_core.events import Came
from walytis_core.messages import Why
from walytis_core.screening import screen

LONG = bytes(Limits.max_payload_bytes + 1)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.in_memory() as node:
        yield node


@pytest.fixture
def objects(node: Node) -> Iterator[Mutable]:
    chain = node.create_chain("objects", readers="everyone")
    yield Mutable(chain, ANYONE)
    node.delete_chain(chain)


def ids(objects: Mutable, object: Version | BlockId, *, void: bool = False) -> list[BlockId]:
    return [one.id for one in objects.history(object, void=void)]


def beside(objects: Mutable, base: Version, number: int, content: bytes = b"beside", kind: str = EDITED) -> Block:
    """A version by somebody else who has seen the base and nothing later."""
    chain = objects.chain
    change = Change(kind, "text/plain" if kind == EDITED else False, base.object, (base.id,))
    place = Place(chain.id, 0, chain.id, (base.id,), base.block.height + 1)
    signer = Ed25519Signer(number.to_bytes(32, "big"))
    block = create(signer, place, draft(content if kind == EDITED else b"", type=kind, ext=encode(change)), 0)
    chain.engine.handle(Came("peer", Why.PULLED, screen([block.encoded], chain.engine.known)))
    return block


# --- making and editing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "held", "media_type"), [
    ("", b"", "text/plain"), (b"", b"", "application/octet-stream"), ("é", "é".encode(), "text/plain"),
    (b"\x00\xff", b"\x00\xff", "application/octet-stream"), (LONG, LONG, "application/octet-stream"),
    (io.BytesIO(b"stream"), b"stream", "application/octet-stream"), (io.BytesIO(LONG), LONG, "application/octet-stream"),
], ids=range(7))  # fmt: skip
@pytest.mark.parametrize("droppable", [False, True])
def test_contents(objects, content, held, media_type, droppable):
    """M01: text, bytes and streams, empty, short and long."""
    if isinstance(content, io.BytesIO):
        content.seek(0)
    note = objects.create(content, droppable=droppable)
    assert (note.content, note.media_type, note.id) == (held, media_type, note.object)
    assert note.block.type == CREATED
    with note.open() as stream:
        assert stream.read() == held
    if droppable:
        assert note.block.content is not None
    assert objects.get(note).content == held


def test_what_is_kept_and_what_is_not(objects):
    """M01: an edit keeps the media type, unless told otherwise, and whether it can be dropped; topics are the object's."""
    note = objects.create("1", media_type="text/markdown; variant=GFM", topics=["a", "b"], droppable=True)
    edit = objects.edit(note, "2")
    assert (edit.media_type, edit.block.topics) == ("text/markdown; variant=GFM", ())
    assert edit.block.content is not None
    edit = objects.edit(note, b"3", media_type="image/png")
    assert objects.get(note).media_type == edit.media_type == "image/png"
    back = objects.restore(note, note.id)
    assert (back.media_type, back.content) == ("text/markdown; variant=GFM", b"1")
    assert objects.edit(note, "4").media_type == "text/markdown; variant=GFM"
    assert objects.get(note).block.content is not None
    assert [one.change.kind for one in objects.history(note)] == [CREATED, EDITED, EDITED, RESTORED, EDITED]
    assert [one.object for one in objects.objects(topic="b")] == [note.object]


@pytest.mark.parametrize(
    "media_type", ["text", "text/", "/plain", "text/plain\n", "a/b; é", "a/" + "b" * 99, " a/b", "a b/c"]
)
def test_media_types_that_are_none(objects, media_type):
    """M01: refused before anything is written."""
    note = objects.create("1")
    before = len(objects.chain)
    for write in (
        objects.create,
        lambda one, **how: objects.edit(note, one, **how),
        lambda one, **how: objects.merge(note, one, **how),
    ):
        with pytest.raises(InvalidInputError):
            write("2", media_type=media_type)
    assert len(objects.chain) == before


def test_the_longest_media_type(objects):
    """M01, M05: it is taken, and fits with as many versions as one block replaces."""
    longest = "a/" + "b" * 98
    note = objects.create("1", media_type=longest)
    for number in range(1, MAX_REPLACED):
        beside(objects, note, number)
    merged = objects.merge(note, "all", media_type=longest)
    assert not objects.conflicts(note)
    assert merged.media_type == longest


def test_topics_that_are_none(objects):
    """M01: what a chain refuses is refused."""
    with pytest.raises(InvalidInputError):
        objects.create("1", topics=["a", "a"])
    assert not len(objects.chain)


def test_references(objects):
    """M01: an object by its id, by any version, or by a version's id."""
    note = objects.create("1")
    edit = objects.edit(note, "2")
    for ref in (note.object, str(note.object), note, edit, bytes(note.object), edit.id, str(edit.id)):
        assert objects.get(ref).id == edit.id
    for ref in (objects.chain.id, some_id(1), BlockId(b"short"), b"", "bafy" + "a" * 55):
        with pytest.raises((NotFoundError, InvalidInputError)):
            objects.get(ref)
    for text in ("", "nonsense", "bafy", str(note.object)[:-1], str(note.object).upper()):
        with pytest.raises(InvalidInputError):
            objects.get(text)


# --- deleting and restoring -------------------------------------------------------------------------------------------


def test_deleting_twice(objects):
    """M04: the second time it is deleted already; to drop its contents too, it may be."""
    note = objects.create("1", droppable=True)
    objects.delete(note)
    with pytest.raises(DeletedError) as caught:
        objects.delete(note)
    assert caught.value.hint
    assert isinstance(caught.value, NotFoundError)
    objects.delete(note, drop=True)
    assert not objects.chain.has_content(note.block)
    assert [one.change.detail for one in objects.history(note)] == ["text/plain", False, False, True]


def test_restoring(objects):
    """M03: the last content by default, or that of any version of the object that had one."""
    note = objects.create("1")
    two = objects.edit(note, "2")
    gone = objects.delete(note)
    back = objects.restore(note)
    assert (back.content, back.change) == (b"2", Change(RESTORED, two.id, note.object, (gone.id,)))
    assert (
        objects.restore(note, back.id).change.detail == two.id
    )  # the version with the content is named, not the way to it
    assert objects.restore(note, gone.id).content == b"2"
    assert objects.restore(note, str(note.id)).content == b"1"
    assert objects.restore(note).content == b"1"
    assert len(ids(objects, note)) == 8


def test_restoring_what_is_no_version(objects):
    """M03, M07: unknown, of another object, no version at all, void."""
    note, other = objects.create("1"), objects.create("other")
    chat = objects.chain.append(b"chat")
    change = Change(EDITED, "a/b", note.object, (other.id,))
    void = objects.chain.append(b"void", type=EDITED, ext=encode(change), parents=[other.id])
    unknown = Change(RESTORED, some_id(1), note.object, (note.id,))
    hollow = objects.chain.append(b"", type=RESTORED, ext=encode(unknown))
    nothing = Change(DELETED, False, note.object, (some_id(2),))
    dangling = objects.chain.append(b"", type=DELETED, ext=encode(nothing))
    before = len(objects.chain)
    for id in (some_id(1), other.id, chat.id, objects.chain.id, dangling.id):
        with pytest.raises(NotFoundError):
            objects.restore(note, id)
    with pytest.raises(NotAllowedError):
        objects.restore(note, void.id)
    assert len(objects.chain) == before
    assert objects.restore(note, hollow.id).content == b"1"  # as with a deletion: what was before


def test_restoring_across_a_merge_of_deletions(objects):
    """M03: of several ways back, the last in canonical order."""
    note = objects.create("1")
    objects.edit(note, "2")
    three = objects.edit(note, "3")
    low = beside(objects, note, 1, kind=DELETED)
    assert objects.delete(note).change.replaces == tuple(sorted([three.id, low.id]))
    assert objects.restore(note).change.detail == three.id
    assert low.id in {one.id for one in objects.history(note)}


def test_fetching_and_opening_a_deletion(objects):
    """M04: there is nothing to fetch."""
    note = objects.create(LONG)
    gone = objects.delete(note)
    for read in (
        lambda: objects.fetch(gone),
        gone.open,
        lambda: gone.content,
        lambda: gone.media_type,
        gone.require_source,
    ):
        with pytest.raises(DeletedError):
            read()
    assert objects.fetch(note).result(WITHIN_S).payload == LONG


def test_a_drop_that_is_not_allowed_drops_nothing(node):
    """M06, M09: contents are dropped only by who may say that they were."""
    chain = node.create_chain("dropping", readers="everyone")
    never = Rule(
        "never",
        lambda change, _author, _past: Void("never") if change.kind == DELETED else ANYONE.judge(change, b"", _past),
    )
    objects = Mutable(chain, never)
    note = objects.create(LONG)
    with pytest.raises(NotAllowedError, match="never"):
        objects.delete(note, drop=True)
    assert chain.has_content(note.block)
    node.delete_chain(chain)


# --- concurrent versions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, MAX_REPLACED, MAX_REPLACED + 1, 3 * MAX_REPLACED, 100])
def test_merging_many(objects, count):
    """M05: however many there are, one merge replaces them all, and the first block of it has the content."""
    note = objects.create("0")
    made = [beside(objects, note, number + 1, b"%d" % number) for number in range(count)]
    current = objects.get(note)
    assert current.id == max(one.id for one in made)
    assert {one.id for one in objects.conflicts(note)} == {one.id for one in made} - {current.id}
    assert [one.id for one in objects.conflicts(note)] == sorted(
        (one.id for one in made if one.id != current.id), reverse=True
    )
    merged = objects.merge(note, "all")
    assert objects.get(note).id == merged.id
    assert not objects.conflicts(note)
    assert {one.id for one in made} <= set(ids(objects, note))
    on_the_way = [one for one in objects.history(note) if isinstance(one, Version) and one.change.kind == RESTORED]
    assert {one.content for one in on_the_way} <= {b"all"}


@pytest.mark.parametrize("count", [2, MAX_REPLACED + 5])
def test_deleting_many(objects, count):
    """M04, M05: a deletion of the current version hides the object, whatever else there is."""
    note = objects.create("0")
    for number in range(1, count + 1):
        beside(objects, note, number)
    objects.delete(note)
    with pytest.raises(DeletedError):
        objects.get(note)
    assert len(objects.conflicts(note)) == max(0, count - MAX_REPLACED)
    assert [one.object for one in objects.objects(deleted=True)] == [note.object]
    assert objects.restore(note).content == b"beside"


def test_merging_deletions_alone(objects):
    """M04, M05: what all delete is deleted."""
    note = objects.create("0")
    for number in range(1, 30):
        beside(objects, note, number, kind=DELETED)
    with pytest.raises(DeletedError):
        objects.merge(note, "1")
    objects.restore(note)
    assert objects.get(note).content == b"0"
    assert len(objects.conflicts(note)) == 28
    objects.merge(note, "1")
    assert not objects.conflicts(note)


# --- who may not -----------------------------------------------------------------------------------------------------------


def everything(objects: Mutable, note: Version) -> list[tuple[str, Callable[[], object]]]:
    """Each thing that one can do, by its name."""
    return [
        ("create", lambda: objects.create("x")), ("edit", lambda: objects.edit(note, "x")), ("merge", lambda: objects.merge(note, "x")),
        ("delete", lambda: objects.delete(note)), ("drop", lambda: objects.delete(note, drop=True)), ("restore", lambda: objects.restore(note)),
        ("get", lambda: objects.get(note)), ("conflicts", lambda: objects.conflicts(note)),
        ("version", lambda: objects.version(note.object, note.id)), ("history", lambda: list(objects.history(note))),
        ("objects", lambda: list(objects.objects())), ("fetch", lambda: objects.fetch(note)), ("follow", objects.follow),
    ]  # fmt: skip


WRITES = ("create", "edit", "merge", "delete", "drop", "restore")


def test_who_may_not_write_to_the_chain():
    """M06: a reader of a chain of listed writers is told so, and nothing is written."""
    hub = MemoryHub()
    with Node.in_memory(hub) as one, Node.in_memory(hub) as other:
        chain = one.create_chain("published", writers=[], readers="everyone")
        note = Mutable(chain, ANYONE).create("1", droppable=True)
        copy = other.join(str(chain.invite(write=False))).result(WITHIN_S)
        objects = Mutable(copy, ANYONE)
        for name, act in everything(objects, note):
            if name in WRITES:
                with pytest.raises(NotAllowedError):
                    act()
        assert objects.get(note).id == note.id


def test_a_rule_that_waits(node):
    """M06: what depends on another chain cannot be written now; what came of it is in the history as waiting."""
    chain = node.create_chain("waiting", readers="everyone")
    wait = Wait(some_id(1), (some_id(2),))
    objects = Mutable(
        chain,
        Rule(
            "patient",
            lambda change, _author, _past: wait if change.kind == EDITED else ANYONE.judge(change, b"", _past),
        ),
    )
    note = objects.create("1")
    with pytest.raises(UnavailableError):
        objects.edit(note, "2")
    late = beside(objects, note, 1)
    assert chain.standing(late.id) == wait
    assert ids(objects, note) == [note.id]
    assert ids(objects, note, void=True) == [note.id, late.id]
    change = Change(DELETED, False, note.object, (late.id,))
    block = chain.append(b"", type=DELETED, ext=encode(change))
    assert chain.standing(block.id) == wait
    assert objects.get(note).content == b"1"
    node.delete_chain(chain)


def test_a_rule_with_a_bug(node, caplog):
    """M06: a block on which it fails is void, and an own one is not written."""
    chain = node.create_chain("buggy", readers="everyone")

    def judge(change: Change, author: bytes, past: object) -> object:
        if change.kind == EDITED:
            raise ZeroDivisionError
        return ANYONE.judge(change, author, past)  # type: ignore[arg-type]

    objects = Mutable(chain, Rule("buggy", judge))  # type: ignore[arg-type]
    note = objects.create("1")
    late = beside(objects, note, 1)
    assert isinstance(chain.standing(late.id), Void)
    with pytest.raises(NotAllowedError, match="ZeroDivisionError"):
        objects.edit(note, "2")
    assert objects.get(note).content == b"1"
    assert "ZeroDivisionError" in caplog.text
    node.delete_chain(chain)


def test_a_closed_node():
    """M08: everything says that it is closed; nothing hangs."""
    with Node.in_memory() as node:
        objects = Mutable(node.create_chain("notes"), AUTHOR)
        note = objects.create("1", droppable=True)
    for name, act in everything(objects, note):
        if name in WRITES or name in ("follow", "fetch"):
            with pytest.raises(ClosedError):
                act()
        else:  # what needs no look at the disk may still be told
            with suppress(WalytisError):
                act()


def test_a_chain_that_was_deleted(node):
    """M08: as with a closed node."""
    chain = node.create_chain("gone")
    objects = Mutable(chain)
    note = objects.create("1", droppable=True)
    node.delete_chain(chain)
    for name, act in everything(objects, note):
        if name in WRITES or name in ("follow", "fetch"):
            with pytest.raises(ClosedError):
                act()
        else:  # what needs no look at the disk may still be told
            with suppress(WalytisError):
                act()


def test_two_handles_are_one(objects):
    """M08: both see what either does at once."""
    other = Mutable(objects.chain, ANYONE)
    note = objects.create("1")
    other.edit(note, "2")
    assert objects.get(note).content == b"2"
    objects.delete(note)
    with pytest.raises(DeletedError):
        other.get(note)


def test_objects_of_a_node_that_joins_late(tmp_path: Path):
    """M08, M10: a node that comes later sees the same, from the blocks alone."""
    hub = MemoryHub()
    with Node.in_memory(hub) as one, Node.in_memory(hub) as other:
        objects = Mutable(one.create_chain("notes"), AUTHOR)
        note = objects.create("0")
        for number in range(50):
            objects.edit(note, f"{number}")
        copy = Mutable(join(other, objects.chain))
        assert ids(copy, note) == ids(objects, note)
        assert copy.get(note).content == b"49"


# --- what was read, and what has come since ------------------------------------------------------------------------------


def test_an_edit_of_what_was_read_conflicts_with_what_has_come_since(objects):
    """M05: no update is lost: who says what they read replaces just that."""
    note = objects.create("1")
    seen = objects.get(note)
    theirs = objects.edit(note, "2")
    mine = objects.edit(note, "3", replaces=[seen.id, seen.id])
    assert mine.change.replaces == (seen.id,)
    assert objects.get(note).id == mine.id
    assert [one.id for one in objects.conflicts(note)] == [theirs.id]
    objects.merge(note, "4", replaces=[mine.id])
    assert [one.id for one in objects.conflicts(note)] == [theirs.id]
    with pytest.raises(NotFoundError):
        objects.edit(note, "5", replaces=[objects.create("another").id])
    with pytest.raises(NotAllowedError):
        objects.edit(note, "5", replaces=[objects.create("another").id], media_type="text/plain")
    objects.delete(note)
    assert objects.get(objects.edit(note, "6", replaces=[theirs.id])).content == b"6"


def test_a_refused_merge_of_many_leaves_all_of_them(objects):
    """M05: what can fail comes first, so that no conflict is gathered away without its merge."""
    note = objects.create("0")
    made = [beside(objects, note, number + 1, b"%d" % number) for number in range(MAX_REPLACED + 5)]
    blocks = len(objects.chain)
    for content, media_type in (("x", "no media type"), (object(), "text/plain"), ("\ud800", "text/plain")):
        with pytest.raises((InvalidInputError, UnicodeEncodeError)):
            objects.merge(note, content, media_type=media_type)
    assert len(objects.chain) == blocks
    assert len(objects.conflicts(note)) == len(made) - 1
    assert objects.merge(note, "all").content == b"all"
    assert objects.conflicts(note) == []


def test_what_could_be_dropped_once_always_can(objects):
    """M09: an edit that stands in its block, by whomever, does not make the next ones stand there for ever."""
    note = objects.create("1", droppable=True)
    beside(objects, note, 1, b"2")
    assert objects.edit(note, "3").block.content is not None
    objects.restore(note, note)
    assert objects.edit(note, "4").block.content is not None


def test_nobody_aims_a_drop_at_other_content(node):
    """M09: a void version that names the content of another object does not have it dropped."""
    objects = Mutable(node.create_chain("own", readers="everyone"), AUTHOR)
    kept = objects.create("kept", droppable=True)
    note = objects.create("to go", droppable=True)
    stranger = Ed25519Signer(bytes([9]) * 32)
    change = Change(EDITED, "text/plain", note.object, (note.id,))
    place = Place(objects.chain.id, 0, objects.chain.id, (note.id,), note.block.height + 1)
    aimed = create(stranger, place, draft(kept.block.body, type=EDITED, ext=encode(change)), 0)
    objects.chain.engine.handle(Came("peer", Why.PULLED, screen([aimed.encoded], objects.chain.engine.known)))
    assert len(list(objects.history(note, void=True))) == 2
    objects.delete(note, drop=True)
    assert objects.get(kept).content == b"kept"
