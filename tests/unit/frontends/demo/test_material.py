from __future__ import annotations

import errno
import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from frontends.demo import material
from frontends.demo.material import INLINE_BYTES, MIN_SHARE, PEERS, Plan, make_plan, part_of
from frontends.failures import FailedError
from walytis_core import Limits


def some_files(folder, sizes):
    found = []
    for number, size in enumerate(sizes):
        path = folder / f"file-{number}.bin"
        path.write_bytes(hashlib.shake_128(str(number).encode()).digest(size))
        found.append((path.name, path))
    return found


def test_the_inline_limit_is_the_librarys():
    assert Limits.max_payload_bytes == INLINE_BYTES


@given(sizes=st.lists(st.integers(0, 70_000), min_size=1, max_size=12))
@example(sizes=[1])
@example(sizes=[0, 0])
@example(sizes=[5_000_000])
def test_every_byte_is_dealt_once_and_everyone_has_enough(tmp_path_factory, sizes):
    """C49: with any files at all."""
    files = some_files(tmp_path_factory.mktemp("in"), sizes)
    plan = make_plan(files)
    labels = [file.label for file in plan.files]
    assert len(set(labels)) == len(labels)
    assert len(labels) % len(files) == 0, "each file is there equally often"
    assert min(len(plan.shares[name]) for name in PEERS) >= MIN_SHARE
    dealt = sorted(part for share in plan.shares.values() for part in share)
    for number, (_, path) in enumerate(files):
        parts = [part for part in dealt if part.file == number]
        assert b"".join(plan.payload(part) for part in parts) == path.read_bytes()
        assert [part.place for part in parts] == list(range(parts[0].places))
        assert all(part_of(plan.topics(part)) == (path.name, part.place, part.places) for part in parts)


def test_a_long_file_is_one_block(tmp_path):
    plan = make_plan(some_files(tmp_path, [INLINE_BYTES + 1, 20_000, INLINE_BYTES]))
    assert plan.long == ["file-0.bin"]
    parts = [part for share in plan.shares.values() for part in share]
    assert [part.size for part in parts if part.file == 0] == [INLINE_BYTES + 1]
    assert max(part.size for part in parts if part.file != 0) <= INLINE_BYTES


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = make_plan(some_files(tmp_path, [20_000, 10]))
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan


@pytest.mark.parametrize("name", ["a" * 300, "tab\there", "ä/" + "b" * 250, "odd-\udcff"])
def test_any_name_has_a_label_that_a_topic_can_hold(name):
    label = material.label_of(name)
    assert len(f"file:{label}".encode()) <= Limits.max_topic_bytes
    assert label.isprintable()


@pytest.mark.parametrize("topics", [[], ["file:x"], ["part:1/2"], ["file:x", "part:a/b"], ["other", "part:/", "file:"]])
def test_other_blocks_are_no_parts(topics):
    assert part_of(topics) is None


def test_no_folder_and_an_empty_one_are_refused(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(FailedError):
            material.gather(folder)


def test_the_default_input_has_a_long_file(tmp_path):
    folder = material.default_folder()
    assert folder is not None
    for files in (material.with_a_long_one(material.gather(folder).files, tmp_path), material.shipped(tmp_path)):
        assert max(path.stat().st_size for _, path in files) > INLINE_BYTES
        make_plan(files)


def test_links_are_counted_and_an_unreadable_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "around").symlink_to(tmp_path)
    assert material.gather(tmp_path) == ([("file", tmp_path / "file")], 2)

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(type(tmp_path), "open", refuse)
    with pytest.raises(FailedError, match=f"cannot read {tmp_path / 'file'}: Permission denied"):
        material.gather(tmp_path)


def test_copies_have_labels_of_their_own(tmp_path):
    (tmp_path / "x").touch()
    (tmp_path / "copy 2 of x").touch()
    plan = make_plan(material.gather(tmp_path).files)
    assert len({file.label for file in plan.files}) == len(plan.files) == 3 * MIN_SHARE
