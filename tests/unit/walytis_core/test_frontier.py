"""The frontier: equal digests exactly when equal, differences by bucket, vectors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.suites.making import ALICE, BOB, signers, some_id
from walytis_core.cid import BlockId
from walytis_core.frontier import Entry, Frontier, bucket_of

VECTORS = json.loads((Path(__file__).parents[3] / "docs/spec/vectors/sync.json").read_text(encoding="utf-8"))
SOME = [signer.key for signer in signers(12)]
entry_lists = st.dictionaries(
    st.sampled_from(SOME),
    st.builds(Entry, st.integers(0, 2), st.sampled_from([some_id(1), some_id(2)]), st.sampled_from([None, 0, 1])),
)


def frontier(entries: dict[bytes, Entry]) -> Frontier:
    result = Frontier()
    for author, entry in entries.items():
        result.put(author, entry)
    return result


@given(entry_lists, entry_lists)
def test_equal_digests_mean_equal_entries(one: dict[bytes, Entry], other: dict[bytes, Entry]):
    """C32, C35: digests are equal exactly when the entries are; the buckets that differ hold all the difference."""
    first, second = frontier(one), frontier(other)
    assert (first.digest() == second.digest()) is (one == other)
    differing = first.differing(second.bucket_hashes())
    assert differing == {bucket_of(author) for author in SOME if one.get(author) != other.get(author)}
    assert first.entries(differing) == sorted(
        (author, entry) for author, entry in one.items() if bucket_of(author) in differing
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SOME), st.none() | st.builds(Entry, st.integers(0, 2), st.just(some_id(1)), st.none())
        ),
        max_size=30,
    ),
    st.data(),
)
def test_changes_in_any_order(changes: list[tuple[bytes, Entry | None]], data: st.DataObject):
    """C32: what was put and dropped leaves no trace, whenever digests were asked for in between."""
    changed = Frontier()
    wanted: dict[bytes, Entry] = {}
    for author, entry in changes:
        if entry is None:
            changed.drop(author)
            wanted.pop(author, None)
        else:
            changed.put(author, entry)
            wanted[author] = entry
        if data.draw(st.booleans()):
            changed.digest()
    assert dict(changed) == wanted
    assert changed.entries() == sorted(wanted.items())
    assert changed.digest() == frontier(wanted).digest()
    assert (len(changed), set(changed)) == (len(wanted), set(wanted))


@pytest.mark.parametrize(
    "entry", [Entry(2, some_id(1), None), Entry(1, some_id(2), None), Entry(1, some_id(1), 0), Entry(1, some_id(1), 2)]
)
def test_every_field_counts(entry: Entry):
    """C11: the seq, the id and the fork each show in the digest: a fork below the known one is not hidden."""
    base = Entry(1, some_id(1), None)
    assert frontier({ALICE.key: entry}).digest() != frontier({ALICE.key: base}).digest()
    assert frontier({ALICE.key: base}).digest() != frontier({BOB.key: base}).digest()


def test_empty_buckets():
    """C32: a bucket without entries is zeros; one that was emptied too."""
    one = frontier({ALICE.key: Entry(0, some_id(1))})
    assert sum(found != bytes(16) for found in one.bucket_hashes()) == 1
    one.drop(ALICE.key)
    assert one.bucket_hashes() == [bytes(16)] * 256
    assert one.digest() == Frontier().digest() == hashlib.sha256(b"walytis/frontier/1" + bytes(4096)).digest()


@pytest.mark.parametrize("vector", VECTORS["frontiers"], ids=lambda vector: str(len(vector["entries"])))
def test_vectors(vector: dict[str, Any]):
    """C32: buckets and digests of docs/spec/vectors/sync.json, also by the formula of the specification."""
    entries = {
        bytes.fromhex(row["author"]): Entry(row["seq"], BlockId.parse(row["id"]), row["fork"])
        for row in vector["entries"]
    }
    assert not any(entry.is_awaited for entry in entries.values())
    one = frontier(entries)
    assert one.digest().hex() == vector["digest"]
    assert {bytes.fromhex(row["author"]): row["bucket"] for row in vector["entries"]} == {
        author: bucket_of(author) for author in entries
    }
    rows: dict[int, bytes] = {}
    for author, (seq, id, fork) in sorted(entries.items()):
        data = author + seq.to_bytes(8, "big") + id + (0 if fork is None else fork + 1).to_bytes(8, "big")
        rows[hashlib.sha256(author).digest()[0]] = rows.get(hashlib.sha256(author).digest()[0], b"") + data
    hashes = {str(bucket): hashlib.sha256(data).hexdigest()[:32] for bucket, data in rows.items()}
    assert hashes == vector["buckets"]
