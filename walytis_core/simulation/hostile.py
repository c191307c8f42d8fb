"""Hostile peers: everything that somebody on the wire can say, said at the worst moment.

Each is a participant of its own, with streams and a place on the channel. `KINDS` names them. A hostile peer hears what is said to it
and acts whenever its turn comes; it knows the chain, but no key except its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from walytis_core.block import decode
from walytis_core.cid import BlockId, Cid
from walytis_core.errors import RemoteError
from walytis_core.frontier import Entry
from walytis_core.limits import Limits
from walytis_core.messages import (
    Announce,
    Blocks,
    Buckets,
    Credit,
    Differ,
    Digest,
    Done,
    ForkProof,
    Message,
    Probe,
    Pull,
    SideLacking,
    SidePart,
    SideWant,
    Want,
    Why,
)
from walytis_core.policy import Genesis
from walytis_core.simulation.forgery import Forger
from walytis_core.simulation.traffic import Envelope
from walytis_core.simulation.wires import Wires


class Hostile:
    """A hostile peer that does nothing but hold streams open; the others are built on it.

    Args:
        every_s: How often it acts, on average.
    """

    writes = False
    """Whether it adds to the chain for as long as it is there."""

    def __init__(self, name: str, genesis: Genesis, wires: Wires, rng: random.Random, every_s: float = 0.3) -> None:
        self.name = name
        self.is_up = True
        self.rng = rng
        self.forger = Forger(genesis, rng)
        self.every_s = every_s
        self.heard_digests: list[Digest] = []
        self._wires = wires

    def start(self) -> None:
        """Begins to act."""
        self._wires.timeline.after(self.every_s * 2 * self.rng.random(), self._turn)

    def _turn(self) -> None:
        if not self.is_up:
            return
        if len(self.streams) < 3:
            victims = [name for name, one in self._wires.everyone.items() if not isinstance(one, Hostile)]
            self._wires.dial(self.name, self.rng.choice(victims), spare=True)
        self.act()
        self.start()

    @property
    def streams(self) -> list[str]:
        """The peers it has a stream to."""
        return self._wires.neighbours(self.name)

    def tell(self, message: Message, *peers: str) -> None:
        """Says something over streams: to these peers, or to all."""
        envelope = Envelope.of(message)
        for peer in peers or self.streams:
            self._wires.send(self.name, peer, envelope)

    def publish(self, message: Message) -> None:
        """Says something on the channel."""
        self._wires.publish(self.name, Envelope.of(message))

    # --- to be overridden ----------------------------------------------------------------------------------------

    def act(self) -> None:
        """Its turn."""

    def opened(self, peer: str) -> None:
        """A stream is open."""

    def closed(self, peer: str) -> None:
        """A stream is gone."""

    def heard(self, peer: str, envelope: Envelope, gossip: bool) -> None:
        """A message came."""
        match envelope.message_or_none():
            case Blocks(_, blocks):
                for encoded in blocks:
                    self._saw(encoded)
            case Digest() as digest:
                self.heard_digests = [*self.heard_digests[-7:], digest]
            case _:
                return

    def _saw(self, encoded: bytes) -> None:
        try:
            self.forger.saw(decode(encoded))
        except RemoteError:
            return


class Garbler(Hostile):
    """Sends bytes that are no messages, or nearly are."""

    def act(self) -> None:
        """Its turn."""
        whole = Envelope.of(Digest(self.rng.randbytes(32), self.rng.randrange(100))).data
        nested = b"\x81" * self.rng.randrange(100) + b"\x01"
        data = self.rng.choice(
            [self.rng.randbytes(self.rng.randrange(200)), whole[:-1], whole + b"\0", nested, b"\x81\x18\x63"]
        )
        envelope = Envelope(data, "garbage")
        for peer in self.streams:
            self._wires.send(self.name, peer, envelope)
        self._wires.publish(self.name, envelope)


class Inventor(Hostile):
    """Sends blocks that break the rules, and blocks that name those, in any order, to some and not to others."""

    writes = True

    def act(self) -> None:
        """Its turn."""
        wrong = self.forger.wrong()
        blocks = [wrong, self.forger.child_of(wrong), self.forger.good(), self.forger.unsigned(wrong)]
        blocks.append(self.forger.child_of(blocks[-1]))
        self.rng.shuffle(blocks)
        some = Blocks(self.rng.choice(list(Why)), tuple(block.encoded for block in blocks[: self.rng.randrange(6)]))
        for peer in self.streams:
            if self.rng.random() < 0.5:
                self.tell(some, peer)
        if self.rng.random() < 0.3:
            self.publish(some)


class Forker(Hostile):
    """Equivocates: different blocks at one place, to different peers, and forks below forks."""

    writes = True

    def act(self) -> None:
        """Its turn."""
        for peer in self.streams:
            block = self.forger.fork() if self.rng.random() < 0.5 else self.forger.good()
            self.tell(Blocks(self.rng.choice(list(Why)), (block.encoded,)), peer)
        if self.rng.random() < 0.3:
            self.publish(Blocks(Why.NEWS, (self.forger.fork().encoded,)))
        if len(self.forger.seen) > 1:
            one, other = sorted(self.rng.sample(self.forger.seen, 2), key=lambda block: block.id)
            self.tell(ForkProof(one.encoded, other.encoded))


class Liar(Hostile):
    """Lies about what it holds: random digests, or each side's own; frontiers of any kind; `Done` and more unasked."""

    def act(self) -> None:
        """Its turn."""
        digest = (
            self.rng.choice(self.heard_digests) if self.heard_digests and self.rng.random() < 0.5 else self._random()
        )
        self.publish(digest)
        lies: list[Message] = [
            digest,
            self._frontier(),
            Done(self.rng.randbytes(32), 1),
            Differ((0, 255)),
            self._buckets(),
        ]
        self.tell(self.rng.choice(lies))

    def heard(self, peer: str, envelope: Envelope, gossip: bool) -> None:
        """A message came."""
        super().heard(peer, envelope, gossip)
        match envelope.message_or_none():
            case Digest() as digest:
                self.tell(self.rng.choice([digest, self._random()]), peer)
            case Pull():
                answers: list[Message] = [Done(self.rng.randbytes(32), 1), self._frontier()]
                self.tell(self.rng.choice(answers), peer)
            case Buckets():
                self.tell(Differ(tuple(range(self.rng.randrange(256)))), peer)

    def _random(self) -> Digest:
        return Digest(self.rng.randbytes(32), self.rng.randrange(1 << 40))

    def _buckets(self) -> Buckets:
        return Buckets(tuple(self.rng.randbytes(16) for _ in range(256)))

    def _frontier(self) -> Pull:
        authors = [block.author for block in self.forger.seen] + [signer.key for signer in self.forger.signers]
        entries = {
            author: Entry(
                self.rng.choice([0, 1, 10, Limits.max_int]),
                BlockId.of(self.rng.randbytes(4)),
                self.rng.choice([None, 0, 5]),
            )
            for author in authors
            if self.rng.random() < 0.7
        }
        return Pull(self.rng.choice([None, (0, 1, 2)]), tuple(sorted(entries.items())), self.rng.random() < 0.8)


