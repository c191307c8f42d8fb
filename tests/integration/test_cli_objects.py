"""`walytis object`, as a real command: on a directory that is open nowhere, and through the socket of `walytis run`."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess

import pytest

from frontends.offline import Offline
from mutability import EDITED, Change, Mutable
from mutability.payloads import encode
from tests.suites.command import COMMAND, WAIT_S, answer, environment, failure, lines, running, walytis
from walytis_core import Cid, Node

pytestmark = pytest.mark.slow

HOSTILE = "\x1b[31mred\x1b]0;title\x07\x1b[2J\r\u202eevil\u200b"
LONG = bytes(range(256)) * 4000


@pytest.fixture
def notes(tmp_path):
    """A directory with a chain of objects: one with conflicts, one deleted, one long, one that is hostile."""
    with Node.open(tmp_path / "data", network=Offline()) as node:
        objects = Mutable(node.create_chain("notes"))
        made = objects.create("milk", topics=["shopping"])
        for side in (b"milk, bread", b"milk, jam"):
            ext = encode(Change(EDITED, "text/plain", made.object, (made.id,)))
            objects.chain.append(side, type=EDITED, ext=ext, parents=(made.id,))
        objects.delete(objects.create("gone", droppable=True), drop=True)
        objects.create(LONG, media_type="image/png")
        objects.create(HOSTILE, topics=["hostile"])
        objects.create(b"\xff\xfe", media_type="text/plain")
    return tmp_path / "data"


def ends(directory):
    """The short ids of all objects."""
    return [one["object"][-8:] for one in lines(directory, "object", "list", "notes", "--all")]


def outputs(directory, ids):
    """What commands that read, and such as fail, write."""
    milk, gone, long, hostile, odd = ids
    commands = [
        ["list", "notes"], ["list", "notes", "--all", "--json"], ["list", "notes", "-n", "2"], ["list", "notes", "--deleted"],
        ["list", "notes", "--conflicts"], ["list", "notes", "--topic", "shopping"], ["list", "notes", "--since", gone],
        ["list", "notes", "--media-type", "image/png", "--json"], ["show", "notes", milk], ["show", "notes", milk, "--json"],
        ["show", "notes", milk, milk], ["show", "notes", gone], ["show", "notes", long], ["show", "notes", long, "--raw"],
        ["show", "notes", odd, "--raw"], ["show", "notes", hostile], ["history", "notes", milk], ["history", "notes", gone],
        ["history", "notes", gone, "--json"], ["conflicts", "notes", milk], ["conflicts", "notes", milk, "--json"],
        ["conflicts", "notes", long], ["show", "notes", "zzzzzzzz", "--json"], ["edit", "notes", gone, "x", "--json"],
        ["delete", "notes", milk, "--drop", "--json"], ["merge", "notes", milk, "--fields", "--json"], ["list", "none"],
    ]  # fmt: skip
    done = [walytis(directory, "object", *command) for command in commands]
    return [(one.returncode, one.stdout, one.stderr) for one in done]


@pytest.mark.libp2p
@pytest.mark.timeout(400)
def test_both_ways_give_the_same_output(notes):
    """C51: to the byte, and to the exit code."""
    ids = ends(notes)
    alone = outputs(notes, ids)
    assert b"Traceback" not in b"".join(err for _, _, err in alone)
    assert LONG in [out for _, out, _ in alone]
    with running(notes):
        assert outputs(notes, ids) == alone


@pytest.mark.libp2p
def test_what_is_written_through_the_socket_is_as_what_is_written_here(notes, tmp_path):
    """M01, M03, M05: and content of any length goes both ways."""
    (tmp_path / "page.html").write_bytes(b"<p>" + bytes(2_000_000))

    def act():
        made = answer(notes, "object", "create", "notes", "--file", str(tmp_path / "page.html"), "-t", "web")
        id = made["object"][-8:]
        assert made["media_type"] == "text/html"
        edited = answer(notes, "object", "edit", "notes", id, "-", stdin=b"\xff" * 100_000)
        assert (edited["media_type"], edited["topics"]) == ("text/html", ["web"])
        assert walytis(notes, "object", "show", "notes", id, "--raw").stdout == b"\xff" * 100_000
        answer(notes, "object", "delete", "notes", id)
        told = failure(notes, "object", "show", "notes", id)
        assert (told["error"], told["exit_code"]) == ("DeletedError", 3)
        answer(notes, "object", "restore", "notes", id, id)
        assert walytis(notes, "object", "show", "notes", id, "--raw").stdout == b"<p>" + bytes(2_000_000)
        return [version["kind"] for version in lines(notes, "object", "history", "notes", id)]

    with running(notes):
        there = act()
    assert act() == there == ["created", "edited", "deleted", "restored"]


def test_a_merge_settles_conflicts(notes):
    """M05."""
    (milk,) = [one["object"] for one in lines(notes, "object", "list", "notes", "--conflicts")]
    shown = lines(notes, "object", "conflicts", "notes", milk)
    assert [one["mark"] for one in shown] == ["current", "conflict"]
    told = failure(notes, "object", "merge", "notes", milk, "x", "--fields")
    assert told["exit_code"] == 2
    merged = answer(notes, "object", "merge", "notes", milk, "milk, bread, jam")
    assert sorted(merged["replaces"]) == sorted(one["id"] for one in shown)
    assert lines(notes, "object", "list", "notes", "--conflicts") == []
    assert walytis(notes, "object", "conflicts", "notes", milk).stdout == b"No conflicts.\n"


def test_what_was_read_is_edited(notes):
    """M05: an edit by someone who read an earlier version replaces nothing that has come since."""
    milk = lines(notes, "object", "list", "notes", "--conflicts")[0]["object"]
    read = [one["id"] for one in lines(notes, "object", "conflicts", "notes", milk)]
    since = answer(notes, "object", "merge", "notes", milk, "milk, bread, jam")
    mine = answer(notes, "object", "edit", "notes", milk, "mine", "--on", read[0], "--on", read[1][-8:])
    assert sorted(mine["replaces"]) == sorted(read)
    shown = lines(notes, "object", "conflicts", "notes", milk)
    assert {one["id"] for one in shown} == {since["id"], mine["id"]}


def test_what_is_deleted_says_how_it_comes_back(notes):
    """M03: by the command that brings it back; and a list of none but deleted ones says so."""
    for one in lines(notes, "object", "list", "notes"):
        gone = walytis(notes, "object", "delete", "notes", one["object"][-8:]).stdout.decode()
        assert f"`walytis object restore notes {one['object'][-8:]} --data-dir" in gone
    said = walytis(notes, "object", "list", "notes").stdout.decode()
    assert said.startswith("All are deleted: `walytis object list notes --deleted")
    told = failure(notes, "object", "show", "notes", one["object"])
    assert "`walytis object restore notes" in told["hint"]
    assert walytis(notes, "object", "list", "notes", "--topic", "none").stdout.startswith(b"No such objects")


def test_a_page_says_how_the_next_one_is_had(notes):
    ids = ends(notes)
    first = walytis(notes, "object", "list", "notes", "--all", "-n", "2").stdout.decode().splitlines()
    assert [line[:8] for line in first[:2]] == ids[:2]
    assert f"--since {ids[1]}" in first[2]
    rest = walytis(notes, "object", "list", "notes", "--all", "--since", ids[1]).stdout.decode().splitlines()
    assert [line[:8] for line in rest] == ids[2:]


@pytest.mark.parametrize(
    ("arguments", "error", "code"),
    [
        (["create", "notes", "x", "--media-type", "nonsense"], "InvalidInputError", 2),
        (["create", "notes", "x", "--media-type", "text/plain;\x1b"], "InvalidInputError", 2),
        (["create", "notes", "x", "--topic", ""], "InvalidInputError", 2),
        (["create", "notes", "x", "--file", "y"], "UsageError", 2),
        (["create", "notes", "--file", "/none"], "NotFoundError", 3),
        (["create", "notes"], "UsageError", 2),
        (["create", "none", "x"], "NotFoundError", 3),
        (["show", "notes", "abc"], "UsageError", 2),
        (["show", "notes", "zzzzzzzz", "--raw"], "UsageError", 2),
        (["list", "notes", "--deleted", "--all"], "UsageError", 2),
        (["list", "notes", "--since", "7d"], "UsageError", 2),
        (["list", "notes", "--limit", "0"], "UsageError", 2),
        (["nonsense"], "UsageError", 2),
    ],
)
def test_a_mistake_is_one_sentence_a_hint_and_its_familys_exit_code(notes, arguments, error, code):
    told = failure(notes, "object", *arguments)
    assert (told["error"], told["exit_code"]) == (error, code)
    assert told["hint"]
    assert b"Traceback" not in walytis(notes, "object", *arguments).stderr


def test_a_terminal_sees_no_command_of_others(notes):
    """On a true terminal: contents, media types and topics are words there, and nothing else."""
    ids = ends(notes)
    for arguments in (
        ["list", "notes", "--all"],
        *(["show", "notes", id] for id in ids),
        *(["history", "notes", id] for id in ids),
    ):
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [*COMMAND, "object", *arguments, "--data-dir", str(notes)],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment(notes.parent) | {"TERM": "xterm-256color"},
        ) as asked:  # fmt: skip
            asked.wait(WAIT_S)
        os.close(theirs)
        shown = b""
        while part := _read(ours):
            shown += part
        os.close(ours)
        assert b"\x1b[2J" not in shown
        assert b"\x1b]0" not in shown
        assert b"\x07" not in shown
        assert "\u202e".encode() not in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # its other end is closed
        return b""


def test_a_damaged_version_is_shown_as_such(notes):
    """A history with a hole is shown, and what cannot be read is said to be so."""
    milk = lines(notes, "object", "list", "notes")[0]
    with sqlite3.connect(notes / "walytis.db") as connection:
        connection.execute("UPDATE blocks SET encoded = x'00' WHERE id = ?", (Cid.parse(milk["id"])[4:],))
    connection.close()
    versions = lines(notes, "object", "history", "notes", milk["object"])
    assert [one["kind"] for one in versions].count("damaged") == 1
    assert "damaged here" in walytis(notes, "object", "history", "notes", milk["object"][-8:]).stdout.decode()
    told = failure(notes, "object", "show", "notes", milk["object"])
    assert (told["error"], told["exit_code"]) == ("UnavailableError", 4)


@pytest.mark.libp2p
@pytest.mark.timeout(240)
def test_long_content_of_others_is_fetched_and_their_rules_hold(tmp_path):
    """M06: through the network, by the command alone."""
    for name, rule in (("mine", "author"), ("ours", "anyone")):
        answer(tmp_path / "a", "create", name, "--objects", rule)
    long = os.urandom(300_000)
    made = {name: answer(tmp_path / "a", "object", "create", name, "-", stdin=long) for name in ("mine", "ours")}
    with running(tmp_path / "a"):
        for name in made:
            uri = answer(tmp_path / "a", "invite", name)["invitation"]
            assert walytis(tmp_path / "b", "join", uri, "--timeout", str(WAIT_S)).returncode == 0
        with running(tmp_path / "b"):
            raw = walytis(tmp_path / "b", "object", "show", "mine", made["mine"]["object"], "--raw")
            assert raw.stdout == long
            told = failure(tmp_path / "b", "object", "edit", "mine", made["mine"]["object"], "theirs")
            assert (told["error"], told["exit_code"]) == ("NotAllowedError", 3)
            assert (
                answer(tmp_path / "b", "object", "edit", "ours", made["ours"]["object"], "theirs")["mark"] == "current"
            )
        (held,) = lines(tmp_path / "b", "object", "history", "mine", made["mine"]["object"])
        assert "note" in held
        assert (
            json.loads(walytis(tmp_path / "b", "object", "show", "mine", held["id"], "--json").stdout)["held"] is True
        )
