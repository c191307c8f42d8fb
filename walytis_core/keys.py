"""Where secrets are kept: a small port, with files of mode 0600 behind it.

Names are made by who keeps them (`node`, `author-<chain>`, `invitation-<id>`, ...). Invariants: a secret is on disk, synced, when
`put` returns; a file is never readable by others, not even for an instant; nothing is ever logged; where a keystore has
sealed the keys (`SEALED` is there), no plain one is read, made or written. What seals them is a layer above.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol

from walytis_core.errors import LockedError, StorageError

SEED_BYTES: Final = 32
SEALED: Final = "keystore"
"""The file that a keystore keeps in place of plain keys. While it is there, they are its business alone."""


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

    def close(self) -> None:
        """Nobody needs the secrets any more: what holds them in memory, or locks others out, lets go. Twice is fine."""
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

    def close(self) -> None:
        """Nothing to do: they end with the process."""


class FileKeys:
    """One file of mode 0600 for each secret, in a directory of mode 0700.

    Args:
        directory: Made when missing.

    Raises:
        LockedError: Its keys are sealed; so do `get` and `put`, when they were sealed since.
        StorageError: The directory cannot be made or written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the key directory cannot be made: {error.strerror}") from error
        self._require_plain()

    def get(self, name: str) -> bytes | None:
        """A secret, or None."""
        try:
            return (self._directory / name).read_bytes()
        except FileNotFoundError:
            self._require_plain()  # a keystore may have taken it over: that is not the same as none
            return None
        except OSError as error:
            raise StorageError(f"a key file cannot be read: {error.strerror}") from error

    def put(self, name: str, secret: bytes) -> None:
        """Keeps a secret: written beside, synced, then moved into place."""
        self._require_plain()
        write_whole(self._directory / name, secret)

    def delete(self, name: str) -> None:
        """Forgets a secret."""
        try:
            (self._directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"a key file cannot be deleted: {error.strerror}") from error

    def close(self) -> None:
        """Nothing to do: each call opens what it needs."""

    def _require_plain(self) -> None:
        if is_sealed(self._directory):
            raise LockedError(f"the keys in {self._directory} are sealed, and no passphrase was given")


def is_sealed(directory: Path) -> bool:
    """Whether a keystore keeps the keys of a directory. Raises `StorageError` when that cannot be seen."""
    try:
        (directory / SEALED).lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"the key directory cannot be read: {error.strerror}") from error
    return True


def write_whole(target: Path, content: bytes) -> None:
    """Writes a file of mode 0600, durably, so that a crash leaves the old content or the new one: beside, synced, moved.

    Raises:
        StorageError: The disk refuses; what was there is there.
    """
    beside = target.with_name(f".{target.name}.new")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        raise StorageError(f"a key file cannot be written: {error.strerror}") from error


def sync_directory(directory: Path) -> None:
    """Makes what was moved or removed in a directory durable. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
