"""A node may be closed at any moment of its start: the embedded transport is made in the background."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from walytis_core import Node

AT_ONCE_S = 4.5  # of five that closing waits for a loop that hangs


@pytest.mark.slow
@pytest.mark.libp2p
def test_a_node_closes_at_any_moment_of_its_start(tmp_path: Path) -> None:
    """C46: closing leaves no thread. Protects the guard that tells a host which is starting to stop."""
    never = threading.Event()
    with Node.open(tmp_path / "node") as node:  # loads py-libp2p, which takes a second or many
        node.addresses()
    for attempt in range(24):
        with Node.open(tmp_path / "node"):
            never.wait(attempt * 0.002)
            began = time.monotonic()
        assert time.monotonic() - began < AT_ONCE_S
        assert not [thread for thread in threading.enumerate() if thread.name == "walytis-node"]
