"""JSON documents: the merge of concurrent edits, against brute force, and what is no JSON."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutability import ANYONE, EDITED, Change, Documents, Mutable, Version
from mutability.documents import MAX_DOCUMENT_BYTES, MAX_NESTING, merge_fields
from mutability.payloads import encode
from tests.suites.nodes import WITHIN_S
from walytis_core import BlockId, Ed25519Signer, Node, UnavailableError
from walytis_core.block import Place, create, draft
from walytis_core.errors import DeletedError, InvalidInputError, NotFoundError
from walytis_core.events import Came
from walytis_core.messages import Why
from walytis_core.screening import screen


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node.in_memory() as node:
        yield node


@pytest.fixture
def documents(node: Node) -> Iterator[Documents]:
    chain = node.create_chain("documents", readers="everyone")
    yield Documents(Mutable(chain, ANYONE))
    node.delete_chain(chain)


def beside(documents: Documents, base: Version, content: bytes, number: int = 1) -> Version:
    """An edit by somebody else who has seen the base and nothing later; the last one written is current, as a rule."""
    chain = documents.objects.chain
    change = Change(EDITED, "application/json", base.object, (base.id,))
    author = Ed25519Signer(bytes([number]) * 32)
    place = Place(chain.id, 0, chain.id, (base.id,), base.block.height + 1)
    block = create(author, place, draft(content, type=EDITED, ext=encode(change)), 0)
    chain.engine.handle(Came("peer", Why.PULLED, screen([block.encoded], chain.engine.known)))
    return documents.objects.version(base.object, block.id)


# --- merging values ---------------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from(["", "a"]), st.sampled_from([0.0, 1.0, 1.5])
)
flat = st.dictionaries(st.sampled_from("abcd"), scalars, max_size=4)
nested = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """As JSON has it: true is not 1, and 1 is not 1.0."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(base=flat, sides=st.lists(flat, min_size=1, max_size=4))
def test_flat_documents_by_brute_force(base, sides):
    """M05: each field by itself: what the one or the first side that changed it made of it."""
    expected = {}
    for name in "abcd":
        ways = [side for side in sides if (name in side) != (name in base) or not same(side.get(name), base.get(name))]
        source = ways[0] if ways else base
        if name in source:
            expected[name] = source[name]
    assert same(merge_fields(base, sides), expected)


