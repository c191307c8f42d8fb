"""The members of a replica: taking, parking, refusing, forks, heads, appending, restarts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from tests.suites.making import ALICE, BOB, CAROL, FOUNDER, MALLORY, World, signers, some_id
from tests.suites.naive_members import Holder, expected
from walytis_core.block import Block, Draft
from walytis_core.cid import BlockId
from walytis_core.errors import NotAllowedError, Reason
from walytis_core.frontier import Entry
from walytis_core.limits import Limits
from walytis_core.parking import Budget
from walytis_core.policy import ADMIT, encode_admit
from walytis_core.signer import Ed25519Signer
from walytis_core.store.memory import MemoryChain, _Numbers

WORLD = World()
LISTED = World([ALICE])


def holder(world: World = WORLD, budget: Budget | None = None) -> Holder:
    return Holder(world.genesis, world.store(), budget)


def append(held: Holder, signer: Ed25519Signer, *payloads: bytes, start: BlockId | None = None) -> list[Block]:
    drafts = [Draft(payload) for payload in payloads]
    outcome = held.members.append(drafts, signer, 0, held.store, start)
    held.store.commit(outcome.commit)
    held.check()
    return outcome.taken


def reasons(outcome: object) -> list[Reason]:
    return [reason for _, reason, _ in outcome.rejected]  # type: ignore[attr-defined]


def agree(held: Holder, world: World, *blocks: Block) -> None:
    wanted = expected(world.first, world.genesis, blocks)
    assert held.folded == wanted.folded
    assert set(held.members.heads) == wanted.heads
    assert dict(held.members.frontier) == wanted.frontier


# --- taking -------------------------------------------------------------------------------------------------------


def test_parents_before_children_whatever_comes_first():
    """C15, C31: a child waits for its parents, then all are taken in order."""
    blocks = WORLD.chain(ALICE, 5)
    held = holder()
    for block in reversed(blocks[1:]):
        outcome = held.offer(block)
        assert (outcome.taken, outcome.parked) == ([], 1)
    assert set(held.members.parking.lacking()) == {blocks[0].id}
    assert held.offer(blocks[0]).taken == blocks
    assert len(held.members.parking) == 0
    agree(held, WORLD, *blocks)


def test_a_block_is_taken_once():
    """C30: what is held, parked or refused changes nothing when it comes again."""
    first, second = WORLD.chain(ALICE, 2)
    wrong = WORLD.block(BOB, seq=3)
    held = holder()
    assert held.offer(second, second).parked == 1
    assert held.offer(first, first).taken == [first, second]
    assert reasons(held.offer(wrong, wrong)) == [Reason.WRONG_SEQ]
    for block in (first, second, wrong, WORLD.first):
        outcome = held.offer(block)
        assert (outcome.taken, outcome.rejected, outcome.parked) == ([], [], 0)


def test_foreign_blocks():
    """C07: wrong chain: another chain's blocks and its genesis are refused, and what names them."""
    other = World(nonce=bytes(16))
    foreign = other.block(ALICE)
    child = WORLD.block(BOB, None, [foreign])
    held = holder()
    assert reasons(held.offer(foreign, other.first, child)) == [
        Reason.WRONG_CHAIN,
        Reason.WRONG_CHAIN,
        Reason.BAD_ANCESTOR,
    ]
    late = holder()
    assert late.offer(child).parked == 1
    assert reasons(late.offer(foreign)) == [Reason.WRONG_CHAIN, Reason.BAD_ANCESTOR]
    for one in (held, late):
        agree(one, WORLD)


def test_what_is_refused_is_never_indexed():
    """C07, C09: a refused block is no member, in no count and no head."""
    bad = [
        WORLD.block(ALICE, height=5), WORLD.block(ALICE, seq=2), WORLD.block(ALICE, payload=b"", type=ADMIT),
        WORLD.block(BOB, WORLD.block(ALICE)),
    ]  # fmt: skip
    held = holder()
    assert reasons(held.offer(*bad[:3])) == [Reason.WRONG_HEIGHT, Reason.WRONG_SEQ, Reason.BAD_PAYLOAD]
    assert held.offer(bad[3]).parked == 1
    assert held.store.known([block.id for block in bad]) == set()
    assert (held.store.count, held.members.heads, dict(held.members.frontier)) == (
        0, {}, {FOUNDER.key: Entry(0, WORLD.first.id)},
    )  # fmt: skip


