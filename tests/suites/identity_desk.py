"""Devices of one identity at work on a hand-made chain, without nodes and threads: the very code, called step by step."""

from __future__ import annotations

from collections.abc import Collection

from identities.actor import Actor
from identities.acts import SeatId
from identities.epoch_keys import EpochKeys
from identities.keyring import DeviceSecrets, Keyring
from identities.payloads import PREFIX, act_of
from identities.renewal import RenewalPolicy, Renewing
from identities.rights import Folded, World
from identities.state import folded_of_genesis
from identities.suites import ED25519, SigningKey
from identities.worker import Worker
from tests.suites.identity_blocks import FOUNDER, Page, public
from walytis_core.block import Block, decode
from walytis_core.cid import RAW_PREFIX, BlockId, Cid
from walytis_core.errors import NotAllowedError
from walytis_core.invitation_record import InvitationUse
from walytis_core.keys import MemoryKeys
from walytis_core.signer import Signer

START_S = 1_000_000.0


class PageLog:
    """A page as the work of an identity knows its chain.

    Attributes:
        held: The objects that this device has.
        wanted: Those that it asked for.
    """

    def __init__(self, page: Page, signer: Signer) -> None:
        self.page = page
        self.signer = signer
        self.held: dict[bytes, bytes] = {}
        self.wanted: list[bytes] = []

    @property
    def id(self) -> BlockId:
        return self.page.id

    @property
    def writer(self) -> bytes:
        return self.signer.key

    def folded(self) -> Folded:
        genesis = folded_of_genesis(decode(self.page.encoded)).genesis
        acts = [act_of(block) for id, block in self.page.blocks.items() if id in self.page.said and self.page.holds(id)]
        return Folded(World({genesis.chain: genesis}, {genesis.chain: acts}), genesis.chain, acts)

    def block(self, id: bytes) -> Block:
        return decode(self.page.encoded) if id == self.page.id else self.page.blocks[BlockId(id)]

    def block_of(self, chain: bytes, id: bytes) -> Block | None:
        return None

    def append(self, kind: str, payload: bytes, seen: Collection[bytes]) -> Block:
        block = self.page.block(self.signer, kind, payload, seen, prefix=PREFIX)
        if not self.page.holds(self.page.put(block)):
            raise NotAllowedError("it is not genuine")
        return block

    def write_with(self, signer: Signer) -> None:
        self.signer = signer

    def admit(self, *keys: bytes) -> None:
        """Anybody may write on a page."""

    def is_writer(self, key: bytes) -> bool:
        return True

    def keep(self, data: bytes) -> Cid:
        cid = Cid.of(data, RAW_PREFIX)
        self.held[bytes(cid)] = data
        return cid

    def kept(self, cid: bytes) -> bytes | None:
        return self.held.get(bytes(cid))

    def want(self, cid: bytes) -> None:
        self.wanted.append(bytes(cid))

    def share_with(self, node_keys: Collection[bytes]) -> None:
        """Nobody asks."""

    def forget(self, cids: Collection[bytes]) -> None:
        for cid in cids:
            self.held.pop(bytes(cid), None)


class Desk:
    """One device at work.

    Args:
        page: The chain, which all devices here share.
        device: Its secrets.
        policy: When it renews.

    Attributes:
        now_s: Its clock.
        invited: The uses of its invitations.
        is_online: Whether anybody is there who could serve something.
    """

    def __init__(self, page: Page, device: DeviceSecrets = FOUNDER, policy: RenewalPolicy | None = None) -> None:
        self.device = device
        self.log = PageLog(page, device.block)
        self.keyring = Keyring(MemoryKeys(), "ring", device)
        self.keyring.save()
        self.actor = Actor(self.log, self.keyring)
        self.now_s = START_S
        self.invited: list[InvitationUse] = []
        self.is_online = True
        renewing = Renewing(policy or RenewalPolicy(age_s=None, confirm_s=1e12), lambda: 0.5)
        self.worker = Worker(self.actor, renewing, lambda: list(self.invited), lambda: self.is_online)

    @classmethod
    def founder(cls, page: Page) -> Desk:
        """The device that made the identity, with the keys of its first epoch."""
        desk = cls(page)
        desk.learn(page.epoch)
        return desk

    def learn(self, keys: EpochKeys) -> None:
        """Gives it the keys of an epoch."""
        self.keyring.add_epochs((public(keys.signing(ED25519)).id, keys))

    def run(self, after_s: float = 0.0) -> float:
        """Has it do what is due, some time later."""
        self.now_s += after_s
        return self.worker.run(self.now_s)

    def add(self, other: DeviceSecrets) -> Desk:
        """Gives a device a seat, which it takes, with the objects that are there."""
        self.worker.add(other.public.wire)
        desk = Desk(self.log.page, other)
        desk.get_objects(self)
        desk.run()
        assert desk.actor.path() is not None
        return desk

    def get_objects(self, other: Desk) -> None:
        """Gets what another device holds."""
        self.log.held.update(other.log.held)

    @property
    def seat(self) -> SeatId:
        """Its seat."""
        path = self.actor.path()
        assert path is not None
        return path[0]

    def said(self, kind: str) -> list[bytes]:
        """What it said of a kind, by id."""
        acts = self.log.folded().pasts.acts
        return [act.id for act in acts if act.kind == kind and act.author == self.log.writer]

    @property
    def epoch(self) -> bytes | None:
        """The current epoch."""
        current = self.log.folded().epochs.current
        return None if current is None else current.id

    def key(self, epoch: bytes) -> SigningKey | None:
        """The control signing key of an epoch, if it was opened."""
        keys = self.keyring.epoch(self.log.folded().epochs.all[epoch].sign_id)
        return None if keys is None else keys.signing(ED25519)
