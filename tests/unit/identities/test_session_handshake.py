"""The handshake of a session: honest runs, and everything that a liar, at an end or between them, can do to one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identities.handshake import Asked, Ends, Initiator, Key, Keys, Own, Responder, Verdict
from identities.suites import COMPOSITE, SealingKey, seal_to
from identities.transcript import Transcript
from tests.suites.sessions import (
    ALICE,
    BOB,
    ENDS,
    EVE,
    FRAMES,
    VIEW,
    Change,
    Run,
    View,
    device,
    entropy,
    initiator,
    key_of,
    party,
    responder,
    run,
    stepped,
)
from walytis_core import cbor
from walytis_core.errors import ClosedError, InvalidInputError, Reason, RemoteError, UnavailableError

OTHER_ENDS = Ends("peer-alice", "peer-eve")
HELLO_FIELDS = ["version", "nonce", "ends", "wanted", "one-time key"]
ANSWER_FIELDS = ["version", "nonce", "echo", "ends", "one-time key", "secret", "proof"]
PROOF_FIELDS = ["version", "echo", "secret", "proof"]
CONFIRMATION_FIELDS = ["version", "echo", "mac"]
FIELDS = [
    (number, at)
    for number, fields in enumerate((HELLO_FIELDS, ANSWER_FIELDS, PROOF_FIELDS, CONFIRMATION_FIELDS))
    for at in range(len(fields))
]


def at_frame(number: int, change: Callable[[bytes], bytes]) -> Change:
    return lambda n, frame: change(frame) if n == number else frame


def at_field(number: int, at: int, change: Callable[[Any], Any]) -> Change:
    def changed(frame: bytes) -> bytes:
        fields: Any = cbor.unpack(frame)
        fields[at] = change(fields[at])
        return cbor.encode(fields)

    return at_frame(number, changed)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def fields_of(frame: bytes) -> list[Any]:
    fields = cbor.unpack(frame)
    assert isinstance(fields, list)
    return fields


def assert_nobody_is_fooled(done: Run) -> None:
    """No end holds a session that the other does not; only the last frame can leave the responder alone with one."""
    assert done.initiator is None
    assert done.responder is None or len(done.sent) == FRAMES


# --- honest runs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [1, COMPOSITE])
def test_both_ends_prove_and_agree(suite: int):
    alice, bob = party("alice", suite=suite), party("bob", suite=suite)
    views = View(bob), View(alice)
    done = run(initiator(own=alice, to=bob), responder(2, bob), judges=views)
    ours, theirs = done.initiator, done.responder
    assert ours
    assert theirs
    assert (ours.peer, ours.did) == ((bob.did, bob.path, bob.control.id), alice.did)
    assert (theirs.peer, theirs.did) == ((alice.did, alice.path, alice.control.id), bob.did)
    assert [view.asked for view in views] == [[Asked(ours.peer, alice.did)], [Asked(theirs.peer, bob.did)]]
    assert ours.id == theirs.id
    assert theirs.receive.open(ours.send.seal(b"to bob")) == b"to bob"
    assert ours.receive.open(theirs.send.seal(b"to alice")) == b"to alice"


def test_two_devices_of_one_identity_meet():
    phone, laptop = party("alice", 1), party("alice", 2)
    view = View(phone, laptop)
    done = run(initiator(own=phone, to=laptop), responder(2, laptop), judges=(view, view))
    assert done.initiator
    assert done.initiator.peer.path == (2,)


def test_a_device_behind_nested_identities_names_its_whole_path():
    deep = BOB._replace(path=(3, bytes(BOB.did), 0))
    view = View(ALICE, deep)
    done = run(second=responder(2, deep), judges=(view, view))
    assert done.initiator
    assert done.initiator.peer.path == deep.path


def test_directions_and_runs_have_keys_of_their_own():
    done, again = run(), run(initiator(3), responder(4))
    assert done.initiator
    assert done.responder
    assert again.responder
    sealed = done.initiator.send.seal(b"x")
    for opener in (done.initiator.receive, again.responder.receive):
        with pytest.raises(RemoteError):
            opener.open(sealed)
    assert done.initiator.id != again.responder.id


# --- I23: each refusal has its own reason --------------------------------------------------------------------------


def impostor(own: Own, **keys: Any) -> Own:
    return own._replace(**keys)


class KnownAs(View):
    """A view that holds a party's true keys, whatever key ids the peer names."""

    def __call__(self, asked: Asked) -> Verdict:
        true = {bytes(ALICE.did): ALICE, bytes(BOB.did): BOB}[bytes(asked.peer.did)]
        return Keys(key_of(true.control), key_of(true.device))


