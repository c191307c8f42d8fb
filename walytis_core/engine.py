"""The engine: one chain's replica with its store, driven from any thread.

Here effects are performed, in one `match`, and nowhere else: store, then what peers are to be told is handed to the
node's loop, then followers are told. Invariants: one event at a time; nothing is sent or notified before it is durable;
if the disk refuses, the replica is made anew from the store, so memory never runs ahead of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from walytis_core.block import Block, Draft, decode
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import ClosedError, NotFoundError, Reason, StorageError, WalytisError
from walytis_core.events import (
    Append,
    Arrived,
    Change,
    Contact,
    Corrupt,
    Effect,
    Fetched,
    Heal,
    Input,
    Notify,
    Publish,
    PutSide,
    Reject,
    Send,
    SetTimer,
    Settle,
    Store,
)
from walytis_core.parking import Budget
from walytis_core.policy import Genesis
from walytis_core.replica import Replica
from walytis_core.signer import Signer
from walytis_core.store.port import ChainStore

NetworkEffect = Send | Publish | SetTimer | Contact
Listener = Callable[[Change], None]
_GROUP = 64
"""Appends by several threads that share one transaction, at most."""


class Author(Protocol):
    """Whose blocks are appended; asked under the engine's lock, when all that was taken before is known."""

    @property
    def signer(self) -> Signer:
        """Signs the blocks."""
        ...

    @property
    def start(self) -> BlockId | None:
        """The admission that lists the key, if it needs one."""
        ...

    def require_sure(self) -> None:
        """Raises `UnavailableError` while appending could fork the author."""
        ...


class Outlet(Protocol):
    """Where effects on the network go; called from any thread, keeps their order."""

    def perform(self, effects: Sequence[NetworkEffect]) -> None:
        """Performs effects soon, in order."""
        ...

    def reset(self) -> None:
        """Closes all streams of the chain: the replica forgot them."""
        ...

    def fault(self, reason: Reason, peer: str) -> None:
        """A peer sent something that was refused."""
        ...


def require_process(opener: int) -> None:
    """Refuses to go on in a child of the process that opened a node: its threads and locks are not here.

    Two processes with one author key would also fork it.

    Raises:
        ClosedError: This is another process.
    """
    if os.getpid() != opener:
        raise ClosedError(
            "this process is a fork of the one that opened the node",
            hint="Open the node after forking, or start the process with the 'spawn' method.",
        )


@dataclass(slots=True)
class _Request:
    """An append that waits for the lock."""

    drafts: Sequence[Draft]
    author: Author
    check: Callable[[Block], None] | None
    blocks: Sequence[Block] = ()
    error: Exception | None = None
    is_done: bool = False


