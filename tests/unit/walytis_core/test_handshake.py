"""The opening of a session: honest runs, and everything a liar can do to one."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walytis_core import cbor
from walytis_core.cid import BlockId
from walytis_core.errors import ClosedError, InvalidInputError, Reason, RemoteError, UnavailableError
from walytis_core.handshake import Asked, Candidate, Ends, FrameReader, Initiator, Responder, Session, Step, frame
from walytis_core.limits import Limits
from walytis_core.seals import ChainKeys, ChainSecret, derive
from walytis_core.signer import Ed25519Signer

ALICE, BOB, EVE = (Ed25519Signer(bytes([n]) * 32) for n in (1, 2, 3))
ENDS = Ends("peer-alice", "peer-bob")
CHAIN = ChainKeys(BlockId.of(b"chain"), ChainSecret(1, bytes(range(32))))
OTHERS = [ChainKeys(BlockId.of(bytes([n]))) for n in range(3)]
ANSWER_BYTES = 144
VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/session.json").read_text())

Change = Callable[[int, bytes], bytes]


def entropy(seed: int) -> bytes:
    return random.Random(seed).randbytes(64)


def initiator(seed: int = 1, chain: ChainKeys = CHAIN, node: Ed25519Signer = ALICE, ends: Ends = ENDS) -> Initiator:
    return Initiator(node, chain, ends, entropy(seed))


def responder(seed: int = 2, node: Ed25519Signer = BOB, ends: Ends = ENDS) -> Responder:
    return Responder(node, [Candidate(keys) for keys in (*OTHERS, CHAIN)], ends, entropy(seed))


def run(
    first: Initiator, second: Responder, change: Change = lambda _, data: data
) -> tuple[Session | None, Session | None, list[bytes]]:
    """Carries the four frames between two machines, each through `change`; gives sessions and frames as sent."""
    sent = [first.hello]
    opened: list[Session | None] = [None, None]
    machines: list[Initiator | Responder] = [first, second]
    try:
        for number in range(4):
            to = (number + 1) % 2
            step = machines[to].receive(change(number, sent[-1]))
            opened[to] = step.session
            if not step.send:
                break
            sent.append(step.send)
    except (RemoteError, UnavailableError):
        pass
    return opened[0], opened[1], sent


def at_frame(number: int, change: Callable[[bytes], bytes]) -> Change:
    return lambda n, data: change(data) if n == number else data


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def test_both_ends_prove_and_agree() -> None:
    ours, theirs, _ = run(initiator(), responder())
    assert ours
    assert theirs
    assert ours.chain_id == theirs.chain_id == CHAIN.chain_id
    assert (ours.peer_node_key, theirs.peer_node_key) == (BOB.key[2:], ALICE.key[2:])
    assert ours.id == theirs.id
    for n in range(3):
        assert theirs.receive.open(ours.send.seal(bytes([n]))) == bytes([n])
        assert ours.receive.open(theirs.send.seal(bytes([n]))) == bytes([n])


@pytest.mark.parametrize("chain", OTHERS, ids=repr)
def test_every_candidate_is_found(chain: ChainKeys) -> None:
    ours, theirs, _ = run(initiator(chain=chain), responder())
    assert ours
    assert theirs
    assert theirs.chain_id == chain.chain_id


def test_frames_of_a_session_open_in_no_other() -> None:
    """C42: not in another session, chain or direction."""
    sessions = [
        run(initiator(seed, chain), responder(seed + 1)) for seed, chain in ((1, CHAIN), (5, CHAIN), (1, OTHERS[0]))
    ]
    ends = [end for ours, theirs, _ in sessions for end in (ours, theirs) if end]
    assert len(ends) == 6
    sealed = [end.send.seal(b"frame") for end in ends]
    assert len(set(sealed)) == 6
    for number, data in enumerate(sealed):
        for end in {0, 1, 2, 3, 4, 5} - {number ^ 1}:
            seed, chain = ((1, CHAIN), (5, CHAIN), (1, OTHERS[0]))[end // 2]
            pair = run(initiator(seed, chain), responder(seed + 1))[:2]
            fresh = pair[end % 2]
            assert fresh
            with pytest.raises(RemoteError):
                fresh.receive.open(data)


# --- one answer ---------------------------------------------------------------------------------------------------


def liar(change: Callable[[bytes], bytes], node: Ed25519Signer = ALICE) -> tuple[Step, Initiator]:
    """What a responder answers to an initiator that knows the chain and changes its proof before sealing it."""
    first, second = initiator(node=node), responder()
    core = first._core
    core.meet(ours_first=True, theirs=second.receive(first.hello).send)
    proof = change(core.prove(CHAIN, "initiator"))
    sealed = core.seal("initiator", proof)
    core.extend(proof)
    first._next = first._on_proof
    return second.receive(sealed), first


def refusals() -> Iterator[tuple[str, Step, Initiator]]:
    def against(first: Initiator, second: Responder, change: Callable[[bytes], bytes] = lambda data: data) -> Step:
        proof = first.receive(second.receive(first.hello).send).send
        step = second.receive(change(proof))
        return second.answer(False) if step.asks else step

    cases: list[tuple[str, Initiator, Responder, Callable[[bytes], bytes]]] = [
        ("unknown chain", initiator(chain=ChainKeys(BlockId.of(b"unknown"))), responder(), bytes),
        ("chain id without the secret", initiator(chain=ChainKeys(CHAIN.chain_id)), responder(), bytes),
        ("old secret", initiator(chain=ChainKeys(CHAIN.chain_id, ChainSecret(0, bytes(32)))), responder(), bytes),
        ("relayed: another peer id", initiator(ends=Ends("peer-alice", "peer-eve")), responder(), bytes),
        ("own node key", initiator(node=BOB), responder(), bytes),
        ("broken seal", initiator(), responder(), lambda data: flipped(data, 3)),
        ("too short", initiator(), responder(), lambda data: data[:-1]),
        ("too long", initiator(), responder(), lambda data: data + b"\0"),
        ("nothing", initiator(), responder(), lambda _: b""),
        ("nothing held", initiator(), Responder(BOB, [], ENDS, entropy(2)), bytes),
        (
            "not admitted",
            initiator(),
            Responder(BOB, [Candidate(CHAIN, is_asked=True)], ENDS, entropy(2)),
            bytes,
        ),
    ]
    for name, first, second, change in cases:
        yield name, against(first, second, change), first
    for at in range(0, 128, 5):
        yield f"proof with byte {at} changed", *liar(partial(flipped, at=at))
    yield "somebody else's key", *liar(lambda proof: proof[:32] + EVE.key[2:] + proof[64:])
    yield "zeros", *liar(lambda _: bytes(128))


def test_every_refusal_looks_the_same() -> None:
    """C42: unknown chain, false proof, peer not admitted: one answer, as long as that of success."""
    _, _, honest = run(initiator(), responder())
    assert [len(data) for data in honest[2:]] == [ANSWER_BYTES, ANSWER_BYTES]
    plain = set()
    for name, step, first in refusals():
        assert step.session is None, name
        assert step.refused is not None, name
        assert len(step.send) == ANSWER_BYTES, name
        if name == "relayed: another peer id":
            continue  # it cannot even open the answer
        plain.add(first._core.open("responder", step.send))
        with pytest.raises(UnavailableError):
            first.receive(step.send)
    assert len(plain) == 1


def test_all_candidates_are_tried_whichever_matches() -> None:
    """C42: no early end that could be timed."""
    for mine in (OTHERS[0], OTHERS[2], CHAIN, ChainKeys(BlockId.of(b"unknown"))):
        tried: list[BlockId] = []

        def candidates() -> Iterator[Candidate]:
            for keys in (*OTHERS, CHAIN):
                yield Candidate(keys)
                tried.append(keys.chain_id)  # noqa: B023 - consumed in this turn

        first, second = initiator(chain=mine), Responder(BOB, candidates(), ENDS, entropy(2))
        second.receive(first.receive(second.receive(first.hello).send).send)
        assert len(tried) == 4


def test_who_only_listens_sees_no_key_and_no_name() -> None:
    """C42: neither node keys nor the chain's name stand in the clear, and no two runs look alike."""
    runs = [run(initiator(seed), responder(seed + 1))[2] for seed in (1, 11)]
    for sent in runs:
        line = b"".join(sent)
        for hidden in (ALICE.key[2:], BOB.key[2:], CHAIN.chain_id, CHAIN.chain_id[4:], CHAIN.naming):
            assert hidden not in line
    assert not {data[8:40] for data in runs[0]} & {data[8:40] for data in runs[1]}


