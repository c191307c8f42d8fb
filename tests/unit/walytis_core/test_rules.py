"""Each guard of membership, the founder's special cases, and chains of admission."""

from __future__ import annotations

import pytest

from tests.suites.making import ALICE, BOB, CAROL, FOUNDER, MALLORY, World, meta_of, metas_of, some_id
from walytis_core.block import Block, Draft, Place, create
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
from walytis_core.policy import ADMIT, encode_admit, read_admit
from walytis_core.rules import judge
from walytis_core.signer import Ed25519Signer

OPEN = World()
LISTED = World([ALICE])


class SmallOrder(Ed25519Signer):
    """A signer whose key is a point of small order: anyone could sign for it, if it were let in."""

    def __init__(self) -> None:
        super().__init__(bytes(32))
        self.key = b"\xed\x01" + b"\x01" + bytes(31)


def verdict(world: World, block: Block, *members: Block) -> Reason | None:
    known = {member.id: member for member in members}
    return judge(block, world.genesis, metas_of(world.first, *members), lambda id: read_admit(known[id]))


# --- place --------------------------------------------------------------------------------------------------------


def test_right_blocks_belong():
    """C09: what is right is taken: a first block, a second one, a merge."""
    first, second = OPEN.chain(ALICE, 2)
    other = OPEN.block(BOB)
    merge = OPEN.block(BOB, other, [second])
    assert verdict(OPEN, first) is None
    assert verdict(OPEN, second, first) is None
    assert verdict(OPEN, merge, other, second) is None
    assert merge.height == 3


def test_wrong_chain():
    """C07: wrong chain."""
    other = World(nonce=bytes(16))
    astray = create(ALICE, Place(other.first.id, 0, OPEN.first.id, (), 1), Draft(b""), 0)  # names our blocks
    assert verdict(OPEN, astray) is Reason.WRONG_CHAIN
    assert verdict(OPEN, other.block(ALICE)) is Reason.WRONG_CHAIN
    assert verdict(OPEN, other.first) is Reason.WRONG_CHAIN
    assert verdict(OPEN, OPEN.first) is Reason.WRONG_CHAIN  # it is a member, and nothing else has its place


@pytest.mark.parametrize("height", [0, 1, 2, 4, 2**53 - 1])
def test_wrong_height(height: int):
    """C07: wrong height: it is one more than the highest of parents and `prev`."""
    first, second = OPEN.chain(ALICE, 2)
    mine = OPEN.block(BOB)
    assert verdict(OPEN, OPEN.block(BOB, mine, [second], height=height), mine, second) is Reason.WRONG_HEIGHT
    assert verdict(OPEN, OPEN.block(BOB, mine, [second], height=3), mine, second) is None
    assert verdict(OPEN, OPEN.block(ALICE, second, [mine], height=height), mine, second) is Reason.WRONG_HEIGHT
    assert verdict(OPEN, OPEN.block(ALICE, second, [mine], height=3), mine, second, first) is None


@pytest.mark.parametrize("seq", [0, 1, 3, 2**53 - 1])
def test_wrong_seq(seq: int):
    """C07: wrong seq: it is one more than `prev`'s."""
    _, second = OPEN.chain(ALICE, 2)
    assert verdict(OPEN, OPEN.block(ALICE, second, seq=seq), second) is Reason.WRONG_SEQ


@pytest.mark.parametrize("seq", [1, 2, 2**53 - 1])
def test_wrong_first_seq(seq: int):
    """C07: wrong seq of an author's first block."""
    assert verdict(OPEN, OPEN.block(ALICE, seq=seq)) is Reason.WRONG_SEQ


def test_prev_of_another_author():
    """C07: wrong prev: a block of another author that admits nobody."""
    first = OPEN.block(ALICE)
    assert verdict(OPEN, OPEN.block(BOB, first), first) is Reason.WRONG_PREV
    assert verdict(OPEN, OPEN.block(BOB, first, seq=1), first) is Reason.WRONG_SEQ


def test_small_order_author():
    """C07: small-order author key."""
    assert verdict(OPEN, OPEN.block(SmallOrder())) is Reason.BAD_KEY


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32, b"\xee" + b"\xff" * 30 + b"\x7f"])
def test_author_that_is_no_point(key: bytes):
    """C07: an author key that is no valid point."""
    signer = SmallOrder()
    signer.key = b"\xed\x01" + key
    assert verdict(OPEN, OPEN.block(signer)) is Reason.BAD_KEY


def test_the_order_of_parents_does_not_matter():
    """C10: the verdict depends on what is named, not on what else is held."""
    mine, theirs = OPEN.block(ALICE), OPEN.block(BOB)
    block = OPEN.block(ALICE, mine, [theirs])
    everything = [*OPEN.chain(CAROL, 3), theirs, mine]
    assert verdict(OPEN, block, *everything) is verdict(OPEN, block, mine, theirs) is None


# --- writers ------------------------------------------------------------------------------------------------------


def test_listed_writers_only():
    """C09: a listed-writers policy refuses other authors, the founder among them."""
    assert verdict(LISTED, LISTED.block(ALICE)) is None
    assert verdict(LISTED, LISTED.block(BOB)) is Reason.NOT_A_WRITER
    assert verdict(LISTED, LISTED.block(FOUNDER)) is Reason.NOT_A_WRITER


def test_admitted_key():
    """C09: a key that a writer's `core/admit` lists may write; others may not start there."""
    admit = LISTED.admit(ALICE, [BOB])
    assert verdict(LISTED, admit) is None
    assert verdict(LISTED, LISTED.block(BOB, admit), admit) is None
    assert verdict(LISTED, LISTED.block(CAROL, admit), admit) is Reason.NOT_A_WRITER
    assert verdict(LISTED, LISTED.block(BOB), admit) is Reason.NOT_A_WRITER
    first = LISTED.block(BOB, admit)
    assert verdict(LISTED, LISTED.block(BOB, first), admit, first) is None


