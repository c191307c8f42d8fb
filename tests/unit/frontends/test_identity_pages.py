"""How identities look in a terminal."""

from __future__ import annotations

import ast
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from frontends import identity_pages
from frontends.commands import codes, groups, identities, keys, records, seats

HOSTILE = "\x1b[31mred\x1b]0;title\x07\x1b[2J\r\n\u202eevil\u200b[red]not markup[/red]"
DID = "did:walytis:" + "b" * 59
CODE = "-".join(["ABCD"] * 14)
SEAT: dict[str, Any] = {
    "seat": "c" * 59, "kind": "device", "holder": "d" * 64, "name": HOSTILE, "state": "live", "keys": "current", "here": False,
}  # fmt: skip
RECOVERY = SEAT | {"seat": "0", "kind": "recovery", "holder": "", "name": "", "keys": None}
MEMBER = SEAT | {"kind": "identity", "holder": DID, "here": True}
CHAIN = {"name": HOSTILE, "id": "g" * 59, "blocks": 3, "height": 2, "held": True}
IDENTITY: dict[str, Any] = {
    "name": HOSTILE, "did": DID, "own": True, "public": True, "epoch": 3, "seated": True, "has_keys": True,
    "seats": [RECOVERY, SEAT], "chains": [HOSTILE], "events": 5, "void": 1, "peers": 1, "pending": [], "behind": ["c" * 59],
    "unopened": [],
}  # fmt: skip
ACT: dict[str, Any] = {
    "id": "e" * 59, "kind": "added", "seat": "c" * 59, "author": "z" * 48, "time": "2026-01-02T03:04:05.006+00:00",
    "seats": ["f" * 59], "detail": None,
}  # fmt: skip
PREVIEW: dict[str, Any] = {
    "name": HOSTILE, "did": DID, "removes": [SEAT], "cut": [], "takes_away": [ACT, ACT | {"kind": "renewed", "seats": [], "detail": 4}],
    "brings_back": [ACT | {"seat": None}], "live": [RECOVERY], "ends": [SEAT, SEAT | {"seat": "f" * 59, "name": "tablet"}],
}  # fmt: skip
HANDED: dict[str, Any] = {
    "name": HOSTILE, "did": DID, "invitation": "walytis:" + "x" * 160, "contact": "walytis-id:" + "x" * 160,
    "qr_text": "WALYTIS:" + "X" * 160, "expires": "2026-01-02T03:04:05.006+00:00", "public": True,
}  # fmt: skip


def shown(what: Any, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, highlight=False).print(what)
    return out.getvalue()


def printed(page: Any, width: int, *, with_code: bool = True) -> str:
    out = io.StringIO()
    page(Console(file=out, width=width, highlight=False), HANDED, with_code=with_code)
    return out.getvalue()


PAGES = [
    identity_pages.identities_page([IDENTITY]),
    identity_pages.identity_page(IDENTITY),
    identity_pages.status_page({"identities": [IDENTITY], "failure": HOSTILE, "running": True}),
    identity_pages.created_page(IDENTITY, CODE),
    identity_pages.preview_page(PREVIEW),
    identity_pages.identity_page(IDENTITY | {"seats": [RECOVERY, MEMBER]}),
    identity_pages.chains_page({"name": HOSTILE, "did": DID, "chains": [CHAIN, CHAIN | {"held": False, "name": None}]}),
    identity_pages.chains_page({"name": HOSTILE, "did": DID, "chains": []}),
    identity_pages.deletion_page(IDENTITY),
    identity_pages.deletion_page(IDENTITY | {"own": False}),
]


@pytest.mark.parametrize("page", PAGES)
def test_what_others_wrote_reaches_no_terminal_as_a_command(page):
    assert not set(shown(page)) & set("\x1b\x07\r\u202e\u200b")


@pytest.mark.parametrize("page", [identity_pages.device_code_page, identity_pages.contact_page])
def test_nor_do_names_on_what_is_handed_on(page):
    assert not set(printed(page, 80)) & set("\x1b\x07\r\u202e\u200b")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("page", PAGES)
def test_pages_fit_the_terminal(page, width):
    assert max(map(len, shown(page, width).splitlines())) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_a_did_can_be_copied(width):
    for page in (identity_pages.identity_page(IDENTITY), identity_pages.created_page(IDENTITY | {"name": "a"}, None)):
        assert DID in shown(page, width)


def test_a_recovery_code_can_be_copied_by_hand_and_is_no_picture():
    page = shown(identity_pages.code_panel(CODE))
    assert CODE in "".join(letter for letter in page if letter in "ABCD-")
    assert "not shown again" in page
    assert not set(page) & set("▀▄█")
    assert CODE not in shown(identity_pages.created_page(IDENTITY, None))
    assert (
        max(map(len, shown(identity_pages.code_panel(CODE), 1 << 20).splitlines()[:5])) < 80
    )  # also where no width is


