"""Whether an event is genuine: well formed, in its place, and signed by the seat that it names. Not whether it counts.

The verdict is a function of the event's causal past, and final. What an event builds on must itself be genuine, and among
that is whatever its author wrote before: so nobody leaves out, in `seen`, what they said themselves. Keys are never taken
from the event that is judged, but from the act that made its seat. A seat behind that of another identity is looked up in
that identity's chain, and waited for. This file reads pasts, and nothing else; it writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, cast

from identities.acts import ADDED, ANCHORED, MAX_JUMP, RECOVERED, RECOVERY, REKEYED, RENEWED, SeatId
from identities.holders import (
    CouncilKeys,
    DeviceKeys,
    Genesis,
    HolderKeys,
    IdentityHolder,
    PublicKey,
    RecoveryKeys,
    read_genesis,
    read_genesis_block,
    read_holder,
)
from identities.payloads import ASKING, EVENT, PREFIX, SUCCESSION, Event, RenewalKeys, decode, read_asking, read_renewal
from walytis_core.block import Block
from walytis_core.cid import BlockId, is_block_id
from walytis_core.errors import NotFoundError, Reason, RemoteError
from walytis_core.past import Past
from walytis_core.policy import ADMIT
from walytis_core.policy import read_genesis as read_policy
from walytis_core.signer import is_author_key
from walytis_core.standing import OBEYED, Obeyed, Standing, Void, Wait

MAX_ANCHORED_BLOCKS: Final = 4096
MAX_ANCHORED_BYTES: Final = 8 * 2**20
_MAX_BETWEEN: Final = 64
"""Blocks of an author between two of its events; admissions are not counted, for others can make it write those."""
_MAX_WALK: Final = 1024
"""The same, with admissions."""

Standings = Callable[[BlockId], Standing]
"""What was made of an earlier event."""


class _WaitsError(Exception):
    """What the event names is not held here yet."""

    def __init__(self, wait: Wait) -> None:
        self.wait = wait


def check(block: Block, past: Past, standing: Standings) -> Standing:
    """What is to be made of an event.

    Args:
        block: Its block.
        past: What its author had seen.
        standing: The verdicts on earlier events.

    Raises:
        RemoteError: It is not genuine; the reason says why.
    """
    event = decode(block)
    try:
        return _check(block, event, past, standing)
    except _WaitsError as waits:
        return waits.wait
    except NotFoundError:
        return Void("it names what is not in its past")


def _check(block: Block, event: Event, past: Past, standing: Standings) -> Standing:
    if not set(event.seen) <= set(block.ancestors_named):
        return Void("it builds on an event that is not among its parents")
    own = _own_previous(block, past)
    if own is not None and own not in event.seen and not _is_carried(event.path, cast(BlockId, block.chain), past):
        return Void("it leaves out what its author said before")
    for id in event.seen:
        found = standing(BlockId(id))
        if not isinstance(found, Obeyed):
            return found if isinstance(found, Wait) else Void("it builds on what is no genuine event")
    match event.kind:
        case "anchored":
            return _check_anchor(event, block, past)
        case "asked":
            _check_asking(block, event)
        case _:
            _check_act(block, event, past)
    return OBEYED


def _is_carried(path: tuple[SeatId, ...], chain: BlockId, past: Past) -> bool:
    """Whether an event is a council's: whoever carries it has not said it, and the council has not seen what they did."""
    if len(path) != 1 or path[0] == RECOVERY:
        return False
    return isinstance(seat_holder(path[0], chain, past), CouncilKeys)


def _is_councils(block: Block, past: Past) -> bool:
    try:
        return _is_carried(decode(block).path, cast(BlockId, block.chain), past)
    except (RemoteError, NotFoundError):
        return False  # it is not genuine, and in nobody's past


def _own_previous(block: Block, past: Past) -> bytes | None:
    """The author's event before this one, but for those of councils."""
    id, between = block.prev, 0
    for _ in range(_MAX_WALK):
        if id is None:
            return None
        header = past.header(id)
        if header.author != block.author:
            return None
        if header.type.startswith(PREFIX) and not _is_councils(past.get(id), past):
            return bytes(id)
        between += header.type != ADMIT
        if between == _MAX_BETWEEN:
            break
        id = header.named[0] if header.seq else None
    raise RemoteError(Reason.BAD_PAYLOAD, "refused: its author wrote too much between two events")


# --- signatures ------------------------------------------------------------------------------------------------------


def _check_act(block: Block, event: Event, past: Past) -> None:
    chain = cast(BlockId, block.chain)
    message = event.signed(chain)
    anchors, signature = _nested_proof(event)
    holder = RECOVERY if event.path[0] == RECOVERY else holder_at(event.path, anchors, chain, past)
    match holder:
        case DeviceKeys(block_key, _, sign, _):
            _require(block.author == block_key and len(event.proofs) == 1, Reason.BAD_KEY)
            sign.verify(EVENT, message, _signature(signature))
            recovery = None
        case CouncilKeys():
            _check_council(holder, event, message)
            recovery = None
        case _:
            recovery = _check_recovery(block, event, past, message)
    _check_kind(event, holder, recovery, chain, past)


