"""The layer's state: what it takes in of other identities, as data, and in whatever order; limits of anchors."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from identities import checking
from identities.acts import (
    ADDED,
    ANCHORED,
    CUT,
    GRANTED,
    NOTED,
    RECOVERED,
    REKEYED,
    REMOVED,
    RENEWED,
    Act,
    Anchor,
    Council,
    LaterCut,
    Nested,
    Removal,
    Renewal,
)
from identities.identity import Identity
from identities.payloads import PREFIX, decode
from identities.state import LAYER, _act_from, _act_value, tag_of
from identities.suites import ED25519
from tests.suites.identity_makers import Forger
from tests.suites.identity_nodes import Town, town
from tests.suites.nested_worlds import device, some_id
from tests.suites.nodes import until
from walytis_core import BlockId, Obeyed, Void, Wait, cbor
from walytis_core.block import Block
from walytis_core.block import decode as decode_block
from walytis_core.store.memory import MemoryStore
from walytis_core.store.port import ChainStore, Commit
from walytis_core.view import View


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (ADDED, device("one")),
        (ADDED, Nested(some_id("two"))),
        (ADDED, Council(2, 3)),
        (REKEYED, device("three")),
        (REMOVED, Removal((1, some_id("seat")), (some_id("cut"),), {b"t" * 16: (some_id("head"),), b"u" * 16: ()})),
        (CUT, LaterCut(some_id("removal"), {b"t" * 16: ()})),
        (CUT, LaterCut(None, {b"t" * 16: (some_id("head"),)})),
        (
            RENEWED,
            Renewal(3, some_id("before"), b"s" * 16, b"x" * 16, {1: b"k" * 16, some_id("seat"): b"l" * 16}, b"f" * 16),
        ),
        (ANCHORED, Anchor(1, (some_id("head"), some_id("other")))),
        (RECOVERED, (b"h" * 32, b"\xed\x01" + b"b" * 32)),
        (GRANTED, (some_id("seat"), b"c" * 36)),
        (NOTED, None),
    ],
)
def test_acts_as_data(kind: str, body: Any) -> None:
    """I29: an act is the same after it was written down and read."""
    act = Act(some_id("id"), 7, b"\xed\x01" + bytes(32), kind, (1, some_id("seat")), (some_id("seen"),), body)
    data = cbor.encode(_act_value(act))
    assert _act_from(act.id, cbor.decode(data, max_bytes=1 << 16, max_depth=8)) == act  # type: ignore[arg-type]


class Copy:
    """The blocks of chains, taken in anew in any order, as a node would that hears of them so.

    Args:
        outer: The chain that is folded.
        inner: The chains that it needs.
    """

    def __init__(self, outer: Identity, *inner: Identity) -> None:
        self.store = MemoryStore()
        self.chains: dict[BlockId, ChainStore] = {}
        for one in (outer, *inner):
            self.chains[one.chain.id] = self.store.create_chain(decode_block(one.chain.genesis), one.name)
        self.view = View(LAYER, self.chains[outer.chain.id], self.chains.get)
        self.outer = outer.chain.id
        self.blocks = {
            one.chain.id: [decode_block(block.encoded) for block in one.chain.linear()] for one in (outer, *inner)
        }

    def take(self, chain: BlockId, block: Block) -> None:
        self.chains[chain].commit(Commit(blocks=[block]))
        if chain == self.outer:
            self.view.arrived([block])
        else:
            self.view.resolved(chain)

    def all(self, source: random.Random) -> None:
        """Takes in everything, each block when its parents are there, the chains at random."""
        left = [(chain, block) for chain, blocks in self.blocks.items() for block in blocks]
        held = set(self.chains)
        while left:
            ready = [one for one in left if held.issuperset(one[1].ancestors_named)]
            chain, block = source.choice(ready)
            left.remove((chain, block))
            held.add(block.id)
            self.take(chain, block)


def made(here: Town) -> tuple[Identity, Identity, Identity]:
    """A person, a group, and a group of groups, on one node."""
    identities = here.house("laptop").identities
    person = identities.create("person", suite=ED25519)[0]
    group = identities.create("group", controller=person, suite=ED25519)[0]
    outer = identities.create("outer", controller=group, suite=ED25519)[0]
    person.renew()
    outer.note("app", b"one")
    until(lambda: person.folded.epochs.newest.id in group.folded.nested(bytes(person.chain.id)).pasts.place)  # type: ignore[union-attr]
    until(lambda: group.folded.pasts.acts[-1].id in outer.folded.nested(bytes(group.chain.id)).pasts.place)  # type: ignore[union-attr]
    return person, group, outer


def test_any_order_of_three_chains(here: Town) -> None:
    """I34: the verdict on every block is the same on every node, whatever arrived first, on whichever chain."""
    person, group, outer = made(here)
    states = []
    for seed in range(6):
        copy = Copy(outer, group, person)
        copy.all(random.Random(seed))
        standings = {block.id: copy.view.standing(block.id) for block in copy.blocks[outer.chain.id]}
        assert all(isinstance(one, Obeyed) for one in standings.values())
        states.append(copy.view.state)
        assert copy.view.value.authority.void == outer.folded.authority.void
    assert all(state == states[0] for state in states)
    assert states[0]["chain"] == bytes(outer.chain.id)


def test_a_block_waits_alone(here: Town) -> None:
    """I34: while the chain that is anchored is not held, the anchor and what builds on it wait; the chain goes on."""
    person, group, _ = made(here)
    copy = Copy(group, person)
    for block in copy.blocks[group.chain.id]:
        copy.take(group.chain.id, block)
    waiting = [block for block in copy.blocks[group.chain.id] if isinstance(copy.view.standing(block.id), Wait)]
    assert waiting
    assert copy.view.value is None
    for block in copy.blocks[person.chain.id]:
        copy.take(person.chain.id, block)
    assert not [block for block in waiting if isinstance(copy.view.standing(block.id), Wait)]
    decided: Any = copy.view.value
    assert decided.authority.void == group.folded.authority.void


@pytest.mark.parametrize("case", ["all", "but one", "much", "little"])
def test_limits_of_anchors(here: Town, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """I34: what is under an anchor is counted with what is anchored there, in blocks and in bytes; above it, it is void for ever."""
    person, group, outer = made(here)
    head = group.folded.pasts.acts[-1].id
    count = under(head, group, person)
    name, limit, expected = {
        "all": ("MAX_ANCHORED_BLOCKS", count, Obeyed),
        "but one": ("MAX_ANCHORED_BLOCKS", count - 1, Void),
        "much": ("MAX_ANCHORED_BYTES", 1 << 20, Obeyed),
        "little": ("MAX_ANCHORED_BYTES", 8000, Void),
    }[case]
    last = outer.folded.pasts.acts[-1].id
    monkeypatch.setattr(checking, name, limit)
    forger = Forger(outer.chain, outer._held.actor.secrets)  # type: ignore[arg-type]
    id = BlockId(forger.state(ANCHORED, [1, [head], None], [last]))
    assert isinstance(outer.chain.standing(id), expected)
    read = Counting(monkeypatch)
    copy = Copy(outer, group, person)
    copy.all(random.Random(1))
    assert isinstance(copy.view.standing(id), expected)
    assert read.most <= count


def under(head: bytes, group: Identity, person: Identity) -> int:
    """How many events a head of a group builds on, with it and what is anchored there."""
    todo: list[tuple[Identity, bytes]] = [(group, head)]
    found: set[bytes] = set()
    while todo:
        chain, id = todo.pop()
        if id not in found:
            found.add(id)
            block = chain._held.log.block(id)
            todo += [(chain, parent) for parent in (decode(block).seen if block.type.startswith(PREFIX) else ())]
            if block.type == PREFIX + ANCHORED:
                todo += [(person, one) for one in decode(block).body[1]]
    return len(found)


class Counting:
    """Counts how many blocks a look at an anchor reads, at most."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.most = 0
        inner = checking.check_news

        def counted(news: Any, past: Any) -> Any:
            count = 0
            fresh = checking._fresh

            def seen(*arguments: Any) -> Iterator[Block]:
                nonlocal count
                for block in fresh(*arguments):
                    count += 1
                    yield block

            with pytest.MonkeyPatch.context() as inside:
                inside.setattr(checking, "_fresh", seen)
                found = inner(news, past)
            self.most = max(self.most, count)
            return found

        patch.setattr(checking, "check_news", counted)


