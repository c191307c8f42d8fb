"""Commands by which a chain gets to others: invite, invitations, revoke, join."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from frontends.failures import FailedError
from frontends.options import ChainName, DataDir, Json, Kubo, Timeout, directory_of, seconds
from frontends.reach import answers, is_on_daemon, mention_other_network, run_command
from frontends.telling import only, telling, warn, write_json


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
        if made.get("local_only"):
            how = "keep `walytis run --listen /ip4/0.0.0.0/tcp/4711` going"
            if is_on_daemon(data_dir, kubo):
                how = "let your Kubo daemon listen on more than loopback (`Addresses.Swarm` of its config), restart it"
            hint = f"To be reached from elsewhere, {how}, and invite again."
            warn("Only programs on this machine can use it: it holds no other address.", hint, data_dir)
        if not made["served"]:
            warn("Nobody is online to honour it.", f"Keep {run_command(kubo)} going.", data_dir)


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
