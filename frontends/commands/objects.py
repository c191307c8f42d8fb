"""Commands on the objects of a chain: `walytis object create`, edit, show, history, conflicts, merge, delete, restore, list."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from frontends.commands.content import File, Raw, RawTimeout, Text, Topics, given, write_out
from frontends.failures import FailedError
from frontends.finding import SHORT
from frontends.options import ChainName, DataDir, Json, Kubo, ObjectName, directory_of
from frontends.reach import answers
from frontends.telling import only, telling, write_json

MediaType = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE", show_default="by TEXT or the file's name", help="What the content is, such as text/markdown."
    ),
]
NewMediaType = Annotated[
    str | None,
    typer.Option(metavar="TYPE", show_default="as it was, or by the file's name", help="What the content is."),
]


def create(
    chain: ChainName,
    text: Text = None,
    file: File = None,
    media_type: MediaType = None,
    topic: Topics = None,
    droppable: Annotated[
        bool, typer.Option("--droppable", help="Keep all its contents so that `delete --drop` can drop them.")
    ] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make an object: something that can be edited.

    From an argument, a file or standard input.
    """
    typed = "text/plain" if text not in {None, "-"} or (file is None and sys.stdin.isatty()) else ""
    with telling(as_json=json, data_dir=data_dir), given(text, file) as content:
        kind = media_type or _type_of(file) or typed or "application/octet-stream"
        arguments = {"media_type": kind, "topics": topic or [], "droppable": droppable}
        _do("create", chain, arguments, data_dir, as_json=json, content=content)


def edit(
    chain: ChainName,
    object: ObjectName,
    text: Text = None,
    file: File = None,
    media_type: NewMediaType = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            metavar="VERSION",
            show_default="the current one",
            help="What you read, and edit: what has come since is then in conflict, and not replaced. May be repeated.",
        ),
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Put new content in place of an object's.

    From an argument, a file or standard input. What is in conflict with the current content stays so: see `merge`.
    """
    with telling(as_json=json, data_dir=data_dir), given(text, file) as content:
        arguments = {"object": object, "media_type": media_type or _type_of(file), "on": on or []}
        _do("edit", chain, arguments, data_dir, as_json=json, content=content)


def merge(
    chain: ChainName,
    object: ObjectName,
    text: Text = None,
    file: File = None,
    fields: Annotated[
        bool, typer.Option("--fields", help="Merge JSON documents field by field, instead of giving the content.")
    ] = False,
    media_type: NewMediaType = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Settle an object's conflicts: one content in place of all.

    From an argument, a file or standard input. With --fields, what one side changed in a JSON document is taken; where
    both changed the same field, the current version's. What is no JSON stays in conflict.
    """
    with telling(as_json=json, data_dir=data_dir):
        if fields:
            if text is not None or file is not None or media_type is not None:
                raise FailedError.usage("give the content, or --fields to have it made, not both")
            _do("merge-fields", chain, {"object": object}, data_dir, as_json=json)
            return
        with given(text, file) as content:
            arguments = {"object": object, "media_type": media_type or _type_of(file)}
            _do("merge", chain, arguments, data_dir, as_json=json, content=content)


def delete(
    chain: ChainName,
    object: ObjectName,
    drop: Annotated[
        bool, typer.Option("--drop", help="Drop its contents here, too; of objects made with --droppable.")
    ] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Delete an object; its history stays.

    With --drop its contents are gone from this directory, too, and the history says so. Others may have kept theirs.
    """
    with telling(as_json=json, data_dir=data_dir):
        _do("delete", chain, {"object": object, "drop": drop}, data_dir, as_json=json)


def restore(
    chain: ChainName,
    object: ObjectName,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Which version; the last that had content, without.")
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Give an object an earlier content again.

    Deleted or not.
    """
    with telling(as_json=json, data_dir=data_dir):
        _do("restore", chain, {"object": object, "version": version}, data_dir, as_json=json)


def show(
    chain: ChainName,
    object: ObjectName,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Which version; the current one, without.")
    ] = None,
    raw: Raw = False,
    timeout: RawTimeout = 30.0,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show an object, or write its content out.

    Long content that is not here is fetched from peers, with --raw.
    """
    with telling(as_json=json, data_dir=data_dir):
        if raw and json:
            raise FailedError.usage("--raw writes the bytes and nothing else, so not --json", "Leave one of them out.")
        arguments = {"chain": chain, "object": object, "version": version}
        found = only(answers(directory_of(data_dir), "object show", arguments))
        if raw:
            if "source" not in found:
                hint = f"`walytis object history {shlex.quote(chain)} {object}` shows the versions that have some."
                raise FailedError("NotFoundError", f"this version has no content: {found['note']}", hint, 3)
            write_out(found, {"chain": chain, "block": found["source"], "timeout": timeout}, data_dir, kubo)
        elif json:
            write_json(found)
        else:
            from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
            from frontends.object_lines import object_page  # noqa: PLC0415 - rich, for people only

            terminal(data_dir).print(object_page(found, chain))


def history(
    chain: ChainName,
    object: ObjectName,
    void: Annotated[bool, typer.Option("--void", help="Those that do not count, too, and why.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show the versions of an object.

    Of a deleted one, too. What a version replaces stands before the one it is in.
    """
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"chain": chain, "object": object, "void": void}
        _print(answers(directory_of(data_dir), "object history", arguments), as_json=json)


