"""What events may say: of each bound, the most that is taken and what is refused beyond it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from identities import holders, payloads
from identities.acts import MAX_DEPTH, MAX_SEATS
from identities.holders import PublicKey, read_genesis
from identities.payloads import PREFIX, Event, as_act, decode, encode, read_asking, read_renewal
from identities.suites import ED25519, SigningKey
from tests.suites.identity_blocks import FOUNDER, Page
from tests.suites.identity_makers import some_device
from walytis_core import block as blocks
from walytis_core.block import Content
from walytis_core.cid import RAW_PREFIX, BlockId, Cid
from walytis_core.errors import Reason, RemoteError

PAGE = Page()
DEVICE: list[Any] = some_device(2).public.wire
SEAL: bytes = DEVICE[-1]
SIGN: list[Any] = DEVICE[3:5]
CID = bytes(Cid.of(b"wrap", RAW_PREFIX))
TAG = bytes(16)
HASH = bytes(32)


def ids(count: int) -> list[bytes]:
    return sorted(bytes(BlockId(bytes.fromhex("01711220") + hashlib.sha256(b"%d" % n).digest())) for n in range(count))


(ID,) = ids(1)
KEYS = [[1, SigningKey.from_seed(ED25519, n.to_bytes(32, "big")).public] for n in range(18)]
SEATS = ids(200)


def read(kind: str, path: Any, seen: Any, body: Any, proofs: Any) -> Event:
    """What a block says that has this payload."""
    payload = encode(Event(kind, path, seen, body, proofs))
    place = blocks.Place(PAGE.id, 0, PAGE.id, (), 1)
    return decode(blocks.create(FOUNDER.block, place, blocks.draft(payload, type=PREFIX + kind), 0))


def takes(kind: str, body: Any, path: Any = (1,), seen: Any = (), proofs: Any = (b"x",)) -> bool:
    """Whether an event may say this."""
    try:
        read(kind, path, seen, body, proofs)
    except RemoteError as error:
        return error.reason not in (Reason.BAD_PAYLOAD, Reason.BAD_ENCODING)
    return True


NOTE = [ID, b"x"]


def test_how_an_event_is_written() -> None:
    """I14: so deep, on so much, sorted, with a proof just where there is a seat."""
    assert takes("noted", NOTE)
    assert takes("noted", NOTE, path=(1,) * MAX_DEPTH)
    assert not takes("noted", NOTE, path=(1,) * (MAX_DEPTH + 1))
    assert takes("noted", NOTE, seen=ids(payloads.MAX_SEEN))
    assert not takes("noted", NOTE, seen=ids(payloads.MAX_SEEN + 1))
    assert not takes("noted", NOTE, seen=ids(3)[::-1])
    assert not takes("noted", NOTE, seen=[ID, ID])
    assert not takes("noted", NOTE, seen=[ID[:-1]])
    assert not takes("noted", NOTE, path=(), proofs=())
    assert not takes("noted", NOTE, path=())
    assert not takes("noted", NOTE, proofs=())
    assert takes("noted", NOTE, proofs=[[0, b"x"]] * holders.MAX_COUNCIL)
    assert not takes("noted", NOTE, proofs=[[0, b"x"]] * (holders.MAX_COUNCIL + 1))
    assert takes("anchored", [1, [ID], None], path=(), proofs=())
    assert not takes("anchored", [1, [ID], None])
    assert not takes("anything", NOTE)


@pytest.mark.parametrize(
    ("seat", "is_one"),
    [(0, True), (8, True), (9, False), (-1, False), (True, False), (ID, True), (CID, False), ("1", False)],
)
def test_what_a_seat_is(seat: Any, is_one: bool) -> None:
    """I15: a place in the genesis, or a block's id."""
    assert takes("noted", NOTE, path=(seat,)) is is_one


