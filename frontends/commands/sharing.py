"""Commands by which a chain gets to others: invite, invitations, revoke, join."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from frontends.failures import FailedError
from frontends.options import ChainName, DataDir, Json, Kubo, Timeout, directory_of, seconds
from frontends.reach import answers, mention_other_network
from frontends.telling import only, telling, warn, write_json

_NOBODY: Final = ("Nobody is online to honour it.", "Keep `walytis run` going.")
_LOCAL: Final = (
    "Only programs on this machine can use it: it holds no other address.",
    (
        "To be reached from elsewhere, keep `walytis run --listen /ip4/0.0.0.0/tcp/4711` going, or change Addresses.Swarm "
        "of your Kubo daemon, and invite again."
    ),
)


def invite(
    chain: ChainName,
    uses: Annotated[int | None, typer.Option(metavar="N", help="How many may use it.", show_default="1", min=1)] = None,
    any_number: Annotated[bool, typer.Option("--any-number", help="Any number may use it.")] = False,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="For how long it is good: 30m, 2h, 7d.", show_default="no end")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Whoever joins with it may read, not write.")] = False,
    qr: Annotated[bool, typer.Option("--qr/--no-qr", help="Show a QR code, on a terminal.")] = True,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make an invitation.

    Shows a QR code on a terminal; elsewhere standard output holds the invitation alone.
    """
    with telling(as_json=json, data_dir=data_dir):
        if any_number and uses is not None:
            raise FailedError.usage("it is for --uses so many, or for --any-number, not both", "Leave one of them out.")
        expires_s = None if expires is None else seconds(expires)
        uses = None if any_number else uses or 1
        arguments = {"chain": chain, "uses": uses, "expires_s": expires_s, "read_only": read_only}
        mention_other_network(data_dir, kubo, as_json=json)
        made = only(answers(directory_of(data_dir), "invite", arguments, online=True, kubo=kubo))
        if json:
            write_json(made)
            return
        if sys.stdout.isatty():
            from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
            from frontends.render import invitation_page  # noqa: PLC0415 - rich, for people only

            invitation_page(terminal(data_dir), made, with_code=qr)
        else:
            typer.echo(made["invitation"])
        for holds, (sentence, hint) in ((made.get("local_only"), _LOCAL), (not made["served"], _NOBODY)):
            if holds:
                warn(sentence, hint, data_dir)


def invitations(chain: ChainName, json: Json = False, data_dir: DataDir = None) -> None:
    """Show the invitations made here for a chain."""
    with telling(as_json=json, data_dir=data_dir):
        found = only(answers(directory_of(data_dir), "invitations", {"chain": chain}))
        if json:
            write_json(found)
            return
        from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
        from frontends.render import invitations_table  # noqa: PLC0415 - rich, for people only

        terminal(data_dir).print(invitations_table(found["invitations"], chain))


def revoke(
    chain: ChainName,
    invitation: Annotated[
        str, typer.Argument(metavar="INVITATION", help="The invitation, its id, or the beginning of its id.")
    ],
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Take an invitation back.

    Who has joined with it stays.
    """
    with telling(as_json=json, data_dir=data_dir):
        gone = only(answers(directory_of(data_dir), "revoke", {"chain": chain, "invitation": invitation}))
        if json:
            write_json(gone)
        else:
            typer.echo(f"Revoked {gone['revoked'][:8]}: nobody can join with it any more.")


def join(
    invitation: Annotated[
        str,
        typer.Argument(metavar="INVITATION", help="What you were given; - reads standard input.", show_default=False),
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call the chain here.", show_default="as suggested")
    ] = None,
    timeout: Timeout = None,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Join a chain.

    Waits while the inviter is offline, and says so. Ctrl-C gives up and leaves nothing behind.
    """
    with telling(as_json=json, data_dir=data_dir):
        text = sys.stdin.read() if invitation == "-" else invitation
        check = functools.partial(_require_invitation, text)
        arguments = {"invitation": text, "name": name, "timeout": timeout}
        mention_other_network(data_dir, kubo, as_json=json)
        steps = answers(directory_of(data_dir), "join", arguments, online=True, kubo=kubo, makes=True, check=check)
        if json:
            for step in steps:
                write_json(step, compact=True)
        else:
            _show_join(steps, data_dir)


def _require_invitation(text: str) -> None:
    from walytis_core import Invitation  # noqa: PLC0415 - called where the library is needed

    Invitation.parse(text)


def _show_join(steps: Iterator[dict[str, Any]], data_dir: Path | None) -> None:
    from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
    from frontends.render import JoinPage  # noqa: PLC0415 - rich, for people only

    with JoinPage(terminal(data_dir, to_stderr=True)) as page:
        for step in steps:
            if step["event"] == "joined":
                page.joined(step)
            else:
                page.progress(step)
