"""Where a node keeps its data, and where its local socket is.

Invariants: the socket's place follows from the data directory and the user alone, not from the environment, so that a
service and a shell agree; its folder is owned by the user and closed to all others; a command that a hint names acts on
the directory that was named.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
from pathlib import Path
from typing import Final

from frontends.failures import EXIT_CODES, FailedError

VARIABLE: Final = "WALYTIS_DATA_DIR"
DATABASE: Final = "walytis.db"  # the store's, which a test compares
MAX_SOCKET_PATH: Final = 100  # bytes; kernels take 104 to 108
_COMMAND: Final = re.compile(r"`walytis (?!demo|[^`]*--help)([^`]*)`")


def default_directory() -> Path:
    """The data directory of this user when none is named."""
    import platformdirs  # noqa: PLC0415 - most calls name a directory

    return Path(platformdirs.user_data_dir("walytis", appauthor=False))


def on_directory(text: str, data_dir: Path | None) -> str:
    """The same text, with each command in it naming the directory that the user had to name."""
    if data_dir is None or os.environ.get(VARIABLE) == str(data_dir):
        return text
    return _COMMAND.sub(lambda found: f"`walytis {found[1]} --data-dir {shlex.quote(str(data_dir))}`", text)


def holds_node(directory: Path) -> bool:
    """Whether there is a node in a directory.

    Raises:
        OSError: It cannot be looked into.
    """
    try:
        (directory / DATABASE).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def socket_path(directory: Path) -> Path:
    """Where the node of this data directory listens: inside it, or under a short runtime path when that is too long."""
    whole = directory.expanduser().resolve()
    inside = whole / "run" / "node.sock"
    if len(os.fsencode(inside)) <= MAX_SOCKET_PATH:
        return inside
    name = hashlib.sha256(os.fsencode(whole)).hexdigest()[:24]
    return runtime_folder() / f"{name}.sock"


def runtime_folder() -> Path:
    """A short folder for sockets of this user."""
    session = Path(f"/run/user/{os.getuid()}")
    if session.is_dir() and os.access(session, os.W_OK):
        return session / "walytis"
    return Path(f"/tmp/walytis-{os.getuid()}")  # noqa: S108 - checked by private_folder: ours, and closed to others


def private_folder(folder: Path) -> None:
    """Makes a folder that only its owner can enter, or checks that it is one.

    Raises:
        FailedError: It belongs to someone else, is a link, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise _refused(f"the folder {folder} belongs to someone else")
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise _refused(f"cannot use the folder {folder}: {error.strerror}") from error


def _refused(message: str) -> FailedError:
    return FailedError("StorageError", message, "Remove it, or name another --data-dir.", EXIT_CODES["StorageError"])
