"""A second reading of docs/spec/identity-sessions.md: opens recorded runs with their private keys, and live ones.

Nothing of the machines is used here but their frames. Sealing and composite signatures are randomised, so the vectors are
recorded runs: whoever has the one-time keys must derive the same transcript, keys and records from them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from identities.session import Line
from identities.suites import SealingKey, SigningKey, verify
from tests.suites.sessions import ALICE, BOB, ENDS, entropy, initiator, responder, run
from walytis_core import cbor
from walytis_core.errors import RemoteError

VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/identity-sessions.json").read_text())
CONTEXT = b"walytis/identities/session/1"


class Opened(NamedTuple):
    """What can be learnt of a run by who has the one-time keys."""

    session_id: bytes
    keys: tuple[bytes, bytes]
    proofs: tuple[list[Any], list[Any]]
    signed: tuple[bytes, bytes]


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def hkdf(key: bytes, label: str, context: bytes) -> bytes:
    info = b"walytis/1/identities/session/" + label.encode() + b"\0" + context
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)


def fields_of(data: bytes) -> list[Any]:
    fields = cbor.unpack(data)
    assert isinstance(fields, list)
    return fields


def opened_proof(role: str, shared: bytes, transcript: bytes, sealed: bytes) -> tuple[bytes, list[Any], bytes]:
    proof = ChaCha20Poly1305(hkdf(shared, f"proof/{role}", transcript)).decrypt(bytes(12), sealed, None)
    fields = fields_of(proof)
    signed = transcript + cbor.encode(fields[:3])
    mac = hmac.digest(hkdf(shared, f"mac/{role}", transcript), signed + fields[3] + fields[4], "sha256")
    assert mac == fields[5]
    return proof, fields, signed


def open_run(
    frames: Sequence[bytes], ends: Sequence[str], renews: bytes, initiators: SealingKey, responders: SealingKey
) -> Opened:
    """The key schedule, as the page has it."""
    hello, answer, proof = (fields_of(frame) for frame in frames[:3])
    assert hello[2] == sha(cbor.encode([(CONTEXT + b"/ends").decode(), hello[1], *ends]))[:16]
    assert answer[3] == sha(cbor.encode([(CONTEXT + b"/ends").decode(), answer[1], *ends]))[:16]
    t0 = sha(cbor.encode([CONTEXT.decode(), *ends, renews, frames[0]]))
    t1 = sha(t0, cbor.encode(answer[:5]))
    theirs = initiators.open(CONTEXT + b"/secret/responder" + t1, answer[5])
    t2 = sha(t1, answer[5])
    first, of_responder, signed_by_responder = opened_proof("responder", theirs, t2, answer[6])
    assert hello[3] == hmac.digest(of_responder[0], CONTEXT + b"/wanted" + hello[1], "sha256")
    t3 = sha(t2, first)
    shared = theirs + responders.open(CONTEXT + b"/secret/initiator" + t3, proof[2])
    t4 = sha(t3, proof[2])
    second, of_initiator, signed_by_initiator = opened_proof("initiator", shared, t4, proof[3])
    t5 = sha(t4, second)
    assert fields_of(frames[3]) == [1, hello[1], hmac.digest(hkdf(shared, "confirm", t5), b"", "sha256")]
    keys = hkdf(shared, "records/initiator", t5), hkdf(shared, "records/responder", t5)
    return Opened(t5[:16], keys, (of_initiator, of_responder), (signed_by_initiator, signed_by_responder))


def record(key: bytes, number: int, sealed: bytes) -> bytes:
    return ChaCha20Poly1305(key).decrypt(number.to_bytes(12, "big"), sealed, None)


@pytest.mark.parametrize("vector", VECTORS["runs"], ids=lambda vector: vector["about"])
def test_recorded_runs_open(vector: dict[str, Any]):
    """I39: the vectors of the spec."""
    seeds = {role: bytes.fromhex(vector[role]["one_time_seed"]) for role in ("initiator", "responder")}
    one_time = {role: SealingKey.from_seed(seed) for role, seed in seeds.items()}
    frames = [bytes.fromhex(frame) for frame in vector["frames"]]
    ends = [vector["initiator"]["peer_id"], vector["responder"]["peer_id"]]
    renews = bytes.fromhex(vector["renews"])
    opened = open_run(frames, ends, renews, one_time["initiator"], one_time["responder"])
    assert opened.session_id.hex() == vector["session_id"]
    assert [key.hex() for key in opened.keys] == [vector["initiator"]["record_key"], vector["responder"]["record_key"]]
    for at, role in enumerate(("initiator", "responder")):
        side, (did, path, control_id, *signatures, _mac) = vector[role], opened.proofs[at]
        assert (did.hex(), path) == (side["did"], side["path"])
        for use, signature in zip(("control", "device"), signatures, strict=True):
            key = SigningKey.from_seed(side["suite"], bytes.fromhex(side[f"{use}_seed"]))
            context = f"{CONTEXT.decode()}/{role}/{use}"
            verify(key.suite, key.public, context, opened.signed[at], signature)
            assert use == "device" or control_id == key.id
        for number, one in enumerate(side["records"]):
            assert record(opened.keys[at], number, bytes.fromhex(one["sealed"])).hex() == one["plain"]


def test_live_runs_are_as_the_page_says():
    done = run()
    one_time = [SealingKey.from_seed(entropy(seed)[32:64]) for seed in (1, 2)]
    opened = open_run(done.sent, ENDS, b"", *one_time)
    assert done.initiator
    line = Line(done.initiator, lambda _: initiator(), is_initiator=True, now=0.0)
    assert opened.session_id == line.id
    assert record(opened.keys[0], 0, line.seal(b"hello", 0.0)) == b"\0hello"
    assert record(opened.keys[0], 1, line.seal(b"", 0.0)) == b"\0"
    assert record(opened.keys[0], 2, line.end(0.0)) == b"\3"


def test_all_long_term_keys_together_open_nothing():
    """I24: the recorded frames, every long-term seed, and one of the one-time keys: the session stays shut."""
    done = run()
    ours, theirs = (SealingKey.from_seed(entropy(seed)[32:64]) for seed in (1, 2))
    long_term = [SealingKey.from_seed(sha(key.public)) for own in (ALICE, BOB) for key in (own.control, own.device)]
    long_term += [SealingKey.from_seed(bytes(own.did)[4:]) for own in (ALICE, BOB)]
    for known in long_term:
        for pair in ((known, known), (ours, known), (known, theirs)):
            with pytest.raises(RemoteError):
                open_run(done.sent, ENDS, b"", *pair)
    assert open_run(done.sent, ENDS, b"", ours, theirs)


def test_the_initiators_secret_alone_gives_no_key():
    """I24: both secrets are in every key of the records."""
    done = run()
    ours, theirs = (SealingKey.from_seed(entropy(seed)[32:64]) for seed in (1, 2))
    opened = open_run(done.sent, ENDS, b"", ours, theirs)
    assert done.initiator
    sealed = done.initiator.send.seal(b"x")
    transcripts = [sha(opened.signed[0][:32], cbor.encode(opened.proofs[0]))]
    assert transcripts[0][:16] == opened.session_id
    for shared in (entropy(1)[64:], entropy(2)[64:], entropy(1)[64:] + entropy(2)[64:]):
        with pytest.raises(InvalidTag):
            record(hkdf(shared, "records/initiator", transcripts[0]), 0, sealed)
    right = hkdf(entropy(2)[64:] + entropy(1)[64:], "records/initiator", transcripts[0])
    assert record(right, 0, sealed) == b"x"


@pytest.mark.parametrize("renews", [b"", bytes(16)])
def test_a_live_renewal_is_as_the_page_says(renews: bytes):
    done = run(initiator(renews=renews), responder(renews=renews))
    assert done.responder
    one_time = [SealingKey.from_seed(entropy(seed)[32:64]) for seed in (1, 2)]
    assert open_run(done.sent, ENDS, renews, *one_time).session_id == done.responder.id
