"""Which letters on a data chain count, in random histories with thieves: against the rule written out plainly, in any order."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from unittest import mock

import pytest

from identities import chain_rights
from identities.acts import ADDED, CUT, LEFT, NOTED, REMOVED, Act, Device, LaterCut, Removal, SeatId
from identities.dids import did_of
from identities.state import _act_value, tag_of
from tests.suites import letters
from tests.suites.naive_authority import Model
from tests.suites.nested_worlds import Log
from walytis_core.block import Block, Place, create, draft
from walytis_core.cid import BlockId
from walytis_core.policy import Policy, create_genesis
from walytis_core.signer import Ed25519Signer
from walytis_core.standing import OBEYED
from walytis_core.store.memory import MemoryStore
from walytis_core.store.port import Commit
from walytis_core.view import View

MANY = range(1000, 1400)
TELLING = (1589, 1687)
"""Seeds by which to tell: a seat that left twice at once; a head that builds on another author's letter."""
OTHER = b"another chain..."
"""The tag of a chain that these cuts say nothing of."""


class Person(Log):
    """The identity, with the keys of its devices."""

    def __init__(self, seed: int) -> None:
        self.signers = [Ed25519Signer(bytes([n + 1]) * 32) for n in range(6)]
        super().__init__(f"person {seed}", self.device(0))

    def device(self, number: int) -> Device:
        return Device(self.signers[number].key, bytes([number]) * 32, bytes([number]) * 16, bytes([number]) * 16)