def asking(responder_asks: bool) -> tuple[Initiator, Responder, Step]:
    """Two machines that ask who may read, up to where one of them asks."""
    first = Initiator(ALICE, CHAIN, ENDS, entropy(1), is_asked=True)
    second = Responder(BOB, [Candidate(CHAIN, is_asked=responder_asks)], ENDS, entropy(2))
    step = second.receive(first.receive(second.receive(first.hello).send).send)
    return first, second, step if responder_asks else first.receive(step.send)


def test_the_responder_must_be_admitted_too() -> None:
    first, _, step = asking(responder_asks=False)
    assert step == Step(asks=Asked(CHAIN.chain_id, BOB.key[2:]))
    with pytest.raises(RemoteError) as caught:
        first.answer(False)
    assert caught.value.reason is Reason.BAD_PROOF


def test_who_may_read_is_asked_once_it_is_proven_who_asks() -> None:
    """C42: nothing is sent before the answer, and an answer counts once."""
    first, second, step = asking(responder_asks=True)
    assert step == Step(asks=Asked(CHAIN.chain_id, ALICE.key[2:]))
    theirs = second.answer(True)
    assert theirs.session
    assert first.receive(theirs.send).asks == Asked(CHAIN.chain_id, BOB.key[2:])
    ours = first.answer(True).session
    assert ours
    assert ours.id == theirs.session.id
    assert ours.keys is theirs.session.keys is CHAIN
    assert ours.receive.open(theirs.session.send.seal(b"frame")) == b"frame"
    for machine in (first, second):
        with pytest.raises(ClosedError):
            machine.answer(True)


