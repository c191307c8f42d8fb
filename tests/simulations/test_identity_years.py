"""Identities in simulated years, at real replicas: nobody honest is locked out, and nobody who was removed reads on.

The workers are the real ones, and so are blocks, checks and folds. Where a seed is to be played again, stand-ins take the place
of the algorithms that are random by nature; other tests here use the real ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from identities.acts import REMOVED, RENEWED
from identities.payloads import removed
from identities.renewal import DAY_S, RenewalPolicy
from tests.suites.identity_lives import MOST_RENEWALS, MOST_SEALS, YEAR, Life, live
from tests.suites.identity_peers import stand_ins
from tests.suites.identity_years import Device, Years

LINES = Path(__file__).with_name("identity_regressions.txt").read_text(encoding="utf-8").splitlines()
REGRESSIONS = [tuple(map(int, line.split())) for line in LINES if line and not line.startswith("#")]


def _has_seat(device: Device) -> bool:
    return bool(device.has_seat)


def grown(size: int, seed: int = 1, policy: RenewalPolicy | None = None) -> tuple[Years, list[Device]]:
    """An identity of so many devices, all there."""
    years = Years(seed, policy=policy)
    for _ in range(size - 1):
        device = years.join(years.devices["peer0"])
        years.sim.run_until(partial(_has_seat, device))
        years.settle()
    return years, [*years.devices.values()]


@pytest.fixture
def without_chance() -> Iterator[None]:
    with stand_ins(random.Random(1)):
        yield


def renewals(device: Device) -> list[int]:
    return [act.body.number for act in device.log.folded().authority.counted(RENEWED)]


# --- random lives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1])
def test_a_year_of_a_few_devices(seed):
    """I10, I20, I36: away for months, lost, stolen, removed; all wraps are opened, and by nobody who was removed."""
    live(seed, 4, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "size", "years"), REGRESSIONS)
def test_what_went_wrong_once(seed, size, years):
    """I10, I20, I36: seeds that found something."""
    live(seed, size, years)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "size", "years"), [(10, 5, 3), (11, 6, 3), (12, 8, 2), (13, 12, 2), (14, 20, 1), (15, 30, 1)]
)
def test_years_of_many_devices(seed, size, years, record_property):
    """I10, I20, I36: 5 to 30 devices."""
    for name, value in live(seed, size, years)._asdict().items():
        record_property(name, value)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [20, 21])
def test_years_with_real_cryptography(seed):
    """I10, I20: the hybrid suite and X-Wing."""
    live(seed, 5, 2, is_real=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30, 42))
def test_twenty_thousand_wraps(seed, record_property):
    """I10: a twelfth of them each; devices are away, and renew their keys; none stays unopened."""
    with stand_ins(random.Random(seed)):
        life = Life(Years(seed, policy=RenewalPolicy(age_s=10 * DAY_S)), 8, gap_days=40)
        life.grow(8)
        life.happens_only(life.someone_goes_away, life.someone_renews_its_key)
        counts = life.run(YEAR * 4.8)
    record_property("wraps", counts.wraps)
    assert counts.wraps >= 1700
    assert (counts.unopened, counts.lost) == (0, 0)


# --- one at a time ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_chance")
@pytest.mark.parametrize("count", [1, 10])
def test_who_was_away_regains_the_keys_from_any_member(count):
    """I10: the first to renew is away when it returns, and its peers have other keys by then."""
    years, devices = grown(4)
    away, renewer = devices[3], devices[1]
    years.leave_for(away)
    for number in range(count):
        renewer.actor.renew()
        years.settle()
        if number % 3 == 0:
            years.rekey(devices[2])
            years.settle()
        years.pass_time(20 * DAY_S)
    years.leave_for(renewer)
    years.come_back(away)
    assert years.settle() < 30
    assert away.has_current
    made = [
        act for act in away.log.folded().authority.counted(RENEWED) if away.ever.intersection(act.body.wraps.values())
    ]
    assert len(made) > count
    assert all(away.keyring.has_epoch(act.body.sign_id) for act in made)


@pytest.mark.usefixtures("without_chance")
def test_one_device_leads_the_renewal_at_its_age():
    """I09: one renewal for each age, by the clock of who leads."""
    years, devices = grown(5)
    before = renewals(devices[0])
    years.pass_time(10 * 33.5 * DAY_S)
    made = len(renewals(devices[0])) - len(before)
    assert made == 10


@pytest.mark.usefixtures("without_chance")
def test_the_next_takes_over_when_the_leader_does_not_act():
    """I09: whoever is left renews, a day later for each that does not."""
    policy = RenewalPolicy(jitter=0.0)
    years, devices = grown(5, policy=policy)
    left = devices[4]
    for device in devices[:4]:
        years.leave_for(device)
    before = renewals(left)
    years.pass_time((30 - 0.5) * DAY_S)
    assert renewals(left) == before
    years.pass_time(5 * DAY_S)
    assert len(renewals(left)) == len(before) + 1


@pytest.mark.usefixtures("without_chance")
def test_old_keys_go_away_and_not_before_everybody_has_others():
    """I10: as long as one device is away, its wraps and what is wrapped to older keys stay; then they go."""
    years, devices = grown(3)
    years.pass_time(YEAR * DAY_S)
    assert max(len(device.keyring.seals) for device in devices) <= MOST_SEALS
    years.leave_for(devices[2])
    kept, seals = devices[0].log.kept_count, sum(len(device.keyring.seals) for device in devices[:2])
    years.pass_time(YEAR * DAY_S)
    assert devices[0].log.kept_count >= kept + 10
    assert sum(len(device.keyring.seals) for device in devices[:2]) >= seals + 10
    years.come_back(devices[2])
    years.settle()
    assert devices[2].has_current
    years.pass_time(YEAR * DAY_S)
    assert max(device.log.kept_count for device in devices) < kept + 10
    assert max(len(device.keyring.seals) for device in devices) <= MOST_SEALS


def renewals_in_a_minute(size: int, *, remover_stays: bool) -> int:
    """All send each second; one is removed."""
    years, devices = grown(size)
    before, victim = len(renewals(devices[1])), devices[-1].seat
    assert victim is not None
    devices[0].actor.act(REMOVED, removed([victim], None))
    if remover_stays:
        devices[0].worker.renew_now()
    else:
        years.sim.run(0.02)
        years.leave_for(devices[0])
    for _ in range(60):
        for device in years.online:
            device.call()
        years.sim.run(1)
    years.settle()
    assert not devices[-1].has_current
    return len(renewals(devices[1])) - before


@pytest.mark.usefixtures("without_chance")
@pytest.mark.parametrize("remover_stays", [True, False])
def test_a_few_devices_do_not_all_renew(remover_stays):
    """I36: at most four renewals in the minute after a removal."""
    assert 1 <= renewals_in_a_minute(6, remover_stays=remover_stays) <= MOST_RENEWALS
