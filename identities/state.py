"""The layer: an identity's events as a fold. What passes `check` is an act; which acts count is decided over all of them.

The state is a set of acts by identity: those of the chain itself, and, for nested identities, those that are anchored on
it. A set commutes: a late block costs one step, and the decision (`rights.Folded`) is made anew when it is asked for. What
others' chains hold is read when an anchor is stepped over: `check` has seen to it that it is there. Pure.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from identities import acts
from identities.acts import Act, Anchor, Council, Device, GenesisSeats, LaterCut, Nested, Recovery, Removal, Renewal
from identities.checking import check, identity_of, seat_holder, seen_by
from identities.holders import IdentityHolder, read_genesis
from identities.payloads import PREFIX, TAG_BYTES, Event, as_act
from identities.rights import Folded, World
from identities.suites import XWING, key_id
from walytis_core import cbor
from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.errors import RemoteError
from walytis_core.layer import Layer
from walytis_core.limits import Limits
from walytis_core.past import Past
from walytis_core.policy import read_genesis as read_policy
from walytis_core.standing import OBEYED, Obeyed, Standing, Void

State: TypeAlias = Any
"""`{"chain": id, "genesis": {chain in hex: value}, "acts": {chain in hex: {act in hex: value}}}`; None at first."""

_HOLDERS: Final = {"d": Device, "n": Nested, "c": Council, "r": Recovery}
_LETTERS: Final = {kind: letter for letter, kind in _HOLDERS.items()}


def _judge(block: Block, past: Past) -> Standing:
    return check(block, past, past.standing)


def step(state: State, block: Block, past: Past) -> State:
    """Adds an act; changes the state it is given."""
    chain = cast(BlockId, block.chain)
    if state is None:
        state = {"chain": bytes(chain), "genesis": {}, "acts": {}}
        _note_genesis(state, chain, past)
    found = _add(state, block, past)
    if found is not None:
        absorb(state, *found, past)
    return state


def finish(state: State) -> tuple[Folded | None, Mapping[BlockId, str]]:
    """Decides which acts count."""
    if state is None:
        return None, {}
    world = world_of(state)
    folded = Folded(world, state["chain"], world.acts(state["chain"]))
    return folded, {BlockId(id): reason for id, reason in folded.authority.void.items()}


def _removed(folded: Folded | None) -> frozenset[bytes]:
    """The block keys that no live seat has any more: own blocks do not name their heads."""
    if folded is None:
        return frozenset()
    seats = [seat for seat in folded.authority.seats.values() if isinstance(seat.holder, Device)]
    keys = {seat.holder.block_key for seat in seats if isinstance(seat.holder, Device) and seat.removals}
    return frozenset(
        keys - {seat.holder.block_key for seat in seats if isinstance(seat.holder, Device) and seat.is_live}
    )


LAYER: Final = Layer(
    PREFIX, _judge, step, finish, removed=_removed, initial=None, version=1, commutes=True, looks_back=True
)
"""Judges the chains of identities; give it to `Node.open(layers=[...])`, or have `Identities` do so."""


def folded_of_genesis(genesis: Block) -> Folded:
    """An identity of which no more than its first block is there. Raises `RemoteError` where it is no identity's."""
    seats = _genesis_from(bytes(genesis.id), _genesis_value(genesis))
    return Folded(World({seats.chain: seats}), seats.chain, [])


def world_of(state: State) -> World:
    """The state as the deciding files know it."""
    chains = [bytes.fromhex(chain) for chain in state["genesis"]]
    genesis = {chain: _genesis_from(chain, state["genesis"][chain.hex()]) for chain in chains}
    return World(genesis, {chain: acts_of(state, chain) for chain in chains})


def acts_of(state: State, chain: bytes) -> list[Act]:
    """The acts of one identity in a state."""
    known = state["acts"].get(chain.hex(), {})
    return [_act_from(bytes.fromhex(id), value) for id, value in known.items()]


