"""The verbs on identities, on nodes in memory."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from frontends.failures import FailedError
from frontends.finding import find_event, find_seat
from frontends.identities import cut_before
from frontends.identity_forms import seat_text
from identities.acts import ADDED
from tests.suites.desks import Desk, desk
from tests.suites.nodes import until
from walytis_core import BlockId, InvalidInputError, JoinError, MemoryHub, NotAllowedError, UnavailableError

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def desks() -> Iterator[tuple[Desk, Desk]]:
    hub = MemoryHub()
    with desk(hub) as laptop, desk(hub) as phone:
        yield laptop, phone


def let_in(senior: Desk, junior: Desk, device_name: str = "phone") -> Any:
    """A second device by a code: what each side was told last."""
    steps: Any = senior.steps("add-device", identity="alice", expires_s=60.0, timeout=30.0)
    with closing(steps) as waiting:
        made = next(waiting)
        joined = list(junior.steps("join", invitation=made["invitation"], device_name=device_name, timeout=30.0))[-1]
        return list(waiting)[-1], joined


def test_an_identity_is_made_with_one_device_and_its_code_is_told_once(desks):
    """I16."""
    laptop, _ = desks
    made = laptop.one("create", name="alice")
    assert len(made["recovery_code"].split("-")) == 14
    assert [seat["kind"] for seat in made["seats"]] == ["recovery", "device"]
    assert [seat["keys"] for seat in made["seats"]] == [None, "current"]
    assert [seat["here"] for seat in made["seats"]] == [False, True]
    shown = laptop.one("show", identity="alice")
    assert shown == {key: value for key, value in made.items() if key != "recovery_code"}
    assert made["recovery_code"] not in str(laptop.one("list")) + str(laptop.one("status"))
    for name in ("did", "name"):
        assert laptop.one("show", identity=made[name]) == shown


def test_a_device_is_let_in_by_a_code(desks):
    """I17."""
    laptop, phone = desks
    laptop.one("create", name="alice")
    added, joined = let_in(laptop, phone)
    assert (added["event"], added["name"], added["state"]) == ("added", "phone", "live")
    assert joined["event"] == "joined"
    assert [(seat["kind"], seat["name"], seat["here"]) for seat in joined["seats"]] == [
        ("recovery", "", False), ("device", "", False), ("device", "phone", True),
    ]  # fmt: skip
    assert (joined["seated"], joined["has_keys"]) == (True, True)


def test_a_code_is_taken_back_when_nobody_waits_any_more(desks):
    """I18."""
    laptop, phone = desks
    laptop.one("create", name="alice")
    waiting = laptop.steps("add-device", identity="alice", expires_s=60.0)
    made = next(waiting)
    waiting.close()
    (record,) = laptop.home.get("alice").chain.invitations()
    assert record.revoked
    with pytest.raises(FailedError) as failed:
        list(laptop.steps("show", identity="bob"))
    assert failed.value.exit_code == 3
    with pytest.raises(JoinError):
        list(phone.steps("join", invitation=made["invitation"], timeout=30.0))
    assert phone.node.chains() == []


def test_a_code_that_is_left_to_the_node_stays(desks):
    laptop, phone = desks
    laptop.one("create", name="alice")
    (made,) = laptop.steps("add-device", identity="alice", expires_s=60.0, wait=False)
    assert list(phone.steps("join", invitation=made["invitation"], timeout=30.0))[-1]["event"] == "joined"


def test_who_waits_is_told_of_the_time(desks):
    laptop, _ = desks
    laptop.one("create", name="alice")
    with pytest.raises(UnavailableError, match="did not come"):
        list(laptop.steps("add-device", identity="alice", expires_s=60.0, timeout=0.1))
    assert laptop.home.get("alice").chain.invitations()[0].revoked


def test_an_invitation_to_a_chain_makes_no_device(desks):
    """Nothing is left of it."""
    laptop, phone = desks
    ticket = str(laptop.node.create_chain("notes").invite())
    with pytest.raises(InvalidInputError, match="no identity"):
        list(phone.steps("join", invitation=ticket, timeout=30.0))
    assert phone.node.chains() == []


def test_what_one_signs_the_other_verifies(desks):
    """I04, I06."""
    laptop, phone = desks
    laptop.one("create", name="alice")
    let_in(laptop, phone)
    signed = laptop.one("sign", b"hello", identity="alice")
    found = phone.one("verify", b"hello", identity="alice", signature=signed["signature"])
    assert (found["epoch"], found["current"]) == (1, True)
    for content, more in ((b"hullo", {}), (b"hello", {"context": "other"}), (b"hello", {"epoch": 0})):
        with pytest.raises(FailedError) as failed:
            phone.one("verify", content, identity="alice", signature=signed["signature"], **more)
        assert failed.value.exit_code == 7
        assert "did not sign this" in str(failed.value)
    with pytest.raises(FailedError) as failed:
        phone.one("verify", b"hello", identity="alice", signature="no base64!")
    assert failed.value.exit_code == 2


def test_old_signatures_are_good_as_of_their_epoch(desks):
    """I06."""
    laptop, _ = desks
    laptop.one("create", name="alice")
    signed = laptop.one("sign", b"hello", identity="alice")["signature"]
    for _ in range(2):
        laptop.one("renew", identity="alice")
    assert laptop.one("verify", b"hello", identity="alice", signature=signed, epoch=0)["current"] is False
    with pytest.raises(FailedError, match="no epoch 9"):
        laptop.one("verify", b"hello", identity="alice", signature=signed, epoch=9)


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_what_is_sealed_is_opened_as_bytes_or_as_text(desks, size):
    """I06."""
    laptop, _ = desks
    laptop.one("create", name="alice")
    content = bytes(index % 251 for index in range(size))
    sealed = laptop.bytes("seal", content, identity="alice")
    assert laptop.bytes("open", sealed, identity="alice") == content
    wrapped = base64.encodebytes(sealed)
    assert laptop.bytes("open", wrapped, identity="alice") == content
    with pytest.raises(FailedError) as failed:
        laptop.bytes("open", sealed[:-1] + bytes([sealed[-1] ^ 1]), identity="alice")
    assert failed.value.exit_code == 7


def test_pieces_of_base64_are_one_text_of_it(desks):
    laptop, _ = desks
    laptop.one("create", name="alice")
    texts = [piece["base64"] for piece in laptop.steps("seal", bytes(300_000), identity="alice")]
    assert len(texts) > 1
    assert laptop.bytes("open", "".join(texts).encode(), identity="alice") == bytes(300_000)


def test_a_preview_says_what_a_removal_does(desks):
    """I32: and it is done just so."""
    laptop, phone = desks
    laptop.one("create", name="alice")
    let_in(laptop, phone)
    phone.one("grant", identity="alice", seat="1")
    alice = laptop.home.get("alice")
    until(lambda: any(act.kind == "granted" for act in alice.folded.authority.counted("granted")))
    calm = laptop.one("preview", identity="alice", seats=["phone"])
    assert (calm["takes_away"], calm["brings_back"], calm["cut"]) == ([], [], None)
    assert [seat["name"] for seat in calm["ends"]] == ["phone"]
    low = laptop.one("preview", identity="alice", seats=["phone"], since=BEGINNING.isoformat())
    assert {act["kind"] for act in low["takes_away"]} >= {"joined", "granted"}
    done = laptop.one("remove", identity="alice", seats=["phone"], cut=low["cut"])
    assert {str(id) for id in map(BlockId, alice.folded.authority.void)} >= {act["id"] for act in low["takes_away"]}
    assert [seat["state"] for seat in done["seats"] if seat["seat"] == done["removed"][0]] == ["removed"]


def test_a_cut_by_an_instant_leaves_what_was_before_it(desks):
    laptop, phone = desks
    laptop.one("create", name="alice")
    added, _ = let_in(laptop, phone)
    alice = laptop.home.get("alice")
    seat = find_seat(alice, added["seat"]).id
    acts = alice.folded.pasts.acts
    late = cut_before(alice, [seat], datetime(2100, 1, 1, tzinfo=UTC))
    assert alice.folded.pasts.closure(late) == (1 << len(acts)) - 1
    early = alice.folded.pasts.closure(cut_before(alice, [seat], BEGINNING))
    kept = [act for place, act in enumerate(acts) if early >> place & 1]
    assert all(act.path[:1] != (seat,) for act in kept)
    assert ADDED in {act.kind for act in kept}  # what others said stays, unless it builds on what goes


def test_a_junior_removes_no_senior(desks):
    """I32: neither by looking nor by doing."""
    laptop, phone = desks
    laptop.one("create", name="alice")
    let_in(laptop, phone)
    for verb in ("preview", "remove"):
        with pytest.raises(NotAllowedError, match="higher rank"):
            phone.one(verb, identity="alice", seats=["1"])


def test_a_preview_needs_a_seat(desks):
    laptop, _ = desks
    laptop.one("create", name="alice")
    with pytest.raises(FailedError) as failed:
        laptop.one("preview", identity="alice", seats=[])
    assert failed.value.exit_code == 2


def test_another_takes_an_identity_back_with_the_code(desks):
    """I32."""
    laptop, phone = desks
    code = laptop.one("create", name="alice")["recovery_code"]
    card = laptop.one("contact", identity="alice")
    assert list(phone.steps("resolve", contact=card["contact"], timeout=30.0))[-1]["own"] is False
    until(phone.home.known(card["did"]).chain.peers)
    new, done = [
        step
        for step in phone.steps("recover", identity="alice", code=code, remove=["1"], timeout=30.0)
        if step["event"] != "progress"
    ]
    assert new["event"] == "recovered"
    assert (done["event"], done["seated"], done["has_keys"]) == ("done", True, True)
    alice = laptop.home.get("alice")
    until(lambda: alice.seat is None)
    own = phone.home.get("alice").seat
    with pytest.raises(NotAllowedError, match="does not recover"):
        list(phone.steps("recover", identity="alice", code=code, timeout=30.0))
    assert own is not None
    assert getattr(phone.home.get("alice").seat, "id", None) == own.id  # this device is what it was
    phone.one("sign", b"hello", identity="alice")
    with pytest.raises(NotAllowedError):
        laptop.one("sign", b"hello", identity="alice")
    assert list(phone.steps("recover", identity="alice", code=new["recovery_code"], timeout=30.0))[-1]["seated"]


def test_a_wrong_code_changes_nothing(desks):
    laptop, _ = desks
    laptop.one("create", name="alice")
    other = laptop.one("create", name="other")["recovery_code"]
    with pytest.raises(NotAllowedError):
        list(laptop.steps("recover", identity="alice", code=other, last_copy=True))
    with pytest.raises(InvalidInputError):
        list(laptop.steps("recover", identity="alice", code="ABCD", last_copy=True))
    assert laptop.one("renew", identity="alice")["epoch"] == 1


def test_a_device_renews_its_own_keys_and_leaves(desks):
    """I11."""
    laptop, _ = desks
    laptop.one("create", name="alice")
    done = laptop.one("renew", identity="alice", device=True, suite="classical")
    assert [seat["state"] for seat in done["seats"]] == ["live", "renewed", "live"]
    assert done["seats"][2]["here"]
    gone = laptop.one("leave", identity="alice")
    assert (gone["seated"], gone["seats"][2]["state"]) == (False, "left")
    with pytest.raises(NotAllowedError):
        laptop.one("sign", b"x", identity="alice")


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("create", {"name": "x", "suite": "rsa"}), ("renew", {"identity": "alice", "suite": "rsa"}),
        ("remove", {"identity": "alice", "seats": ["zz"]}), ("remove", {"identity": "alice", "seats": [""]}),
        ("remove", {"identity": "alice", "seats": ["1"], "cut": ["zz"]}),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_a_mistake_of_use(desks, verb, arguments):
    laptop, _ = desks
    laptop.one("create", name="alice")
    with pytest.raises(FailedError) as failed:
        laptop.one(verb, **arguments)
    assert failed.value.exit_code == 2


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("show", {"identity": "bob"}), ("sign", {"identity": "notes"}), ("grant", {"identity": "alice", "seat": "7"}),
        ("grant", {"identity": "alice", "seat": "1", "epochs": [5]}), ("remove", {"identity": "alice", "seats": ["zzzzzzzz"]}),
    ],
)  # fmt: skip
def test_what_is_not_here_is_said_so(desks, verb, arguments):
    laptop, _ = desks
    laptop.one("create", name="alice")
    laptop.node.create_chain("notes")
    with pytest.raises(FailedError) as failed:
        laptop.one(verb, **arguments)
    assert (failed.value.name, failed.value.exit_code) == ("NotFoundError", 3)
    assert failed.value.hint


def test_anothers_identity_can_be_read_and_not_used(desks):
    """I04."""
    laptop, phone = desks
    laptop.one("create", name="alice")
    card = laptop.one("contact", identity="alice")["contact"]
    found = list(phone.steps("resolve", contact=card, name="friend", timeout=30.0))[-1]
    assert (found["event"], found["name"], found["own"]) == ("resolved", "friend", False)
    signed = laptop.one("sign", b"hello", identity="alice")["signature"]
    assert phone.one("verify", b"hello", identity="friend", signature=signed)["did"] == found["did"]
    assert laptop.bytes("open", phone.bytes("seal", b"psst", identity="friend"), identity="alice") == b"psst"
    assert phone.one("document", identity="friend") == laptop.one("document", identity="alice")
    for verb in ("sign", "renew", "leave", "remove"):
        arguments = {"seats": ["1"]} if verb == "remove" else {}
        with pytest.raises(FailedError) as failed:
            phone.one(verb, identity="friend", **arguments)
        assert failed.value.name == "NotAllowedError"


def test_a_contact_card_without_addresses_names_no_node(desks):
    laptop, _ = desks
    laptop.one("create", name="alice")
    bare = laptop.one("contact", identity="alice", addresses=False)
    assert (bare["addresses"], bare["local_only"]) == ([], False)
    assert bare["contact"].startswith("walytis-id:")


def test_seats_and_events_are_found_by_names_and_ends(desks):
    laptop, phone = desks
    laptop.one("create", name="alice")
    added, _ = let_in(laptop, phone, "tablet")
    alice = laptop.home.get("alice")
    for text in ("tablet", added["seat"], added["seat"][-8:]):
        assert seat_text(find_seat(alice, text).id) == added["seat"]
    assert find_seat(alice, "1").kind == "device"
    ids = [act.id for act in alice.folded.pasts.acts]
    for id in itertools.islice(ids, 3):
        assert bytes(find_event(alice, str(BlockId(id))[-10:])) == id


def test_an_identity_that_was_deleted_can_be_had_again(desks):
    laptop, phone = desks
    laptop.one("create", name="alice")
    card = laptop.one("contact", identity="alice")["contact"]
    for _ in range(2):
        assert list(phone.steps("resolve", contact=card, timeout=30.0))[-1]["event"] == "resolved"
        phone.node.delete_chain("alice")
        assert phone.one("list")["identities"] == []
    added, joined = let_in(laptop, phone)
    assert (added["state"], joined["seated"]) == ("live", True)
