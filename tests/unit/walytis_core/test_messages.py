"""Messages: round trips, limits field by field, vectors, garbage."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.suites.making import ALICE, BOB, some_id
from walytis_core import cbor, messages
from walytis_core.cid import RAW_PREFIX, BlockId, Cid
from walytis_core.errors import Reason, RemoteError
from walytis_core.frontier import Entry
from walytis_core.limits import Limits
from walytis_core.messages import (
    Announce,
    Blocks,
    Buckets,
    Credit,
    Differ,
    Digest,
    Done,
    ForkProof,
    Message,
    Peers,
    Probe,
    Pull,
    SideLacking,
    SidePart,
    SideWant,
    Want,
    Why,
    decode,
    encode,
    size,
    split_ids,
)

VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/sync.json").read_text(encoding="utf-8"))
DIGEST, ID, KEY, CID = bytes(range(32)), bytes(32), ALICE.key[2:], Cid.of(b"", RAW_PREFIX)

digests = st.binary(min_size=32, max_size=32)
counts = st.integers(0, Limits.max_int)
ids = digests.map(lambda digest: BlockId(b"\x01\x71\x12\x20" + digest))
authors = digests.map(lambda key: b"\xed\x01" + key)
id_lists = st.lists(ids, max_size=5).map(tuple)
cids = st.lists(digests.map(lambda digest: Cid(RAW_PREFIX + digest)), max_size=5).map(tuple)
buckets = st.sets(st.integers(0, 255)).map(lambda found: tuple(sorted(found)))
entries = st.builds(Entry, counts, ids, st.none() | counts)
every_message: st.SearchStrategy[Message] = st.one_of(
    st.builds(Digest, digests, counts),
    st.builds(Buckets, st.lists(st.binary(min_size=16, max_size=16), min_size=256, max_size=256).map(tuple)),
    st.builds(Differ, buckets),
    st.builds(Pull, st.none() | buckets, st.lists(st.tuples(authors, entries), max_size=4).map(tuple), st.booleans()),
    st.builds(Blocks, st.sampled_from(Why), st.lists(st.binary(max_size=99), max_size=4).map(tuple)),
    st.builds(Done, digests, counts),
    st.builds(Announce, id_lists),
    st.builds(Want, id_lists),
    st.builds(ForkProof, st.binary(max_size=99), st.binary(max_size=99)),
    st.builds(Credit, st.integers(0, Limits.credit_frames)),
    st.builds(Probe, authors, st.lists(st.tuples(counts, ids), max_size=4).map(tuple)),
    st.builds(SideWant, cids),
    st.binary(max_size=99).map(lambda data: SidePart(Cid.of(data, RAW_PREFIX), 0, len(data), data)),
    st.builds(SideLacking, cids),
    st.builds(
        Peers,
        st.lists(
            st.tuples(st.text(max_size=60), st.lists(st.text(max_size=60), max_size=8).map(tuple)), max_size=16
        ).map(tuple),
    ),
)


def refused(data: bytes) -> None:
    with pytest.raises(RemoteError) as caught:
        decode(data)
    assert caught.value.reason is Reason.BAD_MESSAGE


def read(data: bytes) -> Message | None:
    """A message, if there is one; another error than that for a bad message fails the test."""
    try:
        return decode(data)
    except RemoteError as error:
        if error.reason is not Reason.BAD_MESSAGE:
            raise
        return None


@given(every_message)
def test_size_is_that_of_the_bytes(message: Message):
    """C36: the simulator counts bytes without writing them; the number is exact."""
    assert size(message) == len(encode(message))


@given(every_message)
def test_round_trip(message: Message):
    """C36: each kind of message is read as it was written, in one form, of the right types."""
    data = encode(message)
    again = decode(data)
    assert again == message
    assert type(again) is type(message)
    assert cbor2.dumps(cbor2.loads(data), canonical=True) == data


RIGHT: dict[int, list[Any]] = {
    1: [DIGEST, 7], 2: [bytes(4096)], 3: [b"\x01"], 4: [None, [[KEY, 1, ID, None]], True], 5: [1, [b"block"]], 6: [DIGEST, 7], 7: [ID],
    8: [ID], 9: [b"one", b"two"], 10: [1], 11: [KEY, [[1, ID]]], 12: [bytes(CID)], 13: [bytes(CID), 0, 3, b"abc"], 14: [bytes(CID)],
}  # fmt: skip
WRONG: dict[int, list[list[Any]]] = {
    1: [[DIGEST[1:], 7], [DIGEST + b"x", 7], [DIGEST, -1], [DIGEST, True], [DIGEST, None], [DIGEST, [7]], ["x" * 32, 7]],
    2: [[bytes(4095)], [bytes(4097)], [b""], [[bytes(16)] * 256], [None]],
    3: [[[1]], [None], ["\x01"], [bytes(257)]],
    4: [[None, [], None], [None, [], 1], [None, None, True], [[1], [], True], [None, {}, True], [bytes(257), [], True], [None, [[KEY, 1, ID]], True],
        [None, [[KEY, 1, ID, None, 0]], True], [None, [[KEY[1:], 1, ID, None]], True], [None, [[ALICE.key, 1, ID, None]], True], [None, [[KEY, -1, ID, None]], True],
        [None, [[KEY, 1, ID[1:], None]], True], [None, [[KEY, 1, ID, -1]], True], [None, [[KEY, 1, ID, False]], True], [None, [KEY], True],
        [None, [[KEY, 1, ID, None]] * 2049, True]],
    5: [[4, []], [-1, []], [True, []], [None, []], [0, b"block"], [0, ["block"]], [0, [None]], [0, [b""] * 257], [0, [bytes(65_537)]], [0, {}]],
    6: [[DIGEST[1:], 7], [DIGEST, -1], [DIGEST, 7.0], [7, DIGEST]],
    7: [[ID[1:]], [ID + b"x"], [[ID]], [ID * 1025], [None]],
    8: [[ID[1:]], [[ID]], [ID * 1025], [CID]],
    9: [[b"one", None], [b"one", "two"], [[b"one"], b"two"], [bytes(65_537), b""], [b"", bytes(65_537)]],
    10: [[5], [-1], [True], [b"\x01"], [None]],
    11: [[KEY[1:], []], [ALICE.key, []], [KEY, None], [KEY, [[1, ID, 2]]], [KEY, [[1]]], [KEY, [[-1, ID]]], [KEY, [[1, ID[1:]]]], [KEY, [[1, ID]] * 65], [KEY, [ID]]],
    12: [[bytes(35)], [bytes(37)], [[bytes(36)]], [bytes(36 * 1025)]],
    13: [[bytes(35), 0, 3, b"abc"], [bytes(CID), 1, 3, b"abc"], [bytes(CID), -1, 3, b"abc"], [bytes(CID), 0, 262_145, b"abc"], [bytes(CID), 0, 2, b"abc"], [bytes(CID), 0, 3, b"ab"], [bytes(CID), 0, 3, b""], [bytes(CID), 0, 262_144, bytes(9)],
         [bytes(CID), 0, 262_144, bytes(131_073)], [bytes(CID), 0, 3, "abc"], [bytes(CID), True, 3, b"a"], [bytes(CID), 4, 3, b""]],
    14: [[bytes(35)], [[bytes(36)]], [bytes(36 * 1025)]],
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_each_field(kind: int):
    """C36: a wrong type, a missing or further field, or a broken limit makes a message none."""
    assert decode(cbor2.dumps([kind, *RIGHT[kind]], canonical=True)) is not None
    for fields in [
        *WRONG[kind],
        RIGHT[kind][:-1],
        [*RIGHT[kind], 0],
        [None] * len(RIGHT[kind]),
        [{}] * len(RIGHT[kind]),
    ]:
        refused(cbor2.dumps([kind, *fields], canonical=True))


@pytest.mark.parametrize("at_most", [
    Pull(tuple(range(256)), ((BOB.key, Entry(Limits.max_int, some_id(1), Limits.max_int)),) * 2048, last=False),
    Blocks(Why.ASKED, (b"",) * 256), Want((some_id(1),) * 1024), SideWant((CID,) * 1024), ForkProof(bytes(65_536), bytes(65_536)),
    Probe(ALICE.key, ((1, some_id(1)),) * 64), SidePart(CID, 131_072, 262_144, bytes(131_072)), Credit(4), Digest(DIGEST, Limits.max_int),
])  # fmt: skip
def test_limits_themselves_are_taken(at_most: Message):
    """C36: what is just within the limits is a message, and fits a frame."""
    assert len(encode(at_most)) <= Limits.max_frame_bytes
    assert decode(encode(at_most)) == at_most


def test_greatest_frames_of_blocks_fit():
    """C36: what a link sends fits a frame, the most of gossip too."""
    assert len(encode(Blocks(Why.PULLED, (bytes(Limits.max_block_bytes),)))) < Limits.max_gossip_bytes
    size = Limits.target_frame_bytes // 256
    assert len(encode(Blocks(Why.PULLED, (bytes(size),) * 256))) < Limits.max_gossip_bytes


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\xf6",
        b"\x01",
        b"\xa0",
        b"\x81\xf5",
        b"\x81\x61\x31",
        b"\x81\x41\x01",
        b"\x81\x81\x01",
        b"\x82\x0a\x18\x01",
    ],
)
def test_what_is_no_message(data: bytes):
    """C36: not a list with a number first, or not canonical."""
    refused(data)


@pytest.mark.parametrize("kind", [0, 16, 99, 2**53 - 1, -1])
def test_unknown_kinds_are_ignored(kind: int):
    """C36: a kind of a later version is no fault."""
    assert decode(cbor2.dumps([kind, b"anything", {"x": None}], canonical=True)) is None


def test_floods():
    """C36: 10 MB, deep nesting and claimed lengths cost nothing."""
    for data in (bytes(10_000_000), b"\x81" * 200_000, b"\x9b" + b"\xff" * 8, b"\x82\x05\x9b\x00\x00\x00\x7f" + bytes(4), b"\xc2" * 100_000,
                 b"\x82\x05\xc4\x82\x1b" + b"\xff" * 8 + b"\x01"):  # fmt: skip
        refused(data)


@given(st.binary(max_size=200))
def test_garbage(data: bytes):
    """C36: whatever comes, the answer is a message, nothing, or one reason."""
    for encoded in (data, b"\x82" + data, b"\x84\x04" + data):
        message = read(encoded)
        assert message is None or decode(encode(message)) == message


def test_mutated_messages():
    """C36: 20 000 mutated messages: each is refused, ignored, or a message that can be written again."""
    source = random.Random(5)
    originals = [bytes.fromhex(vector["bytes"]) for vector in VECTORS["messages"]]
    for _ in range(20_000):
        data = bytearray(source.choice(originals))
        for _ in range(source.choice((1, 1, 2, 3))):
            data[source.randrange(min(len(data), 120))] = source.randrange(256)
        message = read(bytes(data))
        assert message is None or decode(encode(message)) == message


def plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    return value.hex() if isinstance(value, bytes) else [plain(item) for item in value]


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]):
    """C32: the messages of docs/spec/vectors/sync.json are read as written there, and written as read."""
    message = decode(bytes.fromhex(vector["bytes"]))
    assert message is not None
    assert type(message).__name__ == vector["name"]
    assert plain(message) == vector["fields"]
    assert encode(message).hex() == vector["bytes"]


def test_refused_and_ignored_vectors():
    """C36: what docs/spec/vectors/sync.json says is no message."""
    for vector in VECTORS["refused"]:
        refused(bytes.fromhex(vector["bytes"]))
    assert [decode(bytes.fromhex(data)) for data in VECTORS["ignored"]] == [None, None]


def test_every_kind_has_a_vector():
    assert {vector["name"] for vector in VECTORS["messages"]} == {kind.__name__ for kind in messages._KINDS}


def test_split_ids():
    """C36: ids in portions that fit a message."""
    some = [some_id(n) for n in range(2050)]
    assert [len(part) for part in split_ids(some)] == [1024, 1024, 2]
    assert [id for part in split_ids(some) for id in part] == some
    assert split_ids([]) == []


def test_messages_are_plain_dag_cbor():
    """C36: what is written is in the subset that `cbor.py` reads."""
    data = encode(Want((some_id(1),)))
    assert cbor.decode(data, max_bytes=100, max_depth=1) == [8, some_id(1)[4:]]
