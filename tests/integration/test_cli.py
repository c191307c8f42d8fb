"""The commands, each in a process of its own, on a directory that they open themselves."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from tests.suites.command import COMMAND, WAIT_S, answer, environment, failure, lines, started, walytis
from walytis_core import Cid

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """A directory with a chain of four blocks."""
    directory = tmp_path_factory.mktemp("home") / "data"
    answer(directory, "create", "notes")
    answer(directory, "append", "notes", "first", "--topic", "a", "--topic", "b", "--type", "app/note")
    answer(directory, "append", "notes", "--topic", "a", stdin=b"\xff\x00 bytes")
    (directory.parent / "long.bin").write_bytes(bytes(range(256)) * 400)
    answer(directory, "append", "notes", "--file", str(directory.parent / "long.bin"))
    answer(directory, "append", "notes", "-", stdin="päper\n".encode())
    return directory


def test_a_log_shows_what_was_appended_in_either_order(notes):
    """C20: by topic, type, author, time and count, combined, newest or oldest first."""
    everything = lines(notes, "log", "notes", "--oldest-first")
    assert [block["seq"] for block in everything] == sorted(block["seq"] for block in everything)
    assert everything == lines(notes, "log", "notes")[::-1]
    assert everything[0]["payload"] == "first"
    assert everything[0]["topics"] == ["a", "b"]
    assert everything[1]["encoding"] == "base64"
    assert everything[2]["size"] == 102_400
    author, ids = everything[0]["author"], [block["id"] for block in everything]
    assert [block["id"] for block in lines(notes, "log", "notes", "--topic", "a", "--limit", "1")] == [ids[1]]
    assert [block["id"] for block in lines(notes, "log", "notes", "--type", "app/note")] == [ids[0]]
    assert walytis(notes, "log", "notes", "--ids", "--oldest-first").stdout.decode().splitlines() == ids
    assert failure(notes, "log", "notes", "--ids")["error"] == "UsageError", "not with --json"
    assert walytis(notes, "log", "notes", "--ids", "-n", "1").stdout.decode() == f"{ids[-1]}\n"
    assert len(lines(notes, "log", "notes", "--author", author[-8:], "--since", "1h")) == 4
    assert lines(notes, "log", "notes", "--before", "1h") == []


def test_a_block_is_found_by_the_end_of_its_id_and_written_out_byte_for_byte(notes):
    """C05: any bytes come back as they were."""
    for block in lines(notes, "log", "notes"):
        shown = answer(notes, "show", "notes", block["id"][-8:])
        assert shown["id"] == block["id"]
        raw = walytis(notes, "show", "notes", block["id"], "--raw").stdout
        assert len(raw) == block["size"]
    long = lines(notes, "log", "notes", "--oldest-first")[2]
    assert walytis(notes, "show", "notes", long["id"], "--raw").stdout == bytes(range(256)) * 400


def test_the_graph_names_only_blocks_and_the_genesis(notes):
    graph = lines(notes, "graph", "notes")
    ids = {block["id"] for block in graph}
    named = {id for block in graph for id in [block["prev"], *block["parents"]] if id is not None}
    (chain,) = answer(notes, "list")["chains"]
    assert named - ids <= {chain["id"]}
    assert chain["blocks"] == len(ids)
    assert "●" in walytis(notes, "graph", "notes").stdout.decode()


def test_verify_and_status_say_that_all_is_well(notes):
    assert answer(notes, "verify")["ok"] is True
    status = answer(notes, "status", "notes")
    assert (status["running"], status["online"]) == (False, False)
    assert status["chains"][0]["status"]["copied"] is None
    assert status["chains"][0]["status"]["writable"] is True
    assert status["chains"][0]["status"]["not_writable_because"] is None
    assert "blocks" not in status["chains"][0]["status"]


@pytest.mark.parametrize("arguments", [["list"], ["log", "notes"], ["status"], ["verify"], ["invitations", "notes"]])
def test_people_get_pages_and_programs_get_json(notes, arguments):
    page = walytis(notes, *arguments)
    assert page.returncode == 0
    assert page.stdout.strip()
    assert "…" not in page.stdout.decode()
    data = walytis(notes, *arguments, "--json")
    assert data.stderr == b""
    documents = [data.stdout] if data.stdout.startswith(b"{\n") else data.stdout.splitlines()
    assert all(isinstance(json.loads(document), dict) for document in documents)


@pytest.mark.parametrize(
    ("arguments", "error", "code"),
    [
        (["log", "none"], "NotFoundError", 3),
        (["show", "notes", "zzzzzzzz"], "NotFoundError", 3),
        (["show", "notes", "abc"], "UsageError", 2),
        (["create", "notes"], "InvalidInputError", 2),
        (["append", "notes", "x", "--topic", ""], "InvalidInputError", 2),
        (["append", "notes", "x", "--topic", "\udcff"], "InvalidInputError", 2),
        (["append", "notes", "x", "--type", "core/mine"], "InvalidInputError", 2),
        (["append", "notes", "--file", "/none"], "NotFoundError", 3),
        (["log", "notes", "--since", "yesterday"], "UsageError", 2),
        (["invite", "notes", "--expires", "soon"], "UsageError", 2),
        (["revoke", "notes", "12345678"], "NotFoundError", 3),
        (["join", "walytis:nonsense"], "InvalidInputError", 2),
        (["join", "hello"], "InvalidInputError", 2),
        (["delete", "notes"], "UsageError", 2),
        (["invite", "notes", "--uses", "2", "--any-number"], "UsageError", 2),
        (["log"], "UsageError", 2),
        (["log", "notes", "--limit", "many"], "UsageError", 2),
        (["rename", "none", "x"], "NotFoundError", 3),
        (["rename", "notes", ""], "InvalidInputError", 2),
        (["nonsense"], "UsageError", 2),
        (["run", "--listen", "foo"], "InvalidInputError", 2),
        (["run", "--listen", "/ip4/0.0.0.0/tcp/99999"], "InvalidInputError", 2),
    ],
)
def test_a_mistake_is_one_sentence_a_hint_and_its_familys_exit_code(notes, arguments, error, code):
    told = failure(notes, *arguments)
    assert (told["error"], told["exit_code"]) == (error, code)
    assert told["message"]
    assert told["hint"]
    plain = walytis(notes, *arguments)
    assert plain.returncode == code
    assert plain.stdout == b""
    assert b"Traceback" not in plain.stderr


def test_a_chain_is_renamed(tmp_path):
    directory = tmp_path / "data"
    made = answer(directory, "create", "old name")
    answer(directory, "create", "taken")
    assert failure(directory, "rename", "old name", "taken")["exit_code"] == 2
    assert walytis(directory, "rename", "old name", "new").stdout == b"old name is now new.\n"
    assert answer(directory, "rename", "new", "newer") == made | {"name": "newer"}
    assert [chain["name"] for chain in answer(directory, "list")["chains"]] == ["newer", "taken"]


def test_nothing_is_made_where_there_is_nothing(tmp_path):
    for arguments in (["list"], ["log", "notes"], ["status"], ["follow", "notes"]):
        assert failure(tmp_path / "none", *arguments)["error"] == "NotFoundError"
    for arguments in (["join", "walytis:nonsense"], ["create", ""], ["run", "--listen", "foo"]):
        assert failure(tmp_path / "none" / "deep", *arguments)["error"] == "InvalidInputError"
    assert not (tmp_path / "none").exists()
    (tmp_path / "empty").mkdir()
    for arguments in (["list"], ["append", "notes", "x"], ["verify"]):
        told = failure(tmp_path / "empty", *arguments)
        assert told["error"] == "NotFoundError"
        assert f"`walytis create NAME --data-dir {tmp_path / 'empty'}`" in told["hint"]
    walytis(tmp_path / "empty", "doctor")
    assert list((tmp_path / "empty").iterdir()) == []


def test_deleting_asks_and_takes_no_for_an_answer(tmp_path):
    directory = tmp_path / "data"
    answer(directory, "create", "notes")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "delete", "notes", "--data-dir", str(directory)],
        stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(tmp_path),
    ) as asked:  # fmt: skip
        os.write(ours, b"n\n")
        out, _ = asked.communicate(timeout=WAIT_S)
    os.close(ours)
    os.close(theirs)
    assert asked.returncode == 130
    assert b"Nothing was deleted" in out
    assert len(answer(directory, "list")["chains"]) == 1
    answer(directory, "delete", "notes", "--yes")
    assert answer(directory, "list")["chains"] == []


@pytest.mark.libp2p
@pytest.mark.timeout(120)
def test_a_damaged_chain_is_shown_with_what_to_do_and_can_be_deleted(tmp_path):
    """C24: the others go on; `list` says why and what to do, `verify` and `doctor` that something is wrong."""
    directory = tmp_path / "data"
    made = {name: answer(directory, "create", name) for name in ("sound", "spoilt")}
    with sqlite3.connect(directory / "walytis.db") as connection:
        spoil = "UPDATE blocks SET encoded = x'00' WHERE id = ?"
        connection.execute(spoil, (Cid.parse(made["spoilt"]["id"])[4:],))
    connection.close()
    listed = answer(directory, "list")
    assert [chain["name"] for chain in listed["chains"]] == ["sound"]
    (damaged,) = listed["damaged"]
    assert (damaged["name"], damaged["id"]) == ("spoilt", made["spoilt"]["id"])
    assert "damaged" in damaged["reason"]
    assert answer(directory, "status")["damaged"] == [damaged]
    page = walytis(directory, "list")
    assert page.returncode == 0
    assert f"`walytis delete spoilt --data-dir {directory}`" in " ".join(page.stdout.decode().split())
    for command in ("verify", "doctor"):
        checked = walytis(directory, command, "--json")
        assert (checked.returncode, json.loads(checked.stdout)["ok"]) == (6, False)
    for verb in (("log", "spoilt"), ("append", "spoilt", "x")):
        told = failure(directory, *verb)
        assert (told["error"], told["exit_code"]) == ("StorageError", 6)
        assert "spoilt" in told["message"]
        assert f"`walytis delete spoilt --data-dir {directory}`" in told["hint"]
    assert answer(directory, "delete", "spoilt", "--yes")["deleted"] == damaged
    assert answer(directory, "list")["damaged"] == []


@pytest.mark.libp2p
def test_a_finding_names_commands_on_the_same_directory(notes):
    found = answer(notes, "doctor")["findings"]
    (chains,) = [one["found"] for one in found if one["check"] == "chains"]
    assert f"`walytis verify --data-dir {notes}`" in chains


def test_nothing_on_standard_input_is_a_mistake(notes):
    """C05: a block without content is made when it is asked for."""
    before = answer(notes, "list")
    for arguments in (["append", "notes"], ["append", "notes", "-"]):
        told = failure(notes, *arguments)
        assert (told["error"], told["exit_code"]) == ("UsageError", 2)
        assert "nothing was read" in told["message"]
    assert answer(notes, "list") == before
    directory = notes.parent / "other"
    answer(directory, "create", "notes")
    assert answer(directory, "append", "notes", "")["size"] == 0


def test_an_invitation_alone_is_on_standard_output_where_nobody_looks(notes):
    done = walytis(notes, "invite", "notes", "--expires", "1d", "--uses", "3")
    assert done.stdout.count(b"\n") == 1
    assert done.stdout.startswith(b"walytis:")
    assert b"Only programs on this machine" in done.stderr
    assert b"Nobody is online" in done.stderr
    assert done.stderr.decode().count(f"--data-dir {notes}`") == done.stderr.count(b"`walytis ") == 2
    kept = answer(notes, "invitations", "notes")["invitations"]
    (ends,) = [datetime.fromisoformat(one["expires"]) for one in kept if one["uses"] == 3]
    assert timedelta() < ends - datetime.now(UTC) <= timedelta(days=1)
    assert [(one["uses"], one["used"], one["revoked"]) for one in kept if one["uses"] == 3] == [(3, 0, False)]
    answer(notes, "revoke", "notes", done.stdout.decode().strip())
    assert [one["revoked"] for one in answer(notes, "invitations", "notes")["invitations"] if one["uses"] == 3] == [
        True
    ]


@pytest.mark.libp2p
def test_a_join_says_whom_it_waits_for_and_leaves_nothing_behind(notes, tmp_path):
    """C40: a join that is given up leaves nothing."""
    uri = walytis(notes, "invite", "notes").stdout.decode().strip()
    with started(tmp_path / "other", "join", uri, "--json") as process:
        assert process.stdout is not None
        states = (json.loads(line)["state"] for line in process.stdout)
        assert any("waiting for the inviter" in state for state in states)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert not (tmp_path / "other").exists()
    late = walytis(tmp_path / "other", "join", uri, "--timeout", "0.5", "--json")
    assert json.loads(late.stderr)["exit_code"] == late.returncode == 4
    assert not (tmp_path / "other").exists()
    answer(tmp_path / "own", "create", "mine")
    assert walytis(tmp_path / "own", "join", uri, "--timeout", "0.5").returncode == 4
    assert [chain["name"] for chain in answer(tmp_path / "own", "list")["chains"]] == ["mine"]


@pytest.mark.libp2p
@pytest.mark.parametrize("arguments", [["follow", "notes"], ["follow", "notes", "--json"]])
def test_ctrl_c_ends_a_command_quietly(notes, arguments, tmp_path):
    with started(notes, *arguments, "--name", f"n{len(arguments)}") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert err == b""


@pytest.mark.parametrize(
    ("arguments", "redirect", "code"),
    [
        ("log notes --json", "| head -c 1 | true", 0),
        ("list", ">/dev/full", 6),
        ("list --json", ">/dev/full", 6),
        ("--help", ">/dev/full", 6),
        ("list", ">&-", 0),
        ("list --json", "<&- >/dev/null", 0),
    ],
)
def test_an_output_that_takes_no_more_ends_a_command_without_a_traceback(notes, arguments, redirect, code):
    command = f"{subprocess.list2cmdline([*COMMAND[:1], '-c', COMMAND[2]])} {arguments}"
    done = subprocess.run(
        ["sh", "-c", f"{command} {redirect}"],
        env=environment(notes.parent) | {"WALYTIS_DATA_DIR": str(notes)}, capture_output=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    assert bool(done.stderr) == bool(code)


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["--help"]])
def test_a_closed_pipe_ends_a_command_quietly(notes, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(notes.parent) | {"WALYTIS_DATA_DIR": str(notes)},
        stdout=writer, stderr=subprocess.PIPE, timeout=WAIT_S, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_raw_bytes_are_no_json(notes):
    assert failure(notes, "show", "notes", "abcd", "--raw")["error"] == "UsageError"
