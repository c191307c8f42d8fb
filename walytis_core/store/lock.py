"""One process per directory, by a lock that the kernel drops with its process.

Invariant: while a `DirectoryLock` is held, no other in any process can be taken on the same directory; the lock of a
process that died, however it died, is free. The file stays: removing it would let two processes lock two files of one
name. It knows nothing of what is in the directory.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from walytis_core.errors import InUseError, StorageError

if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30  # beyond the process id, which others read: on Windows a locked range cannot be read

    def _lock(file: int) -> None:
        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(file: int) -> None:
        # not lockf: its locks are the process's, so a second opening by one process would succeed
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class DirectoryLock:
    """Holds a directory for this process until `release`.

    Args:
        directory: A directory that exists.

    Raises:
        InUseError: Another holder, in this process or another, has it.
        StorageError: The lock file cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / "lock"
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(f"cannot write in {directory}: {error.strerror}") from error
        try:
            _lock(self._file)
        except OSError as error:
            owner = os.read(self._file, 20).decode("ascii", "replace").strip()
            os.close(self._file)
            who = f" (process {owner})" if owner else ""
            raise InUseError(f"{directory} is in use{who}") from error
        with contextlib.suppress(OSError):  # a full disk: the number only serves the other's message
            os.ftruncate(self._file, 0)
            os.write(self._file, str(os.getpid()).encode())

    def release(self) -> None:
        """Lets others in; releasing twice is fine."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
