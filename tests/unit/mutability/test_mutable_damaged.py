"""Objects some of whose blocks are damaged on the disk here: what can be done is done, and healing mends it all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mutability import AUTHOR, EDITED, Change, Hole, Mutable, Version
from mutability.payloads import encode
from walytis_core import (
    Block,
    BlockId,
    MemoryHub,
    MemoryNetwork,
    Node,
    UnavailableError,
)
from walytis_core.events import Revised


def ids(objects: Mutable, object: Version | BlockId, *, void: bool = False) -> list[BlockId]:
    return [one.id for one in objects.history(object, void=void)]


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


def spoil(objects: Mutable, *blocks: Block) -> None:
    """Loses the bytes of blocks on the disk."""
    with objects.chain.tables._database.write() as connection:  # type: ignore[attr-defined]
        for block in blocks:
            connection.execute("UPDATE blocks SET encoded = x'00' WHERE id = ?", (block.id[4:],))


def heal(objects: Mutable, block: Block) -> None:
    """Gets them back from a peer."""
    objects.chain.tables.heal(block.id, block.encoded)
    objects.chain.engine._notify(Revised((block.id,)))


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("which", ["created", "edited", "restored", "current", "conflict", "all"])
def test_a_history_with_a_hole(tmp_path: Path, which: str, restart: bool):
    """M07, M10: each thing works or says that it cannot now; when the block is back, all is as before."""
    hub = MemoryHub()
    node = Node.open(tmp_path, network=MemoryNetwork(hub))
    try:
        objects = Mutable(node.create_chain("notes", readers="everyone"), AUTHOR)
        note, other = objects.create("1"), objects.create("other")
        edited = objects.edit(note, "2")
        restored = objects.restore(note, note.id)
        conflict = objects.chain.append(
            b"beside", type=EDITED, ext=encode(Change(EDITED, "a/b", note.object, (edited.id,))), parents=[edited.id]
        )
        current = objects.edit(note, "3")
        named = {
            "created": [note.block], "edited": [edited.block], "restored": [restored.block], "current": [current.block],
            "conflict": [conflict], "all": [note.block, edited.block, restored.block, current.block, conflict],
        }  # fmt: skip
        before = ids(objects, note), [one.id for one in objects.conflicts(note)]
        if restart:
            node.close()
            node = Node.open(tmp_path, network=MemoryNetwork(hub))
            objects = Mutable(node.chain("notes"), AUTHOR)
        spoil(objects, *named[which])
        if not restart:
            objects.chain.judging.save()
            objects.chain.judging._open()
        history = list(objects.history(note))
        assert [one.id for one in history] == before[0]
        assert {one.id for one in history if isinstance(one, Hole)} >= {one.id for one in named[which]}
        listed = [one.object for one in objects.objects()]
        assert other.object in listed
        assert listed == list(dict.fromkeys(listed))
        for name, act in everything(objects, note):
            if name not in WRITES:
                _works_or_not_now(act)
        for block in named[which]:
            heal(objects, block)
        assert (ids(objects, note), [one.id for one in objects.conflicts(note)]) == before
        assert not any(isinstance(one, Hole) for one in objects.history(note))
        assert [one.object for one in objects.objects()] == [note.object, other.object]
        assert objects.merge(note, "merged").content == b"merged"
    finally:
        node.close()


@pytest.mark.parametrize("which", ["created", "edited", "current", "conflict"])
@pytest.mark.parametrize("name", ["edit", "merge", "delete", "drop", "restore"])
def test_writing_upon_a_hole(tmp_path: Path, which: str, name: str):
    """M07: what builds on a block that is damaged here is written, or refused for now, and later nothing is wrong."""
    with Node.open(tmp_path, network=MemoryNetwork(MemoryHub())) as node:
        objects = Mutable(node.create_chain("notes", readers="everyone"), AUTHOR)
        note = objects.create("1", droppable=True)
        edited = objects.edit(note, "2")
        conflict = objects.chain.append(
            b"beside", type=EDITED, ext=encode(Change(EDITED, "a/b", note.object, (edited.id,))), parents=[edited.id]
        )
        current = objects.edit(note, "3")
        objects.chain.append(b"chat")
    with Node.open(tmp_path, network=MemoryNetwork(MemoryHub())) as node:
        objects = Mutable(node.chain("notes"), AUTHOR)
        lost = {"created": note.block, "edited": edited.block, "current": current.block, "conflict": conflict}[which]
        spoil(objects, lost)
        written = _works_or_not_now(dict(everything(objects, note))[name])
        assert objects.create("goes on").content == b"goes on"
        heal(objects, lost)
        standings = {type(objects.chain.standing(one.id)).__name__ for one in objects.history(note, void=True)}
        assert standings == {"Obeyed"}
        assert [one.id for one in objects.history(note, void=True)] == ids(objects, note)
        if isinstance(written, Version):
            assert written.id in ids(objects, note)


def _works_or_not_now(act: Callable[[], object]) -> object:
    with suppress(UnavailableError):
        return act()
    return None


def test_dropping_what_is_damaged_here():
    """M09: the record never says that contents were dropped which come back when their block is healed."""
    with Node.in_memory() as node:
        objects = Mutable(node.create_chain("notes", readers="everyone"), AUTHOR)
        note = objects.create("1", droppable=True)
        edited = objects.edit(note, "2")
        objects.edit(note, "3")
        spoil(objects, edited.block)
        _works_or_not_now(lambda: objects.delete(note, drop=True))
        heal(objects, edited.block)
        said = any(isinstance(one, Version) and one.change.detail is True for one in objects.history(note))
        assert not (said and objects.chain.has_content(edited.block))