def _nested_proof(event: Event) -> tuple[list[bytes], object]:
    """The anchors by which the seats behind the first are found, one each, and the signature."""
    if len(event.path) == 1:
        return [], event.proofs[0]
    match event.proofs:
        case [[[*anchors], bytes(signature)]] if len(anchors) == len(event.path) - 1 and all(map(is_block_id, anchors)):
            return anchors, signature
    raise RemoteError(Reason.BAD_SIGNATURE)


def _check_kind(
    event: Event, holder: HolderKeys | SeatId, recovery: PublicKey | None, chain: BlockId, past: Past
) -> None:
    """What belongs to one kind of event."""
    match event.kind:
        case "renewed":
            _check_renewal(read_renewal(event.body), recovery, chain, past)
        case "recovered":
            _require(recovery is not None)
        case "rekeyed":
            _require(isinstance(holder, DeviceKeys) and len(event.path) == 1)
        case "left":
            _require(recovery is None)
        case "unopened":
            _require(past.header(BlockId(event.body)).type == PREFIX + RENEWED)
        case "added":
            added = read_holder(event.body)
            if isinstance(added, IdentityHolder):
                identity_of(added.genesis)


def _check_council(council: CouncilKeys, event: Event, message: bytes) -> None:
    _require(len(event.proofs) == council.needed, Reason.BAD_SIGNATURE)
    seen: set[int] = set()
    for proof in event.proofs:
        match proof:
            case [int(index), bytes(signature)] if type(index) is int and 0 <= index < len(council.members):
                council.members[index].verify(EVENT, message, signature)
                seen.add(index)
    _require(len(seen) == council.needed, Reason.BAD_SIGNATURE)


def _check_recovery(block: Block, event: Event, past: Past, message: bytes) -> PublicKey:
    """The key that signs shows itself; its hash stands in the genesis, or in what the key before it said last."""
    match event.proofs:
        case [[named_by, bytes(block_key), int(suite), bytes(public), bytes(signature)]] if type(suite) is int:
            key = RecoveryKeys(block_key, PublicKey(suite, public))
            _require(is_author_key(block_key) and block.author == block_key, Reason.BAD_KEY)
            _require(key.hash == _recovery_hash(named_by, cast(BlockId, block.chain), past), Reason.BAD_KEY)
            key.sign.verify(EVENT, message, signature)
            return key.sign
    raise RemoteError(Reason.BAD_SIGNATURE)


def _recovery_hash(named_by: object, chain: BlockId, past: Past) -> bytes:
    if named_by is None:
        return genesis_of(past, chain).recovery_hash
    _require(isinstance(named_by, bytes))
    block = past.get(BlockId(cast(bytes, named_by)))
    _require(block.type == PREFIX + RECOVERED)
    return cast(bytes, decode(block).body[0])


def _check_renewal(renewal: RenewalKeys, recovery: PublicKey | None, chain: BlockId, past: Past) -> None:
    before = 0 if renewal.previous == chain else _renewal_at(renewal.previous, past).number
    _require(before < renewal.number <= before + MAX_JUMP)
    if renewal.vouching is None:
        vouching = recovery
    elif renewal.vouching == chain:
        vouching = genesis_of(past, chain).control.sign
    else:
        vouching = _renewal_at(renewal.vouching, past).control.sign
    if vouching is None:
        raise RemoteError(Reason.BAD_SIGNATURE, "refused: nobody vouches for the new keys")
    vouching.verify(SUCCESSION, renewal.vouched(chain), renewal.succession)


def _renewal_at(id: bytes, past: Past) -> RenewalKeys:
    block = past.get(BlockId(id))
    _require(block.type == PREFIX + RENEWED)
    return read_renewal(decode(block).body)


def _check_asking(block: Block, event: Event) -> None:
    asking = read_asking(event.body)
    _require(asking.device.block_key == block.author, Reason.BAD_KEY)
    asking.device.sign.verify(ASKING, asking.proven(cast(BlockId, block.chain)), asking.proof)


# --- seats -----------------------------------------------------------------------------------------------------------


def genesis_of(past: Past, chain: BlockId) -> Genesis:
    """What an identity's first block fixes."""
    return read_genesis(read_policy(past.get(chain)).policy.data)


def identity_of(encoded: bytes) -> BlockId:
    """The identity that a first block makes. Raises `RemoteError` when it is no identity's, or not genuine."""
    block = read_genesis_block(encoded)
    read_genesis(read_policy(block).policy.data)
    return block.id


