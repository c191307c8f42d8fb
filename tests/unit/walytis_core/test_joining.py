"""The join handshake: honest joins, and everything a liar on either side can do."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from walytis_core import block, cbor
from walytis_core.block import GENESIS_PLACE, Block, Place
from walytis_core.cid import BlockId
from walytis_core.errors import ClosedError, InvalidInputError, Reason, RemoteError
from walytis_core.invitation import Invitation
from walytis_core.invitation_record import JoinRefusal
from walytis_core.joining import _SUITE, Asked, Ends, Grant, Issuer, Joiner, JoinStep, Terms, _signed
from walytis_core.seals import ChainSecret
from walytis_core.signer import MULTIKEY_PREFIX, Ed25519Signer, Signer, is_signed

FOUNDER, ISSUER, JOINER, AUTHOR, EVE = (Ed25519Signer(bytes([n]) * 32) for n in range(1, 6))
ENDS = Ends("peer-joiner", "peer-issuer")
GENESIS = block.create(FOUNDER, GENESIS_PLACE, block.draft(b"genesis"), 1)
OTHER_GENESIS = block.create(FOUNDER, GENESIS_PLACE, block.draft(b"another"), 1)
ADMIT = block.create(FOUNDER, Place(GENESIS.id, 1, GENESIS.id, (), 1), block.draft(b"admit", type="core/admit"), 1)
SECRET = ChainSecret(3, bytes(range(32)))
SEED = bytes(range(200, 216))
GRANT = Grant(GENESIS, SECRET, ADMIT, "field-notes", 7)
REFUSAL_BYTES = 20
VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/invitation.json").read_text())


def invitation(seed: bytes | None = SEED, chain: Block = GENESIS, issuer: Ed25519Signer = ISSUER) -> Invitation:
    return Invitation(chain_id=chain.id, issuer=issuer.key[2:], seed=seed)


INVITATIONS = [invitation(), invitation(None), invitation(bytes(16))]


def find(id: bytes) -> Terms | None:
    """The terms of all invitations of this issuer, one of them to an open chain."""
    return next((Terms(held.chain_id, held.seed) for held in INVITATIONS if held.id == id), None)


def entropy(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def joiner(seed: int = 1, held: Invitation | None = None, node: Ed25519Signer = JOINER, ends: Ends = ENDS) -> Joiner:
    return Joiner(held or invitation(), node, AUTHOR, ends, entropy(seed, 128))


def issuer(seed: int = 2, node: Ed25519Signer = ISSUER, ends: Ends = ENDS, known: Any = find) -> Issuer:
    return Issuer(node, ends, entropy(seed, 64), known)


def asked(first: Joiner, second: Issuer, change: Callable[[bytes], bytes] = bytes) -> Asked:
    return second.receive(change(first.receive(second.challenge).send))


def granted(grant: Grant, held: Invitation | None = None) -> JoinStep:
    first, second = joiner(held=held), issuer()
    assert asked(first, second).claim
    return first.receive(second.grant(grant))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


# --- honest joins -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "grant",
    [
        GRANT,
        Grant(GENESIS, SECRET, None, "", 0),  # readers hold a secret, anyone may write
        Grant(GENESIS, None, ADMIT, "ü", 2**40),  # everyone reads, listed writers
        Grant(GENESIS, None, None, "x", 1),  # everyone reads, an invitation that does not let write
    ],
    ids=["secret and listed", "secret", "listed", "neither"],
)
def test_an_invited_node_gets_what_it_was_granted(grant: Grant) -> None:
    """C39: and the issuer knows whom it let in."""
    first, second = joiner(), issuer()
    claim = asked(first, second).claim
    assert claim == (invitation().id, GENESIS.id, JOINER.key[2:], AUTHOR.key)
    assert first.receive(second.grant(grant)) == JoinStep(grant=grant)


def test_an_open_chain_is_joined_without_a_seed() -> None:
    open_to_all = invitation(None)
    grant = Grant(GENESIS, None, None, "open", 9)
    assert granted(grant, open_to_all).grant == grant


def test_a_grant_carries_this_chain_alone() -> None:
    """C41: genesis, secret, the block that admits, one suggested name, a number; nothing else."""
    first, second = joiner(), issuer()
    asked(first, second)
    sealed = cbor.decode(second.grant(GRANT), max_bytes=1 << 18, max_depth=1)[1]  # type: ignore[index]
    opened = cbor.decode(first._private.open(sealed, first._transcript), max_bytes=1 << 18, max_depth=2)  # type: ignore[arg-type]
    assert opened == [GENESIS.encoded, [3, SECRET.key], ADMIT.encoded, "field-notes", 7]


def test_nothing_secret_stands_in_the_clear() -> None:
    """C42: neither seed, chain id nor chain secret; and the grant opens for the one-time key alone."""
    first, second = joiner(), issuer()
    request = first.receive(second.challenge).send
    second.receive(request)
    line = second.challenge + request + second.grant(GRANT)
    for hidden in (SEED, GENESIS.id, GENESIS.id[4:], SECRET.key, GENESIS.encoded[10:60]):
        assert hidden not in line


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", JoinRefusal)
def test_who_proved_the_seed_learns_why(why: JoinRefusal) -> None:
    """C39: used, expired and revoked are told apart by the invited."""
    first, second = joiner(), issuer()
    assert asked(first, second).claim
    answer = second.refuse(why)
    assert len(answer) == REFUSAL_BYTES
    assert first.receive(answer) == JoinStep(refused=why)


def change_field(index: int, value: Any) -> Callable[[bytes], bytes]:
    def change(request: bytes) -> bytes:
        fields: Any = cbor.decode(request, max_bytes=4096, max_depth=1)
        fields[index] = value(fields[index]) if callable(value) else value
        return cbor.encode(fields)

    return change


def middle_bit(data: bytes) -> bytes:
    return flipped(data, len(data) // 2)


FIELDS = ["version", "invitation", "nonce", "author", "node", "one-time", "author signature", "node signature", "proof"]
LIES: dict[str, Callable[[bytes], bytes]] = {
    **{f"{FIELDS[index]} changed": change_field(index, middle_bit) for index in range(1, 9)},
    **{f"{FIELDS[index]} shortened": change_field(index, lambda value: value[:-1]) for index in range(1, 9)},
    **{f"{FIELDS[index]} as text": change_field(index, "x") for index in range(9)},
    "newer version": change_field(0, 2),
    "true for 1": change_field(0, True),
    "somebody else's node key": change_field(4, EVE.key[2:]),
    "the issuer's node key": change_field(4, ISSUER.key[2:]),
    "somebody else's author key": change_field(3, EVE.key),
    "author key of small order": change_field(3, b"\xed\x01\x01" + bytes(31)),
    "one-time key of low order": change_field(5, lambda key: key[:1184] + bytes(32)),
    "one-time key that is none": change_field(5, b"\xff" * 1216),
    "trailing byte": lambda request: request + b"\0",
    "cut": lambda request: request[:-1],
    "nothing": lambda _: b"",
    "long": lambda _: bytes(300_000),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_every_changed_field_is_refused_alike(lie: Callable[[bytes], bytes]) -> None:
    """C39, C42: an edited request gets the one refusal, whatever reason the issuer had."""
    first, second = joiner(), issuer()
    answer = asked(first, second, lie)
    assert answer.claim is None
    assert answer.reason
    refusal = second.refuse(JoinRefusal.REVOKED)
    assert len(refusal) == REFUSAL_BYTES
    assert first.receive(refusal) == JoinStep(refused=JoinRefusal.NOT_HONOURED)
    with pytest.raises(ClosedError):
        second.grant(GRANT)


@pytest.mark.parametrize("index", range(1, 9), ids=FIELDS[1:])
def test_every_field_swapped_between_two_runs_is_refused(index: int) -> None:
    """C39: each field of one good request in another, from another run or another invitation."""
    for held in (invitation(), invitation(bytes(16))):
        other: Any = cbor.decode(joiner(11, held, EVE).receive(issuer(12).challenge).send, max_bytes=4096, max_depth=1)
        first, second = joiner(), issuer()
        request = first.receive(second.challenge).send
        swapped = change_field(index, other[index])(request)
        assert (second.receive(swapped).claim is None) == (swapped != request)


@pytest.mark.parametrize(
    "held",
    [
        invitation(bytes(15) + b"x"),
        invitation(None, OTHER_GENESIS),
        invitation(SEED, OTHER_GENESIS),
    ],
    ids=["unknown seed", "unknown open chain", "the seed with another chain"],
)
def test_strangers_learn_nothing(held: Invitation) -> None:
    """C42: no seed, no answer that tells whether the chain or the invitation is held."""
    first, second = joiner(held=held), issuer()
    assert asked(first, second).claim is None
    assert first.receive(second.refuse()) == JoinStep(refused=JoinRefusal.NOT_HONOURED)


class Claimed:
    """A signer that claims somebody else's key."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def sign(self, message: bytes) -> bytes:
        return EVE.sign(message)


