"""What the work of an identity needs of its chain: a small port. `node_log.py` has the real one, on a chain of a node.

What works behind it, deciding or not, knows no node, no network and no thread: so the same code runs in simulated years.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from identities.rights import Folded
from walytis_core.block import Block
from walytis_core.cid import BlockId, Cid
from walytis_core.signer import Signer


class Log(Protocol):
    """An identity's chain, as its work knows it."""

    @property
    def id(self) -> BlockId:
        """The chain's id."""
        ...

    @property
    def writer(self) -> bytes:
        """The multikey that appends here."""
        ...

    def folded(self) -> Folded:
        """What is decided over all that is held now."""
        ...

    def block(self, id: bytes) -> Block:
        """A block of the chain, the first one too. Raises `NotFoundError`."""
        ...

    def block_of(self, chain: bytes, id: bytes) -> Block | None:
        """A block of another identity's chain; None where it is not held."""
        ...

    def append(self, kind: str, payload: bytes, seen: Collection[bytes]) -> Block:
        """Writes an event that names these. Raises `NotAllowedError` where it would not be genuine."""
        ...

    def write_with(self, signer: Signer) -> None:
        """Appends with this key from now on."""
        ...

    def admit(self, *keys: bytes) -> None:
        """Lets other keys write, up to 512 at once."""
        ...

    def keep(self, data: bytes) -> Cid:
        """Keeps an object for the members."""
        ...

    def kept(self, cid: bytes) -> bytes | None:
        """An object, if it is held."""
        ...

    def want(self, cid: bytes) -> None:
        """Has an object fetched, from whoever has it, now or later."""
        ...

    def share_with(self, node_keys: Collection[bytes]) -> None:
        """Says whose nodes may have what is kept for the members, from now on."""
        ...

    def forget(self, cids: Collection[bytes]) -> None:
        """Forgets objects that nobody needs any more, and asks for them no more."""
        ...