def test_what_builds_on_refused_bytes_goes_too():
    """C10: a broken signature that is later named as `prev`: everything above it is refused, before and after."""
    below = WORLD.block(ALICE)
    above = WORLD.chain(ALICE, 3, below)
    for order in ("after", "before"):
        held = holder()
        if order == "after":
            held.offer(broken=[below.id])
            assert reasons(held.offer(*above)) == [Reason.BAD_ANCESTOR] * 3
        else:
            assert held.offer(*above).parked == 3
            assert sorted(reasons(held.offer(broken=[below.id]))) == sorted(
                [Reason.BAD_SIGNATURE] + [Reason.BAD_ANCESTOR] * 3
            )
        assert len(held.members.parking) == 0
        agree(held, WORLD)


def test_a_newer_version_is_parked_not_punished():
    """C07: what names a block of a newer version waits for it, and is not refused."""
    newer = some_id(1)
    child = WORLD.block(ALICE)
    waiting = WORLD.block(BOB)._replace()
    held = holder()
    outcome = held.members.ingest([], held.store)
    held.members.refuse(newer, Reason.NEWER_VERSION, "peer", outcome)
    assert reasons(outcome) == [Reason.NEWER_VERSION]
    assert held.offer(child, waiting).taken == [child, waiting]
    from walytis_core.block import Place, create

    orphan = create(ALICE, Place(WORLD.first.id, 1, child.id, (newer,), 9), Draft(b""), 0)
    assert held.offer(orphan).parked == 1
    assert set(held.members.parking.lacking()) == {newer}


def test_listed_writers():
    """C09: a stranger is refused, an admitted key is taken with its admission in either order."""
    admit = LISTED.admit(ALICE, [BOB])
    first = LISTED.block(BOB, admit)
    held = holder(LISTED)
    assert reasons(held.offer(LISTED.block(MALLORY))) == [Reason.NOT_A_WRITER]
    assert held.offer(first).parked == 1
    assert held.offer(admit).taken == [admit, first]
    agree(held, LISTED, admit, first)


# --- forks --------------------------------------------------------------------------------------------------------


def test_fork_at_the_tip():
    """C11: two blocks at one place freeze the author from there on, and the proof is kept."""
    first, second = WORLD.chain(ALICE, 2)
    other = WORLD.block(ALICE, first, payload=b"other")
    held = holder()
    held.offer(first, second)
    held.offer(other)
    assert held.members.frozen == {ALICE.key: 1}
    assert held.members.frontier[ALICE.key] == Entry(0, first.id, 1)
    proof = held.members.proofs[ALICE.key]
    assert {proof.first, proof.second} == {second.encoded, other.encoded}
    assert held.folded == {first.id}
    agree(held, WORLD, first, second, other)
    assert held.store.proofs() == held.members.proofs


def test_a_fork_is_reported_once():
    """C11: further forks at or above the first say nothing new; a lower one does."""
    blocks = WORLD.chain(ALICE, 3)
    held = holder()
    held.offer(*blocks)
    held.members.ingest([(WORLD.block(ALICE, blocks[0], payload=b"x"), "p")], held.store)
    assert held.members.is_unsettled
    held.settle()
    for other in (WORLD.block(ALICE, blocks[0], payload=b"y"), WORLD.block(ALICE, blocks[1], payload=b"z")):
        held.members.ingest([(other, "p")], held.store)
        assert not held.members.is_unsettled
    lower = WORLD.block(ALICE, payload=b"lower")
    held.offer(lower)
    assert held.members.frozen == {ALICE.key: 0}
    assert ALICE.key not in held.members.frontier
    assert held.folded == set()


def test_what_others_built_on_stays():
    """C11: a block above the fork is folded as long as a folded block needs it."""
    first, second = WORLD.chain(ALICE, 2)
    witness = WORLD.block(BOB, None, [second])
    other = WORLD.block(ALICE, first, payload=b"other")
    held = holder()
    held.offer(first, second, witness)
    held.offer(other)
    assert held.folded == {first.id, second.id, witness.id}
    later = WORLD.block(CAROL, None, [other])
    assert held.offer(later).taken == [other, later]
    agree(held, WORLD, first, second, witness, other, later)


