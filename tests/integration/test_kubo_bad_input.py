"""A Kubo daemon that is not there, is something else, lies or breaks off: a typed error with a hint, in bounded time and memory.

The daemon is a scripted one (`tests/suites/bad_kubo.py`); what goes wrong once a node runs is in `test_kubo_bad_running.py`,
what needs a real one in `test_kubo_bad_daemon.py`.
"""

from __future__ import annotations

import logging
import traceback
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from tests.suites.bad_answers import (
    MOUNTING_OFF,
    PAGE_NOT_FOUND,
    PUBSUB_OFF,
    Answer,
    Bend,
    cut,
    dripping,
    endless,
    head,
    packed,
    raw,
    refused,
    silent,
    stalled,
    text,
    told,
)
from tests.suites.bad_kubo import ScriptedKubo
from tests.suites.kubo_daemon import free_port
from tests.suites.networks import ALICE, BOB, BOUND_S, PROTOCOL, echo, until
from walytis_core.errors import InvalidInputError, UnavailableError
from walytis_core.network._peer_id import peer_id_of
from walytis_core.network.kubo import KuboNetwork

BOB_ID = peer_id_of(BOB)
PEER_ID = ScriptedKubo().peer_id
SECRET = "s3cr3t-t0k3n"
MUCH_BYTES = 24 << 20
"""What may leave an endless answer: what sockets buffer, and what is read before it is refused."""
NO_ANSWER_S = 30.0
"""A daemon that does not answer is given up within that: far above what is waited for one answer."""


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(BOUND_S):
            await test()

    trio.run(bounded)


@pytest.fixture
def fake():
    with ScriptedKubo() as scripted:
        yield scripted


def failure(network: KuboNetwork, within_s: float = BOUND_S) -> UnavailableError:
    """Starts a network, which must fail; gives the error."""

    async def start() -> UnavailableError:
        with trio.fail_after(within_s), pytest.raises(UnavailableError) as raised:
            async with network.running(ALICE):
                raise AssertionError("it started")
        return raised.value

    return trio.run(start)


@asynccontextmanager
async def started(fake: ScriptedKubo) -> AsyncIterator[KuboNetwork]:
    """A network on a scripted daemon; it serves `PROTOCOL`."""
    network = KuboNetwork(fake.url)
    network.serve(PROTOCOL, echo)
    async with network.running(ALICE):
        yield network


# --- what is no Kubo daemon, or not one that will do ---------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1", "ftp://127.0.0.1:5001", "http://", "http://127.0.0.1:99999", "http://127.0.0.1:x", "http://[::1",
     "http://192.0.2.1:5001", "https://example.com", "http://0x7f.evil.example:5001", "http://127.0.0.1:5001/a?b=c",
     "http://127.0.0.1\r\nX: y", "http://127.0.0.1:5001\x00", "\udcff", "x" * 100_000],
)  # fmt: skip
def test_an_address_that_cannot_be_one(url: str) -> None:
    """C36: said at once; a daemon elsewhere cannot bring us streams, so it is refused as well."""
    with pytest.raises(InvalidInputError) as raised:
        KuboNetwork(url)
    assert "daemon" in str(raised.value)
    assert raised.value.hint != InvalidInputError.hint
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("token", ["a\r\nX-Other: b", "a b\n", "\u2603", "x\x00", ""])
def test_a_token_that_cannot_be_one(token: str) -> None:
    """C36: it never gets into a header, and not into the error either."""
    with pytest.raises(InvalidInputError) as raised:
        KuboNetwork("http://127.0.0.1:5001", token=token)
    assert not token or token not in str(raised.value)


def test_nobody_is_there() -> None:
    """C37: the hint says how to start it."""
    port = free_port()
    error = failure(KuboNetwork(f"http://127.0.0.1:{port}"))
    assert str(port) in str(error)
    assert "ipfs daemon" in error.hint


