"""Who is told what: between real replicas, message by message."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.suites.making import ALICE, BOB, CAROL, FOUNDER, World, signers, some_id
from tests.suites.pairs import Net, blocks_of
from walytis_core.block import Draft, Place, create
from walytis_core.errors import Reason
from walytis_core.events import Arrived, Corrupt, Forked, PeerSeen, Synced, TimerFired
from walytis_core.frontier import Entry
from walytis_core.limits import Limits
from walytis_core.messages import (
    Announce,
    Blocks,
    Buckets,
    Credit,
    Differ,
    Digest,
    Done,
    ForkProof,
    Message,
    Probe,
    Pull,
    SideLacking,
    Want,
    Why,
)
from walytis_core.turns import Turns

WORLD = World()


def net(*names: str, gossips: bool = False) -> Net:
    return Net(WORLD, *(names or ("a", "b")), gossips=gossips)


def sent_once(one: Net) -> None:
    """C30: no block is sent twice over one stream and direction."""
    for peer in one.peers.values():
        for other in one.peers:
            blocks = blocks_of(peer.said(Blocks, other))
            assert len(blocks) == len(set(blocks))


# --- pull, done, digests ------------------------------------------------------------------------------------------


def test_pull():
    """C30, C32: each side gets what it lacks, and only that; both end live with equal digests."""
    one = net()
    common = WORLD.chain(ALICE, 300)
    mine, theirs = WORLD.chain(BOB, 500, payload=b"b"), WORLD.chain(CAROL, 300, payload=b"c")
    one["a"].hold([*common, *mine])
    one["b"].hold([*common, *theirs])
    one.connect("a", "b")
    one.deliver()
    one.agree()
    assert blocks_of(one["a"].said(Blocks)) == [block.encoded for block in mine]
    assert blocks_of(one["b"].said(Blocks)) == [block.encoded for block in theirs]
    assert len(one["a"].said(Done)) == len(one["b"].said(Done)) == 1
    assert all(peer.replica.sync.links[other].is_live for peer, other in ((one["a"], "b"), (one["b"], "a")))
    sent_once(one)


def test_equal_digests_need_no_frontier():
    """C32: two peers that hold the same say one digest each."""
    one = net()
    for peer in one.peers.values():
        peer.hold(WORLD.chain(ALICE, 10))
    one.connect("a", "b")
    one.deliver()
    assert [message for _, message in one["a"].sent] == [Digest(one["a"].digest, 10)]
    assert one["b"].changed(Synced) == [Synced("a", equal=True)]
    one["a"].append(BOB, b"news")
    one.deliver()
    one.agree()


def test_join_from_nothing():
    """C32, C33: a join is a sync from an empty frontier; a cut loses nothing, the next session goes on."""
    one = net()
    blocks = WORLD.chain(ALICE, 2000)
    one["a"].hold(blocks)
    left = [3]

    def some(_source: str, _target: str, message: Message) -> bool:
        if isinstance(message, Blocks):
            left[0] -= 1
        return left[0] >= 0

    one.filter = some
    one.connect("a", "b")
    one.deliver()
    held = len(one["b"].ids)
    assert 0 < held < 2000
    one.cut("a", "b")
    one.filter = lambda *_: True
    before = len(blocks_of(one["a"].said(Blocks)))
    one.connect("a", "b")
    one.deliver()
    one.agree()
    assert len(blocks_of(one["a"].said(Blocks))) - before == 2000 - held


def test_buckets_above_512_authors():
    """C32: a large frontier is compared by buckets first, and only what differs is sent."""
    one = net()
    common = [WORLD.block(signer) for signer in signers(700)]
    mine = [WORLD.block(ALICE), WORLD.block(BOB)]
    one["a"].hold([*common, *mine])
    one["b"].hold([*common, WORLD.block(CAROL)])
    one.connect("a", "b")
    one.deliver()
    one.agree()
    assert len(one["b"].said(Buckets)) == 1
    entries = sum(len(pull.entries) for pull in one["b"].said(Pull))
    assert 0 < entries < 50
    assert all(len(differ.buckets) <= 3 for differ in one["a"].said(Differ))
    assert set(blocks_of(one["a"].said(Blocks))) == {block.encoded for block in mine}
    sent_once(one)


def test_a_frontier_in_several_parts():
    """C32: more entries than fit a message come in parts; the answer waits for the last."""
    one = net("a")
    one["a"].hold(WORLD.chain(ALICE, 3))
    one.streams.add(("a", "x"))

    one["a"].handle(PeerSeen("x"))
    one["a"].receive("x", Pull(None, ((BOB.key, Entry(5, some_id(1))),), last=False))
    assert one["a"].said(Done) == []
    rest = ((ALICE.key, Entry(0, WORLD.chain(ALICE, 1)[0].id)), (FOUNDER.key, Entry(0, WORLD.first.id)))
    one["a"].receive("x", Pull(None, rest, last=True))
    assert len(blocks_of(one["a"].said(Blocks))) == 2
    assert len(one["a"].said(Done)) == 1
    assert len(one["a"].said(Pull)) == 1  # BOB's entry shows what we lack


def test_liar_above_our_frontier_gets_nothing_it_claims():
    """C35: a peer that claims more than there is, as often as it likes, makes us pull after a hold-off that doubles."""
    one = net("a")

    one["a"].handle(PeerSeen("x"))
    times: list[float] = []
    while len(times) < 6 and one.now_s < 60:
        one["a"].receive("x", Digest(b"\x99" * 32, 1))
        if len(one["a"].said(Pull)) > len(times):
            times.append(one.now_s)
            one["a"].receive("x", Done(b"\x99" * 32, 1))
        one.run(0.1)
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert [least <= wait < least + 1 for least, wait in zip([1, 2, 4, 8, 16], waits, strict=True)] == [True] * 5


def test_one_pull_at_a_time():
    """C30: with two peers that differ, the second is pulled from once the first is done, and sends only what is left."""
    one = net("a", "b", "c")
    shared = WORLD.chain(ALICE, 50)
    one["b"].hold(shared)
    one["c"].hold([*shared, WORLD.block(CAROL)])
    one.connect("a", "b")
    one.connect("a", "c")
    one.deliver()
    one.run(2)
    one.agree()
    assert len(blocks_of(one["b"].said(Blocks, "a"))) + len(blocks_of(one["c"].said(Blocks, "a"))) <= 51 + 1
    sent_once(one)


def test_a_pull_that_stalls_passes_its_turn():
    """C35: a peer that never answers holds others up for a bounded time."""
    one = net("a", "b")
    one["b"].hold(WORLD.chain(ALICE, 5))

    one["a"].handle(PeerSeen("mute"))
    one["a"].receive("mute", Digest(b"\x99" * 32, 9))
    assert one["a"].said(Pull, "mute")
    one.connect("a", "b")
    one.deliver()
    assert one["a"].ids == set()
    one.run(2 * Limits.pull_turn_s, only="pull")
    one.deliver()
    assert one["a"].ids == one["b"].ids


def test_empty_frames_do_not_keep_a_turn():
    """C35: frames that bring nothing are no progress, however often they come."""
    one = net("a", "b")
    one["b"].hold(WORLD.chain(ALICE, 5))

    one["a"].handle(PeerSeen("drip"))
    one["a"].receive("drip", Digest(b"\x99" * 32, 9))
    one.connect("a", "b")
    for _ in range(40):
        one["a"].receive("drip", Blocks(Why.PULLED, ()))
        one.run(0.5)
    assert one["a"].ids == one["b"].ids


def dribble(one: Net, seconds: float) -> Iterator[None]:
    """A peer that sends 20 valid blocks each 2.5 s, as long as it is let; it stands at each step."""
    writers = iter(signers(20 * (int(seconds / 2.5) + 1)))
    one["a"].handle(PeerSeen("drip"))
    one["a"].receive("drip", Digest(b"\x99" * 32, 10**6))
    for _ in range(int(seconds / 2.5)):
        one["a"].receive("drip", Blocks(Why.PULLED, tuple(WORLD.block(next(writers)).encoded for _ in range(20))))
        yield
        one.run(2.5)


def test_a_steady_dribble_does_not_keep_a_turn():
    """C35: valid blocks cost their author nothing: whatever a pull brings, its turn ends while another peer is due."""
    one = net("a", "b")
    one["b"].hold(WORLD.chain(ALICE, 5))
    steps = dribble(one, 15)
    next(steps)
    one.connect("a", "b")
    for _ in steps:
        pass
    assert one["b"].ids - one["a"].ids == set()


def test_a_good_pull_has_a_long_turn():
    """C33: a long join is not cut into small pieces by others that are due."""
    turns = Turns(due={"other": None})
    turns.begin("good")
    assert turns.pulling is not None
    for look in range(Limits.pull_good_looks):
        turns.pulling.taken += Limits.pull_good_blocks
        assert turns.is_slow(0.0) is (look == Limits.pull_good_looks - 1)


def test_news_are_completed_during_a_pull():
    """C31, C35: what an honest peer's news lack is asked for though another peer's pull goes on."""
    one = net("a", "b")
    first, second = WORLD.chain(ALICE, 2)
    one["b"].hold([first, second])
    steps = dribble(one, 10)
    next(steps)
    one.streams |= {("a", "b"), ("b", "a")}
    one["a"].handle(PeerSeen("b"))
    one["b"].handle(PeerSeen("a"))
    one.queue.clear()
    one["a"].receive("b", Blocks(Why.NEWS, (second.encoded,)))
    next(steps)
    next(steps)
    assert one["a"].replica.sync.turns.is_pulling("drip")
    assert one["b"].ids - one["a"].ids == set()


def test_pulls_are_answered_at_a_bounded_rate():
    """C36: many small pulls lead to one answer now and one later; the rest is refused."""
    one = net("a")
    one["a"].hold(WORLD.chain(ALICE, 3))
    one["a"].handle(PeerSeen("x"))
    for _ in range(100):
        one["a"].receive("x", Pull(None, (), last=True))
    assert len(one["a"].said(Done)) == 1
    assert one["a"].rejected == {Reason.OVER_BUDGET: 98}
    one.run(3 * Limits.pull_interval_s)
    assert len(one["a"].said(Done)) == 2
    one["a"].receive("x", Pull(None, (), last=True))
    assert len(one["a"].said(Done)) == 3


def test_an_answer_waits_longer_with_many_authors(monkeypatch):
    """C36: the dearer an answer, the later the next."""
    monkeypatch.setattr(Limits, "pull_interval_per_author_s", 1.0)
    one = net("a")
    one["a"].hold([WORLD.block(signer) for signer in signers(5)])
    one["a"].handle(PeerSeen("x"))
    one["a"].receive("x", Pull(None, (), last=True))
    one["a"].receive("x", Pull(None, (), last=True))
    one.run(4)
    assert len(one["a"].said(Done)) == 1
    one.run(3)
    assert len(one["a"].said(Done)) == 2


# --- credit -------------------------------------------------------------------------------------------------------


def test_credit_is_never_exceeded():
    """C36: no more than four frames of blocks are under way to a peer that gives no credit back."""
    one = net()
    one["a"].hold(WORLD.chain(ALICE, 5000))
    one.filter = lambda _source, _target, message: not isinstance(message, Credit)
    one.connect("a", "b")
    one.run(1, only="pump")
    assert len(one["a"].said(Blocks)) == Limits.credit_frames
    assert one["a"].replica.sync.links["b"].credit == 0
    one["a"].receive("b", Credit(1))
    assert len(one["a"].said(Blocks)) == Limits.credit_frames + 1
    one["a"].receive("b", Credit(Limits.credit_frames))
    assert len(one["a"].said(Blocks)) == 2 * Limits.credit_frames + 1


def test_credit_above_what_was_taken_is_refused():
    """C36: a peer cannot give itself more credit than there is."""
    one = net()
    one.connect("a", "b")
    one.deliver()
    one["a"].receive("b", Credit(1))
    assert one["a"].rejected == {Reason.OVER_BUDGET: 1}
    assert one["a"].replica.sync.links["b"].credit == Limits.credit_frames


def test_every_frame_of_blocks_gives_its_credit_back():
    """C36: a stream that only carries known or refused blocks does not run dry."""
    one = net()
    one.connect("a", "b")
    one.deliver()
    block = WORLD.block(ALICE)
    for encoded in (block.encoded, block.encoded, WORLD.block(BOB, height=9).encoded, b"garbage"):
        one["a"].receive("b", Blocks(Why.NEWS_HERE, (encoded,)))
    assert one["a"].said(Credit) == [Credit(1)] * 4


def test_a_push_without_credit_is_left_to_the_cursor():
    """C30: news that find no credit are sent when there is some, each once; the link is live again at the end."""
    one = net()
    one.connect("a", "b")
    one.deliver()
    one.filter = lambda _source, _target, message: not isinstance(message, Credit)
    for n in range(10):
        one["a"].append(ALICE, b"%d" % n)
    one.deliver()
    link = one["a"].replica.sync.links["b"]
    assert (len(one["b"].ids), link.is_live, link.credit) == (4, False, 0)
    one.filter = lambda *_: True
    one["a"].receive("b", Credit(4))
    one.deliver()
    one.agree()
    assert link.is_live
    sent_once(one)
    one["a"].append(ALICE, b"more")
    one.deliver()
    one.agree()


# --- news ---------------------------------------------------------------------------------------------------------


def test_news_go_to_live_links_at_once():
    """C31: an appended block is pushed over each open stream, and told the channel."""
    one = net("a", "b", "c", gossips=True)
    one.connect("a", "b")
    one.deliver()
    one["a"].append(ALICE, b"x")
    one.deliver()
    one.agree()
    assert [message.why for message in one["a"].said(Blocks, "b")] == [Why.NEWS]
    assert sum(isinstance(message, Blocks) for message in one["a"].published) == 1
    assert one["b"].published == []  # it was told that the channel knows


def test_announced_only_to_those_who_lack():
    """C30: without a channel, who learns of news announces the ids to others, not to the source nor to those who hold them."""
    one = net("a", "b", "c", "d")
    one.connect("a", "b")
    one.connect("b", "c")
    one.connect("b", "d")
    one.deliver()
    one["a"].append(ALICE, b"x")
    one["d"].receive("elsewhere", Blocks(Why.PULLED, ()))
    one.deliver()
    one.agree()
    assert one["b"].said(Announce, "a") == []
    assert len(one["b"].said(Announce, "c")) == 1
    assert one["c"].said(Announce) == []
    assert [message.why for message in one["b"].said(Blocks, "c")] == [Why.ASKED]
    before = len(one["b"].said(Announce))
    one["c"].append(BOB, b"y")
    one.deliver()
    one.agree()
    assert len(one["b"].said(Announce)) - before == 2  # to a and d
    sent_once(one)


def test_known_blocks_are_not_asked_for():
    """C30: an announcement of what is held, parked or asked for already leads to nothing."""
    one = net("a")

    first, second = WORLD.chain(ALICE, 2)
    for peer in "xy":
        one["a"].handle(PeerSeen(peer))
    one["a"].receive("x", Announce((first.id,)))
    one["a"].receive("y", Announce((first.id,)))
    assert one["a"].said(Want) == [Want((first.id,))]
    one["a"].receive("x", Blocks(Why.ASKED, (first.encoded,)))
    one["a"].receive("y", Blocks(Why.NEWS_HERE, (WORLD.block(ALICE, second).encoded,)))
    one["a"].receive("y", Announce((first.id,)))
    assert one["a"].said(Want) == [Want((first.id,))]


def test_missing_parents_are_asked_for():
    """C31: a block without its parents is parked, they are asked of who sent it, and all is delivered in order."""
    one = net()
    blocks = WORLD.chain(ALICE, 3)
    one["b"].hold(blocks)
    one.streams |= {("a", "b"), ("b", "a")}

    one["a"].handle(PeerSeen("b"))
    one["b"].handle(PeerSeen("a"))
    one.queue.clear()
    one["a"].receive("b", Blocks(Why.NEWS, (blocks[2].encoded,)))
    assert one["a"].ids == set()
    one.run(1)
    one.agree()
    arrived = [block for change in one["a"].changed(Arrived) for block in change.blocks]
    assert arrived == blocks


def test_wants_are_repeated_and_given_up():
    """C31: what does not come is asked for again, of others too, a few times; then what waits for it is forgotten."""
    one = net("a")

    for peer in "xy":
        one["a"].handle(PeerSeen(peer))
    orphan = WORLD.chain(ALICE, 2)[1]
    one["a"].receive("x", Blocks(Why.NEWS, (orphan.encoded,)))
    assert orphan.id in one["a"].replica.members.parking
    one.run(30)
    wants = one["a"].said(Want)
    assert 3 <= len(wants) <= 10
    assert set(wants) == {Want((orphan.prev,))}  # type: ignore[arg-type]
    assert {peer for peer, message in one["a"].sent if isinstance(message, Want)} == {"x", "y"}
    assert orphan.id not in one["a"].replica.members.parking


def test_refused_blocks_cannot_fill_memory():
    """C36: a peer is not remembered to hold what was refused, by authors that nobody knows."""
    one = net("a")
    one["a"].handle(PeerSeen("x"))
    blocks = [WORLD.block(signer, height=7) for signer in signers(50)]
    one["a"].receive("x", Blocks(Why.NEWS, tuple(block.encoded for block in blocks)))
    assert one["a"].rejected == {Reason.WRONG_HEIGHT: 50}
    assert one["a"].replica.sync.links["x"].theirs == {}


def test_made_up_parents_cannot_flood_others():
    """C36: what one peer's parked blocks lack, and what all lack, is asked for some at a time."""
    one = net("a")
    one["a"].handle(PeerSeen("honest"))
    parents = iter(range(10**6))
    rounds = []
    for peer in range(20):
        for writer in signers(5):
            named = sorted(some_id(next(parents)) for _ in range(64))
            block = create(writer, Place(WORLD.first.id, 0, WORLD.first.id, tuple(named), 2), Draft(b"%d" % peer), 0)
            one["a"].receive(f"evil {peer}", Blocks(Why.NEWS, (block.encoded,)), gossip=True)
    for _ in range(8):
        before = sum(len(want.ids) for want in one["a"].said(Want))
        one.run(1)
        rounds.append(sum(len(want.ids) for want in one["a"].said(Want)) - before)
    assert 0 < max(rounds) <= 2 * Limits.asked_at_once
    assert len(one["a"].replica.sync.missing.asking) <= Limits.asked_at_once
    assert all(number <= Limits.asked_per_sender for number in one["a"].replica.sync.missing.asking._accounts.values())


