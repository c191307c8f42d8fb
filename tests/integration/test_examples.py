"""The programs in `examples/` run as their users run them: as processes, over real libp2p on loopback."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from mutability import Documents, Mutable
from tools.conformance import ROOT
from walytis_core import Node

EXAMPLES = ROOT / "examples"
TESTED = {"terminal_chat.py", "shared_notes.py", "shared_todo.py", "shared_identity.py", "in_a_notebook.py"}
WITHIN_S = 60


class Program:
    """A running example: its lines as they come."""

    def __init__(self, process: subprocess.Popen[str], out: IO[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(out,))
        self._reader.start()

    def _read(self, out: IO[str]) -> None:
        for line in out:
            self._lines.put(line.rstrip("\n"))

    def hear(self, text: str) -> str:
        """The next line that holds a text; what comes before it is passed over."""
        while text not in (line := self._lines.get(timeout=WITHIN_S)):
            continue
        return line

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def finish(self) -> int:
        """Ends its input, and waits for its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(WITHIN_S)
        self._reader.join(WITHIN_S)
        return code


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]


@contextmanager
def running(folder: Path, name: str, *arguments: str) -> Iterator[Program]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command(name, *arguments),
        cwd=folder, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            program = Program(process, process.stdout)
            yield program
            assert program.finish() == 0
        finally:
            process.kill()


def run(folder: Path, name: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command(name, *arguments),
        cwd=folder, env=environment, text=True, capture_output=True, timeout=WITHIN_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_each_example_has_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == TESTED


@pytest.mark.slow
@pytest.mark.libp2p
def test_two_windows_chat(tmp_path: Path) -> None:
    """C16: what came while the window was closed is shown when it is opened again, and nothing is shown twice."""
    with running(tmp_path, "terminal_chat.py", "bob-and-alice") as alice:
        uri = alice.hear("walytis:").split()[-1]
        with running(tmp_path, "terminal_chat.py", "bob", uri) as bob:
            bob.hear("you are in")
            bob.say("hello")
            assert alice.hear("hello").endswith(": hello")
            alice.say("good morning")
            assert bob.hear("morning").endswith(": good morning")
        alice.say("are you there?")
        with running(tmp_path, "terminal_chat.py", "bob") as bob:
            assert bob.hear(":").endswith(": are you there?")


@pytest.mark.slow
@pytest.mark.libp2p
def test_shared_notes(tmp_path: Path) -> None:
    name = "shared_notes.py"
    assert run(tmp_path, name, "alice", "list") == "no notes"
    run(tmp_path, name, "alice", "set", "milk", "two litres")
    with running(tmp_path, name, "alice", "serve") as alice:
        uri = alice.hear("walytis:")
        assert run(tmp_path, name, "bob", "join", uri) == "milk: two litres"
        run(tmp_path, name, "bob", "set", "bread", "a loaf")
        run(tmp_path, name, "bob", "set", "milk", "one litre")
        with running(tmp_path, name, "bob", "serve"):
            assert alice.hear("bread: a loaf, milk: one litre")
    run(tmp_path, name, "alice", "remove", "milk")
    assert run(tmp_path, name, "alice", "list") == "bread: a loaf"
    wrong = subprocess.run(
        command(name, "alice", "dance"),
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (1, "there is no command dance")


@pytest.mark.slow
@pytest.mark.libp2p
def test_a_shared_to_do_list(tmp_path: Path) -> None:
    """M05: two change one entry while one of them is away; a merge keeps both changes."""
    name = "shared_todo.py"
    with running(tmp_path, name, "alice") as alice:
        uri = alice.hear("walytis:").split()[-1]
        alice.say("add buy milk")
        with running(tmp_path, name, "bob", uri) as bob:
            bob.hear("1 [ ] buy milk")
        alice.say("rename 1 buy oat milk")
        alice.hear("1 [ ] buy oat milk")
    with running(tmp_path, name, "bob") as bob:
        bob.say("add find the keys")
        bob.hear("2 [ ] find the keys")
        bob.say("done 1")
        bob.hear("1 [x] buy milk")
        with running(tmp_path, name, "alice") as alice:
            alice.hear("1 [x] buy milk (in conflict)")
            alice.say("merge")
            assert bob.hear("oat").strip() == "1 [x] buy oat milk"
            bob.say("remove 2")
            bob.say("add water the plants")
            alice.hear("2 [ ] water the plants")
            for unknown in ("dance", "done 9", "rename 1", "add"):
                alice.say(unknown)
                assert "merge" in alice.hear("Type: ")
    with Node.open(tmp_path / "alice") as node:
        todo = Documents(Mutable(node.chains()[0]))
        assert [todo.get(item) for item in todo.objects.objects()] == [
            {"what": "buy oat milk", "done": True},
            {"what": "water the plants", "done": False},
        ]


def test_the_shared_to_do_list_is_short() -> None:
    assert len((EXAMPLES / "shared_todo.py").read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.slow
@pytest.mark.libp2p
def test_one_person_on_two_devices(tmp_path: Path) -> None:
    """I17, I20: a device joins by a code, reads what was written while it was off, and says nothing more once it was removed."""
    name = "shared_identity.py"
    with running(tmp_path, name, "laptop") as laptop:
        assert laptop.hear("write this down").count("-") >= 13
        uri = laptop.hear("walytis:").split()[-1]
        laptop.say("buy milk")
        laptop.hear("note: buy milk")
        with running(tmp_path, name, "phone", uri) as phone:
            phone.hear("note: buy milk")
            phone.say("and bread")
            while "note: and bread" not in phone.hear(""):  # a key that is new here writes once others were met
                phone.say("and bread")
            laptop.hear("note: and bread")
        laptop.say("renew")
        laptop.hear("epoch 2")
        laptop.say("and eggs")
        with running(tmp_path, name, "phone") as phone:
            phone.hear("note: and eggs")
            laptop.say("devices")
            assert laptop.hear("phone").strip() == "2 phone live"
            laptop.say("remove 2")
            laptop.say("devices")
            assert laptop.hear("phone").strip() == "2 phone removed"
            phone.say("devices")
            while "live" in phone.hear("2 phone"):  # until it has heard; a test has a time limit of its own
                phone.say("devices")
            phone.say("renew")
            phone.hear("no seat")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("shared_notes.py", []),
        ("shared_notes.py", ["a"]),
        ("shared_notes.py", ["a", "set", "x"]),
        ("terminal_chat.py", []),
        ("shared_todo.py", []),
        ("shared_identity.py", []),
    ],
)
def test_what_is_missing_is_answered_by_how_it_is_used(tmp_path: Path, name: str, arguments: list[str]) -> None:
    wrong = subprocess.run(
        command(name, *arguments),
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert wrong.returncode == 1
    assert "Usage: " in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_in_a_notebook(tmp_path: Path) -> None:
    """C48: from a running asyncio loop."""
    assert run(tmp_path, "in_a_notebook.py").splitlines()[-1] == "6 values, mean 20.50"
