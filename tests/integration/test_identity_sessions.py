"""Sessions between devices over real streams: in memory, and over libp2p on loopback."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import trio

from identities.connection import Connection
from identities.connections import SESSION_PROTOCOL, Connections
from identities.handshake import Asked, Own, Verdict
from identities.session import MAX_MESSAGE_BYTES, RENEW_S
from identities.suites import COMPOSITE
from tests.suites.nodes import WITHIN_S, until
from tests.suites.sessions import View, device, party
from walytis_core import ClosedError, InvalidInputError, Node, NotFoundError, UnavailableError
from walytis_core.errors import Reason, RemoteError
from walytis_core.handshake import frame
from walytis_core.network import MemoryHub
from walytis_core.network.libp2p import Libp2pNetwork
from walytis_core.network.port import Stream
from walytis_core.pending import Pending

ALICE, BOB, CAROL = (party(name, suite=COMPOSITE) for name in ("alice", "bob", "carol"))
WAITING_BYTES = 5 << 20  # far above what may wait on the way, far below what is sent


@dataclass
class End:
    """A node with sessions, what it speaks for, and what it knows."""

    node: Node
    own: list[Own]
    view: View = field(default_factory=lambda: View(ALICE, BOB, CAROL))
    now: float = 1000.0
    judge: Callable[[Asked], Verdict] | None = None

    def __post_init__(self) -> None:
        self.sessions = Connections(self.node, lambda: self.own, self._judged, clock=lambda: self.now)

    def _judged(self, asked: Asked) -> Verdict:
        return (self.judge or self.view)(asked)

    def dial(self, other: End, *, meaning: Own = BOB) -> Pending[Connection]:
        return self.sessions.dial(meaning.did, other.node.addresses(), own=self.own[0].did)


@pytest.fixture(params=["memory", pytest.param("libp2p", marks=pytest.mark.libp2p)])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[End, End]]:
    hub = MemoryHub()

    def opened() -> Node:
        return Node.in_memory(hub) if request.param == "memory" else Node.in_memory(network=Libp2pNetwork())

    with opened() as first, opened() as second:
        yield End(first, [ALICE]), End(second, [BOB])


def joined(first: End, second: End) -> tuple[Connection, Connection]:
    """Both ends of a new connection."""
    return first.dial(second).result(WITHIN_S), second.sessions.accept(WITHIN_S)


def refused(end: End) -> dict[str, int]:
    return dict(end.node.stats.refused)


def test_messages_go_both_ways(ends: tuple[End, End]):
    """I24: whole, in order, of any length up to the limit."""
    ours, theirs = joined(*ends)
    with ours, theirs:
        assert (ours.peer.did, theirs.peer.did) == (BOB.did, ALICE.did)
        assert (ours.peer_id, theirs.peer_id) == (ends[1].node.peer_id, ends[0].node.peer_id)
        for size in (0, 1, 1000, MAX_MESSAGE_BYTES):
            ours.send(bytes([size % 251]) * size)
            assert theirs.receive(WITHIN_S) == bytes([size % 251]) * size
            theirs.send(bytes(size))
            assert ours.receive(WITHIN_S) == bytes(size)
        with pytest.raises(InvalidInputError):
            ours.send(bytes(MAX_MESSAGE_BYTES + 1))
        with pytest.raises(UnavailableError):
            ours.receive(0.01)


def test_what_was_sent_arrives_before_the_end(ends: tuple[End, End]):
    """I24: an end is said, and told from a cut."""
    ours, theirs = joined(*ends)
    for n in range(200):
        ours.send(n.to_bytes(2, "big") * 500)
    ours.close()
    assert [int.from_bytes(message[:2], "big") for message in theirs] == list(range(200))
    for one in (ours, theirs):
        with pytest.raises(ClosedError):
            one.receive(WITHIN_S)
        with pytest.raises(ClosedError):
            one.send(b"more")
        one.close()
    until(lambda: not ends[0].sessions.open and not ends[1].sessions.open)


def test_who_does_not_read_slows_the_sender(ends: tuple[End, End]):
    """What waits is bounded, and nothing of it is lost."""
    ours, theirs = joined(*ends)
    count = 200
    sent = []

    def send() -> None:
        for n in range(count):
            ours.send(bytes([n]) * MAX_MESSAGE_BYTES)
            sent.append(n)

    thread = threading.Thread(target=send)
    thread.start()
    until(lambda: theirs._inbox.weight > 1 << 20)
    until(lambda: bool(ours._senders))
    assert len(sent) * MAX_MESSAGE_BYTES < WAITING_BYTES
    assert [theirs.receive(WITHIN_S)[0] for _ in range(count)] == list(range(count))
    thread.join(WITHIN_S)
    assert len(sent) == count


def test_two_ends_that_only_send_do_not_wait_for_each_other_for_ever(ends: tuple[End, End]):
    """Both are full, in the middle of a renewal; then both read."""
    ours, theirs = joined(*ends)
    for end in ends:
        end.now += RENEW_S
    handed = [[one.sending(bytes([n]) * MAX_MESSAGE_BYTES) for n in range(40)] for one in (ours, theirs)]
    for one, pendings in ((theirs, handed[0]), (ours, handed[1])):
        assert [one.receive(WITHIN_S)[0] for _ in range(40)] == list(range(40))
        assert all(pending.result(WITHIN_S) is None for pending in pendings)


def test_a_session_is_renewed_while_it_is_used(ends: tuple[End, End]):
    ours, theirs = joined(*ends)
    for _ in range(3):
        before = ours._line.id
        for one in ends:
            one.now += RENEW_S
        for n in range(20):
            ours.send(bytes([n]))
            theirs.send(bytes([n]))
        assert [theirs.receive(WITHIN_S)[0] for _ in range(20)] == list(range(20))
        assert [ours.receive(WITHIN_S)[0] for _ in range(20)] == list(range(20))
        until(lambda known=before: ours._line.id != known and ours._line.id == theirs._line.id)  # type: ignore[misc]
    assert len(ends[0].view.asked) == len(ends[1].view.asked) == 4


def test_newer_keys_are_put_to_use_at_a_review(ends: tuple[End, End]):
    """I08: the session goes on under the next epoch."""
    ours, theirs = joined(*ends)
    newer = party("alice", epoch=2, suite=COMPOSITE)
    ends[1].view.know(newer)
    ends[0].own = [newer]
    ends[0].sessions.review()
    until(lambda: theirs.peer.control_id == newer.control.id)
    ends[1].view.stale.add(ALICE.control.id)
    ends[1].sessions.review()
    ours.send(b"still here")
    assert theirs.receive(WITHIN_S) == b"still here"


@pytest.mark.parametrize("reason", [Reason.STALE_KEY, Reason.UNKNOWN_MEMBER])
def test_a_review_ends_what_is_taken_no_longer(ends: tuple[End, End], reason: Reason):
    """I08, I20: after the window, or at once after a removal: whenever the judge says so."""
    ours, theirs = joined(*ends)
    ends[1].sessions.review()
    assert theirs.is_open
    if reason is Reason.STALE_KEY:
        ends[1].view.stale.add(ALICE.control.id)
    else:
        del ends[1].view.members[ALICE.did, ALICE.path]
    ends[1].sessions.review()
    for one in (theirs, ours):
        with pytest.raises(UnavailableError):
            one.receive(WITHIN_S)
    with pytest.raises(UnavailableError):
        ends[0].dial(ends[1]).result(WITHIN_S)
    until(lambda: refused(ends[1]).get(reason.value) == 1)


def test_a_node_that_speaks_no_longer_for_its_identity_ends_its_sessions(ends: tuple[End, End]):
    ours, _theirs = joined(*ends)
    ends[0].own = []
    ends[0].sessions.review()
    with pytest.raises(ClosedError):
        ours.receive(WITHIN_S)


@pytest.mark.parametrize(
    ("liar", "reason"),
    [
        (ALICE._replace(control=device(9)), Reason.WRONG_IDENTITY),
        (ALICE._replace(device=device(9)), Reason.WRONG_DEVICE_KEY),
        (ALICE._replace(path=(5,)), Reason.UNKNOWN_MEMBER),
    ],
)
def test_who_is_not_taken_is_told_no_more_than_that(ends: tuple[End, End], liar: Own, reason: Reason):
    """I23: the reason is counted where it was found; the peer learns nothing of it."""
    ends[0].own = [liar]
    with pytest.raises(UnavailableError) as caught:
        ends[0].dial(ends[1]).result(WITHIN_S)
    assert reason.value not in str(caught.value)
    until(lambda: refused(ends[1]).get(reason.value) == 1)
    assert not ends[1].sessions.open
    with pytest.raises(UnavailableError):
        ends[1].sessions.accept(0.01)


def test_a_responder_that_is_not_taken_is_counted_by_the_one_who_dialled(ends: tuple[End, End]):
    """I04, I23: and the caller is told why."""
    ends[1].own = [BOB._replace(device=device(9))]
    with pytest.raises(UnavailableError) as caught:
        ends[0].dial(ends[1]).result(WITHIN_S)
    assert isinstance(caught.value.__cause__, RemoteError)
    assert caught.value.__cause__.reason is Reason.WRONG_DEVICE_KEY
    assert refused(ends[0]) == {Reason.WRONG_DEVICE_KEY.value: 1}


def test_an_identity_that_is_elsewhere_is_not_answered(ends: tuple[End, End]):
    with pytest.raises(UnavailableError):
        ends[0].dial(ends[1], meaning=CAROL).result(WITHIN_S)
    until(lambda: refused(ends[1]) == {Reason.WRONG_IDENTITY.value: 1})
    with pytest.raises(NotFoundError):
        ends[0].sessions.dial(BOB.did, ends[1].node.addresses(), own=CAROL.did).result(WITHIN_S)


def test_a_judge_that_raises_lets_nobody_in(ends: tuple[End, End], caplog: pytest.LogCaptureFixture):
    quoted = "what a peer said"

    def judge(_asked: Asked) -> Verdict:
        raise ValueError(quoted)

    ends[1].judge = judge
    with pytest.raises(UnavailableError):
        ends[0].dial(ends[1]).result(WITHIN_S)
    ends[1].judge = None
    ours, theirs = joined(*ends)
    ours.send(b"x")
    assert theirs.receive(WITHIN_S) == b"x"
    assert quoted not in caplog.text


def test_a_slow_judge_holds_up_nobody_else(ends: tuple[End, End]):
    ours, theirs = joined(*ends)
    asked, go_on = threading.Event(), threading.Event()

    def judge(about: Asked) -> Verdict:
        asked.set()
        go_on.wait(WITHIN_S)
        return ends[1].view(about)

    ends[1].judge = judge
    pending = ends[0].dial(ends[1])
    assert asked.wait(WITHIN_S)
    ours.send(b"x")
    assert theirs.receive(WITHIN_S) == b"x"
    assert not pending.done()
    go_on.set()
    assert pending.result(WITHIN_S).is_open


def test_a_dial_that_is_given_up_leaves_nothing(ends: tuple[End, End]):
    asked, go_on = threading.Event(), threading.Event()

    def judge(about: Asked) -> Verdict:
        asked.set()
        go_on.wait(WITHIN_S)
        return ends[0].view(about)

    ends[0].judge = judge
    pending = ends[0].dial(ends[1])
    assert asked.wait(WITHIN_S)
    assert pending.cancel()
    go_on.set()
    with pytest.raises(ClosedError):
        pending.result(WITHIN_S)
    with pytest.raises(UnavailableError):
        ends[1].sessions.accept(0.2)
    assert not ends[0].sessions.open


def test_closing_a_node_ends_its_connections_at_both_ends(ends: tuple[End, End]):
    ours, theirs = joined(*ends)
    waiting = ends[0].dial(ends[1], meaning=CAROL)
    ends[0].node.close()
    with pytest.raises(ClosedError):
        ours.receive(WITHIN_S)
    with pytest.raises(ClosedError):
        ours.send(b"x")
    with pytest.raises(UnavailableError):
        theirs.receive(WITHIN_S)
    with pytest.raises((ClosedError, UnavailableError)):
        waiting.result(WITHIN_S)
    with pytest.raises(ClosedError):
        ends[0].sessions.accept(WITHIN_S)
    with pytest.raises(ClosedError):
        _ = ends[0].sessions.dial(BOB.did, [], own=ALICE.did)


def test_closing_the_sessions_of_a_node_leaves_the_node(ends: tuple[End, End]):
    ours, theirs = joined(*ends)
    ends[1].sessions.close()
    for one in (ours, theirs):
        with pytest.raises(ClosedError):
            one.receive(WITHIN_S)
    with pytest.raises(UnavailableError):
        ends[0].dial(ends[1]).result(WITHIN_S)
    with pytest.raises(ClosedError):
        _ = ends[1].sessions.dial(ALICE.did, [], own=BOB.did)
    assert ends[1].node.create_chain("notes").name == "notes"


def test_sessions_work_under_asyncio(ends: tuple[End, End]):
    async def talk() -> list[bytes]:
        ours = await ends[0].dial(ends[1])
        theirs = await ends[1].sessions.accept_async()
        for n in range(5):
            await ours.sending(bytes([n]))
        await asyncio.to_thread(ours.close)
        return [await theirs.receive_async()] + [message async for message in theirs]

    assert asyncio.run(asyncio.wait_for(talk(), WITHIN_S)) == [bytes([n]) for n in range(5)]


def test_strangers_bytes_end_their_stream_and_nothing_else(ends: tuple[End, End]):
    """I24, I39: junk before, in and after a handshake, and a stream that is cut, over a real stream."""
    ours, theirs = joined(*ends)
    addresses = ends[1].node.addresses()
    for junk in (b"\xff" * 4, frame(b"junk"), frame(bytes(20_000)), b""):
        done = Pending[bytes]()

        async def attack(data: bytes = junk, done: Pending[bytes] = done) -> None:
            stream = await ends[0].node.streams.open(addresses, SESSION_PROTOCOL)
            if data:
                await stream.send(data)
            else:
                await stream.close()
            with trio.move_on_after(WITHIN_S):
                try:
                    done.resolve(await stream.receive(100))
                except UnavailableError:
                    done.resolve(b"")

        assert ends[0].node.streams.attend(done, attack).result(WITHIN_S) == b""
    ours.send(b"x")
    assert theirs.receive(WITHIN_S) == b"x"
    assert refused(ends[1]).keys() <= {Reason.BAD_MESSAGE.value}


def test_a_member_that_breaks_the_protocol_is_dropped(ends: tuple[End, End]):
    """I24: the first record that does not open ends the session; what came before it is still read."""
    ours, theirs = joined(*ends)
    ours.send(b"before")
    until(lambda: theirs._inbox.weight > 0)

    def spoil() -> None:
        ours._line._out.send.seal(b"lost")

    ends[0].node.streams.post(spoil)
    ours.send(b"after")
    assert theirs.receive(WITHIN_S) == b"before"
    with pytest.raises(UnavailableError) as caught:
        theirs.receive(WITHIN_S)
    assert isinstance(caught.value.__cause__, RemoteError)
    until(lambda: refused(ends[1]) == {Reason.BAD_SEAL.value: 1})


def test_streams_that_never_speak_are_bounded(ends: tuple[End, End]):
    """So many handshakes of one peer at once; others wait for nothing."""
    opened: list[Stream] = []
    done = Pending[None]()
    addresses = ends[1].node.addresses()

    async def hold() -> None:
        while len(opened) < 8:
            opened.append(await ends[0].node.streams.open(addresses, SESSION_PROTOCOL))
        with trio.move_on_after(WITHIN_S):
            for stream in opened[4:]:
                try:
                    assert await stream.receive(1) == b""
                except UnavailableError:
                    continue
        for stream in opened:
            await stream.close()
        done.resolve(None)

    ends[0].node.streams.attend(done, hold).result(WITHIN_S)
    until(lambda: not ends[1].sessions._handshakes)
    assert joined(*ends)[0].is_open
