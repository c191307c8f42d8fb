"""mDNS: what is believed of the local network, and nodes and Kubo that meet on one.

The networks are namespaces on this machine: nothing is sent to a real one. Where no namespaces can be made, the tests that
need them are skipped, and say so.
"""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.suites.command import COMMAND, WAIT_S, answer, environment, failure
from tests.suites.kubo_daemon import Daemon, binary
from tests.suites.lan import LISTEN, Machine, lan, missing, neighbour
from tests.suites.networks import until as until_true
from tests.suites.nodes import WITHIN_S, assert_sound, ids, join, open_node, until
from tools.conformance import ROOT
from walytis_core import InvalidInputError, MemoryHub, UnavailableError
from walytis_core.limits import Limits
from walytis_core.network._peer_id import peer_id_of
from walytis_core.network.libp2p import Libp2pNetwork, mdns
from walytis_core.network.libp2p.nearby import (
    DIALS_PER_MINUTE,
    MAX_CONNECTED,
    MAX_ENTRIES,
    MAX_PEERS,
    MAX_RECORD_BYTES,
    RETRY_MAX_S,
    RETRY_MIN_S,
    TRIES,
    Nearby,
    is_near,
    parse_record,
)
from walytis_core.network.port import Connected

pytestmark = pytest.mark.libp2p

CLOSE_S = 5.0

ME, BOB, CAROL = (peer_id_of(bytes([number]) * 32) for number in range(3))


def txt(*strings: str | bytes) -> bytes:
    """The bytes of a TXT record."""
    raw = [one.encode() if isinstance(one, str) else one for one in strings]
    return b"".join(bytes([len(one)]) + one for one in raw)


def at(peer: str, host: str = "192.168.0.7", port: int = 4001) -> str:
    family = "ip6" if ":" in host else "ip4"
    return f"/{family}/{host}/tcp/{port}/p2p/{peer}"


def record(*addresses: str) -> bytes:
    return txt(*(f"dnsaddr={address}" for address in addresses))


# --- what is believed ------------------------------------------------------------------------------------------------


def test_a_record_as_kubo_writes_it():
    """Of all its transports, TCP on addresses of the local network."""
    hash = "uEiD_DsRpcEzIUJPJH_FKhEDKhLa9GDcVjHa-6gwtGjTqzw"
    addresses = [
        at(BOB, "127.0.0.1"), at(BOB), f"/ip4/192.168.0.7/udp/4001/quic-v1/p2p/{BOB}", at(BOB, "fd00::7"),
        f"/ip4/192.168.0.7/udp/4001/quic-v1/webtransport/certhash/{hash}/certhash/{hash}/p2p/{BOB}",
    ]  # fmt: skip
    assert parse_record(record(*addresses)) == (BOB, (at(BOB), at(BOB, "fd00::7")))


@pytest.mark.parametrize(
    "hostile",
    [
        b"", b"\0", b"\xff", b"\xffdnsaddr=", record(""), record("/"), record("//////"), txt("dnsaddr"), txt(b"\xff" * 255),
        txt(at(BOB)), record(at(BOB))[:-1], record(at(BOB).upper()), record(at("")), record(at("nobody")),
        record(at(BOB) + "/p2p-circuit"), record(at(BOB, port=65536)), record(at(BOB, "8.8.8.8")),
        record(f"/dns4/router.local/tcp/80/p2p/{BOB}"), record(f"/ip4/192.168.0.7/tcp/4001/ws/p2p/{BOB}"),
        record(f"/ip4/192.168.0.7/udp/4001/p2p/{BOB}"), record(at(BOB, "192.168.0.7\n")), record(at(BOB, "192.168.0.7\0")),
        record(at(BOB)) + bytes(MAX_RECORD_BYTES), txt(*[b""] * MAX_ENTRIES, f"dnsaddr={at(BOB)}"),
    ],
    ids=str,
)  # fmt: skip
def test_records_that_make_no_sense(hostile):
    """C36: nothing is believed, nothing is raised."""
    assert parse_record(hostile)[1] == ()


