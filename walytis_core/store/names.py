"""The integers that stand for authors, types and topics of a chain.

Invariant: memory holds only names whose rows are committed, or are of the transaction under way: a transaction that
fails calls `forget`. Bounded, whatever peers invent. It knows nothing of blocks.
"""

from __future__ import annotations

import sqlite3
from typing import Final

_MAX: Final = 8192
_SELECT: Final = {
    "author": "SELECT key FROM authors WHERE chain = ? AND author = ?",
    "type": "SELECT key FROM types WHERE chain = ? AND type = ?",
    "topic": "SELECT key FROM topics WHERE chain = ? AND topic = ?",
}
_INSERT: Final = {
    "author": "INSERT INTO authors (chain, author) VALUES (?, ?) RETURNING key",
    "type": "INSERT INTO types (chain, type) VALUES (?, ?) RETURNING key",
    "topic": "INSERT INTO topics (chain, topic) VALUES (?, ?) RETURNING key",
}


class Names:
    """The numbers of names, remembered."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, int, str | bytes], int] = {}

    def key(self, connection: sqlite3.Connection, kind: str, chain: int, name: str | bytes) -> int:
        """The number of an author, type or topic, given to it now if it is new."""
        found = self._keys.get((kind, chain, name))
        if found is not None:
            return found
        row = connection.execute(_SELECT[kind], (chain, name)).fetchone()
        key: int = row[0] if row else connection.execute(_INSERT[kind], (chain, name)).fetchone()[0]
        if len(self._keys) >= _MAX:
            self._keys.clear()
        self._keys[kind, chain, name] = key
        return key

    def forget(self) -> None:
        """Drops everything: it may be of a transaction that was rolled back."""
        self._keys.clear()
