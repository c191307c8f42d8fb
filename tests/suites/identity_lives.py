"""What befalls the devices of an identity in years, at random, and what must hold all the while.

Devices join, are away for months, renew their keys, leave, are lost, are stolen with all their keys, and are removed; an
identity whose first device is gone is taken back by its recovery code. `Life(seed, ...).run(years)` asserts the invariants
after each event, and tells what it counted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

from identities.acts import LEFT, REMOVED, RENEWED, Act, Renewal, SeatId
from identities.acts import Device as DeviceHolder
from identities.payloads import removed
from identities.recovery import RecoveryCode, recover
from identities.renewal import DAY_S
from tests.suites.identity_peers import stand_ins
from tests.suites.identity_years import Device, Years
from walytis_core.errors import NotAllowedError

YEAR = 365.0
MOST_RENEWALS = 4
"""In the minute after a removal."""
MOST_SEALS = 8
"""X-Wing keys that a device keeps, at most, when everybody has been there for a while."""


def live(seed: int, size: int, years: float, *, is_real: bool = False) -> Counts:
    """One life of so many devices and years, judged; with stand-ins for slow and random algorithms unless `is_real`."""
    with nullcontext() if is_real else stand_ins(random.Random(f"stand-ins {seed}")):
        counts = Life(Years(seed, is_real=is_real), size).run(YEAR * years)
    assert counts.wraps > 0, f"seed {seed}"
    assert counts.unopened == 0, f"seed {seed}: {counts}"
    assert counts.seals <= MOST_SEALS, f"seed {seed}: {counts}"
    assert counts.forgotten > 0, f"seed {seed}"
    return counts


class Counts(NamedTuple):
    """What a life came to.

    Attributes:
        wraps: Of honest renewals, to devices that are there at the end.
        unopened: Of these, not opened; `lost` more were made by devices that were lost before anybody had the wrap.
        renewals: That count.
        most: Renewals in the minute after a removal, at most.
        slowest_s: How long it took at most until all could send again.
        seals: X-Wing keys that a device holds at the end, at most; `kept`: wraps.
    """

    wraps: int
    unopened: int
    lost: int
    renewals: int
    most: int
    slowest_s: float
    seals: int
    kept: int
    forgotten: int


def name_of(kind: Callable[[], bool]) -> str:
    """What an event is called."""
    return str(getattr(getattr(kind, "func", kind), "__name__", ""))


class Life:
    """One identity's life.

    Args:
        years: Its network.
        size: How many devices it comes to have.
        gap_days: Between two events, on average.
    """

    def __init__(self, years: Years, size: int, gap_days: float = 12.0) -> None:
        self.years = years
        self.random = years.random
        self.size = size
        self.gap_days = gap_days
        self.founder = years.devices["peer0"]
        self.back_at: dict[str, float] = {}
        self.told: list[str] = []
        self.events: Counter[str] = Counter()
        self.most = 0
        self.slowest_s = 0.0
        self.code = years.code
        self.stolen: dict[str, tuple[bytes, ...]] = {}
        self.outcasts: list[tuple[Device, bytes]] = []
        self._kinds: dict[Callable[[], bool], int] = {
            self.someone_joins: 10, self.someone_goes_away: 12, self.someone_renews_its_key: 4, self.someone_leaves: 2,
            self.someone_is_removed: 5, self.someone_is_lost: 2, self.someone_is_robbed: 2,
        }  # fmt: skip

    # --- who is there ------------------------------------------------------------------------------------------------

    @property
    def ours(self) -> list[Device]:
        """Honest devices with a live seat, online or not."""
        live = self.live_keys()
        return [one for one in self.years.devices.values() if one.is_ours and one.log.writer in live]

    def live_keys(self) -> dict[bytes, SeatId]:
        seats = self.someone.log.folded().authority.live
        return {seat.holder.block_key: seat.id for seat in seats if isinstance(seat.holder, DeviceHolder)}

    @property
    def someone(self) -> Device:
        """An honest device that is online and knows most."""
        there = [one for one in self.years.online if one.is_ours]
        return max(there, key=lambda one: len(one.log.folded().pasts.acts))

    @property
    def there(self) -> list[Device]:
        """Honest devices that may act now."""
        return [one for one in self.years.online if one.is_ours and one.has_current]

    def pick(self, devices: Iterable[Device]) -> Device | None:
        found = list(devices)
        return self.random.choice(found) if found else None

    # --- what happens ------------------------------------------------------------------------------------------------

    def run(self, days: float) -> Counts:
        """Plays, and judges as it goes."""
        self.grow(max(2, self.size // 2))
        until = self.years.day + days
        while self.years.day < until:
            self.years.pass_time(self.random.expovariate(1 / self.gap_days) * DAY_S)
            self.come_back(self.years.day)
            kind = self.random.choices([*self._kinds], [*self._kinds.values()])[0]
            self.happens(kind)
        self.come_back(float("inf"))
        self.remove_strangers()
        self.come_back(float("inf"))
        for _ in range(3):
            self.years.pass_time(self.years.policy.confirm_s)
        return self.counts()

    def grow(self, size: int) -> None:
        """The first devices."""
        while len(self.ours) < size:
            self.happens(self.someone_joins)

    def happens_only(self, *kinds: Callable[[], bool]) -> None:
        """Nothing else befalls anybody from now on."""
        self._kinds = dict.fromkeys(kinds, 1)

    def happens(self, kind: Callable[[], bool]) -> None:
        """An event, and what must hold once the network has come to rest."""
        self.years.sim.run(0.1)
        if not kind():
            return
        self.told.append(f"day {self.years.day:.1f}: {name_of(kind)}")
        self.events[name_of(kind)] += 1
        self.settle()
        self.check()

    def minute_after(self, renewals: int) -> None:
        """The minute after a removal; `renewals`: how many there were before it."""
        took_s = self.settle()
        self.years.sim.run(max(0.0, 60 - took_s))
        self.settle()
        made = len(self.renewals()) - renewals
        self.most = max(self.most, made)
        assert made <= MOST_RENEWALS, self.story(f"{made} renewals after a removal")

    def settle(self) -> float:
        live, curious = self.live_keys(), self.outcasts[-1][0] if self.outcasts else None
        for device in self.years.devices.values():  # one is curious at a time: more could be all the neighbours one has
            if device.is_online and not device.is_ours and device.log.writer not in live and device is not curious:
                self.years.leave_for(device)
        try:
            took_s = self.years.settle()
        except AssertionError as error:
            raise AssertionError(self.story(str(error))) from None
        self.slowest_s = max(self.slowest_s, took_s)
        return took_s

    def someone_joins(self) -> bool:
        by = self.pick(self.there)
        if by is None or len(self.live_keys()) >= self.size:
            return False
        self.years.join(by)
        return True

    def someone_goes_away(self) -> bool:
        if len(self.there) < 2:
            return False
        device = self.random.choice(self.there)
        self.years.leave_for(device)
        self.back_at[device.name] = self.years.day + self.random.choice((3, 20, 60, 120, 300)) * self.random.uniform(
            0.5, 1.5
        )
        return True

    def come_back(self, day: float) -> None:
        for name, at in sorted(self.back_at.items(), key=lambda item: item[1]):
            if at <= day:
                del self.back_at[name]
                self.happens(partial(self.comes_back, name))

    def comes_back(self, name: str) -> bool:
        self.told.append(f"{name} is back")
        self.years.come_back(self.years.devices[name])
        return True

    def someone_renews_its_key(self) -> bool:
        device = self.pick(self.there)
        return device is not None and self._try(lambda: self.years.rekey(device))

    def someone_leaves(self) -> bool:
        device = self.pick(self.there)
        if device is None or len(self.there) < 3 or device is self.founder:
            return False
        before = len(self.renewals())
        done = self._try(lambda: device.actor.act(LEFT, None))
        self.casts_out(device)
        self.minute_after(before)
        return done

    def someone_is_removed(self) -> bool:
        """A senior removes a junior, that is there or not."""
        by = self.pick(self.there)
        victim = None if by is None else self.pick(one for one in self.ours if self.is_above(by, one))
        return by is not None and victim is not None and self.removes(by, victim)

    def someone_is_lost(self) -> bool:
        """A device is gone for ever; a senior removes it, or else the recovery code does."""
        device = self.pick(self.there)
        if device is None or len(self.there) < 2:
            return False
        self.told.append(f"{device} is lost")
        self.years.leave_for(device)
        device.is_ours = False
        self.settle()
        self.years.pass_time(self.random.uniform(0, 60) * DAY_S)
        self.drops(device)
        return True

    def someone_is_robbed(self) -> bool:
        """A thief takes a device, renews, removes others and brings puppets; then it is removed, with all it did since."""
        device = self.pick(self.there)
        if device is None or len(self.there) < 3:
            return False
        self.told.append(f"{device} is robbed")
        device.is_ours = False
        cut = device.actor.heads(device.log.folded())
        for _ in range(self.random.randint(1, 3)):
            self.thief_acts(device)
            self.settle()
        self.years.pass_time(self.random.uniform(0, 40) * DAY_S)
        self.drops(device, cut if self.random.random() < 0.7 else None)
        return True

    def thief_acts(self, thief: Device) -> None:
        victims = [one for one in self.ours if self.is_above(thief, one)]
        match self.random.choice(("renew", "remove", "puppet")):
            case "renew":
                thief.worker.renew_now()
            case "remove" if len(victims) > 3:
                self._try(lambda: thief.actor.act(REMOVED, removed([self.live_keys()[victims[-1].log.writer]], None)))
                thief.worker.renew_now()
            case _:
                self.years.join(thief).is_ours = False

    def remove_strangers(self) -> None:
        """At the end, whoever is nobody's is removed."""
        for device in list(self.years.devices.values()):
            if not device.is_ours and device.log.writer in self.live_keys():
                self.drops(device)

    # --- removing ----------------------------------------------------------------------------------------------------

    def is_above(self, one: Device, other: Device) -> bool:
        seats, live = self.someone.log.folded().authority.seats, self.live_keys()
        if one.log.writer not in live or other.log.writer not in live:
            return False
        return seats[live[one.log.writer]].rank < seats[live[other.log.writer]].rank

    def drops(self, device: Device, cut: Iterable[bytes] | None = None) -> None:
        """Somebody above removes a device; the recovery code, where nobody is."""
        if device.log.writer not in self.live_keys():
            return
        by = self.pick(one for one in self.there if self.is_above(one, device))
        if by is None or not self.removes(by, device, cut):
            self.recovers(device, cut)
        self.settle()

    def removes(self, by: Device, victim: Device, cut: Iterable[bytes] | None = None) -> bool:
        self.told.append(f"{by} removes {victim}")
        seat, before = self.live_keys()[victim.log.writer], len(self.renewals())
        kept = None if cut is None else sorted(id for id in cut if id in by.log.folded().pasts.place)
        if not self._try(lambda: by.actor.act(REMOVED, removed([seat], kept))):
            return False
        if self.random.random() < 0.7:
            by.worker.renew_now()
        elif len(self.there) > 1:  # it says so, and is away before it has renewed
            self.years.leave_for(by)
            self.back_at[by.name] = self.years.day + 30
        self.casts_out(victim)
        self.minute_after(before)
        return True

    def recovers(self, device: Device, cut: Iterable[bytes] | None) -> None:
        """The recovery code removes a device, and seats a new one."""
        self.told.append(f"{device} is removed by the recovery code")
        fresh, code = self.years.add_peer(), RecoveryCode(self.random.randbytes(32))
        self.years.sim.run(5)
        seat, before = self.live_keys()[device.log.writer], len(self.renewals())
        kept = None if cut is None else sorted(id for id in cut if id in fresh.log.folded().pasts.place)
        fresh.log.write_with(self.code.block)
        recover(fresh.actor, self.code, code, [seat], kept)
        assert fresh.keyring.device is not None
        fresh.log.write_with(fresh.keyring.device.block)
        self.code = code
        fresh.call()
        self.casts_out(device)
        self.minute_after(before)

    def casts_out(self, device: Device) -> None:
        device.is_ours = False
        self.outcasts.append((device, device.log.writer))

    def _try(self, do: Callable[[], object]) -> bool:
        try:
            do()
        except NotAllowedError as error:
            self.told.append(f"refused: {error}")
            return False
        return True

    # --- what must hold ------------------------------------------------------------------------------------------------

    def renewals(self) -> list[Act]:
        return list(self.someone.log.folded().authority.counted(RENEWED))

    def check(self) -> None:
        """Nobody who was removed got the keys of an epoch whose maker knew of that."""
        folded = self.someone.log.folded()
        for device, key in self.outcasts:
            seats = [seat for seat in folded.authority.seats.values() if getattr(seat.holder, "block_key", b"") == key]
            for seat in seats:
                ends = [*(removal.id for removal in seat.removals), *([seat.ended.id] if seat.ended else [])]
                for act in folded.authority.counted(RENEWED):
                    past = folded.pasts.past(folded.pasts.place[act.id])
                    if any(folded.pasts.has(past, id) for id in ends):
                        assert not device.keyring.has_epoch(act.body.sign_id), self.story(f"{device} reads on")
                        assert not device.ever.intersection(act.body.wraps.values()), self.story(f"wrapped to {device}")

    def counts(self) -> Counts:
        """Every device has opened all that was ever wrapped to it."""
        folded = self.someone.log.folded()
        wraps = unopened = lost = 0
        for act in folded.pasts.acts:
            if act.kind != RENEWED or not isinstance(act.body, Renewal):
                continue
            for device in self.ours:
                mine = device.ever.intersection(act.body.wraps.values())
                if not mine:
                    continue
                if device.keyring.has_epoch(act.body.sign_id):
                    wraps += 1
                elif self.is_lost(act):
                    lost += 1
                else:
                    unopened += 1
        ours = self.ours
        return Counts(
            wraps, unopened, lost, len(self.renewals()), self.most, self.slowest_s,
            max(len(one.keyring.seals) for one in ours), max(one.log.kept_count for one in ours),
            sum(one.log.forgotten for one in ours),
        )  # fmt: skip

    def is_lost(self, act: Act) -> bool:
        """Whether who made a renewal is no member any more, so that its wraps may never have reached anybody."""
        return not any(one.made(act) for one in self.ours)

    def story(self, end: str) -> str:
        return "\n".join([f"seed {self.years.seed}", *self.told[-30:], end])
