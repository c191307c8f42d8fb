"""Notes that several people keep together, each on their own machine, also while offline.

    python examples/shared_notes.py ./alice set milk "two litres"
    python examples/shared_notes.py ./alice list
    python examples/shared_notes.py ./alice serve              prints an invitation; stays until the end of input
    python examples/shared_notes.py ./bob join walytis:...     while alice serves
    python examples/shared_notes.py ./bob remove milk

A note is a title and a text; the last word on a title counts. What "last" means is the canonical order, the same for everybody: so
two who edit at once see the same note afterwards. The rules are a `Layer` of three functions.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from walytis_core import Block, BlockId, Chain, Layer, LocalError, Node, Obeyed, Standing, Void, WalytisError
from walytis_core.cbor import decode, encode

CHAIN = "notes"
MAX_TEXT_BYTES = 16 * 1024

# --- the rules: pure functions -----------------------------------------------------------------------------------


def check(block: Block, _past: object) -> Standing:
    """Counts blocks that hold a title and a text, or a title alone where a note is removed."""
    match block.type, decode(block.payload, max_bytes=MAX_TEXT_BYTES, max_depth=1):  # what cannot be read is void
        case ("note/set", [str(), str()]) | ("note/removed", [str()]):
            return Obeyed()
    return Void("not a note")


def step(notes: dict[str, str], block: Block) -> dict[str, str]:
    """Adds a block that counts to the notes."""
    match decode(block.payload, max_bytes=MAX_TEXT_BYTES, max_depth=1):
        case [str(title), str(text)]:
            notes[title] = text
        case [str(title)]:
            notes.pop(title, None)
    return notes


def finish(notes: dict[str, str]) -> tuple[dict[str, str], Mapping[BlockId, str]]:
    """What readers see; no block is void because of another one."""
    return notes, {}


NOTES = Layer("note/", check, step, finish, initial={})

# --- what one can do ---------------------------------------------------------------------------------------------


def the_chain(node: Node) -> Chain:
    found = [chain for chain in node.chains() if chain.name == CHAIN]
    return found[0] if found else node.create_chain(CHAIN)


def show(chain: Chain) -> None:
    notes: dict[str, str] = chain.view("note/").value
    print(", ".join(f"{title}: {text}" for title, text in sorted(notes.items())) or "no notes", flush=True)


def set_note(node: Node, title: str, text: str) -> None:
    the_chain(node).append(encode([title, text]), type="note/set")


def remove_note(node: Node, title: str) -> None:
    the_chain(node).append(encode([title]), type="note/removed")


def list_notes(node: Node) -> None:
    show(the_chain(node))


def join(node: Node, invitation: str) -> None:
    show(node.join(invitation, name=CHAIN).result(timeout=60))


def serve(node: Node) -> None:
    chain = the_chain(node)
    print(chain.invite(uses=None), flush=True)
    chain.follow(lambda _event: show(chain))
    sys.stdin.read()


COMMANDS: dict[str, Callable[..., None]] = {
    "set": set_note,
    "remove": remove_note,
    "list": list_notes,
    "serve": serve,
    "join": join,
}


USAGE = "Usage: shared_notes.py DIRECTORY list | serve | set TITLE TEXT | remove TITLE | join INVITATION"


def main(directory: str = "", command: str = "", *arguments: Any) -> None:
    if not command:
        raise LocalError("what to do is missing", hint=USAGE)
    if command not in COMMANDS:
        raise LocalError(f"there is no command {command}", hint=USAGE)
    if len(arguments) + 1 != len(inspect.signature(COMMANDS[command]).parameters):
        raise LocalError(f"{command} takes something else", hint=USAGE)
    with Node.open(directory, layers=[NOTES]) as node:
        COMMANDS[command](node, *arguments)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except WalytisError as error:
        sys.exit(f"{error}\n{error.hint}")
