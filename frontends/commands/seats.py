"""Commands on the keys and seats of an identity: `walytis id renew`, preview, remove, recover, grant, leave, delete.

Invariant: what cannot be undone is shown to a person, and agreed to, before it is done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from frontends.commands.codes import CodeOut, Entered, kept_code, typed_code
from frontends.commands.identities import IdentityName, Suite, print_page, show_identity, show_steps
from frontends.failures import INTERRUPTED, FailedError
from frontends.options import DataDir, Json, Kubo, Timeout, directory_of, moment, now
from frontends.plain import plain_text
from frontends.reach import answers, mention_other_network
from frontends.telling import only, telling, warn, write_json

Seats = Annotated[
    list[str],
    typer.Argument(
        metavar="SEAT...", help="Seats: the end of their ids, or names of devices or members.", show_default=False
    ),
]
Cut = Annotated[
    list[str] | None,
    typer.Option(
        "--cut",
        metavar="EVENT",
        show_default=False,
        help="Nothing of theirs counts but these events, and what they build on; may be repeated.",
    ),
]
UndoSince = Annotated[
    str | None,
    typer.Option(
        metavar="WHEN",
        show_default="nothing is undone",
        help="What they say they did from then on counts no more: a date, or how long ago (2h, 7d).",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def renew(
    identity: IdentityName,
    device: Annotated[
        bool, typer.Option("--device", help="This device's own keys as well: it gets a new seat in place of the old.")
    ] = False,
    suite: Suite = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make new keys for an identity, now.

    They are renewed by themselves every month, and whenever a seat is added or removed.
    """
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"identity": identity, "device": device, "suite": suite}
        done = only(answers(directory_of(data_dir), "id renew", arguments))
        _done(done, f"{plain_text(done['name'])} has new keys: epoch {done['epoch']}.", data_dir, as_json=json)


