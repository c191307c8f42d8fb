"""What a person, a script and the local socket are told when a command fails: one sentence, a hint, an exit code.

Invariants: each family of errors has one exit code, and wrong input that of usage, the same whether the command ran in this
process or through the socket; code 1 is left for bugs, which keep their traceback. Knows error classes by name only, so that
it can be used before the library is loaded.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, Final

EXIT_CODES: Final[Mapping[str, int]] = {
    "UsageError": 2,
    "InvalidInputError": 2,  # the library's word for the same; the other errors of its family are about what is here
    "LocalError": 3,
    "UnavailableError": 4,
    "JoinError": 5,
    "StorageError": 6,
    "RemoteError": 7,
    "CallError": 8,
}
BUG: Final = 1
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
CLOSED_PIPE: Final = 141  # 128 + SIGPIPE
_SURROUNDINGS: Final = frozenset({  # what the disk, its rights or a path are the cause of
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENAMETOOLONG,
    errno.ELOOP, errno.ENOTDIR,
})  # fmt: skip


class FailedError(Exception):
    """A command failed for a reason that a person can be told.

    Args:
        name: The error's class, e.g. ``"NotFoundError"``.
        message: One plain sentence.
        hint: What to do next.
        exit_code: The family's code.
    """

    def __init__(self, name: str, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message)
        self.name = name
        self.hint = hint
        self.exit_code = exit_code

    @classmethod
    def usage(cls, message: str, hint: str = "See `walytis --help`.") -> FailedError:
        """What was asked makes no sense as asked."""
        return cls("UsageError", message, hint, EXIT_CODES["UsageError"])

    @classmethod
    def of(cls, error: Exception) -> FailedError:
        """The failure behind an error of the library or of the machine, or behind any other: a bug."""
        families = [EXIT_CODES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in EXIT_CODES]
        name = type(error).__name__
        if families:
            return cls(name, str(error), str(getattr(error, "hint", "")), families[0])
        if isinstance(error, OSError) and error.errno in _SURROUNDINGS:
            if error.filename is None:
                message, hint = "cannot write", "Free some space, or send the output elsewhere."
            else:
                message, hint = f"cannot use {error.filename}", "`walytis doctor` looks for what is wrong with it."
            return cls("StorageError", f"{message}: {error.strerror}", hint, EXIT_CODES["StorageError"])
        return cls(name, f"{name}: {error}", "This is a bug in walytis: please report it.", BUG)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FailedError:
        """Reads what `to_json` wrote."""
        return cls(str(data["error"]), str(data["message"]), str(data["hint"]), int(data["exit_code"]))

    def to_json(self) -> dict[str, Any]:
        """The failure as a JSON object."""
        return {"error": self.name, "message": str(self), "hint": self.hint, "exit_code": self.exit_code}