@pytest.mark.parametrize(
    ("keys", "reason"),
    [({"control": device(9)}, Reason.WRONG_GROUP_KEY), ({"device": device(9)}, Reason.WRONG_DEVICE_KEY)],
)
def test_keys_that_are_not_the_views_are_refused(keys: dict[str, Any], reason: Reason):
    """I04, I23: wrong group key, wrong device key; a key is never taken from a message."""
    liar = run(initiator(own=impostor(ALICE, **keys)), judges=(VIEW, KnownAs()))
    assert liar.faults == (None, reason)
    assert liar.is_told
    assert_nobody_is_fooled(liar)
    liar = run(second=responder(2, impostor(BOB, **keys)), judges=(KnownAs(), VIEW))
    assert liar.faults == (reason, None)
    assert len(liar.sent) == 2, "the initiator has shown nothing of itself"


@pytest.mark.parametrize("reason", [Reason.UNKNOWN_MEMBER, Reason.STALE_KEY, Reason.WRONG_IDENTITY])
def test_the_judge_refuses_with_its_reason(reason: Reason):
    """I23: stale key, unknown member, wrong group."""
    at_responder = run(judges=(VIEW, lambda _: reason))
    assert at_responder.faults == (None, reason)
    assert at_responder.is_told
    at_initiator = run(judges=(lambda _: reason, VIEW))
    assert at_initiator.faults == (reason, None)
    assert len(at_initiator.sent) == 2


def test_the_peer_is_not_told_why_it_was_refused():
    reasons = [Reason.UNKNOWN_MEMBER, Reason.STALE_KEY, Reason.WRONG_IDENTITY]
    answers = {run(judges=(VIEW, lambda _, why=reason: why)).sent[-1] for reason in reasons}  # type: ignore[misc]
    answers.add(run(initiator(own=impostor(ALICE, device=device(9)))).sent[-1])
    assert len(answers) == 1
    assert {len(answer) for answer in answers} == {len(run().sent[-1])}


def test_a_previous_epoch_is_taken_inside_the_window_and_not_after_it():
    """I08: the handshake asks for each run anew, and what the judge says counts at once."""
    older, newer = party("alice", epoch=1), party("alice", epoch=2)
    view = View(BOB, older, newer)
    assert run(initiator(own=older), judges=(VIEW, view)).initiator, "inside the window"
    view.stale.add(older.control.id)
    assert run(initiator(own=older), judges=(VIEW, view)).faults == (None, Reason.STALE_KEY)
    assert run(initiator(own=newer), judges=(VIEW, view)).initiator


def test_an_identity_that_is_not_here_is_not_answered():
    done = run(initiator(to=EVE))
    assert done.faults == (None, Reason.WRONG_IDENTITY)
    assert len(done.sent) == 1


def test_another_identity_than_was_meant_is_refused():
    """I04: bob's node cannot let eve's device answer for him."""

    class Wanted(Responder):
        def _find(self, nonce: bytes, name: bytes) -> Own:
            return EVE

    assert run(second=Wanted([EVE], ENDS, entropy(2))).faults == (Reason.WRONG_IDENTITY, None)


def test_a_replayed_transcript_is_refused():
    """I23: each frame of an earlier run, also all of them."""
    earlier = run(initiator(11), responder(12)).sent
    second = responder()
    second.receive(earlier[0])  # nothing in a hello is secret: who plays it back gets an answer that it cannot open
    assert second.receive(earlier[2]).refused is Reason.REPLAYED
    for number in (1, 2, 3):
        done = run(change=at_frame(number, lambda _, n=number: earlier[n]))  # type: ignore[misc]
        assert Reason.REPLAYED in done.faults
        assert_nobody_is_fooled(done)


