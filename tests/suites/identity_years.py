"""An identity's devices in simulated years: the real workers on real replicas, with a calendar that skips what is quiet.

The network's clock runs for what devices say to each other, and the calendar jumps over the days between: nobody is there
to notice. What is random comes from the seed. With `identity_peers.stand_ins` for what the operating system makes random, a
run can be played again; without them it is the real cryptography.
"""

from __future__ import annotations

import random
from typing import cast

from identities.actor import Actor
from identities.acts import Act, SeatId
from identities.epoch_keys import SECRET_BYTES, epoch_keys
from identities.epochs import Epoch
from identities.holders import Control, Genesis, PublicKey
from identities.keyring import DeviceSecrets, Keyring
from identities.recovery import RecoveryCode
from identities.renewal import DAY_S, RenewalPolicy, Renewing
from identities.suites import COMPOSITE, ED25519
from identities.worker import Worker
from tests.suites.identity_peers import MemoryVault, PeerLog, SharedFolds
from walytis_core.events import Change
from walytis_core.policy import EVERYONE, Policy, create_genesis
from walytis_core.simulation import Simulation, Weather
from walytis_core.simulation.peer import node_key_of

START_S = 1_700_000_000.0
LINKS = 3
NEAR_S = 5.0
"""What is due within this time is waited for on the network's clock; the calendar jumps over more."""


class Device:
    """One device: a peer, its secrets and its worker.

    Attributes:
        is_ours: Whether an honest person has it, and means to come back.
        made_s: When it came to be.
        due_s: When its worker wants to be called.
        ever, authors: The ids of all X-Wing keys it ever had, and the keys that it wrote with.
    """

    def __init__(self, years: Years, name: str, secrets: DeviceSecrets) -> None:
        self.years = years
        self.name = name
        self.peer = years.sim.peer(name)
        self.log = PeerLog(years.sim, years.folds, lambda: years.now_s, self.peer, secrets.block)
        self.keyring = Keyring(MemoryVault(), "device", secrets)
        self.actor = Actor(self.log, self.keyring, entropy=years.random.randbytes)
        self.worker = Worker(
            self.actor,
            Renewing(years.policy, years.random.random),
            is_online=lambda: bool(self.peer.replica.sync.links),
        )
        self.log.awaited = lambda: self.worker._wanted_since
        self.is_ours = True
        self.ever: set[bytes] = set()
        self.authors: set[bytes] = set()
        self.due_s = 0.0
        self.has_seat = False
        self.is_called = False

    def __repr__(self) -> str:
        return self.name

    def made(self, act: Act) -> bool:
        """Whether it wrote an act, by any key it had."""
        return act.author in self.authors

    def note_keys(self) -> None:
        """Remembers the keys it has now."""
        self.authors.add(self.log.writer)
        self.ever |= {*self.keyring.seals, *([self.keyring.device.seal_id] if self.keyring.device else [])}

    @property
    def is_online(self) -> bool:
        return self.peer.is_up

    @property
    def seat(self) -> SeatId | None:
        """Its live seat, as it sees it."""
        path = self.actor.path()
        return None if path is None else path[0]

    @property
    def current(self) -> Epoch | None:
        return self.log.folded().epochs.current

    @property
    def has_current(self) -> bool:
        """Whether it may send: there is a usable epoch, and its keys are here."""
        current = self.current
        return current is not None and self.keyring.has_epoch(current.sign_id)

    def call(self) -> None:
        """Has the worker called in a moment."""
        if not self.is_called:
            self.is_called = True
            self.years.sim.timeline.after(0.002, self.work)

    def work(self) -> None:
        """The worker's turn."""
        self.is_called = False
        if not self.peer.is_up:
            return
        self.note_keys()
        if self.has_seat is not (self.seat is not None):
            self.has_seat = not self.has_seat
            self.years.meet()
        self.due_s = self.worker.run(self.years.now_s)
        self.note_keys()
        self.log.share_with(self.log.folded().node_keys())
        wait_s = self.due_s - self.years.now_s
        if wait_s <= NEAR_S:
            self.years.sim.timeline.after(max(wait_s, 0.01), self.call)