NOT_KUBO: dict[str, Answer] = {
    "a page": text("<!DOCTYPE html><title>It works!</title>"),
    "a gateway": PAGE_NOT_FOUND,
    "a page of an error": text("<h1>Internal Server Error</h1>", "500 Internal Server Error"),
    "a proxy": text("Bad gateway", "502 Bad Gateway"),
    "another method": text("", "405 Method Not Allowed"),
    "nothing": raw(b""),
    "no content": text("", "204 No Content"),
    "ssh": raw(b"SSH-2.0-OpenSSH_9.6p1\r\n"),
    "libp2p": raw(b"\x13/multistream/1.0.0\n"),
    "binary": raw(bytes(range(256)) * 10),
    "a list": told([]),
    "null": told(None),
    "a number": told(7),
    "a text": told("0.43.0"),
    "no fields": told({}),
    "deep": raw(head("200 OK") + b"[" * 100_000),
    "deep objects": raw(head("200 OK") + b'{"Version":' * 5000),
    "not UTF-8": raw(head("200 OK") + b'{"Version":"\xff\xfe"}'),
    "a long number": raw(head("200 OK") + b"9" * 20_000),
    "half a pair": raw(head("200 OK") + b'{"Version":"\\ud800","ID":"\\ud800","AgentVersion":"kubo/\\ud800"}'),
    "bad length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"),
    "bad chunks": raw(head("200 OK", "Transfer-Encoding: chunked") + b"zzz\r\n{}\r\n"),
    "bad head": raw(b"HTTP/1.1 200 OK\r\n\x00\xff: \x01\r\n\r\n{}"),
    "another HTTP": raw(b"HTTP/9.9 200 OK\r\n\r\n{}"),
    "bad coding": raw(head("200 OK", "Content-Encoding: gzip") + b"not gzip at all"),
    "bad charset": raw(head("200 OK", kind="application/json; charset=no-such-thing") + b"{}"),
}


@pytest.mark.parametrize("answer", NOT_KUBO.values(), ids=NOT_KUBO)
def test_another_server(fake: ScriptedKubo, answer: Answer) -> None:
    """C36: an HTTP server that is not Kubo, and what is no HTTP server: the hint says where Kubo's RPC is."""
    fake.answers[""] = answer
    error = failure(KuboNetwork(fake.url))
    assert "5001" in error.hint
    assert len(str(error)) < 500
    assert str(error).isprintable()


def test_a_redirect_is_not_followed(fake: ScriptedKubo) -> None:
    """C36: a token goes to nobody but the daemon that was named."""
    with ScriptedKubo() as other:
        fake.answers[""] = text("", "307 Temporary Redirect", f"Location: {other.url}/api/v0/id")
        assert "5001" in failure(KuboNetwork(fake.url, token=SECRET)).hint
        assert not other.calls


def test_proxies_of_the_environment_are_not_used(fake: ScriptedKubo, monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: the same, where the machine has a proxy for the web."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def test() -> None:
        async with started(fake) as network:
            assert network.peer_id == fake.peer_id

    run(test)


@pytest.mark.parametrize(
    "version", ["0.4.23", "0.22.0", "0.28.0", "0.28.99", "0.9", "0", "", "new", "1", None, 43, ["0.43.0"], "9" * 5000]
)
def test_a_version_that_will_not_do(fake: ScriptedKubo, version: object) -> None:
    """C36: too old, or not a version at all."""
    fake.version = version
    error = failure(KuboNetwork(fake.url))
    assert "Kubo" in f"{error} {error.hint}"
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    "version", ["0.29.0", "0.29.0-rc1", "0.30.0", "0.43.0", "0.43.1-dev", "0.50.0-rc2", "1.0.0", "0.43.0-dev+a1b2"]
)
def test_a_version_that_does(fake: ScriptedKubo, version: str) -> None:
    """C37: the one that tests run on (0.43.0), older ones as far as its RPC is the same, and those to come."""
    fake.version = version

    async def test() -> None:
        async with started(fake) as network:
            assert network.peer_id == fake.peer_id

    run(test)