def test_nobody_is_asked_about_who_proved_nothing() -> None:
    """C42: a false proof ends the opening before the app is asked."""
    first = Initiator(ALICE, ChainKeys(CHAIN.chain_id), ENDS, entropy(1))
    second = Responder(BOB, [Candidate(CHAIN, is_asked=True)], ENDS, entropy(2))
    step = second.receive(first.receive(second.receive(first.hello).send).send)
    assert (step.asks, step.refused) == (None, Reason.BAD_PROOF)


def test_a_responder_that_does_not_know_the_chain_is_refused() -> None:
    """C42: its proof is otherwise good, and in its own name; it learns nothing of the chain."""
    first, second = initiator(), responder()
    stranger = second._core
    proof = first.receive(second.receive(first.hello).send).send
    stranger.extend(stranger.open("initiator", proof))
    for guess in (OTHERS[0], ChainKeys(CHAIN.chain_id), ChainKeys(CHAIN.chain_id, ChainSecret(2, bytes(range(32))))):
        first._next = first._on_proof
        with pytest.raises(RemoteError) as caught:
            first.receive(stranger.seal("responder", stranger.prove(guess, "responder")))
        assert caught.value.reason is Reason.BAD_PROOF


# --- tampering ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(4))
def test_any_changed_byte_opens_no_session_at_its_reader(number: int) -> None:
    """C42: each byte of each frame; a change of the hellos is found by both ends."""
    _, _, honest = run(initiator(), responder())
    for at in range(len(honest[number])):
        ours, theirs, _ = run(initiator(), responder(), at_frame(number, partial(flipped, at=at)))
        assert ours is None
        assert theirs is None or number == 3, "the responder has done its part when its last frame is changed"


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("same", ["initiator", "responder", "neither"])
def test_frames_of_another_run_are_refused(number: int, same: str) -> None:
    """C42: replayed frames, also when one end draws the same randomness again."""
    other = run(initiator(1 if same == "initiator" else 21), responder(2 if same == "responder" else 22))[2]
    mine = run(initiator(), responder())[2]
    if other[number] == mine[number]:
        return  # the first hello of an initiator that draws the same randomness
    ours, theirs, _ = run(initiator(), responder(), at_frame(number, lambda _: other[number]))
    assert ours is None
    assert theirs is None or number == 3


