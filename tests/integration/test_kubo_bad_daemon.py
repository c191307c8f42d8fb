"""Nodes on a daemon that is away, refuses, or goes: they go on offline, say why, and are online when it is there again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from tests.integration.test_kubo_bad_input import failure, run
from tests.suites.bad_answers import PUBSUB_OFF, Answer, raw, refused, silent, text, told
from tests.suites.bad_kubo import KuboBetween, ScriptedKubo
from tests.suites.kubo_daemon import Daemon, free_port
from tests.suites.networks import ALICE, BOB, CHANNEL
from tests.suites.nodes import assert_sound, join, payloads, until, until_same
from walytis_core import Node, copying
from walytis_core.errors import UnavailableError
from walytis_core.network.kubo import KuboNetwork, blocks, peers

pytestmark = pytest.mark.slow

SECRET = "s3cr3t-t0k3n"
CLOSED_WITHIN_S = 5.0
BLOCKS = 4000
"""Enough that a join takes a second or more."""

Kubo = Callable[..., Daemon]


@pytest.fixture
def fake() -> Iterator[ScriptedKubo]:
    with ScriptedKubo() as scripted:
        yield scripted


def on(directory: Path, url: str, token: str | None = None) -> Node:
    """A node on the daemon at this address."""
    return Node.open(directory, network=KuboNetwork(url, token=token))


def is_up(node: Node) -> bool:
    return node.stats.network == "up"


# --- without a real one ------------------------------------------------------------------------------------------

AILMENTS: dict[str, tuple[dict[str, Answer], str]] = {
    "pubsub is off": ({"pubsub/ls": PUBSUB_OFF}, "pubsub"),
    "forbidden": ({"": text("403 - Forbidden", "403 Forbidden")}, "RPC"),
    "not Kubo": ({"": text("<p>It works!")}, "not the RPC of a Kubo daemon"),
    "nothing": ({"": raw(b"")}, "daemon"),
}


@pytest.mark.parametrize(("answers", "said"), AILMENTS.values(), ids=AILMENTS)
def test_a_node_goes_on_offline(fake: ScriptedKubo, answers: dict[str, Answer], said: str, tmp_path: Path) -> None:
    """C37: it reads and appends, says why it is not online, and is so once the daemon does as it should."""
    fake.answers |= answers
    with on(tmp_path / "node", fake.url, SECRET) as node:
        chain = node.create_chain("offline")
        chain.append(b"one")
        until(lambda: said in node.stats.network, what=node.stats.network)
        with pytest.raises(UnavailableError) as raised:
            node.addresses()
        assert raised.value.hint
        assert SECRET not in f"{raised.value}{raised.value.hint}{node.stats}{node!r}"
        with pytest.raises(UnavailableError):
            node.connect("/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWQk8cqKYnNHwb4TuLjDsctU9HKG63xKLUraBqTGTGx7Jd").result(30)
        chain.append(b"two")
        assert payloads(chain) == [b"one", b"two"]
        fake.answers.clear()
        until(lambda: is_up(node))
        assert node.peer_id == fake.peer_id
        assert node.addresses() == fake.addresses
        until(lambda: len(fake.listeners) == 2)
        chain.append(b"three")
        assert_sound(chain)
    assert not fake.listeners


def test_opened_while_the_daemon_is_away(fake: ScriptedKubo, tmp_path: Path) -> None:
    """C37: it comes online by itself, also after the daemon was away again."""
    fake.go()
    with on(tmp_path / "node", fake.url) as node:
        chain = node.create_chain("offline")
        until(lambda: "No Kubo daemon answers" in node.stats.network)
        chain.append(b"one")
        for _ in range(2):
            fake.come()
            until(lambda: is_up(node) and len(fake.listeners) == 2)
            chain.append(b"two")
            fake.go()
        until(lambda: not is_up(node), what="the node says that the daemon is away")
        chain.append(b"three")
        assert_sound(chain)


COPYING: dict[str, dict[str, Answer]] = {
    "refused": {"dag/import": refused("no space left on device")},
    "a lie": {"dag/import": told({"Stats": {"BlockCount": 0}})},
    "no answer": {"dag/import": raw(b"")},
    "pins are refused": {"pin/add": refused("no space left on device")},
    "a page": {"dag/import": text("<p>"), "pin/add": text("<p>"), "pin/ls": text("<p>")},
}


@pytest.mark.parametrize("answers", COPYING.values(), ids=COPYING)
def test_copies_that_are_not_taken(
    fake: ScriptedKubo, answers: dict[str, Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C44: a public chain goes on; all its blocks are in the daemon, pinned, once it takes them."""
    monkeypatch.setattr(copying, "_RETRY_S", 0.5)
    fake.answers |= answers
    with on(tmp_path / "node", fake.url) as node:
        chain = node.create_chain("public", readers="everyone")
        blocks = [chain.append(b"%d" % number) for number in range(10)]
        until(lambda: any(fake.count(path) >= 2 for path in answers))
        assert len(fake.calls) < 100, "it is tried again without haste"
        fake.answers.clear()
        wanted = {str(block.id) for block in blocks} | {str(chain.id)}
        until(lambda: wanted <= fake.pins.keys() and wanted <= set(fake.blocks))
        assert_sound(chain)
        node.delete_chain(chain)


