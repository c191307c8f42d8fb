"""The verbs on objects, on a node in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from frontends.calls import Call, perform
from frontends.failures import FailedError
from frontends.verbs import VERBS
from mutability import ANYONE, AUTHOR, DELETED, EDITED, Change, Mutable, Rule, Version
from mutability.payloads import encode
from walytis_core import (
    BlockId,
    Chain,
    Cid,
    DeletedError,
    Ed25519Signer,
    InvalidInputError,
    Node,
    NotAllowedError,
    NotFoundError,
    Obeyed,
    UnavailableError,
)
from walytis_core.block import Content, Place, create, draft
from walytis_core.cid import RAW_PREFIX
from walytis_core.events import Came
from walytis_core.messages import Why
from walytis_core.screening import screen


@dataclass
class Desk:
    """A chain, and the verbs on it."""

    node: Node
    chain: Chain

    def all(self, verb: str, content: bytes = b"", **arguments: Any) -> list[Any]:
        call = Call(self.node, stays_online=False, content=io.BytesIO(content))
        return list(perform(VERBS, f"object {verb}", call, {"chain": self.chain.name, **arguments}))

    def one(self, verb: str, content: bytes = b"", **arguments: Any) -> Any:
        (form,) = self.all(verb, content, **arguments)
        return form

    def create(self, content: bytes, media_type: str = "text/plain", **arguments: Any) -> Any:
        return self.one("create", content, media_type=media_type, **arguments)

    def beside(self, form: Any, content: bytes, *, over: str | None = None, media_type: str = "text/plain") -> str:
        """An edit by someone who knew only the version that it replaces."""
        parent = BlockId.parse(over or form["id"])
        change = Change(EDITED, media_type, BlockId.parse(form["object"]), (parent,))
        return str(self.chain.append(content, type=EDITED, ext=encode(change), parents=(parent,)).id)


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Node.in_memory() as node:
        yield Desk(node, node.create_chain("notes"))


def test_an_object_lives_and_dies_and_lives(desk):
    """M01, M03, M04: by the verbs of the command."""
    made = desk.create(b"milk", topics=["shopping"])
    id = made["object"]
    assert (made["id"], made["kind"], made["mark"], made["payload"]) == (id, "created", "current", "milk")
    edited = desk.one("edit", b"milk, bread", object=id[-8:])
    assert (edited["object"], edited["replaces"], edited["media_type"]) == (id, [id], "text/plain")
    assert desk.one("show", object=id) == edited
    assert desk.one("show", object=id, version=id[-8:])["payload"] == "milk"
    deleted = desk.one("delete", object=id)
    assert (deleted["mark"], deleted["dropped"], deleted["note"]) == ("current", False, "deleted")
    with pytest.raises(DeletedError):
        desk.one("show", object=id)
    assert desk.all("list") == []
    restored = desk.one("restore", object=id)
    assert (restored["payload"], restored["restores"]) == ("milk, bread", edited["id"])
    assert desk.one("restore", object=id, version=id[-6:])["payload"] == "milk"
    versions = desk.all("history", object=id)
    assert [one["kind"] for one in versions] == ["created", "edited", "deleted", "restored", "restored"]
    assert [one["mark"] for one in versions] == [None] * 4 + ["current"]
    assert [one["topics"] for one in desk.all("list", topic="shopping")] == [["shopping"]]


def test_conflicts_are_shown_and_merged(desk):
    """M05: the current one first; nothing where nothing conflicts."""
    made = desk.create(b"milk")
    assert desk.all("conflicts", object=made["object"]) == []
    sides = {desk.beside(made, b"milk, %d" % number) for number in range(3)}
    shown = desk.all("conflicts", object=made["object"])
    assert {one["id"] for one in shown} == sides
    assert [one["mark"] for one in shown] == ["current", "conflict", "conflict"]
    assert shown[0]["id"] == desk.all("history", object=made["object"])[-1]["id"], "the last in canonical order"
    (listed,) = desk.all("list", conflicts=True)
    assert (listed["id"], listed["conflicts"]) == (shown[0]["id"], 2)
    assert {one["id"]: one["mark"] for one in desk.all("history", object=made["object"])} == {
        made["object"]: None, **{one["id"]: one["mark"] for one in shown},
    }  # fmt: skip
    merged = desk.one("merge", b"all of it", object=made["object"])
    assert set(merged["replaces"]) == sides
    assert (merged["conflicts"], desk.all("list", conflicts=True)) == (0, [])


def test_a_deleted_object_shows_what_conflicts_with_its_deletion(desk):
    made = desk.create(b"milk")
    desk.one("delete", object=made["object"])
    side = desk.beside(made, b"an edit beside the deletion")
    marks = {one["id"]: one["mark"] for one in desk.all("history", object=made["object"])}
    assert sorted(filter(None, marks.values())) == ["conflict", "current"]
    assert {one["id"] for one in desk.all("conflicts", object=made["object"])} == {id for id in marks if marks[id]}
    assert side in marks


def test_what_is_deleted_says_what_to_do_next(desk):
    """M03: by commands, and what conflicts with the deletion is named."""
    made = desk.create(b"milk")
    short = made["object"][-8:]
    side = desk.beside(made, b"milk, jam")
    desk.one("delete", object=made["object"])
    for verb in ("show", "edit", "merge", "delete"):
        with pytest.raises(DeletedError) as failed:
            desk.one(verb, object=made["object"])
        assert f"`walytis object restore notes {short}`" in failed.value.hint
        assert "conflicts" not in failed.value.hint
    gone = Change(DELETED, False, BlockId.parse(made["object"]), (BlockId.parse(side),))
    desk.chain.append(b"", type=DELETED, ext=encode(gone), parents=(BlockId.parse(side),))
    with pytest.raises(DeletedError) as failed:
        desk.one("show", object=made["object"])
    assert f"`walytis object conflicts notes {short}`" in failed.value.hint
    desk.one("delete", object=desk.create(b"without conflicts")["object"])
    desk.create(b"neither deleted nor in conflict")
    for deleted in (False, None, True):
        assert [one["object"] for one in desk.all("list", conflicts=True, deleted=deleted)] == [made["object"]]


def test_a_refused_drop_says_how_content_is_made_that_can_go(desk):
    """M09."""
    made = desk.create(b"milk")
    with pytest.raises(NotAllowedError) as failed:
        desk.one("delete", object=made["object"], drop=True)
    assert "`walytis object create --droppable`" in failed.value.hint
    assert desk.one("show", object=made["object"])["payload"] == "milk"


def test_documents_are_merged_field_by_field(desk):
    json = "application/json"
    made = desk.create(b'{"what": "call", "done": false, "when": "today"}', json)
    desk.beside(made, b'{"what": "call", "done": true, "when": "noon"}', media_type=json)
    desk.beside(made, b'{"what": "write", "done": false, "when": "late"}', media_type=json)
    merged = desk.one("merge-fields", object=made["object"])
    assert '"what": "write", "done": true' in merged["payload"]
    assert merged["settled"] == ["when"]
    with pytest.raises(FailedError) as failed:
        desk.one("merge-fields", object=made["object"])
    assert "no conflicts" in str(failed.value)


def test_what_claims_to_be_a_document_and_is_none_stays_in_conflict(desk):
    """M05: what a merge by fields leaves out is named, and lost never."""
    json = "application/json"
    made = desk.create(b'{"what": "call", "done": false}', json)
    one = desk.beside(made, b'{"what": "call", "done": true}', media_type=json)
    other = desk.beside(made, b'{"what": "write", "done": false}', media_type=json)
    odd = desk.beside(made, b"no JSON", media_type=json)
    merged = desk.one("merge-fields", object=made["object"])
    assert set(merged["replaces"]) == {one, other}
    assert (merged["left"], merged["conflicts"]) == ([odd], 1)
    none = desk.create(b"this neither", json)
    desk.beside(none, b"nor this", media_type=json)
    desk.beside(none, b"nor that", media_type=json)
    with pytest.raises(InvalidInputError) as failed:
        desk.one("merge-fields", object=none["object"])
    assert "--file" in failed.value.hint


def test_a_deletion_and_a_document_are_merged(desk):
    json = "application/json"
    made = desk.create(b'{"done": false}', json)
    side = desk.beside(made, b'{"done": true}', media_type=json)
    gone = Change(DELETED, False, BlockId.parse(made["object"]), (BlockId.parse(made["id"]),))
    filler = desk.chain.append(b"so that the deletion is current")
    desk.chain.append(b"", type=DELETED, ext=encode(gone), parents=(BlockId.parse(made["id"]), filler.id))
    merged = desk.one("merge-fields", object=made["object"])
    assert side in merged["replaces"]
    assert (merged["payload"], merged["conflicts"]) == ('{"done": true}', 0)


def test_what_was_read_is_edited_and_what_has_come_since_is_in_conflict(desk):
    """M05: no edit is lost because somebody else's came between reading and writing."""
    made = desk.create(b"milk")
    since = desk.one("edit", b"milk, jam", object=made["object"])
    mine = desk.one("edit", b"milk, bread", object=made["object"], on=[made["id"][-8:]])
    assert (mine["replaces"], mine["conflicts"]) == ([made["id"]], 1)
    assert {one["id"] for one in desk.all("conflicts", object=made["object"])} == {since["id"], mine["id"]}
    both = desk.one("edit", b"all", object=made["object"], on=[since["id"][-8:], mine["id"]])
    assert (set(both["replaces"]), both["conflicts"]) == ({since["id"], mine["id"]}, 0)
    with pytest.raises(FailedError):
        desk.one("edit", b"x", object=made["object"], on=["zzzzzzzz"])