def test_fields_of_proofs_swapped_between_runs_are_refused() -> None:
    proofs = []
    for seed in (1, 31):
        first, second = initiator(seed), responder(seed + 1)
        first._core.meet(ours_first=True, theirs=second.receive(first.hello).send)
        proofs.append(first._core.prove(CHAIN, "initiator"))
    changes: list[Callable[[bytes], bytes]] = [
        lambda proof: proofs[1][:32] + proof[32:],
        lambda proof: proof[:64] + proofs[1][64:],
        lambda _: proofs[1],
    ]
    for change in changes:
        assert liar(change)[0].refused is Reason.BAD_PROOF


def test_reflections_are_refused() -> None:
    """C42: a hello, a key or a whole handshake thrown back at its maker."""
    first = initiator()
    with pytest.raises(RemoteError):
        first.receive(first.hello)
    first = initiator()
    with pytest.raises(RemoteError):  # our own ephemeral under another nonce
        first.receive(cbor.encode([1, bytes(32), cbor.decode(first.hello, max_bytes=99, max_depth=1)[2]]))  # type: ignore[index]
    ours, theirs, _ = run(initiator(node=BOB), responder())
    assert ours is None
    assert theirs is None
    one, two = initiator(1), initiator(2, node=BOB)  # two initiators, joined by a liar
    proofs = one.receive(two.hello), two.receive(one.hello)
    for machine, step in ((one, proofs[1]), (two, proofs[0])):
        with pytest.raises(RemoteError):
            machine.receive(step.send)


def test_a_relay_between_transport_ends_is_refused() -> None:
    ours, theirs, _ = run(initiator(ends=Ends("peer-alice", "peer-eve")), responder(ends=Ends("peer-eve", "peer-bob")))
    assert ours is None
    assert theirs is None


LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (2**255 - 19 - 1).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 19 + 1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]


@pytest.mark.parametrize("public", LOW_ORDER, ids=bytes.hex)
def test_low_order_points_are_refused(public: bytes) -> None:
    for high in (0, 0x80):
        hello = cbor.encode([1, bytes(32), public[:31] + bytes([public[31] | high])])
        for machine in (initiator(), responder()):
            with pytest.raises(RemoteError) as caught:
                machine.receive(hello)
            assert caught.value.reason is Reason.BAD_KEY


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ([2, bytes(32), bytes(32)], Reason.NEWER_VERSION),
        ([0, bytes(32), bytes(32)], Reason.BAD_MESSAGE),
        ([True, bytes(32), bytes(32)], Reason.BAD_MESSAGE),
        ([1, bytes(31), bytes(32)], Reason.BAD_MESSAGE),
        ([1, bytes(32), bytes(33)], Reason.BAD_MESSAGE),
        ([1, bytes(32)], Reason.BAD_MESSAGE),
        ([1, bytes(32), bytes(32), 0], Reason.BAD_MESSAGE),
        ([1, "a" * 32, bytes(32)], Reason.BAD_MESSAGE),
        ({"a": 1}, Reason.BAD_MESSAGE),
        (b"x" * 200, Reason.BAD_MESSAGE),
    ],
)
def test_other_hellos_are_refused_unanswered(hello: cbor.Value, reason: Reason) -> None:
    for machine in (initiator(), responder()):
        with pytest.raises(RemoteError) as caught:
            machine.receive(cbor.encode(hello))
        assert caught.value.reason is reason


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=3))
def test_garbage_fails_in_the_known_ways(frames: list[bytes]) -> None:
    """C36: a stranger's bytes end the handshake, and nothing else."""
    for machine in (initiator(), responder()):
        ended = False
        for data in frames:
            try:
                step = machine.receive(data)
            except ClosedError:
                assert ended
            except (RemoteError, UnavailableError):
                ended = True
            else:
                assert step.session is None
                ended = step.refused is not None


def test_a_machine_that_ended_takes_nothing_more() -> None:
    first, second = initiator(), responder()
    run(first, second)
    for machine in (first, second):
        with pytest.raises(ClosedError):
            machine.receive(b"")
    broken = responder()
    with pytest.raises(RemoteError):
        broken.receive(b"")
    with pytest.raises(ClosedError):
        broken.receive(initiator().hello)


