"""Who may do what to objects, and what is void: a part of the objects suite."""

from __future__ import annotations

import pytest

from mutability import (
    ANYONE,
    AUTHOR,
    CREATED,
    DELETED,
    EDITED,
    RESTORED,
    Change,
    Mutable,
)
from mutability.payloads import encode
from tests.suites.making import some_id
from tests.suites.objects_sides import KEEP, Open, Sides, meet, versions, write
from walytis_core import Node, NotAllowedError, NotFoundError, Void
from walytis_core.errors import DeletedError, InUseError, InvalidInputError


class RulesSuite(Sides):
    """Rules, strangers and hostile versions."""

    def test_a_stranger_to_the_object(self, open: Open) -> None:
        """M06, M08: under `AUTHOR`, others are told so here, and what they write all the same is void everywhere."""
        alice, bob = open()
        note = alice.create("milk")
        meet(alice, bob)
        for act in (
            lambda: bob.edit(note, "tea"), lambda: bob.delete(note), lambda: bob.delete(note, drop=True),
            lambda: bob.restore(note), lambda: bob.merge(note, "tea"),
        ):  # fmt: skip
            with pytest.raises(NotAllowedError):
                act()
        bad = [
            write(bob.chain, Change(EDITED, "text/plain", note.object, (note.id,)), b"tea"),
            write(bob.chain, Change(DELETED, False, note.object, (note.id,))),
            write(bob.chain, Change(RESTORED, note.id, note.object, (note.id,))),
        ]
        meet(alice, bob)
        for objects in (alice, bob):
            assert objects.get(note).content == b"milk"
            assert [one.id for one in versions(objects, note.object)] == [note.id]
            assert [one.id for one in versions(objects, note.object, void=True)] == [note.id, *(one.id for one in bad)]
            for block in bad:
                assert isinstance(objects.chain.standing(block.id), Void)
                assert isinstance(objects.version(note.object, block.id).standing, Void)
        assert bob.create("of his own").block.author == bob.chain.author

    def test_a_rule_of_ones_own(self, open: Open) -> None:
        """M06, M08: a function of the causal past."""
        alice, bob = open(KEEP)
        with pytest.raises(NotAllowedError, match="write something first"):
            alice.create("milk")
        alice.chain.append(b"something", type="chat/line")
        note = alice.create("milk")
        meet(alice, bob)
        bob.edit(note, "tea")
        with pytest.raises(NotAllowedError, match="only its author"):
            bob.delete(note)
        bad = write(bob.chain, Change(DELETED, False, note.object, (bob.get(note).id,)))
        meet(alice, bob)
        assert isinstance(alice.chain.standing(bad.id), Void)
        assert alice.get(note).content == b"tea"
        alice.delete(note)
        meet(alice, bob)
        with pytest.raises(DeletedError):
            bob.get(note)

    def test_the_genesis_names_the_rule(self, open: Open) -> None:
        """M06, M08: who joins has the rule of who made the chain; another one is refused."""
        alice, bob = open(data=ANYONE.data)
        assert (alice.rule, bob.rule) == (ANYONE, ANYONE)
        for rule in (AUTHOR, KEEP):
            with pytest.raises(InvalidInputError):
                Mutable(bob.chain, rule)
        note = alice.create("milk")
        meet(alice, bob)
        bob.edit(note, "tea")
        meet(alice, bob)
        assert alice.get(note).content == b"tea"

    def test_two_rules_at_once(self, open: Open) -> None:
        """M06: where no rule is named, the first one that is used here holds."""
        alice, _ = open(ANYONE)
        with pytest.raises(InUseError):
            Mutable(alice.chain, AUTHOR)
        assert Mutable(alice.chain, ANYONE).create("1").content == b"1"

    def test_predecessors_that_are_none(self, open: Open) -> None:
        """M07, M08: unknown, void, of another object, no version, not named, deleted: ignored, everywhere."""
        alice, bob = open(ANYONE)
        note, other, gone = alice.create("milk"), alice.create("other"), alice.create("gone")
        chat, buried = alice.chain.append(b"chat"), alice.delete(gone)
        meet(alice, bob)
        void = write(bob.chain, Change(EDITED, "a/b", note.object, (some_id(1),)), b"unknown", parents=())
        bad = [
            void,
            write(bob.chain, Change(EDITED, "a/b", note.object, (void.id,)), b"builds on a void one"),
            write(bob.chain, Change(EDITED, "a/b", note.object, (other.id,)), b"of another object"),
            write(bob.chain, Change(EDITED, "a/b", note.object, (chat.id,)), b"no version"),
            write(bob.chain, Change(EDITED, "a/b", chat.id, (chat.id,)), b"no object"),
            write(bob.chain, Change(EDITED, "a/b", bob.chain.id, (note.id,)), b"the genesis"),
            write(bob.chain, Change(EDITED, "a/b", note.object, (note.id,)), b"does not name it", parents=()),
            write(bob.chain, Change(EDITED, "a/b", gone.object, (buried.id,)), b"edits a deletion"),
            write(bob.chain, Change(RESTORED, buried.id, gone.object, (buried.id,))),
            write(bob.chain, Change(RESTORED, some_id(2), gone.object, (buried.id,)), parents=(buried.id,)),
            write(bob.chain, Change(DELETED, False, note.object, (note.id,)), b"content"),
            bob.chain.append(b"x", type=EDITED),
            bob.chain.append(b"x", type=EDITED, ext={"mutability": b"\xff\x00"}, parents=[note.id]),
            bob.chain.append(b"x", type="mutability/moved", ext=encode(Change(CREATED, "a/b"))),
        ]
        meet(alice, bob)
        for objects in (alice, bob):
            for block in bad:
                assert isinstance(objects.chain.standing(block.id), Void), block.payload
            assert (objects.get(note).content, objects.get(other).content) == (b"milk", b"other")
            assert [one.object for one in objects.objects(deleted=None)] == [note.object, other.object, gone.object]
            assert len(versions(objects, gone.object)) == 2
            for block in (chat, bad[-1]):
                with pytest.raises(NotFoundError):
                    objects.get(block.id)
        assert bob.edit(note, "tea").content == b"tea"
        meet(alice, bob)
        assert alice.get(note).content == b"tea"

    def test_an_object_of_another_chain(self, open: Open) -> None:
        """M07, M08: it is not found here, and versions that name it are void."""
        alice, bob = open(ANYONE)
        with Node.in_memory() as node:
            elsewhere = Mutable(node.create_chain("elsewhere"), ANYONE).create("milk")
        for act in (alice.get, alice.delete, alice.restore, alice.history, alice.conflicts):
            with pytest.raises(NotFoundError):
                act(elsewhere)
        with pytest.raises(NotFoundError):
            alice.edit(elsewhere.object, "tea")
        with pytest.raises(NotFoundError):  # a parent that is not held here
            write(alice.chain, Change(EDITED, "a/b", elsewhere.object, (elsewhere.id,)), b"tea")
        bad = write(alice.chain, Change(EDITED, "a/b", elsewhere.object, (elsewhere.id,)), b"tea", parents=())
        meet(alice, bob)
        assert isinstance(bob.chain.standing(bad.id), Void)
        with pytest.raises(NotFoundError):
            bob.get(elsewhere.object)