def test_a_replayed_run_with_the_same_nonces_is_refused():
    """I23: a responder whose nonce came out again has another secret, and signs anew."""
    earlier = run(initiator(11), responder(12)).sent
    second = Responder([BOB], ENDS, entropy(12)[:32] + entropy(13)[32:])
    second.receive(earlier[0])
    assert second.receive(earlier[2]).refused is Reason.SWAPPED_KEY


def test_a_swapped_one_time_key_is_refused():
    """I23: of either end, alone or by somebody who opens and seals again."""
    swapped = SealingKey.from_seed(bytes(32)).public
    done = run(change=at_field(0, 4, lambda _: swapped))
    assert done.faults == (Reason.SWAPPED_KEY, None)
    done = run(change=at_field(1, 4, lambda _: swapped))
    assert done.faults == (Reason.SWAPPED_KEY, None)


def test_who_swaps_both_one_time_keys_and_seals_again_is_refused():
    """I23, I39: the man in the middle knows all secrets, and still cannot sign what both ends saw."""
    eve = Transcript(ENDS, entropy(66))  # towards bob, in the place of alice
    first, second = initiator(), responder()
    hello = fields_of(first.hello)
    hello[4] = eve.public
    to_bob = cbor.encode(hello)
    eve.begin(b"", to_bob)
    eve.nonce = hello[1]
    answer = fields_of(second.receive(to_bob).send)
    eve.meet(answer[1], answer[4])
    eve.extend(cbor.encode(answer[:5]))
    eve.take_secret("responder", answer[5])
    secret = eve._shared

    towards = Transcript(ENDS, answer[1] + entropy(67)[32:64] + secret)  # towards alice, in the place of bob
    towards.meet(fields_of(first.hello)[1], fields_of(first.hello)[4])
    towards.begin(b"", first.hello)
    head = [*answer[:4], towards.public]
    towards.extend(cbor.encode(head))
    sealed = towards.give_secret("responder")
    proof = eve._proof_seal("responder").decrypt(bytes(12), answer[6], None)
    fields = fields_of(proof)
    message = towards._hash + cbor.encode(fields[:3])
    fields[5] = towards._mac("responder", message + fields[3] + fields[4])
    resealed = towards._proof_seal("responder").encrypt(bytes(12), cbor.encode(fields), None)
    with pytest.raises(RemoteError) as caught:
        stepped(first, cbor.encode([*head, sealed, resealed]), VIEW)
    assert caught.value.reason is Reason.WRONG_GROUP_KEY


def test_a_reflected_challenge_is_refused():
    """I23: our own nonce, our own one-time key, our own proof."""
    for at, own in ((1, entropy(1)[:32]), (4, fields_of(initiator().hello)[4])):
        done = run(change=at_field(1, at, lambda _, mine=own: mine))  # type: ignore[misc]
        assert done.faults == (Reason.REFLECTED, None)
    mirror = run(initiator(own=BOB, to=BOB), responder(2, BOB))
    assert mirror.faults == (Reason.REFLECTED, None)
    same = run(initiator(7), responder(7))
    assert same.faults == (None, Reason.REFLECTED)


def test_an_initiators_proof_sent_back_as_a_responders_is_refused():
    """I23: the two roles have labels of their own."""
    done = run(change=lambda n, frame: frame if n != 3 else run().sent[2])
    assert done.faults[0] in {Reason.BAD_MESSAGE, Reason.REPLAYED}


@pytest.mark.parametrize("theirs", [OTHER_ENDS, Ends("peer-eve", "peer-bob"), Ends("peer-bob", "peer-alice")])
def test_wrong_peer_ids_are_refused(theirs: Ends):
    """I23, I39: whichever end sees others."""
    assert run(initiator(ends=theirs)).faults == (None, Reason.WRONG_PEER_ID)
    relayed = run(second=responder(ends=theirs), change=at_field(0, 2, lambda _: _tag(theirs)))
    assert relayed.faults == (Reason.WRONG_PEER_ID, None)


