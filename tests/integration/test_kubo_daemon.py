"""The daemons that tests get: isolated, the same after a restart, and never left behind."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

from tests.suites.kubo_daemon import Daemon, KuboError
from tests.suites.nodes import until
from tools.conformance import ROOT

CHILD = """
import sys
from pathlib import Path
from tests.suites.kubo_daemon import Daemon
print(Daemon(Path(sys.argv[1])).start().ipfs("id", "-f", "<aver>"), flush=True)
sys.stdin.read()
"""


def programs_on(repo: object) -> list[psutil.Process]:
    """The processes that work on a repository."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("IPFS_PATH") == str(repo) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:  # it ended meanwhile, or is none of ours
            continue
    return found


@pytest.mark.parametrize("end", [Daemon.stop, Daemon.kill])
def test_a_restart_keeps_what_it_is(kubo, end):
    daemon = kubo()
    before = daemon.api_url, daemon.addresses, daemon.json("id")["Addresses"]
    cid = daemon.ipfs("block", "put", data=b"kept")
    assert programs_on(daemon.repo)
    end(daemon)
    assert not programs_on(daemon.repo)
    assert not daemon.is_running
    daemon.start()
    assert (daemon.api_url, daemon.addresses, daemon.json("id")["Addresses"]) == before
    assert daemon.ipfs_bytes("block", "get", cid) == b"kept"


def test_it_knows_nobody(kubo):
    daemon, other = kubo(), kubo()
    assert not daemon.peers()
    assert not daemon.ipfs("bootstrap", "list")
    daemon.connect(other.addresses)
    assert daemon.peers() == {other.peer_id}


def test_pubsub_and_streams_can_be_off(kubo):
    daemon = kubo(pubsub=False, streams=False)
    for command in (["pubsub", "ls"], ["p2p", "ls"]):
        with pytest.raises(KuboError, match="not enabled"):
            daemon.ipfs(*command)
    assert kubo().ipfs("pubsub", "ls") == ""


def test_one_that_cannot_start_says_why(kubo):
    daemon = kubo()
    second = Daemon(daemon.repo.with_name("second"), config={"Addresses.API": daemon.ipfs("config", "Addresses.API")})
    with pytest.raises(KuboError, match="address already in use"):
        second.start()
    assert not second.is_running


@pytest.mark.kubo
def test_it_does_not_outlive_who_started_it(tmp_path):
    repo = tmp_path / "kubo"
    command = [sys.executable, "-c", CHILD, str(repo)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith(b"kubo/")
        assert programs_on(repo)
        child.send_signal(signal.SIGKILL)
    until(lambda: not programs_on(repo))
