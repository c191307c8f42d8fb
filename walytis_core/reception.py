"""The reception: which invitations of this node are out, and the answer to each stream of the join protocol.

How a claim is judged and granted is in `admission.py`. Invariant: who asks for a chain or an invitation that is not here gets
the answer that everybody gets who proved nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from walytis_core.admission import Invitations, Inviter, answer_join
from walytis_core.boundary import for_peer
from walytis_core.chain_keys import ChainSecrets
from walytis_core.cid import BlockId
from walytis_core.invitation import invitation_id
from walytis_core.joining import Terms
from walytis_core.limits import Limits
from walytis_core.network.port import Stream
from walytis_core.service import Service
from walytis_core.store.port import ChainStore

if TYPE_CHECKING:
    from walytis_core.chain import Chain


class Reception:
    """Answers who asks to join.

    Args:
        service: The node on the network.
        secrets: Those of the chains, and the seeds of invitations.
    """

    def __init__(self, service: Service, secrets: ChainSecrets) -> None:
        self._service = service
        self._secrets = secrets
        self._chains: dict[BlockId, Chain] = {}
        self._under_way: Counter[str] = Counter()
        self._expected: dict[bytes, BlockId] = {}

    def open(self, chain: Chain) -> None:
        """A chain is there: its invitations count, and if everyone may read it, its id alone does, to read."""
        if chain.policy.is_public:
            self.expect(invitation_id(chain.id, None), chain.id)
        for record in self.invitations(chain.tables).all():
            self.expect(record.id, chain.id)
        self._chains[chain.id] = chain

    def invitations(self, tables: ChainStore) -> Invitations:
        """The invitations to a chain."""
        return Invitations(tables, self._secrets)

    def expect(self, invitation: bytes, chain: BlockId) -> None:
        """An invitation, by its id, was issued."""
        self._expected[invitation] = chain

    def forget(self, chain: BlockId) -> None:
        """A chain is gone."""
        self._chains.pop(chain, None)
        self._expected = {invitation: id for invitation, id in self._expected.items() if id != chain}

    async def answer(self, stream: Stream) -> None:
        """Answers one stream."""
        peer, shared = stream.peer, self._service.shared
        if self._service.is_kept_out(peer) or self._under_way[peer] >= Limits.joins_per_peer:
            return
        self._under_way[peer] += 1
        try:
            with for_peer(peer, "a join", self._service.fault):
                terms, inviter = self._terms_of, self._inviter
                fault = await answer_join(stream, shared.node, shared.network, terms, inviter, shared.workers)
                if fault is not None:
                    raise fault
        finally:
            self._under_way -= Counter((peer,))  # and forgets those with none

    def _terms_of(self, invitation: bytes) -> Terms | None:
        chain = self._chains.get(self._expected.get(invitation, BlockId()))
        if chain is None:
            return None
        invitations = self.invitations(chain.tables)
        if invitations.get(invitation) is None:  # an address
            return Terms(chain.id, None)
        seed = invitations.seed(invitation)
        return None if seed is None else Terms(chain.id, seed)

    def _inviter(self, id: BlockId) -> Inviter | None:
        chain = self._chains.get(id)
        if chain is None:
            return None
        invitations, secret = self.invitations(chain.tables), self._secrets.secret(id)
        return Inviter(chain.engine, chain.name, secret, invitations, lambda author: chain.admit(author).id)