@pytest.mark.parametrize("case", ["not among its parents", "good", "no anchor", "no identity"])
def test_an_anchor_goes_on_from_another(here: Town, case: str) -> None:
    """I34: only from one for the same seat that it builds on; of a seat that is no identity's it says nothing."""
    _, _, outer = made(here)
    forger = Forger(outer.chain, outer._held.actor.secrets)  # type: ignore[arg-type]
    anchors = [act for act in outer.folded.pasts.acts if act.kind == ANCHORED]
    heads, base = list(anchors[-1].body.heads), anchors[0].id
    last, renewed = outer.folded.pasts.acts[-1].id, outer.folded.epochs.newest.id
    body, seen, expected = {
        "not among its parents": ([1, heads, base], [last], Void),
        "good": ([1, heads, base], [last, base], Obeyed),
        "no anchor": ([1, heads, renewed], [last, renewed], Void),
        "no identity": ([2, heads, None], [last], Void),
    }[case]
    id = BlockId(forger.state(ANCHORED, body, seen))
    assert isinstance(outer.chain.standing(id), expected)


def test_tags_are_of_the_chain(here: Town) -> None:
    """I34: a chain is named in cuts by what only those know who hold its first block."""
    person, group, outer = made(here)
    tags = {tag_of(decode_block(one.chain.genesis)) for one in (person, group, outer)}
    assert len(tags) == 3
    assert outer.folded.genesis.tag == tag_of(decode_block(outer.chain.genesis))
    assert {len(tag) for tag in tags} == {16}