def preview(
    identity: IdentityName,
    seats: Seats,
    cut: Cut = None,
    undo_since: UndoSince = None,
    recovery: Annotated[bool, typer.Option("--recovery", help="As the recovery code would do it.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show what a removal would do, without doing it."""
    with telling(as_json=json, data_dir=data_dir):
        found = _foreseen(identity, seats, cut, undo_since, data_dir, recovery=recovery)
        if json:
            write_json(found)
        else:
            _show_preview(found, data_dir)


def remove(
    identity: IdentityName,
    seats: Seats,
    cut: Cut = None,
    undo_since: UndoSince = None,
    yes: Yes = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Take seats away: a lost device, say.

    New keys are made at once, which those removed do not get. With --undo-since, or --cut, what they did counts no more; what
    that changes is shown first.
    """
    with telling(as_json=json, data_dir=data_dir):
        found = _foreseen(identity, seats, cut, undo_since, data_dir, recovery=False)
        _confirm(found, "Remove?", data_dir, yes=yes, may_ask=not json and sys.stdin.isatty())
        arguments = {"identity": identity, "seats": _ids(found["removes"]), "cut": found["cut"]}
        done = only(answers(directory_of(data_dir), "id remove", arguments))
        labels = {seat["seat"]: f"{plain_text(seat['name'])} {seat['seat'][-8:]}".strip() for seat in done["seats"]}
        who = ", ".join(labels[id] for id in done["removed"])
        _done(done, f"Removed {who}; the keys are of epoch {done['epoch']} now.", data_dir, as_json=json)


def recover(
    identity: IdentityName,
    code_file: Entered = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="SEAT", help="A seat to take away; may be repeated.", show_default=False),
    ] = None,
    cut: Cut = None,
    undo_since: UndoSince = None,
    last_copy: Annotated[
        bool,
        typer.Option(
            "--last-copy", help="No other copy is left: do not wait for one that knows of an earlier recovery."
        ),
    ] = False,
    yes: Yes = False,
    code_out: CodeOut = None,
    timeout: Timeout = None,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Take an identity back with its recovery code.

    Makes this device one of its, removes others, and shows the next recovery code: the one that was used is used up. The identity
    must be held here: `walytis id resolve CARD` gets it.
    """
    with telling(as_json=json, data_dir=data_dir):
        arguments: dict[str, Any] = {"identity": identity}
        if remove:
            found = _foreseen(identity, remove, cut, undo_since, data_dir, recovery=True)
            _confirm(found, "Recover?", data_dir, yes=yes, may_ask=not json and sys.stdin.isatty())
            arguments |= {"remove": _ids(found["removes"]), "cut": found["cut"]}
        elif cut is not None or undo_since is not None:
            raise FailedError.usage("what is undone is what removed seats did", "Name them by --remove.")
        arguments |= {"code": typed_code(code_file), "last_copy": last_copy, "timeout": timeout}
        mention_other_network(data_dir, kubo, as_json=json)
        with kept_code(code_out) as keep:
            steps = answers(
                directory_of(data_dir), "id recover", arguments, online=not last_copy, kubo=kubo, paced=True
            )
            _recover(steps, keep, data_dir, as_json=json)


def _recover(
    steps: Iterator[dict[str, Any]], keep: Callable[[str], dict[str, Any]], data_dir: Path | None, *, as_json: bool
) -> None:
    def kept(step: dict[str, Any]) -> dict[str, Any]:
        return step | keep(step.pop("recovery_code")) if "recovery_code" in step else step

    following = (kept(step) for step in steps)
    if as_json:
        for step in following:
            write_json(step, compact=True)
        return
    from frontends.identity_pages import code_panel  # noqa: PLC0415 - rich, for people only

    new = show_steps(following, data_dir, "recovered")
    if new is not None and "recovery_code" in new:
        print_page(code_panel(new["recovery_code"]), data_dir)  # before all else: the old one is used up
        sys.stdout.flush()
    done = show_steps(following, data_dir, "done")
    if done is not None:
        show_identity(done, data_dir, as_json=False)


def grant(
    identity: IdentityName,
    seat: Annotated[str, typer.Argument(metavar="SEAT", help="The device's seat, or its name.", show_default=False)],
    epoch: Annotated[
        list[int] | None,
        typer.Option("--epoch", metavar="N", help="Of this epoch; may be repeated.", show_default="all that are here"),
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Hand a device the keys of earlier epochs.

    So that it can open what was sealed before it joined.
    """
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"identity": identity, "seat": seat, "epochs": epoch}
        done = only(answers(directory_of(data_dir), "id grant", arguments))
        epochs = "epoch " if len(done["epochs"]) == 1 else "epochs "
        epochs += ", ".join(map(str, done["epochs"]))
        who = plain_text(done["name"]) or f"Seat {done['granted'][-8:]}"
        _done(done, f"{who} gets the keys of {epochs}.", data_dir, as_json=json)


def leave(identity: IdentityName, yes: Yes = False, json: Json = False, data_dir: DataDir = None) -> None:
    """Give this device's seat up."""
    with telling(as_json=json, data_dir=data_dir):
        if not yes:
            _ask(f"Give up this device's seat in {identity!r}?", may_ask=not json and sys.stdin.isatty())
        done = only(answers(directory_of(data_dir), "id leave", {"identity": identity}))
        _done(done, f"This device has no seat in {plain_text(done['name'])} any more.", data_dir, as_json=json)


def delete(identity: IdentityName, yes: Yes = False, json: Json = False, data_dir: DataDir = None) -> None:
    """End an identity on this device: its chain and its keys are gone from here.

    The other devices keep theirs. This device's seat stays until one of them removes it: `walytis id leave` gives it up first.
    """
    with telling(as_json=json, data_dir=data_dir):
        if not yes:
            if may_ask := not json and sys.stdin.isatty():
                from frontends.identity_pages import deletion_page  # noqa: PLC0415 - rich, for people only

                found = only(answers(directory_of(data_dir), "id show", {"identity": identity}))
                print_page(deletion_page(found), data_dir)
            only(answers(directory_of(data_dir), "id delete", {"identity": identity, "dry_run": True}))
            _ask("Delete it here?", may_ask=may_ask)
        gone = only(answers(directory_of(data_dir), "id delete", {"identity": identity}))
        if json:
            write_json(gone)
        else:
            typer.echo(f"Deleted {plain_text(gone['deleted']['name'])}.")
            for name in gone["left"]:
                typer.echo(f"Its chain {plain_text(name)} stays, to be read; `walytis delete` takes it away.")


# --- behind them -------------------------------------------------------------------------------------------------


def _foreseen(
    identity: str,
    seats: Sequence[str],
    cut: list[str] | None,
    undo_since: str | None,
    data_dir: Path | None,
    *,
    recovery: bool,
) -> dict[str, Any]:
    if cut is not None and undo_since is not None:
        raise FailedError.usage("a cut is named by its events, or by an instant, not by both", "Leave one of them out.")
    since = None if undo_since is None else moment(undo_since, now()).isoformat()
    arguments = {"identity": identity, "seats": list(seats), "cut": cut, "since": since, "recovery": recovery}
    return only(answers(directory_of(data_dir), "id preview", arguments))


def _ids(seats: Sequence[dict[str, Any]]) -> list[str]:
    return [seat["seat"] for seat in seats]


def _confirm(found: dict[str, Any], question: str, data_dir: Path | None, *, yes: bool, may_ask: bool) -> None:
    """Shows what an act changes, to a person, and has it agreed to."""
    if yes:
        return
    if may_ask:
        _show_preview(found, data_dir)
    _ask(question, may_ask=may_ask)


def _ask(question: str, *, may_ask: bool) -> None:
    if not may_ask:
        raise FailedError.usage("this was not confirmed", "Say --yes: there is nobody to ask here.")
    if not typer.confirm(question):
        typer.echo("Nothing was changed.")
        raise typer.Exit(INTERRUPTED)


def _show_preview(found: dict[str, Any], data_dir: Path | None) -> None:
    from frontends.identity_pages import preview_page  # noqa: PLC0415 - rich, for people only

    print_page(preview_page(found), data_dir)


def _done(done: dict[str, Any], sentence: str, data_dir: Path | None, *, as_json: bool) -> None:
    if as_json:
        write_json(done)
        return
    typer.echo(sentence)
    if not done["served"]:
        warn("The other devices hear of it when they meet this node.", "Keep `walytis run` going.", data_dir)
