"""What a chain keeps beside its blocks: cursors of consumers, the side store, small values.

Invariant: each write is one durable transaction. It knows nothing of what the values mean.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Final

from walytis_core.cid import Cid
from walytis_core.errors import NotFoundError
from walytis_core.store.database import Database

_PER_QUERY: Final = 256
_PUT_SIDE: Final = """
    INSERT INTO side (chain, cid, readers, data) VALUES (?, ?, ?, ?)
    ON CONFLICT (chain, cid) DO UPDATE SET data = excluded.data, readers = coalesce(nullif(excluded.readers, ''), readers)
"""
_PUT: Final = """
    INSERT INTO chain_values (chain, key, value) VALUES (?, ?, ?)
    ON CONFLICT (chain, key) DO UPDATE SET value = excluded.value
"""
AFTER_ANY: Final = "\U0010ffff"
"""Sorts behind every character that a key may hold."""


class ChainTables:
    """One chain's tables beside its blocks. See `port.ChainStore`.

    Args:
        database: The node's.
        chain: The chain's key.
    """

    def __init__(self, database: Database, chain: int) -> None:
        self._tables = database
        self._chain = chain
        self._deleted = False

    def require_present(self) -> None:
        """Refuses what would write rows of a chain that was deleted; under the database's lock.

        Raises:
            NotFoundError: It was.
        """
        if self._deleted:
            raise NotFoundError("this chain was deleted here")

    def set_deleted(self) -> None:
        """From now on nothing can be written."""
        self._deleted = True

    def _write(self, sql: str, *parameters: object) -> None:
        with self._tables.write() as connection:
            self.require_present()
            connection.execute(sql, (self._chain, *parameters))

    # --- consumers ---

    def cursor(self, name: str) -> int | None:
        """The cursor of a named consumer; None when it is new."""
        rows = self._tables.read("SELECT number FROM cursors WHERE chain = ? AND name = ?", (self._chain, name))
        return rows[0][0] if rows else None

    def set_cursor(self, name: str, number: int | None) -> None:
        """Moves a cursor durably, and never back; None removes it."""
        if number is None:
            self._write("DELETE FROM cursors WHERE chain = ? AND name = ?", name)
        else:
            sql = """
                INSERT INTO cursors (chain, name, number) VALUES (?, ?, ?)
                ON CONFLICT (chain, name) DO UPDATE SET number = excluded.number WHERE excluded.number > number
            """
            self._write(sql, name, number)

    def set_aside(self, name: str, number: int, reason: str) -> None:
        """Records that a consumer rejected a block on purpose."""
        sql = "INSERT OR REPLACE INTO rejected (chain, name, number, reason) VALUES (?, ?, ?, ?)"
        self._write(sql, name, number, reason)

    def rejected(self, name: str) -> dict[int, str]:
        """What a consumer has set aside, by number."""
        sql = "SELECT number, reason FROM rejected WHERE chain = ? AND name = ? ORDER BY number"
        return dict(self._tables.read(sql, (self._chain, name)))

    # --- side store ---

    def put_side(self, cid: Cid, data: bytes, readers: str = "") -> None:
        """Keeps bytes under their CID, and the label that they have."""
        self._write(_PUT_SIDE, cid, readers, data)

    def side(self, cid: Cid) -> bytes | None:
        """Bytes of the side store, or None."""
        rows = self._tables.read("SELECT data FROM side WHERE chain = ? AND cid = ?", (self._chain, cid))
        return rows[0][0] if rows else None

    def unlabelled_side(self, cid: Cid) -> bytes | None:
        """Bytes of the side store whose owner layer named no readers, or None."""
        sql = "SELECT data FROM side WHERE chain = ? AND cid = ? AND readers = ''"
        rows = self._tables.read(sql, (self._chain, cid))
        return rows[0][0] if rows else None

    def side_label(self, cid: Cid) -> str | None:
        """The label of bytes in the side store, empty where there is none; None when they are not held."""
        rows = self._tables.read("SELECT readers FROM side WHERE chain = ? AND cid = ?", (self._chain, cid))
        return rows[0][0] if rows else None

    def has_side(self, cids: Sequence[Cid]) -> set[Cid]:
        """Those of `cids` that are held."""
        held: set[Cid] = set()
        left = iter(cids)
        while part := list(islice(left, _PER_QUERY)):
            sql = f"SELECT cid FROM side WHERE chain = ? AND cid IN ({','.join('?' * len(part))})"  # noqa: S608 - placeholders
            held.update(Cid(cid) for (cid,) in self._tables.read(sql, (self._chain, *part)))
        return held

    def drop_side(self, cids: Sequence[Cid], *, labelled: bool = False) -> None:
        """Forgets bytes of the side store; those with a label only if asked to."""
        with self._tables.write() as connection:
            sql = "DELETE FROM side WHERE chain = ? AND cid = ? AND (readers = '' OR ?)"
            connection.executemany(sql, [(self._chain, cid, labelled) for cid in cids])

    # --- small values ---

    def get(self, key: str) -> bytes | None:
        """A small value, or None."""
        rows = self._tables.read("SELECT value FROM chain_values WHERE chain = ? AND key = ?", (self._chain, key))
        return rows[0][0] if rows else None

    def put(self, key: str, value: bytes | None) -> None:
        """Writes a small value durably; None removes it."""
        self.put_many({key: value})

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        """Those of the small values that there are."""
        found: dict[str, bytes] = {}
        left = iter(keys)
        while part := list(islice(left, _PER_QUERY)):
            marks = ",".join("?" * len(part))
            sql = f"SELECT key, value FROM chain_values WHERE chain = ? AND key IN ({marks})"  # noqa: S608 - placeholders
            found.update(self._tables.read(sql, (self._chain, *part)))
        return found

    def put_many(self, values: Mapping[str, bytes | None]) -> None:
        """Writes small values durably, all of them or none; None removes one."""
        removed = [(self._chain, key) for key, value in values.items() if value is None]
        written = [(self._chain, *item) for item in values.items() if item[1] is not None]
        with self._tables.write() as connection:
            self.require_present()
            connection.executemany("DELETE FROM chain_values WHERE chain = ? AND key = ?", removed)
            connection.executemany(_PUT, written)

    def items(self, prefix: str) -> dict[str, bytes]:
        """All small values whose key starts with `prefix`, by key."""
        sql = "SELECT key, value FROM chain_values WHERE chain = ? AND key >= ? AND key < ? ORDER BY key"
        return dict(self._tables.read(sql, (self._chain, prefix, prefix + AFTER_ANY)))
