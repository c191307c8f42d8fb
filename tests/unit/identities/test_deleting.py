"""Ending an identity on one node: what goes, what stays, what is refused, and what a crash in between leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from identities.identities import Identities
from identities.identity import Identity
from identities.keyring import Keyring
from identities.suites import ED25519
from tests.suites.identity_nodes import Town, all_have_keys, seat_of, town, until_agreed
from tests.suites.nodes import until
from walytis_core import (
    BlockId,
    ClosedError,
    InvalidInputError,
    Node,
    NotAllowedError,
    NotFoundError,
    StorageError,
    UnavailableError,
)


@pytest.fixture
def here() -> Iterator[Town]:
    with town() as made:
        yield made


def made_by(here: Town, name: str = "alice", house: str = "laptop") -> Identity:
    return here.house(house).identities.create(name, suite=ED25519)[0]


def test_nothing_stays(tmp_path: Path) -> None:
    """The chain, the keys, the marks: as if the identity had never been here; whoever still has a handle brings nothing back."""
    with town(tmp_path) as made:
        house = made.house("laptop")
        alice = house.identities.create("alice", suite=ED25519)[0]
        id = bytes(alice.chain.id)
        waiting = alice.ready()
        waiting.result(10)
        house.identities.delete("alice")
        assert house.identities.all() == []
        assert house.node.chains() == []
        assert Keyring.load(house.node.keys, id) is None
        for use in (
            alice.renew,
            alice.leave,
            lambda: alice.sign(b"x"),
            alice.recovery_code_kept,
            alice._held.actor.keyring.save,
        ):
            with pytest.raises((ClosedError, NotFoundError)):
                use()
        assert Keyring.load(house.node.keys, id) is None
        house.close()
        house.open()
        assert house.identities.all() == []
        with pytest.raises(NotFoundError):
            house.identities.delete(alice.did)
    assert not [path for path in tmp_path.rglob("*") if id.hex() in path.name]


def test_another_device_keeps_it(here: Town) -> None:
    """The others go on, with the seat of this one, until they remove it; this one may join again, by its name or its DID."""
    alice = made_by(here)
    phone = here.join(alice, "phone")
    until_agreed(alice, phone)
    here.house("phone").identities.delete(phone.did)
    alice.renew()
    assert seat_of(alice, "phone")
    again = here.join(alice, "phone")
    until_agreed(alice, again)
    assert [info.state for info in alice.seats() if info.name == "phone"] == ["live", "live"]


def test_sessions_end(here: Town) -> None:
    """A session for it ends at once; what is waited for is told."""
    alice, bob = made_by(here), made_by(here, "bob", "desk")
    here.outsider(alice, "desk", here.house("laptop"))
    here.outsider(bob, "laptop", here.house("desk"))
    session = bob.dial(alice.did, here.house("laptop").node.addresses()).result(10)
    here.house("laptop").identities.delete("alice")
    with pytest.raises((ClosedError, UnavailableError)):
        session.receive(timeout=10)
    until(lambda: not here.house("laptop").identities.connections.open)


def test_what_others_stand_on_stays(here: Town) -> None:
    """An identity behind whose seat this node acts, or that is a member, is not deleted before what needs it."""
    house = here.house("laptop")
    alice = made_by(here)
    bob = here.outsider(made_by(here, "bob", "desk"), "laptop", here.house("desk"))
    club = house.identities.create("club", controller=alice, suite=ED25519)[0]
    club.add_identity(bob)
    for one in (alice, bob):
        with pytest.raises(NotAllowedError) as refused:
            house.identities.delete(one.did)
        assert "club" in str(refused.value)
        assert "club" in refused.value.hint
    house.identities.delete("club")
    house.identities.delete(bob.name)
    house.identities.delete("alice")
    assert house.node.chains() == []


def test_a_group_stays_away(tmp_path: Path) -> None:
    """What was told of a group does not bring it back, also after a restart; entering it does."""
    with town(tmp_path) as made:
        house = made.house("laptop")
        alice = house.identities.create("alice", suite=ED25519)[0]
        phone = made.join(alice, "phone")
        until_agreed(alice, phone)
        club = house.identities.create("club", controller=alice, suite=ED25519)[0]
        theirs = made.house("phone").identities
        until(lambda: any(one.did == club.did for one in theirs.all()), what="the phone has the club")
        theirs.delete(club.did)
        made.house("phone").close()
        made.house("phone").open()
        theirs, phone = made.house("phone").identities, made.house("phone").get(alice.did)
        alice.note("hello", b"")
        until(lambda: ("hello", b"") in phone.notes(), what="it has read what it was told")
        phone._held.work(0.0)
        assert [one.did for one in theirs.all()] == [alice.did]
        card = club.contact(house.node.addresses(), house.node.key)
        theirs.resolve(card).result(10)
        club_on_phone = theirs.enter(club.did, via=phone)
        until(lambda: all_have_keys(club_on_phone))


def test_another_s_identity(here: Town) -> None:
    """One that is only known here goes, and can be resolved again; who waits for it is told."""
    alice = made_by(here)
    known = here.outsider(alice, "desk", here.house("laptop"))
    desk = here.house("desk").identities
    assert [one.did for one in desk.others()] == [alice.did]
    card = alice.contact()
    here.house("laptop").close()
    waiting = desk.resolve(replace(card, heads=(BlockId.of(b"nobody has this"),)))
    desk.delete(known.name)
    assert desk.others() == []
    with pytest.raises(ClosedError):
        waiting.result(10)


@pytest.mark.parametrize("point", ["forget", "delete_chain"])
def test_a_crash_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """What is left when it was cut off is found under its name, and goes when it is deleted again."""
    with town(tmp_path) as made:
        house = made.house("laptop")
        alice = house.identities.create("alice", suite=ED25519)[0]
        with monkeypatch.context() as crash:
            crash.setattr(Keyring if point == "forget" else Node, point, _refuse)
            with pytest.raises(StorageError):
                house.identities.delete("alice")
        house.close()
        house.open()
        assert [one.did for one in [*house.identities.all(), *house.identities.others()]] == [alice.did]
        house.identities.delete("alice")
        assert house.node.chains() == []
        assert Keyring.load(house.node.keys, bytes(alice.chain.id)) is None


def test_one_whose_keys_are_damaged(tmp_path: Path) -> None:
    """It is told of, and can be deleted as any other."""
    with town(tmp_path) as made:
        house = made.house("laptop")
        alice = house.identities.create("alice", suite=ED25519)[0]
        id, did = bytes(alice.chain.id), alice.did
        house.close()
        (made.directory("laptop") / "keys" / Keyring.name_for(id)).write_bytes(b"garbage")
        house.open()
        assert list(house.identities.damaged()) == ["alice"]
        assert house.identities.others() == []
        house.identities.delete(did)
        assert house.identities.damaged() == {}
        assert house.node.chains() == []
        assert house.node.keys.get(Keyring.name_for(id)) is None


def _refuse(*_: object) -> None:
    raise StorageError("no room")


def test_a_join_that_is_under_way(here: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a seat of an identity that is deleted meanwhile is told."""
    alice = made_by(here)
    invitation = str(alice.invite())
    worker = here.house("laptop").identities.all()[0]._held.worker
    monkeypatch.setattr(worker, "_let_in", lambda: None)  # nobody gives seats
    phone = here.house("phone").identities
    pending = phone.join(invitation)
    until(phone.all, what="the chain is here")
    phone.delete(alice.did)
    with pytest.raises(ClosedError):
        pending.result(10)