def holder_at(path: tuple[SeatId, ...], anchors: Sequence[bytes], chain: BlockId, past: Past) -> HolderKeys:
    """Who acts behind a path of seats: a device or a council.

    Args:
        path: The seats, outermost first.
        anchors: For each but the last, an anchor, in its chain, of the identity that holds it.
        chain: The outermost chain.
        past: What is known of it.
    """
    holder = seat_holder(path[0], chain, past)
    for depth, anchor in enumerate(anchors):
        _require(isinstance(holder, IdentityHolder))
        chain = identity_of(cast(IdentityHolder, holder).genesis)
        seat, heads = anchor_at(anchor, past)
        _require(seat == path[depth])
        known = past.of(chain, heads)
        if known is None:
            raise _WaitsError(Wait(chain, heads))
        past = known
        holder = seat_holder(path[depth + 1], chain, past)
    _require(not isinstance(holder, IdentityHolder))
    return holder


def anchor_at(id: bytes, past: Past) -> tuple[SeatId, tuple[BlockId, ...]]:
    """The seat and the heads that an anchor names."""
    block = past.get(BlockId(id))
    _require(block.type == PREFIX + ANCHORED)
    seat, heads, _ = decode(block).body
    return seat, tuple(map(BlockId, heads))


def seat_holder(seat: SeatId, chain: BlockId, past: Past) -> HolderKeys:
    """Who holds a seat, with all keys, as the act that made it says."""
    if isinstance(seat, int):
        holders = genesis_of(past, chain).holders
        _require(0 < seat <= len(holders))
        return holders[seat - 1]
    block = past.get(BlockId(seat))
    _require(block.type in (PREFIX + ADDED, PREFIX + REKEYED))
    return read_holder(decode(block).body)


# --- anchors ---------------------------------------------------------------------------------------------------------


def _check_anchor(event: Event, block: Block, past: Past) -> Standing:
    seat, heads, base = event.body
    holder = seat_holder(seat, cast(BlockId, block.chain), past)
    if not isinstance(holder, IdentityHolder):
        return Void("its seat is not that of an identity")
    old: tuple[BlockId, ...] = ()
    if base is not None:
        same, old = anchor_at(base, past)
        _require(same == seat and base in event.seen)
    return check_news(News(identity_of(holder.genesis), tuple(map(BlockId, heads)), old), past)


class News(NamedTuple):
    """What an anchor adds.

    Attributes:
        chain: The identity.
        heads: What is anchored of it.
        old: The heads that were anchored before, by the anchor that it goes on from.
    """

    chain: BlockId
    heads: tuple[BlockId, ...]
    old: tuple[BlockId, ...] = ()


def check_news(news: News, past: Past) -> Standing:
    """Whether what an anchor adds is held, and within its limits; what is anchored there in turn is counted with it.

    Args:
        news: What it is.
        past: Of the anchor.
    """
    todo = [(news, past)]
    seen: set[BlockId] = set()
    size = 0
    while todo:
        (chain, heads, old_heads), past = todo.pop()
        known = past.of(chain, heads)
        if known is None:
            return Wait(chain, heads)
        old = past.of(chain, old_heads) if old_heads else None
        if old_heads and old is None:
            return Wait(chain, old_heads)
        for block in _fresh(known, heads, old, seen):
            size += len(block.encoded)
            if len(seen) > MAX_ANCHORED_BLOCKS or size > MAX_ANCHORED_BYTES:
                return Void("more is under this anchor than one may add")
            deeper = _anchored_in(block, known)
            todo.extend(() if deeper is None else ((deeper, known),))
    return OBEYED


def _fresh(known: Past, heads: Sequence[BlockId], old: Past | None, seen: set[BlockId]) -> Iterator[Block]:
    """The events that these heads build on, with them, that are not in an older past, and were not seen; notes them.

    Other blocks are passed by, and what they name: whoever may write there could put in the way whatever they like.
    """
    todo = [id for id in heads if id not in seen]
    seen.update(todo)
    while todo:
        id = todo.pop()
        if old is None or id not in old:
            block = known.get(id)
            yield block
            named = [id for id in seen_by(block) if id not in seen]
            seen.update(named)
            todo.extend(named)


def seen_by(block: Block) -> list[BlockId]:
    """What a block builds on, if it is an event and says so properly."""
    try:
        return [BlockId(id) for id in decode(block).seen] if block.type.startswith(PREFIX) else []
    except RemoteError:
        return []


def _anchored_in(block: Block, past: Past) -> News | None:
    """What a block of a nested identity's own chain anchors, if it does."""
    if block.type != PREFIX + ANCHORED:
        return None
    try:
        seat, heads, base = decode(block).body
        holder = seat_holder(seat, cast(BlockId, block.chain), past)
        same, old = (seat, ()) if base is None else anchor_at(base, past)
        if not isinstance(holder, IdentityHolder) or same != seat:
            return None
        return News(identity_of(holder.genesis), tuple(map(BlockId, heads)), old)
    except (RemoteError, NotFoundError):  # void there, and here
        return None


def _signature(proof: object) -> bytes:
    if not isinstance(proof, bytes):
        raise RemoteError(Reason.BAD_SIGNATURE)
    return proof


def _require(holds: object, reason: Reason = Reason.BAD_PAYLOAD) -> None:
    if not holds:
        raise RemoteError(reason)
