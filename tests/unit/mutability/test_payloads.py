"""What a version says: it comes back as it went in, and nothing else is taken for it."""

from __future__ import annotations

import random
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutability.payloads import CREATED, DELETED, EDITED, MAX_REPLACED, RESTORED, Change, decode, encode
from tests.suites.making import ALICE, GENESIS_ID, PREV_ID, some_id
from tests.suites.naive_objects import malformed, read
from walytis_core.block import Block, Content, Place, create, draft
from walytis_core.block import decode as decode_block
from walytis_core.cid import DAG_CBOR_PREFIX, RAW_PREFIX, BlockId, Cid
from walytis_core.errors import Reason, RemoteError
from walytis_core.limits import Limits
from walytis_core.policy import ADMIT

LONG = Content(Cid.of(b"long", RAW_PREFIX), 50_000)
PLACE = Place(GENESIS_ID, 1, PREV_ID, (), 2)
ids = st.binary(min_size=32, max_size=32).map(lambda digest: BlockId(DAG_CBOR_PREFIX + digest))
replaced = st.sets(ids, min_size=1, max_size=MAX_REPLACED).map(lambda found: tuple(sorted(found)))
media_types = st.from_regex(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,20}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,20}(;[ -~]{0,40})?", fullmatch=True
)
changes = st.one_of(
    st.builds(Change, st.just(CREATED), media_types, st.none(), st.just(())),
    st.builds(Change, st.just(EDITED), media_types, ids, replaced),
    st.builds(Change, st.just(DELETED), st.booleans(), ids, replaced),
    st.builds(Change, st.just(RESTORED), ids, ids, replaced),
)


def block(type: str, ext: dict[str, bytes], body: bytes | Content = b"") -> Block:
    """A block as it comes from a peer: from its bytes."""
    made = create(ALICE, PLACE, draft(body, type=type, ext=ext), 0)
    return decode_block(made.encoded, made.id)


def saying(type: str, value: Any, body: bytes | Content = b"") -> Block:
    return block(type, {"mutability": cbor2.dumps(value, canonical=True)}, body)


def refused(one: Block) -> None:
    with pytest.raises(RemoteError) as caught:
        decode(one)
    assert caught.value.reason in {Reason.BAD_PAYLOAD, Reason.BAD_MESSAGE}


@given(changes)
def test_round_trip(change):
    """M01: what is said comes back as it was, from the bytes of a block, in the types that it had."""
    one = block(change.kind, encode(change))
    assert decode(one) == change
    read_back = decode(one)
    assert type(read_back.detail) is type(change.detail)
    assert all(type(id) is BlockId for id in read_back.replaces)
    assert encode(read_back) == encode(change)


@given(changes)
def test_the_plain_reader_agrees(change):
    """M01: the model's reader, which is another one, reads the same."""
    one = block(change.kind, encode(change))
    said = read(one)
    assert said is not None
    assert (said.kind, said.object, said.replaces) == (change.kind, change.object or one.id, change.replaces)
    assert (said.detail, set(said.named)) == (change.detail, set(change.named))


def test_what_must_be_named():
    """M07: the versions that are replaced, and the one whose content is restored."""
    a, b, object = sorted(map(some_id, range(3)))
    assert Change(CREATED, "a/b").named == ()
    assert Change(EDITED, "a/b", object, (a, b)).named == (a, b)
    assert Change(DELETED, True, object, (a,)).named == (a,)
    assert set(Change(RESTORED, b, object, (a,)).named) == {a, b}


@pytest.mark.parametrize("kind", [EDITED, DELETED, RESTORED])
def test_the_longest_fits(kind):
    """M05: as many versions as one may replace, with the longest media type, fit into the `ext` of a block."""
    many = tuple(sorted(some_id(number) for number in range(MAX_REPLACED)))
    longest = "a/" + "b" * (Limits.max_media_type_chars - 2)
    details: dict[str, str | bool | BlockId] = {EDITED: longest, DELETED: True, RESTORED: some_id(99)}
    change = Change(kind, details[kind], some_id(98), many)
    assert decode(block(kind, encode(change))) == change


