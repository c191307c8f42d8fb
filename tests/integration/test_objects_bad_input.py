"""Objects under bad input: crowds of heads, forked authors, long histories, threads at once, partitions, consumers that restart."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from mutability import ANYONE, AUTHOR, CREATED, DELETED, EDITED, RESTORED, Change, Mutable, Version
from mutability.payloads import MAX_REPLACED, encode
from tests.suites.nodes import WITHIN_S, Crew, assert_sound, join, until, until_same
from tests.suites.objects_sides import assert_same, versions
from walytis_core import Block, BlockId, Chain, Ed25519Signer, MemoryHub, MemoryNetwork, Node, NotFoundError, Touched
from walytis_core.block import Place, create, draft
from walytis_core.errors import DeletedError, WalytisError
from walytis_core.events import Came
from walytis_core.messages import Why
from walytis_core.network import Weather
from walytis_core.screening import screen
from walytis_core.standing import Obeyed


@pytest.fixture
def node() -> Iterator[Node]:
    with Node.in_memory() as node:
        yield node


@pytest.fixture
def objects(node: Node) -> Mutable:
    return Mutable(node.create_chain("objects", readers="everyone"), ANYONE)


def take(chain: Chain, blocks: Sequence[Block]) -> None:
    """Blocks come from a peer, in frames."""
    for start in range(0, len(blocks), 250):
        encoded = [block.encoded for block in blocks[start : start + 250]]
        chain.engine.handle(Came("peer", Why.PULLED, screen(encoded, chain.engine.known)))


class Writer:
    """Somebody who writes as fast as bytes can be made, on a chain that a node holds."""

    def __init__(self, chain: Chain, seed: int = 7) -> None:
        self.chain = chain.id
        self.signer = Ed25519Signer(seed.to_bytes(32, "big"))
        self.prev, self.seq, self.height = chain.id, 0, 0

    def write(self, change: Change, content: bytes = b"", seen: Sequence[Block] = (), *, stays: bool = False) -> Block:
        """The next version, by one who has seen these blocks; with `stays`, the one after it takes the same place."""
        height = 1 + max([self.height, *(block.height for block in seen)])
        named = tuple(sorted({block.id for block in seen} - {self.prev}))
        place = Place(self.chain, self.seq, self.prev, named, height)
        block = create(self.signer, place, draft(content, type=change.kind, ext=encode(change)), 0)
        if not stays:
            self.prev, self.seq, self.height = block.id, self.seq + 1, height
        return block


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(120)])])
def test_a_crowd_of_heads(objects: Mutable, count: int) -> None:
    """M05: concurrent versions of one object by many: everything can be read, and one merge clears them all."""
    note, other = objects.create("0"), objects.create("other")
    change = Change(EDITED, "text/plain", note.object, (note.id,))
    crowd = [Writer(objects.chain, n + 1).write(change, b"%d" % n, [note.block]) for n in range(count)]
    take(objects.chain, crowd)
    assert len(objects.chain.heads) > 64 or count < 64
    current = objects.get(note)
    assert current.id == max(block.id for block in crowd)
    assert [one.id for one in objects.conflicts(note)] == sorted(
        {block.id for block in crowd} - {current.id}, reverse=True
    )
    assert len(versions(objects, note.object)) == count + 1
    assert [one.object for one in objects.objects()] == [note.object, other.object]
    before = len(objects.chain)
    merged = objects.merge(note, "all of it")
    assert len(objects.chain) - before <= count // (MAX_REPLACED - 1) + 2
    assert (objects.get(note).id, objects.conflicts(note)) == (merged.id, [])
    assert len(versions(objects, note.object)) == count + len(objects.chain) - before + 1
    late = Writer(objects.chain, count + 1).write(change, b"late", [note.block])
    take(objects.chain, [late])
    assert [one.id for one in objects.conflicts(note)] == [late.id]
    objects.chain.judging.save()
    objects.chain.judging._open()
    assert (objects.get(note).id, [one.id for one in objects.conflicts(note)]) == (merged.id, [late.id])


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(240)])])
def test_deleted_again_and_again(objects: Mutable, count: int) -> None:
    """M03, M04: a long row of deletions: the object stays deleted, its history is whole, and it comes back with its content."""
    note = objects.create("content", topics=["t"])
    writer, seen, last = Writer(objects.chain), [note.block], note.id
    blocks = []
    for _ in range(count):
        blocks.append(writer.write(Change(DELETED, False, note.object, (last,)), seen=seen))
        last, seen = blocks[-1].id, []
    take(objects.chain, blocks)
    with pytest.raises(DeletedError):
        objects.get(note)
    assert not list(objects.objects())
    assert len(versions(objects, note.object)) == count + 1
    back = objects.restore(note)
    assert (back.content, back.change.detail) == (b"content", note.id)
    assert objects.edit(note, "goes on").content == b"goes on"


def test_restored_again_and_again(objects: Mutable) -> None:
    """M03: a restoration of a restoration names the version with the content, so that no read is a long walk."""
    note = objects.create("content")
    for _ in range(50):
        assert objects.restore(note).change.detail == note.id
    assert objects.get(note).content == b"content"
    first = versions(objects, note.object)[1]
    bad = objects.chain.append(
        b"", type=RESTORED, ext=encode(Change(RESTORED, first.id, note.object, (first.id,))), parents=[first.id]
    )
    assert objects.chain.standing(bad.id) != Obeyed()


def test_an_author_that_forked(objects: Mutable) -> None:
    """M06, M07: what it wrote above the fork goes; what others built on comes back; the rest of the object is untouched."""
    note = objects.create("mine")
    mallory = Writer(objects.chain)
    hers = mallory.write(Change(CREATED, "a/b"), b"hers")
    edit = mallory.write(Change(EDITED, "a/b", note.object, (note.id,)), b"her edit", [note.block], stays=True)
    twin = mallory.write(Change(EDITED, "a/b", note.object, (note.id,)), b"her other edit", [note.block])
    take(objects.chain, [hers, edit])
    assert objects.get(note).id == edit.id
    with objects.follow() as feed:
        take(objects.chain, [twin])
        touched = feed.next(WITHIN_S)
        assert touched is not None
        assert edit.id in touched.ids
        assert note.object in touched.keys
    assert objects.get(note).id == note.id
    assert [one.id for one in versions(objects, note.object, void=True)] == [note.id]
    assert objects.get(hers.id).content == b"hers"  # below the fork
    with pytest.raises(NotFoundError):
        objects.version(note.object, edit.id)
    bob = Writer(objects.chain, 8)
    on_it = bob.write(Change(EDITED, "a/b", note.object, (twin.id,)), b"on her other edit", [twin])
    take(objects.chain, [on_it])
    assert objects.get(note).id == on_it.id
    assert [one.id for one in versions(objects, note.object)] == [note.id, twin.id, on_it.id]
    assert objects.conflicts(note) == []


def test_an_object_whose_maker_forked_at_once(objects: Mutable) -> None:
    """M07: an object that was made in a forked place is gone, and comes back when somebody builds on it."""
    mallory = Writer(objects.chain)
    one = mallory.write(Change(CREATED, "a/b"), b"one", stays=True)
    two = mallory.write(Change(CREATED, "a/b"), b"two")
    take(objects.chain, [one])
    assert [found.object for found in objects.objects()] == [one.id]
    page = objects.get(one.id)
    take(objects.chain, [two])
    assert list(objects.objects(deleted=None)) == []
    for id in (one.id, two.id):
        with pytest.raises(NotFoundError):
            objects.get(id)
    with pytest.raises(NotFoundError):
        objects.edit(page, "x")
    with pytest.raises(NotFoundError):
        list(objects.objects(since=page))
    bob = Writer(objects.chain, 8)
    take(objects.chain, [bob.write(Change(EDITED, "a/b", two.id, (two.id,)), b"saved", [two])])
    assert [found.content for found in objects.objects()] == [b"saved"]


@pytest.mark.parametrize("rule", [AUTHOR, ANYONE], ids=lambda rule: rule.name)
def test_more_heads_than_a_block_names(node: Node, rule: object) -> None:
    """M05: on a chain with a hundred heads, a version still names what it replaces, however old that is."""
    objects = Mutable(node.create_chain("wide", readers="everyone"), rule)  # type: ignore[arg-type]
    notes = [objects.create(f"{number}") for number in range(3)]
    for number in range(100):
        writer = Writer(objects.chain, number + 1)
        take(
            objects.chain,
            [create(writer.signer, Place(objects.chain.id, 0, objects.chain.id, (), 1), draft(b"chat"), 0)],
        )
    assert len(objects.chain.heads) > 64
    for note in notes:
        edit = objects.edit(note, "edited")
        assert objects.chain.standing(edit.id) == Obeyed()
        assert objects.delete(note).change.replaces == (edit.id,)
        assert objects.restore(note, note.id).content == note.content
    assert_sound(objects.chain)


@pytest.mark.parametrize("rule", [AUTHOR, ANYONE], ids=lambda rule: rule.name)
def test_threads_at_one_object(node: Node, rule: object) -> None:
    """M05: eight threads edit, merge, delete, restore and read one object at once: typed errors alone, and nothing is lost."""
    objects = Mutable(node.create_chain("busy"), rule)  # type: ignore[arg-type]
    note = objects.create("0")
    written: list[BlockId] = []

    def write(thread: int) -> None:
        for number in range(25):
            with suppress(DeletedError):
                if number % 12 == 7:
                    objects.delete(note)
                    written.append(objects.restore(note).id)
                elif number % 5 == 4:
                    written.append(objects.merge(note, f"merge {thread} {number}").id)
                else:
                    written.append(objects.edit(note, f"edit {thread} {number}").id)

    def read() -> None:
        for _ in range(60):
            with suppress(DeletedError):
                assert objects.get(note).content
            conflicts = [one.id for one in objects.conflicts(note)]
            assert len(conflicts) == len(set(conflicts))
            assert note.id in [one.id for one in versions(objects, note.object)]
            list(objects.objects(deleted=None))

    crew = Crew()
    for thread in range(6):
        crew.start(write, thread)
    crew.start(read)
    crew.start(read)
    crew.join()
    history = [one.id for one in versions(objects, note.object)]
    assert set(written) <= set(history)
    assert len(history) == len(set(history)) == len(objects.chain)
    if not list(objects.objects()):
        objects.restore(note)
    final = objects.merge(note, "the end")
    assert (objects.get(note).id, objects.conflicts(note)) == (final.id, [])


def test_in_asyncio(node: Node) -> None:
    """M10: changes by ``async for``, while the loop's own threads edit."""
    objects = Mutable(node.create_chain("async"))

    async def main() -> list[Touched]:
        note = await asyncio.to_thread(objects.create, "0")
        seen: list[Touched] = []
        with objects.follow(name="async") as feed:
            writing = asyncio.gather(*(asyncio.to_thread(objects.edit, note, f"{number}") for number in range(8)))
            async for touched in feed:
                seen.append(touched)
                touched.ack()
                if len(seen) == 9:
                    break
            await writing
        assert {touched.keys for touched in seen} == {(note.object,)}
        return seen

    seen = asyncio.run(asyncio.wait_for(main(), WITHIN_S))
    assert len({id for touched in seen for id in touched.ids}) == 9


