from __future__ import annotations

import ast
import base64
import io
import re
from pathlib import Path
from typing import Any

import pytest
import segno
from rich.console import Console

from frontends import render
from frontends.console import terminal
from frontends.plain import size_text

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\u202eevil\u200b[red]not markup[/red]"
BLOCK = {
    "id": "b" * 59, "chain": "c" * 59, "author": "z" * 48, "seq": 1, "height": 2, "time": "2026-01-02T03:04:05.006+00:00",
    "type": HOSTILE, "topics": [HOSTILE], "size": 5, "payload": HOSTILE, "encoding": "utf-8", "prev": None, "parents": [],
}  # fmt: skip


DAMAGED = [{"name": HOSTILE, "id": "x", "reason": "its first block is damaged", "hint": "Restore a backup."}]


def shown(what, width=80):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, highlight=False).print(what)
    return out.getvalue()


@pytest.mark.parametrize(
    "page",
    [
        lambda: render.block_line(BLOCK, render.Palette()),
        lambda: render.block_details(BLOCK, HOSTILE),
        lambda: render.chains_page(
            {"chains": [{"name": HOSTILE, "id": "x", "blocks": 1, "height": 1}], "damaged": DAMAGED}
        ),
        lambda: render.verify_page(
            {"chains": [{"name": HOSTILE, "checked": 1, "corrupt": [], "problems": [HOSTILE]}], "damaged": DAMAGED}
        ),
    ],
)
def test_what_others_wrote_reaches_no_terminal_as_a_command(page):
    text = shown(page())
    assert not set(text) & set("\x1b\x07\r\u202e\u200b")
    assert "[red]not markup[/red]" in "".join(text.split("\n")) or "…" in text


@pytest.mark.parametrize(
    ("page", "commands"),
    [
        (lambda: render.chains_page({"chains": [], "damaged": []}), ["create NAME", "join INVITATION"]),
        (lambda: render.chains_page({"chains": [], "damaged": DAMAGED}), ["delete "]),
        (lambda: render.block_details(BLOCK | {"link": "bafy"}, "my notes"), [f"show 'my notes' {'b' * 8} --raw"]),
        (lambda: render.invitations_table([], "my notes"), ["invite 'my notes'"]),
        (
            lambda: render.verify_page(
                {"chains": [{"name": "x", "checked": 1, "corrupt": ["y"], "problems": []}], "damaged": []}
            ),
            ["run"],
        ),
        (
            lambda: render.finding_line({"check": "x", "level": "bad", "found": "x", "remedy": "See `walytis list`."}),
            ["list"],
        ),
    ],
)
def test_a_command_on_a_page_acts_on_the_same_directory(monkeypatch, capsys, page, commands):
    monkeypatch.setenv("COLUMNS", "300")
    terminal(Path("data")).print(page())
    named = re.findall("`walytis ([^`]*)`", capsys.readouterr().out)
    assert len(named) == len(commands)
    for found, command in zip(named, commands, strict=True):
        assert found.startswith(command)
        assert found.endswith(" --data-dir data")


