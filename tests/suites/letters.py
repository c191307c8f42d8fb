"""A layer on the data chains of identities: letters, of which those count whose authors had the right to write them.

It does nothing but what `identities.chain_rights` asks of a layer, and so shows how a layer uses that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from identities import chain_rights
from walytis_core import Chain, Layer
from walytis_core.block import Block
from walytis_core.cid import BlockId
from walytis_core.past import Past
from walytis_core.standing import Obeyed, Standing, Void

PREFIX: Final = "letters/"
SAID, ANCHORED = "letters/said", "letters/anchored"


def is_anchor(block: Block) -> bool:
    return block.type == ANCHORED


def _check(block: Block, past: Past) -> Standing:
    if block.type not in (SAID, ANCHORED):
        return Void("it is no letter")
    standing = chain_rights.check(block, past.standing)
    if is_anchor(block) and isinstance(standing, Obeyed):
        return chain_rights.check_anchor(block, past, is_anchor)
    return standing


def _step(state: Any, block: Block, past: Past) -> Any:
    return chain_rights.step(state or chain_rights.initial(), block, past, is_anchor=is_anchor(block))


def _finish(state: Any) -> tuple[list[BlockId], Mapping[BlockId, str]]:
    """The letters that count, and why others do not."""
    if state is None:
        return [], {}
    void = chain_rights.judge(state)
    letters = (BlockId.fromhex(id) for id, row in state["blocks"].items() if not row[3])
    return sorted(id for id in letters if id not in void), void


LETTERS: Final = Layer(PREFIX, _check, _step, _finish, commutes=True, looks_back=True)


def builds_on(chain: Chain) -> list[BlockId]:
    """What an honest author names: its own last block of the layer, and the last anchors."""
    held = list(chain.blocks(type=PREFIX))
    own = [block.id for block in held if block.author == chain.author][-1:]
    anchors = [block for block in held if is_anchor(block)]
    old = {id for block in anchors for id in chain_rights.builds_on(block)}
    return list(dict.fromkeys([*own, *(block.id for block in anchors if block.id not in old)]))[
        : chain_rights.MAX_NAMED
    ]


def say(chain: Chain, text: bytes, on: Collection[BlockId] | None = None) -> BlockId:
    """Writes a letter."""
    named = builds_on(chain) if on is None else on
    return chain.append(text, type=SAID, ext=chain_rights.named(named), parents=named, lawful=True).id


def anchor(
    chain: Chain, heads: Collection[bytes], old: Collection[bytes] = (), on: Collection[BlockId] | None = None
) -> BlockId:
    """Says what is to be known of the identity."""
    named = builds_on(chain) if on is None else on
    payload = chain_rights.anchor(heads, old)
    return chain.append(payload, type=ANCHORED, ext=chain_rights.named(named), parents=named, lawful=True).id