def test_damaged_blocks_are_asked_of_others_too():
    """C24: a peer that withholds damaged blocks does not keep them from being healed; all come, in portions."""
    one = net("a", "b")
    blocks = WORLD.chain(ALICE, 700)
    for peer in one.peers.values():
        peer.hold(blocks)
    one["a"].handle(PeerSeen("a withholds"))
    one.connect("a", "b")
    one.deliver()
    one["a"].handle(Corrupt([block.id for block in blocks]))
    assert len(one["a"].replica.sync.missing.asking) == Limits.repaired_at_once
    one.run(60)
    assert one["a"].replica.sync.missing.damaged == set()
    assert len(one["a"].replica.sync.missing.asking) == 0


def test_announcements_cannot_fill_memory():
    """C36: 10 000 ids from a stranger: a bounded number is asked for, and none for long."""
    one = net("a")

    one["a"].handle(PeerSeen("x"))
    for part in range(20):
        one["a"].receive("x", Announce(tuple(some_id(1000 * part + n) for n in range(1000))))
        one.run(0.4)
    assert len(one["a"].replica.sync.missing.asking) <= 2 * Limits.announced_per_peer
    one.run(30)
    assert len(one["a"].replica.sync.missing.asking) == 0


def test_wants_of_a_peer_are_bounded():
    """C36: a peer that asks for more than fits is refused, and gets what it asked for before."""
    one = net("a")

    block = WORLD.block(ALICE, payload=bytes(30_000))
    one["a"].hold([block])
    one["a"].handle(PeerSeen("x"))
    for _ in range(8):
        one["a"].receive("x", Want((block.id,) * 1000))
    assert len(one["a"].said(Blocks)) == Limits.credit_frames
    assert one["a"].rejected[Reason.OVER_BUDGET] >= 3
    assert len(one["a"].replica.sync.links["x"].asked) <= Limits.parked_blocks_per_peer


