"""Standings: written and read back, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from walytis_core.cid import BlockId
from walytis_core.errors import StorageError
from walytis_core.standing import OBEYED, Void, Wait, from_value, to_value

CHAIN, HEAD = BlockId.of(b"chain"), BlockId.of(b"head")


@pytest.mark.parametrize("standing", [OBEYED, Void("why"), Void(""), Wait(CHAIN, ()), Wait(CHAIN, (HEAD, CHAIN))])
def test_a_standing_comes_back_as_it_was(standing):
    assert from_value(to_value(standing)) == standing


@pytest.mark.parametrize("value", [1, [], {}, True, ["two", "texts"]])
def test_anything_else_is_refused(value):
    with pytest.raises(StorageError):
        from_value(value)