def test_what_a_removal_says() -> None:
    """I15, I32: which seats, once each and not the recovery key's; where; and the cuts, one for each chain."""
    assert takes("removed", [[1, 2], None, []])
    assert takes("removed", [SEATS[:MAX_SEATS], None, []])
    assert takes("removed", [[1], ids(payloads.MAX_HEADS), [[TAG, ids(2)]]])
    for seats in ([], [1, 1], [0], [0, 1], SEATS[: MAX_SEATS + 1], [ID[:-1]]):
        assert not takes("removed", [seats, None, []]), seats
    for cut in (ids(payloads.MAX_HEADS + 1), ids(2)[::-1], b"x", [1]):
        assert not takes("removed", [[1], cut, []]), cut
    many = [[n.to_bytes(16, "big"), []] for n in range(payloads.MAX_CUTS + 1)]
    assert takes("removed", [[1], None, many[:-1]])
    for elsewhere in (many, [[TAG, []], [TAG, []]], [[TAG[:-1], []]], [[TAG, ids(2)[::-1]]], [[TAG]], TAG):
        assert not takes("removed", [[1], None, elsewhere]), elsewhere


def test_what_cuts_off_all_that_was_not_seen() -> None:
    """I20: a removal without a cut has one: what its author had seen."""
    event = read("removed", (1,), tuple(ids(2)), [[2], None, []], (b"x",))
    assert as_act(event, b"id", 1, b"author").body.cut == tuple(ids(2))
    event = read("removed", (1,), tuple(ids(2)), [[2], [], []], (b"x",))
    assert as_act(event, b"id", 1, b"author").body.cut == ()


def renewal(**change: Any) -> list[Any]:
    fields: Mapping[str, Any] = {
        "number": 1, "previous": ID, "control": [*SIGN, SEAL], "wraps": [[1, bytes(16), CID]], "fresh": None, "vouching": ID,
        "succession": b"x",
    }  # fmt: skip
    return list({**fields, **change}.values())


