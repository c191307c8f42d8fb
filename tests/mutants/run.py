"""Runs the mutants of one group, each in a process of its own: ``python -m tests.mutants.run block``.

Prints one JSON line for each: its name, whether a killer failed by assertion, and what else went wrong. The first failure
decides, and nothing is shrunk or explained. Invariant: what is ours is imported in the children alone.
"""

from __future__ import annotations

import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import pytest

from tests.mutants.mutant import Mutant
from tests.mutants.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "unit" / "walytis_core"
AT_ONCE: Final = {"exchange": 4, "layers": 5}
"""Of groups whose killers mostly wait for what a mutant prevents: how many of them wait together."""
_SLOW_IMPORTS: Final = (
    "asyncio", "cbor2", "cryptography.fernet", "cryptography.hazmat.primitives.hpke", "dag_cbor", "httpx", "hypothesis.strategies",
    "multiformats", "nacl.bindings", "pdb", "sqlite3", "trio", "xml.etree.ElementTree",
)  # fmt: skip
"""What the children need of others, imported once for all of them."""
_PLUGINS: Final = ("-p", "pytest_timeout", "-p", "no:cacheprovider")
"""And no others: pytest-randomly and pytest-xdist have no place here, and each child would load them all."""


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module with its text changed."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = name_of(mutant)
        self.path = path_of(mutant)
        self.text = mutated(mutant)

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)


def name_of(mutant: Mutant) -> str:
    """The module, with its package."""
    return (
        mutant.module if mutant.module.startswith(("mutability.", "identities.")) else f"walytis_core.{mutant.module}"
    )


def path_of(mutant: Mutant) -> Path:
    """The file of the module."""
    return ROOT / f"{name_of(mutant).replace('.', '/')}.py"


def mutated(mutant: Mutant) -> str:
    """The changed text of the module.

    Raises:
        LookupError: The old text does not stand exactly once in it.
    """
    text = path_of(mutant).read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        message = f"mutant {mutant.name!r}: its text stands {text.count(mutant.old)} times in {mutant.module}.py"
        raise LookupError(message)
    return text.replace(mutant.old, mutant.new)


class Verdicts:
    """A pytest plugin that tells failures by assertion from crashes."""

    def __init__(self) -> None:
        self.passed = self.killed = 0
        self.crashes: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        if call.excinfo is None:
            self.passed += call.when == "call"
        elif call.excinfo.errisinstance((AssertionError, pytest.fail.Exception)):
            self.killed += 1
        else:
            self.crashes.append(f"{item.name}: {call.excinfo.exconly()}")
        return report


def judge(mutant: Mutant | None, killers: Sequence[str]) -> dict[str, object]:
    """Runs the killers, in this process; without a mutant they all have to pass."""
    if mutant is not None:
        sys.meta_path.insert(0, Changed(mutant))
    verdicts = Verdicts()
    names = [f"{TESTS}/{killer.replace('::', '.py::')}" for killer in killers]
    code = pytest.main(["-q", "--assert=plain", "--maxfail=1", *_PLUGINS, *names], plugins=[verdicts])
    return {"code": int(code), "passed": verdicts.passed, "killed": verdicts.killed, "crashes": verdicts.crashes}


class Child(NamedTuple):
    """A process that judges one mutant."""

    name: str
    pid: int
    pipe: int

    def verdict(self) -> dict[str, object]:
        """Waits for it."""
        with os.fdopen(self.pipe, "rb") as pipe:
            data = pipe.read()
        os.waitpid(self.pid, 0)
        return {"name": self.name, **json.loads(data or b"{}")}


def apart(mutant: Mutant | None, killers: Sequence[str]) -> Child:
    """Judges in a child process, so that every mutant meets a fresh package; pytest itself is imported once."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        try:
            os.write(writer, json.dumps(judge(mutant, killers)).encode())
        except BaseException:  # noqa: BLE001 - the end of a child that must not return into its parent's code
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    return Child("" if mutant is None else mutant.name, pid, reader)


def verdicts_on(mutants: Sequence[Mutant], at_once: int) -> Iterator[dict[str, object]]:
    """What was found of each, in their order, after what was found without any."""
    yield apart(None, sorted({killer for mutant in mutants for killer in mutant.killers})).verdict()
    running = deque[Child]()
    for mutant in mutants:
        if len(running) == at_once:
            yield running.popleft().verdict()
        running.append(apart(mutant, mutant.killers))
    for child in running:
        yield child.verdict()


def main(group: str, names: Sequence[str]) -> None:
    """Judges the mutants of a group, or those of it that are named."""
    os.environ["WALYTIS_TESTS_WITHIN_S"] = "10"  # what a mutant prevents never comes
    os.environ["HYPOTHESIS_PROFILE"] = "first"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in _SLOW_IMPORTS:
        importlib.import_module(name)
    gc.freeze()  # pytest collects garbage between tests, and would go through all of that each time
    mutants = [mutant for mutant in MUTANTS[group] if not names or mutant.name in names]
    for found in verdicts_on(mutants, AT_ONCE.get(group, 1)):
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
