"""The DID document of an identity: what outsiders are told of it, in the words of W3C DID Core.

Theory (docs/spec/identity-documents.md): a document is a picture of the current epoch, made from the fold of the
identity's chain and never read back: nothing here gives anybody a right. Only the control keys speak for the identity:
they alone stand under `authentication`, `assertionMethod` and `keyAgreement`. The keys of devices are listed, so that
one can be recognised, in no relationship: a device's Ed25519 key alone is no hybrid, and signs for the device only.

Invariants: the same description gives the same document, and the same bytes; a key that has no multicodec of its own is
never shown under one of another kind, nor in parts, which would let a verifier be content with one of them. Pure.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from identities.dids import did_key_of, did_of, multibase
from identities.suites import ED25519, XWING, is_sealing_key, is_signing_key
from walytis_core.armour import is_address
from walytis_core.cid import BlockId
from walytis_core.invitation import require
from walytis_core.limits import Limits
from walytis_core.signer import MULTIKEY_PREFIX, is_author_key

MULTIKEY: Final = "Multikey"
OWN_KEY: Final = "WalytisKey"
"""The type of keys of suites that no multicodec is registered for."""

NODES: Final = "WalytisNodes"
_BASE64URL: Final = "u"

Document: TypeAlias = dict[str, Any]
"""A DID document, as JSON has it."""


class Description(NamedTuple):
    """An identity in its current epoch.

    Attributes:
        chain_id: The identity's chain.
        epoch: The number of the epoch.
        suite: The suite of the key that the identity signs with.
        sign: That key.
        seal: The X-Wing key that others seal to.
        devices: The block keys of the live seats that devices hold, by rank.
        nested: The chains of the identities that hold live seats, by rank.
        addresses: Where nodes of the identity may be found, the best first.
    """

    chain_id: BlockId
    epoch: int
    suite: int
    sign: bytes
    seal: bytes
    devices: tuple[bytes, ...] = ()
    nested: tuple[BlockId, ...] = ()
    addresses: tuple[str, ...] = ()


def document_of(description: Description) -> Document:
    """The DID document of an identity.

    Raises:
        InvalidInputError: The description holds something that is no key, chain or address.
        RemoteError: `UNKNOWN_SUITE`.
    """
    _require_sound(description)
    did, epoch = did_of(description.chain_id), description.epoch
    devices = _distinct(description.devices)
    controllers = [*map(did_key_of, devices), *map(did_of, _distinct(description.nested))]
    sign = _key(did, f"sign-{epoch}", description.suite, description.sign)
    seal = _key(did, f"seal-{epoch}", XWING, description.seal)
    document: Document = {
        "id": did,
        "controller": controllers,
        "verificationMethod": [sign, seal, *(_device(did, key) for key in devices)],
        "authentication": [sign["id"]],
        "assertionMethod": [sign["id"]],
        "keyAgreement": [seal["id"]],
    }
    if not controllers:
        del document["controller"]
    if description.addresses:
        endpoint = {"addresses": list(description.addresses)}
        document["service"] = [{"id": f"{did}#nodes", "type": NODES, "serviceEndpoint": endpoint}]
    return document


def encode(document: Mapping[str, Any]) -> bytes:
    """A document as the bytes of its JSON representation, `application/did+json`: always the same ones."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _require_sound(description: Description) -> None:
    require(0 <= description.epoch <= Limits.max_int, "the number of the epoch is out of range")
    require(is_signing_key(description.suite, description.sign), "the signing key is none of its suite")
    require(is_sealing_key(description.seal), "the sealing key is no X-Wing key")
    require(all(map(is_author_key, description.devices)), "a device's block key is an Ed25519 multikey")
    require(all(map(is_address, description.addresses)), "an address is printable ASCII")


def _key(did: str, name: str, suite: int, public: bytes) -> dict[str, Any]:
    """A key of the identity itself."""
    method: dict[str, Any] = {"id": f"{did}#{name}", "type": MULTIKEY, "controller": did}
    if suite == ED25519:
        return {**method, "publicKeyMultibase": multibase(MULTIKEY_PREFIX + public)}
    text = _BASE64URL + urlsafe_b64encode(public).decode("ascii").rstrip("=")
    return {**method, "type": OWN_KEY, "suite": suite, "publicKeyMultibase": text}


def _device(did: str, block_key: bytes) -> dict[str, Any]:
    text = multibase(block_key)
    return {"id": f"{did}#{text}", "type": MULTIKEY, "controller": did_key_of(block_key), "publicKeyMultibase": text}


def _distinct(ids: Iterable[bytes]) -> list[bytes]:
    return list(dict.fromkeys(bytes(id) for id in ids))
