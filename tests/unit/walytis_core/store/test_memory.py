"""The store in memory keeps the contract."""

from __future__ import annotations

from pathlib import Path

from tests.suites.store_suite import StoreSuite
from walytis_core.store.memory import MemoryStore
from walytis_core.store.port import Store


class TestMemoryStore(StoreSuite):
    def make(self, directory: Path) -> Store:
        return MemoryStore()

    def reopen(self, store: Store) -> Store:
        store.close()
        return store


def test_a_copy_is_no_matter() -> None:
    store = MemoryStore()
    store.acknowledge_device()
    assert not store.device_changed
