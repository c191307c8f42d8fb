"""Commands by which a chain goes into a file and comes from one: export, import."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from frontends.failures import EXIT_CODES, FailedError
from frontends.options import ChainName, DataDir, Json, directory_of
from frontends.plain import plain_text
from frontends.reach import answers
from frontends.telling import telling, warn, write_json

CarFile = Annotated[str, typer.Argument(metavar="FILE", help="A CAR file.", show_default=False)]
_NOT_WRITTEN: Final = "Stopped. No file was written."
_NOT_TAKEN: Final = (
    "Stopped. Of a chain that was not here nothing was taken; one that was keeps what it has got, and importing again brings "
    "the rest."
)
_IN_THE_CLEAR: Final = (
    "Not everyone may read this chain, and the file holds it in the clear: whoever gets the file reads it all.",
    "You alone may read it now. Hand it on with care, and never to `ipfs dag import`: a daemon gives it to anyone.",
)


def export_file(
    chain: ChainName,
    file: CarFile,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Write a chain into a CAR file.

    All blocks, and the long content that is held here; any IPFS tool reads it. It is in the clear, also where not
    everyone may read the chain: whoever gets the file reads it all.
    """
    with telling(as_json=json, data_dir=data_dir), _stopping(_NOT_WRITTEN, as_json=json):
        _require_name(file)
        arguments = {"chain": chain, "file": str(_absolute(file)), "force": force}
        made = _last("writing", answers(directory_of(data_dir), "export", arguments), data_dir, quiet=json)
        if json:
            write_json(made)
            return
        from frontends.render import many  # noqa: PLC0415 - rich, for people only

        pieces = f" and {many(made['pieces'], 'piece')} of content" if made["pieces"] else ""
        _say(data_dir, f"Wrote {many(made['blocks'], 'block')}{pieces} to {file}: {made['size']} bytes.")
        if made["readers"] != "everyone":
            warn(*_IN_THE_CLEAR, data_dir)


def import_file(
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
    with telling(as_json=json, data_dir=data_dir), _stopping(_NOT_TAKEN, as_json=json):
        _require_name(file)
        arguments = {"file": str(_absolute(file)), "name": name}
        check = functools.partial(_require_file, file)
        steps = answers(directory_of(data_dir), "import", arguments, makes=True, check=check)
        made = _last("reading", steps, data_dir, quiet=json)
        if json:
            write_json(made)
            return
        from frontends.render import many  # noqa: PLC0415 - rich, for people only

        name = plain_text(made["name"])
        new = many(made["new_blocks"], "new block") if made["new_blocks"] else "no new blocks"
        what = f"Imported {name}: {many(made['blocks'], 'block')}." if made["new_chain"] else f"{name}: {new}."
        _say(data_dir, f"{what} `walytis log {shlex.quote(name)}` shows what it holds.")


@contextmanager
def _stopping(sentence: str, *, as_json: bool) -> Iterator[None]:
    """Says what a Ctrl-C leaves."""
    try:
        yield
    except KeyboardInterrupt:
        warn(sentence, as_json=as_json)
        raise


def _require_name(file: str) -> None:
    """Refuses what elsewhere means standard input or output."""
    if file == "-":
        hint = "Name a file; ./- is one called so."
        raise FailedError.usage("a chain goes into a file and comes from one, not by a pipe", hint)


def _absolute(file: str) -> Path:
    """Where the file is, for whoever does the work: their folder may be another."""
    return Path(file).expanduser().absolute()


def _require_file(file: str) -> None:
    """Before a directory is made for it."""
    if not _absolute(file).exists():
        raise FailedError("NotFoundError", f"there is no file {file}", "Check the path.", EXIT_CODES["LocalError"])


def _say(data_dir: Path | None, sentence: str) -> None:
    from frontends.console import Hint, terminal  # noqa: PLC0415 - rich, for people only

    terminal(data_dir).print(Hint(plain_text(sentence)))


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
