"""The general DAG-CBOR reader and writer, judged by an independent codec."""

from __future__ import annotations

import random
import time
import tracemalloc
from typing import Any

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID

from walytis_core.cbor import MAX_DEPTH, Value, decode, encode, pack, unpack
from walytis_core.cid import DAG_PB_PREFIX, RAW_PREFIX, Cid
from walytis_core.errors import InvalidInputError, Reason, RemoteError

MAX_INT = 2**53 - 1
BIG = 1 << 20

cids = st.builds(Cid.of, st.binary(max_size=4), st.sampled_from([RAW_PREFIX, DAG_PB_PREFIX]))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | st.binary(max_size=40) | texts | cids
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5), max_leaves=20
)


def read(data: bytes, max_bytes: int = BIG, max_depth: int = MAX_DEPTH) -> Value:
    return decode(data, max_bytes=max_bytes, max_depth=max_depth)


def refused(data: bytes, max_bytes: int = BIG, max_depth: int = MAX_DEPTH) -> bool:
    try:
        read(data, max_bytes, max_depth)
    except RemoteError as error:
        return error.reason is Reason.BAD_MESSAGE
    return False


def for_judge(value: object) -> Any:
    """The value with links as the judge's own CID objects."""
    if isinstance(value, Cid):
        return CID.decode(bytes(value))
    if isinstance(value, list):
        return [for_judge(item) for item in value]
    if isinstance(value, dict):
        return {key: for_judge(item) for key, item in value.items()}
    return value


@given(values)
def test_is_what_the_independent_codec_writes(value: Value) -> None:
    data = encode(value)
    assert data == dag_cbor.encode(for_judge(value))
    assert read(data) == value


@given(values, st.randoms(use_true_random=False))
def test_what_is_taken_the_independent_codec_takes_too(value: Value, rng: random.Random) -> None:
    for mutant in mutants(encode(value), rng, 20):
        if refused(mutant):
            continue
        taken = read(mutant)
        assert encode(taken) == mutant
        assert dag_cbor.decode(mutant) == for_judge(taken)


def mutants(data: bytes, rng: random.Random, count: int) -> list[bytes]:
    """Copies of `data` with bytes changed, inserted, removed or doubled."""
    made = []
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(copy) + 1)
            match rng.randrange(4):
                case 0 if at < len(copy):
                    copy[at] = rng.randrange(256)
                case 1:
                    copy[at:at] = rng.choice(
                        [b"\xf5", b"\x80", b"\xa1", b"\xd8\x2a", b"\x1b" + bytes(8), b"\xff", b"\xf9\x3c\x00"]
                    )
                case 2:
                    del copy[at : at + rng.randint(1, 4)]
                case _:
                    copy[at:at] = copy[at : at + 4]
        made.append(bytes(copy))
    return made


@pytest.mark.slow
def test_what_the_independent_codec_takes_and_fits_is_taken() -> None:
    """The two agree in both directions, but for floats, integers and links that we leave out."""
    rng = random.Random(1)
    seeds: list[Value] = [
        [3, [b"block", b"other"], True],
        {"a": [1, -1, MAX_INT], "bb": None, "cc": {"d": "text"}},
        [Cid.of(b"x"), [[[1, 2, 300, 70000]]], "ü"],
    ]
    agreed = 0
    for _ in range(4000):
        for mutant in mutants(encode(rng.choice(seeds)), rng, 5):
            ours = refused(mutant)
            try:
                theirs = dag_cbor.decode(mutant)
            except Exception:  # noqa: BLE001 - the judge raises many kinds
                assert ours
                continue
            agreed += not ours
            if ours:
                assert has_what_we_leave_out(theirs), mutant.hex()
    assert agreed > 500


def has_what_we_leave_out(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(has_what_we_leave_out, value.values()))
    if isinstance(value, list):
        return any(map(has_what_we_leave_out, value))
    if isinstance(value, int):
        return abs(value) > MAX_INT
    if isinstance(value, CID):
        return bytes(value)[:4] not in {RAW_PREFIX, DAG_PB_PREFIX, Cid.of(b"")[:4]} or len(bytes(value)) != 36
    return isinstance(value, float)


