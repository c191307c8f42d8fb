"""The fold of one object: which versions nothing replaces, and which of them is the current one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast

import pytest

from mutability.payloads import CREATED, DELETED, EDITED, RESTORED, Change, encode
from mutability.state import ANYONE, AUTHOR, State, heads_of, key_of, layer_of, step
from tests.suites.dags import Dag
from tests.suites.making import ALICE, GENESIS_ID, PREV_ID, some_id
from tests.suites.naive_objects import Model, ObjectDag, anyone
from walytis_core import cbor
from walytis_core.block import Block, Content, Place, create, draft
from walytis_core.cid import RAW_PREFIX, BlockId, Cid
from walytis_core.dag import canonical
from walytis_core.layer import Layer
from walytis_core.past import Past
from walytis_core.standing import Obeyed, Standing, Void
from walytis_core.store.memory import MemoryChain, MemoryStore
from walytis_core.store.port import Commit
from walytis_core.view import View


def version(change: Change, height: int = 5, body: bytes | Content = b"") -> Block:
    place = Place(GENESIS_ID, 1, PREV_ID, (), height)
    return create(ALICE, place, draft(body, type=change.kind, ext=encode(change)), 0)


def fold(blocks: Sequence[Block]) -> State:
    """The state, with each stage as it is read back from the disk."""
    state: State = {}
    for block in blocks:
        state = cast(State, cbor.unpack(cbor.encode(step(state, block))))
    return state


def test_a_version_replaces_what_it_names():
    """M05: heads are what nothing replaces; the greatest by height and id comes first."""
    made = version(Change(CREATED, "a/b"), 1)
    edits = [version(Change(EDITED, f"a/{name}", made.id, (made.id,)), 2) for name in "xyz"]
    assert [head.id for head in heads_of(fold([made]))] == [made.id]
    state = fold([made, *sorted(edits, key=lambda one: one.id)])
    assert [head.id for head in heads_of(state)] == sorted((one.id for one in edits), reverse=True)
    merged = version(Change(EDITED, "a/b", made.id, tuple(sorted([edits[0].id, edits[1].id]))), 3)
    state = fold([made, *edits, merged])
    assert [(head.id, head.height) for head in heads_of(state)] == [(merged.id, 3), (edits[2].id, 2)]


def test_a_deletion_is_a_head_that_deletes():
    """M03: until something replaces it."""
    made = version(Change(CREATED, "a/b"), 1)
    gone = version(Change(DELETED, False, made.id, (made.id,)), 2)
    back = version(Change(RESTORED, made.id, made.id, (gone.id,)), 3)
    assert [head.is_deleted for head in heads_of(fold([made]))] == [False]
    assert [(head.id, head.is_deleted) for head in heads_of(fold([made, gone]))] == [(gone.id, True)]
    assert [(head.id, head.is_deleted) for head in heads_of(fold([made, gone, back]))] == [(back.id, False)]


def test_what_a_head_tells_of_its_version():
    """M02: what an edit needs to know of it, so that it need not be read."""
    long = Content(Cid.of(b"long", RAW_PREFIX), 50_000)
    made = version(Change(CREATED, "text/plain"), 1)
    edit = version(Change(EDITED, "a/b", made.id, (made.id,)), 2, long)
    gone = version(Change(DELETED, True, made.id, (edit.id,)), 3)
    back = version(Change(RESTORED, edit.id, made.id, (gone.id,)), 4)
    told = []
    for count in range(1, 5):
        (head,) = heads_of(fold([made, edit, gone, back][:count]))
        told.append((head.is_deleted, head.media_type, head.is_droppable))
    assert told == [(False, "text/plain", False), (False, "a/b", True), (True, "", True), (False, "", True)]


def test_what_is_restored_is_not_replaced():
    """M03: a restoration replaces the versions that it names for that alone."""
    made = version(Change(CREATED, "a/b"), 1)
    edits = [version(Change(EDITED, f"a/{name}", made.id, (made.id,)), 2) for name in "xy"]
    back = version(Change(RESTORED, edits[1].id, made.id, (edits[0].id,)), 3)
    assert {head.id for head in heads_of(fold([made, *edits, back]))} == {back.id, edits[1].id}


def test_the_height_goes_before_the_id():
    """M05: the current version is the last in canonical order."""
    made = version(Change(CREATED, "a/b"), 1)
    low, high = sorted(
        (version(Change(EDITED, f"a/{number}", made.id, (made.id,)), 9) for number in range(2)), key=lambda one: one.id
    )
    lower = version(Change(EDITED, "a/b", made.id, (made.id,)), 8)
    assert [head.id for head in heads_of(fold([made, lower, low, high]))] == [high.id, low.id, lower.id]
    assert heads_of({}) == []


def test_which_object_a_block_touches():
    """M07: the one it names, its own where it makes one, none where it says nothing properly."""
    made, object = version(Change(CREATED, "a/b")), some_id(1)
    assert key_of(made) == made.id
    assert key_of(version(Change(EDITED, "a/b", object, (some_id(2),)))) == object
    assert type(key_of(made)) is bytes
    place = Place(GENESIS_ID, 1, PREV_ID, (), 5)
    for type_, ext in (
        (CREATED, b""),
        (EDITED, b"\xff"),
        ("mutability/moved", encode(Change(CREATED, "a/b"))["mutability"]),
    ):
        assert key_of(create(ALICE, place, draft(b"", type=type_, ext={"mutability": ext}), 0)) is None


def test_rules_have_views_of_their_own():
    """M06: under another rule, all is judged anew."""
    assert layer_of(AUTHOR).version != layer_of(ANYONE).version
    assert layer_of(ANYONE).version == layer_of(ANYONE).version


def stored(dag: Dag) -> MemoryChain:
    return MemoryStore().create_chain(dag.genesis, "objects")


@pytest.mark.parametrize("seed", range(20))
def test_any_order_gives_the_same(seed):
    """M05, M10: late blocks, in any batches: the state is the fold in canonical order."""
    dag = ObjectDag(seed, authors=4, apart=0.9)
    for _ in range(60):
        dag.write()
    blocks = [block for block in dag.blocks.values() if block is not dag.genesis]
    model = Model(dag.blocks, [block.id for block in blocks], anyone)
    states = []
    for order in range(3):
        store, left = stored(dag), list(blocks)
        view, rng = View(layer_of(ANYONE), store), random.Random(order)
        taken = {dag.genesis.id}
        while left:
            ready = [one for one in left if taken.issuperset(one.ancestors_named)]
            batch = canonical(rng.sample(ready, rng.randint(1, len(ready))))
            store.commit(Commit(blocks=batch))
            view.arrived(batch)
            taken |= {one.id for one in batch}
            left = [one for one in left if one.id not in taken]
        states.append({id: view.state_of(id) for id in model.objects()})
        for id in model.objects():
            assert [head.id for head in heads_of(view.state_of(id))] == model.heads(id)
            assert view.state_of(id) == fold([dag.blocks[one] for one in model.history(id)])
    assert states[0] == states[1] == states[2]


class Line:
    """A long history, with a view that counts its steps."""

    def __init__(self, objects: int, versions: int) -> None:
        self.steps = self.checks = 0
        plain = layer_of(ANYONE)

        def counted(state: Any, block: Block) -> Any:
            self.steps += 1
            return step(state, block)

        def checked(block: Block, past: Past) -> Standing:
            self.checks += 1
            return plain.check(block, past)

        self.layer = Layer(
            plain.prefix,
            checked,
            counted,
            plain.finish,
            key=plain.key,
            initial=plain.initial,
            version=plain.version,
            long_content=True,
            commutes=plain.commutes,
        )
        self.dag = Dag(0)
        self.newest = self.dag.genesis
        self.last: dict[int, Block] = {}
        self.blocks = [self.write(number % objects) for number in range(versions)]

    def write(self, object: int) -> Block:
        before = self.newest
        last = self.last.get(object)
        id = None if last is None else key_of(last)
        change = (
            Change(CREATED, "a/b") if last is None or id is None
            else Change(EDITED, "a/b", BlockId(id), (last.id,))
        )  # fmt: skip
        signer = self.dag.signers[0]
        named = tuple({*change.named} - {before.id})
        own = before.author == signer.key and before is not self.dag.genesis
        place = Place(self.dag.genesis.id, before.seq + 1 if own else 1, before.id, named, before.height + 1)
        self.newest = create(signer, place, draft(b"", type=change.kind, ext=encode(change)), 0)
        self.last[object] = self.newest
        return self.newest

    def late(self, under: Block) -> Block:
        """An edit by another author who has seen next to nothing."""
        id = key_of(under)
        assert id is not None
        change = Change(EDITED, "a/late", BlockId(id), (under.id,))
        genesis = self.dag.genesis.id
        place = Place(genesis, 0, genesis, (under.id,), under.height + 1)
        return create(self.dag.signers[1], place, draft(b"", type=EDITED, ext=encode(change)), 0)


def run_long(objects: int, versions: int) -> None:
    line = Line(objects, versions)
    store = stored(line.dag)
    view = View(line.layer, store)
    for start in range(0, versions, 500):
        store.commit(Commit(blocks=line.blocks[start : start + 500]))
        view.arrived(line.blocks[start : start + 500])
    assert (line.steps, line.checks) == (versions, versions)
    view.save()
    view = View(line.layer, store)
    view.arrived()
    first = line.blocks[0]
    for _ in range(100):
        (head,) = heads_of(view.state_of(bytes(first.id)))
        assert head.id == line.last[0].id
    assert (line.steps, line.checks) == (versions, versions), "reading folds nothing again"
    late = line.late(first)
    store.commit(Commit(blocks=[late]))
    view.arrived([late])
    assert line.checks == versions + 1
    assert line.steps == versions + 1, "nothing is folded again"
    heads = heads_of(view.state_of(bytes(first.id)))
    assert {one.id for one in heads} == {line.last[0].id, late.id}
    assert view.standing(late.id) == Obeyed()
    if objects > 1:
        (head,) = heads_of(view.state_of(bytes(line.blocks[1].id)))
        assert head.id == line.last[1].id


@pytest.mark.slow
@pytest.mark.parametrize("objects", [1, 1000])
def test_four_thousand_versions(objects):
    """M10: reading the current version folds nothing; a late block costs one step."""
    run_long(objects, 4000)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("objects", [1, 50_000])
def test_a_hundred_thousand_versions(objects):
    """M10: the same with 100 000."""
    run_long(objects, 100_000)


def test_void_blocks_are_no_part_of_the_state():
    """M07: nor is it changed by them."""
    line = Line(1, 3)
    store = stored(line.dag)
    view = View(line.layer, store)
    change = Change(EDITED, "a/b", BlockId(line.blocks[0].id), (some_id(5),))
    place = Place(line.dag.genesis.id, 0, line.dag.genesis.id, (line.blocks[0].id,), 2)
    bad = create(line.dag.signers[1], place, draft(b"", type=EDITED, ext=encode(change)), 0)
    store.commit(Commit(blocks=[*line.blocks, bad]))
    view.arrived()
    assert isinstance(view.standing(bad.id), Void)
    (head,) = heads_of(view.state_of(bytes(line.blocks[0].id)))
    assert head.id == line.blocks[-1].id
