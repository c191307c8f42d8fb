"""What a chain's handle asks of its node: whether it is open, who is there, its name, and work that outlasts a call.

It decides nothing: it hands on to the parts of the node that know. Everything may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from walytis_core.block import Block
from walytis_core.cid import BlockId, Cid
from walytis_core.content_fetch import ContentFetch, KeptFetch
from walytis_core.copying import Copying
from walytis_core.exchange import Exchange
from walytis_core.lifetime import Lifetime
from walytis_core.pending import Pending
from walytis_core.reception import Reception
from walytis_core.service import Service
from walytis_core.signer import Signer
from walytis_core.status import PeerInfo

if TYPE_CHECKING:
    from walytis_core.admission import Invitations
    from walytis_core.chain import Chain
    from walytis_core.keeping import Keeping
    from walytis_core.store.port import ChainStore


class Home:
    """A node, as its chains know it.

    Args:
        life: The time in which the node runs.
        service: The node on the network.
        reception: Answers who asks to join.
        exchange: The public chains, by CID.
        copying: Keeps copies of them where others fetch them.
        name_of: Gives the local name of a chain.
    """

    def __init__(
        self,
        life: Lifetime,
        service: Service,
        reception: Reception,
        exchange: Exchange,
        copying: Copying,
        name_of: Callable[[BlockId], str],
    ) -> None:
        self.life = life
        self.service = service
        self.reception = reception
        self.exchange = exchange
        self.copying = copying
        self._name_of = name_of

    @property
    def signer(self) -> Signer:
        """Signs with the node key."""
        return self.service.shared.node

    def require_open(self) -> None:
        """Raises `ClosedError`, with the cause, once the node has ended, and in a forked child."""
        self.life.require_open()

    def name_of(self, id: BlockId) -> str:
        """The local name of a chain."""
        self.require_open()
        return self._name_of(id)

    def addresses(self) -> list[str]:
        """Addresses under which the node can be reached, the best first. Raises `UnavailableError` when it cannot be."""
        self.require_open()
        return self.life.loop.call(self.service.addresses)

    def peers_of(self, id: BlockId) -> Sequence[PeerInfo]:
        """The online peers of a chain, the most recent contact first."""
        return self.service.peers_of(id)

    def last_contact_of(self, id: BlockId) -> float | None:
        """When a peer of a chain was last heard; seconds since the epoch."""
        return self.service.last_contact_of(id)

    def opened(self, chain: Chain) -> None:
        """A chain was put to work: who asks to join it is answered, and if it is public, who asks for its blocks."""
        self.reception.open(chain)
        self.exchange.open(chain)
        if chain.id in self.exchange:
            self.copying.open(chain)

    def forget(self, id: BlockId) -> None:
        """A chain was deleted here."""
        self.reception.forget(id)
        self.exchange.forget(id)
        self.copying.forget(id)

    def invitations(self, tables: ChainStore) -> Invitations:
        """The invitations to a chain that were issued here."""
        return self.reception.invitations(tables)

    def expect(self, invitation: bytes, id: BlockId) -> None:
        """An invitation to a chain was issued."""
        self.reception.expect(invitation, id)

    def fetch(self, chain: Chain, block: Block) -> Pending[Block]:
        """Fetches a block's long content from peers. See `Chain.fetch`."""
        fetching = ContentFetch(self.service.shared.workers, self.life.loop, self.exchange, chain, block)
        return self.life.attend(fetching.pending, fetching.run)

    def fetch_kept(self, chain: Keeping, cid: Cid, readers: str) -> Pending[bytes]:
        """Fetches an object from a chain's peers. See `Chain.fetch_kept`."""
        fetching = KeptFetch(self.service, self.life.loop, chain, cid, readers)
        return self.life.attend(fetching.pending, fetching.run)
