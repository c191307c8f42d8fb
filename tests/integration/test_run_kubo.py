"""The commands with `--kubo`: `walytis run` on a real daemon, commands that go online by one, and what the doctor says of one."""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.suites.command import WAIT_S, answer, failure, lines, running, started, walytis
from tests.suites.kubo_daemon import Daemon, free_port, version
from tests.suites.nodes import until

pytestmark = [pytest.mark.slow, pytest.mark.libp2p]

Kubo = Callable[..., Daemon]
TOKEN = "correct-horse"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with a public chain of one block."""
    answer(tmp_path / "data", "create", "notes", "--readers", "everyone")
    answer(tmp_path / "data", "append", "notes", "first")
    return tmp_path / "data"


def findings(directory: Path, *arguments: str, **variables: str) -> dict[str, dict[str, Any]]:
    """What the doctor finds about a daemon, by check."""
    told = walytis(directory, "doctor", "--json", *arguments, stdin=b"", **variables)
    found = json.loads(told.stdout)["findings"]
    assert told.returncode == (6 if any(each["level"] == "bad" for each in found) else 0)
    names = [each["check"] for each in found]
    return {each["check"]: each for each in found[names.index("Kubo") :]}


def levels(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {check: each["level"] for check, each in found.items()}


# --- walytis run -----------------------------------------------------------------------------------------------------


def test_a_node_that_stays_says_which_daemon_it_is_on(directory: Path, kubo: Kubo) -> None:
    """C43, C46: version, peer and addresses are the daemon's; its blocks are there; what was ours in it is gone at the end."""
    daemon = kubo()
    with started(directory, "run", "--kubo", daemon.api_url, "--json") as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["kubo"] == {"url": daemon.api_url, "version": version(), "peer": daemon.peer_id}
        assert ready["addresses"] == list(daemon.addresses)
        (block,) = lines(directory, "log", "notes")
        until(lambda: daemon.has(block["id"]))
        assert walytis(directory, "invite", "notes", "--kubo", daemon.api_url, "--json").stderr == b""
        assert levels(findings(directory, "--kubo", daemon.api_url))["one node"] == "ok"
        other = failure(directory.with_name("other"), "run", "--kubo", daemon.api_url)
        assert (other["error"], other["exit_code"]) == ("UnavailableError", 4)
        assert "Another node" in other["message"]
        assert not directory.with_name("other").exists()
        assert levels(findings(directory.with_name("other"), "--kubo", daemon.api_url))["one node"] == "bad"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    assert daemon.ipfs("p2p", "ls") == ""
    assert daemon.ipfs("pubsub", "ls") == ""


def test_a_person_reads_it_too(directory: Path, kubo: Kubo) -> None:
    daemon = kubo()
    with started(directory, "run", "--kubo", daemon.api_url) as process:
        assert process.stdout is not None
        assert (
            process.stdout.readline().decode().startswith(f"Online by Kubo {version()} at {daemon.api_url}; chains: 1.")
        )
        assert process.stdout.readline().decode().strip() == daemon.addresses[0]
        daemon.stop()
        assert process.stdout.readline().startswith(b"Not online: ")
        daemon.start()
        assert process.stdout.readline() == b"Online again.\n"