def conflicts(chain: ChainName, object: ObjectName, json: Json = False, data_dir: DataDir = None) -> None:
    """Show the versions in conflict, the current one first.

    They were made by people who did not know of each other's; `walytis object merge` settles them.
    """
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"chain": chain, "object": object}
        last = _print(answers(directory_of(data_dir), "object conflicts", arguments), as_json=json)
        if not json:
            names = shlex.join([chain, object])
            how = "--fields" if last and last.get("media_type") == "application/json" else "TEXT"
            shows, settles = f"`walytis object show {names} VERSION`", f"`walytis object merge {names} {how}`"
            _hint(f"{shows} shows one, {settles} settles them." if last else "No conflicts.", data_dir)


def list_objects(
    chain: ChainName,
    deleted: Annotated[bool, typer.Option("--deleted", help="Only deleted ones.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Deleted ones, too.")] = False,
    conflicts: Annotated[bool, typer.Option("--conflicts", help="Only those with conflicts.")] = False,
    media_type: Annotated[str | None, typer.Option(metavar="TYPE", help="Only those whose content is of it.")] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", "-t", metavar="TOPIC", help="Only those made with it.")
    ] = None,
    author: Annotated[
        str | None, typer.Option(metavar="KEY", help="Only those made by this author: a key, or the end of it.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="OBJECT", help="Only those after this one: the next page.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", metavar="N", help="At most so many.", min=1)] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show the objects of a chain.

    In the order in which they came here. With --conflicts, deleted ones, too.
    """
    with telling(as_json=json, data_dir=data_dir):
        if deleted and everything:
            raise FailedError.usage("only deleted ones, or all, not both", "Leave --deleted or --all out.")
        arguments: dict[str, Any] = {"chain": chain, "deleted": None if everything else deleted, "since": since}
        arguments |= {"conflicts": conflicts, "media_type": media_type, "topic": topic, "author": author}
        arguments |= {"limit": limit and limit + 1}  # one more, to say so
        found = answers(directory_of(data_dir), "object list", arguments)
        last = _print(islice(found, limit), as_objects=True, as_json=json)
        has_more = next(found, None) is not None
        if has_more and last is not None and not json:
            _hint(f"There are more: the same with --since {last['object'][-SHORT:]} shows them.", data_dir)
        elif last is None and not json:
            name = shlex.quote(chain)
            hint = f"No such objects: `walytis object create {name} TEXT` makes one, `walytis object list {name} --all` shows all."
            if not (deleted or everything):
                gone = answers(directory_of(data_dir), "object list", arguments | {"deleted": True, "limit": 1})
                if list(gone):
                    hint = f"All are deleted: `walytis object list {name} --deleted` shows them."
            _hint(hint, data_dir)


COMMANDS = (create, edit, show, history, conflicts, merge, delete, restore, list_objects)


def _type_of(file: Path | None) -> str:
    """The media type that a file's name says; nothing where it says none."""
    if file is None:
        return ""
    from mimetypes import guess_type  # noqa: PLC0415 - reads the system's tables

    found, packed = guess_type(file.name)
    return f"application/{packed}" if packed else found or ""


def _do(
    verb: str,
    chain: str,
    arguments: dict[str, Any],
    data_dir: Path | None,
    *,
    as_json: bool,
    content: BinaryIO | None = None,
) -> None:
    """Has an object changed, and says how it is now."""
    made = only(answers(directory_of(data_dir), f"object {verb}", {"chain": chain, **arguments}, content=content))
    if as_json:
        write_json(made)
        return
    from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
    from frontends.object_lines import done_page  # noqa: PLC0415 - rich, for people only

    terminal(data_dir).print(done_page(made, chain, merged=verb.startswith("merge")))


def _print(forms: Iterable[dict[str, Any]], *, as_objects: bool = False, as_json: bool) -> dict[str, Any] | None:
    """Prints a line for each as it comes; gives the last."""
    last = None
    if as_json:
        for last in forms:
            write_json(last, compact=True)
        return last
    from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
    from frontends.object_lines import object_line, version_line  # noqa: PLC0415 - rich, for people only
    from frontends.render import Palette, print_line  # noqa: PLC0415 - rich, for people only

    console, palette, line_of = terminal(None), Palette(), object_line if as_objects else version_line
    for last in forms:
        print_line(console, line_of(last, palette))
    return last


def _hint(text: str, data_dir: Path | None) -> None:
    from frontends.console import Hint, terminal  # noqa: PLC0415 - rich, for people only

    terminal(data_dir).print(Hint(text, "dim"))
