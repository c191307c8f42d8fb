"""A file as one chain: what is lawful, what proves a fork, and what has no place in it."""

from __future__ import annotations

import io
import random
from collections.abc import Collection, Sequence

import pytest

from tests.suites.making import ALICE, BOB, CAROL, FOUNDER, MALLORY, World, some_id
from walytis_core import car, content
from walytis_core.block import GENESIS_PLACE, Block, Content, Draft, Place, create
from walytis_core.bundle import Bundle
from walytis_core.cid import DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX, BlockId, Cid
from walytis_core.errors import InvalidInputError
from walytis_core.limits import Limits

Sections = list[tuple[Cid, bytes]]


def sections_of(*blocks: Block) -> Sections:
    return [(block.id, block.encoded) for block in blocks]


def bundled(roots: Sequence[Cid], sections: Sections, blocks: Collection[Block]) -> Bundle:
    """A settled bundle of a file with these sections; `blocks` are those of it that are genuine."""
    stream = io.BytesIO(car.write_header(roots) + b"".join(car.write_section(*section) for section in sections))
    reader = car.Reader(stream)
    bundle = Bundle(stream, reader.roots)
    by_id = {block.id: block for block in blocks}
    for section in reader:
        if section.cid[:4] == DAG_CBOR_PREFIX:
            bundle.add_block(by_id[section.cid], section.offset)
        else:
            bundle.add_piece(section)
    bundle.settle(lambda _done, _total: None)
    return bundle


def of(roots: Sequence[Block], *blocks: Block) -> Bundle:
    return bundled([root.id for root in roots], sections_of(*blocks), blocks)


def ids(bundle: Bundle) -> list[BlockId]:
    return [bundle.id_of(number) for number in bundle.order]


def refused(roots: Sequence[Block], *blocks: Block, match: str) -> str:
    with pytest.raises(InvalidInputError, match=match) as caught:
        of(roots, *blocks)
    assert "at byte" in str(caught.value)
    assert caught.value.hint
    return str(caught.value)


def with_content(world: World, prev: Block, body: Content) -> Block:
    return create(ALICE, Place(world.first.id, prev.seq + 1, prev.id, (), prev.height + 1), Draft(body), 0)


@pytest.mark.parametrize("seed", range(5))
def test_any_order_gives_parents_first(seed: int):
    """C45: blocks come in any order, and twice; they leave with their parents before them."""
    world = World()
    line = world.chain(ALICE, 6)
    first = world.block(BOB, None, [line[2]])
    beside = [first, *world.chain(BOB, 3, first)]
    head = world.block(BOB, beside[-1], [line[-1]])
    blocks = [world.first, *line, *beside, head]
    shuffled = [*blocks, *blocks[3:7]]
    random.Random(seed).shuffle(shuffled)
    bundle = of([head], *shuffled)
    order = ids(bundle)
    assert sorted(order) == sorted(block.id for block in blocks)
    assert order[0] == world.first.id
    places = {id: place for place, id in enumerate(order)}
    assert all(places[named] < places[block.id] for block in blocks for named in block.ancestors_named)
    assert ids(of([head], *blocks)) == [block.id for block in blocks], "the order of the file, where it is one"
    assert [bundle.read(number).encoded for number in bundle.order[:1]] == [world.first.encoded]


def test_what_is_not_one_whole_chain():
    """C45: no genesis, a block of another chain, a missing parent, a head that no root names, a root that is not there."""
    world, other = World(), World(nonce=bytes(16))
    line = world.chain(ALICE, 4)
    refused([line[-1]], *line, match="genesis")
    refused([line[-1]], world.first, *line, *sections(other), match="another chain than")
    pair = [other.block(MALLORY, payload=payload) for payload in (b"1", b"2")]
    refused([line[-1]], world.first, *line, *pair, match="another chain than")
    refused([line[-1]], world.first, line[0], *line[2:], match="which is not in it")
    refused([line[2]], world.first, *line, match="is no root")
    refused([], world.first, match="is no root")
    refused([other.first], world.first, match="is no block in it")
    refused([line[3]], world.first, *line[:3], match="is no block in it")
    with pytest.raises(InvalidInputError, match="is no block in it"):
        bundled([world.first.id, some_id(3)], sections_of(world.first), [world.first])
    assert len(of([line[-1], line[0]], world.first, *line).order) == 5
    assert len(of([world.first], world.first).order) == 1


