"""What is kept of a fold: written and read as it was, and refused when it is damaged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walytis_core import heads
from walytis_core.cbor import pack
from walytis_core.errors import StorageError
from walytis_core.heads import Head

_COUNTS = st.integers(0, (1 << 53) - 1)
_FLAT = st.lists(st.one_of(_COUNTS, st.booleans(), st.binary(max_size=44)), max_size=8)
HEADS = st.builds(
    Head,
    st.one_of(st.none(), st.binary(max_size=40), st.text(max_size=40)), st.booleans(), _COUNTS, _COUNTS,
    st.sampled_from((b"", bytes(44))), st.binary(max_size=200), st.integers(0, 512), st.binary(max_size=200), _FLAT, _FLAT,
)  # fmt: skip


@given(HEADS)
def test_what_was_written_is_read(head: Head) -> None:
    """C52: a fold that was saved is the one that is opened."""
    found = heads.read(heads.write(head))
    assert found._replace(snapshots=list(found.snapshots), segments=list(found.segments)) == head


@given(HEADS, st.data())
def test_a_part_of_it_is_refused(head: Head, data: st.DataObject) -> None:
    """C52: a saved fold of which the end is lost is not taken for another one."""
    written = heads.write(head._replace(snapshots=[1, 2, 3]))
    with pytest.raises(StorageError):
        heads.read(written[: data.draw(st.integers(0, len(written) - 1))])


@pytest.mark.parametrize("more", [1, [], [[]], [[], [], []], "ab" * 2])
def test_what_is_behind_it_is_refused(more: Any) -> None:
    """C52: damage behind the fixed part is said to be that."""
    written = heads.write(Head(b"key", False, 1, 1, b"", b"state", 1, b"last")) + pack(more)
    with pytest.raises(StorageError) as caught:
        heads.read(written)
    assert caught.value.hint


def test_keys_of_one_text_have_names_of_their_own() -> None:
    """C52: text, bytes and no key are three parts of a layer's state."""
    assert len({heads.name_of(key) for key in (None, b"", "", b"a", "a")}) == 5
