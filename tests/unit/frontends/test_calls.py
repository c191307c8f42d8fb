from __future__ import annotations

from typing import Any, cast

import pytest

from frontends.calls import Call, Verb, perform
from frontends.failures import FailedError


def call() -> Call:
    return Call(cast("Any", None), stays_online=False)


def one(call, *, name: str = "x"):
    return {"name": name}


def several(call, *, count: int):
    return ({"number": number} for number in range(count))


VERBS: dict[str, Verb] = {"one": one, "several": several}


def test_a_verb_gives_one_answer_or_several():
    assert list(perform(VERBS, "one", call(), {})) == [{"name": "x"}]
    assert list(perform(VERBS, "several", call(), {"count": 2})) == [{"number": 0}, {"number": 1}]


@pytest.mark.parametrize(
    ("name", "arguments"), [("none", {}), ("several", {}), ("one", {"other": 1}), ("one", {"call": 1})]
)
def test_unknown_verbs_and_arguments_are_refused(name, arguments):
    with pytest.raises(FailedError) as failed:
        list(perform(VERBS, name, call(), arguments))
    assert failed.value.exit_code == 2


def test_who_leaves_is_told_to_all_who_wait():
    heard = []
    made = call()
    made.when_gone(lambda: heard.append("early"))
    made.leave()
    made.leave()
    made.when_gone(lambda: heard.append("late"))
    assert heard == ["early", "late"]
    assert made.is_gone
