"""A few real replicas wired together message by message, so that a test sees and can change each one.

Messages are written and read again on their way, streams keep their order, time is virtual, and nothing is lost unless a test
does it. For faults at random there is the simulator.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from tests.suites.making import World
from walytis_core import messages
from walytis_core.block import Block, Draft
from walytis_core.cid import BlockId
from walytis_core.errors import Reason
from walytis_core.events import (
    Append,
    Came,
    Change,
    Contact,
    Effect,
    Heal,
    Input,
    Notify,
    PeerLost,
    PeerSeen,
    Publish,
    PutSide,
    Received,
    Reject,
    Send,
    SetTimer,
    Settle,
    Store,
    TimerFired,
)
from walytis_core.messages import Blocks, Message
from walytis_core.replica import Replica
from walytis_core.screening import screen
from walytis_core.signer import Signer
from walytis_core.store.memory import MemoryChain

M = TypeVar("M")


class Peer:
    """One replica, and all that it said and was refused."""

    def __init__(self, name: str, world: World, net: Net, store: MemoryChain | None = None) -> None:
        self.name = name
        self.net = net
        self.store = store or world.store()
        self.replica = Replica(world.genesis, self.store, random.Random(name).random)
        self.timers: dict[str, float] = {}
        self.sent: list[tuple[str, Message]] = []
        self.published: list[Message] = []
        self.rejected: Counter[Reason] = Counter()
        self.changes: list[Change] = []
        self.contacts: list[str] = []
        self.perform(self.replica.begin())

    def handle(self, event: Input) -> None:
        """Takes an event through, and what it makes due."""
        self.perform(self.replica.handle(event, self.store, self.net.now_s))
        for _ in range(100):
            if not self.replica.is_unsettled:
                return
            self.perform(self.replica.handle(Settle(), self.store, self.net.now_s))
        raise AssertionError("settling does not end")

    def perform(self, effects: Iterable[Effect]) -> None:
        """Performs effects in their order."""
        for effect in effects:
            match effect:
                case Store(commit):
                    self.store.commit(commit)
                case Send(peer, message):
                    self.sent.append((peer, message))
                    self.net.send(self.name, peer, message)
                case Publish(message):
                    self.published.append(message)
                    self.net.publish(self.name, message)
                case SetTimer(name, delay_s):
                    self.timers[name] = self.net.now_s + delay_s
                case Reject(reason):
                    self.rejected[reason] += 1
                case Notify(change):
                    self.changes.append(change)
                case Contact(peer):
                    self.contacts.append(peer)
                case _:
                    self._keep(effect)

    def _keep(self, effect: Effect) -> None:
        match effect:
            case Heal(block):
                self.store.heal(block.id, block.encoded)
            case PutSide(cid, data):
                self.store.put_side(cid, data)

    def append(self, signer: Signer, *payloads: bytes) -> None:
        """Appends own blocks."""
        self.handle(Append([Draft(payload) for payload in payloads], signer, 0))

    def hold(self, blocks: Sequence[Block]) -> None:
        """Has taken blocks from elsewhere, without telling anybody about it."""
        for at in range(0, len(blocks), 256):
            outcome = self.replica.members.ingest([(block, "elsewhere") for block in blocks[at : at + 256]], self.store)
            assert outcome.parked == 0
            self.store.commit(outcome.commit)

    def receive(self, peer: str, message: Message, *, gossip: bool = False) -> None:
        """Takes a message, as a node does: blocks are screened first."""
        again = messages.decode(messages.encode(message))
        assert again == message
        if isinstance(again, Blocks):
            screened = screen(again.blocks, lambda ids: self.replica.known(ids, self.store))
            self.handle(Came(peer, again.why, screened, gossip))
        else:
            assert again is not None
            self.handle(Received(peer, again, gossip))

    def said(self, kind: type[M], to: str | None = None) -> list[M]:
        """The messages of one kind that it sent."""
        return [message for peer, message in self.sent if isinstance(message, kind) and to in (None, peer)]

    def changed(self, kind: type[M]) -> list[M]:
        """The changes of one kind that it told."""
        return [change for change in self.changes if isinstance(change, kind)]

    @property
    def ids(self) -> set[BlockId]:
        """The folded set."""
        return {row.id for row in self.store.canonical(None, 1 << 30)}

    @property
    def digest(self) -> bytes:
        """The digest of its frontier."""
        return self.replica.members.frontier.digest()


class Net:
    """Peers, streams between them, and a channel when `gossips`."""

    def __init__(self, world: World, *names: str, gossips: bool = False) -> None:
        self.world = world
        self.now_s = 0.0
        self.gossips = gossips
        self.streams: set[tuple[str, str]] = set()
        self.queue: deque[tuple[str, str, Message, bool]] = deque()
        self.filter: Callable[[str, str, Message], bool] = lambda _source, _target, _message: True
        self.peers: dict[str, Peer] = {}
        for name in names:
            self.peers[name] = Peer(name, world, self)
            self.peers[name].replica.sync.gossips = gossips

    def __getitem__(self, name: str) -> Peer:
        return self.peers[name]

    def connect(self, one: str, other: str) -> None:
        """Opens a stream."""
        self.streams |= {(one, other), (other, one)}
        self[one].handle(PeerSeen(other))
        self[other].handle(PeerSeen(one))

    def cut(self, one: str, other: str) -> None:
        """Cuts a stream: what is under way on it is lost."""
        self.streams -= {(one, other), (other, one)}
        self.queue = deque(entry for entry in self.queue if {entry[0], entry[1]} != {one, other} or entry[3])
        self[one].handle(PeerLost(other))
        self[other].handle(PeerLost(one))

    def send(self, source: str, target: str, message: Message) -> None:
        """Puts a message on a stream."""
        if (source, target) in self.streams and self.filter(source, target, message):
            self.queue.append((source, target, message, False))

    def publish(self, source: str, message: Message) -> None:
        """Puts a message on the channel."""
        if self.gossips:
            self.queue.extend((source, name, message, True) for name in self.peers if name != source)

    def deliver(self) -> None:
        """Delivers until nothing is under way."""
        for _ in range(200_000):
            if not self.queue:
                return
            source, target, message, gossip = self.queue.popleft()
            if target in self.peers:
                self[target].receive(source, message, gossip=gossip)
        raise AssertionError("the peers never fall silent")

    def run(self, seconds: float, *, only: str | None = None) -> None:
        """Lets time pass; timers whose name starts with `only`, or all, fire."""
        self.deliver()
        end_s = self.now_s + seconds
        while True:
            due = [
                (at, peer.name, name)
                for peer in self.peers.values()
                for name, at in peer.timers.items()
                if at <= end_s and (only is None or name.startswith(only))
            ]
            if not due:
                break
            at, peer_name, name = min(due)
            self.now_s = max(self.now_s, at)
            del self[peer_name].timers[name]
            self[peer_name].handle(TimerFired(name))
            self.deliver()
        self.now_s = end_s

    def agree(self) -> None:
        """All hold the same."""
        sets = [(peer.ids, peer.digest, set(peer.replica.members.heads)) for peer in self.peers.values()]
        assert all(one == sets[0] for one in sets)


def blocks_of(sent: Iterable[Any]) -> list[bytes]:
    """The blocks in messages, in order."""
    return [encoded for message in sent if isinstance(message, Blocks) for encoded in message.blocks]
