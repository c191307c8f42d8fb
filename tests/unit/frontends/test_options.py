from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from frontends.failures import FailedError
from frontends.options import moment, seconds

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400), ("1w", 604_800)]
)
def test_durations(text, wanted):
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "0s", "5", "h", "-1h", "1.5h", "1y", "9999999999d"])
def test_what_is_no_duration(text):
    with pytest.raises(FailedError):
        seconds(text)


def test_moments():
    assert moment("2h", NOW) == NOW - timedelta(hours=2)
    assert moment("2026-02-01T00:00+00:00", NOW) == datetime(2026, 2, 1, tzinfo=UTC)
    assert moment("2026-02-01", NOW).tzinfo is not None


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "999999999w"])
def test_what_is_no_moment(text):
    with pytest.raises(FailedError):
        moment(text, NOW)