def test_unfolded_blocks_come_back():
    """C10: a member that left the folded set is folded again when somebody turns out to have built on it."""
    first, second, third = WORLD.chain(ALICE, 3)
    other = WORLD.block(ALICE, first, payload=b"other")
    held = holder()
    held.offer(first, second, third)
    held.offer(other)
    assert held.members.unfolded == {second.id, third.id}
    late = WORLD.block(BOB, None, [third])
    outcome = held.offer(late)
    assert outcome.refold == [second.id, third.id]
    assert held.members.unfolded == set()
    held.check()
    agree(held, WORLD, first, second, third, other, late)


def test_heads_when_a_candidate_leaves():
    """C14: what only the leaving block named is a head again; what another block names is not."""
    base, theirs = WORLD.block(ALICE), WORLD.block(BOB)
    top = WORLD.block(ALICE, base, [theirs])
    over = WORLD.block(CAROL, None, [base])
    held = holder()
    held.offer(base, theirs, top, over)
    held.offer(WORLD.block(ALICE, base, payload=b"other"))
    assert set(held.members.heads) == {theirs.id, over.id}
    held.check()


def test_two_forkers_that_lean_on_each_other():
    """C10, C11: candidates that only candidates name are not folded, across authors."""
    a0, b0 = WORLD.block(ALICE), WORLD.block(BOB)
    a1 = WORLD.block(ALICE, a0, [b0])
    b1 = WORLD.block(BOB, b0, [a1])
    a2 = WORLD.block(ALICE, a1, [b1])
    held = holder()
    held.offer(a0, b0, a1, b1, a2)
    held.offer(WORLD.block(BOB, b0, payload=b"fork"))
    assert held.folded == {a0.id, b0.id, a1.id, b1.id, a2.id}  # a2 needs b1
    held.offer(WORLD.block(ALICE, a0, payload=b"fork"))
    assert held.folded == {a0.id, b0.id}
    held.check()


def test_candidates_that_lie_about_their_height():
    """C10, C36: a chain of candidates is judged parents first, whatever heights it claims; nothing is raised."""
    held = holder()
    held.offer(WORLD.block(ALICE, payload=b"a"))
    root = WORLD.block(ALICE, payload=b"b")
    high = WORLD.block(ALICE, root, height=100)
    low = WORLD.block(ALICE, high, height=5)
    held.offer(root, high, low)
    assert reasons(held.offer(WORLD.block(BOB, None, [low], height=6))) == [Reason.WRONG_HEIGHT, Reason.BAD_ANCESTOR]
    assert held.folded == set()
    held.check()


def test_a_batch_with_a_fork_and_what_needs_it():
    """C11: both branches and a block that needs the second, in one batch: the proof is stored before the second branch."""
    one, other = WORLD.block(ALICE, payload=b"1"), WORLD.block(ALICE, payload=b"2")
    needs = WORLD.block(BOB, None, [other])
    held = holder()
    held.begin([one, other, needs])
    assert held.store.known([other.id]) == set()
    held.settle()
    assert held.folded == {other.id, needs.id}
    agree(held, WORLD, one, other, needs)


def test_refused_blocks_prove_forks():
    """C11: the two blocks need not be members."""
    first = WORLD.block(ALICE)
    wrong = WORLD.block(ALICE, first, height=9)
    right = WORLD.block(ALICE, first)
    for order in ([first, wrong, right], [first, right, wrong], [wrong, right, first]):
        held = holder()
        for block in order:
            held.offer(block)
        assert held.members.frozen == {ALICE.key: 1}
        agree(held, WORLD, first, wrong, right)


def test_the_founder_cannot_fork_the_genesis():
    """C11: a second block 0 by the founder unseats nothing."""
    held = holder()
    wrong = [WORLD.block(FOUNDER, seq=0), WORLD.block(FOUNDER, seq=0, payload=b"2")]
    assert reasons(held.offer(*wrong)) == [Reason.WRONG_SEQ] * 2
    assert held.members.frozen == {}
    first = WORLD.block(FOUNDER)
    assert held.offer(first).taken == [first]
    held.offer(WORLD.block(FOUNDER, payload=b"fork"))
    assert held.members.frontier[FOUNDER.key] == Entry(0, WORLD.first.id, 1)


