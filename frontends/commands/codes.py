"""Recovery codes on their way between a command and whoever keeps them: shown once, or written into a new file.

Invariants: a code is in no argument; a file for it is made before anything is done that would make the code the only way, is
nobody else's to read, and replaces nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from frontends.failures import FailedError
from frontends.unlocking import asked_secret

_MAX_BYTES: Final = 4096

CodeOut = Annotated[
    Path | None,
    typer.Option(
        "--code-out",
        metavar="FILE",
        help="Write the new recovery code into this new file, instead of showing it.",
        show_default=False,
    ),
]
Entered = Annotated[
    Path | None,
    typer.Option(
        "--code-file",
        metavar="FILE",
        help="Take the recovery code from a file; - reads standard input.",
        show_default="asks on a terminal",
    ),
]


@contextmanager
def kept_code(file: Path | None) -> Iterator[Callable[[str], dict[str, Any]]]:
    """What takes a new recovery code, and gives the part of the answer that says where it is.

    Raises:
        FailedError: The file is there already, or cannot be made.
    """
    if file is None:
        yield lambda code: {"recovery_code": code}
        return
    try:
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        message = f"cannot make {file}: {error.strerror}"
        raise FailedError("StorageError", message, "Name a file that is not there yet.", 6) from error
    is_kept = False

    def keep(code: str) -> dict[str, Any]:
        nonlocal is_kept
        is_kept = True
        os.write(made, code.encode("ascii") + b"\n")
        os.fsync(made)
        return {"recovery_file": str(file)}

    try:
        yield keep
    finally:
        os.close(made)
        if not is_kept:
            with suppress(OSError):
                file.unlink(missing_ok=True)


def typed_code(file: Path | None) -> str:
    """The recovery code that is to be used: from a file, standard input, or the keyboard.

    Raises:
        FailedError: There is none.
    """
    if file is None:
        return asked_secret("Recovery code: ", "the recovery code", "Name a file that holds it: --code-file FILE.")
    try:
        text = sys.stdin.read(_MAX_BYTES) if str(file) == "-" else _read(file)
    except (OSError, UnicodeDecodeError) as error:
        raise FailedError("NotFoundError", f"cannot read {file}: {error}", "Check the path.", 3) from error
    if not text.strip():
        raise FailedError.usage(f"{file} holds no recovery code", "It is the code and nothing else.")
    return text


def _read(file: Path) -> str:
    with file.open(encoding="ascii") as opened:
        return opened.read(_MAX_BYTES)