def test_a_frozen_daemon_holds_up_no_append(
    fake: ScriptedKubo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C38: nothing is answered any more, and no connection ends: the node goes on, and says so in the end."""
    monkeypatch.setattr(blocks, "_WAIT_S", 3.0)  # what was under way is given up after that
    monkeypatch.setattr(peers, "LOOK_WAIT_S", 0.5)
    with on(tmp_path / "node", fake.url) as node:
        secret, public = node.create_chain("secret"), node.create_chain("public", readers="everyone")
        until(lambda: is_up(node) and len(fake.listeners) == 2)
        fake.answers[""] = silent
        began = time.monotonic()
        for number in range(50):
            secret.append(b"%d" % number)
            public.append(b"%d" % number)
        assert time.monotonic() - began < CLOSED_WITHIN_S
        until(lambda: not is_up(node))
        fake.answers.clear()
        until(lambda: is_up(node))
        until(lambda: str(public.heads[0]) in fake.pins)


@pytest.mark.parametrize("path", ["", "version", "p2p/listen", "p2p/close", "swarm/peers"])
def test_closing_while_nothing_is_answered(fake: ScriptedKubo, tmp_path: Path, path: str) -> None:
    """C46: a daemon that says no word holds nobody up."""
    fake.answers[path] = silent
    with on(tmp_path / "node", fake.url) as node:
        until(lambda: is_up(node) if path == "p2p/close" else fake.count(path) or (not path and fake.calls))
        began = time.monotonic()
        node.close()
        assert time.monotonic() - began < CLOSED_WITHIN_S


def test_a_second_node_on_one_daemon(fake: ScriptedKubo, tmp_path: Path) -> None:
    """C36: the second says so and goes on offline; when the first is closed, it takes its place."""
    with ExitStack() as first:
        one = first.enter_context(on(tmp_path / "first", fake.url))
        until(lambda: is_up(one))
        with on(tmp_path / "second", fake.url) as two:
            until(lambda: "Another node" in two.stats.network)
            two.create_chain("offline").append(b"one")
            assert is_up(one)
            first.close()
            until(lambda: is_up(two))


def test_a_join_waits_for_the_daemon_and_leaves_nothing_behind(fake: ScriptedKubo, tmp_path: Path) -> None:
    """C40: cancelled while the daemon is away, there is no chain, and no key of one."""
    with Node.in_memory() as inviter, on(tmp_path / "node", fake.url) as node:
        until(lambda: is_up(node))
        keys = set((tmp_path / "node" / "keys").iterdir())
        fake.go()
        pending = node.join(str(inviter.create_chain("there").invite()))
        until(lambda: not is_up(node))
        assert not pending.done()
        assert pending.cancel()
        assert not node.chains()
        until(lambda: set((tmp_path / "node" / "keys").iterdir()) == keys)
    with on(tmp_path / "node", fake.url) as node:
        assert not node.chains()
        assert not node.damaged()


# --- with a real one ---------------------------------------------------------------------------------------------


@pytest.mark.kubo
def test_what_is_switched_off(kubo: Kubo) -> None:
    """C37: a real daemon's own words are understood; the hint has the command."""
    assert "ipfs config --json Pubsub.Enabled true" in failure(KuboNetwork(kubo(pubsub=False).api_url)).hint
    assert "ipfs config --json Experimental.Libp2pStreamMounting true" in failure(
        KuboNetwork(kubo(streams=False).api_url)
    ).hint  # fmt: skip


@pytest.mark.kubo
def test_other_ports_of_a_real_daemon(kubo: Kubo) -> None:
    """C36: its gateway and its swarm are not its RPC."""
    gateway = free_port()
    daemon = kubo(config={"Addresses.Gateway": f"/ip4/127.0.0.1/tcp/{gateway}"})
    for port in (gateway, daemon.addresses[0].split("/")[4]):
        assert "5001" in failure(KuboNetwork(f"http://127.0.0.1:{port}")).hint


@pytest.mark.kubo
def test_a_real_daemon_that_asks_for_a_token(kubo: Kubo) -> None:
    """C36: with the right one, as a token or a password in the URL, it works; else the hint asks for it."""
    allowed = {"AllowedPaths": ["/api/v0"]}
    daemon = kubo(
        config={
            "API.Authorizations": {
                "one": {"AuthSecret": f"bearer:{SECRET}", **allowed},
                "two": {"AuthSecret": f"basic:someone:{SECRET}", **allowed},
            }
        }
    )
    url = daemon.api_url

    async def works(network: KuboNetwork) -> None:
        async with network.running(ALICE):
            assert network.peer_id == daemon.peer_id
            await network.subscribe(CHANNEL)
            await network.publish(CHANNEL, b"x")

    run(lambda: works(KuboNetwork(url, token=SECRET)))
    run(lambda: works(KuboNetwork(url.replace("://", f"://someone:{SECRET}@"))))
    for wrong in (
        KuboNetwork(url),
        KuboNetwork(url, token=SECRET + "x"),
        KuboNetwork(url.replace("://", "://someone:wrong@")),
    ):
        error = failure(wrong)
        assert "token" in error.hint
        assert SECRET not in f"{error}{error.hint}"


LIVES = """
import sys, threading
from walytis_core import Node
from walytis_core.network.kubo import KuboNetwork
node = Node.open(sys.argv[1], network=KuboNetwork(sys.argv[2]))
node.addresses()
print("up", flush=True)
threading.Event().wait()
"""


@pytest.mark.kubo
def test_a_real_daemon_after_a_node_was_killed(kubo: Kubo, tmp_path: Path) -> None:
    """C37: what the killed process left at the daemon is taken over, and cleared away at the end."""
    daemon = kubo()

    def listening() -> list[str]:
        return sorted(daemon.ipfs("p2p", "ls").splitlines())

    command = [sys.executable, "-c", LIVES, str(tmp_path / "node"), daemon.api_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            held = listening()
            with on(tmp_path / "other", daemon.api_url) as other:
                until(lambda: "Another node" in other.stats.network)
            assert listening() == held
        finally:
            process.kill()
    assert listening() == held
    with on(tmp_path / "node", daemon.api_url) as node:
        until(lambda: is_up(node))
        assert not set(listening()) & set(held)
    assert not listening()


@pytest.mark.kubo
def test_calls_to_a_real_daemon_break_off(kubo: Kubo, tmp_path: Path) -> None:
    """C37: every connection to the RPC ends, again and again; blocks go on both ways."""
    one, two = kubo(), kubo()
    with (
        KuboBetween(one.api_url) as between,
        on(tmp_path / "one", between.url) as alice,
        on(tmp_path / "two", two.api_url) as bob,
    ):
        mine = alice.create_chain("there")
        theirs = join(bob, mine)
        for number in range(5):
            between.drop()
            mine.append(b"%d" % number)
            theirs.append(b"%d" % number)
        until_same(mine, theirs, count=10)
        between.go()
        theirs.append(b"while it is away")
        between.come()
        mine.append(b"again")
        until_same(mine, theirs, count=12)
        assert_sound(mine)


@pytest.fixture
def inviting(kubo: Kubo, tmp_path: Path) -> Iterator[Node]:
    """A node on a daemon of its own, with a chain that takes a while to join."""
    with on(tmp_path / "inviter", kubo().api_url) as node:
        chain = node.create_chain("there")
        for _ in range(BLOCKS // 100):
            chain.append_many([os.urandom(2000)] * 100)
        yield node


@pytest.mark.kubo
@pytest.mark.parametrize("moment", ["before", "at once", "half way"])
def test_a_real_daemon_goes_away_during_a_join(inviting: Node, kubo: Kubo, tmp_path: Path, moment: str) -> None:
    """C37, C40: cancelled then, nothing is left; else it goes on when the daemon is back."""
    daemon, chain = kubo(), inviting.chain("there")
    with on(tmp_path / "node", daemon.api_url) as node:
        until(lambda: is_up(node))
        keys = set((tmp_path / "node" / "keys").iterdir())
        for cancelled in (True, False):
            if moment == "before":
                daemon.kill()
            pending = node.join(str(chain.invite()))
            if moment == "half way":
                until(lambda: pending.progress().held > BLOCKS // 20)  # noqa: B023 - asked at once
            daemon.kill()
            assert not pending.done()
            if cancelled:
                assert pending.cancel()
                assert not node.chains()
                until(lambda: set((tmp_path / "node" / "keys").iterdir()) == keys)
            daemon.start()
            if not cancelled:
                joined = pending.result(60)
                until_same(chain, joined, count=BLOCKS)
                assert_sound(joined)


@pytest.mark.kubo
def test_a_real_subscription_that_ends(kubo: Kubo) -> None:
    """C37: the daemon ends every stream of its RPC; messages go on."""
    one, two = kubo(), kubo()
    one.connect(two.addresses)

    async def test() -> None:
        with KuboBetween(one.api_url) as between:
            alice, bob = KuboNetwork(between.url), KuboNetwork(two.api_url)
            async with alice.running(ALICE), bob.running(BOB):
                inbox = await alice.subscribe(CHANNEL)
                for number in range(3):
                    with trio.fail_after(30):
                        data = b"%d" % number
                        while True:
                            await bob.publish(CHANNEL, data)
                            with trio.move_on_after(0.2):
                                if (await inbox.receive()).data == data:
                                    break
                    between.drop()

    run(test)