class Years:
    """A network of one identity's devices.

    Args:
        seed: Of all chance.
        policy: How often keys are renewed.
        is_real: Whether the hybrid suite is used.
        weather: Of the links.
    """

    def __init__(
        self, seed: int, *, policy: RenewalPolicy | None = None, is_real: bool = False, weather: Weather | None = None
    ) -> None:
        self.seed = seed
        self.random = random.Random(f"identity years {seed}")
        self.policy = policy or RenewalPolicy()
        self.suite = COMPOSITE if is_real else ED25519
        self.skipped_s = 0.0
        self.folds = SharedFolds()
        self.devices: dict[str, Device] = {}
        self.code = RecoveryCode(self.random.randbytes(32))
        secrets = self.secrets("peer0")
        secret = self.random.randbytes(SECRET_BYTES)
        keys = epoch_keys(secret)
        signing, sealing = keys.signing(self.suite), keys.sealing()
        control = Control(PublicKey(self.suite, signing.public), PublicKey(sealing.suite, sealing.public))
        genesis = Genesis(self.code.public.hash, self.code.block.key, (secrets.public,), control)
        policy_ = Policy(frozenset({secrets.block.key, self.code.block.key}), EVERYONE, genesis.data)
        first = create_genesis(secrets.block, policy_, bytes(16), int(1000 * START_S))
        self.sim = Simulation(
            0, seed=seed, genesis=first, links=0, weather=weather, bytes_read=False, on_change=self._changed
        )
        founder = self.add_peer(secrets)
        founder.keyring.add_epochs((signing.id, keys))

    # --- devices ---------------------------------------------------------------------------------------------------

    def secrets(self, name: str) -> DeviceSecrets:
        return DeviceSecrets.fresh(node_key_of(name), self.suite, self.random.randbytes)

    def add_peer(self, secrets: DeviceSecrets | None = None) -> Device:
        """A device that has joined the chain, and has no seat yet."""
        name = f"peer{len(self.sim.peers)}"
        secrets = secrets or self.secrets(name)
        self.sim.add_peer(secrets.block)
        self.devices[name] = device = Device(self, name, secrets)
        self.meet()
        device.call()
        return device

    def join(self, by: Device) -> Device:
        """A device invites another and gives it a seat."""
        device = self.add_peer()
        public = cast(DeviceSecrets, device.keyring.device).public
        by.log.admit(public.block_key)
        by.worker.add(public.wire)
        by.call()
        return device

    def rekey(self, device: Device) -> None:
        """A device gives itself fresh keys, as `Identity.rekey` does."""
        keyring = device.keyring
        old = cast(DeviceSecrets, keyring.device)
        keyring.next_device = fresh = DeviceSecrets.fresh(old.node_key, old.suite, self.random.randbytes)
        keyring.save()
        device.log.admit(fresh.block.key)
        device.actor.act("rekeyed", fresh.public.wire)
        device.worker.take_up_next_device()
        device.worker.renew_now()
        device.call()

    def leave_for(self, device: Device) -> None:
        """A device is switched off."""
        self.sim.crash(device.name)
        self.meet()

    def come_back(self, device: Device) -> None:
        """It is switched on again: nothing is left but what was stored."""
        self.sim.restart(device.name)
        self.meet()
        keyring = device.keyring
        device.keyring = Keyring.load_as(keyring.vault, keyring.name) or keyring
        device.log.wanted.clear()
        device.actor = Actor(device.log, device.keyring, entropy=self.random.randbytes)
        renewing = Renewing(self.policy, self.random.random, dict(device.worker.renewing.first_seen))
        device.worker = Worker(device.actor, renewing, is_online=device.worker.is_online)
        device.call()

    def meet(self) -> None:
        """Everyone who is there knows a few others who are, with room for one more; a member knows members first."""
        there = [device for device in self.devices.values() if device.is_online]
        members = self.online
        for device in there:
            linked = self.sim.wires.neighbours(device.name)
            known = [one.name for one in (members if device in members else there) if one is not device]
            free = sorted((name for name in known if name not in linked), key=self.load)
            wanted = [name for name in linked if name in known]
            device.peer.wanted = wanted + free[: max(0, LINKS - len(wanted))]
            device.peer.redial_soon()

    def load(self, name: str) -> tuple[int, float]:
        """How many streams somebody has; of equals any."""
        return len(self.sim.wires.neighbours(name)), self.random.random()

    @property
    def online(self) -> list[Device]:
        """Those that are switched on and have a live seat, as they see it."""
        return [device for device in self.devices.values() if device.is_online and device.seat is not None]

    def _changed(self, name: str, change: Change) -> None:
        device = self.devices.get(name)
        if device is not None and device.log.told(change):
            device.call()

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        """The calendar."""
        return START_S + self.sim.now_s + self.skipped_s

    def settle(self, limit_s: float = 200.0) -> float:
        """Lets the network run until those who are there agree and may send; how long that took."""
        start_s = self.sim.now_s
        self.sim.run(0.2)
        while not self.is_settled:
            if self.sim.now_s - start_s > limit_s:
                raise AssertionError(f"seed {self.seed}, day {self.day:.1f}: not settled\n{self.differences()}")
            self.sim.run(0.2)
            self.call_due()
            if self.sim.now_s - start_s > NEAR_S and not all(one.peer.replica.sync.links for one in self.online):
                self.meet()
        return self.sim.now_s - start_s

    @property
    def day(self) -> float:
        return (self.now_s - START_S) / DAY_S

    @property
    def is_settled(self) -> bool:
        """All that are there hold the same, see one current epoch and have its keys."""
        there = self.online
        folds = {id(device.log.folded()): device.log.folded() for device in there}
        if len({frozenset(folded.pasts.place) for folded in folds.values()}) > 1:
            return False
        if any(device.is_called or device.due_s < self.now_s + NEAR_S for device in there):
            return False
        if not any(device.keyring.epochs for device in there):
            return True  # nobody is there who could vouch for new keys
        epochs = [device.current for device in there]
        ids = {None if epoch is None else epoch.id for epoch in epochs}
        return len(ids) == 1 and all(device.has_current for device in there)

    def differences(self) -> str:
        lines = []
        for device in self.online:
            current, folded = device.current, device.log.folded()
            shown = None if current is None else (current.number, current.id.hex()[-6:])
            why = folded.epochs.why_unusable(folded.epochs.newest)
            lines.append(
                f"{device}: {shown} {device.has_current} {why} {len(folded.pasts.acts)} {len(device.log.wanted)}"
            )
        return "\n".join(lines)

    def pass_time(self, seconds: float) -> None:
        """Lets the calendar go on, stopping wherever a worker wants to be called."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            due_s = min((device.due_s for device in self.online if not device.is_called), default=float("inf"))
            self.skipped_s += max(0.0, min(due_s, until_s) - self.now_s)
            self.call_due()
            self.settle()

    def call_due(self) -> None:
        """Calls the workers that wanted it."""
        for device in self.online:
            if device.due_s <= self.now_s:
                device.call()