@given(st.one_of(st.binary(max_size=600), st.lists(st.binary(max_size=200)).map(lambda many: txt(*many))))
def test_no_bytes_raise(hostile):
    """C36: whatever a record holds."""
    for noise in (hostile, record(at(BOB)) + hostile, txt(b"dnsaddr=" + hostile[:200])):
        assert len(parse_record(noise)[1]) <= Limits.addresses_per_peer


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("192.168.0.7", True), ("10.0.0.1", True), ("172.16.0.1", True), ("169.254.3.4", True), ("100.64.0.1", True),
        ("fd00::7", True), ("8.8.8.8", False), ("127.0.0.1", False), ("0.0.0.0", False), ("224.0.0.251", False),
        ("::1", False), ("::", False), ("ff02::fb", False), ("2606:4700::1", False), ("fe80::1", False),
        ("fe80::1%lo", False), ("::ffff:10.0.0.1", False), ("::ffff:8.8.8.8", False), ("010.0.0.1", False),
        ("10.1", False), ("", False), ("localhost", False),
    ],
)  # fmt: skip
def test_what_may_be_of_the_local_network(host, near):
    """C36: a liar on the local network aims a node neither at machines elsewhere nor at itself."""
    assert is_near(host) is near
    assert (parse_record(record(at(BOB, host)))[1] != ()) is near


def test_a_record_speaks_for_one_peer():
    """C36: of so many addresses."""
    assert parse_record(record(at(BOB), at(CAROL, "10.0.0.1"))) == (BOB, (at(BOB),))
    many = [at(BOB, f"10.0.0.{number}") for number in range(1, 20)]
    assert len(parse_record(record(*many))[1]) == Limits.addresses_per_peer


# --- whom to dial ----------------------------------------------------------------------------------------------------


def dials(nearby: Nearby, until_s: int, connected: Callable[[], list[str]] = list) -> list[tuple[int, str]]:
    """Whom it dials in that time, and when."""
    return [(now, peer) for now in range(until_s) for peer, _ in nearby.due(float(now), connected())]


def test_a_peer_is_dialled_at_once_then_ever_more_rarely_and_forgotten():
    """C36: however often it is announced meanwhile."""
    nearby = Nearby(ME)
    times = []
    for now in range(3600):
        if now % 10 == 0 and (now == 0 or len(nearby)):
            nearby.heard(record(at(BOB, port=1024 + now)))
        times += [now for _ in nearby.due(float(now), [])]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert times[0] == 0
    assert len(times) == TRIES
    assert gaps[0] == RETRY_MIN_S
    assert gaps == sorted(gaps)
    assert gaps[-1] <= RETRY_MAX_S
    assert not len(nearby)


def test_who_is_connected_is_not_dialled_and_soon_after_a_loss():
    nearby = Nearby(ME)
    nearby.heard(record(at(BOB)))
    assert dials(nearby, 1000, lambda: [BOB]) == []
    (again,) = nearby.due(1000.0 + RETRY_MIN_S, [])
    assert again == (BOB, (at(BOB),))


def test_the_newest_addresses_count():
    nearby = Nearby(ME)
    nearby.heard(record(at(BOB)))
    nearby.heard(record(at(BOB, "10.0.0.1")))
    assert nearby.due(0.0, []) == [(BOB, (at(BOB, "10.0.0.1"),))]


def test_nobody_is_dialled_under_our_own_name():
    nearby = Nearby(ME)
    nearby.heard(record(at(ME)))
    assert not len(nearby)


