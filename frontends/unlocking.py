"""How the sealed keys of a directory are opened: by a passphrase in a file, or typed by whoever sits at the terminal.

Invariants: a passphrase is in no argument and in no variable of the environment, which others can read, but only the name of
a file is; it is asked for once in a command, and only where keys are sealed, or are to be. What asks writes to the terminal, never
to standard output. Loads the library only where a directory is opened here.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from frontends.failures import EXIT_CODES, FailedError

if TYPE_CHECKING:
    from walytis_core.keys import Keys

VARIABLE: Final = "WALYTIS_PASSPHRASE_FILE"
KEYS: Final = "keys"  # the folder of the keys in a data directory
_MAX_BYTES: Final = 4096  # more than a passphrase may have, which the keystore refuses with the limit
_HOW: Final = f"Name a file that holds it: --passphrase-file FILE, or {VARIABLE}."

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        envvar=VARIABLE,
        help="Opens sealed keys: a file that holds the passphrase and nothing else.",
        show_default="asks on a terminal",
        metavar="FILE",
    ),
]


class Passphrase:
    """The passphrase of one command: read or asked for when it is needed, once.

    Args:
        file: Where it is; None to ask.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: bytes | None = None

    def get(self, prompt: str = "Passphrase of the keys: ") -> bytes:
        """The passphrase.

        Raises:
            FailedError: There is no file, and nobody to ask.
        """
        if self._known is None:
            self._known = read_file(self._file) if self._file is not None else asked(prompt)
        return self._known

    def get_new(self, prompt: str) -> bytes:
        """A passphrase that is to be used from now on; one that is typed is typed twice. Raises as `get`."""
        if self._known is None:
            self._known = read_file(self._file) if self._file is not None else asked_twice(prompt)
        return self._known


_CURRENT: ContextVar[Passphrase | None] = ContextVar("walytis_passphrase", default=None)


def current() -> Passphrase:
    """That of the command that runs."""
    return _CURRENT.get() or Passphrase(None)


def unlocks(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the option by which it opens sealed keys, if it takes a data directory."""
    signature = inspect.signature(command, eval_str=True)
    if "data_dir" not in signature.parameters:
        return command

    @functools.wraps(command)
    def unlocking(*values: Any, passphrase_file: Path | None = None, **options: Any) -> None:
        token = _CURRENT.set(Passphrase(passphrase_file))
        try:
            command(*values, **options)
        finally:
            _CURRENT.reset(token)

    option = inspect.Parameter(
        "passphrase_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=PassphraseFile
    )
    parameters: Sequence[inspect.Parameter] = [*signature.parameters.values(), option]
    unlocking.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # which typer reads
    return unlocking


def is_sealed(directory: Path) -> bool:
    """Whether the keys of a data directory are sealed."""
    from walytis_core.keys import is_sealed as has_keystore  # noqa: PLC0415 - loads the library

    folder = directory / KEYS
    return folder.is_dir() and has_keystore(folder)


def keys_of(directory: Path) -> Callable[[Path], Keys]:
    """What opens the keys of a data directory, for `Node.open`; the passphrase of sealed ones is asked for now.

    Raises:
        FailedError: They are sealed, and nobody gives the passphrase.
    """
    if not is_sealed(directory):
        from walytis_core.keys import FileKeys  # noqa: PLC0415 - loads the library

        return FileKeys
    passphrase = current().get()

    def opened(folder: Path) -> Keys:
        from identities.keystore import Keystore  # noqa: PLC0415 - takes time to load, and few keys are sealed

        return Keystore(folder, passphrase)

    return opened


def read_file(path: Path) -> bytes:
    """The passphrase in a file: all of it but the end of its line.

    Raises:
        FailedError: It cannot be read, or holds nothing.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES)
    except OSError as error:
        raise FailedError("NotFoundError", f"cannot read {path}: {error.strerror}", "Check the path.", 3) from error
    text = text.removesuffix(b"\n").removesuffix(b"\r")
    if not text:
        raise FailedError.usage(f"{path} holds no passphrase", "It is the passphrase and nothing else.")
    return _as_bytes(text.decode(errors="surrogateescape"))


def asked(prompt: str) -> bytes:
    """A passphrase that is typed, unseen. Raises as `asked_secret`."""
    return _as_bytes(asked_secret(prompt, "the passphrase of the keys", _HOW))


def asked_secret(prompt: str, what: str, hint: str) -> str:
    """A secret that is typed, unseen.

    Raises:
        FailedError: There is no terminal, or nothing was typed.
    """
    import getpass  # noqa: PLC0415 - seldom needed

    missing = FailedError("LockedError", f"{what} is needed, and was not given", hint, EXIT_CODES["LocalError"])
    if not sys.stderr.isatty():
        raise missing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would be seen
            text = getpass.getpass(prompt)
    except (EOFError, getpass.GetPassWarning) as error:
        raise missing from error
    if not text.strip():
        raise missing
    return text


def asked_twice(prompt: str) -> bytes:
    """A passphrase that is typed twice. Raises as `asked`, also when the two differ."""
    first = asked(prompt)
    if asked("The same again: ") != first:
        raise FailedError.usage("that is not the same passphrase", "Nothing was changed: try again.")
    return first


def _as_bytes(text: str) -> bytes:
    from identities.keystore import as_passphrase  # noqa: PLC0415 - takes time to load, and few keys are sealed

    return as_passphrase(text)