def sections(world: World) -> list[Block]:
    return [world.first, *world.chain(BOB, 1)]


def test_rules_and_policy_hold_for_every_block():
    """C45: a genuine block that breaks a rule, or whose author may not write, is refused, and what names it."""
    world = World(writers=[ALICE])
    admit = world.admit(ALICE, [BOB])
    good = world.block(BOB, admit)
    assert len(of([good], world.first, admit, good).order) == 3
    stranger = world.block(CAROL)
    refused([stranger], world.first, stranger, match="does not let this author write")
    sneaking = world.block(CAROL, admit)
    refused([sneaking], world.first, admit, sneaking, match="does not let this author write")
    high = world.block(ALICE, height=7)
    assert high.id.short in refused([high], world.first, high, match="height")
    above = world.block(ALICE, high)
    refused([above], world.first, above, high, match="height")


def test_a_genesis_that_is_none():
    """C45: the first block of another kind of chain is refused."""
    first = create(FOUNDER, GENESIS_PLACE, Draft(b"no policy"), 0)
    refused([first], first, match="is no genesis")


def test_forks_stand_in_a_file_as_their_own_proof():
    """C45: tips above a fork need no root; a block that proves one needs neither its parents nor to keep the rules."""
    world = World()
    one, other = world.block(MALLORY, payload=b"1"), world.block(MALLORY, payload=b"2")
    bundle = of([world.first], world.first, one, other)
    assert set(ids(bundle)) == {world.first.id, one.id, other.id}
    (proof,) = bundle.proofs()
    assert (proof.author, proof.seq) == (MALLORY.key, 0)
    assert {proof.first, proof.second} == {one.encoded, other.encoded}
    assert list(of([one], world.first, one).proofs()) == []
    lost = world.block(MALLORY, payload=b"3", seq=0, height=9)
    bundle = of([world.first], world.first, one, lost)
    assert set(ids(bundle)) == {world.first.id, one.id}, "it proves the fork, and is no member"
    assert len(list(bundle.proofs())) == 1
    above = world.block(MALLORY, lost)
    refused([world.first], world.first, one, lost, above, match="may not be in it")
    honest = world.block(ALICE, payload=b"a tip")
    refused([world.first], world.first, one, other, honest, match="is no root")
    refused([lost], world.first, one, lost, match="is no block in it")


def test_the_lowest_of_several_forks():
    """C45: the proof is of the lowest fork; below it a tip needs a root."""
    world = World()
    line = world.chain(MALLORY, 4)
    forks = [world.block(MALLORY, line[1], payload=b"fork"), world.block(MALLORY, line[0], payload=b"lower")]
    (proof,) = of([line[0]], world.first, *line, *forks).proofs()
    assert proof.seq == 1
    lost = [world.block(MALLORY, line[0], seq=5, payload=payload) for payload in (b"1", b"2")]
    assert len(of([line[0]], world.first, line[0], *lost).order) == 2
    refused([world.first], world.first, line[0], *lost, match="is no root")


@pytest.mark.parametrize("gap", range(4))
def test_a_proof_far_above_what_is_held(gap: int):
    """C16, C45: who was told of a fork may hold nothing of what lies below it."""
    world = World()
    line = world.chain(MALLORY, 3)
    lost = [world.block(MALLORY, line[-1], seq=3 + gap, height=20, payload=payload) for payload in (b"1", b"2")]
    bundle = of([line[-1]], world.first, *line, *lost)
    assert len(bundle.order) == 4
    (proof,) = bundle.proofs()
    assert proof.seq == 3 + gap
    refused([line[-1]], world.first, *line, lost[0], match="may not be in it")


def test_a_founder_beside_its_genesis_forks_nothing():
    """C45: nothing can unseat the genesis, so what stands beside it proves nothing."""
    world = World()
    refused([world.first], world.first, world.block(FOUNDER, seq=0, payload=b"1"), match="seq does not follow prev")
    pair = [world.block(FOUNDER, seq=0, payload=payload) for payload in (b"1", b"2")]
    refused([world.first], world.first, *pair, match="seq does not follow prev")


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> tuple[World, Block, Sections]:
    """A block with long content, in leaves of four bytes; and its pieces."""
    monkeypatch.setattr(Limits, "leaf_bytes", 4)
    monkeypatch.setattr(Limits, "max_leaf_links", 3)
    world = World()
    held: dict[Cid, bytes] = {}
    body = content.build(io.BytesIO(b"abcd" * 3 + b"efghij"), held.__setitem__)
    return world, with_content(world, world.block(ALICE), body), list(held.items())