def test_what_is_no_document_is_never_merged_by_itself(desk):
    made = desk.create(b"5")
    desk.beside(made, b"6")
    before = desk.chain.heads
    desk.beside(made, b"7", media_type="application/json")
    with pytest.raises(FailedError) as failed:
        desk.one("merge-fields", object=made["object"])
    assert failed.value.exit_code == 2
    assert len(desk.all("conflicts", object=made["object"])) == 2
    assert before != desk.chain.heads


def test_a_list_comes_in_pages_and_by_what_is_asked_for(desk):
    ids = [desk.create(b"%d" % number, topics=["even"] * (number % 2 == 0))["object"] for number in range(6)]
    desk.create(b"{}", "application/json")
    desk.one("delete", object=ids[5])

    def listed(**arguments: Any) -> list[str]:
        return [one["object"] for one in desk.all("list", **arguments)]

    assert listed(limit=2) == ids[:2]
    assert listed(since=ids[1], limit=2) == ids[2:4]
    assert listed(topic="even") == ids[:5:2]
    assert listed(deleted=True) == ids[5:]
    assert len(listed(deleted=None)) == 7
    assert listed(media_type="text/plain") == ids[:5]
    author = desk.all("list")[0]["author"]
    assert listed(author=author[-8:]) == listed()


