"""`docs/spec/vectors/objects.json`: what versions say, byte by byte; what is void; and what becomes of objects."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest

from mutability.payloads import CREATED, EDITED, RESTORED, Change, decode, encode
from mutability.state import ANYONE, AUTHOR, Rule, heads_of, layer_of, rule_of
from tools.conformance import ROOT
from walytis_core.block import Block, Content, Draft, Place, create, is_genuine
from walytis_core.block import decode as decode_block
from walytis_core.cid import BlockId, Cid
from walytis_core.dag import topological
from walytis_core.errors import InvalidInputError
from walytis_core.policy import Policy, read_genesis
from walytis_core.rules import judge
from walytis_core.signer import Ed25519Signer
from walytis_core.standing import OBEYED, Obeyed, Standing, Void
from walytis_core.store.memory import MemoryStore
from walytis_core.store.port import Commit
from walytis_core.view import View

VECTORS = json.loads((ROOT / "docs/spec/vectors/objects.json").read_text(encoding="utf-8"))
GENESIS = decode_block(bytes.fromhex(VECTORS["genesis"]))
RULES = {rule.name: rule for rule in (AUTHOR, ANYONE)}


def ids(texts: list[str]) -> tuple[BlockId, ...]:
    return tuple(map(BlockId.parse, texts))


def body_of(payload: str | list[Any]) -> bytes | Content:
    return bytes.fromhex(payload) if isinstance(payload, str) else Content(Cid.parse(payload[0]), payload[1])


def said(kind: str, detail: str | bool, object: str | None, replaces: list[str]) -> Change:
    """A change whose ids are given as text."""
    read = BlockId.parse(detail) if kind == RESTORED and isinstance(detail, str) else detail
    return Change(kind, read, None if object is None else BlockId.parse(object), ids(replaces))


def block_of(vector: dict[str, Any], change: Change) -> Block:
    """The block that says this, by the fields of a vector."""
    fields = vector["fields"]
    place = Place(GENESIS.id, fields["seq"], BlockId.parse(fields["prev"]), ids(fields["parents"]), fields["height"])
    draft = Draft(body_of(fields["payload"]), tuple(fields["topics"]), fields["type"], encode(change))
    return create(Ed25519Signer(bytes.fromhex(vector["seed"])), place, draft, fields["time"])


def placed(scene: Mapping[str, Block], step: dict[str, Any]) -> Block:
    """The next block of a scenario, whose blocks are named by words: where it stands follows from what it names."""
    signer = Ed25519Signer(bytes.fromhex(step["author"]) * 32)
    own = [block for block in scene.values() if block.author == signer.key]
    prev = own[-1] if own else GENESIS
    named = [scene[name] for name in step["parents"]]
    height = 1 + max(block.height for block in (prev, *named))
    parents = tuple(sorted({block.id for block in named} - {prev.id}))
    place = Place(GENESIS.id, prev.seq + 1 if own else 0, prev.id, parents, height)
    return create(signer, place, Draft(step["content"].encode(), (), step["type"], ext_of(scene, step)), 0)


def ext_of(scene: Mapping[str, Block], step: dict[str, Any]) -> dict[str, bytes]:
    if "detail" not in step:
        return {}
    object = scene[step["object"]].id if step["object"] else None
    replaces = tuple(sorted(scene[name].id for name in step["replaces"]))
    detail = scene[step["detail"]].id if step["type"] == RESTORED else step["detail"]
    return encode(Change(step["type"], detail, object, replaces))


def viewed(rule: Rule, arrivals: list[list[Block]]) -> View:
    """The view of a chain to which blocks came in these portions."""
    chain = MemoryStore().create_chain(GENESIS, "objects")
    view = View(layer_of(rule), chain)
    view.arrived()
    for blocks in arrivals:
        chain.commit(Commit(blocks=blocks))
        view.arrived(blocks)
    return view


def standing_of(reason: str | None) -> Standing:
    return OBEYED if reason is None else Void(reason)


@pytest.mark.parametrize("vector", VECTORS["changes"], ids=lambda vector: vector["name"])
def test_what_versions_say(vector: dict[str, Any]) -> None:
    """M01, M03: the bytes follow from the fields and from what is said, and what is said from the bytes."""
    says = vector["says"]
    change = said(vector["fields"]["type"], says["detail"], says["object"], says["replaces"])
    block = block_of(vector, change)
    assert (block.encoded.hex(), str(block.id)) == (vector["bytes"], vector["id"])
    again = decode_block(bytes.fromhex(vector["bytes"]))
    assert is_genuine(again)
    assert decode(again) == change
    assert set(change.named) <= set(again.ancestors_named)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_what_is_said_wrongly_is_void(vector: dict[str, Any]) -> None:
    """M07: void with this reason, and it touches no object."""
    ext = {} if vector["ext"] is None else {"mutability": bytes.fromhex(vector["ext"])}
    draft = Draft(body_of(vector["payload"]), (), vector["type"], ext)
    block = create(Ed25519Signer(bytes([2]) * 32), Place(GENESIS.id, 0, GENESIS.id, (), 1), draft, 0)
    assert decode_block(block.encoded) == block
    view = viewed(ANYONE, [[block]])
    assert view.standing(block.id) == Void(vector["reason"])
    assert list(view.keys()) == [None]


@pytest.mark.parametrize("vector", VECTORS["rules"], ids=lambda vector: vector["name"])
def test_the_rule_that_a_genesis_names(vector: dict[str, Any]) -> None:
    policy = Policy(None, "everyone", bytes.fromhex(vector["data"]))
    if vector["rule"] is None:
        with pytest.raises(InvalidInputError):
            rule_of(policy, None)
    else:
        assert rule_of(policy, None) is RULES[vector["rule"]]


@pytest.mark.parametrize("vector", VECTORS["scenarios"], ids=lambda vector: vector["name"])
def test_what_becomes_of_objects(vector: dict[str, Any]) -> None:
    """M03, M05, M06, M07, M10: the same heads, current version and standings, in whatever order the blocks come."""
    scene: dict[str, Block] = {}
    metas = {GENESIS.id: GENESIS}
    for step in vector["blocks"]:
        block = scene[step["name"]] = placed(scene, step)
        assert block.encoded.hex() == step["bytes"], step["name"]
        assert judge(block, read_genesis(GENESIS), metas, lambda _id: frozenset()) is None  # type: ignore[arg-type]
        metas[block.id] = block
    for arrivals in orders(list(scene.values())):
        view = viewed(RULES[vector["rule"]], arrivals)
        assert {name: view.standing(block.id) for name, block in scene.items()} == {
            name: standing_of(reason) for name, reason in vector["standings"].items()
        }
        for name, expected in vector["objects"].items():
            assert found(view, scene, name) == expected, name


def found(view: View, scene: Mapping[str, Block], object: str) -> dict[str, Any]:
    """What a view says of an object, in the words of the vectors."""
    names = {block.id: name for name, block in scene.items()}
    key = bytes(scene[object].id)
    heads = [names[head.id] for head in heads_of(view.value_of(key))]
    count = sum(isinstance(standing, Obeyed) for _, standing in view.entries(key))
    change = decode(scene[heads[0]])
    source = {CREATED: heads[0], EDITED: heads[0], RESTORED: names.get(change.named[-1]) if change.named else None}
    return {"heads": heads, "content_of": source.get(change.kind), "versions": count}


def orders(blocks: list[Block]) -> list[list[list[Block]]]:
    """As listed, all at once; and one by one, in some other orders, parents first."""
    arrivals = [[blocks]]
    for seed in range(5):
        rank = {block.id: random.Random(f"{seed} {block.id}").random() for block in blocks}
        named = {block.id: block.ancestors_named for block in blocks}
        for id in topological(named):
            rank[id] = max([rank[id], *(rank[parent] + 1e-9 for parent in named[id] if parent in rank)])
        arrivals.append([[block] for block in sorted(blocks, key=lambda block: rank[block.id])])
    return arrivals


def test_each_kind_and_each_form_is_there() -> None:
    """M01: nothing that can be said is without a vector."""
    kinds = {vector["fields"]["type"] for vector in VECTORS["changes"]}
    assert kinds == {f"mutability/{kind}" for kind in ("created", "edited", "deleted", "restored")}
    reasons = {reason for scene in VECTORS["scenarios"] for reason in scene["standings"].values()}
    assert len(reasons - {None}) == 5  # each verdict but those of an app's own rule