def paths(value: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The fields of a document, and the fields in them."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*at, name)
            yield from paths(inner, (*at, name))


def put(document: Any, path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        document = document[name]
    if value is Ellipsis:
        del document[path[-1]]
    else:
        document[path[-1]] = value


@given(base=nested, seed=st.integers(0, 1 << 32))
def test_changes_of_different_fields_are_all_kept(base, seed):
    """M05: changes at places that do not touch: the merge has them all, in any order of the sides."""
    rng = random.Random(seed)
    chosen: list[tuple[str, ...]] = []
    for path in rng.sample(found := list(paths(base)), len(found)):
        if not any(path[: len(one)] == one or one[: len(path)] == path for one in chosen):
            chosen.append(path)
    sides, everything = [], copy.deepcopy(base)
    for number, path in enumerate(chosen[:5]):
        value = rng.choice([Ellipsis, f"new {number}", {"x": number}, [number]])
        side = copy.deepcopy(base)
        put(side, path, value)
        put(everything, path, value)
        sides.append(side)
    if sides:
        rng.shuffle(sides)
        assert same(merge_fields(base, sides), everything)
        assert same(merge_fields(base, [base, *sides, base]), everything)


@given(base=nested, one=nested, sides=st.lists(nested, min_size=1, max_size=3))
def test_laws_of_merging(base, one, sides):
    """M05: one side alone is taken as it is; the same change twice is one; an argument is never changed."""
    before = copy.deepcopy([base, one, sides])
    assert same(merge_fields(base, [one]), one)
    assert same(merge_fields(base, [one, one]), one)
    assert same(merge_fields(base, [base, one]), one)
    assert same(merge_fields(one, [one, one]), one)
    merged = merge_fields(base, sides)
    assert same(merge_fields(base, [*sides, *sides]), merged)
    assert same(merge_fields(base, [merged]), merged)
    assert same([base, one, sides], before)


@pytest.mark.parametrize(("base", "sides", "merged"), [
    (1, [1, True], True), (True, [True, 1], 1), (1, [1.0, 1], 1.0), ({"a": 0}, [{"a": False}, {"a": 0}], {"a": False}),
    (None, [{"a": 1}, {"b": 2}], {"a": 1, "b": 2}), ({"a": None}, [{}, {"a": None}], {}), ({}, [{"a": None}, {}], {"a": None}),
    ([1], [[1, 2], [1]], [1, 2]), ([1], [[1, 2], [1, 3]], [1, 2]), ({"a": {"b": 1}}, [{"a": 2}, {"a": {"b": 3}}], {"a": 2}),
    ({"a": 1}, [{}, {"a": 2}], {}), ({"a": 1}, [{"a": 2}, {}], {"a": 2}), ({"a": {}}, [{"a": {"b": 1}}, {"a": {"c": 1}}], {"a": {"b": 1, "c": 1}}),
    ("x", [{"a": 1}, "x"], {"a": 1}), ({"": 1}, [{"": 2}, {"": 1, "é": 3}], {"": 2, "é": 3}),
])  # fmt: skip
def test_cases(base, sides, merged):
    """M05: true and 1, absent and null, lists as a whole, fields that become something else."""
    assert same(merge_fields(base, sides), merged)


def test_fields_that_are_settled():
    """M05: `settle` is asked about each field that several sides changed, once, by its path, the current one first."""
    asked = []

    def settle(path: tuple[str, ...], values: Sequence[Any]) -> Any:
        asked.append((path, list(values)))
        return "settled"

    base = {"a": 1, "b": {"c": 1, "d": 1}, "e": 1, "f": 1}
    sides = [{"a": 2, "b": {"c": 2, "d": 1}, "e": 1}, {"a": 3, "b": {"c": 3, "d": 2}, "e": 5, "f": 6}]
    merged = merge_fields(base, sides, settle)
    assert merged == {"a": "settled", "b": {"c": "settled", "d": 2}, "e": 5, "f": "settled"}
    assert asked == [(("a",), [2, 3]), (("b", "c"), [2, 3]), (("f",), [6])]


def test_deep_fields_change_as_a_whole():
    """M05: merging goes down so far, and no document makes it go further."""

    def deep(depth: int, value: Any) -> Any:
        for _ in range(depth):
            value = {"x": value}
        return value

    base, one, other = (deep(200, value) for value in ({}, {"a": 1}, {"b": 2}))
    assert same(merge_fields(base, [one, other]), one)
    base, one, other = (deep(20, value) for value in ({}, {"a": 1}, {"b": 2}))
    assert same(merge_fields(base, [one, other]), deep(20, {"a": 1, "b": 2}))


# --- documents on a chain ---------------------------------------------------------------------------------------------


def test_they_come_back_as_they_were(documents):
    """M01: any JSON, also null and none at all in its fields."""
    various: list[Any] = [
        None,
        True,
        0,
        1.5,
        "",
        "é\U0001f600\ud800",
        [],
        {},
        {"a": [{"b": None}]},
        10**400,
        {"": {"": []}},
    ]
    for document in various:
        item = documents.create(document, topics=["t"])
        assert same(documents.get(item), document)
        assert item.media_type == "application/json"
        documents.edit(item, [document])
        assert same(documents.get(item.object), [document])
    assert len(list(documents.objects.objects(topic="t"))) == 11


def test_documents_nest_as_deep_as_it_says(documents):
    """M01: to the same depth on every version of Python, whatever stands inside."""
    for deepest in (deep_list(MAX_NESTING - 1), json.loads("[" * MAX_NESTING + "1" + "]" * MAX_NESTING)):
        assert documents.get(documents.create(deepest)) == deepest


def deep_list(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("document", [
    float("nan"), float("inf"), [float("-inf")], {"a": b"bytes"}, object(), {1, 2}, 1j, deep_list(100_000), deep_list(256), 10**5000,
], ids=lambda one: type(one).__name__)  # fmt: skip
def test_what_is_no_json(documents, document):
    """M01: refused, typed, and nothing is written."""
    item = documents.create(1)
    before = len(documents.objects.chain)
    for write in (documents.create, lambda one: documents.edit(item, one)):
        with pytest.raises(InvalidInputError) as caught:
            write(document)
        assert caught.value.hint
    assert len(documents.objects.chain) == before


NO_JSON = [
    b"", b"{", b"\xff\xfe\xff", b"NaN", b'{"a": NaN}', b"[Infinity]", b"-Infinity", b'{"a": 1e999}', b"[-1e400]", b"[" * 30_000,
    b"[" * 257 + b"]" * 257,
    b'{"a":' * 5000 + b"1" + b"}" * 5000, b"1" * 5000, b'{"a": 1} x', b"'a'", b"\x00",
]  # fmt: skip


@pytest.mark.parametrize("content", NO_JSON, ids=lambda one: repr(one[:12]))
def test_what_others_wrote_that_is_no_json(documents, content):
    """M05: reading it says so; a merge leaves it in conflict, and loses nothing."""
    base = documents.create({"a": 1})
    beside(documents, base, b'{"a": 1, "b": 2}', 1)
    beside(documents, base, content, 2)
    beside(documents, base, b'{"a": 3}', 3)
    assert len(documents.objects.conflicts(base)) == 2
    documents.merge(base)
    assert documents.get(base) == {"a": 3, "b": 2}
    assert [one.block.payload for one in documents.objects.conflicts(base)] == [content]
    bad = beside(documents, documents.objects.edit(base, content), content, 4)
    assert bad.id
    with pytest.raises(InvalidInputError) as caught:
        documents.get(base)
    assert caught.value.hint
    with pytest.raises(InvalidInputError):
        documents.merge(base)
    assert [one.block.payload for one in documents.objects.conflicts(base)] == [content]


@pytest.mark.parametrize("depth", [60, 64, 65, 130, 400, 600, 700, 800, *range(850, 1000, 10), 2000])
def test_documents_at_the_edge_of_what_python_nests(documents, depth):
    """M05: whatever depth a peer chose, a merge ends, with an error of ours or none."""
    base = documents.create({"a": 1})
    for number, name in enumerate((b"x", b"y"), 1):
        beside(documents, base, b'{"%s":' % name * depth + b"1" + b"}" * depth, number)
        beside(documents, base, b'{"c":' * depth + b'{"%s": 1}' % name + b"}" * depth, number + 2)
    with suppress(InvalidInputError):  # none of them can be read
        documents.merge(base)
    assert len(documents.objects.conflicts(base)) in {0, 2, 3}
    assert documents.objects.get(base).content


def test_a_merge_of_many(documents):
    """M05: the base is the last version on which all build, also where some build on others' merges."""
    base = documents.create({"n": 0})
    documents.edit(base, {"n": 0, "common": True})
    common = documents.objects.get(base)
    ones = [
        beside(documents, common, json.dumps({"n": 0, "common": True, f"f{k}": k}).encode(), k) for k in range(1, 5)
    ]
    assert len(ones) == 4
    documents.merge(base)
    assert documents.get(base) == {"n": 0, "common": True, "f1": 1, "f2": 2, "f3": 3, "f4": 4}
    late = beside(documents, common, b'{"n": 9}', 7)
    assert documents.objects.conflicts(base) == [late]
    documents.merge(base)
    assert documents.get(base) == {"n": 9, "f1": 1, "f2": 2, "f3": 3, "f4": 4}


def test_a_merge_with_a_deletion(documents):
    """M03, M05: where the current version deletes, and another does not, merging brings back what that one says."""
    base = documents.create({"a": 1})
    documents.edit(base, {"a": 2})
    documents.objects.delete(base)
    late = beside(documents, base, b'{"a": 1, "b": 2}')
    assert [one.id for one in documents.objects.conflicts(base)] == [late.id]
    with pytest.raises(DeletedError):
        documents.get(base)
    documents.merge(base)
    assert documents.get(base)["b"] == 2
    assert not documents.objects.conflicts(base)
    documents.objects.delete(base)
    for read in (documents.merge, documents.get, lambda one: documents.edit(one, 1)):
        with pytest.raises(DeletedError):
            read(base)


def test_settling_on_a_chain(documents):
    """M05: the app decides; what it says must be JSON."""
    base = documents.create({"n": 1})
    beside(documents, base, b'{"n": 5}', 1)
    beside(documents, base, b'{"n": 7}', 2)
    with pytest.raises(InvalidInputError):
        documents.merge(base, lambda _path, _values: object())
    assert len(documents.objects.conflicts(base)) == 1
    documents.merge(base, lambda path, values: max(values) if path == ("n",) else None)
    assert documents.get(base) == {"n": 7}


def test_errors_are_typed(documents):
    """M01, M04: of objects that there are not."""
    unknown = BlockId.of(b"nothing")
    calls: list[Callable[[BlockId], object]] = [documents.get, documents.merge, lambda one: documents.edit(one, 1)]
    for call in calls:
        with pytest.raises(NotFoundError):
            call(unknown)
    item = documents.create(1)
    assert documents.merge(item).content == b"1"


def test_long_documents(documents):
    """M05: content that is not held makes a merge wait for it, and too much of it is never parsed."""
    long = json.dumps({"a": "x" * 100_000}).encode()
    base = documents.create({"a": 1})
    one = documents.objects.edit(base, long)
    assert documents.get(base)["a"] == "x" * 100_000
    beside(documents, base, b'{"a": 1, "b": 2}')
    documents.objects.chain.drop_content(one.block)
    with pytest.raises(UnavailableError):
        documents.merge(base)
    with pytest.raises(UnavailableError):
        documents.objects.fetch(one).result(WITHIN_S)
    huge = documents.objects.edit(base, b'"' + b"x" * MAX_DOCUMENT_BYTES + b'"')
    assert huge.block.content is not None
    with pytest.raises(InvalidInputError):
        documents.get(base)


def test_a_merge_replaces_only_what_it_has_read(documents):
    """M05: a version that comes while a person settles is in conflict afterwards, and not lost."""
    base = documents.create({"a": 0, "b": 0})
    beside(documents, base, b'{"a": 1, "b": 0}', 1)
    beside(documents, base, b'{"a": 2, "b": 0}', 2)
    late = []

    def settle(_path, values):
        late.append(beside(documents, base, b'{"a": 0, "b": 9}', 3))
        return max(values)

    documents.merge(base, settle)
    assert documents.get(base) == {"a": 2, "b": 0}
    assert [one.id for one in documents.objects.conflicts(base)] == [late[0].id]
    documents.merge(base)
    assert documents.get(base) == {"a": 2, "b": 9}
    assert documents.objects.conflicts(base) == []


def test_a_merge_without_conflicts_writes_nothing(documents):
    """M05: what is merged already stays as it is."""
    base = documents.create({"a": 0})
    blocks = len(documents.objects.chain)
    assert documents.merge(base).id == base.id
    assert len(documents.objects.chain) == blocks
