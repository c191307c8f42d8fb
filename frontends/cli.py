"""The `walytis` command: its list of commands, and nothing that takes long to load.

Invariant: importing this, or asking for help, loads neither the library nor libp2p.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from frontends.commands import blocks, chains, files, machine, objects, sharing
from frontends.failures import CLOSED_PIPE
from frontends.telling import telling

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
        app.command(_command.__name__.removesuffix("_chains").removesuffix("_chain"), rich_help_panel=_panel)(_command)


_objects = typer.Typer(
    help="Make, edit and delete objects on a chain.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
for _verb in objects.COMMANDS:
    _objects.command(_verb.__name__.removesuffix("_objects"))(_verb)
app.add_typer(_objects, name="object", rich_help_panel="Objects")


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
