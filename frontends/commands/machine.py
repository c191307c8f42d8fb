"""Commands on this machine: run, doctor, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frontends.directory import on_directory
from frontends.failures import FailedError
from frontends.options import DataDir, Json, Kubo, directory_of
from frontends.telling import telling, write_json


def run(
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="A multiaddress to listen on, such as /ip4/0.0.0.0/tcp/4711; may be repeated.",
            show_default="loopback only",
        ),
    ] = None,
    mdns: Annotated[
        bool,
        typer.Option(
            "--mdns",
            help="Find nodes on the local network, and be found; tells all who are on it the peer id and addresses. "
            "Needs --listen.",
        ),
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Written, with the addresses, once others can connect.")
    ] = None,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Keep the node online, until Ctrl-C.

    It serves peers, and the other commands through its local socket.
    """
    with telling(as_json=json, data_dir=data_dir):
        if kubo is not None and (listen or mdns):
            hint = "Leave one of them out: the config of a Kubo daemon says where it listens, and whom it looks for."
            raise FailedError.usage("--listen and --mdns are not for a node that is on a Kubo daemon", hint)
        from frontends.daemon import Daemon  # noqa: PLC0415 - loads the library

        daemon = Daemon(directory_of(data_dir), listen or [], mdns=mdns, kubo=kubo)
        daemon.run(ready_file, as_json=json)


def doctor(kubo: Kubo = None, json: Json = False, data_dir: DataDir = None) -> None:
    """Look for what is wrong on this machine.

    Says what to do about each thing that it finds. Exit code 6 when something must be done.
    With --kubo it looks at that daemon, too.
    """
    with telling(as_json=json, data_dir=data_dir):
        from frontends.doctor import examine  # noqa: PLC0415 - loads all that it looks at

        findings = []
        if json:
            findings = [finding.to_json() for finding in examine(directory_of(data_dir), kubo)]
            told = [{key: on_directory(found[key], data_dir) for key in ("found", "remedy")} for found in findings]
            findings = [found | with_directory for found, with_directory in zip(findings, told, strict=True)]
            write_json({"findings": findings, "ok": all(finding["level"] != "bad" for finding in findings)})
        else:
            from frontends.console import terminal  # noqa: PLC0415 - rich, for people only
            from frontends.render import finding_line  # noqa: PLC0415 - rich, for people only

            console = terminal(data_dir)
            for finding in examine(directory_of(data_dir), kubo):
                findings.append(finding.to_json())
                console.print(finding_line(findings[-1]))
    if any(finding["level"] == "bad" for finding in findings):
        raise typer.Exit(6)


def demo(
    input: Annotated[
        Path | None,
        typer.Option("--input", metavar="DIR", help="A folder whose files the peers share.", show_default="docs/"),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the peers' directories in this new folder.")
    ] = None,
    json: Json = False,
) -> None:
    """Watch three peers share a chain, right here.

    Three processes with a directory and a libp2p host each share real files; one is killed and catches up; a fourth
    process checks what they hold. Exit code 0 only when all hold the same blocks and the same files.
    """
    with telling(as_json=json):
        from frontends.demo.run import run_demo  # noqa: PLC0415 - loads more than other commands need

        passed = run_demo(input, keep, as_json=json)
    if not passed:
        raise typer.Exit(1)
