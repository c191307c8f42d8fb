"""Blocks in a daemon's store, and blocks that it fetches; the daemon is a scripted one. `test_network_kubo.py` has real ones."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio

from tests.suites.bad_answers import Answer, block, head, raw, refused, told
from tests.suites.bad_kubo import ScriptedKubo
from tests.suites.networks import BOUND_S
from walytis_core.cid import DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX, Cid
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network.kubo import blocks
from walytis_core.network.kubo.blocks import KuboCopies, fetch
from walytis_core.network.kubo.endpoint import Endpoint
from walytis_core.network.kubo.rpc import Rpc

DATA = b"a block"


def some(count: int, size: int = 100) -> list[tuple[Cid, bytes]]:
    datas = [Random(number).randbytes(size) for number in range(count)]
    return [(Cid.of(data, RAW_PREFIX), data) for data in datas]


def cids(blocks: Sequence[tuple[Cid, bytes]]) -> list[Cid]:
    return [cid for cid, _ in blocks]


@pytest.fixture
def fake() -> Iterator[ScriptedKubo]:
    with ScriptedKubo() as scripted:
        yield scripted


@asynccontextmanager
async def copies_in(fake: ScriptedKubo) -> AsyncIterator[KuboCopies]:
    async with Rpc(Endpoint.parse(fake.url)) as rpc:
        yield KuboCopies(lambda: rpc, lambda: fake.peer_id)


def run(fake: ScriptedKubo, test: Callable[[KuboCopies], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(BOUND_S):
            async with copies_in(fake) as copies:
                await test(copies)

    trio.run(bounded)


def fails(fake: ScriptedKubo, call: Callable[[KuboCopies], Awaitable[object]]) -> bool:
    """Whether a call raises `UnavailableError`."""
    failed: list[UnavailableError] = []

    async def test(copies: KuboCopies) -> None:
        try:
            await call(copies)
        except UnavailableError as error:
            failed.append(error)

    run(fake, test)
    return bool(failed)


# --- fetching ------------------------------------------------------------------------------------------------------


def fetched(fake: ScriptedKubo, cid: Cid) -> bytes | None:
    """What a fetch gives; None where it raises."""
    got: list[bytes] = []

    async def test(copies: KuboCopies) -> None:
        got.append(await fetch(copies._rpc(), cid))

    return None if fails(fake, test) else got[0]


@pytest.mark.parametrize("prefix", [DAG_CBOR_PREFIX, DAG_PB_PREFIX, RAW_PREFIX])
def test_only_bytes_of_the_cid_are_given(fake: ScriptedKubo, prefix: bytes) -> None:
    """C36: whatever the daemon says."""
    cid = Cid.of(DATA, prefix)
    assert fetched(fake, cid) is None
    for wrong in (b"b block", DATA + b"x", b""):
        fake.answers["block/get"] = block(wrong)
        assert fetched(fake, cid) is None
    fake.answers["block/get"] = block(DATA)
    assert fetched(fake, cid) == DATA


def test_a_block_is_only_so_large(fake: ScriptedKubo) -> None:
    """C36: one byte more, and it is not taken, though its CID is right."""
    for size, is_taken in ((Limits.leaf_bytes, True), (Limits.leaf_bytes + 1, False)):
        data = bytes(size)
        fake.answers["block/get"] = block(data)
        assert (fetched(fake, Cid.of(data, RAW_PREFIX)) == data) is is_taken


ODD = [b"", b"x", Cid.of(DATA)[2:], b"\x01\x51" + Cid.of(DATA)[2:], b"\x01\x55\x11" + Cid.of(DATA)[3:], Cid.of(DATA) + b"x",
    Cid.of(DATA)[:-1], b"\x00" + Cid.of(DATA)[1:]]  # fmt: skip


@pytest.mark.parametrize("cid", ODD)
def test_odd_cids_are_not_asked_for(fake: ScriptedKubo, cid: bytes) -> None:
    """C36: of another version, codec, hash or length."""
    assert fetched(fake, Cid(cid)) is None
    assert not fake.count("block/get")


# --- putting -------------------------------------------------------------------------------------------------------


def test_copies_are_put_in_portions(fake: ScriptedKubo) -> None:
    """C43: bounded in number and in bytes; nothing is pinned."""
    many, large = some(2500), some(10, 1 << 20)

    async def test(copies: KuboCopies) -> None:
        await copies.put([])
        assert not fake.calls
        await copies.put(many)
        assert fake.count("dag/import") == 3
        await copies.put(large)
        assert fake.count("dag/import") == 6

    run(fake, test)
    assert fake.blocks == {str(cid): data for cid, data in many + large}
    assert not fake.pins
    assert all(call.options["pin-roots"] == "false" for call in fake.calls)
    assert max(len(call.body) for call in fake.calls) < 5 << 20


@pytest.mark.parametrize("answer", [told({}), told({"Stats": {"BlockCount": 2}}), told({"Stats": {"BlockCount": "3"}}), told([3]),
    raw(head("200 OK") + b"[" * 100_000), raw(head("200 OK")), refused("no space left on device")])  # fmt: skip
def test_copies_that_were_not_all_taken(fake: ScriptedKubo, answer: Answer) -> None:
    """C43: is said; the caller puts them again."""
    fake.answers["dag/import"] = answer
    assert fails(fake, lambda copies: copies.put(some(3)))


# --- pins ----------------------------------------------------------------------------------------------------------


def test_pins_have_the_last_label(fake: ScriptedKubo) -> None:
    """C43: in portions that fit a URL; each is a direct one."""
    many = some(250)

    async def test(copies: KuboCopies) -> None:
        for call in (copies.pin([], "x"), copies.unpin([], "x")):
            await call
        assert not fake.calls
        await copies.put(many)
        for label in ("first", "last"):
            await copies.pin(cids(many), label)
        assert await copies.is_pinned(many[0][0])
        assert not await copies.is_pinned(Cid.of(b"other"))

    run(fake, test)
    assert fake.pins == {str(cid): "last" for cid in cids(many)}
    assert fake.count("pin/add") == 6
    assert max(len(call.args) for call in fake.calls) <= 100


def test_what_others_pinned_stays(fake: ScriptedKubo) -> None:
    """C43: a pin on a whole graph is one, and is never taken away; the rest of the portion is pinned and unpinned all the same."""
    three = some(3)
    ours, theirs = [str(cid) for cid in cids(three)][::2], str(three[1][0])

    async def test(copies: KuboCopies) -> None:
        await copies.put(three)
        fake.graphs.add(theirs)
        await copies.pin(cids(three), "ours")
        assert fake.pins == dict.fromkeys(ours, "ours")
        assert await copies.is_pinned(three[1][0])
        await copies.unpin([*cids(three), Cid.of(b"never pinned")], "ours")

    run(fake, test)
    assert fake.pins == {}
    assert fake.graphs == {theirs}


def test_what_is_not_there_cannot_be_pinned(fake: ScriptedKubo) -> None:
    """C43: and that is said."""
    assert fails(fake, lambda copies: copies.pin([Cid.of(b"absent")], "x"))


def test_pins_of_a_label(fake: ScriptedKubo) -> None:
    """C43: at most so many are found, and taken away; a label that contains it is another one."""
    many = some(250)
    others = {str(Cid.of(b"%d" % number)): label for number, label in enumerate(("a label", "labels", "Label", ""))}
    fake.pins = (
        {str(cid): "label" for cid in cids(many)} | others | {"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N": "label"}
    )

    async def test(copies: KuboCopies) -> None:
        assert await copies.pins("label", 1000) == cids(many)
        assert await copies.pins("label", 100) == cids(many)[:100]
        await copies.unpin([*cids(many)[100:], *map(Cid.parse, others)], "label")
        assert await copies.pins("label", 1000) == cids(many)[:100]
        await copies.unpin(cids(many), "labels")

    run(fake, test)
    assert set(fake.pins) == {*map(str, cids(many)[:100]), *others, "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"}


PINS: dict[str, Answer] = {
    "no list": raw(head("200 OK") + b"7\n"),
    "deep": raw(head("200 OK") + b"[" * 10_000 + b"\n"),
    "a long line": raw(head("200 OK") + json.dumps({"Cid": "x" * 100_000, "Name": "label"}).encode() + b"\n"),
    "refused": refused("no"),
}


@pytest.mark.parametrize("answer", PINS.values(), ids=PINS)
def test_pins_that_are_not_listed(fake: ScriptedKubo, answer: Answer) -> None:
    """C36: is said, so that it is tried again."""
    fake.answers["pin/ls"] = answer
    assert fails(fake, lambda copies: copies.unpin(cids(some(3)), "label"))
    assert not fake.count("pin/rm")


def test_a_list_without_an_end(fake: ScriptedKubo) -> None:
    """C36: no more of it is read than was asked for."""
    cid = str(Cid.of(DATA))
    fake.blocks[cid], fake.pins[cid] = DATA, "label"
    line = json.dumps({"Cid": cid, "Name": "label"}).encode() + b"\n"

    def endless(request: object) -> Iterator[bytes]:
        yield head("200 OK")
        while True:
            yield line * 100

    fake.answers["pin/ls"] = endless

    async def test(copies: KuboCopies) -> None:
        assert await copies.pins("label", 50) == [Cid.of(DATA)] * 50

    run(fake, test)
    assert fake.sent["pin/ls"] < 24 << 20


def test_a_list_that_does_not_come(fake: ScriptedKubo, monkeypatch: pytest.MonkeyPatch) -> None:
    """C37: is given up."""
    monkeypatch.setattr(blocks, "_WAIT_S", 0.2)

    def silent(request: object) -> Iterator[bytes]:
        yield head("200 OK")
        fake.calls[-1].over.wait()

    fake.answers["pin/ls"] = silent
    assert fails(fake, lambda copies: copies.pins("label", 50))