def test_a_named_feed_that_is_restarted(tmp_path: Path) -> None:
    """M10: it gives every change once, also such as came late, out of order or while it was away; none is skipped."""
    hub = MemoryHub()
    made: list[BlockId] = []
    with Node.open(tmp_path, network=MemoryNetwork(hub)) as node:
        objects = Mutable(node.create_chain("notes", readers="everyone"), ANYONE)
        note = objects.create("0")
        made.append(note.id)
        with objects.follow(name="inbox") as feed:
            touched = feed.next(WITHIN_S)
            assert touched is not None
            assert touched.keys == (note.object,)
            touched.ack()
            made.append(objects.edit(note, "1").id)
            assert feed.next(WITHIN_S) is not None  # not acknowledged
        writer = Writer(objects.chain)
        late = writer.write(Change(EDITED, "a/b", note.object, (note.id,)), b"late", [note.block])
        later = writer.write(Change(EDITED, "a/b", note.object, (late.id,)), b"later")
        take(objects.chain, [later])  # parked: its parent comes afterwards
        made.append(objects.edit(note, "2").id)
        objects.chain.append(b"malformed", type=EDITED)
        objects.chain.append(b"chat")
    with Node.open(tmp_path, network=MemoryNetwork(hub)) as node:
        objects = Mutable(node.chain("notes"), ANYONE)
        take(objects.chain, [late, later])
        expected = [*made[1:], late.id, later.id]
        with objects.follow(name="inbox") as feed:
            seen: list[BlockId] = []
            while (touched := feed.next(0.2)) is not None:
                assert touched.keys == (note.object,)
                seen += touched.ids
                touched.ack()
        assert seen == expected
        with objects.follow(name="inbox") as feed:
            assert feed.next(0) is None
        assert_sound(objects.chain)