def test_a_relay_that_corrects_both_tags_is_refused():
    """I39: the peer ids are in the transcript itself."""

    def correct(number: int, frame: bytes) -> bytes:
        fields = fields_of(frame)
        if number == 0:
            fields[2] = _tag(OTHER_ENDS)
        if number == 1:
            fields[3] = Transcript(ENDS, entropy(1)).ends_tag(fields[1])
        return cbor.encode(fields)

    relayed = run(second=responder(ends=OTHER_ENDS), change=correct)
    assert relayed.faults == (Reason.SWAPPED_KEY, None)


def _tag(ends: Ends) -> bytes:
    return Transcript(ends, entropy(1)).ends_tag(entropy(1)[:32])


# --- I39: every tampering, every swap ------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "at"), FIELDS)
def test_every_changed_field_is_refused(number: int, at: int):
    """I39: a bit of each field, at several places, the field left empty, too long, of another type, or null."""
    changes: list[Callable[[Any], Any]] = [lambda _: None, lambda _: "text", lambda _: [], lambda _: 1 << 40]
    if at == 0:
        changes += [lambda _: 0, lambda _: 2, lambda _: True, lambda _: -1]
    else:
        changes += [lambda _: b"", lambda value: value[:-1], lambda value: value + b"\0"]
        changes += [lambda value, n=n: flipped(value, len(value) * n // 8) for n in range(8)]  # type: ignore[misc]
    for change in changes:
        done = run(change=at_field(number, at, change))
        assert_nobody_is_fooled(done)
        assert done.is_told or any(done.faults)


@pytest.mark.parametrize(("number", "at"), FIELDS)
def test_every_field_of_another_run_is_refused(number: int, at: int):
    """I39: between runs of the same two devices, of others, and the other way round."""
    if at == 0:
        return  # the version is the same
    others = [
        run(initiator(11), responder(12)),
        run(initiator(13, EVE), responder(14)),
        run(initiator(15, BOB, to=ALICE), responder(16, ALICE)),
    ]
    for other in others:
        theirs = fields_of(other.sent[number])[at]
        assert_nobody_is_fooled(run(change=at_field(number, at, lambda _, value=theirs: value)))  # type: ignore[misc]


@pytest.mark.parametrize("numbers", [(0,), (1,), (2,), (3,), (0, 2), (1, 3), (1, 2), (2, 3), (0, 3)])
def test_every_swap_of_frames_between_two_runs_is_refused(numbers: tuple[int, ...]):
    """I39: two runs side by side, whose frames at these places are swapped."""
    machines = [(initiator(n), responder(n + 100)) for n in (1, 2)]
    frames = [first.hello for first, _ in machines]
    opened = [0, 0]
    for number in range(FRAMES):
        if number in numbers:
            frames.reverse()
        for n, pair in enumerate(machines):
            try:
                step = stepped(pair[(number + 1) % 2], frames[n], VIEW)
            except (RemoteError, UnavailableError, ClosedError):
                frames[n] = b""
                continue
            opened[n] += step.session is not None and number == FRAMES - 1
            frames[n] = step.send
    assert opened == [0, 0]


@pytest.mark.parametrize("number", range(FRAMES))
@given(data=st.data())
def test_no_changed_byte_goes_through(number: int, data: st.DataObject):
    """I39: any bit of any frame."""

    def change(frame: bytes) -> bytes:
        return flipped(frame, data.draw(st.integers(0, len(frame) - 1)))

    assert_nobody_is_fooled(run(change=at_frame(number, change)))


@pytest.mark.parametrize("number", range(FRAMES))
@given(junk=st.binary(max_size=64))
def test_junk_is_refused_with_a_reason(number: int, junk: bytes):
    assert_nobody_is_fooled(run(change=at_frame(number, lambda _: junk)))
    assert_nobody_is_fooled(run(change=at_frame(number, lambda frame: frame + junk if junk else b"")))


@pytest.mark.parametrize("number", range(FRAMES))
def test_frames_that_are_too_long_are_not_looked_at(number: int):
    assert_nobody_is_fooled(run(change=at_frame(number, lambda _: bytes(17 * 1024))))


@pytest.mark.parametrize("key", [bytes(1216), bytes(1184) + b"\x01" + bytes(31), b"\xff" * 1216])
def test_one_time_keys_that_are_none_are_refused(key: bytes):
    """I39: points of low order, and lattice parts that are not reduced."""
    for number in (0, 1):
        done = run(change=at_field(number, 4, lambda _: key))
        assert Reason.BAD_KEY in done.faults
        assert_nobody_is_fooled(done)


def lying_proof(*names: Any) -> type[Responder]:
    """A responder whose proof names other things than it should."""

    class Liar(Responder):
        def _on_hello(self, frame: bytes) -> Any:
            transcript = self._transcript
            made = transcript.make_proof

            def make_proof(role: str, own: Own) -> bytes:
                before = transcript._hash
                sealed = made(role, own)
                transcript._hash = before
                fields = fields_of(transcript._proof_seal(role).decrypt(bytes(12), sealed, None))
                for at, value in enumerate(names):
                    fields[at] = fields[at] if value is None else value
                signatures = [part for part in fields[3:5] if isinstance(part, bytes)]
                fields[5] = transcript._mac(role, before + cbor.encode(fields[:3]) + b"".join(signatures))
                return transcript._proof_seal(role).encrypt(bytes(12), cbor.encode(fields), None)

            transcript.make_proof = make_proof  # type: ignore[method-assign]
            return super()._on_hello(frame)

    return Liar


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((bytes(EVE.did), None, None), Reason.WRONG_IDENTITY),
        ((None, [2], None), Reason.WRONG_GROUP_KEY),
        ((None, [], None), Reason.BAD_MESSAGE),
        ((None, [1] * 9, None), Reason.BAD_MESSAGE),
        ((None, [True], None), Reason.BAD_MESSAGE),
        ((None, [-1], None), Reason.BAD_MESSAGE),
        ((None, [b"short"], None), Reason.BAD_MESSAGE),
        ((None, [["deep"]], None), Reason.BAD_MESSAGE),
        ((b"short", None, None), Reason.BAD_MESSAGE),
        ((None, None, bytes(16)), Reason.WRONG_GROUP_KEY),
        ((None, None, bytes(15)), Reason.BAD_MESSAGE),
        ((None, None, None, bytes(64)), Reason.WRONG_GROUP_KEY),
        ((None, None, None, None, bytes(64)), Reason.WRONG_DEVICE_KEY),
        ((None, None, None, b"", b""), Reason.WRONG_GROUP_KEY),
        ((None, None, None, None, 7), Reason.BAD_MESSAGE),
    ],
)
def test_every_field_inside_the_proof_is_bound(names: tuple[Any, ...], reason: Reason):
    """I39: what is sealed is judged as strictly: a sender who knows all secrets changes what it says of itself."""
    view = KnownAs()
    liar = lying_proof(*names)([BOB], ENDS, entropy(2))
    assert run(second=liar, judges=(view, view)).faults == (reason, None)


