"""Proofs of equivocation, and what leaves and comes back because of them."""

from __future__ import annotations

import pytest

from tests.suites.making import ALICE, BOB, FOUNDER, World
from walytis_core.block import Block
from walytis_core.errors import Reason, RemoteError
from walytis_core.forks import is_candidate, proof_of, read_proof, to_refold, to_unfold
from walytis_core.store.port import Commit, Meta

WORLD = World()
ONE, OTHER = sorted([WORLD.block(ALICE, payload=b"1"), WORLD.block(ALICE, payload=b"2")], key=lambda block: block.id)


def forged(block: Block) -> bytes:
    return block.encoded[:-1] + bytes([block.encoded[-1] ^ 1])


def test_a_proof():
    """C11: two different genuine blocks by one author with one seq; the one with the smaller id goes first."""
    proof = proof_of(OTHER, ONE)
    assert proof == proof_of(ONE, OTHER) == (ALICE.key, 0, ONE.encoded, OTHER.encoded)
    assert read_proof(proof.first, proof.second, WORLD.first.id) == (ONE, OTHER)


def test_what_is_no_proof():
    """C11: each thing that a proof needs."""
    elsewhere = World(nonce=bytes(16))
    foreign = sorted(
        [elsewhere.block(ALICE, payload=b"1"), elsewhere.block(ALICE, payload=b"2")], key=lambda block: block.id
    )
    pairs = [(ONE.encoded, ONE.encoded), (OTHER.encoded, ONE.encoded), (foreign[0].encoded, foreign[1].encoded)]
    mates = [WORLD.block(BOB, payload=b"%d" % n) for n in range(30)]
    mates += [WORLD.block(ALICE, ONE, payload=b"%d" % n) for n in range(30)]
    pairs += [(ONE.encoded, mate.encoded) for mate in mates if mate.id > ONE.id]
    pairs += [(ONE.encoded, block.encoded) for block in foreign if block.id > ONE.id]
    for first, second in ((forged(ONE), OTHER.encoded), (ONE.encoded, forged(OTHER))):
        pairs += [(first, second), (second, first)]
    assert len(pairs) > 15
    for first, second in pairs:
        with pytest.raises(RemoteError) as caught:
            read_proof(first, second, WORLD.first.id)
        assert caught.value.reason is Reason.BAD_PROOF


def test_bytes_that_are_no_blocks():
    """C36: garbage in a proof is told as what it is."""
    with pytest.raises(RemoteError) as caught:
        read_proof(b"x", ONE.encoded, WORLD.first.id)
    assert caught.value.reason is Reason.BAD_ENCODING


def test_candidates():
    """C11: at or above the fork."""
    frozen = {ALICE.key: 2}
    assert [is_candidate(Meta(1, ALICE.key, seq, 9, "", True), frozen) for seq in range(4)] == [
        False,
        False,
        True,
        True,
    ]
    assert not is_candidate(Meta(1, BOB.key, 9, 9, "", True), frozen)


def test_unfold_and_refold():
    """C10, C11: children before parents out; parents before children in."""
    store = WORLD.store()
    blocks = WORLD.chain(ALICE, 4)
    theirs = WORLD.block(BOB, None, [blocks[1]])
    store.commit(Commit(blocks=[*blocks, theirs]))
    out = to_unfold(store, set(), {ALICE.key: 1}, ALICE.key, None)
    assert out == [blocks[3].id, blocks[2].id]
    store.commit(Commit(unfold=out))
    back = to_refold(store, store.unfolded(), [blocks[3].id, theirs.id])
    assert back == [blocks[2].id, blocks[3].id]
    assert to_refold(store, store.unfolded(), [theirs.id]) == []
    lower = to_unfold(store, store.unfolded(), {ALICE.key: 0}, ALICE.key, 1)
    assert lower == []  # its child is held by another


def test_only_what_is_above_the_new_fork_is_looked_at():
    """C11: a lower fork unfolds what lies between the two."""
    store = WORLD.store()
    blocks = WORLD.chain(FOUNDER, 4)
    store.commit(Commit(blocks=blocks))
    first = to_unfold(store, set(), {FOUNDER.key: 3}, FOUNDER.key, None)
    assert first == [blocks[3].id, blocks[2].id]
    second = to_unfold(store, set(first), {FOUNDER.key: 2}, FOUNDER.key, 3)
    assert second == [blocks[1].id]