# --- taking in -------------------------------------------------------------------------------------------------------


Found: TypeAlias = tuple[BlockId, tuple[BlockId, ...]]
"""An identity, and the heads of it that an anchor names."""


def _add(state: State, block: Block, past: Past) -> Found | None:
    """Takes in an act; gives what it anchors."""
    act = judged_act(block)
    state["acts"].setdefault(cast(BlockId, block.chain).hex(), {})[act.id.hex()] = _act_value(act)
    if isinstance(act.body, Anchor):
        holder = seat_holder(act.body.seat, cast(BlockId, block.chain), past)
        if isinstance(holder, IdentityHolder):
            return identity_of(holder.genesis), tuple(map(BlockId, act.body.heads))
    return None


def absorb(state: State, chain: BlockId, heads: Iterable[BlockId], past: Past) -> None:
    """Takes in what is anchored of an identity, and what is anchored there in turn, as far as it is genuine.

    The chain that the state is of is passed over: it has its own acts, and no others (it may not fold all that is held).
    """
    todo: list[Found] = [(chain, tuple(heads))]
    while todo:
        chain, anchored = todo.pop()
        if chain != state["chain"]:
            todo.extend(_absorb(state, chain, anchored, past))


def _absorb(state: State, chain: BlockId, heads: Sequence[BlockId], past: Past) -> list[Found]:
    """Takes in acts of one identity, parents first; gives what these anchor."""
    known = state["acts"].setdefault(chain.hex(), {})
    theirs = past.of(chain, heads)
    if theirs is None:
        raise RuntimeError("an anchor was obeyed whose heads are not held")
    _note_genesis(state, chain, theirs)
    found: dict[BlockId, Block] = {}
    todo = list(heads)
    while todo:
        id = todo.pop()
        if id not in found and id.hex() not in known:
            found[id] = theirs.get(id)
            todo.extend(seen_by(found[id]))

    def standing(id: BlockId) -> Standing:
        return OBEYED if id.hex() in known else Void("it is not genuine")

    anchored: list[Found] = []
    for block in sorted(found.values(), key=lambda block: (block.height, block.id)):
        before = past.of(chain, block.ancestors_named)
        if before is not None and block.type.startswith(PREFIX) and _is_genuine(block, before, standing):
            more = _add(state, block, before)
            anchored.extend(() if more is None else (more,))
    return anchored


def _is_genuine(block: Block, past: Past, standing: Any) -> bool:
    try:
        return isinstance(check(block, past, standing), Obeyed)
    except RemoteError:
        return False


def judged_act(block: Block) -> Act:
    """`act_of` for a block that `check` obeys, at a third of the price: its form and its keys are not judged again."""
    path, seen, body, _ = cast("list[Any]", cbor.unpack(cast(bytes, block.body)))
    kind = block.type.removeprefix(PREFIX)
    read = _JUDGED.get(kind)
    if read is None:
        event = Event(kind, tuple(path), tuple(seen), body)
        return as_act(event, bytes(block.id), block.height, block.author)
    return Act(bytes(block.id), block.height, block.author, kind, tuple(path), tuple(seen), read(body))


def judged_name(block: Block) -> str:
    """What a device that asks for a seat calls itself; of a block that `check` obeys."""
    _, _, (_, name, _), _ = cast("list[Any]", cbor.unpack(cast(bytes, block.body)))
    return cast(str, name)


def _judged_holder(wire: list[Any]) -> Any:
    match wire[0]:
        case 1:
            return Device(wire[1], wire[2], key_id(wire[3], wire[4]), key_id(XWING, wire[5]))
        case 2:
            return IdentityHolder(wire[1]).holder
        case _:
            return Council(wire[1], len(wire[2]))


def _judged_renewal(wire: list[Any]) -> Renewal:
    number, previous, (suite, sign, seal), wraps, fresh, *_ = wire
    fresh_id = None if fresh is None else key_id(XWING, fresh)
    keys = {seat: key for seat, key, _ in wraps}
    return Renewal(number, previous, key_id(suite, sign), key_id(XWING, seal), keys, fresh_id)


