"""What the measures of identities work on: a long chain of events that all count, made without a node and without being folded.

Five devices of one person take turns, and each turn goes the way of a device that comes and goes: it asks, is added, says
its first word; the keys are renewed; it is removed; another device renews. So a sixth of the events make a seat, and a third
an epoch. Each event builds on the one before it, and each block names what its author must not leave out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

from benchmarks.material import BATCH, CHAIN_NAME
from identities.acts import ADDED, ASKED, JOINED, REMOVED, RENEWED, SeatId
from identities.epoch_keys import SECRET_BYTES, EpochKeys, epoch_keys
from identities.holders import Control, Genesis, PublicKey
from identities.keyring import DeviceSecrets
from identities.payloads import ASKING, EVENT, PREFIX, SUCCESSION, Asking, Event, RenewalKeys, encode, removed
from identities.recovery import RecoveryCode
from identities.suites import SigningKey
from walytis_core.block import Block, Place, create, draft
from walytis_core.cid import RAW_PREFIX, BlockId, Cid
from walytis_core.policy import ADMIT, EVERYONE, Policy, create_genesis, encode_admit
from walytis_core.store.port import Commit
from walytis_core.store.sqlite import SqliteStore

DEVICES: Final = 5
_NODE_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = {1: 64, 2: 3373}
_SOME_CID: Final = bytes(Cid.of(b"a wrap", RAW_PREFIX))


class Device:
    """A device that writes.

    Args:
        suite: Of its signing key.
    """

    def __init__(self, suite: int) -> None:
        self.secrets = DeviceSecrets.fresh(os.urandom(_NODE_KEY_BYTES), suite)
        self.seat: SeatId = 1
        self.last: Block | None = None
        self.last_event: Block | None = None
        self.start: BlockId | None = None
        """The block that lets its key write."""


class History:
    """Makes the events of one identity.

    Args:
        suite: Of all its keys.
        is_signed: Whether seats sign their events; else random bytes stand where signatures would, for measures that ask
            for none. Blocks are signed in any case.
    """

    def __init__(self, suite: int, *, is_signed: bool = True) -> None:
        self._suite = suite
        self._is_signed = is_signed
        founder, code = Device(suite), RecoveryCode.fresh()
        self._epoch, control = _control(suite)
        self._live: dict[SeatId, bytes] = {1: founder.secrets.public.seal.id}
        data = Genesis(code.public.hash, code.block.key, (founder.secrets.public,), control).data
        policy = Policy(frozenset({founder.secrets.block.key, code.block.key}), EVERYONE, data=data)
        self.genesis = create_genesis(founder.secrets.block, policy, os.urandom(16), _now_ms())
        founder.start = self.genesis.id
        self._devices = [founder]
        self._newest: Block = self.genesis
        self._events: Block | None = None
        self._number, self._previous = 0, bytes(self.genesis.id)
        self.last_seat: SeatId = 1

    def blocks(self, events: int) -> Iterator[Block]:
        """Blocks with so many events, and the admissions between them."""
        left = events
        for block in self._endless():
            yield block
            left -= block.type.startswith(PREFIX)
            if not left:
                return

    def _endless(self) -> Iterator[Block]:
        while len(self._devices) < DEVICES:
            device = Device(self._suite)
            yield from self._add(self._devices[0], device)
            self._devices.append(device)
        for turn in cycle(range(DEVICES)):
            lead, other, device = self._devices[turn], self._devices[turn - 1], Device(self._suite)
            yield from self._add(lead, device)
            yield self._renew(lead)
            yield self._event(lead, REMOVED, removed([device.seat], None))
            del self._live[device.seat]
            yield self._renew(other)

    def _add(self, lead: Device, device: Device) -> Iterator[Block]:
        admission = self._block(lead, ADMIT, encode_admit([device.secrets.block.key]))
        device.start = admission.id
        yield admission
        bare = Asking(device.secrets.public, "a device", b"")
        proof = self._sign(device.secrets.sign, ASKING, bare.proven(self.genesis.id))
        yield self._event(device, ASKED, bare._replace(proof=proof).wire)
        added = self._event(lead, ADDED, device.secrets.public.wire)
        self.last_seat = device.seat = bytes(added.id)
        self._live[device.seat] = device.secrets.public.seal.id
        yield added
        yield self._event(device, JOINED, None)

    def _renew(self, device: Device) -> Block:
        self._number += 1
        keys, control = _control(self._suite)
        wraps = tuple((seat, key, _SOME_CID) for seat, key in self._live.items())
        bare = RenewalKeys(self._number, self._previous, control, wraps, None, self._previous)
        vouching, self._epoch = self._epoch.signing(self._suite) if self._is_signed else None, keys
        succession = self._sign(vouching, SUCCESSION, bare.vouched(self.genesis.id))
        block = self._event(device, RENEWED, bare._replace(succession=succession).wire)
        self._previous = bytes(block.id)
        return block

    def _event(self, device: Device, kind: str, body: Any) -> Block:
        seen = {bytes(block.id) for block in (self._events, device.last_event) if block is not None}
        event = Event(kind, () if kind == ASKED else (device.seat,), tuple(sorted(seen)), body)
        if event.path:
            message = event.signed(self.genesis.id) if self._is_signed else b""
            event = event._replace(proofs=(self._sign(device.secrets.sign, EVENT, message),))
        block = self._block(device, PREFIX + kind, encode(event), event.seen)
        self._events = device.last_event = block
        return block

    def _sign(self, key: SigningKey | None, context: str, message: bytes) -> bytes:
        if key is None or not self._is_signed:
            return os.urandom(_SIGNATURE_BYTES[self._suite])
        return key.sign(context, message)

    def _block(self, device: Device, type: str, payload: bytes, named: Sequence[bytes] = ()) -> Block:
        assert device.start is not None
        last = device.last
        prev = device.start if last is None else last.id
        parents = tuple(sorted({self._newest.id, *map(BlockId, named)} - {prev, self.genesis.id}))
        seq = (prev == self.genesis.id) if last is None else last.seq + 1
        place = Place(self.genesis.id, int(seq), prev, parents, self._newest.height + 1)
        block = create(device.secrets.block, place, draft(payload, type=type), _now_ms())
        self._newest = device.last = block
        return block


def fill(directory: Path, history: History, events: int) -> None:
    """Writes a chain with so many events into the store of a folder, without judging them."""
    store = SqliteStore.open(directory)
    try:
        chain = store.create_chain(history.genesis, CHAIN_NAME)
        blocks = history.blocks(events)
        while batch := list(islice(blocks, BATCH)):
            chain.commit(Commit(blocks=batch))
    finally:
        store.close()


def _control(suite: int) -> tuple[EpochKeys, Control]:
    keys = epoch_keys(os.urandom(SECRET_BYTES))
    signing, sealing = keys.signing(suite), keys.sealing()
    return keys, Control(PublicKey(suite, signing.public), PublicKey(sealing.suite, sealing.public))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
