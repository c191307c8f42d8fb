"""The `walytis` command: its list of commands, and nothing that takes long to load.

Invariant: importing this, or asking for help, loads neither the library nor libp2p.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from frontends.commands import blocks, chains, files, identities, keys, machine, objects, records, seats, sharing
from frontends.failures import CLOSED_PIPE
from frontends.telling import telling
from frontends.unlocking import unlocks

_Commands: TypeAlias = Sequence[Callable[..., None]]

app = typer.Typer(
    name="walytis",
    help="Shared, signed block-DAGs between peers: no servers, no coin, no daemon.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - takes time, and is seldom wanted

        typer.echo(version("walytis-stack"))
        raise typer.Exit


@app.callback()
def _walytis(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None: ...


for _panel, _commands in (
    ("See it", (machine.demo, machine.doctor, machine.run)),
    ("Chains", (chains.create, chains.list_chains, chains.status, chains.verify, chains.rename, chains.delete)),
    ("Blocks", (blocks.append, blocks.log, blocks.show, blocks.graph, blocks.follow)),
    ("Sharing", (sharing.invite, sharing.join, sharing.invitations, sharing.revoke)),
    ("Files", (files.export_chain, files.import_chain)),
):
    for _command in _commands:
        _name = _command.__name__.removesuffix("_chains").removesuffix("_chain")
        app.command(_name, rich_help_panel=_panel)(unlocks(_command))

_ON_IDENTITIES: _Commands = (
    identities.create, identities.code, identities.list_identities, identities.show, identities.status, identities.add_device,
    identities.join, seats.renew, seats.remove, seats.preview, seats.recover, seats.grant,
    seats.leave, identities.contact, identities.resolve, records.document, records.sign, records.verify,
    records.seal, records.open_sealed,
)  # fmt: skip
_GROUPS: Sequence[tuple[str, str, str, _Commands]] = (
    ("id", "Identities", "Be somebody, on several devices.", _ON_IDENTITIES),
    ("object", "Objects", "Make, edit and delete objects on a chain.", objects.COMMANDS),
    ("keys", "Keys", "Seal the secret keys of this directory.", (keys.status, keys.seal, keys.passphrase)),
)
for _group, _panel, _what, _verbs in _GROUPS:
    _subcommands = typer.Typer(
        help=_what,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    for _verb in _verbs:
        _name = re.sub(r"_(objects|identities|sealed)$", "", _verb.__name__).replace("_", "-")
        _subcommands.command(_name)(unlocks(_verb))
    app.add_typer(_subcommands, name=_group, rich_help_panel=_panel)


def main() -> None:
    """Runs the command."""
    _have_streams()
    try:
        with telling(as_json="--json" in sys.argv[1:]):  # mistakes in the line itself, and what help was written to
            code = app(prog_name="walytis", standalone_mode=False)
            sys.stdout.flush()
    except typer.Exit as end:
        code = end.exit_code
    except SystemExit:  # typer's own end when there is no reader of its help
        code = CLOSED_PIPE
    sys.exit(code)


def _have_streams() -> None:
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: the next file opened would take its number
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115 - for the life of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows less, and ends nothing
