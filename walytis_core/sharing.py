"""`Sharing`: the part of a chain's handle about others: who is let in, who may write, and with which key this node does.

How an invitation is honoured is for `admission.py` to know, and when a key may be used for `authors.py`; nothing is decided here.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, cast

from walytis_core.admission import ADMITTED, admit_draft, expiry_of, new_invitation
from walytis_core.authors import OwnAuthor
from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.engine import Engine
from walytis_core.errors import InvalidInputError, NotAllowedError
from walytis_core.invitation import Invitation
from walytis_core.invitation_record import InvitationRecord, InvitationUse
from walytis_core.reading import Reading
from walytis_core.signer import Signer, is_author_key
from walytis_core.store.port import ChainStore

if TYPE_CHECKING:
    from walytis_core.home import Home

_MOST_ADMITTED: Final = 512  # 18 kB of a payload, which must be inline


class Sharing:
    """What a chain's handle has for letting others in."""

    engine: Engine
    tables: ChainStore
    own_author: OwnAuthor
    _home: Home
    _reading: Reading

    def invite(
        self, *, uses: int | None = 1, expires: timedelta | datetime | None = None, write: bool = True
    ) -> Invitation:
        """Issues an invitation; `str()` of it is the URI to hand on. Whoever has it can join, so hand it on with care.

        Args:
            uses: How many nodes may use it; None for any number.
            expires: When it ends; None for no end.
            write: Whether joiners may write, on a chain with listed writers. Without that, an invitation to a chain that
                everyone may read is an address, as it is where anyone may write: it can be used and handed on freely.

        Raises:
            InvalidInputError: The expiry lies in the past, or `uses` of an address.
            UnavailableError: The network is not up.
        """
        self._require_open()
        if write and self.engine.genesis.policy.writers is not None:
            self._require_writer()
        addresses = self._home.addresses()
        invitation, record = new_invitation(
            self.engine,
            self._home.signer,
            addresses,
            self._home.name_of(self.engine.genesis.id),
            uses=uses,
            expires=expiry_of(expires),
            write=write,
        )
        if record is not None and invitation.seed is not None:
            with self.engine.exclusive():  # a chain that is deleted meanwhile leaves no seed behind
                self._home.invitations(self.tables).add(record, invitation.seed)
            self._home.expect(invitation.id, self.engine.genesis.id)
        return invitation

    def invitations(self) -> list[InvitationRecord]:
        """The invitations this node issued for the chain, used and revoked ones too."""
        return self._home.invitations(self.tables).all()

    def invitation_uses(self) -> list[InvitationUse]:
        """Who came by them: node keys, each with the author keys that it brought and that were admitted by it.

        Without the uses of an invitation that any number may use.
        """
        return self._home.invitations(self.tables).uses()

    def revoke(self, invitation: Invitation | InvitationRecord | bytes) -> None:
        """Takes an invitation back: from now on it lets nobody in, and its seed is gone."""
        invitations = self._home.invitations(self.tables)
        with self.engine.exclusive():
            invitations.revoke(invitation if isinstance(invitation, bytes) else invitation.id)

    def admit(self, *authors: bytes) -> Block:
        """Lets other keys write, on a chain with listed writers: in one block, and each key in one only.

        Args:
            authors: Multikeys, at most 512 at once.

        Returns:
            The block that says so of the last one; the same one each time.

        Raises:
            InvalidInputError: One is no multikey, or there are none, or too many.
            NotAllowedError: This node's key may not write to the chain.
        """
        self._require_open()
        if not all(map(is_author_key, authors)):
            raise InvalidInputError("a writer is an Ed25519 multikey of 34 bytes")
        if not 0 < len(authors) <= _MOST_ADMITTED:
            raise InvalidInputError(f"1 to {_MOST_ADMITTED} writers are admitted at once")
        with self.engine.exclusive():
            self._require_writer()
            fresh = [author for author in authors if self._admission(author) is None]
            if fresh:
                block = self.engine.append([admit_draft(fresh)], self.own_author)[0]
                for author in fresh:
                    self.tables.put(ADMITTED + author.hex(), block.id)
            return self._reading.block(cast(BlockId, self._admission(authors[-1])))

    def _admission(self, author: bytes) -> BlockId | None:
        """The block by which this node let a key write, while it is folded."""
        noted = self.tables.get(ADMITTED + author.hex())
        return None if noted is None or BlockId(noted) in self.tables.unfolded() else BlockId(noted)

    def write_with(self, signer: Signer, *, fresh: bool = False) -> None:
        """Has this node write the chain with a key of the app's from now on: one that was missing, or another one.

        The app gives it again each time the node is opened, here or by ``Node.open(signers=...)``. On a chain that came
        from elsewhere a key that was not the last one here may have written what this copy lacks: it appends after a sync
        (`UnavailableError` before), unless this node's key has admitted it here.

        Args:
            signer: The key.
            fresh: Whether the key was made just now, and has written nothing: then it appends at once.

        Raises:
            InvalidInputError: Its key is no multikey.
            ClosedError: The node has been closed.
        """
        self._require_open()
        if not is_author_key(signer.key):
            raise InvalidInputError("an author key is an Ed25519 multikey of 34 bytes")
        with self.engine.exclusive():
            self.own_author.use(signer, fresh=fresh)

    def _require_writer(self) -> None:
        problem = self._why_not_writable()
        if problem is not None:
            raise NotAllowedError(problem)

    def _why_not_writable(self) -> str | None:
        writers = self.engine.genesis.policy.writers
        if self.own_author.signer.key in self.engine.replica.members.frozen:
            return "this key has forked and can write no more"
        if writers is not None and self.own_author.signer.key not in writers and self.own_author.start is None:
            return "this node's key is not among the chain's writers"
        return "this copy writes only after a sync" if self.own_author.is_unsure else None

    def _require_open(self) -> None:
        """Raises `ClosedError` once the chain is closed."""
        raise NotImplementedError