def test_a_daemon_that_goes_and_comes_is_told(directory: Path, kubo: Kubo) -> None:
    """C37: on standard output, and by `status`; writing goes on meanwhile."""
    daemon = kubo()
    with started(directory, "run", "--kubo", daemon.api_url, "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "ready"
        assert answer(directory, "status")["node"]["network"] == "up"
        daemon.stop()
        lost = json.loads(process.stdout.readline())
        assert lost["event"] == "network"
        assert daemon.api_url in lost["network"]
        status = answer(directory, "status")
        assert status["node"]["network"] == lost["network"]
        assert (status["running"], status["online"]) == (True, False)
        assert status["chains"][0]["status"]["copied"] is False
        assert b"running, not online" in walytis(directory, "status").stdout
        late = answer(directory, "append", "notes", "meanwhile")
        daemon.start()
        assert json.loads(process.stdout.readline()) == {"event": "network", "network": "up"}
        status = answer(directory, "status")
        assert status["node"]["network"] == "up"
        assert (status["running"], status["online"]) == (True, True)
        until(lambda: daemon.has(late["id"]))
        until(lambda: answer(directory, "status")["chains"][0]["status"]["copied"])
        assert b"all of it is in the daemon" in walytis(directory, "status").stdout


def test_it_does_not_start_without_the_daemon(tmp_path: Path) -> None:
    """C37: says where it looked, and makes no directory."""
    url = f"http://127.0.0.1:{free_port()}"
    for arguments in (["run"], ["join", "walytis:nonsense"]):
        told = failure(tmp_path / "none", *arguments, "--kubo", url)
        assert told["hint"]
    told = failure(tmp_path / "none", "run", "--kubo", url)
    assert (told["error"], told["exit_code"]) == ("UnavailableError", 4)
    assert url in told["message"]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--kubo", "http://127.0.0.1:1", "--listen", "/ip4/127.0.0.1/tcp/0"], 2),
        (["--kubo", "http://127.0.0.1:1", "--mdns"], 2),
        (["--kubo", "127.0.0.1:5001"], 2),
        (["--kubo", "http://192.0.2.1:5001"], 2),
        (["--kubo", f"http://me:{TOKEN}@127.0.0.1:1"], 2),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(tmp_path: Path, arguments: list[str], code: int) -> None:
    """C47: and no password is taken where the whole machine can read it."""
    told = failure(tmp_path / "none", "run", *arguments)
    assert told["exit_code"] == code
    assert TOKEN not in json.dumps(told)
    assert not (tmp_path / "none").exists()


# --- other commands --------------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_commands_go_online_by_a_daemon_themselves(directory: Path, kubo: Kubo, tmp_path: Path) -> None:
    """C44, C51: no `walytis run` of theirs goes on; the other end is an embedded node."""
    other, on = tmp_path / "other", ("--kubo", kubo().api_url)
    (tmp_path / "long").write_bytes(bytes(range(256)) * 800)
    with running(directory):
        uri = answer(directory, "invite", "notes")["invitation"]
        assert lines(other, "join", uri, *on)[-1]["event"] == "joined"
        assert answer(other, "append", "notes", "by the daemon", "--wait", "30", *on)["peers"] == 1
        long = answer(directory, "append", "notes", "--file", str(tmp_path / "long"))
        with started(other, "follow", "notes", "--name", "inbox", "--limit", "3", "--json", *on) as follower:
            out, err = follower.communicate(timeout=WAIT_S)
            assert follower.returncode == 0, err.decode()
        assert json.loads(out.splitlines()[-1])["id"] == long["id"]
        assert walytis(other, "show", "notes", long["id"], "--raw", *on).stdout == (tmp_path / "long").read_bytes()
        made = answer(other, "invite", "notes", WALYTIS_KUBO=on[1])
    assert made["local_only"] is True


def test_what_is_to_be_kept_going_is_on_the_same_network(directory: Path, kubo: Kubo) -> None:
    """C51: an invitation made by a daemon is of no use to a node beside it, so the hints name the daemon."""
    url = kubo().api_url
    for arguments in (["invite", "notes"], ["append", "notes", "x", "--wait", "0"]):
        told = walytis(directory, *arguments, "--kubo", url).stderr.decode()
        assert f"`walytis run --kubo {url} --data-dir {directory}`" in told
        told = walytis(directory, *arguments, WALYTIS_KUBO=url).stderr.decode()
        assert f"`walytis run --data-dir {directory}`" in told, "the environment names it there, too"
        told = walytis(directory, *arguments).stderr.decode()
        assert f"`walytis run --data-dir {directory}`" in told


def test_how_to_be_reached_is_told_of_the_network_in_use(directory: Path, kubo: Kubo) -> None:
    """C51: of a node that runs, whatever the command was told."""
    url = kubo().api_url

    def told(*arguments: str) -> str:
        return walytis(directory, "invite", "notes", *arguments).stderr.decode()

    assert "Addresses.Swarm" in told("--kubo", url)
    assert "--listen" not in told("--kubo", url)
    assert "`walytis run --listen" in told()
    assert "Swarm" not in told()
    with running(directory):
        assert "`walytis run --listen" in told("--kubo", url)
    with running(directory, "--kubo", url):
        assert "Addresses.Swarm" in told()


def test_a_command_says_that_the_daemon_will_not_do(directory: Path) -> None:
    """C37: at once, and as the reason: not as nobody who is online."""
    url = f"http://127.0.0.1:{free_port()}"
    for arguments in (["append", "notes", "x", "--wait", "30"], ["follow", "notes"], ["invite", "notes"]):
        told = failure(directory, *arguments, "--kubo", url)
        assert (told["error"], told["exit_code"]) == ("UnavailableError", 4)
        assert url in told["message"]
    assert len(lines(directory, "log", "notes", "--json")) == 1, "and nothing was appended"


def test_a_running_node_keeps_the_network_it_has(directory: Path) -> None:
    """C51: a command that was told to use a daemon says so, and goes on."""
    url = "http://127.0.0.1:1"
    with running(directory):
        done = walytis(directory, "invite", "notes", "--kubo", url, "--json")
        assert json.loads(done.stdout)["served"] is True
        said = json.loads(done.stderr)
        assert "libp2p" in said["warning"]
        assert f"`walytis run --kubo {url} --data-dir {directory}`" in said["hint"]
        plain = walytis(directory, "append", "notes", "x", "--wait", "0", WALYTIS_KUBO=url)
        assert b"--kubo changes nothing" in plain.stderr
        assert walytis(directory, "append", "notes", "x", WALYTIS_KUBO=url).stderr == b""  # it does not go online


# --- the doctor ------------------------------------------------------------------------------------------------------


def commands_in(found: Sequence[dict[str, Any]]) -> list[str]:
    return [command for each in found for command in re.findall(r"`ipfs ([^`]*)`", each["remedy"])]


def test_what_the_doctor_says_helps(tmp_path: Path, kubo: Kubo) -> None:
    """C43: a daemon as Kubo makes it lacks two settings; with those that the doctor names, a node runs on it."""
    daemon = kubo(pubsub=False, streams=False)
    found = findings(tmp_path / "data", "--kubo", daemon.api_url)
    assert levels(found) == {"Kubo": "ok", "addresses": "ok", "pubsub": "bad", "streams": "bad", "peers": "warn"}
    assert version() in found["Kubo"]["found"]
    assert daemon.peer_id in found["addresses"]["found"]
    refused = failure(tmp_path / "data", "run", "--kubo", daemon.api_url)
    assert commands_in([{"remedy": refused["hint"]}]) == commands_in([found["pubsub"], found["streams"]])
    assert not (tmp_path / "data").exists()
    for command in commands_in([each for each in found.values() if each["level"] == "bad"]):
        daemon.ipfs(*shlex.split(command))
    daemon.stop()
    daemon.start()
    daemon.connect(kubo().addresses)
    assert set(levels(findings(tmp_path / "data", WALYTIS_KUBO=daemon.api_url)).values()) == {"ok"}
    with running(tmp_path / "data", "--kubo", daemon.api_url):
        pass


def test_a_token_comes_from_the_environment(tmp_path: Path, kubo: Kubo) -> None:
    """C43: and is shown to nobody."""
    allowed = {"AuthSecret": f"bearer:{TOKEN}", "AllowedPaths": ["/api/v0"]}
    daemon = kubo(config={"API.Authorizations": {"walytis": allowed}})
    found = findings(tmp_path / "data", "--kubo", daemon.api_url)
    assert levels(found) == {"Kubo": "bad"}
    assert "WALYTIS_KUBO_TOKEN" in found["Kubo"]["remedy"]
    told = walytis(tmp_path / "data", "doctor", "--kubo", daemon.api_url, "--json", WALYTIS_KUBO_TOKEN=TOKEN)
    assert told.returncode == 0
    assert TOKEN.encode() not in told.stdout + told.stderr


def test_the_doctor_looks_for_no_daemon_that_was_not_named(tmp_path: Path) -> None:
    told = answer(tmp_path / "data", "doctor")
    assert "Kubo" not in {each["check"] for each in told["findings"]}


def test_the_doctor_says_what_is_no_daemon(tmp_path: Path) -> None:
    found = findings(tmp_path / "data", "--kubo", f"http://127.0.0.1:{free_port()}")
    assert levels(found) == {"Kubo": "bad"}
    assert "ipfs daemon" in found["Kubo"]["remedy"]
    found = findings(tmp_path / "data", "--kubo", "http://192.0.2.1:5001")
    assert levels(found) == {"Kubo": "bad"}
