"""Commands by which a chain gets to others: invite, invitations, revoke, join."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from frontends.options import ChainName, DataDir, Json, Timeout, directory_of, seconds
from frontends.reach import answers
from frontends.telling import only, telling, warn, write_json

_NOBODY = "Nobody is online to honour it: keep `walytis run` going with this --data-dir."


def invite(
    chain: ChainName,
    uses: Annotated[int | None, typer.Option(help="How many may use it.", min=1)] = None,
    any_number: Annotated[bool, typer.Option("--any-number", help="Any number may use it.")] = False,
    expires: Annotated[
        str | None, typer.Option(help="For how long it is good: 30m, 2h, 7d.", show_default="no end")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Whoever joins with it may read, not write.")] = False,
    qr: Annotated[bool, typer.Option("--qr/--no-qr", help="Show a QR code, on a terminal.")] = True,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make an invitation.

    Shows a QR code on a terminal; elsewhere standard output holds the invitation alone.
    """
    with telling(as_json=json):
        expires_s = None if expires is None else seconds(expires)
        uses = None if any_number else uses or 1
        arguments = {"chain": chain, "uses": uses, "expires_s": expires_s, "read_only": read_only}
        made = only(answers(directory_of(data_dir), "invite", arguments, online=True))
        if json:
            write_json(made)
            return
        if not made["served"]:
            warn(_NOBODY)
        if sys.stdout.isatty():
            from frontends.render import invitation_page, terminal  # noqa: PLC0415 - rich, for people only

            invitation_page(terminal(), made, with_code=qr)
        else:
            typer.echo(made["invitation"])


def invitations(chain: ChainName, json: Json = False, data_dir: DataDir = None) -> None:
    """Show the invitations made here for a chain."""
    with telling(as_json=json):
        found = only(answers(directory_of(data_dir), "invitations", {"chain": chain}))
        if json:
            write_json(found)
            return
        from frontends.render import invitations_table, terminal  # noqa: PLC0415 - rich, for people only

        terminal().print(invitations_table(found["invitations"]))


def revoke(
    chain: ChainName,
    invitation: Annotated[str, typer.Argument(help="The invitation, its id, or the beginning of its id.")],
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Take an invitation back.

    Who has joined with it stays.
    """
    with telling(as_json=json):
        gone = only(answers(directory_of(data_dir), "revoke", {"chain": chain, "invitation": invitation}))
        if json:
            write_json(gone)
        else:
            typer.echo(f"Revoked {gone['revoked'][:8]}: nobody can join with it any more.")


def join(
    invitation: Annotated[str, typer.Argument(help="What you were given; - reads standard input.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="What to call the chain here.", show_default="as suggested")] = None,
    timeout: Timeout = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Join a chain.

    Waits while the inviter is offline, and says so. Ctrl-C gives up and leaves nothing behind.
    """
    with telling(as_json=json):
        text = sys.stdin.read() if invitation == "-" else invitation
        arguments = {"invitation": text, "name": name, "timeout": timeout}
        steps = answers(directory_of(data_dir), "join", arguments, online=True, makes=True)
        if json:
            for step in steps:
                write_json(step, compact=True)
        else:
            _show_join(steps)


def _show_join(steps: Iterator[dict[str, Any]]) -> None:
    from frontends.render import JoinPage, terminal  # noqa: PLC0415 - rich, for people only

    with JoinPage(terminal(to_stderr=True)) as page:
        for step in steps:
            if step["event"] == "joined":
                page.joined(step)
            else:
                page.progress(step)
