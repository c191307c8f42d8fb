"""Screening: known blocks are not read, wrong ones are told apart, what leaves is genuine."""

from __future__ import annotations

from tests.suites.making import ALICE, BOB, World, raw_block
from walytis_core.block import Block, is_genuine
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
from walytis_core.screening import identify, read_genuine, screen, screen_identified

WORLD = World()
ONE, TWO = WORLD.chain(ALICE, 2)


def nothing(_ids: object) -> set[bytes]:
    return set()


def test_genuine_blocks_pass():
    """C09: what leaves was decoded and verified, in its order."""
    found = screen([ONE.encoded, TWO.encoded], nothing)
    assert (found.blocks, found.refused, found.known) == ((ONE, TWO), (), 0)
    assert all(map(is_genuine, found.blocks))


def test_each_kind_of_refusal():
    """C07, C09: broken bytes, a broken signature and a newer version, each with its id and reason."""
    forged = ONE.encoded[:-64] + BOB.sign(ONE.signed)
    portion = [b"garbage", forged, raw_block(v=b"\x02"), bytes(65_537), TWO.encoded]
    found = screen(portion, nothing)
    assert found.blocks == (TWO,)
    reasons = [Reason.BAD_ENCODING, Reason.BAD_SIGNATURE, Reason.NEWER_VERSION, Reason.TOO_LARGE]
    assert dict(found.refused) == {BlockId.of(data): reason for data, reason in zip(portion, reasons, strict=False)}


def test_known_blocks_are_not_read():
    """C36: ids are looked up, all at once, before anything is decoded."""
    asked: list[set[bytes]] = []
    read: list[BlockId] = []

    def known(ids: object) -> set[bytes]:
        asked.append(set(ids))  # type: ignore[call-overload]
        return {ONE.id}

    def reader(encoded: bytes, id: BlockId) -> Block:
        read.append(id)
        return read_genuine(encoded, id)

    found = screen_identified(identify([ONE.encoded, TWO.encoded]), known, reader)
    assert (found.blocks, found.known) == ((TWO,), 1)
    assert asked == [{ONE.id, TWO.id}]
    assert read == [TWO.id]


def test_a_block_twice_in_one_portion():
    """C30: is read once."""
    assert screen([ONE.encoded] * 3, nothing).blocks == (ONE,)
    assert screen([b"x"] * 3, nothing).refused == ((BlockId.of(b"x"), Reason.BAD_ENCODING),)
    assert screen([], nothing) == ((), (), 0)
