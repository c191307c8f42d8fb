"""Commands on identities: `walytis id create`, list, show, status, add-device, join, resolve, contact."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from frontends.commands.codes import CodeOut, kept_code
from frontends.options import DataDir, Json, Kubo, Timeout, directory_of, seconds
from frontends.plain import plain_text
from frontends.reach import answers, is_on_daemon, mention_other_network, run_command
from frontends.telling import only, telling, warn, write_json

IdentityName = Annotated[
    str, typer.Argument(metavar="IDENTITY", help="An identity's name here, or its DID.", show_default=False)
]
MaybeIdentity = Annotated[
    str | None, typer.Argument(metavar="IDENTITY", help="An identity's name here, or its DID; all without.")
]
Suite = Annotated[
    str | None,
    typer.Option(metavar="KIND", help="Of its keys: hybrid (safe from quantum computers, too) or classical (small)."),
]
Qr = Annotated[bool, typer.Option("--qr/--no-qr", help="Show a QR code, on a terminal.")]
LocalName = Annotated[
    str | None, typer.Option(metavar="NAME", help="What to call it here.", show_default="as suggested")
]


# --- making, and looking -----------------------------------------------------------------------------------------


def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call it here, and to suggest to others.", show_default=False)
    ],
    of: Annotated[
        str | None,
        typer.Option("--of", metavar="IDENTITY", help="Make a group: this identity controls it.", show_default=False),
    ] = None,
    members_only: Annotated[
        bool, typer.Option("--members-only", help="Only who was invited may read who belongs to it.")
    ] = False,
    suite: Suite = None,
    code_out: CodeOut = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make an identity, with this device as its first.

    Shows its recovery code. It is kept on this device only until it was shown: `walytis id code` shows one that was not.
    """
    with telling(as_json=json, data_dir=data_dir), kept_code(code_out) as keep:
        arguments = {"name": name, "controller": of, "suite": suite or "hybrid", "members_only": members_only}
        for made in answers(directory_of(data_dir), "id create", arguments, makes=True, paced=True):
            shown = keep(made.pop("recovery_code"))
            if json:
                write_json(made | shown)
                continue
            from frontends.identity_pages import created_page  # noqa: PLC0415 - rich, for people only

            page = created_page(made, shown.get("recovery_code"), shown.get("recovery_file", ""))
            print_page(page, data_dir)
            sys.stdout.flush()


def code(identity: IdentityName, code_out: CodeOut = None, json: Json = False, data_dir: DataDir = None) -> None:
    """Show the newest recovery code, where its command was cut off before it was shown."""
    with telling(as_json=json, data_dir=data_dir), kept_code(code_out) as keep:
        for found in answers(directory_of(data_dir), "id code", {"identity": identity}, paced=True):
            shown = keep(found.pop("recovery_code"))
            if json:
                write_json(found | shown)
            elif "recovery_code" in shown:
                from frontends.identity_pages import code_panel  # noqa: PLC0415 - rich, for people only

                print_page(code_panel(shown["recovery_code"]), data_dir)
                sys.stdout.flush()


def list_identities(json: Json = False, data_dir: DataDir = None) -> None:
    """Show the identities of this directory.

    Yours, and those of others that are held here.
    """
    with telling(as_json=json, data_dir=data_dir):
        found = only(answers(directory_of(data_dir), "id list", {}))
        if json:
            write_json(found)
            return
        from frontends.identity_pages import identities_page  # noqa: PLC0415 - rich, for people only

        print_page(identities_page(found["identities"], found["damaged"]), data_dir)


def show(identity: IdentityName, json: Json = False, data_dir: DataDir = None) -> None:
    """Show an identity: its seats, and who has its keys."""
    with telling(as_json=json, data_dir=data_dir):
        show_identity(only(answers(directory_of(data_dir), "id show", {"identity": identity})), data_dir, as_json=json)


def status(identity: MaybeIdentity = None, json: Json = False, data_dir: DataDir = None) -> None:
    """Say how your identities do.

    Which devices have the current keys, which were not heard of since, what waits.
    """
    with telling(as_json=json, data_dir=data_dir):
        found = only(answers(directory_of(data_dir), "id status", {"identity": identity}))
        if json:
            write_json(found)
            return
        from frontends.identity_pages import status_page  # noqa: PLC0415 - rich, for people only

        print_page(status_page(found), data_dir)


# --- devices -----------------------------------------------------------------------------------------------------


def add_device(
    identity: IdentityName,
    expires: Annotated[str, typer.Option(metavar="TIME", help="For how long the code is good: 30m, 2h, 7d.")] = "1h",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Stay until the device is in; else `walytis run` lets it in.")
    ] = True,
    timeout: Timeout = None,
    qr: Qr = True,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Let another device of yours in.

    Shows a code for it, as text and to scan, and stays until it is in. Ctrl-C takes the code back.
    """
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"identity": identity, "expires_s": seconds(expires), "wait": wait, "timeout": timeout}
        mention_other_network(data_dir, kubo, as_json=json)
        steps = answers(directory_of(data_dir), "id add-device", arguments, online=True, kubo=kubo)
        if json:
            for step in steps:
                write_json(step, compact=True)
        else:
            made = next(steps)
            _hand_on(made, "invitation", data_dir, kubo, with_code=qr)
            added = show_steps(steps, data_dir, "added")
            if added is not None:
                who = plain_text(added["name"]) or f"device {added['holder'][-8:]}"
                typer.echo(f"{who} is a device of {plain_text(made['name'])} now.", err=not sys.stdout.isatty())
            elif not made["served"]:
                warn("Nobody is online to let it in.", f"Keep {run_command(kubo)} going.", data_dir)


def join(
    code: Annotated[
        str,
        typer.Argument(
            metavar="CODE", help="What `walytis id add-device` shows; - reads standard input.", show_default=False
        ),
    ],
    name: LocalName = None,
    device_name: Annotated[
        str, typer.Option(metavar="NAME", help="What to call this device; all who see the identity see it.")
    ] = "",
    timeout: Timeout = None,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make this device one of an identity's.

    Waits until it has its seat and the keys. Once it has asked for its seat, `walytis run` goes on where this was stopped.
    """
    with telling(as_json=json, data_dir=data_dir):
        text = sys.stdin.read() if code == "-" else code
        arguments = {"invitation": text, "name": name, "device_name": device_name, "timeout": timeout}
        joined = _wait("join", arguments, data_dir, kubo, as_json=json, check=functools.partial(_require_code, text))
        if joined is not None:
            show_identity(joined, data_dir, as_json=False)


