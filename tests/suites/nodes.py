"""What tests of whole nodes share: waiting with a bound, meeting, and the invariants of a chain's state."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from walytis_core import Block, BlockId, Chain, Node
from walytis_core.network import MemoryHub, MemoryNetwork
from walytis_core.seals import ChainSecret

WITHIN_S = float(os.environ.get("WALYTIS_TESTS_WITHIN_S", "30"))
"""Generous: a bound is for what never comes, on a machine however slow."""
_LOOK_AGAIN_S = 0.01


def until(holds: Callable[[], object], within_s: float = WITHIN_S, what: str = "") -> None:
    """Waits until something holds. A chain's events wake the waiter at once where the caller gives them as `holds`.

    Some states (a peer is gone, a refusal was counted) have no event, so it is looked at again every 10 ms.
    """
    never = threading.Event()
    for _ in range(int(within_s / _LOOK_AGAIN_S)):
        if holds():
            return
        never.wait(_LOOK_AGAIN_S)
    raise AssertionError(f"not within {within_s:g} s: {what or 'the condition'}")


def open_node(directory: Path, hub: MemoryHub) -> Node:
    """A node on real files and the memory network."""
    return Node.open(directory, network=MemoryNetwork(hub))


def join(node: Node, chain: Chain, within_s: float = WITHIN_S) -> Chain:
    """Has `node` join a chain by a fresh invitation."""
    return node.join(str(chain.invite())).result(within_s)


def ids(chain: Chain) -> set[BlockId]:
    """The ids of all blocks."""
    return {block.id for block in chain.blocks()}


def payloads(chain: Chain) -> list[bytes]:
    """All payloads, as they came."""
    return [block.payload for block in chain.blocks()]


def until_same(*chains: Chain, count: int | None = None, within_s: float = WITHIN_S) -> None:
    """Waits until all replicas hold the same blocks (and `count` of them)."""

    def same() -> bool:
        counts = {len(chain) for chain in chains}
        if len(counts) > 1 or (count is not None and counts != {count}):
            return False
        held = [ids(chain) for chain in chains]
        return all(one == held[0] for one in held)

    def lengths() -> str:
        return f"the same blocks, {[len(chain) for chain in chains]} of {count}"

    try:
        until(same, within_s)
    except AssertionError as error:
        raise AssertionError(f"{error} {lengths()}") from None


def assert_causal(blocks: Iterable[Block], genesis: BlockId) -> list[Block]:
    """Asserts that parents come before children, and nothing twice; gives the blocks."""
    seen = {genesis}
    kept = []
    for block in blocks:
        assert block.id not in seen, "a block came twice"
        assert seen.issuperset(block.ancestors_named), "a child came before its parent"
        seen.add(block.id)
        kept.append(block)
    return kept


def assert_sound(chain: Chain) -> None:
    """Asserts the invariants of a replica's state."""
    blocks = assert_causal(chain.blocks(), chain.id)
    assert len(chain) == len(blocks) == chain.status().blocks
    named = {id for block in blocks for id in block.ancestors_named}
    assert set(chain.heads) == {block.id for block in blocks} - named
    assert chain.height == max((block.height for block in blocks), default=0)
    linear = list(chain.linear())
    assert linear == sorted(blocks, key=lambda block: (block.height, block.id))
    own: dict[tuple[bytes, int], BlockId] = {}
    for block in blocks:
        assert own.setdefault((block.author, block.seq), block.id) == block.id, "an author forked"
        assert block.chain_id == chain.id
    assert not chain.equivocations()
    report = chain.verify()
    assert not report.corrupt
    assert not report.problems


class Circle:
    """The members of one identity and the secrets they share, as a test says; several nodes may hold one.

    Args:
        did: The identity.
        admits: Who is a member; everyone when left out.
    """

    def __init__(self, did: str, admits: Callable[[str, bytes], bool] | None = None) -> None:
        self.did = did
        self.members: set[bytes] | None = None
        self.shared = [ChainSecret(1, bytes(range(32)))]
        self._admits = admits

    def admits(self, did: str, node_key: bytes) -> bool:
        """Whether a node key is a member's."""
        if self._admits is not None:
            return self._admits(did, node_key)
        return did == self.did and (self.members is None or node_key in self.members)

    def secrets(self, did: str) -> Sequence[ChainSecret]:
        """The secrets, the newest first."""
        return self.shared if did == self.did else ()


class Crew:
    """Threads that work at once; what they raise is kept, and raised by `join`."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def start(self, function: Callable[..., object], *arguments: object) -> None:
        """Has a function run in a thread of its own."""

        def run() -> None:
            try:
                function(*arguments)
            except BaseException as error:  # noqa: BLE001 - raised again by `join`
                self._errors.append(error)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def join(self, within_s: float = WITHIN_S) -> None:
        """Waits for all; asserts that they ended in time and without an error."""
        for thread in self._threads:
            thread.join(within_s)
            assert not thread.is_alive(), "a thread does not end"
        if self._errors:
            raise self._errors[0]
