"""One of the three peers of the demo: a real node in a process of its own, told what to do by the parent.

Run as `python -m frontends.demo.peer NAME DIRECTORY PLAN`. It uses the library as any app would: a thread appends its
share of the input, another follows the chain and fetches long content. Invariants: what it has appended before is found
in its own directory, never remembered otherwise, so it can be killed at any instant; it ends when the parent is gone.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from frontends.demo.material import Part, Plan, part_of
from frontends.demo.voice import Voice
from walytis_core import Arrived, Block, Chain, Node, UnavailableError, WalytisError

CHAIN: Final = "demo"
_TYPING_S: Final = 1.2  # how long a share takes to append, so that the three are at it at once
_SLOWEST_S: Final = 0.05  # between two blocks
_JOIN_S: Final = 30.0
_FETCH_S: Final = 20.0
_FETCH_TRIES: Final = 5


class Peer:
    """A node, its chain, and its share of the input."""

    def __init__(self, name: str, node: Node, plan: Plan, voice: Voice) -> None:
        self._node = node
        self._plan = plan
        self._share = plan.shares[name]
        self._voice = voice
        self._chain: Chain | None = None
        self._go_on = threading.Event()
        self._threads: list[threading.Thread] = []

    def obey(self) -> None:
        """Does what the parent says until it says to close, or is gone."""
        while (order := self._voice.hear()) is not None and order["do"] != "close":
            getattr(self, "_" + str(order.pop("do")))(**order)

    def finish(self) -> None:
        """Waits for its threads, once the node is closed."""
        for thread in self._threads:
            thread.join(5.0)

    # --- orders ----------------------------------------------------------------------------------------------

    def _create(self, invitations: int) -> None:
        chain = self._node.create_chain(CHAIN)
        uris = [str(chain.invite()) for _ in range(invitations)]
        self._voice.say("created", chain=str(chain.id), uris=uris)
        self._hold(chain)

    def _join(self, uri: str) -> None:
        started = time.monotonic()
        chain = self._node.join(uri).result(timeout=_JOIN_S)
        self._voice.say("joined", seconds=time.monotonic() - started, held=len(chain))
        self._hold(chain)

    def _resume(self) -> None:
        chain = self._node.chain(CHAIN)
        mine = len(self._appended(chain))
        self._voice.say("resumed", own=mine, held=len(chain))
        self._hold(chain)

    def _append(self, hold_at: int | None = None) -> None:
        self._start(self._append_share, hold_at)

    def _release(self) -> None:
        self._go_on.set()

    # --- threads ---------------------------------------------------------------------------------------------

    def _hold(self, chain: Chain) -> None:
        self._chain = chain
        self._start(self._follow, chain)

    def _start(self, function: Any, *arguments: object) -> None:
        thread = threading.Thread(target=self._guarded, args=(function, *arguments), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guarded(self, function: Any, *arguments: object) -> None:
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 - a thread's boundary: the parent is told, and ends the demo
            self._voice.say("failed", message=f"{type(error).__name__}: {error}")

    def _append_share(self, hold_at: int | None) -> None:
        chain = self._chain
        assert chain is not None
        done = self._appended(chain)
        pause_s = min(_TYPING_S / len(self._share), _SLOWEST_S)
        for part in self._share:
            if self._key(part) in done:
                continue
            if hold_at is not None and len(done) >= hold_at:
                self._go_on.wait()
            block = chain.append(self._plan.payload(part), topics=self._plan.topics(part))
            done.add(self._key(part))
            self._voice.say("appended", own=len(done), author=block.author.hex())
            time.sleep(pause_s)  # people type; nothing waits for this
        self._voice.say("finished", own=len(done))

    def _follow(self, chain: Chain) -> None:
        """Counts the parts that are held here, long content included; a named feed that is never acknowledged replays."""
        held: set[tuple[str, int, int]] = set()
        for event in chain.follow(name="demo"):
            part = part_of(event.block.topics) if isinstance(event, Arrived) else None
            if part is None or not isinstance(event, Arrived):
                continue
            if event.block.content is not None:
                self._fetch(chain, event.block)
            held.add(part)
            self._voice.say("held", count=len(held))
            if len(held) == self._plan.parts:
                return

    def _fetch(self, chain: Chain, block: Block) -> None:
        for tries in range(_FETCH_TRIES):
            try:
                chain.fetch(block).result(timeout=_FETCH_S)
                return
            except UnavailableError:
                if tries == _FETCH_TRIES - 1:
                    raise
                time.sleep(0.2 * 2**tries)  # who has it may be away: asked again, a bounded number of times

    # --- what is appended already ------------------------------------------------------------------------------

    def _appended(self, chain: Chain) -> set[tuple[str, int, int]]:
        own = {self._key(part) for part in self._share}
        found = (part_of(block.topics) for block in chain.blocks())
        return {part for part in found if part in own}

    def _key(self, part: Part) -> tuple[str, int, int]:
        return self._plan.files[part.file].label, part.place, part.places


def main() -> None:
    """Runs one peer."""
    name, directory, plan_path = sys.argv[1:4]
    voice = Voice()
    try:
        plan = Plan.read(Path(plan_path))
        started = time.monotonic()
        with Node.open(directory) as node:
            addresses = node.addresses()
            voice.say("open", seconds=time.monotonic() - started, addresses=addresses)
            peer = Peer(name, node, plan, voice)
            peer.obey()
        peer.finish()
        voice.say("closed")
    except WalytisError as error:
        voice.say("failed", message=f"{error} {error.hint}")
        sys.exit(1)


if __name__ == "__main__":
    main()