def test_a_chain_deleted_below(here: Town) -> None:
    """I23: where an app deletes an identity's chain by the node, the other identities go on: acting, listed, in sessions."""
    laptop, desk = here.house("laptop"), here.house("desk")
    alice, bob, gone = made_by(here), made_by(here, "bob", "desk"), made_by(here, "gone")
    for one in (alice, bob, gone):
        one.ready().result(10)
    card = str(bob.contact(desk.node.addresses(), desk.node.key))
    laptop.identities.resolve(card).result(10)
    desk.identities.resolve(str(alice.contact(laptop.node.addresses(), laptop.node.key))).result(10)
    laptop.node.delete_chain("gone")
    assert [one.name for one in laptop.identities.all()] == ["alice"]
    alice.dial(bob.did, desk.node.addresses()).result(10).close()
    with pytest.raises(ClosedError):
        gone.ready().result(10)
    laptop.identities.delete("alice")


def test_what_is_closed_does_not_begin() -> None:
    """I16: joining and resolving are refused at once where nobody would do them, and waiting ends."""
    with Node.in_memory() as node:
        identities = Identities(node)
        alice = identities.create("alice", suite=ED25519)[0]
        card, invitation = str(alice.contact(["/ip4/127.0.0.1/tcp/1"], node.key)), str(alice.invite())
        identities.close()
        for begin in (lambda: identities.join(invitation), lambda: identities.resolve(card)):
            with pytest.raises(ClosedError):
                begin()
        with pytest.raises(ClosedError):
            alice.ready().result(10)


