"""Commands on the blocks of a chain: append, log, show, graph, follow."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from frontends.commands.content import File, Raw, RawTimeout, Text, Topics, given, write_out
from frontends.failures import FailedError
from frontends.options import BlockName, ChainName, DataDir, Json, Kubo, directory_of, moment, now
from frontends.reach import answers, mention_other_network, run_command
from frontends.telling import only, telling, waiting, warn, write_json

_GRAPH_BLOCKS: Final = 2000  # more never fit a screen


def append(
    chain: ChainName,
    text: Text = None,
    file: File = None,
    topic: Topics = None,
    type: Annotated[str, typer.Option(metavar="TYPE", help="The type that an app gives its blocks.")] = "",
    wait: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wait so long at most until a peer has it.", min=0.0)
    ] = None,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Add a block.

    From an argument, a file or standard input. It is on disk when this ends.
    """
    with telling(as_json=json, data_dir=data_dir), given(text, file) as content:
        arguments = {"chain": chain, "topics": topic or [], "type": type, "wait": wait}
        directory = directory_of(data_dir)
        typed = (
            text in {None, "-"} and file is None and sys.stdin.isatty()
        )  # the keyboard's line is no place to draw on
        with waiting("waiting for a peer to have it", quiet=json or wait is None or typed):
            if wait is not None:
                mention_other_network(data_dir, kubo, as_json=json)
            block = only(answers(directory, "append", arguments, online=wait is not None, kubo=kubo, content=content))
        if json:
            write_json(block)
        else:
            from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
            from frontends.render import Palette, block_line, print_line  # noqa: PLC0415 - rich, for people only

            print_line(terminal(data_dir), block_line(block, Palette()))
        if wait is not None and not block["peers"]:
            raise FailedError(
                "UnavailableError", f"the block is on disk, but no peer had it after {wait:g} s",
                f"Peers get it when they next meet this node: keep {run_command(kubo)} going.", 4,
            )  # fmt: skip


def log(
    chain: ChainName,
    topic: Annotated[
        str | None, typer.Option("--topic", "-t", metavar="TOPIC", help="Only blocks with this topic.")
    ] = None,
    type: Annotated[str | None, typer.Option(metavar="TYPE", help="Only blocks of this type.")] = None,
    author: Annotated[
        str | None, typer.Option(metavar="KEY", help="Only blocks by this author: a key, or the end of it.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only blocks from then on: a date, or how long ago (2h, 7d).")
    ] = None,
    before: Annotated[str | None, typer.Option(metavar="WHEN", help="Only blocks before then.")] = None,
    cursor: Annotated[
        int | None, typer.Option(metavar="N", help="Only blocks that arrived after this cursor.", min=0)
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", metavar="N", help="At most so many.", min=1)] = None,
    newest_first: Annotated[
        bool, typer.Option("--newest-first/--oldest-first", help="In which order; by arrival at this node.")
    ] = True,
    ids: Annotated[bool, typer.Option("--ids", help="Only their ids, one a line.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show the blocks of a chain."""
    with telling(as_json=json, data_dir=data_dir):
        if ids and json:
            raise FailedError.usage("--ids writes ids and nothing else, so not --json", "Leave one of them out.")
        arguments: dict[str, Any] = {"chain": chain, "topic": topic, "type": type, "author": author}
        arguments |= {"after": since and moment(since, now()).isoformat(), "cursor": cursor, "limit": limit}
        arguments |= {"before": before and moment(before, now()).isoformat(), "newest_first": newest_first}
        blocks = answers(directory_of(data_dir), "log", arguments)
        if ids:
            for block in blocks:
                typer.echo(block["id"])
        else:
            _print_blocks(blocks, as_json=json)


def follow(
    chain: ChainName,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="A durable cursor: what was missed under this name comes first.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", "-t", metavar="TOPIC", help="Only blocks with this topic.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", metavar="N", help="End after so many.", min=1)] = None,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show blocks as they arrive, until Ctrl-C."""
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"chain": chain, "name": name, "topic": topic, "limit": limit}
        directory = directory_of(data_dir)
        if not json and sys.stdout.isatty():
            warn("Showing blocks as they arrive; Ctrl-C ends it.")
        mention_other_network(data_dir, kubo, as_json=json)
        _print_blocks(answers(directory, "follow", arguments, online=True, kubo=kubo, paced=True), as_json=json)


def _print_blocks(blocks: Iterator[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for block in blocks:
            write_json(block, compact=True)
        return
    from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
    from frontends.render import Palette, block_line, print_line  # noqa: PLC0415 - rich, for people only

    console, palette = terminal(None), Palette()
    for block in blocks:
        print_line(console, block_line(block, palette))


def show(
    chain: ChainName,
    block: BlockName,
    raw: Raw = False,
    timeout: RawTimeout = 30.0,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show a block, or write its content out.

    Long content that is not here is fetched from peers, with --raw.
    """
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"chain": chain, "block": block}
        if raw and json:
            raise FailedError.usage("--raw writes the bytes and nothing else, so not --json", "Leave one of them out.")
        found = only(answers(directory_of(data_dir), "show", arguments))
        if raw:
            write_out(found, arguments | {"timeout": timeout}, data_dir, kubo)
            return
        if json:
            write_json(found)
            return
        from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
        from frontends.render import block_details  # noqa: PLC0415 - rich, for people only

        terminal(data_dir).print(block_details(found, chain))


def graph(
    chain: ChainName,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", help="The newest so many blocks.", min=1)
    ] = _GRAPH_BLOCKS,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Draw the graph of a chain.

    A lane per author, time to the right. With --json, a line for each block and what it names.
    """
    with telling(as_json=json, data_dir=data_dir):
        blocks = answers(directory_of(data_dir), "graph", {"chain": chain, "limit": limit})
        if json:
            for block in blocks:
                write_json(block, compact=True)
            return
        from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
        from frontends.render import graph_picture  # noqa: PLC0415 - rich, for people only

        terminal(data_dir).print(graph_picture(list(blocks), shutil.get_terminal_size().columns))
