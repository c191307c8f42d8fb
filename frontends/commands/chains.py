"""Commands on chains as wholes: create, list, status, verify, rename, delete."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from frontends.failures import INTERRUPTED, FailedError
from frontends.options import ChainName, DataDir, Json, MaybeChain, directory_of
from frontends.plain import plain_text
from frontends.reach import answers
from frontends.telling import only, telling, waiting, write_json


def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call it here; names are local.", show_default=False)
    ],
    readers: Annotated[
        str, typer.Option(metavar="WHO", help="Who may read: secret (those invited) or everyone.")
    ] = "secret",
    invited_writers: Annotated[
        bool, typer.Option("--invited-writers", help="Only you and those you invite as writers may write.")
    ] = False,
    objects: Annotated[
        str | None,
        typer.Option(metavar="WHO", help="Who may change its objects: author or anyone.", show_default="author"),
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a new chain."""
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"name": name, "readers": readers, "invited_writers": invited_writers, "objects": objects}
        chain = only(answers(directory_of(data_dir), "create", arguments, makes=True))
        if json:
            write_json(chain)
            return
        from frontends.console import terminal  # noqa: PLC0415 - rich, for people only

        terminal(data_dir).print(
            f"Made the chain {plain_text(chain['name'])}: {chain['id']}", markup=False, soft_wrap=True
        )


def list_chains(json: Json = False, data_dir: DataDir = None) -> None:
    """Show the chains of this directory.

    Those that are damaged, too, with what is wrong and what to do.
    """
    with telling(as_json=json, data_dir=data_dir):
        found = only(answers(directory_of(data_dir), "list", {}))
        if json:
            write_json(found)
            return
        from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
        from frontends.render import chains_page  # noqa: PLC0415 - rich, for people only

        terminal(data_dir).print(chains_page(found))


def status(chain: MaybeChain = None, json: Json = False, data_dir: DataDir = None) -> None:
    """Say how the node and its chains do.

    Peers, last contact, what waits for what, what was refused and why.
    """
    with telling(as_json=json, data_dir=data_dir):
        found = only(answers(directory_of(data_dir), "status", {"chain": chain}))
        if json:
            write_json(found)
            return
        from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
        from frontends.render import status_page  # noqa: PLC0415 - rich, for people only

        terminal(data_dir).print(status_page(found))


def verify(chain: MaybeChain = None, json: Json = False, data_dir: DataDir = None) -> None:
    """Check every block, from its bytes up.

    Of one chain, or of all. Exit code 6 when something is wrong.
    """
    with telling(as_json=json, data_dir=data_dir):
        with waiting("checking every block", quiet=json):
            report = only(answers(directory_of(data_dir), "verify", {"chain": chain}))
        if json:
            write_json(report)
        else:
            from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
            from frontends.render import verify_page  # noqa: PLC0415 - rich, for people only

            terminal(data_dir).print(verify_page(report))
    if not report["ok"]:
        raise typer.Exit(6)


def rename(
    chain: ChainName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it from now on.", show_default=False)],
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Call a chain something else here.

    Names are local: nobody else sees it.
    """
    with telling(as_json=json, data_dir=data_dir):
        renamed = only(answers(directory_of(data_dir), "rename", {"chain": chain, "name": name}))
        if json:
            write_json(renamed)
            return
        from frontends.console import terminal  # noqa: PLC0415 - rich, for people only

        terminal(data_dir).print(f"{plain_text(chain)} is now {plain_text(renamed['name'])}.", markup=False)


def delete(
    chain: ChainName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Remove a chain from this directory.

    Its blocks and keys are gone from here; other peers keep theirs.
    """
    with telling(as_json=json, data_dir=data_dir):
        directory = directory_of(data_dir)
        if not yes:
            if json or not sys.stdin.isatty():
                raise FailedError.usage("deleting was not confirmed", "Say --yes: there is nobody to ask here.")
            _confirm(only(answers(directory, "delete", {"chain": chain, "dry_run": True}))["would_delete"])
        gone = only(answers(directory, "delete", {"chain": chain}))
        if json:
            write_json(gone)
            return
        from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
        from frontends.render import many  # noqa: PLC0415 - rich, for people only

        deleted = gone["deleted"]
        blocks = many(deleted["blocks"], "block") if "blocks" in deleted else "it was damaged"
        terminal(data_dir).print(f"Deleted {plain_text(deleted['name'])}: {blocks}.", markup=False)


def _confirm(found: dict[str, Any]) -> None:
    blocks = found.get("blocks")
    what = "It is damaged" if blocks is None else f"It holds {blocks} block{'s' * (blocks != 1)}"
    if not typer.confirm(f"Delete {plain_text(found['name'])!r} from this directory? {what}."):
        typer.echo("Nothing was deleted.")
        raise typer.Exit(INTERRUPTED)