def test_probes_cannot_fill_memory():
    """C36: answers to probes are bounded like wants."""
    one = net("a")

    blocks = WORLD.chain(ALICE, 2, payload=bytes(30_000))
    one["a"].hold(blocks)
    one["a"].handle(PeerSeen("x"))
    for _ in range(Limits.parked_blocks_per_peer + 100):
        one["a"].receive("x", Probe(ALICE.key, ((0, some_id(1)),)))
    assert len(one["a"].replica.sync.links["x"].asked) <= Limits.parked_blocks_per_peer


# --- forks --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fork", [0, 1, 3, 100, 998])
@pytest.mark.parametrize("longer", [0, 1, 700])
def test_probes_find_the_fork(fork: int, longer: int):
    """C11, C30: two branches of one author that parted long ago are located, proven on both sides, and sync goes on."""
    one = net()
    mine = WORLD.chain(ALICE, 1000)
    base = mine[fork - 1] if fork else None
    theirs = [*mine[:fork], *WORLD.chain(ALICE, 1000 - fork + longer, base, b"other")]
    one["a"].hold([*mine, WORLD.block(BOB)])
    one["b"].hold([*theirs, WORLD.block(CAROL)])
    one.connect("a", "b")
    one.run(30)
    one.agree()
    for peer in one.peers.values():
        assert peer.replica.members.frozen == {ALICE.key: fork}
        assert len(peer.changed(Forked)) <= 3
    assert len(one["a"].said(Probe)) + len(one["b"].said(Probe)) <= 12


