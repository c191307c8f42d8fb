"""What mutable objects must do on a chain of any kind: subclass `ObjectsSuite`, say which kind, and pytest runs it all.

Example:
    >>> class TestMine(ObjectsSuite):
    ...     readers, writers = "secret", []
"""

from __future__ import annotations

from itertools import islice

import pytest

from mutability import (
    ANYONE,
    CREATED,
    EDITED,
    RESTORED,
    Documents,
    Hole,
    Mutable,
)
from tests.suites.making import some_id
from tests.suites.nodes import WITHIN_S, assert_sound
from tests.suites.objects_rules import RulesSuite
from tests.suites.objects_sides import LONG, Open, assert_same, contents, deaf, meet, versions
from walytis_core import Block, BlockId, NotAllowedError, NotFoundError
from walytis_core.errors import DeletedError, UnavailableError


class ObjectsSuite(RulesSuite):
    """The contract of `mutability` on one kind of chain."""

    # --- what one can do ------------------------------------------------------------------------------------------

    def test_one_block_at_a_follower_elsewhere(self, open: Open) -> None:
        """M01, M08: an object that is made is told to a follower at another node, once, and so is its edit."""
        alice, bob = open()
        with bob.follow() as feed:
            note = alice.create("milk", topics=["list"])
            touched = feed.next(WITHIN_S)
            assert touched is not None
            assert (touched.keys, touched.ids) == ((note.object,), (note.id,))
            edit = alice.edit(note, "milk, bread")
            touched = feed.next(WITHIN_S)
            assert touched is not None
            assert (touched.keys, touched.ids) == ((note.object,), (edit.id,))
        version = bob.get(note.object)
        assert (version.content, version.media_type) == (b"milk, bread", "text/plain")
        assert [one.id for one in bob.objects(topic="list")] == [edit.id]
        assert version.block.author == alice.chain.author != bob.chain.author
        assert contents(bob, note.object) == [b"milk", b"milk, bread"]
        assert [one.change.kind for one in versions(bob, note.object)] == [CREATED, EDITED]

    @pytest.mark.parametrize("count", [1, 2, pytest.param(100, marks=pytest.mark.slow)])
    def test_many_edits(self, open: Open, count: int) -> None:
        """M02, M08: the last one counts, and the history has them all; the id does not change, and costs the same."""
        alice, bob = open()
        note = alice.create(b"0", media_type="text/markdown")
        for number in range(1, count + 1):
            assert alice.edit(note.object, b"%d" % number).object == note.object
        said = [len(one.block.ext["mutability"]) for one in versions(alice, note.object)[1:]]
        assert max(said) == min(said)
        sizes = [len(one.block.encoded) for one in versions(alice, note.object)[1:]]
        assert max(sizes) - min(sizes) <= 8, "numbers grow by some digits"
        meet(alice, bob)
        for objects in (alice, bob):
            assert objects.get(str(note.object)).content == b"%d" % count
            assert objects.get(note.id).media_type == "text/markdown"
            assert contents(objects, note.object) == [b"%d" % number for number in range(count + 1)]

    def test_deleted_and_restored(self, open: Open) -> None:
        """M03, M04, M08: hidden everywhere, its history is kept, it comes back, with any of its contents."""
        alice, bob = open()
        note, other = alice.create("1"), alice.create("other")
        alice.edit(note, "2")
        gone = alice.delete(note)
        meet(alice, bob)
        for objects in (alice, bob):
            for read in (objects.get, lambda one, objects=objects: objects.edit(one, "3"), objects.delete):
                with pytest.raises(DeletedError):
                    read(note.object)
            assert [one.object for one in objects.objects()] == [other.object]
            assert [one.id for one in objects.objects(deleted=True)] == [gone.id]
            assert [one.object for one in objects.objects(deleted=None)] == [note.object, other.object]
            assert contents(objects, note.object) == [b"1", b"2", None]
            with pytest.raises(DeletedError):
                _ = versions(objects, note.object)[-1].content
        back = alice.restore(note)
        assert (back.content, back.change.kind) == (b"2", RESTORED)
        assert alice.restore(note, note.id).content == b"1"
        meet(alice, bob)
        assert bob.get(note).content == b"1"
        assert alice.edit(note, "4").media_type == "text/plain"
        assert contents(alice, note.object) == [b"1", b"2", None, b"2", b"1", b"4"]

    def test_concurrent_edits(self, open: Open) -> None:
        """M05, M08: both see the same current version and the same conflict; a merge clears it."""
        alice, bob = open(ANYONE)
        note = alice.create("milk")
        meet(alice, bob)
        with deaf(bob):
            one = alice.edit(note, "milk, bread")
            other = bob.edit(note, "milk, tea")
            bob.edit(note, "milk, green tea")
        meet(alice, bob)
        assert_same(note.object, alice, bob)
        assert bob.get(note).content == b"milk, green tea"  # the higher of the two
        assert [conflict.id for conflict in alice.conflicts(note)] == [one.id]
        assert {version.id for version in versions(alice, note.object)} >= {one.id, other.id}
        current = bob.get(note).id  # asked first: the edit reaches him at any time
        assert alice.edit(note, "only that").change.replaces == (current,)
        assert [conflict.id for conflict in alice.conflicts(note)] == [one.id]
        merged = alice.merge(note, "milk, bread, green tea")
        meet(alice, bob)
        for objects in (alice, bob):
            assert objects.get(note).id == merged.id
            assert not objects.conflicts(note)
        assert len(versions(bob, note.object)) == 6

    def test_concurrent_deletion(self, open: Open) -> None:
        """M03, M05, M08: a deletion and an edit at once are a conflict like any; a merge brings the object back."""
        alice, bob = open(ANYONE)
        note = alice.create("milk")
        meet(alice, bob)
        with deaf(bob):
            alice.delete(note)
            bob.edit(note, "milk, tea")
        meet(alice, bob)
        assert_same(note.object, alice, bob)
        assert len(alice.conflicts(note)) == 1
        assert alice.merge(note, "tea").content == b"tea"
        meet(alice, bob)
        assert bob.get(note).content == b"tea"
        assert not bob.conflicts(note)

    def test_documents(self, open: Open) -> None:
        """M05, M08: fields that different people change at once are all kept."""
        alice, bob = map(Documents, open(ANYONE))
        item = alice.create({"what": "milk", "done": False, "count": 1})
        meet(alice.objects, bob.objects)
        with deaf(bob.objects):
            alice.edit(item, {"what": "milk", "done": True, "count": 1})
            bob.edit(item, {"what": "oat milk", "done": False, "count": 1})
        meet(alice.objects, bob.objects)
        bob.merge(item)
        meet(alice.objects, bob.objects)
        assert alice.get(item) == bob.get(item) == {"what": "oat milk", "done": True, "count": 1}
        assert not alice.objects.conflicts(item)

    # --- long content, and dropping it -------------------------------------------------------------------------------

    def test_long_content(self, open: Open) -> None:
        """M01, M08: its versions are there before their content is, which is fetched when it is wanted."""
        alice, bob = open()
        note = alice.create(LONG, media_type="image/png")
        alice.edit(note, LONG[1:])
        meet(alice, bob)
        version = bob.get(note)
        assert version.media_type == "image/png"
        with pytest.raises(UnavailableError):
            _ = version.content
        bob.fetch(version).result(WITHIN_S)
        assert bob.get(note).content == LONG[1:]
        with version.open() as stream:
            assert stream.read(10) == LONG[1:11]

    def test_hard_delete(self, open: Open) -> None:
        """M09: all contents are dropped here, and the record says so; elsewhere, its node drops its own copies."""
        alice, bob = open(ANYONE)
        note = alice.create("secret", droppable=True)
        edited = alice.edit(note, "more secret")
        long = alice.edit(note, LONG)
        assert edited.block.content is not None
        meet(alice, bob)
        for version in versions(bob, note.object):
            bob.fetch(version).result(WITHIN_S)
        gone = alice.delete(note, drop=True)
        assert gone.change.detail is True
        for version in (note, edited, long):
            assert not alice.chain.has_content(version.block)
            assert bob.chain.has_content(version.block)
        with pytest.raises(UnavailableError):
            _ = versions(alice, note.object)[0].content
        meet(alice, bob)
        bob.delete(note, drop=True)
        assert not any(bob.chain.has_content(version.block) for version in (note, edited, long))
        assert [one.change.detail for one in versions(bob, note.object)][3:] == [False, True, False, True]
        with pytest.raises(DeletedError):
            bob.get(note)

    def test_what_stands_in_blocks_is_not_dropped(self, open: Open) -> None:
        """M09: where that is all, it is refused, and nothing is done; else what can be dropped is."""
        alice, _ = open(ANYONE)
        note = alice.create("for ever")
        for _number in range(2):
            with pytest.raises(NotAllowedError):
                alice.delete(note, drop=True)
        assert alice.get(note).content == b"for ever"
        long = alice.edit(note, LONG)
        alice.delete(note, drop=True)
        assert not alice.chain.has_content(long.block)
        assert versions(alice, note.object)[0].content == b"for ever"

    def test_a_port_that_drops(self, open: Open) -> None:
        """M09: a layer below can be asked to drop contents elsewhere; where it refuses, the record says nothing of it."""
        alice, _ = open(ANYONE)
        note = alice.create("short", droppable=True)
        long = alice.edit(note, LONG)
        asked: list[BlockId] = []

        def refuse(*blocks: Block) -> None:
            raise NotAllowedError("not these")

        with pytest.raises(NotAllowedError, match="not these"):
            Mutable(alice.chain, ANYONE, drop=refuse).delete(note, drop=True)
        assert [one.change.detail for one in versions(alice, note.object)][2:] == [False]
        assert alice.chain.has_content(long.block)
        port = Mutable(alice.chain, ANYONE, drop=lambda *blocks: asked.extend(block.id for block in blocks))
        port.delete(note, drop=True)
        assert asked == [note.id, long.id]
        assert versions(alice, note.object)[-1].change.detail is True

    # --- listing ---------------------------------------------------------------------------------------------------

    def test_pages(self, open: Open) -> None:
        """M04, M08: by topic and author, in pages that what comes late does not shift."""
        alice, bob = open()
        made = [alice.create(b"%d" % number, topics=["even"] if number % 2 == 0 else []) for number in range(7)]
        meet(alice, bob)
        ids = [one.object for one in made]
        page = list(islice(bob.objects(), 3))
        assert [one.object for one in page] == ids[:3]
        late = bob.create("late")
        alice.delete(made[1])
        alice.edit(made[3], "changed")
        meet(alice, bob)
        rest = [one.object for one in bob.objects(since=page[-1])]
        assert rest == [*ids[3:], late.object]
        assert [one.object for one in bob.objects(since=ids[-2])] == [ids[-1], late.object]
        assert [one.object for one in bob.objects(topic="even")] == ids[::2]
        assert [one.object for one in alice.objects(author=bob.chain.author)] == [late.object]
        assert not list(bob.objects(since=late))
        with pytest.raises(NotFoundError):
            list(bob.objects(since=some_id(1)))

    def test_all_is_well_in_the_chain(self, open: Open) -> None:
        """M08: nothing of it breaks what holds for every chain, and all of it is there after a restart of the view."""
        alice, bob = open(ANYONE)
        note = alice.create("1")
        meet(alice, bob)
        for number in range(5):
            with deaf(bob):
                alice.edit(note, f"alice {number}")
                bob.edit(note, f"bob {number}")
            meet(alice, bob)
        before = [one.id for one in alice.conflicts(note)]
        for objects in (alice, bob):
            objects.chain.judging._open()
            assert [one.id for one in objects.conflicts(note)] == before
            assert_sound(objects.chain)
        assert_same(note.object, alice, bob)
        assert not any(isinstance(one, Hole) for one in bob.history(note))
