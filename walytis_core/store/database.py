"""Connections to one SQLite database: one that writes, behind a lock, and a few that read.

Invariants:

- A read never waits for a commit, nor a commit for a read (WAL), and no read leaves a transaction open.
- A transaction is durable when `write` ends without an error (`synchronous=FULL`), and gone when it ends with one;
  in both cases the next one finds a clean connection.
- `sqlite3` errors end here: callers see `StorageError`, or `ClosedError` after `close`.
- Small commits overwrite the log, and rarely lengthen it: a sync of a file that has become longer also waits for the
  file system's own journal, which costs as much as the sync itself.

It knows no tables.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from threading import Lock, RLock
from typing import Any, Final

from walytis_core.errors import ClosedError, StorageError

Record = tuple[Any, ...]

_IDLE_READERS: Final = 4
_CACHED_STATEMENTS: Final = 256
_WRITER: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA wal_autocheckpoint=16000",  # 32 MiB; the default of 1000 pages halves the rate of a long chain
    "PRAGMA journal_size_limit=50331648",
    "PRAGMA cache_size=-8192",
)
_READER: Final = ("PRAGMA query_only=1", "PRAGMA cache_size=-2048")
_SMALL_COMMIT_BYTES: Final = 64 * 1024
_LEAST_GROWTH_BYTES: Final = 64 * 1024
_GREATEST_GROWTH_BYTES: Final = 2 * 1024 * 1024
_CAUSES: Final = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Free space, then try again; nothing acknowledged is lost."),
    sqlite3.SQLITE_READONLY: ("the store is read-only", "Make its directory writable for this user, then try again."),
    sqlite3.SQLITE_PERM: ("the store may not be written", "Fix the permissions of its directory, then try again."),
    sqlite3.SQLITE_CANTOPEN: ("the store cannot be opened", "Check that its directory exists and is writable."),
    sqlite3.SQLITE_IOERR: ("the disk reports an error", "Check the disk and its free space, then try again."),
    sqlite3.SQLITE_BUSY: ("another program locks the store", "Close the program that has the database file open."),
    sqlite3.SQLITE_NOTADB: ("the file is not a database", "Use another directory, or move that file away."),
    sqlite3.SQLITE_CORRUPT: (
        "the database file is damaged",
        "Move its directory away and join the chains again, or restore a backup; `sqlite3 walytis.db .recover` may help.",
    ),
}


def storage_error(error: sqlite3.Error, path: Path | None = None) -> StorageError:
    """What to tell the user about an error of SQLite, in the file at `path`."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of an extended code is detail
    what, hint = _CAUSES.get(code, ("the store cannot be used", None))
    detail = "" if str(error) in what else f" ({error})"
    return StorageError(what + detail + ("" if path is None else f": {path}"), hint=hint)


class Database:
    """The connections to one database.

    Attributes:
        lock: Held by whoever writes.
        on_rollback: Called when a transaction has failed, to drop what was remembered of it.
        refusal: Why the disk refused, when it last did; None once it has taken a write again.

    Args:
        path: Its file, which exists; None for one in memory.

    Raises:
        StorageError: It cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self.lock = RLock()
        self.on_rollback: Callable[[], None] = lambda: None
        self.refusal: StorageError | None = None
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._pool = Lock()
        self._closed = False
        try:
            self._writer = self._connect(_WRITER)
        except sqlite3.Error as error:
            raise storage_error(error, path) from error
        self._log = None if path is None else _Log(path.with_name(path.name + "-wal"))

    def _connect(self, pragmas: Sequence[str]) -> sqlite3.Connection:
        target = ":memory:" if self._path is None else f"{self._path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            target,
            uri=self._path is not None,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
        try:
            for pragma in pragmas:
                connection.execute(pragma).fetchall()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction: committed at the end, rolled back by any exception.

        Raises:
            StorageError: The disk refused; nothing was written.
        """
        with self.lock:
            self._require_open()
            committed = False
            try:
                try:
                    self._writer.execute("BEGIN IMMEDIATE")
                    yield self._writer
                    self._writer.execute("COMMIT")
                    committed = True
                    self.refusal = None
                    if self._log is not None:
                        self._log.committed()
                finally:
                    if not committed:
                        self.on_rollback()
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise self._refused(error) from error

    @contextlib.contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with; whoever leaves a cursor unfinished closes it."""
        try:
            if self._path is None:
                with self.lock:
                    self._require_open()
                    yield self._writer
            else:
                connection = self._take()
                try:
                    yield connection
                finally:
                    self._give_back(connection)
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Record]:
        """The rows of one query, as last committed."""
        with self.reader() as connection:
            return connection.execute(sql, parameters).fetchall()

    def scrub(self) -> None:
        """Writes the whole file anew, and empties the log: nothing stays of what was deleted or replaced.

        Takes a few seconds for 100 MB, and twice as much room again while it lasts.

        Raises:
            StorageError: The disk refuses, or somebody is reading; the file is as it was.
        """
        with self.lock:
            self._require_open()
            try:
                self._writer.execute("VACUUM")
                (busy, *_) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.Error as error:
                raise storage_error(error, self._path) from error
        if busy:
            raise StorageError("the store is being read, and cannot be written anew now")

    def _refused(self, error: sqlite3.Error) -> StorageError:
        self.refusal = storage_error(error, self._path)
        return self.refusal

    def _take(self) -> sqlite3.Connection:
        with self._pool:
            self._require_open()
            if self._idle:
                return self._idle.pop()
        return self._connect(_READER)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._pool:
            if not self._closed and len(self._idle) < _IDLE_READERS:
                self._idle.append(connection)
                return
        connection.close()

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("the store was closed")

    def close(self) -> None:
        """Waits for a running commit, merges the log into the file and closes; closing twice is fine."""
        with self.lock:
            with self._pool:
                self._closed = True
                idle, self._idle = self._idle, []
            if self._log is not None:
                self._log.close()
            for connection in (*idle, self._writer):  # the last one to close merges the log
                connection.close()


class _Log:
    """The write-ahead log as a file, to be lengthened ahead of small commits (as databases do that recycle their logs).

    SQLite never reads behind what it has committed: frames are known by their salt and checksum, so zeros there are no
    more than the rest of an older, longer log, which it leaves in place after each checkpoint. Only the thread that holds
    the database's lock is here.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._size = 0
        self._growth = _LEAST_GROWTH_BYTES

    def committed(self) -> None:
        """A commit has ended. Where it has made the file longer, and was small, the next ones will find room."""
        with contextlib.suppress(OSError):  # a disk that is nearly full: the next commit says so itself
            if self._file is None:
                self._file = FileIO(self._path, "r+")
            size = os.fstat(self._file.fileno()).st_size
            if 0 < size - self._size <= _SMALL_COMMIT_BYTES:
                self._file.seek(size)
                for _ in range(self._growth // _LEAST_GROWTH_BYTES):
                    self._file.write(bytes(_LEAST_GROWTH_BYTES))
                size += self._growth
                self._growth = min(2 * self._growth, _GREATEST_GROWTH_BYTES)
            self._size = size

    def close(self) -> None:
        """Lets go of the file, which SQLite removes when it closes."""
        if self._file is not None:
            self._file.close()