def test_a_list_and_a_history_are_streamed(desk, monkeypatch):
    """Nobody holds them whole: what comes first comes before the rest is read."""
    ids = [desk.create(b"%d" % number)["object"] for number in range(20)]
    for number in range(20):
        desk.one("edit", b"%d" % number, object=ids[0])
    read: list[object] = []
    whole = Mutable.version

    def version(*given: Any) -> Version:
        read.append(given)
        return whole(*given)

    monkeypatch.setattr(Mutable, "version", version)
    for verb, arguments in (("list", {}), ("history", {"object": ids[0]})):
        read.clear()
        answers = perform(VERBS, f"object {verb}", Call(desk.node, stays_online=False), {"chain": "notes", **arguments})
        assert next(answers)["object"] == ids[0]
        assert len(read) < 5
        assert len(list(answers)) >= 19


def test_void_versions_are_shown_when_asked_for(desk):
    made = desk.create(b"milk")
    gone = desk.one("delete", object=made["object"])
    void = desk.beside(gone, b"an edit of what is deleted")
    assert void not in {one["id"] for one in desk.all("history", object=made["object"])}
    (shown,) = [one for one in desk.all("history", object=made["object"], void=True) if one["id"] == void]
    assert (shown["standing"], shown["mark"]) == ("void", None)
    assert shown["note"].startswith("void: ")
    assert desk.one("show", object=made["object"], version=void[-8:])["standing"] == "void"


