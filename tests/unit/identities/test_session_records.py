"""An open session over its life: strict order of records, and renewal inside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identities import session as module
from identities.handshake import Initiator, Own, Responder
from identities.session import MAX_AGE_S, MAX_MESSAGE_BYTES, MAX_RECORDS, RENEW_RECORDS, RENEW_S, Came, Line
from tests.suites.sessions import (
    ALICE,
    BOB,
    ENDS,
    EVE,
    VIEW,
    Judge,
    View,
    entropy,
    initiator,
    open_pair,
    party,
    responder,
)
from walytis_core.errors import ClosedError, InvalidInputError, Reason, RemoteError, UnavailableError


class Pair(NamedTuple):
    """Two lines of one session."""

    first: Line
    second: Line


def pair(seed: int = 1, own: Own = ALICE, here: Own = BOB) -> Pair:
    ours, theirs = open_pair(seed)
    return Pair(
        Line(ours, lambda renews: initiator(seed + 1, own, renews=renews), is_initiator=True, now=0.0),
        Line(theirs, lambda renews: responder(seed + 1001, here, renews=renews), is_initiator=False, now=0.0),
    )


def pending(line: Line, now: float) -> list[bytes]:
    """All records of a renewal that are to be sent now."""
    records = []
    while (record := line.next_record(now)) is not None:
        records.append(record)
    return records


def carried(to: Line, records: list[bytes], now: float, judge: Judge = VIEW) -> list[Came]:
    """Takes records, and verdicts where they are asked for."""
    came = []
    for record in records:
        one = to.receive(record, now)
        came.append(to.answer(judge(one.asks), now) if one.asks else one)
    return came


def renewed(lines: Pair, now: float, judge: Judge = VIEW) -> None:
    """Carries records of a renewal both ways until none is left."""
    while True:
        ours, theirs = pending(lines.first, now), []
        carried(lines.second, ours, now, judge)
        theirs = pending(lines.second, now)
        carried(lines.first, theirs, now, judge)
        if not ours and not theirs:
            return


def assert_talking(lines: Pair, now: float) -> None:
    for one, other in (lines, reversed(lines)):
        assert other.receive(one.seal(b"still there", now), now).message == b"still there"
    assert lines.first.id == lines.second.id


# --- I24: records --------------------------------------------------------------------------------------------------


@given(messages=st.lists(st.tuples(st.booleans(), st.binary(max_size=100)), max_size=20))
def test_messages_arrive_whole_and_in_order(messages: list[tuple[bool, bytes]]):
    lines = pair()
    for is_first, message in messages:
        one, other = lines if is_first else reversed(lines)
        assert other.receive(one.seal(message, 1.0), 1.0) == Came(message)


def dropped(records: list[bytes]) -> list[bytes]:
    return records[1:]


def replayed(records: list[bytes]) -> list[bytes]:
    return [records[0], *records]


def reordered(records: list[bytes]) -> list[bytes]:
    return [records[1], records[0], *records[2:]]


def cut(records: list[bytes]) -> list[bytes]:
    return [records[0][:-1], *records[1:]]


def emptied(records: list[bytes]) -> list[bytes]:
    return [b"", *records]


def changed(records: list[bytes]) -> list[bytes]:
    return [records[0][:1] + bytes([records[0][1] ^ 1]) + records[0][2:], *records[1:]]


@pytest.mark.parametrize("change", [dropped, replayed, reordered, cut, emptied, changed])
def test_records_out_of_order_end_the_session(change: Callable[[list[bytes]], list[bytes]]):
    """I24: authenticated, ordered, replay-proof; closed on the first error."""
    lines = pair()
    records = [lines.first.seal(bytes([n]), 0.0) for n in range(4)]
    received: list[bytes | None] = []

    def receive_all() -> None:
        received.extend(lines.second.receive(record, 0.0).message for record in change(records))

    with pytest.raises(RemoteError) as caught:
        receive_all()
    assert caught.value.reason is Reason.BAD_SEAL
    assert received == [bytes([n]) for n in range(len(received))], "what was taken is a beginning of what was sent"
    for record in records:
        with pytest.raises(ClosedError):
            lines.second.receive(record, 0.0)


def test_records_of_the_other_direction_and_of_other_sessions_are_refused():
    """I24: reflection, and swaps between sessions."""
    for victim, record in (
        (pair(), pair().first.seal(b"x", 0.0)),
        (pair(5), pair(6).second.seal(b"x", 0.0)),
    ):
        with pytest.raises(RemoteError):
            victim.first.receive(record, 0.0)


def test_a_cut_stream_is_told_from_an_end():
    """I24: the end is a record; without it the stream was cut."""
    lines = pair()
    carried(lines.second, [lines.first.seal(b"x", 0.0)], 0.0)
    assert lines.second.receive(lines.first.end(0.0), 0.0).is_end
    with pytest.raises(ClosedError):
        lines.first.seal(b"more", 0.0)
    with pytest.raises(ClosedError):
        lines.second.receive(b"more", 0.0)


def made_up(line: Line, record: bytes) -> bytes:
    """A record that a liar seals with true keys."""
    return line._out.send.seal(record)


@pytest.mark.parametrize("plain", [b"", b"\4", b"\2", b"\2x", b"\3x", b"\1", b"\1junk", b"\xff"])
def test_records_that_are_none_are_refused(plain: bytes):
    for victim, liar in (pair(), reversed(pair())):
        with pytest.raises(RemoteError):
            victim.receive(made_up(liar, plain), 0.0)
        with pytest.raises(ClosedError):
            victim.receive(made_up(liar, b"\0x"), 0.0)


def test_messages_are_bounded():
    lines = pair()
    assert lines.second.receive(lines.first.seal(bytes(MAX_MESSAGE_BYTES), 0.0), 0.0).message
    with pytest.raises(InvalidInputError):
        lines.first.seal(bytes(MAX_MESSAGE_BYTES + 1), 0.0)


# --- renewal -------------------------------------------------------------------------------------------------------


def test_a_session_is_renewed_after_an_hour_by_the_initiator():
    lines = pair()
    before = lines.first.id
    assert pending(lines.first, RENEW_S - 1) == []
    assert pending(lines.second, RENEW_S + 1) == [], "the responder waits"
    renewed(lines, RENEW_S)
    assert lines.first.id != before
    assert_talking(lines, RENEW_S)
    assert pending(lines.first, 2 * RENEW_S - 1) == []
    renewed(lines, 2 * RENEW_S)
    assert_talking(lines, 2 * RENEW_S + MAX_AGE_S)


@pytest.mark.parametrize("sender", [0, 1])
def test_a_session_is_renewed_near_so_many_records(sender: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "RENEW_RECORDS", 5)
    lines = pair()
    before = lines.first.id
    for n in range(5):
        assert pending(lines.first, 0.0) == [], n
        carried(lines[1 - sender], [lines[sender].seal(b"x", 0.0)], 0.0)
    renewed(lines, 0.0)
    assert lines.first.id != before
    assert_talking(lines, 0.0)


def test_messages_flow_while_a_session_is_renewed():
    """Records of both directions, between any two of a renewal, arrive in order."""
    lines = pair()
    now = RENEW_S
    wires: list[list[bytes]] = [[], []]
    sent: list[list[bytes]] = [[], []]
    received: list[list[bytes]] = [[], []]
    for turn in range(12):
        for end in (0, 1):
            wires[end] += pending(lines[end], now)
            for part in range(2):
                message = bytes([end, turn, part])
                wires[end].append(lines[end].seal(message, now))
                sent[end].append(message)
        for end in (0, 1):
            records, wires[end] = wires[end][:3], wires[end][3:]
            received[end] += [one.message for one in carried(lines[1 - end], records, now) if one.message]
    for end in (0, 1, 0, 1):
        received[end] += [one.message for one in carried(lines[1 - end], wires[end], now) if one.message]
        wires[end] = []
        wires[1 - end] += pending(lines[1 - end], now)
    assert received == sent
    renewed(lines, now)
    assert_talking(lines, now)


def test_a_key_seals_no_more_than_its_records():
    lines = pair()
    lines.first._sent = MAX_RECORDS - 17
    lines.first.seal(b"x", 0.0)
    assert not lines.first.may_send()
    lines.first._sent = MAX_RECORDS
    with pytest.raises(UnavailableError):
        lines.first.seal(b"x", 0.0)
    lines.second._received = MAX_RECORDS
    with pytest.raises(RemoteError) as caught:
        lines.second.receive(b"", 0.0)
    assert caught.value.reason is Reason.OVER_BUDGET
    assert RENEW_RECORDS < MAX_RECORDS - 16


def test_a_session_that_is_not_renewed_ends():
    lines = pair()
    late = MAX_AGE_S + 1
    record = lines.first.seal(b"x", 0.0)
    assert not lines.second.is_expired(MAX_AGE_S)
    assert lines.second.is_expired(late)
    for line in lines:
        with pytest.raises(UnavailableError):
            line.seal(b"x", late)
    with pytest.raises(UnavailableError):
        lines.second.receive(record, late)


def test_a_renewal_shows_a_newer_control_key():
    """I08: who was renewed proves the new epoch in a session that goes on."""
    newer = party("alice", epoch=2)
    view = View(newer, BOB)
    lines = pair(own=newer)
    lines.first.renew()
    renewed(lines, 1.0, view)
    assert lines.second.peer.control_id == newer.control.id
    assert_talking(lines, 1.0)


def test_a_judge_that_refuses_at_a_renewal_ends_the_session():
    """I08: an epoch that is taken no longer."""
    lines = pair()
    records = pending(lines.first, RENEW_S)
    carried(lines.second, records, RENEW_S)
    carried(lines.first, pending(lines.second, RENEW_S), RENEW_S)
    (came,) = carried(lines.second, pending(lines.first, RENEW_S), RENEW_S, lambda _: Reason.STALE_KEY)
    assert came.refused is Reason.STALE_KEY
    with pytest.raises(UnavailableError):
        carried(lines.first, pending(lines.second, RENEW_S), RENEW_S)
    for line in lines:
        with pytest.raises(ClosedError):
            line.receive(b"", RENEW_S)


@pytest.mark.parametrize("is_initiator", [True, False])
def test_a_renewal_by_another_device_is_refused(is_initiator: bool):
    """I39: also by another device of the same identity, and by one that the judge would take."""
    other = party("alice", 2) if is_initiator else party("bob", 2)
    view = View(other, ALICE, BOB, EVE)
    lines = pair(own=other) if is_initiator else pair(here=other)
    lines.first.renew()
    with pytest.raises((RemoteError, UnavailableError)) as caught:
        renewed(lines, 1.0, view)
    if not is_initiator:
        assert isinstance(caught.value, RemoteError)
        assert caught.value.reason is Reason.WRONG_DEVICE_KEY


def test_a_turn_and_a_handshake_out_of_place_are_refused():
    for victim, liar in (pair(), reversed(pair())):
        with pytest.raises(RemoteError) as caught:
            victim.receive(made_up(liar, b"\2"), 0.0)
        assert caught.value.reason is Reason.BAD_MESSAGE
    lines = pair()
    with pytest.raises(RemoteError) as caught:
        lines.first.receive(made_up(lines.second, b"\1" + initiator().hello), 0.0)
    assert caught.value.reason is Reason.BAD_MESSAGE


def test_a_second_hello_before_the_turn_is_refused():
    lines = pair()
    now = RENEW_S
    for _ in range(2):
        carried(lines.second, pending(lines.first, now), now)
        carried(lines.first, pending(lines.second, now), now)
    with pytest.raises(RemoteError) as caught:
        lines.second.receive(made_up(lines.first, b"\1" + initiator().hello), now)
    assert caught.value.reason is Reason.BAD_MESSAGE


def test_frames_of_an_old_renewal_are_refused():
    """I23, I39: a recorded renewal, played back by the peer itself into the next session."""
    lines = pair()
    hellos: list[bytes] = []

    class Recording(Initiator):
        def __init__(self, renews: bytes) -> None:
            super().__init__(ALICE, BOB.did, ENDS, entropy(77), renews)
            hellos.append(self.hello)

    lines.first._renew = Recording
    renewed(lines, RENEW_S)
    carried(lines.second, [made_up(lines.first, b"\1" + hellos[0])], RENEW_S)
    answers = pending(lines.second, RENEW_S)
    with pytest.raises(RemoteError):
        carried(lines.first, answers, RENEW_S)


def test_after_a_renewal_the_old_keys_open_nothing_more():
    """I24: what opened the session before does not open it after."""
    lines = pair()
    old = lines.second._in.receive
    renewed(lines, RENEW_S)
    assert lines.second._in.receive is not old
    with pytest.raises(RemoteError):
        old.open(lines.first.seal(b"x", RENEW_S))


def test_a_verdict_that_nobody_asked_for_is_refused():
    for line in pair():
        with pytest.raises(ClosedError):
            line.answer(Reason.STALE_KEY, 0.0)


def test_who_renews_is_asked_for_each_time():
    made: list[bytes] = []
    ours, theirs = open_pair()

    def renew(renews: bytes) -> Initiator | Responder:
        made.append(renews)
        return initiator(len(made) + 40, renews=renews)

    lines = Pair(
        Line(ours, renew, is_initiator=True, now=0.0),
        Line(theirs, lambda renews: responder(len(made) + 90, BOB, renews=renews), is_initiator=False, now=0.0),
    )
    ids = []
    for n in range(1, 4):
        ids.append(lines.first.id)
        renewed(lines, n * RENEW_S)
    assert made == ids
    assert len(set(ids)) == 3
