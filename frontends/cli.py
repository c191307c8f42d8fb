"""The `walytis` command: its list of commands, and nothing that takes long to load.

Invariant: importing this, or asking for help, loads neither the library nor libp2p.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer
from typer.core import TyperGroup

from frontends.commands import (
    blocks,
    chains,
    files,
    groups,
    identities,
    keys,
    machine,
    objects,
    records,
    seats,
    sharing,
)
from frontends.failures import CLOSED_PIPE
from frontends.telling import telling
from frontends.unlocking import unlocks

_Command: TypeAlias = Callable[..., None]
_FEW: Final = 12  # commands that are listed one below the other, each with the first line of its help
_COLUMN: Final = 24  # letters for what a command does, where they are listed in two columns


class _Columns(TyperGroup):
    """A group whose help fits a terminal of 80 columns and 24 lines: many commands are listed in two columns."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Lists the commands."""
        rows = [(name, self.commands[name].short_help or "") for name in self.list_commands(ctx)]
        if len(rows) <= _FEW:
            super().format_commands(ctx, formatter)
            return
        half = -(-len(rows) // 2)
        columns = [_column(rows[:half]), _column(rows[half:])]
        with formatter.section("Commands"):
            for left, right in zip_longest(*columns, fillvalue=""):
                formatter.write(f"  {left}  {right}".rstrip() + "\n")


def _column(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {does:<{_COLUMN}}" for name, does in rows]


app = typer.Typer(
    name="walytis",
    cls=_Columns,
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


_ON_CHAINS: Sequence[tuple[_Command, str]] = (
    (machine.demo, "watch three peers share"),
    (machine.doctor, "look for what is wrong"),
    (machine.run, "keep this node online"),
    (chains.create, "make a chain"),
    (chains.list_chains, "the chains held here"),
    (chains.status, "how node and chains do"),
    (chains.verify, "check every block"),
    (chains.rename, "call it something else"),
    (chains.delete, "remove it from here"),
    (blocks.append, "add a block"),
    (blocks.log, "show the blocks"),
    (blocks.show, "show one, or its content"),
    (blocks.graph, "draw the graph"),
    (blocks.follow, "show blocks as they come"),
    (sharing.invite, "make an invitation"),
    (sharing.join, "join by an invitation"),
    (sharing.invitations, "those made here"),
    (sharing.revoke, "take one back"),
    (files.export_file, "a chain into a file"),
    (files.import_file, "a chain from a file"),
)
_ON_IDENTITIES: Sequence[tuple[_Command, str]] = (
    (identities.create, "make one, or a group"),
    (identities.list_identities, "the identities held here"),
    (identities.show, "its seats, who has keys"),
    (identities.status, "how yours do"),
    (identities.add_device, "let in a device of yours"),
    (identities.join, "be such a device"),
    (seats.renew, "make new keys, now"),
    (seats.preview, "what a removal would do"),
    (seats.remove, "take seats away"),
    (seats.recover, "take it back by its code"),
    (identities.code, "a code nobody has seen"),
    (seats.grant, "hand on earlier keys"),
    (seats.leave, "give up this seat"),
    (seats.delete, "end it on this device"),
    (groups.add_member, "add one to a group"),
    (groups.enter, "act in a group"),
    (groups.create_chain, "a chain for its members"),
    (groups.chains, "the chains of members"),
    (identities.contact, "a card, to be found by"),
    (identities.resolve, "get another's, by card"),
    (records.document, "its DID document"),
    (records.sign, "sign content"),
    (records.verify, "check who signed"),
    (records.seal, "seal content to one"),
    (records.open_sealed, "open what was sealed"),
)


def _add(to: typer.Typer, command: _Command, does: str | None = None) -> None:
    name = re.sub(r"_(chains|objects|identities|sealed|file)$", "", command.__name__)
    to.command(name.replace("_", "-"), short_help=does)(unlocks(command))


for _command, _short in _ON_CHAINS:
    _add(app, _command, _short)

_ON_OBJECTS = [(command, None) for command in objects.COMMANDS]
_ON_KEYS = [(command, None) for command in (keys.status, keys.seal, keys.passphrase)]
_GROUPS: Sequence[tuple[str, str, str, Sequence[tuple[_Command, str | None]]]] = (
    ("id", "be somebody: identities", "Be somebody, on several devices, alone or as a group.", _ON_IDENTITIES),
    ("object", "what can be edited", "Make, edit and delete objects on a chain.", _ON_OBJECTS),
    ("keys", "seal the secret keys", "Seal the secret keys of this directory.", _ON_KEYS),
)
for _group, _brief, _what, _verbs in _GROUPS:
    _subcommands = typer.Typer(
        help=_what,
        cls=_Columns,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    for _command, _does in _verbs:
        _add(_subcommands, _command, _does)
    app.add_typer(_subcommands, name=_group, short_help=_brief)


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
