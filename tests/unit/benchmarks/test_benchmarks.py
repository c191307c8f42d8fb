"""The benchmark harness: every measure runs, rows are judged as they say, and the page shows what misses."""

from __future__ import annotations

import json

import pytest

from benchmarks import ceilings, objects, page, table
from benchmarks.__main__ import main
from benchmarks.material import CHAIN_NAME, Maker, fill
from benchmarks.measures import MEASURES
from benchmarks.table import Bench, at_least, beside, line, under, verdict
from mutability import Mutable, payloads
from walytis_core import Node
from walytis_core.block import decode, is_genuine
from walytis_core.network.memory import MemoryHub, MemoryNetwork
from walytis_core.policy import read_genesis
from walytis_core.store.sqlite import SqliteStore

NAME = "create and store, durable each"
SHOWN = ceilings.CEILINGS[NAME].blocks_per_s


def test_a_row_is_judged_by_its_target():
    assert under("latency", 3.9, "ms", 4).met
    assert not under("latency", 4.0, "ms", 4).met
    assert at_least("rate", 5000, "blocks/s", 5000).met
    assert not at_least("rate", 5000, "blocks/s", 5000, unless=True).met


def test_a_ratio_is_void_where_the_ceiling_was_not_reached():
    assert beside("append", 0.7 * SHOWN, NAME, SHOWN, 0.7).met is True
    assert beside("append", 0.69 * SHOWN, NAME, SHOWN, 0.7).met is False
    void = beside("append", 0.5 * SHOWN, NAME, 0.5 * SHOWN, 0.7)
    assert void.met is None
    assert verdict(void) == "void"


def test_rows_survive_the_file(tmp_path):
    rows = [beside("append", 3000, NAME, SHOWN, 0.7), under("latency", 5, "ms", 4)]
    table.write(tmp_path / "rows.json", rows)
    assert table.read(tmp_path / "rows.json") == rows
    kept = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert [list(row) for row in kept] == [["measure", "value", "unit", "ceiling", "ratio", "target", "met"]] * 2


def test_the_page_explains_what_misses():
    rows = [under("slow thing", 5, "ms", 4), under("quick thing", 1, "ms", 4)]
    text = page.render(rows, "2026-11-20", {"slow thing": "It waits for the disk."})
    assert "| slow thing | 5 ms |  |  | under 4 ms | MISSED |" in text
    assert "### slow thing\n\nIt waits for the disk." in text
    assert "### quick thing" not in text


def test_a_line_says_so_when_a_figure_misses():
    assert "MISSED" in line(under("slow thing", 5, "ms", 4))


@pytest.mark.parametrize("authors", [1, 3, 100])
def test_the_blocks_are_such_as_peers_send(authors, tmp_path):
    """Genuine, of the payload that is spoken of, one head, and each names blocks before it alone."""
    maker = Maker(authors)
    named: set[bytes] = set()
    seen: set[bytes] = {maker.genesis.id}
    for encoded in [one for batch in maker.batches(300) for one in batch]:
        block = decode(encoded)
        assert is_genuine(block)
        assert len(block.payload) == 100
        assert seen.issuperset(block.ancestors_named)
        named.update(block.ancestors_named)
        seen.add(block.id)
    assert len(seen - named) == 1


def test_a_filled_folder_holds_its_chain(tmp_path):
    chain_id = fill(tmp_path / "held", 600, 3)
    store = SqliteStore.open(tmp_path / "held")
    try:
        chain = store.chain(chain_id)
        assert chain.count == 600
        assert read_genesis(decode(chain.encoded([chain_id])[chain_id])).policy.is_open
        assert not chain.verify().problems
    finally:
        store.close()


def test_a_chain_of_objects_is_sound_and_folds_to_what_was_made(tmp_path):
    """Each version counts, and replaces the one before it of its object alone."""
    ids = objects.fill(tmp_path / "held", 7, 5)
    with Node.open(tmp_path / "held", network=MemoryNetwork(MemoryHub())) as node:
        notes = Mutable(node.chain(CHAIN_NAME))
        assert not notes.chain.verify().corrupt
        assert (len(set(ids)), len(notes.chain)) == (7, 35)
        for id in ids:
            versions = [version.id for version in notes.history(id)]
            assert (len(versions), notes.get(id).id, notes.conflicts(id)) == (5, versions[-1], [])
            changes = [payloads.decode(notes.chain.block(version)) for version in versions]
            assert [change.replaces for change in changes] == [(), *((version,) for version in versions[:-1])]


def test_edits_beside_slow_appends_are_void(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "_APPENDS_PER_S", 1e9)
    (row,) = objects.edit(Bench(tmp_path, quick=True))
    assert row.met is None
    assert verdict(row) == "void"


def test_an_unknown_measure_is_refused(capsys):
    assert main(["--only", "no such thing"]) == 2
    assert "append" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.libp2p
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.kubo) if "kubo" in name else name for name in MEASURES]
)
def test_every_measure_runs(name, tmp_path):
    rows = list(MEASURES[name](Bench(tmp_path, quick=True)))
    assert rows
    assert all(row.value >= 0 for row in rows)
    reported = {"kubo-blocks", "identities-check", "identities-renewal", "identities-keystore"}
    assert any(row.target for row in rows) or name in reported