def test_a_proof_is_sent_to_who_lacks_it():
    """C11: a peer that shows an unfrozen entry of a frozen author is sent the proof."""
    one = net()
    first, second = WORLD.chain(ALICE, 2)
    one["a"].hold([first, second])
    one["b"].hold([first, second])
    one["a"].receive("x", Blocks(Why.NEWS, (WORLD.block(ALICE, first, payload=b"fork").encoded,)))
    one.connect("a", "b")
    one.run(5)
    one.agree()
    assert len(one["a"].said(ForkProof, "b")) == 1
    assert one["b"].replica.members.frozen == {ALICE.key: 1}


def test_a_proof_travels_over_the_channel_once():
    """C11: each peer tells a fork once, and not to a channel that told it."""
    one = net("a", "b", "c", gossips=True)
    blocks = WORLD.chain(ALICE, 2)
    for peer in one.peers.values():
        peer.hold(blocks)
    one["a"].receive("x", Blocks(Why.NEWS, (WORLD.block(ALICE, payload=b"fork").encoded,)))
    one.deliver()
    one.agree()
    told = [
        name for name, peer in one.peers.items() if any(isinstance(message, ForkProof) for message in peer.published)
    ]
    assert told == ["a"]
    assert all(len(peer.changed(Forked)) == 1 for peer in one.peers.values())


