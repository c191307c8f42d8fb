"""The options that several commands share, and how what a person types becomes an argument of a verb."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from frontends.directory import VARIABLE, default_directory
from frontends.failures import FailedError

KUBO: Final = "WALYTIS_KUBO"
TOKEN: Final = "WALYTIS_KUBO_TOKEN"


def _without_password(context: typer.Context, option: typer.CallbackParam, url: str | None) -> str | None:
    """The URL of a daemon; one with a password is not for the command line, which all users of a machine can see."""
    source = context.get_parameter_source(option.name or "")
    if url is not None and "@" in url and source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter(f"everybody on this machine can read a password here: put the URL in {KUBO}")
    return url


Json = Annotated[bool, typer.Option("--json", help="Write JSON: one document, or a line for each thing that comes.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", envvar=VARIABLE, help="The node's directory.", show_default="this user's", metavar="DIR"
    ),
]
ChainName = Annotated[str, typer.Argument(metavar="CHAIN", help="A chain's name or id.", show_default=False)]
MaybeChain = Annotated[str | None, typer.Argument(metavar="CHAIN", help="A chain's name or id; all without.")]
BlockName = Annotated[str, typer.Argument(metavar="BLOCK", help="A block's id, or the end of it.", show_default=False)]
ObjectName = Annotated[
    str, typer.Argument(metavar="OBJECT", help="An object's id, or the end of it.", show_default=False)
]
Kubo = Annotated[
    str | None,
    typer.Option(
        "--kubo",
        envvar=KUBO,
        help="Go online by the Kubo daemon whose RPC is there; a token comes from " + TOKEN + ".",
        show_default="embedded libp2p",
        metavar="URL",
        callback=_without_password,
    ),
]
Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="How long to wait at most.", show_default="no end", min=0.0)
]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def directory_of(option: Path | None) -> Path:
    """The data directory that was named, or the user's."""
    return option.expanduser() if option is not None else default_directory()


def seconds(text: str) -> float:
    """A duration such as ``90s``, ``30m``, ``2h``, ``1d`` or ``1w``, in seconds.

    Raises:
        FailedError: It is none.
    """
    match = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip())
    if match is None or int(match[1]) == 0:
        raise FailedError.usage(f"{text!r} is no duration", "Write a number and s, m, h, d or w, such as 30m or 1d.")
    return float(int(match[1]) * _UNITS[match[2]])


def moment(text: str, now: datetime) -> datetime:
    """A moment: ISO 8601, or a duration before `now`.

    Raises:
        FailedError: It is neither.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - timedelta(seconds=seconds(text))
        except (FailedError, OverflowError) as error:
            hint = "Write a date such as 2026-01-31 or 2026-01-31T12:00, or how long ago, such as 2h or 7d."
            raise FailedError.usage(f"{text!r} is no moment", hint) from error
    return parsed.astimezone() if parsed.tzinfo is None else parsed


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)
