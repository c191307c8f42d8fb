"""Thirty devices of one identity that all want to send when one of them is removed: the real workers, in virtual time."""

from __future__ import annotations

from typing import cast

import pytest

from identities.acts import RENEWED
from identities.payloads import removed
from identities.renewal import RenewalPolicy
from tests.suites.identity_peers import stand_ins
from tests.suites.identity_years import Device, Years
from walytis_core.simulation import Weather

THIRTY, SOME = 30, 8
MINUTE = 60


def renewals(device: Device) -> set[bytes]:
    return {act.id for act in device.log.folded().pasts.acts if act.kind == RENEWED}


def minute_after_a_removal(devices: int, seed: int, weather: Weather | None = None, *, stays: bool = True) -> int:
    """How many renewals so many senders make in the minute after a removal; on links that are not slow, in the end all of them can send.

    Args:
        stays: Whether who removed the one stays, to renew at once; it is switched off else, as soon as others hear of it.
    """
    years = Years(seed, policy=RenewalPolicy(age_s=None), weather=weather)
    with stand_ins(years.random):
        founder = next(iter(years.devices.values()))
        years.settle()
        for _ in range(devices - 1):
            years.join(founder)
        years.settle()
        before = renewals(founder)
        gone = list(years.devices.values())[-1]
        assert gone.seat is not None
        seen = len(founder.log.folded().pasts.acts)
        founder.actor.act("removed", removed([gone.seat], None))
        if stays:
            founder.call()
        else:
            while not any(
                len(device.log.folded().pasts.acts) > seen for device in years.online if device is not founder
            ):
                years.sim.run(0.01)
            years.leave_for(founder)
        for _ in range(MINUTE):
            for device in years.online:  # each sends once a second, if it has an epoch to send under
                device.call()
            years.sim.run(1.0)
        count = len(set().union(*map(renewals, years.online)) - before)
        if weather is not None:
            return count  # on slow links it takes longer than anybody's patience until all have fetched their wraps
        years.settle()  # who is off may have said the renewal, and serves no wraps of it: there is patience before another
        held = [device for device in years.online if device is not gone]
        assert len(held) == devices - 1 - (not stays)
        assert all(device.has_current for device in held), years.differences()
        assert len({cast(bytes, device.current and device.current.id) for device in held}) == 1
        assert not gone.has_current
        return count


@pytest.mark.parametrize("stays", [True, False])
def test_a_minute_after_a_removal(stays: bool) -> None:
    """I36: at most four renewals, and everybody who is left has the keys; also where the remover goes off."""
    assert 1 <= minute_after_a_removal(SOME, 1, stays=stays) <= 4


@pytest.mark.slow
@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("is_slow", [True, False])
def test_thirty_devices(stays: bool, is_slow: bool) -> None:
    """I36: thirty of them; at most four on slow links that lose messages, too."""
    weather = Weather(7, latency_s=0.1, jitter_s=0.15, loss=0.02) if is_slow else None
    assert 1 <= minute_after_a_removal(THIRTY, 2, weather, stays=stays) <= 4
