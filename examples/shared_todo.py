"""A to-do list for several people: entries are objects that anyone may change, also while offline.

    python examples/shared_todo.py ./alice                makes a list, and prints an invitation
    python examples/shared_todo.py ./bob walytis:...      joins it
    python examples/shared_todo.py ./bob                  goes on where it stopped, with what came meanwhile

Type `add buy milk`, `done 1`, `rename 1 buy oat milk`, `remove 1`; end with Ctrl-D. Change an entry on both sides while one is
closed: it is in conflict once they meet. `merge` keeps a new name and a new mark; of two new names, the current version's.
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
        print(number, "[x]" if entry["done"] else "[ ]", entry["what"], "(in conflict)" * is_in_conflict, flush=True)


def obey(todo: Documents, verb: str = "", rest: str = "") -> None:
    items = {str(number): item for number, item in enumerate(todo.objects.objects(), 1)}
    number, _, what = rest.partition(" ")
    changes: dict[str, dict[str, Any]] = {"done": {"done": True}, "rename": {"what": what.strip()}}
    if verb == "add" and rest:
        todo.create({"what": rest, "done": False})
    elif verb == "merge":
        [todo.merge(item) for item in items.values() if todo.objects.conflicts(item)]
    elif number in items and (verb in {"done", "remove"} or (verb == "rename" and what)):
        item = items[number]
        todo.edit(item, todo.get(item) | changes[verb]) if verb in changes else todo.objects.delete(item)
    else:
        print("Type: add WHAT, done NUMBER, rename NUMBER WHAT, remove NUMBER, merge", flush=True)


if __name__ == "__main__":
    try:
        if len(sys.argv) not in {2, 3}:
            sys.exit("Usage: shared_todo.py DIRECTORY [INVITATION]")
        with Node.open(sys.argv[1]) as node:
            todo = Documents(Mutable(enter(node, sys.argv[2] if sys.argv[2:] else None)))
            show(todo)
            todo.objects.follow(lambda _touched: show(todo))  # whenever something changed, here or elsewhere
            for line in sys.stdin:
                obey(todo, *line.strip().split(maxsplit=1))
    except WalytisError as error:
        sys.exit(f"{error}\n{error.hint}")
