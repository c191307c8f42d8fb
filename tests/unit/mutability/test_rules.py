"""Verdicts: each kind of change, each way of being void, under each rule, and waits handed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from mutability.payloads import CREATED, DELETED, EDITED, RESTORED, Change
from mutability.state import ANYONE, AUTHOR, Rule, rule_of, verdict
from tests.suites.making import ALICE, BOB, some_id
from walytis_core import cbor
from walytis_core.cid import BlockId
from walytis_core.errors import InvalidInputError, NotFoundError
from walytis_core.past import Header, Past
from walytis_core.policy import EVERYONE, Policy
from walytis_core.standing import Obeyed, Standing, Void, Wait

OBJECT, EDIT, GONE, BACK, BAD, LATE, STRANGE, UNKNOWN = (some_id(number) for number in range(8))
WAIT = Wait(some_id(20), (some_id(21),))
TYPES = {
    OBJECT: CREATED, EDIT: EDITED, GONE: DELETED, BACK: RESTORED, BAD: EDITED, LATE: EDITED, STRANGE: "chat/line",
}  # fmt: skip
STANDINGS: Mapping[BlockId, Standing] = {
    **dict.fromkeys((OBJECT, EDIT, GONE, BACK), Obeyed()), BAD: Void("bad"), LATE: WAIT,
}  # fmt: skip


class FakePast:
    """A past in which Alice made an object; her next blocks name all of it but `UNKNOWN`."""

    def header(self, id: BlockId, *, is_known: bool = False) -> Header:
        if id not in TYPES:
            raise NotFoundError("not in the past")
        return Header(1, ALICE.key, 1, TYPES[id], ())

    def standing(self, id: BlockId) -> Standing:
        self.header(id)
        return STANDINGS.get(id, Void("it does not touch what this block touches"))


PAST = cast(Past, FakePast())
NAMED = tuple(TYPES)


def judged(change: Change, author: bytes = ALICE.key, rule: Rule = AUTHOR, named: Any = NAMED) -> Standing:
    return verdict(rule, change, author, named, PAST)


def edit(*ids: BlockId) -> Change:
    return Change(EDITED, "a/b", OBJECT, tuple(sorted(ids)))


def delete(*ids: BlockId) -> Change:
    return Change(DELETED, False, OBJECT, tuple(sorted(ids)))


def restore(content: BlockId, *ids: BlockId) -> Change:
    return Change(RESTORED, content, OBJECT, tuple(sorted(ids)))


CREATION = Change(CREATED, "a/b")
IN_ORDER = [
    CREATION, edit(OBJECT), edit(EDIT), edit(OBJECT, EDIT), edit(BACK), edit(EDIT, GONE), delete(OBJECT), delete(GONE),
    delete(EDIT, GONE, BACK), restore(OBJECT, GONE), restore(EDIT, EDIT), restore(OBJECT, BACK, EDIT),
]  # fmt: skip
VOID = [
    edit(GONE), edit(BAD), edit(OBJECT, BAD), delete(BAD), restore(OBJECT, BAD), restore(BAD, OBJECT), edit(STRANGE),
    edit(OBJECT, STRANGE), delete(STRANGE), restore(STRANGE, OBJECT), restore(OBJECT, STRANGE), restore(GONE, GONE),
    restore(BACK, GONE), restore(BACK, BACK),
]  # fmt: skip


@pytest.mark.parametrize("change", IN_ORDER, ids=str)
def test_by_its_author(change):
    """M06: under `AUTHOR` and `ANYONE`, the author of an object may do what is in order."""
    assert judged(change) == judged(change, rule=ANYONE) == Obeyed()


@pytest.mark.parametrize("change", IN_ORDER[1:], ids=str)
def test_by_others_under_author_only(change):
    """M06: void, whatever it is; not under `ANYONE`."""
    assert isinstance(judged(change, BOB.key), Void)
    assert judged(change, BOB.key, ANYONE) == Obeyed()


def test_anyone_creates():
    """M06: an object that is new has no author yet."""
    assert judged(CREATION, BOB.key) == judged(CREATION, BOB.key, ANYONE) == Obeyed()


@pytest.mark.parametrize("rule", [AUTHOR, ANYONE], ids=lambda rule: rule.name)
@pytest.mark.parametrize("change", VOID, ids=str)
def test_what_is_never_in_order(change, rule):
    """M07: void, under any rule, by anybody."""
    assert isinstance(judged(change, rule=rule), Void)


@pytest.mark.parametrize("change", [one for one in IN_ORDER if one.kind != CREATED], ids=str)
def test_each_version_must_be_named(change):
    """M07: a version that is replaced or restored stands among `prev` and parents, or all is void."""
    for missing in change.named:
        named = [id for id in NAMED if id != missing]
        assert isinstance(judged(change, rule=ANYONE, named=named), Void)
    assert judged(change, rule=ANYONE, named=change.named) == Obeyed()


@pytest.mark.parametrize(
    "change", [edit(UNKNOWN), edit(OBJECT, UNKNOWN), restore(UNKNOWN, OBJECT), delete(UNKNOWN)], ids=str
)
def test_what_nobody_has_seen(change):
    """M07: an id that the block does not name is void, and not looked for."""
    assert isinstance(judged(change, rule=ANYONE), Void)


@pytest.mark.parametrize(
    "change", [edit(LATE), edit(OBJECT, LATE), delete(LATE), restore(OBJECT, LATE), restore(LATE, GONE)], ids=str
)
def test_waits_are_handed_on(change):
    """M06: what builds on a version that waits, waits for the same."""
    assert judged(change, rule=ANYONE) == WAIT


@pytest.mark.parametrize("standing", [Obeyed(), Void("not on Sundays"), WAIT], ids=str)
@pytest.mark.parametrize("change", IN_ORDER, ids=str)
def test_a_rule_of_ones_own(change: Change, standing: Standing):
    """M06: it has the last word on what is in order, and is asked about nothing else."""
    asked: list[tuple[Change, bytes, Past]] = []

    def judge(change: Change, author: bytes, past: Past) -> Standing:
        asked.append((change, author, past))
        return standing

    assert judged(change, BOB.key, Rule("own", judge)) == standing
    assert asked == [(change, BOB.key, PAST)]
    for void in VOID:
        assert isinstance(judged(void, BOB.key, Rule("own", judge)), Void)
    assert len(asked) == 1


def policy(data: bytes) -> Policy:
    return Policy(None, EVERYONE, data)


def test_which_rule_holds():
    """M06: the one that the genesis names, else the one that is asked for, else the author's."""
    own = Rule("own/1", lambda _change, _author, _past: Obeyed())
    assert rule_of(policy(b""), None) is AUTHOR
    assert rule_of(policy(b""), ANYONE) is ANYONE
    assert rule_of(policy(b""), own) is own
    for rule in (AUTHOR, ANYONE):
        assert rule_of(policy(rule.data), None) is rule
        assert rule_of(policy(rule.data), rule) is rule
        with pytest.raises(InvalidInputError):
            rule_of(policy(rule.data), own)
    assert rule_of(policy(own.data), own) is own
    for asked in (None, AUTHOR, ANYONE):
        with pytest.raises(InvalidInputError) as caught:
            rule_of(policy(own.data), asked)
        assert caught.value.hint


@pytest.mark.parametrize("data", [
    b"app data", b"\xff", b"\x9f\xff", b"\x81" * 900, cbor.encode([1]), cbor.encode({"other": "x"}), cbor.encode(7),
    cbor.encode({"mutability/": []}), cbor.encode({"mutability/": {"a": "author"}}), cbor.encode({"mutability/": None}),
    cbor.encode({"mutability/": b"anyone"}), cbor.encode({"mutability/": True}),
])  # fmt: skip
def test_a_genesis_that_names_no_rule(data):
    """M06: data of the app's own, or of a founder who wrote nonsense, is no rule: never an error of another kind."""
    assert rule_of(policy(data), None) is AUTHOR
    assert rule_of(policy(data), ANYONE) is ANYONE
