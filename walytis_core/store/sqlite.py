"""The store of a node in SQLite: one database per directory, one process at a time.

Invariants: those of `port.py`; and a chain that is deleted is gone from the first transaction on, whatever happens to
the rest of its rows: what a crash left of them is removed at the next opening. Memory follows a commit only when it is
durable. It knows no policy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from walytis_core.block import Block
from walytis_core.cid import DAG_CBOR_PREFIX, BlockId, Cid
from walytis_core.errors import LocalError, NotFoundError, StorageError
from walytis_core.store import purge, schema, verification
from walytis_core.store.batch import Batch
from walytis_core.store.database import Database, Record, storage_error
from walytis_core.store.held import Shared, SqliteHeld, to_id
from walytis_core.store.lock import DirectoryLock
from walytis_core.store.port import Commit, Progress, VerifyReport
from walytis_core.store.tables import AFTER_ANY, ChainTables

_COUNT_EVERY: Final = 256
"""Blocks after which a chain's count is written; what came since is counted at opening."""
_HOLDING: Final = """
    SELECT id FROM chains c WHERE id IS NOT NULL AND (
        EXISTS (SELECT 1 FROM blocks b INDEXED BY blocks_by_id WHERE b.chain = c.key AND b.id = ?)
        OR EXISTS (SELECT 1 FROM side s WHERE s.chain = c.key AND s.cid = ?)
    )
"""