def test_a_crowd_is_bounded():
    """C36: what is remembered, and how many are dialled in a minute; those that never answered go first."""
    nearby = Nearby(ME)
    nearby.heard(record(at(BOB)))
    assert nearby.due(0.0, []) == [(BOB, (at(BOB),))]
    for number in range(3, 3 + 2 * MAX_PEERS):
        nearby.heard(record(at(peer_id_of(number.to_bytes(32, "big")))))
        assert len(nearby) <= MAX_PEERS
    crowd = dials(nearby, 600)
    assert len(crowd) <= 10 * DIALS_PER_MINUTE
    assert BOB not in {peer for _, peer in crowd}
    assert max(sum(start <= now < start + 60 for now, _ in crowd) for start in range(540)) <= DIALS_PER_MINUTE


def test_a_node_with_enough_connections_dials_no_more():
    nearby = Nearby(ME)
    nearby.heard(record(at(BOB)))
    others = [f"peer {number}" for number in range(MAX_CONNECTED)]
    assert dials(nearby, 1000, lambda: others) == []
    assert dials(nearby, 1, lambda: others[1:]) == [(0, BOB)]


# --- what is asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listen", [[], ["/ip4/127.0.0.1/tcp/0"], ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"]])
def test_what_only_this_machine_can_dial_is_not_announced(listen):
    with pytest.raises(InvalidInputError, match="mDNS") as caught:
        Libp2pNetwork(listen=listen, mdns=True)
    assert "0.0.0.0" in caught.value.hint
    Libp2pNetwork(listen=[*listen, LISTEN], mdns=True)


@pytest.mark.slow
def test_the_command_says_so(tmp_path):
    told = failure(tmp_path / "data", "run", "--mdns")
    assert (told["error"], told["exit_code"]) == ("InvalidInputError", 2)
    assert "/ip4/0.0.0.0/tcp" in told["hint"]
    assert not (tmp_path / "data").exists()


def test_whatever_zeroconf_raises_ends_mdns_alone(monkeypatch, caplog):
    """C46: the node goes on, and stops as ever."""

    def refuse(**_: object) -> None:
        raise OSError("no multicast")

    async def run() -> None:
        with trio.fail_after(WITHIN_S):
            async with mdns.discovering(ME, [at(ME)], list, nobody):
                await until_true(lambda: bool(caplog.records))

    monkeypatch.setattr(mdns, "AsyncZeroconf", refuse)
    trio.run(run)
    assert "no multicast" in caplog.text


async def nobody(_addresses: Sequence[str]) -> Connected:
    raise UnavailableError("nobody answers")


# --- on a local network ----------------------------------------------------------------------------------------------


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    if missing():
        pytest.skip(missing())
    with lan() as both:
        yield both


def met_before(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories with the same chain; each got a block after they parted."""
    hub = MemoryHub()
    with open_node(tmp_path / "a", hub) as alice, open_node(tmp_path / "b", hub) as bob:
        chain = alice.create_chain("notes", readers="everyone")
        join(bob, chain)
    for name in "ab":
        with open_node(tmp_path / name, MemoryHub()) as node:
            node.chains()[0].append(name.encode())
    return tmp_path / "a", tmp_path / "b"


def assert_same(directories: tuple[Path, Path], count: int) -> None:
    held = []
    for directory in directories:
        with open_node(directory, MemoryHub()) as node:
            assert_sound(node.chains()[0])
            held.append(ids(node.chains()[0]))
    assert held[0] == held[1]
    assert len(held[0]) == count


@contextmanager
def daemon(machine: Machine, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`walytis run --mdns` on a machine, from ready to cleanly ended."""
    command = machine.inside(*COMMAND, "run", "--json", "--listen", LISTEN, "--mdns", "--data-dir", str(directory))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(directory.parent), stdout=pipe, stderr=pipe) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert [address.split("/")[2] for address in ready["addresses"]] == [machine.host]
            yield process
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=WAIT_S)
            assert (process.returncode, json.loads(out), err) == (0, {"event": "stopped"}, b"")
        finally:
            process.kill()