def test_one_more_is_refused():
    """M07: a version replaces at most so many."""
    many = sorted(bytes(some_id(number)) for number in range(MAX_REPLACED + 1))
    refused(saying(DELETED, [bytes(some_id(99)), many, False]))
    assert decode(saying(DELETED, [bytes(some_id(99)), many[1:], False])).replaces == tuple(many[1:])


def test_what_is_no_change():
    """M07: bytes that a lax reader takes are refused, and so by the model's reader."""
    rng = random.Random(7)
    for _ in range(400):
        type, ext = malformed(rng, bytes(some_id(1)), bytes(some_id(2)))
        one = block(type, ext)
        refused(one)
        assert read(one) is None


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["text/plain", "x", ""]), st.binary(max_size=3),
        ids.map(bytes), st.just(bytes(some_id(1))), st.just(bytes(some_id(2))), st.just(RAW_PREFIX + bytes(32)),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=2), inner, max_size=2)),
    max_leaves=8,
)  # fmt: skip
kinds = st.sampled_from([CREATED, EDITED, DELETED, RESTORED, "mutability/", "mutability/other", ""])


@given(kinds, st.one_of(values, st.tuples(values, st.lists(ids.map(bytes), max_size=3), values).map(list)))
def test_any_value(kind, value):
    """M07: of any data, a change is read just where the model reads one; the rest is refused with a reason."""
    one = saying(kind, value)
    said = read(one)
    if said is None:
        refused(one)
    else:
        assert bytes(decode(one).object or one.id) == said.object


@given(kinds, st.binary(max_size=200))
def test_any_bytes(kind, data):
    """M07: no bytes lead to anything but a change or a refusal."""
    one = block(kind, {"mutability": data})
    assert read(one) is None
    refused(one)


@given(changes, st.integers(0, 1000), st.integers(0, 255))
def test_a_changed_byte(change, at, byte):
    """M07: a flipped byte makes another change, which is written just so, or none."""
    data = bytearray(encode(change)["mutability"])
    data[at % len(data)] = byte
    one = block(change.kind, {"mutability": bytes(data)})
    try:
        found = decode(one)
    except RemoteError:
        assert read(one) is None
    else:
        assert encode(found) == {"mutability": bytes(data)}
        assert read(one) is not None


@pytest.mark.parametrize("body", [b"x", LONG])
@pytest.mark.parametrize("kind", [DELETED, RESTORED])
def test_a_deletion_has_no_content(kind, body):
    """M07: nor has a restoration."""
    detail = {DELETED: False, RESTORED: bytes(some_id(2))}[kind]
    value = [bytes(some_id(1)), [bytes(some_id(2))], detail]
    assert decode(saying(kind, value)).kind == kind
    refused(saying(kind, value, body))


@pytest.mark.parametrize("body", [b"", b"x", LONG])
@pytest.mark.parametrize("kind", [CREATED, EDITED])
def test_content_is_the_payload(kind, body):
    """M01: short or long, or none at all."""
    value: list[Any] = [None, [], "a/b"] if kind == CREATED else [bytes(some_id(1)), [bytes(some_id(2))], "a/b"]
    assert decode(saying(kind, value, body)).detail == "a/b"


def test_a_type_that_is_none_of_ours():
    """M07: the same `ext` in another block says nothing."""
    good = encode(Change(CREATED, "a/b"))
    for type in ("", "notes/created", "mutability/creates", ADMIT):
        refused(block(type, good))


def test_other_extensions_are_left_alone():
    """M07: keys of others beside ours change nothing."""
    change = Change(CREATED, "a/b")
    assert decode(block(CREATED, {**encode(change), "other": b"\xff"})) == change
