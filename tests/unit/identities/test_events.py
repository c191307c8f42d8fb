"""Events as bytes: each kind is written in one way and read again; any other bytes are refused, and nothing is too large."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identities import acts
from identities.acts import MAX_SEATS, Council, Device, Nested, Removal
from identities.holders import Control, CouncilKeys, Genesis, IdentityHolder, PublicKey, read_genesis
from identities.payloads import (
    MAX_CUTS,
    MAX_HEADS,
    MAX_SEEN,
    PREFIX,
    Asking,
    Event,
    RenewalKeys,
    act_of,
    as_act,
    decode,
    encode,
    read,
    removed,
)
from identities.recovery import RecoveryCode
from identities.suites import COMPOSITE, ED25519
from tests.suites.identity_makers import NOWHERE, some_device
from walytis_core import Reason, RemoteError
from walytis_core.block import Draft, Place, create
from walytis_core.cid import BlockId
from walytis_core.limits import Limits
from walytis_core.policy import EVERYONE, Policy, create_genesis

DEVICE = some_device(1)
KEYS = DEVICE.public
HYBRID = some_device(2, COMPOSITE).public
CODE = RecoveryCode(bytes(32))
CONTROL = Control(KEYS.sign, KEYS.seal)
GENESIS = Genesis(CODE.public.hash, CODE.block.key, (KEYS,), CONTROL)
FIRST = create_genesis(DEVICE.block, Policy(frozenset({DEVICE.block.key}), EVERYONE, GENESIS.data), bytes(16), 0)
IDS = sorted(bytes(BlockId.of(b"%d" % number)) for number in range(100))
COUNCIL = CouncilKeys(2, (KEYS.sign, HYBRID.sign))
WRAPS = ((1, KEYS.seal.id, NOWHERE), (IDS[1], bytes(16), NOWHERE))
RENEWAL = RenewalKeys(3, IDS[0], CONTROL, WRAPS, KEYS.seal, IDS[2], b"s")

BODIES: dict[str, Any] = {
    acts.ADDED: KEYS.wire,
    acts.REMOVED: removed([1, IDS[0]], [IDS[1]], {bytes(16): [IDS[3], IDS[2]]}),
    acts.CUT: [IDS[0], [[bytes(16), IDS[:2]]]],
    acts.LEFT: None,
    acts.REKEYED: HYBRID.wire,
    acts.JOINED: None,
    acts.RENEWED: RENEWAL.wire,
    acts.UNOPENED: IDS[0],
    acts.CONFIRMED: None,
    acts.RECOVERED: [bytes(32), CODE.block.key],
    acts.NOTED: [IDS[0], b"sealed"],
    acts.GRANTED: [1, NOWHERE],
    acts.OPENED: FIRST.encoded,
    acts.ANCHORED: [1, IDS[:2], None],
    acts.ASKED: Asking(KEYS, "phone", b"proof").wire,
}
FACTS = (acts.ANCHORED, acts.ASKED)
REASONS = (Reason.BAD_PAYLOAD, Reason.BAD_MESSAGE, Reason.BAD_ENCODING, Reason.UNKNOWN_SUITE, Reason.BAD_KEY)


def event(kind: str, body: Any = ..., **changes: Any) -> Event:
    """A well-formed event."""
    made = Event(kind, () if kind in FACTS else (1,), tuple(IDS[:3]), BODIES[kind] if body is ... else body)
    return made._replace(proofs=() if kind in FACTS else (b"proof",))._replace(**changes)


def refused(kind: str, payload: bytes) -> bool:
    """Whether it is no event, for one of the reasons that there may be."""
    reason = REASONS[0]
    try:
        read(kind, payload)
    except RemoteError as error:
        reason = error.reason
    else:
        return False
    assert reason in REASONS
    return True


@pytest.mark.parametrize("kind", BODIES)
def test_it_is_read_as_it_was_written(kind: str) -> None:
    """I14: and gives the act that it is; with a byte more, a byte less, or as another kind, it is none."""
    made = event(kind)
    assert read(kind, encode(made)) == made
    block = create(DEVICE.block, Place(FIRST.id, 1, FIRST.id, (), 1), Draft(encode(made), type=PREFIX + kind), 0)
    act = act_of(block)
    assert (act.id, act.height, act.author, act.kind) == (block.id, 1, DEVICE.block.key, kind)
    assert (act.path, act.seen) == (made.path, made.seen)
    assert decode(block) == made
    for payload in (b"", b"\x80", encode(made) + b"\x00", encode(made)[:-1]):
        assert refused(kind, payload)
    for other in ("surprise", "", kind + " ", kind.upper()):
        assert refused(other, encode(made))


def test_holders() -> None:
    """I33: who decides sees no key, but their ids."""
    holders = (KEYS, HYBRID, IdentityHolder(FIRST.encoded), COUNCIL)
    plain = [as_act(event(acts.ADDED, one.wire), bytes(36), 1, b"").body for one in holders]
    assert [type(one) for one in plain] == [Device, Device, Nested, Council]
    assert plain[0] == Device(KEYS.block_key, KEYS.node_key, KEYS.sign.id, KEYS.seal.id)
    assert plain[2] == Nested(bytes(FIRST.id))


def test_keys_of_the_wrong_suite() -> None:
    """I03: a key is one of its suite, or none; no suite is read out of something else."""
    for suite, public in (
        (COMPOSITE, KEYS.sign.public),
        (ED25519, HYBRID.sign.public),
        (3, KEYS.seal.public),
        (9, KEYS.sign.public),
        (True, KEYS.sign.public),
        (ED25519, bytes(31) + b"\x80"),
    ):
        assert refused(acts.ADDED, encode(event(acts.ADDED, KEYS._replace(sign=PublicKey(suite, public)).wire)))


def test_a_removal_cuts_where_its_author_stands() -> None:
    """I20: by default, at all that it has seen."""
    made = event(acts.REMOVED, removed([1], None))
    assert as_act(made, bytes(36), 1, b"").body == Removal((1,), made.seen, {})
    assert as_act(event(acts.REMOVED, removed([1], IDS[:1])), bytes(36), 1, b"").body.cut == (IDS[0],)


def test_the_genesis() -> None:
    """I02: what it fixes is read again."""
    for one in (GENESIS, GENESIS._replace(holders=(COUNCIL, IdentityHolder(FIRST.encoded)))):
        assert read_genesis(one.data) == one


@given(st.sampled_from(sorted(BODIES)), st.data())
def test_any_bytes(kind: str, data: st.DataObject) -> None:
    """I14: whatever bytes come, they are read as one event that is written just so, or refused; nothing else is raised."""
    payload = bytearray(encode(event(kind)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(payload) - 1, 0)))
        if data.draw(st.booleans()) and payload:
            payload[at] = data.draw(st.integers(0, 255))
        else:
            del payload[at : at + data.draw(st.integers(1, 3))]
    if not refused(kind, bytes(payload)):
        found = read(kind, bytes(payload))
        assert encode(found) == payload
        as_act(found, bytes(36), 1, b"")


_LEAVES = st.none() | st.booleans() | st.integers(-5, (1 << 53) - 1) | st.binary(max_size=40) | st.sampled_from(IDS)
_VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=5), max_leaves=10)


@given(st.sampled_from(sorted(BODIES)), _VALUES)
def test_any_body(kind: str, body: Any) -> None:
    """I14: whatever a body is made of."""
    refused(kind, encode(event(kind, body)))


def test_sizes_on_chain() -> None:
    """I33: keys stand on the chain once, where they come; after that they are named by hashes of 16 bytes."""
    sizes = {kind: len(encode(event(kind, proofs=() if kind in FACTS else (bytes(64),)))) for kind in BODIES}
    for kind in (acts.LEFT, acts.JOINED, acts.UNOPENED, acts.CONFIRMED, acts.GRANTED, acts.RECOVERED, acts.NOTED):
        assert sizes[kind] < 400
    assert sizes[acts.ADDED] < 1700  # an X-Wing key has 1 216
    more = RENEWAL._replace(wraps=(*RENEWAL.wraps, (IDS[5], bytes(16), NOWHERE)))
    assert len(encode(event(acts.RENEWED, more.wire))) - len(encode(event(acts.RENEWED))) < 120


def test_the_largest_fit() -> None:
    """I33: a renewal for as many seats as there may be, or a removal of them, is inline in a block."""
    seats = sorted(bytes(BlockId.of(b"seat %d" % number)) for number in range(MAX_SEATS))
    wraps = tuple((id, bytes(16), NOWHERE) for id in seats)
    hybrid = Control(HYBRID.sign, HYBRID.seal)
    largest = RENEWAL._replace(wraps=wraps, control=hybrid, number=1 << 40, succession=bytes(3400))
    seen = tuple(IDS[:MAX_SEEN])
    made = event(acts.RENEWED, largest.wire, proofs=(bytes(3400),), seen=seen, path=(IDS[0],) * 8)
    away = {number.to_bytes(16, "big"): IDS[:4] for number in range(MAX_CUTS)}
    gone = event(acts.REMOVED, removed(seats, IDS[:MAX_HEADS], away), proofs=(bytes(3400),), seen=seen)
    for one in (made, gone):
        assert len(encode(one)) <= Limits.max_payload_bytes
        assert read(one.kind, encode(one)) == one
