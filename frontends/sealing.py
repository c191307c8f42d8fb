"""Sealing the keys of a directory, and what can be said of them: nothing that goes through the socket of a running node.

Invariant: keys are sealed, and get another passphrase, only while the directory is this process's: a node that has it open would
lose them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from frontends.directory import private_folder, socket_path
from frontends.failures import EXIT_CODES, FailedError
from frontends.forms import Form
from frontends.local_socket import dial
from frontends.offline import Offline
from frontends.unlocking import KEYS, Passphrase, current, is_sealed
from identities import Keystore
from walytis_core import InUseError, Node
from walytis_core.keys import Keys

NONE, PLAIN, SEALED = "none", "plain", "sealed"
_STOP: Final = "Stop `walytis run`, or the program that has the directory open, and try again."


def keys_status(directory: Path) -> Form:
    """Whether there are keys, whether they are sealed, and whether a node has them open."""
    folder = directory / KEYS
    kind = SEALED if is_sealed(directory) else PLAIN if folder.is_dir() and any(folder.iterdir()) else NONE
    connection = dial(socket_path(directory))
    if connection is not None:
        connection.close()
    return {"directory": str(directory), "keys": kind, "running": connection is not None}


def seal_keys(directory: Path) -> Form:
    """Seals plain keys under a new passphrase; where there is no node, makes one whose keys were never plain.

    Raises:
        FailedError: They are sealed already, or a node has them open.
    """
    if is_sealed(directory):
        hint = "`walytis keys passphrase` gives them another passphrase."
        raise FailedError("InvalidInputError", "the keys are sealed already", hint, EXIT_CODES["InvalidInputError"])
    _require_not_running(directory)
    new = current().get_new("A passphrase for the keys, such as five words that nobody can guess: ")
    private_folder(directory)
    _with_keystore(directory, new, None)
    return keys_status(directory)


def change_passphrase(directory: Path, file: Path | None) -> Form:
    """Gives sealed keys another passphrase.

    Raises:
        FailedError: They are not sealed, or a node has them open.
    """
    if not is_sealed(directory):
        hint = "`walytis keys seal` seals them."
        raise FailedError("NotFoundError", "the keys are not sealed", hint, EXIT_CODES["LocalError"])
    _require_not_running(directory)
    old = current().get("The passphrase until now: ")
    _with_keystore(directory, old, lambda: Passphrase(file).get_new("The new passphrase: "))
    return keys_status(directory)


def _with_keystore(directory: Path, passphrase: bytes, new: object) -> None:
    """Opens the node, so that nobody else has it, with a keystore; and gives that a new passphrase."""
    opened: list[Keystore] = []

    def keys(folder: Path) -> Keys:
        opened.append(Keystore(folder, passphrase))
        return opened[0]

    try:
        with Node.open(directory, network=Offline(), keys=keys):
            if callable(new):
                opened[0].change_passphrase(new())
    except InUseError as error:
        raise _in_use() from error


def _require_not_running(directory: Path) -> None:
    if keys_status(directory)["running"]:
        raise _in_use()


def _in_use() -> FailedError:
    message = "the keys are in use: they can be sealed only while no program has the directory open"
    return FailedError("InUseError", message, _STOP, EXIT_CODES["LocalError"])
