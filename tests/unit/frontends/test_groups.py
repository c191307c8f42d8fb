"""The verbs on groups and on the chains of members, on nodes in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from frontends.failures import FailedError
from tests.suites.desks import Desk, desk
from tests.suites.nodes import until
from walytis_core import MemoryHub, NotAllowedError, UnavailableError


@pytest.fixture
def desks() -> Iterator[tuple[Desk, Desk]]:
    """Alice's, with a group of hers, and Bob's."""
    hub = MemoryHub()
    with desk(hub) as alices, desk(hub) as bobs:
        alices.one("create", name="alice")
        alices.one("create", name="club", controller="alice")
        bobs.one("create", name="bob")
        yield alices, bobs


def card(of: Desk, name: str) -> str:
    return str(of.one("contact", identity=name)["contact"])


def last(steps: Iterator[Any]) -> Any:
    return list(steps)[-1]


def written(by: Desk, chain: str) -> bool:
    """Whether a block could be written: the key for it comes a moment after the chain."""
    try:
        list(by.others("append", b"hello", chain=chain))
    except UnavailableError:
        return False
    return True


def both_in(alices: Desk, bobs: Desk) -> tuple[Any, Any]:
    added = last(alices.steps("add-member", identity="club", member=card(bobs, "bob"), timeout=30.0))
    entered = last(bobs.steps("enter", identity=card(alices, "club"), via="bob", timeout=30.0))
    return added, entered


def test_a_member_is_added_by_a_card_and_enters_by_one(desks):
    """I21."""
    alices, bobs = desks
    added, entered = both_in(alices, bobs)
    assert (added["event"], added["name"], added["member"]) == ("added", "club", "bob")
    assert (entered["event"], entered["via"], entered["did"]) == ("entered", "bob", added["did"])
    assert (entered["seated"], entered["has_keys"]) == (True, True)
    shown = alices.one("show", identity="club")
    assert [(seat["kind"], seat["name"]) for seat in shown["seats"]] == [
        ("recovery", ""), ("identity", "alice"), ("identity", "bob"),
    ]  # fmt: skip
    assert shown["seats"][2]["holder"] == added["member_did"]


def test_who_enters_before_being_added_waits_for_it(desks):
    """I21: and goes on where it was stopped."""
    alices, bobs = desks
    club = card(alices, "club")
    with pytest.raises(UnavailableError, match="bob could not act in club"):
        list(bobs.steps("enter", identity=club, via="bob", timeout=0.3))
    waiting = list(bobs.steps("enter", identity="club", via="bob", wait=False))[-1]
    assert (waiting["event"], waiting["seated"]) == ("entered", False)
    last(alices.steps("add-member", identity="club", member=card(bobs, "bob"), timeout=30.0))
    assert last(bobs.steps("enter", identity="club", via="bob", timeout=30.0))["has_keys"]


def test_a_member_goes_by_its_name_and_by_its_did(desks):
    """I32."""
    alices, bobs = desks
    added, _ = both_in(alices, bobs)
    for text in ("bob", added["member_did"]):
        assert alices.one("preview", identity="club", seats=[text])["removes"][0]["name"] == "bob"
    done = alices.one("remove", identity="club", seats=["bob"])
    assert [seat["state"] for seat in done["seats"]] == ["live", "live", "removed"]
    again = last(alices.steps("add-member", identity="club", member="bob"))
    assert [seat["state"] for seat in again["seats"]][3:] in (["pending"], ["live"])


def test_nobody_is_a_member_twice_or_of_itself(desks):
    alices, bobs = desks
    both_in(alices, bobs)
    for member, why in (("bob", "already"), ("alice", "already"), ("club", "itself")):
        with pytest.raises(FailedError, match=why) as failed:
            list(alices.steps("add-member", identity="club", member=member))
        assert (failed.value.name, failed.value.exit_code) == ("InvalidInputError", 2)


def test_who_has_no_seat_adds_nobody(desks):
    alices, bobs = desks
    list(bobs.steps("resolve", contact=card(alices, "club"), timeout=30.0))
    with pytest.raises(FailedError) as failed:
        list(bobs.steps("add-member", identity="club", member="bob"))
    assert failed.value.name == "NotAllowedError"
    assert failed.value.hint


def test_members_have_chains(desks):
    """I22."""
    alices, bobs = desks
    both_in(alices, bobs)
    assert alices.one("chains", identity="club")["chains"] == []
    made = alices.one("create-chain", identity="club", name="talk")
    assert (made["identity"], made["blocks"]) == ("club", 0)
    (chain,) = alices.one("chains", identity="club")["chains"]
    assert (chain["name"], chain["id"], chain["held"]) == ("talk", made["id"], True)
    until(lambda: [one["held"] for one in bobs.one("chains", identity="club")["chains"]] == [True])
    until(lambda: written(bobs, made["id"]))
    until(lambda: [block["payload"] for block in alices.others("log", chain="talk")] == ["hello"])


def test_a_chain_that_has_not_come_is_told_of(desks):
    alices, bobs = desks
    made = alices.one("create-chain", identity="alice", name="diary")
    list(bobs.steps("resolve", contact=card(alices, "alice"), timeout=30.0))
    until(lambda: bobs.one("chains", identity="alice")["chains"])
    (chain,) = bobs.one("chains", identity="alice")["chains"]
    assert (chain["id"], chain["name"], chain["held"]) == (made["id"], None, False)
    with pytest.raises(FailedError) as failed:
        bobs.one("create-chain", identity="alice", name="mine")
    assert failed.value.name == NotAllowedError.__name__


def test_who_wrote_on_a_chain_of_members_is_told(desks):
    """I22: by the name that a member has here; elsewhere nothing is said."""
    alices, bobs = desks
    both_in(alices, bobs)
    made = alices.one("create-chain", identity="club", name="talk")
    list(alices.others("append", b"mine", chain="talk"))
    until(lambda: [one["held"] for one in bobs.one("chains", identity="club")["chains"]] == [True])
    until(lambda: written(bobs, made["id"]))
    until(lambda: len(list(alices.others("log", chain="talk"))) == 2)
    newest, oldest = (block["writer"] for block in alices.others("log", chain="talk"))
    assert [(one["name"], one["state"], one["counts"]) for one in (newest, oldest)] == [
        ("bob", "live", True), ("alice", "live", True),
    ]  # fmt: skip
    block = next(alices.others("log", chain="talk"))
    assert last(alices.others("show", chain="talk", block=block["id"]))["writer"] == newest
    alices.node.create_chain("notes").append(b"x")
    assert "writer" not in last(alices.others("log", chain="notes"))


def test_an_identity_is_deleted_with_its_keys(desks):
    """I16: and not by the command that deletes chains, which would leave them."""
    alices, bobs = desks
    list(bobs.steps("resolve", contact=card(alices, "alice"), timeout=30.0))
    for name in ("bob", "alice"):
        with pytest.raises(FailedError) as failed:
            list(bobs.others("delete", chain=name, dry_run=True))
        with pytest.raises(FailedError):
            list(bobs.others("delete", chain=name))
        assert (failed.value.exit_code, f"`walytis id delete {name}`" in failed.value.hint) == (3, True)
        assert bobs.one("delete", identity=name)["deleted"]["name"] == name
    assert bobs.one("list")["identities"] == []
    assert bobs.node.chains() == []
    alices.one("create-chain", identity="club", name="talk")
    for dry_run in (True, False):
        with pytest.raises(NotAllowedError) as refused:  # the club acts through it
            alices.one("delete", identity="alice", dry_run=dry_run)
        assert "`walytis id delete club`" in refused.value.hint
    assert alices.one("delete", identity="club", dry_run=True)["would_delete"]["name"] == "club"
    assert alices.one("delete", identity="club")["left"] == ["talk"]
    alices.one("delete", identity="alice")
    assert alices.one("list")["identities"] == []


def test_an_identity_s_chain_takes_no_plain_blocks(desks):
    """Members write on chains of their own: what stands on the identity's is events, by `walytis id`."""
    alices, _ = desks
    with pytest.raises(FailedError) as refused:
        list(alices.others("append", b"plain", chain="alice"))
    assert "`walytis id create-chain alice NAME`" in refused.value.hint
    assert [block.type for block in alices.node.chain("alice").blocks() if not block.type] == []