def test_a_wrong_proof_is_refused():
    """C11: two blocks that prove nothing are counted, and freeze nobody."""
    one = net()
    first, second = WORLD.chain(ALICE, 2)
    one["a"].hold([first, second])
    one.connect("a", "b")
    one.deliver()
    one["a"].receive("b", ForkProof(first.encoded, second.encoded))
    one["a"].receive("b", ForkProof(first.encoded, b"garbage"))
    assert one["a"].rejected == {Reason.BAD_PROOF: 1, Reason.BAD_ENCODING: 1}
    assert one["a"].replica.members.frozen == {}


# --- what nobody asked for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [Done(bytes(32), 1), Differ((1,))])
def test_unasked_answers_are_refused(message: Message):
    """C36: an answer to a pull that was never made."""
    one = net()
    one.connect("a", "b")
    one.deliver()
    one["a"].receive("b", message)
    assert one["a"].rejected == {Reason.UNASKED: 1}


@pytest.mark.parametrize("message", [
    Credit(1), Announce(()), Want(()), Done(bytes(32), 1), Differ(()), Pull(None, (), last=True), Buckets((bytes(16),) * 256),
    Probe(ALICE.key, ()), SideLacking(()),
])  # fmt: skip
def test_the_channel_carries_only_news(message: Message):
    """C36: over the channel: digests, blocks and proofs; nothing else is answered."""
    one = net()
    one["a"].receive("x", message, gossip=True)
    assert one["a"].rejected == {Reason.UNASKED: 1}
    assert one["a"].sent == []


