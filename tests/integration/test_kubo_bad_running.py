"""A Kubo daemon that goes wrong under a running network: it goes away, brings garbage, or lies; and local strangers at its door."""

from __future__ import annotations

import json
import socket
import struct
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest
import trio

from tests.integration.test_kubo_bad_input import BOB_ID, MUCH_BYTES, NO_ANSWER_S, echoes, fake, incoming, run, started
from tests.suites.bad_answers import (
    MOUNTING_OFF,
    PAGE_NOT_FOUND,
    PUBSUB_OFF,
    Answer,
    Bend,
    block,
    chunk,
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
from tests.suites.bad_kubo import ScriptedKubo, message
from tests.suites.networks import CHANNEL, PROTOCOL, until
from walytis_core.cid import RAW_PREFIX, Cid
from walytis_core.errors import UnavailableError
from walytis_core.limits import Limits
from walytis_core.network._peer_id import peer_id_of
from walytis_core.network.kubo import KuboNetwork, gossip, peers, streams
from walytis_core.network.port import Gossip

__all__ = ["fake"]  # the fixture

GOOD = Gossip(BOB_ID, b"good")


def line(**fields: object) -> bytes:
    """A message as the daemon brings it, with some fields otherwise."""
    return json.dumps({**json.loads(message(CHANNEL, BOB_ID, b"bad")), **fields}).encode() + b"\n"


GARBAGE: dict[str, bytes] = {
    "not JSON": b"hello\n",
    "no object": b"[]\n7\nnull\n" + b'"x"\n',
    "no fields": b"{}\n",
    "empty lines": b"\n\r\n \n",
    "deep": b"[" * 60_000 + b"\n",
    "not UTF-8": b'{"from":"\xff","data":"uYQ"}\n',
    "no text": line(data=7),
    "no data": line(data=None),
    "not multibase": line(data="YmFk"),
    "another base": line(data="zYmFk"),
    "wrong base64": line(data="u!!!!"),
    "base64 of no length": line(data="uA"),
    "not ASCII": line(data="u\u2603"),
    "a peer that is no text": line(**{"from": 7}),
    "a peer that is no peer id": line(**{"from": "../../etc"}),
    "a long peer": line(**{"from": "1" * 50_000}),
    "nobody": line(**{"from": ""}),
    "too large": message(CHANNEL, BOB_ID, bytes(Limits.max_gossip_bytes + 1)),
    "a huge line": b"x" * (4 << 20) + b"\n",
    "a huge line without an end": b'{"from":"' + b"x" * (4 << 20),
    "a long number": b"9" * 20_000 + b"\n",
    "an error at the end": b'{"Message":"gone","Code":0,"Type":"error"}\n',
    "the end": b"",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_on_a_channel(fake: ScriptedKubo, garbage: bytes) -> None:
    """C36: none of it is heard, and what comes after it is."""

    async def test() -> None:
        fake.peers = [BOB_ID]
        async with started(fake) as network:
            inbox = await network.subscribe(CHANNEL)
            await until(lambda: fake.is_subscribed(CHANNEL))
            fake.say(CHANNEL, garbage)
            await goes_on(fake, inbox)

    run(test)


async def goes_on(fake: ScriptedKubo, inbox: trio.MemoryReceiveChannel[Gossip]) -> None:
    """Good messages are heard, within seconds, and nothing else is."""
    with trio.fail_after(15):
        while True:
            fake.say(CHANNEL, message(CHANNEL, BOB_ID, GOOD.data))
            with trio.move_on_after(0.1):
                assert await inbox.receive() == GOOD
                return


def test_own_messages_are_not_heard(fake: ScriptedKubo) -> None:
    """C43: the daemon brings them back."""

    async def test() -> None:
        async with started(fake) as network:
            inbox = await network.subscribe(CHANNEL)
            await until(lambda: fake.is_subscribed(CHANNEL))
            fake.say(CHANNEL, message(CHANNEL, fake.peer_id, b"mine"))
            await goes_on(fake, inbox)

    run(test)


ENDS: dict[str, Answer] = {
    "at once": raw(head("200 OK", "Transfer-Encoding: chunked") + chunk(b"")),
    "in the head": raw(b"HTTP/1.1 200 OK\r\nCont"),
    "unanswered": raw(b""),
    "refused": refused("no"),
    "a page": text("<p>"),
    "never ends a line": endless(b'{"from":"'),
    "packed": packed,
}


@pytest.mark.slow
@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_a_subscription_that_ends_again_and_again(
    fake: ScriptedKubo, ends: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C37: it is taken up again, without haste, in bounded memory; other calls go on, and so do messages afterwards."""
    monkeypatch.setattr(gossip, "_REOPEN_S", (0.1, 0.5))

    async def test() -> None:
        fake.peers = [BOB_ID]
        async with started(fake) as network:
            fake.answers["pubsub/sub"] = ends
            inbox = await network.subscribe(CHANNEL)
            await until(lambda: fake.count("pubsub/sub") >= 3)
            tried = fake.count("pubsub/sub")
            await trio.sleep(1)  # how often it is tried meanwhile is the test
            assert fake.count("pubsub/sub") - tried <= 4
            await until(lambda: list(network.connected()) == [BOB_ID])
            await network.publish(CHANNEL, b"x")
            del fake.answers["pubsub/sub"]
            await goes_on(fake, inbox)

    tracemalloc.start()
    try:
        run(test)
        assert tracemalloc.get_traced_memory()[1] < MUCH_BYTES * 2
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_subscription_that_is_not_answered(fake: ScriptedKubo) -> None:
    """C38: whoever subscribes is not held up by it, and others are not either."""

    async def test() -> None:
        async with started(fake) as network:
            fake.answers["pubsub/sub"] = silent
            with trio.move_on_after(NO_ANSWER_S) as scope:
                await network.subscribe(CHANNEL + "/other")
            assert not scope.cancelled_caught
            del fake.answers["pubsub/sub"]
            with trio.fail_after(5):
                inbox = await network.subscribe(CHANNEL)
                await goes_on(fake, inbox)
                await network.unsubscribe(CHANNEL + "/other")

    run(test)


@pytest.mark.slow
def test_the_daemon_goes_and_comes(fake: ScriptedKubo) -> None:
    """C37: its peers go with it, what is asked meanwhile fails as it should, and all is set up again when it is back."""

    async def test() -> None:
        fake.peers = [BOB_ID]
        async with started(fake) as network:
            changes, inbox = network.watch(), await network.subscribe(CHANNEL)
            await until(lambda: list(network.connected()) == [BOB_ID])
            for _ in range(2):
                fake.go()
                await until(lambda: not network.connected())
                await unavailable(network)
                fake.come()
                await until(lambda: list(network.connected()) == [BOB_ID] and PROTOCOL in fake.listeners)
                await until(lambda: fake.is_subscribed(CHANNEL))
                await echoes(fake)
                await goes_on(fake, inbox)
            seen = [changes.receive_nowait() for _ in range(changes.statistics().current_buffer_used)]
            assert seen[-4:] == [(BOB_ID, False), (BOB_ID, True)] * 2

    run(test)


async def unavailable(network: KuboNetwork) -> None:
    """Whatever needs the daemon says that it is away, in bounded time."""
    cid = Cid.of(b"x", RAW_PREFIX)
    copies = network.copies
    assert copies is not None
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: network.connect([f"/ip4/127.0.0.1/tcp/4001/p2p/{BOB_ID}"]),
        lambda: network.open_stream(BOB_ID, PROTOCOL),
        lambda: network.fetch(cid),
        lambda: copies.put([(cid, b"x")]),
        lambda: copies.pin([cid], "x"),
        lambda: copies.is_pinned(cid),
        lambda: copies.unpin([cid], "x"),
        lambda: copies.pins("x", 9),
    ]
    for call in calls:
        with trio.fail_after(NO_ANSWER_S), pytest.raises(UnavailableError):
            await call()
    with trio.fail_after(NO_ANSWER_S):  # a lossy hint: whether these raise is theirs
        for quiet in (network.publish(CHANNEL, b"x"), network.disconnect(BOB_ID)):
            with suppress(UnavailableError):
                await quiet


@pytest.mark.slow
def test_a_frozen_daemon(fake: ScriptedKubo, monkeypatch: pytest.MonkeyPatch) -> None:
    """C37: it says nothing more, and its streams stay: it counts as away; when it goes on, messages come, and come once."""
    monkeypatch.setattr(peers, "LOOK_WAIT_S", 0.5)

    async def test() -> None:
        fake.peers = [BOB_ID]
        async with started(fake) as network:
            inbox = await network.subscribe(CHANNEL)
            await until(lambda: list(network.connected()) == [BOB_ID])
            fake.answers[""] = silent
            await until(lambda: network.failure is not None)
            assert not network.connected()
            fake.answers.clear()
            await until(lambda: list(network.connected()) == [BOB_ID], NO_ANSWER_S)
            await until(lambda: fake.is_subscribed(CHANNEL))
            fake.say(CHANNEL, message(CHANNEL, BOB_ID, GOOD.data))
            assert await inbox.receive() == GOOD
            await echoes(fake)
            assert inbox.statistics().current_buffer_used == 0

    run(test)


@pytest.mark.slow
def test_the_daemon_comes_back_as_another(fake: ScriptedKubo) -> None:
    """C37: with another repository it is another peer; while it says nonsense it is away."""

    async def test() -> None:
        async with started(fake) as network:
            fake.go()
            await until(lambda: network.failure is not None)
            fake.answers["id"] = told({"ID": 7})
            fake.come()
            await until(lambda: fake.count("id") > 3)
            fake.peer_id = BOB_ID
            del fake.answers["id"]
            await until(lambda: network.peer_id == BOB_ID)
            assert all(address.endswith(BOB_ID) for address in network.addresses())

    run(test)


@pytest.mark.slow
def test_the_daemon_comes_back_with_other_settings(fake: ScriptedKubo) -> None:
    """C37: what is switched off now is said, and the node is back once it is on again."""

    async def test() -> None:
        async with started(fake) as network:
            inbox = await network.subscribe(CHANNEL)
            fake.go()
            await until(lambda: network.failure is not None)
            fake.answers["pubsub/ls"] = fake.answers["pubsub/sub"] = PUBSUB_OFF
            fake.come()
            await until(lambda: network.failure is not None and "Pubsub.Enabled" in network.failure.hint)
            fake.answers.clear()
            await until(lambda: network.failure is None)
            await goes_on(fake, inbox)

    run(test)


@pytest.mark.slow
@pytest.mark.parametrize(("calls", "answer", "setting"), [
    (["pubsub/ls", "pubsub/sub", "pubsub/pub", "pubsub/peers"], PUBSUB_OFF, "Pubsub.Enabled"),
    (["p2p/ls", "p2p/listen", "p2p/forward", "p2p/close"], MOUNTING_OFF, "Experimental.Libp2pStreamMounting"),
])  # fmt: skip
def test_settings_that_change_between_two_looks(
    fake: ScriptedKubo, calls: list[str], answer: Answer, setting: str
) -> None:
    """C37: nobody saw the daemon away, and yet it is said which setting it came back with; and gone when it is right."""

    async def test() -> None:
        fake.peers = [BOB_ID]
        async with started(fake) as network:
            inbox = await network.subscribe(CHANNEL)
            await until(lambda: fake.is_subscribed(CHANNEL) and list(network.connected()) == [BOB_ID])
            fake.go()  # in one go, so that nothing of the loop runs meanwhile
            fake.answers |= dict.fromkeys(calls, answer)
            fake.come()
            await until(lambda: network.failure is not None and setting in network.failure.hint, 15)
            fake.answers.clear()
            await until(lambda: network.failure is None)
            await goes_on(fake, inbox)
            await echoes(fake)

    run(test)


@pytest.mark.slow
@pytest.mark.parametrize("answer", [PAGE_NOT_FOUND, refused("no"), raw(b""), text("403", "403 Forbidden")])
def test_an_ailing_daemon_is_not_pestered(fake: ScriptedKubo, answer: Answer) -> None:
    """C36: it is asked again after a while, not all the time."""

    async def test() -> None:
        async with started(fake) as network:
            await network.subscribe(CHANNEL)
            fake.answers[""] = answer
            fake.drop()
            await trio.sleep(1)
            asked = len(fake.calls)
            await trio.sleep(1)  # how much is asked meanwhile is the test
            assert len(fake.calls) - asked <= 20
            del fake.answers[""]
            await until(lambda: fake.is_subscribed(CHANNEL))

    run(test)


PEERS: list[object] = [None, [], {"Peers": 5}, {"Peers": [5]}, {"Peers": [{"Peer": 7}]}, {"Peers": [{"Peer": "x" * 9000}]},
    {"Peers": {"a": 1}}, {"Peers": [{"Addr": "x"}]}, {"Peers": [None, {"Peer": "../x", "Addr": "x"}]}]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("peers", PEERS)
def test_it_lies_about_its_peers(fake: ScriptedKubo, peers: object) -> None:
    """C36: what is no peer id is never a peer; afterwards the right ones are there again."""

    async def test() -> None:
        fake.peers = [BOB_ID]
        async with started(fake) as network:
            await until(lambda: list(network.connected()) == [BOB_ID])
            asked = fake.count("swarm/peers")
            fake.answers["swarm/peers"] = fake.answers["pubsub/peers"] = told(peers)
            await until(lambda: fake.count("swarm/peers") > asked + 1)
            assert set(network.connected()) <= {BOB_ID}
            fake.answers.clear()
            await until(lambda: list(network.connected()) == [BOB_ID])

    run(test)


# --- blocks --------------------------------------------------------------------------------------------------------

DATA = b"a block"
CID = Cid.of(DATA, RAW_PREFIX)
FETCHED: dict[str, Bend] = {
    "other bytes": lambda _: block(b"b block"),
    "more bytes": lambda _: block(DATA + b"x"),
    "fewer bytes": lambda _: block(DATA[:-1]),
    "no bytes": lambda _: block(b""),
    "cut": cut(-6),
    "cut in the head": cut(30),
    "packed": lambda _: packed,
    "endless": lambda _: endless(),
    "too large": lambda _: block(bytes(Limits.leaf_bytes + 1)),
    "silent": lambda _: silent,
    "stalled": stalled(-6),
    "slow": dripping(0.2),
    "nobody has it": lambda _: refused("block was not found"),
    "a page": lambda _: text("<p>", "404 Not Found"),
}


@pytest.mark.slow
@pytest.mark.parametrize("broken", FETCHED.values(), ids=FETCHED)
def test_a_block_that_is_not_what_was_asked_for(
    fake: ScriptedKubo, broken: Bend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C36: only bytes that match the CID are given; in bounded time and memory; afterwards the right ones come."""
    monkeypatch.setattr(Limits, "fetch_wait_s", 1.0)
    fake.blocks[str(CID)] = DATA

    async def test() -> None:
        async with started(fake) as network:
            fake.answers["block/get"] = broken(fake.usual)
            with trio.fail_after(NO_ANSWER_S), pytest.raises(UnavailableError) as raised:
                await network.fetch(CID)
            assert raised.value.hint
            assert fake.sent["block/get"] < MUCH_BYTES
            del fake.answers["block/get"]
            assert await network.fetch(CID) == DATA

    tracemalloc.start()
    try:
        run(test)
        assert tracemalloc.get_traced_memory()[1] < MUCH_BYTES * 2
    finally:
        tracemalloc.stop()


# --- streams -------------------------------------------------------------------------------------------------------

FIRST: dict[str, bytes] = {
    "a huge line": b"1" * (1 << 20),
    "another peer": peer_id_of(bytes(32)).encode() + b"\nhello",
    "no peer id": b"hello\nhello",
    "an empty line": b"\nhello",
    "not UTF-8": b"\xff\xfe\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "half a line": BOB_ID.encode()[:20],
    "spaces": b" " + BOB_ID.encode() + b" \nhello",
    "the daemon itself": b"12D3KooWQk8cqKYnNHwb4TuLjDsctU9HKG63xKLUraBqTGTGx7Jd\nhello",
    "nothing": b"",
}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_a_local_process_that_is_not_the_daemon(
    fake: ScriptedKubo, first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C36: who connects to our port and does not say which connected peer it is for is dropped; others are served."""
    monkeypatch.setattr(streams, "LINE_WAIT_S", 1.0)

    async def test() -> None:
        fake.peers = [BOB_ID]
        async with started(fake) as network:
            await until(lambda: list(network.connected()) == [BOB_ID])
            async with incoming(fake, first) as stranger:
                await echoes(fake)
                with trio.fail_after(NO_ANSWER_S):
                    assert await is_dropped(stranger)
            await echoes(fake)

    run(test)


async def is_dropped(stream: trio.SocketStream) -> bool:
    """Waits for the end; whether it came without a word."""
    try:
        return not await stream.receive_some(1)
    except trio.BrokenResourceError:
        return True


@pytest.mark.slow
def test_a_crowd_of_local_processes(fake: ScriptedKubo, monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: many that say nothing, or half a line, hold up nobody, and all of them are dropped."""
    monkeypatch.setattr(streams, "LINE_WAIT_S", 1.0)

    async def test() -> None:
        fake.peers = [BOB_ID]
        async with started(fake) as network:
            await until(lambda: list(network.connected()) == [BOB_ID])
            async with AsyncExitStack() as crowd:
                firsts = [b"12D3" if number % 2 else b"" for number in range(200)]
                strangers = [await crowd.enter_async_context(incoming(fake, first)) for first in firsts]
                await echoes(fake)
                with trio.fail_after(NO_ANSWER_S):
                    for stranger in strangers:
                        assert await is_dropped(stranger)
            await echoes(fake)

    run(test)


def test_one_that_dies_before_it_is_heard(fake: ScriptedKubo) -> None:
    """C36: a connection that is reset before, in, and right after its line."""

    async def test() -> None:
        fake.peers = [BOB_ID]
        async with started(fake) as network:
            await until(lambda: list(network.connected()) == [BOB_ID])
            for first in (b"", b"12D3", BOB_ID.encode() + b"\n", BOB_ID.encode() + b"\nhello") * 5:
                async with incoming(fake, first) as stream:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await echoes(fake)

    run(test)


def test_streams_of_one_peer_are_limited(fake: ScriptedKubo, monkeypatch: pytest.MonkeyPatch) -> None:
    """C36: one too many is dropped, another peer's is served, and so is the next when one has ended."""
    monkeypatch.setattr(Limits, "max_streams_per_peer", 3)
    other = peer_id_of(bytes([7]) * 32)

    async def test() -> None:
        fake.peers = [BOB_ID, other]
        async with started(fake) as network:
            await until(lambda: set(network.connected()) == {BOB_ID, other})
            hello = BOB_ID.encode() + b"\nhello"
            async with AsyncExitStack() as streams:
                for _ in range(2):
                    stream = await streams.enter_async_context(incoming(fake, hello))
                    assert await stream.receive_some(5) == b"hello"
                async with incoming(fake, hello) as last:
                    assert await last.receive_some(5) == b"hello"
                    async with incoming(fake, hello) as refused:
                        assert await is_dropped(refused)
                    async with incoming(fake, other.encode() + b"\nhello") as stream:
                        assert await stream.receive_some(5) == b"hello"
                    await last.send_eof()
                    assert await last.receive_some(5) == b""
                await echoes(fake)

    run(test)


MAPPED: list[object] = [None, {"Listeners": None}, {"Listeners": [{"Protocol": PROTOCOL}]}, {"Listeners": 7}] + [
    {"Listeners": [{"Protocol": PROTOCOL, "ListenAddress": address, "TargetAddress": f"/p2p/{BOB_ID}"}]}
    for address in (
        "/ip4/192.0.2.1/tcp/4001",
        "/ip4/127.0.0.1/tcp/0",
        "/ip4/127.0.0.1/tcp/70000",
        "/dns/x/tcp/1",
        7,
        "",
    )
]


@pytest.mark.parametrize("mapped", MAPPED)
def test_it_lies_about_where_a_stream_begins(fake: ScriptedKubo, mapped: object) -> None:
    """C36: a stream is opened on loopback or not at all: no daemon has us connect to another machine."""

    async def test() -> None:
        fake.peers = [BOB_ID]
        async with started(fake) as network:
            await until(lambda: list(network.connected()) == [BOB_ID])
            fake.answers["p2p/ls"] = told(mapped)
            with trio.fail_after(NO_ANSWER_S), pytest.raises(UnavailableError):
                await network.open_stream(BOB_ID, PROTOCOL)

    run(test)