def test_admission_chain():
    """C09: who was admitted may admit, in a block that is not its first too; a stranger may not."""
    admit = LISTED.admit(ALICE, [BOB])
    plain = LISTED.block(BOB, admit)
    second = LISTED.admit(BOB, [CAROL], plain)
    assert verdict(LISTED, second, admit, plain) is None
    assert verdict(LISTED, LISTED.block(CAROL, second), second) is None
    assert verdict(LISTED, LISTED.admit(MALLORY, [MALLORY])) is Reason.NOT_A_WRITER


def test_admission_block_as_first_block():
    """C09: an admitted key's first block may admit at once."""
    admit = LISTED.admit(ALICE, [BOB])
    next_one = LISTED.admit(BOB, [CAROL], admit)
    assert verdict(LISTED, next_one, admit) is None
    assert verdict(LISTED, LISTED.block(CAROL, next_one), next_one) is None


def test_nobody_admits_itself():
    """C09: an author's own admission is no start: its blocks follow each other."""
    world = World()
    admit = world.admit(ALICE, [ALICE])
    again = world.block(ALICE, admit, seq=0)
    assert verdict(world, again, admit) is Reason.WRONG_SEQ
    assert verdict(world, world.block(ALICE, admit), admit) is None


def test_an_admission_seen_only_as_parent_is_no_start():
    """C09: `prev` is the admission: to have it among the parents is not enough."""
    admit = LISTED.admit(ALICE, [BOB])
    assert verdict(LISTED, LISTED.block(BOB, None, [admit]), admit) is Reason.NOT_A_WRITER


def test_admission_on_an_open_chain():
    """C09: on an open chain anyone may start at the genesis, and who starts at an admission must be listed in it."""
    admit = OPEN.admit(ALICE, [BOB])
    assert verdict(OPEN, admit) is None
    assert verdict(OPEN, OPEN.block(BOB, admit), admit) is None
    assert verdict(OPEN, OPEN.block(BOB), admit) is None
    assert verdict(OPEN, OPEN.block(CAROL, admit), admit) is Reason.NOT_A_WRITER


@pytest.mark.parametrize("payload", [
    b"", b"\x80", b"\xf6", b"\x81\x00", encode_admit([ALICE.key])[:-1], encode_admit([ALICE.key]) + b"\0", b"\x81\x58\x22" + bytes(34),
    b"\x82" + encode_admit([ALICE.key])[1:] * 2, b"\x82" + b"".join(b"\x58\x22" + key for key in sorted([ALICE.key, BOB.key], reverse=True)),
    b"\x81\x58\x22" + SmallOrder().key, b"\x81\x58\x20" + ALICE.key[2:], b"\x9f\x58\x22" + ALICE.key + b"\xff", b"\x81" * 5000,
])  # fmt: skip
def test_admission_that_does_not_parse(payload: bytes):
    """C07, C09: a `core/admit` block whose payload is no sorted list of distinct valid keys belongs to no chain."""
    assert verdict(OPEN, OPEN.block(ALICE, payload=payload, type=ADMIT)) is Reason.BAD_PAYLOAD


def test_other_core_types_are_plain():
    """C09: what is wrong in a payload of another type is not the core's business."""
    assert verdict(OPEN, OPEN.block(ALICE, payload=b"\xff", type="core/other")) is None


# --- the founder --------------------------------------------------------------------------------------------------


def test_the_founder_goes_on_from_the_genesis():
    """C09: the genesis is the founder's block 0, so its next one has seq 1."""
    first = OPEN.block(FOUNDER)
    assert first.seq == 1
    assert verdict(OPEN, first) is None
    assert verdict(OPEN, OPEN.block(FOUNDER, seq=0)) is Reason.WRONG_SEQ
    assert verdict(OPEN, OPEN.block(FOUNDER, first), first) is None


def test_the_founder_starts_nowhere_else():
    """C09: the founder has a first block already, so no admission can be another."""
    for world, admitter in ((OPEN, ALICE), (LISTED, ALICE)):
        admit = world.admit(admitter, [FOUNDER])
        assert verdict(world, world.block(FOUNDER, admit, seq=1), admit) is Reason.WRONG_PREV
        assert verdict(world, world.block(FOUNDER, admit, seq=0), admit) is Reason.WRONG_SEQ


def test_nobody_else_takes_seq_1_at_the_genesis():
    """C07: wrong seq: only the founder's blocks are counted from the genesis."""
    assert verdict(OPEN, OPEN.block(ALICE, seq=1)) is Reason.WRONG_SEQ


def test_a_listed_founder_writes():
    """C09: a founder who lists itself is a writer like others."""
    world = World([FOUNDER, ALICE])
    first = world.block(FOUNDER)
    assert verdict(world, first) is None
    admit = world.admit(FOUNDER, [BOB], first)
    assert verdict(world, admit, first) is None
    assert verdict(world, world.block(BOB, admit), admit) is None


def test_the_verdict_reads_only_what_is_named():
    """C10: no more than the metas of named blocks is looked at."""
    first = OPEN.block(ALICE)
    place = Place(OPEN.first.id, 1, first.id, (some_id(5),), 9)
    block = create(ALICE, place, Draft(b""), 0)
    named: dict[bytes, object] = {first.id: meta_of(first), some_id(5): meta_of(first)._replace(height=8)}

    def never(id: BlockId) -> frozenset[bytes]:
        raise AssertionError(id)

    assert judge(block, OPEN.genesis, named, never) is None  # type: ignore[arg-type]