class SqliteChain(SqliteHeld, ChainTables):
    """One chain in SQLite. See `port.ChainStore`.

    Args:
        shared: What the chains of the store have in common.
        row: key, id, genesis, last, count, as in its tables.
    """

    def __init__(self, shared: Shared, row: Record) -> None:
        key, self._digest, genesis, last, self._written = row
        newer = "SELECT count(*), coalesce(max(number), ?) FROM blocks INDEXED BY blocks_by_chain WHERE chain = ? AND number > ?"
        (more, last) = shared.database.read(newer, (last, key, last))[0]  # what was unfolded would have been written
        SqliteHeld.__init__(self, shared, key, genesis, last, self._written + more)
        ChainTables.__init__(self, shared.database, key)

    @property
    def id(self) -> BlockId:
        """The chain's id."""
        return to_id(self._digest)

    def commit(self, commit: Commit) -> dict[BlockId, int]:
        """Writes a commit durably; the numbers of the new and refolded members.

        Raises:
            StorageError: The disk refused; nothing of the commit was written.
            LocalError: It breaks an invariant of the store; nothing of it was written.
        """
        shared = self._shared
        with self._database.lock:
            self.require_present()
            with self._database.write() as connection:
                batch = Batch(connection, shared, self._key)
                numbers = batch.write(commit)
                count, last = self._count + batch.count, max(numbers.values(), default=self._last)
                is_due = bool(commit.unfold or commit.refold) or count - self._written >= _COUNT_EVERY
                if is_due:
                    connection.execute("UPDATE chains SET last = ?, count = ? WHERE key = ?", (last, count, self._key))
            shared.last, self._last, self._count = batch.last, last, count
            shared.recent.add(self._key, batch.metas)  # last: what is known is counted, and in every query
            if is_due:
                self._written = count
        return numbers

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Re-hashes and re-checks every member; corrupt ones are set aside."""
        return verification.Verification(self, self._shared, self._key).run(progress)

    def corrupt(self) -> list[BlockId]:
        """Members that were set aside and whose bytes are wanted again, by number."""
        sql = "SELECT id FROM blocks INDEXED BY blocks_corrupt WHERE chain = ? AND corrupt = 1 ORDER BY number"
        return [to_id(id) for (id,) in self._database.read(sql, (self._key,))]

    def heal(self, id: BlockId, encoded: bytes) -> None:
        """Puts back the bytes of a block that was set aside; it keeps its number."""
        with self._database.write() as connection:
            sql = "UPDATE blocks SET encoded = ?, corrupt = 0 WHERE chain = ? AND id = ?"
            connection.execute(sql, (encoded, self._key, id[len(DAG_CBOR_PREFIX) :]))


class SqliteStore:
    """A node's database. See `port.Store`.

    >>> store = SqliteStore.open_memory()
    >>> store.put("greeting", b"hello")
    >>> store.get("greeting")
    b'hello'
    >>> store.close()
    """

    def __init__(self, database: Database, lock: DirectoryLock | None, device: tuple[str, str]) -> None:
        self._database = database
        self._lock = lock
        self._device = device
        last = database.read("SELECT max(last, (SELECT coalesce(max(number), 0) FROM blocks)) FROM numbers")[0][0]
        self._shared = Shared(database, last)
        self._chains: dict[BlockId, SqliteChain] = {}
        self._device_changed = database.read("SELECT dev, inode FROM device") != [device]
        purge.deleted_chains(database)

    @classmethod
    def open(cls, directory: Path | str) -> SqliteStore:
        """Opens the store of a directory, making both where they are missing.

        Raises:
            InUseError: Another process, or this one, has the directory open.
            StorageError: It cannot be read or written, is not ours, or is of a newer version.
        """
        directory = Path(directory)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the directory {directory}: {error.strerror}") from error
        lock = DirectoryLock(directory)
        store = None
        try:
            store = cls._open_locked(directory / schema.FILE_NAME, lock)
        finally:
            if store is None:
                lock.release()
        return store

    @classmethod
    def _open_locked(cls, path: Path, lock: DirectoryLock) -> SqliteStore:
        try:
            if path.exists():
                schema.look(path)
            else:
                schema.create_file(path)
            device = schema.device_of(path)
        except sqlite3.Error as error:
            raise storage_error(error, path) from error
        except OSError as error:
            raise StorageError(f"cannot use {path}: {error.strerror}") from error
        return cls._on(Database(path), lock, device)

    @classmethod
    def open_memory(cls) -> SqliteStore:
        """A store that lives as long as this object."""
        database = Database(None)
        device = ("", "")
        with database.lock, database.reader() as connection:
            schema.create_tables(connection, device)
        return cls._on(database, None, device)

    @classmethod
    def _on(cls, database: Database, lock: DirectoryLock | None, device: tuple[str, str]) -> SqliteStore:
        store = None
        try:
            store = cls(database, lock, device)
        finally:
            if store is None:
                database.close()
        return store

    @property
    def refusal(self) -> StorageError | None:
        """Why the disk refused, when it last did; None once it has taken a write again."""
        return self._database.refusal

    @property
    def device_changed(self) -> bool:
        """Whether this file is a copy: it has another device or inode than the one written in it when opened."""
        return self._device_changed

    def acknowledge_device(self) -> None:
        """Writes this file's device and inode into it: from now on it is no copy."""
        with self._database.write() as connection:
            connection.execute("UPDATE device SET dev = ?, inode = ?", self._device)
        self._device_changed = False

    # --- chains ---

    def create_chain(self, genesis: Block, name: str, values: Mapping[str, bytes] | None = None) -> SqliteChain:
        """Adds a chain with its genesis as first member, and its first small values, in one transaction.

        Raises:
            LocalError: It is there already.
            StorageError: The disk refused; nothing was written.
        """
        shared, digest = self._shared, genesis.id[len(DAG_CBOR_PREFIX) :]
        with self._database.lock:
            if genesis.id in self.chains():
                raise LocalError(f"chain {genesis.id} is here already")
            with self._database.write() as connection:
                number = shared.last + 1
                sql = "INSERT INTO chains (id, name, genesis, last, count) VALUES (?, ?, ?, ?, 0)"
                key = connection.execute(sql, (digest, name, number, number)).lastrowid or 0
                batch = Batch(connection, shared, key)
                batch.insert([genesis])
                put = "INSERT INTO chain_values (chain, key, value) VALUES (?, ?, ?)"
                connection.executemany(put, [(key, *value) for value in (values or {}).items()])
            shared.last = batch.last
            shared.recent.add(key, batch.metas)
            chain = self._chains[genesis.id] = SqliteChain(shared, (key, digest, number, number, 0))
        return chain

    def chains(self) -> dict[BlockId, str]:
        """The chains and their local names."""
        rows = self._database.read("SELECT id, name FROM chains WHERE id IS NOT NULL ORDER BY key")
        return {to_id(id): name for id, name in rows}

    def chain(self, id: BlockId) -> SqliteChain:
        """One chain: the same object each time. Raises `NotFoundError`."""
        with self._database.lock:
            if id not in self._chains:
                sql = "SELECT key, id, genesis, last, count FROM chains WHERE id = ?"
                rows = self._database.read(sql, (id[len(DAG_CBOR_PREFIX) :],))
                if not rows or to_id(rows[0][1]) != id:
                    raise NotFoundError(f"there is no chain {id} here")
                self._chains[id] = SqliteChain(self._shared, rows[0])
            return self._chains[id]

    def holding(self, cid: Cid) -> list[BlockId]:
        """The chains that hold this as a member or in their side store: a look into two indexes for each chain."""
        digest = cid[len(DAG_CBOR_PREFIX) :] if cid.startswith(DAG_CBOR_PREFIX) else None
        return [to_id(id) for (id,) in self._database.read(_HOLDING, (digest, cid))]

    def rename(self, id: BlockId, name: str) -> None:
        """Changes a chain's local name. Raises `NotFoundError`."""
        self.chain(id)
        with self._database.write() as connection:
            connection.execute("UPDATE chains SET name = ? WHERE id = ?", (name, id[len(DAG_CBOR_PREFIX) :]))

    def delete_chain(self, id: BlockId) -> None:
        """Removes all of a chain's data; its pages are used again. Raises `NotFoundError`."""
        self.hide_chain(id)
        self.purge()

    def hide_chain(self, id: BlockId) -> None:
        """Takes a chain out of sight in one short transaction: it can be created anew. Raises `NotFoundError`."""
        with self._database.lock:
            chain = self.chain(id)
            with self._database.write() as connection:
                purge.mark(connection, id[len(DAG_CBOR_PREFIX) :], self._shared.last)
            chain.set_deleted()
            del self._chains[id]

    def purge(self) -> None:
        """Removes the rows of hidden chains, in short transactions."""
        purge.deleted_chains(self._database)

    def scrub(self) -> None:
        """Leaves nothing in the file of what was deleted or replaced; see `Database.scrub`."""
        self._database.scrub()

    # --- small values ---

    def get(self, key: str) -> bytes | None:
        """A small value of the node, or None."""
        rows = self._database.read("SELECT value FROM node_values WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def put(self, key: str, value: bytes | None) -> None:
        """Writes a small value durably; None removes it."""
        with self._database.write() as connection:
            if value is None:
                connection.execute("DELETE FROM node_values WHERE key = ?", (key,))
            else:
                connection.execute("INSERT OR REPLACE INTO node_values (key, value) VALUES (?, ?)", (key, value))

    def items(self, prefix: str) -> Iterable[tuple[str, bytes]]:
        """All small values of the node whose key starts with `prefix`, by key."""
        sql = "SELECT key, value FROM node_values WHERE key >= ? AND key < ? ORDER BY key"
        return [(key, value) for key, value in self._database.read(sql, (prefix, prefix + AFTER_ANY))]

    def close(self) -> None:
        """Merges the log, closes and lets others in; closing twice is fine."""
        self._database.close()
        if self._lock is not None:
            self._lock.release()