def test_the_two_signatures_cannot_stand_for_each_other():
    """I39: a device key that is the control key too would still sign two different things."""
    both = BOB._replace(device=BOB.control)

    class Swapped(Transcript):
        def make_proof(self, role: str, own: Own) -> bytes:
            before = self._hash
            sealed = super().make_proof(role, own)
            self._hash = before
            fields = fields_of(self._proof_seal(role).decrypt(bytes(12), sealed, None))
            fields[3], fields[4] = fields[4], fields[3]
            fields[5] = self._mac(role, before + cbor.encode(fields[:3]) + fields[3] + fields[4])
            return self._proof_seal(role).encrypt(bytes(12), cbor.encode(fields), None)

    second = responder(2, both)
    second._transcript = Swapped(ENDS, entropy(2))
    assert run(second=second, judges=(View(both), VIEW)).faults == (Reason.WRONG_GROUP_KEY, None)


def test_a_key_of_an_unknown_suite_is_refused():
    """I03: the suite is the view's, and one that nobody knows opens nothing."""

    def judge(_asked: Asked) -> Verdict:
        return Keys(Key(77, b""), key_of(BOB.device))

    assert run(judges=(judge, VIEW)).faults == (Reason.UNKNOWN_SUITE, None)


def test_a_newer_version_is_told_apart():
    for number in range(FRAMES):
        done = run(change=at_field(number, 0, lambda _: 2))
        assert Reason.NEWER_VERSION in done.faults


