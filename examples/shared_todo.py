"""A to-do list for several people: entries are objects that anyone may change, also while offline.

    python examples/shared_todo.py ./alice                makes a list, and prints an invitation
    python examples/shared_todo.py ./bob walytis:...      joins it
    python examples/shared_todo.py ./bob                  goes on where it stopped, with what came meanwhile

Type `add buy milk`, `done 1`, `rename 1 buy oat milk`, `remove 1`; end with Ctrl-D. When one is closed, change an entry on both
sides: it is in conflict once they meet, and `merge` keeps both changes, of its name and of its mark.
"""

from __future__ import annotations

import sys
from typing import Any

from mutability import ANYONE, Documents, Mutable
from walytis_core import Chain, Node, WalytisError


def enter(node: Node, invitation: str | None) -> Chain:
    if invitation is not None:
        return node.join(invitation, name="todo").result(timeout=60)
    chain = node.chains()[0] if node.chains() else node.create_chain("todo", data=ANYONE.data)
    print(f"invite somebody: {chain.invite()}", flush=True)
    return chain


def show(todo: Documents) -> None:
    for number, item in enumerate(todo.objects.objects(), 1):
        entry, is_in_conflict = todo.get(item), bool(todo.objects.conflicts(item))
        mark = "[x]" if entry["done"] else "[ ]"
        print(number, mark, entry["what"], "(in conflict)" * is_in_conflict, flush=True)


def obey(todo: Documents, verb: str = "", number: str = "", what: str = "") -> None:
    items = list(todo.objects.objects())
    changes: dict[str, dict[str, Any]] = {"done": {"done": True}, "rename": {"what": what}}
    if verb == "add":
        todo.create({"what": f"{number} {what}".strip(), "done": False})
    elif verb == "merge":
        [todo.merge(item) for item in items if todo.objects.conflicts(item)]
    elif verb in {"remove", *changes} and number in map(str, range(1, len(items) + 1)):
        item = items[int(number) - 1]
        todo.edit(item, todo.get(item) | changes[verb]) if verb in changes else todo.objects.delete(item)


if __name__ == "__main__":
    try:
        if len(sys.argv) not in {2, 3}:
            sys.exit("Usage: shared_todo.py DIRECTORY [INVITATION]")
        with Node.open(sys.argv[1]) as node:
            todo = Documents(Mutable(enter(node, sys.argv[2] if sys.argv[2:] else None)))
            show(todo)
            todo.objects.follow(lambda _touched: show(todo))  # whenever something changed, here or elsewhere
            for line in sys.stdin:
                obey(todo, *line.split(maxsplit=2))
    except WalytisError as error:
        sys.exit(f"{error}\n{error.hint}")