def test_content_belongs_to_a_block(long):
    """C45, C50: pieces of a block's content are taken, all of them, some, or none; anything else is refused."""
    world, block, pieces = long
    blocks = [world.first, world.block(ALICE), block]
    bundle = bundled([block.id], [*pieces, *sections_of(*blocks)], blocks)
    assert dict(bundle.pieces_of(block)) == dict(pieces)
    assert list(bundle.pieces_of(block)) == [], "each once"
    assert list(bundle.pieces_of(blocks[1])) == []
    nodes = [piece for piece in pieces if piece[0][:4] != RAW_PREFIX]
    assert dict(bundled([block.id], [*sections_of(*blocks), *nodes], blocks).pieces_of(block)) == dict(nodes)
    assert list(bundled([block.id], sections_of(*blocks), blocks).pieces_of(block)) == []
    stray = (Cid.of(b"wxyz", RAW_PREFIX), b"wxyz")
    with pytest.raises(InvalidInputError, match="no part of the content"):
        bundled([block.id], [*sections_of(*blocks), stray], blocks)
    leaf = [piece for piece in pieces if piece[1] == b"abcd"]
    with pytest.raises(InvalidInputError, match="no part of the content"):
        bundled([block.id], [*sections_of(*blocks), *leaf], blocks)  # nothing in the file leads to it


def test_content_that_was_made_wrongly(long):
    """C45, C50: a block whose content cannot be read is valid all the same; of the content nothing is taken."""
    world, _, _ = long
    first = world.block(ALICE)
    leaf = (Cid.of(b"abc", RAW_PREFIX), b"abc")
    block = with_content(world, first, Content(leaf[0], 4))
    bundle = bundled([block.id], [*sections_of(world.first, first, block), leaf], [world.first, first, block])
    assert len(bundle.order) == 3
    assert list(bundle.pieces_of(block)) == []
    node = (Cid.of(b"no node", DAG_PB_PREFIX), b"no node")
    block = with_content(world, first, Content(node[0], 12))
    sections = [*sections_of(world.first, first, block), node, leaf]
    bundle = bundled([block.id], sections, [world.first, first, block])
    assert list(bundle.pieces_of(block)) == []


def test_a_small_file_with_endless_content_is_looked_at_once(monkeypatch: pytest.MonkeyPatch):
    """C45: a terabyte of zeros has four pieces; what repeats costs nothing."""
    size, level, below = Limits.leaf_bytes, 0, Cid.of(bytes(Limits.leaf_bytes), RAW_PREFIX)
    pieces: Sections = [(below, bytes(Limits.leaf_bytes))]
    while level < 2:
        level, size = level + 1, size * Limits.max_leaf_links
        node = content._write_node([below] * Limits.max_leaf_links, size, level)
        below = Cid.of(node, DAG_PB_PREFIX)
        pieces.append((below, node))
    world = World()
    block = with_content(world, world.block(ALICE), Content(below, size))
    blocks = [world.first, world.block(ALICE), block]
    looked = 0
    children = content.children

    def counted(piece: content.Piece, node: bytes) -> list[content.Piece]:
        nonlocal looked
        looked += 1
        return children(piece, node)

    monkeypatch.setattr(content, "children", counted)
    bundle = bundled([block.id], [*sections_of(*blocks), *pieces], blocks)
    assert [cid for cid, _ in bundle.pieces_of(block)] == [cid for cid, _ in reversed(pieces)]
    assert looked <= 8


def test_a_file_that_changes_while_it_is_read():
    """C45: what is read again is hashed again."""
    world = World()
    line = world.chain(ALICE, 2)
    bundle = of([line[-1]], world.first, *line)
    stream = bundle._stream
    stream.seek(-3, 2)
    stream.write(b"!")
    with pytest.raises(InvalidInputError, match="changed while"):
        bundle.read(bundle.order[-1])
    assert bundle.read(bundle.order[0]).id == world.first.id
