"""DID documents: valid by DID Core, the same for the same description, and honest about every key."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identities.dids import did_key_of, did_of
from identities.document import Description, Document, document_of, encode
from identities.suites import COMPOSITE, ED25519, SealingKey, SigningKey
from tests.suites.did_core import assert_valid
from walytis_core.cid import BlockId
from walytis_core.errors import InvalidInputError, Reason, RemoteError
from walytis_core.signer import Ed25519Signer

VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/identity-documents.json").read_text("utf-8"))
CHAIN, OTHER = BlockId.of(b"identity"), BlockId.of(b"another")
DEVICES = tuple(Ed25519Signer(bytes([n + 1]) * 32).key for n in range(3))
KEYS = {suite: SigningKey.from_seed(suite, bytes([5]) * 32).public for suite in (ED25519, COMPOSITE)}
SEAL = SealingKey.from_seed(bytes([6]) * 32).public
PLAIN = Description(CHAIN, 3, COMPOSITE, KEYS[COMPOSITE], SEAL, DEVICES[:2], (OTHER,), ("/ip4/192.0.2.7/tcp/4001",))
descriptions = st.builds(
    lambda suite, **more: Description(suite=suite, sign=KEYS[suite], seal=SEAL, **more),
    chain_id=st.binary(max_size=4).map(BlockId.of),
    epoch=st.integers(0, 2**53 - 1),
    suite=st.sampled_from(sorted(KEYS)),
    devices=st.lists(st.sampled_from(DEVICES), max_size=4).map(tuple),
    nested=st.lists(st.binary(max_size=1).map(BlockId.of), max_size=3).map(tuple),
    addresses=st.lists(st.sampled_from(["/ip4/192.0.2.7/tcp/4001", "/dns4/example.org/tcp/1"]), max_size=3).map(tuple),
)


@pytest.mark.parametrize("vector", VECTORS["documents"], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    """I12: the document of a description."""
    given = vector["description"]
    description = Description(
        BlockId(bytes.fromhex(given["chain"])),
        given["epoch"],
        given["suite"],
        bytes.fromhex(given["sign"]),
        bytes.fromhex(given["seal"]),
        tuple(bytes.fromhex(key) for key in given["devices"]),
        tuple(BlockId(bytes.fromhex(id)) for id in given["nested"]),
        tuple(given["addresses"]),
    )
    assert document_of(description) == vector["document"]
    assert list(document_of(description)) == list(vector["document"])
    assert_valid(vector["document"])


@given(descriptions)
@settings(max_examples=60)
def test_every_document_is_valid_and_the_same_each_time(description: Description) -> None:
    """I12: by DID Core, as another reader sees it."""
    document = document_of(description)
    assert_valid(document)
    assert encode(document) == encode(document_of(description._replace(devices=tuple(description.devices))))
    assert json.loads(encode(document)) == document
    assert document["id"] == did_of(description.chain_id)
    assert set(document.get("controller", ())) == {
        *map(did_key_of, description.devices),
        *map(did_of, description.nested),
    }


def test_only_the_control_keys_speak_for_the_identity():
    """I12, I25: a device's Ed25519 key alone, or a part of a hybrid key, stands in no relationship."""
    document = document_of(PLAIN)
    sign, seal, *devices = document["verificationMethod"]
    assert (sign["type"], sign["suite"], seal["type"], seal["suite"]) == ("WalytisKey", 2, "WalytisKey", 3)
    assert [one["type"] for one in devices] == ["Multikey"] * 2
    assert [one["controller"] for one in devices] == [did_key_of(key) for key in DEVICES[:2]]
    named = [*document["authentication"], *document["assertionMethod"], *document["keyAgreement"]]
    assert named == [sign["id"], sign["id"], seal["id"]]
    assert document.keys() & {"capabilityInvocation", "capabilityDelegation"} == set()


def test_a_renewal_changes_the_names_of_keys():
    """I12, I13: so that a key of an old document is not taken for the current one."""
    old, new = (document_of(PLAIN._replace(epoch=epoch)) for epoch in (3, 4))
    assert not {*old["authentication"], *old["keyAgreement"]} & {*new["authentication"], *new["keyAgreement"]}
    assert [one["id"] for one in old["verificationMethod"][2:]] == [one["id"] for one in new["verificationMethod"][2:]]


def test_an_identity_that_only_a_council_controls_has_no_controller():
    """I12: the property is left out, since an empty one is not valid."""
    document = document_of(PLAIN._replace(devices=(), nested=(), addresses=()))
    assert document.keys() & {"controller", "service"} == set()
    assert_valid(document)


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": BlockId(bytes(36))},
        {"epoch": -1},
        {"epoch": 2**53},
        {"suite": ED25519},
        {"sign": KEYS[COMPOSITE][:-1]},
        {"seal": SEAL + b"\0"},
        {"seal": bytes(1216)},
        {"devices": (DEVICES[0][2:],)},
        {"devices": (b"\xed\x01" + bytes(32),)},
        {"nested": (BlockId(bytes(36)),)},
        {"addresses": ("a b",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_no_key_is_not_shown_as_one(change: dict[str, Any]) -> None:
    """I12: nor what is no chain and no address."""
    with pytest.raises(InvalidInputError):
        document_of(PLAIN._replace(**change))


def test_an_unknown_suite_is_not_shown():
    """I12: a suite is one of a closed registry."""
    with pytest.raises(RemoteError) as caught:
        document_of(PLAIN._replace(suite=9))
    assert caught.value.reason is Reason.UNKNOWN_SUITE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document["verificationMethod"].append(document["verificationMethod"][0]),
        lambda document: document["authentication"].append(document["id"] + "#gone"),
        lambda document: document["assertionMethod"].extend(document["assertionMethod"]),
        lambda document: document["verificationMethod"][2].update(publicKeyMultibase="z6Mk"),
        lambda document: document["verificationMethod"][0].update(type="Multikey"),
        lambda document: document["verificationMethod"][1].update(suite=2),
        lambda document: document["verificationMethod"][1].pop("controller"),
        lambda document: document["service"][0].update(serviceEndpoint="/ip4/192.0.2.7/tcp/4001"),
        lambda document: document.update(controller=["ann"]),
        lambda document: document.update(id="did:Walytis:x"),
        lambda document: document.update(keys=[]),
    ],
)
def test_the_second_opinion_finds_what_is_wrong(spoil: Callable[[Document], object]) -> None:
    """I12: the validator of these tests, tested."""
    document = deepcopy(document_of(PLAIN))
    spoil(document)
    with pytest.raises((AssertionError, KeyError)):
        assert_valid(document)