def test_strangers_cannot_fill_the_store_with_proofs():
    """C11: anybody can make keys that fork, so a proof about an author without members is only remembered for a while."""
    held = holder(LISTED)
    for signer in signers(Limits.refused_memory + 50, 1000):
        held.offer(LISTED.block(signer), LISTED.block(signer, payload=b"2"))
    assert held.members.proofs == held.store.proofs() == {}
    assert held.members.frozen == {}
    assert len(held.members._refused._strangers) == Limits.refused_memory


def test_a_stranger_that_forked_before_it_was_admitted():
    """C10, C11: what was remembered counts once the author has a member."""
    admit = LISTED.admit(ALICE, [BOB])
    wrong = [LISTED.block(BOB), LISTED.block(BOB, payload=b"2")]
    first = LISTED.block(BOB, admit)
    held = holder(LISTED)
    held.offer(*wrong)
    held.offer(admit, first)
    assert held.members.frozen == {BOB.key: 0}
    agree(held, LISTED, *wrong, admit, first)


def test_ten_thousand_forks():
    """C11: an author of 10 000 forks costs a bounded number of held blocks and bytes, and sync of others goes on."""
    first = WORLD.block(ALICE)
    held = holder()
    held.offer(first)
    forks = [WORLD.block(ALICE, first, payload=b"%d" % n) for n in range(10_000)]
    for at in range(0, 10_000, 256):
        held.offer(*forks[at : at + 256], peer="p")
    assert held.store.last <= 4
    assert len(held.members.proofs) == 1
    assert len(held.members.parking) <= Limits.parked_blocks_per_peer
    honest = WORLD.chain(BOB, 3)
    assert held.offer(*honest, peer="q").taken == honest
    held.members.parking.sweep(), held.members.parking.sweep(), held.members.parking.sweep()
    assert len(held.members.parking) == 0
    held.check()


def test_proofs_of_others():
    """C10, C11: a proof alone freezes, also below a known fork, and not above it."""
    blocks = WORLD.chain(ALICE, 4)
    held = holder()
    held.offer(*blocks)
    for at, is_new in ((3, True), (2, True), (2, False), (3, False)):
        other = WORLD.block(ALICE, blocks[at - 1], payload=b"other")
        assert held.members.add_proof(blocks[at], other) is is_new
        held.settle()
        held.check()
    assert held.members.frontier[ALICE.key] == Entry(1, blocks[1].id, 2)


def test_two_forks_before_settling():
    """C11: a lower fork found before the first one is judged: everything above the lower one leaves."""
    blocks = WORLD.chain(ALICE, 4)
    held = holder()
    held.offer(*blocks)
    for at in (3, 1):
        held.members.add_proof(blocks[at], WORLD.block(ALICE, blocks[at - 1], payload=b"other"))
    held.settle()
    assert held.folded == {blocks[0].id}
    held.check()


# --- branches above a fork that are longer than the parking -------------------------------------------------------


