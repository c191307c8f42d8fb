"""Objects on real chains: whatever arrives in whatever order, from whomever, they are what the plain model says.

Each seed is a schedule: concurrent versions by authors who do not know all, late ones, forks, hostile ones; it arrives at three
nodes in three orders and batchings, their views are reopened in between, with and without having been saved.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from mutability import ANYONE, AUTHOR, CREATED, DELETED, Change, Hole, Mutable, Rule, Version
from mutability.state import key_of
from tests.suites.folding import small_limits
from tests.suites.making import FOUNDER
from tests.suites.naive_objects import OBEYED, ROLE, VOID, WAITS, Judge, Model, ObjectDag, anyone, author_only, editors
from walytis_core import Block, BlockId, Chain, Ed25519Signer, Node, NotFoundError, Obeyed, Past, Standing, Void, Wait
from walytis_core.block import Place, create, decode, draft
from walytis_core.car import write_header, write_section
from walytis_core.errors import DeletedError
from walytis_core.events import Came
from walytis_core.messages import Why
from walytis_core.policy import EVERYONE, Policy, create_genesis
from walytis_core.screening import screen

QUICK = range(15)
MANY = range(1000, 1500)
REGRESSIONS: tuple[int, ...] = ()
"""Seeds that once failed. Always run."""
SIZE = 45


def editors_rule(chain: BlockId, head: BlockId) -> Rule:
    """What `editors` says; it waits for a block of another chain."""

    def judge(change: Change, author: bytes, past: Past) -> Standing:
        if change.kind == CREATED or any(block.payload == author for block in past.blocks(ROLE)):
            return Obeyed()
        if change.kind == DELETED:
            return Wait(chain, (head,)) if past.of(chain, (head,)) is None else Obeyed()
        return Void("no editor")

    return Rule("editors/1", judge)


class Stage(NamedTuple):
    """Three nodes that hear nothing of each other but what a test hands them, and a chain that is elsewhere."""

    nodes: Sequence[Node]
    folder: Path

    def chains(self, name: str) -> list[Chain]:
        """A new chain, at each node; a function of its name."""
        nonce = hashlib.sha256(name.encode()).digest()[:16]
        genesis = create_genesis(FOUNDER, Policy(None, EVERYONE), nonce, 0)
        file = self.folder / f"{name}.car"
        file.write_bytes(write_header([genesis.id]) + write_section(genesis.id, genesis.encoded))
        return [node.import_chain(file, name=name) for node in self.nodes]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Node.in_memory() as one, Node.in_memory() as two, Node.in_memory() as three:
        stage = Stage((one, two, three), tmp_path_factory.mktemp("chains"))
        stage.chains("elsewhere")
        yield stage


def genesis_of(chain: Chain) -> Block:
    """The first block of a chain."""
    row = chain.tables.scan(0, 1, 1 << 20)[0]
    return decode(row.encoded, row.id)


def take(chain: Chain, blocks: Sequence[Block]) -> None:
    """Blocks come from a peer."""
    screened = screen([block.encoded for block in blocks], chain.engine.known)
    chain.engine.handle(Came("peer", Why.PULLED, screened))


def reopen(chain: Chain, *, saved: bool) -> None:
    """As after a crash, or after closing: views are made from what is stored."""
    with chain.engine.exclusive():
        if saved:
            chain.judging.save()
        chain.judging._open()


def model_of(chain: Chain, judge: Judge, *, is_resolved: bool) -> Model:
    """What the plain model says of what a node holds now."""
    rows = chain.tables.scan(0, 1 << 30, 1 << 40)
    blocks = {row.id: decode(row.encoded, row.id) for row in rows}
    return Model(blocks, [block.id for block in chain.blocks()], judge, is_resolved=is_resolved)


def name_of(standing: Standing) -> str:
    return OBEYED if standing == Obeyed() else VOID if isinstance(standing, Void) else WAITS


def ids_of(history: Iterator[Version | Hole]) -> list[BlockId]:
    versions = [one for one in history if isinstance(one, Version)]
    return [one.id for one in versions]


def check(objects: Mutable, model: Model) -> None:
    """Whatever can be read of the objects is as the model says."""
    chain, settled = objects.chain, model.resolved()
    for id in [*model.said, *model.malformed]:
        standing, expected = name_of(chain.standing(id)), model.standing(id)
        is_said_early = (standing, expected) == (VOID, WAITS) and settled.standing(id) == VOID
        assert standing == expected or is_said_early, model.blocks[id]
    check_listing(objects, model)
    for id in model.objects():
        check_one(objects, model, id)
    for id in set(model.blocks) - model.objects():
        with suppress(NotFoundError):  # a version's id stands for its object
            assert objects.heads(id)[0] == key_of(model.blocks[id])
            assert key_of(model.blocks[id]) in model.objects()


def check_listing(objects: Mutable, model: Model) -> None:
    """Each object once, in the order in which they came, in pages that any object begins."""
    came = [block.id for block in objects.chain.blocks() if block.id in model.objects()]
    listed = list(objects.objects(deleted=None))
    assert [one.object for one in listed] == came
    assert [one.id for one in listed] == [model.heads(id)[0] for id in came]
    gone = [id for id in came if model.is_deleted(id)]
    assert [one.object for one in objects.objects(deleted=True)] == gone
    assert [one.object for one in objects.objects()] == [id for id in came if id not in gone]
    tagged = [id for id in came if "a" in model.blocks[id].topics]
    assert [one.object for one in objects.objects(deleted=None, topic="a")] == tagged
    for at, id in enumerate(came):
        assert [one.object for one in objects.objects(deleted=None, since=id)] == came[at + 1 :]
        author = model.blocks[id].author
        same = [one for one in came if model.blocks[one].author == author]
        assert [one.object for one in objects.objects(deleted=None, author=author)] == same


def check_one(objects: Mutable, model: Model, id: BlockId) -> None:
    """One object."""
    head, *others = model.heads(id)
    if model.is_deleted(id):
        with pytest.raises(DeletedError):
            objects.get(id)
    else:
        assert objects.get(id).id == head
    assert [one.id for one in objects.conflicts(id)] == others
    assert ids_of(objects.history(id)) == model.history(id)
    under = list(objects.history(id, void=True))
    assert ids_of(iter(under)) == [block.id for block in model.under(id)]
    for version in under:
        assert isinstance(version, Version)
        assert version.standing == objects.chain.standing(version.id)
        assert objects.version(id, version.id) == version
        if version.standing == Obeyed():
            content = model.content(version.id)
            assert (version.content if version.source is not None else None) == content


class Schedule:
    """What a seed stands for."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.random = random.Random(f"objects {seed}")
        self.chains = stage.chains(f"objects {seed}")
        self.elsewhere = [node.chain("elsewhere") for node in stage.nodes]
        first = self.elsewhere[0].id
        author = Ed25519Signer(hashlib.sha256(b"%d" % seed).digest())
        self.heard = create(author, Place(first, 0, first, (), 1), draft(b"heard"), 0)
        waiting = editors_rule(self.heard.chain_id, self.heard.id)
        choices: list[tuple[Rule, Judge]] = [(AUTHOR, author_only), (ANYONE, anyone), (waiting, editors)]
        self.rule, self.judge = self.random.choice(choices)
        self.objects = [Mutable(chain, self.rule) for chain in self.chains]
        forks = self.random.choice((0.0, 0.0, 0.1, 0.3))
        authors, apart = self.random.randint(1, 5), self.random.choice((0.0, 0.5, 0.9, 1.0))
        self.dag = ObjectDag(seed, genesis_of(self.chains[0]), authors, apart)
        for number in range(SIZE):
            self.dag.write("role" if number < 2 else None, fork=self.random.random() < forks)

    def play(self, number: int) -> None:
        """All of it arrives at one node."""
        rng, chain, objects = self.random, self.chains[number], self.objects[number]
        blocks = [block for block in self.dag.blocks.values() if block is not self.dag.genesis]
        if number:
            rng.shuffle(blocks)
        hears_at = rng.randrange(len(blocks))
        is_resolved = False
        while blocks:
            count = rng.choice((1, 1, 2, 3, 8, 30))
            take(chain, blocks[:count])
            del blocks[:count]
            if rng.random() < 0.2:
                reopen(chain, saved=rng.random() < 0.5)
            if len(blocks) <= hears_at and not is_resolved:
                self.hear(number)
                is_resolved = True
            if rng.random() < 0.3:
                check(objects, model_of(chain, self.judge, is_resolved=is_resolved))
        self.hear(number)

    def hear(self, number: int) -> None:
        """The other chain takes what is waited for; the node says so in its loop, and here it is said at once."""
        take(self.elsewhere[number], [self.heard])
        self.chains[number].judging.resolved(self.heard.chain_id)


