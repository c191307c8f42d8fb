"""The ceiling programs do what their names say, and import nothing of ours."""

from __future__ import annotations

import ast
import sqlite3
from pathlib import Path

import pytest
from nacl.exceptions import BadSignatureError

from benchmarks import ceilings


@pytest.mark.parametrize("name", ceilings.CEILINGS)
def test_each_ceiling_gives_a_rate(name, tmp_path):
    assert ceilings.CEILINGS[name].function(tmp_path, 300) > 0


@pytest.mark.parametrize("name", [name for name in ceilings.CEILINGS if "no store" not in name])
def test_every_block_ends_in_a_durable_store(name, tmp_path):
    ceilings.CEILINGS[name].function(tmp_path, 300)
    for database in tmp_path.glob("*.db"):
        with ceilings.store(database) as connection:
            rows = connection.execute("SELECT id, length(data) FROM blocks").fetchall()
            assert len({block_id for block_id, _ in rows}) == len(rows) == 300
            assert all(300 <= length <= 400 for _, length in rows)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_altered_block_is_not_stored():
    author = ceilings.Author(bytes(32))
    _, block = author.create(b"payload")
    with pytest.raises(BadSignatureError):
        ceilings.check([block[:-1] + b"\x01"], author.public)


def test_a_second_copy_is_refused_by_the_unique_id(tmp_path):
    row = ceilings.Author(bytes(32)).create(b"payload")
    with ceilings.store(tmp_path / "blocks.db") as connection:
        ceilings.commit(connection, [row])
        with pytest.raises(sqlite3.IntegrityError):
            ceilings.commit(connection, [row])


def test_a_run_far_below_what_was_shown_is_void():
    name = "create and store, durable each"
    shown = ceilings.CEILINGS[name].blocks_per_s
    assert ceilings.is_void(name, 0.59 * shown)
    assert not ceilings.is_void(name, 0.61 * shown)


def test_it_imports_nothing_of_ours():
    tree = ast.parse(Path(ceilings.__file__).read_text(encoding="utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {name.partition(".")[0] for name in imported}.isdisjoint(
        {"walytis_core", "frontends", "benchmarks", "tests"}
    )
