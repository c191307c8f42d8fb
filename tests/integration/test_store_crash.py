"""A process that is killed loses nothing that it had acknowledged."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.suites.crash_child import GENESIS
from tests.suites.store_suite import pages
from walytis_core.cid import BlockId
from walytis_core.store.sqlite import SqliteStore

LIVES_PER_DIRECTORY = 10
LONGEST_PAUSE_S = 0.02


class Nursery:
    """Gives birth to processes that commit, and kills them.

    Args:
        process: Runs `tests.suites.crash_child`.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders = process.stdin
        self._words = process.stdout.fileno()
        self._rest = b""

    def life(self, directory: Path, blocks: int, pause_s: float) -> dict[BlockId, int]:
        """Lets a process commit in `directory`, and kills it a moment after so many blocks; what it acknowledged."""
        self._orders.write(f"{directory}\n".encode())
        self._orders.flush()
        lines = self._hear(None)
        while not (born := [int(line[1]) for line in lines if line[0] == "born"]) or len(lines) <= blocks:
            lines += self._hear(None)
        end = time.monotonic() + pause_s
        while (left := end - time.monotonic()) > 0:
            lines += self._hear(left)
        os.kill(born[0], signal.SIGKILL)
        while lines[-1][0] != "dead":
            lines += self._hear(None)
        return {BlockId(bytes.fromhex(line[2])): int(line[1]) for line in lines if line[0] == "block"}

    def _hear(self, timeout_s: float | None) -> list[list[str]]:
        """The lines that come next, if any come in time."""
        if not select.select([self._words], [], [], timeout_s)[0]:
            return []
        received = os.read(self._words, 1 << 16)
        assert received, "the nursery has died"
        *lines, self._rest = (self._rest + received).split(b"\n")
        return [line.decode().split() for line in lines]


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    command = [sys.executable, "-m", "tests.suites.crash_child"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Nursery(process)
        process.kill()


def assert_whole(directory: Path, acknowledged: dict[BlockId, int]) -> None:
    """Everything acknowledged is there under its number, and the chain is valid."""
    with closing(SqliteStore.open(directory)) as store:
        if not acknowledged and not store.chains():
            return  # killed before it had made the chain
        chain = store.chain(GENESIS.id)
        numbers = {row.id: row.number for row in pages(chain, 1000)}
        assert {id: numbers.get(id) for id in acknowledged} == acknowledged
        report = chain.verify()
        assert (report.corrupt, report.problems) == ((), ())
        assert chain.count == len(numbers) - 1
        assert chain.last == max(numbers.values())


def kill_many_times(nursery: Nursery, directory: Path, times: int, seed: int) -> None:
    """Lives and deaths, several in a row in one directory."""
    chance = random.Random(seed)
    acknowledged: dict[BlockId, int] = {}
    total = 0
    for life in range(times):
        if life % LIVES_PER_DIRECTORY == 0:
            acknowledged = {}
        home = directory / str(life // LIVES_PER_DIRECTORY)
        new = nursery.life(home, chance.choice((0, 1, 10, 40)), chance.random() * LONGEST_PAUSE_S)
        acknowledged |= new
        total += len(new)
        assert_whole(home, acknowledged)
    assert total > times, "lives were too short to test anything"


@pytest.mark.slow
def test_a_killed_process_loses_nothing_acknowledged(nursery: Nursery, tmp_path: Path) -> None:
    """C22: kill -9 at a random instant under concurrent appends; reopening gives a valid chain with every acknowledged block."""
    kill_many_times(nursery, tmp_path, 20, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_killed_processes_lose_nothing_acknowledged(nursery: Nursery, tmp_path: Path) -> None:
    """C22: the same, 200 times."""
    kill_many_times(nursery, tmp_path, 200, seed=2)
