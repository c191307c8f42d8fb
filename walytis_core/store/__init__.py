"""What a node keeps: the port, its model in memory, and the adapter for SQLite."""

from walytis_core.store.memory import MemoryStore
from walytis_core.store.port import (
    ChainStore,
    Commit,
    Held,
    Meta,
    Position,
    Proof,
    Query,
    Row,
    Store,
    VerifyReport,
)
from walytis_core.store.sqlite import SqliteStore

__all__ = [
    "ChainStore",
    "Commit",
    "Held",
    "MemoryStore",
    "Meta",
    "Position",
    "Proof",
    "Query",
    "Row",
    "SqliteStore",
    "Store",
    "VerifyReport",
]