SETTINGS: dict[str, tuple[dict[str, Answer], list[str]]] = {
    "pubsub is off": (dict.fromkeys(["pubsub/ls", "pubsub/sub", "pubsub/pub", "pubsub/peers"], PUBSUB_OFF), ["Pubsub.Enabled"]),
    "mounting is off": (
        dict.fromkeys(["p2p/ls", "p2p/listen", "p2p/forward", "p2p/close"], MOUNTING_OFF),
        ["Experimental.Libp2pStreamMounting"],
    ),
    "a password is asked for": ({"": text("401", "401 Unauthorized", "WWW-Authenticate: Basic")}, ["token"]),
    "authorizations": ({"": text("403 - Forbidden\n", "403 Forbidden", kind="text/plain")}, ["token"]),
    "both are off": (
        {"pubsub/ls": PUBSUB_OFF, "p2p/ls": MOUNTING_OFF},
        ["Pubsub.Enabled", "Experimental.Libp2pStreamMounting"],
    ),
    "all is wrong": (
        {"id": told({"ID": PEER_ID, "Addresses": []}), "pubsub/ls": PUBSUB_OFF, "p2p/ls": MOUNTING_OFF},
        ["Addresses.Swarm", "Pubsub.Enabled", "Experimental.Libp2pStreamMounting"],
    ),
    "closed more than once": (
        dict.fromkeys(["pubsub/ls", "p2p/ls"], text("403 - Forbidden\n", "403 Forbidden")),
        ["token"],
    ),
    "of some calls only": ({"pubsub/ls": text("403 - Forbidden\n", "403 Forbidden")}, ["token"]),
}  # fmt: skip


@pytest.mark.parametrize(("answers", "named"), SETTINGS.values(), ids=SETTINGS)
def test_the_hint_names_the_setting(fake: ScriptedKubo, answers: dict[str, Answer], named: list[str]) -> None:
    """C37: what is switched off, or closed, is said with the way to open it; all of it at once, each thing once."""
    fake.answers |= answers
    error = failure(KuboNetwork(fake.url))
    at = [error.hint.find(name) for name in named]
    assert min(at) >= 0
    assert at == sorted(at)
    assert error.hint.count("API.Authorizations") <= 1
    assert fake.listeners == {}


LIES: dict[str, object] = {
    "no text": 7,
    "empty": "",
    "no peer id": "hello",
    "several lines": "12D3KooW\n12D3KooW",
    "huge": "1" * 300_000,
    "half a pair": "12D3\ud800",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_it_lies_about_its_peer_id(fake: ScriptedKubo, lie: object) -> None:
    """C36: what is no peer id is not taken for one."""
    fake.answers["id"] = told({"ID": lie, "Addresses": [], "AgentVersion": "kubo/0.43.0", "Protocols": []})
    assert len(str(failure(KuboNetwork(fake.url)))) < 500


@pytest.mark.parametrize(
    "lie", [None, 7, "x", [7, None, ["x"]], ["hello", "/ip4/", "/ip4/127.0.0.1/tcp/70000"], {"a": 1}]
)
def test_it_lies_about_its_addresses(fake: ScriptedKubo, lie: object) -> None:
    """C36: no address is taken that is none; with those that are, the node starts, or says why not."""
    fake.answers["id"] = told({"ID": fake.peer_id, "Addresses": lie, "AgentVersion": "kubo/0.43.0", "Protocols": []})

    async def test() -> None:
        failed: UnavailableError | None = None
        try:
            async with started(fake) as network:
                assert all(address.endswith(f"/p2p/{fake.peer_id}") for address in network.addresses())
        except UnavailableError as error:
            failed = error
        assert failed is None or "Addresses.Swarm" in failed.hint

    run(test)


# --- answers that break off, or never end --------------------------------------------------------------------------

BREAKS: dict[str, Bend] = {
    "no answer": lambda _: raw(b""),
    "cut in the head": cut(40),
    "cut in the body": cut(-6),
    "without its last chunk": cut(-5),
    "endless": lambda _: endless(b'{"Version":"'),
    "endless head": lambda _: endless(b"HTTP/1.1 200 OK\r\nX: ", chunked=False),
    "endless lines of a head": lambda _: endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 5000, chunked=False),
    "endless and packed": lambda _: packed,
}