def test_randomness_has_its_length() -> None:
    with pytest.raises(InvalidInputError):
        Initiator(ALICE, CHAIN, ENDS, bytes(32))


# --- the specification --------------------------------------------------------------------------------------------


def test_the_specification_gives_the_same_bytes() -> None:
    """Names, transcripts and keys once more, straight from docs/spec/session.md."""
    ours, _, (hello, answer, *_) = run(initiator(), responder())
    assert ours
    transcript = hashlib.sha256(cbor.encode(["walytis/sync/1", *ENDS, hello, answer])).digest()
    proofs = []
    for node, role in ((ALICE, b"initiator"), (BOB, b"responder")):
        name = hmac.digest(CHAIN.naming, role + transcript, "sha256")
        key = node.key[2:]
        proofs.append(name + key + node.sign(b"walytis/sync/1/" + role + transcript + name + key))
        transcript = hashlib.sha256(transcript + proofs[-1]).digest()
    assert ours.id == transcript[:16]
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    private = X25519PrivateKey.from_private_bytes(entropy(1)[32:])
    shared = private.exchange(X25519PublicKey.from_public_bytes(answer[-32:]))
    key = derive(CHAIN.frames + shared, "session/frames/initiator", transcript)
    assert ours.send.seal(b"x") == ChaCha20Poly1305(key).encrypt(bytes(12), b"x", None)
    assert ours.send.seal(b"y") == ChaCha20Poly1305(key).encrypt(bytes(11) + b"\1", b"y", None)


@pytest.mark.parametrize("vector", VECTORS["handshakes"], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, str]) -> None:
    raw = {
        name: bytes.fromhex(value) for name, value in vector.items() if name not in {"name", "initiator", "responder"}
    }
    keys = ChainKeys(BlockId(raw["chain"]), ChainSecret(int(raw["number"].hex(), 16), raw["secret"]))
    ends = Ends(vector["initiator"], vector["responder"])
    first = Initiator(Ed25519Signer(raw["initiator_seed"]), keys, ends, raw["initiator_entropy"])
    candidates = [] if vector["name"] == "refused" else [Candidate(keys)]
    second = Responder(Ed25519Signer(raw["responder_seed"]), candidates, ends, raw["responder_entropy"])
    ours, theirs, sent = run(first, second)
    assert [data.hex() for data in sent] == [vector[f"frame_{number}"] for number in range(4)]
    if vector["name"] == "refused":
        assert ours is theirs is None
        return
    assert ours
    assert theirs
    assert ours.id == raw["session"]
    assert ours.send.seal(b"first") == raw["sealed_by_initiator"]
    assert theirs.send.seal(b"first") == raw["sealed_by_responder"]


# --- frames on a stream -------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.data())
def test_frames_come_whole_however_the_stream_is_cut(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame, frames))
    reader, got = FrameReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += reader.feed(stream[:size])
        stream = stream[size:]
    assert got == frames
    assert reader.whole


@pytest.mark.parametrize("size", [1, 127, 128, 16383, 16384, Limits.max_frame_bytes])
def test_frames_of_every_size(size: int) -> None:
    reader = FrameReader()
    sent = frame(bytes(size))
    assert reader.feed(sent[:-1]) == []
    assert not reader.whole
    assert reader.feed(sent[-1:]) == [bytes(size)]


@pytest.mark.parametrize("head", ["00", "818010", "8180808001", "8100", "808000", "ffff7f", "808080", "ffffff"])
def test_lengths_that_are_not_one_are_refused_at_once(head: str) -> None:
    """C36: zero, too long, not in the shortest form; before any byte of the frame is kept."""
    reader = FrameReader()
    with pytest.raises(RemoteError) as caught:
        reader.feed(bytes.fromhex(head))
    assert caught.value.reason is Reason.BAD_MESSAGE
    with pytest.raises(ClosedError):
        reader.feed(frame(b"x"))


def test_frames_beyond_the_limit_are_not_made() -> None:
    for data in (b"", bytes(Limits.max_frame_bytes + 1)):
        with pytest.raises(InvalidInputError):
            frame(data)