_JUDGED: Final[Mapping[str, Any]] = {
    acts.ADDED: _judged_holder,
    acts.REKEYED: _judged_holder,
    acts.ASKED: lambda body: _judged_holder(body[0]),
    acts.RENEWED: _judged_renewal,
}
"""The kinds that carry keys; the others are soon read."""


# --- as data ---------------------------------------------------------------------------------------------------------


def _note_genesis(state: State, chain: BlockId, past: Past) -> None:
    if chain.hex() not in state["genesis"]:
        state["genesis"][chain.hex()] = _genesis_value(past.get(chain))


def _genesis_value(block: Block) -> list[Any]:
    genesis = read_genesis(read_policy(block).policy.data)
    holders = [_holder_value(Recovery(genesis.recovery_block_key))]
    holders.extend(_holder_value(keys.holder) for keys in genesis.holders)
    return [holders, genesis.control.sign.id, genesis.control.seal.id, tag_of(block)]


def tag_of(genesis: Block) -> bytes:
    """Names a chain in cuts that other chains carry, to those who know its first block and to nobody else."""
    payload = cast(Any, cbor.decode(cast(bytes, genesis.body), max_bytes=Limits.max_payload_bytes, max_depth=3))
    return hmac.digest(payload[0], bytes(genesis.id), "sha256")[:TAG_BYTES]


def _genesis_from(chain: bytes, value: list[Any]) -> GenesisSeats:
    holders, sign_id, seal_id, tag = value
    return GenesisSeats(chain, tuple(map(_holder_from, holders)), sign_id, seal_id, tag)


def _holder_value(holder: Any) -> list[Any]:
    return [_LETTERS[type(holder)], *holder]


def _holder_from(value: list[Any]) -> Any:
    return _HOLDERS[value[0]](*value[1:])


def _pairs(mapping: Mapping[Any, Any]) -> list[Any]:
    return [[key, list(value) if isinstance(value, tuple) else value] for key, value in mapping.items()]


def _act_value(act: Act) -> list[Any]:
    return [act.height, act.author, act.kind, list(act.path), list(act.seen), _body_value(act.body)]


def _body_value(body: Any) -> Any:
    match body:
        case Device() | Nested() | Council():
            return _holder_value(body)
        case Removal(seats, cut, elsewhere):
            return [list(seats), list(cut), _pairs(elsewhere)]
        case LaterCut(removal, elsewhere):
            return [removal, _pairs(elsewhere)]
        case Renewal(number, previous, sign_id, seal_id, wraps, fresh):
            return [number, previous, sign_id, seal_id, _pairs(wraps), fresh]
        case Anchor(seat, heads):
            return [seat, list(heads)]
        case tuple():
            return list(body)
        case _:
            return body


def _act_from(id: bytes, value: list[Any]) -> Act:
    height, author, kind, path, seen, body = value
    read = _READ.get(kind)
    return Act(id, height, author, kind, tuple(path), tuple(seen), body if read is None else read(body))


def _tuples(pairs: list[Any]) -> dict[bytes, tuple[bytes, ...]]:
    return {tag: tuple(heads) for tag, heads in pairs}


_READ: Final[Mapping[str, Any]] = {
    acts.ADDED: _holder_from,
    acts.REKEYED: _holder_from,
    acts.ASKED: _holder_from,
    acts.REMOVED: lambda body: Removal(tuple(body[0]), tuple(body[1]), _tuples(body[2])),
    acts.CUT: lambda body: LaterCut(body[0], _tuples(body[1])),
    acts.RENEWED: lambda body: Renewal(body[0], body[1], body[2], body[3], dict(body[4]), body[5]),
    acts.ANCHORED: lambda body: Anchor(body[0], tuple(body[1])),
    acts.RECOVERED: tuple,
    acts.GRANTED: tuple,
}