def test_a_feed_with_a_callback(node: Node) -> None:
    """M10: it is called for each change; what it raises is tried again, and nothing is skipped."""
    objects = Mutable(node.create_chain("calls"))
    seen: list[BlockId] = []
    failures = iter([True, False, True])

    def call(touched: Touched) -> None:
        if next(failures, False):
            raise KeyError("a bug of the app")
        seen.extend(touched.ids)

    feed = objects.follow(call, name="calls")
    note = objects.create("0")
    objects.chain.append(b"malformed", type=EDITED)
    made = [note.id, *(objects.edit(note, f"{number}").id for number in range(3))]
    until(lambda: len(seen) == 4)
    assert seen == made
    feed.close()


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_partitions_and_weather(seed: int) -> None:
    """M05, M08, M10: three nodes, lossy channels, a partition: all write the same objects, and all see the same in the end."""
    hub = MemoryHub(Weather(seed, latency_s=0.005, jitter_s=0.01, loss=0.2, reorder=0.2))
    with Node.in_memory(hub) as one, Node.in_memory(hub) as two, Node.in_memory(hub) as three:
        chain = one.create_chain("notes")
        sides = [Mutable(chain, ANYONE), *(Mutable(join(other, chain), ANYONE) for other in (two, three))]
        notes = [sides[0].create(f"{number}").object for number in range(3)]
        until_same(*(side.chain for side in sides))
        hub.split([one.peer_id], [two.peer_id, three.peer_id])
        for number in range(30):
            side, note = sides[number % 3], notes[number % 2]
            try:
                if number % 7 == 6:
                    side.delete(note)
                else:
                    side.edit(note, f"{number}")
            except WalytisError:
                side.restore(note)
        hub.heal()
        until_same(*(side.chain for side in sides), within_s=2 * WITHIN_S)
        for note in notes:
            assert_same(note, *sides)
        for note in notes[:2]:
            assert any(side.conflicts(note) for side in sides)
            if not [found for found in sides[2].objects() if found.object == note]:
                sides[2].restore(note)
            sides[2].merge(note, "peace")
        until_same(*(side.chain for side in sides), within_s=2 * WITHIN_S)
        for side in sides:
            assert [side.get(note).content for note in notes] == [b"peace", b"peace", b"2"]
            assert not any(side.conflicts(note) for note in notes)


def test_hostile_bytes_never_stop_a_view(objects: Mutable) -> None:
    """M07: a thousand blocks of our types with random `ext`: void, all of them, and the objects are as they were."""
    note = objects.create("0")
    writer = Writer(objects.chain)
    blocks = []
    for number in range(1000):
        kind = (CREATED, EDITED, DELETED, RESTORED, "mutability/x")[number % 5]
        place = Place(writer.chain, writer.seq, writer.prev, (), writer.height + 1)
        block = create(writer.signer, place, draft(b"", type=kind, ext={"mutability": os.urandom(number % 60)}), 0)
        writer.prev, writer.seq, writer.height = block.id, writer.seq + 1, block.height
        blocks.append(block)
    take(objects.chain, blocks)
    assert len(objects.chain) == 1001
    assert [found.object for found in objects.objects(deleted=None)] == [note.object]
    found = [one for one in objects.history(note, void=True) if isinstance(one, Version)]
    assert [one.id for one in found] == [note.id]
    assert objects.edit(note, "1").content == b"1"
