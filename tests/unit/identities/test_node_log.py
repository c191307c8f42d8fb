"""The port of an identity's work on a chain of a node: what it reads, who may write, and what it wants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from identities.acts import NOTED
from identities.identity import Identity
from identities.payloads import PREFIX
from identities.suites import ED25519
from tests.suites.identity_makers import fresh_signer, some_device
from tests.suites.identity_nodes import Town, town, until_seated
from tests.suites.nodes import until
from walytis_core import NotFoundError
from walytis_core.cid import RAW_PREFIX, BlockId, Cid
from walytis_core.policy import ADMIT


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


@pytest.fixture
def alice(here: Town) -> Identity:
    return here.house("laptop").identities.create("alice", suite=ED25519)[0]


def test_who_may_write(here: Town, alice: Identity) -> None:
    """I14: whoever is listed, and whoever an admission lists, also one by another device; nobody else."""
    log, device = alice._held.log, some_device(3)
    assert log.is_writer(log.writer)
    assert not log.is_writer(device.block.key)
    log.admit(device.block.key)
    assert log.is_writer(device.block.key)
    phone = here.join(alice, "phone")
    until_seated(alice, "phone")
    phone._held.log.admit(fresh_signer(1).key)
    until(lambda: log.is_writer(fresh_signer(1).key), what="an admission by another device")
    assert not log.is_writer(fresh_signer(2).key)
    admissions = len(list(alice.chain.blocks(type=ADMIT)))
    log.admit(device.block.key)
    assert len(list(alice.chain.blocks(type=ADMIT))) == admissions


def test_blocks(here: Town, alice: Identity) -> None:
    """I34: blocks of the chain, the first one too, and of other identities' chains where these are held."""
    alice.note("app", b"one")
    act = next(act for act in alice.folded.pasts.acts if act.kind == NOTED)
    assert alice._held.log.block(act.id).type == PREFIX + "noted"
    assert alice._held.log.block(alice.chain.id).chain is None
    with pytest.raises(NotFoundError):
        alice._held.log.block(BlockId.of(b"nowhere"))
    bob = here.house("laptop").identities.create("bob", suite=ED25519)[0]
    found = bob._held.log.block_of(bytes(alice.chain.id), act.id)
    assert found is not None
    assert found.id == act.id
    first = bob._held.log.block_of(bytes(alice.chain.id), bytes(alice.chain.id))
    assert first is not None
    assert first.encoded == alice.chain.genesis
    assert bob._held.log.block_of(bytes(alice.chain.id), BlockId.of(b"nowhere")) is None
    assert bob._held.log.block_of(BlockId.of(b"no chain"), act.id) is None


def test_objects(here: Town, alice: Identity) -> None:
    """I18: what is kept for the members is fetched by members from each other, and forgotten when it is told."""
    phone = here.join(alice, "phone")
    until_seated(alice, "phone")
    cid = alice._held.log.keep(b"for members")
    assert phone._held.log.kept(cid) is None
    phone._held.log.want(cid)
    until(lambda: phone._held.log.kept(cid) == b"for members")
    phone._held.log.want(cid)
    nowhere = Cid.of(b"nobody has this", RAW_PREFIX)
    phone._held.log.want(nowhere)
    phone._held.log.forget([cid, nowhere])
    assert phone._held.log.kept(cid) is None
    stranger = here.outsider(alice, "stranger", here.house("laptop"))
    stranger._held.log.want(cid)
    until(stranger.chain.peers)
    assert stranger._held.log.kept(cid) is None
