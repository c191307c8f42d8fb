"""Commands on groups, and on the chains of members: `walytis id add-member`, enter, create-chain, chains."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from frontends.commands.identities import IdentityName, LocalName, print_page, show_identity, show_steps
from frontends.options import DataDir, Json, Kubo, Timeout, directory_of
from frontends.plain import plain_text
from frontends.reach import answers, mention_other_network, run_command
from frontends.telling import only, telling, warn, write_json

Group = Annotated[str, typer.Argument(metavar="GROUP", help="A group's name here, or its DID.", show_default=False)]


def add_member(
    group: Group,
    member: Annotated[
        str,
        typer.Argument(
            metavar="MEMBER", help="An identity's name here, its DID, or its contact card.", show_default=False
        ),
    ],
    timeout: Timeout = None,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make an identity a member of a group.

    All its devices, those to come too, act as the group once one of them has said `walytis id enter`.
    """
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"identity": group, "member": member, "timeout": timeout}
        done = _last("add-member", arguments, "added", data_dir, kubo, online=_is_card(member), as_json=json)
        if done is None:
            return
        name, who = plain_text(done["name"]), plain_text(done["member"])
        _say(f"{who} is a member of {name} now.", data_dir)
        _say(
            f"`walytis id contact {shlex.quote(name)}` makes a card. To be typed with it on a device of {who}:",
            data_dir,
        )
        _say(
            f"walytis id enter CARD --via {shlex.quote(who)}", None, "bold"
        )  # on another machine: in no directory of here
        _mention_silence(done, kubo, data_dir)


def enter(
    group: Annotated[
        str,
        typer.Argument(metavar="GROUP", help="A group's contact card, its name here, or its DID.", show_default=False),
    ],
    via: Annotated[
        str,
        typer.Option("--via", metavar="IDENTITY", help="The identity of yours that is a member.", show_default=False),
    ],
    name: LocalName = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Stay until it can; else `walytis run` goes on with it.")
    ] = True,
    timeout: Timeout = None,
    kubo: Kubo = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Act in a group that an identity of yours is a member of.

    Your other devices follow by themselves. Where the group has not added you yet, this waits for it.
    """
    with telling(as_json=json, data_dir=data_dir):
        arguments = {"identity": group, "via": via, "name": name, "wait": wait, "timeout": timeout}
        done = _last("enter", arguments, "entered", data_dir, kubo, online=wait or _is_card(group), as_json=json)
        if done is not None:
            show_identity(done, data_dir, as_json=False)
            if not wait:
                _mention_silence(done, kubo, data_dir)


def create_chain(
    identity: IdentityName,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call it here; names are local.", show_default=False)
    ],
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a chain that the members of an identity read and write.

    Nobody is invited to it: each device of the members gets it by itself.
    """
    with telling(as_json=json, data_dir=data_dir):
        made = only(answers(directory_of(data_dir), "id create-chain", {"identity": identity, "name": name}))
        if json:
            write_json(made)
            return
        chain, of = plain_text(made["name"]), plain_text(made["identity"])
        _say(f"Made the chain {chain} for the members of {of}: {made['id']}", data_dir)
        _say(f"`walytis append {shlex.quote(chain)}` writes on it, as on any chain.", data_dir, "dim")
        _mention_silence(made, None, data_dir)


def chains(identity: IdentityName, json: Json = False, data_dir: DataDir = None) -> None:
    """Show the chains that the members of an identity read.

    By the names that they have here, with those that have not come yet.
    """
    with telling(as_json=json, data_dir=data_dir):
        found = only(answers(directory_of(data_dir), "id chains", {"identity": identity}))
        if json:
            write_json(found)
            return
        from frontends.identity_pages import chains_page  # noqa: PLC0415 - rich, for people only

        print_page(chains_page(found), data_dir)


# --- behind them -------------------------------------------------------------------------------------------------


def _last(
    verb: str,
    arguments: dict[str, Any],
    event: str,
    data_dir: Path | None,
    kubo: str | None,
    *,
    online: bool,
    as_json: bool,
) -> dict[str, Any] | None:
    """Has a verb performed that may take long; its answer, where a person is to see it."""
    if online:
        mention_other_network(data_dir, kubo, as_json=as_json)
    steps = answers(directory_of(data_dir), f"id {verb}", arguments, online=online, kubo=kubo)
    if not as_json:
        return show_steps(steps, data_dir, event)
    for step in steps:
        write_json(step, compact=True)
    return None


def _is_card(text: str) -> bool:
    return text.strip().lower().startswith("walytis-id:")


def _say(sentence: str, data_dir: Path | None, style: str = "") -> None:
    from frontends.console import Hint  # noqa: PLC0415 - rich, for people only

    print_page(Hint(sentence, style), data_dir)


def _mention_silence(done: dict[str, Any], kubo: str | None, data_dir: Path | None) -> None:
    """What was written offline: nobody has it yet."""
    if not done["served"]:
        warn("The others hear of it when they meet this node.", f"Keep {run_command(kubo)} going.", data_dir)
