"""Two devices in two processes: one joins, goes away for three renewals, comes back and reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from identities import Identities
from tests.suites.nodes import until
from walytis_core import Libp2pNetwork, Node

ROOT = Path(__file__).parents[2]
PHONE = """
import json, sys
from identities import Identities
from walytis_core import Node
directory, code, addresses, sealed, number = json.loads(sys.stdin.readline())
with Node.open(directory) as node, Identities(node) as identities:
    if code:
        alice = identities.join(code, device_name="phone").result(60)
    else:
        (alice,) = identities.all()
        node.connect(addresses).result(60)
    while alice.ready().result(60).number < number:
        alice.chain.follow().next(timeout=1)
    opened = []
    while len(opened) < len(sealed):
        try:
            opened = [alice.open(bytes.fromhex(one)).decode() for one in sealed]
        except Exception:
            alice.chain.follow().next(timeout=1)
    answer = {"opened": opened, "epoch": alice.epoch.number, "record": alice.sign(b"back").hex()}
    sys.stdout.write(json.dumps(answer) + "\\n")
    sys.stdout.flush()
    sys.stdin.readline()
"""


def phone(tmp_path: Path, code: str, addresses: list[str], sealed: list[bytes], number: int) -> dict[str, Any]:
    """What the other device says, in a process of its own that ends afterwards."""
    asked = [str(tmp_path / "phone"), code, addresses, [one.hex() for one in sealed], number]
    done = subprocess.run(
        [sys.executable, "-c", PHONE],
        input=json.dumps(asked) + "\n\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.slow
@pytest.mark.libp2p
def test_away_for_three_renewals(tmp_path: Path) -> None:
    """I10, I17: over libp2p, in another process: it owns the keys, misses three renewals, comes back and reads them all."""
    with Node.open(tmp_path / "laptop", network=Libp2pNetwork()) as node, Identities(node) as identities:
        alice, _ = identities.create("alice")
        joined = phone(tmp_path, str(alice.invite()), [], [], 1)
        assert alice.verify(b"back", bytes.fromhex(joined["record"])).is_current
        until(lambda: "live" in [info.state for info in alice.seats() if info.name == "phone"])
        sealed = [alice.seal(b"0")]
        for number in range(1, 4):
            alice.renew()
            sealed.append(alice.seal(b"%d" % number))
        back = phone(tmp_path, "", node.addresses(), sealed, alice.epoch.number)
        assert back["opened"] == ["0", "1", "2", "3"]
        assert back["epoch"] == alice.epoch.number == joined["epoch"] + 3
        assert alice.verify(b"back", bytes.fromhex(back["record"])).is_current
