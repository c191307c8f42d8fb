from __future__ import annotations

import sqlite3

import pytest

from frontends import doctor
from frontends.offline import Offline
from walytis_core import Node


def finding(directory, check):
    return next(found for found in doctor.examine(directory) if found.check == check)


def test_the_quick_checks_pass_on_a_fresh_directory(tmp_path):
    directory = tmp_path / "data"
    for check in ("Python", "SQLite", "directory", "disk", "lock", "clock"):
        assert finding(directory, check).level == "ok", check
    assert not directory.exists()  # looking changes nothing


def test_keys_that_others_can_read_are_found(tmp_path):
    with Node.in_memory():
        pass
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    (keys / "node").write_bytes(bytes(32))
    (keys / "node").chmod(0o644)
    found = finding(tmp_path, "directory")
    assert found.level == "bad"
    assert "chmod" in found.remedy


def test_a_directory_that_is_a_file_is_found(tmp_path):
    (tmp_path / "file").touch()
    assert finding(tmp_path / "file", "directory").level == "bad"


def test_little_space_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_MIN_FREE", 1 << 60)
    found = finding(tmp_path, "disk")
    assert (found.level, bool(found.remedy)) == ("bad", True)


@pytest.mark.parametrize("attribute", ["_PYTHONS", "_SQLITE"])
def test_old_versions_are_found(tmp_path, monkeypatch, attribute):
    monkeypatch.setattr(doctor, attribute, ((9, 0), (9, 9)) if attribute == "_PYTHONS" else (9, 0))
    found = finding(tmp_path, "Python" if attribute == "_PYTHONS" else "SQLite")
    assert (found.level, bool(found.remedy)) == ("bad", True)


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("0.8.1", "libp2p==0.8.1", True), ("0.8.2", "libp2p==0.8.1", False), ("0.30", "trio<1,>=0.30", True),
        ("0.29.9", "trio<1,>=0.30", False), ("1.0", "trio<1,>=0.30", False), ("50.0.1", "cryptography<51,>=50", True),
        ("4.0.0rc1", "platformdirs<5,>=4", True), ("7", "anything", True),
    ],
)  # fmt: skip
def test_a_version_fits_its_bounds(version, wanted, expected):
    assert doctor.fits(version, wanted) is expected


def test_a_check_that_fails_is_a_finding_and_the_others_go_on(tmp_path, monkeypatch):
    def broken(_directory):
        raise OSError("no such luck")

    monkeypatch.setattr(doctor, "_clock", broken)
    monkeypatch.setattr(doctor, "_network", lambda _directory: doctor.Finding("network", "ok", "not tried"))
    found = list(doctor.examine(tmp_path))
    assert [each.check for each in found if each.level == "bad"] == ["clock"]
    assert found[-1].check == "network"


def test_a_damaged_database_is_found_once_with_its_file_and_the_remedy(tmp_path):
    """C24: and not as a matter of the lock or of rights."""
    with Node.open(tmp_path, network=Offline()):
        pass
    with (tmp_path / "walytis.db").open("r+b") as file:
        file.seek(16)  # the size of its pages
        file.write(b"\xff" * 8)
    found = finding(tmp_path, "chains")
    assert found.level == "bad"
    assert str(tmp_path / "walytis.db") in found.found
    assert found.found.count("not a database") == 1
    assert "move that file away" in found.remedy
    assert finding(tmp_path, "lock").level == "warn"


def test_blocks_that_a_check_found_damaged_are_shown(tmp_path):
    """C24: `doctor` knows what `status` and `verify` know."""
    with Node.open(tmp_path, network=Offline()) as node:
        block = node.create_chain("notes").append(b"x")
    with sqlite3.connect(tmp_path / "walytis.db") as connection:
        connection.execute("UPDATE blocks SET encoded = x'00' WHERE id = ?", (block.id[4:],))
    connection.close()
    with Node.open(tmp_path, network=Offline()) as node:
        assert node.chain("notes").verify().corrupt
    found = finding(tmp_path, "chains")
    assert (found.level, found.found) == ("bad", "damaged blocks in notes: 1")
    assert "walytis run" in found.remedy


def test_a_directory_without_a_node_stays_empty(tmp_path):
    """C47: looking makes nothing."""
    assert finding(tmp_path, "lock").level == "ok"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.libp2p
def test_the_round_trip_works_here(tmp_path):
    assert finding(tmp_path / "data", "network").level == "ok"