async def stages() -> list[str]:
    """What is asked while a network starts, in order."""
    with ScriptedKubo() as fake:
        async with started(fake):
            return list(dict.fromkeys(call.path for call in fake.calls))


@pytest.mark.slow
@pytest.mark.parametrize("broken", BREAKS.values(), ids=BREAKS)
def test_starting_breaks_off(broken: Bend) -> None:
    """C36: at every stage: one error, in bounded time and memory, and nothing of ours stays in the daemon."""

    async def test() -> None:
        asked = await stages()
        assert {"id", "p2p/listen"} <= set(asked)
        tracemalloc.start()
        try:
            async with trio.open_nursery() as nursery:
                for path in asked:
                    nursery.start_soon(breaks_at, path, broken)
            assert tracemalloc.get_traced_memory()[1] < MUCH_BYTES * 2
        finally:
            tracemalloc.stop()

    run(test)


async def breaks_at(path: str, broken: Bend) -> None:
    with ScriptedKubo() as fake:
        fake.answers[path] = broken(fake.usual)
        failed: UnavailableError | None = None
        try:
            with trio.fail_after(NO_ANSWER_S):
                async with started(fake) as network:
                    assert path != "id"  # what the others answer it can do without
                    assert network.peer_id == fake.peer_id
        except UnavailableError as error:
            failed = error
        assert failed is None or str(failed).isprintable()
        assert fake.sent[path] < MUCH_BYTES
        assert PROTOCOL not in fake.listeners


@pytest.mark.slow
def test_starting_stalls() -> None:
    """C36: an answer that does not come, stops on its way, or comes byte by byte is given up; all at once, for each takes 10 s."""
    bends: list[Bend] = [lambda _: silent, stalled(40), stalled(-6), dripping(0.5)]

    async def test() -> None:
        async with trio.open_nursery() as nursery:
            for path in await stages():
                for broken in bends:
                    nursery.start_soon(breaks_at, path, broken)

    run(test)


@pytest.mark.slow
def test_a_daemon_that_tells_us_to_go_on(fake: ScriptedKubo) -> None:
    """C36: an endless row of answers that are none, which costs time to read, is given up as well."""
    fake.answers["id"] = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, chunked=False)
    failure(KuboNetwork(fake.url), NO_ANSWER_S)


def test_cancelled_while_it_does_not_answer(fake: ScriptedKubo) -> None:
    """C46: starting can be given up at any stage, at once."""

    async def test() -> None:
        for path in await stages():
            fake.answers = {path: silent}
            fake.calls.clear()
            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:

                    async def start() -> None:
                        async with started(fake):
                            await trio.sleep_forever()

                    nursery.start_soon(start)
                    while not fake.count(path):  # noqa: ASYNC110 - a thread counts
                        await trio.sleep(0.005)
                    nursery.cancel_scope.cancel()
            assert fake.listeners == {}

    run(test)


# --- two on one daemon ---------------------------------------------------------------------------------------------


def test_another_node_uses_this_daemon(fake: ScriptedKubo) -> None:
    """C36: it is said so, and the one that was first goes on."""

    async def test() -> None:
        async with started(fake) as first:
            held = dict(fake.listeners)
            with pytest.raises(UnavailableError) as raised:
                async with started(fake):
                    raise AssertionError("it started")
            assert "Another node" in str(raised.value)
            assert "daemon" in raised.value.hint
            assert fake.listeners == held
            fake.peers = [BOB_ID]
            await until(lambda: list(first.connected()) == [BOB_ID])
            await echoes(fake)

    run(test)


@pytest.mark.slow
def test_two_start_at_once_on_one_daemon() -> None:
    """C36: at most one of them runs, whatever the moment; what the other had begun is taken back."""

    async def test() -> None:
        for delay_s in (0.0, 0.002, 0.004, 0.008, 0.016):
            with ScriptedKubo() as fake:
                running: list[object] = []
                over = trio.Event()

                async def start(wait_s: float, fake: ScriptedKubo, running: list[object], over: trio.Event) -> None:
                    await trio.sleep(wait_s)
                    network = KuboNetwork(fake.url)
                    for protocol in (PROTOCOL, PROTOCOL + "/other"):
                        network.serve(protocol, echo)
                    with suppress(UnavailableError):
                        async with network.running(ALICE):
                            running.append(network)
                            await over.wait()
                    over.set()  # one of them is out

                with trio.move_on_after(5):
                    async with trio.open_nursery() as nursery:
                        for wait_s in (0.0, delay_s):
                            nursery.start_soon(start, wait_s, fake, running, over)
                assert len(running) <= 1
                assert fake.listeners == {}

    run(test)


