"""What tests of sessions share: two parties with keys, a judge that holds a view, and handshakes frame by frame."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from identities.handshake import Asked, Ends, Initiator, Key, Keys, Own, Responder, Session, Step, Verdict
from identities.suites import ED25519, SigningKey
from walytis_core.cid import BlockId
from walytis_core.errors import Reason, RemoteError, UnavailableError

FRAMES = 4
ENDS = Ends("peer-alice", "peer-bob")


def device(number: int, suite: int = ED25519) -> SigningKey:
    """A key of its own for each number."""
    return SigningKey.from_seed(suite, bytes([number]) * 32)


def entropy(seed: int) -> bytes:
    return random.Random(seed).randbytes(96)


def key_of(key: SigningKey) -> Key:
    return Key(key.suite, key.public)


def party(name: str, seat: int = 1, *, suite: int = ED25519, epoch: int = 1) -> Own:
    """A device of the identity `name`, with the control key of an epoch."""
    control = random.Random(f"{name}/{epoch}").randbytes(32)
    own = random.Random(f"{name}/device/{seat}").randbytes(32)
    return Own(
        BlockId.of(name.encode()), (seat,), SigningKey.from_seed(suite, control), SigningKey.from_seed(suite, own)
    )


class View:
    """A judge: knows parties, and refuses what it was told to. Keeps what it was asked.

    Attributes:
        members: Devices by identity and seat.
        controls: Control keys by identity and id.
        stale: Ids of control keys that are taken no longer.
    """

    def __init__(self, *known: Own) -> None:
        self.members: dict[tuple[bytes, object], SigningKey] = {}
        self.controls: dict[tuple[bytes, bytes], SigningKey] = {}
        self.stale: set[bytes] = set()
        self.asked: list[Asked] = []
        for own in known:
            self.know(own)

    def know(self, own: Own) -> None:
        self.members[own.did, own.path] = own.device
        self.controls[own.did, own.control.id] = own.control

    def __call__(self, asked: Asked) -> Verdict:
        self.asked.append(asked)
        peer = asked.peer
        if (peer.did, peer.path) not in self.members:
            return Reason.UNKNOWN_MEMBER
        if peer.control_id in self.stale:
            return Reason.STALE_KEY
        if (peer.did, peer.control_id) not in self.controls:
            return Reason.WRONG_IDENTITY
        return Keys(key_of(self.controls[peer.did, peer.control_id]), key_of(self.members[peer.did, peer.path]))


ALICE, BOB, EVE = party("alice"), party("bob"), party("eve")
VIEW = View(ALICE, BOB, EVE)
Judge = Callable[[Asked], Verdict]
Change = Callable[[int, bytes], bytes]


class Run(NamedTuple):
    """A handshake that was carried: sessions, frames as sent, and why each end refused."""

    initiator: Session | None
    responder: Session | None
    sent: list[bytes]
    faults: tuple[Reason | None, Reason | None]
    is_told: bool
    """Whether the initiator was told that it is not taken."""


def initiator(seed: int = 1, own: Own = ALICE, *, to: Own = BOB, ends: Ends = ENDS, renews: bytes = b"") -> Initiator:
    return Initiator(own, to.did, ends, entropy(seed), renews)


def responder(seed: int = 2, *here: Own, ends: Ends = ENDS, renews: bytes = b"") -> Responder:
    return Responder(here or (party("others"), BOB), ends, entropy(seed), renews)


def stepped(machine: Initiator | Responder, frame: bytes, judge: Judge) -> Step:
    """Takes a frame, and the verdict where one is asked for."""
    step = machine.receive(frame)
    return machine.answer(judge(step.asks)) if step.asks else step


def run(
    first: Initiator | None = None,
    second: Responder | None = None,
    change: Change = lambda _, frame: frame,
    *,
    judges: tuple[Judge, Judge] = (VIEW, VIEW),
) -> Run:
    """Carries the frames between two machines, each through `change`."""
    machines: list[Initiator | Responder] = [first or initiator(), second or responder()]
    assert isinstance(machines[0], Initiator)
    sent = [machines[0].hello]
    opened: list[Session | None] = [None, None]
    faults: list[Reason | None] = [None, None]
    is_told = False
    for number in range(FRAMES):
        to = (number + 1) % 2
        try:
            step = stepped(machines[to], change(number, sent[-1]), judges[to])
        except RemoteError as error:
            faults[to] = error.reason
            break
        except UnavailableError:
            is_told = True
            break
        opened[to], faults[to] = step.session, step.refused
        if not step.send:
            break
        sent.append(step.send)
    return Run(opened[0], opened[1], sent, (faults[0], faults[1]), is_told)


def open_pair(seed: int = 1) -> tuple[Session, Session]:
    """An initiator's and a responder's session."""
    done = run(initiator(seed), responder(seed + 1000))
    assert done.initiator
    assert done.responder
    return done.initiator, done.responder