@pytest.mark.parametrize("message", [Credit(1), Announce((some_id(1),)), Want((some_id(1),)), Done(bytes(32), 1), Pull(None, (), last=True),
                                     Probe(ALICE.key, ((0, some_id(1)),)), Digest(bytes(32), 5)])  # fmt: skip
def test_messages_without_a_stream(message: Message):
    """C37: what arrives after a stream was lost raises nothing and sends nothing but a want for what was announced."""
    one = net()
    one["a"].receive("gone", message)
    assert all(isinstance(sent, Want) for _, sent in one["a"].sent)


# --- the quiet channel --------------------------------------------------------------------------------------------


def test_a_quiet_channel_heals():
    """C35: a block that was missed is found by a digest on the channel: its peer is contacted, then pulled from."""
    one = net("a", "b", gossips=True)
    one["b"].hold(WORLD.chain(ALICE, 3))
    one.run(2)
    assert "b" in one["a"].contacts or "a" in one["b"].contacts
    one.connect("a", "b")
    one.run(5)
    one.agree()


def test_equal_digests_suppress_ours():
    """C35: on a quiet channel of equals, digests grow rare: two heard suppress one's own."""
    names = [f"p{n}" for n in range(12)]
    one = net(*names, gossips=True)
    one.run(3600)
    per_peer = [sum(isinstance(message, Digest) for message in one[name].published) for name in names]
    assert sum(per_peer) < 12 * 13  # without suppression each one says it at every interval