def play(stage: Stage, seed: int) -> None:
    """Plays a seed, and compares the ends: with the model, and with each other."""
    with small_limits():
        schedule = Schedule(stage, seed)
        for number in range(len(stage.nodes)):
            schedule.play(number)
        model = Model(schedule.dag.blocks, schedule.dag.folded() - {schedule.dag.genesis.id}, schedule.judge)
        for objects in schedule.objects:
            assert {block.id for block in objects.chain.blocks()} == schedule.dag.folded() - {schedule.dag.genesis.id}
            check(objects, model)
            reopen(objects.chain, saved=False)
            check(objects, model)
        states = [{id: objects._view.state_of(id) for id in model.objects()} for objects in schedule.objects]
        assert states[0] == states[1] == states[2]
    for node in stage.nodes:
        node.delete_chain(f"objects {seed}")


@pytest.mark.parametrize("seed", [*QUICK, *REGRESSIONS])
def test_any_arrival_ends_in_what_the_model_says(stage, seed):
    """M05, M06, M07, M10: random concurrent schedules with late arrival, forks and hostile versions, at three nodes."""
    play(stage, seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", MANY[::50])
def test_five_hundred_more(stage, first):
    """M05, M06, M07, M10: as above; fifty seeds each."""
    for seed in range(first, first + 50):
        play(stage, seed)


def test_the_schedules_have_it_all():
    """The model itself: each standing, conflicts, deletions and restorations come up, under each rule."""
    rules: tuple[Callable[..., str], ...] = (author_only, anyone, editors)
    for judge in rules:
        seen = set()
        for seed in range(15):
            dag = ObjectDag(seed)
            for number in range(SIZE):
                dag.write("role" if number < 2 else None, fork=dag.random.random() < 0.1)
            model = Model(dag.blocks, dag.folded() - {dag.genesis.id}, judge, is_resolved=False)
            seen |= {(model.blocks[id].type, model.standing(id)) for id in model.said}
            seen |= {("heads", str(min(len(model.heads(id)), 3))) for id in model.objects()}
            seen |= {("malformed", VOID) for _ in model.malformed}
        assert {(f"mutability/{kind}", OBEYED) for kind in ("created", "edited", "restored")} <= seen
        assert {("heads", "1"), ("heads", "2"), ("heads", "3"), ("malformed", VOID)} <= seen
        assert (DELETED, WAITS) in seen or judge is not editors
