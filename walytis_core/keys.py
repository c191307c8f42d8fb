"""Where secrets are kept: a small port, with files of mode 0600 behind it.

Names are made by the node (`node`, `author-<chain>`, `secret-<chain>`). Invariants: a secret is on disk, synced, when
`put` returns; a file is never readable by others, not even for an instant; nothing is ever logged.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol

from walytis_core.errors import StorageError

SEED_BYTES: Final = 32


class Keys(Protocol):
    """Keeps small secrets by name."""

    def get(self, name: str) -> bytes | None:
        """A secret, or None."""
        ...

    def put(self, name: str, secret: bytes) -> None:
        """Keeps a secret durably, in place of an older one."""
        ...

    def delete(self, name: str) -> None:
        """Forgets a secret, if there is one."""
        ...


def read_seed(keys: Keys, name: str) -> bytes | None:
    """A secret of 32 bytes, or None. Raises `StorageError` when it is damaged."""
    seed = keys.get(name)
    if seed is not None and len(seed) != SEED_BYTES:
        raise StorageError(f"the key file {name} is damaged", hint="Put it back from a backup of the directory.")
    return seed


class MemoryKeys:
    """Keys that end with the process."""

    def __init__(self) -> None:
        self._secrets: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        """A secret, or None."""
        return self._secrets.get(name)

    def put(self, name: str, secret: bytes) -> None:
        """Keeps a secret."""
        self._secrets[name] = secret

    def delete(self, name: str) -> None:
        """Forgets a secret."""
        self._secrets.pop(name, None)


class FileKeys:
    """One file of mode 0600 for each secret, in a directory of mode 0700.

    Args:
        directory: Made when missing.

    Raises:
        StorageError: The directory cannot be made or written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the key directory cannot be made: {error.strerror}") from error

    def get(self, name: str) -> bytes | None:
        """A secret, or None."""
        try:
            return (self._directory / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"a key file cannot be read: {error.strerror}") from error

    def put(self, name: str, secret: bytes) -> None:
        """Keeps a secret: written beside, synced, then moved into place."""
        target = self._directory / name
        beside = self._directory / f".{name}.new"
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(secret)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
            self._sync_directory()
        except OSError as error:
            raise StorageError(f"a key file cannot be written: {error.strerror}") from error

    def delete(self, name: str) -> None:
        """Forgets a secret."""
        try:
            (self._directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"a key file cannot be deleted: {error.strerror}") from error

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
