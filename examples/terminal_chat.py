"""A chat for two windows of a terminal: what you type is a block, and so is what the other types.

    python examples/terminal_chat.py ./alice              makes a room, and prints an invitation
    python examples/terminal_chat.py ./bob walytis:...    joins it
    python examples/terminal_chat.py ./alice              goes on where it stopped, with what came meanwhile

End it with the end of input (Ctrl-D). Both sides may be away: what they missed comes when they meet again.
"""

from __future__ import annotations

import sys

from walytis_core import Arrived, Chain, Node, WalytisError
from walytis_core.feed import FeedEvent

ROOM = "room"


def enter(node: Node, invitation: str | None) -> Chain:
    """The room: joined, or made, or the one that is here already."""
    if invitation is not None:
        return node.join(invitation, name=ROOM).result(timeout=60)
    if any(chain.name == ROOM for chain in node.chains()):
        return node.chain(ROOM)
    room = node.create_chain(ROOM)
    print(f"invite somebody: {room.invite()}", flush=True)
    return room


def main(directory: str, invitation: str | None = None) -> None:
    with Node.open(directory) as node:
        room = enter(node, invitation)

        def show(event: FeedEvent) -> None:
            if isinstance(event, Arrived) and event.block.author != room.author:
                who = event.block.author.hex()[4:8]
                print(f"{who}: {event.block.payload.decode('utf-8', 'replace')}", flush=True)

        room.follow(show, name="screen")  # shows what was missed, then what comes
        print("you are in; type, and end with Ctrl-D", flush=True)
        for line in sys.stdin:
            room.append(line.rstrip("\n").encode())


if __name__ == "__main__":
    try:
        if len(sys.argv) not in {2, 3}:
            sys.exit("Usage: terminal_chat.py DIRECTORY [INVITATION]")
        main(*sys.argv[1:])
    except WalytisError as error:
        sys.exit(f"{error}\n{error.hint}")
