"""Importing is free of effects; each import is tried in a process of its own, forked from one that has what is foreign."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tools.conformance import ROOT

PACKAGES = ("walytis_core", "identities", "mutability", "frontends")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__main__.py"
)

TOGETHER = 30
TRIO = ("trio",)  # its own import asks the linker's table where pthread is (it runs ldconfig)
LIBP2P = ("trio", "libp2p")  # its HTTP client tries whether this machine can bind ::1; also 0.6 s of imports

# Hears, by audit events, what each import does, and says what it left behind. What foreign modules named on the command
# line do themselves is theirs: they are imported before.
PROBE = """
import contextlib, io, json, logging, os, sys, threading, traceback, warnings

modules = sys.argv[1].split(",")
for foreign in sys.argv[2:]:
    __import__(foreign)
for module in modules:
    child = os.fork()
    if not child:
        break
    if os.waitpid(child, 0)[1]:
        sys.exit(f"importing {module} failed")
else:
    sys.exit()
seen = []
before = set(os.listdir(".")), dict(os.environ), os.getcwd()
forbidden = {
    "socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto",
    "sqlite3.connect", "subprocess.Popen", "os.fork", "os.exec", "os.posix_spawn", "os.system",
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "tempfile.mkstemp", "tempfile.mkdtemp",
    "_thread.start_new_thread", "os.putenv", "os.unsetenv",
}

def writes(mode, flags):
    if isinstance(mode, str) and set(mode) & set("wax+"):
        return True
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

def hear(event, args):
    if event in forbidden:
        seen.append(event)
    elif event == "open" and isinstance(args[0], (str, bytes)) and writes(args[1], args[2]):
        seen.append(f"open {args[0]} {args[1]}")

sys.dont_write_bytecode = True
sys.addaudithook(hear)
out, err = io.StringIO(), io.StringIO()
handlers = list(logging.getLogger().handlers)
with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            __import__(module)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
effects = seen + [f"thread {thread.name}" for thread in threading.enumerate() if thread is not threading.main_thread()]
effects += [text for text in (out.getvalue(), err.getvalue()) if text]
effects += [f"warning {warning.message}" for warning in warned if "walytis_core" in warning.filename]
if (set(os.listdir(".")), dict(os.environ), os.getcwd()) != before:
    effects.append("changed folder or environment")
if logging.getLogger().handlers != handlers:
    effects.append("set up logging")
os.write(1, (json.dumps(effects) + "\\n").encode())
os._exit(0)
"""


def effects_of_importing(modules: Sequence[str], folder: Path, foreign: tuple[str, ...] = TRIO) -> dict[str, list[str]]:
    """What importing each of these modules does, of those that do anything."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(modules), *foreign],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {module: effects for module, effects in zip(modules, found, strict=True) if effects}


def chunks() -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """All modules, a few together, with what is imported before them."""
    for foreign in (TRIO, LIBP2P):
        modules = [module for module in MODULES if ("libp2p" in module) == (foreign is LIBP2P)]
        yield from ((foreign, modules[at : at + TOGETHER]) for at in range(0, len(modules), TOGETHER))


@pytest.mark.parametrize("module", PACKAGES)
def test_importing_a_package_does_nothing(module, tmp_path):
    """C47: guards against import effects: no thread, socket, process, file written, output or changed environment.

    So the packages must not import py-libp2p either: the adapter is imported when a node wants it.
    """
    assert effects_of_importing([module], tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("foreign", "modules"), [*chunks()], ids=lambda those: those[0])
def test_importing_any_module_does_nothing(foreign, modules, tmp_path):
    """C47: the same for each module by itself, which also shows that each can be imported first."""
    assert effects_of_importing(modules, tmp_path, foreign) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "effect"),
    [
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()", "thread"),
        ("print('hello')", "hello"),
        ("open('left.txt', 'w').close()", "open left.txt"),
        ("import socket; socket.socket().close()", "socket.__new__"),
        ("import os; os.environ['X'] = '1'", "changed folder or environment"),
        ("import sqlite3; sqlite3.connect(':memory:').close()", "sqlite3.connect"),
    ],
)
def test_the_probe_hears_effects(source, effect, tmp_path):
    (tmp_path / "noisy.py").write_text(source, encoding="utf-8")
    assert any(effect in heard for heard in effects_of_importing(["noisy"], tmp_path)["noisy"])


def test_the_probe_hears_each_module_by_itself(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            f"import sys; print(sys.modules.keys() & {{'one', 'two'}} - {{'{name}'}})", encoding="utf-8"
        )
    assert effects_of_importing(["one", "two"], tmp_path) == {"one": ["set()\n"], "two": ["set()\n"]}


def test_the_probe_says_what_cannot_be_imported(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        effects_of_importing(["json", "broken"], tmp_path)
