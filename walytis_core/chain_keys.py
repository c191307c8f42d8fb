"""The secrets of a node's chains, and that none of a chain which is not here stays behind.

Secrets are files and chains are rows, so no one transaction covers both. A *note* in the node's table names the chain
whose secrets are being written or deleted, with the invitations whose seeds go with it; it goes when both sides agree. At
opening, secrets with a note and without a chain are removed. Invariants: a chain is never held without the secrets it was
made with; only what is noted is ever removed, so a database that is lost, and put back later, finds its keys again; no
secret is in the database, nor traces of one that was, once they were wiped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Final, Protocol

from walytis_core.authors import author_key_name
from walytis_core.cid import BlockId
from walytis_core.errors import StorageError
from walytis_core.invitation import ID_BYTES, SEED_BYTES
from walytis_core.keys import Keys
from walytis_core.seals import SECRET_BYTES, ChainSecret

_NOTE: Final = "keys/"
_TRACES: Final = "traces"


class Notes(Protocol):
    """The node's small values, see `store.port.Store`."""

    def put(self, key: str, value: bytes | None) -> None:
        """Writes a small value durably; None removes it."""
        ...

    def items(self, prefix: str) -> Iterable[tuple[str, bytes]]:
        """All small values whose key starts with `prefix`."""
        ...


class ChainSecrets:
    """The author seeds and chain secrets of a node's chains, and the seeds of invitations to them."""

    def __init__(self, keys: Keys, notes: Notes) -> None:
        self._keys = keys
        self._notes = notes

    def begin(self, id: BlockId) -> None:
        """The secrets of a chain that is not held are about to be written: what an earlier deletion left of it goes first."""
        if self._noted(id) is not None:
            self.delete(id)
        self.note(id)

    def note(self, id: BlockId, invitations: Iterable[bytes] = ()) -> None:
        """The secrets of a chain, and the seeds of these invitations to it, are about to be deleted."""
        self._notes.put(_NOTE + bytes(id).hex(), b"".join(invitations))

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
        invitations = self._noted(id) or b""
        for at in range(0, len(invitations), ID_BYTES):
            self.drop_seed(invitations[at : at + ID_BYTES])
        self.settled(id)

    # --- seeds of invitations --------------------------------------------------------------------------------------

    def put_seed(self, invitation: bytes, seed: bytes) -> None:
        """Keeps the seed of an invitation, whose record is in the chain's tables already."""
        self._keys.put(_seed_name(invitation), seed)

    def seed(self, invitation: bytes) -> bytes | None:
        """The seed of an invitation; None where it has ended. Raises `StorageError` when it is damaged."""
        kept = self._keys.get(_seed_name(invitation))
        if kept is not None and len(kept) != SEED_BYTES:
            raise StorageError(
                f"the key file {_seed_name(invitation)} is damaged", hint="Put it back from a backup, or invite anew."
            )
        return kept

    def drop_seed(self, invitation: bytes) -> None:
        """Forgets the seed of an invitation."""
        self._keys.delete(_seed_name(invitation))

    # --- what older versions left ----------------------------------------------------------------------------------

    def note_traces(self) -> None:
        """Secrets are about to be moved out of the database, where traces of them stay until it is written anew."""
        self._notes.put(_TRACES, b"")

    def wipe(self, scrub: Callable[[], None]) -> None:
        """At opening: has `scrub` write the database anew where traces may be in it. What cannot be done now waits."""
        if any(key == _TRACES for key, _ in self._notes.items(_TRACES)):
            with suppress(StorageError):
                scrub()
                self._notes.put(_TRACES, None)

    # --- after a crash ---------------------------------------------------------------------------------------------

    def _noted(self, id: BlockId) -> bytes | None:
        return next((value for _, value in self._notes.items(_NOTE + bytes(id).hex())), None)

    def tidy(self, held: Collection[BlockId]) -> None:
        """At opening: settles what a crash, or a disk that refused, left unsettled. What cannot be done now waits."""
        with suppress(StorageError):
            for key, _ in list(self._notes.items(_NOTE)):
                id = BlockId(bytes.fromhex(key.removeprefix(_NOTE)))
                self.settled(id) if id in held else self.delete(id)


def _secret_name(id: BlockId) -> str:
    return f"secret-{id}"


def _seed_name(invitation: bytes) -> str:
    return f"invitation-{invitation.hex()}"
