"""The genesis payload and `core/admit`: what is read, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.suites.making import ALICE, BOB, FOUNDER, NONCE, World, some_id
from walytis_core import cbor
from walytis_core.block import GENESIS_PLACE, Content, Draft, create
from walytis_core.cid import RAW_PREFIX, Cid
from walytis_core.errors import InvalidInputError, Reason, RemoteError
from walytis_core.policy import (
    ADMIT,
    EVERYONE,
    SECRET,
    Policy,
    create_genesis,
    encode_admit,
    read_admit,
    read_genesis,
)

KEYS = sorted([ALICE.key, BOB.key])
LINK = Cid(RAW_PREFIX + bytes(32))


@pytest.mark.parametrize("writers", [None, frozenset([ALICE.key]), frozenset(KEYS)])
@pytest.mark.parametrize("readers", [EVERYONE, SECRET, f"did:walytis:{some_id(1)}"])
def test_round_trip(writers: frozenset[bytes] | None, readers: str):
    """C01, C09: the policy is read as it was given."""
    policy = Policy(writers, readers, b"app data")
    block = create_genesis(FOUNDER, policy, NONCE, 7)
    genesis = read_genesis(block)
    assert genesis == (block.id, FOUNDER.key, policy)
    assert policy.is_open is (writers is None and readers == EVERYONE)
    assert (block.chain, block.chain_id, block.prev, block.parents, block.seq, block.height) == (
        None,
        block.id,
        None,
        (),
        0,
        0,
    )


def test_the_nonce_makes_the_chain():
    """C01: two chains with one policy have two ids."""
    assert World().first.id != World(nonce=bytes(16)).first.id


@pytest.mark.parametrize("policy", [
    Policy(frozenset(), EVERYONE), Policy(frozenset([b"short"]), EVERYONE), Policy(frozenset([b"\xed\x01" + bytes(32)]), EVERYONE),
    Policy(None, "nobody"), Policy(None, ""), Policy(None, "did:key:z6Mk"), Policy(None, "did:walytis:bafy"), Policy(None, f"did:walytis:{LINK}"), Policy(None, "did:walytis:" + "b" * 128),
    Policy(None, EVERYONE, bytes(32_768)), Policy(frozenset(b"%034d" % n for n in range(1025)), EVERYONE),
])  # fmt: skip
def test_policies_that_are_not_made(policy: Policy):
    """C03: outside the limits: refused before a chain is made."""
    with pytest.raises(InvalidInputError):
        create_genesis(FOUNDER, policy, NONCE, 0)


def genesis_with(payload: bytes, **changes: Any) -> Reason:
    with pytest.raises(RemoteError) as caught:
        read_genesis(create(FOUNDER, GENESIS_PLACE, Draft(payload, **changes), 0))
    return caught.value.reason


@pytest.mark.parametrize("value", [
    [], None, [NONCE, None, EVERYONE], [NONCE, None, EVERYONE, b"", b""], [NONCE[:15], None, EVERYONE, b""], [NONCE * 2, None, EVERYONE, b""],
    ["0123456789abcdef", None, EVERYONE, b""], [NONCE, [], EVERYONE, b""], [NONCE, True, EVERYONE, b""], [NONCE, "anyone", EVERYONE, b""],
    [NONCE, KEYS[::-1], EVERYONE, b""], [NONCE, [KEYS[0], KEYS[0]], EVERYONE, b""], [NONCE, [b"\xed\x01" + bytes(32)], EVERYONE, b""],
    [NONCE, [KEYS[0][2:]], EVERYONE, b""], [NONCE, {"a": None}, EVERYONE, b""], [NONCE, None, "nobody", b""], [NONCE, None, None, b""],
    [NONCE, None, b"everyone", b""], [NONCE, None, EVERYONE, None], [NONCE, None, EVERYONE, "text"], [NONCE, None, EVERYONE, LINK],
    [NONCE, [LINK], EVERYONE, b""], [NONCE, None, EVERYONE, [b""]], {"nonce": NONCE},
], ids=str)  # fmt: skip
def test_payloads_that_are_no_policy(value: Any):
    """C40: a made-up genesis does not parse, so nothing of it is kept."""
    assert genesis_with(cbor.encode(value)) is Reason.BAD_PAYLOAD


@pytest.mark.parametrize(
    "payload", [b"", b"\x84", b"\xff", cbor.encode([NONCE, None, EVERYONE, b""]) + b"\0", b"\x81" * 3000]
)
def test_payloads_that_are_no_cbor(payload: bytes):
    """C40: neither do broken bytes."""
    assert genesis_with(payload) is Reason.BAD_PAYLOAD


def test_blocks_that_are_no_genesis():
    """C40: a genesis names no chain, has no type, is signed by a valid key, and carries its payload."""
    world = World()
    for block in (world.block(ALICE), create(FOUNDER, GENESIS_PLACE, Draft(world.first.body, type="core/x"), 0),
                  create(FOUNDER, GENESIS_PLACE, Draft(Content(LINK, 9)), 0)):  # fmt: skip
        with pytest.raises(RemoteError) as caught:
            read_genesis(block)
        assert caught.value.reason is Reason.BAD_FIELD


def test_genesis_with_a_wrong_signature():
    """C09: an unsigned or wrongly signed genesis is refused."""
    first = World().first
    forged = first._replace(encoded=first.encoded[:-64] + bytes(64))
    with pytest.raises(RemoteError) as caught:
        read_genesis(forged)
    assert caught.value.reason is Reason.BAD_SIGNATURE


def test_genesis_by_a_small_order_key():
    """C07: small-order author key, of the genesis."""
    with pytest.raises(RemoteError) as caught:
        read_genesis(World().first._replace(author=b"\xed\x01\x01" + bytes(31)))
    assert caught.value.reason is Reason.BAD_KEY


def test_admit_round_trip():
    """C09: the keys are sorted and distinct, whatever order they are given in."""
    world = World()
    block = world.block(ALICE, payload=encode_admit([*KEYS[::-1], KEYS[0]]), type=ADMIT)
    assert read_admit(block) == frozenset(KEYS)


def test_admit_is_inline():
    """C09: an admission cannot stand in content that may be dropped."""
    with pytest.raises(RemoteError) as caught:
        read_admit(World().first._replace(body=Content(LINK, 9)))
    assert caught.value.reason is Reason.BAD_PAYLOAD


def test_most_writers():
    """C09: a list has at most 1024 keys, and in practice what fits a payload."""
    from tests.suites.making import signers

    some = [signer.key for signer in signers(900)]
    genesis = read_genesis(create_genesis(FOUNDER, Policy(frozenset(some), EVERYONE), NONCE, 0))
    assert genesis.policy.writers == frozenset(some)