@pytest.mark.slow
def test_nodes_of_one_chain_find_each_other(tmp_path, machines):
    """C38: who have no address of each other that leads anywhere; `walytis run --mdns` on each machine."""
    directories = met_before(tmp_path)
    with daemon(machines[0], directories[0]), daemon(machines[1], directories[1]):
        for directory in directories:
            assert answer(directory, "append", "notes", "to the neighbour", "--wait", "30")["peers"] == 1
    assert_same(directories, 4)


@pytest.mark.slow
def test_a_cable_that_is_pulled_and_plugged_in_again(tmp_path, machines):
    """C22: and a node that was away, and has another port now, is found again."""
    directories = met_before(tmp_path)
    with neighbour(machines[0], directories[0]) as alice:
        with neighbour(machines[1], directories[1]) as bob:
            until(lambda: alice.said.get("blocks") == bob.said.get("blocks") == [2], what="they meet")
            bob.end()
        until(lambda: alice.said["connected"] == [], what="bob is gone")
        with open_node(directories[1], MemoryHub()) as node:
            node.chains()[0].append(b"offline")
        with neighbour(machines[1], directories[1]) as bob:
            until(lambda: alice.said["blocks"] == [3], what="bob is back")
            assert alice.end()["connected"]
            bob.end()
    assert_same(directories, 3)


@pytest.mark.slow
def test_nothing_is_left_of_it(tmp_path, machines):
    """C46: no thread and no socket, once the node is closed."""
    with neighbour(machines[0], tmp_path / "a") as alice, neighbour(machines[1], tmp_path / "b") as bob:
        assert bob.until("peer") in alice.until("connected")
        for one in (alice, bob):
            said = one.end()
            assert (said["threads"], said["sockets"]) == ([], 0)
            assert said["closed_in_s"] < CLOSE_S


@pytest.mark.slow
def test_a_machine_without_a_network(tmp_path, machines):
    """C46: the node runs without mDNS, says so in its log, and closes as ever."""
    machines[0].ip("link", "delete", "lan0")
    with neighbour(machines[0], tmp_path / "a") as alice:
        until(lambda: "mDNS does not work" in alice.said.get("log", ""), what="the log says so")
        said = alice.end()
    assert (said["threads"], said["sockets"]) == ([], 0)


@pytest.mark.slow
def test_garbage_from_the_network(tmp_path, machines):
    """C36: a neighbour that sends all sorts of bytes ends nothing, and others are found all the same."""
    with neighbour(machines[0], tmp_path / "a") as alice:
        alice.until("peer")
        noise = machines[1].inside(sys.executable, "-m", "tests.suites.lan", "", "noise")
        subprocess.run(noise, check=True, cwd=ROOT, timeout=WAIT_S)
        with neighbour(machines[1], tmp_path / "b") as bob:
            until(lambda: bob.until("peer") in alice.said["connected"], what="they meet")
            said = alice.end()
    assert "log" not in said, "what others send is not logged"


@pytest.fixture
def kubo_nearby(machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A Kubo daemon with mDNS on the second machine."""
    program = tmp_path / "ipfs"
    program.write_text(f'#!/bin/sh\nexec {" ".join(machines[1].inside(str(binary())))} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("WALYTIS_KUBO_BINARY", str(program))
    config: dict[str, Any] = {"Discovery.MDNS.Enabled": True, "Addresses.Swarm": [LISTEN]}
    kubo = Daemon(tmp_path / "kubo", config=config).start()
    yield kubo
    kubo.kill()
    sys.stderr.write(kubo.log())


@pytest.mark.kubo
@pytest.mark.slow
@pytest.mark.parametrize(("mode", "who"), [("mute", "we"), ("deaf", "Kubo")])
def test_kubo_is_found_and_finds_us(tmp_path, machines, kubo_nearby, mode, who):
    """C44: by either side, where the other only announces itself."""
    with neighbour(machines[0], tmp_path / "a", mode) as alice:
        assert alice.until("connected") == [kubo_nearby.peer_id], f"{who} dial"
        assert alice.said["peer"] in kubo_nearby.peers()
        alice.end()