class MixedOrder:
    """A signer whose key has a part of order 2: some of its signatures verify, and others would fork a chain."""

    def __init__(self) -> None:
        self._scalar = bindings.crypto_core_ed25519_scalar_reduce(bytes(range(64)))
        order_2 = (2**255 - 20).to_bytes(32, "little")
        point = bindings.crypto_scalarmult_ed25519_base_noclamp(self._scalar)
        self.key = MULTIKEY_PREFIX + bindings.crypto_core_ed25519_add(point, order_2)

    def sign(self, message: bytes) -> bytes:
        for n in range(100):
            nonce = bindings.crypto_core_ed25519_scalar_reduce(bytes([n + 1]) * 64)
            start = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
            challenge = bindings.crypto_core_ed25519_scalar_reduce(
                hashlib.sha512(start + self.key[2:] + message).digest()
            )
            product = bindings.crypto_core_ed25519_scalar_mul(challenge, self._scalar)
            signature = start + bindings.crypto_core_ed25519_scalar_add(nonce, product)
            if is_signed(self.key, message, signature):
                return bytes(signature)
        raise AssertionError


@pytest.mark.parametrize(
    ("node", "author"),
    [(Claimed(JOINER.key), AUTHOR), (JOINER, Claimed(AUTHOR.key)), (ISSUER, AUTHOR), (JOINER, MixedOrder())],
    ids=["another's node key", "another's author key", "the issuer's own node key", "an author key of mixed order"],
)
def test_the_invited_must_hold_both_keys(node: Signer, author: Signer) -> None:
    """C39: the seed alone lets nobody join in another's name, nor with a key that is no author's."""
    first, second = Joiner(invitation(), node, author, ENDS, entropy(1, 128)), issuer()
    assert asked(first, second).reason is Reason.BAD_PROOF
    assert first.receive(second.refuse(JoinRefusal.USED)).refused is JoinRefusal.NOT_HONOURED


