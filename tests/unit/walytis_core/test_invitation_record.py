"""The record by which an issuer honours an invitation: who may use it, how often, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walytis_core import cbor
from walytis_core.errors import InvalidInputError, StorageError
from walytis_core.invitation_record import MAX_USES, InvitationRecord, JoinRefusal, judge

ID, SEED = bytes(range(16)), bytes(range(200, 216))
ALICE, BOB = b"a" * 32, b"b" * 32


def record(**fields: Any) -> InvitationRecord:
    return InvitationRecord(id=ID, **fields)


def test_a_single_use_belongs_to_the_node_key_that_took_it() -> None:
    """C39: a second peer is refused, the first may retry after a cut."""
    fresh = record()
    assert judge(fresh, ALICE, 0) is None
    used = fresh.used(ALICE)
    assert used.used(ALICE) == used
    assert judge(used, ALICE, 10**9) is None
    assert judge(used, BOB, 0) is JoinRefusal.USED


def test_uses_are_counted_by_node_key() -> None:
    """C39: reusable."""
    kept = record(uses=2).used(ALICE).used(ALICE)
    assert judge(kept, BOB, 0) is None
    kept = kept.used(BOB)
    assert judge(kept, b"c" * 32, 0) is JoinRefusal.USED
    unlimited = record(uses=None)
    for n in range(100):
        unlimited = unlimited.used(bytes([n]) * 32)
    assert judge(unlimited, BOB, 0) is None
    assert len(unlimited.encode()) < 100, "an open number of uses grows no record"


def test_nobody_uses_what_expired_or_was_revoked() -> None:
    """C39: not even who used it before."""
    kept = record(expires=1000).used(ALICE)
    assert judge(kept, ALICE, 999) is None
    for node in (ALICE, BOB):
        assert judge(kept, node, 1000) is JoinRefusal.EXPIRED
        assert judge(record(revoked=True, expires=1000).used(ALICE), node, 5) is JoinRefusal.REVOKED


records = st.builds(
    InvitationRecord,
    id=st.binary(min_size=16, max_size=16),
    uses=st.none() | st.integers(1, MAX_USES),
    expires=st.none() | st.integers(0, 2**37),
    write=st.booleans(),
    revoked=st.booleans(),
    used_by=st.frozensets(st.binary(min_size=32, max_size=32), max_size=4),
)


@given(records)
def test_a_record_is_read_as_it_was_written(kept: InvitationRecord) -> None:
    assert InvitationRecord.decode(kept.encode()) == kept


def test_a_full_record_fits_the_reader() -> None:
    kept = record(uses=MAX_USES)
    for n in range(MAX_USES):
        kept = kept.used(n.to_bytes(32, "big"))
    assert InvitationRecord.decode(kept.encode()) == kept


def test_a_record_of_version_1_is_read_and_gives_its_seed() -> None:
    """I27: seeds that stand in a store are found, to be moved."""
    kept = record(uses=3, expires=1000, write=False, revoked=True).used(ALICE)
    old = cbor.encode([1, ID, SEED, 3, 1000, False, True, [ALICE]])
    assert InvitationRecord.decode_old(old) == (kept, SEED)
    assert InvitationRecord.decode(old) == kept
    assert InvitationRecord.decode_old(kept.encode()) == (kept, None)
    assert SEED not in kept.encode()


@pytest.mark.parametrize(
    "fields", [{}, {"revoked": True}, {"expires": 1000}, {"revoked": True, "expires": 1000}], ids=repr
)
def test_what_has_ended_is_what_nobody_may_use(fields: dict[str, Any]) -> None:
    kept = record(**fields).used(ALICE)
    for now in (0, 999, 1000, 10**9):
        assert kept.has_ended(now) == (judge(kept, ALICE, now) is not None)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff", record().encode()[:-1], b"\x87\x03" + record().encode()[2:]])
def test_a_record_that_cannot_be_read_is_an_error_of_the_store(data: bytes) -> None:
    with pytest.raises(StorageError):
        InvitationRecord.decode(data)


@pytest.mark.parametrize("fields", [{"uses": 0}, {"uses": MAX_USES + 1}, {"expires": -1}], ids=repr)
def test_records_have_their_limits(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        record(**fields)
