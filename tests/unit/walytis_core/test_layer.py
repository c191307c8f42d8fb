"""Layers: what may be one, and which one a block belongs to."""

from __future__ import annotations

import doctest

import pytest

from tests.suites.folding import recorder
from walytis_core import layer as module
from walytis_core.errors import InvalidInputError
from walytis_core.layer import Layer, by_prefix, prefix_of


def make(prefix: str, **more: object) -> Layer:
    plain = recorder()
    return Layer(prefix, plain.check, plain.step, plain.finish, **more)  # type: ignore[arg-type]


def test_the_example_holds():
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 10


@pytest.mark.parametrize("prefix", ["", "/", "poll", "poll/vote", "a/b/", "/a/", "core/"])
def test_a_prefix_ends_with_its_only_slash_and_is_not_the_cores_own(prefix):
    with pytest.raises(InvalidInputError):
        make(prefix)


def test_the_first_state_is_data():
    with pytest.raises(InvalidInputError):
        make("poll/", initial={1: 2})


def test_a_layer_of_parts_has_no_one_value_that_names_removed_authors():
    with pytest.raises(InvalidInputError):
        make("poll/", key=lambda _block: None, removed=frozenset)


def test_each_prefix_has_one_layer():
    first, second = make("poll/"), make("chat/")
    assert by_prefix([first, second]) == {"poll/": first, "chat/": second}
    with pytest.raises(InvalidInputError):
        by_prefix([first, make("poll/")])


@pytest.mark.parametrize(
    ("type", "prefix"), [("poll/vote", "poll/"), ("poll/a/b", "poll/"), ("poll", ""), ("", ""), ("/x", "/")]
)
def test_a_type_names_its_layer_by_what_stands_up_to_the_first_slash(type, prefix):
    assert prefix_of(type) == prefix
    assert make("poll/").owns(type) == (prefix == "poll/")
