"""`KnownIdentity`: the handle on an identity as this node's copy of its chain shows it, to outsiders and members alike.

Outsiders run the same fold as members do: a signature of succession is evidence, not authority, and a key that came with a
message is never looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import NamedTuple

from identities.actor import Actor
from identities.acts import Device, Nested, SeatId
from identities.contacts import MAX_HEADS, ContactCard
from identities.document import Description, Document, document_of
from identities.epochs import Epoch
from identities.holding import Holding, Now, SeatInfo
from identities.keyring import Keyring
from identities.records import seal_message, verify_record
from identities.removal import RemovalPreview, preview
from identities.rights import Folded
from walytis_core import Chain, RemoteError
from walytis_core.cid import BlockId
from walytis_core.keys import MemoryKeys


class Verified(NamedTuple):
    """What a signature turned out to be.

    Attributes:
        did: Who signed.
        epoch: The number of the epoch whose key did.
        is_current: Whether that epoch is the current one.
    """

    did: str
    epoch: int
    is_current: bool


class KnownIdentity:
    """An identity that this node holds the chain of. Get one from `Identities.resolve`.

    Args:
        held: What the package works with: no user makes one.
    """

    def __init__(self, held: Holding) -> None:
        self._held = held
        self._document: tuple[Folded, Document] | None = None

    @property
    def did(self) -> str:
        """The identity's DID: `did:walytis:` and its chain id."""
        return self._held.did

    @property
    def name(self) -> str:
        """What it is called on this node."""
        return self._held.name

    @property
    def chain(self) -> Chain:
        """The identity's chain."""
        return self._held.chain

    @property
    def folded(self) -> Folded:
        """All that is decided over what is held now: for who looks closer than `seats` and `epoch` do."""
        return self._held.folded

    def seats(self) -> list[SeatInfo]:
        """All seats that count, by rank, those that have ended too."""
        return list(self._held.infos.values())

    def preview_recovery(self, seats: Collection[SeatId], cut: Collection[bytes] | None = None) -> RemovalPreview:
        """What a removal by the recovery code would change: look at it before `Identities.recover` with a low cut."""
        return preview(Actor(self._held.log, Keyring(MemoryKeys(), "")), seats, cut)

    @property
    def epoch(self) -> Epoch:
        """The current epoch.

        Raises:
            UnavailableError: There is none now (somebody has to renew first), or this copy shows less than was seen before.
        """
        return self._held.epoch

    def lineages(self) -> list[tuple[int, str]]:
        """The newest epochs as (number, id): one, or two where this copy contradicts what was seen before."""
        return self._held.lineages()

    def verify(self, message: bytes, record: bytes, *, context: str = "app", at: bytes | None = None) -> Verified:
        """Makes sure that this identity signed a message.

        Args:
            message: What was signed.
            record: What `Identity.sign` gave.
            context: What it was signed for.
            at: The id of the epoch as of which it is judged, for what is known to be old: from a block that was written
                while that epoch was current. None: as of now.

        Raises:
            RemoteError: It did not; or the key is no longer, or was never, one that speaks for it.
            UnavailableError: As `epoch`.
        """
        folded = self.folded
        known = folded.epochs
        epochs = self._held.accepted_in(folded) if at is None else [known.all[at]] if at in known.all else []

        def find(key_id: bytes) -> tuple[int, bytes] | None:
            return next((self._held.control(epoch).sign for epoch in epochs if epoch.sign_id == key_id), None)

        try:
            found = verify_record(record, find, self._held.log.id, context, message)
        except RemoteError as error:
            error.hint = "Do not rely on the message. Where it may just be newer than this copy, sync and try again."
            raise
        epoch = next(epoch for epoch in epochs if epoch.sign_id == found.key)
        return Verified(self.did, epoch.number, known.current is not None and known.current.id == epoch.id)

    def seal(self, plaintext: bytes, *, context: str = "app") -> bytes:
        """Seals a message of at most 16 MiB to this identity: each of its devices can open it, later ones too.

        Raises:
            UnavailableError: As `epoch`.
        """
        return seal_message(self._held.log.id, self._held.control(self.epoch).seal.public, context, plaintext)

    def document(self) -> Document:
        """The DID document, as of the current epoch (W3C DID Core). Raises `UnavailableError` as `epoch`."""
        folded = self.folded
        now, made = self._held.now(folded), self._document
        if made is None or made[0] is not folded:
            made = self._document = folded, self._described(now)
        return deepcopy(made[1])

    def _described(self, now: Now) -> Document:
        epoch, control = now.epoch, now.control
        live = [seat.holder for seat in now.folded.authority.live]
        devices = tuple(holder.block_key for holder in live if isinstance(holder, Device))
        nested = tuple(BlockId(holder.chain) for holder in live if isinstance(holder, Nested))
        suite, sign = control.sign
        return document_of(
            Description(self._held.log.id, epoch.number, suite, sign, control.seal.public, devices, nested)
        )

    def contact(self, addresses: Sequence[str] = (), node_key: bytes | None = None) -> ContactCard:
        """A contact card: what another person needs to find this identity, and to know it again.

        Args:
            addresses: Where this node is found; none for a card that only names the identity.
            node_key: This node's key, with addresses.
        """
        heads = tuple(sorted(self.chain.heads)[:MAX_HEADS]) or (self._held.log.id,)
        number = self.epoch.number
        return ContactCard(
            chain_id=self._held.log.id,
            heads=heads,
            epoch=number,
            node_key=node_key,
            addresses=tuple(addresses),
            name=self.name,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self._held.log.id.short})"
