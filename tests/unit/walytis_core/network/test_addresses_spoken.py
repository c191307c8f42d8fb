"""Which addresses are spoken, dialled and passed on; by one table, for all adapters."""

from __future__ import annotations

import pytest
from multiaddr import Multiaddr

from walytis_core.errors import InvalidInputError
from walytis_core.limits import Limits
from walytis_core.network._addresses import loopback_last, of_peer, parse, peer_of
from walytis_core.network._peer_id import is_peer_id, peer_id_of
from walytis_core.network.libp2p import Libp2pNetwork
from walytis_core.network.libp2p.multiaddresses import parse_address, told_by, with_peer

PEER = peer_id_of(bytes(32))
OTHER = peer_id_of(bytes([1]) * 32)
RSA = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"

SPOKEN = ["/ip4/127.0.0.1/tcp/1", "/ip4/0.0.0.0/tcp/65535", "/ip6/::1/tcp/4001", "/ip6/2001:db8::1/tcp/4001",
    "/ip6/::ffff:192.0.2.1/tcp/1", "/dns/localhost/tcp/4001", "/dns4/example.org/tcp/4001", "/dns6/a-b.example.org/tcp/4001"]  # fmt: skip
NOT_SPOKEN = [
    "/ip4/999.0.0.1/tcp/1", "/ip4/127.0.0/tcp/1", "/ip4/127.0.0.01/tcp/1", "/ip4/::1/tcp/1", "/ip4/example.org/tcp/1",
    "/ip6/1/tcp/1", "/ip6/127.0.0.1/tcp/1", "/ip6/fe80::1%eth0/tcp/1", "/ip6/:::/tcp/1",
    "/ip4/127.0.0.1/tcp/65536", "/ip4/127.0.0.1/tcp/99999", "/ip4/127.0.0.1/tcp/04001", "/ip4/127.0.0.1/tcp/-1", "/ip4/127.0.0.1/tcp/",
    "/ip4/127.0.0.1/tcp/\u0661", "/ip4/127.0.0.1", "/ip4/127.0.0.1/udp/1", "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/1/ws",
    "/ip4/127.0.0.1/tcp/1/", "/ip4/127.0.0.1/tcp/1\n", " /ip4/127.0.0.1/tcp/1", "ip4/127.0.0.1/tcp/1", "/ip4//127.0.0.1/tcp/1",
    f"/ip4/127.0.0.1/tcp/1/p2p/{OTHER}/p2p-circuit", "/dns/example.org", "/dnsaddr/example.org/tcp/1", "/dns/-a.example/tcp/1",
    "/dns/a..example/tcp/1", "/dns/a:b/tcp/1", f"/dns/{'x' * 64}/tcp/1", f"/dns/{'a' * 100}:/tcp/1", f"/dns/{'a.' * 100}:/tcp/1",
    "/unix/tmp/x", "", "/",
]  # fmt: skip
NO_PEER = [
    "",
    "12D3",
    PEER[:-20],
    PEER[:-1],
    PEER + "1",
    "1" * 46,
    "Qm" + "1" * 44,
    RSA[:-1],
    PEER + "\n",
    PEER + PEER,
    PEER.replace("D", "0"),
    "../../etc",
]


@pytest.mark.parametrize("address", SPOKEN)
def test_addresses_that_are_spoken(address: str) -> None:
    """C43: by all adapters, with a peer id and without."""
    found = parse(address)
    assert found is not None
    assert found.peer is None
    assert f"/{found.kind}/{found.host}/tcp/{found.port}" == address
    assert peer_of(address) is None
    for peer in (PEER, RSA):
        assert peer_of(f"{address}/p2p/{peer}") == peer
        parsed, named = with_peer(f"{address}/p2p/{peer}")
        assert str(named) == peer
        assert told_by(peer, parsed) == str(parsed)
        assert told_by(OTHER, parsed) is None
    assert of_peer([address], PEER, 1) == (f"{address}/p2p/{PEER}",)
    assert told_by(PEER, parse_address(address)) == f"{parse_address(address)}/p2p/{PEER}"


@pytest.mark.parametrize("address", NOT_SPOKEN)
def test_addresses_that_are_not_spoken(address: str) -> None:
    """C36: by no adapter."""
    for text in (address, f"{address}/p2p/{PEER}"):
        assert parse(text) is None
        assert peer_of(text) is None
        assert of_peer([text], PEER, 8) == ()
        for read in (parse_address, with_peer):
            with pytest.raises(InvalidInputError):
                read(text)
    with pytest.raises(InvalidInputError):
        Libp2pNetwork(listen=[address])


@pytest.mark.parametrize("address", [None, 7, b"/ip4/127.0.0.1/tcp/1", ["/ip4/127.0.0.1/tcp/1"]])
def test_what_is_no_text(address: object) -> None:
    """C36"""
    assert parse(address) is None
    assert of_peer([address], PEER, 8) == ()


@pytest.mark.parametrize("peer", NO_PEER)
def test_what_is_no_peer(peer: str) -> None:
    """C36"""
    assert not is_peer_id(peer)
    assert peer_of(f"/ip4/127.0.0.1/tcp/1/p2p/{peer}") is None
    with pytest.raises(InvalidInputError):
        with_peer(f"/ip4/127.0.0.1/tcp/1/p2p/{peer}")


def test_a_port_that_is_none_is_listened_on_and_not_dialled() -> None:
    """C43"""
    assert parse("/ip4/127.0.0.1/tcp/0") is not None
    assert peer_of(f"/ip4/127.0.0.1/tcp/0/p2p/{PEER}") is None
    assert told_by(PEER, Multiaddr("/ip4/127.0.0.1/tcp/0")) is None


def test_names_are_not_listened_on() -> None:
    """C43"""
    with pytest.raises(InvalidInputError):
        Libp2pNetwork(listen=["/dns/localhost/tcp/4001"])


def test_a_long_address() -> None:
    """C36"""
    name = ".".join(["a" * 60] * 5)
    assert len(name) > Limits.max_address_chars - 80
    assert parse(f"/dns/{name}/tcp/1/p2p/{PEER}") is None


def test_addresses_of_a_peer() -> None:
    """C43: those that are its own, each once, as many as wanted; our own with the loopback last."""
    told = [
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}",
        f"/dns4/example.org/tcp/1/p2p/{PEER}",
        "/ip6/::1/tcp/1",
        "/ip6/2001:db8::1/tcp/1",
    ]
    theirs = [f"/ip4/192.0.2.1/tcp/1/p2p/{OTHER}", *told[:1], 7, None]
    found = of_peer([*told, *theirs], PEER, 8)
    assert len(found) == 4
    assert of_peer(told, PEER, 2) == found[:2]
    assert loopback_last(found) == (found[1], found[3], found[0], found[2])
    assert of_peer({"not": "a list"}, PEER, 8) == ()