LINK = Cid.of(b"x")
HOSTILE = {
    "nothing": "",
    "trailing byte": "0000",
    "cut short": "820",
    "long integer": "1800",
    "long length": "98020000",
    "indefinite list": "9f00ff",
    "indefinite map": "bf616100ff",
    "indefinite bytes": "5f4100ff",
    "break": "ff",
    "float": "fb3ff8000000000000",
    "short float": "f93c00",
    "not a number": "f97e00",
    "undefined": "f7",
    "simple value": "f0",
    "long simple value": "f8ff",
    "big number": "c24101",
    "negative big number": "c34101",
    "date": "c074323032302d30312d30315430303a30303a30305a",
    "decimal": "c4821b000000ffffffffff01",
    "big float": "c5821b000000ffffffffff01",
    "regular expression": "d8236128",
    "shared value": "d81c81d81d00",
    "other tag": "d82b00",
    "self-described": "d9d9f700",
    "2^53": "1b0020000000000000",
    "-2^53": "3b001fffffffffffff",
    "text key twice": "a2616101616102",
    "unsorted keys": "a262616101616202",
    "bytes for a key": "a1416100",
    "integer for a key": "a10100",
    "list for a key": "a1810000",
    "map for a key": "a1a1000000",
    "link for a key": "a1d82a5825" + "00" + LINK.hex() + "00",
    "text that is not UTF-8": "61ff",
    "surrogate": "63eda080",
    "link without its zero": "d82a5824" + LINK.hex(),
    "link with another multibase": "d82a582501" + LINK.hex(),
    "link of an old form": "d82a582300" + "1220" + "00" * 32,
    "link that is too long": "d82a582600" + LINK.hex() + "00",
    "link of an unknown codec": "d82a582500" + "01791220" + "00" * 32,
    "text for a link": "d82a6161",
    "list for a link": "d82a80",
    "link in a link": "d82ad82a5825" + "00" + LINK.hex(),
    "endless list": "9bffffffffffffffff",
    "endless bytes": "5bffffffffffffffff",
    "endless map": "bb0000000100000000",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_refuses_what_is_not_canonical(data: str) -> None:
    """C36: every form but the one of DAG-CBOR is refused."""
    raw = bytes.fromhex(data + "0" * (len(data) % 2))
    assert refused(raw)
    assert refused(b"\x81" + raw)


def test_true_is_not_one_and_one_is_not_true() -> None:
    assert read(b"\xf5") is True
    assert type(read(b"\x01")) is int


def test_depth_and_size_are_bounds_of_the_caller() -> None:
    """C36: nesting and size."""
    for depth in range(MAX_DEPTH + 1):
        data = b"\x81" * depth + b"\x00"
        assert not refused(data, max_depth=depth)
        assert depth == 0 or refused(data, max_depth=depth - 1)
        assert depth == 0 or refused(b"\xa1\x61a" * depth + b"\x80", max_depth=depth)
    assert not refused(b"\x43abc", max_bytes=4)
    assert refused(b"\x43abc", max_bytes=3)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81" * 262_144,
        b"\x9a\x00\x03\xff\x00" + b"\x80" * 261_888,
        b"\xc4\x82\x3b\x00\x00\x00\xff\xff\xff\xff\xff\x01",
        b"\xd8\x24\x7a\x00\x03\x00\x00" + b"a" * 196_608,
        b"\x82\xc2\x5a\x00\x03\x00\x00" + b"\xff" * 196_608,
        b"\xd8\x1c" * 100_000,
        b"\xba\x00\x00\x80\x00" + b"\xa1\x00\x00" * 32_768,
    ],
    ids=["deep", "wide", "decimal", "mime", "big number", "tags", "maps in keys"],
)
def test_hostile_bytes_cost_little(data: bytes) -> None:
    """C36: bounded processor time and memory for anything that fits a frame."""
    tracemalloc.start()
    before = time.process_time()
    refused(data, max_depth=4)
    spent, (_, peak) = time.process_time() - before, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 5, "seconds of processor, under a tracer; hanging takes minutes"
    assert peak < 64 << 20


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        2**53,
        -(2**53),
        {1: 2},
        {b"a": 2},
        {1, 2},
        bytearray(b"x"),
        1j,
        "\ud800",
        {"\ud800": 1},
        [[1.0]],
        {"a": {2: 1}},
    ],
    ids=repr,
)
def test_writing_anything_else_is_an_error_here(value: Value) -> None:
    with pytest.raises(InvalidInputError):
        encode(value)


def test_writing_is_bounded_in_depth() -> None:
    value: Value = 0
    for _ in range(MAX_DEPTH):
        value = [value]
    assert read(encode(value)) == value
    with pytest.raises(InvalidInputError):
        encode([value])


def test_tuples_are_written_as_lists() -> None:
    assert encode((1, (b"x",))) == encode([1, [b"x"]])


@given(values)
def test_what_was_written_here_is_read_without_the_checks(value: Value) -> None:
    assert unpack(encode(value)) == value


@given(st.lists(st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | st.binary(max_size=40) | texts))
def test_plain_values_are_packed_as_they_are_encoded(value: list[Any]) -> None:
    assert pack(value) == encode(value)


@pytest.mark.parametrize("data", [b"", b"\x82\x01", b"\xc1\x00", b"\xff"])
def test_what_nobody_wrote_here_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        unpack(data)
