"""Events on the chain of an identity that nobody honest would write: with any keys, at any place, about anything.

A `Forger` holds the secrets of one device, its own or stolen ones, and writes where the core lets it: what it makes goes into
a node's own copy of the chain as blocks of a peer do. It asks nobody whether an event would count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from identities.acts import RENEWED, SeatId
from identities.epoch_keys import EpochKeys, epoch_keys
from identities.holders import Control, PublicKey
from identities.holding import Holding
from identities.identity import Identity
from identities.keyring import DeviceSecrets
from identities.known import KnownIdentity
from identities.node_log import NodeLog
from identities.payloads import EVENT, PREFIX, SUCCESSION, Event, RenewalKeys, encode
from identities.suites import ED25519, SigningKey
from identities.wraps import wrap, wrap_info
from walytis_core import Block, BlockId, Chain, Cid, Node, Obeyed
from walytis_core import block as blocks
from walytis_core.cid import RAW_PREFIX
from walytis_core.events import Came
from walytis_core.messages import Why
from walytis_core.policy import ADMIT, encode_admit, read_admit
from walytis_core.screening import Screened
from walytis_core.signer import Ed25519Signer, Signer

NODE_KEY: Final = bytes(range(32))
NOWHERE: Final = bytes(Cid.of(b"nobody has this", RAW_PREFIX))


def some_device(number: int, suite: int = ED25519, node_key: bytes = NODE_KEY) -> DeviceSecrets:
    """A device with keys of its own, the same ones each time."""
    return DeviceSecrets.fresh(node_key, suite, lambda count: number.to_bytes(count, "big"))


def inject(chain: Chain, *made: blocks.Block) -> None:
    """Has a node take blocks as if a peer had sent them, parents first or not."""
    chain.engine.handle(Came("forger", Why.PULLED, Screened(tuple(made)), gossip=True))


def raw(block: Block) -> blocks.Block:
    """A block as the core's deciding files know it."""
    return blocks.decode(block.encoded, block.id)


class Forger:
    """Somebody with the secrets of one device.

    Args:
        chain: A node's copy of the chain.
        device: The secrets.
    """

    def __init__(self, chain: Chain, device: DeviceSecrets, lock: AbstractContextManager[object] | None = None) -> None:
        self.chain = chain
        self.device = device
        self._lock = lock or nullcontext()

    @classmethod
    def of(cls, identity: Identity, chain: Chain | None = None) -> Forger:
        """Who stole the device of an identity; `chain` is another node's copy."""
        device = identity._held.actor.keyring.device
        assert device is not None
        return cls(chain or identity.chain, device, identity._held.home.lock)

    # --- blocks ------------------------------------------------------------------------------------------------------

    def own(self, signer: Signer | None = None) -> Block | None:
        """The newest block by its key."""
        key = (signer or self.device.block).key
        mine = [block for block in self.chain.blocks() if block.author == key]
        return max(mine, key=lambda block: block.seq, default=None)

    def _start(self, key: bytes) -> BlockId:
        if key in (self.chain.policy.writers or (key,)):
            return self.chain.id
        for block in self.chain.blocks(type=ADMIT):
            if key in read_admit(raw(block)):
                return block.id
        return self.chain.id  # the core will not have it

    def block(
        self,
        type: str,
        payload: bytes,
        parents: Iterable[bytes] = (),
        *,
        prev: Block | None = None,
        signer: Signer | None = None,
    ) -> blocks.Block:
        """A block of its key after `prev`, its newest one if left out; without any parents but those that are named."""
        signer = signer or self.device.block
        before = prev or self.own(signer)
        start = self._start(signer.key) if before is None else before.id
        named = tuple(
            BlockId(id) for id in sorted({bytes(id) for id in parents} - {bytes(start), bytes(self.chain.id)})
        )
        height = 1 + max(0 if id == self.chain.id else self.chain.block(id).height for id in (start, *named))
        place = blocks.Place(self.chain.id, 0 if before is None else before.seq + 1, start, named, height)
        return blocks.create(signer, place, blocks.draft(payload, type=type), 0)

    def put(self, block: blocks.Block) -> blocks.Block:
        """Has the node take a block."""
        inject(self.chain, block)
        return block

    def admit(self, key: bytes) -> blocks.Block:
        """Lets another key write."""
        with self._lock:
            return self.put(self.block(ADMIT, encode_admit([key]), self.chain.heads))

    # --- events ------------------------------------------------------------------------------------------------------

    def event(self, kind: str, body: Any, seat: SeatId, seen: Iterable[bytes], sign: SigningKey | None = None) -> Event:
        """An event of a seat, signed with its device's key or another."""
        event = Event(kind, (seat,), tuple(sorted(map(bytes, set(seen)))), body)
        key = sign or self.device.sign
        return event._replace(proofs=(key.sign(EVENT, event.signed(self.chain.id)),))

    def say(
        self,
        kind: str,
        body: Any,
        seat: SeatId,
        seen: Iterable[bytes] | None = None,
        *,
        sign: SigningKey | None = None,
        signer: Signer | None = None,
        prev: Block | None = None,
        parents: Iterable[bytes] = (),
        forgetful: bool = False,
    ) -> bytes:
        """Writes an event on top of its own last one, which is the oldest it can pretend to be, and of what it has `seen`.

        Args:
            forgetful: Whether to leave its own last one out.
        """
        with self._lock:  # whose key it is does not write at the same time: that would be a fork
            named = {*(seen or ()), *(() if forgetful else self.last_events(signer))}
            event = self.event(kind, body, seat, named, sign)
            block = self.block(PREFIX + kind, encode(event), [*named, *parents], prev=prev, signer=signer)
            return bytes(self.put(block).id)

    def last_events(self, signer: Signer | None = None) -> list[bytes]:
        """Its own last event, which it cannot leave out; none at first."""
        key = (signer or self.device.block).key
        mine = [block for block in self.chain.blocks() if block.author == key and block.type.startswith(PREFIX)]
        return [bytes(max(mine, key=lambda block: block.seq).id)] if mine else []

    def state(self, kind: str, body: Any, seen: Iterable[bytes] = (), *, signer: Signer | None = None) -> bytes:
        """Writes a fact: without a seat."""
        named = sorted({*map(bytes, seen), *self.last_events(signer)})
        payload = encode(Event(kind, (), tuple(named), body))
        return bytes(self.put(self.block(PREFIX + kind, payload, named, signer=signer)).id)