def test_a_command_in_a_hint_is_never_broken(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    folder = "/a/rather/long/place/" + "x" * 60
    finding = {"check": "lock", "level": "bad", "found": "See `walytis verify` here", "remedy": "See `walytis list`."}
    pages = [
        render.finding_line(finding),
        render.chains_page({"chains": [], "damaged": [DAMAGED[0] | {"name": "my notes"}]}),
        render.block_details(BLOCK | {"link": "bafy"}, "my notes"),
    ]
    for page in pages:
        console = terminal(Path(folder))
        with console.capture() as shown_page:
            console.print(page)
        commands = re.findall(r"`walytis [^`\n]*`", shown_page.get())
        assert commands
        assert all(command.endswith(f"--data-dir {folder}`") for command in commands)
        assert shown_page.get().count("`") == 2 * len(commands)


def test_what_goes_to_no_terminal_is_neither_wrapped_nor_cut(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    chain = {"name": "n" * 100, "id": "b" * 59, "blocks": 1, "height": 1}
    console = terminal(None)
    console.print(render.chains_page({"chains": [chain], "damaged": DAMAGED}))
    render.print_line(console, render.block_line(BLOCK | {"payload": "word " * 100}, render.Palette()))
    out = capsys.readouterr().out
    assert "n" * 100 in out
    assert "b" * 59 in out
    assert "word " * 99 in out
    assert len(out.splitlines()) == 6  # two of the table, three of the damaged chain, one block


def test_pages_name_commands_only_in_hints():
    """So that none can forget the directory."""
    tree = ast.parse(Path(render.__file__).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    hints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Hint"]
    hinted = {id(part) for call in hints for part in ast.walk(call)}
    bare = [
        part.value
        for part in ast.walk(tree)
        if isinstance(part, ast.Constant) and "`walytis" in str(part.value) and id(part) not in hinted
    ]
    assert bare == []
    assert hints


def test_a_block_is_one_line_of_the_terminals_width():
    out = io.StringIO()
    console = Console(file=out, width=80)
    render.print_line(console, render.block_line(BLOCK | {"payload": "word " * 1000}, render.Palette()))
    text = out.getvalue()
    assert text.count("\n") == 1
    assert len(text.rstrip("\n")) <= 80


WRITER = {"name": "bob", "did": "did:walytis:" + "b" * 59, "seat": "c" * 59, "state": "live", "counts": True}


@pytest.mark.parametrize(
    ("writer", "line", "page"),
    [
        (WRITER, "bob", "bob, seat cccccccc"),
        (WRITER | {"name": "", "did": None}, str(BLOCK["author"])[-8:], "a device without a name, seat cccccccc"),
        (WRITER | {"state": "removed", "counts": False}, "bob (does not count)", "seat cccccccc, removed by now"),
        (None, str(BLOCK["author"])[-8:] + " (no member)", "nobody who is, or was, a member"),
    ],
)
def test_who_wrote_on_a_chain_of_members_is_named(writer, line, page):
    block = BLOCK | {"writer": writer}
    assert render.block_line(block, render.Palette()).plain.split(" ", 1)[1].startswith(line + " ")
    assert page in shown(render.block_details(block, "talk"))


def test_an_id_that_is_cut_shows_that_it_is():
    chain = {"name": "notes", "id": "b" * 59, "blocks": 1, "height": 1}
    page = {"chains": [chain], "damaged": []}
    assert "b…" in shown(render.chains_page(page), width=80)
    assert "b" * 59 in shown(render.chains_page(page), width=120)


def test_a_join_fits_the_narrowest_usual_terminal():
    out = io.StringIO()
    state = "waiting for the inviter to come online: No peer answers at any of these addresses"
    with render.JoinPage(Console(file=out, width=80, force_terminal=True)) as page:
        page.progress({"state": state, "held": 12, "known": 40})
        page._bar.refresh()
    assert "come online " in out.getvalue()
    assert "12 of 40 blocks" in out.getvalue()
    assert "…" not in out.getvalue()


CHAIN_STATUS: dict[str, Any] = {
    "heads": 1, "peers": 0, "last_contact": None, "pulling_from": None, "parked": 0, "missing": 0, "refused": {},
    "forked_authors": 0, "corrupt": 0, "writable": True, "not_writable_because": None, "followers": {}, "copied": None,
}  # fmt: skip


def status(*, running, online, copied=None):
    node = {
        "chains": 1,
        "blocks": 1,
        "peers": 0,
        "sessions": 0,
        "refused": {},
        "network": "up" if online else "No daemon",
    }
    chain = {"name": "notes", "id": "b" * 59, "blocks": 1, "height": 1, "status": CHAIN_STATUS | {"copied": copied}}
    return shown(
        render.status_page({"running": running, "online": online, "node": node, "chains": [chain], "damaged": []})
    )


def test_a_node_whose_network_is_down_is_not_said_to_be_online():
    assert "offline: nobody can reach it" in status(running=False, online=False)
    assert "`walytis run`" in status(running=False, online=False)
    assert "node     online" in status(running=True, online=True)
    down = status(running=True, online=False)
    assert "running, not online" in down
    assert "No daemon" in down
    assert "`walytis run`" not in down


def test_copies_in_a_daemon_are_told_of_where_there_is_one():
    assert "IPFS" not in status(running=True, online=True)
    assert "not all of it is in the daemon yet" in status(running=True, online=True, copied=False)
    assert "on IPFS  all of it is in the daemon" in status(running=True, online=True, copied=True)


def test_bytes_and_long_content_are_named():
    payload = base64.b64encode(bytes(range(40))).decode()
    assert "00 01 02" in render.preview({"size": 40, "payload": payload, "encoding": "base64"})
    assert render.preview({"size": 3 << 20, "link": "bafy"}) == "[3.0 MiB of content]"


def test_sizes_and_counts():
    assert [size_text(size) for size in (0, 1023, 1024, 5 << 30)] == ["0 B", "1023 B", "1.0 KiB", "5.0 GiB"]
    assert [render.many(count, "block") for count in (0, 1, 2)] == ["0 blocks", "1 block", "2 blocks"]


def test_a_code_shows_each_module_once():
    text = "WALYTIS:" + "A" * 200
    matrix = [
        list(map(bool, row))
        for row in segno.make(text, error="l", boost_error=False, micro=False).matrix_iter(border=1)
    ]
    halves = {" ": (False, False), "▄": (False, True), "▀": (True, False), "█": (True, True)}
    shown_rows: list[list[bool]] = []
    for line in render.qr_code(text):
        shown_rows += [[halves[letter][half] for letter in line] for half in (0, 1)]
    assert shown_rows[: len(matrix)] == matrix
    assert not any(map(any, shown_rows[len(matrix) :]))
