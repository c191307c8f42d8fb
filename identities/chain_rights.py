"""Which blocks on a data chain of an identity count: the part that every layer on such a chain shares.

Anyone may write there; what is written without a right is void. A block builds on what its `ext` names under `EXT`: earlier
blocks of the same layer, among its parents. Through them it knows of *anchors*, blocks of the layer that say what is to be
known of the identity whose members read the chain. Its author must be a device that had the right, by the rules of
`rights.py`: the block knew of something at all, and of its seat; it knew of no removal, leaving or key renewal of that; and
it is inside the cut for this chain of every removal of that seat that is anchored anywhere. Anchors are facts, and need no
right.

A layer that has this calls `check`, then `check_anchor` for anchors, in its own `check`, which `looks_back`; `step` in its
own `step` for each obeyed block; and adds what `judge` calls void to what it voids in `finish`. The state commutes. A block
costs the same however long the chain is: what it knows is named by a hash, and shared with all that know as much. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, TypeAlias, cast

from identities.authority import CUT_OFF, NO_SEAT
from identities.checking import News, check_news
from identities.dids import chain_of
from identities.payloads import MAX_HEADS
from identities.rights import UNKNOWN_IDENTITY, Elsewhere, Folded
from identities.state import absorb, tag_of, world_of
from walytis_core import cbor
from walytis_core.block import Block
from walytis_core.cid import BlockId, is_block_id
from walytis_core.errors import InvalidInputError, Reason, RemoteError
from walytis_core.limits import Limits
from walytis_core.past import Past
from walytis_core.policy import read_genesis
from walytis_core.standing import OBEYED, Obeyed, Standing, Void, Wait

EXT: Final = "identities"
MAX_NAMED: Final = 16  # of 38 bytes each, in an `ext` of 1 KiB
_MAX_PATHS: Final = 64  # by which one key is looked for
_NAME_BYTES: Final = 16

State: TypeAlias = Any
"""`{"world": as of `state.py`, "identity": its chain, "tag": of this chain, "nodes": {name in hex: [names, heads]}, "blocks": {id
in hex: [author, name of what it knows, its author's blocks that it builds on, whether it is an anchor]}}`"""


# --- as it is written ----------------------------------------------------------------------------------------------------


def named(ids: Collection[bytes]) -> dict[str, bytes]:
    """The `ext` of a block that builds on these: give the same ids as `parents`."""
    return {EXT: cbor.encode([bytes(id) for id in sorted(ids)])} if ids else {}


def builds_on(block: Block) -> tuple[BlockId, ...]:
    """What a block says that it builds on. Raises `RemoteError`."""
    if EXT not in block.ext:
        return ()
    ids = cast(Any, cbor.decode(block.ext[EXT], max_bytes=Limits.max_ext_bytes, max_depth=1))
    if not isinstance(ids, list) or len(ids) > MAX_NAMED or not all(map(is_block_id, ids)) or ids != sorted(set(ids)):
        raise RemoteError(Reason.BAD_PAYLOAD, "refused: what it builds on")
    return tuple(map(BlockId, ids))


def anchor(heads: Collection[bytes], old: Collection[bytes] = ()) -> bytes:
    """The payload of an anchor.

    Args:
        heads: Of the identity's chain.
        old: Heads that an anchor has that this one builds on: only what is new since then is looked at.
    """
    return cbor.encode([[bytes(id) for id in sorted(heads)], [bytes(id) for id in sorted(old)]])


def read_anchor(payload: bytes) -> tuple[tuple[BlockId, ...], tuple[BlockId, ...]]:
    """The heads of an anchor, and those from which it goes on. Raises `RemoteError`."""
    match cast(Any, cbor.decode(payload, max_bytes=Limits.max_payload_bytes, max_depth=2)):
        case [[_, *_] as heads, [*old]] if _are_heads(heads) and _are_heads(old):
            return tuple(map(BlockId, heads)), tuple(map(BlockId, old))
    raise RemoteError(Reason.BAD_PAYLOAD, "refused: an anchor")


def _are_heads(ids: list[Any]) -> bool:
    return len(ids) <= MAX_HEADS and all(map(is_block_id, ids)) and ids == sorted(set(ids))


# --- judging by itself -----------------------------------------------------------------------------------------------------


def check(block: Block, standing: Callable[[BlockId], Standing]) -> Standing:
    """Whether a block may build on what it names. Raises `RemoteError`.

    Args:
        block: The block.
        standing: What the layer made of earlier blocks: `past.standing`.
    """
    ids = builds_on(block)
    if not set(ids) <= set(block.ancestors_named):
        return Void("it builds on what is not among its parents")
    for id in ids:
        found = standing(id)
        if not isinstance(found, Obeyed):
            return found if isinstance(found, Wait) else Void("it builds on a block that is void, or of another layer")
    return OBEYED


def check_anchor(block: Block, past: Past, is_anchor: Callable[[Block], bool]) -> Standing:
    """Whether what an anchor names is held, and within its limits. Raises `RemoteError`.

    Args:
        block: The anchor; `check` obeys it.
        past: Its past.
        is_anchor: Whether a block of the layer is one.
    """
    heads, old = read_anchor(cast(bytes, block.body))
    before = (past.get(id) for id in builds_on(block))
    if old and not any(is_anchor(one) and read_anchor(cast(bytes, one.body))[0] == old for one in before):
        return Void("it goes on from an anchor that it does not build on")
    return check_news(News(_identity_of(block, past), heads, old), past)


def _identity_of(block: Block, past: Past) -> BlockId:
    try:
        return chain_of(read_genesis(past.get(cast(BlockId, block.chain))).policy.readers)
    except InvalidInputError as error:
        raise RemoteError(Reason.BAD_PAYLOAD, "refused: no identity's members read this chain") from error


# --- taking in ---------------------------------------------------------------------------------------------------------------


def initial() -> State:
    """The state before the first block."""
    return {"world": None, "identity": b"", "tag": b"", "nodes": {}, "blocks": {}}


def step(state: State, block: Block, past: Past, *, is_anchor: bool) -> State:
    """Adds an obeyed block of the layer; changes the state it is given."""
    before = {id: state["blocks"][id.hex()] for id in builds_on(block)}
    known = _joined(state["nodes"], {row[1] for row in before.values()} - {b""})
    if is_anchor:
        known = _anchored(state, block, known, past)
    own = [bytes(id) for id, row in before.items() if row[0] == block.author]
    state["blocks"][block.id.hex()] = [block.author, known, own, is_anchor]
    return state


def _joined(nodes: dict[str, Any], names: Collection[bytes]) -> bytes:
    """What is known to who has all of this; one name for the same, so that most blocks add none."""
    if len(names) < 2:
        return next(iter(names), b"")
    parts = sorted(names)
    name = hashlib.sha256(b"".join(parts)).digest()[:_NAME_BYTES]
    nodes[name.hex()] = [parts, []]
    return name


def _anchored(state: State, block: Block, known: bytes, past: Past) -> bytes:
    """What is known to who has seen an anchor, and what that builds on."""
    heads, _ = read_anchor(cast(bytes, block.body))
    chain = _identity_of(block, past)
    if state["world"] is None:
        state["world"] = {"chain": b"", "genesis": {}, "acts": {}}
        state["identity"], state["tag"] = bytes(chain), tag_of(past.get(cast(BlockId, block.chain)))
    absorb(state["world"], chain, heads, past)
    name = bytes(block.id)
    state["nodes"][name.hex()] = [[known] if known else [], [bytes(id) for id in heads]]
    return name


# --- judging them all --------------------------------------------------------------------------------------------------------


def judge(state: State) -> dict[BlockId, str]:
    """Why blocks do not count, by their ids."""
    folded = folded_of(state)
    blind = {BlockId.fromhex(id): UNKNOWN_IDENTITY for id, row in state["blocks"].items() if not row[1]}
    return blind if folded is None else {**blind, **dict(_Judge(state, folded).run())}


def folded_of(state: State) -> Folded | None:
    """The identity as everything that is anchored on the chain makes it; None before the first anchor."""
    world = state["world"]
    return None if world is None else world_of(world).fold(state["identity"], 0)


class _Judge:
    """One look at all blocks: those by one author that know the same have the same rights, but for cuts."""

    def __init__(self, state: State, folded: Folded) -> None:
        self._blocks = state["blocks"]
        self._nodes = state["nodes"]
        self._tag = state["tag"]
        self._folded = folded
        self._known: dict[bytes, int] = {b"": 0}
        self._allowed: dict[tuple[bytes, ...], frozenset[str]] = {}

    def run(self) -> Iterator[tuple[BlockId, str]]:
        alike: dict[tuple[bytes, bytes], list[str]] = {}
        for id, (author, known, _, is_anchor) in self._blocks.items():
            if known and not is_anchor:
                alike.setdefault((author, known), []).append(id)
        for (author, known), ids in alike.items():
            reason, good = self._judge(author, self._closure(known))
            yield from ((BlockId.fromhex(id), reason) for id in ids if good is not None and id not in good)

    def _judge(self, author: bytes, known: int) -> tuple[str, Collection[str] | None]:
        """Which blocks of an author that know just this count: all (None), or those among these; and why others do not."""
        good: set[str] = set()
        reason = NO_SEAT
        for path in islice(self._folded.paths_to(author), _MAX_PATHS):
            cuts: list[Sequence[bytes]] = []
            why = self._folded.why_no_seat(path, author, known, partial(self._note, cuts))
            if why is None and not cuts:
                return "", None
            if why is None:
                good |= frozenset.intersection(*(self._inside(tuple(heads)) for heads in cuts))
            reason = why or CUT_OFF
        return reason, good

    def _note(self, cuts: list[Sequence[bytes]], elsewhere: Elsewhere) -> bool:
        if self._tag in elsewhere:
            cuts.append(elsewhere[self._tag])
        return True

    def _inside(self, heads: tuple[bytes, ...]) -> frozenset[str]:
        """The blocks that are among these heads, or that a later one of the same author among them builds on."""
        if heads not in self._allowed:
            todo, found = [id.hex() for id in heads], set[str]()
            while todo:
                id = todo.pop()
                row = self._blocks.get(id)
                if row is not None and id not in found:
                    found.add(id)
                    todo.extend(own.hex() for own in row[2])
            self._allowed[heads] = frozenset(found)
        return self._allowed[heads]

    def _closure(self, name: bytes) -> int:
        """The acts of the identity that are known, as a set of places."""
        todo = [name]
        while todo:
            parts, heads = self._nodes[todo[-1].hex()] if todo[-1] else ([], [])
            missing = [part for part in parts if part not in self._known]
            if missing:
                todo.extend(missing)
                continue
            found = self._folded.pasts.closure(heads)
            for part in parts:
                found |= self._known[part]
            self._known[todo.pop()] = found
        return self._known[name]