def with_fork(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[Holder, list[Block]]:
    """A replica with room for few that knows a fork of Alice's at 1, and 40 blocks of hers on the other branch."""
    monkeypatch.setattr(Limits, "parked_blocks_per_peer", 8)
    first = world.block(ALICE)
    held = holder(world)
    held.offer(first, world.block(ALICE, first, payload=b"one"), world.block(ALICE, first, payload=b"other"))
    held.members.parking.clear()
    return held, world.chain(ALICE, 40, first, b"branch")


def test_a_branch_longer_than_the_parking(monkeypatch):
    """C10, C11: once a block waits for its top, a branch of any length is taken outside the folded set, then folded."""
    held, branch = with_fork(WORLD, monkeypatch)
    needs = WORLD.block(BOB, None, [branch[-1]])
    before = held.store.last
    held.offer(*branch, needs)
    assert (held.store.last, held.members.awaited()) == (before, {})  # the top was not needed when it came
    held.offer(*branch, needs)
    top = branch[-1]
    assert held.members.awaited() == {ALICE.key: Entry(top.seq, top.id, 1)}
    folded = held.folded
    outcome = held.offer(*branch[:20])
    assert (outcome.taken, outcome.folded) == (branch[:20], [])
    assert held.folded == folded
    held.check()
    held.restart()
    held.offer(*branch, needs)
    held.offer(*branch, needs)
    held.offer(*branch, needs)
    assert needs.id in held.folded
    held.check()
    agree(held, WORLD, *branch, needs, WORLD.block(ALICE), WORLD.block(ALICE, WORLD.block(ALICE), payload=b"one"))
    state = held.state()
    held.restart()
    assert held.state() == state


def test_what_needs_a_branch_in_the_batch_that_brings_it(monkeypatch):
    """C10: a block that came again with the branch below it waits until that is stored, so that all of it is folded."""
    held, branch = with_fork(WORLD, monkeypatch)
    needs = WORLD.block(BOB, None, [branch[-1]])
    held.offer(needs)
    held.offer(branch[-1])
    outcome = held.begin([*branch, needs])
    assert outcome.folded == []
    held.settle()
    assert held.folded >= {needs.id, *(block.id for block in branch)}
    held.check()


def test_forks_while_a_branch_is_awaited(monkeypatch):
    """C11: a peer that sends other branches meanwhile has no more taken than one branch has places, and keeps nobody else's out."""
    held, branch = with_fork(WORLD, monkeypatch)
    needs = WORLD.block(BOB, None, [branch[-1]])
    held.offer(needs)
    held.offer(branch[-1])
    first = WORLD.block(ALICE)
    before = len(held.members.unfolded)
    for number in range(200):
        held.offer(WORLD.block(ALICE, first, payload=b"fork %d" % number), peer="hostile")
    assert len(held.members.unfolded) - before == branch[-1].height
    honest = WORLD.chain(CAROL, branch[-1].height)
    above = WORLD.block(ALICE, first, [honest[-1]])
    held.offer(*honest)
    held.offer(above, peer="another")
    assert above.id not in held.members.unfolded
    held.offer(*branch, needs)
    assert needs.id in held.folded
    held.check()


def test_only_a_writer_makes_a_branch_awaited(monkeypatch):
    """C11, C36: keys that may not write are free, so that what they sign has nothing taken; those just admitted count."""
    world = World([ALICE])
    held, branch = with_fork(world, monkeypatch)
    before = held.store.last
    held.offer(world.block(MALLORY, None, [branch[-1]]))
    for _ in range(3):
        held.offer(*branch)
    assert (held.store.last, held.members.awaited()) == (before, {})
    admit = world.admit(ALICE, [BOB], branch[-1])
    needs = world.block(BOB, admit)
    for _ in range(3):
        held.offer(*branch, admit, needs)
    assert needs.id in held.folded
    held.check()


# --- heads and appending ------------------------------------------------------------------------------------------


def test_at_most_64_parents_the_longest_held_first():
    """C06: with 150 heads: 64 parents, the longest held first, without `prev`; later blocks merge the rest."""
    held = holder()
    tips = [WORLD.block(signer) for signer in signers(150)]
    for tip in tips:
        held.offer(tip)
    assert list(held.members.heads) == [tip.id for tip in tips]
    made = append(held, ALICE, b"1", b"2", b"3")
    assert [len(block.parents) for block in made] == [64, 64, 22]
    for number, block in enumerate(made):
        assert set(block.parents) == {tip.id for tip in tips[64 * number : 64 * (number + 1)]}
        assert list(block.parents) == sorted(block.parents)
        assert block.prev not in block.parents
    assert list(held.members.heads) == [made[-1].id]


def test_the_longest_held_first_after_a_restart():
    """C06: the order of heads is that of arrival, from memory and from the store, also after unfolding."""
    held = holder()
    tips = [WORLD.block(signer) for signer in signers(20)]
    held.offer(*tips)
    forked = WORLD.block(ALICE, None, tips[3:5])
    held.offer(forked)
    held.offer(WORLD.block(ALICE, payload=b"other"))
    order = list(held.members.heads)
    assert order == [tip.id for tip in tips]
    held.restart()
    assert list(held.members.heads) == order


def test_append_names_the_heads_seen():
    """C06: parents are the heads seen; `prev` is the author's own, and counted once."""
    held = holder()
    first = append(held, ALICE, b"1")[0]
    theirs = WORLD.block(BOB)
    held.offer(theirs)
    second, third = append(held, ALICE, b"2", b"3")
    assert (first.parents, first.prev, first.seq, first.height) == ((), WORLD.first.id, 0, 1)
    assert (second.parents, second.prev, second.seq, second.height) == ((theirs.id,), first.id, 1, 2)
    assert (third.parents, third.prev, third.seq, third.height) == ((), second.id, 2, 3)
    other = holder()
    assert other.offer(first, theirs, second, third).taken == [first, theirs, second, third]


def test_append_by_the_founder_goes_on_from_the_genesis():
    """C06: the founder's first block has seq 1."""
    block = append(holder(), FOUNDER, b"1")[0]
    assert (block.seq, block.prev, block.parents, block.height) == (1, WORLD.first.id, (), 1)


def test_append_from_an_admission():
    """C09: an admitted key starts at its admission; without it, and without a right, nothing is made."""
    held = holder(LISTED)
    admit = LISTED.admit(ALICE, [BOB])
    held.offer(admit)
    with pytest.raises(NotAllowedError):
        append(held, BOB, b"x")
    assert held.folded == {admit.id}
    assert append(held, BOB, b"x", start=admit.id)[0].prev == admit.id
    with pytest.raises(NotAllowedError):
        append(held, MALLORY, b"x")
    with pytest.raises(NotAllowedError):
        append(held, CAROL, b"x", start=admit.id)
    held.check()


def test_a_forked_key_writes_no_more():
    """C11: a frozen author cannot append; others can, and name none of its candidates."""
    held = holder()
    first = append(held, ALICE, b"1")[0]
    fork = WORLD.block(ALICE, payload=b"fork")
    held.offer(fork)
    with pytest.raises(NotAllowedError):
        append(held, ALICE, b"2")
    block = append(held, BOB, b"3")[0]
    assert block.parents == ()
    assert held.folded == {block.id}
    assert first.id in held.members.unfolded


def test_shunned_heads_are_not_named():
    """C06: heads that a layer calls removed are held and not named."""
    held = holder()
    shunned, other = WORLD.block(ALICE), WORLD.block(BOB)
    held.offer(shunned, other)
    outcome = held.members.append([Draft(b"")], CAROL, 0, held.store, None, [shunned.id])
    held.store.commit(outcome.commit)
    assert outcome.taken[0].parents == (other.id,)
    assert set(held.members.heads) == {shunned.id, outcome.taken[0].id}


def test_a_refused_append_changes_nothing():
    """C04: a refused append never wedges the chain, and the next append works."""
    held = holder()
    append(held, ALICE, b"1")
    before = held.state()
    for bad in ([Draft(b"x", type=ADMIT)], [Draft(b"fine"), Draft(b"x", type=ADMIT)]):
        with pytest.raises(NotAllowedError):
            held.members.append(bad, ALICE, 0, held.store, None)
        assert held.state() == before
    assert append(held, ALICE, b"2")[0].seq == 1
    good = [Draft(b"fine"), Draft(encode_admit([BOB.key]), type=ADMIT)]
    assert len(held.members.append(good, ALICE, 0, held.store, None).taken) == 2


# --- budgets ------------------------------------------------------------------------------------------------------


def test_parking_is_bounded_per_peer():
    """C31, C36: what does not fit is refused as over budget, not for ever; others are not affected."""
    root = WORLD.block(ALICE)
    orphans = WORLD.chain(ALICE, Limits.parked_blocks_per_peer + 5, root)
    held = holder()
    for at in range(0, len(orphans), 256):
        held.begin(orphans[at : at + 256], "loud")
    assert len(held.members.parking) == Limits.parked_blocks_per_peer
    assert reasons(held.offer(*orphans[-5:], peer="loud")) == [Reason.OVER_BUDGET] * 5
    assert held.offer(orphans[-5], peer="quiet").parked == 1
    assert len(held.offer(root, peer="quiet").taken) == Limits.parked_blocks_per_peer + 2
    assert held.offer(*orphans[-4:], peer="loud").taken == orphans[-4:]


def test_parking_is_bounded_per_node(monkeypatch):
    """C36: chains of one node share the bytes that may be parked; that there is no room is nobody's fault."""
    monkeypatch.setattr(Limits, "parked_bytes_reserved", 0)
    root = WORLD.block(ALICE)
    big = [WORLD.block(ALICE, root, payload=bytes([n]) * 30_000) for n in range(4)]
    budget = Budget(65_000)
    one, two = holder(budget=budget), holder(budget=budget)
    assert one.offer(big[0], peer="a").parked == 1
    assert two.offer(big[1], peer="b").parked == 1
    assert reasons(two.offer(big[2], peer="c")) == [Reason.NO_ROOM]
    one.members.parking.clear()
    assert two.offer(big[2], peer="c").parked == 1


def test_refused_ids_are_remembered_for_a_while():
    """C36: memory of what was refused is bounded; what is forgotten is refused again."""
    held = holder()
    first = WORLD.block(ALICE, height=9)
    assert reasons(held.offer(first)) == [Reason.WRONG_HEIGHT]
    held.offer(broken=[some_id(n) for n in range(Limits.refused_memory)])
    assert len(held.members._refused._reasons) == Limits.refused_memory
    assert reasons(held.offer(first)) == [Reason.WRONG_HEIGHT]


def test_swept_blocks_come_again():
    """C31: what waited in vain is forgotten, and taken when it is offered again."""
    first, second = WORLD.chain(ALICE, 2)
    held = holder()
    held.offer(second)
    assert [held.members.parking.sweep() for _ in range(3)] == [1, 1, 0]
    held.offer(first)
    assert held.folded == {first.id}
    assert held.offer(second).taken == [second]


# --- restarts -----------------------------------------------------------------------------------------------------


def test_restart_in_the_middle():
    """C16, C22: what is read from the store is what was in memory, after each step of a story with forks."""
    first, second, third = WORLD.chain(ALICE, 3)
    other = WORLD.block(ALICE, first, payload=b"other")
    steps = [
        [first], [second, third], [WORLD.block(BOB)], [other], [WORLD.block(CAROL, None, [second])],
        [WORLD.block(FOUNDER)], [WORLD.block(MALLORY, None, [other])], [WORLD.block(ALICE, payload=b"0")],
    ]  # fmt: skip
    held = holder()
    for step in steps:
        held.offer(*step)
        before = held.state()
        held.restart()
        assert held.state() == before
        assert held.members.frontier.digest() == Holder(WORLD.genesis, held.store).members.frontier.digest()
        held.check()


def test_crash_before_the_fork_is_judged():
    """C22: a crash between the batch and its settling loses nothing: the fork is found again."""
    one, other = WORLD.block(ALICE, payload=b"1"), WORLD.block(ALICE, payload=b"2")
    held = holder()
    held.begin([one, other])
    held.restart()
    assert held.folded == {one.id}
    held.offer(other)
    agree(held, WORLD, one, other)


class Damaged(MemoryChain):
    """A store in which the bytes of some members are set aside as corrupt."""

    lost: frozenset[BlockId] = frozenset()

    def encoded(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        return {id: data for id, data in super().encoded(ids).items() if id not in self.lost}


def damaged(world: World, *blocks: Block, lost: Collection[Block]) -> tuple[Holder, Damaged]:
    store = Damaged(world.first, _Numbers())
    held = Holder(world.genesis, store)
    held.offer(*blocks)
    store.lost = frozenset(block.id for block in lost)
    return held, store


def test_an_admission_whose_bytes_are_damaged():
    """C24: a block that needs damaged bytes to be judged waits until they are healed; nothing is raised."""
    admit = LISTED.admit(ALICE, [BOB])
    held, store = damaged(LISTED, admit, lost=[admit])
    first = LISTED.block(BOB, admit)
    assert held.offer(first).parked == 1
    assert set(held.members.parking.lacking()) == {admit.id}
    store.lost = frozenset()
    held.members.healed(admit.id)
    held.settle()
    agree(held, LISTED, admit, first)


def test_a_fork_above_damaged_bytes():
    """C11, C24: unfolding passes over members whose bytes are set aside; they are no heads either."""
    blocks = WORLD.chain(ALICE, 3)
    held, _ = damaged(WORLD, *blocks, lost=[blocks[2]])
    held.offer(WORLD.block(ALICE, blocks[0], payload=b"fork"))
    assert held.folded == {blocks[0].id}
    assert blocks[2].id not in held.members.heads
