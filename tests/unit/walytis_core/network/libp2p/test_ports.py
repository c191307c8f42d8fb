"""Ports of the last time are taken again, where the user left the choice, and nothing else changes."""

from __future__ import annotations

import socket

import pytest

from walytis_core.network.libp2p.ports import is_free, resumed


def always(_family: str, _host: str, _port: int) -> bool:
    return True


LAST = [
    "/ip4/192.0.2.1/tcp/4001/p2p/me",
    "/ip4/127.0.0.1/tcp/4001/p2p/me",
    "/ip6/::1/tcp/4002/p2p/me",
    "/ip4/127.0.0.1/tcp/4003/p2p/me",
]


@pytest.mark.parametrize(
    ("listen", "now"),
    [
        (["/ip4/127.0.0.1/tcp/0"], ["/ip4/127.0.0.1/tcp/4001"]),
        (
            ["/ip4/0.0.0.0/tcp/0", "/ip6/::1/tcp/0", "/ip4/127.0.0.1/tcp/0"],
            ["/ip4/0.0.0.0/tcp/4001", "/ip6/::1/tcp/4002", "/ip4/127.0.0.1/tcp/4003"],
        ),
        (["/ip4/127.0.0.1/tcp/0"] * 3, [f"/ip4/127.0.0.1/tcp/{port}" for port in (4001, 4003, 0)]),
        (
            ["/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/0"],
            ["/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/4003"],
        ),
        (["/ip4/127.0.0.1/tcp/7"], ["/ip4/127.0.0.1/tcp/7"]),
        (["/ip4/127.0.0.1/tcp/0/p2p/me"], ["/ip4/127.0.0.1/tcp/4001/p2p/me"]),
        ([], []),
    ],
    ids=["one", "several", "more than before", "one is named", "named", "with a peer id", "none"],
)
def test_each_address_gets_its_port_back(listen: list[str], now: list[str]) -> None:
    """Peers find a node again at all of its addresses."""
    assert resumed(listen, LAST, always) == now


def test_what_was_kept_may_be_anything() -> None:
    """A value that is no list of addresses costs the ports, and no start."""
    before = ["", "/memory/me", "/ip4/127.0.0.1/tcp/", "/ip4/127.0.0.1/tcp/x", "/ip4/127.0.0.1/tcp/99999999", "/ip4"]
    assert resumed(["/ip4/127.0.0.1/tcp/0"], before, always) == ["/ip4/127.0.0.1/tcp/0"]


@pytest.mark.parametrize(
    ("family", "host", "kind"), [("ip4", "127.0.0.1", socket.AF_INET), ("ip6", "::1", socket.AF_INET6)]
)
def test_a_port_that_somebody_has_is_left_alone(family: str, host: str, kind: socket.AddressFamily) -> None:
    with socket.socket(kind) as other:
        try:
            other.bind((host, 0))
        except OSError:
            pytest.skip("this machine has no such addresses")
        other.listen()
        port = other.getsockname()[1]
        assert not is_free(family, host, port)
        address = f"/{family}/{host}/tcp/0"
        assert resumed([address], [f"/{family}/{host}/tcp/{port}/p2p/me"], is_free) == [address]
    assert is_free(family, host, port)