class Flooder(Hostile):
    """Asks for nonsense, announces nonsense, gives too much credit, or none: it never gives any back."""

    def act(self) -> None:
        """Its turn."""
        ids = tuple(BlockId.of(self.rng.randbytes(8)) for _ in range(self.rng.choice([1, 50, 1024])))
        cids = tuple(Cid(id) for id in ids[:20])
        known = tuple(block.id for block in self.forger.seen)
        floods: list[Message] = [
            Want(ids), Want(known), Announce(ids), Credit(4), Credit(0), SideWant(cids), SideLacking(cids),
            SidePart(cids[0], 0, 5, b"hello"), Pull(None, (), True), self._probe(), Blocks(Why.PULLED, ()),
        ]  # fmt: skip
        for message in self.rng.choices(floods, k=8):
            self.tell(message)
        self.publish(self.rng.choice(floods))

    def heard(self, peer: str, envelope: Envelope, gossip: bool) -> None:
        """A message came."""
        super().heard(peer, envelope, gossip)
        if envelope.kind == "Probe":
            self.tell(self._probe(), peer)

    def _probe(self) -> Probe:
        authors = [block.author for block in self.forger.seen] or [self.forger.signers[0].key]
        places = sorted(self.rng.sample(range(50), 8))
        return Probe(self.rng.choice(authors), tuple((seq, BlockId.of(self.rng.randbytes(4))) for seq in places))


class Staller(Hostile):
    """Looks like the best peer to ask, and then gives nothing, or never enough."""

    def opened(self, peer: str) -> None:
        """A stream is open."""
        self.tell(Digest(self.rng.randbytes(32), 1 << 30), peer)

    def act(self) -> None:
        """Its turn."""
        self.publish(Digest(self.rng.randbytes(32), 1 << 30))
        self.tell(Blocks(Why.PULLED, ()))


KINDS: dict[str, Callable[..., Hostile]] = {
    "silent": Hostile,
    "garbler": Garbler,
    "inventor": Inventor,
    "forker": Forker,
    "liar": Liar,
    "flooder": Flooder,
    "staller": Staller,
}
"""The hostile peers by name."""
