"""`walytis run`: a node that stays, and the commands that reach it through its local socket."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import stat
import subprocess

import psutil
import pytest

from frontends.directory import socket_path
from frontends.offline import Offline
from tests.suites.command import COMMAND, WAIT_S, answer, environment, failure, lines, running, started, walytis
from walytis_core import InUseError, InvalidInputError, Node
from walytis_core.network.libp2p import Libp2pNetwork

pytestmark = [pytest.mark.slow, pytest.mark.libp2p]


@pytest.fixture
def directory(tmp_path):
    """A directory with a chain of six blocks."""
    with Node.open(tmp_path / "data", network=Offline()) as node:
        chain = node.create_chain("notes")
        for number in range(5):
            chain.append(b"block %d" % number, topics=["t"])
        chain.append(os.urandom(200_000))
    return tmp_path / "data"


def outputs(directory, id):
    commands = [
        ["list"], ["log", "notes"], ["log", "notes", "--topic", "t", "-n", "2", "--oldest-first", "--json"],
        ["show", "notes", id, "--json"], ["graph", "notes"], ["graph", "notes", "--json"], ["verify", "--json"],
        ["invitations", "notes", "--json"], ["log", "none"], ["show", "notes", "nothing1", "--json"],
        ["append", "notes", "x", "--topic", "\udcff", "--json"],
    ]  # fmt: skip
    done = [walytis(directory, *command) for command in commands]
    done.append(walytis(directory, "show", "notes", id, "--raw"))
    return [(one.returncode, one.stdout, one.stderr) for one in done]


def test_both_ways_give_the_same_output(directory):
    """C51: through the socket of `walytis run`, or by opening the directory: the same output, to the byte."""
    id = lines(directory, "log", "notes", "-n", "1")[0]["id"]
    alone = outputs(directory, id)
    with running(directory):
        assert outputs(directory, id) == alone


def test_what_is_appended_through_the_socket_is_on_disk(directory):
    """C51: and content of any size goes through it."""
    with running(directory):
        small = answer(directory, "append", "notes", "through the socket", "--topic", "new")
        long = answer(directory, "append", "notes", stdin=bytes(3_000_000))
    assert lines(directory, "log", "notes", "-n", "2") == [long, small]
    assert walytis(directory, "show", "notes", long["id"], "--raw").stdout == bytes(3_000_000)


def test_one_end_of_the_keyboards_input_is_enough(directory):
    """C51: through the socket, too."""
    with running(directory):
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [*COMMAND, "append", "notes", "--json", "--data-dir", str(directory)],
            stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(directory.parent),
        ) as asked:  # fmt: skip
            os.write(ours, b"typed\n\x04")
            try:
                out, err = asked.communicate(timeout=WAIT_S)
            finally:
                asked.kill()
        os.close(ours)
        os.close(theirs)
        assert asked.returncode == 0, err.decode()
        assert json.loads(out)["payload"] == "typed\n"


def test_the_socket_is_its_owners_and_is_gone_at_the_end(directory):
    """C51, C46: mode 0600 in a folder of mode 0700; nothing is left of it, nor of the ready file."""
    ready_file = directory.parent / "ready.json"
    path = socket_path(directory)
    with running(directory, "--ready-file", str(ready_file)) as process:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert json.loads(ready_file.read_text())["pid"] == process.pid
        assert json.loads(ready_file.read_text())["addresses"]
    assert not path.exists()
    assert not ready_file.exists()
    assert not psutil.pid_exists(process.pid) or psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_callers_waiting(directory, number):
    """C46: also while others follow a chain through it."""
    with running(directory) as process, started(directory, "follow", "notes", "--name", "x", "--json") as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline()
        process.send_signal(number)
        assert process.wait(WAIT_S) == 0
        _, err = follower.communicate(timeout=WAIT_S)
        assert follower.returncode == 4
        assert json.loads(err)["error"] == "UnavailableError"


def test_a_directory_in_use_is_said_to_be(directory):
    """C28: a second process gets `InUseError` at once."""
    with running(directory):
        assert failure(directory, "run")["error"] == "InUseError"
        with pytest.raises(InUseError):
            Node.open(directory)
    with Node.open(directory):
        told = failure(directory, "list")
    assert (told["error"], told["exit_code"]) == ("InUseError", 3)
    assert "walytis run" in told["hint"]


def test_what_a_killed_one_left_is_replaced(directory):
    """C28: the lock and the socket of a dead process are taken over."""
    with started(directory, "run", "--json") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.kill()
        process.wait(WAIT_S)
    assert socket_path(directory).is_socket()
    assert len(answer(directory, "list")["chains"]) == 1
    with running(directory):
        assert len(answer(directory, "list")["chains"]) == 1


def test_a_long_path_has_a_short_socket(tmp_path):
    """C51: the kernel takes no socket path above about 100 bytes."""
    directory = tmp_path / ("long" * 30)
    path = socket_path(directory)
    assert not path.is_relative_to(directory)
    with running(directory):
        assert path.is_socket()
        answer(directory, "create", "notes")
    assert not path.exists()
    assert len(answer(directory, "list")["chains"]) == 1


def test_nonsense_on_the_socket_ends_nothing(directory):
    """C36: whatever a caller sends, the others are served."""
    with running(directory):
        for line in (b"\x00" * 100_000, b"{}\n", b'{"verb": "list", "arguments": {"x": 1}}\n', b"[" * 50_000 + b"\n"):
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(WAIT_S)
                caller.connect(str(socket_path(directory)))
                caller.sendall(line)
                caller.shutdown(socket.SHUT_WR)
                assert b"failure" in caller.recv(1 << 20)
        assert len(answer(directory, "list")["chains"]) == 1


def test_a_chain_goes_from_one_command_to_another(directory, tmp_path):
    """C51: invite, join, append and follow, all by commands, between two directories."""
    other = tmp_path / "other"
    with running(directory):
        made = answer(directory, "invite", "notes")
        assert made["served"] is True
        steps = lines(other, "join", made["invitation"], "--name", "theirs")
        assert (steps[-1]["event"], steps[-1]["blocks"], steps[-1]["name"]) == ("joined", 6, "theirs")
        with started(directory, "follow", "notes", "--name", "inbox", "--limit", "7", "--json") as follower:
            sent = answer(other, "append", "theirs", "from the other", "--wait", "20")
            assert sent["peers"] == 1
            out, err = follower.communicate(timeout=WAIT_S)
        assert follower.returncode == 0, err.decode()
        assert [json.loads(line)["id"] for line in out.splitlines()][-1] == sent["id"]
        used = walytis(tmp_path / "third", "join", made["invitation"], "--json")
        assert (json.loads(used.stderr)["error"], used.returncode) == ("JoinError", 5)
    alone = walytis(directory, "append", "notes", "alone", "--wait", "0.5", "--json")
    assert alone.returncode == 4
    assert json.loads(alone.stdout)["peers"] == 0


@pytest.mark.timeout(120)
def test_long_content_is_fetched_by_a_command(directory, tmp_path):
    """C51: `show` says that it is not here, and `--raw` brings it from whoever has it; alone, it says that nobody has."""
    other = tmp_path / "other"
    block = lines(directory, "log", "notes", "-n", "1")[0]
    mine = walytis(directory, "show", "notes", block["id"], "--raw").stdout
    with running(directory):
        lines(other, "join", answer(directory, "invite", "notes")["invitation"])
    assert answer(other, "show", "notes", block["id"])["held"] is False
    alone = walytis(other, "show", "notes", block["id"], "--raw", "--timeout", "0")
    assert (alone.returncode, alone.stdout) == (4, b"")
    with running(directory):
        assert walytis(other, "show", "notes", block["id"], "--raw").stdout == mine
    assert answer(other, "show", "notes", block["id"])["held"] is True
    assert len(mine) == block["size"]


def test_a_named_follower_goes_on_where_it_was_killed(directory):
    """C16: at least once, and never again after it was taken."""
    with running(directory):
        with started(directory, "follow", "notes", "--name", "inbox", "--json") as follower:
            assert follower.stdout is not None
            written = [follower.stdout.readline() for _ in range(3)]
            follower.kill()
            written += follower.stdout.readlines()  # it may have gone on meanwhile, and these are taken as well
        first = [json.loads(line)["id"] for line in written if line.endswith(b"\n")]
        answer(directory, "append", "notes", "not seen yet")
        everything = [block["id"] for block in lines(directory, "log", "notes", "--oldest-first")]
        rest: list[str] = []
        with started(directory, "follow", "notes", "--name", "inbox", "--json") as follower:
            assert follower.stdout is not None
            while not rest or rest[-1] != everything[-1]:
                rest.append(json.loads(follower.stdout.readline())["id"])
        assert first == everything[: len(first)]
        assert rest == everything[len(everything) - len(rest) :]
        assert len(rest) < len(everything)
        assert set(first) | set(rest) == set(everything)


def test_an_invitation_says_whether_others_can_use_it(directory):
    """C51: a node on loopback is reached from this machine alone."""
    with running(directory, "--listen", "/ip4/127.0.0.1/tcp/0"):
        assert answer(directory, "invite", "notes")["local_only"] is True


@pytest.mark.parametrize(
    "listen", ["/ip4/127.0.0.1/tcp/0", ["foo"], ["/ip4/127.0.0.1/tcp/99999"], ["/dns/x/tcp/1"], [7]]
)
def test_what_cannot_be_listened_on_is_refused_at_once(listen):
    """C47: before anything is started or loaded."""
    with pytest.raises(InvalidInputError) as refused:
        Libp2pNetwork(listen=listen)
    assert refused.value.hint
