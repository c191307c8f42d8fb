"""Removing a chain: out of sight in one transaction, its rows in bounded ones.

Invariants: a chain without an id is being removed; it is in no list, and its integer is never used again. Other chains
go on committing between the steps; a step that a crash has cut is taken again at the next opening. It knows tables only.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from walytis_core.store.database import Database

# What to pick, a page at a time, and what to delete of each thing picked. Labels go with their topics, edges with their
# parents, which are of the same chain.
_STEPS: Final = (
    ("SELECT key FROM side WHERE chain = ? LIMIT 32", ("DELETE FROM side WHERE key = ?",)),
    (
        "SELECT key FROM topics WHERE chain = ? LIMIT 256",
        ("DELETE FROM labels WHERE topic = ?", "DELETE FROM topics WHERE key = ?"),
    ),
    (
        "SELECT number FROM blocks INDEXED BY blocks_by_chain WHERE chain = ? LIMIT 2000",
        ("DELETE FROM edges WHERE parent = ?", "DELETE FROM blocks WHERE number = ?"),
    ),
)
_REST: Final = (
    "DELETE FROM authors WHERE chain = ?",
    "DELETE FROM types WHERE chain = ?",
    "DELETE FROM proofs WHERE chain = ?",
    "DELETE FROM cursors WHERE chain = ?",
    "DELETE FROM rejected WHERE chain = ?",
    "DELETE FROM chain_values WHERE chain = ?",
    "DELETE FROM chains WHERE key = ?",
)


def mark(connection: sqlite3.Connection, digest: bytes, last: int) -> None:
    """Takes a chain out of sight; `last` is the greatest number given so far, which its rows may take with them."""
    connection.execute("UPDATE chains SET id = NULL WHERE id = ?", (digest,))
    connection.execute("UPDATE numbers SET last = ?", (last,))


def deleted_chains(database: Database) -> None:
    """Removes the rows of all chains that were marked."""
    for chain in database.read("SELECT key FROM chains WHERE id IS NULL"):
        for pick, deletions in _STEPS:
            while picked := database.read(pick, chain):
                with database.write() as connection:
                    for deletion in deletions:
                        connection.executemany(deletion, picked)
        with database.write() as connection:
            for deletion in _REST:
                connection.execute(deletion, chain)
