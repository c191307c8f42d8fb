"""A second opinion on DID documents: the rules of W3C DID Core 1.0, and of Multikey, said once more.

Written from the recommendations, with another decoder of multibase than the product's. It knows nothing of identities
but the lengths of the keys that have no multicodec.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from multiformats import multibase

DID = re.compile(r"did:[a-z0-9]+:(?:(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})*:)*(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})+")
FRAGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})+")
RELATIONSHIPS = ("authentication", "assertionMethod", "keyAgreement", "capabilityInvocation", "capabilityDelegation")
KNOWN = {"id", "alsoKnownAs", "controller", "verificationMethod", "service", *RELATIONSHIPS}
CODECS = {bytes.fromhex("ed01"): 32, bytes.fromhex("9124"): 1952}
"""The length of a key after its multicodec."""

OWN_SUITES = {2: 1952 + 32, 3: 1184 + 32}


def assert_valid(document: Mapping[str, Any]) -> None:
    """Asserts that a map is a DID document, as JSON has it, and that all its keys are what they are said to be."""
    assert json.loads(json.dumps(document)) == document
    assert document.keys() <= KNOWN
    assert DID.fullmatch(document["id"])
    if "controller" in document:
        controllers = document["controller"]
        assert all(map(DID.fullmatch, [controllers] if isinstance(controllers, str) else controllers))
        assert isinstance(controllers, str) or _is_set(controllers)
    methods = document.get("verificationMethod", [])
    for method in methods:
        _assert_method(method)
    ids = [one["id"] for one in (*methods, *document.get("service", []))]
    assert _is_set(ids)
    for name in RELATIONSHIPS:
        if name in document:
            assert isinstance(document[name], list)
            assert _is_set(document[name])
            assert set(document[name]) <= {method["id"] for method in methods}, "a reference that resolves to nothing"
    for service in document.get("service", []):
        _assert_service(service)


def _assert_method(method: Mapping[str, Any]) -> None:
    did, mark, fragment = method["id"].partition("#")
    assert mark
    assert DID.fullmatch(did)
    assert FRAGMENT.fullmatch(fragment)
    assert DID.fullmatch(method["controller"])
    assert isinstance(method["type"], str)
    assert "publicKeyJwk" not in method, "two forms of one key"
    text = method["publicKeyMultibase"]
    data = multibase.decode(text)
    if method["type"] == "Multikey":
        assert text[0] in "zu"  # Controlled Identifiers 1.0, 2.2.2
        assert "suite" not in method
        assert len(data[2:]) == CODECS[data[:2]]
    else:
        assert method["type"] == "WalytisKey"
        assert len(data) == OWN_SUITES[method["suite"]]


def _assert_service(service: Mapping[str, Any]) -> None:
    assert urlsplit(service["id"]).scheme
    assert isinstance(service["type"], str)
    endpoint = service["serviceEndpoint"]
    for one in endpoint if isinstance(endpoint, list) else [endpoint]:
        assert isinstance(one, Mapping) or urlsplit(one).scheme, "an endpoint is a URI, a map, or a set of these"


def _is_set(values: Any) -> bool:
    return isinstance(values, list) and len(set(values)) == len(values)
