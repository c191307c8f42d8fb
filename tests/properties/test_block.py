"""The block codec over random blocks, and the strict reader against the judge on mutated ones."""

from __future__ import annotations

import random

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.suites.block_judge import is_block
from tests.suites.making import ALICE, PLAIN, contents, raw_block, some_id
from walytis_core.block import GENESIS_PLACE, Block, Content, Draft, Place, create, decode, draft, is_genuine
from walytis_core.cid import DAG_PB_PREFIX, RAW_PREFIX, BlockId, Cid
from walytis_core.errors import RemoteError
from walytis_core.limits import Limits

IDS = [some_id(n) for n in range(80)]
UNITS = [  # what a mutation puts in: heads, tags, floats, null, simple values, lengths
    *(bytes([first]) for first in range(256)), b"\x18\x17", b"\x19\x00\xff", b"\xf9\x3c\x00", b"\xd8\x2a", b"\xd9\x00\x2a",
    b"\xc2\x41\x01", b"\x1b\x00\x20\x00\x00\x00\x00\x00\x00", b"\x1b\x00\x1f\xff\xff\xff\xff\xff\xff", b"\x5f\xff", b"\x58\x00",
    *PLAIN.values(),
]  # fmt: skip

integers = st.integers(0, Limits.max_int) | st.sampled_from([0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32])
texts = st.text(st.characters(codec="utf-8"), max_size=20)
topics = st.lists(texts.filter(bool), max_size=16, unique=True)
exts = st.dictionaries(texts, st.binary(max_size=20), max_size=8)
contents_ = st.builds(
    Content, st.binary(min_size=32, max_size=32).flatmap(
        lambda digest: st.sampled_from([Cid(RAW_PREFIX + digest), Cid(DAG_PB_PREFIX + digest)])
    ), st.integers(0, Limits.max_content_bytes),
)  # fmt: skip
bodies = st.binary(max_size=300) | contents_
drafts = st.builds(draft, bodies, topics=topics, type=texts, ext=exts)
places = st.builds(
    lambda seq, ids, height: Place(IDS[0], seq, IDS[1], tuple(sorted(ids)), height),
    integers, st.sets(st.sampled_from(IDS[2:]), max_size=64), integers,
) | st.just(GENESIS_PLACE)  # fmt: skip
blocks = st.builds(create, st.just(ALICE), places, drafts, st.integers(0, Limits.max_time_ms))


@given(blocks)
def test_round_trip(block: Block):
    """C02, C03, C05: what was made is what is read, byte for byte; and it is genuine."""
    again = decode(block.encoded)
    assert tuple(again) == tuple(block)
    assert is_genuine(again)
    assert is_block(block.encoded)


@given(drafts)
def test_contents_come_back(given_: Draft):
    """C02, C03, C05: any topics, type, ext and payload."""
    block = decode(create(ALICE, GENESIS_PLACE, given_, 0).encoded)
    body = tuple(given_.body) if isinstance(given_.body, Content) else given_.body
    assert contents(block) == {
        "type": given_.type, "topics": given_.topics, "ext": dict(given_.ext), "payload": body,
    }  # fmt: skip


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=64), st.binary(max_size=4096))
def test_any_unicode_and_any_bytes(topic: str, payload: bytes):
    """C02, C05: every printable character and more; payloads of any bytes."""
    block = decode(create(ALICE, GENESIS_PLACE, draft(payload, topics=[topic], type=topic[:20]), 0).encoded)
    assert (block.topics, block.type, block.payload) == ((topic,), topic[:20], payload)


@given(blocks)
def test_independent_codec(block: Block):
    """C08: `dag-cbor` writes the same bytes for the same values, and so the same id."""
    encoded = dag_cbor.encode(dag_cbor.decode(block.encoded))
    assert encoded == block.encoded
    assert BlockId.of(encoded) == block.id


@given(st.binary(max_size=300))
def test_garbage(data: bytes):
    """C07, C36: whatever the bytes are, the answer is a block or a reason."""
    for encoded in (data, b"\x82" + data, b"\x82\x8c\x01" + data):
        assert verdict(encoded) == is_block(encoded)


def verdict(data: bytes) -> bool:
    try:
        block = decode(data)
    except RemoteError:
        return False
    assert block.encoded == data
    again = create(
        ALICE,
        Place(block.chain, block.seq, block.prev, block.parents, block.height),
        Draft(block.body, block.topics, block.type, block.ext),
        block.time_ms,
    )
    assert _without_author(again.encoded) == _without_author(data)
    return True


def _without_author(encoded: bytes) -> bytes:
    header = encoded[:-64]
    at = header.index(b"\x58\x22\xed\x01")
    return header[:at] + header[at + 36 :]


def mutated(source: random.Random, data: bytes) -> bytes:
    """One to three small changes: a bit, a byte, an insertion, a deletion, a piece moved or put in again."""
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        at = source.randrange(max(len(data) - 66, 1)) if source.random() < 0.95 else source.randrange(len(data))
        end = min(at + source.choice((1, 1, 2, 3, 9, 41)), len(data))
        match source.randrange(6):
            case 0:
                data = data[:at] + bytes([data[at] ^ 1 << source.randrange(8)]) + data[at + 1 :]
            case 1:
                data = data[:at] + source.choice(UNITS) + data[end:]
            case 2:
                data = data[:at] + source.choice(UNITS) + data[at:]
            case 3:
                data = data[:at] + data[end:]
            case 4:
                data = data[:at] + data[at:end] * 2 + data[end:]
            case _:
                data = data[:at] + bytes([(data[at] + source.choice((-1, 1))) % 256]) + data[at + 1 :]
    return data


def seeds() -> list[bytes]:
    """Blocks of several shapes, with what stands near a limit."""
    content = Content(Cid(DAG_PB_PREFIX + bytes(32)), 70_000)
    shapes = [
        create(ALICE, GENESIS_PLACE, draft(b"genesis", topics=["a"]), 5),
        create(ALICE, Place(IDS[0], 23, IDS[1], (), 24), draft(b"x" * 24), 255),
        create(ALICE, Place(IDS[0], 2**32, IDS[1], tuple(sorted(IDS[2:5])), 65_536), draft(content, type="t" * 24), 2**40),
        create(ALICE, Place(IDS[0], 0, IDS[1], (IDS[2],), 256), draft(b"", topics=["b", "a", "ü"], ext={"a": b"", "bb": b"1"}), 0),
        create(ALICE, Place(IDS[0], 2**53 - 1, IDS[1], (), 2**53 - 1), draft(b"\xa0", ext={"": b""}), Limits.max_time_ms),
    ]  # fmt: skip
    return [raw_block(), *(block.encoded for block in shapes)]


def fuzz(seed: int, count: int) -> int:
    """Compares the two on mutated blocks; gives how many were still blocks."""
    source = random.Random(seed)
    originals = seeds()
    still = 0
    for _ in range(count):
        data = mutated(source, source.choice(originals))
        taken = verdict(data)
        assert taken == is_block(data), data.hex()
        still += taken
    return still


def test_mutated_blocks():
    """C07: the strict reader agrees with the judge on 20 000 mutated blocks."""
    assert fuzz(1, 20_000) > 500


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_more_mutated_blocks(seed: int):
    """C07: the strict reader agrees with the judge on 300 000 more."""
    fuzz(seed, 50_000)
