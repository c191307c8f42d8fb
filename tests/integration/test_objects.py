"""Objects on every kind of chain: the suite of `tests/suites/objects_suite.py`, on nodes in memory and on real sockets."""

from __future__ import annotations

import pytest

from tests.suites.objects_suite import ObjectsSuite
from walytis_core import Libp2pNetwork
from walytis_core.network.port import Network

DID = "did:walytis:bafyreidjlj53zfh3bfsoauf5y36oqxmwhav474holttadpt7ika72fmvty"


class TestOpenChain(ObjectsSuite):
    """M08: everyone reads, anyone writes."""


class TestPublishedChain(ObjectsSuite):
    """M08: everyone reads, those listed write."""

    writers = ()


class TestPrivateChain(ObjectsSuite):
    """M08: holders of a secret read, anyone of them writes."""

    readers = "secret"


class TestPrivateChainOfListedWriters(ObjectsSuite):
    """M08: holders of a secret read, those listed write."""

    readers = "secret"
    writers = ()


class TestChainOfAnIdentity(ObjectsSuite):
    """M08: members of an identity read, as the app says who that is."""

    readers = DID


@pytest.mark.libp2p
@pytest.mark.slow
class TestLibp2p(ObjectsSuite):
    """M08: a private chain on real sockets."""

    readers = "secret"

    def networks(self) -> tuple[Network, Network]:
        return Libp2pNetwork(), Libp2pNetwork()