def test_droppable_content_reads_as_any_other_until_it_is_dropped(desk):
    """M09: the record says so, and the content is not held any more."""
    made = desk.create(b"secret", droppable=True)
    assert (made["payload"], "link" in made) == ("secret", True)
    gone = desk.one("delete", object=made["object"], drop=True)
    assert (gone["dropped"], gone["note"]) == (True, "deleted, and its contents dropped")
    first, *_ = desk.all("history", object=made["object"])
    assert "payload" not in first
    assert first["note"].startswith("its content is not held here")


@pytest.mark.parametrize("verb", ["edit", "show", "history", "conflicts", "merge", "merge-fields", "delete", "restore"])
def test_an_object_that_is_none_is_told_so(desk, verb):
    block = str(desk.chain.append(b"a block, and no object").id)
    with pytest.raises(NotFoundError) as unknown:
        desk.all(verb, object=block)
    assert FailedError.of(unknown.value).exit_code == 3
    assert "`walytis object list notes --all`" in unknown.value.hint
    with pytest.raises(FailedError) as failed:
        desk.all(verb, object="zzzzzzzz")
    assert "`walytis object list notes --all`" in failed.value.hint


@pytest.mark.parametrize("verb", ["list", "create"])
def test_a_rule_that_is_not_known_here_is_refused(desk, verb):
    """M06: a chain with a rule of its own is for the app that has it."""
    own = Rule("keep/1", lambda _change, _author, _past: Obeyed())
    desk.chain = desk.node.create_chain("other", data=own.data)
    with pytest.raises(InvalidInputError, match="keep/1") as failed:
        desk.all(verb, **({"media_type": "text/plain"} if verb == "create" else {}))
    assert "the program that made this chain" in failed.value.hint


@pytest.mark.parametrize(("who", "rule"), [(None, AUTHOR), ("author", AUTHOR), ("anyone", ANYONE)])
def test_a_chain_is_made_with_the_rule_of_its_objects(who, rule):
    with Node.in_memory() as node:
        call = Call(node, stays_online=False)
        list(perform(VERBS, "create", call, {"name": "notes", "objects": who}))
        assert Mutable(node.chain("notes")).rule is rule
        with pytest.raises(FailedError):
            list(perform(VERBS, "create", call, {"name": "other", "objects": "nobody"}))


def test_content_that_cannot_exist_is_shown_as_not_held(desk):
    """M10: whatever an author says of the content of a version, the others are listed, and nobody is waited for."""
    desk.chain = desk.node.create_chain("anyone", data=ANYONE.data)
    made = desk.create(b"milk", droppable=True)
    origin = desk.chain.block(made["id"])
    change = Change(EDITED, "text/plain", origin.id, (origin.id,))
    body = Content(Cid.of(b"abc", RAW_PREFIX), 10**9)
    place = Place(desk.chain.id, 0, desk.chain.id, (origin.id,), origin.height + 1)
    written = draft(b"", type=EDITED, ext=encode(change))._replace(body=body)
    bad = create(Ed25519Signer(bytes(32)), place, written, 0)
    desk.chain.engine.handle(Came("peer", Why.PULLED, screen([bad.encoded], desk.chain.engine.known)))
    (listed,) = desk.all("list")
    shown = desk.one("show", object=made["object"])
    assert (shown["id"], shown["held"], listed["id"]) == (str(bad.id), False, str(bad.id))
    assert [one["id"] for one in desk.all("history", object=made["object"])] == [made["id"], str(bad.id)]
    call = Call(desk.node, stays_online=False, content=io.BytesIO(b""))
    with pytest.raises(UnavailableError, match="cannot exist"):
        list(perform(VERBS, "content", call, {"chain": desk.chain.name, "block": str(bad.id), "timeout": 1000.0}))
    assert desk.one("delete", object=made["object"], drop=True)["dropped"]
    assert not desk.chain.has_content(origin)


def test_an_object_that_goes_while_it_is_listed_is_passed_over(desk, monkeypatch):
    """M10: a late block may take from an object what made it one; the others are listed all the same."""
    gone, *others = [desk.create(b"%d" % number)["object"] for number in range(3)]
    heads = Mutable.heads

    def without(objects, id):
        if str(id) == gone:
            raise NotFoundError("there is no such object here")
        return heads(objects, id)

    monkeypatch.setattr(Mutable, "heads", without)
    assert [one["object"] for one in desk.all("list")] == others