# --- identities are protected, and secrets go ---------------------------------------------------------------------


def test_nobody_who_listens_learns_a_name():
    """The frames of two runs hold neither identity, seat, key nor key id."""
    for frame in run().sent:
        for own in (ALICE, BOB):
            for name in (own.did, own.did[4:], own.control.id, own.control.public, own.device.public):
                assert bytes(name) not in frame


def test_the_initiator_shows_itself_only_to_whom_it_has_judged():
    done = run(judges=(lambda _: Reason.UNKNOWN_MEMBER, VIEW))
    assert len(done.sent) == 2
    bob = VIEW.asked[-1].peer
    assert bob.did != ALICE.did or done.responder is None


@pytest.mark.parametrize(
    "judges", [(VIEW, VIEW), (VIEW, lambda _: Reason.STALE_KEY), (lambda _: Reason.STALE_KEY, VIEW)]
)
def test_no_one_time_key_is_left_when_it_is_over(judges: Any):
    """I24: neither after a session was opened, nor after a refusal."""
    first, second = initiator(), responder()
    done = run(first, second, judges=judges)
    machines: list[Initiator | Responder] = [first, second]
    ended = [done.initiator or done.faults[0] or done.is_told, done.responder or done.faults[1]]
    for machine, is_over in zip(machines, ended, strict=True):
        transcript = machine._transcript
        secrets = (transcript._one_time, transcript._secret, transcript._shared)
        assert (secrets == (None, b"", b"")) == bool(is_over)
    gc.collect()


def test_a_machine_takes_nothing_after_its_end():
    first, second = initiator(), responder()
    done = run(first, second)
    for machine, frame in ((first, done.sent[3]), (second, done.sent[2]), (second, done.sent[0])):
        with pytest.raises(ClosedError):
            machine.receive(frame)
        with pytest.raises(ClosedError):
            machine.answer(Reason.STALE_KEY)
    broken = initiator()
    with pytest.raises(RemoteError):
        broken.receive(b"")
    with pytest.raises(ClosedError):
        broken.receive(done.sent[1])


def test_a_verdict_is_taken_once_and_only_when_asked():
    first, second, hasty = initiator(), responder(), initiator()
    with pytest.raises(ClosedError):
        hasty.answer(Reason.STALE_KEY)
    with pytest.raises(ClosedError):
        hasty.receive(b"")
    step = first.receive(second.receive(first.hello).send)
    assert step.asks
    assert first.answer(VIEW(step.asks)).send
    with pytest.raises(ClosedError):
        first.answer(VIEW(step.asks))


def test_a_renewal_is_bound_to_the_session_that_it_renews():
    """I39: a handshake inside one session does not fit another, nor the opening of one."""
    assert run(initiator(renews=b"1" * 16), responder(renews=b"1" * 16)).initiator
    for ours, theirs in ((b"1" * 16, b"2" * 16), (b"1" * 16, b""), (b"", b"2" * 16)):
        done = run(initiator(renews=ours), responder(renews=theirs))
        assert done.faults == (Reason.SWAPPED_KEY, None)


def test_randomness_has_its_length():
    for wrong in (b"", bytes(95), bytes(97)):
        with pytest.raises(InvalidInputError):
            Initiator(ALICE, BOB.did, ENDS, wrong)
        with pytest.raises(InvalidInputError):
            Responder([BOB], ENDS, wrong)


def test_proofs_of_composite_keys_fit_their_frames():
    """I39: the bounds hold for the longest honest frames."""
    alice, bob = (party(name, suite=COMPOSITE)._replace(path=(bytes(BOB.did),) * 8) for name in ("alice", "bob"))
    view = View(alice, bob)
    done = run(initiator(own=alice, to=bob), responder(2, bob), judges=(view, view))
    assert done.initiator
    assert max(map(len, done.sent)) < 10 * 1024


def test_seals_of_two_runs_differ():
    frames = [run(initiator(1), responder(2)).sent[1] for _ in range(3)]
    assert all(one != other for one, other in pairwise(frames)), "encapsulation draws its own randomness"
    assert seal_to(SealingKey.from_seed(bytes(32)).public, b"", b"x")
