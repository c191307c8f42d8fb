"""What is read of a chain while others write it is always stored, and agrees with itself."""

from __future__ import annotations

import threading

from tests.suites.nodes import Crew, join
from walytis_core import MemoryHub, Node


def test_what_is_named_can_be_read() -> None:
    """C14, C48: heads are blocks that are stored, at any instant, while a peer's blocks stream in."""
    hub = MemoryHub()
    with Node.in_memory(hub) as alice, Node.in_memory(hub) as bob:
        chain = alice.create_chain("notes")
        copy = join(bob, chain)
        crew, looked = Crew(), threading.Event()

        def write() -> None:
            while len(copy) < 1200 or not looked.is_set():
                copy.append_many([b"x"] * 20)

        crew.start(write)
        rounds = 0
        while len(chain) < 1200 or rounds <= 20:
            for head in chain.heads:
                assert chain.block(head).height <= chain.height
                assert head in chain
            status = chain.status()
            assert status.blocks <= len(chain)
            rounds += 1
        looked.set()
        crew.join()
        assert len(chain.heads) == 1