def test_what_a_renewal_says() -> None:
    """I07, I14: a number, real keys, one wrap for a seat, and no more than there may be seats."""
    wraps = [[seat, bytes(16), CID] for seat in SEATS]
    assert read_renewal(renewal()).number == 1
    assert read_renewal(renewal(fresh=SEAL, vouching=None, wraps=wraps[:MAX_SEATS])).vouching is None
    wrong: list[dict[str, Any]] = [
        {"number": 0}, {"number": -1}, {"number": True}, {"previous": ID[:-1]}, {"control": [*SIGN, SEAL[:-1]]},
        {"control": [1, bytes(31), SEAL]}, {"wraps": wraps[: MAX_SEATS + 1]}, {"wraps": [wraps[0], wraps[0]]},
        {"wraps": [[1, bytes(15), CID]]}, {"wraps": [[1, bytes(16), CID[:-1]]]}, {"wraps": [[9, bytes(16), CID]]},
        {"fresh": SEAL[:-1]}, {"fresh": bytes(1216)}, {"vouching": ID[:-1]}, {"succession": bytes(4097)},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(RemoteError) as caught:
            read_renewal(renewal(**change))
        assert caught.value.reason is Reason.BAD_PAYLOAD, change


def test_who_may_hold_a_seat() -> None:
    """I14: a device with keys that are some, an identity with a short first block, a council that can decide."""
    low_order = bytes.fromhex("ed01") + bytes(32)
    assert takes("added", DEVICE)
    for at, value in (
        (1, DEVICE[1][:-1]),
        (1, low_order),
        (2, bytes(31)),
        (4, bytes(31)),
        (4, bytes(32)),
        (5, SEAL[:-1]),
    ):
        assert not takes("added", [*DEVICE[:at], value, *DEVICE[at + 1 :]]), at
    assert takes("added", [2, bytes(holders.MAX_GENESIS_BYTES)])
    assert not takes("added", [2, bytes(holders.MAX_GENESIS_BYTES + 1)])
    assert takes("added", [3, 2, KEYS[:3]])
    assert takes("added", [3, 1, KEYS[: holders.MAX_COUNCIL]])
    for needed, members in ((0, 3), (4, 3), (-1, 3), (True, 3), (1, holders.MAX_COUNCIL + 1), (0, 0)):
        assert not takes("added", [3, needed, KEYS[:members]]), (needed, members)
    assert not takes("added", [3, 1, [KEYS[0], KEYS[0]]])
    assert takes("rekeyed", DEVICE)
    assert not takes("rekeyed", [3, 2, KEYS[:3]])
    assert not takes("rekeyed", [2, PAGE.encoded])


def test_a_suite_that_nobody_knows() -> None:
    """I03, I26: is told apart from what is malformed."""
    for kind, body in (("added", [*DEVICE[:3], 9, *DEVICE[4:]]), ("added", [3, 1, [[9, bytes(32)]]])):
        with pytest.raises(RemoteError) as caught:
            read(kind, (1,), (), body, (b"x",))
        assert caught.value.reason is Reason.UNKNOWN_SUITE


@pytest.mark.parametrize(
    ("kind", "body", "is_right"),
    [
        ("joined", None, True), ("joined", 1, False), ("left", None, True), ("left", [], False),
        ("unopened", ID, True), ("unopened", ID[:-1], False), ("unopened", CID, False),
        ("recovered", [HASH, DEVICE[1]], True), ("recovered", [HASH[:-1], DEVICE[1]], False),
        ("recovered", [HASH, DEVICE[1][:-1]], False), ("noted", [ID, bytes(payloads.MAX_NOTE_BYTES)], True),
        ("noted", [ID, bytes(payloads.MAX_NOTE_BYTES + 1)], False), ("noted", [CID, b"x"], False),
        ("granted", [1, CID], True), ("granted", [9, CID], False), ("granted", [1, CID[:-1]], False),
        ("opened", PAGE.encoded, True), ("opened", b"x", False), ("opened", None, False),
        ("cut", [ID, [[TAG, []]]], True), ("cut", [ID[:-1], []], False), ("cut", [ID, [[TAG[1:], []]]], False),
    ],
)  # fmt: skip
def test_what_other_events_say(kind: str, body: Any, is_right: bool) -> None:
    """I14: and nothing else."""
    assert takes(kind, body) is is_right


def test_what_an_anchor_says() -> None:
    """I34: a seat, some heads in order, and perhaps the anchor before."""
    heads = ids(payloads.MAX_HEADS + 1)
    for body, is_right in (
        ([1, [ID], None], True), ([1, heads[:-1], ID], True), ([1, [], None], False), ([1, heads, None], False),
        ([1, heads[1::-1], None], False), ([9, [ID], None], False), ([1, [ID], CID], False),
    ):  # fmt: skip
        assert takes("anchored", body, path=(), proofs=()) is is_right


def test_what_asks_for_a_seat() -> None:
    """I17: a device, with a short name."""
    longest = "ü" * (payloads.MAX_NAME_BYTES // 2)
    assert read_asking([DEVICE, longest, b"x"]).name == longest
    for body in (
        [DEVICE, longest + "x", b"x"],
        [DEVICE, "x", bytes(4097)],
        [[3, 1, KEYS[:1]], "x", b"x"],
        [DEVICE, b"x", b"x"],
    ):
        with pytest.raises(RemoteError) as caught:
            read_asking(body)
        assert caught.value.reason is Reason.BAD_PAYLOAD


def test_a_genesis_lists_few() -> None:
    """I02, I16: up to eight holders, at least one."""
    most = PAGE.genesis._replace(holders=(FOUNDER.public,) * holders.MAX_LISTED)
    assert read_genesis(most.data) == most
    for wrong in (
        most._replace(holders=(FOUNDER.public,) * (holders.MAX_LISTED + 1)), most._replace(holders=()),
        most._replace(recovery_hash=bytes(31)), most._replace(recovery_block_key=bytes(34)),
        most._replace(control=most.control._replace(sign=PublicKey(ED25519, bytes(31)))),
    ):  # fmt: skip
        with pytest.raises(RemoteError) as caught:
            read_genesis(wrong.data)
        assert caught.value.reason is Reason.BAD_PAYLOAD


def test_an_event_is_inline() -> None:
    """I33: nobody has to fetch something to know who may do what."""
    place = blocks.Place(PAGE.id, 0, PAGE.id, (), 1)
    content = Content(Cid.of(b"x", RAW_PREFIX), 40_000)
    with pytest.raises(RemoteError) as caught:
        decode(blocks.create(FOUNDER.block, place, blocks.draft(content, type=PREFIX + "noted"), 0))
    assert caught.value.reason is Reason.BAD_PAYLOAD
