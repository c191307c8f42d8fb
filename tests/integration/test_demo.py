"""`walytis demo`: four real processes, real libp2p on loopback, one real SIGKILL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from frontends.demo.material import PEERS, VICTIM, Plan
from tests.suites.command import COMMAND, WAIT_S, environment
from walytis_core import Node

pytestmark = [pytest.mark.serial, pytest.mark.libp2p]


def demo(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "demo", *arguments]
    return subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=WAIT_S, check=False)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The events of one demo, and the folder it kept."""
    home = tmp_path_factory.mktemp("home")
    started = time.monotonic()
    done = demo(home, "--json", "--keep", str(home / "kept"))
    assert done.returncode == 0, done.stdout + done.stderr
    events = {event["event"]: event for event in map(json.loads, done.stdout.splitlines())}
    return events | {"took_s": time.monotonic() - started, "kept": home / "kept"}


def judge(folder: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "frontends.demo.judge",
        str(folder / "plan.json"),
        *(str(folder / n) for n in names),
    ]
    return subprocess.run(
        command, env=environment(folder.parent), capture_output=True, text=True, timeout=WAIT_S, check=False
    )


def test_it_passes_in_time(played):
    """C49: three peers hold the same blocks and the same files, in under 20 s."""
    assert played["verdict"]["passed"] is True
    assert played["verdict"]["same_ids"] is True
    assert played["took_s"] < 20
    assert all(one["files"] == one["of"] > 0 for one in played["verdict"]["directories"])


def test_one_was_really_killed_in_the_middle_of_its_work(played):
    """C22: SIGKILL between 20 and 80 % of its own input; what it had acknowledged is on its disk."""
    killed, back = played["killed"], played["back"]
    assert killed["peer"] == back["peer"] == VICTIM
    assert killed["signal"] == signal.SIGKILL
    assert 0.2 * killed["of"] <= killed["own"] <= back["own"] <= 0.8 * killed["of"]
    assert all(count > 0 for count in played["went on"]["appended"].values())
    assert played["caught up"]["blocks"] > 0


def test_the_input_has_long_content_and_the_graph_has_three_authors(played):
    assert played["input"]["long"]
    assert played["graph"]["blocks"] == played["input"]["blocks"]
    assert sorted(played["graph"]["authors"].values()) == sorted(PEERS)


def test_the_directories_hold_one_chain(played):
    """C30: the same set in all three, and the same heads."""
    held = []
    for name in PEERS:
        with Node.open(played["kept"] / name) as node:
            (chain,) = node.chains()
            held.append(
                ({block.id for block in chain.blocks()}, set(chain.heads), len({b.author for b in chain.blocks()}))
            )
    assert held[0] == held[1] == held[2]
    assert held[0][2] == len(PEERS)


def test_no_process_is_left(played):
    """C46: all of them have ended."""
    mine = {str(played["kept"])}
    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(path in argument for path in mine for argument in process.info["cmdline"] or ())
    ]
    assert left == []


@pytest.fixture
def copy(played, tmp_path):
    shutil.copytree(played["kept"], tmp_path / "kept")
    return tmp_path / "kept"


def test_the_judge_refuses_files_that_are_not_the_input(copy):
    plan = json.loads((copy / "plan.json").read_text())
    original = Path(plan["files"][0]["path"])
    changed = copy / "changed"
    changed.write_bytes(original.read_bytes() + b"!")
    plan["files"][0]["path"] = str(changed)
    (copy / "plan.json").write_text(json.dumps(plan))
    done = judge(copy, list(PEERS))
    assert done.returncode == 1
    verdict = json.loads(done.stdout.splitlines()[-1])
    assert (verdict["ok"], verdict["same_ids"]) == (False, True)


def test_the_judge_refuses_directories_that_differ(copy):
    with Node.open(copy / PEERS[0]) as node:
        node.chain("demo").append(b"one more")
    done = judge(copy, list(PEERS))
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["same_ids"] is False


def test_the_judge_refuses_a_damaged_directory(copy):
    """C24: a flipped bit on disk is found."""
    part = Plan.read(copy / "plan.json")
    needles = [part.payload(number)[:64] for number in part.shares[PEERS[0]]]
    database = copy / PEERS[1] / "walytis.db"
    data = bytearray(database.read_bytes())
    places = [at for needle in needles if (at := data.find(needle)) >= 0]  # one may stand across two pages
    assert len(places) > len(needles) // 2
    data[places[0]] ^= 1
    database.write_bytes(data)
    assert judge(copy, list(PEERS)).returncode == 1


def test_it_plays_with_any_folder_and_leaves_nothing(tmp_path):
    """C46: no folder, file or process of it is left."""
    source = tmp_path / "in"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "random ünd.bin").write_bytes(os.urandom(200_000))
    (source / "empty").touch()
    for number in range(30):
        (source / f"{number}.txt").write_text("words " * number * 20)
    home = tmp_path / "home"
    home.mkdir()
    done = demo(home, "--input", str(source))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed" in done.stdout
    assert "SIGKILL" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(("size", "times"), [(6, 5), (1, 30), (5_000_000, 1)])
def test_it_plays_with_a_single_file(tmp_path, size, times):
    """C49: however small or large it is."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(size))
    (source / "link").symlink_to("file")
    done = demo(tmp_path, "--input", str(source), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    events = {event["event"]: event for event in map(json.loads, done.stdout.splitlines())}
    assert [events["input"][key] for key in ("files", "times", "skipped")] == [1, times, 1]
    assert 0.2 <= events["back"]["own"] / events["back"]["of"] <= 0.8


@pytest.mark.parametrize("what", ["none", "empty"])
def test_an_input_that_will_not_do_is_said_to_be(tmp_path, what):
    source = tmp_path / "in"
    if what != "none":
        source.mkdir()
    done = demo(tmp_path, "--input", str(source), "--json")
    assert done.returncode == 2
    assert json.loads(done.stderr)["hint"]


def test_ctrl_c_ends_all_of_it(tmp_path):
    """C46: the children end with the parent."""
    with subprocess.Popen(
        [*COMMAND, "demo", "--json"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        events = (json.loads(line) for line in process.stdout)
        opened = next(event for event in events if event["event"] == "open")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert not any(psutil.pid_exists(pid) for pid in opened["pids"].values())
    assert list(tmp_path.iterdir()) == []