@contextmanager
def copy_of(identity: KnownIdentity, *more: blocks.Block) -> Iterator[KnownIdentity]:
    """Another node's copy of an identity's chain, with more blocks, in whatever order they are given."""
    with Node.in_memory() as node:
        chain = node.adopt(identity.chain.genesis, name="copy")
        known = KnownIdentity(Holding(NodeLog(chain, lambda _id: None, lambda: None), 0.0))
        inject(chain, *(raw(block) for block in identity.chain.blocks()))
        inject(chain, *more)
        yield known
        known._held.close()


# --- renewals --------------------------------------------------------------------------------------------------------


class Wraps:
    """What a hostile renewer makes of the wraps of one renewal.

    Args:
        identity: The identity as the renewer sees it.
        secret: Of the new epoch.
    """

    def __init__(self, identity: Identity, secret: bytes = bytes(range(32)), number: int | None = None) -> None:
        self.identity = identity
        self.keys: EpochKeys = epoch_keys(secret)
        self.secret = secret
        self.folded = identity.folded
        epochs = self.folded.epochs
        self.newest = epochs.newest.id
        self.number = epochs.next_number if number is None else number
        self.suite = identity._held.control(epochs.newest).sign.suite
        sealing = self.keys.sealing()
        sign = PublicKey(self.suite, self.keys.signing(self.suite).public)
        self.control = Control(sign, PublicKey(sealing.suite, sealing.public))
        self.info = wrap_info(identity.chain.id, self.number, self.control.sign.id)

    @property
    def seats(self) -> dict[SeatId, bytes]:
        """The live seats and the key of each."""
        return self.folded.epochs.keys_now()

    def to(self, seat: SeatId, *, secret: bytes | None = None, data: bytes | None = None, lost: bool = False) -> tuple[
        SeatId, bytes, bytes
    ]:  # fmt: skip
        """The wrap of one seat: honest, of another secret, of any bytes, or kept by nobody."""
        key_id, actor = self.seats[seat], self.identity._held.actor
        public = actor.seal_public(self.folded, self.folded.authority.seats[seat], key_id).public
        sealed = wrap(secret or self.secret, public, self.info) if data is None else data
        cid = Cid.of(sealed, RAW_PREFIX) if lost else actor.log.keep(sealed)
        return seat, key_id, bytes(cid)

    def body(self, wraps: Sequence[tuple[SeatId, bytes, bytes]], *, vouching: EpochKeys | None = None) -> Any:
        """The body of the renewal."""
        newest = self.folded.epochs.newest
        held = vouching or self.identity._held.actor.keyring.epoch(newest.sign_id)
        assert held is not None
        bare = RenewalKeys(self.number, newest.id, self.control, tuple(wraps), None, newest.id)
        key = held.signing(self.identity._held.control(newest).sign.suite)
        return bare._replace(succession=key.sign(SUCCESSION, bare.vouched(self.identity.chain.id))).wire

    def write(self, wraps: Sequence[tuple[SeatId, bytes, bytes]]) -> bytes:
        """Has the device itself write it, so that it goes on from it."""
        self.identity._held.actor.keyring.add_epochs((self.control.sign.id, self.keys))
        return bytes(self.identity._held.actor.act(RENEWED, self.body(wraps)).id)


def is_void(known: KnownIdentity, id: bytes) -> bool:
    """Whether an event that is held counts for nothing: it is not genuine, or its author had no right to it."""
    assert BlockId(id) in known.chain, "the core itself did not take it"
    is_genuine = id in known.folded.pasts.place
    standing = known.chain.standing(BlockId(id))
    assert isinstance(standing, Obeyed) is (is_genuine and id not in known.folded.authority.void)
    return not isinstance(standing, Obeyed)


def is_genuine(known: KnownIdentity, id: bytes) -> bool:
    """Whether an event was taken for what its seat said, with the right to it or not."""
    return id in known.folded.pasts.place


def fresh_signer(number: int) -> Ed25519Signer:
    """A key of nobody."""
    return Ed25519Signer((1 << 200 | number).to_bytes(32, "big"))
