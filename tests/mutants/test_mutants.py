"""Guards taken out of the deciding modules: the tests named with each must fail by assertion."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.mutants.mutants import MUTANTS
from tests.mutants.run import ROOT, TESTS, mutated

EVERY = [(group, mutant) for group, mutants in MUTANTS.items() for mutant in mutants]
FEW = {
    "block": ["trailing bytes", "duplicate parents"],
    "objects": ["void versions", "versions are named"],
    "sessions": ["the confirmation", "keys from the secrets"],
}


def run(group: str, names: list[str]) -> None:
    """Has a child process judge mutants, and judges what it found."""
    command = [sys.executable, "-m", "tests.mutants.run", group, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    unchanged, *found = [json.loads(line) for line in done.stdout.splitlines()]
    assert unchanged["code"] == 0, f"without a mutant: {unchanged}"
    assert unchanged["passed"] > 0
    assert len(found) == len(names or MUTANTS[group])
    survived = [one["name"] for one in found if one.get("code") != 1 or not one["killed"]]
    crashed = {one["name"]: one["crashes"] for one in found if one.get("crashes")}
    assert survived == []
    assert crashed == {}


@pytest.mark.parametrize("group", FEW)
def test_a_few_mutants_are_killed(group: str):
    """The same as below, for a few of some modules: one of each package."""
    run(group, FEW[group])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("group", MUTANTS)
def test_all_mutants_are_killed(group: str):
    """I31: as for the other layers, each guard of each module or group of them is held by a test, by assertion."""
    run(group, [])


def test_enough_mutants():
    assert all(len(mutants) >= 8 for mutants in MUTANTS.values())
    assert all(len({mutant.name for mutant in mutants}) == len(mutants) for mutants in MUTANTS.values())


@pytest.mark.parametrize(("group", "mutant"), EVERY, ids=lambda one: one if isinstance(one, str) else one.name)
def test_mutants_still_apply(group, mutant):
    """Its text stands exactly once, the result is Python, and its tests exist."""
    compile(mutated(mutant), mutant.module, "exec")
    for killer in mutant.killers:
        file, _, name = killer.partition("::")
        assert f"def {name}(" in (TESTS / f"{file}.py").read_text(encoding="utf-8")