def test_what_a_killed_node_left_is_taken_over(fake: ScriptedKubo) -> None:
    """C37: a listener whose port nobody answers; what is not ours stays."""
    fake.listeners = {PROTOCOL: f"/ip4/127.0.0.1/tcp/{free_port()}", "/x/other": f"/ip4/127.0.0.1/tcp/{free_port()}"}
    fake.peers = [BOB_ID]
    other = fake.listeners["/x/other"]

    async def test() -> None:
        async with started(fake) as network:
            await until(lambda: list(network.connected()) == [BOB_ID])
            await echoes(fake)
        assert fake.listeners == {"/x/other": other}

    run(test)


@pytest.mark.parametrize(
    "target",
    ["/ip4/192.0.2.1/tcp/4001", "/ip4/127.0.0.1/tcp/x", "/ip4/127.0.0.1/tcp/70000", "/unix/tmp/x", "", 7, None],
)
def test_somebody_else_listens_in_our_place(fake: ScriptedKubo, target: object) -> None:
    """C36: no connection is opened to another machine because a daemon says so."""
    fake.answers["p2p/listen"] = refused("listener already registered")
    fake.answers["p2p/ls"] = told(
        {"Listeners": [{"Protocol": PROTOCOL, "ListenAddress": f"/p2p/{fake.peer_id}", "TargetAddress": target}]}
    )

    async def test() -> None:
        with pytest.raises(UnavailableError):
            async with started(fake):
                raise AssertionError("it started")

    run(test)


async def echoes(fake: ScriptedKubo) -> None:
    """A stream that Bob opens is served."""
    async with incoming(fake, BOB_ID.encode() + b"\nhello") as stream:
        with trio.fail_after(10):
            received = b""
            while len(received) < 5:
                more = await stream.receive_some(10)
                assert more, "the stream was dropped"
                received += more
        assert received == b"hello"


@asynccontextmanager
async def incoming(fake: ScriptedKubo, first: bytes) -> AsyncIterator[trio.SocketStream]:
    """A local connection to where the daemon brings streams of `PROTOCOL`, and its first bytes."""
    async with await trio.open_tcp_stream(*fake.target_of(PROTOCOL)) as stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(first)
        yield stream


# --- secrets -------------------------------------------------------------------------------------------------------

FAILURES: dict[str, Answer] = {
    "forbidden": text("403 - Forbidden\n", "403 Forbidden"),
    "redirect": text("", "302 Found", "Location: http://127.0.0.1:1/"),
    "error": refused("no"),
    "page": text("<p>hi"),
    "cut": raw(b"HTTP/1.1 200 OK\r\n"),
    "no HTTP": raw(b"SSH"),
}


@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("by_url", [True, False], ids=["password", "token"])
def test_secrets_are_in_no_error_and_no_log(
    fake: ScriptedKubo, answer: Answer, by_url: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """C36: whatever fails: not in the text, the hint, the repr, what caused it, or what anything logs at any level."""
    caplog.set_level(logging.NOTSET)
    url = fake.url.replace("://", f"://someone:{SECRET}@") if by_url else fake.url
    network = KuboNetwork(url, token=None if by_url else SECRET)
    fake.answers["pubsub/ls"] = answer
    error = failure(network)
    assert any(b"\r\nAuthorization: " in call.head or b"\r\nauthorization: " in call.head for call in fake.calls)
    said = "".join(traceback.format_exception(error)) + error.hint + repr(error) + repr(network) + caplog.text
    assert SECRET not in said
    assert all(SECRET not in repr(record.args) + record.getMessage() for record in caplog.records)
