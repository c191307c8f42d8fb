"""The transcript of a session's handshake: what its keys follow from, and what a proof is bound to."""

from __future__ import annotations

from typing import Any

import pytest

from identities.handshake import Ends
from identities.transcript import Transcript, wanted
from tests.suites.sessions import ALICE, BOB, ENDS, entropy
from walytis_core import cbor
from walytis_core.errors import Reason, RemoteError

HELLO = b"hello"


def pair(ends: Ends = ENDS, renews: bytes = b"", hello: bytes = HELLO, seed: int = 1) -> tuple[Transcript, Transcript]:
    """Both ends, once they have each other's secret."""
    ours, theirs = Transcript(ends, entropy(seed)), Transcript(ends, entropy(100))
    ours.meet(theirs.nonce, theirs.public)
    theirs.meet(ours.nonce, ours.public)
    for one in (ours, theirs):
        one.begin(renews, hello)
    ours.take_secret("responder", theirs.give_secret("responder"))
    return ours, theirs


def test_both_ends_have_the_same_keys() -> None:
    ours, theirs = pair()
    assert ours.confirmation() == theirs.confirmation()


def last_word(ends: Ends = ENDS, renews: bytes = b"", hello: bytes = HELLO, secret: bytes = bytes(32)) -> bytes:
    """A MAC of one end that is the same in each run, but for this."""
    one = Transcript(ends, entropy(1))
    one.begin(renews, hello)
    one._shared = secret
    return one.confirmation()


@pytest.mark.parametrize(
    "change",
    [
        {"ends": Ends("peer-eve", "peer-bob")},
        {"ends": Ends("peer-alice", "peer-eve")},
        {"ends": Ends("peer-bob", "peer-alice")},
        {"renews": b"x"},
        {"hello": b"x"},
        {"secret": bytes([1]) * 32},
    ],
    ids=repr,
)
def test_keys_follow_from_secrets_and_transcript(change: dict[str, Any]) -> None:
    """I24, I39: from both: who has heard all of it has no key, and who has the secrets and saw something else has another."""
    assert last_word() == last_word()
    assert last_word(**change) != last_word()


def test_a_proof_has_a_mac() -> None:
    """I39: by who has the secrets, over what both signed: signatures of somebody else's run are not enough."""
    ours, theirs = pair()
    sealed = theirs.make_proof("responder", BOB)
    cipher = ours._proof_seal("responder")
    *rest, mac = list_of(cipher.decrypt(bytes(12), sealed, None))
    for wrong in (bytes(32), bytes([mac[0] ^ 1]) + mac[1:]):
        false = cipher.encrypt(bytes(12), cbor.encode([*rest, wrong]), None)
        with pytest.raises(RemoteError) as caught:
            ours.open_proof("responder", false, ALICE)
        assert caught.value.reason is Reason.BAD_PROOF
    peer, _ = ours.open_proof("responder", sealed, ALICE)
    assert peer.did == BOB.did


def list_of(data: bytes) -> list[Any]:
    value = cbor.unpack(data)
    assert isinstance(value, list)
    return value


def test_a_proof_is_of_its_role() -> None:
    """I23: an initiator's is not taken for a responder's."""
    ours, theirs = pair()
    sealed = theirs.make_proof("initiator", BOB)
    with pytest.raises(RemoteError) as caught:
        ours.open_proof("responder", sealed, ALICE)
    assert caught.value.reason is Reason.BAD_SEAL


def test_who_is_wanted_shows_once() -> None:
    """Nobody who does not know the identity learns from two hellos that they want the same."""
    assert wanted(ALICE.did, bytes(32)) != wanted(ALICE.did, bytes([1]) * 32)
    assert wanted(ALICE.did, bytes(32)) != wanted(BOB.did, bytes(32))