def test_a_one_time_key_of_low_order_is_refused_before_a_use_is_counted() -> None:
    """C39: though everything else about the request is good."""
    for low in (bytes(32), b"\1" + bytes(31)):
        first, second = joiner(), issuer()
        first._private.public = first._private.public[:1184] + low
        assert asked(first, second).reason is Reason.BAD_KEY


def test_a_request_is_good_once_and_for_one_issuer() -> None:
    """C39: replayed to the same issuer, to another one, or over a relay, it is refused."""
    first, second = joiner(), issuer()
    request = first.receive(second.challenge).send
    for other in (
        issuer(3),
        issuer(2, node=EVE),
        issuer(2, ends=Ends("peer-joiner", "peer-eve")),
        issuer(2, ends=Ends("peer-eve", "peer-issuer")),
    ):
        assert other.receive(request).claim is None
    assert second.receive(request).claim
    with pytest.raises(ClosedError):
        second.receive(request)


def test_an_invitation_to_a_chain_serves_no_other() -> None:
    """C40: a seed found under another chain's terms proves nothing."""
    lying = issuer(known=lambda _: Terms(OTHER_GENESIS.id, SEED))
    assert asked(joiner(), lying).claim is None


# --- lying issuers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "challenge", [b"", b"\x80", cbor.encode([1, bytes(31)]), cbor.encode([True, bytes(32)]), cbor.encode([1, bytes(32), 0]), bytes(100)]
)  # fmt: skip
def test_a_challenge_has_its_form(challenge: bytes) -> None:
    """C40: garbage ends the join at once."""
    with pytest.raises(RemoteError):
        joiner().receive(challenge)