def test_the_founder_alone_is_in_a_new_frontier():
    """C32: a chain that only has its genesis has one entry."""
    one = net("a")
    assert dict(one["a"].replica.members.frontier) == {FOUNDER.key: Entry(0, WORLD.first.id)}


# --- the channel when a stream ends -------------------------------------------------------------------------------


def test_what_a_broken_stream_did_not_confirm_goes_to_the_channel():
    """C30: news that went over a stream alone are told again when it breaks, unless they were confirmed."""
    one = net("a", "b", gossips=True)
    one["a"].replica.sync.gossips = False  # all who are on the channel have streams
    one.connect("a", "b")
    one.deliver()
    for number in range(2):
        one["a"].append(ALICE, bytes([number]))
    one.deliver()
    assert not one["a"].published
    one.filter = lambda _source, _target, _message: False
    one["a"].append(ALICE, b"lost")
    lost = one["a"].said(Blocks, "b")[-1].blocks
    one.filter = lambda _source, _target, _message: True
    one.cut("a", "b")
    assert [message for message in one["a"].published if isinstance(message, Blocks)] == [Blocks(Why.NEWS, lost)]
    one.deliver()
    assert one["b"].ids == one["a"].ids
    one["a"].append(ALICE, b"next")
    assert isinstance(one["a"].published[-1], Blocks), "the channel carries the next ones too, before anybody looks"


def test_a_doubt_is_acted_on_only_when_it_is_ripe():
    """C35: a check that was due for an older doubt leaves a fresh one its moment; who talks all the time gets ripe too."""
    one = net("a", gossips=True)["a"]
    one.receive("x", Digest(b"\x01" * 32, 9), gossip=True)
    early = one.net.now_s + Limits.check_delay_s / 2
    one.net.now_s = early
    one.receive("x", Digest(b"\x02" * 32, 9), gossip=True)
    one.handle(TimerFired("check"))
    assert one.contacts == [], "the older doubt is not ripe yet"
    one.net.now_s = early + Limits.check_delay_s / 2
    one.receive("x", Digest(b"\x03" * 32, 9), gossip=True)
    one.handle(TimerFired("check"))
    assert one.contacts == ["x"], "what is said meanwhile does not begin it anew"
