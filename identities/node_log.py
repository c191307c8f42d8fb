"""The port of an identity's work on a chain of a node."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from identities.payloads import PREFIX
from identities.rights import Folded
from identities.state import LAYER, folded_of_genesis
from walytis_core import Chain, NotFoundError
from walytis_core.block import Block
from walytis_core.block import decode as decode_block
from walytis_core.cid import BlockId, Cid
from walytis_core.pending import Pending
from walytis_core.policy import ADMIT, read_admit
from walytis_core.signer import Signer

MEMBERS: Final = "members"


class NodeLog:
    """An identity's chain on this node; see `log.Log`.

    Args:
        chain: The chain.
        chain_of: Gives another chain of the node.
        on_change: Called when an object came.
    """

    def __init__(self, chain: Chain, chain_of: Callable[[bytes], Chain | None], on_change: Callable[[], None]) -> None:
        self.chain = chain
        self.id: BlockId = chain.id
        """The chain's id."""
        self._chain_of = chain_of
        self._on_change = on_change
        self._view = chain.use(LAYER)
        self._first = folded_of_genesis(decode_block(chain.genesis))
        self._wanted: dict[bytes, Pending[bytes]] = {}
        self._admitted: frozenset[bytes] = frozenset()
        self._cursor = 0

    @property
    def writer(self) -> bytes:
        """The multikey that appends here."""
        return self.chain.author

    def folded(self) -> Folded:
        """What is decided over all that is held now."""
        folded: Folded | None = self._view.value
        return folded or self._first

    def block(self, id: bytes) -> Block:
        """A block of the chain, the first one too."""
        return decode_block(self.chain.genesis) if id == self.chain.id else self.chain.block(BlockId(id))

    def block_of(self, chain: bytes, id: bytes) -> Block | None:
        """A block of another identity's chain; None where it is not held."""
        other = self._chain_of(chain)
        try:
            if other is None:
                return None
            return decode_block(other.genesis) if id == other.id else other.block(BlockId(id))
        except NotFoundError:
            return None

    def append(self, kind: str, payload: bytes, seen: Collection[bytes]) -> Block:
        """Writes an event that names these."""
        parents = [BlockId(id) for id in seen]
        return self.chain.append(payload, type=PREFIX + kind, parents=parents, lawful=True)

    def write_with(self, signer: Signer) -> None:
        """Appends with this key from now on."""
        self.chain.write_with(signer)

    def admit(self, *keys: bytes) -> None:
        """Lets other keys write, up to 512 at once."""
        self.chain.admit(*keys)

    def is_writer(self, key: bytes) -> bool:
        """Whether a key may write: it is listed, or an admission that is held here lists it."""
        now = self.chain.cursor()
        for block in self.chain.blocks(type=ADMIT, since=self._cursor, until=now):
            self._admitted |= read_admit(block)
        self._cursor = now
        return key in self._admitted or key in (self.chain.policy.writers or ())

    def keep(self, data: bytes) -> Cid:
        """Keeps an object for the members."""
        return self.chain.keep(data, MEMBERS)

    def kept(self, cid: bytes) -> bytes | None:
        """An object, if it is held."""
        return self.chain.kept(Cid(cid))

    def want(self, cid: bytes) -> None:
        """Has an object fetched, from whoever has it, now or later."""
        if cid not in self._wanted or self._wanted[cid].done():
            self._wanted[cid] = pending = self.chain.fetch_kept(Cid(cid), MEMBERS)
            pending.when_done(self._on_change)

    def share_with(self, node_keys: Collection[bytes]) -> None:
        """Says whose nodes may have what is kept for the members, from now on."""
        self.chain.let_have(MEMBERS, node_keys)

    def forget(self, cids: Collection[bytes]) -> None:
        """Forgets objects that nobody needs any more, and asks for them no more."""
        for cid in cids:
            pending = self._wanted.pop(cid, None)
            if pending is not None:
                pending.cancel()
        self.chain.forget_kept(*map(Cid, cids))

    def close(self) -> None:
        """Wants nothing any more."""
        for pending in self._wanted.values():
            pending.cancel()