class Engine:
    """One chain on this node.

    Args:
        genesis: The chain's first block, a member of `store`.
        store: The chain's tables.
        outlet: Where effects on the network go.
        random: Gives numbers in [0, 1).
        budget: Parking space, shared by the chains of a node.
    """

    def __init__(
        self, genesis: Genesis, store: ChainStore, outlet: Outlet, random: Callable[[], float], budget: Budget
    ) -> None:
        self.genesis = genesis
        self.store = store
        self.refused: Counter[Reason] = Counter()
        self._outlet = outlet
        self._random = random
        self._budget = budget
        self._listeners: list[Listener] = []
        self._requests: deque[_Request] = deque()
        self._lock = threading.RLock()
        self._closed = False
        self._process = os.getpid()
        self._network: list[NetworkEffect] = []
        self.replica = Replica(genesis, store, random, budget)

    def begin(self) -> None:
        """Starts the chain's timers."""
        with self._lock:
            self._perform(self.replica.begin())

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Has `listener` called with every change, after it is stored, under the engine's lock: it must be quick.

        Returns:
            Ends it.
        """
        with self._lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return stop

    def handle(self, event: Input) -> None:
        """Takes an event through the replica and performs what follows from it.

        Raises:
            StorageError: The disk refused; nothing of the event was kept.
        """
        self.require_process()
        with self._lock:
            if self._closed:
                return
            self._step(event)

    def require_process(self) -> None:
        """Raises `ClosedError` in a forked child, before a lock is touched that a thread of the parent may hold."""
        require_process(self._process)

    def exclusive(self) -> threading.RLock:
        """A lock to hold over several calls that belong together; ``with engine.exclusive():``."""
        return self._lock

    def block(self, id: BlockId) -> Block:
        """A member, by id. Raises `NotFoundError`."""
        encoded = self.store.encoded([id]).get(id)
        if encoded is None:
            raise NotFoundError("this chain holds no such block")
        return decode(encoded, id)

    def known(self, ids: Collection[bytes]) -> set[bytes]:
        """Those of `ids` that screening may skip. Does not wait for the engine."""
        return self.replica.known(ids, self.store)

    def append(
        self, drafts: Sequence[Draft], author: Author, check: Callable[[Block], None] | None = None
    ) -> Sequence[Block]:
        """Appends own blocks; durable when it returns.

        Args:
            check: Raises what is to be raised instead of writing a block.

        Raises:
            NotAllowedError: The key may not write.
            UnavailableError: The key may write only after a sync.
            ClosedError: The node was closed, or this process is a fork of the one that opened it.
            StorageError: The disk refused.
        """
        self.require_process()
        request = _Request(drafts, author, check)
        self._requests.append(request)
        with self._lock:
            while not request.is_done:  # whoever holds the lock appends for all who wait: one transaction
                self._append_waiting()
        if request.error is not None:
            raise request.error
        return request.blocks

    def _append_waiting(self) -> None:
        group = [self._requests.popleft()]
        author = group[0].author
        check = group[0].check
        while self._requests and len(group) < _GROUP and check is None:  # a check reads what stands before its block
            if self._requests[0].author is not author or self._requests[0].check is not None:
                break
            group.append(self._requests.popleft())
        made: list[Block] = []
        try:
            if self._closed:
                raise ClosedError("the chain is closed")
            author.require_sure()
            drafts = [draft for request in group for draft in request.drafts]
            self._step(Append(drafts, author.signer, time.time_ns() // 1_000_000, author.start, check), made)
        except Exception as error:  # noqa: BLE001 - each waiting caller gets it, in its own thread
            for request in group:
                request.error = error
        at = 0
        for request in group:
            request.blocks = made[at : at + len(request.drafts)]
            request.is_done = True
            at += len(request.drafts)

    def verify_failed(self, ids: Sequence[BlockId]) -> None:
        """Members were found corrupt: they are fetched again."""
        self.handle(Corrupt(ids))

    def let_have(self, label: str, node_keys: Collection[bytes]) -> None:
        """From now on, content with this label is given to the holders of these node keys, and to nobody else."""
        with self._lock:
            self.replica.sync.lets[label] = frozenset(node_keys)

    def keep(self, cid: Cid, data: bytes, readers: str = "") -> None:
        """Keeps a piece of content that did not come from a peer of the chain; its bytes were checked.

        Args:
            cid: Its CID.
            data: Its bytes.
            readers: The label of those who may have it; empty for all readers of the chain.

        Raises:
            StorageError: The disk refused.
            NotFoundError: The chain was deleted.
        """
        with self._lock:
            if not self._closed:
                self.store.put_side(cid, data, readers)
                self._notify(Fetched((cid,)))

    def close(self) -> None:
        """Takes no more events."""
        with self._lock:
            self._closed = True
            self.replica.members.parking.clear()
            self._listeners.clear()

    # --- performing ----------------------------------------------------------------------------------------------

    def _step(self, event: Input, made: list[Block] | None = None) -> None:
        try:
            self._perform(self.replica.handle(event, self.store, time.monotonic()), made)
            while self.replica.is_unsettled:
                self._perform(self.replica.handle(Settle(), self.store, time.monotonic()))
        except Exception as error:
            if isinstance(error, StorageError) or not isinstance(error, WalytisError):  # a bug: the node may go on
                self._start_anew()
                self._flush()
            raise

    def _perform(self, effects: Sequence[Effect], made: list[Block] | None = None) -> None:
        changes: list[Change] = []
        for effect in effects:
            match effect:
                case Store(commit):
                    self.store.commit(commit)
                case Send() | Publish() | SetTimer() | Contact():
                    self._network.append(effect)
                case Notify(change):
                    if made is not None and isinstance(change, Arrived):
                        made.extend(change.blocks)
                    changes.append(change)
                case Reject(reason, peer):
                    self.refused[reason] += 1
                    self._outlet.fault(reason, peer)
                case Heal(block):
                    self.store.heal(block.id, block.encoded)
                case PutSide(cid, data, readers):
                    self.store.put_side(cid, data, readers)
        self._flush()
        for change in changes:
            self._notify(change)

    def _flush(self) -> None:
        if self._network:
            effects, self._network = self._network, []
            self._outlet.perform(effects)

    def _notify(self, change: Change) -> None:
        for listener in tuple(self._listeners):
            listener(change)

    def _start_anew(self) -> None:
        self.replica.members.parking.clear()
        old = self.replica
        self.replica = Replica(self.genesis, self.store, self._random, self._budget)
        self.replica.sync.gossips, self.replica.sync.lets = old.sync.gossips, old.sync.lets
        self.replica.shunned = old.shunned
        self._network.clear()
        self._outlet.reset()
        self._network.extend(effect for effect in self.replica.begin() if isinstance(effect, SetTimer))
