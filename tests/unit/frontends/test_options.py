from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer
from typer.testing import CliRunner

from frontends.failures import FailedError
from frontends.options import KUBO, Kubo, moment, seconds

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


@pytest.mark.parametrize(
    ("arguments", "variable", "said"),
    [
        ([], None, "None"),
        ([], "", "None"),
        ([], "http://127.0.0.1:1", "http://127.0.0.1:1"),
        ([], "http://me:secret@127.0.0.1:1", "http://me:secret@127.0.0.1:1"),
        (["--kubo", "http://127.0.0.1:2"], "http://127.0.0.1:1", "http://127.0.0.1:2"),
    ],
)
def test_a_daemon_is_named_by_an_option_or_the_environment(arguments, variable, said):
    done = CliRunner().invoke(_takes_a_daemon(), arguments, env={KUBO: variable})
    assert (done.exit_code, done.output) == (0, said + "\n")


def test_a_password_is_no_option():
    """C47: other users of the machine can read the options of a program."""
    done = CliRunner().invoke(_takes_a_daemon(), ["--kubo", "http://me:secret@127.0.0.1:1"])
    assert done.exit_code == 2
    assert KUBO in done.output
    assert "secret" not in done.output


def _takes_a_daemon() -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    def command(kubo: Kubo = None) -> None:
        typer.echo(str(kubo))

    return app