def test_a_code_for_a_device_is_a_picture_where_it_fits():
    wide, narrow = printed(identity_pages.device_code_page, 120), printed(identity_pages.device_code_page, 30)
    assert "█" in wide
    assert "█" not in narrow
    assert "█" not in printed(identity_pages.device_code_page, 120, with_code=False)
    for page in (wide, narrow):
        assert f"walytis id join {HANDED['invitation']} --device-name NAME" in page.replace("\n", "")


@pytest.mark.parametrize(
    ("keys", "words"), [("current", "yes"), ("unheard", "not heard of yet"), ("unopened", "could not open them")]
)
def test_who_has_the_current_keys(keys, words):
    page = shown(identity_pages.seats_table([RECOVERY, SEAT | {"name": "phone", "keys": keys, "here": True}]))
    (line,) = [line for line in page.splitlines() if "phone" in line]
    assert line.startswith("cccccccc  phone (this device)")
    assert line.rstrip().endswith(words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "yours"), ({"own": False}, "another's"), ({"seated": False}, "no seat"), ({"has_keys": False}, "lacks keys"),
    ],
)  # fmt: skip
def test_what_this_node_is_to_an_identity(change, words):
    assert words in shown(identity_pages.identities_page([IDENTITY | change]))


def test_a_code_that_went_into_a_file_is_said_where():
    page = shown(identity_pages.created_page(IDENTITY | {"name": "a"}, None, "/some/where/code"))
    assert "recovery code is in /some/where/code" in page.replace("\n", " ")
    assert "`walytis id add-device a`" in page
    group = IDENTITY | {"name": "a", "seats": [RECOVERY, MEMBER]}
    assert "`walytis id add-member a CARD`" in shown(identity_pages.created_page(group, None))


def test_an_empty_directory_says_what_to_do():
    assert "`walytis id create NAME`" in shown(identity_pages.identities_page([]))
    nothing: dict[str, Any] = {"identities": [], "failure": None, "running": False}
    assert "`walytis id create NAME`" in shown(identity_pages.status_page(nothing))


def test_status_says_what_lacks():
    page = shown(identity_pages.status_page({"identities": [IDENTITY], "failure": None, "running": False}))
    assert "not heard since  cccccccc" in page
    assert "`walytis run`" in page


def test_a_group_names_its_members_and_their_dids():
    page = shown(identity_pages.identity_page(IDENTITY | {"seats": [RECOVERY, MEMBER | {"name": "bob"}]}))
    assert "bob (this device)" in page
    assert f"bob {DID}" in page
    assert "members" not in shown(identity_pages.identity_page(IDENTITY | {"name": "alice"})).partition("\n\nseat")[2]
    removed = [RECOVERY, MEMBER | {"state": "removed"}]
    assert DID[-8:] not in shown(identity_pages.identity_page(IDENTITY | {"did": "", "seats": removed}))


def test_a_chain_that_has_not_come_has_no_name():
    page = shown(
        identity_pages.chains_page({"name": "a", "did": DID, "chains": [CHAIN | {"held": False, "name": None}]})
    )
    assert "not here yet" in page
    assert "`walytis id create-chain a NAME`" in shown(
        identity_pages.chains_page({"name": "a", "did": DID, "chains": []})
    )


def test_a_deletion_says_what_is_lost():
    alone = shown(identity_pages.deletion_page(IDENTITY | {"name": "a", "seats": [RECOVERY, SEAT | {"here": True}]}))
    assert "nothing brings them back" in alone.replace("\n", " ")
    assert "`walytis id leave a`" in alone
    assert "lost for ever" in alone.replace("\n", " ")
    assert "lost for ever" not in shown(identity_pages.deletion_page(IDENTITY)).replace("\n", " ")
    assert "another's" in shown(identity_pages.deletion_page(IDENTITY | {"own": False}))


def test_a_preview_says_what_goes_comes_and_stays():
    page = shown(identity_pages.preview_page(PREVIEW | {"name": "alice", "removes": [SEAT | {"name": "phone"}]}), 200)
    assert page.startswith("Removes phone [cccccccc] from alice.\nCounts no more:\n  eeeeeeee")
    assert "gave a seat to" in page
    assert "made epoch 4" in page
    assert "Counts again:" in page
    assert "tablet [ffffffff]" in page
    assert page.endswith("Left: the recovery code\n")
    recovering = shown(identity_pages.preview_page(PREVIEW | {"recovery": True}), 200)
    assert recovering.endswith("Left: the recovery code, and this device by a new seat\n")


def test_pages_name_commands_only_in_hints():
    """So that none can forget the directory."""
    tree = ast.parse(Path(identity_pages.__file__).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    hints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Hint"]
    hinted = {id(part) for call in hints for part in ast.walk(call)}
    constants = [part for part in ast.walk(tree) if isinstance(part, ast.Constant) and "`walytis" in str(part.value)]
    assert constants
    assert all(id(part) in hinted for part in constants)


def test_no_command_takes_a_secret_as_an_argument():
    """C47: others on the machine can read the arguments of a program; an invitation is used up by who reads it first."""
    for module in (identities, groups, seats, records, keys, codes):
        source = Path(module.__file__ or "").read_text(encoding="utf-8")
        assert '"--passphrase"' not in source
        assert '"--code"' not in source
