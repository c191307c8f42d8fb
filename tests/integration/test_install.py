"""The distribution, as a stranger installs it: into an empty environment, away from this folder."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tools.conformance import ROOT

# Read by every Python below it: whatever connects to anything but loopback ends, and says so.
GUARD = """
import os, socket, sys

def hear(event, args):
    if event == "socket.connect" and args[0].type == socket.SOCK_STREAM and isinstance(args[1], tuple):
        host = str(args[1][0])
        if host not in {"localhost", "::1"} and not host.startswith("127."):
            os.write(2, f"connects to {host}\\n".encode())
            os._exit(99)

sys.addaudithook(hear)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an empty environment with the distribution and its frontends in it."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{ROOT}[frontends]"]
    subprocess.run([folder / "bin" / "python", *install], cwd=folder, check=True)
    return folder / "bin"


def run(command: list[str | Path], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "guard").mkdir(exist_ok=True)
    (folder / "guard" / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    (folder / "home").mkdir(exist_ok=True)
    clean = {"PATH": os.defpath, "HOME": str(folder / "home"), "PYTHONPATH": str(folder / "guard"), **environment}
    return subprocess.run(command, cwd=folder / "home", env=clean, capture_output=True, text=True, check=False)


@pytest.mark.serial  # the demo has a time to keep
@pytest.mark.timeout(600)  # one dependency is built from source
def test_install_import_and_demo(installed, tmp_path):
    """C49: an empty environment, then import and `walytis demo`, with no network but loopback."""
    imported = run(
        [installed / "python", "-c", "import walytis_core, frontends; print(walytis_core.__file__)"], tmp_path
    )
    assert imported.returncode == 0, imported.stderr
    assert str(installed.parent) in imported.stdout
    demo = run([installed / "walytis", "demo"], tmp_path)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "connects to" not in demo.stderr


def test_the_guard_sees_a_connection_to_elsewhere(tmp_path):
    connect = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=1)"
    done = run([sys.executable, "-c", connect], tmp_path)
    assert done.returncode == 99
    assert "connects to 192.0.2.1" in done.stderr


@pytest.mark.slow
def test_the_wheel_says_that_it_is_typed(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("walytis_stack-*.whl")
    names = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True
    ).stdout
    for file in ("walytis_core/py.typed", "frontends/py.typed", "licenses/LICENSE"):
        assert file in names
    assert "tests/" not in names
    assert "benchmarks/" not in names
