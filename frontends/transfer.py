"""The verbs that write and read CAR files: work in a thread of its own, and how far it is while it lasts.

Invariants: the work ends, undone, soon after its caller is gone; paths come absolute from the caller, whose directory is another one.
Knows neither the terminal nor the socket.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from frontends.calls import Call
from frontends.failures import FailedError
from frontends.forms import Form, chain_form


def export(call: Call, *, chain: str, file: str, force: bool = False) -> Iterator[Form]:
    """Writes a chain into a CAR file: how far it is, and at last what was written."""
    found = call.node.chain(chain)

    def work(tell: Tell) -> Form:
        report = found.export(file, force=force, progress=tell)
        counts = {"blocks": report.blocks, "pieces": report.pieces, "size": report.size}
        readers = found.policy.readers
        return {"event": "exported", "name": found.name, "id": str(found.id), "readers": readers, "file": file} | counts

    yield from _told(call, work)


def import_(call: Call, *, file: str, name: str | None = None) -> Iterator[Form]:
    """Takes a chain from a CAR file: how far it is, and at last the chain, with how many blocks are new."""
    before = {chain.id: len(chain) for chain in call.node.chains()}

    def work(tell: Tell) -> Form:
        chain = call.node.import_chain(Path(file), name=name, progress=tell)
        is_new = chain.id not in before
        return {"event": "imported", "new_chain": is_new, "new_blocks": len(chain) - before.get(chain.id, 0)} | (
            chain_form(chain)
        )

    yield from _told(call, work)


Tell = Callable[[int, int], None]


def _told(call: Call, work: Callable[[Tell], Form]) -> Iterator[Form]:
    """Does the work in a thread; gives its progress as it changes, then its answer."""
    steps: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    is_left = threading.Event()
    call.when_gone(is_left.set)

    def tell(done: int, total: int) -> None:
        if is_left.is_set():
            raise FailedError("ClosedError", "nobody waits for this any more", "", 3)
        steps.put(("progress", {"event": "progress", "held": done, "known": total}))

    def run() -> None:
        try:
            steps.put(("end", work(tell)))
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            steps.put(("failure", error))

    thread = threading.Thread(target=run, name="walytis-transfer", daemon=True)
    thread.start()
    try:
        while True:
            kind, step = steps.get()
            if kind == "failure":
                raise step
            yield step
            if kind == "end":
                return
    finally:
        is_left.set()
        thread.join()
