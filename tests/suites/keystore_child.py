"""The processes of the keystore's crash tests: they open one, change it without end, and are killed, or kill themselves.

An order is a directory, or `directory step`: then the process dies by its own hand at that step of what it does to files.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from identities.keystore import Keystore
from identities.keystore_file import Costs
from tests.suites.node_child import nursery, say
from walytis_core.errors import WalytisError

PASSPHRASE = b"correct horse battery staple"
COSTS = Costs(8, 1, 1)
_STEPS = frozenset({"open", "os.rename", "os.remove"})


def secret(number: int) -> bytes:
    """The `number`-th secret that a process keeps; it begins with its number."""
    return number.to_bytes(8, "big") + sha256(b"%d" % number).digest()[:24]


def next_number(kept: dict[str, bytes]) -> int:
    """With which change a process goes on."""
    return 1 + max((int.from_bytes(one[:8], "big") for one in kept.values()), default=0)


def change(kept: dict[str, bytes], number: int) -> tuple[str, bytes | None]:
    """The `number`-th change: a name, and its new secret, or None when it goes."""
    name = f"key-{number % 40}"
    return name, None if number % 10 == 9 and name in kept else secret(number)


def live(order: str) -> None:
    """Opens the keystore of a directory, and changes it until it is killed; says what is done."""
    directory, _, step = order.partition(" ")
    if step:
        _die_at(int(step), directory)
    say("opening")
    try:
        keys = Keystore(Path(directory), PASSPHRASE, costs=COSTS)
    except WalytisError as error:
        say("refused", type(error).__name__)
        os._exit(1)
    say("open")
    kept = dict(keys._secrets)
    number = next_number(kept)
    while not step:
        name, new = change(kept, number)
        if new is None:
            keys.delete(name)
            kept.pop(name)
        else:
            keys.put(name, new)
            kept[name] = new
        say("changed", number)
        number += 1
    os._exit(0)


def _die_at(step: int, directory: str) -> None:
    left = step

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in _STEPS and str(arguments[0]).startswith(directory):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        nursery(live)
