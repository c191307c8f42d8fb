"""The strict reader against everything that C07 lists, its limits to the byte, and independent codecs."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import dag_cbor
import pytest
from multiformats import CID, multihash

from tests.suites.block_judge import is_block
from tests.suites.making import (
    ALICE,
    BOB,
    GENESIS_ID,
    PLAIN,
    PREV_ID,
    array,
    binary,
    head,
    link,
    raw_block,
    sealed,
    some_id,
    text,
)
from walytis_core.block import GENESIS_PLACE, Block, Content, Draft, Place, create, decode, draft, is_genuine
from walytis_core.cid import DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX, BlockId, Cid
from walytis_core.errors import InvalidInputError, NotFoundError, Reason, RemoteError
from walytis_core.limits import Limits
from walytis_core.signer import Ed25519Signer

PLACE = Place(GENESIS_ID, 5, PREV_ID, tuple(sorted([some_id(2), some_id(3)])), 7)
NULL = b"\xf6"
MANY = sorted(some_id(n) for n in range(100, 165))


def made(body: bytes | Content = b"", **content: object) -> Block:
    return create(ALICE, PLACE, draft(body, **content), 1_700_000_000_000)  # type: ignore[arg-type]


def refused(data: bytes, reason: Reason) -> None:
    started = time.process_time()
    with pytest.raises(RemoteError) as caught:
        decode(data)
    assert caught.value.reason is reason
    assert time.process_time() - started < 0.1
    assert not is_block(data)


def taken(data: bytes) -> Block:
    block = decode(data)
    assert is_block(data)
    assert block.encoded == data
    return block


def test_the_raw_builder_makes_a_block():
    block = taken(raw_block())
    assert is_genuine(block)
    assert (block.chain, block.prev, block.seq, block.height) == (GENESIS_ID, PREV_ID, 5, 7)
    assert block.ancestors_named == (PREV_ID, *sorted([some_id(2), some_id(3)]))
    assert (block.type, block.topics, block.payload) == ("test/type", ("one", "two"), b"hello")
    assert block.ext == {"a": b"1", "bb": b""}
    assert block.time.isoformat() == "2023-11-14T22:13:20+00:00"


# --- C07: what is refused, and why --------------------------------------------------------------------------------


def test_duplicate_parents():
    """C07: duplicate parents."""
    refused(raw_block(parents=array(link(some_id(2)), link(some_id(2)))), Reason.BAD_PARENTS)


def test_unsorted_parents():
    """C07: unsorted parents."""
    refused(raw_block(parents=array(*map(link, sorted([some_id(2), some_id(3)], reverse=True)))), Reason.BAD_PARENTS)


def test_more_than_64_parents():
    """C07: more than 64 parents; 64 are taken."""
    taken(raw_block(parents=array(*map(link, MANY[:64]))))
    refused(raw_block(parents=array(*map(link, MANY))), Reason.BAD_PARENTS)


def test_prev_among_parents():
    """C07: `prev` among the parents, first, last or alone."""
    refused(raw_block(parents=array(link(PREV_ID))), Reason.BAD_PARENTS)
    for other in (some_id(2), some_id(3)):
        refused(raw_block(parents=array(*map(link, sorted([PREV_ID, other])))), Reason.BAD_PARENTS)


@pytest.mark.parametrize("count", [0, 1, 11, 13, 15, 23, 24, 255])
def test_wrong_field_count(count: int):
    """C07: wrong field count, claimed or real."""
    fields = [*PLAIN.values(), *[NULL] * 300][:count]
    refused(sealed(head(4, count) + b"".join(fields)), Reason.BAD_ENCODING)
    refused(sealed(head(4, count) + b"".join(PLAIN.values())), Reason.BAD_ENCODING)


@pytest.mark.parametrize("outer", [b"\x81", b"\x83", b"\x80", b"\x82\x82", b"\x9f", b"\x98\x02", b"\xa1"])
def test_wrong_outer_array(outer: bytes):
    """C07: the block is an array of two."""
    refused(outer + raw_block()[1:], Reason.BAD_ENCODING)


WRONG_TYPES = {
    "true for 1": {"v": b"\xf5"},
    "true for an integer": {"seq": b"\xf5"},
    "false for 0": {"height": b"\xf4"},
    "negative integer": {"seq": head(1, 4)},
    "text for an integer": {"time": text("1")},
    "null for an integer": {"seq": NULL},
    "text for bytes": {"payload": text("hello")},
    "null for bytes": {"payload": NULL},
    "text for the author": {"author": head(3, 34) + b"a" * 34},
    "bytes for text": {"type": binary(b"test/type")},
    "null for text": {"type": NULL},
    "bytes for a topic": {"topics": array(binary(b"one"))},
    "text for topics": {"topics": text("one")},
    "list for map": {"ext": array()},
    "null for map": {"ext": NULL},
    "text for a value of ext": {"ext": head(5, 1) + text("a") + text("b")},
    "bytes for a key of ext": {"ext": head(5, 1) + binary(b"a") + binary(b"b")},
    "integer for a key of ext": {"ext": head(5, 1) + head(0, 1) + binary(b"b")},
    "map for list": {"parents": head(5, 0)},
    "null for list": {"parents": NULL},
    "null for a parent": {"parents": array(NULL)},
    "bytes for a link": {"prev": binary(PREV_ID)},
    "text for a link": {"chain": text(str(GENESIS_ID))},
    "list of bytes for content": {"payload": array(binary(DAG_PB_PREFIX + bytes(32)), head(0, 9))},
    "list of three for content": {"payload": array(link(RAW_PREFIX + bytes(32)), head(0, 9), head(0, 9))},
    "list of one for content": {"payload": array(link(RAW_PREFIX + bytes(32)))},
    "text for a size": {"payload": array(link(RAW_PREFIX + bytes(32)), text("9"))},
}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_wrong_type(name: str):
    """C07: wrong type."""
    refused(raw_block(**WRONG_TYPES[name]), Reason.BAD_ENCODING)


LONG_FORMS = {
    "v": {"v": head(0, 1, 1)},
    "seq in two bytes": {"seq": head(0, 5, 2)},
    "seq in eight bytes": {"seq": head(0, 5, 8)},
    "23 in one byte": {"seq": head(0, 23, 1)},
    "255 in two bytes": {"height": head(0, 255, 2)},
    "65535 in four bytes": {"height": head(0, 65535, 4)},
    "2^32 - 1 in eight bytes": {"height": head(0, 2**32 - 1, 8)},
    "length of the author": {"author": head(2, 34, 2) + ALICE.key},
    "length of a link": {"prev": b"\xd8\x2a" + head(2, 37, 2) + b"\0" + PREV_ID},
    "tag of a link": {"prev": b"\xd9\x00\x2a" + binary(b"\0" + PREV_ID)},
    "length of parents": {"parents": head(4, 0, 1)},
    "length of text": {"type": head(3, 4, 1) + b"test"},
    "length of topics": {"topics": head(4, 1, 1) + text("one")},
    "length of a topic": {"topics": head(4, 1) + head(3, 3, 1) + b"one"},
    "length of the payload": {"payload": head(2, 5, 1) + b"hello"},
    "length of the content": {"payload": head(4, 2, 1) + link(RAW_PREFIX + bytes(32)) + head(0, 9)},
    "size of the content": {"payload": array(link(RAW_PREFIX + bytes(32)), head(0, 9, 1))},
    "length of ext": {"ext": head(5, 0, 1)},
    "length of a key of ext": {"ext": head(5, 1) + head(3, 1, 1) + b"a" + binary(b"")},
    "length of a value of ext": {"ext": head(5, 1) + text("a") + head(2, 1, 1) + b"a"},
}


@pytest.mark.parametrize("name", LONG_FORMS)
def test_non_minimal_integer_or_length(name: str):
    """C07: non-minimal integer or length."""
    refused(raw_block(**LONG_FORMS[name]), Reason.BAD_ENCODING)


def test_non_minimal_length_of_the_signature():
    """C07: non-minimal length, of the signature and of the header."""
    data = raw_block()
    refused(data[:-66] + head(2, 64, 2) + data[-64:], Reason.BAD_ENCODING)
    refused(sealed(head(4, 12, 1) + b"".join(PLAIN.values())), Reason.BAD_ENCODING)


def ext(*pairs: tuple[str, bytes]) -> bytes:
    return head(5, len(pairs)) + b"".join(text(key) + binary(value) for key, value in pairs)


def test_unsorted_keys():
    """C07: unsorted keys: shorter ones come first, then by bytes."""
    taken(raw_block(ext=ext(("b", b""), ("aa", b""))))
    refused(raw_block(ext=ext(("aa", b""), ("b", b""))), Reason.BAD_ENCODING)
    refused(raw_block(ext=ext(("b", b""), ("a", b""))), Reason.BAD_ENCODING)


def test_duplicate_keys():
    """C07: duplicate keys."""
    refused(raw_block(ext=ext(("a", b""), ("a", b""))), Reason.BAD_ENCODING)
    refused(raw_block(ext=ext(("", b""), ("", b"1"))), Reason.BAD_ENCODING)


INDEFINITE = {
    "payload": {"payload": b"\x5f" + binary(b"hello") + b"\xff"},
    "type": {"type": b"\x7f" + text("test") + b"\xff"},
    "parents": {"parents": b"\x9f\xff"},
    "topics": {"topics": b"\x9f" + text("one") + b"\xff"},
    "ext": {"ext": b"\xbf\xff"},
    "author": {"author": b"\x5f" + binary(ALICE.key) + b"\xff"},
    "link": {"prev": b"\xd8\x2a\x5f" + binary(b"\0" + PREV_ID) + b"\xff"},
}


@pytest.mark.parametrize("name", INDEFINITE)
def test_indefinite_length(name: str):
    """C07: indefinite length."""
    refused(raw_block(**INDEFINITE[name]), Reason.BAD_ENCODING)


def test_indefinite_header():
    """C07: indefinite length of the header."""
    refused(sealed(b"\x9f" + b"".join(PLAIN.values()) + b"\xff"), Reason.BAD_ENCODING)


NO_INTEGERS = {
    "16-bit float": b"\xf9\x3c\x00",
    "32-bit float": b"\xfa\x3f\x80\x00\x00",
    "64-bit float": b"\xfb\x3f\xf0" + bytes(6),
    "NaN": b"\xf9\x7e\x00",
    "infinity": b"\xf9\x7c\x00",
    "big number": b"\xc2\x41\x05",
    "negative big number": b"\xc3\x41\x05",
    "undefined": b"\xf7",
    "simple value": b"\xe0",
    "simple value in two bytes": b"\xf8\xff",
    "reserved argument": b"\x1c",
    "break": b"\xff",
}


@pytest.mark.parametrize("item", NO_INTEGERS.values(), ids=NO_INTEGERS.keys())
@pytest.mark.parametrize("field", ["v", "seq", "prev", "parents", "height", "type", "topics", "payload", "ext"])
def test_float_big_number_undefined_simple_value(field: str, item: bytes):
    """C07: any float, big number, undefined, simple value, in place of any field."""
    refused(raw_block(**{field: item}), Reason.BAD_ENCODING)


def test_link_without_zero():
    """C07: link without 0x00, and with another first byte."""
    refused(raw_block(prev=b"\xd8\x2a" + binary(PREV_ID)), Reason.BAD_ENCODING)
    refused(raw_block(prev=b"\xd8\x2a" + binary(b"\1" + PREV_ID)), Reason.BAD_ENCODING)
    refused(raw_block(parents=array(b"\xd8\x2a" + binary(b"\1" + PREV_ID))), Reason.BAD_ENCODING)


@pytest.mark.parametrize("cid", [b"\x12\x20" + bytes(32), b"\x01\x70\x12\x20" + bytes(32), b"\x01\x71\x12\x20" + bytes(31),
                                 b"\x01\x71\x13\x40" + bytes(64), b"\x02\x71\x12\x20" + bytes(32), b""])  # fmt: skip
def test_link_of_another_form(cid: bytes):
    """C07: a link that is no CIDv1 of DAG-CBOR and SHA-256."""
    for field in ("chain", "prev"):
        refused(raw_block(**{field: link(cid)}), Reason.BAD_ENCODING)
    refused(raw_block(parents=array(link(cid))), Reason.BAD_ENCODING)


@pytest.mark.parametrize("tag", [0, 1, 2, 3, 4, 5, 24, 25, 28, 29, 30, 35, 36, 37, 41, 43, 100, 258, 55799])
@pytest.mark.parametrize("field", ["seq", "prev", "type", "payload", "ext"])
def test_every_other_tag(tag: int, field: str):
    """C07: every other tag, also around a right value."""
    refused(raw_block(**{field: head(6, tag) + PLAIN[field]}), Reason.BAD_ENCODING)


def test_tag_around_link_and_block():
    """C07: every other tag: a link in a link, and a tag on the block."""
    refused(raw_block(prev=b"\xd8\x2a" + link(PREV_ID)), Reason.BAD_ENCODING)
    refused(b"\xd9\xd9\xf7" + raw_block(), Reason.BAD_ENCODING)


@pytest.mark.parametrize("tail", [b"\0", b"\xf6", bytes(64), b"\x82"])
def test_trailing_bytes(tail: bytes):
    """C07: trailing bytes, behind the block and inside it."""
    refused(raw_block() + tail, Reason.BAD_ENCODING)
    refused(raw_block()[:-66] + tail + raw_block()[-66:], Reason.BAD_ENCODING)


def test_every_truncation():
    """C07: a block cut short at any byte."""
    data = raw_block()
    for end in range(len(data)):
        with pytest.raises(RemoteError) as caught:
            decode(data[:end])
        assert caught.value.reason in (Reason.BAD_ENCODING, Reason.BAD_FIELD)  # what is cut off reads as empty


@pytest.mark.parametrize("opening", [b"\x81", b"\x82", b"\x9f", b"\xa1\x60", b"\xd8\x2a", b"\xc6", b"\x5f"])
@pytest.mark.parametrize("field", ["v", "prev", "parents", "topics", "payload", "ext"])
def test_nesting(opening: bytes, field: str):
    """C07: nesting, as deep as a block is long."""
    refused(raw_block(**{field: opening * (60_000 // len(opening)) + b"\x00"}), Reason.BAD_ENCODING)


def test_nesting_alone():
    """C07: nesting of the block itself."""
    refused(b"\x82" * 65_536, Reason.BAD_ENCODING)
    refused(b"\x9f" * 65_536, Reason.BAD_ENCODING)


@pytest.mark.parametrize("field", ["seq", "height", "time"])
@pytest.mark.parametrize("value", [2**53, 2**63, 2**64 - 1])
def test_integer_above_the_limit(field: str, value: int):
    """C07: integer above 2^53 - 1."""
    refused(raw_block(**{field: head(0, value)}), Reason.BAD_ENCODING)


@pytest.mark.parametrize("field", ["type", "payload", "topics", "parents", "ext"])
def test_length_above_the_limit(field: str):
    """C07: a length that claims more than there can be."""
    major = PLAIN[field][0] >> 5
    for value in (2**32, 2**53, 2**64 - 1):
        with pytest.raises(RemoteError):
            decode(raw_block(**{field: head(major, value)}))


def test_largest_integers():
    """C07: 2^53 - 1 itself is taken, and the last time that has a date."""
    block = taken(raw_block(seq=head(0, 2**53 - 1), height=head(0, 2**53 - 1), time=head(0, Limits.max_time_ms)))
    assert (block.seq, block.height) == (2**53 - 1, 2**53 - 1)
    assert block.time.year == 9999
    refused(raw_block(time=head(0, Limits.max_time_ms + 1)), Reason.BAD_FIELD)


def test_oversize():
    """C07: oversize: a block, a payload, a type, a topic, ext, the number of topics."""
    refused(raw_block(payload=binary(bytes(65_536))), Reason.TOO_LARGE)
    refused(raw_block(payload=binary(bytes(32_769))), Reason.BAD_FIELD)
    refused(raw_block(type=text("t" * 129)), Reason.BAD_FIELD)
    refused(raw_block(topics=array(text("t" * 257))), Reason.BAD_FIELD)
    refused(raw_block(topics=array(*[text(f"{n}") for n in range(17)])), Reason.BAD_FIELD)
    refused(raw_block(ext=ext(("a", bytes(1024)))), Reason.BAD_FIELD)
    refused(raw_block(payload=array(link(RAW_PREFIX + bytes(32)), head(0, (1 << 40) + 1))), Reason.BAD_FIELD)


def test_ten_megabytes():
    """C07: oversize is seen from the length alone."""
    refused(bytes(10_000_000), Reason.TOO_LARGE)


def test_greatest_sizes():
    """C07: what is just within the limits is taken."""
    taken(raw_block(payload=binary(bytes(32_768))))
    taken(raw_block(type=text("t" * 128), topics=array(*[text(f"{n:02}" + "t" * 254) for n in range(16)])))
    taken(raw_block(ext=ext(("a", bytes(1018)))))  # 1 + 2 + 3 + 1018
    refused(raw_block(ext=ext(("a", bytes(1019)))), Reason.BAD_FIELD)
    taken(raw_block(payload=array(link(DAG_PB_PREFIX + bytes(32)), head(0, 1 << 40))))


def test_topics_are_distinct_and_not_empty():
    """C03, C07: topics are distinct and not empty."""
    refused(raw_block(topics=array(text("one"), text("one"))), Reason.BAD_FIELD)
    refused(raw_block(topics=array(text(""))), Reason.BAD_FIELD)


@pytest.mark.parametrize("data", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"])
def test_text_is_utf8(data: bytes):
    """C03, C07: text that is not UTF-8, surrogates among it."""
    refused(raw_block(type=head(3, len(data)) + data), Reason.BAD_ENCODING)
    refused(raw_block(topics=array(head(3, len(data)) + data)), Reason.BAD_ENCODING)
    refused(raw_block(ext=head(5, 1) + head(3, len(data)) + data + binary(b"")), Reason.BAD_ENCODING)


@pytest.mark.parametrize(
    "key", [b"\xec\x01" + bytes(32), b"\xed\x01" + bytes(31), b"\xed\x01" + bytes(33), b"", bytes(34)]
)
def test_author_of_another_kind(key: bytes):
    """C07: an author that is no Ed25519 multikey."""
    refused(raw_block(author=binary(key)), Reason.BAD_ENCODING)


def test_chain_and_prev_are_null_in_the_genesis_alone():
    """C07: wrong prev: null, or null for the chain, in any other place than the genesis."""
    refused(raw_block(prev=NULL), Reason.BAD_FIELD)
    refused(raw_block(chain=NULL), Reason.BAD_FIELD)
    first = {"chain": NULL, "prev": NULL, "seq": b"\0", "height": b"\0", "parents": b"\x80"}
    assert taken(raw_block(**first)).chain_id == BlockId.of(raw_block(**first))
    for field in ("seq", "height", "parents"):
        refused(raw_block(**{**first, field: PLAIN[field]}), Reason.BAD_FIELD)


@pytest.mark.parametrize("version", [2, 23, 24, 255, 2**53 - 1])
@pytest.mark.parametrize("fields", [1, 12, 13, 23])
def test_newer_version(version: int, fields: int):
    """C07: a newer `v` is told apart from what is wrong, whatever its other fields."""
    refused(sealed(head(4, fields) + head(0, version) + b"\xf7" * (fields - 1)), Reason.NEWER_VERSION)


def test_no_version():
    """C07: version 0 and a version that is no integer are wrong, not newer."""
    for version in (b"\0", b"\xf5", head(0, 2, 1), head(0, 2**53), text("2")):
        refused(raw_block(v=version), Reason.BAD_ENCODING)


def test_bad_signature():
    """C07, C09: a signature by another key, over other bytes, or of zeros does not verify."""
    block = decode(raw_block())
    assert is_genuine(block)
    other = block.encoded[:-64] + BOB.sign(block.signed)
    unbound = block.encoded[:-64] + ALICE.sign(block.encoded[1:-66])
    for data in (other, unbound, block.encoded[:-64] + bytes(64)):
        assert not is_genuine(taken(data))


def test_every_flipped_bit_of_the_signature():
    """C07, C09: no bit of the signature may change, so nobody can mint a copy."""
    data = raw_block()
    for bit in range(64 * 8):
        changed = bytearray(data)
        changed[len(data) - 64 + bit // 8] ^= 1 << bit % 8
        assert not is_genuine(decode(bytes(changed)))


def test_signature_with_the_group_order_added():
    """C09: the second form of a signature (s + L) is refused."""
    order = 2**252 + 27742317777372353535851937790883648493
    data = raw_block()
    s = int.from_bytes(data[-32:], "little") + order
    assert not is_genuine(decode(data[:-32] + s.to_bytes(32, "little")))


# --- C08: independent judges --------------------------------------------------------------------------------------


def cid(data: bytes) -> CID:
    return CID.decode(data)


@pytest.mark.parametrize("body", [b"hello", b"", Content(Cid(DAG_PB_PREFIX + bytes(32)), 1 << 20)])
def test_independent_dag_cbor_agrees(body: bytes | Content):
    """C08: an independent DAG-CBOR codec reads the fields of the layout, writes the same bytes, and gives the same id."""
    block = made(body, topics=["zeta", "Ä"], type="test/x", ext={"long key": b"1", "k": b"\0"})
    decoded: Any = dag_cbor.decode(block.encoded)
    header, signature = decoded
    payload = body if isinstance(body, bytes) else [cid(body.link), body.size]
    assert header == [
        1, cid(GENESIS_ID), ALICE.key, 5, cid(PREV_ID), [cid(parent) for parent in PLACE.parents], 7, 1_700_000_000_000,
        "test/x", ["zeta", "Ä"], payload, {"long key": b"1", "k": b"\0"},
    ]  # fmt: skip
    assert signature == block.signature
    assert block.signed == b"walytis/block/1" + dag_cbor.encode(header)
    encoded = dag_cbor.encode([header, signature])
    assert encoded == block.encoded
    assert decode(encoded) == block
    assert str(CID("base32", 1, "dag-cbor", ("sha2-256", BlockId.of(encoded)[4:]))) == str(block.id)
    assert CID.decode(str(block.id)).raw_digest == block.id[4:]


def test_independent_cid():
    """C01, C08: the id of a genesis is the CID that another implementation computes."""
    block = create(ALICE, GENESIS_PLACE, draft(b"first"), 0)
    digest = multihash.digest(block.encoded, "sha2-256")
    assert bytes(CID("base32", 1, "dag-cbor", digest)) == bytes(block.id)
    assert block.id[:4] == DAG_CBOR_PREFIX


# --- what a user gives --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topics", [
    ["a\0b"], ["\0"], ["t" * 256], ["é" * 128], [], [f"topic {n}" for n in range(16)], ["\U0001f9ff", "\u202e", "\ufeff"],
])  # fmt: skip
def test_topics_are_kept(topics: list[str]):
    """C02, C03: NUL, 256 bytes and any Unicode come back as they were given, in their order."""
    assert decode(made(topics=topics).encoded).topics == tuple(topics)


@pytest.mark.parametrize("wrong", [
    {"topics": [""]}, {"topics": ["t" * 257]}, {"topics": ["é" * 129]}, {"topics": ["\ud800"]}, {"topics": ["a", "a"]},
    {"topics": [f"{n}" for n in range(17)]}, {"topics": "text"}, {"topics": [b"bytes"]}, {"topics": [1]}, {"topics": [["a"]]},
    {"type": "t" * 129}, {"type": "\udfff"}, {"type": b"bytes"}, {"ext": {"a": "text"}}, {"ext": {1: b""}},
    {"ext": {"\ud800": b""}}, {"ext": {"a": bytes(1019)}}, {"body": bytes(32_769)}, {"body": "text"}, {"body": None},
    {"body": bytearray(b"x")}, {"body": Content(Cid(RAW_PREFIX + bytes(32)), (1 << 40) + 1)},
    {"body": Content(Cid(DAG_CBOR_PREFIX + bytes(32)), 9)}, {"body": Content(Cid(RAW_PREFIX + bytes(32)), -1)},
])  # fmt: skip
def test_what_is_refused_before_anything_is_written(wrong: dict[str, object]):
    """C03, C04: outside the limits: refused as an argument, before a block is made."""
    with pytest.raises(InvalidInputError):
        draft(**{"body": b"", **wrong})  # type: ignore[arg-type]


def test_greatest_block_fits():
    """C04: everything at its greatest at once still makes a block."""
    full = draft(
        bytes(32_768), topics=[f"{n:02}" + "t" * 254 for n in range(16)], type="t" * 128, ext={"a": bytes(1018)}
    )
    place = Place(GENESIS_ID, 2**53 - 1, PREV_ID, tuple(MANY[:64]), 2**53 - 1)
    block = create(ALICE, place, full, 2**80)
    assert decode(block.encoded).time_ms == Limits.max_time_ms
    assert is_block(block.encoded)


def test_a_block_that_would_be_too_large_is_not_made():
    """C04: the last check of the writer: nothing above the limit is signed into being."""
    with pytest.raises(InvalidInputError):
        create(ALICE, PLACE, Draft(bytes(65_400)), 0)


@pytest.mark.parametrize(("time_ms", "kept"), [(-5, 0), (0, 0), (1, 1), (2**63, Limits.max_time_ms)])
def test_time_is_clamped(time_ms: int, kept: int):
    """C34: a clock that is off makes no block that others refuse."""
    assert decode(create(ALICE, PLACE, draft(b""), time_ms).encoded).time_ms == kept


@pytest.mark.parametrize("payload", [
    b"", b"\0", bytes(1000), raw_block(), bytes(GENESIS_ID), link(GENESIS_ID), b"\xd8\x2a", b"\x82\x8c\x01", b"\n,;|\r\n", b"\xff" * 99,
])  # fmt: skip
def test_payloads_of_any_bytes(payload: bytes):
    """C05: CBOR, CIDs, zero bytes, separators come back byte for byte."""
    assert decode(made(payload).encoded).payload == payload
    assert made(payload).open().read() == payload


# --- the object ---------------------------------------------------------------------------------------------------


def test_blocks_are_equal_by_id():
    block = made(b"x")
    again = decode(block.encoded)
    assert block == again
    assert hash(block) == hash(again)
    assert block != made(b"y")
    assert block != (1,)
    assert repr(block) == f"Block({block.id.short}, seq=5, height=7, type='')"


def test_what_was_made_equals_what_is_read():
    block = made(b"x", topics=["a"], type="t", ext={"k": b"v"})
    assert tuple(decode(block.encoded)) == tuple(block)


def test_long_content_needs_its_chain():
    content = Content(Cid(RAW_PREFIX + bytes(32)), 5)
    block = made(content)
    assert (block.content, made(b"").content) == (content, None)
    with pytest.raises(NotFoundError):
        block.open()
    readable = block._replace(reader=lambda link: io.BytesIO(b"%d" % link.size))
    assert readable.payload == b"5"


def test_an_id_that_was_computed_before_is_taken():
    data = raw_block()
    id = BlockId.of(data)
    assert decode(data, id).id is id


def test_empty_input():
    """C07: nothing at all is no block."""
    for data in (b"", b"\x82", b"\x82\x8c", b"\x82\x8c\x01"):
        refused(data, Reason.BAD_ENCODING)


# --- vectors ------------------------------------------------------------------------------------------------------

VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/block.json").read_text(encoding="utf-8"))


def id_or_none(value: str | None) -> BlockId | None:
    return None if value is None else BlockId.parse(value)


@pytest.mark.parametrize("vector", VECTORS["blocks"], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]):
    """C02, C05, C08: the bytes and the id of docs/spec/vectors/block.json follow from the fields, and the other way."""
    fields = vector["fields"]
    payload = fields["payload"]
    body = bytes.fromhex(payload) if isinstance(payload, str) else Content(Cid.parse(payload[0]), payload[1])
    parents = tuple(BlockId.parse(parent) for parent in fields["parents"])
    place = Place(id_or_none(fields["chain"]), fields["seq"], id_or_none(fields["prev"]), parents, fields["height"])
    ext = {key: bytes.fromhex(value) for key, value in fields["ext"].items()}
    signer = Ed25519Signer(bytes.fromhex(vector["seed"]))
    block = create(signer, place, Draft(body, tuple(fields["topics"]), fields["type"], ext), fields["time"])
    assert block.author.hex() == fields["author"]
    assert (block.encoded.hex(), str(block.id)) == (vector["bytes"], vector["id"])
    again = taken(bytes.fromhex(vector["bytes"]))
    assert tuple(again) == tuple(block)
    assert is_genuine(again)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_refused_vectors(vector: dict[str, str]):
    """C07: the reader refuses these with their reasons."""
    refused(bytes.fromhex(vector["bytes"]), Reason(vector["reason"]))


def test_forged_vector():
    """C09: well-formed, and not genuine."""
    assert not is_genuine(taken(bytes.fromhex(VECTORS["forged"])))