def test_a_newer_issuer_is_said_to_be_one() -> None:
    with pytest.raises(RemoteError) as caught:
        joiner().receive(cbor.encode([2, bytes(32)]))
    assert caught.value.reason is Reason.NEWER_VERSION


def test_another_node_cannot_play_the_issuer() -> None:
    """C40: not even one that knows the seed."""
    first, liar = joiner(), issuer(node=EVE)
    request = first.receive(liar.challenge).send
    assert liar.receive(request).claim is None
    first, second = joiner(), issuer()
    asked(first, second)
    second._node = EVE
    with pytest.raises(RemoteError) as caught:
        first.receive(second.grant(GRANT))
    assert caught.value.reason is Reason.BAD_PROOF


def test_every_changed_byte_of_a_grant_is_found() -> None:
    """C40: nothing of it is taken."""
    first, second = joiner(), issuer()
    asked(first, second)
    answer = second.grant(GRANT)
    for at in [*range(60), *range(60, len(answer), 23), *range(len(answer) - 70, len(answer))]:
        again = joiner()
        again.receive(second.challenge)
        with pytest.raises(RemoteError):
            again.receive(flipped(answer, at))
    assert first.receive(answer).grant == GRANT


def test_answers_of_other_runs_are_refused() -> None:
    """C39: a grant or a reason kept from before, or for somebody else."""
    for other_joiner, other_issuer in (
        (joiner(21), issuer(2)),
        (joiner(1), issuer(22)),
        (joiner(1, node=EVE), issuer(2)),
    ):
        assert asked(other_joiner, other_issuer).claim
        first = joiner()
        first.receive(issuer().challenge)
        with pytest.raises(RemoteError):
            first.receive(other_issuer.grant(GRANT))
        first = joiner()
        first.receive(issuer().challenge)
        assert first.receive(other_issuer.refuse(JoinRefusal.USED)).refused is JoinRefusal.NOT_HONOURED


def lie_in_grant(fields: cbor.Value) -> Reason:
    """Why a joiner refuses what its true issuer seals for it."""
    first, second = joiner(), issuer()
    assert asked(first, second).claim
    assert second._one_time
    sealed = _SUITE.encrypt(cbor.encode(fields), second._one_time, _signed("seal", second._transcript))
    answer = cbor.encode([1, sealed, ISSUER.sign(_signed("grant", second._transcript + sealed))])
    with pytest.raises(RemoteError) as caught:
        first.receive(answer)
    with pytest.raises(ClosedError):
        first.receive(answer)
    return caught.value.reason


def unsigned(genuine: Block) -> bytes:
    return genuine.encoded[:-1] + bytes([genuine.encoded[-1] ^ 1])


GOOD: list[cbor.Value] = [GENESIS.encoded, [3, SECRET.key], ADMIT.encoded, "n", 7]


