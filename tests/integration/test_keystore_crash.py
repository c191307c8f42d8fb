"""A keystore whose process is killed opens with what it held, or with the change that was under way; and has one process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from identities.keystore import Keystore
from tests.suites.keystore_child import COSTS, PASSPHRASE, change, next_number, secret
from tests.suites.node_child import Nursery, nursing
from tests.suites.secret_scan import in_clear
from walytis_core.errors import InUseError, LockedError
from walytis_core.keys import SEALED, FileKeys, is_sealed

MODULE = "tests.suites.keystore_child"
PLAIN = {f"author-{number}": secret(1000 + number) for number in range(12)}


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with nursing(MODULE) as one:
        yield one


def kept(directory: Path) -> dict[str, bytes]:
    with Keystore(directory, PASSPHRASE, costs=COSTS) as keys:
        return dict(keys._secrets)


def after(before: dict[str, bytes], first: int, count: int) -> dict[str, bytes]:
    """What is kept after so many changes."""
    now = dict(before)
    for number in range(first, first + count):
        name, new = change(now, number)
        if new is None:
            del now[name]
        else:
            now[name] = new
    return now


def kill_many_times(nursery: Nursery, directory: Path, times: int, seed: int) -> None:
    """Lives and deaths in a row in one directory."""
    chance = random.Random(seed)
    before: dict[str, bytes] = {}
    total = 0
    for _ in range(times):
        lines = nursery.life(directory, chance.random() * 0.05)
        changed = [int(line[1]) for line in lines if line[0] == "changed"]
        first = next_number(before)
        assert changed == list(range(first, first + len(changed)))
        now = kept(directory)
        assert now in (after(before, first, len(changed)), after(before, first, len(changed) + 1))
        assert {path.name for path in directory.iterdir()} == {SEALED, "lock"}
        assert in_clear(directory, now.values()) == []
        before, total = now, total + len(changed)
    assert total > times, "lives were too short to test anything"


def test_a_killed_process_loses_nothing_acknowledged(nursery: Nursery, tmp_path: Path) -> None:
    """I27: kill -9 at a random instant of putting and deleting: the old content or the new one, and no torn file stays."""
    kill_many_times(nursery, tmp_path / "keys", 15, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_killed_processes(nursery: Nursery, tmp_path: Path) -> None:
    """I27: the same, 200 times."""
    kill_many_times(nursery, tmp_path / "keys", 200, seed=2)


@pytest.mark.slow
def test_killed_at_each_step_of_taking_over_plain_keys(nursery: Nursery, tmp_path: Path) -> None:
    """I27: a real process, killed at each thing it does to a file: no key is lost, and the next unlock finishes."""
    stages: set[tuple[bool, int]] = set()
    for step in range(200):
        folder = tmp_path / str(step)
        for name, one in PLAIN.items():
            FileKeys(folder).put(name, one)
        (folder / ".node.new").write_bytes(secret(1000)[:30])
        lines = nursery.life(f"{folder} {step}", 30)
        plain = sum(path.name in PLAIN for path in folder.iterdir())
        if not is_sealed(folder):
            assert {name: FileKeys(folder).get(name) for name in PLAIN} == PLAIN
        stages.add((is_sealed(folder), plain))
        assert kept(folder) == PLAIN
        assert {path.name for path in folder.iterdir()} == {SEALED, "lock"}
        assert in_clear(folder, PLAIN.values()) == []
        if ["open"] in lines:
            break
    else:
        pytest.fail("it never came to its end")
    assert step > 2 * len(PLAIN)
    assert stages >= {(False, 12), (True, 12), (True, 6), (True, 0)}


def test_two_processes(tmp_path: Path) -> None:
    """I28: the second gets a clear error that names the first; a killed one holds nothing."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", MODULE]
    folder = tmp_path / "keys"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{folder}\n".encode())
        process.stdin.flush()
        words: list[bytes] = []
        while b"open\n" not in words:
            words.append(process.stdout.readline())
        (child,) = [int(word.split()[1]) for word in words if word.startswith(b"born")]
        with pytest.raises(InUseError, match=rf"in use \(process {child}\)") as caught:
            Keystore(folder, PASSPHRASE)
        assert "Close the other process" in caught.value.hint
        process.stdout.readline()  # its first change
        with pytest.raises(LockedError):
            FileKeys(folder)
        os.kill(child, signal.SIGKILL)
        while not process.stdout.readline().startswith(b"dead"):
            pass
        assert kept(folder)
        process.stdin.close()