def test_entering_where_one_acts_otherwise(here: Town) -> None:
    """I22: an identity of this node's own is not entered as a group, and nobody is told of it."""
    alice, other = made_by(here), made_by(here, "other")
    alice.ready().result(10)
    before = alice.notes()
    for one in (alice, other):
        with pytest.raises(NotAllowedError):
            here.house("laptop").identities.enter(one.did, via=alice)
    assert alice.notes() == before


def test_a_chain_that_cannot_be_opened_to_the_members(here: Town) -> None:
    """I14: where the word for it cannot be said, the chain is not there either, and its name is free."""
    house = here.house("laptop")
    alice, code = house.identities.create("alice", suite=ED25519)
    club = house.identities.create("club", controller=alice, suite=ED25519)[0]
    club.ready().result(10)
    house.identities.recover(code, alice.did, is_last_copy=True)
    club = house.identities.get("club")
    try:
        club.create_chain("plans")
    except UnavailableError:
        assert "plans" not in [chain.name for chain in house.node.chains()]
        until(lambda: club.status().is_seated)
        created = []

        def again() -> bool:
            try:
                created.append(club.create_chain("plans"))
            except UnavailableError:
                return False
            return True

        until(again)
    assert [chain.name for chain in club.chains()] == ["plans"]


def test_a_card_and_an_invitation_are_told_apart(here: Town) -> None:
    """I16: each says what takes it; and what is no bytes, and who is not here, what to do."""
    laptop = here.house("laptop")
    alice = made_by(here)
    alice.ready().result(10)
    identities = laptop.identities
    wrong: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: identities.join(str(alice.contact())), "`resolve`"),
        (lambda: identities.resolve(str(alice.invite())), "`join`"),
        (lambda: alice.sign("text"), "encode"),  # type: ignore[arg-type]
        (lambda: alice.seal("text"), "encode"),  # type: ignore[arg-type]
    )
    for call, word in wrong:
        with pytest.raises(InvalidInputError) as refused:
            call()
        assert word in refused.value.hint
    with pytest.raises(NotFoundError) as absent:
        identities.get("nobody")
    assert "`walytis id list`" in absent.value.hint
    assert repr(identities) == "Identities(alice)"


def test_joining_again(here: Town) -> None:
    """I18: while a device is joining it does not join a second time; once that was cancelled it may, with keys of its own."""
    alice = made_by(here)
    alice.ready().result(10)
    phone = here.house("phone").identities
    first = phone.join(str(alice.invite()))
    with pytest.raises(UnavailableError):
        _ = phone.join(str(alice.invite()))
    first.cancel()
    again = phone.join(str(alice.invite()), device_name="again").result(10)
    assert again.status().has_keys
    assert Keyring.load(here.house("phone").node.keys, again.chain.id) is not None