@pytest.mark.parametrize(
    ("index", "value", "reason"),
    [
        (0, OTHER_GENESIS.encoded, Reason.WRONG_CHAIN),
        (0, ADMIT.encoded, Reason.WRONG_CHAIN),
        (0, unsigned(GENESIS), Reason.WRONG_CHAIN),
        (0, b"made up", Reason.BAD_ENCODING),
        (0, bytes(70_000), Reason.TOO_LARGE),
        (0, None, Reason.BAD_MESSAGE),
        (1, [3, SECRET.key[:-1]], Reason.BAD_MESSAGE),
        (1, [-1, SECRET.key], Reason.BAD_MESSAGE),
        (1, [True, SECRET.key], Reason.BAD_MESSAGE),
        (1, [3], Reason.BAD_MESSAGE),
        (1, SECRET.key, Reason.BAD_MESSAGE),
        (2, unsigned(ADMIT), Reason.BAD_SIGNATURE),
        (2, GENESIS.encoded, Reason.WRONG_CHAIN),
        (2, b"", Reason.BAD_ENCODING),
        (3, b"n", Reason.BAD_MESSAGE),
        (4, -1, Reason.BAD_MESSAGE),
        (4, True, Reason.BAD_MESSAGE),
        (4, "7", Reason.BAD_MESSAGE),
    ],
)
def test_a_lying_issuer_hands_over_nothing(index: int, value: cbor.Value, reason: Reason) -> None:
    """C40: another chain, made-up or corrupt blocks, odd secrets: refused as a whole."""
    fields = [*GOOD]
    fields[index] = value
    assert lie_in_grant(fields) is reason


def test_a_grant_of_another_form_is_refused() -> None:
    for fields in ([*GOOD, 0], GOOD[:-1], {"a": 1}, b"x"):
        assert lie_in_grant(fields) is Reason.BAD_MESSAGE  # type: ignore[arg-type]


def test_a_name_that_would_upset_a_screen_is_cleaned() -> None:
    """C41: names from others are printable and short."""
    step = granted(GRANT._replace(name="\x1b[2Jwiped\n" + "x" * 100))
    assert step.grant
    assert step.grant.name == "[2Jwiped" + "x" * 24


# --- failing in bounds --------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=3))
def test_garbage_fails_in_the_known_ways(frames: list[bytes]) -> None:
    """C36: a stranger's bytes end the handshake, and nothing else."""
    first, second = joiner(), issuer()
    assert second.receive(frames[0]).claim is None
    ready = joiner()
    ready.receive(second.challenge)
    for machine in (first, ready):
        for data in frames:
            try:
                step = machine.receive(data)
            except (RemoteError, ClosedError):
                continue
            assert step.grant is None


def test_randomness_has_its_length() -> None:
    with pytest.raises(InvalidInputError):
        Joiner(invitation(), JOINER, AUTHOR, ENDS, bytes(127))
    with pytest.raises(InvalidInputError):
        Issuer(ISSUER, ENDS, bytes(65), find)


def test_nothing_shows_a_seed_or_secret() -> None:
    shown = " ".join(map(repr, [GRANT, JoinStep(grant=GRANT), Terms(GENESIS.id, SEED), joiner(), issuer()]))
    for hidden in (SEED, SECRET.key):
        assert hidden.hex() not in shown
        assert repr(hidden)[2:-1] not in shown


@pytest.mark.parametrize("vector", VECTORS["joins"], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    """Each side's frames, and what the joiner makes of a recorded answer (HPKE draws its own randomness)."""
    raw = {
        name: bytes.fromhex(value)
        for name, value in vector.items()
        if name not in {"name", "uri", "joiner", "issuer", "result"}
    }
    held, ends = Invitation.parse(vector["uri"]), Ends(vector["joiner"], vector["issuer"])
    first = Joiner(
        held, Ed25519Signer(raw["joiner_seed"]), Ed25519Signer(raw["author_seed"]), ends, raw["joiner_entropy"]
    )
    node = Ed25519Signer(raw["issuer_seed"])
    second = Issuer(node, ends, raw["issuer_entropy"], lambda _: Terms(held.chain_id, held.seed))
    assert second.challenge == raw["challenge"]
    request = first.receive(second.challenge).send
    assert request == raw["request"]
    claim = second.receive(request).claim
    assert claim
    assert claim.chain_id == BlockId(held.chain_id)
    step = first.receive(raw["answer"])
    if step.refused:
        assert second.refuse(step.refused) == raw["answer"]
        assert str(step.refused) == vector["result"]
        return
    assert step.grant
    grant = step.grant
    secret: cbor.Value = None if grant.secret is None else [grant.secret.number, grant.secret.key]
    admit = None if grant.admit is None else grant.admit.encoded
    assert cbor.encode([grant.genesis.encoded, secret, admit, grant.name, grant.blocks]).hex() == vector["result"]
