"""The secrets of a node's chains, and that none of a chain which is not here stays behind.

Secrets are files and chains are rows, so no one transaction covers both. A *note* in the node's table names the chain
whose secrets are being written or deleted; it goes when both sides agree. At opening, secrets with a note and without a chain
are removed. Invariants: a chain is never held without the secrets it was made with; only what is noted is ever removed,
so a database that is lost, and put back later, finds its keys again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final, Protocol

from walytis_core.authors import author_key_name
from walytis_core.cid import BlockId
from walytis_core.errors import StorageError
from walytis_core.keys import Keys
from walytis_core.seals import SECRET_BYTES, ChainSecret

_NOTE: Final = "keys/"


class Notes(Protocol):
    """The node's small values, see `store.port.Store`."""

    def put(self, key: str, value: bytes | None) -> None:
        """Writes a small value durably; None removes it."""
        ...

    def items(self, prefix: str) -> Iterable[tuple[str, bytes]]:
        """All small values whose key starts with `prefix`."""
        ...


class ChainSecrets:
    """The author seeds and chain secrets of a node's chains."""

    def __init__(self, keys: Keys, notes: Notes) -> None:
        self._keys = keys
        self._notes = notes

    def note(self, id: BlockId) -> None:
        """The secrets of a chain are about to be written or deleted."""
        self._notes.put(_NOTE + bytes(id).hex(), b"")

    def settled(self, id: BlockId) -> None:
        """Chain and secrets are both here, or both gone."""
        self._notes.put(_NOTE + bytes(id).hex(), None)

    def put(self, id: BlockId, seed: bytes | None, secret: ChainSecret | None) -> None:
        """Keeps the secrets of a chain that is about to be added; noted before."""
        if seed is not None:
            self._keys.put(author_key_name(id), seed)
        if secret is not None:
            self._keys.put(_secret_name(id), secret.number.to_bytes(8, "big") + secret.key)

    def secret(self, id: BlockId) -> ChainSecret | None:
        """A chain's secret, or None. Raises `StorageError` when it is damaged."""
        kept = self._keys.get(_secret_name(id))
        if kept is not None and len(kept) != 8 + SECRET_BYTES:
            raise StorageError(
                f"the key file {_secret_name(id)} is damaged", hint="Put it back from a backup, or delete the chain."
            )
        return None if kept is None else ChainSecret(int.from_bytes(kept[:8], "big"), kept[8:])

    def delete(self, id: BlockId) -> None:
        """Removes the secrets of a chain that is not held any more, and the note."""
        self._keys.delete(author_key_name(id))
        self._keys.delete(_secret_name(id))
        self.settled(id)

    def tidy(self, held: Collection[BlockId]) -> None:
        """At opening: settles what a crash, or a disk that refused, left unsettled. What cannot be done now waits."""
        with suppress(StorageError):
            for key, _ in list(self._notes.items(_NOTE)):
                id = BlockId(bytes.fromhex(key.removeprefix(_NOTE)))
                self.settled(id) if id in held else self.delete(id)


def _secret_name(id: BlockId) -> str:
    return f"secret-{id}"