def _require_code(text: str) -> None:
    from walytis_core import Invitation  # noqa: PLC0415 - called where the library is needed

    Invitation.parse(text)


def resolve(
    contact: Annotated[
        str,
        typer.Argument(
            metavar="CARD", help="Their contact card: `walytis id contact`; - reads standard input.", show_default=False
        ),
    ],
    name: LocalName = None,
    timeout: Timeout = None,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Get another's identity, by its contact card.

    Then `verify` says what they signed, and `seal` makes what only they can open.
    """
    with telling(as_json=json, data_dir=data_dir):
        text = sys.stdin.read() if contact == "-" else contact
        arguments = {"contact": text, "name": name, "timeout": timeout}
        found = _wait("resolve", arguments, data_dir, kubo, as_json=json, check=functools.partial(_require_card, text))
        if found is not None:
            show_identity(found, data_dir, as_json=False)


def _require_card(text: str) -> None:
    from identities import ContactCard  # noqa: PLC0415 - called where the library is needed

    ContactCard.parse(text)


# --- behind them -------------------------------------------------------------------------------------------------


def show_identity(found: dict[str, Any], data_dir: Path | None, *, as_json: bool) -> None:
    """Writes an identity with its seats."""
    if as_json:
        write_json(found)
        return
    from frontends.identity_pages import identity_page  # noqa: PLC0415 - rich, for people only

    print_page(identity_page(found), data_dir)


def print_page(page: Any, data_dir: Path | None) -> None:
    """Prints a page for a person."""
    from frontends.console import terminal  # noqa: PLC0415 - rich, for people only

    terminal(data_dir).print(page)


def _wait(
    verb: str,
    arguments: dict[str, Any],
    data_dir: Path | None,
    kubo: str | None,
    *,
    as_json: bool,
    check: Callable[[], object],
) -> dict[str, Any] | None:
    """Has a verb performed that takes long; its answer, where a person is to see it."""
    mention_other_network(data_dir, kubo, as_json=as_json)
    steps = answers(
        directory_of(data_dir), f"id {verb}", arguments, online=True, kubo=kubo, makes=True, check=check
    )  # fmt: skip
    if not as_json:
        return show_steps(steps, data_dir, "joined" if verb == "join" else "resolved")
    for step in steps:
        write_json(step, compact=True)
    return None


def show_steps(steps: Iterator[dict[str, Any]], data_dir: Path | None, last: str) -> dict[str, Any] | None:
    """Shows progress on standard error, up to the event that is waited for."""
    from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
    from frontends.render import JoinPage  # noqa: PLC0415 - rich, for people only

    with JoinPage(terminal(data_dir, to_stderr=True)) as page:
        for step in steps:
            if step["event"] == last:
                return step
            page.progress(step)
    return None


def _hand_on(made: dict[str, Any], what: str, data_dir: Path | None, kubo: str | None, *, with_code: bool) -> None:
    """Shows a code or a card that is to be handed on; elsewhere than on a terminal it alone."""
    if sys.stdout.isatty():
        from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
        from frontends.identity_pages import contact_page, device_code_page  # noqa: PLC0415 - rich, for people only

        page = device_code_page if what == "invitation" else contact_page
        page(terminal(data_dir), made, with_code=with_code)
    else:
        typer.echo(made[what])
        sys.stdout.flush()
    if made["local_only"]:
        how = "keep `walytis run --listen /ip4/0.0.0.0/tcp/4711` going"
        if is_on_daemon(data_dir, kubo):
            how = "let your Kubo daemon listen on more than loopback (`Addresses.Swarm` of its config), restart it"
        hint = f"To be reached from elsewhere, {how}, and do this again."
        warn("Only programs on this machine can use it: it holds no other address.", hint, data_dir)


def contact(
    identity: IdentityName,
    addresses: Annotated[
        bool, typer.Option("--addresses/--no-addresses", help="Where this node is found, as long as it is online.")
    ] = True,
    qr: Qr = True,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a contact card of an identity.

    What another person needs to find it, and to know it again. It is no secret.
    """
    with telling(as_json=json, data_dir=data_dir):
        mention_other_network(data_dir, kubo, as_json=json)
        arguments = {"identity": identity, "addresses": addresses}
        made = only(answers(directory_of(data_dir), "id contact", arguments, online=addresses, kubo=kubo))
        if json:
            write_json(made)
            return
        _hand_on(made, "contact", data_dir, kubo, with_code=qr)
        if addresses and not made["served"]:
            warn("Nobody is online to be found by it.", f"Keep {run_command(kubo)} going.", data_dir)
        if not made["public"]:
            warn("Only its members may read this identity: others cannot resolve the card.", "", data_dir)
