"""The tables of `walytis.db`, their version, and the look at a file before it is touched.

Invariants:

- A file named `walytis.db` is whole: it is made under another name and renamed.
- A file of another program, or of a newer version, is refused before anything is written to it or beside it.
- Chains, authors, types and topics are integers inside; authors, types and topics are numbered per chain, so that
  their indexes need no chain column. Ids are kept as the 32 bytes of their digest: the rest of a block id is constant.

It knows tables, and nothing of blocks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

from walytis_core.errors import StorageError

VERSION: Final = 1
APPLICATION_ID: Final = 0x57414C59  # "WALY"
FILE_NAME: Final = "walytis.db"
PAGE_BYTES: Final = 2048
"""A commit of one block touches a page in each of eight trees: small pages make the log, and its sync, shorter."""
_MAGIC: Final = b"SQLite format 3\x00"

# Numbers are given by the store, which never gives one twice: `numbers` holds the greatest one when a chain is deleted.
# AUTOINCREMENT would do the same for one more page in every commit; so would counts that are written each time, so
# `chains.count` is as of `chains.last`, and what came later is counted at opening (docs/adr/0008-sqlite-integer-keys.md).
# The index of the canonical order holds the start of each id: few blocks have one height, so the rest is rarely looked at.
# `type` is null for plain app data, which most blocks are, to keep them out of its index. `encoded` stands last: long
# bytes go to overflow pages, and what stands behind them is slow to reach.
_TABLES: Final = """
CREATE TABLE device (dev TEXT NOT NULL, inode TEXT NOT NULL);
CREATE TABLE node_values (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE chains (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB UNIQUE,
    name TEXT NOT NULL,
    genesis INTEGER NOT NULL,
    last INTEGER NOT NULL,
    count INTEGER NOT NULL
);
CREATE TABLE authors (key INTEGER PRIMARY KEY, chain INTEGER NOT NULL, author BLOB NOT NULL, UNIQUE (chain, author));
CREATE TABLE types (key INTEGER PRIMARY KEY, chain INTEGER NOT NULL, type TEXT NOT NULL, UNIQUE (chain, type));
CREATE TABLE topics (key INTEGER PRIMARY KEY, chain INTEGER NOT NULL, topic TEXT NOT NULL, UNIQUE (chain, topic));
CREATE TABLE numbers (last INTEGER NOT NULL);
INSERT INTO numbers VALUES (0);
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL,
    id BLOB NOT NULL,
    start BLOB GENERATED ALWAYS AS (substr(id, 1, 8)) VIRTUAL,
    author INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    height INTEGER NOT NULL,
    time INTEGER NOT NULL,
    type INTEGER,
    unfolded INTEGER NOT NULL DEFAULT 0,
    corrupt INTEGER NOT NULL DEFAULT 0,
    encoded BLOB NOT NULL
);
CREATE UNIQUE INDEX blocks_by_id ON blocks (chain, id);
CREATE INDEX blocks_by_chain ON blocks (chain);
CREATE INDEX blocks_by_author ON blocks (author);
CREATE INDEX blocks_by_seq ON blocks (author, seq);
CREATE INDEX blocks_by_height ON blocks (chain, height, start);
CREATE INDEX blocks_by_type ON blocks (type) WHERE type IS NOT NULL;
CREATE INDEX blocks_unfolded ON blocks (chain) WHERE unfolded = 1;
CREATE INDEX blocks_corrupt ON blocks (chain) WHERE corrupt = 1;
CREATE TABLE labels (topic INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (topic, number)) WITHOUT ROWID;
CREATE TABLE edges (parent INTEGER NOT NULL, child INTEGER NOT NULL, PRIMARY KEY (parent, child)) WITHOUT ROWID;
CREATE TABLE proofs (
    chain INTEGER NOT NULL,
    author BLOB NOT NULL,
    seq INTEGER NOT NULL,
    first BLOB NOT NULL,
    second BLOB NOT NULL,
    PRIMARY KEY (chain, author)
);
CREATE TABLE cursors (chain INTEGER NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (chain, name));
CREATE TABLE rejected (
    chain INTEGER NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (chain, name, number)
);
CREATE TABLE side (
    key INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL,
    cid BLOB NOT NULL,
    readers TEXT NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (chain, cid)
);
CREATE TABLE chain_values (chain INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (chain, key));
"""


def create_tables(connection: sqlite3.Connection, device: tuple[str, str]) -> None:
    """Makes the tables in an empty database, which is on `device` (its device and inode numbers)."""
    connection.executescript(
        f"BEGIN; {_TABLES}; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={VERSION};"
    )
    connection.execute("INSERT INTO device VALUES (?, ?)", device)
    connection.execute("COMMIT")


def create_file(path: Path) -> None:
    """Makes a database file that is whole from the moment it has its name.

    Raises:
        OSError, sqlite3.Error: The directory cannot be written.
    """
    new = path.with_name(path.name + ".new")
    for leftover in (new, path.with_name(new.name + "-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        create_tables(connection, device_of(new))
    new.rename(path)
    if os.name == "posix":  # elsewhere a directory cannot be opened
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def device_of(path: Path) -> tuple[str, str]:
    """The device and inode of a file, as text: they may be greater than an SQLite integer."""
    found = path.stat()
    return str(found.st_dev), str(found.st_ino)


def look(path: Path) -> None:
    """Refuses a file that is not ours, or too new, without changing a byte.

    Raises:
        StorageError: The file is another program's, or of a newer version.
        OSError, sqlite3.Error: It cannot be read.
    """
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or header[:16] != _MAGIC:
        raise _foreign(path)
    version, application = (int.from_bytes(header[at : at + 4], "big") for at in (60, 68))
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        version, application = _look_through_log(path)
    if application != APPLICATION_ID or version < 1:
        raise _foreign(path)
    if version > VERSION:
        raise StorageError(
            f"{path} has format {version}; this version reads up to {VERSION}",
            hint="Update walytis-stack, or use another directory; the file was left as it is.",
        )


def _look_through_log(path: Path) -> tuple[int, int]:
    """A process that died left its log, which may hold a newer header; a read-only connection merges nothing."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
    return version, application


def _foreign(path: Path) -> StorageError:
    return StorageError(f"{path} is not a walytis store", hint="Use another directory, or move that file away.")
