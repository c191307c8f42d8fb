"""Commands by which a chain goes into a file and comes from one: export, import."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from frontends.failures import EXIT_CODES, FailedError
from frontends.options import ChainName, DataDir, Json, directory_of
from frontends.reach import answers
from frontends.telling import telling, write_json

CarFile = Annotated[str, typer.Argument(metavar="FILE", help="A CAR file.", show_default=False)]


def export_chain(
    chain: ChainName,
    file: CarFile,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Write a chain into a CAR file.

    All blocks, and the long content that is held here; any IPFS tool reads it.
    """
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"chain": chain, "file": str(_absolute(file)), "force": force}
        made = _last("writing", answers(directory_of(data_dir), "export", arguments), data_dir, quiet=json)
        if json:
            write_json(made)
            return
        from frontends.render import many  # noqa: PLC0415 - rich, for people only

        pieces = f" and {many(made['pieces'], 'piece')} of content" if made["pieces"] else ""
        _say(data_dir, f"Wrote {many(made['blocks'], 'block')}{pieces} to {file}: {made['size']} bytes.")


def import_chain(
    file: CarFile,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call a new chain here.", show_default="as the file")
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Take a chain from a CAR file.

    All of it is verified first. A chain that is here already gets what is new; a new one must be open to all readers.
    """
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"file": str(_absolute(file)), "name": name}
        check = functools.partial(_require_file, file)
        steps = answers(directory_of(data_dir), "import", arguments, makes=True, check=check)
        made = _last("reading", steps, data_dir, quiet=json)
        if json:
            write_json(made)
            return
        from frontends.render import many, plain_text  # noqa: PLC0415 - rich, for people only

        name = plain_text(made["name"])
        new = f"{many(made['new_blocks'], 'new block')}" if made["new_blocks"] else "nothing new"
        what = f"Imported {name}: {many(made['blocks'], 'block')}." if made["new_chain"] else f"{name}: {new}."
        _say(data_dir, f"{what} `walytis log {shlex.quote(name)}` shows them.")


def _absolute(file: str) -> Path:
    """Where the file is, for whoever does the work: their folder may be another."""
    return Path(file).expanduser().absolute()


def _require_file(file: str) -> None:
    """Before a directory is made for it."""
    if not _absolute(file).exists():
        raise FailedError("NotFoundError", f"there is no file {file}", "Check the path.", EXIT_CODES["LocalError"])


def _say(data_dir: Path | None, sentence: str) -> None:
    from frontends.console import Hint, terminal  # noqa: PLC0415 - rich, for people only
    from frontends.render import plain_text  # noqa: PLC0415 - rich, for people only

    terminal(data_dir).print(Hint(plain_text(sentence)), soft_wrap=True)


def _last(what: str, steps: Iterator[dict[str, Any]], data_dir: Path | None, *, quiet: bool) -> dict[str, Any]:
    """The last of some steps; meanwhile, on a terminal, how far they are."""
    from frontends.console import terminal  # noqa: PLC0415 - rich, for people only

    console = terminal(data_dir, to_stderr=True)
    step: dict[str, Any] = {}
    with nullcontext() if quiet or not console.is_terminal else console.status(what) as status:
        for step in steps:
            if status is not None and step["event"] == "progress":
                status.update(f"{what}: {100 * step['held'] // max(step['known'], 1)} %")
    return step
