"""A hand-made chain of an identity, block by block, without a node: what `check` says of each event that is written on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from identities.acts import SeatId
from identities.checking import check
from identities.epoch_keys import EpochKeys, epoch_keys
from identities.holders import Control, Genesis, HolderKeys, PublicKey
from identities.keyring import DeviceSecrets
from identities.payloads import EVENT, PREFIX, SUCCESSION, Event, RenewalKeys, encode
from identities.recovery import RecoveryCode
from identities.suites import ED25519, SigningKey
from tests.suites.identity_makers import some_device
from walytis_core import block as blocks
from walytis_core.cid import BlockId
from walytis_core.errors import Reason, RemoteError
from walytis_core.past import Headers, Past
from walytis_core.policy import EVERYONE, Policy, create_genesis
from walytis_core.signer import Signer
from walytis_core.standing import Obeyed, Standing, Void
from walytis_core.store.memory import MemoryChain, MemoryStore
from walytis_core.store.port import Commit

FOUNDER = some_device(1)
CODE = RecoveryCode(bytes(range(32)))


def public(key: SigningKey) -> PublicKey:
    return PublicKey(key.suite, key.public)


def control_of(keys: EpochKeys) -> Control:
    sealing = keys.sealing()
    return Control(public(keys.signing(ED25519)), PublicKey(sealing.suite, sealing.public))


class Page:
    """One identity's chain.

    Args:
        holders: Seats 1, 2, ...; by default the founder's device alone.
        others: Further chains that are held here.
        founder: Who signs the first block.

    Attributes:
        said: What became of each event, by block id: obeyed or void.
        reasons: Why events were refused as not genuine.
    """

    def __init__(
        self, *holders: HolderKeys, others: Iterable[Page] = (), founder: DeviceSecrets = FOUNDER, nonce: int = 0
    ) -> None:
        self._made_of = (holders, tuple(others), founder, nonce)
        self.epoch = epoch_keys(bytes([nonce]) * 32)
        self.genesis = Genesis(CODE.public.hash, CODE.block.key, holders or (founder.public,), control_of(self.epoch))
        policy = Policy(frozenset((founder.block.key,)), EVERYONE, self.genesis.data)
        first = create_genesis(founder.block, policy, nonce.to_bytes(16, "big"), 0)
        self.id = first.id
        self.encoded = first.encoded
        self.tables: MemoryChain = MemoryStore().create_chain(first, "")
        self.others = {page.id: page for page in self._made_of[1]}
        self.blocks: dict[BlockId, blocks.Block] = {}
        self.said: dict[bytes, Standing] = {}
        self.reasons: dict[bytes, Reason] = {}

    def copy(self) -> Page:
        """The same chain, to try something on."""
        holders, others, founder, nonce = self._made_of
        again = Page(*holders, others=others, founder=founder, nonce=nonce)
        for block in self.blocks.values():
            again.put(block)
        return again

    # --- writing -----------------------------------------------------------------------------------------------------

    def block(
        self, signer: Signer, kind: str, payload: bytes, named: Iterable[bytes], prefix: str = PREFIX
    ) -> blocks.Block:
        """A block of a key, after its newest one, which names these besides."""
        mine = [block for block in self.blocks.values() if block.author == signer.key]
        last = max(mine, key=lambda block: block.seq, default=None)
        prev = self.id if last is None else last.id
        parents = tuple(BlockId(id) for id in sorted({bytes(id) for id in named} - {bytes(prev), bytes(self.id)}))
        height = 1 + max(self.blocks[id].height if id in self.blocks else 0 for id in (prev, *parents))
        place = blocks.Place(self.id, 0 if last is None else last.seq + 1, prev, parents, height)
        return blocks.create(signer, place, blocks.draft(payload, type=prefix + kind), 0)

    def put(self, block: blocks.Block) -> bytes:
        """Takes a block and checks it, as a node does when its parents are there."""
        self.tables.commit(Commit(blocks=[block]))
        self.blocks[block.id] = block
        if block.type.startswith(PREFIX):
            self.said[block.id] = self._verdict(block)
        return bytes(block.id)

    def _verdict(self, block: blocks.Block) -> Standing:
        past = Past(Headers(self.tables), block.ancestors_named, self._tables_of)
        try:
            return check(block, past, lambda id: self.said.get(id, Void("")))
        except RemoteError as error:
            self.reasons[block.id] = error.reason
            return Void(str(error))

    def _tables_of(self, chain: BlockId) -> MemoryChain | None:
        return self.others[chain].tables if chain in self.others else None

    def own(self, signer: Signer) -> list[bytes]:
        """The newest event of a key."""
        mine = [b for b in self.blocks.values() if b.author == signer.key and b.type.startswith(PREFIX)]
        return [bytes(max(mine, key=lambda block: block.seq).id)] if mine else []

    def signed(
        self, kind: str, path: tuple[SeatId, ...], body: Any, seen: Collection[bytes], *keys: SigningKey
    ) -> Event:
        """An event, with a signature by each key."""
        event = Event(kind, path, tuple(sorted(seen)), body)
        return event._replace(proofs=tuple(key.sign(EVENT, event.signed(self.id)) for key in keys))

    def say(
        self,
        by: DeviceSecrets,
        kind: str,
        body: Any = None,
        seen: Iterable[bytes] = (),
        *,
        seat: SeatId = 1,
        sign: SigningKey | None = None,
        signer: Signer | None = None,
        named: Iterable[bytes] | None = None,
    ) -> bytes:
        """A device says something, on top of its last event and what it has `seen`; its id."""
        writer = signer or by.block
        known = {*seen, *self.own(writer)}
        event = self.signed(kind, (seat,), body, known, sign or by.sign)
        return self.put(self.block(writer, kind, encode(event), known if named is None else named))

    def state(self, by: Signer, kind: str, body: Any, seen: Iterable[bytes] = ()) -> bytes:
        """A fact, without a seat."""
        known = {*seen, *self.own(by)}
        return self.put(self.block(by, kind, encode(Event(kind, (), tuple(sorted(known)), body)), known))

    def put_event(self, signer: Signer, event: Event) -> bytes:
        """An event as it is."""
        return self.put(self.block(signer, event.kind, encode(event), event.seen))

    # --- what is often said ------------------------------------------------------------------------------------------

    def renewal(
        self,
        number: int,
        previous: bytes,
        *,
        vouching: bytes | None = None,
        by: SigningKey | None = None,
        elsewhere: bytes | None = None,
    ) -> Any:
        """The body of a renewal without wraps, vouched for by the first epoch or another key."""
        keys = epoch_keys(number.to_bytes(32, "big"))
        vouched = None if vouching is None else bytes(vouching)
        bare = RenewalKeys(number, bytes(previous), control_of(keys), (), None, vouched)
        key = by or self.epoch.signing(ED25519)
        return bare._replace(succession=key.sign(SUCCESSION, bare.vouched(elsewhere or self.id))).wire

    def holds(self, id: bytes) -> bool:
        """Whether an event is genuine."""
        return isinstance(self.said[id], Obeyed)

    def holds_fact(self, signer: Signer, kind: str, body: Any) -> bool:
        """Whether a fact that is stated now is genuine."""
        return self.holds(self.state(signer, kind, body))

    def takes(self, *arguments: Any, **options: Any) -> bool:
        """Whether it would be, if it were said now; see `say`."""
        again = self.copy()
        return again.holds(again.say(*arguments, **options))

    def takes_event(self, signer: Signer, event: Event) -> bool:
        """The same of an event as it is."""
        again = self.copy()
        return again.holds(again.put_event(signer, event))

    def refusal(self, signer: Signer, event: Event) -> Reason | None:
        """Why an event would be refused, if it were put now; None when it would not, or is void for its place."""
        again = self.copy()
        return again.reasons.get(again.put_event(signer, event))