class History:
    """A random history: a person's acts, and a data chain with letters by its devices, by thieves and by strangers."""

    def __init__(self, seed: int) -> None:
        self.random = rng = random.Random(f"letters {seed}")
        self.person = Person(seed)
        self.seats: dict[SeatId, int] = {1: 0}
        did = did_of(BlockId(self.person.id))
        self.genesis = create_genesis(self.person.signers[0], Policy(None, did), bytes(16), 0)
        self.tag = tag_of(self.genesis)
        self.blocks: dict[BlockId, Block] = {}
        self.prev: dict[bytes, Block] = {}
        for _ in range(rng.randint(10, 45)):
            rng.choice((self.act, self.letter, self.letter, self.anchor))()

    # --- the person ----------------------------------------------------------------------------------------------------

    def act(self) -> None:
        rng, person = self.random, self.person
        seat = rng.choice(sorted(self.seats, key=repr))
        key = person.signers[self.seats[seat]].key
        seen = rng.choice([person.heads(), tuple(rng.sample(sorted(person.acts), min(1, len(person.acts))))])
        kind = rng.choice((ADDED, ADDED, REMOVED, REMOVED, CUT, LEFT, NOTED))
        body: object = None
        number = 0
        if kind == ADDED:
            body = person.device(number := rng.randrange(6))
        elif kind == REMOVED:
            again = [seat for act in person.acts.values() if act.kind == REMOVED for seat in act.body.seats]
            gone = rng.choice(again if again and rng.random() < 0.5 else sorted(self.seats, key=repr))
            elsewhere = {tag: self.cut() for tag in (self.tag, OTHER) if rng.random() < 0.6}
            body = Removal((gone,), seen, elsewhere)
        elif kind == CUT:
            body = LaterCut(None, {rng.choice((self.tag, self.tag, OTHER)): self.cut()})
        id = person.put(kind, body, (seat,), key, seen)
        if kind == ADDED:
            self.seats[id] = number

    def cut(self) -> tuple[bytes, ...]:
        return tuple(sorted(map(bytes, self.random.sample(sorted(self.blocks), min(4, len(self.blocks))))))

    # --- the chain -------------------------------------------------------------------------------------------------------

    def letter(self) -> None:
        self.put(letters.SAID, b"hello")

    def anchor(self) -> None:
        acts = sorted(self.person.acts)
        heads = self.person.heads() or (self.person.id,)
        if acts and self.random.random() < 0.4:
            heads = (self.random.choice(acts),)
        self.put(letters.ANCHORED, chain_rights.anchor(heads))

    def put(self, type: str, payload: bytes) -> None:
        rng = self.random
        signer = rng.choice(self.person.signers)
        prev = self.prev.get(signer.key)
        named = set(rng.sample(sorted(self.blocks), min(rng.randint(0, 3), len(self.blocks))))
        if prev is not None and rng.random() < 0.8:
            named.add(prev.id)
        start = self.genesis.id if prev is None else prev.id
        parents = tuple(sorted(named - {start}))
        heights = [self.blocks[id].height for id in {start, *parents} if id in self.blocks]
        place = Place(self.genesis.id, 0 if prev is None else prev.seq + 1, start, parents, 1 + max(heights, default=0))
        block = create(signer, place, draft(payload, type=type, ext=chain_rights.named(named)), len(self.blocks))
        self.blocks[block.id] = self.prev[signer.key] = block

    # --- by the rule -----------------------------------------------------------------------------------------------------

    def void(self) -> set[BlockId]:
        """The letters that do not count."""
        anchors = [block for block in self.blocks.values() if letters.is_anchor(block)]
        model = Model(self.person.genesis, self.acts_of(anchors))
        return {
            id for id, block in self.blocks.items() if not letters.is_anchor(block) and not self.counts(model, block)
        }

    def acts_of(self, anchors: Iterable[Block]) -> list[Act]:
        heads = (head for block in anchors for head in chain_rights.read_anchor(block.body)[0])  # type: ignore[arg-type]
        return [self.person.acts[id] for id in self.person.past(heads)]

    def past(self, ids: Iterable[BlockId], author: bytes | None = None) -> set[BlockId]:
        """Blocks and what they build on; of one author alone, by way of its own blocks."""
        found, todo = set[BlockId](), list(ids)
        while todo:
            id = todo.pop()
            if id not in found and id in self.blocks and author in (None, self.blocks[id].author):
                found.add(id)
                todo.extend(chain_rights.builds_on(self.blocks[id]))
        return found

    def counts(self, model: Model, block: Block) -> bool:
        before = [self.blocks[id] for id in self.past([block.id])]
        anchors = [one for one in before if letters.is_anchor(one)]
        known = {act.id for act in self.acts_of(anchors)}
        seats: list[SeatId] = [1, *(act.id for act in model.of([ADDED]))]
        return bool(anchors) and any(self.has_right(model, seat, block, known) for seat in seats if model.exists(seat))

    def has_right(self, model: Model, seat: SeatId, block: Block, known: set[bytes]) -> bool:
        holder, removals = model.holder(seat), model.removals(seat)
        is_theirs = isinstance(holder, Device) and holder.block_key == block.author
        is_known = isinstance(seat, int) or seat in known
        is_over = any(act.id in known for act in (*removals, *model.endings(seat)))
        cuts = [heads for removal in removals for heads in self.cuts(model, removal)]
        return (
            is_theirs
            and is_known
            and not is_over
            and all(block.id in self.past(map(BlockId, heads), block.author) for heads in cuts)
        )

    def cuts(self, model: Model, removal: Act) -> Iterator[tuple[bytes, ...]]:
        if self.tag in removal.body.elsewhere:
            yield removal.body.elsewhere[self.tag]
            return
        for later in model.of([CUT]):
            if self.tag in later.body.elsewhere and model.counts(later.id) and removal.id in model.past(later.id):
                yield later.body.elsewhere[self.tag]

    # --- by the layer ----------------------------------------------------------------------------------------------------

    def view(self, order: Iterable[Block]) -> View:
        """The layer, on blocks that came in this order; the person's acts are at hand, and genuine."""

        def absorb(
            state: dict[str, dict[str, object]], chain: BlockId, heads: Iterable[BlockId], _past: object
        ) -> None:
            acts = {id.hex(): _act_value(self.person.acts[id]) for id in self.person.past(heads)}
            state["acts"].setdefault(chain.hex(), {}).update(acts)  # type: ignore[attr-defined]
            genesis = self.person.genesis
            holders = [["r", genesis.holders[0].block_key], ["d", *genesis.holders[1]]]  # type: ignore[union-attr]
            state["genesis"][chain.hex()] = [holders, genesis.sign_id, genesis.seal_id, genesis.tag]

        chain = MemoryStore().create_chain(self.genesis, "letters")
        view = View(letters.LETTERS, chain)
        with (
            mock.patch.object(chain_rights, "absorb", absorb),
            mock.patch.object(chain_rights, "check_news", return_value=OBEYED),
        ):
            for block in order:
                chain.commit(Commit(blocks=[block]))
                view.arrived([block])
        return view

    def orders(self) -> Iterator[list[Block]]:
        """All blocks, parents first, as they were written and otherwise."""
        yield list(self.blocks.values())
        for _ in range(2):
            left, order = dict(self.blocks), list[Block]()
            while left:
                ready = [one for one in left.values() if not any(id in left for id in one.ancestors_named)]
                order.append(left.pop(self.random.choice(ready).id))
            yield order


def judged(seed: int) -> tuple[int, int]:
    history = History(seed)
    expected = history.void()
    states = []
    for order in history.orders():
        view = history.view(order)
        counted, state = view.value if order else [], view.state
        said = {id for id, block in history.blocks.items() if not letters.is_anchor(block)}
        assert set(counted) == said - expected
        assert {id for id in said if view.standing(id) != OBEYED} == expected
        states.append(state)
    assert all(state == states[0] for state in states)
    return len(expected), len(history.blocks)


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 40])
def test_letters(first: int) -> None:
    """I34: what is written on a data chain without a right is void, whatever came first; what was written with one is not."""
    for seed in range(first, first + 40):
        judged(seed)


@pytest.mark.parametrize("seed", TELLING)
def test_letters_that_tell(seed: int) -> None:
    """I34: as above, where rules differ that seldom do."""
    judged(seed)


@pytest.mark.slow
def test_many_letters() -> None:
    """I34: as above."""
    void, all = (sum(column) for column in zip(*(judged(seed) for seed in MANY), strict=True))
    assert all / 10 < void < all * 2 / 3
