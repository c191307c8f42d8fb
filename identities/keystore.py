"""The keystore: keeps all secret keys of a node in one file, sealed under a passphrase, in place of plain files.

Invariants: while it is open the process has the folder for itself; what `get` says is on disk, synced; each change writes the
whole file beside and moves it into place, so that a crash leaves the old content or the new one. Plain keys are taken over at
the first unlock: the sealed file is durable before the first of them goes, and what a crash left of them goes at the next.
From then on a plain key is taken for the same key or for a mistake, never for a new one. Formats are in `keystore_file.py`.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Final, Self

from identities.keystore_file import MAX_FILE_BYTES, NONCE_BYTES, SALT_BYTES, Costs, PassphraseKey, read
from walytis_core.errors import ClosedError, StorageError
from walytis_core.keys import SEALED, FileKeys, Keys, is_sealed, sync_directory, write_whole
from walytis_core.store.lock import DirectoryLock

_MAX_PLAIN_BYTES: Final = 4 << 20  # of one plain key: what is longer is none; those of an identity grow with its epochs
_LOCK: Final = "lock"
_DOOMED: Final = ".old"  # a plain key that is sealed, and about to go
_TORN: Final = ".new"  # what a crash left of writing a key, a plain or a sealed one


def open_keys(directory: Path, passphrase: bytes | Callable[[], bytes] | None) -> Keys:
    """What keeps the keys of a folder: sealed or plain ones.

    For a node: ``Node.open(directory, keys=lambda folder: open_keys(folder, passphrase))``.

    Args:
        directory: The folder of the keys alone: `keys` in the node's own.
        passphrase: Opens the keystore, and makes it where there is none: plain keys are taken over. A function is
            called when it is needed. None for plain keys.

    Raises:
        LockedError: The keys are sealed, and there is no passphrase.
        WrongPassphraseError, StorageError, InUseError, UnavailableError: See `Keystore`.
    """
    if passphrase is None:
        return FileKeys(directory)
    return Keystore(directory, passphrase() if callable(passphrase) else passphrase)


def as_passphrase(text: str) -> bytes:
    """A passphrase that was typed, as bytes: the same on every keyboard and system (NFC, UTF-8).

    >>> as_passphrase("cafe" + chr(0x301)) == as_passphrase("caf" + chr(0xe9))
    True
    """
    return unicodedata.normalize("NFC", text).encode(errors="surrogateescape")


class Keystore:
    """Secrets by name, sealed under a passphrase; see `walytis_core.keys.Keys`. May be used from any thread.

    Args:
        directory: The folder; made when missing. Plain keys in it are taken over.
        passphrase: 1 to 1024 bytes, see `as_passphrase`.
        costs: For a keystore that is made now, or whose passphrase is changed.

    Raises:
        WrongPassphraseError: It does not open this keystore; nothing was changed.
        InvalidInputError: The passphrase is empty or too long.
        InUseError: Another process, or another keystore of this one, has the folder.
        StorageError: The keystore is damaged, or of a newer version; the disk refuses; or something lies beside it that
            is not one of its keys.
        UnavailableError: There is not enough memory now.
    """

    def __init__(self, directory: Path, passphrase: bytes, *, costs: Costs | None = None) -> None:
        self._directory = directory
        self._costs = costs or Costs()
        self._writing = Lock()
        self._key: PassphraseKey | None = None
        self._secrets: dict[str, bytes] = {}
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the key directory cannot be made: {error.strerror}") from error
        self._lock = DirectoryLock(directory)
        try:
            self._unlock(passphrase)
        except BaseException:
            self._lock.release()
            raise

    def get(self, name: str) -> bytes | None:
        """A secret, or None."""
        secrets = self._secrets  # before the look, lest a keystore that is being closed says None
        self._require_open()
        return secrets.get(name)

    def put(self, name: str, secret: bytes) -> None:
        """Keeps a secret durably, in place of an older one.

        Raises:
            StorageError: The disk refuses; what was kept is kept.
            InvalidInputError: The keystore would be larger than 16 MiB.
        """
        with self._writing:
            self._write(self._require_open(), {**self._secrets, name: secret})

    def delete(self, name: str) -> None:
        """Forgets a secret, if there is one; raises as `put` does."""
        with self._writing:
            key = self._require_open()
            if name in self._secrets:
                self._write(key, {kept: secret for kept, secret in self._secrets.items() if kept != name})

    def change_passphrase(self, passphrase: bytes) -> None:
        """Seals everything under another passphrase. Copies of the file that were made before open with the old one.

        Raises:
            InvalidInputError: It is empty or too long.
            StorageError: The disk refuses; the old one opens the keystore.
        """
        with self._writing:
            self._require_open()
            self._write(PassphraseKey(passphrase, os.urandom(SALT_BYTES), self._costs), self._secrets)

    def close(self) -> None:
        """Forgets the secrets, and lets other processes in. Closing twice is fine."""
        with self._writing:
            self._key = None
            self._secrets = {}
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Keystore({len(self._secrets)} secrets)"

    def _require_open(self) -> PassphraseKey:
        if self._key is None:
            raise ClosedError("the keystore was closed")
        return self._key

    def _unlock(self, passphrase: bytes) -> None:
        if is_sealed(self._directory):
            file = read(self._read_file(self._directory / SEALED, MAX_FILE_BYTES))
            self._key, self._secrets = file.unlock(passphrase)
            self._require_known(self._secrets)
        else:
            self._write(PassphraseKey(passphrase, os.urandom(SALT_BYTES), self._costs), self._plain())
        self._remove_plain()

    def _write(self, key: PassphraseKey, secrets: dict[str, bytes]) -> None:
        write_whole(self._directory / SEALED, key.seal(secrets, os.urandom(NONCE_BYTES)))
        self._key, self._secrets = key, secrets

    # --- plain keys -----------------------------------------------------------------------------------------------

    def _plain(self) -> dict[str, bytes]:
        """The plain keys that are here, by name: each file is one."""
        return {path.name: self._read_file(path, _MAX_PLAIN_BYTES) for path in self._files() if path.name[0] != "."}

    def _require_known(self, secrets: Mapping[str, bytes]) -> None:
        """Plain keys beside a keystore are what a crash left of taking them over: anything else is somebody's mistake."""
        strangers = [name for name, secret in self._plain().items() if secrets.get(name) != secret]
        if strangers:
            raise StorageError(
                f"the key file {strangers[0]} lies beside the keystore, which does not hold that key",
                hint=f"Move it out of {self._directory}; the keystore is whole without it.",
            )

    def _remove_plain(self) -> None:
        """Removes plain keys, all of which are sealed by now, and torn writes of them.

        They are renamed first: an overwritten key under its own name would be taken for another key after a crash.
        Overwriting is worth little on disks that write elsewhere, and costs nothing.
        """
        try:
            for path in self._files():
                if path.name[0] != ".":
                    path.rename(path.with_name(f".{path.name}{_DOOMED}"))
            sync_directory(self._directory)
            for path in self._files():
                if path.name[0] == "." and path.name.endswith((_DOOMED, _TORN)):
                    _wipe(path)
            sync_directory(self._directory)
        except OSError as error:
            raise StorageError(f"a plain key file cannot be removed: {error.strerror}") from error

    def _files(self) -> list[Path]:
        """What is in the folder beside the keystore and its lock."""
        try:
            return [path for path in sorted(self._directory.iterdir()) if path.name not in {SEALED, _LOCK}]
        except OSError as error:
            raise StorageError(f"the key directory cannot be read: {error.strerror}") from error

    def _read_file(self, path: Path, max_bytes: int) -> bytes:
        try:
            if path.is_symlink() or not path.is_file() or not path.name.isprintable():
                raise _foreign(path)
            with path.open("rb") as file:
                content = file.read(max_bytes + 1)
        except OSError as error:
            raise StorageError(f"a key file cannot be read: {error.strerror}") from error
        if len(content) > max_bytes:
            raise _foreign(path)
        return content


def _wipe(path: Path) -> None:
    found = path.lstat()
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:  # not a back-up made of hard links
        with path.open("r+b") as file:
            file.write(bytes(found.st_size))
            file.flush()
            os.fsync(file.fileno())
    path.unlink()


def _foreign(path: Path) -> StorageError:
    return StorageError(f"{path.name!r} in {path.parent} is no key file", hint="Move it out of that folder.")
