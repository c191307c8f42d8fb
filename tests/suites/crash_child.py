"""The processes of the crash test: one that forks, and those that commit until they are killed.

Forking from a process that has imported everything makes a life cheap; a fork of the test's own process would inherit
its threads' locks.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from walytis_core.block import GENESIS_PLACE, Block, Place, create, draft
from walytis_core.signer import Ed25519Signer
from walytis_core.store.port import Commit
from walytis_core.store.sqlite import SqliteChain, SqliteStore

THREADS = 3
GENESIS = create(Ed25519Signer(bytes(32)), GENESIS_PLACE, draft(b"crash"), 0)


def say(*words: object) -> None:
    """Writes a line in one piece, so that no kill can cut it."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def live(directory: str) -> None:
    """Commits without end, and names what was acknowledged."""
    store = SqliteStore.open(Path(directory))
    chain = store.chain(GENESIS.id) if store.chains() else store.create_chain(GENESIS, "crash")
    newest = [GENESIS] * THREADS
    threads = [threading.Thread(target=_append, args=(chain, newest, index)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _append(chain: SqliteChain, newest: list[Block], index: int) -> None:
    signer = Ed25519Signer(os.urandom(32))
    prev, seq, size = GENESIS, 0, 1
    while True:
        blocks = []
        size = size % 20 + 1
        for _ in range(size):
            parent = newest[(index + 1) % THREADS]  # acknowledged: another thread's
            parents = () if parent is prev else (parent.id,)
            place = Place(GENESIS.id, seq, prev.id, parents, 1 + max(prev.height, parent.height))
            prev, seq = create(signer, place, draft(b"payload", topics=["crash"]), 0), seq + 1
            blocks.append(prev)
        for id, number in chain.commit(Commit(blocks=blocks)).items():
            say("block", number, id.hex())
        newest[index] = prev
        chain.set_cursor(f"thread {index}", seq)


def nursery() -> None:
    """For each directory on stdin: forks a child that lives in it, and says when it was born and when it died."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            live(line.rstrip("\n"))
        say("born", child)
        os.waitpid(child, 0)
        say("dead", child)


if __name__ == "__main__":
    nursery()
